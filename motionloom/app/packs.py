"""Sets of clips for games: a table of sentences in; clips, sidecars, an index and a contact sheet out."""

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motionloom.errors import RequestError
from motionloom.motion.files import atomic_path, read_text

if TYPE_CHECKING:
    from motionloom.motion.rigs.deliver import Delivery

COLUMNS = ("text", "name", "seconds", "seed", "loop", "in_place")
MAX_CLIPS = 10_000
_TRUE, _FALSE = ("1", "true", "yes", "y"), ("", "0", "false", "no", "n")


@dataclass(frozen=True)
class Prompt:
    """A clip to be made."""

    text: str
    name: str
    seconds: float | None
    seed: int
    loop: bool
    in_place: bool


def read_prompts(path: Path, *, seed: int = 0) -> list[Prompt]:
    """Read a table of clips: a CSV with a head line, or one sentence a line.

    Raises:
        MotionFileError: The file cannot be read.
        RequestError: A column or a value is unknown; the message names the line.
    """
    lines = read_text(path)
    rows = list(csv.reader(io.StringIO(lines), skipinitialspace=True))
    rows = [(number, row) for number, row in enumerate(rows, start=1) if any(cell.strip() for cell in row)]
    head = [cell.strip().lower() for cell in rows[0][1]]
    if "text" in head:
        unknown = [cell for cell in head if cell not in COLUMNS]
        if unknown:
            raise RequestError(f"{path}:1: column {unknown[0]!r} is unknown; columns are {', '.join(COLUMNS)}")
        table = [(number, dict(zip(head, row, strict=False))) for number, row in rows[1:]]
    elif all(len(row) == 1 for _, row in rows):
        table = [(number, {"text": row[0]}) for number, row in rows]
    else:
        raise RequestError(f"{path}:1: no column 'text'; the head line names columns, of {', '.join(COLUMNS)}")
    if not 0 < len(table) <= MAX_CLIPS:
        raise RequestError(f"{path}: {len(table)} clips; 1 to {MAX_CLIPS} are made")
    found: list[Prompt] = []
    taken: set[str] = set()
    for number, row in table:
        prompt = _prompt(path, number, row, seed)
        name, count = prompt.name, 1
        while name.lower() in taken:
            count += 1
            name = f"{prompt.name}_{count}"
        taken.add(name.lower())
        found.append(replace(prompt, name=name))
    return found


def _prompt(path: Path, number: int, row: dict[str, str], seed: int) -> Prompt:
    cells = {key: (row.get(key) or "").strip() for key in COLUMNS}
    if not cells["text"]:
        raise RequestError(f"{path}:{number}: the text is empty")
    try:
        seconds = float(cells["seconds"]) if cells["seconds"] else None
        own = int(cells["seed"]) if cells["seed"] else seed
        if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
            raise ValueError
    except ValueError:
        raise RequestError(f"{path}:{number}: seconds and seed must be numbers above and from 0 on") from None
    flags = {}
    for key in ("loop", "in_place"):
        if cells[key].lower() not in (*_TRUE, *_FALSE):
            raise RequestError(f"{path}:{number}: {key} is {cells[key]!r}; use yes or no")
        flags[key] = cells[key].lower() in _TRUE
    name = re.sub(r"[^\w-]+", "_", cells["name"] or cells["text"], flags=re.ASCII).strip("_")[:48] or f"clip_{number}"
    return Prompt(cells["text"], name, seconds, own, flags["loop"], flags["in_place"])


def make_pack(
    rows: Sequence[Prompt],
    files: Sequence[Path],
    delivery: "Delivery",
    *,
    fps: float,
    engine: str,
    pictures: bool,
    quiet: bool,
) -> dict[str, Any]:
    """Make and write the clips, an index and a contact sheet.

    Returns:
        What ``index.json`` holds.
    """
    from tqdm import tqdm

    from motionloom.engines.registry import load

    model = load(engine)
    delivery = replace(delivery, sidecar=True)
    clips, sheets = [], []
    for row, file in tqdm(list(zip(rows, files, strict=True)), unit="clip", disable=quiet):
        motion = model.generate(row.text, row.seconds, seed=row.seed, fps=fps, loop=row.loop)[0]
        wish = replace(delivery, loop=row.loop, in_place=row.in_place or delivery.in_place)
        if "rig" in delivery.__dict__:
            wish.__dict__["rig"] = delivery.rig  # the character is read once for the whole pack
        facts, _ = wish.write(motion, file, name=row.name)
        if pictures:
            sheets.append(file.with_name(f"{row.name}.png"))
            motion.save(sheets[-1])
        certificate = facts.get("certificate", {})
        clips.append(
            {
                "name": row.name,
                "file": file.name,
                "text": row.text,
                "seconds": facts["seconds"],
                "fps": facts["fps"],
                "frames": facts["frames"],
                "loop": facts["loop"],
                "travel": facts["travel"],
                "turn_degrees": facts.get("turn_degrees"),
                "licence": facts.get("licence", ""),
                "seed": row.seed,
                "verdict": certificate.get("verdict", ""),
            }
        )
    found = {"character": str(delivery.on.name) if delivery.on else "", "for": delivery.tool or "", "clips": clips}
    folder = files[0].parent
    with atomic_path(folder / "index.json") as temporary:
        text = json.dumps(found, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8", newline="\n")
    if sheets:
        _contact_sheet(sheets, folder / "contact_sheet.png")
    return found


def _contact_sheet(sheets: Sequence[Path], path: Path) -> None:
    """All pictures below each other, narrower the more there are."""
    from PIL import Image

    pictures = []
    for sheet in sheets[:200]:
        with Image.open(sheet) as opened:
            picture = opened.convert("RGB")
        width = 900
        pictures.append(picture.resize((width, max(1, round(picture.height * width / picture.width)))))
    columns = 1 if len(pictures) <= 6 else 2 if len(pictures) <= 24 else 4
    height = max(picture.height for picture in pictures)
    lines = -(-len(pictures) // columns)
    whole = Image.new("RGB", (900 * columns, height * lines), "white")
    for at, picture in enumerate(pictures):
        whole.paste(picture, (900 * (at % columns), height * (at // columns)))
    with atomic_path(path) as temporary:
        whole.save(temporary)

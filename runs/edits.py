"""Make every edit with an engine: a picture of each for docs/editing.md, and figures of what was promised.

python runs/edits.py [--engine mmm] [--pictures docs/images] [--out results/edits.json] [--only loop to ...]

The clips that are edited are made by the engine as well, so nothing else is needed. Seeds are fixed.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from PIL import Image, ImageDraw
from torch import Tensor

import motionloom as ml
from motionloom.app.render import INK, LEFT, LINES, PAPER, contact_sheet
from motionloom.engines.mmm.engine import MMM
from motionloom.engines.mmm.loop import wrap_jerk
from motionloom.engines.mmm.story import read_script
from motionloom.engines.mmm.story import seams as story_seams
from motionloom.engines.registry import load
from motionloom.engines.request import Known, Request, Segment
from motionloom.engines.timeline import lay_out, seams
from motionloom.errors import CheckpointError, RequestError
from motionloom.metrics.cleaning import before_and_after
from motionloom.metrics.seams import seam_jerk
from motionloom.motion.clean import CleanOptions, clean
from motionloom.motion.edit import cut
from motionloom.motion.files import atomic_path
from motionloom.motion.keep import Keep
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL, JOINT_PARTS, PARTS

WALK, RUN = "a person walks forward", "a person runs forward"
STORY = Path(__file__).parent / "story.txt"
ROWS = (("root", "left_leg", "right_leg"), ("stem", "head"), ("left_arm",), ("right_arm",))
"""Rows of the strip under a picture, from top to bottom."""
POSES, CELL = 9, 104


@dataclass(frozen=True, eq=False)
class Edit:
    """What came out of an edit.

    Attributes:
        motion: The result.
        title: Of its picture.
        source: What was edited; ``None`` for nothing.
        known: Which cells of the result are the source's own, beginning in frame ``first``.
        first: See ``known``.
        places: Frames of the seams.
        facts: Figures.
    """

    motion: Motion
    title: str
    source: Motion | None = None
    known: Bool[Tensor, "T 10"] | None = None
    first: int = 0
    places: list[int] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def filled(
    engine: MMM, title: str, source: Motion, keep: Keep, text: str = "", before: float = 0.0, after: float = 0.0
) -> Edit:
    """Keep some of a motion, make the rest."""
    known, seconds = lay_out(source, keep.mask(len(source), source.fps), before, after)
    request = Request((Segment(text, seconds),), seed=2, known=known)
    (motion,) = engine.serve([request])[0]
    first = round(before * source.fps)
    cells = torch.zeros(len(motion), len(PARTS), dtype=torch.bool)
    cells[first : first + len(source)] = known.mask
    facts = {"kept_deviation_m": deviation(motion, known, first)}
    return Edit(motion, title, source, cells, first, seams(request), facts)


def deviation(motion: Motion, known: Known, first: int) -> float:
    """Largest distance [m] of joints that are kept, and hang on nothing that is not, from where they were."""
    kept = torch.stack([known.mask[:, PARTS.index(JOINT_PARTS[name])] for name in CANONICAL.names], dim=1)
    for joint, parent in enumerate(CANONICAL.parents):
        if parent >= 0:
            kept[:, joint] &= kept[:, parent]
    apart = (motion.positions[first : first + len(kept)] - known.motion.positions).norm(dim=-1)
    return float(apart[kept].max()) if bool(kept.any()) else 0.0


def walk(engine: MMM, seconds: float = 4.0, text: str = WALK) -> Motion:
    """A clip to be edited."""
    return engine.generate(text, seconds=seconds, seed=3)[0]


def between(engine: MMM) -> Edit:
    """The first and the last second of a walk are kept."""
    keep = ml.frames(0, 1.0) | ml.frames(-1.0)
    return filled(engine, "In-between: first and last second kept", walk(engine), keep, WALK)


def prediction(engine: MMM) -> Edit:
    """A walk of two seconds goes on for three."""
    return filled(
        engine,
        "Prediction: 3 s after the clip, 'a person runs forward'",
        walk(engine, 2.0),
        ml.frames(),
        RUN,
        after=3.0,
    )


def outpainting(engine: MMM) -> Edit:
    """Seconds before and after a clip."""
    return filled(
        engine, "Outpainting: 1.5 s before and after the clip", walk(engine, 2.0), ml.frames(), WALK, 1.5, 1.5
    )


def upper(engine: MMM) -> Edit:
    """Another upper body over the legs of a walk."""
    return filled(engine, "Upper body anew, legs kept, no text", walk(engine), ml.parts("legs"))


def arm(engine: MMM) -> Edit:
    """Another right arm, in the middle of the clip only."""
    others = ml.parts("legs", "stem", "head", "left_arm") | ml.frames(0, 1.0) | ml.frames(-0.8)
    return filled(
        engine,
        "Right arm anew from 1 s to 3.2 s: 'a person waves the right hand'",
        walk(engine),
        others,
        "a person waves the right hand",
    )


def legs(engine: MMM) -> Edit:
    """Legs of a walk, with a text for what the rest does."""
    return filled(
        engine, "Legs kept, 'a person raises both hands'", walk(engine), ml.parts("legs"), "a person raises both hands"
    )


def story(engine: MMM) -> Edit:
    """One minute from a script."""
    lines = read_script(STORY)
    (motion,) = engine.story(lines, seed=1)
    return Edit(motion, "A story of 60 s", places=story_seams(lines, motion.fps, len(motion)))


def loop(engine: MMM) -> Edit:
    """A walk whose end goes on into its beginning."""
    (motion,) = engine.generate(WALK, seconds=3.0, seed=1, loop=True)
    return Edit(motion, "A loop: the last pose goes on into the first", facts={"seam_ratio": wrap_jerk(motion).ratio})


def end_point(engine: MMM) -> Edit:
    """A walk that ends at a point."""
    return steered(engine, "End point: --to 0.5,3", WALK, 4.0, ((0.5, 3.0),))


def path(engine: MMM) -> Edit:
    """A walk through a point to another."""
    return steered(
        engine, "Path: --to 0.3,1.8 --to 1.6,2.6", "a person walks and turns left", 5.0, ((0.3, 1.8), (1.6, 2.6))
    )


def steered(engine: MMM, title: str, text: str, seconds: float, points: tuple[tuple[float, float], ...]) -> Edit:
    """A motion through points."""
    (motion,) = engine.generate(text, seconds=seconds, seed=1, path=points)
    error = float((motion.root[-1, [0, 2]] - torch.tensor(points[-1])).norm())
    return Edit(motion, title, facts={"end_error_m": error, "notes": list(motion.provenance.notes)})


def cleaned(engine: MMM) -> Edit:
    """A walk with its feet held while they stand."""
    source = walk(engine)
    done = clean(source, CleanOptions())
    before, after = before_and_after(done)
    facts = {"slide_before_m_s": before.contact_slide, "slide_after_m_s": after.contact_slide}
    return Edit(done.motion, "Clean-up: standing feet stay, jitter filtered", source, facts=facts)


EDITS: dict[str, Callable[[MMM], Edit]] = {
    "between": between, "prediction": prediction, "outpainting": outpainting, "upper": upper, "arm": arm,
    "legs": legs, "story": story, "loop": loop, "to": end_point, "path": path, "clean": cleaned,
}  # fmt: skip


def picture(edit: Edit) -> Image.Image:
    """The source, the result and what of it was kept, one below the other; long motions in several rows."""
    rows = []
    if edit.source is not None:
        rows.append(contact_sheet(edit.source, "The clip", POSES, CELL))
    length = 15.0
    if edit.motion.seconds <= length:
        rows.append(contact_sheet(edit.motion, edit.title, POSES, CELL))
    else:
        for start in torch.arange(0, edit.motion.seconds - 0.5, length).tolist():
            end = min(start + length, edit.motion.seconds)
            title = edit.title if start == 0 else f"from {start:g} s on"
            rows.append(contact_sheet(cut(edit.motion, start, end), title, POSES, CELL))
    if edit.known is not None:
        rows.append(strip(edit.known, rows[-1].width))
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), PAPER)
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def strip(known: Bool[Tensor, "T 10"], width: int) -> Image.Image:
    """Which parts are kept (dark) and made (orange) in each frame, under the poses of those frames."""
    tall = 7
    image = Image.new("RGB", (width, tall * len(ROWS) + 12), PAPER)
    draw = ImageDraw.Draw(image)
    scale = CELL * (POSES - 1) / max(1, len(known) - 1)
    for row, parts in enumerate(ROWS):
        for frame, kept in enumerate(known[:, [PARTS.index(part) for part in parts]].all(1).tolist()):
            left = CELL / 2 + (frame - 0.5) * scale
            draw.rectangle((left, row * tall, left + scale, (row + 1) * tall - 2), fill=INK if kept else LEFT)
    text = "dark: kept"
    draw.text((CELL * POSES + 8, 6), text, fill=INK)
    draw.line((0, image.height - 1, width, image.height - 1), fill=LINES)
    return image


def main() -> None:
    """Make, measure, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", default="mmm")
    parser.add_argument("--pictures", type=Path, default=Path("docs/images"))
    parser.add_argument("--out", type=Path, default=Path("results/edits.json"))
    parser.add_argument("--only", nargs="+", choices=list(EDITS), default=list(EDITS))
    options = parser.parse_args()

    engine = load(options.engine)
    if not isinstance(engine, MMM):
        raise CheckpointError(
            f"{options.engine} holds the engine {engine.name!r}; these edits need 'mmm', which has tokens"
        )
    # The first sentence loads the text encoder: no edit's time should hold that.
    engine.generate(WALK, seconds=1.0)
    results: dict[str, dict[str, Any]] = {}
    for name in options.only:
        started = time.perf_counter()
        try:
            edit = EDITS[name](engine)
        except RequestError as error:
            results[name] = {"refused": str(error)}
            print(f"{name}: refused: {error}")
            continue
        taken = time.perf_counter() - started
        facts: dict[str, Any] = {"seconds": edit.motion.seconds, "seconds_taken": round(taken, 2), **edit.facts}
        if edit.places:
            jerk = seam_jerk(edit.motion.positions, edit.motion.fps, edit.places)
            facts |= {"seams_s": [round(at / edit.motion.fps, 2) for at in edit.places], "seam_ratio": jerk.ratio}
        results[name] = {key: round(value, 5) if isinstance(value, float) else value for key, value in facts.items()}
        print(f"{name}: {results[name]}")
        with atomic_path(options.pictures / f"edit-{name}.png") as temporary:
            picture(edit).quantize(96).save(temporary, format="PNG", optimize=True)
    with atomic_path(options.out) as temporary:
        temporary.write_text(json.dumps({"engine": Path(options.engine).name, "edits": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()

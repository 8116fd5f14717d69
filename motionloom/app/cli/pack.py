"""``motionloom pack``: a whole set of clips for a game, from a table of sentences."""

import json
from pathlib import Path
from typing import Annotated

import typer

from motionloom.app.cli.conditions import Engine
from motionloom.app.cli.rig import For, InPlace, MapFile, Names, On, ReduceKeys, RootBone, wanted


def pack(
    prompts: Annotated[
        Path, typer.Argument(help="Table of clips, .csv: text, and if wanted name, seconds, seed, loop, in_place.")
    ],
    out_dir: Annotated[Path, typer.Option("--out-dir", help="Folder to write to; made when it is missing.")],
    on: On = None,
    tool: For = None,
    map_file: MapFile = None,
    root_bone: RootBone = None,
    in_place: InPlace = False,
    reduce_keys: ReduceKeys = None,
    names: Names = None,
    fps: Annotated[float, typer.Option(help="Frame rate of the clips.")] = 30.0,
    engine: Engine = None,
    seed: Annotated[int, typer.Option(help="Seed of clips that have none of their own.")] = 0,
    suffix: Annotated[str | None, typer.Option(help="Format; what the tool wants when left out, else .glb.")] = None,
    pictures: Annotated[bool, typer.Option(help="Draw a contact sheet of each clip.")] = True,
    json_: Annotated[bool, typer.Option("--json", help="Print machine-readable results.")] = False,
) -> None:
    """Make a set of clips, each with its facts, and an index of them all with a contact sheet."""
    from motionloom.app.packs import make_pack, read_prompts
    from motionloom.motion.rigs.deliver import TOOLS

    rows = read_prompts(prompts, seed=seed)
    chosen = suffix or (TOOLS[tool].suffixes[0] if tool in TOOLS else ".glb")
    out_dir.mkdir(parents=True, exist_ok=True)
    files = [out_dir / f"{row.name}{chosen}" for row in rows]
    options = {
        "on": on,
        "map_file": map_file,
        "root_bone": root_bone,
        "reduce": reduce_keys,
        "names": names,
        "tool": tool,
    }
    delivery = wanted(files, in_place=in_place, **options)
    found = make_pack(rows, files, delivery, fps=fps, engine=engine or "mmm", pictures=pictures, quiet=json_)
    if json_:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    typer.echo(f"wrote {out_dir / 'index.json'}: {len(rows)} clips")

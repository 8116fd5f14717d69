"""``motionloom clean``: foot lock, floor and jitter filter, with the figures before and after."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from motionloom.app.cli.files import check_outs
from motionloom.app.cli.reading import Asf, Clip, Reading, Source, TrueFps, Unit, Up

_ROWS = {
    "contact_slide": ("slide of standing feet", "m/s"),
    "planted_slide": ("slide of the slower low toe", "m/s"),
    "slide": ("slide of toes below 6 cm", "m/s"),
    "floor": ("height of the floor", "m"),
    "penetration": ("depth below height 0", "m"),
    "float_": ("float above height 0", "m"),
    "jitter": ("jitter (mean jerk)", "m/s3"),
}


def clean(
    source: Source,
    out: Annotated[Path, typer.Option(help="File to write: .bvh .glb .npz .npy .csv .png .gif .mp4")],
    feet: Annotated[bool, typer.Option("--feet/--no-feet", help="Hold feet in place while they stand.")] = True,
    floor: Annotated[bool, typer.Option("--floor/--no-floor", help="Put the floor at height 0, feet on it.")] = True,
    jitter: Annotated[float, typer.Option(help="Window of the jitter filter in seconds; 0 leaves it out.")] = 0.25,
    blend: Annotated[float, typer.Option(help="Seconds over which a foot's correction comes and goes.")] = 0.2,
    unit: Unit = None,
    true_fps: TrueFps = None,
    up: Up = None,
    asf: Asf = None,
    clip: Clip = None,
    json_: Annotated[bool, typer.Option("--json", help="Print machine-readable results.")] = False,
) -> None:
    """Lock sliding feet, set the floor and filter jitter; prints what changed."""
    from motionloom.metrics.cleaning import before_and_after
    from motionloom.motion.clean import CleanOptions
    from motionloom.motion.clean import clean as clean_motion

    check_outs([out], source=source)
    options = CleanOptions(feet, floor, jitter, blend)
    cleaned = clean_motion(Reading(unit, true_fps, up, asf, clip).load(source), options)
    cleaned.motion.save(out)
    before, after = map(asdict, before_and_after(cleaned))
    if json_:
        found = {"before": before, "after": after, "notes": list(cleaned.notes), "file": str(out)}
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{'':<28}  {'before':>9}  {'after':>9}")
    for name, (title, unit_name) in _ROWS.items():
        typer.echo(f"{title:<28}  {before[name]:>9.4f}  {after[name]:>9.4f}  {unit_name}")
    for note in cleaned.notes:
        typer.echo(note)
    typer.echo(f"wrote {out}")

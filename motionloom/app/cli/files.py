"""Motion files that a command writes: refused early, numbered when there are several."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from motionloom.motion.motion import Motion


def check_outs(outs: Sequence[Path], count: int = 1, source: Path | None = None) -> None:
    """Refuse what cannot be written, and what would overwrite the source, before any work is done.

    Raises:
        MotionFileError: A file of this kind or in this place cannot be written.
    """
    from motionloom.motion.io import can_write

    for path in outs:
        can_write(path)
        for target in targets(path, count):
            if source is not None and target.exists() and source.exists() and target.samefile(source):
                raise typer.BadParameter(f"{target} is the source itself; give another name", param_hint="--out")


def targets(path: Path, count: int) -> list[Path]:
    """Names of the files; with more than one motion they are numbered."""
    return [path] if count == 1 else [path.with_name(f"{path.stem}-{at + 1}{path.suffix}") for at in range(count)]


def write(motions: "Sequence[Motion]", outs: Sequence[Path]) -> list[Path]:
    """Write every motion to every file; returns their names."""
    from motionloom.motion.io import save

    files = []
    for index, motion in enumerate(motions):
        for path in outs:
            files.append(targets(path, len(motions))[index])
            save(motion, files[-1])
    return files

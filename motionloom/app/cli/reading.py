"""Options by which every command reads a motion file, in one place, and the reading itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from motionloom.motion.motion import Motion

Source = Annotated[Path, typer.Argument(help="Motion file: .bvh .amc .npz .npy .csv")]
Unit = Annotated[
    str | None, typer.Option(help="What a unit of a BVH, AMC, npy or CSV is: m, dm, cm, mm, inch or metres.")
]
TrueFps = Annotated[float | None, typer.Option(help="The source's frame rate, where its file is wrong.")]
Up = Annotated[str | None, typer.Option(help="The source's up axis, y or z; else seen in its rest pose or motion.")]
Asf = Annotated[Path | None, typer.Option(help="Skeleton of an .amc, where it is not the one beside it.")]
Clip = Annotated[
    str | None, typer.Option(help="Name of the animation to read, where a .glb, .vrm or .fbx holds several.")
]


@dataclass(frozen=True)
class Reading:
    """What a user says about a motion file that the file does not, or has wrong.

    Attributes:
        unit: What a unit of length is: a name or metres.
        true_fps: Its frame rate.
        up: Its up axis, "y" or "z".
        asf: The skeleton of an AMC.
        clip: Which of several animations.
    """

    unit: str | None = None
    true_fps: float | None = None
    up: str | None = None
    asf: Path | None = None
    clip: str | None = None

    def load(self, path: Path) -> "Motion":
        """Read a motion file.

        Raises:
            MotionFileError: The file cannot be read, or an option does not belong to its format.
        """
        from motionloom.motion.io import load

        options: dict[str, Any] = {}
        if self.unit is not None:
            try:
                options["unit"] = float(self.unit)
            except ValueError:
                options["unit"] = self.unit
        for name, value in (("fps", self.true_fps), ("up", self.up), ("asf", self.asf), ("clip", self.clip)):
            if value is not None:
                options[name] = value
        return load(path, **options)

    def body(self, path: Path, *, hands: bool = False) -> "Motion":
        """Read a motion file and move it onto the canonical body, where it is of another; it is said.

        Raises:
            MotionFileError: The file cannot be read.
            RetargetError: Its skeleton is no humanoid's.
        """
        from motionloom.motion.plausible import WARNING
        from motionloom.motion.retarget import retarget

        motion = self.load(path)
        body = retarget(motion, hands=hands)
        # What an engine makes of it has notes of its own, so those of the source are said here.
        for note in body.provenance.notes:
            if body is not motion or note.startswith(WARNING):
                typer.echo(f"note: {path.name}: {note}", err=True)
        return body

"""What reading one file may cost, checked on what the file declares before anything is allocated.

A header of a hundred bytes can promise a thousand gigabytes. Every reader asks a budget about the sizes that a file
names, and refuses in one line what is beyond it.
"""

from dataclasses import dataclass, fields

from motionloom.errors import MotionFileError, MotionloomError


@dataclass(frozen=True)
class Budget:
    """Upper bounds for one file.

    Attributes:
        bytes: Bytes read or unpacked.
        elements: Numbers, or items of lists and tables, that are held at once.
        text: Bytes of one text inside a container.
        frames: Frames of motion or video.
        seconds: Duration of motion, video or sound [s].
        depth: Levels of lists within lists.
    """

    bytes: int = 1 << 27
    elements: int = 1 << 25
    text: int = 1 << 20
    frames: int = 2_000_000
    seconds: float = 6 * 3600.0
    depth: int = 64

    def check(self, where: object, *, error: type[MotionloomError] = MotionFileError, **declared: float) -> None:
        """Refuse sizes beyond the bounds.

        Args:
            where: File (and place) for the message.
            error: Class of the error.
            **declared: Sizes by the names of the attributes.

        Raises:
            MotionloomError: A size is beyond its bound; of class ``error``.
        """
        for name, value in declared.items():
            most = getattr(self, name)
            if not value <= most:
                hint = "; name the true frame rate with --true-fps" if name == "seconds" else ""
                told = f"{value:.0f}" if value < 1e15 else f"{value:.3g}"
                raise error(f"{where}: {told} {_WORDS[name]}; up to {most:.0f} are read{hint}")


_WORDS = {field.name: field.name for field in fields(Budget)} | {
    "elements": "numbers or items",
    "text": "bytes of text",
    "depth": "levels of lists",
}

MOTION = Budget()
"""For files of one motion."""

"""Every error motionloom raises on purpose.

Each message says what came, what is needed and what to do, in one line; the command line prints it as it is.
"""

_LONGEST, _TAIL = 300, 110
"""Messages are cut in the middle: the file stands at the beginning, what mends it at the end."""


class MotionloomError(Exception):
    """The parent of all errors below; catching it catches everything we raise on purpose.

    A message is one line of at most 300 characters that any terminal can print, whatever a file's text is.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(one_line(part) if isinstance(part, str) else part for part in args))


def one_line(text: str) -> str:
    """Text without line ends, control characters and lone surrogates, cut in the middle to 300 characters."""
    text = text.encode("utf-8", errors="backslashreplace").decode("utf-8", errors="replace")
    text = "".join(mark if mark.isprintable() else " " for mark in text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - _TAIL - 5]} ... {text[-_TAIL:]}"


class MotionFileError(MotionloomError):
    """A file cannot be read or written; the message names the file and, where there is one, the line."""


class SkeletonError(MotionloomError):
    """A skeleton is no tree of named joints, or a motion does not fit the skeleton it is used with."""


class MotionError(MotionloomError):
    """A motion's arrays disagree or hold values that are not motion (NaN, wrong frame rate, no frames)."""


class RetargetError(MotionloomError):
    """A skeleton is not recognised as a humanoid, or lacks joints the canonical body needs."""


class LayoutError(MotionloomError):
    """Features of one layout were given where another is needed, or an unknown layout was named."""


class DataError(MotionloomError):
    """A data folder or store is missing, incomplete or of another version."""


class CheckpointError(MotionloomError):
    """A checkpoint is missing, incomplete, of another kind or newer than this package."""


class RequestError(MotionloomError):
    """A request asks for what the engine cannot serve: length, condition, text or option."""


class TrainingError(MotionloomError):
    """A recipe is wrong, or a training cannot go on (NaN loss, a run directory of another recipe)."""


class Cancelled(MotionloomError):  # noqa: N818 - what happened, no fault
    """Work was stopped by who watched its progress; nothing of it is half-written."""

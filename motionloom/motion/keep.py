"""Which cells of a motion's grid time x body parts are kept: spans of time and parts, joined by ``|`` and ``&``.

``frames(0, 1.0) | parts("legs")`` keeps everything in the first second, and the legs all the time;
``frames(0, 1.0) & parts("legs")`` keeps the legs in the first second only.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from motionloom.errors import MotionError
from motionloom.motion.skeleton import PARTS

_LEGS = ("root", "left_leg", "right_leg")
_ARMS = ("left_arm", "right_arm", "left_hand", "right_hand")
GROUPS: dict[str, tuple[str, ...]] = {
    "legs": _LEGS,
    "lower": _LEGS,
    "arms": _ARMS,
    "upper": ("stem", "head", "face", *_ARMS),
    "body": PARTS,
}
"""Names for several parts at once; the root goes with the legs, so that feet stay where they are."""


@dataclass(frozen=True)
class Span:
    """All parts from ``start`` to ``end`` [s]; negative times count from the end, ``None`` is the end."""

    start: float
    end: float | None

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (self.start, self.end or 0.0)):
            raise MotionError(f"a kept span from {self.start} to {self.end} s: give finite numbers of seconds")

    def mask(self, frames: int, fps: float) -> Bool[Tensor, "frames 10"]:
        """See ``Keep.mask``."""
        seconds = frames / fps
        start, end = (
            value + seconds if value < 0 else value for value in (self.start, seconds if self.end is None else self.end)
        )
        # The last frame's own share may be cut off by a rounded number of seconds: half a frame is no error.
        first, last = round(start * fps), round(end * fps)
        if not 0 <= first < last or end > seconds + 0.5 / fps + 1e-6:
            raise MotionError(
                f"a kept span from {self.start:g} to {'the end' if self.end is None else f'{self.end:g} s'} does not"
                f" lie within the {seconds:.2f} s of the motion"
            )
        found = torch.zeros(frames, len(PARTS), dtype=torch.bool)
        found[first:last] = True
        return found


@dataclass(frozen=True)
class Names:
    """Some parts all the time."""

    parts: frozenset[str]

    def mask(self, frames: int, fps: float) -> Bool[Tensor, "frames 10"]:
        """See ``Keep.mask``."""
        return torch.tensor([part in self.parts for part in PARTS]).expand(frames, -1).clone()


@dataclass(frozen=True)
class Keep:
    """A choice of cells; made by ``frames``, ``parts``, ``parse_keep`` and the operators between them."""

    op: Literal["or", "and"]
    of: "tuple[Span | Names | Keep, ...]"

    def mask(self, frames: int, fps: float) -> Bool[Tensor, "frames 10"]:
        """Which cells of a motion are kept.

        Args:
            frames: Length of the motion.
            fps: Its frame rate.

        Raises:
            MotionError: A span is empty or leaves the motion.
        """
        masks = torch.stack([part.mask(frames, fps) for part in self.of])
        return masks.any(0) if self.op == "or" else masks.all(0)

    def __or__(self, other: "Keep") -> "Keep":
        return Keep("or", (self, other))

    def __and__(self, other: "Keep") -> "Keep":
        return Keep("and", (self, other))


def frames(start: float = 0.0, end: float | None = None) -> Keep:
    """All parts in a span of time.

    Args:
        start: Where it begins [s]; negative from the end.
        end: Where it ends [s]; negative from the end, ``None`` is the end.
    """
    return Keep("or", (Span(float(start), None if end is None else float(end)),))


def parts(*names: str) -> Keep:
    """Some body parts all the time.

    Args:
        names: Of ``motionloom.motion.skeleton.PARTS``, or groups of them: legs, lower, arms, upper, body.

    Raises:
        MotionError: There is no such part, or none was named.
    """
    found: set[str] = set()
    for name in names:
        if name not in PARTS and name not in GROUPS:
            raise MotionError(
                f"there is no body part {name!r}; the parts are {', '.join(PARTS)}, groups are {', '.join(GROUPS)}"
            )
        found.update(GROUPS.get(name, (name,)))
    if not found:
        raise MotionError("no body part was named; give at least one, for example legs")
    return Keep("or", (Names(frozenset(found)),))


def parse_keep(spans: str = "", names: str = "") -> Keep:
    """Read what the command line writes: ``"0:1,3:4"`` and ``"legs,head"``; cells of either are kept.

    Args:
        spans: ``start:end`` pairs [s], separated by commas; either side may be left out or negative.
        names: Body parts and groups, separated by commas.

    Raises:
        MotionError: A span is not two numbers, a part is unknown, or nothing is named at all.
    """
    found = []
    for text in filter(None, (piece.strip() for piece in spans.split(","))):
        start, colon, end = text.partition(":")
        try:
            if not colon:
                raise ValueError
            found.append(frames(float(start or 0.0), float(end) if end.strip() else None))
        except ValueError:
            raise MotionError(
                f"{text!r} is no span of time; write start:end in seconds, for example 0:1,3:4 or -1:"
            ) from None
    if names.strip(", "):
        found.append(parts(*filter(None, (name.strip() for name in names.split(",")))))
    if not found:
        raise MotionError("nothing is kept; name spans of time (0:1,3:4) or body parts (legs,head)")
    return Keep("or", tuple(found))

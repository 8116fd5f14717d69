"""The one type everything speaks of: a motion of a skeleton.

Rotations are the truth; positions follow from them by forward kinematics.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motionloom.errors import LayoutError, MotionError
from motionloom.motion import rotations as rot
from motionloom.motion.budget import MOTION
from motionloom.motion.formats import resolve, write
from motionloom.motion.kinematics import check_joints, forward_kinematics
from motionloom.motion.skeleton import PARTS, Skeleton


@dataclass(frozen=True)
class Provenance:
    """Where a motion came from; it travels with the motion into the files that can hold it.

    Attributes:
        source: File or dataset clip it was read from, or the name of the engine that made it.
        licence: Licence of the source data, or of the data the engine was trained on.
        text: Sentence it was made for.
        seed: Seed it was made with.
        engine: Engine and version that made it.
        notes: What was done to it on the way, in order: units guessed, errors of a fit, retargeting.
    """

    source: str = ""
    licence: str = ""
    text: str = ""
    seed: int | None = None
    engine: str = ""
    notes: tuple[str, ...] = ()

    def noting(self, note: str) -> "Provenance":
        """The same with one more note."""
        return replace(self, notes=(*self.notes, note))


@dataclass(frozen=True, eq=False)
class Motion:
    """A motion: local rotations and root path of a skeleton at a frame rate.

    Attributes:
        skeleton: The body that moves.
        rotations: Rotation of each joint relative to its parent, unit quaternions wxyz; the root's is global.
        root: Position of the root in the world [m].
        fps: Frames a second.
        valid: Which body part is known in which frame; ``None`` means all of them.
        contacts: Whether left ankle, left toe, right ankle, right toe touch the floor; ``None`` if unknown.
        provenance: Where it came from.

    Raises:
        MotionError: Arrays disagree in length, there are no frames, a value is NaN or infinite, a quaternion
            is not of unit length, or the frame rate is not from 1e-6 to 1e6.
        SkeletonError: The arrays have another number of joints than the skeleton.
    """

    skeleton: Skeleton
    rotations: Float[Tensor, "T J 4"]
    root: Float[Tensor, "T 3"]
    fps: float
    valid: Bool[Tensor, "T 10"] | None = None
    contacts: Bool[Tensor, "T 4"] | None = None
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        frames = len(self.rotations)
        if frames == 0:
            raise MotionError("the motion has no frames; at least one is needed")
        check_joints(self.rotations.shape[1], self.skeleton)
        for name in ("root", "valid", "contacts"):
            array = {"root": self.root, "valid": self.valid, "contacts": self.contacts}[name]
            if array is not None and len(array) != frames:
                raise MotionError(f"rotations have {frames} frames, {name} has {len(array)}; they must agree")
        if not 1e-6 <= self.fps <= 1e6:
            raise MotionError(f"fps is {self.fps}; it must be a positive number from 1e-6 to 1e6")
        # A length shows NaN and infinity as well, and costs less than looking for them in every number.
        error = float((self.rotations.norm(dim=-1) - 1.0).abs().max())
        if not (error <= float("inf") and torch.isfinite(self.root).all()) or error == float("inf"):
            raise MotionError("the motion holds NaN or infinite values; repair or cut those frames first")
        if error > 1e-3:
            raise MotionError(f"a quaternion's length is off 1 by {error:.3g}; normalise the rotations first")

    def __len__(self) -> int:
        return len(self.rotations)

    @property
    def seconds(self) -> float:
        """Duration [s]: from the first frame to the last, plus the last frame's own share."""
        return len(self) / self.fps

    @cached_property
    def _world(self) -> tuple[Tensor, Tensor]:
        return forward_kinematics(self.rotations, self.root, self.skeleton)

    @property
    def positions(self) -> Float[Tensor, "T J 3"]:
        """World positions of the joints [m]."""
        return self._world[0]

    @property
    def world_rotations(self) -> Float[Tensor, "T J 4"]:
        """World rotations of the joints (wxyz)."""
        return self._world[1]

    @property
    def joints(self) -> np.ndarray:
        """World positions of the joints [m] as a numpy array of shape (T, J, 3)."""
        return self.positions.numpy()

    def __getitem__(self, span: slice) -> "Motion":
        """A piece by time: ``motion[1.0:2.5]`` from second 1 to 2.5, ``motion[-1.0:]`` the last second.

        Raises:
            MotionError: The span is empty or leaves the motion, or a step is given.
        """
        if not isinstance(span, slice) or span.step is not None:
            raise MotionError("a motion is sliced by seconds, as motion[1.0:2.5]; for other frame rates use at_fps")
        first, last = (
            value + self.seconds if value < 0 else value
            for value in (span.start or 0.0, self.seconds if span.stop is None else span.stop)
        )
        begin, end = round(first * self.fps), round(min(last, self.seconds) * self.fps)
        if not 0 <= begin < end:
            raise MotionError(f"{span.start} s to {span.stop} s is no span of a motion of {self.seconds:.2f} s")
        return take(self, torch.arange(begin, end))

    def then(self, other: "Motion", blend: float = 0.2) -> "Motion":
        """The motion and another after it, turned and moved to go on where the first ends; see ``edit.join``.

        Args:
            other: Of the same skeleton and frame rate.
            blend: Overlap over which one fades into the other [s].

        Raises:
            SkeletonError: The skeletons differ.
            MotionError: The frame rates differ, or the overlap is longer than one of the motions.
        """
        return resolve("motionloom.motion.edit:join")(self, other, blend)

    def features(self, layout: str = "humanml3d") -> np.ndarray:
        """Features of the motion at the layout's own frame rate.

        Args:
            layout: "humanml3d" (263 a frame, 20 fps) or "motionverse" (669 a frame, the motion's own rate).

        Raises:
            LayoutError: There is no such layout, or the motion is not of the canonical body.
        """
        encoders = {
            "humanml3d": lambda: resolve("motionloom.motion.features.humanml3d:encode_features")(self.at_fps(20.0)),
            "motionverse": lambda: resolve("motionloom.motion.features.motionverse:encode_motionverse")(self).features,
        }
        if layout not in encoders:
            raise LayoutError(f"there is no layout {layout!r}; layouts are {', '.join(encoders)}")
        return encoders[layout]().numpy()

    @staticmethod
    def load(path: "str | PathLike[str]", **options: Any) -> "Motion":
        """Read a file; its suffix chooses the format (see ``motionloom.motion.io.load``).

        Raises:
            MotionFileError: The format is unknown or the file cannot be read.
        """
        return resolve("motionloom.motion.io:load")(path, **options)

    def with_(self, **changes: Any) -> "Motion":
        """A copy with some fields replaced (and checked again)."""
        return replace(self, **changes)

    def part_valid(self, part: str) -> Bool[Tensor, " T"]:
        """In which frames a body part is known.

        Raises:
            MotionError: There is no such part.
        """
        if part not in PARTS:
            raise MotionError(f"there is no body part {part!r}; the parts are {', '.join(PARTS)}")
        if self.valid is None:
            return torch.ones(len(self), dtype=torch.bool)
        return self.valid[:, PARTS.index(part)]

    def at_fps(self, fps: float) -> "Motion":
        """The motion at another frame rate, by spherical interpolation; see ``resample``."""
        return resample(self, fps)

    def save(self, path: "str | PathLike[str]") -> None:
        """Write to a file; its suffix chooses the format (see ``motionloom.motion.formats``).

        Raises:
            MotionFileError: The format is unknown or cannot hold this motion.
        """
        write(self, path)


MAX_FPS = 1000.0


def resample(motion: Motion, fps: float) -> Motion:
    """The motion at another frame rate; first and last moment stay (the last to within one new frame).

    When the old rate is a whole multiple of the new one, frames are picked, not mixed.

    Raises:
        MotionError: ``fps`` is not between 0 and 1000, or the result would have millions of frames.
    """
    if not 0 < fps <= MAX_FPS:
        raise MotionError(f"fps is {fps}; it must lie between 0 and {MAX_FPS:g}")
    if fps == motion.fps:
        return motion
    ratio = motion.fps / fps
    if abs(ratio - round(ratio)) < 1e-6 and ratio >= 1:
        keep = torch.arange(0, len(motion), round(ratio))
        return take(motion, keep, fps)
    count = int((len(motion) - 1) / ratio + 1e-6) + 1
    if count > len(motion):
        # Frames a minute apart, as a wrong frame rate makes them, would become millions.
        where = f"{len(motion)} frames at {motion.fps:g} fps, brought to {fps:g} fps"
        MOTION.check(where, error=MotionError, frames=count, elements=4 * count * len(motion.skeleton))
    times = torch.arange(count, dtype=torch.float64) * ratio
    low = times.floor().long().clamp(max=len(motion) - 1)
    high = (low + 1).clamp(max=len(motion) - 1)
    weight = (times - low).to(motion.rotations.dtype)
    nearest = torch.where(weight < 0.5, low, high)
    return motion.with_(
        rotations=rot.slerp(motion.rotations[low], motion.rotations[high], weight[:, None]),
        root=torch.lerp(motion.root[low], motion.root[high], weight[:, None]),
        fps=float(fps),
        valid=None if motion.valid is None else motion.valid[nearest],
        contacts=None if motion.contacts is None else motion.contacts[nearest],
    )


def take(motion: Motion, frames: torch.Tensor, fps: float | None = None) -> Motion:
    """The frames of those indices, in that order."""
    return motion.with_(
        rotations=motion.rotations[frames],
        root=motion.root[frames],
        fps=float(fps or motion.fps),
        valid=None if motion.valid is None else motion.valid[frames],
        contacts=None if motion.contacts is None else motion.contacts[frames],
    )

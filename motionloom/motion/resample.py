"""Another frame rate: rotations by slerp, the root path linearly, masks by the nearest frame."""

import torch

from motionloom.errors import MotionError
from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion

MAX_FPS = 1000.0


def resample(motion: Motion, fps: float) -> Motion:
    """The motion at another frame rate; first and last moment stay (the last to within one new frame).

    When the old rate is a whole multiple of the new one, frames are picked, not mixed.

    Raises:
        MotionError: ``fps`` is not between 0 and 1000.
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

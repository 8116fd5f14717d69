"""Feet that stand stay where they are: the root's way over the ground follows from them."""

import torch
from torch.nn import functional as F

from motionloom.errors import MotionError
from motionloom.motion.contacts import FEET
from motionloom.motion.motion import Motion

WINDOW = 0.15
"""Over how long [s] the correction is smoothed, so that no step of the root begins with a jerk."""


def follow_feet(motion: Motion, window: float = WINDOW) -> Motion:
    """The motion with its root moved over the ground so that standing feet slide less.

    Legs and root of a made motion are separate guesses, and the legs are the better one: where feet stand, the mean
    of their speeds is taken off the root's. Poses, heights and turns stay as they are; the way may become shorter or
    longer.

    Args:
        motion: Of the canonical joints, with contacts.
        window: Length of the smoothing [s].

    Raises:
        MotionError: The motion has no contacts.
    """
    if motion.contacts is None:
        raise MotionError("the motion has no contacts, so nobody knows which foot stands: call with_contacts first")
    if len(motion) < 2:
        return motion
    feet = motion.positions[:, list(FEET)][..., [0, 2]]
    standing = (motion.contacts[1:] & motion.contacts[:-1]).to(feet)
    count = standing.sum(1, keepdim=True)
    slip = ((feet[1:] - feet[:-1]) * standing[..., None]).sum(1) / count.clamp(min=1.0)
    taps = max(1, 2 * round(window * motion.fps / 2 - 0.5) + 1)
    kernel = torch.hann_window(taps + 2, periodic=False)[1:-1].to(feet)
    kernel = (kernel / kernel.sum()).view(1, 1, -1)
    smooth = F.conv1d(F.pad(slip.T[:, None], (taps // 2, taps // 2)), kernel)[:, 0].T
    root = motion.root.clone()
    root[1:, [0, 2]] -= smooth.cumsum(0)
    return motion.with_(root=root)

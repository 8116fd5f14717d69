"""A jitter filter without delay: a polynomial fitted to a sliding window of rotations and root positions.

Source: Savitzky and Golay, "Smoothing and differentiation of data by simplified least squares procedures" (1964).
Unlike a plain average it keeps the peaks of a movement: whatever is a cubic over the window passes unchanged.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import MotionError
from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion

DEGREE = 3
MAX_WINDOW = 2.0


def smooth(motion: Motion, window: float) -> Motion:
    """The motion without jitter: every joint's rotation and the root's path filtered along time.

    Args:
        motion: The motion.
        window: Length of the sliding window [s], the filter's strength: rounded to an odd number of frames, no longer
            than the motion. Below five frames nothing would change, and the motion itself is returned.

    Raises:
        MotionError: The window is not between 0 and 2 s.
    """
    frames = window_frames(motion, window)
    if frames <= DEGREE + 1:
        return motion
    # A quaternion and its negative are one rotation: only a track without sign jumps can be fitted.
    tracks = rot.continuous(motion.rotations)
    rotations = rot.normalize(savitzky_golay(tracks.flatten(1), frames).view_as(tracks))
    return motion.with_(rotations=rotations, root=savitzky_golay(motion.root, frames))


def window_frames(motion: Motion, window: float) -> int:
    """Odd number of frames a window [s] covers, no more than the motion has.

    Raises:
        MotionError: The window is not between 0 and 2 s.
    """
    if not 0 <= window <= MAX_WINDOW:
        raise MotionError(f"a filter window of {window} s was asked for; it must be between 0 and {MAX_WINDOW:g} s")
    half = round((window * motion.fps - 1) / 2)
    return max(1, 2 * min(half, (len(motion) - 1) // 2) + 1)


def savitzky_golay(track: Float[Tensor, "T C"], window: int) -> Float[Tensor, "T C"]:
    """Value at each frame of the cubic fitted to the ``window`` frames around it; at the ends, to the last window.

    Args:
        track: Values over time.
        window: Odd number of frames, at least 5 and at most T.
    """
    frames, half = len(track), window // 2
    # The fit is linear in the values: row p gives the weights of the value at place p of the window.
    powers = torch.linspace(-1, 1, window, dtype=torch.float64)[:, None] ** torch.arange(DEGREE + 1)
    weights = powers @ torch.linalg.pinv(powers)
    first = (torch.arange(frames) - half).clamp(0, frames - window)
    rows = weights[torch.arange(frames) - first].to(track.device)
    result = torch.zeros_like(track, dtype=torch.float64)
    for place in range(window):
        result += rows[:, place, None] * track[first + place]
    return result.to(track)

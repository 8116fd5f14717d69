"""Euler angles over time without jumps."""

import numpy as np
from jaxtyping import Float


def unrolled(angles: Float[np.ndarray, "T J 3"], order: str) -> Float[np.ndarray, "T J 3"]:
    """The same rotations with each frame in the turn and branch nearest to the frame before.

    Args:
        angles: Of each joint and frame [rad].
        order: Three different axes, such as "ZXY".
    """
    # R(a, b, c) = R(a + pi, pi - b, c + pi); and where b is a right angle only a +- c counts.
    cyclic = order in ("XYZ", "YZX", "ZXY")
    turn = 2.0 * np.pi
    locked = np.abs(np.abs(angles[..., 1]) - np.pi / 2) < 2e-6
    result = np.empty_like(angles)
    last = np.zeros_like(angles[0])
    for frame, first in enumerate(angles):
        if locked[frame].any():
            rest = np.where(locked[frame], last[:, 2] - first[:, 2], 0.0)
            sign = np.where((first[:, 1] > 0) == cyclic, -1.0, 1.0)
            first = np.stack((first[:, 0] + sign * rest, first[:, 1], first[:, 2] + rest), axis=-1)
        second = np.stack((first[:, 0] + np.pi, np.pi - first[:, 1], first[:, 2] + np.pi), axis=-1)
        first = first + turn * np.round((last - first) / turn)
        second = second + turn * np.round((last - second) / turn)
        nearer = np.abs(second - last).sum(-1) < np.abs(first - last).sum(-1)
        last = np.where(nearer[:, None], second, first)
        result[frame] = last
    return result

"""Euler angles that go on without jumps, in any order of the three axes."""

import numpy as np
from jaxtyping import Float

from motionloom.motion import rotations as rot
from motionloom.motion.euler import unrolled
from motionloom.motion.rigs.scene import as_tensor


def smooth_euler(quaternions: Float[np.ndarray, "T J 4"], order: str) -> Float[np.ndarray, "T J 3"]:
    """Intrinsic Euler angles [rad], each frame in the turn and branch nearest to the frame before.

    ``R(a, b, c) = R(a + pi, pi - b, c + pi)`` for orders of three different letters; where ``b`` is a right angle only
    ``a`` and ``c`` together count, and ``c`` stays what it was.
    """
    angles = rot.to_euler(as_tensor(quaternions), order).numpy()
    return unrolled(angles, order)

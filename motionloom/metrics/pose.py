"""Errors between poses."""

from jaxtyping import Float
from torch import Tensor

from motionloom.motion import rotations as rot


def joint_error(a: Float[Tensor, "*batch J 3"], b: Float[Tensor, "*batch J 3"]) -> Float[Tensor, "*batch"]:
    """Mean distance of the joints (MPJPE) [m]."""
    return (a - b).norm(dim=-1).mean(-1)


def rotation_error(a: Float[Tensor, "*batch J 4"], b: Float[Tensor, "*batch J 4"]) -> Float[Tensor, "*batch"]:
    """Mean angle between the joints' rotations [rad]."""
    return rot.angle_between(a, b).mean(-1)

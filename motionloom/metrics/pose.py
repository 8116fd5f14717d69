"""Errors between poses and between motions.

Lengths are in metres. Two published conventions differ from what their names suggest; they stand beside the plain ones:
:data:`FLATTENED` displacement, and the frames that are evaluated (:func:`evaluated_frames`).
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import MotionError
from motionloom.motion import rotations as rot

FLATTENED = "norm over all joints' coordinates as one vector, not a mean over joints (MotionGPT, M3GPT)"


def joint_error(a: Float[Tensor, "*batch J 3"], b: Float[Tensor, "*batch J 3"]) -> Float[Tensor, "*batch"]:
    """Mean distance of the joints (MPJPE) [m]."""
    return (a - b).norm(dim=-1).mean(-1)


def root_aligned_error(a: Float[Tensor, "*batch J 3"], b: Float[Tensor, "*batch J 3"]) -> Float[Tensor, "*batch"]:
    """MPJPE after moving both roots (joint 0) to the origin [m]: the MPJPE of MotionGPT and M3GPT."""
    return joint_error(a - a[..., :1, :], b - b[..., :1, :])


def procrustes_error(a: Float[Tensor, "*batch J 3"], b: Float[Tensor, "*batch J 3"]) -> Float[Tensor, "*batch"]:
    """MPJPE after the turn, size and shift that bring ``a`` nearest to ``b`` (PA-MPJPE) [m].

    Each pose is aligned by itself. Source: Umeyama 1991, equations 39 to 42; mirroring is not allowed.
    """
    centre = b.mean(-2, keepdim=True)
    source, target = a - a.mean(-2, keepdim=True), b - centre
    u, singular, vh = torch.linalg.svd(source.transpose(-1, -2) @ target)
    sign = torch.ones_like(singular)
    sign[..., 2] = torch.where(torch.linalg.det(u @ vh) < 0, -1.0, 1.0)
    turn = (u * sign[..., None, :]) @ vh
    # A pose in a single point has no size; whatever it is scaled by, it stays in the centre.
    spread = source.square().sum((-1, -2)).clamp(min=torch.finfo(a.dtype).tiny)
    scale = (singular * sign).sum(-1) / spread
    return joint_error(scale[..., None, None] * (source @ turn) + centre, b)


def rotation_error(a: Float[Tensor, "*batch J 4"], b: Float[Tensor, "*batch J 4"]) -> Float[Tensor, "*batch"]:
    """Mean angle between the joints' rotations [rad]."""
    return rot.angle_between(a, b).mean(-1)


def acceleration_error(
    a: Float[Tensor, "*batch T J 3"], b: Float[Tensor, "*batch T J 3"], fps: float | None = None
) -> Float[Tensor, "*batch F"]:
    """Mean distance between the joints' second differences, for all frames but the first and the last.

    Args:
        a: Positions of a motion [m].
        b: Positions of another of the same frames.
        fps: Frames a second, for a result in m/s²; without it the result is in m per frame², as published
            (Kanazawa et al. 2019, MotionGPT), and grows fourfold when the frame rate is halved.

    Raises:
        MotionError: There are fewer than three frames, or ``fps`` is not positive.
    """
    if a.shape[-3] < 3:
        raise MotionError(f"the motion has {a.shape[-3]} frame(s); an acceleration needs at least 3")
    if fps is not None and not fps > 0:
        raise MotionError(f"fps is {fps}; it must be a positive number")
    per_second = 1.0 if fps is None else fps**2
    return joint_error(torch.diff(a, n=2, dim=-3), torch.diff(b, n=2, dim=-3)) * per_second


def average_displacement(a: Float[Tensor, "T J 3"], b: Float[Tensor, "T J 3"]) -> float:
    """ADE: mean over frames of the distance between two poses, :data:`FLATTENED` [m].

    Cut both motions to the frames to be evaluated first (:func:`evaluated_frames`).

    Raises:
        MotionError: There are no frames.
    """
    return float(_displacement(a, b).mean())


def final_displacement(a: Float[Tensor, "T J 3"], b: Float[Tensor, "T J 3"]) -> float:
    """FDE: the same distance in the last frame only, :data:`FLATTENED` [m].

    Raises:
        MotionError: There are no frames.
    """
    return float(_displacement(a, b)[-1])


def evaluated_frames(task: Literal["prediction", "in-between"], frames: int, padded: int | None = None) -> slice:
    """The frames MotionGPT and M3GPT evaluate.

    Prediction: all after the first fifth. In-between: the middle half. The published prediction runs to the end of the
    *padded* batch, so that padding counts; ``padded`` reproduces that, and without it the motion's own end is used.

    Args:
        task: Which task.
        frames: Length of the motion.
        padded: Length of the padded array the motion lies in.

    Raises:
        MotionError: There are no frames, or the padded array is shorter than the motion.
    """
    if frames < 1 or (padded is not None and padded < frames):
        raise MotionError(f"{frames} frames, padded to {padded}; at least 1 frame and no less padding are needed")
    if task == "prediction":
        return slice(int(0.2 * frames), frames if padded is None else padded)
    edge = int(0.25 * frames)
    return slice(edge, frames - edge)


def _displacement(a: Float[Tensor, "T J 3"], b: Float[Tensor, "T J 3"]) -> Float[Tensor, " T"]:
    if len(a) == 0:
        raise MotionError("no frames to compare; at least one is needed")
    return (a - b).flatten(1).norm(dim=-1)

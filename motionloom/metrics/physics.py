"""Physical quality of a motion: do feet slide, sink or float, does the body tremble, bend or stretch where it cannot?

The floor is at height 0 unless said otherwise; all figures name their unit, and all use the declared frame rate, so
that they can be compared between frame rates. Heights are those of joints, not of the skin: even real motion "floats"
by the thickness of a foot. Compare with the same figures of real clips, never with 0.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import MotionError
from motionloom.motion import rotations as rot
from motionloom.motion.skeleton import CANONICAL, Skeleton

FEET = (7, 10, 8, 11)
TOES = (10, 11)
SLIDE_HEIGHT = 0.06
"""A toe lower than this [m] is taken to stand when foot slide is measured."""
SKATE_HEIGHT, SKATE_SPEED, SKATE_SECONDS = 0.05, 0.5, 0.25
"""Skating ratio as published (GMD, OmniControl): a toe below 5 cm, faster than 0.5 m/s at once and as a mean over 5
frames at 20 fps. Frames before and after the clip count as standing still in that mean."""
BACKWARD = 10.0
"""How far [degrees] a knee or an elbow may bend the wrong way."""

# How far a bone may turn away from where it is in the T-pose, and about itself [degrees]. Wide limits, at about the
# 99.9th percentile of the motion capture the starter was trained on: what exceeds them is no unusual pose, but a fault.
_LIMITS = {
    "hip": (125, 80),
    "spine1": (60, 35),
    "spine2": (40, 35),
    "spine3": (45, 30),
    "knee": (160, 30),
    "ankle": (70, 50),
    "foot": (65, 30),
    "neck": (60, 65),
    "head": (60, 75),
    "collar": (45, 35),
    "shoulder": (130, 120),
    "elbow": (160, 95),
    "wrist": (95, 110),
}


@dataclass(frozen=True)
class Physics:
    """Physical figures of one motion.

    Attributes:
        slide: Mean speed of the toes while they are below 6 cm [m/s].
        skate_ratio: Share of the frames in which a low toe moves faster than 0.5 m/s, as published.
        penetration: Mean depth of the lowest joint below the floor [m].
        float_: Mean height of the lowest joint above the floor [m].
        jitter: Mean size of the third difference of the joints, as jerk [m/s³].
        bone_length: Mean deviation of the bones' lengths from their own means over the clip [m].
        joint_limit: Mean angle by which joints exceed their limits [rad]; ``None`` where rotations were not given.
        fps: The frame rate that was declared.
        floor: The height of the floor that was declared [m].
    """

    slide: float
    skate_ratio: float
    penetration: float
    float_: float
    jitter: float
    bone_length: float
    joint_limit: float | None
    fps: float
    floor: float


def physics(
    positions: Float[Tensor, "T 22 3"],
    fps: float,
    floor: float = 0.0,
    rotations: Float[Tensor, "T 22 4"] | None = None,
) -> Physics:
    """Measure the physical quality of a motion of the canonical body.

    Args:
        positions: World positions of the joints [m].
        fps: Frames a second.
        floor: Height of the floor [m]; ``motion.edit.floor_height`` estimates it.
        rotations: Local rotations, to measure joint limits too.

    Raises:
        MotionError: There are no frames, a position is NaN or infinite, or ``fps`` is not positive.
    """
    _check(positions, fps)
    return Physics(
        slide=foot_slide(positions, fps, floor),
        skate_ratio=skate_ratio(positions, fps, floor),
        penetration=penetration(positions, floor),
        float_=floating(positions, floor),
        jitter=jitter(positions, fps),
        bone_length=bone_length_error(positions, CANONICAL),
        joint_limit=None if rotations is None else float(joint_limit_excess(rotations).mean()),
        fps=fps,
        floor=floor,
    )


def foot_slide(positions: Float[Tensor, "T 22 3"], fps: float, floor: float = 0.0) -> float:
    """Mean horizontal speed of the toes while they are lower than 6 cm [m/s]; 0 if they never are."""
    toes = positions[:, TOES]
    if len(toes) < 2:
        return 0.0
    speed = (toes[1:] - toes[:-1])[..., [0, 2]].norm(dim=-1) * fps
    low = (toes[1:, :, 1] - floor < SLIDE_HEIGHT) & (toes[:-1, :, 1] - floor < SLIDE_HEIGHT)
    return float(speed[low].mean()) if bool(low.any()) else 0.0


def skate_ratio(positions: Float[Tensor, "T 22 3"], fps: float, floor: float = 0.0) -> float:
    """Share of the steps between frames in which a low toe is fast, at once and on average (:data:`SKATE_HEIGHT`).

    Source: GMD (Karunratanakul et al. 2023), OmniControl (Xie et al. 2024); the average is over the odd number of
    frames nearest to a quarter of a second, which at their 20 fps is their 5.
    """
    toes = positions[:, TOES].double()
    if len(toes) < 2:
        return 0.0
    speed = toes[..., [0, 2]].diff(dim=0).norm(dim=-1) * fps
    half = max(0, round((SKATE_SECONDS * fps - 1) / 2))
    kernel = torch.full((1, 1, 2 * half + 1), 1 / (2 * half + 1)).to(speed)
    average = torch.nn.functional.conv1d(speed.T[:, None], kernel, padding=half)[:, 0].T
    low = toes[..., 1] - floor < SKATE_HEIGHT
    skating = low[1:] & low[:-1] & (speed > SKATE_SPEED) & (average > SKATE_SPEED)
    return float(skating.any(dim=1).double().mean())


def penetration(positions: Float[Tensor, "T J 3"], floor: float = 0.0) -> float:
    """Mean over frames of how deep the lowest joint is below the floor [m]; frames above it count as 0."""
    return float((floor - positions[..., 1].amin(-1)).clamp(min=0).mean())


def floating(positions: Float[Tensor, "T J 3"], floor: float = 0.0) -> float:
    """Mean over frames of how high the lowest joint is above the floor [m]; jumps and thick soles count too."""
    return float((positions[..., 1].amin(-1) - floor).clamp(min=0).mean())


def jitter(positions: Float[Tensor, "T J 3"], fps: float) -> float:
    """Mean jerk: size of the third difference of the joints' places [m/s³]; 0 with fewer than four frames."""
    if len(positions) < 4:
        return 0.0
    return float((torch.diff(positions, n=3, dim=0).norm(dim=-1) * fps**3).mean())


def bone_length_error(positions: Float[Tensor, "T J 3"], skeleton: Skeleton, own: bool = True) -> float:
    """Mean deviation of the bones' lengths [m].

    Args:
        positions: World positions of the joints [m].
        skeleton: Which joints are joined.
        own: Compare with each bone's mean over the clip, which finds stretching; otherwise with the skeleton's
            lengths, which also finds another body.

    Raises:
        MotionError: The positions have another number of joints than the skeleton.
    """
    if positions.shape[1] != len(skeleton):
        raise MotionError(
            f"positions of {positions.shape[1]} joints, a skeleton of {len(skeleton)}; is this motion for another body?"
        )
    lengths = (positions[:, 1:] - positions[:, list(skeleton.parents[1:])]).norm(dim=-1)
    wanted = lengths.mean(0) if own else skeleton.offsets[1:].to(lengths).norm(dim=-1)
    return float((lengths - wanted).abs().mean())


def joint_limit_excess(rotations: Float[Tensor, "T 22 4"]) -> Float[Tensor, "T 21"]:
    """By how much each joint of the canonical body but the root exceeds its limits [rad]; 0 within them.

    A joint's rotation is a bend, which takes the bone away from its place in the T-pose, and a twist about the bone.
    The excess is the largest of excess bend, excess twist and, at knees and elbows, excess bend the wrong way.
    """
    local = rotations[:, 1:].double()
    local = torch.where(local[..., :1] < 0, -local, local)
    axes, swings, twists = _limits()
    pointing = rot.rotate(local, axes.expand(len(local), -1, -1))
    bend = torch.arccos((pointing * axes).sum(-1).clamp(-1.0, 1.0))
    twist = 2 * torch.atan2((local[..., 1:] * axes).sum(-1), local[..., 0])
    excess = torch.maximum(bend - swings, twist.abs() - twists)
    for joint, name in enumerate(CANONICAL.names[1:]):
        # A shin bends back from hanging down, a forearm forward from pointing outwards.
        if name.endswith("knee"):
            wrong = torch.atan2(pointing[:, joint, 2], -pointing[:, joint, 1])
        elif name.endswith("elbow"):
            wrong = torch.atan2(-pointing[:, joint, 2], pointing[:, joint, 0] * axes[joint, 0].sign())
        else:
            continue
        excess[:, joint] = torch.maximum(excess[:, joint], wrong - math.radians(BACKWARD))
    return excess.clamp(min=0.0)


def _limits() -> tuple[Float[Tensor, "21 3"], Float[Tensor, " 21"], Float[Tensor, " 21"]]:
    """Bone directions in the T-pose, and the limits of bend and twist [rad], of all joints but the root."""
    offsets = CANONICAL.offsets.double()
    bones = [
        offsets[list(children)].mean(0) if children else offsets[joint]
        for joint, children in enumerate(CANONICAL.children)
    ]
    limits = torch.tensor([_LIMITS[name.split("_")[-1]] for name in CANONICAL.names[1:]], dtype=torch.float64)
    swings, twists = torch.deg2rad(limits).unbind(-1)
    return rot.normalize(torch.stack(bones[1:])), swings, twists


def _check(positions: Float[Tensor, "T J 3"], fps: float) -> None:
    if len(positions) == 0:
        raise MotionError("the motion has no frames; at least one is needed")
    if not torch.isfinite(positions).all():
        raise MotionError("a position is NaN or infinite; repair or cut those frames first")
    if not 0 < fps < math.inf:
        raise MotionError(f"fps is {fps}; it must be a positive number")

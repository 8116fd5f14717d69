"""What a body does in a motion, as plain numbers: how low and high it goes, where hands and feet get to, which way.

Beside ``measurements.py``, whose quantities tell ways of walking and waving apart, these tell actions of the whole body
apart: jumps, kicks, punches, squats, reaching, lying down. Directions are those of the body at the moment: ahead is
where hips and shoulders face, out is away from the body's middle on a limb's own side.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from motionloom.errors import MotionError
from motionloom.motion.kinematics import facing, yaw

_EDGE = 0.2
"""Start and end are means over this time [s]."""
_CLEAR = 0.05
"""Both feet higher than this above where they stand [m]: the body is in the air."""


@dataclass(frozen=True)
class Foot:
    """What one foot does.

    Attributes:
        high: How far its ankle rises above its lowest place [m].
        knee: How far its knee rises above its lowest place [m].
        ahead: Place of the ankle at its highest, ahead of the pelvis [m].
        out: The same, out to the foot's own side [m].
        left: The same, to the left as seen at the start [m].
        speed: Highest speed of the ankle about the pelvis [m/s].
        straight: Bend of the knee at the ankle's highest [rad].
    """

    high: float
    knee: float
    ahead: float
    out: float
    left: float
    speed: float
    straight: float


@dataclass(frozen=True)
class Reach:
    """What one hand does.

    Attributes:
        high: Highest place of the wrist above the floor [m].
        low: Lowest place [m].
        start: Height in the first moments [m].
        end: Height in the last moments [m].
        far: Greatest distance from its shoulder [m]; 0.51 with a straight arm.
        near: Smallest distance from its shoulder [m].
        ahead: Farthest place ahead of the shoulder [m].
        out: Farthest place out to the hand's own side of the shoulder [m].
        back: Farthest place behind the shoulder [m].
        across: Farthest place of the wrist to the other side of the body's middle [m].
        speed: Highest speed about the shoulder [m/s].
        way: Length of its path about the shoulder [m].
        face: Smallest distance from the head [m].
    """

    high: float
    low: float
    start: float
    end: float
    far: float
    near: float
    ahead: float
    out: float
    back: float
    across: float
    speed: float
    way: float
    face: float


@dataclass(frozen=True)
class BodyFacts:
    """What the body does.

    Attributes:
        seconds: Duration [s].
        pelvis_start: Height of the pelvis in the first moments [m]; 0.95 in a stand.
        pelvis_end: Height in the last moments [m].
        pelvis_low: Lowest height [m].
        pelvis_high: Highest height [m].
        head_end: Height of the head in the last moments [m].
        head_low: Lowest height of the head [m].
        dips: How often the pelvis goes down by 12 cm and up again.
        air: Longest time both feet are off the floor [s].
        hops: How often both feet leave the floor.
        forward: Way of the pelvis from the first place to the last, ahead as seen at the start [m].
        leftward: The same, to the left [m].
        net: Distance from the first place to the last [m].
        path: Length of the pelvis's path over the floor [m].
        turn: Facing at the end against the start [deg], full turns counted; positive to the left.
        turned: Largest turn on the way [deg], either way, with its sign.
        apart: Greatest distance of the ankles ahead of each other [m].
        wide: Greatest distance of the ankles sideways [m].
        lean: Greatest lean of the trunk from upright [deg].
        stirs: Mean speed of the wrists and ankles about the pelvis [m/s].
        leading: How far the left ankle is ahead of the right one when the pelvis is lowest [m].
        crossed: Smallest distances of the left elbow from the right knee, and of the right from the left [m].
        hands_apart: Smallest distance of the wrists [m].
        left_foot: The left foot.
        right_foot: The right foot.
        left_hand: The left hand.
        right_hand: The right hand.
        knees: Largest bend of the left and the right knee [rad].
    """

    seconds: float
    pelvis_start: float
    pelvis_end: float
    pelvis_low: float
    pelvis_high: float
    head_end: float
    head_low: float
    dips: int
    air: float
    hops: int
    forward: float
    leftward: float
    net: float
    path: float
    turn: float
    turned: float
    apart: float
    wide: float
    lean: float
    stirs: float
    leading: float
    crossed: tuple[float, float]
    hands_apart: float
    left_foot: Foot
    right_foot: Foot
    left_hand: Reach
    right_hand: Reach
    knees: tuple[float, float]


def body_facts(joints: Float[Tensor, "T 22 3"], fps: float) -> BodyFacts:
    """Measure a motion of the canonical body that stands on a floor at height 0.

    Args:
        joints: World positions of the joints [m], Y up.
        fps: Frames a second.

    Raises:
        MotionError: There are fewer than four frames.
    """
    if len(joints) < 4:
        raise MotionError(f"the motion has {len(joints)} frames; measuring what a body does needs at least 4")
    points = joints.detach().cpu().double()
    edge = max(1, round(_EDGE * fps))
    ahead = facing(points)
    # Who lies has no facing that means anything; the last upright one is kept.
    upright = (points[:, 12, 1] - points[:, 0, 1]) > 0.2
    kept = torch.where(upright, torch.arange(len(points)), torch.zeros(len(points), dtype=torch.long)).cummax(0).values
    ahead = ahead[kept]
    left = torch.stack((ahead[:, 2], ahead[:, 1], -ahead[:, 0]), dim=-1)
    p, front, side = points.numpy(), ahead.numpy(), left.numpy()
    heading = yaw(ahead)
    turns = heading.diff()
    heading = torch.cat((torch.zeros(1).double(), torch.atan2(turns.sin(), turns.cos()).cumsum(0))).numpy()
    feet = p[:, [7, 8, 10, 11], 1]
    above = feet - np.quantile(feet, 0.05, axis=0)
    flying = above.min(axis=1) > _CLEAR
    ground = p[:, 0, [0, 2]]
    travel = p[-edge:, 0].mean(0) - p[:edge, 0].mean(0)
    trunk = p[:, 12] - p[:, 0]
    apart = p[:, 7] - p[:, 8]
    limbs = p[:, [7, 8, 20, 21]] - p[:, :1]
    crossed = [np.linalg.norm(p[:, elbow] - p[:, knee], axis=-1).min() for elbow, knee in ((18, 5), (19, 4))]
    return BodyFacts(
        seconds=len(p) / fps,
        pelvis_start=float(p[:edge, 0, 1].mean()),
        pelvis_end=float(p[-edge:, 0, 1].mean()),
        pelvis_low=float(p[:, 0, 1].min()),
        pelvis_high=float(p[:, 0, 1].max()),
        head_end=float(p[-edge:, 15, 1].mean()),
        head_low=float(p[:, 15, 1].min()),
        dips=_dips(p[:, 0, 1], 0.12),
        air=_longest(flying) / fps,
        hops=int((np.diff(flying.astype(int), prepend=0) > 0).sum()),
        forward=float(travel @ front[0]),
        leftward=float(travel @ side[0]),
        net=float(np.hypot(travel[0], travel[2])),
        path=float(np.linalg.norm(np.diff(ground, axis=0), axis=-1).sum()),
        turn=math.degrees(float(heading[-edge:].mean() - heading[:edge].mean())),
        turned=math.degrees(float(heading[np.abs(heading).argmax()])),
        apart=float(np.abs((apart * front).sum(-1)).max()),
        wide=float(np.abs((apart * side).sum(-1)).max()),
        lean=math.degrees(float(np.arccos(np.clip(trunk[:, 1] / np.linalg.norm(trunk, axis=-1), -1, 1)).max())),
        stirs=float(np.linalg.norm(np.diff(limbs, axis=0), axis=-1).mean() * fps),
        leading=float((apart * front).sum(-1)[int(p[:, 0, 1].argmin())]),
        crossed=(float(crossed[0]), float(crossed[1])),
        hands_apart=float(np.linalg.norm(p[:, 20] - p[:, 21], axis=-1).min()),
        left_foot=_foot(p, front, side, fps, 7, 4, 1, 1.0),
        right_foot=_foot(p, front, side, fps, 8, 5, 2, -1.0),
        left_hand=_reach(p, front, side, fps, edge, 20, 16, 1.0),
        right_hand=_reach(p, front, side, fps, edge, 21, 17, -1.0),
        knees=(float(_bend(p, 1, 4, 7).max()), float(_bend(p, 2, 5, 8).max())),
    )


Points = NDArray[np.float64]


def _foot(p: Points, front: Points, side: Points, fps: float, ankle: int, knee: int, hip: int, sign: float) -> Foot:
    top = int(p[:, ankle, 1].argmax())
    place = p[top, ankle] - p[top, 0]
    about = p[:, ankle] - p[:, 0]
    return Foot(
        high=float(p[:, ankle, 1].max() - np.quantile(p[:, ankle, 1], 0.05)),
        knee=float(p[:, knee, 1].max() - np.quantile(p[:, knee, 1], 0.05)),
        ahead=float(place @ front[top]),
        out=float(sign * (place @ side[top])),
        left=float(place @ side[0]),
        speed=float(np.linalg.norm(np.diff(about, axis=0), axis=-1).max() * fps),
        straight=float(_bend(p, hip, knee, ankle)[top]),
    )


def _reach(
    p: Points, front: Points, side: Points, fps: float, edge: int, wrist: int, shoulder: int, sign: float
) -> Reach:
    arm = p[:, wrist] - p[:, shoulder]
    far = np.linalg.norm(arm, axis=-1)
    ahead, out = (arm * front).sum(-1), sign * (arm * side).sum(-1)
    middle = -sign * ((p[:, wrist] - p[:, 0]) * side).sum(-1)
    step = np.linalg.norm(np.diff(arm, axis=0), axis=-1)
    return Reach(
        high=float(p[:, wrist, 1].max()),
        low=float(p[:, wrist, 1].min()),
        start=float(p[:edge, wrist, 1].mean()),
        end=float(p[-edge:, wrist, 1].mean()),
        far=float(far.max()),
        near=float(far.min()),
        ahead=float(ahead.max()),
        out=float(out.max()),
        back=float(-ahead.min()),
        across=float(middle.max()),
        speed=float(step.max() * fps),
        way=float(step.sum()),
        face=float(np.linalg.norm(p[:, wrist] - p[:, 15], axis=-1).min()),
    )


def _bend(p: Points, above: int, joint: int, below: int) -> Points:
    """Angle by which a limb is bent at a joint [rad]: 0 when it is straight."""
    first, second = p[:, joint] - p[:, above], p[:, below] - p[:, joint]
    cosine = (first * second).sum(-1) / (np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1))
    return np.arccos(np.clip(cosine, -1.0, 1.0))


def _dips(height: Points, size: float) -> int:
    """How often a height goes down by ``size`` and up again by as much."""
    count, low, high, down = 0, height[0], height[0], False
    for value in height:
        if down:
            low = min(low, value)
            if value > low + size:
                count, down, high = count + 1, False, value
        else:
            high = max(high, value)
            if value < high - size:
                down, low = True, value
    return count


def _longest(mask: NDArray[np.bool_]) -> int:
    best = run = 0
    for value in mask:
        run = run + 1 if value else 0
        best = max(best, run)
    return best

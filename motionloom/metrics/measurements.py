"""Plain quantities of a motion of the canonical body: speeds, turns, leans, what each hand does.

A hand's height is that of the wrist above its own shoulder: with the canonical body an arm hanging down has
-0.48 m, one stretched up +0.47 m.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import MotionError
from motionloom.motion.kinematics import facing, yaw

EDGE_SECONDS = 0.2
"""Start and end poses are means over this time."""
LIFTED = -0.25
"""A hand higher than this [m] is lifted: about chest height."""
LOW_TOE = 0.06
"""A toe below this height [m] above the floor counts for the foot slide."""


@dataclass(frozen=True)
class Hand:
    """What one hand does.

    Attributes:
        start: Height in the first moments [m].
        end: Height in the last moments [m].
        peak: Greatest height [m].
        lifted_seconds: Time it spends lifted [s].
        speed: Mean speed of the wrist about its shoulder, in the body's frame, while lifted [m/s].
        swings: Turning points of its path while lifted, wiggles below 3 cm ignored (most of the three axes).
        small_swings: The same, wiggles below 1.5 cm ignored.
    """

    start: float
    end: float
    peak: float
    lifted_seconds: float
    speed: float
    swings: int
    small_swings: int

    @property
    def way(self) -> float:
        """Length of the wrist's path while lifted [m]."""
        return self.speed * self.lifted_seconds


@dataclass(frozen=True)
class Measurements:
    """Plain quantities of a motion.

    Attributes:
        seconds: Duration [s].
        speed: Mean horizontal speed of the pelvis [m/s].
        top_speed: Greatest mean speed over half a second [m/s].
        forward: Way of the pelvis along the facing direction, summed step by step [m].
        leftward: Way to the body's left, likewise [m].
        net: Distance from the first place to the last [m].
        turn: Facing at the end against the start [deg], full turns counted; positive to the left.
        steps: How often the legs change over.
        flight: Share of the time both feet are off the floor.
        lean: Mean forward lean of the trunk, pelvis to neck [deg].
        bow_lean: Greatest lean above that at the start [deg].
        bow_drop: How far the head sinks below its standing height [m].
        bow_return: Share of that drop the head makes good afterwards.
        foot_slide: Mean horizontal speed of the toes while they are below 6 cm [m/s]; low swings count.
        planted_slide: The same of only the slower low toe in each frame: of the standing foot [m/s].
        left: The left hand.
        right: The right hand.
    """

    seconds: float
    speed: float
    top_speed: float
    forward: float
    leftward: float
    net: float
    turn: float
    steps: int
    flight: float
    lean: float
    bow_lean: float
    bow_drop: float
    bow_return: float
    foot_slide: float
    planted_slide: float
    left: Hand
    right: Hand

    @property
    def path(self) -> float:
        """Length of the pelvis's path [m]."""
        return self.speed * self.seconds

    @property
    def forward_share(self) -> float:
        """Part of the path that goes forward; -1 is straight back."""
        return self.forward / max(self.path, 1e-6)

    @property
    def leftward_share(self) -> float:
        """Part of the path that goes to the left; -1 is straight to the right."""
        return self.leftward / max(self.path, 1e-6)


def measure(joints: Float[Tensor, "T 22 3"], fps: float) -> Measurements:
    """Measure a motion of the canonical body.

    Args:
        joints: World positions of the joints [m], Y up.
        fps: Frames a second.

    Raises:
        MotionError: There is only one frame.
    """
    if len(joints) < 2:
        raise MotionError("the motion has 1 frame; measuring speeds needs at least 2")
    joints = joints.detach().cpu().double()
    edge = max(1, round(EDGE_SECONDS * fps))
    ahead = facing(joints)
    left = torch.stack((ahead[:, 2], ahead[:, 1], -ahead[:, 0]), dim=-1)

    moves = (joints[1:, 0] - joints[:-1, 0]) * torch.tensor([1.0, 0.0, 1.0]).to(joints)
    way = torch.cat((torch.zeros(1).to(joints), moves.norm(dim=-1).cumsum(0)))
    span = min(max(1, round(0.5 * fps)), len(way) - 1)
    turns = yaw(ahead).diff()
    heading = torch.cat((torch.zeros(1).to(joints), torch.atan2(turns.sin(), turns.cos()).cumsum(0)))
    trunk = joints[:, 12] - joints[:, 0]
    lean = torch.rad2deg(torch.atan2((trunk * ahead).sum(-1), trunk[:, 1]))
    head = joints[:, 15, 1]
    lowest = int(head.argmin())
    drop = max(head[:edge].mean(), head[-edge:].mean()) - head[lowest]
    foot_slide, planted_slide = _slides(joints, fps)
    return Measurements(
        seconds=len(joints) / fps,
        speed=float(way[-1]) * fps / (len(joints) - 1),
        top_speed=float((way[span:] - way[:-span]).max()) * fps / span,
        forward=float((moves * ahead[:-1]).sum()),
        leftward=float((moves * left[:-1]).sum()),
        net=float(moves.sum(dim=0).norm()),
        turn=math.degrees(float(heading[-edge:].mean() - heading[:edge].mean())),
        steps=_turning_points(((joints[:, 7] - joints[:, 8]) * ahead).sum(-1), 0.15),
        flight=_flight(joints),
        lean=float(lean.mean()),
        bow_lean=float(lean.max() - lean[:edge].mean()),
        bow_drop=float(drop),
        bow_return=float((head[lowest:].max() - head[lowest]) / drop.clamp(min=1e-6)),
        foot_slide=foot_slide,
        planted_slide=planted_slide,
        left=_hand(joints, ahead, left, fps, wrist=20, shoulder=16),
        right=_hand(joints, ahead, left, fps, wrist=21, shoulder=17),
    )


def _hand(
    joints: Float[Tensor, "T 22 3"],
    ahead: Float[Tensor, "T 3"],
    left: Float[Tensor, "T 3"],
    fps: float,
    wrist: int,
    shoulder: int,
) -> Hand:
    edge = max(1, round(EDGE_SECONDS * fps))
    arm = joints[:, wrist] - joints[:, shoulder]
    height = arm[:, 1]
    lifted = height > LIFTED
    speed, swings, small = 0.0, 0, 0
    if lifted.sum() > 1:
        body = torch.stack(((arm * left).sum(-1), height, (arm * ahead).sum(-1)), dim=-1)
        first, last = int(lifted.nonzero()[0]), int(lifted.nonzero()[-1])
        steps = body.diff(dim=0).norm(dim=-1)[lifted[1:] & lifted[:-1]]
        speed = float(steps.mean()) * fps if len(steps) else 0.0
        axes = body[first : last + 1].unbind(dim=-1)
        swings, small = (max(_turning_points(axis, size) for axis in axes) for size in (0.03, 0.015))
    return Hand(
        start=float(height[:edge].mean()),
        end=float(height[-edge:].mean()),
        peak=float(height.max()),
        lifted_seconds=float(lifted.sum()) / fps,
        speed=speed,
        swings=swings,
        small_swings=small,
    )


def _slides(joints: Float[Tensor, "T 22 3"], fps: float) -> tuple[float, float]:
    """Mean horizontal speed of the low toes, and of the slower low toe in each frame [m/s]."""
    toes = joints[:, [10, 11]]
    floor = torch.quantile(toes[..., 1].amin(dim=-1), 0.05)
    low = toes[..., 1] - floor < LOW_TOE
    low = low[1:] & low[:-1]
    speed = toes[..., [0, 2]].diff(dim=0).norm(dim=-1) * fps
    if not low.any():
        return 0.0, 0.0
    slower = speed.masked_fill(~low, math.inf).amin(dim=-1)
    return float(speed[low].mean()), float(slower[slower.isfinite()].mean())


def _flight(joints: Float[Tensor, "T 22 3"]) -> float:
    """Share of the frames in which ankle and toe of both feet are over 3 cm above their own lowest height."""
    feet = joints[:, [7, 8, 10, 11], 1]
    above = feet - torch.quantile(feet, 0.05, dim=0)
    return float((torch.minimum(above[:, :2], above[:, 2:]) > 0.03).all(dim=-1).double().mean())


def _turning_points(signal: Float[Tensor, " T"], size: float) -> int:
    """Count the extremes of a signal, ignoring wiggles smaller than ``size``."""
    count, rising = 0, None
    low = high = float(signal[0])
    for value in signal.tolist():
        low, high = min(low, value), max(high, value)
        if rising is not False and value < high - size:
            count, rising, low = count + (rising is True), False, value
        elif rising is not True and value > low + size:
            count, rising, high = count + (rising is False), True, value
    return count

"""Two-bone inverse kinematics: the turns of thigh and shin that bring an ankle to a place.

Analytic and batched. The plane of the knee turns with the line from hip to ankle and is otherwise kept, so a knee goes
on pointing where it pointed, and a target that is already met changes nothing.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from motionloom.motion import rotations as rot

STRETCH = 0.999
"""Share of a limb's full length it is straightened to at most; just before that a knee would jump."""


@dataclass(frozen=True)
class TwoBone:
    """How a limb has to turn.

    Attributes:
        upper: Rotation in world axes, to be multiplied from the left to the upper bone's world rotation.
        lower: The same for the lower bone.
        end: Where the end comes to [m]: the target, or as far towards it as the limb reaches.
    """

    upper: Float[Tensor, "*batch 4"]
    lower: Float[Tensor, "*batch 4"]
    end: Float[Tensor, "*batch 3"]


def two_bone(
    start: Float[Tensor, "*batch 3"],
    middle: Float[Tensor, "*batch 3"],
    end: Float[Tensor, "*batch 3"],
    target: Float[Tensor, "*batch 3"],
    pole: Float[Tensor, "*batch 3"],
) -> TwoBone:
    """Bring the end of a limb to a target by the law of cosines.

    Args:
        start: Where the upper bone begins (hip) [m].
        middle: Where it meets the lower bone (knee) [m].
        end: Where that ends (ankle) [m].
        target: Where the end shall be [m].
        pole: Direction a limb that is perfectly straight bends towards; a bent one keeps its own.
    """
    first, second, span = middle - start, end - middle, end - start
    a, b = first.norm(dim=-1, keepdim=True), second.norm(dim=-1, keepdim=True)
    # A limb that is straighter than the limit may stay so: an unchanged target must change nothing.
    longest = torch.maximum(STRETCH * (a + b), span.norm(dim=-1, keepdim=True))
    shortest = (a - b).abs() + 1e-3 * (a + b)
    shortest = torch.minimum(shortest, span.norm(dim=-1, keepdim=True))
    wish = (target - start).norm(dim=-1, keepdim=True)
    distance = torch.minimum(torch.maximum(wish, shortest), longest).clamp(min=1e-6)
    swing = rot.between(span, target - start)
    ahead = rot.rotate(swing, rot.normalize(span))
    bend = _across(rot.rotate(swing, first), ahead)
    spare = _across(pole, ahead)
    # Where the pole is of no use either, any direction is as good: that of the axis the limb is least along.
    beside = _across(F.one_hot(ahead.abs().argmin(-1), 3).to(ahead), ahead)
    spare = torch.where(spare.norm(dim=-1, keepdim=True) > 1e-4, spare, beside)
    bend = rot.normalize(torch.where(bend.norm(dim=-1, keepdim=True) > 1e-5 * a, bend, spare))
    along = (a * a + distance * distance - b * b) / (2 * distance)
    side = (a * a - along * along).clamp(min=0).sqrt()
    reached = distance * ahead
    knee = along * ahead + side * bend
    upper = rot.multiply(rot.between(rot.rotate(swing, first), knee), swing)
    lower = rot.multiply(rot.between(rot.rotate(swing, second), reached - knee), swing)
    return TwoBone(rot.normalize(upper), rot.normalize(lower), start + reached)


def _across(vector: Float[Tensor, "*batch 3"], axis: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """The part of a vector perpendicular to a unit axis."""
    return vector - (vector * axis).sum(-1, keepdim=True) * axis

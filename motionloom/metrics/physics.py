"""Physical quality of a motion: do feet slide, sink or float, does the body tremble?

The floor is at height 0 unless said otherwise; all figures name their unit, and all use the declared frame rate.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

FEET = (7, 10, 8, 11)
SLIDE_HEIGHT = 0.06
"""A toe lower than this [m] is taken to stand when foot slide is measured."""


@dataclass(frozen=True)
class Physics:
    """Physical figures of one motion.

    Attributes:
        slide: Mean speed of the toes while they are below 6 cm [m/s].
        penetration: Mean depth of the lowest joint below the floor [m].
        float_: Mean height of the lowest joint above the floor [m].
        jitter: Mean size of the third difference of the joints, as jerk [m/s³].
    """

    slide: float
    penetration: float
    float_: float
    jitter: float


def physics(positions: Float[Tensor, "T 22 3"], fps: float, floor: float = 0.0) -> Physics:
    """Measure foot slide, penetration, floating and jitter of the canonical joints."""
    lowest = positions[..., 1].min(-1).values - floor
    jitter = 0.0
    if len(positions) > 3:
        jitter = float((torch.diff(positions, n=3, dim=0).norm(dim=-1) * fps**3).mean())
    return Physics(
        slide=foot_slide(positions, fps, floor),
        penetration=float((-lowest).clamp(min=0).mean()),
        float_=float(lowest.clamp(min=0).mean()),
        jitter=jitter,
    )


def foot_slide(positions: Float[Tensor, "T 22 3"], fps: float, floor: float = 0.0) -> float:
    """Mean horizontal speed of the toes while they are lower than 6 cm [m/s]; 0 if they never are."""
    toes = positions[:, [10, 11]]
    if len(toes) < 2:
        return 0.0
    speed = (toes[1:] - toes[:-1])[..., [0, 2]].norm(dim=-1) * fps
    low = (toes[1:, :, 1] - floor < SLIDE_HEIGHT) & (toes[:-1, :, 1] - floor < SLIDE_HEIGHT)
    return float(speed[low].mean()) if bool(low.any()) else 0.0

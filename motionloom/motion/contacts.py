"""Foot contacts from height and speed."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motionloom.motion.motion import Motion

FEET = (7, 10, 8, 11)
"""Left ankle, left toe, right ankle, right toe: the order of contacts everywhere."""
SPEED = 0.35
"""A joint slower than this [m/s] and low enough stands. HumanML3D's squared threshold of 0.002 m² a frame at 20 fps
would be 0.9 m/s, which calls a swinging foot a standing one."""
HEIGHTS = (0.14, 0.07, 0.14, 0.07)
"""How far above the floor [m] a standing ankle or toe joint may be."""


def foot_contacts(positions: Float[Tensor, "T 22 3"], fps: float, floor: float = 0.0) -> Bool[Tensor, "T 4"]:
    """Whether left ankle, left toe, right ankle, right toe stand on the floor, by height and speed.

    Args:
        positions: World positions of the canonical joints [m].
        fps: Frames a second.
        floor: Height of the floor [m].
    """
    feet = positions[:, list(FEET)]
    if len(feet) == 1:
        speed = torch.zeros_like(feet[..., 0])
    else:
        steps = (feet[1:] - feet[:-1]).norm(dim=-1) * fps
        # A frame's speed is the slower of the steps before and after it: contact starts and ends on time.
        speed = torch.minimum(torch.cat((steps[:1], steps)), torch.cat((steps, steps[-1:])))
    low = feet[..., 1] - floor < torch.tensor(HEIGHTS).to(feet)
    return low & (speed < SPEED)


def with_contacts(motion: Motion, floor: float = 0.0) -> Motion:
    """The motion with its contacts set from its positions."""
    return motion.with_(contacts=foot_contacts(motion.positions, motion.fps, floor))

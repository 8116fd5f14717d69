"""Bodies with hands, faces and missing parts for tests of the unified layout."""

import make
import torch
from torch import Tensor

from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL_HANDS, PARTS


def with_hands(frames: int, seed: int = 0, fps: float = 20.0) -> Motion:
    """The body of ``make.motion`` with fingers that move."""
    body = make.motion(frames, seed, fps)
    fingers = rot.from_axis_angle(0.3 * make.waves(frames, 90, fps, seed + 3).view(frames, 30, 3))
    return Motion(CANONICAL_HANDS, torch.cat((body.rotations, fingers), dim=1), body.root, fps)


def face(frames: int, seed: int = 0) -> Tensor:
    return make.tensor(frames, 50, seed=seed)


def apart(a: Tensor, b: Tensor) -> float:
    """Largest distance between quaternions, of either sign."""
    return float(torch.minimum((a - b).norm(dim=-1), (a + b).norm(dim=-1)).max())


def without(motion: Motion, part: str) -> Motion:
    valid = torch.ones(len(motion), 10, dtype=torch.bool)
    valid[:, PARTS.index(part)] = False
    return motion.with_(valid=valid)

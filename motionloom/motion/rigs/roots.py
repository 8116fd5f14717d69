"""The way on the floor of our own body: taken away, or carried by a bone above the hips."""

import numpy as np
import torch

from motionloom.motion import rotations as rot
from motionloom.motion.kinematics import facing
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import Skeleton

ROOT = "root"
_SECONDS = 0.25
"""Width of the mean that takes the sway of the steps out of the heading [s]."""


def standing_still(motion: Motion) -> Motion:
    """The motion without its way on the floor: the root stays over the origin, its height and heading are kept."""
    root = motion.root * torch.tensor([0.0, 1.0, 0.0]).to(motion.root)
    return motion.with_(root=root, provenance=motion.provenance.noting("in place: the way on the floor is taken away"))


def with_root(motion: Motion) -> Motion:
    """The motion with a joint ``root`` above the first, on the floor, that carries the way and the heading.

    Args:
        motion: A motion whose first 22 joints are the canonical tree, under any names.
    """
    positions = motion.positions.detach().cpu()
    forward = facing(positions[:, :22])
    yaw = np.unwrap(torch.atan2(forward[:, 0], forward[:, 2]).double().numpy())
    yaw = smooth(yaw, _SECONDS * motion.fps)
    heading = rot.about("Y", torch.from_numpy(yaw)).to(motion.rotations)
    ground = motion.root * torch.tensor([1.0, 0.0, 1.0]).to(motion.root)
    # A skeleton holds one travelling joint, its first: the hips' height and sway become a joint between.
    height = float(motion.root[:, 1].mean())
    hips = rot.rotate(rot.conjugate(heading), motion.root - ground)
    rotations = torch.cat((heading[:, None], motion.rotations), 1)
    rotations[:, 1] = rot.multiply(rot.conjugate(heading), motion.rotations[:, 0])
    skeleton = motion.skeleton
    offsets = torch.cat((torch.zeros(1, 3).to(skeleton.offsets), skeleton.offsets))
    offsets[1] = torch.tensor([0.0, height, 0.0])
    names = (ROOT, *(f"{name}_" if name == ROOT else name for name in skeleton.names))
    parents = (-1, 0, *(parent + 1 for parent in skeleton.parents[1:]))
    ground[:, 1] = hips[:, 1] - height
    return motion.with_(skeleton=Skeleton(names, parents, offsets), rotations=rot.normalize(rotations), root=ground)


def smooth(values: np.ndarray, width: float) -> np.ndarray:
    """Gaussian mean over time, the ends held."""
    reach = int(3 * width)
    if reach < 1 or len(values) < 2:
        return values
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    padded = np.pad(values, reach, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")

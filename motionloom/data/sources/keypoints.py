"""Joint positions of any dataset as motions: which of its points make up which canonical joint, and which way is up."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.data.quality import raw_flags
from motionloom.data.sources.smpl import turn_up
from motionloom.errors import DataError, MotionloomError
from motionloom.motion import rotations as rot
from motionloom.motion.features.motionverse_keypoints import motion_from_keypoints
from motionloom.motion.files import check_numbers
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.skeleton import CANONICAL, JOINT_PARTS, PARTS

Points = Mapping[str, int | tuple[int, int, float]]
"""Canonical joint -> a point, or two points and the share of the way from the first to the second."""


def sided(left: Points, right: Points) -> dict[str, int | tuple[int, int, float]]:
    """Both sides of a body from the names without their side (``hip``, ``knee`` ...)."""
    return {f"{side}_{name}": point for side, points in (("left", left), ("right", right))
            for name, point in points.items()}  # fmt: skip


def keypoint_motion(
    points: np.ndarray, joints: Points, fps: float, up: str, parts: tuple[str, ...], where: str
) -> Motion:
    """A motion fitted to the points of a dataset.

    Args:
        points: ``(T, K, 3)`` [m].
        joints: Where the canonical 22 joints are among them.
        fps: Frames a second.
        up: Which axis points up: "x", "-y" ...
        parts: Body parts that the points show; the others stand as at rest.
        where: File (and place) for messages.

    Raises:
        DataError: The points are NaN, infinite, or of no body.
    """
    if points.ndim != 3 or points.shape[2] != 3:
        raise DataError(f"{where}: points of shape {points.shape}; T x joints x 3 are needed")
    values = torch.from_numpy(check_numbers(points, (None, points.shape[1], 3), where)).float()
    body = torch.stack([_point(values, joints[name]) for name in CANONICAL.names], dim=1)
    turned = rot.rotate(turn_up(up).to(body), body)
    known = torch.tensor([part in parts for part in PARTS]).expand(len(body), -1)
    try:
        motion = motion_from_keypoints(turned, fps, known)
    except MotionloomError as error:
        raise DataError(f"{where}: {error}") from None
    # What only the raw positions show is noted first; conversion takes it up among the clip's flags.
    seen = [joint for joint, name in enumerate(CANONICAL.names) if JOINT_PARTS[name] in parts]
    parents = tuple(seen.index(p) if (p := CANONICAL.parents[joint]) in seen else -1 for joint in seen)
    odd = tuple(f"{flag.name}: {flag.detail}" for flag in raw_flags(turned[:, seen], parents))
    return motion.with_(provenance=Provenance(Path(where).name, notes=(*odd, *motion.provenance.notes)))


def _point(values: Float[Tensor, "T K 3"], point: int | tuple[int, int, float]) -> Float[Tensor, "T 3"]:
    if isinstance(point, int):
        return values[:, point]
    first, second, share = point
    return torch.lerp(values[:, first], values[:, second], share)

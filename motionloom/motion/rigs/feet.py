"""Standing feet stay where they are: small shifts of the ankles, reached by bending the legs."""

from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float

from motionloom.motion.ik import two_bone
from motionloom.motion.rigs.scene import as_tensor

_BLEND = 0.25
"""Longest time a shift takes to fade in or out beside a step [s]."""


def hold_feet(
    leg: tuple[Float[np.ndarray, "T 3"], Float[np.ndarray, "T 3"], Float[np.ndarray, "T 3"]],
    sole: Float[np.ndarray, "T 2 3"],
    stands: Bool[np.ndarray, "T 2"],
    *,
    heights: Float[np.ndarray, "2"],
    floor: float,
    fps: float,
    pole: Float[np.ndarray, "T 3"],
    loop: bool = False,
) -> tuple[Float[np.ndarray, "T 4"], Float[np.ndarray, "T 4"]]:
    """Work out how thigh and shin turn.

    Args:
        leg: Where hip, knee and ankle are [m].
        sole: Where ankle and toe are [m].
        stands: Whether ankle and toe stand.
        heights: How far ankle and toe are above the floor when they stand flat [m].
        floor: Height of the floor [m].
        fps: Frames a second.
        pole: Direction a straight knee bends towards.
        loop: Whether the last frame is the first one again.

    Returns:
        Rotations in the world for thigh and shin, to be multiplied from the left.
    """
    shift = _shifts(sole, stands, fps)
    if loop and len(shift) > 2:
        # The end must be shifted as the beginning is, or the legs jump there.
        half = (shift[-1] - shift[0]) / 2
        reach = max(1, min(len(shift) // 2, round(_BLEND * fps)))
        along = np.arange(len(shift))
        shift += _ease(1.0 - along / reach)[:, None] * half - _ease(1.0 - along[::-1] / reach)[:, None] * half
    # Upwards: what is under the floor comes out of it, the rest stays.
    low = (floor + heights - sole[:, :, 1]).max(1)
    shift[:, 1] = np.maximum(low, 0.0)
    hip, knee, ankle = (as_tensor(points) for points in leg)
    turned = two_bone(hip, knee, ankle, ankle + torch.from_numpy(shift), as_tensor(pole))
    return turned.upper.numpy(), turned.lower.numpy()


def _shifts(sole: np.ndarray, stands: np.ndarray, fps: float) -> np.ndarray:
    """Level shifts ``(T, 3)`` of a foot that undo its drift while it stands, and fade between its stands."""
    frames = len(sole)
    shift = np.zeros((frames, 3))
    fixed = stands.any(1)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], fixed, [False])).astype(np.int8))).reshape(-1, 2)
    for first, stop in edges:
        for frame in range(first + 1, stop):
            # Whichever point stands in both frames must not move: the ankle, or while the heel is up the toe.
            both = stands[frame] & stands[frame - 1]
            point = 0 if both[0] else 1 if both[1] else -1
            if point < 0:
                point = 0 if stands[frame, 0] else 1
            step = sole[frame - 1, point] - sole[frame, point]
            shift[frame, [0, 2]] = shift[frame - 1, [0, 2]] + step[[0, 2]]
        middle = (shift[first:stop].max(0) + shift[first:stop].min(0)) / 2
        shift[first:stop] -= middle * np.array([1.0, 0.0, 1.0])
    reach = max(1, round(_BLEND * fps))
    spans = [(0, 0), *map(tuple, edges), (frames, frames)]
    for (_, start), (stop, _) in pairwise(spans):
        if stop <= start:
            continue
        before = shift[start - 1].copy() if start > 0 else np.zeros(3)
        after = shift[stop].copy() if stop < frames else np.zeros(3)
        along = np.arange(1, stop - start + 1)
        length = stop - start + 1
        fade = min(reach, length)
        out = _ease(1.0 - along / fade)
        into = _ease(1.0 - (length - along) / fade)
        shift[start:stop] = before * out[:, None] + after * into[:, None]
    return shift


def _ease(share: np.ndarray) -> np.ndarray:
    share = np.clip(share, 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)

"""Fewer keys: of a baked track those that linear interpolation does not give back closely enough.

Source: Ramer (1972), Douglas and Peucker (1973): keep the two ends, and where a curve between two keys is off by more
than the tolerance keep its worst frame, and so on in both halves; distances are angles for rotations.
"""

import numpy as np
import torch
from jaxtyping import Float, Int

from motionloom.motion import rotations as rot
from motionloom.motion.rigs.scene import as_tensor

_METRES_A_DEGREE = 1.0 / 57.3
"""A place may be off as far as the end of a leg is, turned by the tolerance."""


def reduce_keys(
    values: Float[np.ndarray, "T D"], kind: str, *, degrees: float, size: float = 1.0
) -> Int[np.ndarray, " K"]:
    """Frames whose keys are kept.

    Args:
        values: A key a frame: unit quaternions (wxyz, without changes of sign), or places.
        kind: ``rotation`` or anything else for numbers in a unit of length.
        degrees: How far any frame may be off.
        size: Length of a leg, in the unit of places.
    """
    frames = len(values)
    if frames < 3:
        return np.arange(frames)
    tolerance = np.radians(degrees) if kind == "rotation" else degrees * _METRES_A_DEGREE * size * 0.25
    keep = np.zeros(frames, dtype=bool)
    keep[[0, -1]] = True
    spans = [(0, frames - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        inner = np.arange(first + 1, last)
        share = (inner - first) / (last - first)
        off = _off(values[first], values[last], values[inner], share, kind)
        worst = int(off.argmax())
        if off[worst] > tolerance:
            middle = first + 1 + worst
            keep[middle] = True
            spans += [(first, middle), (middle, last)]
    found = np.flatnonzero(keep)
    if len(found) == 2 and float(_off(values[:1], values[:1], values, np.zeros(frames), kind).max()) <= 1e-9:
        return found[:1]  # a track that stands still needs one key
    return found


def _off(first: np.ndarray, last: np.ndarray, inner: np.ndarray, share: np.ndarray, kind: str) -> np.ndarray:
    if kind != "rotation":
        straight = first * (1 - share[:, None]) + last * share[:, None]
        return np.linalg.norm(inner - straight, axis=1)
    a = as_tensor(np.broadcast_to(first, inner.shape))
    b = as_tensor(np.broadcast_to(last, inner.shape))
    between = rot.slerp(a, b, torch.from_numpy(share))
    return rot.angle_between(between, as_tensor(inner)).numpy()


def reduce_curve(values: Float[np.ndarray, " T"], tolerance: float) -> Int[np.ndarray, " K"]:
    """Frames whose keys are kept of a curve of one number that may be off by ``tolerance``."""
    found = reduce_keys(values[:, None], "number", degrees=tolerance / (_METRES_A_DEGREE * 0.25))
    return found

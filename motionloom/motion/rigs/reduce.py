"""Fewer keys: of a baked track those that interpolation does not give back closely enough.

From each key the furthest frame is taken that the curve between still follows within the tolerance. Curves are straight
(``LINEAR``), or cubic splines whose slopes are fitted to the frames between two keys (``CUBICSPLINE`` of glTF 2.0,
appendix C.3), which need fewer keys where a motion is smooth.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

_METRES_A_DEGREE = 1.0 / 57.3
"""A place may be off by a fourteenth of what the end of a leg is, turned by the tolerance: half a millimetre."""


@dataclass(frozen=True, eq=False)
class Keys:
    """The keys of a track that stay.

    Attributes:
        frames: Their frames.
        values: A value each, or for a spline in-tangent, value, out-tangent each.
        interpolation: ``LINEAR`` or ``CUBICSPLINE``.
    """

    frames: Int[np.ndarray, " K"]
    values: Float[np.ndarray, "K *parts D"]
    interpolation: str


def reduce_track(values: Float[np.ndarray, "T D"], kind: str, *, degrees: float, fps: float, size: float = 1.0) -> Keys:
    """Choose keys, straight or cubic, whichever are fewer.

    Args:
        values: A key a frame: unit quaternions without changes of sign, or places.
        kind: ``rotation``, or anything else for numbers in a unit of length.
        degrees: How far any frame may be off.
        fps: Frames a second, for the slopes.
        size: Length of a leg, in the unit of places.
    """
    frames = len(values)
    tolerance = np.radians(degrees) if kind == "rotation" else degrees * _METRES_A_DEGREE * size * 0.07
    off = _angles if kind == "rotation" else _distances
    if frames > 1 and float(off(np.broadcast_to(values[0], values.shape), values).max()) <= 1e-9:
        return Keys(np.arange(1), values[:1], "LINEAR")  # a track that stands still needs one key
    straight = _greedy(values, tolerance, lambda first, last: _straight(values, first, last), off)
    if frames < 4:
        return Keys(straight, values[straight], "LINEAR")
    cubic = _greedy(values, tolerance, lambda first, last: _spline(values, first, last)[0], off)
    if len(cubic) >= len(straight):
        return Keys(straight, values[straight], "LINEAR")
    rows = np.zeros((len(cubic), 3, values.shape[1]))
    rows[:, 1] = values[cubic]
    for at, (first, last) in enumerate(pairwise(cubic)):
        _, leaving, arriving = _spline(values, int(first), int(last))
        rows[at, 2], rows[at + 1, 0] = leaving * fps, arriving * fps
    return Keys(cubic, rows, "CUBICSPLINE")


def reduce_curve(values: Float[np.ndarray, " T"], tolerance: float) -> Int[np.ndarray, " K"]:
    """Frames whose keys are kept of a curve of one number, straight between keys, off by ``tolerance`` at most."""
    rows = values[:, None]
    return _greedy(rows, tolerance, lambda first, last: _straight(rows, first, last), _distances)


def _greedy(
    values: np.ndarray,
    tolerance: float,
    between: Callable[[int, int], np.ndarray],
    off: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Frames to keep: from each as far as the curve follows, in doubling steps and then by halving."""
    keys = [0]
    end = len(values) - 1

    def follows(first: int, last: int) -> bool:
        return last - first < 2 or bool(off(between(first, last), values[first + 1 : last]).max() <= tolerance)

    while keys[-1] < end:
        first, good, step = keys[-1], keys[-1] + 1, 2
        while good < end and follows(first, min(first + step, end)):
            good = min(first + step, end)
            step *= 2
        bad = min(first + step, end + 1)
        while bad - good > 1:
            middle = (good + bad) // 2
            if middle <= end and follows(first, middle):
                good = middle
            else:
                bad = middle
        keys.append(good)
    return np.array(keys)


def _share(first: int, last: int) -> np.ndarray:
    return (np.arange(first + 1, last) - first)[:, None] / (last - first)


def _straight(values: np.ndarray, first: int, last: int) -> np.ndarray:
    """What lies between two keys on a straight line; for rotations on the arc, as glTF has it."""
    share, a, b = _share(first, last), values[first], values[last]
    if values.shape[1] != 4:
        return a * (1 - share) + b * share
    dot = float(np.clip(a @ b, -1, 1))
    if dot < 0:
        b, dot = -b, -dot
    angle = np.arccos(dot)
    if angle < 1e-6:
        return a * (1 - share) + b * share
    return (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)


def _spline(values: np.ndarray, first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The spline between two keys that fits the frames between best (least squares), and its slopes [a frame].

    Slopes are sought as departures from that of the straight line, which is what a spline without any is.
    """
    a, b, span = values[first], values[last], last - first
    share = _share(first, last)
    line, slope = a * (1 - share) + b * share, (b - a) / span
    if span < 2:
        return line, slope, slope
    solve, columns = _basis(span)
    apart = solve @ (values[first + 1 : last] - line)
    return line + columns @ apart, slope + apart[0], slope + apart[1]


@lru_cache(maxsize=4096)
def _basis(span: int) -> tuple[np.ndarray, np.ndarray]:
    """The least-squares solution for both slopes of a spline over so many frames, and what they do to each frame."""
    t = np.arange(1, span)[:, None] / span
    columns = span * np.concatenate((t**3 - 2 * t**2 + t, t**3 - t**2), 1)
    return np.linalg.pinv(columns), columns


def _angles(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Angles [rad] between rotations; the found ones need not be of unit length."""
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    chord = np.minimum(np.linalg.norm(found - true, axis=1), np.linalg.norm(found + true, axis=1))
    return 4.0 * np.arcsin(np.minimum(chord / 2.0, 1.0))


def _distances(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    return np.linalg.norm(found - true, axis=1)

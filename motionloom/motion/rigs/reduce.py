"""Fewer keys: of a baked track those that interpolation does not give back closely enough.

From each key the furthest frame is taken that the curve between still follows within the tolerance. Curves are straight
(``LINEAR``), or cubic splines with the slopes of the track itself (``CUBICSPLINE`` of glTF 2.0, appendix C.3), which
need fewer keys where a motion is smooth.
"""

from collections.abc import Callable
from dataclasses import dataclass

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
    slopes = np.gradient(values, axis=0)
    cubic = _greedy(values, tolerance, lambda first, last: _hermite(values, slopes, first, last), off)
    if len(cubic) >= len(straight):
        return Keys(straight, values[straight], "LINEAR")
    rows = np.stack((slopes[cubic] * fps, values[cubic], slopes[cubic] * fps), 1)
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


def _hermite(values: np.ndarray, slopes: np.ndarray, first: int, last: int) -> np.ndarray:
    """What lies between two keys on the spline through them with the track's own slopes [a frame]."""
    t, span = _share(first, last), last - first
    t2, t3 = t * t, t**3
    return (
        (2 * t3 - 3 * t2 + 1) * values[first]
        + span * (t3 - 2 * t2 + t) * slopes[first]
        + (3 * t2 - 2 * t3) * values[last]
        + span * (t3 - t2) * slopes[last]
    )


def _angles(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Angles [rad] between rotations; the found ones need not be of unit length."""
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    chord = np.minimum(np.linalg.norm(found - true, axis=1), np.linalg.norm(found + true, axis=1))
    return 4.0 * np.arcsin(np.minimum(chord / 2.0, 1.0))


def _distances(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    return np.linalg.norm(found - true, axis=1)

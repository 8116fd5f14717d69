"""Units of length of files that do not say theirs."""

import math
from pathlib import Path

from motionloom.errors import MotionFileError

UNITS = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001, "inch": 0.0254}
"""Metres of each unit that has a name."""


def metres(path: str | Path, unit: str | float | None) -> float:
    """Metres of a unit: a name, a number of metres, or 1 where none is given.

    Raises:
        MotionFileError: The name is unknown, or the number is not positive.
    """
    if unit is None:
        return 1.0
    if isinstance(unit, str):
        if unit not in UNITS:
            raise MotionFileError(
                f"{path}: unit {unit!r} is unknown; use one of {', '.join(UNITS)} or a number of metres"
            )
        return UNITS[unit]
    if not 0 < unit < math.inf:
        raise MotionFileError(f"{path}: unit {unit} is no positive number of metres")
    return float(unit)

"""What the sources share: splits by name, tables, lists of files, and messages for folders that lack something."""

import csv
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from motionloom.errors import DataError, MotionFileError
from motionloom.motion.files import read_text

BODY = ("root", "head", "stem", "left_arm", "right_arm", "left_leg", "right_leg")
"""Parts of a body that is captured without fingers and face."""
HANDS = ("left_hand", "right_hand")
UPPER = ("head", "stem", "left_arm", "right_arm")
"""Parts of a speaker seen from the waist up."""


def split_of(group: str, val: float = 0.04, test: float = 0.06) -> str:
    """Split of a group of takes, drawn by its name: always the same one, about 6 % test and 4 % validation."""
    share = int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return "test" if share < test else "val" if share < test + val else "train"


def need(folder: Path, names: Iterable[str], hint: str) -> None:
    """Check that files or folders are there.

    Raises:
        DataError: Some are not; the message names the first three and says what to do.
    """
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise DataError(f"{folder}: {listed(missing)} {'is' if len(missing) == 1 else 'are'} missing; {hint}")


def listed(names: list[str]) -> str:
    """The first three of some names and how many more there are."""
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest


def lines_of(path: Path) -> list[str]:
    """Lines of a text file that are not empty, stripped.

    Raises:
        DataError: The file cannot be read as text.
    """
    try:
        return [line.strip() for line in read_text(path).split("\n") if line.strip()]
    except MotionFileError as error:
        raise DataError(str(error)) from None


def read_table(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Rows of a table of comma-separated values as column -> cell; cells are stripped.

    Raises:
        DataError: The file cannot be read, a column is missing, or a row has more or fewer cells than the header.
    """
    try:
        lines = read_text(path).split("\n")
        rows = [row for row in csv.reader(lines, strict=True) if row]
    except MotionFileError as error:
        raise DataError(str(error)) from None
    except csv.Error as error:
        raise DataError(f"{path}: is no table of comma-separated values ({error})") from None
    header = [name.strip() for name in rows[0]]
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(f"{path}:1: column {missing[0]!r} is missing; the columns are {', '.join(header[:20])}")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise DataError(f"{path}: row {number} has {len(row)} cells where the header has {len(header)}")
    return [dict(zip(header, (cell.strip() for cell in row), strict=True)) for row in rows[1:]]


def read_json(path: Path, kind: type) -> Any:
    """Content of a JSON file whose outermost value is of a kind (``dict`` or ``list``).

    Raises:
        DataError: The file cannot be read, is no JSON, or holds something else.
    """
    try:
        value = json.loads(read_text(path))
    except MotionFileError as error:
        raise DataError(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no readable JSON ({' '.join(str(error).split())[:80]})") from None
    if not isinstance(value, kind):
        raise DataError(f"{path}: a JSON {kind.__name__} is needed; it holds a {type(value).__name__}")
    return value


def number(cell: str, where: str) -> float:
    """The finite number in a cell.

    Raises:
        DataError: There is none.
    """
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if abs(value) <= 1e9:
        return value
    raise DataError(f"{where}: {cell!r} is no number")


def within(folder: Path, name: str, where: str) -> Path:
    """The file of that name below a folder.

    Raises:
        DataError: The name leads out of the folder.
    """
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError(f"{where}: {name!r} leads out of the dataset's folder; names below it are needed")
    return path

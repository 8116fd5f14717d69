"""Any folder of motions with a ``captions.csv``: the way in for data of your own.

The table has the columns ``file`` (a path below the folder) and ``text``, one row a sentence; a file may have several
rows or, for a motion without words, an empty text. Further columns, all optional: ``start`` and ``stop`` (when the
text holds [s]; empty for the whole motion), ``split`` (train, val, test), ``licence`` (left out, it counts as
non-commercial), ``fps`` and ``unit`` (metres of one unit of a BVH file, or m, cm, mm, inch). Motion files without a row
are taken without captions.
"""

from collections import defaultdict
from pathlib import Path

from motionloom.data.sources import Take, Timed
from motionloom.data.sources.common import listed, number, read_table, split_of, within
from motionloom.data.store import SPLITS
from motionloom.errors import DataError
from motionloom.licences import licence_of
from motionloom.motion.io import READERS
from motionloom.motion.io.bvh import UNITS

TABLE = "captions.csv"


def takes(folder: Path) -> list[Take]:
    """All motion files below a folder, with the texts of its ``captions.csv``.

    Raises:
        DataError: The table is missing, is none, or names files that do not exist; or there are no motion files.
    """
    table = folder / TABLE
    if not table.is_file():
        raise DataError(f"{folder}: {TABLE} is missing; write one with the columns file,text (one row a sentence)")
    rows = read_table(table, ("file", "text"))
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in READERS and path != table and path.is_file() and not _hidden(path, folder)
    }
    if not files:
        raise DataError(f"{folder}: no motion files ({', '.join(sorted(READERS))}) below it")
    by_file: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        within(folder, row["file"], str(table))
        by_file[row["file"].removeprefix("./")].append(row)
    unknown = sorted(by_file.keys() - files.keys())
    if unknown:
        raise DataError(f"{table}: names {len(unknown)} files that do not exist: {listed(unknown)}")
    return [_take(table, name, path, by_file[name]) for name, path in files.items()]


def _take(table: Path, name: str, path: Path, rows: list[dict[str, str]]) -> Take:
    where = f"{table}: {name}"
    split = _one(rows, "split", where) or split_of(name)
    if split not in SPLITS:
        raise DataError(f"{where}: split {split!r} is unknown; the splits are {', '.join(SPLITS)}")
    fps, unit = _one(rows, "fps", where), _one(rows, "unit", where)
    return Take(
        id=f"folder/{name}",
        source="folder",
        licence=licence_of(_one(rows, "licence", where)),
        path=path,
        fps=number(fps, where) if fps else None,
        unit=None if not unit else UNITS[unit] if unit in UNITS else number(unit, where),
        split=split,
        labels={"file": name},
        texts=tuple(
            Timed(row["text"], _seconds(row, "start", where), _seconds(row, "stop", where))
            for row in rows
            if row["text"]
        ),
    )


def _one(rows: list[dict[str, str]], column: str, where: str) -> str:
    """The value that all rows of a file share; rows may leave it empty."""
    values = sorted({row.get(column, "") for row in rows} - {""})
    if len(values) > 1:
        raise DataError(f"{where}: column {column!r} says {values[0]!r} and {values[1]!r}; one value a file is needed")
    return values[0] if values else ""


def _seconds(row: dict[str, str], column: str, where: str) -> float | None:
    return number(row[column], where) if row.get(column) else None


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)

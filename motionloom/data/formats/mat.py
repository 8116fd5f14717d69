"""Reading MATLAB's version 5 ``.mat`` files: arrays of numbers and cells of them, nothing else.

A file is a header of 128 bytes and elements: a type, a size and the bytes, padded to eight. An element of type 15 is
another one, packed with zlib; one of type 14 is an array made of elements: flags, dimensions, name and values.
Format: The MathWorks, "MAT-File Format" (version 5).
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from motionloom.errors import DataError, MotionFileError
from motionloom.motion.budget import Budget
from motionloom.motion.files import read_bytes

BUDGET = Budget(bytes=3 << 26, elements=1 << 26, depth=8)
"""Unpacked bytes and numbers of all wanted variables together."""
_CELLS = 50_000
"""Cells of all wanted variables together: each becomes an array of its own."""
_ELEMENTS = 100_000
"""Elements of a file; a variable is one."""
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_HEAD = 1024
"""Bytes that an element's head with its name takes at most, unpacked."""
_PACKED, _ARRAY, _CELL = 15, 14, 1
_NUMBERS = range(6, 16)
"""Classes of arrays of numbers: double, single and integers."""


def read_mat(path: Path, wanted: tuple[str, ...]) -> dict[str, Any]:
    """The wanted variables of a file: arrays, and for cells nested lists (column by column) of arrays.

    Raises:
        DataError: The file cannot be read, is of another version, damaged, or a variable is missing or is neither.
    """
    try:
        raw = read_bytes(path)
        if raw[:6] == b"MATLAB" and raw[126:128] not in (b"IM", b"MI"):
            raise DataError(f"{path}: is no .mat file of version 5")
        if raw[:10] != b"MATLAB 5.0" or raw[126:128] != b"IM":
            raise DataError(f"{path}: is no little-endian .mat file of version 5 (newer ones are HDF5)")
        found, reader = {}, _Reader(path, wanted)
        for number, (kind, data) in enumerate(_elements(memoryview(raw)[128:])):
            if number >= _ELEMENTS:
                raise DataError(f"{path}: more than {_ELEMENTS} variables")
            if kind == _PACKED:
                kind, data = reader.unpacked(data)
            if kind == _ARRAY:
                name, value = reader.array(data, depth=0)
                if name in wanted:
                    found[name] = value
    except MotionFileError as error:
        raise DataError(str(error)) from None
    except (struct.error, zlib.error, ValueError, StopIteration, RecursionError, TypeError, IndexError) as error:
        raise DataError(f"{path}: is damaged or cut off ({' '.join(str(error).split())[:80]})") from None
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(f"{path}: variable {missing[0]!r} is missing")
    return found


def _elements(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Type and bytes of each element."""
    place = 0
    while place + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, place)
        if kind >> 16:
            # A small element: two bytes of type, two of size, four of values.
            kind, size, start, step = kind & 0xFFFF, kind >> 16, place + 4, 8
        else:
            start = place + 8
            # Packed elements are not padded.
            step = 8 + (size if kind == _PACKED else -(-size // 8) * 8)
        if start + size > len(data):
            raise ValueError("an element is longer than the file")
        yield kind, data[start : start + size]
        place += step


class _Reader:
    """Reads arrays, and keeps count of what they have cost so far."""

    def __init__(self, path: Path, wanted: tuple[str, ...]) -> None:
        self.path, self.wanted = path, wanted
        self.bytes = self.cells = 0

    def unpacked(self, data: memoryview) -> tuple[int, memoryview]:
        """Type and bytes of a packed element; one that nobody wants is not unpacked beyond its name."""
        machine = zlib.decompressobj()
        head = machine.decompress(data, _HEAD)
        if len(head) < 8:
            raise ValueError("a packed element has no head")
        kind, size = struct.unpack_from("<II", head)
        if kind == _ARRAY and _name(head) not in self.wanted:
            return 0, memoryview(b"")
        self.bytes += size
        BUDGET.check(self.path, error=DataError, bytes=self.bytes)
        body = zlib.decompressobj().decompress(data, size + 8)
        if len(body) < size + 8:
            raise ValueError("a packed element is cut off")
        return kind, memoryview(body)[8:]

    def array(self, data: memoryview, *, depth: int) -> tuple[str, Any]:
        """Name and value of an array; the value is read only if it is wanted, or lies in one that is."""
        parts = _elements(data)
        flags, shape, label = next(parts)[1], next(parts)[1], next(parts)[1]
        kind = flags[0]
        name = bytes(label[:200]).decode("ascii", errors="replace")
        dims = np.frombuffer(shape, "<i4").tolist()
        if depth == 0 and name not in self.wanted:
            return name, None
        if kind == _CELL:
            BUDGET.check(self.path, error=DataError, depth=depth)
            found = []
            for _, inner in parts:
                self.cells += 1
                if self.cells > _CELLS:
                    raise DataError(f"{self.path}: more than {_CELLS} cells")
                found.append(self.array(inner, depth=depth + 1)[1])
            return name, found
        if kind not in _NUMBERS:
            raise ValueError(f"variable {name!r} is of class {kind}; numbers and cells are read")
        code, values = next(parts)
        return name, np.frombuffer(values, f"<{_TYPES.get(code, 'none')}").reshape(dims, order="F")


def _name(head: bytes) -> str:
    """Name of the array whose element begins so: behind its flags and its shape."""
    place = 8
    for _ in range(2):
        kind, size = struct.unpack_from("<II", head, place)
        place += 8 if kind >> 16 else 8 + -(-size // 8) * 8
    kind, size = struct.unpack_from("<II", head, place)
    start, size = (place + 4, kind >> 16) if kind >> 16 else (place + 8, size)
    return head[start : start + size].decode("ascii", errors="replace")

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
from motionloom.motion.files import read_bytes

MAX_BYTES = 1 << 31
"""Largest array, unpacked [bytes]."""
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
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
        found = {}
        for kind, data in _elements(raw[128:]):
            kind, data = next(_elements(_unpacked(data))) if kind == _PACKED else (kind, data)
            if kind == _ARRAY:
                name, value = _array(data, wanted)
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


def _unpacked(data: bytes) -> bytes:
    machine = zlib.decompressobj()
    value = machine.decompress(data, MAX_BYTES)
    if machine.unconsumed_tail:
        raise ValueError(f"an element unpacks to more than {MAX_BYTES} bytes")
    return value


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
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


def _array(data: bytes, wanted: tuple[str, ...] | None) -> tuple[str, Any]:
    """Name and value of an array; the value is read only if the name is wanted (``None``: any)."""
    parts = _elements(data)
    flags, shape, label = next(parts)[1], next(parts)[1], next(parts)[1]
    kind = flags[0]
    name = label.decode("ascii", errors="replace")
    dims = np.frombuffer(shape, "<i4").tolist()
    if wanted is not None and name not in wanted:
        return name, None
    if kind == _CELL:
        return name, [_array(inner, None)[1] for _, inner in parts]
    if kind not in _NUMBERS:
        raise ValueError(f"variable {name!r} is of class {kind}; numbers and cells are read")
    code, values = next(parts)
    return name, np.frombuffer(values, f"<{_TYPES.get(code, 'none')}").reshape(dims, order="F")

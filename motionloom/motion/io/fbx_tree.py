"""The container of binary FBX 7.x: a tree of records with typed properties.

Source of the layout: the Blender Foundation's public description of the format ("FBX binary file format
specification", 2013). A record is its end, the count and length of its properties, its name, the properties, and nested
records that a record of zeros ends.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

VERSION = 7400
MAGIC = b"Kaydara FBX Binary  \0\x1a\0"
FILE_ID = bytes.fromhex("28b32aebb624ccc2bfc8b02aa92bfcf1")
TIME = "1970-01-01 10:00:00:000"
"""File id and foot belong to this time: readers that check them find them right, and equal motions equal bytes."""
_FOOT = bytes.fromhex("fabcab09d0c8d466b176fb831cf7267e")
_END = bytes.fromhex("f85a8c6adef5d97eece90ce3758f290b")
_NULL = b"\0" * 13


@dataclass
class Record:
    """A record: its name, properties and nested records."""

    name: str
    properties: tuple[Any, ...] = ()
    nested: "list[Record]" = field(default_factory=list)

    def add(self, name: str, *properties: Any) -> "Record":
        """Append a nested record and return it."""
        record = Record(name, properties)
        self.nested.append(record)
        return record

    def property70(self, name: str, kind: str, label: str, flags: str, *values: Any) -> None:
        """Append a ``P`` record of a ``Properties70`` block."""
        self.add("P", name, kind, label, flags, *values)


class Int64(int):
    """A whole number that is stored in eight bytes: an id or a time."""


class Int16(int):
    """A whole number that is stored in two bytes."""


def _property(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"C" + struct.pack("<B", value)
    if isinstance(value, Int64):
        return b"L" + struct.pack("<q", value)
    if isinstance(value, Int16):
        return b"Y" + struct.pack("<h", value)
    if isinstance(value, int):
        return b"I" + struct.pack("<i", value)
    if isinstance(value, float):
        return b"D" + struct.pack("<d", value)
    if isinstance(value, str):
        raw = value.encode("utf-8")
        return b"S" + struct.pack("<I", len(raw)) + raw
    if isinstance(value, bytes):
        return b"R" + struct.pack("<I", len(value)) + value
    if isinstance(value, np.ndarray):
        code = {"float64": b"d", "float32": b"f", "int32": b"i", "int64": b"l"}[value.dtype.name]
        raw = np.ascontiguousarray(value).tobytes()
        return code + struct.pack("<III", value.size, 0, len(raw)) + raw
    raise TypeError(f"no FBX property is made of {type(value)}")


def _record(record: Record, start: int) -> bytes:
    properties = b"".join(_property(value) for value in record.properties)
    name = record.name.encode("ascii")
    head = 13 + len(name)
    body = bytearray()
    for nested in record.nested:
        body += _record(nested, start + head + len(properties) + len(body))
    if record.nested or not record.properties:
        body += _NULL
    end = start + head + len(properties) + len(body)
    packed = struct.pack("<IIIB", end, len(record.properties), len(properties), len(name))
    return packed + name + properties + bytes(body)


def write_tree(path: str | Path, records: Sequence[Record]) -> None:
    """Write a binary FBX file of version 7.4."""
    data = bytearray(MAGIC + struct.pack("<I", VERSION))
    for record in records:
        data += _record(record, len(data))
    data += _NULL + _FOOT + b"\0" * 4
    data += b"\0" * (16 - len(data) % 16)
    data += struct.pack("<I", VERSION) + b"\0" * 120 + _END
    Path(path).write_bytes(bytes(data))

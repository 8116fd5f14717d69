"""TED databases as their publishers wrote them: LMDB pages, values in the layout of ``pyarrow.serialize`` 0.14.1."""

import struct
from pathlib import Path

import numpy as np
import pyarrow as pa

PAGE = 4096
_KINDS = {bool: 0, int: 1, bytes: 3, str: 4, float: 7, list: 9, dict: 10, tuple: 11, np.ndarray: 14}
"""The names of the fields in Arrow 0.14: numbers of its ``PythonType``."""
_TYPES = {0: pa.bool_(), 1: pa.int64(), 3: pa.binary(), 4: pa.string(), 7: pa.float64(), 14: pa.int32()}


def serialized(value: object, wrapped: bool = False) -> bytes:
    """A value as ``pyarrow.serialize(value).to_buffer()`` of 0.14.1 gives it, or of 0.12 (``wrapped``)."""
    arrays: list[np.ndarray] = []
    return packed(_union([value], arrays, wrapped), arrays)


def packed(union: pa.UnionArray, arrays: list[np.ndarray]) -> bytes:
    """A column of values and the arrays they name, as bytes."""
    batch = pa.record_batch([union], names=["list"])
    sink = pa.BufferOutputStream()
    sink.write(struct.pack("<4i", 0, len(arrays), 0, 0))
    options = pa.ipc.IpcWriteOptions(metadata_version=pa.MetadataVersion.V4, use_legacy_format=True)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    _align(sink)
    for array in arrays:
        pa.ipc.write_tensor(pa.Tensor.from_numpy(np.ascontiguousarray(array)), sink)
        _align(sink)
    return sink.getvalue().to_pybytes()


def _align(sink: pa.BufferOutputStream) -> None:
    sink.write(bytes(-sink.tell() % 64))


def _union(values: list, arrays: list[np.ndarray], wrapped: bool) -> pa.UnionArray:
    groups: dict[int, list] = {}
    codes, offsets = [], []
    for value in values:
        kind = _KINDS[type(value)]
        group = groups.setdefault(kind, [])
        codes.append(list(groups).index(kind))
        offsets.append(len(group))
        group.append(value)
    children = [_child(kind, group, arrays, wrapped) for kind, group in groups.items()]
    names = ["" if wrapped else str(kind) for kind in groups]
    if wrapped:
        children = [
            pa.StructArray.from_arrays([child], ["list"]) if isinstance(child, pa.ListArray) else child
            for child in children
        ]
    return pa.UnionArray.from_dense(pa.array(codes, pa.int8()), pa.array(offsets, pa.int32()), children, names)


def _child(kind: int, group: list, arrays: list[np.ndarray], wrapped: bool) -> pa.Array:
    if kind == 14:
        arrays += group
        return pa.array(range(len(arrays) - len(group), len(arrays)), pa.int32())
    if kind in _TYPES:
        return pa.array(group, _TYPES[kind])
    ends = pa.array(np.cumsum([0, *map(len, group)]), pa.int32())
    if kind == 10:
        keys = _union([key for item in group for key in item], arrays, wrapped)
        vals = _union([value for item in group for value in item.values()], arrays, wrapped)
        return pa.ListArray.from_arrays(ends, pa.StructArray.from_arrays([keys, vals], ["keys", "vals"]))
    return pa.ListArray.from_arrays(ends, _union([value for item in group for value in item], arrays, wrapped))


def write_lmdb(path: Path, values: dict[bytes, bytes]) -> Path:
    """A database with one leaf page, whose values are all on pages of their own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pages, nodes = [], []
    for key, value in sorted(values.items()):
        number, count = 3 + sum(len(page) // PAGE for page in pages), -(-(len(value) + 16) // PAGE)
        pages.append((struct.pack("<QHHI", number, 0, 4, count) + value).ljust(count * PAGE, b"\0"))
        head = struct.pack("<HHHH", len(value) & 0xFFFF, len(value) >> 16, 1, len(key))
        nodes.append((head + key + struct.pack("<Q", number)).ljust(-(-(16 + len(key)) // 2) * 2, b"\0"))
    leaf = bytearray(PAGE)
    place, table = PAGE, b""
    for node in nodes:
        place -= len(node)
        leaf[place : place + len(node)] = node
        table += struct.pack("<H", place)
    leaf[: 16 + len(table)] = struct.pack("<QHHHH", 2, 0, 2, 16 + len(table), place) + table
    root = 2 if values else 0xFFFFFFFFFFFFFFFF
    last = 2 + sum(len(page) // PAGE for page in pages)
    metas = [_meta(number, root if number else 0xFFFFFFFFFFFFFFFF, last) for number in (0, 1)]
    path.write_bytes(b"".join([*metas, bytes(leaf), *pages]))
    return path


def _meta(number: int, root: int, last: int) -> bytes:
    free = struct.pack("<IHH5Q", PAGE, 8, 0, 0, 0, 0, 0, 0xFFFFFFFFFFFFFFFF)
    main = struct.pack("<IHH5Q", 0, 0, 1, 0, 1, 0, 0, root)
    body = struct.pack("<II2Q", 0xBEEFC0DE, 1, 0, 1 << 24) + free + main + struct.pack("<2Q", last, number)
    return (struct.pack("<QHHHH", number, 0, 8, 0, 0) + body).ljust(PAGE, b"\0")

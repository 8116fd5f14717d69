"""Reading values that old versions of pyarrow packed with ``pyarrow.serialize``, which new ones no longer have.

Such a value is a count of its arrays, then a table of one column in Arrow's stream format, whose nested unions spell
out lists, dicts, numbers and texts, then the arrays as Arrow tensors. Both parts are formats that Arrow still reads,
and checks. Nothing is run: a value of another class, which ``pyarrow.deserialize`` would have rebuilt with a pickle,
is refused.

Source: ``cpp/src/arrow/python/serialize.cc`` of Arrow 0.10 to 13. Their versions differ in the names of the fields,
which are not read here (the types say the same), and in the order of the counts.
"""

import struct
from typing import Any

import numpy as np

from motionloom.errors import DataError

_STREAM, _ALIGNMENT = 16, 64
"""Where the table begins, and the multiple of bytes at which each tensor does."""
_CLASS = "_pytype_"
"""The key by which a dict stands for an object of some class."""


class _RefusedError(Exception):
    """Something in the value that is no array, number, text or plain container."""


def read_serialized(data: bytes | memoryview, where: str, arrays: bool = True) -> Any:
    """What a serialised value holds: dicts, lists (also for tuples and sets), numbers, texts, bytes and arrays.

    Args:
        data: The value.
        where: File and place for messages.
        arrays: Read the arrays; without, each is ``None``, and their bytes are not touched.

    Raises:
        DataError: The value is damaged, cut off, of another format, or holds anything else.
    """
    import pyarrow as pa

    try:
        if len(data) < _STREAM:
            raise _RefusedError("is cut off")
        source = pa.BufferReader(pa.py_buffer(data))
        source.seek(_STREAM)
        batch = pa.ipc.open_stream(source).read_next_batch()
        batch.validate(full=True)
        if batch.num_columns != 1:
            raise _RefusedError("is no value of pyarrow.serialize")
        tensors = _read_tensors(source, _array_count(data)) if arrays else None
        (value,) = _Values(tensors).sequence(batch.column(0), 0, batch.num_rows)
    except _RefusedError as error:
        raise DataError(f"{where}: {error}") from None
    # Arrow raises errors of its own and Python's for a damaged stream.
    except (pa.ArrowException, ValueError, TypeError, IndexError, OSError, StopIteration, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{where}: is no readable value of pyarrow.serialize ({reason})") from None
    return value


def _array_count(data: bytes | memoryview) -> int:
    """Number of arrays. Counts are of tensors, arrays, buffers, nothing; since Arrow 0.16 a second of sparse ones."""
    tensors, second, third, fourth = struct.unpack_from("<4i", data)
    if tensors or fourth or (second and third) or second < 0 or third < 0:
        raise _RefusedError("holds tensors or buffers that are no numpy arrays")
    return second or third


def _read_tensors(source: Any, count: int) -> list[np.ndarray]:
    import pyarrow as pa

    # Four bytes of zeros, or eight, end the table.
    position = source.tell() + 4
    found = []
    for _ in range(count):
        source.seek(-(-position // _ALIGNMENT) * _ALIGNMENT)
        found.append(pa.ipc.read_tensor(source).to_numpy())
        position = source.tell()
    return found


class _Values:
    """Turns unions of Arrow into values; one that is named several times is made once."""

    def __init__(self, tensors: list[np.ndarray] | None) -> None:
        self.tensors = tensors

    def sequence(self, union: Any, start: int, stop: int) -> list[Any]:
        """The values from one place of a union to another."""
        import pyarrow as pa

        if not isinstance(union, pa.UnionArray):
            raise _RefusedError("is no value of pyarrow.serialize")
        if start == stop:
            # An empty union has no buffers, and pyarrow crashes when asked for them.
            return []
        kinds = union.type_codes.slice(start, stop - start).to_pylist()
        places = union.offsets.slice(start, stop - start).to_pylist()
        codes = {code: union.field(index) for index, code in enumerate(union.type.type_codes)}
        children = {code: self._child(array, places, kinds, code) for code, array in codes.items() if code in kinds}
        return [children[kind][place] for kind, place in zip(kinds, places, strict=True)]

    def _child(self, array: Any, places: list[int], kinds: list[int], code: int) -> dict[int, Any]:
        """The values of one type that are named, by their places."""
        import pyarrow as pa

        wanted = sorted({place for place, kind in zip(places, kinds, strict=True) if kind == code})
        if isinstance(array, pa.StructArray) and array.type.num_fields == 1:
            # Until Arrow 0.12 lists and dicts were wrapped so, for their names.
            array = array.field(0)
        if isinstance(array, pa.ListArray):
            return {place: self._container(array, place) for place in wanted}
        taken = array.take(pa.array(wanted, pa.int64())).to_pylist()
        if pa.types.is_int32(array.type):
            taken = [self._array(index) for index in taken]
        elif not _plain(array.type):
            raise _RefusedError(f"holds values of type {array.type}")
        return dict(zip(wanted, taken, strict=True))

    def _container(self, array: Any, place: int) -> Any:
        import pyarrow as pa

        start, stop = array.offsets[place].as_py(), array.offsets[place + 1].as_py()
        if not isinstance(array.values, pa.StructArray):
            return self.sequence(array.values, start, stop)
        keys = self.sequence(array.values.field(0), start, stop)
        if _CLASS in keys:
            raise _RefusedError("holds an object of a class of its own; such values are never rebuilt")
        return dict(zip(keys, self.sequence(array.values.field(1), start, stop), strict=True))

    def _array(self, index: int) -> np.ndarray | None:
        if self.tensors is None:
            return None
        if not 0 <= index < len(self.tensors):
            raise _RefusedError("names an array that it does not have")
        return self.tensors[index]


def _plain(kind: Any) -> bool:
    import pyarrow as pa

    types = pa.types
    checks = (types.is_boolean, types.is_int64, types.is_floating, types.is_string, types.is_binary, types.is_null)
    return any(check(kind) for check in checks)

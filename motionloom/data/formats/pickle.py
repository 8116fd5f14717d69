"""Reading pickles of datasets without running what is in them.

A pickle is a program: it names functions and calls them. Here only the names with which numpy stores arrays exist,
each is answered by a function of this file, and everything else is refused by name. Sizes are checked against the
file before anything is allocated. Pure Python, because its memo is a table and not an array of the pickle's choosing.
"""

import pickle
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, ClassVar, cast

import numpy as np

from motionloom.errors import DataError

MAX_BYTES = 1 << 34
"""Largest pickle that is read [bytes]; UESTC's is the largest of those we know."""
_DTYPE = re.compile(r"[<>|=]?[biufcSUO]\d*")
_NAMES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_REFUSED = (
    *(pickle.PERSID, pickle.BINPERSID, pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX),
    *(pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
)
"""Operations that no array needs."""


class _RefusedError(Exception):
    """Something in the pickle that is no array, number, text or plain container."""


def read_pickle(path: Path) -> Any:
    """What a pickle holds, made of numpy arrays, numbers, texts, lists, tuples, sets and dicts only.

    Texts of Python 2 are read as latin-1.

    Raises:
        DataError: The file cannot be read, is too large, cut off, no pickle, or holds anything else.
    """
    with _refusing(path):
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size} bytes; pickles of up to {MAX_BYTES} bytes are read")
        with path.open("rb") as file:
            return _Arrays(_Bounded(file, size)).load()


def read_pickled_array(path: Path, name: str) -> Any:
    """The array of objects of that name in an ``.npz``, which numpy stores as a pickle; read as by ``read_pickle``.

    Raises:
        DataError: As ``read_pickle``, or the archive has no such array.
    """
    with _refusing(path), zipfile.ZipFile(path) as archive:
        if f"{name}.npy" not in archive.namelist():
            raise DataError(f"{path}: array {name!r} is missing")
        info = archive.getinfo(f"{name}.npy")
        if info.file_size > MAX_BYTES:
            raise DataError(f"{path}: unpacks to {info.file_size} bytes; up to {MAX_BYTES} are read")
        with archive.open(info) as file:
            head = file.read(10)
            if head[:6] != b"\x93NUMPY" or head[6] != 1:
                raise DataError(f"{path}: array {name!r} is no npy array")
            length = int.from_bytes(head[8:10], "little")
            file.read(length)
            return _Arrays(_Bounded(file, info.file_size - 10 - length)).load()


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Every failure in one line that names the file."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except _RefusedError as error:
        raise DataError(f"{path}: {error}") from None
    except DataError:
        raise
    # A damaged pickle makes the unpickler fail in any of its steps, each with another type of error.
    except Exception as error:
        raise DataError(f"{path}: is no readable pickle ({' '.join(str(error).split())[:100]})") from None


class _Bounded:
    """A file that refuses to read more than it has, so that no size in it is believed."""

    def __init__(self, file: IO[bytes] | zipfile.ZipExtFile, size: int) -> None:
        self.file, self.left = file, size

    def read(self, count: int) -> bytes:
        if count > self.left:
            raise _RefusedError("is cut off; download it again")
        self.left -= count
        return self.file.read(count)

    def readline(self) -> bytes:
        line = self.file.readline()
        self.left -= len(line)
        return line

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[:] = data
        return len(data)


class _Marker:
    """Stands for a class that a pickle may name but not make."""


_NDARRAY = _Marker()


def _reconstruct(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """Return an empty array; its shape and values come with the state that follows."""
    if kind is not _NDARRAY or shape != (0,) or code not in (b"b", "b"):
        raise _RefusedError("has an array of unknown form")
    return np.ndarray((0,), "b")


def _dtype(text: Any, align: Any = False, copy: Any = True) -> np.dtype:
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    if not isinstance(text, str) or _DTYPE.fullmatch(text) is None:
        raise _RefusedError(f"has an array of type {text!r:.40}; numbers, text and lists of arrays are read")
    # A copy, for the state that follows (the byte order) is written into it.
    return np.dtype(text, align=False, copy=True)


def _scalar(kind: Any, data: Any = b"") -> Any:
    raw = data.encode("latin-1") if isinstance(data, str) else data
    if not isinstance(kind, np.dtype) or kind.hasobject or len(raw) != kind.itemsize or not raw:
        raise _RefusedError("has a number of unknown form")
    return np.frombuffer(raw, kind)[0]


def _frombuffer(data: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(data, bytes | bytearray) or not isinstance(kind, np.dtype) or kind.hasobject:
        raise _RefusedError("has an array of unknown form")
    return np.frombuffer(data, kind).reshape(shape, order="F" if order == "F" else "C")


def _encode(text: Any, coding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or coding not in ("latin1", "latin-1"):
        raise _RefusedError("has bytes of unknown form")
    return text.encode("latin-1")


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): dict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    **{(module, "_reconstruct"): _reconstruct for module in _NAMES},
    **{(module, "scalar"): _scalar for module in _NAMES},
    **{(module, "_frombuffer"): _frombuffer for module in _NAMES},
}


def _refuse(self: Any) -> None:
    raise _RefusedError("makes objects that are no arrays; such pickles are never run")


def _build(self: Any) -> None:
    """Give an array its values, or a type its byte order; nothing else has a state."""
    state: Any = self.stack.pop()
    made: Any = self.stack[-1]
    if not isinstance(made, np.ndarray | np.dtype) or not isinstance(state, tuple):
        raise _RefusedError("makes objects that are no arrays; such pickles are never run")
    if isinstance(made, np.dtype):
        if len(state) < 7 or any(item is not None for item in state[2:5]) or state[1] not in ("<", ">", "|", "="):
            raise _RefusedError("has an array of records; arrays of numbers are read")
        # Only the byte order is taken: sizes and flags of a state say how memory is read.
        state = made.newbyteorder(state[1]).__reduce__()[2]
    cast(Any, made).__setstate__(state)


def _bytearray(self: Any) -> None:
    """Read bytes before they are copied: the size in the pickle is not believed."""
    self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))


class _Arrays(pickle._Unpickler):
    """An unpickler that knows arrays and plain containers."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {  # pyright: ignore
        **pickle._Unpickler.dispatch,  # pyright: ignore
        **{code[0]: _refuse for code in _REFUSED},
        pickle.BUILD[0]: _build,
        pickle.BYTEARRAY8[0]: _bytearray,
    }

    def __init__(self, file: _Bounded) -> None:
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        """Answer the names of arrays; refuse all others."""
        if (module, name) not in _KNOWN:
            what = f"{module}.{name}"
            raise _RefusedError(f"names {what[:60]!r}, which is no array; pickles with code are never run")
        return _KNOWN[module, name]

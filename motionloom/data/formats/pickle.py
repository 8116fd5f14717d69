"""Reading pickles of datasets without running what is in them, and without numpy's or Python's unpickler.

A pickle is a program: it names functions and calls them. This parser knows the operations by which numbers, texts,
lists, tuples, sets, dicts and numpy arrays are stored, and makes them itself: no function of the file's choosing is
called, not even a constructor of numpy. Operations are counted, sizes are checked against the bytes that are there, and
what comes out is a finite tree: lists that hold themselves, or each other a thousandfold, are refused.

Format: ``pickletools`` of Python's standard library, protocols 0 to 5; the form of arrays is numpy's ``__reduce__``.
"""

import codecs
import math
import re
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from motionloom.errors import DataError

MAX_BYTES = 1 << 34
"""Largest pickle that is read [bytes]; UESTC's is the largest of those we know."""
_OPERATIONS, _BYTES_AN_OPERATION = 750_000, 64
"""Operations that any pickle may have, and bytes that a pickle of more must have for each."""
_ITEMS = 4_000_000
"""Items that what comes out may have when it is written out as a tree; arrays count as one."""
_DEPTH, _LINE, _DIGITS = 64, 4096, 400
_AHEAD = 1 << 16
_DTYPE = re.compile(r"[<>|=]?([biufcSUO])(\d{0,9})")
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_KNOWN = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("collections", "OrderedDict"): "dict",
    ("builtins", "set"): "set",
    ("__builtin__", "set"): "set",
    **{(module, f"_{name}"): name for module in _NUMPY for name in ("reconstruct", "frombuffer")},
    **{(module, "scalar"): "scalar" for module in _NUMPY},
}
_MARK = object()


class _RefusedError(Exception):
    """Something in the pickle that is no array, number, text or plain container."""


class _Name:
    """Stands for a function or class that a pickle names; none is ever called."""

    def __init__(self, what: str) -> None:
        self.what = what


class _Array:
    """An array that is announced, until its shape and values follow.

    Attributes:
        keys: Under which it is remembered.
    """

    def __init__(self) -> None:
        self.keys: list[int] = []


class _Dtype:
    """A type that is announced, until its byte order follows.

    Attributes:
        kind: Letter of numpy.
        size: Bytes (characters for texts).
        order: Byte order.
    """

    def __init__(self, text: Any) -> None:
        text = text.decode("latin-1") if isinstance(text, bytes) else text
        found = _DTYPE.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise _RefusedError(f"has an array of type {text!r:.40}; numbers, text and lists of arrays are read")
        self.kind, self.size = found[1], int(found[2] or 0)
        self.order = text[0] if text[0] in "<>" else "<"

    def numpy(self) -> np.dtype:
        """The type, for which a file's words were checked one by one."""
        if self.kind == "O":
            raise _RefusedError("has numbers of unknown form")
        sizes = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8), "c": (8, 16)}
        if self.size not in sizes.get(self.kind, range(1, 1 << 16)):
            raise _RefusedError(f"has an array of type {self.kind}{self.size}; numbers and text are read")
        return np.dtype(f"{self.order}{self.kind}{self.size}")


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
            return _Parser(file, size).parse()


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
            return _Parser(file, info.file_size - 10 - length).parse()


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
    # A damaged pickle makes the parser fail in any of its steps, each with another type of error.
    except (IndexError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile, struct.error) as error:
        raise DataError(f"{path}: is no readable pickle ({' '.join(str(error).split())[:100]})") from None


class _Parser:
    """A stack machine with the operations that plain values need."""

    def __init__(self, file: IO[bytes] | zipfile.ZipExtFile, size: int) -> None:
        self.file, self.left = file, size
        self.buffer, self.place = b"", 0
        self.most = max(_OPERATIONS, size // _BYTES_AN_OPERATION)
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def parse(self) -> Any:
        """Run the pickle to its end; what is left on the stack is its value."""
        for _ in range(self.most):
            if self.place < len(self.buffer):
                code = self.buffer[self.place]
                self.place += 1
            else:
                code = self.read(1)[0]
            if code == 0x2E:
                value = self.stack.pop()
                _check_tree(value)
                return value
            step = _STEPS.get(code)
            if step is None:
                raise _RefusedError(
                    f"has the operation {code:#04x}, which makes objects that are no arrays; such pickles are never run"
                )
            step(self)
        raise _RefusedError(f"takes more than {self.most} operations; plain data of its size needs fewer")

    def read(self, count: int) -> bytes:
        """Bytes that are there: no size in the file is believed."""
        held = len(self.buffer) - self.place
        if count > held + self.left:
            raise _RefusedError("is cut off; download it again")
        if count > max(held, _AHEAD):
            # Large values come straight from the file.
            data, self.buffer, self.place = self.buffer[self.place :], b"", 0
            return data + self._take(count - held)
        if count > held:
            self._fill()
        self.place += count
        return self.buffer[self.place - count : self.place]

    def _fill(self) -> None:
        """Have what comes next at hand."""
        self.buffer = self.buffer[self.place :] + self._take(min(self.left, _AHEAD))
        self.place = 0

    def _take(self, count: int) -> bytes:
        data = self.file.read(count)
        self.left -= count
        if len(data) != count:
            raise _RefusedError("is cut off; download it again")
        return data

    def sized(self, width: int) -> bytes:
        """Bytes behind their own count of that many bytes."""
        return self.read(int.from_bytes(self.read(width), "little"))

    def line(self) -> bytes:
        """A line of the text protocols, without its end."""
        end = self.buffer.find(b"\n", self.place)
        if end < 0:
            self._fill()
            end = self.buffer.find(b"\n")
        if not 0 <= end - self.place <= _LINE:
            raise _RefusedError("is cut off, or has a line that no number or name takes")
        line = self.buffer[self.place : end]
        self.place = end + 1
        return line

    def above_mark(self) -> list[Any]:
        """What lies above the last mark; both are taken off."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                items = self.stack[place + 1 :]
                del self.stack[place:]
                return items
        raise _RefusedError("is damaged: it has no mark where one is needed")

    def pop(self, count: int) -> list[Any]:
        """The last few values."""
        if count and (len(self.stack) < count or any(item is _MARK for item in self.stack[-count:])):
            raise _RefusedError("is damaged: a value is missing")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def top(self, kind: type) -> Any:
        """The last value, which must be of a kind."""
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise _RefusedError(f"is damaged: no {kind.__name__} where one is needed")
        return self.stack[-1]

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def name(self, module: Any, name: Any) -> None:
        """Take a name; only those of arrays and plain containers are known."""
        known = _KNOWN.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
        if known is None:
            what = f"{module}.{name}"
            raise _RefusedError(f"names {what[:60]!r}, which is no array; pickles with code are never run")
        self.push(_Name(known))

    def keep(self, key: int) -> None:
        """Remember the last value under a number."""
        if not self.stack or self.stack[-1] is _MARK:
            raise _RefusedError("is damaged: nothing to remember")
        self.memo[key] = self.stack[-1]
        if isinstance(self.stack[-1], _Array):
            self.stack[-1].keys.append(key)

    def recall(self, key: int) -> None:
        """Put a remembered value on the stack."""
        if key not in self.memo:
            raise _RefusedError("is damaged: it recalls what it never kept")
        self.push(self.memo[key])

    def call(self) -> None:
        """What calls the functions of arrays in other unpicklers; here their arguments are read."""
        name, arguments = self.pop(2)
        if not isinstance(name, _Name) or not isinstance(arguments, tuple):
            raise _RefusedError("makes objects that are no arrays; such pickles are never run")
        self.push(_made(name.what, arguments))

    def build(self) -> None:
        """Give an array its values, or a type its byte order; nothing else has a state."""
        made, state = self.pop(2)
        self.push(made)
        if isinstance(made, _Dtype) and isinstance(state, tuple):
            if len(state) < 7 or any(item is not None for item in state[2:5]) or state[1] not in ("<", ">", "|", "="):
                raise _RefusedError("has an array of records; arrays of numbers are read")
            made.order = state[1] if state[1] in "<>" else made.order
        elif isinstance(made, _Array) and isinstance(state, tuple) and len(state) == 5:
            _, shape, kind, fortran, data = state
            array = _array(shape, kind, data, "F" if fortran is True or fortran == 1 else "C")
            self.stack[-1] = array
            for key in made.keys:
                self.memo[key] = array
        else:
            raise _RefusedError("makes objects that are no arrays; such pickles are never run")

    def add_items(self, items: list[Any]) -> None:
        """Put keys and values into the dict below them."""
        if len(items) % 2:
            raise _RefusedError("is damaged: a key without a value")
        into = self.top(dict)
        for place in range(0, len(items), 2):
            into[_key(items[place])] = items[place + 1]


def _made(what: str, arguments: tuple[Any, ...]) -> Any:
    """What a function of arrays would make of its arguments, made here."""
    if what == "reconstruct":
        if len(arguments) != 3 or not isinstance(arguments[0], _Name) or arguments[0].what != "ndarray":
            raise _RefusedError("has an array of unknown form")
        return _Array()
    if what == "dtype" and 1 <= len(arguments) <= 3:
        return _Dtype(arguments[0])
    if what == "scalar" and len(arguments) == 2 and isinstance(arguments[0], _Dtype):
        kind, raw = arguments[0].numpy(), arguments[1]
        raw = raw.encode("latin-1") if isinstance(raw, str) else raw
        if isinstance(raw, bytes) and len(raw) == kind.itemsize:
            return np.frombuffer(raw, kind)[0]
    if what == "frombuffer" and len(arguments) == 4:
        data, kind, shape, order = arguments
        return _array(shape, kind, data, "F" if order == "F" else "C")
    if what == "encode" and len(arguments) in (1, 2) and isinstance(arguments[0], str):
        if arguments[1:] not in ((), ("latin1",), ("latin-1",)):
            raise _RefusedError("has bytes of unknown form")
        return arguments[0].encode("latin-1")
    if what == "set" and len(arguments) == 1 and isinstance(arguments[0], list | tuple):
        return {_key(item) for item in arguments[0]}
    if what == "dict" and not arguments:
        return {}
    if what == "dict" and len(arguments) == 1 and isinstance(arguments[0], list):
        pairs = arguments[0]
        if all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
            return {_key(pair[0]): pair[1] for pair in pairs}
    raise _RefusedError("has values of unknown form")


def _array(shape: Any, kind: Any, data: Any, order: Any) -> np.ndarray:
    """An array of a shape from the bytes (or, for arrays of objects, the list) that are there."""
    plain = isinstance(shape, tuple) and len(shape) <= 8 and all(type(size) is int and size >= 0 for size in shape)
    if not plain or not isinstance(kind, _Dtype):
        raise _RefusedError("has an array of unknown form")
    count = math.prod(shape)
    if kind.kind == "O":
        if not isinstance(data, list) or len(data) != count:
            raise _RefusedError("has an array of objects with another number of them than its shape says")
        array = np.empty(count, dtype=object)
        for place, item in enumerate(data):
            array[place] = item
        return array.reshape(shape, order=order)
    dtype = kind.numpy()
    if isinstance(data, str):
        data = data.encode("latin-1")
    if not isinstance(data, bytes | bytearray) or len(data) != count * dtype.itemsize:
        raise _RefusedError("has an array whose shape and bytes disagree; it is damaged or cut off")
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _key(value: Any) -> Any:
    """A value that can be looked up: a number, a text, or a flat tuple of these, so that its hash is quickly found."""
    if isinstance(value, tuple):
        if len(value) > 64 or not all(isinstance(item, str | bytes | int | float | None) for item in value):
            raise _RefusedError("has a key that is no number, text or short list of these")
    elif not isinstance(value, str | bytes | int | float | np.number | None):
        raise _RefusedError("has a key that is no number, text or short list of these")
    return value


def _check_tree(value: Any) -> None:
    """Refuse what has no end or would have too many items when it is written out, and what is half made."""
    # Containers may be shared: what each comes to when written out is counted once, its parts first.
    count: dict[int, int] = {}
    stack: list[tuple[Any, bool]] = [(value, False)]
    open_: dict[int, None] = {}
    while stack:
        node, done = stack.pop()
        if isinstance(node, _Array | _Dtype | _Name) or node is _MARK:
            raise _RefusedError("holds a type or a name where an array or a number is needed")
        inside = _inside(node)
        if inside is None:
            continue
        if done:
            del open_[id(node)]
            count[id(node)] = 1 + sum(count.get(id(item), 1) for item in inside)
            if count[id(node)] > _ITEMS:
                raise _RefusedError(f"has lists within lists of more than {_ITEMS} items in all")
        elif id(node) in open_:
            raise _RefusedError("has a list that holds itself")
        elif id(node) not in count:
            open_[id(node)] = None
            if len(open_) > _DEPTH:
                raise _RefusedError(f"has lists within lists of more than {_DEPTH} levels")
            stack.append((node, True))
            stack.extend((item, False) for item in inside)


def _inside(node: Any) -> list[Any] | None:
    """The items of a container."""
    if isinstance(node, dict):
        return list(node.values())
    if isinstance(node, list | tuple | set | frozenset):
        return list(node)
    if isinstance(node, np.ndarray) and node.dtype.kind == "O":
        return node.reshape(-1).tolist()
    return None


def _text_number(parser: _Parser) -> None:
    line = parser.line()
    if len(line) > _DIGITS:
        raise _RefusedError("has a number of too many digits")
    flags: dict[bytes, Any] = {b"00": False, b"01": True}
    parser.push(flags[line] if line in flags else int(line.rstrip(b"L")))


def _long(parser: _Parser, width: int) -> None:
    count = int.from_bytes(parser.read(width), "little")
    if count > _DIGITS:
        raise _RefusedError("has a number of too many digits")
    parser.push(int.from_bytes(parser.read(count), "little", signed=True))


def _text_string(parser: _Parser) -> None:
    line = parser.line().strip()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[:1] != line[-1:]:
        raise _RefusedError("has a text without quotes")
    parser.push(codecs.escape_decode(line[1:-1])[0].decode("latin-1"))  # pyright: ignore[reportAttributeAccessIssue]


def _global(parser: _Parser) -> None:
    module = parser.line().decode("latin-1")
    parser.name(module, parser.line().decode("latin-1"))


def _stack_global(parser: _Parser) -> None:
    parser.name(*parser.pop(2))


def _append(parser: _Parser) -> None:
    (item,) = parser.pop(1)
    parser.top(list).append(item)


def _appends(parser: _Parser) -> None:
    items = parser.above_mark()
    parser.top(list).extend(items)


def _add_to_set(parser: _Parser) -> None:
    items = [_key(item) for item in parser.above_mark()]
    parser.top(set).update(items)


def _tuple(parser: _Parser, count: int) -> None:
    parser.push(tuple(parser.pop(count)))


def _dict(parser: _Parser) -> None:
    items = parser.above_mark()
    parser.push({})
    parser.add_items(items)


_STEPS: dict[int, Any] = {
    code: step
    for code, step in {
        0x80: lambda p: p.read(1),  # PROTO
        0x95: lambda p: p.read(8),  # FRAME
        ord("("): lambda p: p.push(_MARK),
        ord("0"): lambda p: p.stack.pop(),
        ord("1"): lambda p: p.above_mark(),
        ord("2"): lambda p: p.push(*p.stack[-1:]),
        ord("N"): lambda p: p.push(None),
        0x88: lambda p: p.push(True),
        0x89: lambda p: p.push(False),
        ord("I"): _text_number,
        ord("L"): _text_number,
        ord("J"): lambda p: p.push(int.from_bytes(p.read(4), "little", signed=True)),
        ord("K"): lambda p: p.push(p.read(1)[0]),
        ord("M"): lambda p: p.push(int.from_bytes(p.read(2), "little")),
        0x8A: lambda p: _long(p, 1),
        0x8B: lambda p: _long(p, 4),
        ord("F"): lambda p: p.push(float(p.line())),
        ord("G"): lambda p: p.push(struct.unpack(">d", p.read(8))[0]),
        ord("S"): _text_string,
        ord("T"): lambda p: p.push(p.sized(4).decode("latin-1")),
        ord("U"): lambda p: p.push(p.sized(1).decode("latin-1")),
        ord("B"): lambda p: p.push(p.sized(4)),
        ord("C"): lambda p: p.push(p.sized(1)),
        0x8E: lambda p: p.push(p.sized(8)),
        0x96: lambda p: p.push(p.sized(8)),
        ord("V"): lambda p: p.push(p.line().decode("raw-unicode-escape")),
        ord("X"): lambda p: p.push(p.sized(4).decode("utf-8", "surrogatepass")),
        0x8C: lambda p: p.push(p.sized(1).decode("utf-8", "surrogatepass")),
        0x8D: lambda p: p.push(p.sized(8).decode("utf-8", "surrogatepass")),
        ord("]"): lambda p: p.push([]),
        ord("l"): lambda p: p.push(p.above_mark()),
        ord("a"): _append,
        ord("e"): _appends,
        ord(")"): lambda p: p.push(()),
        ord("t"): lambda p: p.push(tuple(p.above_mark())),
        0x85: lambda p: _tuple(p, 1),
        0x86: lambda p: _tuple(p, 2),
        0x87: lambda p: _tuple(p, 3),
        ord("}"): lambda p: p.push({}),
        ord("d"): _dict,
        ord("s"): lambda p: p.add_items(p.pop(2)),
        ord("u"): lambda p: p.add_items(p.above_mark()),
        0x8F: lambda p: p.push(set()),
        0x90: _add_to_set,
        0x91: lambda p: p.push(frozenset(_key(item) for item in p.above_mark())),
        ord("c"): _global,
        0x93: _stack_global,
        ord("R"): lambda p: p.call(),
        ord("b"): lambda p: p.build(),
        ord("p"): lambda p: p.keep(int(p.line()[:20])),
        ord("q"): lambda p: p.keep(p.read(1)[0]),
        ord("r"): lambda p: p.keep(int.from_bytes(p.read(4), "little")),
        0x94: lambda p: p.keep(len(p.memo)),
        ord("g"): lambda p: p.recall(int(p.line()[:20])),
        ord("h"): lambda p: p.recall(p.read(1)[0]),
        ord("j"): lambda p: p.recall(int.from_bytes(p.read(4), "little")),
    }.items()
}

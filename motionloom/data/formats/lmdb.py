"""Reading LMDB databases (``data.mdb``) without the library: bounds are checked, so a damaged file is an error.

The file is pages of one size. Two of them, the first, are meta pages; the one with the higher transaction number names
the root of a B+ tree of branch and leaf pages, whose large values are on pages of their own.

Source: the structures of LMDB 0.9 (``lmdb.h``, ``mdb.c``; data version 1), as written on machines of 64 bits, little
endian, which is what datasets are written on.
"""

import mmap
import struct
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from motionloom.errors import DataError

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_HEAD = 16
"""Bytes of a page's header: number (8), spare (2), kind (2), end of the node table (2), begin of the nodes (2)."""
_BRANCH, _LEAF, _OVERFLOW = 0x01, 0x02, 0x04
_BIG, _UNREAD = 0x01, 0x06
"""Flags of a node: its value is on pages of its own; it is a database or has several values, which are not read."""
_NOWHERE = 0xFFFFFFFFFFFFFFFF
_MAX_DEPTH = 32


class LmdbFile:
    """An LMDB database, opened for reading.

    Args:
        path: Its ``data.mdb``.

    Raises:
        DataError: The file cannot be read or is no LMDB database of data version 1.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({error})") from None
        first = self._meta(0)
        if first is None:
            raise DataError(f"{path}: is no LMDB database (data version {_VERSION}, 64 bits); download it again")
        # A transaction number, a root, and the size of pages, which the first meta page has for both.
        self._page = first[2]
        metas = [first, self._meta(self._page)]
        self._root = max(meta for meta in metas if meta is not None)[1]

    def _meta(self, start: int) -> tuple[int, int, int] | None:
        if start + _HEAD + 136 > len(self._data):
            return None
        magic, version = struct.unpack_from("<II", self._data, start + _HEAD)
        (size,) = struct.unpack_from("<I", self._data, start + _HEAD + 24)
        (root,) = struct.unpack_from("<Q", self._data, start + _HEAD + 24 + 48 + 40)
        (transaction,) = struct.unpack_from("<Q", self._data, start + _HEAD + 24 + 96 + 8)
        if magic != _MAGIC or version != _VERSION or not 256 <= size <= 65536:
            return None
        return transaction, root, size

    @cached_property
    def values(self) -> dict[bytes, memoryview]:
        """The values by their keys, in the order of the keys; they are views of the file and cost no memory.

        Raises:
            DataError: The file is damaged, cut off, or has several values for a key.
        """
        if self._root == _NOWHERE:
            return {}
        self._visits = 0
        try:
            return dict(self._walk(self._root, 0))
        except (struct.error, RecursionError):
            raise self._damaged() from None

    def _walk(self, number: int, depth: int) -> Iterator[tuple[bytes, memoryview]]:
        start = number * self._page
        # Each page is in the tree once; in a damaged file branches may lead back up.
        self._visits += 1
        if (
            depth > _MAX_DEPTH
            or self._visits > len(self._data) // self._page
            or not 2 * self._page <= start <= len(self._data) - self._page
        ):
            raise self._damaged()
        page = self._data[start : start + self._page]
        found, _, kind, table_end = struct.unpack_from("<QHHH", page)
        if found != number or not _HEAD <= table_end <= self._page or not kind & (_BRANCH | _LEAF):
            raise self._damaged()
        for entry in range(_HEAD, table_end - 1, 2):
            (offset,) = struct.unpack_from("<H", page, entry)
            low, high, flags, key_size = struct.unpack_from("<HHHH", page, offset)
            size, place = low | high << 16, offset + 8 + key_size
            if kind & _BRANCH:
                yield from self._walk(size | flags << 32, depth + 1)
                continue
            if flags & _UNREAD:
                raise DataError(f"{self.path}: has databases in the database; plain keys and values are read")
            if flags & _BIG:
                value = self._overflow(struct.unpack_from("<Q", page, place)[0], size)
            else:
                value = page[place : place + size]
            if len(value) != size or place > self._page:
                raise self._damaged()
            yield bytes(page[offset + 8 : place]), value

    def _overflow(self, number: int, size: int) -> memoryview:
        start = number * self._page
        if not 0 <= start <= len(self._data) - _HEAD:
            raise self._damaged()
        found, _, kind = struct.unpack_from("<QHH", self._data, start)
        if found != number or not kind & _OVERFLOW:
            raise self._damaged()
        return self._data[start + _HEAD : start + _HEAD + size]

    def _damaged(self) -> DataError:
        return DataError(f"{self.path}: is damaged or cut off; download it again")

"""Arrays that are written a few rows at a time: plain ``.npy`` files whose number of rows is known at the end."""

from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np


class RowWriter:
    """Writes rows to an ``.npy`` file; memory holds one batch of rows.

    Writing goes through ordinary writes, not a memory map: on a full disk those fail with an error instead of ending
    the process.

    Args:
        path: The file.
        dtype: Type of the numbers.
        shape: Shape of a row.
    """

    def __init__(self, path: Path, dtype: Any, shape: tuple[int, ...]) -> None:
        self.dtype, self.shape, self.rows = np.dtype(dtype), shape, 0
        self._file: BinaryIO = path.open("wb")
        self._header()
        self._start = self._file.tell()

    def _header(self) -> None:
        # numpy pads the header so that the number of rows can grow in place.
        descr = np.lib.format.dtype_to_descr(self.dtype)
        what = {"descr": descr, "fortran_order": False, "shape": (self.rows, *self.shape)}
        np.lib.format.write_array_header_1_0(self._file, what)

    def append(self, rows: np.ndarray) -> None:
        """Write rows behind those that are there."""
        if rows.shape[1:] != self.shape:
            raise ValueError(f"rows of shape {rows.shape[1:]} do not fit an array of rows {self.shape}")
        self._file.write(np.ascontiguousarray(rows, dtype=self.dtype).tobytes())
        self.rows += len(rows)

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._file.seek(0)
                self._header()
                assert self._file.tell() == self._start
        finally:
            self._file.close()


def open_rows(path: Path, mode: Any = "r") -> np.ndarray:
    """An array memory-mapped, whatever its size; an empty one is read."""
    try:
        return np.load(path, mmap_mode=mode, allow_pickle=False)
    except ValueError:
        return np.load(path, allow_pickle=False)

"""What all readers and writers share: bounded reading, arrays without pickle, saving all or nothing."""

import io
import math
import os
import re
import secrets
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from motionloom.errors import MotionFileError
from motionloom.motion.budget import MOTION, Budget

MAX_BYTES = 1 << 29
"""Largest file or unpacked archive that is read [bytes]."""
MAX_FRAMES = 2_000_000
MAX_NUMBER = 1e9
"""Largest number of a text or array file that is taken for a measurement; all is float32 in the end."""
_LONGEST_HEADER = 4096
_HEADER = re.compile(
    r"\{\s*'descr':\s*'([<>|=]?[a-zA-Z]\d*)',\s*'fortran_order':\s*(True|False),"
    r"\s*'shape':\s*\(([\dL, ]*)\),?\s*\}\s*"
)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; on success it is renamed to ``path``, on failure removed.

    The temporary name keeps the suffix, so writers that choose a format by suffix work on it.

    Raises:
        MotionFileError: The directory does not exist, ``path`` is a directory, or nothing was written.
    """
    path = Path(path)
    if path.is_dir():
        raise MotionFileError(f"{path}: is a directory; give the name of a file")
    if not path.parent.is_dir():
        raise MotionFileError(f"{path}: the directory {path.parent} does not exist; make it first")
    temporary = path.with_name(f".{path.stem[:40]}.{secrets.token_hex(6)}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise MotionFileError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        temporary.unlink(missing_ok=True)


def read_bytes(path: Path) -> bytes:
    """Read all bytes of a file of at most 512 MiB.

    Raises:
        MotionFileError: There is no such file, it is a directory, empty or too large, or cannot be read.
    """
    try:
        if path.is_dir():
            raise MotionFileError(f"{path}: is a directory; give the name of a file")
        if path.exists() and not path.is_file():
            raise MotionFileError(f"{path}: is no ordinary file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise MotionFileError(f"{path}: {size} bytes; files of up to {MAX_BYTES} bytes are read")
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise MotionFileError(f"{path}: cannot be read ({reason})") from None
    if not raw:
        raise MotionFileError(f"{path}: the file is empty")
    return raw


def read_text(path: Path) -> str:
    """Read the text of a motion file of at most 512 MiB; all line ends become newlines.

    Raises:
        MotionFileError: As ``read_bytes``, or the file holds binary data.
    """
    raw = read_bytes(path)
    if b"\0" in raw:
        line = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        raise MotionFileError(f"{path}:{line}: binary data where text is needed; is the suffix right?")
    text = raw.decode("utf-8-sig", errors="replace")
    if not text.strip():
        raise MotionFileError(f"{path}: the file is empty")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


@dataclass(frozen=True)
class NpyHeader:
    """What an ``.npy`` header declares.

    Attributes:
        dtype: Type of its elements.
        shape: Its shape.
        fortran: Whether columns lie together.
        start: Bytes of the header.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    start: int

    @property
    def elements(self) -> int:
        """Elements that are declared; Python's whole numbers do not overflow."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of values that are declared."""
        return self.elements * self.dtype.itemsize


def npy_header(raw: bytes, where: str, *, objects: bool = False) -> NpyHeader:
    """Read the header at the beginning of the bytes of a ``.npy``; nothing in it is evaluated.

    Args:
        raw: At least the first 4,200 bytes, or all of them.
        where: File (and member) for messages.
        objects: Let arrays of Python objects pass, whose values are then not to be read.

    Raises:
        MotionFileError: The bytes are no npy, or declare Python objects, records or more than eight axes.
    """
    if raw[:6] != b"\x93NUMPY" or len(raw) < 12:
        raise MotionFileError(f"{where}: is no npy array (the magic bytes are missing)")
    start = 12 if raw[6] >= 2 else 10
    length = int.from_bytes(raw[8:start], "little")
    text = raw[start : start + length].decode("latin-1") if length <= _LONGEST_HEADER else ""
    header = _HEADER.fullmatch(text)
    if header is None:
        raise MotionFileError(f"{where}: has an npy header of unknown form; plain arrays are read")
    try:
        dtype = np.dtype(header[1])
        shape = tuple(int(size.rstrip("L")) for size in header[3].replace(" ", "").split(",") if size)
    except (TypeError, ValueError):
        raise MotionFileError(f"{where}: unknown array type {header[1]!r} or shape ({header[3][:60]})") from None
    if dtype.kind == "O" and not objects:
        raise MotionFileError(f"{where}: holds pickled objects, which are never run; plain arrays are read")
    plain = dtype.kind in "biufSU" and dtype.itemsize > 0 and not (dtype.kind == "f" and dtype.itemsize > 8)
    if not plain and dtype.kind != "O":
        raise MotionFileError(f"{where}: arrays of type {header[1]!r} are not read, only numbers or text")
    # With a size of 0 among them the others mean nothing, but numpy refuses what it could not count.
    if len(shape) > 8 or any(size > MOTION.elements for size in shape):
        raise MotionFileError(f"{where}: shape ({header[3][:60]}) has too many axes, or a size that no motion has")
    return NpyHeader(dtype, shape, header[2] == "True", start + length)


def parse_npy(raw: bytes, where: str) -> np.ndarray:
    """Read an array from the bytes of a ``.npy`` file; nothing in it is evaluated or unpickled.

    Args:
        raw: The bytes.
        where: File (and member) for messages.

    Raises:
        MotionFileError: The bytes are no npy, hold Python objects, or are fewer or more than the header says.
    """
    header = npy_header(raw, where)
    got = len(raw) - header.start
    if header.bytes != got:
        raise MotionFileError(
            f"{where}: {got} bytes where shape {header.shape} needs {header.bytes}; the file is cut off"
        )
    array = np.frombuffer(raw, header.dtype, offset=header.start)
    try:
        _check_text(array)
    except ValueError as error:
        raise MotionFileError(f"{where}: {error}") from None
    return array.reshape(header.shape, order="F" if header.fortran else "C")


def read_arrays(
    path: Path, wanted: set[str], words: frozenset[str] | set[str] = frozenset(), budget: Budget = MOTION
) -> tuple[dict[str, np.ndarray], set[str]]:
    """Read the wanted arrays of an ``.npz`` archive, and list the names of all its arrays.

    What the arrays' own headers declare is checked before anything is unpacked; members nobody asked for stay packed.

    Args:
        path: The file.
        wanted: Names of arrays.
        words: Those of them that only hold a word for a note: one that is no plain text is left out.
        budget: Most that they may declare together.

    Raises:
        MotionFileError: The file is no zip, is damaged or encrypted, or its arrays are beyond the budget.
    """
    found: dict[str, np.ndarray] = {}
    try:
        archive = zipfile.ZipFile(io.BytesIO(read_bytes(path)))
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        chosen = [members[name] for name in sorted(wanted & members.keys())]
        if len(archive.infolist()) != len(members) or len(members) > 1000:
            raise MotionFileError(f"{path}: the archive has repeated names or more than 1000 members")
        if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in chosen):
            raise MotionFileError(f"{path}: packed by a method other than deflate, which numpy never does")
        headers = {}
        for info in chosen:
            name = info.filename.removesuffix(".npy")
            with archive.open(info) as member:
                header = npy_header(member.read(_LONGEST_HEADER + 12), f"{path}: array {name!r}", objects=name in words)
            if name in words and (header.dtype.kind not in "SU" or header.bytes > budget.text):
                continue
            if header.bytes != info.file_size - header.start:
                raise MotionFileError(
                    f"{path}: array {name!r}: {info.file_size - header.start} bytes where shape {header.shape} needs"
                    f" {header.bytes}; the file is cut off"
                )
            if header.dtype.kind in "SU":
                budget.check(f"{path}: array {name!r}", text=header.bytes)
            headers[name] = (info, header)
        budget.check(path, bytes=sum(header.bytes for _, header in headers.values()))
        budget.check(path, elements=sum(header.elements for _, header in headers.values()))
        for name, (info, header) in headers.items():
            found[name] = _unpack(archive, info, header)
    except MotionFileError:
        raise
    # zipfile lets errors of zlib, struct and its own checks through, each of another type.
    except Exception as error:
        raise MotionFileError(f"{path}: is no readable npz archive ({' '.join(str(error).split())[:100]})") from None
    return found, set(members)


def _check_text(array: np.ndarray) -> None:
    """Numpy makes words of any four bytes; beyond Unicode's range Python's own functions break on them.

    Raises:
        ValueError: A character is none.
    """
    if array.dtype.kind == "U" and array.size:
        order = ">" if array.dtype.str[0] == ">" else "<"
        codes = np.frombuffer(array.tobytes(), f"{order}u4")
        if int(codes.max()) > 0x10FFFF or bool(((codes >= 0xD800) & (codes < 0xE000)).any()):
            raise ValueError("text with characters that are none")


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, header: NpyHeader) -> np.ndarray:
    """Unpack a member into the memory of its array, so that it is held once."""
    array = np.empty(header.elements, header.dtype)
    room = array.view(np.uint8)
    with archive.open(info) as member:
        member.read(header.start)
        place = 0
        while place < len(room):
            piece = member.read(min(1 << 20, len(room) - place))
            if not piece:
                raise EOFError("an array is cut off")
            room[place : place + len(piece)] = np.frombuffer(piece, np.uint8)
            place += len(piece)
        # Reading on to the end is what checks the sum over all bytes.
        member.read(1)
    _check_text(array)
    return array.reshape(header.shape, order="F" if header.fortran else "C")


def one_text(array: np.ndarray) -> str:
    """Return the word in an array of one string (or bytes), as npz files store it; "" for anything else."""
    if array.size != 1 or array.dtype.kind not in "SU":
        return ""
    value = array.reshape(-1)[0]
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def one_number(array: np.ndarray, where: str) -> float:
    """Return the finite number in an array of one.

    Raises:
        MotionFileError: The array holds more or fewer numbers, or text, or NaN or infinity.
    """
    if array.size != 1 or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise MotionFileError(f"{where}: one finite number is needed; got {array.dtype} {array.shape}")
    return float(array.reshape(-1)[0])


def check_shape(array: np.ndarray, shape: tuple[int | None, ...], where: str) -> None:
    """Check that an array holds numbers in a shape (``None`` = any size).

    Raises:
        MotionFileError: Another shape, no numbers, or no or too many frames.
    """
    fits = array.ndim == len(shape)
    fits = fits and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if not fits or array.dtype.kind not in "iuf":
        need = " x ".join("any" if size is None else str(size) for size in shape)
        raise MotionFileError(f"{where}: numbers of shape {need} are needed; got {array.dtype} {array.shape}")
    if not 0 < len(array) <= MAX_FRAMES:
        raise MotionFileError(f"{where}: {len(array)} frames; 1 to {MAX_FRAMES} are read")


def check_numbers(array: np.ndarray, shape: tuple[int | None, ...], where: str) -> np.ndarray:
    """Check an array's shape (``None`` = any size) and every value, and return it as float64.

    Raises:
        MotionFileError: Another shape, no numbers, too many frames, or NaN or infinity (naming the frame).
    """
    check_shape(array, shape, where)
    check_finite(array, where)
    return array.astype(np.float64)


def check_finite(array: np.ndarray, where: str) -> None:
    """Check every value of an array of numbers, a piece at a time.

    Raises:
        MotionFileError: A value is NaN, infinite or beyond 1e9 (naming the frame).
    """
    step = max(1, (1 << 18) * len(array) // max(1, array.size))
    for start in range(0, len(array), step):
        piece = array[start : start + step]
        piece = piece.astype(np.float32) if piece.dtype == np.float16 else piece
        bad = ~((piece >= -MAX_NUMBER) & (piece <= MAX_NUMBER))
        if bad.any():
            frame = start + int(np.argwhere(bad)[0, 0])
            raise MotionFileError(f"{where}: NaN, infinity or a number beyond {MAX_NUMBER:g} in frame {frame}")

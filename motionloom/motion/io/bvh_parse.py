"""The text of a BVH file -> names, parents, offsets and channel values; bounded, iterative, and exact.

Format: Meredith and Maddock, "Motion capture file formats explained" (2001), section 2.
"""

import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np

from motionloom.errors import MotionFileError
from motionloom.motion.budget import MOTION
from motionloom.motion.files import MAX_FRAMES, MAX_NUMBER, read_text
from motionloom.motion.skeleton import MAX_DEPTH, MAX_JOINTS

END = "_end"
"""End sites become leaf joints named ``<parent>_end``."""
MAX_HEADER = 1 << 22
"""Longest HIERARCHY part that is read [characters]."""
MAX_VALUES = 1 << 26
_PIECE = 1 << 22
"""Characters that are parsed at once: what parsing needs beside the values stays small."""
_CHANNELS = {f"{axis}{kind}".lower(): f"{axis}{kind}" for axis in "XYZ" for kind in ("position", "rotation")}
_POWERS = np.array([float(f"1e{power}") for power in range(23)])
_RATES = (
    10,
    12,
    15,
    20,
    24,
    25,
    30,
    48,
    50,
    60,
    72,
    75,
    90,
    100,
    120,
    144,
    150,
    180,
    200,
    240,
    250,
    300,
    500,
)


@dataclass(frozen=True, eq=False)
class BvhClip:
    """A BVH file as it stands: nothing scaled, nothing turned.

    Attributes:
        names: Joint names in file order, end sites as ``<parent>_end``.
        parents: Index of each joint's parent; -1 for the root.
        offsets: ``(J, 3)`` float64, in the file's unit.
        channels: Channel names of each joint ("Xposition", "Zrotation", ...); none for end sites.
        values: ``(T, C)`` float64, channels of all joints side by side; angles in degrees.
        frame_time: Seconds a frame, as written.
        fps: Frames a second; whole where ``frame_time`` is the rounded inverse of a whole number.
        notes: What was taken other than the header says it.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    channels: tuple[tuple[str, ...], ...]
    values: np.ndarray
    frame_time: float
    fps: float
    notes: tuple[str, ...] = ()

    @cached_property
    def _first(self) -> tuple[int, ...]:
        """First column of each joint."""
        return tuple(accumulate((len(names) for names in self.channels), initial=0))

    def columns(self, joint: int, kind: str) -> tuple[str, list[int]]:
        """Axis letters, in order, and columns of a joint's ``"position"`` or ``"rotation"`` channels."""
        names, first = self.channels[joint], self._first[joint]
        found = [slot for slot, name in enumerate(names) if name.endswith(kind)]
        return "".join(names[slot][0] for slot in found), [first + slot for slot in found]


@dataclass
class _Joint:
    name: str
    parent: int
    end: bool
    offset: tuple[float, float, float] | None = None
    channels: tuple[str, ...] | None = None


@dataclass
class _Header:
    joints: list[_Joint] = field(default_factory=list)
    open: list[int] = field(default_factory=list)
    pending: _Joint | None = None
    names: set[str] = field(default_factory=set)


def parse_bvh(path: str | Path, fps: float | None = None) -> BvhClip:
    """Parse a BVH file.

    A row of numbers more or less than ``Frames`` announces is what several programs write; it is read with a note.

    Args:
        path: The file.
        fps: True frame rate; the file's ``Frame Time`` may then be anything.

    Raises:
        MotionFileError: The file is not BVH or breaks a rule of the format; the message names file and line.
    """
    path = Path(path)
    text = read_text(path)
    marker = re.search(r"^[ \t]*MOTION[ \t]*$", text[:MAX_HEADER], re.MULTILINE | re.IGNORECASE)
    if marker is None:
        raise MotionFileError(f"{path}: no line MOTION; this is no BVH file, or it is cut off in its header")
    try:
        joints = _parse_header(text[: marker.start()])
    except ValueError as error:
        raise MotionFileError(f"{path}:{error}") from None
    channels = tuple(joint.channels or () for joint in joints)
    start, line = marker.end() + 1, text.count("\n", 0, marker.end()) + 2
    frames, start, line = _field(path, text, start, line, "Frames")
    if not frames.isdecimal() or not 0 < int(frames[:12]) <= MAX_FRAMES:
        raise MotionFileError(f"{path}:{line - 1}: Frames is {frames[:40]!r}; 1 to {MAX_FRAMES} are read")
    seconds, start, line = _field(path, text, start, line, "Frame Time")
    frame_time = _number(seconds)
    if fps is None and (frame_time is None or not 1e-6 < frame_time < 1e6):
        what = f"Frame Time is {seconds[:40]!r}; a positive number is needed: name the frame rate with --true-fps"
        raise MotionFileError(f"{path}:{line - 1}: {what}")
    rate = _rate(seconds, frame_time) if fps is None and frame_time is not None else float(fps or 1.0)
    shape = int(frames), sum(map(len, channels))
    MOTION.check(path, seconds=shape[0] / rate if rate > 0 else 0.0)
    values = _parse_values(path, text[start:], line, shape)
    notes = ()
    if len(values) != shape[0]:
        notes = (f"{len(values)} rows of numbers where {shape[0]} are announced",)
        if len(values) > shape[0]:
            values, notes = values[: shape[0]], (f"{notes[0]}: the last one left out",)
    return BvhClip(
        tuple(joint.name for joint in joints),
        tuple(joint.parent for joint in joints),
        np.array([joint.offset for joint in joints]),
        channels,
        values,
        1.0 / rate if fps is not None or frame_time is None else frame_time,
        rate,
        notes,
    )


@lru_cache(maxsize=4)
def _parse_header(text: str) -> tuple[_Joint, ...]:
    """Read the hierarchy; files of one data set share it to the letter, so it is read once for all of them.

    Raises:
        ValueError: It breaks a rule; the message starts with the line's number, where there is one.
    """
    header = _Header()
    started = False
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        if not words:
            continue
        if not started:
            if [word.upper() for word in words] != ["HIERARCHY"]:
                raise ValueError(f"{number}: a BVH file starts with HIERARCHY, not {line.strip()[:40]!r}")
            started = True
            continue
        # Some writers put braces on the line of the joint, or close several at once.
        braces = len(words) > 1 and ("{" in words or "}" in words)
        while words:
            split = len(words)
            if braces:
                split = next((i for i, word in enumerate(words[1:], 1) if word in ("{", "}")), split)
            try:
                _header_line(header, words[:split])
            except ValueError as error:
                raise ValueError(f"{number}: {error}") from None
            words = words[split:]
    if not header.joints or header.open or header.pending is not None:
        raise ValueError(f" the hierarchy is cut off: {len(header.open)} joints are still open")
    if not any(joint.channels for joint in header.joints):
        raise ValueError(" no joint has CHANNELS, so there is nothing that moves")
    for joint in header.joints:
        if joint.end:
            base = header.joints[joint.parent].name + END
            joint.name = next(n for n in (base, *(f"{base}{i}" for i in range(2, 999))) if n not in header.names)
            header.names.add(joint.name)
    return tuple(header.joints)


def _header_line(header: _Header, words: list[str]) -> None:
    """Take in one statement of the hierarchy.

    Raises:
        ValueError: The statement breaks a rule; the caller adds file and line.
    """
    keyword = words[0].upper()
    if keyword in ("ROOT", "JOINT", "END"):
        _open_joint(header, keyword, words)
    elif keyword == "{":
        if header.pending is None:
            raise ValueError("an opening brace without a joint")
        header.open.append(len(header.joints))
        header.joints.append(header.pending)
        header.pending = None
    elif header.pending is not None:
        raise ValueError(f"joint {header.pending.name!r} has no opening brace before {words[0][:40]!r}")
    elif keyword == "}":
        if not header.open:
            raise ValueError("a closing brace too many")
        joint = header.joints[header.open.pop()]
        if joint.offset is None:
            raise ValueError(f"joint {joint.name!r} has no OFFSET")
    elif keyword in ("OFFSET", "CHANNELS"):
        if not header.open:
            raise ValueError(f"{keyword} outside a joint's braces")
        joint = header.joints[header.open[-1]]
        if (joint.offset if keyword == "OFFSET" else joint.channels) is not None:
            raise ValueError(f"joint {joint.name!r} has two {keyword} lines")
        if keyword == "OFFSET":
            joint.offset = _offset(words[1:])
        elif joint.end:
            raise ValueError("an End Site cannot have CHANNELS")
        else:
            joint.channels = _channels(words[1:])
    else:
        raise ValueError(f"unknown keyword {words[0][:40]!r}; ROOT, JOINT, End Site, OFFSET or CHANNELS is needed")


def _open_joint(header: _Header, keyword: str, words: list[str]) -> None:
    if header.pending is not None:
        raise ValueError(f"joint {header.pending.name!r} has no opening brace before {' '.join(words)[:40]!r}")
    if (keyword == "ROOT") != (not header.joints):
        raise ValueError("there must be exactly one ROOT, and it comes first")
    if keyword != "ROOT" and not header.open:
        raise ValueError(f"{' '.join(words)[:40]!r} stands outside every joint")
    parent = header.open[-1] if header.open else -1
    if header.open and header.joints[parent].end:
        raise ValueError("an End Site cannot hold another joint")
    end = keyword == "END"
    name = "End Site" if end else " ".join(words[1:])
    if not name or len(name) > 200:
        raise ValueError(f"{keyword} needs a name of 1 to 200 characters")
    if not end and name in header.names:
        raise ValueError(f"joint {name!r} is named twice; names must be unique")
    if len(header.joints) >= MAX_JOINTS or len(header.open) >= MAX_DEPTH:
        raise ValueError(f"more than {MAX_JOINTS} joints or {MAX_DEPTH} levels")
    if not end:
        header.names.add(name)
    header.pending = _Joint(name, parent, end)


def _number(word: str) -> float | None:
    """Return the finite number a word spells, or ``None``."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in word else None


def _offset(words: list[str]) -> tuple[float, float, float]:
    values = [_number(word) for word in words]
    if len(values) != 3:
        raise ValueError(f"OFFSET needs three numbers; got {' '.join(words)[:60]!r}")
    x, y, z = values
    if x is None or y is None or z is None or max(abs(x), abs(y), abs(z)) > MAX_NUMBER:
        raise ValueError(f"OFFSET needs three finite numbers up to {MAX_NUMBER:g}; got {' '.join(words)[:60]!r}")
    return x, y, z


def _channels(words: list[str]) -> tuple[str, ...]:
    names = tuple(word.lower() for word in words[1:])
    if not words or words[0] != str(len(names)) or len(names) > 6:
        raise ValueError(f"CHANNELS needs a count and as many names; got {' '.join(words)[:60]!r}")
    if any(name not in _CHANNELS for name in names) or len(set(names)) != len(names):
        raise ValueError(f"unknown or repeated channel in {' '.join(words[1:])[:120]!r}")
    if sum(name.endswith("position") for name in names) not in (0, 3):
        raise ValueError("a joint needs all three position channels or none")
    return tuple(_CHANNELS[name] for name in names)


def _field(path: Path, text: str, start: int, line: int, name: str) -> tuple[str, int, int]:
    """Find the line ``name: value``; return the value, where the next line starts, and that line's number."""
    while start < len(text):
        stop = text.find("\n", start)
        stop = len(text) if stop < 0 else stop
        row = text[start:stop]
        start, line = stop + 1, line + 1
        if row.strip():
            match = re.fullmatch(rf"\s*{name}\s*:\s*(\S+)\s*", row[:200], re.IGNORECASE)
            if match is None:
                raise MotionFileError(f"{path}:{line - 1}: '{name}: ...' is needed; got {row.strip()[:40]!r}")
            return match[1], start, line
    raise MotionFileError(f"{path}:{line - 1}: the file ends where '{name}: ...' is needed")


def _rate(text: str, frame_time: float) -> float:
    """Turn ``Frame Time`` into frames a second, undoing the rounding of its last digit where that is sure."""
    fps = 1.0 / frame_time
    digits = text.lower().partition("e")[0].partition(".")[2]
    unit = 0.0 if "e" in text.lower() else 10.0 ** -len(digits)
    whole = round(fps)
    if whole > 0 and abs(1.0 / whole - frame_time) < max(unit, 1e-9 * frame_time) and abs(fps - whole) < 1e-4 * whole:
        return float(whole)
    usual = min(_RATES, key=lambda rate: abs(1.0 / rate - frame_time))
    if abs(1.0 / usual - frame_time) < unit and abs(fps - usual) < 0.025 * usual:
        return float(usual)
    return float(f"{fps:.9g}")


def _parse_values(path: Path, body: str, line: int, shape: tuple[int, int]) -> np.ndarray:
    frames, channels = shape
    if frames * channels > MAX_VALUES:
        raise MotionFileError(f"{path}: {frames} frames x {channels} channels; {MAX_VALUES} values are read")
    # Every value takes a digit and a blank: a header that promises more is not worth parsing for.
    if (frames - 1) * channels * 2 > len(body) + 1:
        rows = sum(1 for row in body.split("\n") if row.strip())
        what = f"{frames} frames are announced, {rows} lines follow; the file is cut off"
        raise MotionFileError(f"{path}:{line}: {what}")
    try:
        values = np.concatenate([_parse_rows(part) for part in _pieces(body)])
    except ValueError:
        raise _bad_row(path, body, line, shape) from None
    if values.shape[1] != channels or not 0 <= abs(len(values) - frames) <= 1:
        raise _bad_row(path, body, line, shape)
    if not all((np.abs(part) <= MAX_NUMBER).all() for part in np.array_split(values, 1 + len(values) // 4096)):
        raise _bad_row(path, body, line, shape)
    return values


def _pieces(body: str) -> Iterator[str]:
    """The text in pieces of whole lines; the first frame, often a rest pose with fewer decimals, by itself."""
    start = len(body) - len(body.lstrip())
    stop = body.find("\n", start)
    stop = len(body) if stop < 0 else stop
    while start < len(body):
        piece = body[start:stop]
        if piece.strip():
            yield piece
        start = stop
        stop = body.find("\n", start + _PIECE)
        stop = len(body) if stop < 0 else stop


def _parse_rows(text: str) -> np.ndarray:
    values = None if "e" in text or "E" in text else _parse_decimals(text)
    return np.loadtxt(io.StringIO(text), ndmin=2, comments=None) if values is None else values


def _parse_decimals(text: str) -> np.ndarray | None:
    """Read numbers without exponents as whole numbers that are then divided by their power of ten.

    Three times as fast as reading them as decimals, and exact: whole numbers below 2^53 and powers of ten up
    to 10^22 are floats, and division rounds correctly. ``None`` if the text holds anything else.
    """
    raw = np.frombuffer(f"\n{text}\n".encode("utf-8", errors="replace"), dtype=np.uint8)
    blank = raw <= ord(" ")
    edges = np.flatnonzero(blank[1:] != blank[:-1])
    starts, ends = edges[::2] + 1, edges[1::2] + 1
    dots = np.flatnonzero(raw == ord("."))
    if len(dots) == len(starts):
        decimals = ends - dots - 1
        apart = (dots >= starts).all()
    else:
        owners = np.searchsorted(starts, dots, side="right") - 1
        decimals = np.zeros(len(starts), dtype=np.int64)
        decimals[owners] = ends[owners] - dots - 1
        apart = (np.diff(owners) > 0).all()
    if not apart or decimals.min() < 0 or decimals.max() >= len(_POWERS):
        return None
    try:
        whole = np.loadtxt(io.StringIO(text.replace(".", "")), dtype=np.int64, ndmin=2, comments=None)
    except ValueError:
        return None
    if whole.size != len(starts) or max(-int(whole.min()), int(whole.max())) >= 2**53:
        return None
    if decimals.min() == decimals.max():
        return whole / _POWERS[decimals[0]]
    return whole / _POWERS[decimals].reshape(whole.shape)


def _bad_row(path: Path, body: str, line: int, shape: tuple[int, int]) -> MotionFileError:
    """Name the first thing that is wrong with the rows of numbers."""
    frames, channels = shape
    count, last = 0, line
    for number, row in enumerate(body.split("\n"), start=line):
        words = row.split()
        if not words:
            continue
        for word in words:
            value = _number(word)
            if value is None or abs(value) > MAX_NUMBER:
                what = f"{word[:40]!r} where a finite number up to {MAX_NUMBER:g} is needed"
                return MotionFileError(f"{path}:{number}: {what}")
        if len(words) != channels:
            what = f"{len(words)} values in frame {count} where the hierarchy has {channels} channels"
            return MotionFileError(f"{path}:{number}: {what}; the file is cut off or its header is wrong")
        count += 1
        last = number
    what = f"{count} frames where {frames} are announced; the file is cut off or its header is wrong"
    if count == frames:
        what = "the values cannot be read as numbers separated by blanks"
    return MotionFileError(f"{path}:{last}: {what}")

"""What a reader makes of a file, and what that costs, measured in a process of its own that may die of it."""

import contextlib
import mmap
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motionloom.errors import MotionloomError

Reader = Callable[[Path], Any]
SLOWEST, LARGEST = 1.0, 512.0
"""What reading a hostile file may take: processor seconds and MiB."""
_PATIENCE = 30.0


@dataclass(frozen=True)
class Outcome:
    """What came of an input.

    Attributes:
        kind: "ok", "refused" (one of our errors), "crash" (any other), "killed" (no answer), or "signal N".
        seconds: Processor seconds.
        mib: Memory beyond what the process had before [MiB].
        message: What was said, or the error.
    """

    kind: str
    seconds: float
    mib: float
    message: str

    @property
    def good(self) -> bool:
        """Whether it was read or refused in one line within the bounds."""
        short = len(self.message) <= 300 and "\n" not in self.message
        return self.kind in ("ok", "refused") and short and self.seconds <= SLOWEST and self.mib <= LARGEST


def run_here(reader: Reader, path: Path) -> Outcome:
    """Read a file in this process."""
    base = _reset_peak()
    started = time.process_time()
    try:
        value = reader(path)
        kind, message = "ok", type(value).__name__
        del value
    except MotionloomError as error:
        kind, message = "refused", str(error)
    except Exception as error:
        kind, message = "crash", f"{type(error).__name__}: {' '.join(str(error).split())[:160]} {_place(error)}"
    return Outcome(kind, time.process_time() - started, (_peak() - base) / 1024, message)


def run_apart(reader: Reader, inputs: Iterator[Path]) -> Iterator[tuple[int, Outcome]]:
    """Read files one after the other in a process of its own, and go on in a new one where that dies or hangs.

    Args:
        reader: The reader.
        inputs: The files, made one by one in the other process: they must not depend on it.

    Yields:
        The number of each input and its outcome.
    """
    paths = list(inputs)
    place = 0
    while place < len(paths):
        shared = mmap.mmap(-1, 16)
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read_end)
            _work(reader, paths, place, shared, write_end)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            for line in _lines(pipe, shared, child):
                number, kind, seconds, mib, message = line
                yield number, Outcome(kind, seconds, mib, message)
                place = number + 1
        _, status = os.waitpid(child, 0)
        if place < len(paths):
            number = struct.unpack_from("<q", shared, 0)[0]
            if number >= place:
                hang = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
                kind = "killed" if hang else f"signal {os.WTERMSIG(status) if os.WIFSIGNALED(status) else status}"
                yield number, Outcome(kind, _PATIENCE if hang else 0.0, 0.0, "")
                place = number + 1


def _work(reader: Reader, paths: list[Path], place: int, shared: mmap.mmap, pipe: int) -> None:
    """Read files until all are read; never returns."""
    status = 1
    try:
        for number in range(place, len(paths)):
            struct.pack_into("<qd", shared, 0, number, time.monotonic())
            found = run_here(reader, paths[number])
            text = found.message.encode("utf-8", "replace")[:2000]
            kind = found.kind.encode()
            os.write(pipe, struct.pack("<qddHH", number, found.seconds, found.mib, len(kind), len(text)) + kind + text)
        struct.pack_into("<q", shared, 0, -1)
        status = 0
    finally:
        os._exit(status)


def _lines(pipe: Any, shared: mmap.mmap, child: int) -> Iterator[tuple[int, str, float, float, str]]:
    import select

    head = struct.calcsize("<qddHH")
    data = b""
    while True:
        ready, _, _ = select.select([pipe], [], [], 1.0)
        if ready:
            piece = os.read(pipe.fileno(), 1 << 16)
            if not piece:
                return
            data += piece
        else:
            number, since = struct.unpack_from("<qd", shared, 0)
            if number >= 0 and since and time.monotonic() - since > _PATIENCE:
                os.kill(child, signal.SIGKILL)
        while len(data) >= head:
            number, seconds, mib, first, second = struct.unpack_from("<qddHH", data)
            if len(data) < head + first + second:
                break
            kind = data[head : head + first].decode()
            text = data[head + first : head + first + second].decode("utf-8", "replace")
            data = data[head + first + second :]
            yield number, kind, seconds, mib, text


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    where = ""
    while trace is not None:
        where = f"at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return where


def _reset_peak() -> float:
    """Forget the highest memory so far; return what is used now [KiB]."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    """Highest memory of this process [KiB]; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().split("\n")
    except OSError:
        return 0.0
    return next((float(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0.0)

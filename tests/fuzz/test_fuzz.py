"""A short campaign, the same every time, and every attack that once went wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and measured by /proc")


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "fuzz_campaign.py"), "--inputs", "60", "--seed", "1", "--kept", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert ", 0 bad" in done.stdout
    assert int(done.stdout.split(" inputs, ")[0].split()[-1]) > 1000


def test_the_campaign_sees_what_it_looks_for(tmp_path: Path) -> None:
    """Readers that crash, hang, eat memory or die are told apart from those that refuse."""
    import ctypes
    import faulthandler

    from benchmarks import measure
    from motionloom.errors import DataError

    def fail(path: Path) -> None:
        text = path.read_text()
        if text == "refuse":
            raise DataError("no")
        if text == "crash":
            raise KeyError("x")
        if text == "eat":
            assert len(bytearray(600 << 20)) > 0
        if text == "die":
            faulthandler.disable()  # its report of the child would read like a fault of the tests
            ctypes.string_at(0)
        if text == "quote":
            raise DataError("z" * 10_000)

    words = ["ok", "refuse", "crash", "eat", "die", "ok", "quote"]
    paths = [tmp_path / str(number) for number in range(len(words))]
    for path, text in zip(paths, words, strict=True):
        path.write_text(text)
    found = dict(measure.run_apart(fail, iter(paths)))
    assert [found[number].kind for number in range(7)] == ["ok", "refused", "crash", "ok", "signal 11", "ok", "refused"]
    assert [found[number].good for number in range(7)] == [True, True, False, False, False, True, True]

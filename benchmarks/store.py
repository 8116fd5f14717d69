"""What preparing a corpus of millions of frames costs: frames a second, bytes a frame, memory; and 100 million."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from motionloom.app.clock import machine
from motionloom.data.store import Store
from motionloom.errors import DataError, RequestError

_TAKE_FRAMES = 2000
_PROJECTED = 100_000_000
_RUN = """
import json, resource, sys
from pathlib import Path
from motionloom.data.prepare import prepare
if __name__ == "__main__":
    folders = {name: Path(folder) for name, folder in json.loads(sys.argv[1]).items()}
    prepare(folders, Path(sys.argv[2]), int(sys.argv[3]), False)
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps(peaks))
"""


def bench_store(
    frames: int = 5_000_000, workers: int = 2, folders: dict[str, Path] | None = None, work: Path | None = None
) -> dict[str, Any]:
    """Prepare a corpus in a process of its own and tell what it took.

    Args:
        frames: Size of a made-up corpus, in takes of 2,000 frames, a quarter of them with fingers.
        workers: Processes.
        folders: Real sources and their folders, instead of the made-up corpus.
        work: Folder for the store while it is measured; it is removed afterwards.

    Returns:
        Frames, clips, seconds, ``frames_per_s``, ``bytes_per_frame``; ``peak_mib``: the largest memory of the main
        process and of a worker, and both with all workers, which is an upper bound; ``projection``: hours and GiB
        for 100 million frames at the same rates.

    Raises:
        DataError: The corpus cannot be prepared.
        RequestError: There are no frames or workers.
    """
    if frames < _TAKE_FRAMES or workers < 1:
        raise RequestError(f"{frames} frames, {workers} workers; at least {_TAKE_FRAMES} and 1 are needed")
    home = Path(tempfile.mkdtemp(prefix="bench-store-", dir=work))
    try:
        if folders is None:
            table = {"takes": frames // _TAKE_FRAMES, "frames": _TAKE_FRAMES, "fps": 30.0, "seed": 0}
            (home / "synthetic.json").write_text(json.dumps(table))
        named = {"synthetic": home} if folders is None else folders
        before, spent = time.perf_counter(), os.times()
        done = subprocess.run(
            [sys.executable, "-c", _RUN, json.dumps({k: str(v) for k, v in named.items()}), home / "s", str(workers)],
            capture_output=True,
            text=True,
            check=False,
        )
        wall, after = time.perf_counter() - before, os.times()
        if done.returncode:
            raise DataError(f"the corpus was not prepared: {' '.join(done.stderr.split())[-300:]}")
        cpu = after.children_user + after.children_system - spent.children_user - spent.children_system
        main, worker = (peak / 1024 for peak in json.loads(done.stdout.splitlines()[-1]))
        store = Store(home / "s")
        size = sum((store.path / name).stat().st_size for name in store.manifest["sha256"])
        count = store.manifest["frames"]
        rate, weight = count / wall, size / count
        return {
            "benchmark": "store",
            "machine": machine(),
            "corpus": "synthetic" if folders is None else sorted(folders),
            "workers": workers,
            "clips": store.manifest["clips"],
            "frames": count,
            "wall_s": round(wall, 1),
            "cpu_s": round(cpu, 1),
            "frames_per_s": round(rate),
            "frames_per_cpu_s": round(count / cpu),
            "bytes_per_frame": round(weight, 1),
            "peak_mib": {
                "main": round(main),
                "worker": round(worker),
                "all": round(main + (worker * workers if workers > 1 else 0)),
            },
            "projection": {
                "frames": _PROJECTED,
                "hours": round(_PROJECTED / rate / 3600, 1),
                "gib": round(_PROJECTED * weight / 2**30, 1),
            },
        }
    finally:
        shutil.rmtree(home, ignore_errors=True)

"""What reading hostile files costs: ``python -m benchmarks bounds``."""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.hostile import READERS, write_attacks
from benchmarks.measure import LARGEST, SLOWEST, Outcome, run_apart


def bench_bounds() -> dict[str, Any]:
    """Read every hostile file in a process of its own.

    Returns:
        For each its size, what came of it, processor seconds and MiB, and how many are beyond the bounds.
    """
    rows: dict[str, Any] = {}
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        attacks = write_attacks(Path(folder))
        for name, reader, path in attacks:
            ((_, outcome),) = run_apart(warmed(reader), iter([path]))
            rows[name] = _row(outcome, path)
            if not outcome.good:
                bad.append(name)
    slowest = max(rows.values(), key=lambda row: row["cpu_s"])
    largest = max(rows.values(), key=lambda row: row["mib"])
    return {
        "files": rows,
        "inputs": len(rows),
        "beyond_bounds": bad,
        "slowest_cpu_s": slowest["cpu_s"],
        "largest_mib": largest["mib"],
        "bounds": {"cpu_s": SLOWEST, "mib": LARGEST},
    }


def warmed(name: str) -> Any:
    """A reader whose modules are imported: they are no part of what a file costs."""
    import motionloom.app.inspect
    import motionloom.conditions.audio
    import motionloom.conditions.keypoints
    import motionloom.data.formats.arrow
    import motionloom.data.formats.lmdb
    import motionloom.data.formats.mat
    import motionloom.data.formats.pickle
    import motionloom.motion.io.acclaim
    import motionloom.motion.io.amass
    import motionloom.motion.io.arrays
    import motionloom.motion.io.bvh
    import motionloom.motion.io.fbx_read
    import motionloom.motion.io.glb_read  # noqa: F401

    return READERS[name]


def _row(outcome: Outcome, path: Path) -> dict[str, Any]:
    return {
        "bytes": path.stat().st_size,
        "outcome": outcome.kind,
        "cpu_s": round(outcome.seconds, 2),
        "mib": round(outcome.mib),
        "message": outcome.message.replace(str(path), path.name)[:300],
    }

"""How fast BVH files are read, beside numpy's own number parsing and upc-pymotion, in one run."""

import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motionloom.errors import MotionFileError
from motionloom.motion import rotations as rot
from motionloom.motion.io.bvh import parse_bvh, read_bvh
from motionloom.motion.io.bvh_write import write_bvh
from motionloom.motion.io.files import read_text
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL

SYNTHETIC_FRAMES = 3000
"""Frames of the made-up file: the canonical body for 3,000 frames is 2.0 MB of BVH."""


def bench_bvh(path: Path | None = None, repeats: int = 5) -> dict[str, Any]:
    """Time reading a BVH file: the least of ``repeats`` runs on one thread, all taking turns.

    Args:
        path: The file; without it a made-up one of 2 MB.
        repeats: Runs of each method.

    Returns:
        ``file``, ``bytes``, and ``cpu_s`` and ``wall_s`` of ``numpy`` (``np.fromstring`` on the numbers),
        ``parse`` (``parse_bvh``), ``read`` (``read_bvh``, file to motion) and, if installed, ``pymotion``
        (file to arrays of Euler angles, as ``parse``). ``ratios`` compare CPU seconds: ``parse_to_numpy`` and
        ``read_to_numpy`` (below 1 is faster than numpy), and how many times slower pymotion is than each of
        ours (``pymotion_to_parse``, ``pymotion_to_read``).

    Raises:
        MotionFileError: The file cannot be read.
    """
    if repeats < 1:
        raise MotionFileError(f"{repeats} repeats; at least 1 is needed")
    with tempfile.TemporaryDirectory() as folder:
        if path is None:
            path = Path(folder) / "synthetic.bvh"
            write_bvh(synthetic_motion(SYNTHETIC_FRAMES, 120.0), path)
        text = read_text(path)
        start = text.lower().find("frame time")
        numbers = text[text.find("\n", start) + 1 :]
        methods: dict[str, Callable[[], object]] = {
            "numpy": lambda: np.fromstring(numbers, sep=" "),
            "parse": lambda: parse_bvh(path),
            "read": lambda: read_bvh(path),
        }
        if find_spec("pymotion") is not None:
            reader = import_module("pymotion.io.bvh").BVH
            methods["pymotion"] = lambda: reader().load(str(path))
        threads = torch.get_num_threads()
        # Everyone gets one thread: numpy and pymotion use no more, and idle helpers would count as CPU seconds.
        torch.set_num_threads(1)
        try:
            times = _time(methods, repeats)
        finally:
            torch.set_num_threads(threads)
        result: dict[str, Any] = {
            "file": path.name,
            "bytes": path.stat().st_size,
            "repeats": repeats,
            **times,
        }
    cpu = {name: entry["cpu_s"] for name, entry in times.items()}
    ratios = {"parse_to_numpy": cpu["parse"] / cpu["numpy"], "read_to_numpy": cpu["read"] / cpu["numpy"]}
    if "pymotion" in cpu:
        ratios["pymotion_to_parse"] = cpu["pymotion"] / cpu["parse"]
        ratios["pymotion_to_read"] = cpu["pymotion"] / cpu["read"]
    result["ratios"] = {name: round(value, 3) for name, value in ratios.items()}
    return result


def _time(methods: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Least CPU and wall seconds of each method; one unmeasured round warms caches."""
    best = {name: {"cpu_s": float("inf"), "wall_s": float("inf")} for name in methods}
    for round_ in range(repeats + 1):
        for name, method in methods.items():
            cpu, wall = time.process_time(), time.perf_counter()
            method()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            if round_:
                # A clock tick is the least a run can take, so that ratios stay finite on tiny files.
                best[name]["cpu_s"] = min(best[name]["cpu_s"], max(cpu, 1e-6))
                best[name]["wall_s"] = min(best[name]["wall_s"], max(wall, 1e-6))
    return best


def synthetic_motion(frames: int, fps: float) -> Motion:
    """A smooth, made-up motion of the canonical body that goes forward at 1.2 m/s; always the same."""
    generator = torch.Generator().manual_seed(0)
    swing = torch.randn(1, len(CANONICAL), 3, generator=generator)
    time_ = torch.arange(frames)[:, None] / fps
    phase = 6.0 * time_[..., None] + torch.arange(len(CANONICAL))[:, None]
    rotations = rot.from_axis_angle(0.5 * swing * phase.sin())
    return Motion(CANONICAL, rotations, torch.tensor([0.0, 0.93, 0.0]) + time_ * torch.tensor([0.0, 0.0, 1.2]), fps)

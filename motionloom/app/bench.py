"""What ``motionloom bench`` times without the repository: an engine, the reading of BVH files, and pictures.

Every benchmark returns a plain dict: what was done, on which machine, and CPU seconds beside wall seconds, each as
the least and the median of several runs after one that is not counted. Wall seconds say what a user waits for on a
quiet machine; CPU seconds, children included, hold on a busy one too.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motionloom.app.clock import clock, machine, time_jobs
from motionloom.engines.registry import load
from motionloom.engines.request import Request, Segment
from motionloom.engines.threads import using_threads
from motionloom.errors import MotionFileError, MotionloomError
from motionloom.motion import rotations as rot
from motionloom.motion.files import read_text
from motionloom.motion.io.bvh import parse_bvh, read_bvh
from motionloom.motion.io.bvh_write import write_bvh
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


_WHO = ("a person", "someone", "an old man", "a young woman", "a tired person")
_DOES = ("walks forward", "waves with the left hand", "bows", "runs and stops", "turns right", "kicks", "dances")


def bench_starter(
    engine: str = "mmm", seconds: float = 6.0, clips: int = 30, repeats: int = 5, threads: int = 2, seed: int = 0
) -> dict[str, Any]:
    """Time an engine from sentence to motion: cold from the command line, warm, and many clips in one batch.

    Each run has sentences of its own, so that the text encoder works every time.

    Args:
        engine: A bundled engine's name or a directory.
        seconds: Length of each clip.
        clips: Clips in the batch.
        repeats: Runs.
        threads: Threads of torch.
        seed: Of the first clip.

    Returns:
        ``cold`` (a new process that writes one file), ``load``, ``warm`` (one clip; ``text`` is the encoder's
        share) and ``batch`` (all clips) times.

    Raises:
        CheckpointError: There is no such engine, or its weights are missing.
        RequestError: The engine cannot make clips of that length, or there are no repeats.
    """
    sentences = _sentences()
    with using_threads(threads), tempfile.TemporaryDirectory() as folder:
        started = clock()
        model = load(engine)
        model.generate("a person stands", seconds, seed=seed)
        loaded = clock() - started

        def cold() -> None:
            _cold(engine, next(sentences), seconds, Path(folder) / "cold.npz", threads)

        def batch() -> None:
            model.serve([Request((Segment(next(sentences), seconds),), seed=seed + i) for i in range(clips)])

        return {
            "benchmark": "starter",
            "machine": machine(),
            "seed": seed,
            "engine": engine,
            "seconds": seconds,
            "clips": clips,
            "repeats": repeats,
            "load": {"cpu_s": round(float(loaded[0]), 4), "wall_s": round(float(loaded[1]), 4)},
            "cold": time_jobs({"cold": cold}, repeats)["all"],
            "warm": {
                **time_jobs({"warm": lambda: model.generate(next(sentences), seconds, seed=seed)}, repeats)["all"],
                "text": time_jobs({"text": lambda: model.text([next(sentences)])}, repeats)["all"],
            },
            "batch": time_jobs({"batch": batch}, repeats)["all"],
        }


def bench_render(seconds: float = 10.0, fps: float = 30.0, repeats: int = 3) -> dict[str, Any]:
    """Time drawing a made-up motion as MP4, GIF and contact sheet, in the writers' own sizes, on one thread.

    Args:
        seconds: Length of the motion.
        fps: Its frame rate.
        repeats: Runs.

    Returns:
        Times of ``mp4``, ``gif`` and ``png``, and the ``bytes`` of each file.

    Raises:
        RequestError: There are no repeats.
    """
    motion = synthetic_motion(max(2, round(seconds * fps)), fps)
    with using_threads(1), tempfile.TemporaryDirectory() as folder:
        files = {kind: Path(folder) / f"motion.{kind}" for kind in ("mp4", "gif", "png")}
        # A copy each time: a motion keeps its positions once they are worked out.
        jobs = {kind: (lambda path=path: replace(motion).save(path)) for kind, path in files.items()}
        times = time_jobs(jobs, repeats)
        del times["all"]
        return {
            "benchmark": "render",
            "machine": machine(),
            "seed": 0,
            "seconds": len(motion) / fps,
            "fps": fps,
            "frames": len(motion),
            "repeats": repeats,
            **{kind: {**times[kind], "bytes": path.stat().st_size} for kind, path in files.items()},
        }


def _sentences() -> Iterator[str]:
    """Endless different sentences."""
    number = 0
    while True:
        who, does = _WHO[number % len(_WHO)], _DOES[number // len(_WHO) % len(_DOES)]
        yield f"{who} {does}, take {number + 1}"
        number += 1


def _cold(engine: str, text: str, seconds: float, out: Path, threads: int) -> None:
    call = ["generate", "--engine", engine, "--text", text, "--seconds", f"{seconds:g}", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-c", "from motionloom.app.cli.main import main; main()", *call],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    if done.returncode:
        raise MotionloomError(f"the command line failed: {' '.join(done.stderr.split())[-300:]}")

"""How fast it is: an engine, the data and the pictures.

Every benchmark returns a plain dict: what was done, on which machine, and CPU seconds beside wall seconds, each as
the least and the middle of several runs after one that is not counted. Wall seconds say what a user waits for on a
quiet machine; CPU seconds, children included, hold on a busy one too. MMM at its published size is timed in
``bench_mmm.py``, beside its official code in ``bench_official.py``, the reading of BVH files in ``bench_io.py``.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from motionloom.data.convert import convert_take
from motionloom.data.loader import FeatureSet
from motionloom.data.sources import sources
from motionloom.data.store import Store
from motionloom.data.unified_set import UnifiedSet
from motionloom.errors import DataError, MotionloomError
from motionloom.tasks.bench_clock import clock, machine, time_jobs, using_threads
from motionloom.tasks.bench_io import synthetic_motion
from motionloom.tasks.generate import load
from motionloom.tasks.request import Request, Segment

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
        model.generate("a person stands", seconds, seed)
        loaded = clock() - started

        def cold() -> None:
            _cold(engine, next(sentences), seconds, Path(folder) / "cold.npz", threads)

        def batch() -> None:
            model.run_many([Request((Segment(next(sentences), seconds),), seed=seed + i) for i in range(clips)])

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
                **time_jobs({"warm": lambda: model.generate(next(sentences), seconds, seed)}, repeats)["all"],
                "text": time_jobs({"text": lambda: model.text([next(sentences)])}, repeats)["all"],
            },
            "batch": time_jobs({"batch": batch}, repeats)["all"],
        }


def bench_data(
    store: Path,
    split: str = "train",
    frames: int = 64,
    batch: int = 64,
    windows: int = 6400,
    source: tuple[str, Path] | None = None,
    takes: int = 30,
    repeats: int = 5,
    seed: int = 0,
) -> dict[str, Any]:
    """Time the loader on one thread, and the preparation of some takes of a raw dataset.

    Args:
        store: A prepared store; its features are encoded first if they are not yet.
        split: Which clips.
        frames: Length of a window.
        batch: Windows in a batch.
        windows: Windows in a run, at least one batch.
        source: Name of a source and its folder, to time the preparation of some of its takes as well.
        takes: How many, spread evenly over the folder.
        repeats: Runs.
        seed: Of the windows.

    Returns:
        ``loader`` (263 features) and ``loader_unified`` (669), each with ``mirrored`` and ``plain``: times of a run
        and ``windows_per_cpu_s``; and ``preparation`` with times, clips and frames of a run and ``frames_per_cpu_s``.

    Raises:
        DataError: The store or the folder cannot be read, or no take of it is usable.
        RequestError: There are no repeats.
    """
    with using_threads(1):
        opened = Store(store)
        rounds = max(1, windows // batch)
        features = FeatureSet(opened, split)
        chances = features.weights(0.5)
        unified = UnifiedSet(opened, split)

        def draw(mirror: bool) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(rounds):
                features.windows(batch, frames, rng, chances, mirror)

        def draw_unified(mirror: bool) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(rounds):
                unified.windows(batch, frames, rng, mirror)

        loaders: dict[str, Any] = {}
        for name, job, clips in (("humanml3d", draw, len(features)), ("unified", draw_unified, len(unified))):
            loaders[name] = {"frames": frames, "batch": batch, "windows": rounds * batch, "clips": clips}
            for kind, mirror in (("mirrored", True), ("plain", False)):
                times = time_jobs({kind: lambda job=job, mirror=mirror: job(mirror)}, repeats)["all"]
                loaders[name][kind] = {**times, "windows_per_cpu_s": round(rounds * batch / times["cpu_s"]["min"])}
        result: dict[str, Any] = {
            "benchmark": "data",
            "machine": machine(),
            "seed": seed,
            "repeats": repeats,
            "loader": loaders["humanml3d"],
            "loader_unified": loaders["unified"],
        }
        if source is not None:
            result["preparation"] = _preparation(*source, takes, repeats)
    return result


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
        [sys.executable, "-c", "from motionloom.app.cli import main; main()", *call],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    if done.returncode:
        raise MotionloomError(f"the command line failed: {' '.join(done.stderr.split())[-300:]}")


def _preparation(name: str, folder: Path, takes: int, repeats: int) -> dict[str, Any]:
    known = sources()
    if name not in known:
        raise DataError(f"source {name!r} is unknown; the sources are {', '.join(sorted(known))}")
    if takes < 1 or not folder.is_dir():
        raise DataError(f"{takes} takes of folder {folder}; at least one take of an existing folder is needed")
    listed = known[name](folder)
    picked = [listed[i] for i in np.unique(np.linspace(0, len(listed) - 1, takes).round().astype(int))]
    frames: list[int] = []

    def convert() -> None:
        frames.clear()
        for take in picked:
            try:
                frames.append(len(convert_take(take).motion))
            except MotionloomError:
                # Refusing a file is part of the work; the result says how many were taken.
                continue

    times = time_jobs({"convert": convert}, repeats)["all"]
    if not frames:
        raise DataError(f"none of {len(picked)} takes of {folder} is usable; prepare it to read the reasons")
    return {
        "source": name,
        "listed": len(listed),
        "takes": len(picked),
        "taken": len(frames),
        "frames": sum(frames),
        **times,
        "frames_per_cpu_s": round(sum(frames) / times["cpu_s"]["min"]),
        "whole_source_cpu_s": round(times["cpu_s"]["min"] / len(picked) * len(listed), 1),
    }

"""How fast training windows are cut from a store, and takes of a raw dataset prepared."""

from pathlib import Path
from typing import Any

import numpy as np

from motionloom.app.clock import machine, time_jobs
from motionloom.data.convert import convert_take
from motionloom.data.loader import FeatureSet
from motionloom.data.motionverse_loader import MotionVerseSet
from motionloom.data.sources import sources
from motionloom.data.store import Store
from motionloom.engines.threads import using_threads
from motionloom.errors import DataError, MotionloomError


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
        ``loader`` (263 features) and ``loader_motionverse`` (669), each with ``mirrored`` and ``plain``: times of a run
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
        unified = MotionVerseSet(opened, split)

        def draw(mirror: bool) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(rounds):
                features.windows(batch, frames, rng, chances, mirror)

        def draw_motionverse(mirror: bool) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(rounds):
                unified.windows(batch, frames, rng, mirror)

        loaders: dict[str, Any] = {}
        for name, job, clips in (("humanml3d", draw, len(features)), ("unified", draw_motionverse, len(unified))):
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
            "loader_motionverse": loaders["unified"],
        }
        if source is not None:
            result["preparation"] = _preparation(*source, takes, repeats)
    return result


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

"""The motion diffusion engine: how long a clip takes, and what its quick sampler costs and saves.

The network beside its official code is timed in ``bench_official_lmm.py``.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from motionloom.app.bench import bench_starter
from motionloom.app.clock import machine, time_jobs
from motionloom.data.store import Store
from motionloom.engines.lmm.engine import LMM
from motionloom.engines.registry import load
from motionloom.engines.text_motion import TextMotionScorer
from motionloom.engines.threads import using_threads
from motionloom.errors import CheckpointError
from motionloom.evaluation.harness import Subject, evaluate
from motionloom.evaluation.text import TextOptions, TextProtocol
from motionloom.models.diffusion.schedule import Method

SAMPLERS: dict[str, tuple[int, Method]] = {"50 ddim steps": (50, "ddim"), "10 dpm steps": (10, "dpm")}
"""The published number of steps with the published kind of solver, and ours."""
_TEXT = "a person walks forward"
_ROW = "engine, true length"


def bench_lmm(
    engine: str = "lmm",
    seconds: float = 6.0,
    clips: int = 10,
    repeats: int = 3,
    threads: int = 2,
    seed: int = 0,
    store: Path | None = None,
    held_out: int | None = None,
) -> dict[str, Any]:
    """Time a diffusion engine, cold, warm and in a batch, and both samplers; with a store, their quality as well.

    Args:
        engine: A bundled engine's name or a directory.
        seconds: Length of each clip.
        clips: Clips in the batch.
        repeats: Runs.
        threads: Threads of torch.
        seed: Of all clips.
        store: Captioned clips that both samplers are judged on; None leaves the quality out.
        held_out: Clips of the test split; all when left out.

    Returns:
        ``samplers`` as from ``bench_samplers`` and ``starter`` as from ``bench_starter``.

    Raises:
        CheckpointError: There is no such engine, or it is no diffusion engine.
        RequestError: The engine cannot make clips of that length, or there are no repeats.
    """
    model = load(engine)
    if not isinstance(model, LMM):
        raise CheckpointError(f"engine {engine!r} is {model.name}; a diffusion engine (lmm) is needed")
    options = TextOptions("test", 2, seed, clips=held_out, variety=False)
    judged = None if store is None else (Store(store), TextMotionScorer(), options)
    starter = bench_starter(engine, seconds, clips, repeats, threads, seed)
    with using_threads(threads):
        samplers = bench_samplers(model, seconds, repeats, seed, judged)
    return {
        "benchmark": "lmm",
        "machine": machine(),
        "seed": seed,
        "samplers": samplers,
        "starter": starter,
    }


def bench_samplers(
    engine: LMM,
    seconds: float,
    repeats: int = 3,
    seed: int = 0,
    judged: tuple[Store, TextMotionScorer, TextOptions] | None = None,
    samplers: Mapping[str, tuple[int, Method]] = SAMPLERS,
) -> dict[str, Any]:
    """Time samplers on one sentence, taking turns, and judge them.

    Args:
        engine: The engine.
        seconds: Length of the clip.
        repeats: Runs.
        seed: Of the clip.
        judged: Captioned clips, the encoder that judges, and how; None leaves the quality out.
        samplers: Name -> steps and solver; two of them.

    Returns:
        For each sampler its times and, where it is judged, ``quality``: R-precision, FID and physics at the clips'
        own lengths; ``real`` is the quality of the clips themselves, ``faster`` the first's time over the second's.

    Raises:
        RequestError: The engine cannot make clips of that length, or there are no repeats.
    """
    jobs = {
        name: (
            lambda steps=steps, method=method: engine.generate(_TEXT, seconds, seed=seed, steps=steps, method=method)
        )
        for name, (steps, method) in samplers.items()
    }
    times = time_jobs(jobs, repeats)
    slow, quick = (times[name] for name in samplers)
    result: dict[str, Any] = {name: times[name] for name in samplers}
    result["faster"] = {kind: round(slow[kind]["min"] / quick[kind]["min"], 2) for kind in slow}
    if judged is None:
        return result
    store, scorer, options = judged
    for name, (steps, method) in samplers.items():
        asked = replace(options, only=("real", _ROW), steps=steps, options={"method": method})
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "quality.json"
            found = evaluate(TextProtocol, Subject(engine, store, scorer), options=asked, out=out)
        result[name]["quality"] = _short(found["rows"][_ROW])
        result["real"] = {"quality": _short(found["rows"]["real"]), "clips": found["clips"]}
    return result


def _short(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    names = ("R-precision top 1", "R-precision top 3", "FID", "MM-Dist", "Diversity", "foot slide m/s", "jitter m/s3")
    return {name: round(figures[name]["mean"], 4) for name in names if name in figures}

"""How fast it is: generation, the bundled starter, the data and the pictures.

Every benchmark returns a plain dict: what was done, on which machine, and CPU seconds beside wall seconds, each as
the least and the middle of several runs after one that is not counted. Wall seconds say what a user waits for on a
quiet machine; CPU seconds, children included, hold on a busy one too. How BVH files are read is timed in
``bench_io.py``.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motionloom.data.loader import FeatureSet
from motionloom.data.prepare import convert_take
from motionloom.data.sources import sources
from motionloom.data.store import Store
from motionloom.errors import DataError, MotionloomError, RequestError
from motionloom.models.masked import MaskedConfig, MaskedTransformer
from motionloom.models.masked_sampling import sample_published
from motionloom.models.tokenizer import MotionTokenizer, TokenizerConfig
from motionloom.tasks.bench_io import bench_bvh, synthetic_motion
from motionloom.tasks.generate import load
from motionloom.tasks.request import Request, Segment

OFFICIAL = (
    "the official MMM code, same sizes, one clip of 196 frames: about 4.3 CPU-seconds on one thread, 5.3 on two"
    " (2.7 s wall); 32 clips: 3.2 CPU-seconds (1.7 s wall) a clip; measured elsewhere, not in this run"
)
NO_BF16 = "not measured: this processor has no bf16 instructions"
WORDS = 77
"""Word slots of CLIP's text encoder."""
_CPU_INFO = Path("/proc/cpuinfo")
_WHO = ("a person", "someone", "an old man", "a young woman", "a tired person")
_DOES = ("walks forward", "waves with the left hand", "bows", "runs and stops", "turns right", "kicks", "dances")


def bench_mmm(
    frames: int = 196,
    repeats: int = 3,
    threads: int = 2,
    clips: int = 1,
    bf16: bool | None = None,
    seed: int = 0,
    masked: MaskedConfig | None = None,
    tokenizer: TokenizerConfig | None = None,
) -> dict[str, Any]:
    """Time generation at MMM's published size: all passes of the published sampler, and the decoding of the tokens.

    Weights, sentence and word vectors are random (the schedule does not depend on them), tokens are the most
    probable ones; the text encoder is not part of it.

    Args:
        frames: Length of each clip.
        repeats: Runs.
        threads: Threads of torch.
        clips: Clips in one batch.
        bf16: Time bfloat16 as well: where the processor has instructions for it (None), always, or never.
        seed: Of the random weights and vectors.
        masked: Sizes of the transformer; the published ones when left out.
        tokenizer: Sizes of the tokenizer; the published ones when left out.

    Returns:
        ``fp32`` and ``bf16``, each with ``total``, ``sample`` and ``decode`` times, bf16 also with the share of
        tokens that are those of fp32, or a sentence that says why it was not measured.

    Raises:
        RequestError: There are no repeats, or the clip is too long for the model.
    """
    if frames < 1 or clips < 1:
        raise RequestError(f"{clips} clips of {frames} frames; at least one of each is needed")
    masked = masked or MaskedConfig.published()
    torch.manual_seed(seed)
    decoder = MotionTokenizer(tokenizer or TokenizerConfig.published()).eval()
    model = MaskedTransformer(masked).eval()
    tokens = -(-frames // decoder.frames_per_token)
    lengths = torch.full((clips,), tokens)
    sentence = torch.randn(clips, masked.sentence_dim)
    words = torch.randn(clips, WORDS, masked.word_dim)
    found: dict[torch.dtype, torch.Tensor] = {}

    def run(kind: torch.dtype) -> dict[str, Any]:
        network, coder = model.to(kind), decoder.to(kind)
        given = sentence.to(kind), words.to(kind)

        def make() -> None:
            found[kind] = sample_published(network, lengths, *given)[:, :tokens]

        @torch.no_grad()
        def decode() -> None:
            coder.decode(found[kind])

        parts = _times({"sample": make, "decode": decode}, repeats)
        return {"total": parts.pop("all"), **parts}

    with _threads(threads):
        result: dict[str, Any] = {
            "benchmark": "mmm",
            "machine": machine(),
            "seed": seed,
            "frames": frames,
            "clips": clips,
            "tokens": tokens,
            "steps": 10,
            "repeats": repeats,
            "parameters": {"masked": _size(model), "tokenizer": _size(decoder)},
            "reference": OFFICIAL,
            "fp32": run(torch.float32),
            "bf16": NO_BF16 if bf16 is None else "not measured: not asked for",
        }
        if bf16 or (bf16 is None and has_bf16()):
            timed = run(torch.bfloat16)
            same = (found[torch.bfloat16] == found[torch.float32]).float().mean()
            result["bf16"] = {**timed, "equal_tokens": round(float(same), 4)}
    return result


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
    with _threads(threads), tempfile.TemporaryDirectory() as folder:
        started = _clock()
        model = load(engine)
        model.generate("a person stands", seconds, seed)
        loaded = _clock() - started

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
            "cold": _times({"cold": cold}, repeats)["all"],
            "warm": {
                **_times({"warm": lambda: model.generate(next(sentences), seconds, seed)}, repeats)["all"],
                "text": _times({"text": lambda: model.text([next(sentences)])}, repeats)["all"],
            },
            "batch": _times({"batch": batch}, repeats)["all"],
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
        ``loader`` with ``mirrored`` and ``plain``, each with times of a run and ``windows_per_cpu_s``; and
        ``preparation`` with the times, clips and frames of a run and ``frames_per_cpu_s``.

    Raises:
        DataError: The store or the folder cannot be read, or no take of it is usable.
        RequestError: There are no repeats.
    """
    with _threads(1):
        features = FeatureSet(Store(store), split)
        chances = features.weights(0.5)
        rounds = max(1, windows // batch)
        rng = np.random.default_rng(seed)

        def draw(mirror: bool) -> None:
            for _ in range(rounds):
                features.windows(batch, frames, rng, chances, mirror)

        loader: dict[str, Any] = {"frames": frames, "batch": batch, "windows": rounds * batch, "clips": len(features)}
        for name, mirror in (("mirrored", True), ("plain", False)):
            times = _times({name: lambda mirror=mirror: draw(mirror)}, repeats)["all"]
            loader[name] = {**times, "windows_per_cpu_s": round(rounds * batch / times["cpu_s"]["min"])}
        result: dict[str, Any] = {
            "benchmark": "data",
            "machine": machine(),
            "seed": seed,
            "repeats": repeats,
            "loader": loader,
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
    with _threads(1), tempfile.TemporaryDirectory() as folder:
        files = {kind: Path(folder) / f"motion.{kind}" for kind in ("mp4", "gif", "png")}
        # A copy each time: a motion keeps its positions once they are worked out.
        jobs = {kind: (lambda path=path: replace(motion).save(path)) for kind, path in files.items()}
        times = _times(jobs, repeats)
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


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was (mean number of running tasks, last minute)."""
    names = [row.split(":", 1)[1].strip() for row in _cpu_info() if row.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def has_bf16() -> bool:
    """Whether the processor says that it has bfloat16 instructions; one that cannot be asked is taken to have none."""
    flags = {word for row in _cpu_info() if row.startswith(("flags", "Features")) for word in row.split()}
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def _cpu_info() -> list[str]:
    return _CPU_INFO.read_text().splitlines() if _CPU_INFO.is_file() else []


def _size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _clock() -> np.ndarray:
    """CPU seconds, with those of children that have ended, and wall seconds."""
    spent = os.times()
    return np.array([time.process_time() + spent.children_user + spent.children_system, time.perf_counter()])


def _times(jobs: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Any]:
    """Time jobs one after the other; ``all`` is their sum within a run."""
    if repeats < 1:
        raise RequestError(f"{repeats} repeats; at least 1 is needed")
    runs = []
    for turn in range(repeats + 1):
        spent = []
        for job in jobs.values():
            before = _clock()
            job()
            # A tick of the clock is the least a run can take: rates stay finite.
            spent.append(np.maximum(_clock() - before, 1e-6))
        if turn:
            runs.append([*spent, np.sum(spent, axis=0)])
    return {
        name: {
            kind: {"min": round(min(values), 6), "median": round(statistics.median(values), 6)}
            for kind, values in (
                ("cpu_s", [float(run[slot][0]) for run in runs]),
                ("wall_s", [float(run[slot][1]) for run in runs]),
            )
        }
        for slot, name in enumerate([*jobs, "all"])
    }


@contextmanager
def _threads(count: int) -> Iterator[None]:
    if count < 1:
        raise RequestError(f"{count} threads; at least 1 is needed")
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
                frames.append(len(convert_take(take)[0]))
            except MotionloomError:
                # Refusing a file is part of the work; the result says how many were taken.
                continue

    times = _times({"convert": convert}, repeats)["all"]
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


__all__ = [
    "NO_BF16",
    "OFFICIAL",
    "bench_bvh",
    "bench_data",
    "bench_mmm",
    "bench_render",
    "bench_starter",
    "has_bf16",
    "machine",
]

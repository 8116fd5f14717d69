"""Measure an engine against real clips, the same way for every engine, and say what was measured with what.

Rows: real clips; the same through the engine's tokenizer, where it has one; the training clip with the nearest
caption; the engine at the clips' own lengths; the engine at lengths of its choice. All rows see the same captions and
the same pools.

Protocol: Guo et al. (CVPR 2022) with our text-motion encoder in the place of theirs; pools of 32 clips of different
labels, so that every wrong answer is really wrong.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.data.store import Clip, label_of
from motionloom.engines.base import Capability
from motionloom.engines.request import Request, Segment
from motionloom.engines.seeds import item_seed
from motionloom.errors import DataError, RequestError
from motionloom.evaluation.harness import (
    Protocol,
    Subject,
    Table,
    check_only,
    check_splits,
    columns_of,
    intervals,
    lacking,
)
from motionloom.metrics.distribution import POOL, distinct_pools, diversity, fid, multimodality, retrieval
from motionloom.metrics.physics import physics
from motionloom.motion.edit import cut
from motionloom.motion.features.layout import LAYOUTS
from motionloom.motion.motion import Motion
from motionloom.progress import SILENT, Progress
from motionloom.schema import check, ranged

ROWS = ("real", "tokenizer", "nearest caption", "engine, true length", "engine, predicted length")
"""What is measured; "tokenizer" only of engines that have one."""
FPS = LAYOUTS["humanml3d"].fps
"""Frame rate of real clips, and of what is put together of them."""
SENTENCES, REPEATS_EACH = 16, 10
"""Sentences, and motions of each, for the multimodality of an engine."""
_BATCH, _PAIRS = 32, 100
COLUMNS = ("R-precision top 1", "R-precision top 3", "FID", "MM-Dist", "Diversity", "MultiModality", "foot slide m/s")
"""Figures that the table shows."""
SHORTEST = 0.6
"""Clips shorter than this [s] are not evaluated on, whatever an engine can make."""


@dataclass(frozen=True)
class TextOptions:
    """What is measured, and how often."""

    split: str = ranged("test", help="Split of the store.")
    repeats: int = ranged(20, low=1, high=1000, help="Repeats with other captions, pools and seeds.")
    seed: int = ranged(0, low=0, high=2**32 - 1, help="Of captions, pools, generated motions and pairs.")
    pool: int = ranged(
        POOL, low=2, help="Clips a caption is searched among; figures of other pools than 32 compare with nothing."
    )
    only: tuple[str, ...] = ranged(ROWS, help="Rows that are measured, as far as the engine has them.")
    clips: int | None = ranged(None, low=2, help="Clips of the split, drawn from the seed; all when left out.")
    variety: bool = ranged(True, help="Whether multimodality is measured: 160 more motions a repeat.")
    steps: int | None = ranged(None, low=1, help="InferenceCache through the network; the engine's own when left out.")
    guidance: float | None = ranged(None, low=0, help="How strongly the text is followed; the engine's own.")
    options: Mapping[str, Any] = field(default_factory=dict)
    """Other options of the engine."""

    def __post_init__(self) -> None:
        check(self, RequestError)
        check_splits([self.split])
        check_only(self.only, ROWS, "rows")


class TextProtocol(Protocol):
    """One split, one engine, one encoder; rows are measured repeat by repeat."""

    task = "text"
    Options = TextOptions
    scored = True

    def __init__(self, subject: Subject, options: TextOptions) -> None:
        assert subject.store is not None
        assert subject.scorer is not None
        engine, store = subject.engine, subject.store
        if missing := lacking(engine, [Capability.TEXT]):
            raise RequestError(f"{missing}; evaluation is of motions made for captions")
        if subject.beside:
            raise RequestError("task 'text' measures one engine at a time: leave --beside out")
        self.engine, self.scorer, self.store, self.options = engine, subject.scorer, store, options
        engine.options(self._request("a person walks", None, 0, 1))
        self.rows = [row for row in ROWS if row in options.only and (row != "tokenizer" or _has_tokenizer(subject))]
        shortest = max(engine.min_seconds, SHORTEST)
        self.clips = [clip for clip in store.split(options.split) if clip.seconds >= shortest]
        if not self.clips or not all(clip.captions for clip in self.clips):
            raise DataError(
                f"split {options.split!r} of {store.path} has no captioned clips; evaluation needs captions"
            )
        if options.clips is not None and options.clips < len(self.clips):
            drawn = np.random.default_rng(options.seed).choice(len(self.clips), options.clips, replace=False)
            self.clips = [self.clips[index] for index in sorted(drawn.tolist())]
        self.labels = [label_of(clip) for clip in self.clips]
        if len(set(self.labels)) < options.pool:
            raise DataError(
                f"split {options.split!r} shows {len(set(self.labels))} different things; pools of {options.pool} need"
                " as many"
            )
        self.real = [self._motion(clip) for clip in self.clips]
        self.real_vectors = self.scorer.motions(self.real)
        self.again: list[Motion] | None = None
        self.neighbours: tuple[list[str], list[Clip], Tensor] | None = None
        self.progress = SILENT

    def units(self) -> list[str]:
        """All rows, repeat by repeat."""
        return [f"{repeat} {row}" for repeat in range(self.options.repeats) for row in self.rows]

    def measure(self, unit: str, progress: Progress) -> dict[str, Any]:
        """Figures of one row in one repeat."""
        repeat, _, row = unit.partition(" ")
        self.progress = progress
        return self._figures(row, int(repeat))

    def collect(self, found: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """Rows with 95 % intervals over repeats."""
        repeats = range(self.options.repeats)
        rows = {row: intervals([found[f"{repeat} {row}"] for repeat in repeats]) for row in self.rows}
        return {"clips": len(self.clips), "rows": rows}

    @classmethod
    def tables(cls, result: Mapping[str, Any]) -> list[Table]:
        """The one table of a result."""
        known = columns_of(result["rows"])
        return [Table("", tuple(name for name in COLUMNS if name in known), result["rows"])]

    def _figures(self, row: str, repeat: int) -> dict[str, float]:
        rng = np.random.default_rng([self.options.seed, repeat])
        captions = [str(rng.choice(clip.captions)) for clip in self.clips]
        makers: dict[str, Callable[[], list[Motion]]] = {
            "real": lambda: self.real,
            "tokenizer": self._reconstructed,
            "nearest caption": lambda: self._nearest(captions),
            "engine, true length": lambda: self._made(captions, repeat, [motion.seconds for motion in self.real]),
            "engine, predicted length": lambda: self._made(captions, repeat, [None] * len(captions)),
        }
        started = time.perf_counter()
        motions = makers[row]()
        taken = (time.perf_counter() - started) / len(motions)
        vectors = self.real_vectors if row == "real" else self.scorer.motions(motions)
        text = self.scorer.texts(captions)
        pools = distinct_pools(self.labels, self.options.pool, seed=self.options.seed + repeat)
        result = retrieval(text, vectors, pools, min(3, self.options.pool))
        figures = {f"R-precision top {k}": value for k, value in enumerate(result.r_precision, 1)}
        figures |= {
            "MM-Dist": result.mm_dist,
            "FID": fid(self.real_vectors, vectors),
            "Diversity": diversity(vectors, seed=self.options.seed + repeat, pairs=min(_PAIRS, len(vectors))),
        }
        figures |= _physics(motions)
        if row.startswith("engine"):
            if self.options.variety:
                figures["MultiModality"] = self._multimodality(captions, repeat, row.endswith("true length"))
            figures["seconds a motion"] = taken
        return figures

    def _motion(self, clip: Clip) -> Motion:
        motion = self.store.motion(clip).at_fps(FPS)
        most = self.engine.max_seconds
        return cut(motion, 0.0, most) if motion.seconds > most else motion

    def _reconstructed(self) -> list[Motion]:
        if self.again is None:
            self.again = [self.engine.reconstruct(motion) for motion in self.real]
        return self.again

    def _nearest(self, captions: list[str]) -> list[Motion]:
        """Training clips whose caption's vector is nearest, by cosine of MiniLM sentences."""
        text = self.engine.text
        if self.neighbours is None:
            owners = {caption: clip for clip in self.store.split("train") for caption in clip.captions}
            known = sorted(owners)
            vectors = torch.cat([text.encode(known[i : i + 64]).sentence for i in range(0, len(known), 64)])
            self.neighbours = known, [owners[caption] for caption in known], vectors
        _, clips, vectors = self.neighbours
        best = (text(captions).sentence @ vectors.T).argmax(1)
        return [self._motion(clips[int(index)]) for index in best]

    def _made(self, captions: list[str], repeat: int, seconds: Sequence[float | None]) -> list[Motion]:
        seeds = [item_seed(self.options.seed, repeat * len(captions) + index) for index in range(len(captions))]
        requests = [
            self._request(caption, length, seed, 1)
            for caption, length, seed in zip(captions, seconds, seeds, strict=True)
        ]
        made = []
        for start in range(0, len(requests), _BATCH):
            made += [motions[0] for motions in self.engine.serve(requests[start : start + _BATCH], self.progress)]
        return made

    def _request(self, caption: str, seconds: float | None, seed: int, count: int) -> Request:
        asked, segments = self.options, (Segment(caption, seconds),)
        return Request(
            segments, count=count, seed=seed, steps=asked.steps, guidance=asked.guidance, options=dict(asked.options)
        )

    def _multimodality(self, captions: list[str], repeat: int, true_length: bool) -> float:
        rng = np.random.default_rng([self.options.seed, repeat, 1])
        rows = rng.choice(len(captions), min(SENTENCES, len(captions)), replace=False)
        vectors: list[Float[Tensor, "R C"]] = []
        for row in rows:
            seconds = self.real[row].seconds if true_length else None
            seed = item_seed(self.options.seed + 1, repeat * len(captions) + int(row))
            request = self._request(captions[row], seconds, seed, REPEATS_EACH)
            vectors.append(self.scorer.motions(self.engine.serve([request], self.progress)[0]))
        return multimodality(torch.stack(vectors), seed=self.options.seed + repeat, pairs=REPEATS_EACH)


def _has_tokenizer(subject: Subject) -> bool:
    return Capability.RECONSTRUCT in subject.engine.capabilities


def _physics(motions: Sequence[Motion]) -> dict[str, float]:
    found = [physics(motion.positions, motion.fps, rotations=motion.rotations) for motion in motions]
    return {
        "foot slide m/s": float(np.mean([figures.slide for figures in found])),
        "penetration mm": 1000 * float(np.mean([figures.penetration for figures in found])),
        "jitter m/s3": float(np.mean([figures.jitter for figures in found])),
    }

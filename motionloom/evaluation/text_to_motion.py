"""Measure an engine against real clips, the same way for every engine, and say what was measured with what.

Rows: real clips; the same through the engine's tokenizer, where it has one; the training clip with the nearest
caption; the engine at the clips' own lengths; the engine at lengths of its choice. All rows see the same captions and
the same pools.

Protocol: Guo et al. (CVPR 2022) with our text-motion encoder in the place of theirs; pools of 32 clips of different
labels, so that every wrong answer is really wrong.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from motionloom.data.store import Clip, Store, label_of
from motionloom.engines.base import Engine
from motionloom.engines.lmm.engine import LMM
from motionloom.engines.mmm.engine import MMM
from motionloom.engines.mmm.tokens import FPS
from motionloom.engines.request import Request, Segment
from motionloom.engines.seeds import item_seed
from motionloom.engines.text_motion import Scorer
from motionloom.errors import DataError, RequestError
from motionloom.metrics.distribution import POOL, distinct_pools, diversity, fid, interval, multimodality, retrieval
from motionloom.metrics.physics import physics
from motionloom.motion.edit import cut
from motionloom.motion.features.humanml3d import decode_features, encode_features
from motionloom.motion.files import atomic_path
from motionloom.motion.motion import Motion

ROWS = ("real", "tokenizer", "nearest caption", "engine, true length", "engine, predicted length")
"""What is measured; "tokenizer" only of engines that have one."""
SENTENCES, REPEATS_EACH = 16, 10
"""Sentences, and motions of each, for the multimodality of an engine."""
_BATCH, _PAIRS = 32, 100
SHORTEST = 0.6
"""Clips shorter than this [s] are not evaluated on, whatever an engine can make."""


@dataclass(frozen=True)
class EvaluateOptions:
    """What is measured, and how often."""

    split: str = "test"
    """Split of the store."""
    repeats: int = 20
    """Repeats with other captions, pools and seeds."""
    seed: int = 0
    """Of captions, pools, generated motions and pairs."""
    pool: int = POOL
    """Clips a caption is searched among; figures of other pools than 32 compare with nothing published."""
    rows: tuple[str, ...] = ROWS
    """Rows that are measured, as far as the engine has them."""
    clips: int | None = None
    """Clips of the split, drawn from the seed; all when left out."""
    variety: bool = True
    """Whether multimodality is measured, at the cost of 160 more motions a repeat."""
    steps: int | None = None
    """Passes through the network; the engine's own number when left out."""
    guidance: float | None = None
    """How strongly the text is followed; the engine's own when left out."""
    method: str | None = None
    """Solver of a diffusion model; the engine's own when left out."""

    def __post_init__(self) -> None:
        if self.split not in ("train", "val", "test"):
            raise RequestError(f"split {self.split!r} is unknown; splits are train, val, test")
        if self.pool < 2:
            raise RequestError(f"pool is {self.pool}; give at least 2")
        if not 1 <= self.repeats <= 1000:
            raise RequestError(f"repeats is {self.repeats}; give 1 to 1000")
        if unknown := sorted(set(self.rows) - set(ROWS)):
            raise RequestError(f"rows {', '.join(unknown)} are unknown; rows are {', '.join(ROWS)}")
        if self.clips is not None and self.clips < 2:
            raise RequestError(f"{self.clips} clips; give at least 2")


def evaluate(engine: Engine, scorer: Scorer, store: Store, options: EvaluateOptions, out: Path) -> dict[str, Any]:
    """Measure all rows and write the table; an interrupted run goes on where it stopped.

    Args:
        engine: The engine.
        scorer: Text-motion encoder that scores all rows.
        store: Where captions and real clips come from.
        options: What is measured, and how often.
        out: The JSON file; beside it, until all is done, a folder with the repeats done so far.

    Raises:
        DataError: The split's clips have no captions, or too few different labels to fill a pool.
        RequestError: The engine does not serve texts.
    """
    if "text" not in engine.capabilities:
        raise RequestError(f"engine {engine.name!r} does not serve text; evaluation is of motions made for captions")
    head = {
        "engine": {"name": engine.name, "weights": weights_digest(engine.folder)},
        "evaluator": {"name": "matcher", "weights": weights_digest(scorer.folder)},
        "store": store.digest,
        # As it is read back from the file.
        "options": json.loads(json.dumps(asdict(options))),
    }
    parts = out.with_name(f".{out.name}.parts")
    protocol = _Protocol(engine, scorer, store, options)
    parts.mkdir(parents=True, exist_ok=True)
    head_text = json.dumps(head, sort_keys=True)
    if (parts / "head.json").is_file() and (parts / "head.json").read_text() != head_text:
        raise RequestError(f"{parts} holds an unfinished run of other settings or weights; remove it to start anew")
    (parts / "head.json").write_text(head_text)
    rows = [row for row in rows_of(engine) if row in options.rows]
    found: dict[str, list[dict[str, float]]] = {row: [] for row in rows}
    with tqdm(total=len(rows) * options.repeats, desc="evaluate", unit="row") as bar:
        for repeat in range(options.repeats):
            for index, row in enumerate(rows):
                part = parts / f"{repeat:04d}-{index}.json"
                if not part.is_file():
                    figures = protocol.measure(row, repeat)
                    with atomic_path(part) as temporary:
                        temporary.write_text(json.dumps(figures))
                found[row].append(json.loads(part.read_text()))
                bar.update()
    table = {
        row: {name: asdict(interval([figures[name] for figures in repeats])) for name in repeats[0]}
        for row, repeats in found.items()
    }
    result = {**head, "clips": len(protocol.clips), "rows": table}
    with atomic_path(out) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")
    for file in parts.iterdir():
        file.unlink()
    parts.rmdir()
    return result


class _Protocol:
    """One split, one engine, one encoder; rows are measured repeat by repeat."""

    def __init__(self, engine: Engine, scorer: Scorer, store: Store, options: EvaluateOptions) -> None:
        self.engine, self.scorer, self.store, self.options = engine, scorer, store, options
        self.clips = [clip for clip in store.split(options.split) if clip.seconds >= _shortest(engine)]
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
        self.real_vectors = scorer.motions(self.real)
        self.again: list[Motion] | None = None
        self.neighbours: tuple[list[str], list[Clip], Tensor] | None = None

    def measure(self, row: str, repeat: int) -> dict[str, float]:
        """Figures of one row in one repeat."""
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

    @torch.no_grad()
    def _reconstructed(self) -> list[Motion]:
        if self.again is None:
            assert isinstance(self.engine, MMM)
            self.again, stats, tokenizer = [], self.engine.stats, self.engine.tokenizer
            for motion in self.real:
                ids = tokenizer.encode(stats.normalize(encode_features(motion))[None])
                self.again.append(decode_features(stats.restore(tokenizer.decode(ids))[0], "humanml3d", FPS))
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
            made += [motions[0] for motions in self.engine.serve(requests[start : start + _BATCH])]
        return made

    def _request(self, caption: str, seconds: float | None, seed: int, count: int) -> Request:
        asked = self.options
        options = {} if asked.method is None else {"method": asked.method}
        segments = (Segment(caption, seconds),)
        return Request(segments, count=count, seed=seed, steps=asked.steps, guidance=asked.guidance, options=options)

    def _multimodality(self, captions: list[str], repeat: int, true_length: bool) -> float:
        rng = np.random.default_rng([self.options.seed, repeat, 1])
        rows = rng.choice(len(captions), min(SENTENCES, len(captions)), replace=False)
        vectors: list[Float[Tensor, "R C"]] = []
        for row in rows:
            seconds = self.real[row].seconds if true_length else None
            seed = item_seed(self.options.seed + 1, repeat * len(captions) + int(row))
            request = self._request(captions[row], seconds, seed, REPEATS_EACH)
            vectors.append(self.scorer.motions(self.engine.serve([request])[0]))
        return multimodality(torch.stack(vectors), seed=self.options.seed + repeat, pairs=REPEATS_EACH)


def rows_of(engine: Engine) -> tuple[str, ...]:
    """The rows that an engine has."""
    return tuple(row for row in ROWS if row != "tokenizer" or isinstance(engine, MMM))


def _shortest(engine: Engine) -> float:
    if isinstance(engine, MMM):
        return 3 * engine.tokenizer.frames_per_token / FPS
    least = engine.denoiser.min_seconds if isinstance(engine, LMM) else engine.min_seconds
    return max(least, SHORTEST)


def _physics(motions: Sequence[Motion]) -> dict[str, float]:
    found = [physics(motion.positions, motion.fps, rotations=motion.rotations) for motion in motions]
    return {
        "foot slide m/s": float(np.mean([figures.slide for figures in found])),
        "penetration mm": 1000 * float(np.mean([figures.penetration for figures in found])),
        "jitter m/s3": float(np.mean([figures.jitter for figures in found])),
    }


def weights_digest(folder: Path | None) -> str:
    """SHA-256 over all weight files below a folder, by name; of nothing where an engine has no folder."""
    digest = hashlib.sha256()
    for path in [] if folder is None else sorted(folder.rglob("weights.safetensors")):
        digest.update(path.relative_to(folder or path).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


COLUMNS = ("R-precision top 1", "R-precision top 3", "FID", "MM-Dist", "Diversity", "MultiModality", "foot slide m/s")


def markdown(result: dict[str, Any]) -> list[str]:
    """The table of a result file, as README and the command show it."""
    lines = [f"| row | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
    for row, figures in result["rows"].items():
        cells = [
            f"{figures[name]['mean']:.3f} ± {figures[name]['half_width']:.3f}" if name in figures else "–"
            for name in COLUMNS
        ]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return lines

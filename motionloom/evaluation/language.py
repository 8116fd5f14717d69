"""Figures of M3GPT for each of its tasks on a split of a store, beside the truth, other engines and simple rivals.

Music of the pairs is synthesised to the motions (``data.accompaniment``), as for training. Beats are looked for at
60 frames a second. One draw an item; how far figures vary with it is not measured here. What is danced and heard is
measured in ``m3gpt_dances.py``.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from motionloom.data.loader import is_whole
from motionloom.data.store import Clip, Store, label_of
from motionloom.engines.m3gpt.decoder import FPS
from motionloom.engines.m3gpt.engine import M3GPT, PIECE
from motionloom.engines.request import Request, Segment
from motionloom.engines.text_motion import Scorer
from motionloom.engines.timeline import lay_out, timeline
from motionloom.errors import DataError, RequestError
from motionloom.evaluation.comparison import Makers, Rows, displacements, held, piece_of
from motionloom.evaluation.dance import DanceMeasures
from motionloom.evaluation.text_to_motion import Engine, weights_digest
from motionloom.metrics.bertscore import bert_score
from motionloom.metrics.distribution import POOL, distinct_pools, diversity, fid, retrieval
from motionloom.metrics.language import caption_scores
from motionloom.metrics.pose import evaluated_frames
from motionloom.motion.features.humanml3d import encode_features
from motionloom.motion.skeleton import PARTS

TASKS = (
    "text-to-motion", "motion-to-text", "prediction", "in-between", "unconditional", "music-to-dance", "dance-to-music",
    "text-to-dance", "music-to-text", "music+text-to-dance", "long-dance",
)  # fmt: skip
_SHORTEST = 1.0


@dataclass(frozen=True)
class EvaluateM3GPTOptions:
    """What is measured."""

    split: str = "test"
    """Split of the store."""
    clips: int = 300
    """Clips a task at most, evenly spread over the split."""
    neighbours: int = 1500
    """Training clips at most that the nearest one is looked for among."""
    pool: int = POOL
    """Clips a caption is searched among."""
    tasks: tuple[str, ...] = TASKS
    """Which tasks."""
    examples: int = 30
    """Captions that are printed beside their references."""
    bert: Path | None = None
    """Folder of RoBERTa-large, for BERTScore; left out, it is not measured."""
    seed: int = 0
    """Of everything that is drawn."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.tasks) - set(TASKS))
        if unknown or not self.tasks:
            raise RequestError(f"tasks are {', '.join(TASKS)}; {', '.join(unknown) or 'none'} was asked for")
        if min(self.clips, self.neighbours, self.pool) < 2:
            raise RequestError(f"{self.clips} clips, {self.neighbours} neighbours, pool {self.pool}; each at least 2")


def evaluate_m3gpt(
    engine: M3GPT, scorer: Scorer, store: Store, options: EvaluateM3GPTOptions, beside: Sequence[Engine] = ()
) -> dict[str, Any]:
    """Measure all tasks.

    Args:
        engine: The engine.
        scorer: Text-motion encoder that scores all rows.
        store: Where captions and real clips come from.
        options: What is measured.
        beside: Other engines; each has a row in every task that it capabilities.

    Returns:
        ``engine``, ``beside``, ``evaluator``, ``store`` and ``options``; ``tasks`` with ``clips`` and ``rows``
        (figures by name) for each task; ``captions`` with clip, made and true sentence of some clips.

    Raises:
        DataError: The split has no clips with captions, too few different ones to fill a pool, or too little that is
            danced.
    """
    return _Measures(engine, scorer, store, options, beside).all()


class _Measures:
    """One split, one engine, one encoder."""

    def __init__(
        self, engine: M3GPT, scorer: Scorer, store: Store, options: EvaluateM3GPTOptions, beside: Sequence[Engine]
    ) -> None:
        self.engine, self.scorer, self.store, self.options = engine, scorer, store, options
        self.makers = Makers((engine, *beside), options.seed)
        self.rng = np.random.default_rng([options.seed, 6])
        self.clips = self._clips(options.split, options.clips)
        self.labels = [label_of(clip) for clip in self.clips]
        if len(set(self.labels)) < options.pool:
            raise DataError(
                f"split {options.split!r} of {store.path} shows {len(set(self.labels))} different things with captions;"
                f" pools of {options.pool} need as many"
            )
        self.motions = [piece_of(self.store.motion(clip), self.makers.longest) for clip in self.clips]
        self.captions = [str(self.rng.choice(clip.captions)) for clip in self.clips]
        self.pools = distinct_pools(self.labels, options.pool, seed=options.seed)
        self.examples: list[dict[str, str]] = []

    def all(self) -> dict[str, Any]:
        """The result."""
        dances = DanceMeasures(self.engine, self.makers, self.scorer, self.store, self.motions, self.captions)
        measures: dict[str, Callable[[], tuple[int, Rows]]] = {
            "text-to-motion": self.texts,
            "motion-to-text": self.words,
            "prediction": lambda: self.continued("prediction"),
            "in-between": lambda: self.continued("in-between"),
            "unconditional": self.free,
            "music-to-dance": dances.dances,
            "dance-to-music": dances.music,
            "text-to-dance": dances.told,
            "music-to-text": dances.heard,
            "music+text-to-dance": dances.both,
            "long-dance": dances.long,
        }
        tasks = {}
        for name in self.options.tasks:
            count, rows = measures[name]()
            tasks[name] = {"clips": count, "rows": rows}
        return {
            "engine": {"name": self.engine.name, "weights": weights_digest(self.engine.folder)},
            "beside": [{"name": one.name, "weights": weights_digest(one.folder)} for one in self.makers.beside],
            "evaluator": {"name": "matcher", "weights": weights_digest(self.scorer.folder)},
            "store": self.store.digest,
            "options": {**asdict(self.options), "bert": str(self.options.bert) if self.options.bert else None},
            "tasks": tasks,
            "captions": self.examples,
        }

    def _clips(self, split: str, most: int) -> list[Clip]:
        found = [c for c in self.store.split(split) if c.captions and is_whole(c) and c.seconds >= _SHORTEST]
        if not found:
            raise DataError(f"split {split!r} of {self.store.path} has no captioned clips of {_SHORTEST:g} s")
        places = np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int))
        return [found[place] for place in places]

    @cached_property
    def vectors(self) -> Float[Tensor, "B C"]:
        """Of the real motions."""
        return self.scorer.motions(self.motions)

    # Text to motion

    def texts(self) -> tuple[int, Rows]:
        """Retrieval and Fréchet distance of motions made for one caption each, as long as the real ones."""
        requests = [
            Request((Segment(caption, motion.seconds),), FPS, seed=self.makers.seed(index))
            for index, (caption, motion) in enumerate(zip(self.captions, self.motions, strict=True))
        ]
        vectors = {
            "real": self.vectors,
            "true codes": self.scorer.motions([self.engine.model.decode(codes) for codes in self.codes]),
            **{name: self.scorer.motions(made) for name, made in self.makers.run(requests, {"text"}).items()},
        }
        text = self.scorer.texts(self.captions)
        rows = {name: {**self._retrieval(text, found), **self._distances(found)} for name, found in vectors.items()}
        return len(self.clips), rows

    def free(self) -> tuple[int, Rows]:
        """Distances of motions that follow nothing, as long as the real ones."""
        requests = [
            Request((Segment("", motion.seconds),), FPS, seed=self.makers.seed(index))
            for index, motion in enumerate(self.motions)
        ]
        made = self.makers.run(requests, {"unconditioned"})
        rows = {name: self._distances(self.scorer.motions(motions)) for name, motions in made.items()}
        return len(self.clips), {"real": self._distances(self.vectors), **rows}

    def _distances(self, found: Float[Tensor, "B C"]) -> dict[str, float]:
        pairs = min(100, len(found))
        return {
            "FID": fid(self.vectors, found), "Diversity": diversity(found, seed=self.options.seed, pairs=pairs)
        }  # fmt: skip

    @cached_property
    def codes(self) -> list[Int[Tensor, "_"]]:
        """Of the real motions, whole codes only."""
        return [self.engine.model.encode(motion, PIECE) for motion in self.motions]

    def _retrieval(self, text: Tensor, motion: Tensor) -> dict[str, float]:
        top = min(3, self.options.pool)
        found = retrieval(text, motion, self.pools, top)
        figures = {f"R-precision top {k}": value for k, value in enumerate(found.r_precision, 1)}
        return {**figures, "MM-Dist": found.mm_dist}

    # Motion to text

    def words(self) -> tuple[int, Rows]:
        """Captions against references, and how well they find their motion again."""
        made = [self.engine.describe(motion, 1)[0].text for motion in self.motions]
        self.examples = [
            {"clip": clip.id, "made": text, "true": true}
            for clip, text, true in list(zip(self.clips, made, self.captions, strict=True))[: self.options.examples]
        ]
        everything = [list(clip.captions) for clip in self.clips]
        # A true caption is held against the others of its clip; of a clip with a single one, against itself.
        others = [
            [text for text in texts if text != own] or [own]
            for texts, own in zip(everything, self.captions, strict=True)
        ]
        frequent = Counter(text for clip in self.store.split("train") for text in set(clip.captions)).most_common(1)
        rivals: dict[str, tuple[list[str], list[list[str]]]] = {
            "true caption": (self.captions, others),
            "engine": (made, everything),
            "nearest clip's caption": (self._nearest(), everything),
            "most frequent caption": ([frequent[0][0]] * len(made), everything),
        }
        rows = {}
        for name, (texts, references) in rivals.items():
            scores = caption_scores(texts, references)
            rows[name] = {
                "BLEU-1": scores.bleu[0],
                "BLEU-4": scores.bleu[3],
                "ROUGE-L": scores.rouge_l,
                "CIDEr": scores.cider,
                **self._retrieval(self.scorer.texts(texts), self.vectors),
                "different": float(len(set(texts))),
            }
            if self.options.bert is not None:
                rows[name]["BERTScore"] = bert_score(texts, references, self.options.bert).f1
        return len(self.clips), rows

    def _nearest(self) -> list[str]:
        """A caption of the training clip whose motion is nearest by the encoder."""
        known = self._clips("train", self.options.neighbours)
        vectors = self.scorer.motions([piece_of(self.store.motion(clip), self.makers.longest) for clip in known])
        best = (self.vectors @ vectors.T).argmax(1).tolist()
        return [str(self.rng.choice(known[index].captions)) for index in best]

    # Prediction and in-between

    def continued(self, task: Literal["prediction", "in-between"]) -> tuple[int, Rows]:
        """Displacement of what is made of the frames that are hidden [m]."""
        requests, masks = [], []
        for index, motion in enumerate(self.motions):
            hidden = evaluated_frames(task, len(motion))
            mask = torch.ones(len(motion), len(PARTS), dtype=torch.bool)
            mask[max(1, hidden.start) : hidden.stop] = False
            masks.append(mask[:, 0])
            known, seconds = lay_out(motion, mask, 0.0, 0.0)
            requests.append(Request((Segment("", seconds),), seed=self.makers.seed(index), known=known))
        model = self.engine.model
        ceiling = []
        for request, motion in zip(requests, self.motions, strict=True):
            line = timeline(request)
            known = model.encode_timeline(line)
            # The last code may be begun only: the frames that it lacks are held.
            frames = torch.arange(len(known) * model.motion.frames_per_token).clamp(max=len(motion) - 1)
            whole = model.stats.normalize(encode_features(motion)[frames])
            ceiling.append(model.decode_timeline(line, model.motion.encode(whole[None])[0], known))
        rival = "zero velocity" if task == "prediction" else "linear blend"
        made = {
            "true codes": ceiling,
            **self.makers.run(requests, {"known frames", "unconditioned"}),
            rival: [held(motion, mask) for motion, mask in zip(self.motions, masks, strict=True)],
        }
        rows = {}
        for name, answers in made.items():
            figures = [
                displacements(motion, answer, ~mask)
                for motion, answer, mask in zip(self.motions, answers, masks, strict=True)
            ]
            rows[name] = {key: float(np.mean([one[key] for one in figures])) for key in ("ADE m", "FDE m", "MPJPE mm")}
        return len(self.motions), rows


def markdown(result: dict[str, Any]) -> list[str]:
    """The tables of a result, one a task, and the captions beside the true ones."""
    lines: list[str] = []
    for task, table in result["tasks"].items():
        columns = list(dict.fromkeys(name for figures in table["rows"].values() for name in figures))
        lines += [f"### {task} ({table['clips']} clips)", "", f"| row | {' | '.join(columns)} |"]
        lines.append(f"|---|{'---|' * len(columns)}")
        for row, figures in table["rows"].items():
            cells = [f"{figures[name]:.3f}" if name in figures else "–" for name in columns]
            lines.append(f"| {row} | {' | '.join(cells)} |")
        lines.append("")
    if result["captions"]:
        lines += ["### Captions of test clips", "", "| clip | made | true |", "|---|---|---|"]
        lines += [
            f"| {entry['clip']} | {_cell(entry['made'])} | {_cell(entry['true'])} |" for entry in result["captions"]
        ]
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")

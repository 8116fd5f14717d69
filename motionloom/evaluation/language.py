"""Figures of an engine for every task between text, music and motion, beside the truth, rivals and other engines.

A task that the engine does not serve is left out. Music of the pairs is synthesised to the motions
(``data/sound/music.py``), as for training. Beats are looked for at 60 frames a second. With one repeat there is one
draw an item, and no interval; more repeats draw other captions, pools and motions. What is danced and heard is
measured in ``dance.py``.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.data.loader import is_whole
from motionloom.data.store import Clip, Store, label_of
from motionloom.engines.base import Capability
from motionloom.engines.request import Request, Segment
from motionloom.engines.seeds import item_seed
from motionloom.engines.text_motion import TextMotionScorer
from motionloom.engines.timeline import lay_out
from motionloom.errors import DataError, RequestError
from motionloom.evaluation.comparison import FPS, Makers, Rows, displacements, held, piece_of
from motionloom.evaluation.dance import DanceMeasures
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
from motionloom.metrics.bertscore import bert_score
from motionloom.metrics.distribution import POOL, distinct_pools, diversity, fid, retrieval
from motionloom.metrics.language import caption_scores
from motionloom.metrics.pose import evaluated_frames
from motionloom.motion.skeleton import PARTS
from motionloom.progress import SILENT, Progress
from motionloom.schema import check, ranged

NEEDS = {
    "text-to-motion": ("text",),
    "motion-to-text": ("describe",),
    "prediction": ("known frames", "unconditioned"),
    "in-between": ("known frames", "unconditioned"),
    "unconditional": ("unconditioned",),
    "music-to-dance": ("music", "unconditioned"),
    "dance-to-music": ("compose",),
    "text-to-dance": ("text",),
    "music-to-text": ("describe music",),
    "music+text-to-dance": ("music", "text"),
    "long-dance": ("music", "segments", "unconditioned"),
}
"""What is measured, and what an engine must serve for it."""
TASKS = tuple(NEEDS)
_SHORTEST = 1.0
_REPEATS = 1 << 20
"""Seeds of further repeats begin here, far from those of items."""


@dataclass(frozen=True)
class LanguageOptions:
    """What is measured."""

    split: str = ranged("test", help="Split of the store.")
    clips: int = ranged(300, low=2, help="Clips a task at most, evenly spread over the split.")
    neighbours: int = ranged(1500, low=2, help="Training clips at most that the nearest one is looked for among.")
    pool: int = ranged(POOL, low=2, help="Clips a caption is searched among.")
    only: tuple[str, ...] = ranged(TASKS, help="Which of the tasks.")
    repeats: int = ranged(1, low=1, high=1000, help="Repeats with other captions, pools and seeds.")
    examples: int = ranged(30, low=0, help="Captions that are printed beside their references.")
    bert: Path | None = ranged(None, help="Folder of RoBERTa-large, for BERTScore, which is left out without.")
    seed: int = ranged(0, low=0, high=2**32 - 1, help="Of everything that is drawn.")

    def __post_init__(self) -> None:
        check(self, RequestError)
        check_splits([self.split])
        check_only(self.only, TASKS, "tasks")
        if self.bert is not None and not self.bert.is_dir():
            raise RequestError(f"bert is {self.bert}, which is no folder; give that of RoBERTa-large, or leave it out")


class LanguageProtocol(Protocol):
    """Every task between text, music and motion on one split."""

    task = "language"
    Options = LanguageOptions
    scored = True

    def __init__(self, subject: Subject, options: LanguageOptions) -> None:
        assert subject.store is not None
        assert subject.scorer is not None
        self.subject, self.options = subject, options
        self.current = 0, self._measures(0, SILENT)

    def _measures(self, repeat: int, progress: Progress) -> "_Measures":
        seed = item_seed(self.options.seed, _REPEATS + repeat) if repeat else self.options.seed
        return _Measures(self.subject, self.options, seed % (1 << 32), progress)

    def units(self) -> list[str]:
        """All tasks, repeat by repeat."""
        return [f"{repeat} {task}" for repeat in range(self.options.repeats) for task in self.options.only]

    def measure(self, unit: str, progress: Progress) -> dict[str, Any]:
        """One task's figures in one repeat, or why there are none."""
        repeat, _, task = unit.partition(" ")
        if missing := lacking(self.subject.engine, NEEDS[task]):
            return {"left out": missing}
        if self.current[0] != int(repeat):
            self.current = int(repeat), self._measures(int(repeat), progress)
        try:
            return self.current[1].measure(task, progress)
        except DataError as error:
            # A store without dances can still be measured on the other tasks.
            return {"left out": str(error)}

    def collect(self, found: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """Tables by task, and the captions that were printed."""
        tasks, captions = {}, []
        for task in self.options.only:
            repeats = [found[f"{repeat} {task}"] for repeat in range(self.options.repeats)]
            captions += repeats[0].get("captions", [])
            tasks[task] = {name: value for name, value in repeats[0].items() if name != "captions"}
            if len(repeats) > 1 and "rows" in repeats[0]:
                tasks[task]["rows"] = {
                    row: intervals([each["rows"][row] for each in repeats]) for row in repeats[0]["rows"]
                }
        return {"tasks": tasks, "captions": captions}

    @classmethod
    def tables(cls, result: Mapping[str, Any]) -> list[Table]:
        """One table a task, and the captions beside the true ones."""
        found = []
        for task, table in result["tasks"].items():
            if "left out" in table:
                found.append(Table(task, (), {}, (f"Left out: {table['left out']}.",)))
                continue
            found.append(Table(f"{task} ({table['clips']} clips)", columns_of(table["rows"]), table["rows"]))
        if result["captions"]:
            rows = {entry["clip"]: {"made": entry["made"], "true": entry["true"]} for entry in result["captions"]}
            found.append(Table("Captions of test clips", ("made", "true"), rows))
        return found


class _Measures:
    """One split, one engine, one encoder, one seed."""

    def __init__(self, subject: Subject, options: LanguageOptions, seed: int, progress: Progress) -> None:
        assert subject.store is not None
        assert subject.scorer is not None
        self.engine, self.options, self.seed = subject.engine, options, seed
        self.scorer: TextMotionScorer = subject.scorer
        self.store: Store = subject.store
        self.makers = Makers((subject.engine, *subject.beside), seed, progress)
        self.rng = np.random.default_rng([seed, 6])
        self.clips = self._clips(options.split, options.clips)
        self.labels = [label_of(clip) for clip in self.clips]
        if len(set(self.labels)) < options.pool:
            raise DataError(
                f"split {options.split!r} of {self.store.path} shows {len(set(self.labels))} different things with"
                f" captions; pools of {options.pool} need as many"
            )
        self.motions = [piece_of(self.store.motion(clip), self.makers.longest) for clip in self.clips]
        self.captions = [str(self.rng.choice(clip.captions)) for clip in self.clips]
        self.pools = distinct_pools(self.labels, options.pool, seed=seed)

    def measure(self, task: str, progress: Progress) -> dict[str, Any]:
        """One task."""
        self.makers = Makers(self.makers.engines, self.makers.origin, progress)
        dances = DanceMeasures(self.engine, self.makers, self.scorer, self.store, self.motions, self.captions)
        measures: dict[str, Callable[[], tuple[int, Rows]]] = {
            "text-to-motion": self.texts,
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
        if task == "motion-to-text":
            count, rows, captions = self.words()
            return {"clips": count, "rows": rows, "captions": captions}
        count, rows = measures[task]()
        return {"clips": count, "rows": rows}

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
            **self._ceiling(),
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
            "FID": fid(self.vectors, found), "Diversity": diversity(found, seed=self.seed, pairs=pairs)
        }  # fmt: skip

    @property
    def _has_codes(self) -> bool:
        return Capability.RECONSTRUCT in self.engine.capabilities

    def _ceiling(self) -> dict[str, Tensor]:
        """The real motions through the engine's tokenizer, where it has one."""
        if not self._has_codes:
            return {}
        return {"true codes": self.scorer.motions([self.engine.reconstruct(motion) for motion in self.motions])}

    def _retrieval(self, text: Tensor, motion: Tensor) -> dict[str, float]:
        top = min(3, self.options.pool)
        found = retrieval(text, motion, self.pools, top)
        figures = {f"R-precision top {k}": value for k, value in enumerate(found.r_precision, 1)}
        return {**figures, "MM-Dist": found.mm_dist}

    # Motion to text

    def words(self) -> tuple[int, Rows, list[dict[str, str]]]:
        """Captions against references, and how well they find their motion again."""
        made = [self.engine.describe(motion, 1)[0].text for motion in self.motions]
        examples = [
            {"clip": clip.id, "made": text, "true": true}
            for clip, text, true in list(zip(self.clips, made, self.captions, strict=True))[: self.options.examples]
        ]
        everything = [list(clip.captions) for clip in self.clips]
        # A true caption is held against the others of its clip; of a clip with a single one, against itself.
        others = [
            [text for text in texts if text != own] or [own]
            for texts, own in zip(everything, self.captions, strict=True)
        ]
        frequent = Counter(
            text for clip in self.store.split("train") for text in dict.fromkeys(clip.captions)
        ).most_common(1)
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
        return len(self.clips), rows, examples

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
        ceiling = {}
        if self._has_codes:
            shown = [self.engine.reconstruct(one, ~mask) for one, mask in zip(self.motions, masks, strict=True)]
            ceiling["true codes"] = shown
        rival = "zero velocity" if task == "prediction" else "linear blend"
        made = {
            **ceiling,
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

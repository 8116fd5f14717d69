"""Figures of M3GPT for each of its tasks on a split of a store, beside the truth and rivals that need no model.

Music of the pairs is synthesised to the motions (``data.accompaniment``), as for training. Beats are looked for at
60 frames a second. One draw an item; how far figures vary with it is not measured here.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motionloom.conditions.beats import beats
from motionloom.data.accompaniment import BEAT_FPS, Accompaniment, accompany
from motionloom.data.loader import is_whole
from motionloom.data.store import Clip, Store
from motionloom.errors import DataError, RequestError
from motionloom.metrics.bertscore import bert_score
from motionloom.metrics.dance import beat_alignment, dance_scores, kinetic_features, motion_beats, rooted
from motionloom.metrics.distribution import POOL, distinct_pools, diversity, fid, retrieval
from motionloom.metrics.language import caption_scores
from motionloom.metrics.music import beat_scores, beats_per_second
from motionloom.metrics.pose import average_displacement, evaluated_frames, final_displacement, root_aligned_error
from motionloom.motion import rotations as rot
from motionloom.motion.edit import cut
from motionloom.motion.features import encode_features
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import PARTS
from motionloom.tasks.complete import lay_out, timeline
from motionloom.tasks.evaluate import weights_digest
from motionloom.tasks.m3gpt import M3GPT, PIECE
from motionloom.tasks.m3gpt_writing import FPS
from motionloom.tasks.match import Scorer
from motionloom.tasks.request import Request, Segment
from motionloom.tasks.tokens import item_seed
from motionloom.tasks.train_matcher import label_of

TASKS = ("text-to-motion", "motion-to-text", "prediction", "in-between", "music-to-dance", "dance-to-music")
_BATCH = 16
_SHORTEST, _SHORTEST_DANCE = 1.0, 3.0
Rows = dict[str, dict[str, float]]


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


def evaluate_m3gpt(engine: M3GPT, scorer: Scorer, store: Store, options: EvaluateM3GPTOptions) -> dict[str, Any]:
    """Measure all tasks.

    Args:
        engine: The engine.
        scorer: Text-motion encoder that scores all rows.
        store: Where captions and real clips come from.
        options: What is measured.

    Returns:
        ``engine``, ``evaluator``, ``store`` and ``options``; ``tasks`` with ``clips`` and ``rows`` (figures by name)
        for each task; ``captions`` with clip, made and true sentence of some clips.

    Raises:
        DataError: The split has no clips with captions, or too few different ones to fill a pool.
    """
    return _Measures(engine, scorer, store, options).all()


class _Measures:
    """One split, one engine, one encoder."""

    def __init__(self, engine: M3GPT, scorer: Scorer, store: Store, options: EvaluateM3GPTOptions) -> None:
        self.engine, self.scorer, self.store, self.options = engine, scorer, store, options
        self.rng = np.random.default_rng([options.seed, 6])
        self.clips = self._clips(options.split, options.clips)
        self.labels = [label_of(clip) for clip in self.clips]
        if len(set(self.labels)) < options.pool:
            raise DataError(
                f"split {options.split!r} of {store.path} shows {len(set(self.labels))} different things with captions;"
                f" pools of {options.pool} need as many"
            )
        self.motions = [self._motion(clip) for clip in self.clips]
        self.captions = [str(self.rng.choice(clip.captions)) for clip in self.clips]
        self.pools = distinct_pools(self.labels, options.pool, seed=options.seed)
        self.examples: list[dict[str, str]] = []

    def all(self) -> dict[str, Any]:
        """The result."""
        measures: dict[str, Callable[[], tuple[int, Rows]]] = {
            "text-to-motion": self.texts,
            "motion-to-text": self.words,
            "prediction": lambda: self.continued("prediction"),
            "in-between": lambda: self.continued("in-between"),
            "music-to-dance": self.dances,
            "dance-to-music": self.music,
        }
        tasks = {}
        for name in self.options.tasks:
            count, rows = measures[name]()
            tasks[name] = {"clips": count, "rows": rows}
        return {
            "engine": {"name": self.engine.name, "weights": weights_digest(self.engine.folder)},
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

    def _motion(self, clip: Clip) -> Motion:
        motion = self.store.motion(clip).at_fps(FPS)
        return cut(motion, 0.0, PIECE) if motion.seconds > PIECE else motion

    @cached_property
    def vectors(self) -> Float[Tensor, "B C"]:
        """Of the real motions."""
        return self.scorer.motions(self.motions)

    def _seed(self, index: int) -> int:
        return item_seed(self.options.seed, index)

    # Text to motion

    def texts(self) -> tuple[int, Rows]:
        """Retrieval and Fréchet distance of motions made for one caption each, as long as the real ones."""
        requests = [
            Request((Segment(caption, motion.seconds),), seed=self._seed(index))
            for index, (caption, motion) in enumerate(zip(self.captions, self.motions, strict=True))
        ]
        vectors = {
            "real": self.vectors,
            "true codes": self.scorer.motions([self.engine.speaker.show(codes) for codes in self.codes]),
            "engine": self.scorer.motions(self._run(requests)),
        }
        text = self.scorer.texts(self.captions)
        rows = {}
        for name, found in vectors.items():
            pairs = min(100, len(found))
            rows[name] = {
                **self._retrieval(text, found),
                "FID": fid(self.vectors, found),
                "Diversity": diversity(found, seed=self.options.seed, pairs=pairs),
            }
        return len(self.clips), rows

    @cached_property
    def codes(self) -> list[Int[Tensor, "_"]]:
        """Of the real motions, whole codes only."""
        return [self.engine.speaker.read(motion, PIECE) for motion in self.motions]

    def _run(self, requests: list[Request]) -> list[Motion]:
        made: list[Motion] = []
        for first in range(0, len(requests), _BATCH):
            made += [motions[0] for motions in self.engine.run_many(requests[first : first + _BATCH])]
        return made

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
        vectors = self.scorer.motions([self._motion(clip) for clip in known])
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
            requests.append(Request((Segment("", seconds),), seed=self._seed(index), known=known))
        speaker = self.engine.speaker
        ceiling = []
        for request, motion in zip(requests, self.motions, strict=True):
            line = timeline(request)
            known = speaker.known(line)
            # The last code may be begun only: the frames that it lacks are held.
            frames = torch.arange(len(known) * speaker.motion.frames_per_token).clamp(max=len(motion) - 1)
            held = encode_features(motion)[frames]
            ceiling.append(speaker.compose(line, speaker.motion.encode(speaker.stats.normalize(held)[None])[0], known))
        rival = "zero velocity" if task == "prediction" else "linear blend"
        made = {
            "true codes": ceiling,
            "engine": self._run(requests),
            rival: [_held(motion, mask) for motion, mask in zip(self.motions, masks, strict=True)],
        }
        rows = {}
        for name, answers in made.items():
            figures = [
                _displacements(motion, answer, ~mask)
                for motion, answer, mask in zip(self.motions, answers, masks, strict=True)
            ]
            rows[name] = {key: float(np.mean([one[key] for one in figures])) for key in ("ADE m", "FDE m", "MPJPE mm")}
        return len(self.motions), rows

    # Music

    @cached_property
    def pairs(self) -> list[tuple[Motion, Accompaniment]]:
        """Motions long enough to dance, with music synthesised to them."""
        found = [
            (motion, accompany(motion, self._seed(index)))
            for index, motion in enumerate(self.motions)
            if motion.seconds >= _SHORTEST_DANCE
        ]
        found = [(motion, music) for motion, music in found if len(music.beats) > 1]
        if len(found) < 3:
            raise DataError(f"split {self.options.split!r} has {len(found)} motions with music; at least 3 are needed")
        return found

    def dances(self) -> tuple[int, Rows]:
        """Whether dances keep the beats of their own music, and how they move."""
        requests = [
            Request((Segment("", motion.seconds, music=music.sound),), seed=self._seed(index))
            for index, (motion, music) in enumerate(self.pairs)
        ]
        real, made = [motion for motion, _ in self.pairs], self._run(requests)
        music = [pair.beats for _, pair in self.pairs]
        kinetic = {name: torch.stack([_kinetic(one) for one in some]) for name, some in (("r", real), ("e", made))}
        rows = {}
        for name, some, key in (("real", real, "r"), ("engine", made, "e")):
            scores = dance_scores(kinetic["r"], kinetic[key])
            rows[name] = {**_aligned(some, music), "FIDk": scores.fid, "Divk": scores.diversity}
            rows[f"{name}, shuffled music"] = _aligned(some, _shifted(music))
        return len(made), rows

    def music(self) -> tuple[int, Rows]:
        """Whether the music made keeps the beats of its dance, and those of the music that was there."""
        motions = [motion for motion, _ in self.pairs]
        true = [beats(music.sound.samples, music.sound.rate) for _, music in self.pairs]
        sounds = [self.engine.compose(motion, self._seed(index)) for index, motion in enumerate(motions)]
        made = [beats(sound.samples, sound.rate) for sound in sounds]
        rows = {}
        for name, found in (("real", true), ("engine", made)):
            rows[name] = {**_aligned(motions, found), **_covered(true, found, motions)}
            shuffled = _shifted(found)
            rows[f"{name}, shuffled pairs"] = {**_aligned(motions, shuffled), **_covered(true, shuffled, motions)}
            rows[name]["without beats"] = float(np.mean([len(one) == 0 for one in found]))
        return len(motions), rows


def _held(motion: Motion, known: Bool[Tensor, " T"]) -> Motion:
    """The motion with its hidden frames on straight lines between the known ones, or held where there is one side."""
    frames = torch.arange(len(motion))
    at = known.nonzero()[:, 0]
    place = torch.searchsorted(at, frames)
    high = at[place.clamp(max=len(at) - 1)]
    low = at[(place - 1).clamp(min=0)]
    low = torch.where(known, frames, low)
    high = torch.where(known, frames, torch.maximum(high, low))
    weight = ((frames - low) / (high - low).clamp(min=1)).to(motion.root)
    return motion.with_(
        rotations=rot.slerp(motion.rotations[low], motion.rotations[high], weight[:, None]),
        root=torch.lerp(motion.root[low], motion.root[high], weight[:, None]),
        contacts=None,
    )


def _displacements(motion: Motion, answer: Motion, hidden: Bool[Tensor, " T"]) -> dict[str, float]:
    true, made = motion.positions[hidden], answer.positions[hidden]
    return {
        "ADE m": average_displacement(made, true),
        "FDE m": final_displacement(made, true),
        "MPJPE mm": 1000 * float(root_aligned_error(made, true).mean()),
    }


def _kinetic(motion: Motion) -> Float[Tensor, " F"]:
    return kinetic_features(rooted(motion.at_fps(BEAT_FPS).positions))


def _shifted(items: Sequence[Any]) -> list[Any]:
    """Everyone gets what belongs to somebody else."""
    half = len(items) // 2
    return [*items[half:], *items[:half]]


def _aligned(dances: Sequence[Motion], music: Sequence[Float[Tensor, "_"]]) -> dict[str, float]:
    """Beat alignment in both conventions, over the pairs whose music has a beat within the dance."""
    found: dict[str, list[float]] = {"alignment (bailando)": [], "alignment (fact)": []}
    for dance, times in zip(dances, music, strict=True):
        positions = dance.at_fps(BEAT_FPS).positions
        frames = (times * BEAT_FPS).round().long()
        frames = frames[frames < len(positions)]
        if len(frames) == 0:
            continue
        rests = motion_beats(positions)
        found["alignment (bailando)"].append(beat_alignment(frames, rests, "bailando"))
        found["alignment (fact)"].append(beat_alignment(frames, rests, "fact"))
    return {name: float(np.mean(values)) if values else 0.0 for name, values in found.items()}


def _covered(
    true: Sequence[Float[Tensor, "_"]], made: Sequence[Float[Tensor, "_"]], motions: Sequence[Motion]
) -> dict[str, float]:
    """LORIS's beat scores over the pieces whose true music has a beat."""
    seconds = [int(motion.seconds) for motion in motions]
    marks = [
        (beats_per_second(a, length), beats_per_second(b, length))
        for a, b, length in zip(true, made, seconds, strict=True)
    ]
    marks = [(a, b) for a, b in marks if int(a.sum()) > 0]
    if len(marks) < 2:
        return {}
    scores = beat_scores([a for a, _ in marks], [b for _, b in marks], "loris")
    return {"coverage": scores.bcs, "hit": scores.bhs, "F1": scores.f1}


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

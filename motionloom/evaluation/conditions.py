"""Measure an engine on the tasks that are not text to motion, each beside simple rivals on the same held-out clips.

What is measured, and against what, is in ``condition_scores.py``; here clips are chosen and cut, tasks that an engine
does not serve are left out with the reason, and the table is written. Intervals are 95 % over clips.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from motionloom.data.sound.features import is_dance
from motionloom.data.sound.speech import strokes
from motionloom.data.store import Clip, Store
from motionloom.engines.base import Engine
from motionloom.errors import DataError, RequestError
from motionloom.evaluation import condition_scores as measures
from motionloom.evaluation.condition_scores import Rows
from motionloom.evaluation.harness import (
    Protocol,
    Subject,
    Table,
    check_only,
    check_splits,
    columns_of,
    lacking,
    shown,
)
from motionloom.metrics.distribution import interval
from motionloom.motion.motion import Motion, take
from motionloom.motion.skeleton import BODY
from motionloom.progress import SILENT, Progress
from motionloom.schema import check, ranged

TASKS = ("prediction", "in-between", "video", "music", "speech")
NEEDS = {
    "prediction": ("known frames", "unconditioned"),
    "in-between": ("known frames", "unconditioned"),
    "video": ("video",),
    "music": ("music", "unconditioned"),
    "speech": ("speech", "unconditioned"),
}
"""What an engine must serve."""
_LONGEST = {"video": 4.0, "music": 8.0, "speech": 8.0}
"""Seconds of a piece that a clip is cut into."""
_SHORTEST = {"video": 1.5, "music": 3.0, "speech": 3.0}
_POSES = 64
"""Training pieces whose mean is the mean pose."""
_STANDS = 0.25
"""Someone who speaks goes no faster than this [m/s]."""
_STROKES = 2


@dataclass(frozen=True)
class ConditionOptions:
    """What is measured, on how many clips."""

    splits: tuple[str, ...] = ranged(("test",), help="Splits of the store that clips are from.")
    only: tuple[str, ...] = ranged(TASKS, help="Which of the tasks.")
    clips: int = ranged(48, low=2, help="Pieces of clips for each task.")
    seeds: int = ranged(2, low=1, help="Motions that the engine makes for each.")
    seed: int = ranged(0, low=0, high=2**32 - 1, help="Of the pieces, cameras, music, speech and motions.")

    def __post_init__(self) -> None:
        check(self, RequestError)
        check_splits(self.splits)
        check_only(self.only, TASKS, "tasks")


class ConditionProtocol(Protocol):
    """Prediction, in-betweening, video, music and speech; a task that an engine does not serve is left out."""

    task = "conditions"
    Options = ConditionOptions

    def __init__(self, subject: Subject, options: ConditionOptions) -> None:
        assert subject.store is not None
        if subject.beside:
            raise RequestError("task 'conditions' measures one engine at a time: leave --beside out")
        self.engine, self.options = subject.engine, options
        self.pieces = Pieces(subject.store, options, subject.engine.max_seconds)

    def units(self) -> tuple[str, ...]:
        """The tasks."""
        return self.options.only

    def measure(self, unit: str, progress: Progress) -> dict[str, Any]:
        """One task's table, or why there is none."""
        return measure(self.engine, unit, self.pieces, self.options, progress)

    def collect(self, found: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """The tables, which hold intervals already."""
        return {"tasks": dict(found)}

    @classmethod
    def tables(cls, result: Mapping[str, Any]) -> list[Table]:
        """One table a task."""
        return [_table(task, found) for task, found in result["tasks"].items()]


def _table(task: str, found: Mapping[str, Any]) -> Table:
    if "left out" in found:
        return Table(task, (), {}, (f"Left out: {found['left out']}.",))
    facts = f"{found['clips']} clips, {found['seconds']:g} s. {'; '.join(found['notes'])}".strip()
    differences = tuple(
        f"* {each['figure']}: {each['row']} less {each['less']}: {shown(each, sign=True)}"
        for each in found["differences"]
    )
    return Table(task, columns_of(found["rows"]), found["rows"], (facts,), differences)


def measure(
    engine: Engine, task: str, pieces: "Pieces", options: ConditionOptions, progress: Progress = SILENT
) -> dict[str, Any]:
    """One task's table, or why there is none."""
    if missing := lacking(engine, NEEDS[task]):
        return {"left out": missing}
    if task == "speech" and not measures.has_speech():
        return {"left out": "espeak-ng is not installed"}
    motions, notes = pieces.of(task)
    how: dict[str, Any] = {"seed": options.seed, "seeds": options.seeds, "progress": progress}
    run: dict[str, Callable[[], Rows]] = {
        "prediction": lambda: measures.predictions(engine, motions, **how),
        "in-between": lambda: measures.in_betweens(engine, motions, **how),
        "video": lambda: measures.videos(engine, motions, measures.mean_pose(pieces.training()), **how),
        "music": lambda: measures.dances(engine, motions, **how),
        "speech": lambda: measures.gestures(engine, motions, **how),
    }
    rows = run[task]()
    return {
        "clips": len(motions),
        "seconds": round(sum(motion.seconds for motion in motions), 1),
        "notes": [*notes, *rows.notes],
        "rows": {row: _intervals(figures) for row, figures in rows.values.items()},
        "differences": [
            {
                "figure": name,
                "row": row,
                "less": other,
                **asdict(interval(_difference(rows.values[row][name], rows.values[other][name]))),
            }
            for name, row, other in rows.compared
        ],
    }


def _intervals(figures: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    return {name: asdict(interval(values)) for name, values in figures.items()}


def _difference(a: Sequence[float], b: Sequence[float]) -> list[float]:
    return [x - y for x, y in zip(a, b, strict=True)]


class Pieces:
    """Held-out clips, cut into pieces as each task needs them, always the same ones.

    Args:
        store: Where they are from.
        options: Splits, number and seed.
        most: The longest motion of the engine [s].
    """

    def __init__(self, store: Store, options: ConditionOptions, most: float) -> None:
        self.store, self.options, self.most = store, options, most
        self.clips = [clip for split in options.splits for clip in store.split(split)]

    def of(self, task: str) -> tuple[list[Motion], list[str]]:
        """Pieces for a task, at the frame rate it is measured at, and notes.

        Raises:
            DataError: There are fewer than two.
        """
        count = self.options.clips
        if task in ("prediction", "in-between"):
            fps = measures.PREDICT_FPS
            seconds = measures.CONTEXT + measures.AHEAD if task == "prediction" else 3 * measures.BETWEEN
            return self._cut(self.clips, seconds, seconds, fps, count), []
        longest, shortest = min(_LONGEST[task], self.most), _SHORTEST[task]
        fps = measures.VIDEO_FPS if task == "video" else None
        if task == "music":
            known = [clip for clip in self.clips if is_dance(clip)]
            dances = self._cut(known, longest, shortest, fps, count, least=0)
            if len(dances) >= min(4, count):
                return dances, ["clips are dances"]
            return self._cut(self.clips, longest, shortest, fps, count), ["too few dances: clips of any kind"]
        found = self._cut(self.clips, longest, shortest, fps, 4 * count if task == "speech" else count)
        if task == "video":
            return found, []
        talks = [motion for motion in found if stays(motion) and len(strokes(motion)) >= _STROKES]
        if len(talks) < 2:
            raise DataError(f"{self.store.path}: fewer than two held-out clips of someone who stays and gestures")
        return talks[:count], ["clips are of someone who stays in place and moves the hands"]

    def training(self) -> list[Motion]:
        """Training pieces whose mean pose a rival is."""
        return self._cut(list(self.store.split("train")), _LONGEST["video"], 0.5, measures.VIDEO_FPS, _POSES, least=1)

    def _cut(
        self, clips: Sequence[Clip], longest: float, shortest: float, fps: float | None, count: int, least: int = 2
    ) -> list[Motion]:
        """Pieces of some clips in an order drawn from the seed, one a clip before a second of any."""
        rng = np.random.default_rng([self.options.seed, 1])
        found: list[tuple[int, int, Clip]] = []
        for place, index in enumerate(rng.permutation(len(clips)).tolist()):
            clip = clips[index]
            pieces = int(clip.seconds // longest) + (clip.seconds % longest >= shortest and longest > shortest)
            found += [(piece, place, clip) for piece in range(pieces)]
        motions = []
        for piece, _, clip in sorted(found, key=lambda entry: entry[:2]):
            if len(motions) == count:
                break
            motion = self.store.motion(clip)
            motion = (motion if fps is None else motion.at_fps(fps)).with_(contacts=None)
            size, first = round(longest * motion.fps), round(piece * longest * motion.fps)
            taken = take(motion, torch.arange(first, min(first + size, len(motion))))
            # A clip's last frame may be missing after a change of its frame rate.
            if len(taken) >= round(shortest * motion.fps) and (taken.valid is None or whole(taken)):
                motions.append(taken.with_(valid=None))
        if len(motions) < least:
            raise DataError(f"{self.store.path}: fewer than two held-out clips last {shortest:g} s")
        return motions


def whole(motion: Motion) -> bool:
    """Whether all parts of the body are known in every frame."""
    return all(bool(motion.part_valid(part).all()) for part in BODY)


def stays(motion: Motion) -> bool:
    """Whether the person stays about in place."""
    way = motion.root[:, [0, 2]].diff(dim=0).norm(dim=-1).sum()
    return float(way) / motion.seconds < _STANDS

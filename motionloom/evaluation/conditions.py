"""Measure an engine on the tasks that are not text to motion, each beside simple rivals on the same held-out clips.

What is measured, and against what, is in ``condition_scores.py``; here clips are chosen and cut, tasks that an engine
does not serve are left out with the reason, and the table is written. Intervals are 95 % over clips.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from motionloom.data.sound.features import is_dance
from motionloom.data.sound.speech import strokes
from motionloom.data.store import Clip, Store
from motionloom.engines.base import Engine
from motionloom.errors import DataError, RequestError
from motionloom.evaluation import condition_scores as measures
from motionloom.evaluation.condition_scores import Rows
from motionloom.evaluation.text_to_motion import weights_digest
from motionloom.metrics.distribution import interval
from motionloom.motion.files import atomic_path
from motionloom.motion.motion import Motion, take
from motionloom.motion.skeleton import BODY

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
class TaskOptions:
    """What is measured, on how many clips."""

    splits: tuple[str, ...] = ("test",)
    """Splits of the store that clips are from."""
    tasks: tuple[str, ...] = TASKS
    """Tasks to be measured."""
    clips: int = 48
    """Pieces of clips for each task."""
    seeds: int = 2
    """Motions that the engine makes for each."""
    seed: int = 0
    """Of the pieces, cameras, music, speech and motions."""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.splits) - {"train", "val", "test"}) or not self.splits:
            raise RequestError(f"splits {unknown} are unknown; splits are train, val, test")
        if unknown := sorted(set(self.tasks) - set(TASKS)):
            raise RequestError(f"tasks {', '.join(unknown)} are unknown; tasks are {', '.join(TASKS)}")
        if self.clips < 2 or self.seeds < 1:
            raise RequestError(f"{self.clips} clips, {self.seeds} seeds; give at least 2 clips and 1 seed")


def evaluate_tasks(engine: Engine, store: Store, options: TaskOptions, out: Path) -> dict[str, Any]:
    """Measure every task that the engine serves and write the table; an interrupted run goes on after the last one.

    Args:
        engine: The engine.
        store: Where real motions come from.
        options: What is measured.
        out: The JSON file; beside it, until all is done, a folder with the tasks done so far.

    Raises:
        DataError: The splits have no clip that is long enough for a task.
        RequestError: An unfinished run of other settings lies beside the file.
    """
    head = {
        "engine": {"name": engine.name, "weights": weights_digest(engine.folder)},
        "store": store.digest,
        # As it is read back from the file.
        "options": json.loads(json.dumps(asdict(options))),
    }
    parts, head_text = out.with_name(f".{out.name}.parts"), json.dumps(head, sort_keys=True)
    parts.mkdir(parents=True, exist_ok=True)
    if (parts / "head.json").is_file() and (parts / "head.json").read_text() != head_text:
        raise RequestError(f"{parts} holds an unfinished run of other settings or weights; remove it to start anew")
    (parts / "head.json").write_text(head_text)
    pieces = Pieces(store, options, engine.max_seconds)
    found: dict[str, Any] = {}
    for task in tqdm(options.tasks, desc="evaluate tasks", unit="task"):
        part = parts / f"{task}.json"
        if not part.is_file():
            result = measure(engine, task, pieces, options)
            with atomic_path(part) as temporary:
                temporary.write_text(json.dumps(result))
        found[task] = json.loads(part.read_text())
    result = {**head, "tasks": found}
    with atomic_path(out) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")
    for file in parts.iterdir():
        file.unlink()
    parts.rmdir()
    return result


def measure(engine: Engine, task: str, pieces: "Pieces", options: TaskOptions) -> dict[str, Any]:
    """One task's table, or why there is none."""
    if lacking := sorted(set(NEEDS[task]) - engine.capabilities):
        return {"left out": f"engine {engine.name!r} does not serve {', '.join(lacking)}"}
    if task == "speech" and not measures.has_speech():
        return {"left out": "espeak-ng is not installed"}
    motions, notes = pieces.of(task)
    how = {"seed": options.seed, "seeds": options.seeds}
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
        "rows": {
            row: {name: asdict(interval(values)) for name, values in figures.items()}
            for row, figures in rows.values.items()
        },
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


def _difference(a: Sequence[float], b: Sequence[float]) -> list[float]:
    return [x - y for x, y in zip(a, b, strict=True)]


class Pieces:
    """Held-out clips, cut into pieces as each task needs them, always the same ones.

    Args:
        store: Where they are from.
        options: Splits, number and seed.
        most: The longest motion of the engine [s].
    """

    def __init__(self, store: Store, options: TaskOptions, most: float) -> None:
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


def markdown(result: dict[str, Any]) -> list[str]:
    """The tables of a result file, one a task."""
    lines = []
    for task, found in result["tasks"].items():
        lines += [f"### {task}", ""]
        if "left out" in found:
            lines += [f"Left out: {found['left out']}.", ""]
            continue
        columns = list(dict.fromkeys(name for figures in found["rows"].values() for name in figures))
        lines += [f"{found['clips']} clips, {found['seconds']:g} s. {'; '.join(found['notes'])}".strip(), ""]
        lines += [f"| row | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
        for row, figures in found["rows"].items():
            cells = [_cell(figures[name]) if name in figures else "–" for name in columns]
            lines.append(f"| {row} | {' | '.join(cells)} |")
        lines.append("")
        for each in found["differences"]:
            lines.append(f"* {each['figure']}: {each['row']} less {each['less']}: {_cell(each, sign=True)}")
        lines.append("")
    return lines


def _cell(entry: dict[str, Any], sign: bool = False) -> str:
    mean, half = entry["mean"], entry["half_width"]
    digits = 3 if abs(mean) < 10 else 1
    return f"{mean:{'+' if sign else ''}.{digits}f} ± {half:.{digits}f}"

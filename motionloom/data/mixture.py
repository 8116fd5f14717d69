"""Which clip comes next: shares of datasets and tasks, and label groups of unequal size.

A draw takes a task by its weight, then a dataset among those that serve the task by its weight, then a clip. So a
dataset of a thousand hours does not drown one of ten, and a batch can be of one task or a mixture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from motionloom.data.store import TASKS, Clip
from motionloom.errors import DataError


@dataclass(frozen=True)
class MixOptions:
    """How datasets and tasks are mixed.

    Attributes:
        datasets: Weight of each dataset; those not named have weight 1, weight 0 leaves one out.
        tasks: Weight of each task that is trained; "motion" alone when empty.
        single: Whether all clips of a batch serve one task.
        power: A label group is drawn in proportion to its number of frames ** (1 - power).
    """

    datasets: Mapping[str, float] = field(default_factory=dict)
    tasks: Mapping[str, float] = field(default_factory=lambda: {"motion": 1.0})
    single: bool = False
    power: float = 0.0


class Mixture:
    """Draws clips.

    Args:
        clips: What there is to draw from.
        frames: Frames of each clip.
        options: The weights.

    Raises:
        DataError: A task or dataset is unknown, a weight is negative, or no clip serves a task of positive weight.
    """

    def __init__(self, clips: Sequence[Clip], frames: Sequence[int] | np.ndarray, options: MixOptions) -> None:
        self.options = options
        sources = np.array([clip.source for clip in clips])
        known = set(sources.tolist())
        unknown = sorted(set(options.tasks) - set(TASKS)) or sorted(set(options.datasets) - known)
        if unknown:
            raise DataError(
                f"{unknown[0]!r} is no task ({', '.join(TASKS)}) and no dataset of this split"
                f" ({', '.join(sorted(known))})"
            )
        if min([*options.tasks.values(), *options.datasets.values()], default=0.0) < 0:
            raise DataError("a weight of a dataset or task is negative; 0 leaves it out")
        self.tasks = tuple(task for task in TASKS if options.tasks.get(task, 0.0) > 0)
        if not self.tasks:
            raise DataError("no task has a positive weight; there is nothing to draw")
        weights = np.array([options.tasks[task] for task in self.tasks], dtype=np.float64)
        self._task_chances = weights / weights.sum()
        size = _group_sizes(clips, frames)
        raw = np.asarray(frames, dtype=np.float64) * size**-options.power
        self._chances: list[np.ndarray] = []
        for task in self.tasks:
            serving = np.array([task in clip.tasks for clip in clips])
            chances = np.zeros(len(clips))
            for source in sorted(known):
                rows = serving & (sources == source)
                if rows.any():
                    chances[rows] = options.datasets.get(source, 1.0) * raw[rows] / raw[rows].sum()
            if not chances.any():
                raise DataError(f"no clip of this split serves the task {task!r}; leave it out of the mixture")
            self._chances.append(np.cumsum(chances / chances.sum()))

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Rows of clips, and for each the index (in ``tasks``) of the task it was drawn for."""
        size = 1 if self.options.single else count
        tasks = rng.choice(len(self.tasks), size, p=self._task_chances)
        tasks = np.broadcast_to(tasks, (count,)).copy()
        places = rng.random(count)
        rows = np.empty(count, dtype=np.int64)
        for task in np.unique(tasks):
            here = tasks == task
            edges = self._chances[int(task)]
            rows[here] = np.searchsorted(edges, places[here] * edges[-1], side="right").clip(max=len(edges) - 1)
        return rows, tasks


def _group_sizes(clips: Sequence[Clip], frames: Sequence[int] | np.ndarray) -> np.ndarray:
    """Frames of the label group of each clip."""
    groups = [f"{clip.source} {clip.shows}" for clip in clips]
    totals: dict[str, float] = {}
    for group, count in zip(groups, frames, strict=True):
        totals[group] = totals.get(group, 0.0) + float(count)
    return np.array([totals[group] for group in groups])


def draw_chances(clips: list[Clip], power: float, shares: Mapping[str, float]) -> Float[np.ndarray, " S"]:
    """Chance of each clip: label groups by size ** power, sources capped."""
    groups = [f"{clip.source} {clip.shows}" for clip in clips]
    sizes: dict[str, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    chances = np.array([sizes[group] ** (power - 1.0) for group in groups])
    chances /= chances.sum()
    sources = np.array([clip.source for clip in clips])
    for name, cap in shares.items():
        inside = sources == name
        total = chances[inside].sum()
        if cap < total < 1:
            chances[inside] *= cap / total
            chances[~inside] *= (1 - cap) / (1 - total)
    return chances

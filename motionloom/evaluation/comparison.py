"""Figures of single motions, dances and pieces of music that the language protocol puts in its tables."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motionloom.data.sound.music import BEAT_FPS
from motionloom.engines.base import Engine
from motionloom.engines.request import Request
from motionloom.engines.seeds import item_seed
from motionloom.metrics.dance import beat_alignment, kinetic_features, motion_beats, rooted
from motionloom.metrics.music import beat_scores, beats_per_second
from motionloom.metrics.pose import average_displacement, final_displacement, root_aligned_error
from motionloom.motion import rotations as rot
from motionloom.motion.edit import cut
from motionloom.motion.features.layout import LAYOUTS
from motionloom.motion.motion import Motion
from motionloom.progress import SILENT, Progress

FPS = LAYOUTS["humanml3d"].fps
"""Frame rate that everything is compared at."""
PIECE = 10.0
"""Longest motion that is compared, whatever an engine can make [s]."""
Rows = dict[str, dict[str, float]]
"""Figures by name for each row of a table."""
_BATCH = 16


@dataclass(frozen=True)
class Makers:
    """Engines that are measured side by side.

    Attributes:
        engines: The first is the one that it is about.
        origin: Seed of everything.
        progress: Told about every step of the engines.
    """

    engines: tuple[Engine, ...]
    origin: int
    progress: Progress = SILENT

    @property
    def beside(self) -> tuple[Engine, ...]:
        """The other engines."""
        return self.engines[1:]

    @property
    def longest(self) -> float:
        """Longest motion that all of them make in one piece [s]."""
        return min(PIECE, *(engine.max_seconds for engine in self.engines))

    def seed(self, index: int) -> int:
        """Of one item."""
        return item_seed(self.origin, index)

    def run(self, requests: Sequence[Request], needs: Set[str]) -> dict[str, list[Motion]]:
        """Answers by name of the row; of other engines only those that serve what is needed.

        Args:
            requests: Of one motion each.
            needs: Entries of ``Engine.capabilities``.
        """
        found = {}
        for place, engine in enumerate(self.engines):
            if place and not needs <= engine.capabilities:
                continue
            made: list[Motion] = []
            for first in range(0, len(requests), _BATCH):
                made += [motions[0] for motions in engine.serve(requests[first : first + _BATCH], self.progress)]
            found[engine.name if place else "engine"] = made
        return found


def piece_of(motion: Motion, most: float) -> Motion:
    """The beginning of a motion at the engine's frame rate.

    Args:
        motion: Of a clip.
        most: Its longest duration [s].
    """
    motion = motion.at_fps(FPS)
    return cut(motion, 0.0, most) if motion.seconds > most else motion


def held(motion: Motion, known: Bool[Tensor, " T"]) -> Motion:
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


def displacements(motion: Motion, answer: Motion, hidden: Bool[Tensor, " T"]) -> dict[str, float]:
    """Errors of what was made in hidden frames."""
    true, made = motion.positions[hidden], answer.positions[hidden]
    return {
        "ADE m": average_displacement(made, true),
        "FDE m": final_displacement(made, true),
        "MPJPE mm": 1000 * float(root_aligned_error(made, true).mean()),
    }


def kinetic(motion: Motion) -> Float[Tensor, " F"]:
    """Kinetic features of a dance, from where it begins."""
    return kinetic_features(rooted(motion.at_fps(BEAT_FPS).positions))


def shifted(items: Sequence[Any]) -> list[Any]:
    """Everyone gets what belongs to somebody else."""
    half = len(items) // 2
    return [*items[half:], *items[:half]]


def aligned(dances: Sequence[Motion], music: Sequence[Float[Tensor, "_"]]) -> dict[str, float]:
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


def covered(
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

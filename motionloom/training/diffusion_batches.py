"""Batches of the motion diffusion model: what one update learns from, cut and joined as training needs it."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from motionloom.models.diffusion.config import Clips, Condition, Conditions

MOST_PIECES = 4
"""Clips that a motion is cut into at most, each of the next on one time line: so longer ones can be made."""


@dataclass(frozen=True, eq=False)
class Batch:
    """What one update learns from.

    Attributes:
        target: Clean features, normalised; 0 where nothing is known.
        clips: Their masks, lengths and frame rates.
        conditions: By modality.
    """

    target: Float[Tensor, "B T 669"]
    clips: Clips
    conditions: Conditions

    def take(self, rows: Int[Tensor, "R"], timeline: tuple[int, ...] | None = None) -> "Batch":
        """Some clips, with no more frames and words than the longest of them has."""
        clips = self.clips.take(rows, timeline)
        frames = int(clips.lengths.max())
        conditions = {}
        for name, condition in self.conditions.items():
            own = condition.take(rows)
            size = frames
            if own.valid is not None:
                size = max(1, int((own.valid & own.given[:, None]).sum(1).max()))
            valid = None if own.valid is None else own.valid[:, :size] & own.given[:, None]
            conditions[name] = Condition(own.features[:, :size], own.given, valid)
        return Batch(self.target[rows, :frames], replace(clips, parts=clips.parts[:, :frames]), conditions)

    def groups(self) -> list[list[int]]:
        """Rows of each time line."""
        sizes = self.clips.timeline or (1,) * len(self.clips)
        ends = np.cumsum(sizes).tolist()
        return [list(range(end - size, end)) for end, size in zip(ends, sizes, strict=True)]

    def by_length(self, pieces: int) -> "list[Batch]":
        """The batch in several, each with clips of like length: else most of it would be padding."""
        groups = sorted(self.groups(), key=lambda rows: int(self.clips.lengths[rows].max()))
        found = []
        for part in np.array_split(np.arange(len(groups)), min(pieces, len(groups))):
            own = [groups[index] for index in part.tolist()]
            timeline = None if self.clips.timeline is None else tuple(len(rows) for rows in own)
            found.append(self.take(torch.tensor([row for rows in own for row in rows]), timeline))
        return found

    def cut(self, longest: int, shortest: int, rng: np.random.Generator) -> "Batch":
        """Each clip in one to four pieces that follow each other on a time line of their own.

        Args:
            longest: Frames of a piece at most.
            shortest: Frames of a piece at least, where the clip has so many.
            rng: Draws how many pieces.
        """
        spans: list[tuple[int, int, int]] = []
        sizes = []
        for row, length in enumerate(self.clips.lengths.tolist()):
            least, most = -(-length // longest), max(1, length // shortest)
            pieces = int(rng.integers(least, max(least, min(MOST_PIECES, most)) + 1))
            edges = np.linspace(0, length, pieces + 1).round().astype(int).tolist()
            spans += [(row, start, stop) for start, stop in pairwise(edges)]
            sizes.append(pieces)
        rows = torch.tensor([row for row, _, _ in spans])
        lengths = torch.tensor([stop - start for _, start, stop in spans])
        frames = int(lengths.max())

        def sliced(values: Tensor) -> Tensor:
            found = values.new_zeros(len(spans), frames, *values.shape[2:])
            for index, (row, start, stop) in enumerate(spans):
                found[index, : stop - start] = values[row, start:stop]
            return found

        old = self.clips
        clips = Clips(
            sliced(old.parts), lengths, old.seconds[rows], old.dataset[rows], old.rotation[rows], None, tuple(sizes)
        )
        conditions = {}
        for name, condition in self.conditions.items():
            # Conditions without a mask of tokens have one a frame.
            own = condition.take(rows)
            features = own.features if own.valid is not None else sliced(condition.features)
            conditions[name] = Condition(features, own.given, own.valid)
        return Batch(sliced(self.target), clips, conditions)

"""Motion whose root goes through given points: guided resampling.

Many candidates are made; the ones whose root comes nearest are kept, a share of their tokens is hidden and made again,
and so on. What is left of the error is spread over the way, in proportion to how far the root has gone, so that feet
that stand still are not moved by it.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.engines.mmm.tokens import FPS, Item, Job, MMMOptions, Tokens
from motionloom.engines.seeds import item_seed
from motionloom.errors import RequestError
from motionloom.motion.features.layout import smooth
from motionloom.motion.motion import Motion
from motionloom.progress import SILENT, Progress

CANDIDATES = 12
"""Motions in each round."""
KEPT = 3
"""Candidates of a round that the next one starts from."""
ROUNDS = 5
HIDE = (0.8, 0.65, 0.5, 0.35)
"""Share of the tokens that is hidden in each round after the first."""
REACH = 0.35
"""Largest error that is spread over the way, as a share of the way's length."""
REACH_METRES = 0.3
"""The same for short ways [m]."""
SPEEDS = (0.7, 1.0, 1.4)
"""Paces that are tried where no seconds are given [m/s]."""


@dataclass(frozen=True, eq=False)
class PathResult:
    """A motion that goes through its points.

    Attributes:
        motion: With the error spread over its way.
        error: How far the made motion was off at its worst point [m], before that.
    """

    motion: Motion
    error: float


def way_length(path: tuple[tuple[float, float], ...]) -> float:
    """Length of the way from the origin through the points [m]."""
    return sum(math.dist(a, b) for a, b in zip(((0.0, 0.0), *path), path, strict=False))


def paces(path: tuple[tuple[float, float], ...], rate: float, shortest: int, most: int) -> list[int]:
    """Lengths in tokens that are worth a try for a path whose seconds are not given."""
    return sorted({min(most, max(shortest, round(way_length(path) / speed * rate))) for speed in SPEEDS})


def follow_path(
    tokens: Tokens, items: list[Item], lengths: list[list[int]], options: MMMOptions, progress: Progress = SILENT
) -> list[PathResult]:
    """Make motions through the points of their requests.

    Args:
        tokens: Makes tokens.
        items: What to make.
        lengths: Tokens of each; with more than one, the best is found.
        options: Of the sampling.
        progress: Told about every step.

    Raises:
        RequestError: The best candidate of an item is too far off for its rest to be spread.
    """
    pools: list[list[Tensor]] = [[tokens.empty(length) for length in some] for some in lengths]
    best: list[list[tuple[float, Tensor]]] = [[] for _ in items]
    for round_ in range(ROUNDS):
        jobs = [
            Job(
                _hidden(tokens, pool[slot % len(pool)], round_, item_seed(item.seed, 7000 + 100 * round_ + slot)),
                item.request.segments[0].text,
                item_seed(item.seed, 8000 + 100 * round_ + slot),
            )
            for item, pool in zip(items, pools, strict=True)
            for slot in range(CANDIDATES)
        ]
        filled = tokens.fill(jobs, options, progress)
        for index, item in enumerate(items):
            made = filled[index * CANDIDATES : (index + 1) * CANDIDATES]
            scored = [
                (float(_misses(tokens.decode(ids, foot_locked=True), item.request.path).norm(dim=-1).mean()), ids)
                for ids in made
            ]
            best[index] = sorted(best[index] + scored, key=lambda pair: pair[0])[:KEPT]
            pools[index] = [ids for _, ids in best[index]]
    return [
        bent(tokens.decode(pool[0], foot_locked=True), item.request.path)
        for pool, item in zip(pools, items, strict=True)
    ]


def _hidden(tokens: Tokens, ids: Tensor, round_: int, seed: int) -> Tensor:
    """Hide a share of the slots, in one stretch: a scattered few would be made again as they were."""
    if round_ == 0:
        return ids
    count = max(1, round(HIDE[round_ - 1] * len(ids)))
    start = int(torch.randint(0, len(ids) - count + 1, (), generator=torch.Generator().manual_seed(seed)))
    ids = ids.clone()
    ids[start : start + count] = tokens.masked.config.mask_id
    return ids


def _moments(path: tuple[tuple[float, float], ...], frames: int) -> list[int]:
    """Frame in which each point is to be reached: at an even pace, the last one at the end."""
    total = way_length(path)
    if total == 0:
        return [round((frames - 1) * (i + 1) / len(path)) for i in range(len(path))]
    return [round((frames - 1) * way_length(path[: i + 1]) / total) for i in range(len(path))]


def _misses(motion: Motion, path: tuple[tuple[float, float], ...]) -> Float[Tensor, "points 2"]:
    """From where the root is to where it should be, at each point [m]."""
    return torch.tensor(path) - motion.root[_moments(path, len(motion))][:, [0, 2]]


def bent(motion: Motion, path: tuple[tuple[float, float], ...]) -> PathResult:
    """Spread what a motion is off its points over its way.

    Args:
        motion: Begins over the origin.
        path: Points x, z [m], the last one for its end.

    Raises:
        RequestError: It is too far off.
    """
    misses = _misses(motion, path)
    error = float(misses.norm(dim=-1).max())
    reach = max(REACH_METRES, REACH * way_length(path))
    if error > reach:
        at = motion.root[_moments(path, len(motion))][int(misses.norm(dim=-1).argmax())]
        raise RequestError(
            f"the path is out of reach: the best motion of {motion.seconds:.1f} s came to x {at[0]:.2f}, z {at[2]:.2f},"
            f" {error:.2f} m off (at most {reach:.2f} m are bent away): give more or fewer seconds, or say in the text"
            " where the person goes"
        )
    spread = motion.root.clone()
    spread[:, [0, 2]] += _spread(motion, misses, _moments(path, len(motion)))
    note = f"the root came within {error:.3f} m of its points; that rest was spread over the way"
    return PathResult(motion.with_(root=spread, provenance=motion.provenance.noting(note)), error)


def _spread(motion: Motion, misses: Float[Tensor, "points 2"], moments: list[int]) -> Float[Tensor, "T 2"]:
    """Displacement of every frame: none at the start, the misses at their moments, growing as the root moves."""
    steps = motion.root[1:, [0, 2]] - motion.root[:-1, [0, 2]]
    # A little of the time as well, for a root that never moves.
    pace = smooth(steps.norm(dim=-1, keepdim=True) + 0.02 / FPS, 0.15 * FPS)[:, 0]
    gone = torch.cat((pace.new_zeros(1), pace.cumsum(0)))
    found, before, first = torch.zeros(len(motion), 2), torch.zeros(2), 0
    for miss, moment in zip(misses, moments, strict=True):
        if moment > first:
            share = (gone[first : moment + 1] - gone[first]) / (gone[moment] - gone[first])
            found[first : moment + 1] = torch.lerp(before, miss, share[:, None])
        before, first = miss, moment
    found[first:] = before
    return found

"""Statistics for the linear prior of a diffusion model: principal directions of parts and their power over time."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from motionloom.data.motionverse_loader import MotionVerseSet
from motionloom.models.diffusion.prior import FREQUENCIES, LinearPrior, cosines
from motionloom.motion.features.motionverse_layout import (
    MIRROR_PARTS,
    SLICES,
    MotionVerseStats,
    mirror_columns,
    part_columns,
)

_WINDOW = 100
_FLOOR = 1e-7
"""Least power of a clip's turning: some hardly turn, and a logarithm of nothing has no end."""


def fit_prior(prior: LinearPrior, clips: MotionVerseSet, stats: MotionVerseStats) -> None:
    """Measure clips and their mirror images, and give the statistics to a prior.

    Directions are those of all frames at the fastest rate; powers are measured on windows of up to 100 frames at the
    fastest rate, for what is fast, and at the slowest, for what is slow.

    Args:
        prior: Gets the statistics.
        clips: Training clips at several frame rates.
        stats: By which features are normalised.
    """
    columns = [list(part) for part in part_columns().values()]
    order, signs = mirror_columns()
    rates = sorted({int(np.argmin(clips.rates)), int(np.argmax(clips.rates))})

    def both(index: int, rate: int) -> list[tuple[Tensor, Tensor]]:
        features, mask = clips.clip(index, rate)
        turned = features[:, order] * signs, mask[:, list(MIRROR_PARTS)]
        return [(stats.normalize(values, known), known) for values, known in ((features, mask), turned)]

    moments_of = [torch.zeros(len(part), len(part), dtype=torch.float64) for part in columns]
    for index in range(len(clips)):
        for scores, _ in both(index, rates[0]):
            for part, own in enumerate(columns):
                moments_of[part] += (scores[:, own].mT @ scores[:, own]).double()
    bases = [torch.linalg.eigh(moments).eigenvectors.float() for moments in moments_of]

    # Of the mean power of turning those who spin have nearly all, and with it everyone walks in circles: here it is the
    # geometric mean over clips, a thirtieth of it (LOG.md, 2026-11-22).
    heading = columns[0].index(SLICES["yaw"].start)
    turning = int(bases[0][heading].abs().argmax())

    edges = FREQUENCIES.log().numpy()
    power = np.zeros((len(edges), sum(len(part) for part in columns)))
    count = np.zeros_like(power)
    level, clips_of = np.zeros(power.shape[1]), np.zeros(power.shape[1])
    turns, turns_of = np.zeros(1 + len(edges)), np.zeros(1 + len(edges))
    for index in range(len(clips)):
        for rate in rates:
            seconds = 1 / clips.rates[rate]
            for scores, known in both(index, rate):
                size = min(len(scores), _WINDOW)
                start = (len(scores) - size) // 2
                whole = known[start : start + size].all(0)
                window = [scores[start : start + size, own] @ basis for own, basis in zip(columns, bases, strict=True)]
                turned = cosines(torch.tensor([size]), size)[0] @ torch.cat(window, dim=1)
                waves = turned.square().numpy()
                there = np.repeat(whole.numpy(), [len(own) for own in columns]).astype(float)
                level += there * waves[0] / size
                clips_of += there
                hertz = np.log(np.arange(1, size) / (2 * size * seconds))
                place = np.rint((hertz - edges[0]) / (edges[1] - edges[0])).clip(0, len(edges) - 1).astype(int)
                np.add.at(power, place, waves[1:] * seconds * there)
                np.add.at(count, place, np.broadcast_to(there, waves[1:].shape))
                if there[turning]:
                    own = np.concatenate(([waves[0, turning] / size], waves[1:, turning] * seconds))
                    number = np.bincount(np.concatenate(([0], 1 + place)), minlength=len(turns))
                    total = np.bincount(np.concatenate(([0], 1 + place)), own, minlength=len(turns))
                    met = np.flatnonzero(number)
                    turns[met] += np.log(total[met] / number[met] + _FLOOR) + [_bias(n) for n in number[met].tolist()]
                    turns_of[met] += 1
    mean, level = power / np.maximum(count, 1), level / np.maximum(clips_of, 1)
    known = turns_of > 0
    calm = np.where(known, np.exp(turns / np.maximum(turns_of, 1)), 0.0)
    level[turning], mean[:, turning] = calm[0], calm[1:]
    met = np.flatnonzero(count.any(1))
    # Frequencies that no window has get what the nearest has.
    nearest = met[np.abs(np.arange(len(edges))[:, None] - met).argmin(1)]
    prior.fit(bases, torch.from_numpy(mean[nearest]), torch.from_numpy(level))


@cache
def _bias(count: int) -> float:
    """By how much the logarithm of a mean of that many squared Gaussians is too small on average."""
    half = torch.tensor(count / 2, dtype=torch.float64)
    return float(half.log() - torch.digamma(half))

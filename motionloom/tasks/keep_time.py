"""A dance in time with its music: rests of the motion are moved onto beats by playing it a little faster or slower.

Poses stay as they are, so bones, contacts and the way over the ground do too; only when they are reached changes.
Which rest goes to which beat is found by dynamic programming: as many as possible, with little change of speed.

Source: rests of the motion are matched to beats and its time is warped, as in Kim, Park and Shin, "Rhythmic-motion
synthesis based on motion-beat analysis" (SIGGRAPH 2003), section 5.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.conditions.beats import beats
from motionloom.metrics.dance import motion_beats
from motionloom.motion.blend import resample_smoothly
from motionloom.motion.motion import Motion
from motionloom.tasks.request import Request

FASTEST = 1.4
"""Between two beats a motion is played at most so many times faster or slower."""
_EDGE = 2.0
"""The same before the first and behind the last rest that meets a beat: beginning and end stay where they are."""
_FPS = 60.0
_EFFORT = 2.0
"""What a second costs that is played e times as fast; a rest on a beat is worth 1."""
_BACK = 6
"""A beat without a rest, or a rest without a beat, is passed over so often at most between two that meet."""


def heard(request: Request) -> Float[Tensor, " K"]:
    """Beats of all the music of a request on its timeline [s]."""
    found, at = [torch.zeros(0, dtype=torch.float64)], 0.0
    for segment in request.segments:
        length = math.inf if segment.seconds is None else segment.seconds
        if segment.music is not None:
            times = beats(segment.music.samples, segment.music.rate)
            found.append(at + times[times < length])
        at += length
    return torch.cat(found)


def keep_time(motion: Motion, music: Float[Tensor, " K"]) -> tuple[Motion, int]:
    """The motion with its rests on beats, as long as before, and how many met.

    Args:
        motion: At least four frames of it at 60 fps.
        music: Times of the beats [s], rising.

    Returns:
        The motion itself and 0, where it never rests or there is no beat that a rest can reach.
    """
    dense = motion.at_fps(_FPS).positions
    if len(dense) < 4:
        return motion, 0
    last = (len(motion) - 1) / motion.fps
    rests = motion_beats(dense).double() / _FPS
    met = match(rests[rests < last], music[(music > 0) & (music < last)], last)
    if not met:
        return motion, 0
    there, here = (torch.tensor([0.0, *side, last], dtype=torch.float64) for side in zip(*met, strict=True))
    times = warp(torch.arange(len(motion), dtype=torch.float64) / motion.fps, there, here).clamp(0, last)
    made = resample_smoothly(motion, times, motion.fps)
    nearest = (times * motion.fps).round().long()
    return made.with_(valid=None if motion.valid is None else motion.valid[nearest]), len(met)


def match(rests: Float[Tensor, " R"], music: Float[Tensor, " K"], end: float) -> list[tuple[float, float]]:
    """Pairs (beat, rest) that meet, in order; beginning and end stay where they are.

    Args:
        rests: When the motion rests [s], rising, within 0 to end.
        music: When the music beats [s], rising, within 0 to end.
        end: Of both [s].
    """
    moves, plays = [0.0, *rests.tolist(), end], [0.0, *music.tolist(), end]
    # Worth of the best chain that ends with a pair, and the pair before it.
    best: dict[tuple[int, int], tuple[float, tuple[int, int] | None]] = {(0, 0): (0.0, None)}
    final = (len(moves) - 1, len(plays) - 1)
    for i in range(1, len(moves)):
        for j in range(1, len(plays)):
            if (i == final[0]) != (j == final[1]):
                continue
            for before in ((a, b) for a in range(max(0, i - _BACK), i) for b in range(max(0, j - _BACK), j)):
                if before not in best:
                    continue
                lasts = plays[j] - plays[before[1]]
                speed = math.log((moves[i] - moves[before[0]]) / lasts)
                if abs(speed) > math.log(_EDGE if before == (0, 0) or i == final[0] else FASTEST):
                    continue
                worth = best[before][0] + 1 - _EFFORT * lasts * speed**2
                if (i, j) not in best or worth > best[(i, j)][0]:
                    best[(i, j)] = worth, before
    found = []
    pair = best.get(final, (0.0, None))[1]
    while pair is not None and pair != (0, 0):
        found.append((plays[pair[1]], moves[pair[0]]))
        pair = best[pair][1]
    return found[::-1]


def warp(times: Float[Tensor, " T"], there: Float[Tensor, " P"], here: Float[Tensor, " P"]) -> Float[Tensor, " T"]:
    """A smooth rising curve through points: monotone cubics (Fritsch and Carlson, 1980).

    Args:
        times: Where it is read.
        there: Where the points lie, rising; all times are among them.
        here: Their values, rising.
    """
    steps, slopes = there.diff(), here.diff() / there.diff()
    weight = torch.stack((2 * steps[1:] + steps[:-1], steps[1:] + 2 * steps[:-1]))
    inner = weight.sum(0) / (weight / torch.stack((slopes[:-1], slopes[1:]))).sum(0)
    tangents = torch.cat((slopes[:1], inner, slopes[-1:]))
    place = (torch.searchsorted(there, times, right=True) - 1).clamp(0, len(steps) - 1)
    size = steps[place]
    u = (times - there[place]) / size
    rising = u * u * (3 - 2 * u)
    return (
        here[place] * (1 - rising)
        + here[place + 1] * rising
        + size * (tangents[place] * u * (1 - u) ** 2 - tangents[place + 1] * u * u * (1 - u))
    )

"""A dance in time with its music: rests of the motion are moved onto beats by playing it a little faster or slower.

Poses stay as they are, so bones, contacts and the way over the ground do too; only when they are reached changes.
Which rest goes to which beat is found by dynamic programming: as many as possible, with little change of speed.

Source: rests of the motion are matched to beats and its time is warped, as in Kim, Park and Shin, "Rhythmic-motion
synthesis based on motion-beat analysis" (SIGGRAPH 2003), section 5.
"""

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.conditions.beats import beats
from motionloom.data.sound.music import kinematic_beats
from motionloom.engines.request import Request
from motionloom.motion.blend import resample_smoothly
from motionloom.motion.motion import Motion

FASTEST = 1.4
"""Between two beats a motion is played at most so many times faster or slower."""
_EDGE = 2.0
"""The same before the first and behind the last rest that meets a beat: beginning and end stay where they are."""
_FAR = 1.0
"""A rest is moved by no more than this [s]."""
_EASE = 0.25
"""Music that begins or ends within a motion is not followed so near its ends [s]."""
_EFFORT = 2.0
"""What a second costs that is played e times as fast; a rest on a beat is worth 1."""
_BACK = 16
"""So many rests are passed over at most between two that meet a beat."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """Music on a timeline.

    Attributes:
        start: When it begins [s].
        stop: When it ends [s]; infinity for the end of the motion.
        beats: When it beats [s], rising.
    """

    start: float
    stop: float
    beats: Float[Tensor, " K"]


def heard(request: Request) -> list[Stretch]:
    """The music of a request on its timeline; what lies between is not warped."""
    found, at = [], 0.0
    for segment in request.segments:
        length = math.inf if segment.seconds is None else segment.seconds
        if segment.music is not None:
            found.append(Stretch(at, at + length, at + beats(segment.music.samples, segment.music.rate)))
        at += length
    return found


def beat_sync(motion: Motion, music: list[Stretch]) -> tuple[Motion, int]:
    """The motion with its rests on beats, as long as before, and how many met.

    Args:
        motion: The motion.
        music: One behind the other.

    Returns:
        The motion itself and 0, where it never rests or there is no beat that a rest can reach.
    """
    last = (len(motion) - 1) / motion.fps
    rests = kinematic_beats(motion)[0]
    points, met = [(0.0, 0.0)], 0
    for stretch in music:
        start, stop = stretch.start, min(stretch.stop, last)
        # Where there is motion without music beside it, speeds go over into its own.
        first, final = start + _EASE * (start > 0), stop - _EASE * (stop < last)
        if first >= final:
            continue
        inner = [times[(times > first) & (times < final)] for times in (rests, stretch.beats)]
        pairs = match(inner[0], inner[1], first, final)
        met += len(pairs)
        points += [(start, start), (first, first), *pairs, (final, final), (stop, stop)]
    if not met:
        return motion, 0
    points = sorted({*points, (last, last)})
    there, here = torch.tensor(points, dtype=torch.float64).T.contiguous()
    times = warp(torch.arange(len(motion), dtype=torch.float64) / motion.fps, there, here).clamp(0, last)
    made = resample_smoothly(motion, times, motion.fps)
    nearest = (times * motion.fps).round().long()
    return made.with_(valid=None if motion.valid is None else motion.valid[nearest]), met


def match(
    rests: Float[Tensor, " R"], music: Float[Tensor, " K"], start: float, stop: float
) -> list[tuple[float, float]]:
    """Pairs (beat, rest) that meet, in order; start and stop stay where they are.

    Args:
        rests: When the motion rests [s], rising, between start and stop.
        music: When the music beats [s], rising, between them too.
        start: Of both [s].
        stop: Of both [s].
    """
    moves, plays = [start, *rests.tolist(), stop], [start, *music.tolist(), stop]
    final = (len(moves) - 1, len(plays) - 1)
    # Worth of the best chain that ends with a pair, and the pair before it; and the beats that each rest has reached.
    best: dict[tuple[int, int], tuple[float, tuple[int, int] | None]] = {(0, 0): (0.0, None)}
    reached: list[list[int]] = [[0]]
    for i in range(1, len(moves)):
        near = range(max(1, bisect_left(plays, moves[i] - _FAR)), min(final[1], bisect_right(plays, moves[i] + _FAR)))
        reached.append([])
        for j in (final[1],) if i == final[0] else near:
            earlier = range(i) if i == final[0] else (0, *range(max(1, i - _BACK), i))
            for before in ((a, b) for a in earlier for b in reached[a] if b < j):
                lasts = plays[j] - plays[before[1]]
                speed = math.log((moves[i] - moves[before[0]]) / lasts)
                if abs(speed) > math.log(_EDGE if before == (0, 0) or i == final[0] else FASTEST):
                    continue
                worth = best[before][0] + 1 - _EFFORT * lasts * speed**2
                if (i, j) not in best or worth > best[(i, j)][0]:
                    best[(i, j)] = worth, before
            if (i, j) in best:
                reached[i].append(j)
    found = []
    pair = best.get(final, (0.0, None))[1]
    while pair is not None and pair != (0, 0):
        found.append((plays[pair[1]], moves[pair[0]]))
        pair = best[pair][1]
    return found[::-1]


def warp(times: Float[Tensor, " T"], there: Float[Tensor, " P"], here: Float[Tensor, " P"]) -> Float[Tensor, " T"]:
    """A smooth rising curve through points: cubics, slopes of weighted harmonic means (Fritsch and Butland, 1984).

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

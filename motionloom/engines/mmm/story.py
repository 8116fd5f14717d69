"""Long motion from several sentences: each line made by itself, the transitions made again between their neighbours.

Source: MMM (arXiv 2312.03596), section 3.4 (long sequences), with tokens of the lines themselves re-made instead of
two put between them, so that the total length is what was asked for.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from motionloom.engines.mmm.tokens import FPS, Item, Job, MMMOptions, Tokens
from motionloom.engines.request import MAX_SECONDS, Segment
from motionloom.engines.seeds import item_seed
from motionloom.errors import RequestError
from motionloom.metrics.seams import LIMIT, SeamJerk, seam_jerk
from motionloom.motion.motion import Motion, take
from motionloom.progress import SILENT, Progress

HIDDEN = 3
"""Tokens made again on each side of a border between lines."""
SIGHT = 20
"""Tokens beyond those that are seen on each side."""
TURNS = 4
"""How often a transition that is not smooth is made."""
SHORTEST = 3
"""Tokens of the shortest line."""
_SLACK = 1e-6


MAX_SCRIPT = 1 << 20
"""Largest script that is read [bytes]: a story takes ten minutes at most."""


def read_script(path: str | PathLike[str]) -> tuple[Segment, ...]:
    """Read a story: lines of ``seconds  sentence``; empty lines and what follows a ``#`` do not count.

    Args:
        path: A text file.

    Raises:
        RequestError: The file cannot be read, holds no line, or a line is wrong (named by its number).
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_SCRIPT:
            raise RequestError(f"{path}: {path.stat().st_size} bytes; scripts of up to {MAX_SCRIPT} bytes are read")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: cannot be read as a text file ({type(error).__name__})") from None
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#", 1)[0].split(maxsplit=1)
        if not words:
            continue
        try:
            found.append(Segment(words[1] if len(words) > 1 else "", float(words[0])))
        except ValueError:
            raise RequestError(f"{path}, line {number}: {words[0]!r} is no number of seconds") from None
        except RequestError as error:
            raise RequestError(f"{path}, line {number}: {error}") from None
    if not found:
        raise RequestError(f"{path} holds no line; write lines such as: 4.0  a person walks forward")
    return tuple(found)


def borders(segments: Sequence[Segment], rate: float) -> list[int]:
    """Where the lines of a story begin and end, in units of ``1 / rate`` seconds; the first is 0.

    Raises:
        RequestError: A line has no length or a very short one, or the story is too long.
    """
    at, places = 0.0, [0]
    for number, segment in enumerate(segments, start=1):
        if segment.seconds is None:
            raise RequestError(f"line {number} of the story has no length: give its seconds")
        at += segment.seconds
        places.append(round(at * rate))
    if at > MAX_SECONDS:
        raise RequestError(f"the story takes {at:.1f} s; at most {MAX_SECONDS:g} s are made")
    return places


def tell(tokens: Tokens, items: list[Item], options: MMMOptions, progress: Progress = SILENT) -> list[Motion]:
    """Make the story of every item, at 20 fps; a line of any length, the lines longer than one piece in windows.

    Raises:
        RequestError: See ``borders``.
    """
    places = [borders(item.request.segments, tokens.rate) for item in items]
    for marks, item in zip(places, items, strict=True):
        # As many tokens as cover the whole; what the last one has too much is cut off again.
        marks[-1] = math.ceil(_seconds(item) * tokens.rate - _SLACK)
        for number, (start, stop) in enumerate(pairwise(marks), start=1):
            if stop - start < SHORTEST:
                raise RequestError(
                    f"line {number} of the story takes {(stop - start) / tokens.rate:.1f} s; a line takes at least"
                    f" {SHORTEST / tokens.rate:.1f} s"
                )
    jobs = [
        Job(tokens.empty(stop - start), segment.text, item_seed(item.seed, 1000 + number))
        for item, marks in zip(items, places, strict=True)
        for number, (segment, (start, stop)) in enumerate(zip(item.request.segments, pairwise(marks), strict=True))
    ]
    made = tokens.fill(jobs, options, progress)
    whole = []
    for marks in places:
        whole.append(torch.cat(made[: len(marks) - 1]))
        made = made[len(marks) - 1 :]
    _soften(tokens, items, whole, places, [range(1, len(marks) - 1) for marks in places], 0, options, progress)
    motions = [_decoded(tokens, ids, item) for ids, item in zip(whole, items, strict=True)]
    for turn in range(1, TURNS):
        rough = [_rough(motion, item) for motion, item in zip(motions, items, strict=True)]
        if not any(rough):
            break
        again = [ids.clone() for ids in whole]
        _soften(tokens, items, again, places, rough, turn, options, progress)
        for index in (index for index, some in enumerate(rough) if some):
            motion = _decoded(tokens, again[index], items[index])
            if _jerk(motion, items[index]).ratio < _jerk(motions[index], items[index]).ratio:
                whole[index], motions[index] = again[index], motion
    return motions


def _decoded(tokens: Tokens, ids: Tensor, item: Item) -> Motion:
    return take(tokens.decode(ids, foot_locked=True), torch.arange(round(_seconds(item) * FPS)))


def _jerk(motion: Motion, item: Item) -> SeamJerk:
    return seam_jerk(motion.positions, FPS, seams(item.request.segments, FPS, len(motion)))


def _rough(motion: Motion, item: Item) -> list[int]:
    """Borders that are not smooth."""
    jerk = _jerk(motion, item)
    return [number for number, value in enumerate(jerk.seams, start=1) if value > LIMIT * jerk.usual]


def _seconds(item: Item) -> float:
    return sum(segment.seconds or 0.0 for segment in item.request.segments)


def _soften(
    tokens: Tokens, items: list[Item], whole: list[Tensor], places: list[list[int]], borders_: Sequence[Sequence[int]],
    turn: int, options: MMMOptions, progress: Progress,
) -> None:  # fmt: skip
    """Make the tokens around some borders of each item again.

    Every second border at once; the others then see what became of their neighbours.
    """
    for odd in (1, 0):
        chosen = [[number for number in some if number % 2 == odd] for some in borders_]
        _remake(tokens, items, whole, places, chosen, turn, options, progress)


def _remake(
    tokens: Tokens, items: list[Item], whole: list[Tensor], places: list[list[int]], chosen: list[list[int]],
    turn: int, options: MMMOptions, progress: Progress,
) -> None:  # fmt: skip
    spots, jobs = [], []
    for index, (item, marks) in enumerate(zip(items, places, strict=True)):
        for number in chosen[index]:
            before, border, behind = marks[number - 1 : number + 2]
            first = border - min(HIDDEN, (border - before) // 3)
            last = border + min(HIDDEN, (behind - border) // 3)
            start = max(0, first - SIGHT)
            stop = min(len(whole[index]), last + SIGHT)
            ids = whole[index][start:stop].clone()
            ids[first - start : last - start] = tokens.masked.config.mask_id
            # No text: either line's sentence would begin its gesture anew in the middle of the transition.
            jobs.append(Job(ids, "", item_seed(item.seed, 100_000 * (turn + 1) + number)))
            spots.append((index, start, stop))
    for (index, start, stop), ids in zip(spots, tokens.fill(jobs, options, progress), strict=True):
        whole[index][start:stop] = ids


def seams(segments: Sequence[Segment], fps: float, frames: int) -> list[int]:
    """Frames in which the lines of a story meet."""
    return [at for at in borders(segments, fps)[1:-1] if 0 < at < frames]

"""Fill in what is not known of a motion: in-between, prediction, outpainting, and any part of the body.

Known cells become tokens and stand; the transformer makes the others; all are decoded at once. Then the known cells
are put back as they came, at the source's own frame rate, and the seams are blended (``motion/blend.py``).
"""

import math
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from motionloom.errors import RequestError
from motionloom.metrics.seams import seam_jerk
from motionloom.motion import rotations as rot
from motionloom.motion.blend import BLEND, compose, resample_smoothly
from motionloom.motion.edit import without_ends
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL, LEG_LENGTH, Skeleton
from motionloom.tasks.request import BODY_COLUMNS, MAX_SECONDS, Known, Request
from motionloom.tasks.tokens import FPS, Item, Job, SampleOptions, Tokens

BLENDS = (BLEND, 1.6 * BLEND, 2.4 * BLEND)
"""Blending times that are tried [s]; a clip that ends in the middle of a swing needs longer ones."""
_SLACK = 1e-6


@dataclass(frozen=True, eq=False)
class Timeline:
    """The known motion laid out on the whole timeline, at its own frame rate.

    Attributes:
        motion: As long as the timeline; frames that the source does not have stand in rest pose.
        known: Which cells are known.
        first: Frame in which the source begins.
    """

    motion: Motion
    known: Bool[Tensor, "K 10"]
    first: int

    @property
    def seams(self) -> list[int]:
        """Frames at which known cells begin or end, of any part."""
        cells = self.known[:, BODY_COLUMNS]
        return (1 + (cells[1:] != cells[:-1]).any(1).nonzero()[:, 0]).tolist()


def timeline(request: Request) -> Timeline:
    """Lay out what a request knows.

    Raises:
        RequestError: The timeline is shorter than the motion on it, too long, or nothing on it is to be made.
    """
    known = request.known
    assert known is not None
    source, fps = known.motion, known.motion.fps
    first = round(known.start * fps)
    seconds = request.segments[0].seconds
    frames = first + len(source) if seconds is None else round(seconds * fps)
    if frames < first + len(source):
        raise RequestError(
            f"{seconds:g} s asked for, but the known motion ends at {(first + len(source)) / fps:.2f} s: ask for at"
            " least that, or cut it first"
        )
    if frames / fps > MAX_SECONDS:
        raise RequestError(f"{frames / fps:.1f} s asked for; at most {MAX_SECONDS:g} s are made")
    place = slice(first, first + len(source))
    cells = torch.zeros(frames, known.mask.shape[1], dtype=torch.bool)
    cells[place] = known.mask
    if bool(cells[:, BODY_COLUMNS].all()):
        raise RequestError("the whole motion is kept, so there is nothing to make: keep less of it or ask for more")
    rotations = rot.identity(frames, len(CANONICAL), dtype=source.rotations.dtype)
    root = source.skeleton.offsets[0].to(source.root).repeat(frames, 1)
    contacts = None if source.contacts is None else torch.zeros(frames, 4, dtype=torch.bool)
    rotations[place], root[place] = source.rotations, source.root
    if contacts is not None and source.contacts is not None:
        contacts[place] = source.contacts
    return Timeline(source.with_(rotations=rotations, root=root, contacts=contacts, valid=None), cells, first)


def complete(tokens: Tokens, items: list[Item], options: SampleOptions) -> list[Motion]:
    """Make what is missing of every item's known motion; the answers have its frame rate and body.

    Raises:
        RequestError: See ``timeline``.
    """
    lines = [timeline(item.request) for item in items]
    jobs = [
        Job(known_tokens(tokens, line), item.request.segments[0].text, item.seed)
        for line, item in zip(lines, items, strict=True)
    ]
    filled = tokens.fill(jobs, options)
    return [_composed(tokens, line, job.ids, ids) for line, job, ids in zip(lines, jobs, filled, strict=True)]


def known_tokens(tokens: Tokens, line: Timeline) -> Int[Tensor, "N *parts"]:
    """Tokens of a timeline, the mask id where they are to be made.

    A frame at 20 fps is known if the frames around its moment are, at the source's own rate.
    """
    fps, frames = line.motion.fps, len(line.motion)
    moments = math.ceil((frames - 1) / fps * FPS - _SLACK) + 1
    count = -(-moments // tokens.per_token) * tokens.per_token
    place = torch.arange(count, dtype=torch.float64) * (fps / FPS)
    low, high = (place + _SLACK).floor().long(), (place - _SLACK).ceil().long()
    inside = high < frames
    low, high = low.clamp(max=frames - 1), high.clamp(max=frames - 1)
    known = line.known[low] & line.known[high] & inside[:, None]
    weight = (place - low).to(line.motion.root).clamp(0, 1)
    body = line.motion.skeleton
    motion = line.motion.with_(
        skeleton=CANONICAL,
        rotations=rot.slerp(line.motion.rotations[low], line.motion.rotations[high], weight[:, None]),
        root=torch.lerp(line.motion.root[low], line.motion.root[high], weight[:, None]) / _scale(body),
        fps=FPS,
        contacts=None,
    )
    return tokens.encode(motion, known)


def _composed(tokens: Tokens, line: Timeline, known: Tensor, ids: Tensor) -> Motion:
    made = tokens.decode(ids)
    source = line.motion
    made = made.with_(root=made.root * _scale(source.skeleton))
    if source.fps == FPS:
        made = made.with_(
            rotations=made.rotations[: len(source)],
            root=made.root[: len(source)],
            contacts=None if made.contacts is None else made.contacts[: len(source)],
        )
    else:
        made = resample_smoothly(made, torch.arange(len(source)) / source.fps, source.fps)
    made = made.with_(skeleton=source.skeleton)
    answer = blended(line, made, line.first)
    # Kept cells that no token could hold still come back, but what was made did not see them.
    hidden = (known == tokens.masked.config.mask_id).view(len(known), -1).all(0).tolist()
    unseen = [
        " and ".join(group)
        for group, columns, is_hidden in zip(tokens.groups, tokens.group_columns, hidden, strict=True)
        if is_hidden and bool(line.known[:, columns].any())
    ]
    notes = f"the model did not see what was kept of {', '.join(unseen)}" if unseen else ""
    return answer.with_(provenance=source.provenance.noting(notes)) if notes else answer


def blended(line: Timeline, made: Motion, anchor: int, overlaps: bool = True) -> Motion:
    """Known and made motion with the shortest blend that makes the seams smooth, or with the best one there is.

    Args:
        line: What is known.
        made: As long, of the same frame rate and body.
        anchor: Frame in which ``made`` is put where the known motion is, if the root is known nowhere.
        overlaps: See ``motion.blend.compose``; if not, both are tried.
    """
    tried = []
    for straight, blend in product((False,) if overlaps else (False, True), BLENDS):
        answer = compose(line.motion, line.known, made, anchor, blend, overlaps=not straight)
        if len(answer) < 4 or not line.seams:
            return answer
        tried.append((seam_jerk(answer.positions, answer.fps, line.seams), answer))
        if tried[-1][0].smooth:
            break
    return min(tried, key=lambda pair: pair[0].ratio)[1]


def _scale(body: Skeleton) -> float:
    """Leg length over that of the canonical body."""
    return float((body.offsets[4].norm() + body.offsets[7].norm()) / LEG_LENGTH)


def seams(request: Request) -> list[int]:
    """Frames at which kept motion begins or ends on a request's timeline, at the motion's own frame rate."""
    return timeline(request).seams


def lay_out(motion: Motion, mask: Bool[Tensor, "T 10"], before: float, after: float) -> tuple[Known, float]:
    """What is known of a motion that is to become longer, and how long the whole is [s].

    A motion that was read from a BVH file of ours may have its end sites still.

    Raises:
        RequestError: A time is negative or no number.
    """
    for name, seconds in (("before", before), ("after", after)):
        if not 0 <= seconds <= MAX_SECONDS:
            raise RequestError(f"{name} is {seconds} s; give 0 to {MAX_SECONDS:g} s")
    # Whole frames, so that the two do not round apart.
    first, more = round(before * motion.fps), round(after * motion.fps)
    return Known(without_ends(motion), mask, first / motion.fps), (first + len(motion) + more) / motion.fps

"""Known motion laid out on the timeline of a request, and blended back into what was made."""

from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Bool
from torch import Tensor

from motionloom.engines.request import MAX_SECONDS, Known, Request
from motionloom.errors import RequestError
from motionloom.metrics.seams import seam_jerk
from motionloom.motion import rotations as rot
from motionloom.motion.blend import BLEND, compose
from motionloom.motion.edit import without_ends
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import BODY_COLUMNS, CANONICAL, LEG_LENGTH, Skeleton

BLENDS = (BLEND, 1.6 * BLEND, 2.4 * BLEND)
"""Blending times that are tried [s]; a clip that ends in the middle of a swing needs longer ones."""


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


def leg_scale(body: Skeleton) -> float:
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

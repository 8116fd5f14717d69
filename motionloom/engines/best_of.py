"""Closed loop: of several candidates, the one that fits its text best by our text-motion encoder."""

from collections.abc import Sequence
from itertools import pairwise

from motionloom.engines.request import Request, Segment
from motionloom.engines.text_motion import TextMotionScorer
from motionloom.motion.edit import cut
from motionloom.motion.motion import Motion


def choose(scorer: TextMotionScorer, request: Request, candidates: Sequence[Motion]) -> Motion:
    """Keep the candidate whose lines fit their sentences best, and note by how much.

    A story counts as the mean over its lines, each weighed by its seconds; lines without text count nothing.

    Args:
        scorer: Text-motion encoder.
        request: What the candidates were made for; holds at least one text.
        candidates: Motions of the whole timeline.

    Raises:
        RequestError: A line with text is shorter than the encoder reads.
    """
    totals = [0.0] * len(candidates)
    weight = 0.0
    for segment, start, stop in _spans(request, candidates[0].seconds):
        if not segment.text:
            continue
        whole = len(request.segments) == 1
        pieces = [motion if whole else cut(motion, start, min(stop, motion.seconds)) for motion in candidates]
        for index, score in enumerate(scorer.score(segment.text, pieces)):
            totals[index] += score * (stop - start)
        weight += stop - start
    scores = [total / weight for total in totals]
    at = max(range(len(scores)), key=scores.__getitem__)
    note = f"best of {len(scores)} by the text-motion encoder: cosine {scores[at]:.3f}, the others' mean"
    others = [score for index, score in enumerate(scores) if index != at]
    kept = candidates[at]
    return kept.with_(provenance=kept.provenance.noting(f"{note} {sum(others) / len(others):.3f}"))


def _spans(request: Request, seconds: float) -> list[tuple[Segment, float, float]]:
    """Lines of the timeline with where they begin and end [s]."""
    if len(request.segments) == 1:
        return [(request.segments[0], 0.0, seconds)]
    marks = [0.0]
    for segment in request.segments:
        marks.append(marks[-1] + (segment.seconds or 0.0))
    return [(segment, *span) for segment, span in zip(request.segments, pairwise(marks), strict=True)]

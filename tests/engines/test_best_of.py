"""Closed loop: the best of several candidates is kept, and says so."""

import pytest
import torch
from make_mmm import write_engine

from motionloom.engines.mmm.engine import MMM
from motionloom.engines.request import Request, Segment
from motionloom.errors import RequestError


@pytest.fixture(scope="module")
def engine(scorer, tmp_path_factory):
    made = MMM(write_engine(tmp_path_factory.mktemp("engine")))
    made.scorer = scorer
    return made


def test_the_candidate_with_the_highest_cosine_is_kept(engine):
    text = "a person walks"
    kept = engine.generate(text, 2.0, seed=3, count=2, best_of=3)
    candidates = engine.generate(text, 2.0, seed=3, count=6)
    scores = engine.scorer.score(text, candidates)
    for index, motion in enumerate(kept):
        group = scores[3 * index : 3 * index + 3]
        best = candidates[3 * index + group.index(max(group))]
        assert torch.equal(motion.rotations, best.rotations)
        assert motion.provenance.notes[-1].startswith(f"best of 3 by the text-motion encoder: cosine {max(group):.3f}")


def test_one_candidate_is_the_plain_motion(engine):
    plain, one = (
        engine.generate("a person walks", 2.0, seed=1)[0],
        engine.generate("a person walks", 2.0, seed=1, best_of=1)[0],
    )
    assert torch.equal(plain.rotations, one.rotations)
    assert plain.provenance.notes == one.provenance.notes


def test_a_story_is_held_against_the_sentence_of_each_line(engine):
    lines = (Segment("a person walks", 2.0), Segment("", 1.0), Segment("a person waves", 2.0))
    (kept,) = engine.story(lines, seed=5, best_of=2)
    candidates = engine.story(lines, seed=5, count=2)
    spans = {"a person walks": slice(0, 40), "a person waves": slice(60, 100)}
    totals = []
    for motion in candidates:
        pieces = {
            text: motion.with_(rotations=motion.rotations[span], root=motion.root[span], contacts=None)
            for text, span in spans.items()
        }
        totals.append(sum(engine.scorer.score(text, [piece])[0] for text, piece in pieces.items()))
    best = candidates[totals.index(max(totals))]
    assert torch.equal(kept.rotations, best.rotations)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Request((Segment("a person walks"),), best_of=0), "best_of is 0; give 1 to 64 candidates"),
        (lambda: Request((Segment(),), best_of=4), "best_of needs a text"),
    ],
)
def test_bad_requests_get_one_clear_line(call, message):
    with pytest.raises(RequestError, match=message):
        call()

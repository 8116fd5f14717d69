import make
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from make_mmm import write_body_engine, write_engine

import motionloom as ml
from motionloom.engines.mmm.inpaint import known_tokens
from motionloom.engines.request import Known, Request, Segment
from motionloom.engines.timeline import seams, timeline
from motionloom.errors import MotionError, RequestError
from motionloom.metrics.seams import seam_jerk
from motionloom.motion.skeleton import CANONICAL, JOINT_PARTS, PARTS, Skeleton

FAST = {"steps": 2, "guidance": 1.0}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return ml.load(write_body_engine(tmp_path_factory.mktemp("engine") / "body"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An engine with one code for the whole body."""
    return ml.load(write_engine(tmp_path_factory.mktemp("engine") / "whole"))


def assert_kept(answer, source, mask, first=0):
    """Known cells came back to the bit: local rotations of the parts, and the place of the root."""
    place = slice(first, first + len(source))
    for part in PARTS:
        joints = [i for i, name in enumerate(CANONICAL.names) if JOINT_PARTS[name] == part]
        frames = mask[:, PARTS.index(part)]
        assert torch.equal(answer.rotations[place][frames][:, joints], source.rotations[frames][:, joints])
        if part == "root":
            assert torch.equal(answer.root[place][frames], source.root[frames])


spans = st.tuples(st.integers(0, 25), st.integers(3, 15)).map(lambda s: ml.frames(s[0] / 10, (s[0] + s[1]) / 10))
some_parts = st.sampled_from(["legs", "arms", "upper", "head", "left_arm", "root", "stem"]).map(ml.parts)


@settings(max_examples=12)
@given(
    keep=st.one_of(spans, some_parts, st.tuples(spans, some_parts).map(lambda p: p[0] | p[1]),
                   st.tuples(spans, some_parts).map(lambda p: p[0] & p[1])),
    fps=st.sampled_from([20.0, 30.0, 24.0]), before=st.sampled_from([0.0, 0.33]), seed=st.integers(0, 99),
)  # fmt: skip
def test_known_cells_come_back_to_the_bit_and_lengths_are_right(engine, keep, fps, before, seed):
    source = make.motion(round(4.0 * fps), seed, fps)
    mask = keep.mask(len(source), fps)
    (answer,) = engine.complete(source, keep, text="a person walks", seed=seed, before=before, after=0.5, **FAST)
    first = round(before * fps)
    assert len(answer) == first + len(source) + round(0.5 * fps)
    assert answer.fps == fps
    assert_kept(answer, source, mask, first)


@settings(max_examples=6)
@given(
    seed=st.integers(0, 99), keep=st.one_of(spans, some_parts, st.tuples(spans, some_parts).map(lambda p: p[0] & p[1]))
)
def test_nothing_of_the_unknown_cells_gets_into_the_answer(engine, seed, keep):
    source, other = make.motion(80, seed), make.motion(80, seed + 1000)
    mask = keep.mask(80, 20.0)
    rotations, root = other.rotations.clone(), other.root.clone()
    for part in PARTS:
        joints = [i for i, name in enumerate(CANONICAL.names) if JOINT_PARTS[name] == part]
        frames = mask[:, PARTS.index(part)]
        for joint in joints:
            rotations[frames, joint] = source.rotations[frames, joint]
        if part == "root":
            root[frames] = source.root[frames]
    changed = source.with_(rotations=rotations, root=root)
    tokens = [
        known_tokens(engine.tokens, timeline(Request((Segment(),), known=Known(motion, mask))))
        for motion in (source, changed)
    ]
    assert torch.equal(*tokens)
    # Where the root is known nowhere, the answer is put where the source stands in its first frame.
    if bool(mask[:, 0].any()):
        first, second = (engine.complete(motion, keep, seed=seed, **FAST)[0] for motion in (source, changed))
        torch.testing.assert_close(first.positions, second.positions, atol=1e-5, rtol=0)


def test_what_is_known_is_what_the_model_sees(engine):
    source = make.motion(80, 3)
    mask_id = engine.masked.config.mask_id
    known = Known(source, (ml.frames(0, 1.0) | ml.parts("legs")).mask(80, 20.0))
    ids = known_tokens(engine.tokens, timeline(Request((Segment(),), known=known)))
    assert ids.shape == (20, 4)
    assert bool((ids[:5] != mask_id).all())
    assert bool((ids[:, 0] != mask_id).all())
    assert bool((ids[5:, 1:] == mask_id).all())
    # A token of which one frame is not known is made anew.
    known = Known(source, ml.frames(0, 1.05).mask(80, 20.0))
    ids = known_tokens(engine.tokens, timeline(Request((Segment(),), known=known)))
    assert (ids != mask_id).all(1).tolist() == [True] * 5 + [False] * 15


def asked(segment, motion, frames):
    """A request that keeps the first second of a motion, by a mask of so many frames."""
    return Request((segment,), known=Known(motion, ml.frames(0, 1).mask(frames, 20.0)))


@pytest.mark.parametrize("kind", ["between", "predict", "parts"])
def test_an_item_alone_and_anywhere_in_a_batch_of_eight(engine, kind):
    source = make.motion(72, 5)
    keep = {"between": ml.frames(0, 1) | ml.frames(2.6), "predict": ml.frames(), "parts": ml.parts("legs")}[kind]
    seconds = 13.0 if kind == "predict" else None
    known = Known(source, keep.mask(72, 20.0))
    request = Request((Segment("a person waves", seconds),), seed=7, known=known, **FAST)
    others = [
        Request((Segment("she bows", 2.0 + i),), seed=i, **FAST,
                known=Known(make.motion(40, i), ml.frames(0, 1.0).mask(40, 20.0)))
        if i % 2 else Request((Segment("he runs", 1.0 + i),), seed=i, **FAST)
        for i in range(7)
    ]  # fmt: skip
    alone = engine.serve([request])[0][0]
    for place in (0, 3, 7):
        batch = engine.serve([*others[:place], request, *others[place:]])
        assert len(batch[place][0]) == len(alone)
        assert float((batch[place][0].positions - alone.positions).norm(dim=-1).max()) < 1e-4


def test_items_of_a_request_differ_where_nothing_is_known_and_nowhere_else(engine):
    source = make.motion(60, 1)
    first, second = engine.complete(source, ml.frames(0, 1.0), seed=1, count=2, **FAST)
    assert torch.equal(first.positions[:20], second.positions[:20])
    assert not torch.allclose(first.positions[30:], second.positions[30:])
    again = engine.complete(source, ml.frames(0, 1.0), seed=1, **FAST)[0]
    assert torch.equal(first.positions, again.positions)


def test_prediction_is_as_long_as_asked_for_beyond_one_piece(engine):
    source = make.motion(90, 2, 30.0)
    (answer,) = engine.predict(source, 14.0, text="a person walks", **FAST)
    assert len(answer) == 90 + 14 * 30
    assert torch.equal(answer.rotations[:90], source.rotations)
    assert seams(Request((Segment("", 17.0),), known=Known(source, ml.frames().mask(90, 30.0)))) == [90]


def test_another_body_keeps_its_own_proportions(engine):
    tall = Skeleton(CANONICAL.names, CANONICAL.parents, CANONICAL.offsets * 1.2)
    source = make.motion(60, 4).with_(skeleton=tall)
    source = source.with_(root=source.root * 1.2)
    (answer,) = engine.complete(source, ml.frames(0, 1.0), **FAST)
    assert answer.skeleton is tall
    small = engine.complete(make.motion(60, 4), ml.frames(0, 1.0), **FAST)[0]
    torch.testing.assert_close(answer.positions, small.positions * 1.2, atol=1e-3, rtol=0)


def test_time_edits_with_one_code_for_the_body_and_no_part_edits(whole):
    source = make.motion(60, 4)
    (answer,) = whole.complete(source, ml.frames(0, 1.0) | ml.frames(2.0), text="a person waves", **FAST)
    assert_kept(answer, source, (ml.frames(0, 1.0) | ml.frames(2.0)).mask(60, 20.0))
    with pytest.raises(RequestError, match="engine 'mmm' does not serve known parts"):
        whole.complete(source, ml.parts("legs"), **FAST)


def test_it_says_where_the_kept_cells_came_from(engine):
    source = make.motion(40, 0)
    source = source.with_(provenance=ml.Provenance(source="walk.bvh", licence="CC BY 4.0"))
    (answer,) = engine.complete(source, ml.parts("head"), text="she bows", seed=3, **FAST)
    assert answer.provenance.licence == "CC0; CC BY 4.0"
    assert answer.provenance.text == "she bows"
    assert "kept parts of walk.bvh" in answer.provenance.notes
    assert any("did not see what was kept of stem and head" in note for note in answer.provenance.notes)


def _without(name: str) -> Skeleton:
    return Skeleton(tuple("x" + n if n == name else n for n in CANONICAL.names), CANONICAL.parents, CANONICAL.offsets)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e, m: e.complete(m, ml.frames(0, 9.0)), MotionError, "does not lie within the 3.00 s"),
        (lambda e, m: e.complete(m, ml.parts("tail")), MotionError, "there is no body part 'tail'"),
        (lambda e, m: e.complete(m, ml.frames()), RequestError, "the whole motion is kept"),
        (lambda e, m: e.complete(m, ml.parts("face")), RequestError, "nothing of the motion is kept"),
        (lambda e, m: e.complete(m, ml.frames(0, 1), text="word " * 10_000), RequestError, "at most 1000 are read"),
        (lambda e, m: e.complete(m, ml.frames(0, 1), text="  "), RequestError, "the text is empty"),
        (lambda e, m: e.complete(m.with_(skeleton=_without("head")), ml.frames(0, 1)), MotionError, "retarget it"),
        (lambda e, m: e.complete(m, ml.frames(0, 1), after=-1.0), RequestError, "after is -1.0 s"),
        (lambda e, m: e.complete(m, ml.frames(0, 1), before=float("nan")), RequestError, "before is nan s"),
        (lambda e, m: e.predict(m, 0.0), RequestError, "0.0 s to predict"),
        (lambda e, m: e.predict(m, 600.0), RequestError, "603.0 s asked for; at most 600 s"),
        (lambda e, m: e.complete(m, ml.frames(0, 1), colour="red"), RequestError, "unknown options colour"),
        (lambda e, m: e.serve([asked(Segment("", 1.0), m, 60)]), RequestError,
         "1 s asked for, but the known motion ends at 3.00 s"),
        (lambda e, m: e.serve([asked(Segment(), m, 50)]), MotionError,
         "the mask of known cells has 50 frames, the motion 60"),
        (lambda e, m: e.complete(m.with_(valid=torch.zeros(60, 10, dtype=torch.bool)), ml.parts("legs")), MotionError,
         "kept frames of root, left_leg, right_leg are marked as not valid"),
    ],
)  # fmt: skip
def test_bad_requests_get_one_clear_line(engine, call, error, message):
    with pytest.raises(error, match=message) as caught:
        call(engine, make.motion(60, 0))
    assert "\n" not in str(caught.value)


class TestStarter:
    """What the shipped weights make of real-looking motion: seams that cannot be seen."""

    def test_seams_are_smooth(self):
        starter = ml.load("mmm")
        clips = starter.generate("a person walks forward", seconds=4.0, seed=3, count=4)
        requests = [
            Request((Segment("a person walks forward"),), seed=at, known=Known(clip, keep.mask(80, 20.0)))
            for clip in clips
            for at, keep in enumerate((ml.frames(0, 1.2) | ml.frames(2.8), ml.frames(1.0, 3.0)))
        ]
        ratios = []
        for request, (answer,) in zip(requests, starter.serve(requests), strict=True):
            ratios.append(seam_jerk(answer.positions, answer.fps, seams(request)).ratio)
            assert request.known is not None
            assert_kept(answer, request.known.motion, request.known.mask)
        assert max(ratios) < 1.5


def test_a_file_of_ours_is_edited_as_it_is(engine, tmp_path):
    """BVH has its own joint order and end sites; what was saved is the body again, with 22 joints."""
    clip = engine.generate("a person walks", seconds=2.0, seed=1)[0]
    clip.save(tmp_path / "clip.bvh")
    again = ml.load_motion(tmp_path / "clip.bvh")
    assert len(again.skeleton) == 22
    answer = engine.complete(again, ml.frames(0, 1.0), seed=2)[0]
    assert answer.skeleton.same_tree(CANONICAL)
    kept = (answer.positions[:20] - clip.positions[:20]).norm(dim=-1)
    assert float(kept.max()) < 1e-3
    assert not torch.allclose(answer.rotations[30:], clip.rotations[30:], atol=0.01)

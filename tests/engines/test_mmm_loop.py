import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from make_mmm import write_body_engine, write_engine

import motionloom as ml
from motionloom.engines.mmm.loop import Loop, close, decode_loop, wrap_jerk
from motionloom.engines.mmm.tokens import Job, MMMOptions
from motionloom.engines.request import Request, Segment
from motionloom.errors import RequestError
from motionloom.metrics.seams import LIMIT, seam_jerk
from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL

FAST = {"steps": 2, "guidance": 1.0}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return ml.load(write_body_engine(tmp_path_factory.mktemp("engine") / "body"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An engine with one code for the whole body."""
    return ml.load(write_engine(tmp_path_factory.mktemp("engine") / "whole"))


def circle(frames: int, fps: float, turns: int = 4, start: float = 0.3) -> Loop:
    """The T-pose carried along a circle of 2 m, ``1 / turns`` of it in each turn of the loop; arms swing once."""
    step = 2 * math.pi / turns / frames
    heading = start + step * torch.arange(frames)
    rotations = rot.identity(frames, 22)
    rotations[:, 0] = rot.about("Y", heading)
    swing = 0.5 * torch.sin(2 * math.pi * torch.arange(frames) / frames)
    rotations[:, CANONICAL.index("left_shoulder")] = rot.about("Z", swing)
    place = 2.0 * torch.stack((-heading.cos(), torch.full((frames,), 0.45), heading.sin()), dim=-1)
    motion = Motion(CANONICAL, rotations, place, fps)
    after = torch.tensor(start + step * frames)
    shift = 2.0 * torch.stack((-after.cos(), torch.tensor(0.45), after.sin())) - place[0]
    return Loop(motion, step * frames, shift)


@settings(max_examples=6)
@given(frames=st.integers(10, 50), turns=st.sampled_from([-3, 2, 4, 7]), start=st.floats(-3, 3))
def test_turns_of_a_circle_close_and_go_on_evenly(frames, turns, start):
    loop = circle(frames, 20.0, turns, start)
    played = loop.turns(abs(turns) + 1)
    assert len(played) == frames * (abs(turns) + 1)
    # After one round the body is where it began.
    torch.testing.assert_close(played.positions[-frames:], played.positions[:frames], atol=1e-4, rtol=0)
    torch.testing.assert_close(played.positions[:frames], loop.motion.positions, atol=1e-6, rtol=0)
    steps = torch.diff(played.root, dim=0).norm(dim=-1)
    torch.testing.assert_close(steps, steps[:1].expand(len(steps)), atol=1e-4, rtol=0)


@settings(max_examples=5)
@given(frames=st.integers(12, 40), fps=st.sampled_from([24.0, 30.0, 60.0, 120.0]))
def test_at_another_frame_rate_it_still_closes(frames, fps):
    loop = circle(frames, 20.0)
    faster = loop.at_fps(fps)
    assert faster.fps == fps
    assert len(faster) == round(frames / 20.0 * fps)
    torch.testing.assert_close(faster.root[0], loop.motion.root[0], atol=1e-3, rtol=0)
    assert wrap_jerk(faster).smooth
    # The same circle drawn at that rate; its length is rounded to whole frames, so shares of a turn are compared.
    there = circle(len(faster), fps)
    torch.testing.assert_close(faster.root, there.motion.root, atol=2e-3, rtol=0)
    assert float(rot.angle_between(faster.rotations, there.motion.rotations).max()) < 0.01
    assert loop.at_fps(20.0) is loop.motion


def test_jerk_where_a_loop_closes_by_hand():
    loop = circle(40, 20.0)
    assert wrap_jerk(loop.motion).ratio < 1.1
    broken = loop.motion.rotations.clone()
    broken[30:, CANONICAL.index("right_shoulder")] = rot.about("Z", torch.linspace(0, 1, 10))
    assert wrap_jerk(loop.motion.with_(rotations=broken)).ratio > 3


@pytest.mark.parametrize("kind", ["engine", "whole"])
@pytest.mark.parametrize("tokens", [6, 11, 49])
def test_the_decoder_sees_no_ends(kind, tokens, request):
    """Turns of the loop are what the decoder makes of the tokens repeated for ever."""
    tokens_of = request.getfixturevalue(kind).tokens
    (ids,) = close(tokens_of, [Job(tokens_of.empty(tokens), "a person walks", 3)], MMMOptions(2, 1.0))
    loop = decode_loop(tokens_of, ids)
    frames = tokens * tokens_of.per_token
    assert len(loop.motion) == frames
    played = loop.turns(3)
    around = -(-30 // tokens)
    long = tokens_of.decode(torch.cat([ids] * (2 * around + 3)))
    there = slice(around * frames, (around + 3) * frames)
    torch.testing.assert_close(played.rotations[:, 1:].abs(), long.rotations[there][:, 1:].abs(), atol=1e-3, rtol=0)
    steps, wanted = (torch.diff(root, dim=0).norm(dim=-1) for root in (played.root, long.root[there]))
    torch.testing.assert_close(steps, wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(loop.motion.root[0, [0, 2]], torch.zeros(2), atol=1e-5, rtol=0)


def test_the_wrap_is_no_worse_than_the_rest_even_with_random_weights(engine):
    jobs = [Job(engine.tokens.empty(20), "", seed) for seed in range(4)]
    for ids in close(engine.tokens, jobs, MMMOptions(2, 1.0)):
        loop = decode_loop(engine.tokens, ids)
        assert wrap_jerk(loop.motion).ratio < 3
        played = loop.turns(2)
        assert seam_jerk(played.positions, 20.0, [80]).ratio == pytest.approx(wrap_jerk(loop.motion).ratio, abs=1.0)


def test_what_the_engine_answers(engine):
    (motion,) = engine.generate("a person walks", seconds=2.0, loop=True, seed=2, **FAST)
    assert len(motion) == 40
    assert any("with each turn the root moves by" in note for note in motion.provenance.notes)
    faster = engine.generate("a person walks", seconds=2.0, loop=True, seed=2, fps=60, **FAST)[0]
    assert (len(faster), faster.fps) == (120, 60.0)
    assert any("with each turn the root moves by" in note for note in faster.provenance.notes)


def test_a_loop_alone_and_anywhere_in_a_batch_of_eight(engine):
    asked = Request((Segment("a person walks", 2.4),), seed=4, loop=True, **FAST)
    others = [
        Request((Segment("he runs", 1.4 + index),), seed=index, loop=index % 2 == 1, **FAST) for index in range(7)
    ]
    alone = engine.serve([asked])[0][0]
    for place in (0, 3, 7):
        answer = engine.serve([*others[:place], asked, *others[place:]])[place][0]
        assert len(answer) == len(alone)
        assert float((answer.positions - alone.positions).norm(dim=-1).max()) < 1e-4


def test_too_short_a_loop_gets_one_clear_line(engine):
    with pytest.raises(RequestError, match=r"a loop of 1\.0 s; loops take 1\.2 to 9\.8 s"):
        engine.generate("a person walks", seconds=1.0, loop=True, **FAST)
    with pytest.raises(RequestError, match=r"600 s asked for; this model makes 0\.6 to 9\.8 s"):
        engine.generate("a person walks", seconds=600.0, loop=True, **FAST)


class TestStarter:
    def test_loops_are_smooth(self):
        for text in ("a person walks forward", "a person waves both hands"):
            for motion in ml.load("mmm").generate(text, seconds=3.0, loop=True, seed=1, count=2):
                assert wrap_jerk(motion).ratio <= LIMIT

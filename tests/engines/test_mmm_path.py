import math

import make
import pytest
import torch
from corpus import walk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_mmm import write_body_engine

import motionloom as ml
from motionloom.engines.mmm import path as mmm_path
from motionloom.engines.mmm.path import REACH, REACH_METRES, bent, paces, way_length
from motionloom.engines.request import Request, Segment
from motionloom.errors import RequestError
from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL

FAST = {"steps": 2, "guidance": 1.0}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return ml.load(write_body_engine(tmp_path_factory.mktemp("engine") / "body"))


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    """The promises hold for any number of candidates; fewer take less time."""
    monkeypatch.setattr(mmm_path, "CANDIDATES", 4)
    monkeypatch.setattr(mmm_path, "KEPT", 2)
    monkeypatch.setattr(mmm_path, "ROUNDS", 3)


def straight(frames: int, stop: slice = slice(0, 0)) -> Motion:
    """The T-pose going forward at 1 m/s, standing still in the frames of ``stop``."""
    steps = torch.full((frames,), 0.05)
    steps[stop] = 0.0
    root = torch.zeros(frames, 3)
    root[1:, 2] = steps[1:].cumsum(0)
    root[:, 1] = 0.9
    return Motion(CANONICAL, rot.identity(frames, 22), root, 20.0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(angle=st.floats(-3.1, 3.1), share=st.floats(0, 1), middle=st.booleans())
def test_points_within_reach_are_reached(angle, share, middle):
    motion = straight(81)
    off = 0.9 * share * REACH * 4.0 / (1 + REACH)
    end = (off * math.sin(angle), 4.0 + off * math.cos(angle))
    path = ((0.5 * end[0], 0.5 * end[1]), end) if middle else (end,)
    found = bent(motion, path)
    torch.testing.assert_close(found.motion.root[-1, [0, 2]], torch.tensor(end), atol=1e-4, rtol=0)
    if middle:
        torch.testing.assert_close(found.motion.root[40, [0, 2]], torch.tensor(path[0]), atol=1e-4, rtol=0)
    assert found.error == pytest.approx(off, abs=1e-4)
    # Nothing else is touched, and the start stays.
    assert torch.equal(found.motion.rotations, motion.rotations)
    assert torch.equal(found.motion.root[:, 1], motion.root[:, 1])
    assert torch.equal(found.motion.root[0], motion.root[0])


def test_who_stands_still_is_not_moved():
    """Two seconds of standing in the middle of a walk: what is spread goes into the steps before and after."""
    motion = straight(121, slice(40, 80))
    moved = bent(motion, ((0.8, 4.5),)).motion.root - motion.root
    standing = moved[45:75, [0, 2]]
    assert float((standing - standing[0]).norm(dim=-1).max()) < 0.02
    assert float(moved[-1].norm()) == pytest.approx(math.hypot(0.8, 4.5 - float(motion.root[-1, 2])), abs=1e-4)
    # An even spread would have moved it by 30 / 120 of the whole.
    assert float(moved[-1].norm()) * 30 / 120 > 0.2


def test_a_body_that_never_moves_is_carried_evenly():
    motion = straight(41, slice(0, 41))
    moved = bent(motion, ((0.2, 0.0),)).motion.root[:, 0]
    torch.testing.assert_close(moved, torch.linspace(0, 0.2, 41), atol=5e-3, rtol=0)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 99))
def test_what_is_spread_is_smooth(seed):
    motion = make.motion(80, seed)
    motion = motion.with_(root=motion.root - motion.root[0] * torch.tensor([1.0, 0.0, 1.0]))
    end = motion.root[-1, [0, 2]] + torch.tensor([0.1, 0.1])
    moved = bent(motion, ((float(end[0]), float(end[1])),)).motion.root - motion.root
    assert float(torch.diff(moved, dim=0).norm(dim=-1).max()) < 4 * 0.1 * math.sqrt(2) / 79


def test_out_of_reach_says_how_far_it_came():
    with pytest.raises(
        RequestError, match=r"out of reach: the best motion of 4\.0 s came to x 0\.00, z 4\.00, 4\.\d\d m"
    ) as caught:
        bent(straight(81), ((4.0, 4.0),))
    assert "\n" not in str(caught.value)
    with pytest.raises(RequestError, match=r"0\.50 m off \(at most 0\.30 m are bent away\)"):
        bent(straight(41, slice(0, 41)), ((0.5, 0.0),))
    assert bent(straight(41, slice(0, 41)), ((0.9 * REACH_METRES, 0.0),)).error < REACH_METRES


def test_lengths_by_hand():
    assert way_length(((3.0, 4.0),)) == 5.0
    assert way_length(((0.0, 1.0), (2.0, 1.0))) == 3.0
    # 3.5 m at 0.7, 1 and 1.4 m/s take 5, 3.5 and 2.5 s.
    assert paces(((0.0, 3.5),), 5.0, 3, 49) == [12, 18, 25]
    assert paces(((0.0, 0.0),), 5.0, 3, 49) == [3]
    assert paces(((0.0, 60.0),), 5.0, 3, 49) == [49]


def test_the_engine_reaches_its_points_and_keeps_the_length(engine):
    free = engine.generate("a person walks", seconds=2.0, seed=1, **FAST)[0]
    end = (float(free.root[-1, 0]) + 0.1, float(free.root[-1, 2]) + 0.1)
    path = ((end[0] / 2, end[1] / 2), end)
    (motion,) = engine.generate("a person walks", seconds=2.0, seed=1, path=path, **FAST)
    assert len(motion) == 40
    torch.testing.assert_close(motion.root[-1, [0, 2]], torch.tensor(end), atol=1e-4, rtol=0)
    torch.testing.assert_close(motion.root[0, [0, 2]], torch.zeros(2), atol=1e-4, rtol=0)
    assert any("of its points; that rest was spread over the way" in note for note in motion.provenance.notes)
    (any_length,) = engine.generate("a person walks", seed=1, path=(end,), **FAST)
    torch.testing.assert_close(any_length.root[-1, [0, 2]], torch.tensor(end), atol=1e-4, rtol=0)


def test_a_path_alone_and_anywhere_in_a_batch_of_eight(engine):
    end = tuple(engine.generate("a person walks", seconds=1.6, seed=4, **FAST)[0].root[-1, [0, 2]].tolist())
    asked = Request((Segment("a person walks", 1.6),), seed=4, path=(end,), **FAST)
    others = [Request((Segment("he runs", 1.0 + index),), seed=index, **FAST) for index in range(6)]
    steered = Request((Segment("he walks", 1.4),), seed=4, path=(end,), **FAST)
    free = Request((Segment("he walks", 2.0),), seed=9, **FAST)
    alone = engine.serve([asked])[0][0]
    for batch, place in (([asked, *others, free], 0), ([steered, *others, asked], 7)):
        answer = engine.serve(batch)[place][0]
        assert len(answer) == len(alone)
        assert float((answer.positions - alone.positions).norm(dim=-1).max()) < 1e-4


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (((0.0, float("nan")),), "give finite numbers of metres"),
        (((0.0, 50.0),), "the path is out of reach: the best motion of 1.0 s came to"),
    ],
)
def test_bad_paths_get_one_clear_line(engine, path, message):
    with pytest.raises(RequestError, match=message) as caught:
        engine.generate("a person walks", seconds=1.0, path=path, **FAST)
    assert "\n" not in str(caught.value)


def test_walking_feet_slide_little_more_than_before():
    """A walk of 4 m bent by a quarter of a metre: standing feet are carried by that share of their speed at most."""
    motion = walk(81, 0, fps=20.0)
    end = motion.root[-1, [0, 2]] + torch.tensor([0.25, 0.0])
    found = bent(motion, ((float(end[0]), float(end[1])),)).motion
    added = torch.diff(found.positions - motion.positions, dim=0).norm(dim=-1) * 20.0
    assert float(added.max()) < 1.5 * 0.25 / 4.0

import dataclasses
import shutil

import pytest
import torch
from corpus import walk
from make_mmm import write_engine

import motionloom as ml
from motionloom.engines.mmm.engine import MMM, item_seed
from motionloom.engines.request import Known, Request, Segment
from motionloom.errors import CheckpointError, RequestError
from motionloom.motion.contacts import FEET

WALK = "a person walks forward"


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return ml.load(write_engine(tmp_path_factory.mktemp("engine") / "small"))


def assert_same(a, b, atol=0.0):
    torch.testing.assert_close(a.rotations, b.rotations, atol=atol, rtol=0)
    torch.testing.assert_close(a.root, b.root, atol=atol, rtol=0)


def test_the_same_seed_gives_the_same_motion_and_another_one_another(engine):
    first, again, other = (engine.generate(WALK, seconds=2.0, seed=seed)[0] for seed in (3, 3, 4))
    assert_same(first, again)
    assert not torch.equal(first.rotations, other.rotations)


def test_an_item_depends_neither_on_the_count_nor_on_its_place(engine):
    alone = engine.generate(WALK, seconds=2.0, seed=5)[0]
    many = engine.generate(WALK, seconds=2.0, seed=5, count=4)
    assert_same(alone, many[0])
    assert not torch.equal(many[0].rotations, many[1].rotations)
    requests = [
        Request((Segment(text, seconds),), seed=5) for text, seconds in (("she bows", 4.0), (WALK, 2.0), ("", 9.0))
    ]
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        answers = engine.serve([requests[index] for index in order])
        assert_same(alone, answers[order.index(1)][0], atol=1e-4)


@pytest.mark.parametrize(("seconds", "frames"), [(0.6, 12), (2.0, 40), (9.8, 196)])
def test_lengths_are_those_asked_for(engine, seconds, frames):
    assert len(engine.generate(WALK, seconds=seconds)[0]) == frames


def test_length_is_predicted_when_left_out_and_follows_the_seed(engine):
    lengths = [len(engine.generate(WALK, seed=seed)[0]) for seed in range(6)]
    assert all(12 <= length <= 196 for length in lengths)
    assert len(set(lengths)) > 1
    assert lengths[0] == len(engine.generate(WALK, seed=0)[0])


def test_frame_rate_of_the_answer(engine):
    motion = engine.generate(WALK, seconds=2.0, fps=60)[0]
    assert motion.fps == 60.0
    assert len(motion) == 120


def test_provenance_says_how_it_was_made(engine):
    motion = engine.generate("  she   waves ", seconds=1.0, seed=9)[0]
    assert motion.provenance.text == "she waves"
    assert motion.provenance.seed == 9
    assert motion.provenance.licence == "CC0"
    assert motion.provenance.engine.startswith("mmm ")


def test_no_text_makes_a_motion_that_no_text_encoder_decides(engine):
    (free,) = engine.generate(seconds=2.0, seed=1)
    # The weights are random, so the text says little: turn it up.
    (with_text,) = engine.generate(WALK, seconds=2.0, seed=1, guidance=20.0)
    assert not torch.equal(free.rotations, with_text.rotations)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"text": "   "}, "the text is empty"),
        ({"text": "word " * 10_000}, "at most 1000 are read"),
        ({"text": "walk " * 100}, "word pieces, at most 64 are read"),
        ({"text": WALK, "seconds": 0}, "give a positive number of seconds"),
        ({"text": WALK, "seconds": 600.0}, r"600 s asked for; this model makes 0\.6 to 9\.8 s"),
        ({"text": WALK, "seconds": float("nan")}, "give a positive number of seconds"),
        ({"text": WALK, "count": 0}, "count is 0"),
        ({"text": WALK, "seed": -1}, "seed is -1"),
        ({"text": WALK, "fps": 0}, "fps is 0"),
        ({"text": WALK, "steps": 0}, "steps is 0"),
        ({"text": WALK, "guidance": -1.0}, r"guidance is -1\.0"),
        ({"text": WALK, "colour": "red"}, "unknown options colour; known are ends, ends_temperature, guidance, inward"),
    ],
)
def test_bad_requests_get_one_clear_line(engine, call, message):
    with pytest.raises(RequestError, match=message) as caught:
        engine.generate(**call)
    assert "\n" not in str(caught.value)


def test_what_an_engine_does_not_serve_is_refused_by_name(engine):
    known = Known(walk(40, 0, fps=20.0), ml.parts("legs").mask(40, 20.0))
    with pytest.raises(RequestError, match="engine 'mmm' does not serve known parts"):
        engine.serve([Request((Segment(WALK),), known=known)])
    with pytest.raises(RequestError, match="must agree in steps"):
        engine.serve([Request((Segment(WALK),), steps=3), Request((Segment(WALK),))])


def test_an_incomplete_or_mixed_engine_is_refused(tmp_path):
    folder = write_engine(tmp_path / "engine")
    shutil.rmtree(folder / "length")
    with pytest.raises(CheckpointError, match="length is missing"):
        MMM(folder)
    with pytest.raises(CheckpointError, match="there is no engine 'nonsense'"):
        ml.load("nonsense")


def test_seeds_of_neighbouring_items_are_far_apart():
    seeds = {item_seed(seed, index) for seed in range(50) for index in range(50)}
    assert len(seeds) == 2500
    assert all(0 <= seed < 1 << 63 for seed in seeds)


@pytest.fixture(scope="module")
def starter():
    """The weights that are shipped."""
    return ml.load("mmm")


class TestStarter:
    def test_it_is_small_and_says_what_it_owes(self, starter):
        bytes_ = sum(file.stat().st_size for file in starter.folder.rglob("*") if file.is_file())
        assert bytes_ < 20e6
        for checkpoint in starter.checkpoints.values():
            assert checkpoint.licence == "CC BY-NC 4.0"
            assert set(checkpoint.data["sources"]) == {"bandai", "cmu"}
        assert "CC BY-NC 4.0" in (starter.folder / "card.md").read_text()

    def test_a_walk_walks_and_a_raised_left_hand_is_the_left(self, starter):
        from motionloom.metrics.semantics import judge, measure

        walks = starter.generate("a person walks forward", seconds=4.0, seed=1, count=4)
        assert sum(judge(motion.positions, motion.fps, "walk").passed for motion in walks) >= 3
        for side, other in (("left", "right"), ("right", "left")):
            raises = starter.generate(f"a person raises the {side} hand", seconds=2.4, seed=1, count=4)
            facts = [measure(motion.positions, motion.fps) for motion in raises]
            higher = [getattr(fact, side).peak > getattr(fact, other).peak + 0.3 for fact in facts]
            assert sum(higher) >= 3

    def test_it_stays_on_the_ground(self, starter):
        motion = starter.generate("a person walks forward", seconds=4.0, seed=2)[0]
        lowest = motion.positions[:, list(FEET), 1].min(1).values
        assert float(lowest.min()) > -0.06
        assert float(lowest.max()) < 0.12

    def test_an_item_alone_and_in_a_batch_of_eight(self, starter):
        texts = ["a person waves", WALK, "an old person walks and turns left", "he bows"]
        requests = [Request((Segment(text, 2.0 + index),), seed=index) for index, text in enumerate(texts * 2)]
        batch = starter.serve(requests)
        for index in (0, 3, 5):
            alone = starter.serve([dataclasses.replace(requests[index])])[0][0]
            together = batch[index][0]
            assert float((alone.positions - together.positions).norm(dim=-1).max()) < 1e-4

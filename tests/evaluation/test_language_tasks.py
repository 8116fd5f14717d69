"""Evaluation of M3GPT on a small store, an engine with random weights and an encoder hardly trained."""

import json

import make
import pytest
import torch
from make_lmm import write_lmm
from make_m3gpt import write_m3gpt

from motionloom.engines.m3gpt import engine as m3gpt
from motionloom.engines.m3gpt.engine import M3GPT
from motionloom.engines.registry import load
from motionloom.errors import DataError, RequestError
from motionloom.evaluation import comparison as scores
from motionloom.evaluation import dance as dances
from motionloom.evaluation.harness import Subject, evaluate
from motionloom.evaluation.language import TASKS, LanguageOptions, LanguageProtocol
from motionloom.evaluation.registry import markdown

OPTIONS = LanguageOptions(split="train", clips=6, neighbours=4, pool=2, examples=3)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return M3GPT(write_m3gpt(tmp_path_factory.mktemp("m3gpt")))


@pytest.fixture(scope="module")
def result(engine, scorer, store, tmp_path_factory):
    beside = [load(write_lmm(tmp_path_factory.mktemp("lmm"), music_dim=78))]
    with pytest.MonkeyPatch.context() as patch:
        # The clips of the small store last two seconds, and none is a dance.
        patch.setattr(dances, "_SHORTEST", 1.0)
        patch.setattr(dances, "_LONG", (1.5, 6.0))
        patch.setattr(dances, "_HEARD", 1.0)
        patch.setattr(m3gpt, "MUSIC_PIECE", 1.0)
        patch.setattr(dances, "_HELD_OUT", ("train",))
        patch.setattr(dances, "is_dance", lambda clip: "walk" in clip.labels["description"])
        subject = Subject(engine, store, scorer, tuple(beside))
        out = tmp_path_factory.mktemp("result") / "language.json"
        return evaluate(LanguageProtocol, subject, options=OPTIONS, out=out)


def test_every_task_has_its_rows_and_figures(result):
    assert set(result["tasks"]) == set(TASKS)
    for task, table in result["tasks"].items():
        assert table["clips"] >= 3, task
        assert "engine" in table["rows"], task
        for row, figures in table["rows"].items():
            assert figures, (task, row)
            assert all(isinstance(value, float) and value == value for value in figures.values()), (task, row)
    assert json.loads(json.dumps(result)) == json.loads(json.dumps(result, sort_keys=True))


def test_the_truth_is_the_upper_row(result):
    rows = result["tasks"]["motion-to-text"]["rows"]
    assert rows["true caption"]["BLEU-1"] >= rows["engine"]["BLEU-1"]
    assert rows["most frequent caption"]["different"] == 1.0
    assert result["tasks"]["text-to-motion"]["rows"]["real"]["FID"] == pytest.approx(0.0, abs=1e-6)
    music = result["tasks"]["dance-to-music"]["rows"]
    assert music["real"]["hit"] == pytest.approx(1.0)
    assert music["real, shuffled pairs"]["hit"] <= 1.0
    assert result["tasks"]["music-to-dance"]["rows"]["real"]["FIDk"] == pytest.approx(0.0, abs=1e-3)
    assert len(result["captions"]) == 3


def test_other_engines_have_a_row_where_they_serve_the_task(result):
    with_row = {task for task, table in result["tasks"].items() if "lmm" in table["rows"]}
    assert set(TASKS) - with_row == {"motion-to-text", "dance-to-music", "music-to-text", "long-dance"}
    assert [each["name"] for each in result["beside"]] == ["lmm"]
    assert "lmm, shuffled music" in result["tasks"]["music-to-dance"]["rows"]


def test_what_is_said_of_dances(result):
    told = result["tasks"]["text-to-dance"]["rows"]
    assert set(told) == {"real", "engine", "lmm"}
    assert all(0 <= rows["nearest is a dance"] <= 1 for rows in told.values())
    heard = result["tasks"]["music-to-text"]["rows"]
    assert heard["most frequent caption of dances"]["BLEU-1"] > heard["engine"]["BLEU-1"]
    long = result["tasks"]["long-dance"]["rows"]
    assert long["engine"]["jerk at the seams / 95th percentile"] > 0


def test_the_tables_show_every_row(result):
    lines = markdown(result)
    for task, table in result["tasks"].items():
        assert any(line.startswith(f"### {task}") for line in lines)
        for row in table["rows"]:
            assert any(line.startswith(f"| {row} |") for line in lines)
    assert sum(line.startswith("| cmu/") for line in lines) == 3


def test_held_frames_by_hand():
    """Known at both ends the root goes along a straight line; known at the start only, it stays."""
    motion = make.motion(9)
    known = torch.zeros(9, dtype=torch.bool)
    known[[0, 8]] = True
    held = scores.held(motion, known)
    torch.testing.assert_close(held.root[4], (motion.root[0] + motion.root[8]) / 2)
    assert torch.equal(held.root[[0, 8]], motion.root[[0, 8]])
    known[8] = False
    assert torch.equal(scores.held(motion, known).root, motion.root[:1].expand(9, 3))
    known[:3] = True
    held = scores.held(motion, known)
    assert torch.equal(held.root[:3], motion.root[:3])
    assert torch.equal(held.root[3:], motion.root[2:3].expand(6, 3))


def test_displacement_counts_hidden_frames_only():
    motion = make.motion(10)
    moved = motion.with_(root=motion.root + torch.tensor([0.1, 0.0, 0.0]))
    hidden = torch.tensor([False] * 5 + [True] * 5)
    figures = scores.displacements(motion, moved, hidden)
    # All 22 joints move by 0.1 m, and the norm is over all their coordinates.
    assert figures["ADE m"] == pytest.approx(0.1 * 22**0.5, rel=1e-4)
    assert figures["FDE m"] == pytest.approx(0.1 * 22**0.5, rel=1e-4)
    assert figures["MPJPE mm"] == pytest.approx(0.0, abs=1e-2)


def test_everyone_gets_what_belongs_to_somebody_else():
    for count in (2, 3, 7):
        shifted = scores.shifted(list(range(count)))
        assert sorted(shifted) == list(range(count))
        assert all(own != other for own, other in enumerate(shifted))


def test_what_cannot_be_measured_is_refused(engine, scorer, store, tmp_path):
    with pytest.raises(RequestError, match="tasks flying are unknown; tasks are text-to-motion"):
        LanguageOptions(only=("flying",))
    with pytest.raises(RequestError, match="clips is 1; give a whole number, from 2"):
        LanguageOptions(clips=1)
    with pytest.raises(DataError, match="different things with captions; pools of 32 need as many"):
        evaluate(
            LanguageProtocol,
            Subject(engine, store, scorer),
            options=LanguageOptions(split="train"),
            out=tmp_path / "language.json",
        )

"""Evaluation from end to end on a small store, an engine with random weights and an encoder hardly trained."""

import dataclasses
import json

import pytest
import torch
from corpus import walk
from make_lmm import write_lmm
from make_mmm import write_engine

from motionloom.engines.registry import load
from motionloom.engines.text_motion import TextMotionScorer
from motionloom.errors import CheckpointError, DataError, RequestError
from motionloom.evaluation.harness import Subject
from motionloom.evaluation.harness import evaluate as run
from motionloom.evaluation.registry import markdown
from motionloom.evaluation.text import ROWS, TextOptions, TextProtocol

OPTIONS = TextOptions(split="train", repeats=2, seed=3, pool=2)


def evaluate(engine, scorer, store, options, out):
    return run(TextProtocol, Subject(engine, store, scorer), options=options, out=out)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return load(write_engine(tmp_path_factory.mktemp("engine")))


@pytest.fixture(scope="module")
def result(engine, scorer, store, tmp_path_factory):
    return evaluate(engine, scorer, store, OPTIONS, tmp_path_factory.mktemp("result") / "table.json")


def test_every_row_has_its_figures(result, scorer, store):
    assert tuple(result["rows"]) == ROWS
    assert result["store"] == store.digest
    assert len(result["engine"]["weights"]) == 64
    for row, figures in result["rows"].items():
        tops = [figures[f"R-precision top {k}"]["mean"] for k in (1, 2)]
        assert 0 <= tops[0] <= tops[1] == 1, row
        assert ("MultiModality" in figures) == row.startswith("engine")
        assert all(entry["repeats"] == OPTIONS.repeats for entry in figures.values())
    assert result["rows"]["real"]["FID"]["mean"] == pytest.approx(0.0, abs=1e-6)
    assert result["rows"]["tokenizer"]["FID"]["mean"] > 0
    lines = markdown(result)
    assert len(lines) == 2 + len(ROWS)
    assert lines[2].startswith("| real |")


def test_an_interrupted_run_goes_on_to_the_same_table(engine, scorer, store, result, tmp_path, monkeypatch):
    measure, left = TextProtocol.measure, 4

    def stopping(protocol, unit, progress):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return measure(protocol, unit, progress)

    out = tmp_path / "table.json"
    monkeypatch.setattr(TextProtocol, "measure", stopping)
    with pytest.raises(KeyboardInterrupt):
        evaluate(engine, scorer, store, OPTIONS, out)
    assert not out.exists()
    with pytest.raises(RequestError, match=r"unfinished run of other settings or weights \(options differ\)"):
        evaluate(engine, scorer, store, dataclasses.replace(OPTIONS, seed=4), out)
    monkeypatch.setattr(TextProtocol, "measure", measure)
    again = evaluate(engine, scorer, store, OPTIONS, out)
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]
    assert json.loads(out.read_text()) == again
    for row in ROWS:
        for name, entry in result["rows"][row].items():
            if name != "seconds a motion":
                assert again["rows"][row][name] == entry, (row, name)


def test_scores_do_not_depend_on_rate_and_company(scorer):
    motions = [walk(160, seed, fps=20.0) for seed in range(3)]
    vectors = scorer.motions(motions)
    torch.testing.assert_close(scorer.motions(motions[1:2])[0], vectors[1], atol=1e-5, rtol=1e-5)
    faster = motions[0].at_fps(60.0)
    assert float(scorer.motions([faster])[0] @ vectors[0]) > 0.99
    long = walk(900, 0, fps=20.0)
    assert float(scorer.motions([long]).norm()) == pytest.approx(1.0, abs=1e-5)
    fit = scorer.fit("a person walks forward", motions[0])
    assert 0 <= fit.better_than_right <= 1
    assert ("POOR" in fit.verdict) == fit.poor


def test_bad_input_is_named(scorer, engine, store, tmp_path):
    with pytest.raises(RequestError, match=r"scoring needs at least 0.2 s"):
        scorer.motions([walk(3, 0, fps=20.0)])
    with pytest.raises(CheckpointError, match=r"holds a tokenizer; scoring .* needs a 'matcher'"):
        TextMotionScorer(engine.folder / "tokenizer")
    with pytest.raises(DataError, match=r"different things; pools of 32 need as many"):
        evaluate(engine, scorer, store, TextOptions(split="test"), tmp_path / "x.json")
    with pytest.raises(RequestError, match="split 'all' is unknown"):
        TextOptions(split="all")


def test_an_engine_without_a_tokenizer_has_no_such_row(scorer, store, tmp_path):
    lmm_engine = load(write_lmm(tmp_path / "lmm"))
    options = dataclasses.replace(OPTIONS, repeats=1, variety=False, clips=3, steps=2, options={"method": "ddim"})
    result = evaluate(lmm_engine, scorer, store, options, tmp_path / "table.json")
    assert tuple(result["rows"]) == tuple(row for row in ROWS if row != "tokenizer")
    assert result["engine"]["name"] == "lmm"
    assert "MultiModality" not in result["rows"]["engine, true length"]
    assert (result["clips"], result["options"]["steps"]) == (3, 2)


def test_an_engine_that_reads_no_text_is_refused(scorer, store, tmp_path):
    engine = load(write_lmm(tmp_path / "mute", text_dim=0))
    with pytest.raises(RequestError, match="engine 'lmm' does not serve text"):
        evaluate(engine, scorer, store, OPTIONS, tmp_path / "table.json")

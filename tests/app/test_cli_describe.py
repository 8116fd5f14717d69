"""The commands that put motions into words and music, on an engine with random weights."""

import json
import sys
from pathlib import Path

import make
import pytest
import typer
from make_m3gpt import write_m3gpt
from typer.testing import CliRunner

from motionloom.app.cli import describe as cli_describe
from motionloom.app.cli import evaluate as cli_evaluate
from motionloom.conditions.audio import load_audio
from motionloom.engines.m3gpt.engine import M3GPT
from motionloom.errors import RequestError
from motionloom.motion.io import save

APP = typer.Typer()
for command in (cli_describe.describe, cli_describe.compose, cli_describe.ask, cli_evaluate.evaluate_m3gpt):
    APP.command()(command)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return M3GPT(write_m3gpt(tmp_path_factory.mktemp("m3gpt")))


@pytest.fixture
def clip(tmp_path):
    """Two seconds at 30 fps."""
    save(make.motion(60, 0, 30.0), tmp_path / "clip.npz")
    return tmp_path / "clip.npz"


@pytest.fixture
def run(monkeypatch, engine):
    """Run a command with that engine."""
    monkeypatch.setattr(cli_describe, "load", lambda _: engine)

    def call(*arguments: object):
        return CliRunner().invoke(APP, [str(argument) for argument in arguments])

    return call


def test_describe_prints_sentences_with_how_sure_they_are(run, engine, clip):
    done = run("describe", clip, "--count", 2, "--seed", 5, "--json")
    assert done.exit_code == 0
    captions = json.loads(done.stdout)["captions"]
    want = engine.describe(make.motion(60, 0, 30.0), 2, seed=5)
    assert [caption["text"] for caption in captions] == [caption.text for caption in want]
    lines = run("describe", clip, "--count", 2, "--seed", 5).stdout.splitlines()
    assert lines[0] == f"{want[0].confidence:.2f}  {want[0].text}"


def test_compose_writes_a_file_as_long_as_the_motion(run, clip, tmp_path):
    out = tmp_path / "music.wav"
    done = run("compose", clip, "--out", out)
    assert done.exit_code == 0
    assert "wrote" in done.stdout
    assert load_audio(out).seconds == pytest.approx(2.0)
    assert json.loads(run("compose", clip, "--out", out, "--json").stdout)["seconds"] == pytest.approx(2.0)


@pytest.mark.parametrize(("out", "message"), [("music.txt", "sound is written as .wav"), ("no/m.wav", "is no folder")])
def test_a_file_that_cannot_be_written_is_refused_before_any_work(run, clip, tmp_path, out, message):
    done = run("compose", clip, "--out", tmp_path / out)
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())


def test_ask_answers_or_says_what_can_be_asked(run, engine, clip):
    done = run("ask", clip, "what is the person doing?", "--json")
    assert json.loads(done.stdout)["task"] == "motion-to-text"
    assert run("ask", clip, "what is the person doing?").stdout.strip() == json.loads(done.stdout)["text"]
    refused = run("ask", clip, "who is the president?")
    assert isinstance(refused.exception, RequestError)
    assert "ask what is done" in str(refused.exception)


def test_an_engine_without_words_is_refused(clip, tmp_path):
    from make_mmm import write_engine

    folder = write_engine(tmp_path / "mmm")
    with pytest.raises(RequestError, match="engine 'mmm' does not describe; it serves known frames"):
        cli_describe.describe(clip, engine=str(folder))


def test_figures_of_every_task_go_into_a_file_and_a_table(run, engine, store, scorer, tmp_path, monkeypatch):
    out = tmp_path / "found.json"
    asked = ("evaluate-m3gpt", engine.folder, "--data", store.path, "--evaluator", scorer.folder, "--split", "train")
    few = run(*asked, "--clips", 40, "--task", "motion-to-text", "--out", out)
    assert "pools of 32 need as many" in str(few.exception)
    assert "tasks are" in str(run(*asked, "--task", "juggling", "--out", out).exception)
    assert run(*asked, "--out", tmp_path / "found.txt").exit_code == 2
    assert run(*asked, "--out", tmp_path / "nowhere" / "found.json").exit_code == 2
    assert not out.exists()
    result = {
        "task": "language",
        "tasks": {"motion-to-text": {"clips": 3, "rows": {"engine": {"CIDEr": 0.25}}}},
        "captions": [],
    }
    monkeypatch.setattr("motionloom.evaluation.harness.evaluate", lambda *_, **__: result)
    done = run(*asked, "--out", out)
    assert "| engine | 0.250 |" in done.stdout
    assert "note: evaluate-m3gpt is now `evaluate ENGINE --task language`" in done.output


def test_nothing_heavy_is_imported_for_the_help():
    """The module itself needs neither torch nor transformers."""
    import subprocess

    code = "import sys, motionloom.app.cli.describe; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.split() == ["False", "False"]

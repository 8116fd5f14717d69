"""The harness: any engine by its contract, figures that stay what they were, runs that go on, refusals in a line."""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from make_lmm import write_lmm
from make_mmm import write_engine
from typer.testing import CliRunner

from motionloom.app.cli.main import app
from motionloom.engines import registry
from motionloom.engines.base import Engine
from motionloom.engines.registry import load
from motionloom.errors import Cancelled, RequestError
from motionloom.evaluation import rules
from motionloom.evaluation.conditions import ConditionOptions, ConditionProtocol
from motionloom.evaluation.harness import Subject, evaluate
from motionloom.evaluation.language import LanguageOptions, LanguageProtocol
from motionloom.evaluation.registry import PROTOCOLS, markdown, protocol
from motionloom.evaluation.rules import RulesOptions, RulesProtocol
from motionloom.evaluation.text import TextOptions, TextProtocol
from motionloom.metrics.semantics import Rule, Verdict
from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL
from motionloom.progress import SILENT, Progress

# What the code of 2026-11-25, with a command and a file for each protocol, printed for the same store and engines.
TEXT = {'real': {'R-precision top 1': 1.0,
          'MM-Dist': 1.349513,
          'FID': -1.731948e-14,
          'Diversity': 1.089486,
          'jitter m/s3': 24.50833},
 'tokenizer': {'R-precision top 1': 0.0,
               'MM-Dist': 1.4169,
               'FID': 2.153163,
               'Diversity': 0.001579313,
               'jitter m/s3': 27.21966},
 'nearest caption': {'R-precision top 1': 0.75,
                     'MM-Dist': 1.376573,
                     'FID': 1.737251,
                     'Diversity': 0.2179571,
                     'jitter m/s3': 25.30611},
 'engine, true length': {'R-precision top 1': 0.0,
                         'MM-Dist': 1.416961,
                         'FID': 2.152243,
                         'Diversity': 0.003774921,
                         'jitter m/s3': 38.17263,
                         'MultiModality': 0.005184575},
 'engine, predicted length': {'R-precision top 1': 0.0,
                              'MM-Dist': 1.416978,
                              'FID': 2.155272,
                              'Diversity': 0.004604409,
                              'jitter m/s3': 36.01174,
                              'MultiModality': 0.004532876}}  # fmt: skip
CONDITIONS = {"prediction": {
                'engine': {'80 ms': 14.44059, '1000 ms, root-aligned': 15.89191, 'foot slide m/s': 1.201997},
                'standing still': {'80 ms': 106.9717, '1000 ms, root-aligned': 12.516},
                'real': {'foot slide m/s': 2.203302}},
 'video': {'engine': {'MPJPE mm, root-aligned': 77.551, 'PA-MPJPE mm': 81.64474, 'jitter m/s3': 88.6297},
           'made for another video': {'MPJPE mm, root-aligned': 77.62159, 'PA-MPJPE mm': 81.77711},
           'mean pose': {'MPJPE mm, root-aligned': 72.16562, 'PA-MPJPE mm': 79.32434},
           'real': {'jitter m/s3': 31.8974}}}  # fmt: skip


class Toy(Engine):
    """No more than the contract: a body that stands and turns."""

    name = "toy"

    @classmethod
    def open(cls, folder, **options):
        return cls()

    @classmethod
    def starter(cls):
        return ROOT

    @property
    def capabilities(self):
        return frozenset({"text", "unconditioned"})

    @property
    def max_seconds(self):
        return 10.0

    def run(self, requests, progress=SILENT):
        progress.expect(len(requests))
        found = []
        for request in requests:
            frames = round((request.segments[0].seconds or 2.0) * 20)
            turn = rot.identity(frames, 22)
            turn[:, 0] = rot.about("Y", torch.linspace(0, 1 + request.seed % 5, frames))
            root = CANONICAL.offsets[0].repeat(frames, 1)
            found.append([Motion(CANONICAL, turn, root, 20.0) for _ in range(request.count)])
            progress.step()
        return found


@pytest.fixture
def toy(monkeypatch):
    class Entry:
        def load(self):
            return Toy

    announced = {**registry._announced(), "toy": Entry()}
    monkeypatch.setattr(registry, "_announced", lambda: announced)
    return Toy()


def run(*arguments):
    return CliRunner().invoke(app, ["evaluate", *(str(argument) for argument in arguments)])


def close(found, wanted):
    for row, figures in wanted.items():
        for name, value in figures.items():
            assert found[row][name]["mean"] == pytest.approx(value, rel=2e-3, abs=2e-3), (row, name)


def test_text_figures_are_those_of_the_earlier_code(store, scorer, tmp_path):
    engine = load(write_engine(tmp_path / "engine"))
    options = TextOptions(split="train", repeats=2, seed=3, pool=2, clips=4)
    found = evaluate(TextProtocol, Subject(engine, store, scorer), options=options, out=tmp_path / "text.json")
    close(found["rows"], TEXT)


def test_condition_figures_are_those_of_the_earlier_code(store, tmp_path):
    options = ConditionOptions(("train",), ("prediction", "video"), clips=2, seeds=1, seed=5)
    subject = Subject(load(write_lmm(tmp_path / "lmm")), store)
    found = evaluate(ConditionProtocol, subject, options=options, out=tmp_path / "conditions.json")
    for task, rows in CONDITIONS.items():
        close(found["tasks"][task]["rows"], rows)


def test_an_engine_with_the_contract_alone_is_measured_by_the_command(toy, store, scorer, tmp_path):
    out = tmp_path / "toy.json"
    few = ("--data", store.path, "--evaluator", scorer.folder, "--split", "train", "--pool", 2, "--out", out)
    done = run("toy", *few, "--repeats", 1, "--clips", 3, "--no-variety")
    assert done.exit_code == 0, done.output + repr(done.exception)
    found = json.loads(out.read_text())
    assert (found["task"], found["engine"]["name"], found["clips"]) == ("text", "toy", 3)
    assert "tokenizer" not in found["rows"]
    assert "| engine, true length | " in done.output
    done = run("toy", "--task", "language", *few, "--clips", 4)
    assert done.exit_code == 0, done.output + repr(done.exception)
    tasks = json.loads(out.read_text())["tasks"]
    assert tasks["motion-to-text"] == {"left out": "engine 'toy' does not serve describe"}
    assert set(tasks["text-to-motion"]["rows"]) == {"real", "engine"}
    assert "Left out: engine 'toy' does not serve compose." in done.output


def test_rules_judge_an_engine_without_a_store(toy, tmp_path):
    options = RulesOptions(only=("free",), lengths=("given",), seeds=1)
    found = evaluate(RulesProtocol, Subject(toy), options=options, out=tmp_path / "rules.json")
    counts = found["free, given lengths"]
    assert counts["of"] == len(counts["by_sentence"]) > 5
    assert found["real"] is None
    assert found["store"] is None
    lines = markdown(found)
    assert any(line.startswith("| free, given lengths | ") for line in lines)
    with pytest.raises(RequestError, match="groups hymns are unknown; groups are grammar, free, fresh, actions"):
        RulesOptions(only=("hymns",))


def test_actions_of_the_whole_body_are_judged_by_their_own_rules(toy, tmp_path):
    """A body that stands and turns meets the sentences on standing, and on no jump."""
    options = RulesOptions(only=("actions",), lengths=("given",), seeds=1)
    found = evaluate(RulesProtocol, Subject(toy), options=options, out=tmp_path / "rules.json")
    counts = found["actions, given lengths"]
    assert counts["of"] == 78
    assert 0 < counts["passed"] < 30
    assert counts["by_sentence"]["somebody leaps into the air"] == "0/1"
    assert counts["by_group"]["jump"][0] == 0
    assert sum(of for _, of in counts["by_group"].values()) == 78
    assert any(line.startswith("| actions, given lengths: jump | 0 of ") for line in markdown(found))


def test_a_missed_style_is_no_missed_sentence(toy, tmp_path, monkeypatch):
    """Rules of the action decide whether a sentence is met; those of its style are counted beside it."""
    right, wrong = Rule(1.0, 0.0, 2.0), Rule(3.0, 0.0, 2.0)
    for action, style, passed in ((right, wrong, True), (wrong, right, False)):
        verdict = Verdict({"action": action}, {"style": style})
        monkeypatch.setattr(rules, "judge_measured", lambda *_, found=verdict: found)
        counts = rules.judge_engine(toy, "fresh", [0])
        assert counts["passed"] == (counts["of"] if passed else 0)
        assert counts["style_passed"] == (0 if passed else counts["of"])
        assert bool(counts["failed"]) != passed


def test_who_watches_can_stop_and_what_is_done_is_kept(toy, store, tmp_path):
    out, seen = tmp_path / "rules.json", []

    def watch(done, total):
        seen.append((done, total))
        if done == 1:
            raise Cancelled("stopped")

    options = RulesOptions(only=("free",), seeds=1)
    with pytest.raises(Cancelled):
        evaluate(RulesProtocol, Subject(toy), options=options, out=out, progress=Progress(watch))
    assert seen[0] == (0, 2)
    # Every sentence told the watcher, before the unit was done.
    assert seen.count((0, 2)) > 3
    parts = tmp_path / ".rules.json.parts"
    assert sorted(path.name for path in parts.iterdir()) == ["00000.json", "head.json"]
    with pytest.raises(RequestError, match=r"unfinished run of other settings or weights \(options differ\)"):
        evaluate(RulesProtocol, Subject(toy), options=dataclasses.replace(options, seed=1), out=out)
    kept = (parts / "00000.json").read_text()
    (parts / "00000.json").write_text(kept.replace('"style_of": ', '"style_of": 1'))
    changed = evaluate(RulesProtocol, Subject(toy), options=options, out=out)
    assert changed["free, given lengths"]["style_of"] == int(f"1{json.loads(kept)['style_of']}")
    assert not parts.exists()


def test_language_repeats_give_intervals(toy, store, scorer, tmp_path):
    options = LanguageOptions(split="train", clips=4, pool=2, only=("unconditional",), repeats=2)
    found = evaluate(LanguageProtocol, Subject(toy, store, scorer), options=options, out=tmp_path / "language.json")
    figures = found["tasks"]["unconditional"]["rows"]["engine"]
    assert figures["FID"]["repeats"] == 2
    once = dataclasses.replace(options, repeats=1)
    single = evaluate(LanguageProtocol, Subject(toy, store, scorer), options=once, out=tmp_path / "once.json")
    assert isinstance(single["tasks"]["unconditional"]["rows"]["engine"]["FID"], float)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", "text", "--bert", "x"), "it does nothing for --task text, which takes --clips"),
        (("--task", "rules", "--repeats", "3"), "it does nothing for --task rules"),
        (("--task", "text"), "--task text is measured on clips: name a store"),
        (("--task", "text", "--data", "x", "--split", "val", "--split", "test"), "takes one split, 2 are given"),
        (("--task", "sport"), "task 'sport' is unknown; tasks are text, conditions, language, rules"),
        (("--task", "text", "--data", "x", "--repeats", "0"), "repeats is 0; give a whole number, 1 to 1000"),
        (("--task", "text", "--data", "x", "--only", "praise"), "rows praise are unknown; rows are real"),
        (("--task", "rules", "--option", "colour=1"), "unknown options colour"),
        (("--task", "rules", "--option", "colour"), "is not NAME=VALUE"),
    ],
)
def test_what_does_not_fit_is_one_line(toy, tmp_path, arguments, message):
    done = run("toy", "--out", tmp_path / "x.json", *arguments)
    assert done.exit_code != 0
    text = " ".join(done.output.replace("│", " ").split()) + str(done.exception)
    assert message in text


def test_results_are_written_where_they_can_be(toy, tmp_path):
    for out, message in (("x.txt", "written as .json"), ("nowhere/x.json", "no file can be written there")):
        done = run("toy", "--task", "rules", "--out", tmp_path / out)
        assert message in " ".join(done.output.replace("│", " ").split())


def test_a_protocol_imports_no_engine():
    """Engines are known by what they serve; a protocol that imported one would ask which it is."""
    for task in PROTOCOLS:
        code = (
            "import sys\nfrom motionloom.evaluation.registry import protocol\n"
            f"protocol({task!r})\n"
            "print([name for name in sys.modules if name.startswith(('motionloom.engines.mmm',"
            " 'motionloom.engines.lmm', 'motionloom.engines.m3gpt', 'motionloom.training'))])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
        assert done.stdout.strip() == "[]", task
    assert protocol("text") is TextProtocol


def test_results_of_older_files_are_shown():
    for file in ("mmm-evaluate", "lmm-evaluate", "lmm-tasks", "m3gpt-evaluate", "mmm-judge", "lmm-judge"):
        assert len(markdown(json.loads((ROOT / "results" / f"{file}.json").read_text()))) > 4, file

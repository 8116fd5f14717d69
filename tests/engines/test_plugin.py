"""An engine of another package, installed beside motionloom, is served everywhere with no file of ours touched."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

PLUGIN = ROOT / "examples" / "engine_plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Folder with the plug-in as pip lays it: its package, and its entry points in a .dist-info."""
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--no-build-isolation", "--target", str(site), str(PLUGIN)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PIP_NO_INDEX": "1"})
    if done.returncode:
        pytest.skip(f"pip cannot build here: {done.stderr.strip().splitlines()[-1]}")
    return site


@pytest.fixture
def run(installed, tmp_path):
    """Run Python with the plug-in installed."""

    def call(*arguments):
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), str(ROOT)])}
        return subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, check=False, env=env, cwd=tmp_path
        )

    return call


def cli(*arguments):
    return ("-c", "from motionloom.app.cli.main import main; main()", *arguments)


def test_it_is_loaded_and_makes_motions(run):
    code = (
        "import motionloom as ml\nengine = ml.load('toy')\n"
        "first, second = engine.generate('anything', 2.0, seed=3, count=2)\n"
        "assert len(first) == 40 and first.provenance.engine.startswith('toy '), first.provenance\n"
        "assert first.provenance.licence == 'CC0 1.0'\n"
        "assert not (first.rotations == second.rotations).all()\n"
        "assert (engine.generate('anything', 2.0, seed=3)[0].rotations == first.rotations).all()\n"
        "assert len(engine.generate('anything', 2.0, fps=60.0)[0]) > 110\n"
        "assert engine.generate('anything', 2.0, best_of=2, swing=0.5)[0].provenance.notes\n"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr


def test_the_command_line_serves_it(run, tmp_path):
    done = run(*cli("generate", "--engine", "toy", "--text", "sway", "--seconds", "1.5", "--option", "swing=0.4",
                    "--out", "sway.bvh", "--json"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["motions"][0]["frames"] == 30
    assert (tmp_path / "sway.bvh").is_file()
    shown = run(*cli("models"))
    assert "engines: lmm, m3gpt, mmm, toy" in shown.stdout.replace("momask, ", "")
    options = run(*cli("models", "--options", "toy"))
    assert "swing = 0.2  (a number, 0 to 1 rad)" in options.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--option", "swing=hot"), "swing is 'hot'; give a number, 0 to 1 rad"),
        (("--option", "colour=red"), "unknown options colour; known are swing, tempo"),
        (("--loop",), "engine 'toy' does not serve loop; it serves text, unconditioned"),
    ],
)
def test_what_it_cannot_do_is_one_line(run, arguments, message):
    done = run(*cli("generate", "--engine", "toy", "--text", "sway", "--out", "x.bvh", *arguments))
    assert done.returncode == 1
    assert done.stderr.strip() == f"motionloom: {message}"


def test_it_is_evaluated(run, store, tmp_path):
    done = run(*cli("evaluate", "toy", "--data", str(store.path), "--out", "toy.json", "--repeats", "1",
                    "--no-variety", "--pool", "2"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "engine, true length" in json.loads((tmp_path / "toy.json").read_text())["rows"]


def test_without_it_there_is_no_such_engine():
    done = subprocess.run(
        [sys.executable, *cli("generate", "--engine", "toy", "--text", "sway", "--out", "x.bvh")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "there is no engine 'toy': installed are" in done.stderr

import json
import sys

import pytest
from corpus import as_cmu, walk

from motionloom.app.cli import main as cli
from motionloom.motion.io import load, save


@pytest.fixture
def motionloom(monkeypatch, capsys):
    """Run the command line in this process: exit status, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["motionloom", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def bvh(tmp_path):
    save(as_cmu(walk(60, 0, fps=30.0)), tmp_path / "walk.bvh")
    return tmp_path / "walk.bvh"


def test_clean_writes_and_prints_before_and_after(motionloom, bvh, tmp_path):
    status, out, _ = motionloom("clean", bvh, "--out", tmp_path / "clean.bvh")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split() == ["before", "after"]
    assert [line.split("  ")[0] for line in lines[1:4]] == [
        "slide of standing feet",
        "slide of the slower low toe",
        "slide of toes below 6 cm",
    ]
    assert sum(line.startswith(("jitter filter", "floor moved", "left foot", "right foot")) for line in lines) == 4
    assert lines[-1] == f"wrote {tmp_path / 'clean.bvh'}"
    assert load(tmp_path / "clean.bvh").skeleton.names == load(bvh).skeleton.names


def test_clean_speaks_json_and_leaves_steps_out(motionloom, bvh, tmp_path):
    out_file = tmp_path / "clean.npz"
    status, out, _ = motionloom("clean", bvh, "--out", out_file, "--no-feet", "--jitter", 0, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["before"].keys() == found["after"].keys()
    assert abs(found["after"]["floor"]) < 1e-3
    assert found["before"]["jitter"] > 0
    assert out_file.is_file()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("{bvh}", "--out", "{bvh}"), 2, "is the source itself; give another name"),
        (("{bvh}", "--out", "{tmp}/a.xyz"), 1, "motions of this kind are not written"),
        (("{bvh}", "--out", "{tmp}/none/a.bvh"), 1, "does not exist; make it first"),
        (
            ("{bvh}", "--out", "{tmp}/a.bvh", "--no-feet", "--no-floor", "--jitter", "0"),
            1,
            "all steps are switched off",
        ),
        (("{bvh}", "--out", "{tmp}/a.bvh", "--jitter", "9"), 1, "both must be between 0 and 2 s"),
        (("{tmp}/none.bvh", "--out", "{tmp}/a.bvh"), 1, "none.bvh"),
        (("{tmp}/bad.bvh", "--out", "{tmp}/a.bvh"), 1, "bad.bvh"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(motionloom, bvh, tmp_path, arguments, status, message):
    (tmp_path / "bad.bvh").write_text("HIERARCHY\nROOT a\n{\n")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    got, out, err = motionloom("clean", *(part.format(bvh=bvh, tmp=tmp_path) for part in arguments))
    assert got == status
    assert message in err
    assert err.count("\n") == 1
    assert out == ""
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before

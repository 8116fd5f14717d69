import json
import sys

import make
import numpy as np
import pytest
import torch
from corpus import as_cmu, walk
from make_mmm import write_body_engine, write_engine

from motionloom.app.cli import main as cli
from motionloom.engines.mmm import path as mmm_path
from motionloom.motion.io import load, save

FAST = ("--steps", 2, "--guidance", 1)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return write_body_engine(tmp_path_factory.mktemp("engine") / "body")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An engine with one code for the whole body."""
    return write_engine(tmp_path_factory.mktemp("engine") / "whole")


@pytest.fixture
def motionloom(monkeypatch, capsys, engine):
    """Run the command line in this process: exit status, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["motionloom", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def clip(tmp_path):
    """Three seconds at 30 fps."""
    save(make.motion(90, 0, 30.0), tmp_path / "clip.npz")
    return tmp_path / "clip.npz"


@pytest.fixture
def script(tmp_path):
    (tmp_path / "story.txt").write_text("2  a person walks\n1.5  # whatever\n2.5  he bows\n", encoding="utf-8")
    return tmp_path / "story.txt"


def test_complete_keeps_spans(motionloom, engine, clip, tmp_path):
    out = tmp_path / "new.npz"
    status, printed, _ = motionloom("complete", clip, "--keep", "0:1,2:3", "--text", "a person waves", "--seed", 3,
                                    "--engine", engine, *FAST, "--out", out)  # fmt: skip
    assert status == 0
    assert f"wrote {out}" in printed
    assert "3.0 s at 30 fps; seams at 1.0 s, 2.0 s: jerk" in printed
    source, made = load(clip), load(out)
    assert torch.equal(made.rotations[:30], source.rotations[:30])
    assert torch.equal(made.root[60:], source.root[60:])
    assert not torch.allclose(made.positions[40:50], source.positions[40:50], atol=1e-2)


def test_complete_keeps_parts_and_goes_beyond_both_ends_in_json(motionloom, engine, clip, tmp_path):
    outs = [part for suffix in ("npz", "bvh") for part in ("--out", tmp_path / f"new.{suffix}")]
    status, printed, _ = motionloom("complete", clip, "--keep-parts", "legs,head", "--before", 0.5, "--after", 1,
                                    "--count", 2, "--engine", engine, *FAST, *outs, "--json")  # fmt: skip
    assert status == 0
    found = json.loads(printed)
    assert [(motion["frames"], motion["fps"], motion["seconds"]) for motion in found["motions"]] == [
        (135, 30.0, 4.5)
    ] * 2
    assert found["motions"][0]["seams_s"] == [0.5, 3.5]
    assert all(len(motion["seam_jerk"]) == 2 and motion["seam_ratio"] > 0 for motion in found["motions"])
    assert found["files"] == [str(tmp_path / name) for name in ("new-1.npz", "new-1.bvh", "new-2.npz", "new-2.bvh")]
    assert all((tmp_path / name).is_file() for name in ("new-1.npz", "new-1.bvh", "new-2.npz", "new-2.bvh"))
    made, source = load(tmp_path / "new-2.npz"), load(clip)
    assert torch.equal(made.root[15:105], source.root)


@pytest.mark.parametrize("retarget", [(), ("--retarget",)])
def test_predict_another_skeleton_moved_onto_the_body(motionloom, engine, tmp_path, retarget):
    save(as_cmu(walk(60, 0, fps=30.0)), tmp_path / "walk.bvh")
    out = tmp_path / "on.npz"
    status, printed, said = motionloom("predict", tmp_path / "walk.bvh", "--seconds", 2, *retarget, "--unit", "m",
                                    "--engine", engine, *FAST, "--fps", 60, "--out", out, "--json")  # fmt: skip
    assert status == 0
    (facts,) = json.loads(printed)["motions"]
    assert (facts["frames"], facts["fps"], facts["seams_s"]) == (240, 60.0, [2.0])
    assert len(load(out)) == 240
    assert "note: walk.bvh: retargeted by map 'mixamo'" in said


def test_story(motionloom, whole, script, tmp_path):
    out = tmp_path / "story.npz"
    status, printed, _ = motionloom("story", script, "--engine", whole, *FAST, "--out", out, "--json")
    assert status == 0
    (facts,) = json.loads(printed)["motions"]
    assert (facts["frames"], facts["seams_s"]) == (120, [2.0, 3.5])
    assert len(load(out)) == 120
    status, printed, _ = motionloom("story", script, "--engine", whole, *FAST, "--out", out)
    assert status == 0
    assert "6.0 s at 20 fps; seams at 2.0 s, 3.5 s: jerk" in printed


def test_loops_and_end_points(motionloom, engine, tmp_path, monkeypatch):
    monkeypatch.setattr(mmm_path, "ROUNDS", 2)
    out = tmp_path / "loop.npz"
    status, printed, _ = motionloom("generate", "--text", "walk", "--seconds", 2, "--loop", "--fps", 30,
                                    "--engine", engine, *FAST, "--out", out)  # fmt: skip
    assert status == 0
    assert "note: a loop: with each turn the root moves by" in printed
    assert "where the loop closes: jerk" in printed
    assert len(load(out)) == 60
    status, _, _ = motionloom("generate", "--text", "walk", "--seconds", 2, "--engine", engine, *FAST, "--out", out)
    x, _, z = load(out).root[-1].tolist()
    status, printed, _ = motionloom("generate", "--text", "walk", "--seconds", 2, "--to", f"{x + 0.1},{z}",
                                    "--engine", engine, *FAST, "--out", out)  # fmt: skip
    assert status == 0
    assert "m of its points; that rest was spread over the way" in printed
    torch.testing.assert_close(load(out).root[-1, [0, 2]], torch.tensor([x + 0.1, z]), atol=1e-3, rtol=0)


NEW = ("--out", "new.npz")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("complete", "clip.npz", "--keep", "0:1"), 2, "give at least one file to write"),
        (("complete", "clip.npz", "--keep", "0:1", "--out", "new.abc"), 1, "motions of this kind are not written"),
        (("complete", "clip.npz", "--keep", "0:1", "--out", "none/new.bvh"), 1, "the directory none does not exist"),
        (("complete", "clip.npz", "--keep", "0:1", "--out", "clip.npz"), 2, "clip.npz is the source itself"),
        (("complete", "clip-2.npz", "--keep", "0:1", "--count", "2", "--out", "clip.npz"), 2, "is the source itself"),
        (("complete", "clip.npz", *NEW), 1, "nothing is kept; name spans of time"),
        (("complete", "clip.npz", "--keep", "0:9", *NEW), 1, "does not lie within the 3.00 s of the motion"),
        (("complete", "clip.npz", "--keep", "one", *NEW), 1, "'one' is no span of time"),
        (("complete", "clip.npz", "--keep", ":", *NEW), 1, "the whole motion is kept"),
        (("complete", "clip.npz", "--keep-parts", "tail", *NEW), 1, "there is no body part 'tail'"),
        (("complete", "clip.npz", "--keep", "0:1", "--text", " ", *NEW), 1, "the text is empty"),
        (("complete", "clip.npz", "--keep", "0:1", "--text", "word " * 10_000, *NEW), 1, "at most 1000 are read"),
        (("complete", "clip.npz", "--keep", "0:1", "--after", "-1", *NEW), 1, "after is -1.0 s"),
        (("complete", "clip.npz", "--keep", "0:1", "--after", "601", *NEW), 1, "after is 601.0 s; give 0 to 600 s"),
        (("complete", "clip.npz", "--keep", "0:1", "--after", "600", *NEW), 1, "603.0 s asked for; at most 600 s"),
        (("complete", "clip.npz", "--keep", "0:1", "--fps", "0", *NEW), 1, "fps is 0.0; give 1 to 240"),
        (("complete", "clip.npz", "--keep", "0:1", "--count", "0", *NEW), 1, "count is 0"),
        (("complete", "none.npz", "--keep", "0:1", *NEW), 1, "none.npz"),
        (("complete", "nan.npz", "--keep", "0:1", *NEW), 1, "NaN"),
        (("predict", "clip.npz", *NEW), 2, "--seconds"),
        (("predict", "clip.npz", "--seconds", "0", *NEW), 1, "0.0 s to predict; give a positive number"),
        (("predict", "clip.npz", "--seconds", "nan", *NEW), 1, "nan s to predict"),
        (("predict", "clip.npz", "--seconds", "600", *NEW), 1, "603.0 s asked for; at most 600 s"),
        (("story", "none.txt", *NEW), 1, "none.txt: cannot be read as a text file"),
        (("story", "bad.txt", *NEW), 1, "bad.txt, line 2: 'he' is no number of seconds"),
        (("story", "long.txt", *NEW), 1, "the story takes 601.0 s; at most 600 s"),
        (("story", "short.txt", *NEW), 1, "line 2 of the story takes 0.2 s"),
        (("generate", "--text", "walk", "--loop", "--to", "0,1", *NEW), 1, "a path and a loop cannot be asked for"),
        (("generate", "--text", "walk", "--seconds", "0.8", "--loop", *NEW), 1, "a loop of 0.8 s; loops take 1.2"),
        (("generate", "--text", "walk", "--seconds", "0", *NEW), 1, "give a positive number of seconds"),
        (("generate", "--text", "walk", "--seconds", "600", *NEW), 1, "600 s asked for; this model makes 0.6 to 9.8 s"),
        (("generate", "--text", "walk", "--to", "here", *NEW), 2, "'here' is no point; write x,z in metres"),
        (("generate", "--text", "walk", "--to", "1,nan", *NEW), 1, "give finite numbers of metres"),
        (("generate", "--text", "walk", "--seconds", "1", "--to", "0,90", *NEW), 1, "the path is out of reach"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_writes_nothing(
    motionloom, engine, tmp_path, monkeypatch, arguments, status, message
):
    clip = make.motion(90, 0, 30.0)
    for name in ("clip.npz", "clip-2.npz"):
        save(clip, tmp_path / name)
    save(as_cmu(walk(60, 0, fps=30.0)), tmp_path / "cmu.bvh")
    with np.load(tmp_path / "clip.npz") as opened:
        arrays = dict(opened)
    arrays["root"][5] = np.nan
    np.savez(tmp_path / "nan.npz", **arrays)
    (tmp_path / "bad.txt").write_text("2 he bows\nhe bows\n", encoding="utf-8")
    (tmp_path / "long.txt").write_text("300 he bows\n301 he bows\n", encoding="utf-8")
    (tmp_path / "short.txt").write_text("2 he bows\n0.2 he bows\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    found, out, err = motionloom(*arguments, "--engine", engine, *FAST)
    assert message in err
    assert found == status
    assert err.count("\n") == 1
    assert out == ""
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_parts_need_an_engine_that_tells_them_apart(motionloom, whole, clip, tmp_path):
    before = set(tmp_path.iterdir())
    status, _, err = motionloom("complete", clip, "--keep-parts", "legs", "--engine", whole, *FAST,
                                "--out", tmp_path / "new.npz")  # fmt: skip
    assert status == 1
    assert "engine 'mmm' does not serve known parts" in err
    assert set(tmp_path.iterdir()) == before

"""The command line with what a motion follows: files of sound and keypoints, good and bad."""

import json
import sys

import pytest
import torch
from corpus import walk
from make_lmm import write_lmm

from motionloom.app.cli import main as cli
from motionloom.conditions.audio import Sound, save_audio
from motionloom.conditions.cameras import Errors, synthetic_keypoints
from motionloom.motion.io import load, save

FAST = ("--steps", 2, "--guidance", 1)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return write_lmm(tmp_path_factory.mktemp("engine") / "lmm", music_dim=78, aligned=("music", "video"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with sound and keypoints, most of them no use."""
    folder = tmp_path_factory.mktemp("files")
    clicks = (torch.arange(3 * 22050) % 8820 < 200).float()
    save_audio(Sound(clicks, 22050), folder / "song.wav")
    save_audio(Sound(torch.zeros(22050), 22050), folder / "silence.wav")
    save_audio(Sound(clicks[:2205], 22050), folder / "short.wav")
    save_audio(Sound(clicks[:4000].repeat(3610 * 2), 8000), folder / "hour.wav")
    seen = synthetic_keypoints(walk(40, 0, fps=20.0), torch.Generator().manual_seed(0), Errors(0, 0, 0, 0, 0))
    rows = torch.cat((seen.points, seen.confidence[..., None]), dim=-1)
    frames = [row.tolist() for row in rows]
    (folder / "walk.json").write_text(json.dumps({"fps": 20.0, "width": 640, "height": 480, "frames": frames}))
    (folder / "hands.json").write_text(json.dumps({"fps": 20.0, "frames": [row[:15].tolist() for row in rows]}))
    (folder / "nofps.json").write_text(json.dumps(frames))
    return folder


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


def test_a_motion_is_as_long_as_its_music_or_video_unless_it_is_said(motionloom, files, engine, tmp_path):
    out = tmp_path / "dance.npz"
    asked = ("--engine", engine, "--out", out, *FAST)
    for more, frames in (
        (("--music", files / "song.wav"), 60),
        (("--music", files / "song.wav", "--seconds", 1.5), 30),
        (("--music", files / "song.wav", "--from", 1.0), 40),
        (("--music", files / "hour.wav", "--seconds", 2.0, "--from", 3500), 40),
        (("--keypoints", files / "walk.json"), 40),
        (("--keypoints", files / "nofps.json", "--keypoints-fps", 40), 20),
        (("--keypoints", files / "walk.json", "--text", "a person walks", "--fps", 30), 60),
    ):
        status, _, problem = motionloom("generate", *more, *asked)
        assert (status, problem) == (0, ""), more
        assert len(load(out)) == frames, more


def test_what_comes_next_can_follow_music(motionloom, files, engine, tmp_path):
    source = tmp_path / "start.npz"
    save(walk(20, 0, fps=20.0), source)
    for music in ((), ("--music", files / "song.wav")):
        out = tmp_path / f"next{len(music)}.npz"
        status, _, problem = motionloom(
            "predict", source, "--seconds", 1, "--engine", engine, "--out", out, *FAST, *music
        )
        assert (status, problem) == (0, "")
    plain, heard = load(tmp_path / "next0.npz"), load(tmp_path / "next2.npz")
    assert torch.equal(plain.rotations[:20], heard.rotations[:20])
    assert not torch.equal(plain.rotations[20:], heard.rotations[20:])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--music", "silence.wav"), "is silent"),
        (("--music", "short.wav"), "0.1 s of sound from 0 s on; at least 0.5 s are needed"),
        (("--music", "hour.wav"), "at most 600 s|name a span"),
        (("--music", "nothing.wav"), "nothing.wav"),
        (("--music", "walk.json"), "walk.json"),
        (("--speech", "song.wav"), "engine 'lmm' does not serve speech"),
        (("--keypoints", "hands.json"), "15 points|17"),
        (("--keypoints", "nofps.json"), "does not say how many frames a second it has; name them with --keypoints-fps"),
        (("--keypoints", "walk.json", "--video", "walk.mp4"), "a motion follows one of them: leave one out"),
    ],
)
def test_no_use_is_one_line_and_nothing_is_written(motionloom, files, engine, tmp_path, more, message):
    import re

    out = tmp_path / "out.npz"
    named = [files / word if "." in str(word) else word for word in more]
    status, _, problem = motionloom("generate", *named, "--engine", engine, "--out", out, *FAST)
    assert status != 0
    assert re.search(message, problem), problem
    assert len(problem.strip().splitlines()) == 1
    assert not out.exists()


def test_what_follows_sound_is_made_by_the_bundled_engine_that_can(motionloom, files, tmp_path):
    out = tmp_path / "out.npz"
    asked = ("--seconds", 1, "--out", out, *FAST)
    status, _, problem = motionloom("generate", "--music", files / "song.wav", *asked)
    assert status == 0, problem
    assert load(out).provenance.engine.startswith("lmm ")

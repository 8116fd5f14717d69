"""Keypoints from video files: refused without MediaPipe, and right with it where it is installed."""

import importlib.util
import os
import sys

import make
import pytest
import torch

from motionloom.app.render import write_video
from motionloom.conditions.video import PYTHON, from_video
from motionloom.errors import MotionFileError, RequestError


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "walk.mp4"
    write_video(make.motion(12, size=0.1), path)
    return path


@pytest.mark.skipif(importlib.util.find_spec("mediapipe") is not None, reason="MediaPipe is installed here")
def test_without_mediapipe_one_line_says_what_to_install(film, monkeypatch):
    monkeypatch.delenv(PYTHON, raising=False)
    with pytest.raises(RequestError, match=r"pip install mediapipe==0\.10\.21"):
        from_video(film)
    monkeypatch.setenv(PYTHON, "no-such-python")
    with pytest.raises(RequestError, match="'no-such-python', which is no program"):
        from_video(film)


def test_a_worker_that_stops_is_told(film, monkeypatch, tmp_path):
    """A program that says it is ready and ends."""
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\nprint('ready')\n")
    program.chmod(0o755)
    monkeypatch.setenv(PYTHON, str(program))
    with pytest.raises(RequestError, match="MediaPipe stopped"):
        from_video(film)


def test_what_is_no_video_is_refused(tmp_path):
    with pytest.raises(MotionFileError, match="no video file of 1 to"):
        from_video(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("not a film")
    with pytest.raises(MotionFileError, match="is no readable video"):
        from_video(tmp_path / "text.mp4")


def test_a_playlist_does_not_open_addresses(tmp_path):
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nhttp://127.0.0.1:9/a.ts\n")
    with pytest.raises(MotionFileError, match="is no readable video"):
        from_video(tmp_path / "list.mp4")


@pytest.mark.skipif(PYTHON not in os.environ, reason=f"{PYTHON} names no Python with MediaPipe")
def test_the_drawn_person_is_seen(film):
    found = from_video(film)
    assert len(found) >= 12
    assert float((found.confidence > 0.5).float().mean()) > 0.5
    assert torch.isfinite(found.points).all()

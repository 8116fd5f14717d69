"""Keypoints from a video file, by MediaPipe in its own Python.

MediaPipe 0.10.21 (Apache-2.0) is the last version that brings its pose network along; it wants numpy 1, so it lives in
an environment of its own. Name that environment's Python in MOTIONLOOM_MEDIAPIPE_PYTHON.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch

from motionloom.conditions.keypoints import LAYOUTS, Keypoints
from motionloom.errors import MotionFileError, RequestError
from motionloom.motion.files import MAX_BYTES

PYTHON = "MOTIONLOOM_MEDIAPIPE_PYTHON"
"""Environment variable with the Python that has MediaPipe; this process' own if it is not set."""
LARGEST_SIDE = 640
"""Frames are made smaller to this, which is more than the network looks at [pixels]."""
MAX_SECONDS = 600.0
FPS = 30.0
"""Frames a second that are looked at, whatever the video has."""
_WORKER = Path(__file__).with_name("mediapipe_worker.py")
_INSTALL = (
    "keypoints from video need MediaPipe 0.10.21: python3.11 -m venv mp && mp/bin/pip install mediapipe==0.10.21,"
    f" then set {PYTHON}=mp/bin/python; or give the keypoints as JSON"
)


def from_video(path: str | os.PathLike[str]) -> Keypoints:
    """Find the person of a video, 30 times a second; frames without anybody have confidence 0.

    Args:
        path: Video file of at most 512 MiB and 600 s, of any form that ffmpeg reads. Nothing is fetched.

    Raises:
        RequestError: MediaPipe is not there, or fails.
        MotionFileError: The file is missing, no video, too large or too long, or nobody is seen in it.
    """
    path = Path(path)
    if not path.is_file() or not 0 < path.stat().st_size <= MAX_BYTES:
        raise MotionFileError(f"{path}: no video file of 1 to {MAX_BYTES} bytes")
    with _decoded(path) as film:
        size = _header(film)
        if size is None:
            raise MotionFileError(f"{path}: is no readable video")
        rows = _detect(film, *size)
    if len(rows) > MAX_SECONDS * FPS:
        raise MotionFileError(f"{path}: is longer than {MAX_SECONDS:g} s; cut it first")
    count, places = LAYOUTS["mediapipe-33"]
    table = torch.tensor([row or [[0.0, 0.0, 0.0]] * count for row in rows])[:, list(places)]
    if not bool((table[..., 2] > 0).any()):
        raise MotionFileError(f"{path}: nobody is seen in its {len(rows)} frames")
    return Keypoints(table[..., :2] * torch.tensor(size), table[..., 2].clamp(0, 1), FPS)


@contextmanager
def _decoded(path: Path) -> Iterator[IO[bytes]]:
    """The frames of a video as PPM images, one after the other."""
    import imageio_ffmpeg

    shrink = f"scale='if(gt(iw,ih),min({LARGEST_SIDE},iw),-2)':'if(gt(iw,ih),-2,min({LARGEST_SIDE},ih))'"
    command = [
        # A playlist in the guise of a video must not make ffmpeg open addresses.
        imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "quiet", "-protocol_whitelist", "file",
        "-i", str(path.resolve()), "-t", f"{MAX_SECONDS + 1:g}", "-an", "-vf", f"{shrink},fps={FPS:g}",
        "-f", "image2pipe", "-c:v", "ppm", "-",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE) as decoder:
        assert decoder.stdout is not None
        try:
            yield decoder.stdout
        finally:
            decoder.kill()


def _header(film: IO[bytes]) -> tuple[int, int] | None:
    """Width and height of the next image; none at the end."""
    if film.readline() != b"P6\n":
        return None
    width, height = film.readline().split()
    film.readline()
    return int(width), int(height)


def _detect(film: IO[bytes], width: int, height: int) -> list[list[list[float]] | None]:
    """Points of each frame, from the process that has MediaPipe."""
    python = os.environ.get(PYTHON, sys.executable)
    if shutil.which(python) is None:
        raise RequestError(f"{PYTHON} is {python!r}, which is no program; {_INSTALL}")
    command = [python, str(_WORKER), str(width), str(height)]
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints) as worker,
    ):
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            if worker.stdout.readline().strip() != b"ready":
                raise RequestError(_INSTALL)
            rows = []
            more: tuple[int, int] | None = (width, height)
            while more == (width, height):
                frame = film.read(width * height * 3)
                if len(frame) < width * height * 3:
                    break
                worker.stdin.write(frame)
                worker.stdin.flush()
                # One answer a frame: writing on without reading would fill both pipes.
                rows.append(json.loads(worker.stdout.readline()))
                more = _header(film)
            worker.stdin.close()
        except (BrokenPipeError, ValueError):
            complaints.seek(0)
            said = " ".join(complaints.read()[-300:].decode(errors="replace").split())
            raise RequestError(f"MediaPipe stopped: {said[-200:]}") from None
        finally:
            worker.kill()
    if any(not math.isfinite(number) for row in rows if row for point in row for number in point):
        raise RequestError("MediaPipe gave NaN; is it version 0.10.21?")
    return rows

"""Options by which a command takes what a motion is to follow: music, speech, keypoints or a video."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

Music = Annotated[Path | None, typer.Option(help="Sound file to dance to: .wav .flac .ogg .mp3")]
Speech = Annotated[Path | None, typer.Option(help="Sound file of what is said.")]
From = Annotated[float, typer.Option("--from", help="Where in the sound file to begin, in seconds.")]
KeypointFile = Annotated[Path | None, typer.Option(help="2D keypoints, a JSON or a folder: COCO, OpenPose, MediaPipe.")]
KeypointFps = Annotated[float | None, typer.Option(help="Frame rate of the keypoints, where the file does not say.")]
ImageSize = Annotated[
    str | None, typer.Option(help="Width and height of the video in pixels, where the file does not say: 1920x1080.")
]
Engine = Annotated[
    str | None,
    typer.Option(help="Engine: mmm, lmm or a folder; left out, mmm, and lmm to follow sound or video."),
]
Video = Annotated[Path | None, typer.Option(help="Video of one person (needs MediaPipe, see docs/conditions.md).")]


@dataclass(frozen=True)
class Followed:
    """Files that a motion is to follow, as they were named on the command line."""

    music: Path | None = None
    speech: Path | None = None
    begin: float = 0.0
    keypoints: Path | None = None
    keypoint_fps: float | None = None
    video: Path | None = None
    image_size: str | None = None

    def engine(self, name: str | None) -> str:
        """The engine that was named, or the bundled one that follows what was given."""
        given = self.music or self.speech or self.keypoints or self.video
        return name or ("lmm" if given else "mmm")

    def read(self, seconds: float | None) -> dict[str, Any]:
        """What the verbs take as ``music``, ``speech`` and ``keypoints``.

        Args:
            seconds: How much of a sound is wanted [s]; ``None`` for all of it.

        Raises:
            MotionFileError: A file cannot be read.
            RequestError: Both keypoints and a video are named.
        """
        from motionloom.errors import RequestError

        found: dict[str, Any] = {}
        if self.music or self.speech:
            from motionloom.conditions.audio import MIN_SECONDS, load_audio

            wanted = None if seconds is None else max(seconds, MIN_SECONDS)
            for name, path in (("music", self.music), ("speech", self.speech)):
                if path is not None:
                    found[name] = load_audio(path, start=self.begin, seconds=wanted)
                    for note in found[name].notes:
                        typer.echo(f"note: {path.name}: {note}", err=True)
        if self.keypoints and self.video:
            raise RequestError("keypoints and a video were named; a motion follows one of them: leave one out")
        if self.keypoints:
            from motionloom.conditions.keypoints import load_keypoints

            keypoints = load_keypoints(self.keypoints, self.keypoint_fps, _size(self.image_size))
            for note in keypoints.notes:
                typer.echo(f"note: {self.keypoints.name}: {note}", err=True)
            found["keypoints"] = keypoints
        if self.video:
            from motionloom.conditions.video import from_video

            found["keypoints"] = from_video(self.video)
        return found


def _size(text: str | None) -> tuple[int, int] | None:
    """Width and height from "1920x1080"."""
    if text is None:
        return None
    words = text.lower().replace(",", "x").split("x")
    if len(words) != 2 or not all(word.strip().isdecimal() for word in words):
        raise typer.BadParameter(f"{text!r} is no size; write 1920x1080", param_hint="--image-size")
    return int(words[0]), int(words[1])

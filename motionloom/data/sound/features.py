"""Music and speech for the clips of a store: what was recorded with them, or, for a part of the others, made up.

Made-up music is played to the motion's own beats (``accompaniment.py``), made-up speech to the strokes of the hands
(``spoken.py``): such pairs teach when to move, not what music looks like. Both take the same path as recorded sound.

Kept are features at ``SOUND_FPS``; ``pooled`` brings them to a motion's frame rate, in training and when it is asked.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from motionloom.conditions.audio import AUDIO_SLICES, AUDIO_WIDTH, MIN_SECONDS, Sound, audio_features, load_audio
from motionloom.data.loader import finish_cache, is_current
from motionloom.data.rows import RowWriter, open_rows
from motionloom.data.sound.music import accompany
from motionloom.data.sound.speech import speak
from motionloom.data.store import Clip, Store
from motionloom.errors import DataError

Kind = Literal["music", "speech"]
SOUND_FPS = 60.0
"""Frame rate of kept features."""
DANCES = ("danc", "salsa", "charleston", "ballet")
"""Words in a label that make a clip a dance: these get several pieces of music each."""
GESTURES = ("bye", "call", "respond", "guide", "wave", "raise-up", "bow", "convers", "gestur")
"""Words in a label that make a clip one that somebody may speak to."""


@dataclass(frozen=True)
class SoundOptions:
    """Which clips get sound."""

    folders: tuple[str, ...] = ()
    """Where recorded sound lies, as "aist=FOLDER": the folder that the source was prepared from."""
    versions: int = 4
    """Pieces of music of a dance."""
    others: int = 300
    """Clips of other motions that get a piece of music each; and gestures that get speech."""


class SoundSet:
    """Features of the music, or of the speech, of a store's clips.

    Args:
        store: The store.
        kind: "music" or "speech".
        options: Which clips get sound.

    Raises:
        DataError: A folder is missing, or espeak-ng, which makes speech.
    """

    def __init__(self, store: Store, kind: Kind, options: SoundOptions | None = None) -> None:
        options = options or SoundOptions()
        if kind == "speech" and shutil.which("espeak-ng") is None:
            raise DataError("made-up speech needs espeak-ng, which is not installed: apt-get install espeak-ng")
        self.kind: Kind = kind
        tag = hashlib.sha256(repr(options).encode()).hexdigest()[:8]
        folder = store.path / "features" / f"{kind}-{tag}"
        if not is_current(folder, store):
            _make_all(store, kind, folder, options)
        table = json.loads((folder / "rows.json").read_text())["clips"]
        self._features = open_rows(folder / "features.npy", "c")
        self._rows: dict[str, list[tuple[int, int]]] = {}
        for key, (start, frames) in table.items():
            self._rows.setdefault(key.rpartition("#")[0], []).append((start, frames))

    def versions(self, clip: Clip) -> int:
        """How many pieces a clip has."""
        return len(self._rows.get(clip.id, ()))

    def window(self, clip: Clip, version: int, start: float, fps: float, frames: int) -> Float[Tensor, "N 78"]:
        """Features of a window of a clip.

        Args:
            clip: The clip.
            version: Which of its pieces.
            start: When the window begins in the clip [s].
            fps: Frame rate of the window.
            frames: Its length.
        """
        first, count = self._rows[clip.id][version]
        return pooled(torch.from_numpy(self._features[first : first + count]).float(), start, fps, frames)


def sound_features(sound: Sound) -> Float[Tensor, "N 78"]:
    """Features of a whole sound at ``SOUND_FPS``.

    Raises:
        RequestError: As ``audio_features``.
    """
    return audio_features(sound.samples, sound.rate, SOUND_FPS)


def pooled(features: Float[Tensor, "M 78"], start: float, fps: float, frames: int) -> Float[Tensor, "N 78"]:
    """Features at ``SOUND_FPS`` as the tokens of a motion's frames.

    A frame hears what is up to half a frame from it: levels and pitches on average, onsets and beats at their
    strongest. Behind the end of the sound is silence: zeros.

    Args:
        features: Of a whole sound.
        start: When the motion begins in it [s].
        fps: Frame rate of the motion.
        frames: Length of the motion.
    """
    edges = ((start + (torch.arange(frames + 1) - 0.5) / fps) * SOUND_FPS - 1e-3).ceil().long().clamp(min=0)
    first, last = edges[:-1], edges[1:]
    last = torch.maximum(last, first + 1)
    # Never more than a few rows fall into a frame: as many gathers as the widest has.
    found, count = torch.zeros(frames, AUDIO_WIDTH), torch.zeros(frames, 1)
    sharp = [*range(*AUDIO_SLICES["onset"].indices(AUDIO_WIDTH)), *range(*AUDIO_SLICES["beat"].indices(AUDIO_WIDTH))]
    strongest = torch.zeros(frames, len(sharp))
    for step in range(int((last - first).max()) if frames else 0):
        row = first + step
        here = ((row < last) & (row < len(features)))[:, None]
        values = features[row.clamp(max=len(features) - 1)] * here
        found, count = found + values, count + here
        strongest = torch.maximum(strongest, values[:, sharp])
    found = found / count.clamp(min=1)
    found[:, sharp] = strongest
    return found


def _make_all(store: Store, kind: Kind, folder: Path, options: SoundOptions) -> None:
    folders = _folders(options)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.json").unlink(missing_ok=True)
    rows: dict[str, tuple[int, int]] = {}
    jobs = list(_jobs(store, kind, options, folders))
    with RowWriter(folder / "features.part", np.float16, (AUDIO_WIDTH,)) as writer:
        for clip, version in tqdm(jobs, desc=f"{kind} for clips", unit="piece"):
            start = writer.rows
            writer.append(sound_features(sound_of(store, clip, kind, version, folders)).numpy().astype(np.float16))
            rows[f"{clip.id}#{version}"] = (start, writer.rows - start)
    finish_cache(folder, store, rows, ("features",))


def sound_of(store: Store, clip: Clip, kind: Kind, version: int, folders: Mapping[str, Path] | None = None) -> Sound:
    """The sound of a clip: recorded where its source's folder is named, else made for it.

    Args:
        store: The store.
        clip: At least 0.5 s long.
        kind: "music" or "speech".
        version: Number of the piece; the same number, the same piece.
        folders: Folders of sources by name.

    Raises:
        MotionFileError: The recording cannot be read.
    """
    if kind in clip.labels and folders and clip.source in folders:
        told = json.loads(clip.labels[kind])
        place = max(0.0, float(told.get("offset", 0.0)))
        return load_audio(folders[clip.source] / told["path"], start=place, seconds=clip.seconds)
    seed = int.from_bytes(hashlib.sha256(f"{clip.id}#{version}".encode()).digest()[:7], "big")
    motion = store.motion(clip)
    return accompany(motion, seed).sound if kind == "music" else speak(motion, seed).sound


def _jobs(store: Store, kind: Kind, options: SoundOptions, folders: Mapping[str, Path]) -> Iterator[tuple[Clip, int]]:
    """Which pieces are made: all dances, or gestures, and some of the others, spread evenly over the store."""
    usable = [clip for clip in store.clips if clip.seconds >= max(1.0, MIN_SECONDS)]
    told = [clip for clip in usable if kind in clip.labels and clip.source in folders]
    yield from ((clip, 0) for clip in told)
    taken = {clip.id for clip in told}
    words = DANCES if kind == "music" else GESTURES
    fitting = [clip for clip in usable if clip.id not in taken and _speaks_of(clip, words)]
    others = [clip for clip in usable if clip.id not in taken and not _speaks_of(clip, words)]
    if kind == "speech":
        fitting, others = [], fitting
    yield from ((clip, version) for clip in fitting for version in range(options.versions))
    step = max(1, len(others) // max(1, options.others))
    yield from ((clip, 0) for clip in others[::step][: options.others])


def is_dance(clip: Clip) -> bool:
    """Whether the labels of a clip name a dance; captions do not count, in them dancers walk and bow as well."""
    return _speaks_of(clip, DANCES)


def _speaks_of(clip: Clip, words: tuple[str, ...]) -> bool:
    label = " ".join(clip.labels.values()).lower()
    return any(word in label for word in words)


def _folders(options: SoundOptions) -> dict[str, Path]:
    found = {}
    for entry in options.folders:
        name, _, path = entry.partition("=")
        if not path or not Path(path).is_dir():
            raise DataError(f"sound of {entry!r}: write source=FOLDER with the folder it was prepared from")
        found[name] = Path(path)
    return found

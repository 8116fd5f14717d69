"""Gestures of speakers: TED-Gesture++, TED-Expressive and Speech2Gesture-3D.

TED-Gesture++ (Yoon et al., SIGGRAPH Asia 2020, "trimodal context") and TED-Expressive (Liu et al., CVPR 2022, "HA2G"):
talks on video as LMDB databases, one for each split, of ``pyarrow.serialize``d values, one a video: ``vid`` and
``clips``, each with ``skeletons_3d`` (a frame: 10 points of the upper body, or 43 with fingers), ``words`` with their
times in the video, ``start_time``, ``end_time`` and 16 kHz sound ``audio_raw``. Points are estimates in camera axes
(Y down), about metres. Neither legs nor the place in the room are seen.

Speech2Gesture-3D, as Large Motion Models name it, is the captured Japanese speech of Takeuchi et al. (2017) that
Kucherenko et al. (IVA 2019) train on: ``motion/gesture20.bvh`` (24 or 100 fps, centimetres) and
``speech/audio20.wav``.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motionloom import licences
from motionloom.data.formats.arrow import read_serialized
from motionloom.data.formats.lmdb import LmdbFile
from motionloom.data.quality import raw_flags
from motionloom.data.sources import Media, Take, Timed
from motionloom.data.sources.common import BODY, HANDS, UPPER, listed, need
from motionloom.data.sources.keypoints import Points, sided
from motionloom.data.sources.smpl import turn_up
from motionloom.errors import DataError, MotionloomError
from motionloom.licences import Licence
from motionloom.motion import rotations as rot
from motionloom.motion.features.motionverse_keypoints import motion_from_keypoints
from motionloom.motion.files import check_numbers
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS, PARTS

_SPLITS = ("train", "val", "test")
_UP = "-y"
_MAX_SECONDS = 36000.0

# The lowest point is of the middle of the back; what is below follows the line from the neck through it, in the
# proportions of the canonical body (shares of that line beyond 1).
_TED: Points = {
    "pelvis": (1, 0, 1.95), "spine1": (1, 0, 1.36), "spine2": 0, "spine3": (0, 1, 0.24), "neck": 1, "head": (1, 2, 0.8),
    **{f"{side}_{name}": (1, 0, 1.95) for side in ("left", "right") for name in ("hip", "knee", "ankle", "foot")},
    **sided(
        {"collar": (1, 4, 0.45), "shoulder": 4, "elbow": 5, "wrist": 6},
        {"collar": (1, 7, 0.45), "shoulder": 7, "elbow": 8, "wrist": 9},
    ),
}  # fmt: skip
_TED_PARENTS = (-1, 0, 1, 2, 1, 4, 5, 1, 7, 8)
# SMPL-X's joints: chest, neck, arms, fingers (index, middle, pinky, ring, thumb), then nose, eyes and ears.
_EXPRESSIVE: Points = {
    "pelvis": (1, 0, 2.57), "spine1": (1, 0, 1.78), "spine2": (1, 0, 1.31), "spine3": 0, "neck": 1,
    "head": (41, 42, 0.5),
    **{f"{side}_{name}": (1, 0, 2.57) for side in ("left", "right") for name in ("hip", "knee", "ankle", "foot")},
    **sided(
        {"collar": (1, 2, 0.45), "shoulder": 2, "elbow": 4, "wrist": 6},
        {"collar": (1, 3, 0.45), "shoulder": 3, "elbow": 5, "wrist": 7},
    ),
    **{name: 8 + index for index, name in enumerate(CANONICAL_HANDS.names[len(CANONICAL):])},
}  # fmt: skip
# Fingers are left out: the estimates are too coarse for their lengths.
_EXPRESSIVE_PARENTS = (-1, 0, 1, 1, 2, 3, 4, 5)
_LAYOUTS = {10: (_TED, _TED_PARENTS, UPPER), 43: (_EXPRESSIVE, _EXPRESSIVE_PARENTS, (*UPPER, *HANDS))}
"""By the number of points: where the canonical joints are, the tree of the first points, which parts they show."""

_S2G3D_NAME = re.compile(r"gesture(\d+)")
_S2G3D_FIRST, _S2G3D_HELD_OUT, _S2G3D_LAST = 20, 1092, 1182


def tedg(folder: Path) -> list[Take]:
    """The clips of TED-Gesture++ with their words and sound, split as published.

    Raises:
        DataError: A database is missing or damaged, or its values are of another form.
    """
    return _ted_takes(folder, "tedg", licences.TED, UPPER, "unpack the TED dataset of TED-Gesture++ there")


def tedex(folder: Path) -> list[Take]:
    """The clips of TED-Expressive with their words and sound, split as published: a talk may be in several splits.

    Raises:
        DataError: A database is missing or damaged, or its values are of another form.
    """
    return _ted_takes(
        folder, "tedex", licences.TED_EXPRESSIVE, (*UPPER, *HANDS), "unpack the pre-built TED-Expressive there"
    )


def _ted_takes(folder: Path, source: str, licence: Licence, parts: tuple[str, ...], hint: str) -> list[Take]:
    files = {split: _database(folder, split) for split in _SPLITS}
    need(folder, (f"lmdb_{split}/data.mdb" for split, path in files.items() if path is None), hint)
    takes = []
    for split, path in files.items():
        assert path is not None
        for key, video in _videos(path):
            where = f"{path}#{key}"
            name = video["vid"]
            for index, clip in enumerate(video["clips"]):
                start, stop = _times(clip, f"{where}/{index}")
                takes.append(
                    Take(
                        id=f"{source}/{split}-{name}-{index:03d}",
                        source=source,
                        licence=licence,
                        path=path,
                        fps=None,
                        unit=None,
                        split=split,
                        labels={"talk": name, "start": f"{start:.3f}", "stop": f"{stop:.3f}"},
                        read="ted",
                        item=f"{key}/{index}",
                        speech=Media(
                            f"{path.relative_to(folder).as_posix()}#{key}/{index}/audio_raw",
                            words=_words(clip, start, f"{where}/{index}"),
                        ),
                        valid=parts,
                    )
                )
    if not takes:
        raise DataError(f"{folder}: the databases hold no clips; {hint}")
    return takes


def _database(folder: Path, split: str) -> Path | None:
    """The database of a split: TED-Gesture++ has ``lmdb_train``, TED-Expressive ``train``."""
    found = [folder / name / "data.mdb" for name in (f"lmdb_{split}", split)]
    return next((path for path in found if path.is_file()), None)


def _videos(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Key and content of each video, without arrays."""
    for key, data in LmdbFile(path).values.items():
        name = key.decode("ascii", errors="replace")
        yield name, _checked(read_serialized(data, f"{path}#{name}", arrays=False), f"{path}#{name}")


@lru_cache(maxsize=2)
def _video(path: Path, bytes_: int, key: str) -> dict[str, Any]:
    """One video with its arrays; kept, as its clips are read one after the other."""
    values = _opened(path, bytes_).values
    if key.encode() not in values:
        raise DataError(f"{path}: has no value {key!r}; was the file replaced?")
    return _checked(read_serialized(values[key.encode()], f"{path}#{key}"), f"{path}#{key}")


@lru_cache(maxsize=3)
def _opened(path: Path, bytes_: int) -> LmdbFile:
    return LmdbFile(path)


def _checked(video: Any, where: str) -> dict[str, Any]:
    if not isinstance(video, dict) or not isinstance(video.get("vid"), str) or not isinstance(video.get("clips"), list):
        raise DataError(f"{where}: 'vid' and a list 'clips' are needed; was this made by the publisher's scripts?")
    needed = ("skeletons_3d", "words", "start_time", "end_time")
    for index, clip in enumerate(video["clips"]):
        missing = [name for name in needed if not isinstance(clip, dict) or name not in clip]
        if missing:
            raise DataError(f"{where}/{index}: {listed(missing)} missing; the first TED dataset, in 2D, is not read")
    return video


def _times(clip: dict[str, Any], where: str) -> tuple[float, float]:
    """When a clip begins and ends in its video [s]."""
    start, stop = clip["start_time"], clip["end_time"]
    if not all(isinstance(time, int | float) for time in (start, stop)) or not 0 <= start < stop < _MAX_SECONDS:
        raise DataError(f"{where}: is from {start!r} to {stop!r} s; two times in order are needed")
    return float(start), float(stop)


def _words(clip: dict[str, Any], start: float, where: str) -> tuple[Timed, ...]:
    """The words in the time of the clip."""
    found = []
    for row in clip["words"]:
        if not isinstance(row, list) or len(row) != 3 or not isinstance(row[0], str):
            raise DataError(f"{where}: a word is {row!r:.60}; [word, start, stop] is needed")
        if not all(isinstance(time, int | float) and abs(time) < _MAX_SECONDS for time in row[1:]):
            raise DataError(f"{where}: the word {row[0]!r:.40} has no times in seconds")
        if row[0].strip():
            found.append(Timed(row[0].strip(), row[1] - start, row[2] - start))
    return tuple(found)


def read_ted(item: Take) -> Motion:
    """One clip of a talk. Frames in which nobody was seen are there as zeros; they are marked as unknown."""
    key, index = item.item.rsplit("/", 1)
    where = f"{item.path}#{item.item}"
    clip = _video(item.path, item.path.stat().st_size, key)["clips"][int(index)]
    start, stop = _times(clip, where)
    points = _points(clip["skeletons_3d"], where)
    joints, parents, parts = _LAYOUTS[points.shape[1]]
    values = torch.from_numpy(points).float()
    seen = (values != 0).any(-1).any(-1)
    if not seen.any():
        raise DataError(f"{where}: nobody is seen in any of {len(points)} frames")
    tree = CANONICAL_HANDS if HANDS[0] in parts else CANONICAL
    body = torch.stack([_point(values, joints[name]) for name in tree.names], dim=1)
    turned = rot.rotate(turn_up(_UP).to(body), body)
    known = torch.tensor([part in parts for part in PARTS]) & seen[:, None]
    try:
        # The estimates come at the video's rate or resampled: as its own loaders do, frames are spread over the clip.
        motion = motion_from_keypoints(turned, len(points) / (stop - start), known)
    except MotionloomError as error:
        raise DataError(f"{where}: {error}") from None
    odd = tuple(f"{flag.name}: {flag.detail}" for flag in raw_flags(values[seen, : len(parents)], parents))
    return motion.with_(provenance=Provenance(f"{item.path.name}#{item.item}", notes=(*odd, *motion.provenance.notes)))


def _point(values: torch.Tensor, point: int | tuple[int, int, float]) -> torch.Tensor:
    if isinstance(point, int):
        return values[:, point]
    first, second, share = point
    return torch.lerp(values[:, first], values[:, second], share)


def _points(frames: Any, where: str) -> np.ndarray:
    """The points ``(T, K, 3)`` of a clip, from an array or from one array a frame."""
    rows = list(frames) if isinstance(frames, list | np.ndarray) else []
    if not rows or not all(isinstance(row, np.ndarray) and row.size == rows[0].size for row in rows):
        raise DataError(f"{where}: 'skeletons_3d' is no list of arrays of one size")
    counts = {3 * count: count for count in _LAYOUTS}
    if rows[0].size not in counts:
        raise DataError(
            f"{where}: frames of {rows[0].size} numbers; 10 points (TED-Gesture++) or 43 (TED-Expressive) are needed"
        )
    points = np.stack(rows).reshape(len(rows), counts[rows[0].size], 3)
    return check_numbers(points, (None, points.shape[1], 3), where)


def s2g3d(folder: Path) -> list[Take]:
    """The sentences of Speech2Gesture-3D with their sound; split as the scripts that published it do.

    Raises:
        DataError: Motions or sound are missing.
    """
    need(folder, ("motion", "speech"), "download the dataset that Speech_driven_gesture_generation links there")
    found = {path: _S2G3D_NAME.fullmatch(path.stem) for path in sorted((folder / "motion").glob("*.bvh"))}
    files = {path: int(name[1]) for path, name in found.items() if name is not None}
    if not files:
        raise DataError(f"{folder}/motion: no files named gesture20.bvh; download the dataset again")
    need(folder, (f"speech/audio{number}.wav" for number in files.values()), "download all of the dataset")
    return [
        Take(
            id=f"s2g3d/{path.stem}",
            source="s2g3d",
            licence=licences.S2G3D,
            path=path,
            fps=None,
            unit=0.01,
            split=_s2g3d_split(number),
            labels={"number": str(number)},
            refuse="" if _S2G3D_FIRST <= number <= _S2G3D_LAST else "in no part of the published split",
            speech=Media(f"speech/audio{number}.wav"),
            # There are finger joints in the files, but nothing says that fingers were captured.
            valid=BODY,
        )
        for path, number in files.items()
    ]


def _s2g3d_split(number: int) -> str:
    if number < _S2G3D_HELD_OUT:
        return "train"
    return "test" if number % 2 == 0 else "val"

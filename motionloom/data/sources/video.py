"""Motions that were filmed: 3DPW, Human3.6M and MPI-INF-3DHP.

3DPW (von Marcard et al., ECCV 2018): ``sequenceFiles/<split>/<name>.pkl`` with SMPL poses at 30 fps of one or two
people, and their 2D keypoints. Human3.6M (Ionescu et al., TPAMI 2014): ``data_3d_h36m.npz``, which VideoPose3D's
scripts make of the publisher's D3_Positions: 32 joints in metres, Z up, 50 fps. MPI-INF-3DHP (Mehta et al., 3DV 2017):
``S1/Seq1/annot.mat`` with 28 joints in millimetres in the axes of each of 14 cameras. All for research only.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from motionloom import licences
from motionloom.data.formats.mat import read_mat
from motionloom.data.formats.pickle import read_pickle, read_pickled_array
from motionloom.data.sources import Media, Take
from motionloom.data.sources.common import BODY, need
from motionloom.data.sources.keypoints import keypoint_motion, sided
from motionloom.data.sources.smpl import smpl_motion
from motionloom.errors import DataError
from motionloom.motion.motion import Motion

_PW3D_FPS, _H36M_FPS = 30.0, 50.0
_PW3D_SPLITS = {"train": "train", "validation": "val", "test": "test"}
_H36M_SPLITS = {"S1": "train", "S5": "train", "S6": "train", "S7": "train", "S8": "train", "S9": "test", "S11": "test"}
"""The protocol that everybody reports on."""
_H36M = {
    "pelvis": 0, "spine1": (0, 12, 0.64), "spine2": 12, "spine3": (12, 13, 0.24), "neck": 13, "head": (13, 14, 0.8),
    **sided(
        {"hip": 6, "knee": 7, "ankle": 8, "foot": 9, "collar": (13, 17, 0.45), "shoulder": 17, "elbow": 18,
         "wrist": 19},
        {"hip": 1, "knee": 2, "ankle": 3, "foot": 4, "collar": (13, 25, 0.45), "shoulder": 25, "elbow": 26,
         "wrist": 27},
    ),
}  # fmt: skip
_MPI = {
    "pelvis": 4, "spine1": 3, "spine2": 2, "spine3": 0, "neck": 5, "head": 6,
    **sided(
        {"hip": 18, "knee": 19, "ankle": 20, "foot": 21, "collar": 8, "shoulder": 9, "elbow": 10, "wrist": 11},
        {"hip": 23, "knee": 24, "ankle": 25, "foot": 26, "collar": 13, "shoulder": 14, "elbow": 15, "wrist": 16},
    ),
}  # fmt: skip
_MPI_CAMERA = 0
"""All 14 see the same motion; this one is at chest height, its Y about down: a tilt of some degrees remains."""
_MPI_LONG = 9000
"""Sequences of about 6000 frames were filmed at 25 fps, those of about 12000 at 50."""


def pw3d(folder: Path) -> list[Take]:
    """The people of 3DPW's sequences, with its splits.

    Raises:
        DataError: There are no sequences, or one of them has another form.
    """
    home = folder / "sequenceFiles" if (folder / "sequenceFiles").is_dir() else folder
    need(home, _PW3D_SPLITS, "unpack 3DPW's sequenceFiles.zip there")
    files = [(split, path) for split in _PW3D_SPLITS for path in sorted((home / split).glob("*.pkl"))]
    if not files:
        raise DataError(f"{home}: train, validation and test are empty; unpack 3DPW's sequenceFiles.zip there")
    takes = []
    for split, path in files:
        people = len(_people(path))
        name = path.relative_to(folder).as_posix()
        takes += [
            Take(
                id=f"pw3d/{path.stem}-{person}",
                source="pw3d",
                licence=licences.PW3D,
                path=path,
                fps=_PW3D_FPS,
                unit=None,
                split=_PW3D_SPLITS[split],
                labels={"sequence": path.stem, "person": str(person)},
                read="pw3d",
                item=str(person),
                video=Media(f"imageFiles/{path.stem}", keypoints=f"{name}#poses2d/{person}"),
                valid=BODY,
            )
            for person in range(people)
        ]
    return takes


def _people(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Poses and root path of each person."""
    data = read_pickle(path)
    poses, paths = (data.get(key) if isinstance(data, dict) else None for key in ("poses", "trans"))
    if not isinstance(poses, list) or not isinstance(paths, list) or len(poses) != len(paths) or not poses:
        raise DataError(f"{path}: lists 'poses' and 'trans' with an array a person are needed, as 3DPW has them")
    if not all(isinstance(item, np.ndarray) for item in (*poses, *paths)):
        raise DataError(f"{path}: 'poses' and 'trans' hold something else than arrays")
    return list(zip(poses, paths, strict=True))


def read_pw3d(item: Take) -> Motion:
    """One person of a 3DPW file; the axis that points up is seen in the poses, and noted."""
    poses, path = _people(item.path)[int(item.item)]
    return smpl_motion(poses, path, _PW3D_FPS, "seen", str(item.path))


def h36m(folder: Path) -> list[Take]:
    """The recordings of Human3.6M, subjects 9 and 11 as the test split.

    Raises:
        DataError: The file is missing or has another form.
    """
    need(folder, ("data_3d_h36m.npz",), "make it with VideoPose3D's prepare_data_h36m.py from D3_Positions")
    path = folder / "data_3d_h36m.npz"
    takes = []
    for subject, actions in _h36m(path, path.stat().st_size).items():
        if subject not in _H36M_SPLITS or not isinstance(actions, dict):
            raise DataError(f"{path}: subject {subject!r} is unknown; they are {', '.join(_H36M_SPLITS)}")
        takes += [
            Take(
                id=f"h36m/{subject}-{action.replace(' ', '_')}",
                source="h36m",
                licence=licences.H36M,
                path=path,
                fps=_H36M_FPS,
                unit=None,
                split=_H36M_SPLITS[subject],
                labels={"subject": subject},
                read="h36m",
                item=f"{subject}/{action}",
                action=re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"\s*\d*$", "", action)).lower(),
                video=Media(f"{subject}/Videos/{action}"),
                valid=BODY,
            )
            for action in actions
        ]
    return takes


@lru_cache(maxsize=1)
def _h36m(path: Path, bytes_: int) -> dict[str, dict[str, Any]]:
    """Subject -> action -> positions; kept, as all takes are in one file."""
    value = read_pickled_array(path, "positions_3d")
    # An array of no dimensions around the table.
    value = value.item() if isinstance(value, np.ndarray) and value.shape == () else value
    if not isinstance(value, dict):
        raise DataError(f"{path}: 'positions_3d' holds no table of subjects")
    return value


def read_h36m(item: Take) -> Motion:
    """One recording of Human3.6M."""
    subject, action = item.item.split("/", 1)
    points = _h36m(item.path, item.path.stat().st_size)[subject][action]
    if not isinstance(points, np.ndarray) or points.ndim != 3 or points.shape[1] != 32:
        raise DataError(f"{item.path}: {item.item} has no array (T, 32, 3)")
    return keypoint_motion(points, _H36M, _H36M_FPS, "z", BODY, str(item.path))


def mpi(folder: Path) -> list[Take]:
    """The training sequences of MPI-INF-3DHP; subject 8 is kept for validation.

    Raises:
        DataError: There are none.
    """
    found = sorted(folder.rglob("S[1-8]/Seq[12]/annot.mat"))
    if not found:
        raise DataError(f"{folder}: no files S1/Seq1/annot.mat; run MPI-INF-3DHP's get_dataset.sh there")
    return [
        Take(
            id=f"mpi/{path.parts[-3]}-{path.parts[-2]}",
            source="mpi",
            licence=licences.MPI,
            path=path,
            fps=None,
            unit=None,
            split="val" if path.parts[-3] == "S8" else "train",
            labels={"subject": path.parts[-3], "sequence": path.parts[-2]},
            read="mpi",
            video=Media(
                (path.parent / "imageSequence" / f"video_{_MPI_CAMERA}.avi").relative_to(folder).as_posix(),
                keypoints=f"{path.relative_to(folder).as_posix()}#annot2/{_MPI_CAMERA}",
            ),
            valid=BODY,
        )
        for path in found
    ]


def read_mpi(item: Take) -> Motion:
    """One sequence of MPI-INF-3DHP, from one camera."""
    cells = read_mat(item.path, ("annot3",))["annot3"]
    if not isinstance(cells, list) or not isinstance(cells[_MPI_CAMERA], np.ndarray):
        raise DataError(f"{item.path}: 'annot3' is no cell of arrays, one a camera")
    points = cells[_MPI_CAMERA]
    if points.ndim != 2 or points.shape[1] != 84:
        raise DataError(f"{item.path}: 'annot3' of shape {points.shape}; frames of 28 joints are needed")
    fps = 50.0 if len(points) > _MPI_LONG else 25.0
    return keypoint_motion(points.reshape(-1, 28, 3) / 1000.0, _MPI, fps, "-y", BODY, str(item.path))

"""Datasets with classes of actions: HumanAct12, UESTC and NTU RGB+D 120.

HumanAct12 (Guo et al., "Action2Motion", ACM MM 2020): joints ``HumanAct12/P01G01R01F0001T0064A0101.npy`` or ACTOR's
``humanact12poses.pkl`` with SMPL poses; camera axes (Y down), 20 fps. UESTC (Ji et al., ACM MM 2018) as ACTOR
distributes its SMPL estimates: ``vibe_cache_refined.pkl`` and ``info/``; camera axes, 30 fps. NTU RGB+D 120 (Liu et
al., TPAMI 2019): ``S001C001P001R001A001.skeleton`` text files of Kinect's 25 joints [m], Y up, 30 fps.
"""

import re
import tomllib
from functools import lru_cache
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import numpy as np

from motionloom import licences
from motionloom.data.formats.pickle import read_pickle
from motionloom.data.sources import Take
from motionloom.data.sources.common import BODY, lines_of, listed, need, split_of
from motionloom.data.sources.keypoints import keypoint_motion, sided
from motionloom.data.sources.smpl import smpl_motion
from motionloom.errors import DataError
from motionloom.motion.files import parse_npy, read_bytes, read_text
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL

_HUMANACT12 = (
    "warm up", "walk", "run", "jump", "drink", "lift a dumbbell", "sit", "eat", "turn a steering wheel", "phone",
    "box", "throw",
)  # fmt: skip
_HUMANACT12_NAME = re.compile(r"(?P<take>P\d+G\d+R\d+)F\d+T\d+A(?P<action>\d\d)\d\d")
_HUMANACT12_FPS, _CAMERA_FPS = 20.0, 30.0
_SAME = {name: joint for joint, name in enumerate(CANONICAL.names)}
_UESTC_NAME = re.compile(r"a(\d+)_d(\d+)_p(\d+)_c(\d+)_color(\.avi)?")
# ACTOR's training subjects: the cross-subject protocol of the dataset.
_UESTC_TRAIN = frozenset(
    (1, 2, 6, 12, 13, 16, 21, 24, 28, 29, 30, 31, 33, 35, 39, 41, 42, 45, 47, 50, 52, 54, 55, 57, 59, 61, 63, 64, 67,
     69, 70, 71, 73, 77, 81, 84, 86, 87, 88, 90, 91, 93, 96, 99, 102, 103, 104, 107, 108, 112, 113)
)  # fmt: skip
_NTU_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")
_NTU_PAIRS = frozenset((*range(50, 61), *range(106, 121)))
"""Actions of two people."""
_NTU_TRAIN = frozenset(
    (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38, 45, 46, 47, 49, 50, 52, 53, 54, 55, 56,
     57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93, 94, 95, 97, 98, 100, 103)
)  # fmt: skip
"""Training subjects of the published cross-subject protocol."""
_KINECT = {
    "pelvis": 0, "spine1": (0, 1, 0.6), "spine2": 1, "spine3": (1, 20, 0.3), "neck": (20, 2, 0.6),
    "head": (2, 3, 0.5),
    **sided(
        {"hip": 12, "knee": 13, "ankle": 14, "foot": 15, "collar": (20, 4, 0.45), "shoulder": 4, "elbow": 5,
         "wrist": 6},
        {"hip": 16, "knee": 17, "ankle": 18, "foot": 19, "collar": (20, 8, 0.45), "shoulder": 8, "elbow": 9,
         "wrist": 10},
    ),
}  # fmt: skip


@lru_cache(maxsize=1)
def _pickle(path: Path, bytes_: int) -> Any:
    """A pickle, kept: all takes of a dataset are in it."""
    return read_pickle(path)


def _kept(path: Path) -> Any:
    return _pickle(path, path.stat().st_size)


def humanact12(folder: Path) -> list[Take]:
    """HumanAct12: from ACTOR's poses where they are there, else from its joints.

    Raises:
        DataError: Neither is there, or a file has another name or form.
    """
    table = next(iter(sorted(folder.rglob("humanact12poses.pkl"))), None)
    if table is not None:
        data = _kept(table)
        lists = [data.get(key, ()) if isinstance(data, dict) else () for key in ("poses", "joints3D", "y")]
        if len({len(rows) for rows in lists}) != 1 or len(lists[0]) == 0:
            raise DataError(f"{table}: lists 'poses', 'joints3D' and 'y' of one length are needed")
        # Neighbours are cuts of one recording: whole blocks go to one split.
        rows = [(table, str(index), f"{index:04d}", int(y), str(index // 20)) for index, y in enumerate(data["y"])]
    else:
        found = {path: _HUMANACT12_NAME.fullmatch(path.stem) for path in sorted(folder.rglob("P*.npy"))}
        rows = [(path, "", path.stem, int(name["action"]) - 1, name["take"]) for path, name in found.items() if name]
        if not rows:
            raise DataError(f"{folder}: humanact12poses.pkl is missing, and so are files named P01G01R01F...A0101.npy")
    odd = [name for _, _, name, action, _ in rows if not 0 <= action < len(_HUMANACT12)]
    if odd:
        raise DataError(f"{folder}: {listed(odd)}: actions of {len(_HUMANACT12)} classes are needed")
    return [
        Take(
            id=f"humanact12/{name}",
            source="humanact12",
            licence=licences.HUMANACT12,
            path=path,
            fps=_HUMANACT12_FPS,
            unit=None,
            split=split_of(f"humanact12 {group}"),
            labels={"class": str(action)},
            read="humanact12",
            item=item,
            action=_HUMANACT12[action],
            valid=BODY,
        )
        for path, item, name, action, group in rows
    ]


def read_humanact12(item: Take) -> Motion:
    """One motion of ACTOR's pickle (SMPL poses, the root from the joints), or one file of joints (T, 24, 3)."""
    where = f"{item.path}"
    if item.path.suffix == ".npy":
        return keypoint_motion(parse_npy(read_bytes(item.path), where), _SAME, _HUMANACT12_FPS, "-y", BODY, where)
    data, index = _kept(item.path), int(item.item)
    poses, joints = data["poses"][index], data["joints3D"][index]
    if not isinstance(poses, np.ndarray) or not isinstance(joints, np.ndarray) or joints.ndim != 3:
        raise DataError(f"{where}: motion {index} has no arrays of poses (T, 72) and joints (T, 24, 3)")
    return smpl_motion(poses, joints[:, 0], _HUMANACT12_FPS, "-y", where)


def uestc(folder: Path) -> list[Take]:
    """UESTC's videos as SMPL, with the subjects of the cross-subject protocol as splits.

    Raises:
        DataError: The poses or the lists of names are missing or wrong.
    """
    hint = "unpack ACTOR's uestc archive there"
    need(folder, ("vibe_cache_refined.pkl", "info/names.txt", "info/action_classes.txt"), hint)
    names = lines_of(folder / "info" / "names.txt")
    actions = lines_of(folder / "info" / "action_classes.txt")
    takes = []
    for index, name in enumerate(names):
        words = _UESTC_NAME.fullmatch(name)
        if words is None or int(words[1]) >= len(actions):
            raise DataError(f"{folder}/info/names.txt:{index + 1}: {name!r} is not a0_d1_p001_c1_color.avi of a class")
        action = " ".join(re.sub(r"[-_]", " ", actions[int(words[1])]).split()).lower()
        takes.append(
            Take(
                id=f"uestc/{name.removesuffix('.avi')}",
                source="uestc",
                licence=licences.UESTC,
                path=folder / "vibe_cache_refined.pkl",
                fps=_CAMERA_FPS,
                unit=None,
                split="train" if int(words[3]) in _UESTC_TRAIN else "test",
                labels={"class": words[1], "view": words[2], "subject": words[3], "side": words[4]},
                read="uestc",
                item=str(index),
                action=action,
                # Its estimates are of single frames in an image: the path through the room is not known.
                valid=tuple(part for part in BODY if part != "root"),
            )
        )
    return takes


def read_uestc(item: Take) -> Motion:
    """One motion of UESTC's pickle, in place."""
    data, index = _kept(item.path), int(item.item)
    poses = data.get("pose") if isinstance(data, dict) else None
    if poses is None or len(poses) <= index or not isinstance(poses[index], np.ndarray):
        raise DataError(f"{item.path}: list 'pose' with an array (T, 72) for video {index} is needed")
    return smpl_motion(poses[index], np.zeros((len(poses[index]), 3)), _CAMERA_FPS, "-y", str(item.path))


def ntu(folder: Path) -> list[Take]:
    """The skeletons of NTU RGB+D 60 and 120; of actions of two people each is a take.

    Raises:
        DataError: There are no skeleton files.
    """
    found = {path: _NTU_NAME.fullmatch(path.stem) for path in sorted(folder.rglob("*.skeleton"))}
    if not any(found.values()):
        raise DataError(f"{folder}: no files named S001C001P001R001A001.skeleton; unpack NTU RGB+D's skeletons there")
    actions = _ntu_actions()
    takes = []
    for path, name in found.items():
        if name is None or not 1 <= int(name[5]) <= len(actions):
            raise DataError(f"{path}: the name is not S001C001P001R001A001.skeleton with action 1 to {len(actions)}")
        people = 2 if int(name[5]) in _NTU_PAIRS else 1
        takes += [
            Take(
                id=f"ntu/{path.stem}" + (f"-{person}" if people > 1 else ""),
                source="ntu",
                licence=licences.NTU,
                path=path,
                fps=_CAMERA_FPS,
                unit=None,
                split="train" if int(name[3]) in _NTU_TRAIN else "test",
                labels={"class": name[5], "subject": name[3], "camera": name[2], "setup": name[1]},
                read="ntu",
                item=str(person),
                action=actions[int(name[5]) - 1],
                valid=BODY,
            )
            for person in range(people)
        ]
    return takes


def _ntu_actions() -> list[str]:
    return tomllib.loads(resources("motionloom.data").joinpath("ntu_actions.toml").read_text("utf-8"))["actions"]


def read_ntu(item: Take) -> Motion:
    """The person of a skeleton file who is seen longest and moves most, or the next one."""
    bodies = sorted(_bodies(item.path).values(), key=lambda body: (-len(body), -float(np.std(body, axis=0).sum())))
    rank = int(item.item)
    if rank >= len(bodies):
        raise DataError(f"{item.path}: {len(bodies)} people are seen; person {rank + 1} is not")
    return keypoint_motion(bodies[rank], _KINECT, _CAMERA_FPS, "y", BODY, str(item.path))


def _bodies(path: Path) -> dict[str, np.ndarray]:
    """Joints (T, 25, 3) of each person; a frame without people is skipped.

    The file: number of frames; for each the number of people; for each of those a line that starts with their id,
    the number of joints, and a line of 12 numbers a joint of which the first three are its place.
    """
    lines = iter(enumerate(read_text(path).split("\n"), start=1))
    found: dict[str, list[list[list[float]]]] = {}
    number, line = 0, ""
    try:
        number, line = next(lines)
        for _ in range(int(line)):
            number, line = next(lines)
            for _ in range(int(line)):
                number, line = next(lines)
                person = line.split()[0]
                number, line = next(lines)
                if int(line) != 25:
                    raise DataError(f"{path}:{number}: {line.strip()[:20]} joints; Kinect's 25 are needed")
                frame = []
                for _ in range(25):
                    number, line = next(lines)
                    x, y, z = (float(cell) for cell in line.split()[:3])
                    frame.append([x, y, z])
                found.setdefault(person, []).append(frame)
    except (ValueError, IndexError):
        raise DataError(f"{path}:{number}: {line[:40]!r} where a number is needed") from None
    except StopIteration:
        raise DataError(f"{path}: ends after {number} lines, within a frame; download it again") from None
    if not found:
        raise DataError(f"{path}: no person is seen in any frame")
    return {person: np.array(frames) for person, frames in found.items()}

"""Sets of short clips, one action each, whose ``manifest.csv`` gives every clip a sentence.

SmartBody's behaviour sets (USC ICT; LGPL 2.1), UI-PRMD (Vakanski et al., "A Data Set of Human Body Movements for
Physical Rehabilitation Exercises", Data 2018; public domain), a cut of HDM05 (Müller et al., "Documentation Mocap
Database HDM05", CG-2007-2; CC BY-SA 3.0), more trials of the CMU database, and Mesh2Motion's clips (CC0). The
manifest's sentence is the label ``description``; ``captions_actions.toml`` has the wordings.

Where a file holds one repetition of an exercise, some takes join two or three of them, and say so (label ``count``).
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from motionloom import licences
from motionloom.data.captions import action_of
from motionloom.data.sources import Take, Timed
from motionloom.data.sources.common import BODY, need, number, read_table, split_of, within
from motionloom.data.sources.keypoints import keypoint_motion
from motionloom.data.sources.kitml import sentences_of
from motionloom.errors import DataError
from motionloom.licences import Licence
from motionloom.motion import io
from motionloom.motion.edit import join
from motionloom.motion.files import parse_npy, read_bytes
from motionloom.motion.motion import Motion
from motionloom.motion.retarget import retarget
from motionloom.motion.skeleton import CANONICAL

_MANIFEST = "manifest.csv"
_FEW = 6
"""Actions with fewer descriptions are not split: nothing of the action would be left to learn from."""
_SAME = {name: joint for joint, name in enumerate(CANONICAL.names)}
_UI_PRMD_FPS = 20.0
_UI_PRMD_SPLITS = {"s04": "val", "s09": "test"}
_HDM05_SPLITS = {"mm": "test"}
_RENAMED = {
    "91_48": "a person jumps and turns 90 degrees to the left in the air",
    "91_49": "a person jumps and turns 90 degrees to the left in the air",
    "91_50": "a person jumps and turns 90 degrees to the left in the air",
    "91_51": "a person jumps and turns 90 degrees to the left in the air",
    "91_52": "a person jumps and turns 90 degrees to the left in the air",
    "91_53": "a person jumps and turns 180 degrees to the left in the air",
    "91_54": "a person jumps and turns 180 degrees to the left in the air",
    "brad_ChrBrad_Entrance": "a person walks in, turns to the right and stops",
    "brad_ChrBrad_WalkCircleRt01": "a person walks in a circle to the left",
    "brad_ChrBrad_WalkTightCircleRt01": "a person walks in a tight circle to the left",
    "femalegestures_ChrConnor_IdleCross01_ThrowAwayRt01": (
        "a person sits on a chair and waves something off with the right hand"
    ),
    "gestures2_ChrBrad_Idle01_ToWalk01_Turn180Rt01": "a person starts to walk while turning 180 degrees to the left",
    "gestures2_ChrBrad_Idle01_ToWalk01_Turn360Rt01": "a person starts to walk while turning 360 degrees to the left",
    "gestures2_ChrBrad_Idle01_ToWalk01_Turn90Rt01": "a person starts to walk while turning 90 degrees to the left",
    "malelocomotion_ChrUtah_Shuffle01": "a person shuffles forward",
    "malelocomotion_ChrUtah_Shuffle01_Idle01": "a person shuffles forward",
    "utahcrouch_ChrUtah_CrouchBlock02High_swayLf": "a person sways with raised forearms to dodge",
    "utahcrouch_ChrUtah_CrouchBlock02High_swayRt": "a person sways with raised forearms to dodge",
    "utahcrouch_ChrUtah_Relax001_CrouchBlock02High": "a person sways with raised forearms to dodge",
    "utahcrouch_ChrUtah_Relax001_CrouchProtectHead_center": "a person ducks down and protects the head",
    "utahcrouch_ChrUtah_Relax001_CrouchProtectHead_right": "a person ducks down and protects the head",
}
"""Clips whose sentence is not what they show, or says less than can be measured: circles and turns to the other side,
walks that are called idle, guards that are no crouch, jumps that turn."""
_RENAMED_CLASS = {
    "elbowToKnee1RepsLelbowStart": "a person brings the left elbow to the right knee",
}
"""Classes of HDM05 whose sentence says more than their clips show: these hold one half of the exercise."""
_BLEND = 0.15
"""Over this time [s] one repetition goes over into the next."""
# Repetitions of an exercise by one subject as takes: each number is the count of neighbours that are joined. Ten
# repetitions are near copies of one another: a few takes of them hold the class's share down.
_PLAN = (1, 1, 2, 2, 3)
_MANY = 10
"""Of so many repetitions the first is left out: it often holds the way into the pose."""
_UI_PRMD_BROKEN = {
    "uiprmd_m04_s05_e01": "the lengths of bones vary by 134 %",
    "uiprmd_m05_s05_e01": "the lengths of bones vary by 141 %",
    "uiprmd_m01_s05_e01": "the lengths of bones vary by 75 %",
    "uiprmd_m10_s05_e03": "the lengths of bones vary by 96 %",
}
"""Repetitions whose markers went wrong, found by their bones."""
_STILL = frozenset({"idle", "guard", "lying", "sitting", "kneel"})
"""Actions that are poses: where they are told from frozen captures by their label."""
_REPEATED = frozenset(
    {"elbowToKnee1RepsLelbowStart", "hopBothLegs1hops", "jogLeftCircle4StepsRstart", "kickLFront1Reps",
     "rotateArmsBothBackward1Reps", "sneak2StepsLStart", "squat1Reps"}
)  # fmt: skip
"""Classes of HDM05 whose clips are one repetition each, and whose repetitions are joined."""


def smartbody(folder: Path) -> list[Take]:
    """SmartBody's clips; held out by description, for several characters play the same one.

    Raises:
        DataError: The manifest or a file it names is missing.
    """
    rows = _manifest(folder, ("clip", "file", "fps", "caption", "group", "character"))
    splits = _splits(rows)
    return [
        Take(
            id=f"smartbody/{row['clip']}",
            source="smartbody",
            licence=licences.SMARTBODY,
            path=within(folder, row["file"], _MANIFEST),
            fps=number(row["fps"], f"{folder / _MANIFEST}: {row['clip']}"),
            unit=0.01,
            split=splits[row["caption"]],
            labels={"description": row["caption"], "group": row["group"], "character": row["character"]},
            action=action_of(row["caption"]),
            still=action_of(row["caption"]) in _STILL,
        )
        for row in rows
    ]


def mesh2motion(folder: Path) -> list[Take]:
    """Mesh2Motion's clips, keyed by hand; held out by description.

    Raises:
        DataError: The manifest or a file it names is missing.
    """
    rows = _manifest(folder, ("clip", "file", "fps", "caption"))
    return [
        Take(
            id=f"mesh2motion/{row['clip']}",
            source="mesh2motion",
            licence=licences.MESH2MOTION,
            path=within(folder, row["file"], _MANIFEST),
            fps=number(row["fps"], f"{folder / _MANIFEST}: {row['clip']}"),
            unit=None,
            split="train",
            labels={"description": row["caption"]},
            action=action_of(row["caption"]),
            still=action_of(row["caption"]) in _STILL,
        )
        for row in rows
    ]


def cmu_more(folder: Path) -> list[Take]:
    """Further trials of the CMU database, of several skeletons; the sentences people wrote for them are used too.

    Raises:
        DataError: The manifest or a file it names is missing.
    """
    rows = _manifest(folder, ("clip", "file", "fps", "caption", "human_captions"))
    return [
        Take(
            id=f"cmu-more/{row['clip']}",
            source="cmu-more",
            licence=licences.CMU,
            path=within(folder, row["file"], _MANIFEST),
            fps=number(row["fps"], f"{folder / _MANIFEST}: {row['clip']}"),
            unit=None,
            split=split_of(f"cmu-more {row['clip']}"),
            labels={"description": row["caption"]} | kept,
            texts=tuple(Timed(text) for text in used),
            action=action_of(row["caption"]),
        )
        for row in rows
        for used, kept in [sentences_of(row["clip"], tuple(filter(None, row["human_captions"].split(";"))))]
    ]


def ui_prmd(folder: Path) -> list[Take]:
    """UI-PRMD's exercises; held out by subject.

    Raises:
        DataError: The manifest or a file it names is missing.
    """
    rows = _manifest(folder, ("clip", "file", "caption", "subject"))
    groups: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        if row["clip"] not in _UI_PRMD_BROKEN:
            groups[row["caption"], row["subject"]].append(row)
    return [
        _repeated(folder, several, "ui-prmd", licences.UI_PRMD, "ui-prmd", _UI_PRMD_FPS,
                  _UI_PRMD_SPLITS.get(subject, "train"))
        for (_, subject), group in sorted(groups.items())
        for several in _planned(group)
    ]  # fmt: skip


def hdm05(folder: Path) -> list[Take]:
    """The classes of HDM05 that the cut holds; held out by actor.

    Raises:
        DataError: The manifest or a file it names is missing.
    """
    rows = _manifest(folder, ("clip", "file", "fps", "caption", "actor", "motion_class"))
    rows = [row | {"caption": _RENAMED_CLASS.get(row["motion_class"], row["caption"])} for row in rows]
    groups: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        groups[row["motion_class"], row["actor"]].append(row)
    takes = []
    for (motion_class, actor), group in sorted(groups.items()):
        repeats = _planned(group) if motion_class in _REPEATED else []
        for several in [[row] for row in group] + [rows for rows in repeats if len(rows) > 1]:
            takes.append(
                _repeated(folder, several, "hdm05", licences.HDM05, "hdm05", None, _HDM05_SPLITS.get(actor, "train"))
            )
    return takes


def _planned(group: list[dict[str, str]]) -> list[list[dict[str, str]]]:
    """Neighbouring repetitions, as many together as the plan says."""
    found, rest = [], sorted(group, key=lambda row: row["clip"])
    if len(rest) >= _MANY:
        rest = rest[1:]
    for count in _PLAN:
        if len(rest) >= count:
            found.append(rest[:count])
            rest = rest[count:]
    return found


def _repeated(
    folder: Path, rows: list[dict[str, str]], source: str, licence: Licence, read: str, fps: float | None, split: str
) -> Take:
    """One take of one or several repetitions."""
    first, count = rows[0], len(rows)
    name = first["clip"] + (f"x{count}" if count > 1 else "")
    labels = {"description": first["caption"]}
    labels |= {key: first[key] for key in ("subject", "actor", "side") if first.get(key)}
    return Take(
        id=f"{source}/{name}",
        source=source,
        licence=licence,
        path=within(folder, first["file"], _MANIFEST),
        fps=fps,
        unit=None,
        split=split,
        labels=labels | {"count": str(count)},
        read=read,
        item="|".join(str(within(folder, row["file"], _MANIFEST).name) for row in rows[1:]),
        valid=BODY,
        action=action_of(first["caption"]),
    )


def read_ui_prmd(item: Take) -> Motion:
    """Positions (T, 22, 3) of one repetition or several, which follow each other in the recording."""
    paths = [item.path, *(item.path.with_name(name) for name in item.item.split("|") if name)]
    pieces = []
    for path in paths:
        points = np.asarray(parse_npy(read_bytes(path), f"{path}"), np.float64)
        if points.ndim != 3 or points.shape[1:] != (len(CANONICAL), 3):
            raise DataError(f"{path}: an array of {points.shape}; frames x 22 joints x 3 are needed")
        pieces.append(points)
    points = pieces[0]
    for piece in pieces[1:]:
        points = _faded(points, piece, round(_BLEND * _UI_PRMD_FPS))
    return keypoint_motion(points, _SAME, _UI_PRMD_FPS, "y", BODY, f"{item.path}")


def _faded(first: np.ndarray, second: np.ndarray, frames: int) -> np.ndarray:
    """One behind the other; what they differ by where they meet is spread over the frames on both sides."""
    gap = second[0] - first[-1]
    share = 0.5 * np.clip(1 - np.arange(max(len(first), len(second))) / max(1, frames), 0, 1) ** 2
    return np.concatenate(
        (first + share[: len(first)][::-1, None, None] * gap, second - share[: len(second), None, None] * gap)
    )


def read_hdm05(item: Take) -> Motion:
    """A trial in Acclaim files, or several one after the other."""
    motion = retarget(io.load(item.path))
    for name in filter(None, item.item.split("|")):
        motion = join(motion, retarget(io.load(item.path.with_name(name))), blend=_BLEND)
    if not torch.isfinite(motion.root).all():
        raise DataError(f"{item.path}: places of the root that are no numbers")
    return motion


def _manifest(folder: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    hint = "unpack the archive, put its manifest.csv beside the files and give that folder"
    need(folder, [_MANIFEST], hint)
    rows = read_table(folder / _MANIFEST, columns)
    need(folder, [row["file"] for row in rows], hint)
    return [row | {"caption": _RENAMED.get(row["clip"], row["caption"])} for row in rows]


def _splits(rows: list[dict[str, str]]) -> dict[str, str]:
    """Split of each description: drawn by its words, but actions with few descriptions are for training."""
    of: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        of[action_of(row["caption"])].add(row["caption"])
    return {
        caption: "train" if len(captions) < _FEW else split_of(f"smartbody {caption}")
        for captions in of.values()
        for caption in captions
    }

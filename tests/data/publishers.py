"""Motions under the joint names and in the rest poses of published BVH datasets, for tests of their readers."""

from pathlib import Path

import torch
from corpus import CMU_NAMES

from motionloom.motion import rotations as rot
from motionloom.motion.io import save
from motionloom.motion.joint_maps import joint_maps
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL, Skeleton

LAFAN_NAMES = CMU_NAMES | {
    "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "left_foot": "LeftToe", "right_foot": "RightToe",
}  # fmt: skip
BEAT_NAMES = LAFAN_NAMES | {"left_foot": "LeftToeBase", "right_foot": "RightToeBase"}
XSENS_NAMES = {
    "pelvis": "Hips", "spine1": "Chest", "spine2": "Chest3", "spine3": "Chest4", "neck": "Neck", "head": "Head",
    **{
        f"{side}_{ours}": f"{side.title()}{theirs}"
        for side in ("left", "right")
        for ours, theirs in (
            ("hip", "Hip"), ("knee", "Knee"), ("ankle", "Ankle"), ("foot", "Toe"), ("collar", "Collar"),
            ("shoulder", "Shoulder"), ("elbow", "Elbow"), ("wrist", "Wrist"),
        )
    },
}  # fmt: skip


def as_beat(motion: Motion) -> Motion:
    """The same motion under BEAT's names: four joints of the spine, two of the neck, ends with names of their own."""
    named = _renamed(motion, BEAT_NAMES, motion.rotations)
    names, parents = list(named.skeleton.names), list(named.skeleton.parents)
    offsets, rotations = named.skeleton.offsets.tolist(), named.rotations
    for name, parent, offset in (
        ("Spine3", "Spine2", (0.0, 0.08, 0.0)), ("Neck1", "Neck", (0.0, 0.05, 0.0)),
        ("HeadEnd", "Head", (0.0, 0.15, 0.0)), ("LeftToeBaseEnd", "LeftToeBase", (0.0, 0.0, 0.05)),
        ("LeftHandMiddle1", "LeftHand", (0.09, 0.0, 0.0)),
    ):  # fmt: skip
        names.append(name)
        parents.append(names.index(parent))
        offsets.append(list(offset))
        rotations = torch.cat((rotations, rot.identity(len(motion), 1)), dim=1)
    return Motion(Skeleton(tuple(names), tuple(parents), torch.tensor(offsets)), rotations, motion.root, motion.fps)


def as_xsens(motion: Motion) -> Motion:
    """The same motion under the names of 100STYLE, whose rest pose is a T-pose."""
    return _renamed(motion, XSENS_NAMES, motion.rotations)


def as_lafan(motion: Motion) -> Motion:
    """The same motion on LAFAN1's skeleton, where every joint has axes of its own in the T-pose."""
    (axes,) = (entry for entry in joint_maps() if entry.name == "lafan1")
    named = _renamed(motion, LAFAN_NAMES, motion.rotations)
    reference = axes.reference(named.skeleton)
    assert reference is not None
    parents = list(named.skeleton.parents)
    above = torch.stack([rot.identity() if parent < 0 else reference[parent] for parent in parents])
    local = rot.multiply(rot.multiply(rot.conjugate(above), motion.rotations), reference)
    offsets = rot.rotate(rot.conjugate(above), named.skeleton.offsets)
    return Motion(Skeleton(named.skeleton.names, named.skeleton.parents, offsets), local, motion.root, motion.fps)


def _renamed(motion: Motion, names: dict[str, str], rotations: torch.Tensor) -> Motion:
    skeleton = Skeleton(
        tuple(names[name] for name in CANONICAL.names), CANONICAL.parents, motion.skeleton.offsets.clone()
    )
    return Motion(skeleton, rotations, motion.root, motion.fps)


def write_cm(motion: Motion, path: Path) -> None:
    """A BVH file in centimetres, as these datasets are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save(motion, path, unit="cm")

"""Small corpora that tests write themselves, in the layout of the real ones."""

import csv
import math
from pathlib import Path

import torch

from motionloom.motion import rotations as rot
from motionloom.motion.io import save
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL, Skeleton

# Canonical joint -> CMU's name; spine2 has no joint of its own there.
CMU_NAMES = {
    "pelvis": "Hips", "left_hip": "LeftUpLeg", "right_hip": "RightUpLeg", "spine1": "Spine", "left_knee": "LeftLeg",
    "right_knee": "RightLeg", "left_ankle": "LeftFoot", "right_ankle": "RightFoot", "spine3": "Spine1",
    "left_foot": "LeftToeBase", "right_foot": "RightToeBase", "neck": "Neck1", "left_collar": "LeftShoulder",
    "right_collar": "RightShoulder", "head": "Head", "left_shoulder": "LeftArm", "right_shoulder": "RightArm",
    "left_elbow": "LeftForeArm", "right_elbow": "RightForeArm", "left_wrist": "LeftHand", "right_wrist": "RightHand",
}  # fmt: skip


def walk(frames: int, seed: int, fps: float = 120.0) -> Motion:
    """A stylised walk on the canonical body: legs and arms swing, the root goes forward."""
    generator = torch.Generator().manual_seed(seed)
    phase, pace = torch.rand(2, generator=generator).tolist()
    time = torch.arange(frames) / fps
    swing = torch.sin(2 * math.pi * (0.8 + 0.4 * pace) * time + 2 * math.pi * phase)
    rotations = rot.identity(frames, 22)
    for name, axis, size in (
        ("left_hip", "X", -0.5), ("right_hip", "X", 0.5), ("left_knee", "X", 0.3), ("right_knee", "X", 0.3),
        ("left_shoulder", "Z", 0.2), ("right_shoulder", "Z", 0.2), ("spine2", "Y", 0.1),
    ):  # fmt: skip
        bend = size * swing if "knee" not in name else size * (1 + swing)
        rotations[:, CANONICAL.index(name)] = rot.about(axis, bend)
    root = torch.zeros(frames, 3)
    root[:, 1], root[:, 2] = CANONICAL.offsets[0, 1], (0.8 + 0.6 * pace) * time
    return Motion(CANONICAL, rotations, root, fps)


def as_cmu(motion: Motion) -> Motion:
    """The same motion on a skeleton with CMU's joint names (without spine2, whose turn is lost)."""
    kept = [index for index, name in enumerate(CANONICAL.names) if name in CMU_NAMES]
    parents = []
    for index in kept:
        parent = CANONICAL.parents[index]
        while parent >= 0 and parent not in kept:
            parent = CANONICAL.parents[parent]
        parents.append(kept.index(parent) if parent >= 0 else -1)
    offsets = CANONICAL.offsets[kept].clone()
    offsets[[CANONICAL.names[index] for index in kept].index("spine3")] += CANONICAL.offsets[CANONICAL.index("spine2")]
    skeleton = Skeleton(tuple(CMU_NAMES[CANONICAL.names[index]] for index in kept), tuple(parents), offsets)
    return Motion(skeleton, motion.rotations[:, kept], motion.root, motion.fps)


def write_cmu(folder: Path, clips: int = 12, frames: int = 240) -> Path:
    """A folder as the CMU subset is distributed: manifest.csv and BVH files."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(clips):
        name = f"{index + 2:02d}_01"
        (folder / name[:2]).mkdir(exist_ok=True)
        save(as_cmu(walk(frames, index)), folder / name[:2] / f"{name}.bvh")
        label = "walk" if index % 2 else "run/jog"
        rows.append((name, index + 2, f"{name[:2]}/{name}.bvh", "bvh", frames, 120.0, label))
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("clip", "subject", "file", "format", "frames", "fps", "description"))
        writer.writerows(rows)
    return folder

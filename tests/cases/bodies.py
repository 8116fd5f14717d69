"""Files as programs write them, with everything that is usual and odd: made from motions of the canonical body."""

from pathlib import Path

import make
import numpy as np
import rigs
import torch

from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import Skeleton

_SIDED = ("UpLeg", "Leg", "Foot", "ToeBase", "Shoulder", "Arm", "ForeArm", "Hand")
_LIMBS = ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist")
MIXAMO = {
    "pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "head": "Head",
    **{f"{side}_{limb}": side.capitalize() + name for side in ("left", "right")
       for limb, name in zip(_LIMBS, _SIDED, strict=True)},
}  # fmt: skip
UNREAL = {
    "pelvis": "pelvis", "spine1": "spine_01", "spine2": "spine_02", "spine3": "spine_03", "neck": "neck_01",
    "head": "head",
    **{f"{side}_{limb}": f"{name}_{side[0]}" for side in ("left", "right")
       for limb, name in zip(_LIMBS, ("thigh", "calf", "foot", "ball", "clavicle", "upperarm", "lowerarm", "hand"),
                             strict=True)},
}  # fmt: skip
CMU = {
    "pelvis": "Hips", "left_hip": "LeftUpLeg", "right_hip": "RightUpLeg", "spine1": "Spine", "spine3": "Spine1",
    "neck": "Neck", "head": "Head",
    **{f"{side}_{limb}": side.capitalize() + name for side in ("left", "right")
       for limb, name in zip(_LIMBS, _SIDED, strict=True)},
}  # fmt: skip
QUARTER = rot.about("X", torch.tensor(torch.pi / 2))


def walk(frames: int = 30, seed: int = 3) -> Motion:
    """A person who walks, on the canonical body."""
    return make.motion(frames, seed)


def turned(motion: Motion, turn: torch.Tensor) -> Motion:
    """The world of a motion turned, as a file with other axes has it; the rest pose stays."""
    rotations = motion.rotations.clone()
    rotations[:, 0] = rot.multiply(turn, rotations[:, 0])
    return motion.with_(rotations=rotations, root=rot.rotate(turn, motion.root))


def worn(motion: Motion, names: dict[str, str], **options: object) -> Motion:
    """The motion on a rig of those names (see ``rigs.Rig``), which has only those joints."""
    rig = rigs.Rig(names, **options)  # pyright: ignore[reportArgumentType]
    return rigs.wear(rigs.held_still(motion, rig), rig)


def holding_root(motion: Motion) -> Motion:
    """A rig whose root never turns: joints of no length between it and its children do, as in CMU's converted files."""
    source = motion.skeleton
    names, parents, offsets, rotations = ["Hips"], [-1], [torch.zeros(3)], [rot.identity(len(motion))]
    helpers = {"LeftUpLeg": "LHipJoint", "RightUpLeg": "RHipJoint", "Spine": "LowerBack"}
    for joint in range(1, len(source)):
        parent = source.parents[joint]
        above = names.index(source.names[parent])
        if parent == 0:
            names.append(helpers[source.names[joint]])
            parents.append(0)
            offsets.append(torch.zeros(3))
            rotations.append(motion.rotations[:, 0])
            above = len(names) - 1
        names.append(source.names[joint])
        parents.append(above)
        offsets.append(source.offsets[joint])
        rotations.append(motion.rotations[:, joint])
    skeleton = Skeleton(tuple(names), tuple(parents), torch.stack(offsets))
    return Motion(skeleton, torch.stack(rotations, 1), motion.root, motion.fps)


def bvh(
    path: Path,
    motion: Motion,
    *,
    unit: float = 0.01,
    frame_time: str | None = None,
    announced: int | None = None,
    channels: str = "root",
    above: tuple[str, ...] = (),
    beside: tuple[str, ...] = (),
    rows: list[int] | None = None,
    root_offset: bool = True,
) -> Path:
    """Write a BVH by the letter.

    Args:
        path: The file.
        motion: The motion.
        unit: Metres a unit.
        frame_time: What stands behind ``Frame Time:``.
        announced: What stands behind ``Frames:``.
        channels: "root": positions of the root only; "all": positions of all joints, whose OFFSETs are then 0.
        above: Names of joints above the root that do nothing, but whose child has position channels.
        beside: Names of joints beside the root, below the first of ``above``.
        rows: Frames in the order of their rows.
        root_offset: Whether the root's rest place is in the file.
    """
    skeleton, digits = motion.skeleton, 6
    angles = np.rad2deg(rot.to_euler(rot.normalize(motion.rotations.double()), "ZXY").numpy())
    root, offsets = motion.root.numpy() / unit, skeleton.offsets.numpy() / unit
    turn, place = "Zrotation Xrotation Yrotation", "Xposition Yposition Zposition"
    lines, columns = ["HIERARCHY"], []
    frames = len(motion)
    still = np.zeros((frames, 6))

    def open_(name: str, offset: np.ndarray, moved: np.ndarray | None, angle: np.ndarray, first: bool) -> None:
        lines.extend([f"{'ROOT' if first else 'JOINT'} {name}", "{", "OFFSET " + " ".join(f"{v:.5f}" for v in offset)])
        lines.append(f"CHANNELS 6 {place} {turn}" if moved is not None else f"CHANNELS 3 {turn}")
        columns.append(angle if moved is None else np.concatenate((moved, angle), axis=1))

    for name in above:
        open_(name, np.zeros(3), still[:, :3], still[:, 3:], name == above[0])

    def write(joint: int) -> None:
        everything = channels == "all"
        offset = offsets[joint] * (0.0 if everything and joint else 1.0) * (joint > 0 or root_offset)
        moved = root if joint == 0 else np.repeat(offsets[joint][None], frames, 0) if everything else None
        open_(skeleton.names[joint], offset, moved, angles[:, joint], joint == 0 and not above)
        for child in skeleton.children[joint]:
            write(child)
        if not skeleton.children[joint]:
            lines.extend(["End Site", "{", f"OFFSET 0 {0.05 / unit:.4f} 0", "}"])
        lines.append("}")

    write(0)
    for name in beside:
        open_(name, np.zeros(3), None, still[:, 3:], False)
        lines.extend(["End Site", "{", f"OFFSET 0 {0.05 / unit:.4f} 0", "}", "}"])
    lines.extend("}" for _ in above)
    values = np.concatenate(columns, axis=1)
    values = values if rows is None else values[rows]
    lines += ["MOTION", f"Frames: {announced or frames}", f"Frame Time: {frame_time or f'{1 / motion.fps:.6f}'}"]
    lines += [" ".join(f"{value:.{digits}f}" for value in row) for row in values]
    path.write_text("\n".join(lines) + "\n")
    return path


def apart(found: Motion, truth: Motion) -> float:
    """Largest distance [m] between the joints of two motions of the canonical body."""
    return float((found.positions - truth.positions).norm(dim=-1).max())


def lying(frames: int = 30) -> Motion:
    """A person who sleeps on the back, hips 0.12 m above the floor."""
    motion = make.motion(frames, 5, size=0.05)
    rotations = motion.rotations.clone()
    rotations[:, 0] = rot.identity()
    down = turned(motion.with_(rotations=rotations, root=torch.zeros(frames, 3)), rot.conjugate(QUARTER))
    return down.with_(root=torch.tensor([0.0, 0.12, 0.0]).expand(frames, 3).clone())

"""Foreign rigs made from the canonical body: other names, rest poses, proportions, and a root above the pelvis."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from motionloom.motion import rotations as rot
from motionloom.motion.joint_maps import JointMap
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL, Skeleton


@dataclass
class Rig:
    """How a rig differs from the canonical body.

    Attributes:
        names: Canonical joint -> name in the rig; joints left out do not exist there.
        extras: Names of further joints, which sit on the pelvis and do nothing.
        pose: Canonical joint -> its world rotation in the rig's rest pose, before ``turn``.
        turn: Which way the rest pose stands and faces.
        axes: Rig joint -> directions of its axes in a T-pose, where the rest pose is no pose.
        lengths: Canonical joint -> factor of its bone.
        size: Factor of the whole body.
        above: Name of a joint above the pelvis that carries the body; none when empty.
    """

    names: dict[str, str]
    extras: tuple[str, ...] = ()
    pose: dict[str, Tensor] = field(default_factory=dict)
    turn: Tensor = field(default_factory=rot.identity)
    axes: dict[str, tuple[float, ...]] = field(default_factory=dict)
    lengths: dict[str, float] = field(default_factory=dict)
    size: float = 1.0
    above: str = ""


def of_map(joint_map: JointMap, **options) -> Rig:
    """The rig a map describes, by the first alternative of each joint; points between joints get no joint."""
    first = {canonical: points[0] for canonical, points in joint_map.joints.items()}
    names = {canonical: a for canonical, (a, b, share) in first.items() if share == 0.0}
    every = {name for a, b, _ in first.values() for name in (a, b)} | set(joint_map.marks)
    return Rig(names, tuple(sorted(every - set(names.values()))), axes=joint_map.axes, **options)


def degrees_about(axis: str, angle: float) -> Tensor:
    return rot.about(axis, torch.deg2rad(torch.tensor(angle)))


def a_pose(arms: float = 50.0, forearms: float = 40.0, legs: float = 8.0, toes: float = 12.0) -> dict[str, Tensor]:
    """Arms lowered and legs spread sidewards, toes pointing outwards, by angles in degrees."""
    found = {}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        found[f"{side}_shoulder"] = degrees_about("Z", -sign * arms)
        found[f"{side}_elbow"] = found[f"{side}_wrist"] = degrees_about("Z", -sign * forearms)
        found[f"{side}_hip"] = found[f"{side}_knee"] = degrees_about("Z", sign * legs)
        found[f"{side}_ankle"] = found[f"{side}_foot"] = degrees_about("Y", sign * toes)
    return found


def held_still(motion: Motion, rig: Rig) -> Motion:
    """The motion without own rotations of the joints that a rig does not have: they go with their parents."""
    rotations = motion.rotations.clone()
    for joint, name in enumerate(CANONICAL.names):
        if name not in rig.names:
            rotations[:, joint] = rot.identity()
    return motion.with_(rotations=rotations)


def wear(motion: Motion, rig: Rig) -> Motion:
    """A canonical motion (see ``held_still``) as the rig would have it."""
    canonical = motion.skeleton
    rest = _rest_rotations(rig)
    names, parents, offsets, local = [], [], [], []
    world: list[Tensor] = []

    def add(name: str, parent: int, offset: Tensor, rotation: Tensor) -> None:
        names.append(name)
        parents.append(parent)
        offsets.append(offset)
        world.append(rotation)
        local.append(rotation if parent < 0 else rot.multiply(rot.conjugate(world[parent]), rotation))

    root, below = rig.size * motion.root, torch.zeros(3)
    if rig.above:
        carried = rot.from_axis_angle(torch.tensor([0.3, -1.0, 0.2])).expand(len(motion), 4)
        below = torch.tensor([0.1, 0.9, -0.2])
        add(rig.above, -1, torch.zeros(3), carried)
        root = root - rot.rotate(carried, below)
    first = len(names)
    place: dict[int, int] = {}
    for joint, name in enumerate(canonical.names):
        if name not in rig.names:
            continue
        bone, parent = canonical.offsets[joint] * rig.lengths.get(name, 1.0), canonical.parents[joint]
        while parent >= 0 and parent not in place:
            bone, parent = bone + canonical.offsets[parent] * rig.lengths.get(name, 1.0), canonical.parents[parent]
        place[joint] = len(names)
        rotation = rot.multiply(motion.world_rotations[:, joint], rot.conjugate(rest[name]))
        if parent >= 0:
            # The bone in the axes of the rig's joint: it must point where the canonical one points.
            offset = rig.size * rot.rotate(rest[canonical.names[parent]], bone)
            add(rig.names[name], place[parent], offset, rotation)
        else:
            add(rig.names[name], first - 1, below, rotation)
    for name in rig.extras:
        add(name, first, torch.zeros(3), world[first])
    skeleton = Skeleton(tuple(names), tuple(parents), torch.stack(offsets))
    return Motion(skeleton, rot.normalize(torch.stack(local, 1)), root, motion.fps, motion.valid, motion.contacts)


def _rest_rotations(rig: Rig) -> dict[str, Tensor]:
    """World rotation of each canonical joint when the rig's own rotations are zero."""
    found = {}
    for name, own in rig.names.items():
        if own in rig.axes:
            found[name] = rot.conjugate(rot.from_matrix(torch.tensor(rig.axes[own]).view(3, 3).T))
        else:
            found[name] = rot.multiply(rig.turn, rig.pose.get(name, rot.identity()))
    return found

"""Any humanoid skeleton to the canonical body, and positions to rotations.

Twist comes from the source's rotations, corrected by its reference pose; swing comes from the direction of the
bones, so a limb points where the source's limb points, whatever the proportions. Feet keep their angle to the
floor, not to the ankle-toe line, which differs between rigs. Size is matched by leg length.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import RetargetError
from motionloom.motion import rotations as rot
from motionloom.motion.fingers import find_fingers, with_hands
from motionloom.motion.joint_maps import (
    OPTIONAL,
    JointMap,
    Slot,
    joint_maps,
    parse_map,
    points_at,
    read_map,
    reference_points,
    stands,
)
from motionloom.motion.kinematics import forward_kinematics, to_local
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.placing import calibrated, place, with_hinges
from motionloom.motion.rigs.reading import find_map
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS, LEG_LENGTH, Skeleton

_ANKLES = (7, 8)
_LEAVES = (10, 11, 20, 21)
_CHEST, _NECK = 9, 12
_SHARED = {10: 7, 11: 8, 15: 12, 20: 18, 21: 19}
"""Joints whose rotation positions do not show -> the joint before them, whose axes lie alike in a rig."""
_FIT = 0.05
"""Mean error of a fit beyond which it is warned [m]."""
_DOUBTFUL, _REFUSED = 10.0, 45.0
"""Largest angle between source and result beyond which it is warned, and usual angle beyond which it is refused."""
_SNAP = 0.97
"""Cosine of the largest angle between a rest pose's up direction and a world axis that is taken for it."""


def retarget(
    motion: Motion, joint_map: JointMap | None = None, target: Skeleton = CANONICAL, hands: bool = False
) -> Motion:
    """Move a motion of any humanoid skeleton onto the canonical body.

    Args:
        motion: The source motion, Y up.
        joint_map: How its joints are called; found by the names when left out.
        target: Body to move onto; the canonical tree with any offsets.
        hands: Take the fingers along where the source has them: the result then has 52 joints.

    Returns:
        The motion on ``target``: same frames and fps, root path scaled by leg length. The provenance notes the
        map and the mean angle between the source's limbs and the result's.

    Raises:
        RetargetError: No map fits, the source has legs of no length, or the result would be off its limbs.
    """
    source = motion.skeleton
    if source.same_tree(target) and bool(torch.allclose(source.offsets[1:], target.offsets[1:])):
        return motion
    if hands and source.same_tree(CANONICAL_HANDS) and torch.allclose(source.offsets[1:22], target.offsets[1:]):
        return motion
    joint_map = joint_map or find_map(source)
    bones = source.offsets[1:].detach().cpu().float().contiguous().numpy().tobytes()
    rig = _rig(joint_map, source.names, source.parents, bones, target)
    points = points_at(motion.positions, rig.slots)
    driven = motion.world_rotations[:, rig.drivers]
    if rig.rests:
        guess = rot.multiply(driven, rig.corrections.to(points))
        placed = place(points, guess, rig.rest, target, turn=rig.turn, corrections=rig.corrections)
        guess, changes = placed.world, placed.notes
    else:
        fitted = forward_kinematics(fit_rotations(points, target), points[:, 0], target)[1]
        guess = calibrated(points, driven, with_hinges(fitted, points), _SHARED)
        changes = ("the rest pose is no standing body: rotations found from the joints' positions",)
    world = _align(points, guess, rig, target)
    leg = float((points[0, 1] - points[0, 4]).norm() + (points[0, 4] - points[0, 7]).norm())
    scale = float(target.offsets[4].norm() + target.offsets[7].norm()) / leg
    # The hips, not the pelvis, carry the legs: rigs place the pelvis joint at different heights above them.
    hips = rot.rotate(world[:, :1], target.offsets[1:3].to(points).expand(len(points), -1, -1)).mean(1)
    root = scale * points[:, 1:3].mean(1) - hips
    off = _degrees_off(points, world, rig, target)
    note = (
        f"retargeted by map {joint_map.name!r}, scale {scale:.4f}, limbs off by {off.mean:.2f} degrees on average,"
        f" {off.most:.1f} at most ({off.where}, frame {off.frame})"
    )
    if off.usual > _REFUSED:
        raise RetargetError(
            f"{off.where} of the result would be {off.usual:.0f} degrees off the source (map {joint_map.name!r}):"
            " its joints are not where their names say; give a joint map of your own"
        )
    if off.most > _DOUBTFUL:
        note += f"; warning: beyond {_DOUBTFUL:g} degrees, look at it"
    provenance = motion.provenance
    for entry in (*changes, note):
        provenance = provenance.noting(entry)
    body = Motion(target, to_local(world, target), root, motion.fps, motion.valid, motion.contacts, provenance)
    fingers = find_fingers(tuple(joint_map.bare(name) for name in source.names)) if hands else {}
    if not fingers:
        return body
    left, right = (rig.drivers[joint] for joint in _LEAVES[2:])
    return with_hands(body, motion, fingers, (left, right), rig.corrections[list(_LEAVES[2:])])


@dataclass(frozen=True, eq=False)
class _Rig:
    """What a source skeleton read through a map tells once and for all.

    Attributes:
        slots: Where each canonical joint is among the source's.
        drivers: Source joint whose rotation each canonical joint follows.
        corrections: What takes a driver's world rotation to the canonical joint's.
        swings: Canonical joints that are turned so that their bone points at the child beside them.
        bones: Joints and children by which the result is compared with the source.
        rests: Whether the rest pose is one of a standing body; if not, its corrections say nothing.
        rest: The canonical joints in the rest pose.
        turn: How the rest pose stands and faces.
    """

    slots: dict[str, Slot]
    drivers: list[int]
    corrections: Float[Tensor, "22 4"]
    swings: tuple[list[int], list[int]]
    bones: tuple[list[int], list[int]]
    rests: bool
    rest: Float[Tensor, "22 3"]
    turn: Float[Tensor, "4"]


@lru_cache(maxsize=64)
def _rig(joint_map: JointMap, names: tuple[str, ...], parents: tuple[int, ...], bones: bytes, target: Skeleton) -> _Rig:
    """Work out the corrections of a rig; files of one data set share it, so this is done once for all of them."""
    offsets = torch.cat((torch.zeros(1, 3), torch.frombuffer(bytearray(bones), dtype=torch.float32).view(-1, 3)))
    source = Skeleton(names, parents, offsets)
    slots = joint_map.slots(names)
    lacking = [name for name in target.names if name not in slots and name not in OPTIONAL]
    if lacking:
        raise RetargetError(f"map {joint_map.name!r} does not find {', '.join(lacking)} in this skeleton")
    points = reference_points(joint_map, source)
    if float((points[1] - points[4]).norm() + (points[4] - points[7]).norm()) < 1e-6:
        raise RetargetError(f"the source's left leg has no length (map {joint_map.name!r}): joints coincide")
    rests = stands(joint_map, source)
    known = {joint for joint, name in enumerate(target.names) if name in slots}
    swings = _swings(target, known)
    drivers, corrections = [], []
    reference = joint_map.reference(source)
    turn = _reference_turn(points, target, joint_map, known)
    for joint, name in enumerate(target.names):
        parent = target.parents[joint]
        driver = slots[name][0] if name in slots else drivers[parent]
        if name not in slots:
            correction = corrections[parent]
        elif reference is not None and joint_map.bare(names[driver]) in joint_map.axes:
            correction = rot.conjugate(reference[driver])
        elif joint in _LEAVES and parent in known and joint_map.vertical:
            # Hands and toes go on as forearm and foot do: where the arms hang at rest, the hands hang too.
            correction = corrections[parent]
        else:
            correction = _correction(joint, points, target, turn, swings, joint_map)
        drivers.append(driver)
        corrections.append(correction)
    pairs = [
        (joint, child)
        for joint in range(len(target))
        for child in target.children[joint]
        if child in known and joint not in _ANKLES
    ]
    joints, children = [joint for joint, _ in pairs], [child for _, child in pairs]
    return _Rig(
        slots, drivers, torch.stack(corrections), (list(swings), list(swings.values())), (joints, children),
        rests, points, turn,
    )  # fmt: skip


def _swings(target: Skeleton, known: set[int]) -> dict[int, int]:
    """Joint -> the child it points at: its only one, and of the chest's the neck; ankles keep their rotation."""
    found = {}
    for joint in sorted(known - set(_ANKLES)):
        children = [child for child in target.children[joint] if child in known]
        if joint == _CHEST and _NECK in known:
            found[joint] = _NECK
        elif len(target.children[joint]) == 1 and children:
            found[joint] = children[0]
    return found


def _correction(
    joint: int,
    points: Float[Tensor, "22 3"],
    target: Skeleton,
    turn: Float[Tensor, "4"],
    swings: dict[int, int],
    joint_map: JointMap,
) -> Float[Tensor, "4"]:
    """World rotation of a canonical joint in the source's rest pose, where the source's is the identity."""
    if joint in _ANKLES and joint_map.vertical:
        # Soles are flat at rest, but toes may point outwards.
        toe = target.children[joint][0]
        bone = rot.rotate(rot.conjugate(turn), points[toe] - points[joint])
        ours = target.offsets[toe]
        if float(bone[[0, 2]].norm()) < 0.3 * float(bone.norm()) or float(bone.norm()) < 1e-6:
            return turn
        outwards = torch.atan2(bone[0], bone[2]) - torch.atan2(ours[0], ours[2])
        return rot.multiply(turn, rot.about("Y", outwards))
    if joint not in swings or joint == _CHEST:
        return turn
    bone = points[swings[joint]] - points[joint]
    if float(bone.norm()) < 1e-6:
        return turn
    swing = rot.between(rot.rotate(turn, target.offsets[swings[joint]].float()), bone)
    return rot.multiply(swing, turn)


def _reference_turn(
    points: Float[Tensor, "22 3"], target: Skeleton, joint_map: JointMap, known: set[int]
) -> Float[Tensor, "4"]:
    """Rotation from canonical axes to the way the source's rest pose stands and faces."""
    measured = _trunk(points, known)
    if not joint_map.vertical:
        return rot.from_matrix(measured)
    measured = measured @ _trunk(target.rest_positions.float(), known).T
    left, up = measured[:, 0], measured[:, 1]
    if float(up.abs().max()) <= _SNAP and _NECK in known:
        # Where one joint's frame differs from all others', the trunk is broken there, but legs and chest are straight.
        straight = rot.normalize(torch.stack((points[1] - points[7], points[2] - points[8], points[_NECK] - points[9])))
        axis = int(straight.sum(0).abs().argmax())
        if float(straight[:, axis].abs().min()) > _SNAP and float(straight[:, axis].sign().sum().abs()) == 3.0:
            up = straight[0]
    if float(up.abs().max()) > _SNAP:
        # A spine is never quite straight; a body that about stands along an axis of its file stands along it.
        axis = int(up.abs().argmax())
        up = torch.nn.functional.one_hot(torch.tensor(axis), 3) * torch.sign(up[axis])
        left = rot.normalize(left - (left @ up) * up)
    return rot.from_matrix(torch.stack((left, up, torch.linalg.cross(left, up)), dim=-1))


def _trunk(points: Float[Tensor, "22 3"], known: set[int]) -> Float[Tensor, "3 3"]:
    """Frame of a body's trunk: columns to its left, up, and forward."""
    left = rot.normalize(points[1] - points[2])
    up = points[_NECK] - points[0] if _NECK in known else points[16] + points[17] - points[1] - points[2]
    up = rot.normalize(up - (up @ left) * left)
    return torch.stack((left, up, torch.linalg.cross(left, up)), dim=-1)


def _align(
    points: Float[Tensor, "T 22 3"], guess: Float[Tensor, "T 22 4"], rig: _Rig, target: Skeleton
) -> Float[Tensor, "T 22 4"]:
    """World rotations with the twist of a guess and bones that point where the source's do."""
    joints, children = rig.swings
    start, offsets = guess[:, joints], target.offsets[children].to(points)
    bones = points[:, children] - points[:, joints]
    swing = rot.between(rot.rotate(start, offsets.expand_as(bones)), bones)
    world = guess.clone()
    world[:, joints] = rot.multiply(swing, start)
    return rot.normalize(world)


@dataclass(frozen=True)
class _Off:
    """Angles [degrees] between a result and its source.

    Attributes:
        mean: Over the bones of a joint, then over joints.
        most: The largest of all limbs, the line of the hips and that of the shoulders.
        where: Bone or line that has it.
        frame: Frame that has it.
        usual: What that bone or line has in half of the frames.
    """

    mean: float
    most: float
    where: str
    frame: int
    usual: float


def _degrees_off(points: Float[Tensor, "T 22 3"], world: Float[Tensor, "T 22 4"], rig: _Rig, target: Skeleton) -> _Off:
    joints, children = rig.bones
    bones = points[:, children] - points[:, joints]
    reached = rot.rotate(world[:, joints], target.offsets[children].to(points).expand_as(bones))
    angles = _angle(reached, bones)
    by_joint: dict[int, list[float]] = {}
    for joint, angle in zip(joints, angles.mean(0).tolist(), strict=True):
        by_joint.setdefault(joint, []).append(angle)
    mean = sum(sum(found) / len(found) for found in by_joint.values()) / len(by_joint)
    # Where several bones leave a joint their directions differ with the proportions: there only lines are compared.
    compared = {}
    for slot, (joint, child) in enumerate(zip(joints, children, strict=True)):
        # Bones of no length have no direction.
        if joint in rig.swings[0] and child in rig.swings[1] and bool((bones[:, slot].norm(dim=-1) > 1e-4).all()):
            compared[target.names[child]] = angles[:, slot]
    positions, _ = forward_kinematics(to_local(world, target), points[:, 0], target)
    for name, (left, right) in (("line of the hips", (1, 2)), ("line of the shoulders", (16, 17))):
        compared[name] = _angle(positions[:, left] - positions[:, right], points[:, left] - points[:, right])
    where = max(compared, key=lambda name: float(compared[name].max()))
    worst = compared[where]
    return _Off(mean, float(worst.max()), where, int(worst.argmax()), float(worst.median()))


def _angle(a: Float[Tensor, "*T 3"], b: Float[Tensor, "*T 3"]) -> Float[Tensor, "*T"]:
    return torch.rad2deg(torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1)))


def fit_rotations(positions: Float[Tensor, "T J 3"], skeleton: Skeleton) -> Float[Tensor, "T J 4"]:
    """Local rotations that point every bone of a skeleton along given positions; only directions matter.

    A joint with one child is turned from where its parent leaves it by the shortest rotation, so the twist is that
    of the rest pose; a joint with several children is placed by least squares (Kabsch).
    """
    offsets = skeleton.offsets.to(positions)
    world: list[Tensor] = []
    for joint, parent in enumerate(skeleton.parents):
        children = list(skeleton.children[joint])
        start = world[parent] if joint else rot.identity(len(positions)).to(positions)
        bones = positions[:, children] - positions[:, joint : joint + 1]
        if len(children) > 1:
            rest = rot.normalize(offsets[children]).expand_as(bones)
            turned = rot.from_matrix(rot.kabsch(rest, rot.normalize(bones)))
        elif children:
            reached = rot.rotate(start, offsets[children[0]].expand_as(bones[:, 0]))
            turned = rot.multiply(rot.between(reached, bones[:, 0]), start)
        else:
            turned = start
        world.append(rot.normalize(turned))
    return to_local(torch.stack(world, dim=1), skeleton)


def measured_body(positions: Float[Tensor, "T 22 3"]) -> Skeleton:
    """The canonical tree with the bones of positions: their median lengths, in the canonical rest directions.

    Where several bones leave one joint (pelvis, chest) their angles to each other are the body's own too: they are
    averaged over the frames, each seen from the joint's fitted rotation.
    """
    parents = list(CANONICAL.parents[1:])
    bones = positions[:, 1:] - positions[:, parents]
    lengths = bones.norm(dim=-1).median(0).values
    directions = rot.normalize(CANONICAL.offsets[1:].to(positions))
    for children in CANONICAL.children:
        if len(children) > 1:
            rows = [child - 1 for child in children]
            seen = rot.normalize(bones[:, rows])
            turned = rot.kabsch(directions[rows].expand_as(seen), seen)
            directions[rows] = rot.normalize(torch.einsum("tji,tkj->tki", turned, seen).mean(0))
    offsets = CANONICAL.offsets.clone().to(positions)
    offsets[1:] = directions * lengths[:, None]
    return Skeleton(CANONICAL.names, CANONICAL.parents, offsets)


def from_positions(positions: Float[Tensor, "T 22 3"], fps: float, skeleton: Skeleton | None = None) -> Motion:
    """Joint positions of the canonical 22 joints to a motion with rotations; the error is in its provenance.

    Twist about a bone cannot be seen in positions: it is that of the rest pose.

    Args:
        positions: World positions [m], Y up.
        fps: Frames a second.
        skeleton: Body to use; when left out, the one the positions show (``measured_body``).
    """
    if skeleton is None:
        skeleton = measured_body(positions)
    rotations = fit_rotations(positions, skeleton)
    reached, _ = forward_kinematics(rotations, positions[:, 0], skeleton)
    error = (reached - positions).norm(dim=-1)
    note = (
        f"rotations fitted to positions: joints off by {1000 * float(error.mean()):.1f} mm on average,"
        f" {1000 * float(error.max()):.1f} mm at most; twist as in the rest pose"
    )
    if float(error.mean()) > _FIT:
        note += (
            f"; warning: more than {1000 * _FIT:.0f} mm is no human body with bones of fixed length: are they in metres"
            " (--unit), Y up (--up), and joints of the canonical body?"
        )
    return Motion(skeleton, rotations, positions[:, 0], fps, provenance=Provenance(notes=(note,)))


__all__ = [
    "LEG_LENGTH",
    "JointMap",
    "find_map",
    "fit_rotations",
    "from_positions",
    "joint_maps",
    "measured_body",
    "parse_map",
    "read_map",
    "retarget",
]

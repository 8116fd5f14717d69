"""Clean-up of a motion, only where asked for: jitter filter, floor, and feet locked to it while they stand.

Feet are locked by two-bone inverse kinematics in the spirit of Kovar, Gleicher and Schreiner, "Footskate cleanup for
motion capture editing" (SCA 2002), without changing bone lengths: a foot holds its place as far as its leg reaches.
Only the rotations of hips, knees and ankles and the height of the root change; a foot keeps its angle to the floor.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motionloom.errors import RequestError, RetargetError
from motionloom.motion import rotations as rot
from motionloom.motion.contacts import foot_contacts
from motionloom.motion.edit import floor_height
from motionloom.motion.ik import STRETCH, two_bone
from motionloom.motion.joint_maps import Slot, find_map, points_at
from motionloom.motion.kinematics import facing
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL, LEG_LENGTH, Skeleton
from motionloom.motion.smooth import smooth, window_frames

GAP = 0.1
"""Contacts interrupted for no longer than this [s] count as one, and shorter ones are none."""
MOST = 0.15
"""A foot that would have to be moved further than this [m] does not stand: the ends of its stance are let go."""
_REACHED = 1e-3
_SIDES = (("left", 1, 4, 7, 10, 0, 1), ("right", 2, 5, 8, 11, 2, 3))
"""Name; canonical hip, knee, ankle and toe; columns of the contacts of ankle and toe."""


@dataclass(frozen=True)
class CleanOptions:
    """What to do; each step can be left out."""

    feet: bool = True
    """Hold feet in place while they stand."""
    floor: bool = True
    """Put the floor at height 0, lift feet that are under it, let standing feet touch it."""
    jitter: float = 0.25
    """Window of the jitter filter [s]; longer is stronger, 0 leaves it out."""
    blend: float = 0.2
    """Time over which a foot's correction comes and goes before and after it stands [s]."""

    def __post_init__(self) -> None:
        if not (0 <= self.jitter <= 2 and 0 <= self.blend <= 2):
            raise RequestError(f"jitter is {self.jitter} s and blend {self.blend} s; both must be between 0 and 2 s")
        if not (self.feet or self.floor or self.jitter):
            raise RequestError("all steps are switched off; leave at least one of feet, floor and jitter on")


@dataclass(frozen=True)
class HumanBody:
    """Where the canonical joints of a skeleton are.

    Attributes:
        slots: Where each canonical joint is among the skeleton's.
        scale: From its size to ours.
    """

    slots: dict[str, Slot]
    scale: float

    def points(self, motion: Motion) -> Float[Tensor, "T 22 3"]:
        """The canonical joints, in the motion's own size."""
        return points_at(motion.positions, self.slots)

    def joint(self, canonical: int) -> int:
        """Index of the skeleton's own joint."""
        return self.slots[CANONICAL.names[canonical]][0]


@dataclass(frozen=True, eq=False)
class Cleaned:
    """A cleaned motion and what that did; ``metrics.cleaning`` measures both.

    Attributes:
        motion: The motion; its provenance has the notes below.
        source: As it was.
        body: Joints of both.
        contacts: When ankles and toes stand, as found in the source.
        notes: What was done, a line a step.
    """

    motion: Motion
    source: Motion
    body: HumanBody
    contacts: Bool[Tensor, "T 4"]
    notes: tuple[str, ...]


def clean(motion: Motion, options: CleanOptions) -> Cleaned:
    """Filter jitter, put on the floor and lock the feet, as far as the options say; the source stays as it is.

    Args:
        motion: Of any humanoid skeleton whose joints are known by name.
        options: What to do.

    Raises:
        RetargetError: The skeleton's joints are not known, or its legs are no chain hip - knee - ankle.
        RequestError: The motion has fewer than 2 frames.
    """
    if len(motion) < 2:
        raise RequestError("the motion has 1 frame; cleaning looks at speeds and needs at least 2")
    body = _body(motion)
    notes = []
    result = motion
    if options.jitter:
        window = window_frames(motion, options.jitter)
        result = smooth(motion, options.jitter)
        notes.append(
            f"jitter filter over {options.jitter:g} s ({window} frames) on all rotations and the root"
            if result is not motion
            else f"jitter filter left out: {options.jitter:g} s are {window} frames here, 5 are needed"
        )
    if options.floor:
        height = floor_height(body.points(result))
        result = result.with_(root=result.root - torch.tensor([0.0, height, 0.0]))
        notes.append(f"floor moved from {height:+.4f} m to 0")
    contacts = _contacts(result, body)
    if options.feet or options.floor:
        result, told = _place_feet(result, body, contacts, options)
        notes += told
    result = result.with_(provenance=replace(motion.provenance, notes=(*motion.provenance.notes, *notes)))
    return Cleaned(result, motion, body, contacts, tuple(notes))


def _body(motion: Motion) -> HumanBody:
    """Find the joints of a skeleton and check that its legs can be solved."""
    skeleton = motion.skeleton
    if skeleton.same_tree(CANONICAL):
        slots: dict[str, Slot] = {name: (index, index, 0.0) for index, name in enumerate(CANONICAL.names)}
    else:
        slots = find_map(skeleton).slots(skeleton.names)
    for side, *chain, _, _, _ in _SIDES:
        names = [CANONICAL.names[joint] for joint in chain]
        between = [name for name in names if slots[name][0] != slots[name][1] and slots[name][2] != 0.0]
        joints = [slots[name][0] for name in names]
        if between or not all(_above(skeleton, low, high) for high, low in pairwise(joints)):
            raise RetargetError(
                f"the {side} leg of this skeleton is no chain of joints hip - knee - ankle, so its foot cannot be"
                " placed: retarget the motion first (motionloom convert --retarget)"
            )
    points = points_at(motion.positions[:1], slots)[0]
    leg = float((points[1] - points[4]).norm() + (points[4] - points[7]).norm())
    if leg < 1e-6:
        raise RetargetError("the left leg of this skeleton has no length: its joints coincide")
    return HumanBody(slots, LEG_LENGTH / leg)


def _above(skeleton: Skeleton, low: int, high: int) -> bool:
    """Whether one joint is an ancestor of another."""
    joint = skeleton.parents[low]
    while joint > high:
        joint = skeleton.parents[joint]
    return joint == high


def _contacts(motion: Motion, body: HumanBody) -> Bool[Tensor, "T 4"]:
    """When ankles and toes stand: the motion's own contacts or those its positions show, without flicker."""
    points = body.scale * body.points(motion)
    found = motion.contacts
    if found is None:
        found = foot_contacts(points, motion.fps, floor_height(points))
    found = found.clone()
    few = max(1, round(GAP * motion.fps))
    for column in range(4):
        for value in (False, True):
            for start, end in _runs(found[:, column] == value):
                # At the ends of a clip a run may go on outside.
                if end - start <= few - value and start > 0 and end < len(found):
                    found[start:end, column] = not value
    for side, _, _, _, toe, on_ankle, on_toe in _SIDES:
        found[:, [on_ankle, on_toe]] &= motion.part_valid(f"{side}_leg")[:, None]
        if CANONICAL.names[toe] not in body.slots:
            found[:, on_toe] = False
    return found


def _runs(mask: Bool[Tensor, " T"]) -> list[tuple[int, int]]:
    """First frame and the frame after the last of each run of true."""
    edges = torch.nn.functional.pad(mask.int(), (1, 1)).diff()
    return list(zip(edges.eq(1).nonzero()[:, 0].tolist(), edges.eq(-1).nonzero()[:, 0].tolist(), strict=True))


def _place_feet(
    motion: Motion, body: HumanBody, contacts: Bool[Tensor, "T 4"], options: CleanOptions
) -> tuple[Motion, list[str]]:
    """Move both feet to where they shall be, by turning hips, knees and ankles."""
    points = body.points(motion)
    rotations, notes = motion.rotations.clone(), []
    pole = facing(points)
    frames = round(options.blend * motion.fps)
    for side, hip, knee, ankle, toe, on_ankle, on_toe in _SIDES:
        stands = contacts[:, [on_ankle, on_toe]]
        if not options.feet:
            stands = torch.zeros_like(stands)
        leg = _Leg(points[:, hip], points[:, knee], points[:, ankle], points[:, toe])
        offsets, held = _offsets(leg, stands, options.floor, frames)
        moved = offsets.norm(dim=-1) > 1e-6
        target = leg.ankle + offsets
        turned = two_bone(leg.hip, leg.knee, leg.ankle, target, pole)
        joints = [body.joint(joint) for joint in (hip, knee, ankle)]
        legs = _turn(motion, joints, turned.upper, turned.lower)
        rotations[:, joints] = torch.where(moved[:, None, None], legs, rotations[:, joints])
        short = moved & ((turned.end - target).norm(dim=-1) > _REACHED)
        let_go = int(stands.any(dim=1).sum() - held.sum())
        most = 100 * float(offsets.norm(dim=-1).max())
        notes.append(
            f"{side} foot: held in {len(_runs(held))} stances ({int(held.sum())} of {len(motion)} frames),"
            f" moved by {most:.1f} cm at most; out of the leg's reach in {int(short.sum())} frames"
            + (f"; let go in {let_go} that slide too far" if let_go else "")
        )
    return motion.with_(rotations=rotations), notes


@dataclass(frozen=True)
class _Leg:
    """One leg over time.

    Attributes:
        hip: Places of its joints [m].
        knee: Likewise.
        ankle: Likewise.
        toe: Likewise.
    """

    hip: Float[Tensor, "T 3"]
    knee: Float[Tensor, "T 3"]
    ankle: Float[Tensor, "T 3"]
    toe: Float[Tensor, "T 3"]

    @property
    def length(self) -> Float[Tensor, " T"]:
        """How far the ankle can be from the hip [m]."""
        bones = (self.knee - self.hip).norm(dim=-1) + (self.ankle - self.knee).norm(dim=-1)
        return torch.maximum(STRETCH * bones, (self.ankle - self.hip).norm(dim=-1))


def _offsets(
    leg: _Leg, stands: Bool[Tensor, "T 2"], floor: bool, blend: int
) -> tuple[Float[Tensor, "T 3"], Bool[Tensor, " T"]]:
    """How far a foot is to be moved in each frame [m], and in which frames it is held.

    In a stance the toe is held while it is down, else the ankle; where the one takes over from the other both are, so
    that a foot rolls and does not jump. The whole stance is placed where it has to be moved least.
    """
    ankle, toe, frames = leg.ankle, leg.toe, len(leg.ankle)
    offsets = torch.zeros_like(ankle)
    steps = torch.where(stands[:-1, 1:], toe.diff(dim=0), ankle.diff(dim=0))
    lowest = torch.minimum(ankle[:, 1], toe[:, 1])
    stances = [_trimmed(steps, start, end) for start, end in _runs(stands.any(dim=1))]
    for start, end in stances:
        path = _backwards(steps[start : end - 1])
        shift = -path.mean(0)
        if floor:
            touching = -(lowest[start:end] + path[:, 1]).min()
            if bool(stands[start:end, 1].any()):
                # A standing toe touches the floor; but rather than tear at a straight leg, it may stay above.
                reached = ankle[start:end] + path + shift - leg.hip[start:end]
                across = reached[:, [0, 2]].norm(dim=-1)
                spare = (leg.length[start:end] ** 2 - across**2).clamp(min=0).sqrt() + reached[:, 1]
                shift[1] = torch.maximum(touching, shift[1] - spare.min().clamp(min=0))
            # Of a heel alone we only know that it is not under the floor.
            shift[1] = torch.maximum(shift[1], touching)
        offsets[start:end] = path + shift
    bounds = [0, *(edge for stance in stances for edge in stance), frames]
    for index in range(0, len(bounds), 2):
        start, end = bounds[index], bounds[index + 1]
        fade = min(blend, end - start)
        if fade < 1:
            continue
        weight = torch.linspace(0, 1, fade + 2)[1:-1].to(ankle)
        weight = (weight * weight * (3 - 2 * weight))[:, None]
        if start > 0:
            offsets[start : start + fade] += (1 - weight) * offsets[start - 1]
        if end < frames:
            offsets[end - fade : end] += weight * offsets[end]
    if floor:
        offsets[:, 1] += (-(lowest + offsets[:, 1])).clamp(min=0)
    held = torch.zeros(frames, dtype=torch.bool)
    for start, end in stances:
        held[start:end] = True
    return offsets, held


def _backwards(steps: Float[Tensor, "S 3"]) -> Float[Tensor, "F 3"]:
    """What undoes steps: one place more than there are steps, the first without any."""
    return torch.cat((steps.new_zeros(1, 3), -steps.cumsum(0)))


def _trimmed(steps: Float[Tensor, "S 3"], start: int, end: int) -> tuple[int, int]:
    """The part of a stance that can be held without moving the foot further than ``MOST``."""
    while end - start > 1:
        path = _backwards(steps[start : end - 1])
        far = (path - path.mean(0)).norm(dim=-1)
        if float(far.max()) <= MOST:
            break
        start, end = (start + 1, end) if float(far[0]) > float(far[-1]) else (start, end - 1)
    return start, end


def _turn(
    motion: Motion, joints: list[int], upper: Float[Tensor, "T 4"], lower: Float[Tensor, "T 4"]
) -> Float[Tensor, "T 3 4"]:
    """Local rotations of hip, knee and ankle when thigh and shin turn in the world and the foot keeps its angle."""
    hip, knee, ankle = joints
    world, parents = motion.world_rotations, motion.skeleton.parents
    above_hip = world[:, parents[hip]] if parents[hip] >= 0 else rot.identity(len(motion)).to(world)
    above_knee = rot.multiply(upper, world[:, parents[knee]])
    above_ankle = rot.multiply(lower, world[:, parents[ankle]])
    return rot.normalize(
        torch.stack(
            (
                rot.multiply(rot.conjugate(above_hip), rot.multiply(upper, world[:, hip])),
                rot.multiply(rot.conjugate(above_knee), rot.multiply(lower, world[:, knee])),
                rot.multiply(rot.conjugate(above_ankle), world[:, ankle]),
            ),
            dim=1,
        )
    )

"""What joint positions say about rotations: the frames of pelvis and chest, and the twist of limbs.

Rotations of a foreign rig are compared with ours by its rest pose. Where a rest pose lies about them (mixed frames, a
hip joint of no length that carries the turn of the body, another roll about the bones), the positions still tell the
truth: the line of the hips, the line of the shoulders, and the planes in which elbows and knees bend.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.motion import rotations as rot
from motionloom.motion.skeleton import Skeleton

_PELVIS, _CHEST, _NECK = 0, 9, 12
_LEFT, _RIGHT = (1, 13, 16), (2, 14, 17)
_TRUST = 40.0
"""Angle [degrees] up to which a rest pose is believed: rigs put their joints at different places in the body."""
_LEAN = 65.0
"""The same for leaning forward and back, of which positions tell less."""
_STEADY = 20.0
"""How far [degrees] a fixed turn between rig and positions may wander."""
_QUARTER = 25.0
"""Turns this near [degrees] to whole quarter turns about the axes are taken for them."""
LIMBS = ((16, 18, 20), (17, 19, 21), (1, 4, 7), (2, 5, 8))
"""Upper joint, hinge and end of arms and legs."""
_HINGES = {18: (0.0, -1.0, 0.0), 19: (0.0, 1.0, 0.0), 4: (1.0, 0.0, 0.0), 5: (1.0, 0.0, 0.0)}
"""Axis about which each hinge bends in the canonical T-pose: upper bone x lower bone."""
_BENT, _BENT_FRAMES, _SURE, _TWISTED = 45.0, 5, 0.9, 55.0
"""Least bend [degrees] and number of frames by which a plane is known, how much they must agree, and from which angle
[degrees] between plane and hinge on a limb counts as twisted."""


@dataclass(frozen=True, eq=False)
class Placed:
    """World rotations after a look at the positions, and what was changed.

    Attributes:
        world: Rotations of the canonical joints.
        notes: What was changed, for the provenance.
    """

    world: Float[Tensor, "T 22 4"]
    notes: tuple[str, ...]


def place(
    points: Float[Tensor, "T 22 3"],
    guess: Float[Tensor, "T 22 4"],
    rest: Float[Tensor, "22 3"],
    target: Skeleton,
    *,
    turn: Float[Tensor, "4"],
    corrections: Float[Tensor, "22 4"],
) -> Placed:
    """Correct the rotations that a rig's joints give by what its joint positions say.

    Args:
        points: Where the canonical joints are in the source.
        guess: World rotations by the source's joints and its rest pose.
        rest: The canonical joints in the source's rest pose.
        target: The canonical tree.
        turn: How the source's rest pose stands and faces.
        corrections: What took the source joints' rotations to the guess.
    """
    world, notes = guess.clone(), []
    for joint, name in ((_PELVIS, "pelvis"), (_CHEST, "chest")):
        seen = trunk_frame(points, joint)
        ours = trunk_frame(target.rest_positions.to(points), joint)
        if seen is None or ours is None:
            continue
        measured = rot.multiply(rot.from_matrix(seen), rot.conjugate(rot.from_matrix(ours)))
        still = trunk_frame(rest.to(points), joint)
        offset = rot.identity().to(points)
        if still is not None:
            resting = rot.multiply(rot.from_matrix(still), rot.conjugate(rot.from_matrix(ours)))
            lean = rot.multiply(rot.conjugate(resting), turn.to(points))
            offset = lean if _degrees(lean) <= _TRUST else offset
        made, how = _believe(world[:, joint], rot.multiply(measured, offset), corrections[joint].to(points))
        if how:
            notes.append(f"{name} turned by the line of the {'hips' if joint == _PELVIS else 'shoulders'}: {how}")
        world[:, joint] = _along(made, points, joint, target) if joint == _PELVIS else made
    for upper, hinge, end in LIMBS:
        angle = _twist(points, world, (upper, hinge, end))
        if angle:
            bone = rot.normalize(points[:, [hinge, end]] - points[:, [upper, hinge]])
            for joint, axis in ((upper, bone[:, 0]), (hinge, bone[:, 1])):
                world[:, joint] = rot.multiply(_about(axis, angle), world[:, joint])
            if end in (20, 21):
                world[:, end] = rot.multiply(_about(bone[:, 1], angle), world[:, end])
            side, limb = "left" if upper in (16, 1) else "right", "arm" if upper > 2 else "leg"
            notes.append(
                f"{side} {limb} twisted by {angle:.0f} degrees, as its {'elbow' if upper > 2 else 'knee'} bends"
            )
    return Placed(rot.normalize(world), tuple(notes))


def calibrated(
    points: Float[Tensor, "T 22 3"],
    driven: Float[Tensor, "T 22 4"],
    fitted: Float[Tensor, "T 22 4"],
    leaves: dict[int, int],
) -> Float[Tensor, "T 22 4"]:
    """World rotations where a rest pose says nothing: the source's own, by the turn that fits the positions best.

    Args:
        points: Where the canonical joints are in the source.
        driven: World rotation of the source joint that each canonical joint follows.
        fitted: World rotations that point the bones along the positions.
        leaves: Joints whose rotation positions do not show -> the joint whose turn they share.
    """
    world = fitted.clone()
    turns: dict[int, Tensor] = {}
    for joint in range(world.shape[1]):
        if joint in leaves:
            continue
        turns[joint], spread = _mean(rot.multiply(rot.conjugate(driven[:, joint]), fitted[:, joint]))
        if spread <= _STEADY + 15.0:
            world[:, joint] = rot.multiply(driven[:, joint], turns[joint])
    for joint, other in leaves.items():
        world[:, joint] = rot.multiply(driven[:, joint], turns[other])
    return rot.normalize(world)


def with_hinges(world: Float[Tensor, "T 22 4"], points: Float[Tensor, "T 22 3"]) -> Float[Tensor, "T 22 4"]:
    """Fitted rotations whose upper limbs are twisted so that elbows and knees bend as they can."""
    world = world.clone()
    for limb in LIMBS:
        normal, bent = _plane(points, limb)
        if int(bent.sum()) < 1:
            continue
        upper, hinge, _ = limb
        for joint, child in ((upper, hinge), (hinge, limb[2])):
            axis = rot.normalize(points[:, child] - points[:, joint])
            angle = _signed(
                rot.rotate(world[:, joint], points.new_tensor(_HINGES[hinge]).expand_as(normal)), normal, axis
            )
            # A straight limb shows no plane: it keeps the twist of the nearest frame that does.
            known = bent.nonzero()[:, 0]
            nearest = known[(torch.arange(len(points))[:, None] - known).abs().argmin(1)]
            world[:, joint] = rot.multiply(_about(axis, angle[nearest]), world[:, joint])
    return rot.normalize(world)


def trunk_frame(points: Float[Tensor, "*T 22 3"], joint: int) -> Float[Tensor, "*T 3 3"] | None:
    """Frame of the pelvis (0) or the chest (9): columns to the left, up and forward; nothing where joints coincide."""
    leg = float((points[..., 1, :] - points[..., 4, :]).norm(dim=-1).mean()) + 1e-9
    pairs = ((1, 2),) if joint == _PELVIS else ((13, 14), (16, 17))
    left = next((d for a, b in pairs if _long(d := points[..., a, :] - points[..., b, :], 0.05 * leg)), None)
    if joint == _PELVIS:
        low = points[..., [1, 2], :].mean(-2)
        ups = [points[..., other, :] - low for other in (3, 6, 9, _NECK)]
    else:
        ups = [points[..., _NECK, :] - points[..., other, :] for other in (9, 6, 3, 0)]
    up = next((d for d in ups if _long(d, 0.05 * leg)), None)
    if left is None or up is None:
        return None
    left = rot.normalize(left)
    up = rot.normalize(up - (up * left).sum(-1, keepdim=True) * left)
    return torch.stack((left, up, torch.linalg.cross(left, up)), dim=-1)


def _long(vector: Float[Tensor, "*T 3"], least: float) -> bool:
    return bool((vector.norm(dim=-1) > least).all())


def _believe(
    guess: Float[Tensor, "T 4"], seen: Float[Tensor, "T 4"], correction: Float[Tensor, "4"]
) -> tuple[Float[Tensor, "T 4"], str]:
    """The joint's own rotation, turned by a fixed turn or replaced where the positions contradict it, and why."""
    mean, spread = _mean(rot.multiply(rot.conjugate(guess), seen))
    off = float(_degrees(mean))
    left = seen.new_tensor((1.0, 0.0, 0.0)).expand(len(seen), 3)
    line = torch.rad2deg(torch.acos((rot.rotate(guess, left) * rot.rotate(seen, left)).sum(-1).clamp(-1, 1)))
    # The line of hips or shoulders is sure; how far a trunk leans is read off its next joint, which bends as well.
    if float(line.quantile(0.95)) <= _TRUST and (off <= _LEAN or spread > _STEADY):
        return guess, ""
    if spread <= _STEADY:
        # Axes of joints lie along those of the file, or it would be no mistake of axes.
        fixed = rot.multiply(rot.conjugate(correction), _quarter_turns(rot.multiply(correction, mean)))
        return rot.multiply(guess, fixed), f"its joint rests turned by {float(_degrees(fixed)):.0f} degrees"
    return seen, f"its joint does not turn with it ({off:.0f} degrees off, by {spread:.0f} more at times)"


def _along(
    world: Float[Tensor, "T 4"], points: Float[Tensor, "T 22 3"], joint: int, target: Skeleton
) -> Float[Tensor, "T 4"]:
    """Rotation of the pelvis, swung so that its hips lie on the line of the source's."""
    line = points[:, 1] - points[:, 2]
    if not _long(line, 1e-6):
        return world
    ours = (target.offsets[1] - target.offsets[2]).to(points).expand_as(line)
    return rot.multiply(rot.between(rot.rotate(world, ours), line), world)


def _mean(turns: Float[Tensor, "T 4"]) -> tuple[Float[Tensor, "4"], float]:
    """Mean rotation (Markley et al., 2007), and the angle [degrees] from it that 95 % of the others keep within."""
    values, vectors = torch.linalg.eigh((turns.double().T @ turns.double()) / len(turns))
    mean = vectors[:, int(values.argmax())].to(turns)
    mean = mean if float(mean[0]) >= 0 else -mean
    return mean, float(_degrees(rot.multiply(rot.conjugate(mean), turns)).quantile(0.95))


def _degrees(turn: Float[Tensor, "*T 4"]) -> Float[Tensor, "*T"]:
    return torch.rad2deg(2.0 * torch.atan2(turn[..., 1:].norm(dim=-1), turn[..., 0].abs()))


def _quarter_turns(turn: Float[Tensor, "4"]) -> Float[Tensor, "4"]:
    """The nearest of the 24 rotations by quarter turns, if it is near; else the turn itself."""
    quarters = [rot.about(axis, torch.tensor(k * torch.pi / 2)) for axis in "XYZ" for k in range(4)]
    every = torch.stack(
        [rot.multiply(a, rot.multiply(b, c)) for a in quarters[:4] for b in quarters[4:8] for c in quarters]
    )
    off = _degrees(rot.multiply(rot.conjugate(every.to(turn)), turn))
    return every[int(off.argmin())].to(turn) if float(off.min()) < _QUARTER else turn


def _about(axis: Float[Tensor, "T 3"], degrees: Tensor | float) -> Float[Tensor, "T 4"]:
    angle = torch.deg2rad(torch.as_tensor(degrees, dtype=axis.dtype)).expand(len(axis))
    return rot.from_axis_angle(axis * angle[:, None])


def _plane(points: Float[Tensor, "T 22 3"], limb: tuple[int, int, int]) -> tuple[Float[Tensor, "T 3"], Tensor]:
    """Unit normal of the plane in which a limb is bent, and in which frames it is bent enough to have one."""
    first, second = points[:, limb[1]] - points[:, limb[0]], points[:, limb[2]] - points[:, limb[1]]
    normal = torch.linalg.cross(rot.normalize(first), rot.normalize(second))
    sine, cosine = normal.norm(dim=-1), (rot.normalize(first) * rot.normalize(second)).sum(-1)
    bend = torch.rad2deg(torch.atan2(sine, cosine))
    return rot.normalize(normal), (bend > _BENT) & (bend < 170.0)


def _signed(a: Float[Tensor, "T 3"], b: Float[Tensor, "T 3"], axis: Float[Tensor, "T 3"]) -> Float[Tensor, " T"]:
    """Angle [degrees] from a to b about an axis."""
    a = a - (a * axis).sum(-1, keepdim=True) * axis
    b = b - (b * axis).sum(-1, keepdim=True) * axis
    return torch.rad2deg(torch.atan2((torch.linalg.cross(a, b) * axis).sum(-1), (a * b).sum(-1)))


def _twist(points: Float[Tensor, "T 22 3"], world: Float[Tensor, "T 22 4"], limb: tuple[int, int, int]) -> float:
    """Quarter turns [degrees] by which a limb is twisted about its bones; 0 where its hinge bends as it can."""
    normal, bent = _plane(points, limb)
    if int(bent.sum()) < _BENT_FRAMES:
        return 0.0
    upper, hinge, _ = limb
    axis = rot.normalize(points[:, hinge] - points[:, upper])
    ours = rot.rotate(world[:, upper], points.new_tensor(_HINGES[hinge]).expand_as(normal))
    angles = torch.deg2rad(_signed(ours, normal, axis)[bent])
    sine, cosine = float(angles.sin().mean()), float(angles.cos().mean())
    mean = torch.rad2deg(torch.atan2(torch.tensor(sine), torch.tensor(cosine)))
    if (sine**2 + cosine**2) ** 0.5 < _SURE or abs(float(mean)) < _TWISTED:
        return 0.0
    return 90.0 * round(float(mean) / 90.0)

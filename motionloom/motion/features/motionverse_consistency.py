"""A guess of unified features made to agree with itself: one body, one way, feet that stand.

The unified layout says everything several times: a joint's velocity is the difference of its positions (and of the
root's way), its position follows from the rotations above it. A model guesses all of these numbers, each with an error
of its own. The guess that is nearest to them and does not contradict itself is better than any of them, and it can be
computed: over time a linear least-squares problem, in a frame one Gauss-Newton step of inverse kinematics.

Shapes: ``T`` frames, ``S`` = T - 1 steps between them, ``J`` joints (22, or 52 with hands), ``G`` groups of joints.

Sources: the projection of measurements on the constraints between them: Deming, "Statistical Adjustment of Data"
(1943); damped least squares for the pose: Buss, "Introduction to inverse kinematics" (2004), section 6.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from motionloom.motion import rotations as rot
from motionloom.motion.contacts import FEET, HEIGHTS
from motionloom.motion.features.motionverse_layout import (
    BODY,
    HANDS,
    JOINTS,
    LEAN,
    SLICES,
    MotionVerseStats,
    joint_parts,
    known_joints,
)
from motionloom.motion.kinematics import forward_kinematics
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS, Skeleton

_KNOWN = 1e4
"""How much more a known number weighs than a guess."""
_STAND = 20.0
"""How much more than its guessed velocity it weighs that a foot, surely standing, has none."""
_SLOW = 0.6
"""From this speed [m/s] on a low foot is not held for a standing one; the slower, the more surely."""
_NEAR = 0.02
"""How much higher than a measured one [m] a foot may be that stands by a guess."""
_LOWEST = (0.03, 0.0, 0.03, 0.0)
"""How low [m] ankles and toes get: a thousandth of captured frames is lower."""
_SIX = 4 / 3
"""Squared change of a rotation's two columns for one of its angle, averaged over axes."""
_FIXED = 1e4


@dataclass(frozen=True, eq=False)
class _Body:
    """Features of the joints, seen from the root's place with the world's axes.

    Attributes:
        turned: Rotation from the facing frame to the world; one frame more than the rest.
        offsets: Joints from the point on the ground below the root [m].
        steps: Velocity of joints to the next frame [m/s]; of the root only the height's.
        way: Velocity of the root over the ground [m/s].
        local: Rotations of joints; the root's is its lean.
    """

    turned: Float[Tensor, "M 4"]
    offsets: Float[Tensor, "T J 3"]
    steps: Float[Tensor, "T J 3"]
    way: Float[Tensor, "T 3"]
    local: Float[Tensor, "T J 4"]


@dataclass(frozen=True, eq=False)
class _Trust:
    """Inverse squared sizes of the errors of a guess, up to one factor.

    Attributes:
        offsets: Of joints' positions.
        steps: Of their velocities, between frames.
        way: Of the root's velocity, between frames.
        local: Of angles about the three axes.
    """

    offsets: Float[Tensor, "T J"]
    steps: Float[Tensor, "S J"]
    way: Float[Tensor, " S"]
    local: Float[Tensor, "T J 3"]


def enforce_consistency(
    features: Float[Tensor, "T 669"],
    stats: MotionVerseStats,
    parts: Bool[Tensor, "10"],
    fps: float,
    known: Bool[Tensor, "T 10"] | None = None,
) -> Float[Tensor, "T 669"]:
    """The features of the canonical body nearest to a guess that do not contradict each other.

    The guess must be about one motion: a mean over many has no bones of a length, and no feet that stand. Differences
    are weighed in the features' own spreads, as a diffusion model's errors are. Headings stay as guessed,
    and the velocities of the last row, which lead to a frame that is not there.

    Args:
        features: A guess, not normalised, in the default options. With a number that is not finite it comes back as it
            is, for whoever reads it to say so.
        stats: What it is normalised by.
        parts: Which parts it holds. Without all of the body's it comes back as it is.
        fps: Frames a second.
        known: Cells that are given: the others come to agree with them.
    """
    body = known_joints(parts)
    if len(features) < 2 or not bool(body[:BODY].all()) or not bool(features.isfinite().all()):
        return features
    skeleton = CANONICAL_HANDS if bool(parts[HANDS].all()) else CANONICAL
    joints = len(skeleton)
    found = _unpacked(features.double(), fps, joints)
    trust = _trust(stats, len(features), joints, known)
    found = _posed(_moved(found, trust, fps), trust, skeleton)
    found, trust = _standing(found, trust, fps)
    found = _posed(_moved(found, trust, fps), trust, skeleton)
    return _packed(found, features, fps)


def _unpacked(features: Float[Tensor, "T 669"], fps: float, joints: int) -> _Body:
    angle = torch.cat((torch.zeros_like(features[:1, 0]), features[:, 0].cumsum(0) / fps))
    turned = rot.about("Y", angle)
    columns = {name: features[:, SLICES[name]] for name in ("positions", "rotations", "velocities")}
    ground = features.new_zeros(len(features), 1, 3)
    ground[:, 0, 1] = features[:, 3]
    offsets = torch.cat((ground, columns["positions"].unflatten(1, (JOINTS - 1, 3))[:, : joints - 1]), dim=1)
    steps = columns["velocities"].unflatten(1, (JOINTS, 3))[:, :joints].clone()
    # Beside the height's velocity the root's columns hold its lean.
    steps[:, 0, [0, 2]] = 0.0
    way = features.new_zeros(len(features), 3)
    way[:, [0, 2]] = features[:, SLICES["velocity"]]
    six = columns["rotations"].unflatten(1, (JOINTS - 1, 6))[:, : joints - 1]
    tilt = features.new_zeros(len(features), 3)
    tilt[:, [0, 2]] = features[:, list(LEAN)]
    lean = rot.from_axis_angle(tilt)[:, None]
    local = rot.normalize(torch.cat((lean, rot.from_matrix(rot.from_6d(six))), dim=1))
    here = turned[:-1, None]
    return _Body(turned, rot.rotate(here, offsets), rot.rotate(here, steps), rot.rotate(turned[1:], way), local)


def _packed(body: _Body, features: Float[Tensor, "T 669"], fps: float) -> Float[Tensor, "T 669"]:
    joints = body.offsets.shape[1]
    back = rot.conjugate(body.turned)
    offsets = rot.rotate(back[:-1, None], body.offsets)
    steps = fps * (body.offsets[1:] - body.offsets[:-1]) + body.way[:-1, None]
    steps = rot.rotate(back[:-2, None], steps)
    way = rot.rotate(back[1:], body.way)
    made = features.clone()
    made[:, SLICES["velocity"]] = way[:, [0, 2]].to(made)
    made[:, 3] = offsets[:, 0, 1].to(made)
    first = {name: SLICES[name].start for name in ("positions", "rotations", "velocities")}
    made[:, first["positions"] : first["positions"] + 3 * (joints - 1)] = offsets[:, 1:].flatten(1).to(made)
    six = rot.to_6d(rot.to_matrix(body.local[:, 1:])).flatten(1)
    made[:, first["rotations"] : first["rotations"] + 6 * (joints - 1)] = six.to(made)
    made[:, list(LEAN)] = rot.to_axis_angle(body.local[:, 0])[:, [0, 2]].to(made)
    made[:-1, 464] = steps[:, 0, 1].to(made)
    made[:-1, first["velocities"] + 3 : first["velocities"] + 3 * joints] = steps[:, 1:].flatten(1).to(made)
    return made


def _trust(stats: MotionVerseStats, frames: int, joints: int, known: Bool[Tensor, "T 10"] | None) -> _Trust:
    std = stats.std.double()
    positions, turns, velocities = (
        std[SLICES[name]].unflatten(0, (-1, size)).square().mean(1).reciprocal()
        for name, size in (("positions", 3), ("rotations", 6), ("velocities", 3))
    )
    offsets = torch.cat((std[3:4] ** -2, positions[: joints - 1]))
    steps = torch.cat((std[464:465] ** -2, velocities[1:joints]))
    way = std[SLICES["velocity"]].square().mean().reciprocal()
    local = _SIX * torch.cat((turns[:1], turns[: joints - 1]))[:, None].repeat(1, 3)
    # The root leans about two axes; how it is turned about the third is its heading.
    lean = std[list(LEAN)] ** -2
    local[0] = torch.stack((lean[0], lean.new_tensor(_FIXED), lean[1]))
    sure = std.new_ones(frames, joints)
    if known is not None:
        sure = 1 + _KNOWN * known[:, list(joint_parts())[:joints]].double()
    # What leads from a known frame to an unknown one is not known.
    both = torch.minimum(sure[1:], sure[:-1])
    return _Trust(offsets * sure, steps * both, way * both[:, 0], local * sure[..., None])


def _moved(body: _Body, trust: _Trust, fps: float) -> _Body:
    """Positions and the root's way that fit the velocities; least squares over time, the root's way eliminated last."""
    frames = len(trust.offsets)
    # Joints that are trusted alike share one system.
    weights, group = torch.unique(torch.cat((trust.offsets, trust.steps)).T, dim=0, return_inverse=True)
    offsets, steps = weights[:, :frames], weights[:, frames:]
    system = torch.diag_embed(offsets) + fps**2 * _differences(steps)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(system))
    seen = trust.offsets.T[..., None] * body.offsets.transpose(0, 1)
    seen = seen + fps * _back(trust.steps.T[..., None] * body.steps[:-1].transpose(0, 1))
    still = inverse[group] @ seen
    # The root itself is over its own place: its way says nothing of it but by the other joints.
    weight = trust.steps.T[1:, :, None]
    answer = fps**2 * inverse.diff(dim=1).diff(dim=2)
    own = torch.diag_embed(steps) - steps[..., None] * answer * steps[:, None]
    count = torch.bincount(group[1:], minlength=len(weights)).to(own)
    total = torch.diag(trust.way) + (count[:, None, None] * own).sum(0)
    left = (weight * (body.steps[:-1, 1:].transpose(0, 1) - fps * still[1:].diff(dim=1))).sum(0)
    level = body.way.new_tensor([1.0, 0.0, 1.0])
    way = torch.linalg.solve(total, trust.way[:, None] * body.way[:-1] + left) * level
    still[1:] -= inverse[group[1:]] @ (fps * _back(weight * way))
    still[0] *= 1 - level
    return replace(body, offsets=still.transpose(0, 1), way=torch.cat((way, body.way[-1:])))


def _back(steps: Float[Tensor, "J S C"]) -> Float[Tensor, "J T C"]:
    """The transpose of taking differences."""
    return pad(steps, (0, 0, 1, 0)) - pad(steps, (0, 0, 0, 1))


def _differences(weights: Float[Tensor, "G S"]) -> Float[Tensor, "G T T"]:
    """Matrices of the weighted sum of squared differences."""
    ends = pad(weights, (1, 0)) + pad(weights, (0, 1))
    return torch.diag_embed(ends) - torch.diag_embed(weights, 1) - torch.diag_embed(weights, -1)


def _standing(body: _Body, trust: _Trust, fps: float) -> tuple[_Body, _Trust]:
    """The same with two more things that are seen: feet that are low and slow stand still, and none is in the floor."""
    feet = list(FEET)
    heights = body.offsets[:, feet, 1]
    low = heights[:-1] < body.offsets.new_tensor(HEIGHTS) + _NEAR
    speed = (fps * body.offsets[:, feet].diff(dim=0) + body.way[:-1, None]).norm(dim=2)
    surely = low * (1 - speed / _SLOW).clamp(min=0.0)
    share = 1 + _STAND * surely
    steps, weights = body.steps.clone(), trust.steps.clone()
    steps[:-1, feet] /= share[..., None]
    weights[:, feet] *= share
    lowest = body.offsets.new_tensor(_LOWEST)
    offsets, places = body.offsets.clone(), trust.offsets.clone()
    offsets[:, feet, 1] = torch.maximum(heights, lowest)
    places[:, feet] *= 1 + _STAND * (heights < lowest)
    return replace(body, steps=steps, offsets=offsets), replace(trust, steps=weights, offsets=places)


def _posed(body: _Body, trust: _Trust, skeleton: Skeleton) -> _Body:
    """Rotations and positions of one body: one Gauss-Newton step from the rotations towards both."""
    frames, joints = trust.offsets.shape
    back = rot.conjugate(body.turned[:-1])
    wanted = rot.rotate(back[:, None], body.offsets)
    place, world = forward_kinematics(body.local, wanted[:, 0], skeleton)
    below = _below(skeleton)
    inner = below.any(0).nonzero()[:, 0]
    # Turning joint j by w moves what hangs on it: the cross product of w and the way from j to there.
    x, y, z = ((place[:, 1:, None] - place[:, None, inner]) * below[1:, inner, None]).float().unbind(3)
    zero = torch.zeros_like(x)
    axes = [torch.stack(rows, dim=3).flatten(2) for rows in ((zero, z, -y), (-z, zero, x), (y, -x, zero))]
    # And the root may be higher or lower, with all that hangs on it.
    lift = x.new_tensor([0.0, 1.0, 0.0]).repeat(frames, joints - 1)[..., None]
    moves = torch.cat((torch.stack(axes, dim=2).flatten(1, 2), lift), dim=2)
    weight = trust.offsets[:, 1:].repeat_interleave(3, dim=1)[..., None].float()
    stiff = torch.cat((trust.local[:, inner].flatten(1), trust.offsets[:, :1]), dim=1)
    system = moves.mT @ (weight * moves) + torch.diag_embed(stiff.float())
    gap = moves.mT @ (weight * (wanted - place)[:, 1:].flatten(1)[..., None].float())
    found = torch.cholesky_solve(gap, torch.linalg.cholesky(system))[..., 0].to(place)
    turn = torch.zeros_like(place).index_copy(1, inner, found[:, :-1].unflatten(1, (-1, 3)))
    root = wanted[:, 0] + found[:, -1:] * lift[:, :3, 0].to(place)
    above = torch.cat((rot.identity(frames, 1).to(world), world[:, list(skeleton.parents[1:])]), dim=1)
    turn = rot.from_axis_angle(rot.rotate(rot.conjugate(above), turn))
    local = rot.normalize(rot.multiply(turn, body.local))
    place, _ = forward_kinematics(local, root, skeleton)
    return replace(body, local=local, offsets=rot.rotate(body.turned[:-1, None], place))


def _below(skeleton: Skeleton) -> Bool[Tensor, "J J"]:
    """Whether the joint of a row hangs on that of a column."""
    found = torch.zeros(len(skeleton), len(skeleton), dtype=torch.bool)
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            found[joint] = found[parent]
            found[joint, parent] = True
    return found

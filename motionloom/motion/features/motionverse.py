"""Motions and keypoints to the unified 669 features, with a mask of the parts they know, and back without a fit.

A row is a frame and the step to the next, so T frames give T - 1 rows. By default rotations are the joints' real
ones, the pelvis' too (its heading and its lean), velocities are per second, and numbers of parts that are not known
are 0: no part's numbers change when another part is missing, except that what hangs on an unknown root is seen from
where that root was said to be. Place and heading of the first frame are kept beside the rows.

The layout and the options are in ``motionverse_layout.py``. Source: Zhang et al., "Large Motion Model for Unified
Multi-Modal Motion Generation" (ECCV 2024, arXiv 2404.01284), section 3.2.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motionloom.errors import LayoutError
from motionloom.motion import rotations as rot
from motionloom.motion.features.motionverse_keypoints import check_known, motion_from_keypoints, parts_known
from motionloom.motion.features.motionverse_layout import (
    BODY,
    CORRECT,
    EXPRESSION,
    FACE,
    HANDS,
    JOINTS,
    LEAN,
    SIZE,
    SLICES,
    SWAP,
    MotionVerseFeatures,
    MotionVerseOptions,
    known_joints,
    spread_mask,
)
from motionloom.motion.features.motionverse_published import chain_rotations, load_joints, trunk_heading
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS, Skeleton


@dataclass(frozen=True, eq=False)
class Decoded:
    """What features say.

    Attributes:
        motion: The rotations on a body; ``valid`` tells which parts are known, the others are at rest.
        positions: The joints of that body [m], known ones from their own features, the others from the rest pose.
        expression: Face coefficients; ``None`` when the face is known in no frame.
    """

    motion: Motion
    positions: Float[Tensor, "N J 3"]
    expression: Float[Tensor, "N 50"] | None


def encode_motionverse(
    motion: Motion,
    positions: Float[Tensor, "T J 3"] | None = None,
    expression: Float[Tensor, "T C"] | None = None,
    options: MotionVerseOptions = CORRECT,
) -> MotionVerseFeatures:
    """A motion of the canonical body, with or without hands, as unified features.

    Args:
        motion: Its ``valid`` says which parts are known; hands are not when it has no joints for them, nor is the
            face without ``expression``. Its own frame rate is kept.
        positions: Joint positions [m] to write instead of the motion's own, 22 or 52 as the motion has.
        expression: 50 face coefficients a frame.
        options: Codec.

    Raises:
        LayoutError: The skeleton is another, there are fewer than two frames, or an array does not fit.
    """
    joints = len(motion.skeleton)
    if not any(motion.skeleton.same_tree(tree) for tree in (CANONICAL, CANONICAL_HANDS)):
        raise LayoutError(
            f"the unified layout needs the canonical 22 joints or 52 with hands, this motion has {joints} others:"
            " call retarget first"
        )
    positions = motion.positions if positions is None else positions
    if positions.shape[:2] != (len(motion), joints):
        raise LayoutError(f"positions are {tuple(positions.shape)}; this motion needs ({len(motion)}, {joints}, 3)")
    return _encode(positions, motion.rotations, motion.valid, expression, motion.fps, options)


def encode_keypoints(
    positions: Float[Tensor, "T J 3"],
    fps: float,
    rotations: Float[Tensor, "T K 4"] | None = None,
    valid: Bool[Tensor, "M P"] | None = None,
    expression: Float[Tensor, "T C"] | None = None,
    options: MotionVerseOptions = CORRECT,
) -> MotionVerseFeatures:
    """Joint positions as unified features; the positions are written as they are.

    Args:
        positions: World positions [m], Y up, of 22, 24 or 52 joints in the order of SMPL+H; joints of unknown parts
            may be NaN.
        fps: Frames a second.
        rotations: Local rotations of 22 or 52 joints; fitted (see ``motion_from_keypoints``) when left out.
        valid: Which parts are known in which frame, left being the body's left; all that have joints when left out.
        expression: 50 face coefficients a frame.
        options: Codec.

    Raises:
        LayoutError: The number of joints is another, a joint of a known part is NaN, there are fewer than two
            frames, or an array does not fit.
    """
    joints = BODY if positions.shape[1] == BODY + 2 else positions.shape[1]
    positions = load_joints(positions)[:, :joints]
    known = parts_known(len(positions), joints, valid, expression is not None)
    check_known(positions, known)
    if rotations is None and options.rotations == "parent":
        motion = motion_from_keypoints(positions, fps, known)
        seen = known_joints(known)[:, :joints]
        positions = torch.where(seen[..., None], positions, motion.positions)
        rotations = motion.rotations
    if rotations is None:
        rotations = rot.identity(len(positions), joints).to(positions)
    return _encode(positions, rotations, known, expression, fps, options)


def _encode(
    positions: Float[Tensor, "T J 3"],
    rotations: Float[Tensor, "T K 4"],
    valid: Tensor | None,
    expression: Tensor | None,
    fps: float,
    options: MotionVerseOptions,
) -> MotionVerseFeatures:
    frames, joints = positions.shape[:2]
    if frames < 2:
        raise LayoutError(f"{frames} frame has no step to the next; at least two frames are needed")
    if rotations.shape[:2] not in ((frames, BODY), (frames, JOINTS)):
        raise LayoutError(
            f"rotations are {tuple(rotations.shape)}; {frames} frames need ({frames}, {BODY} or {JOINTS}, 4)"
        )
    if expression is not None and expression.shape != (frames, EXPRESSION):
        raise LayoutError(f"expression is {tuple(expression.shape)}; {frames} frames need ({frames}, {EXPRESSION})")
    known = parts_known(frames, joints, valid, expression is not None)
    if expression is not None and not torch.isfinite(expression).all():
        raise LayoutError("the expression holds NaN or infinite values; leave it out or repair it")
    if not options.nan_to_zero:
        check_known(positions, known)
        check_known(rotations, known)
        # Unknown joints may hold anything: nothing of it gets into another part's numbers.
        positions = torch.where(torch.isfinite(positions), positions, 0.0)
        rotations = torch.where(torch.isfinite(rotations), rotations, rot.identity().to(rotations))
    positions = load_joints(positions)
    facing = _facing(positions, rotations[:, 0], options)
    if options.rotations == "chains":
        relative = chain_rotations(positions, facing)
    else:
        pad = rot.identity(frames, JOINTS - rotations.shape[1]).to(rotations)
        relative = torch.cat((rotations, pad), dim=1)
    named = known[:, SWAP] if options.swapped_sides else known
    features = _rows(positions, relative, facing, named, fps, options)
    if expression is not None:
        features[:, SLICES["face"]] = expression[:-1].to(features)
    kept = _kept(named[:-1], options)
    features = torch.where(spread_mask(kept, options), features, 0.0)
    if options.nan_to_zero:
        features = features.nan_to_num(0.0)
    heading = rot.yaw_of(rot.conjugate(facing[:1]))
    start = torch.cat((positions[0, 0, [0, 2]], heading.to(positions))).nan_to_num(0.0)
    return MotionVerseFeatures(features, named[:-1], fps, start)


def _facing(positions: Tensor, root: Tensor, options: MotionVerseOptions) -> Float[Tensor, "T 4"]:
    """Rotation from the world to the facing frame."""
    if options.heading == "pelvis":
        return rot.about("Y", -rot.yaw_of(root))
    return trunk_heading(positions, options)


def _rows(
    positions: Float[Tensor, "T 52 3"],
    relative: Float[Tensor, "T 52 4"],
    facing: Float[Tensor, "T 4"],
    known: Bool[Tensor, "T 10"],
    fps: float,
    options: MotionVerseOptions,
) -> Float[Tensor, "T-1 669"]:
    moves = positions[1:] - positions[:-1]
    turn = rot.multiply(facing[1:], rot.conjugate(facing[:-1]))
    if not options.flipped_turns:
        turn = torch.where(turn[:, :1] < 0, -turn, turn)
    # The release writes half the angle, of the rotation that leads from the world to the facing frame.
    yaw = turn[:, 2].clamp(-1.0, 1.0).arcsin() if options.per_frame else fps * -_wrap(rot.yaw_of(turn))
    rate = 1.0 if options.per_frame else fps
    # As published: the root's step is seen from the later frame, the joints' steps from the earlier one.
    root_step = rate * rot.rotate(facing[1:], moves[:, 0])
    steps = rate * rot.rotate(facing[:-1, None], moves)
    travel = torch.stack((yaw.to(steps), root_step[:, 0], root_step[:, 2]), dim=-1)
    if not options.keeps_unknown and not known.all():
        seen = known_joints(known, options)
        steps = _held(steps, seen)
        travel = _held(travel[:, None], seen[:, :1])[:, 0]
    here, ground = positions[:-1], positions[:-1, :1] * positions.new_tensor([1.0, 0.0, 1.0])
    features = positions.new_zeros(len(moves), SIZE)
    features[:, SLICES["yaw"]] = travel[:, :1]
    features[:, SLICES["velocity"]] = travel[:, 1:]
    features[:, SLICES["height"]] = here[:, 0, 1:2]
    features[:, SLICES["positions"]] = rot.rotate(facing[:-1, None], here - ground)[:, 1:].flatten(1)
    features[:, SLICES["rotations"]] = rot.to_6d(rot.to_matrix(relative[:-1, 1:]), options.six).flatten(1).to(here)
    features[:, SLICES["velocities"]] = steps.flatten(1)
    if options.pelvis == "lean":
        tilt = rot.to_axis_angle(rot.multiply(facing[:-1], relative[:-1, 0]))
        features[:, list(LEAN)] = tilt[:, [0, 2]].to(features)
    return features


def _held(steps: Float[Tensor, "N K C"], seen: Bool[Tensor, "T K"]) -> Float[Tensor, "N K C"]:
    """Steps between known frames; where the next frame is not known the step before goes on, or none."""
    both = (seen[1:] & seen[:-1])[..., None]
    steps = torch.where(both, steps, 0.0)
    before = torch.cat((torch.zeros_like(steps[:1]), steps[:-1]))
    return torch.where(both, steps, before)


def _kept(known: Bool[Tensor, "N 10"], options: MotionVerseOptions) -> Bool[Tensor, "N 10"]:
    """Parts whose numbers are not set to 0."""
    kept = torch.ones_like(known) if options.keeps_unknown else known.clone()
    kept[:, HANDS] = known[:, HANDS]
    if options.one_hand_flag:
        kept[:, HANDS[1]] = known[:, HANDS[0]]
    return kept


def _wrap(angle: Tensor) -> Tensor:
    return torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi


def decode_path(
    features: Float[Tensor, "*batch T 669"],
    fps: float,
    options: MotionVerseOptions = CORRECT,
    start: Float[Tensor, "3"] | None = None,
) -> tuple[Float[Tensor, "*batch T"], Float[Tensor, "*batch T 3"]]:
    """Heading about +Y [rad] and root position [m] of features; frame 0 is where ``start`` says. Differentiable."""
    # Sums over long clips: in double, or the end drifts.
    yaw, velocity = features[..., 0].double(), features[..., SLICES["velocity"]].double()
    step = -2.0 * yaw if options.per_frame else yaw / fps
    rate = 1.0 if options.per_frame else fps
    angle = torch.cat((torch.zeros_like(step[..., :1]), step[..., :-1].cumsum(-1)), dim=-1)
    if start is not None:
        angle = angle + start[2]
    move = torch.zeros_like(features[..., :3]).double()
    move[..., 1:, 0] = velocity[..., :-1, 0] / rate
    move[..., 1:, 2] = velocity[..., :-1, 1] / rate
    path = rot.rotate(rot.about("Y", angle), move).cumsum(-2)
    x, z = (path[..., 0], path[..., 2]) if start is None else (path[..., 0] + start[0], path[..., 2] + start[1])
    return angle.to(features), torch.stack((x, features[..., 3].double(), z), dim=-1).to(features)


def decode_positions(
    features: Float[Tensor, "*batch T 669"],
    fps: float,
    options: MotionVerseOptions = CORRECT,
    start: Float[Tensor, "3"] | None = None,
) -> Float[Tensor, "*batch T 52 3"]:
    """World positions [m] of all 52 joints from their position features, known or not. Differentiable."""
    angle, root = decode_path(features, fps, options, start)
    local = features[..., SLICES["positions"]].unflatten(-1, (JOINTS - 1, 3))
    turned = rot.rotate(rot.about("Y", angle)[..., None, :], local)
    ground = root * root.new_tensor([1.0, 0.0, 1.0])
    return torch.cat((root[..., None, :], turned + ground[..., None, :]), dim=-2)


def decode_rotations(
    features: Float[Tensor, "*batch T 669"],
    fps: float,
    options: MotionVerseOptions = CORRECT,
    start: Float[Tensor, "3"] | None = None,
    skeleton: Skeleton = CANONICAL_HANDS,
) -> Float[Tensor, "*batch T 52 4"]:
    """Local rotations of all 52 joints, the root's global. Differentiable, but for six zeros (a part not known).

    Args:
        features: Not normalised.
        fps: Frames a second.
        options: Codec.
        start: Where frame 0 stands; see ``MotionVerseFeatures``.
        skeleton: Body whose hips and spine show the pelvis' rotation, where the features do not hold it.

    Raises:
        LayoutError: The rotations are along chains, and so no joint's own.
    """
    if options.rotations == "chains":
        raise LayoutError(
            "rotations along chains are not the joints' own; decode_motionverse fits some to the positions"
        )
    angle, root = decode_path(features, fps, options, start)
    six = features[..., SLICES["rotations"]].unflatten(-1, (JOINTS - 1, 6))
    relative = rot.from_matrix(rot.from_6d(six, options.six))
    if options.pelvis == "lean":
        tilt = torch.zeros_like(root)
        tilt[..., 0], tilt[..., 2] = features[..., LEAN[0]], features[..., LEAN[1]]
        lean = rot.from_axis_angle(tilt)
    else:
        height = root * root.new_tensor([0.0, 1.0, 0.0])
        seen = features[..., SLICES["positions"]].unflatten(-1, (JOINTS - 1, 3))[..., :3, :] - height[..., None, :]
        lean = rot.from_matrix(rot.kabsch(skeleton.offsets[1:4].to(seen).expand_as(seen), seen))
    pelvis = rot.multiply(rot.about("Y", angle), lean)
    return rot.normalize(torch.cat((pelvis[..., None, :], relative), dim=-2))


def decode_motionverse(
    given: MotionVerseFeatures, skeleton: Skeleton | None = None, options: MotionVerseOptions = CORRECT
) -> Decoded:
    """Features to a motion with their own rotations, and to their positions.

    Parts that are not known rest: their joints have no rotation of their own, an unknown root stays over its place at
    rest height and keeps its heading. With ``rotations="chains"`` there are no real rotations to read, so they are
    fitted to the positions and the provenance says how well.

    Args:
        given: Features and mask; what stands in unknown cells is not read.
        skeleton: Body to move, of the canonical tree with or without hands; when left out the canonical one, with
            hands if a hand is known in some frame.
        options: Codec the features were written with.

    Raises:
        LayoutError: The skeleton is another tree.
    """
    valid = given.mask[:, SWAP] if options.swapped_sides else given.mask
    if skeleton is None:
        skeleton = CANONICAL_HANDS if valid[:, HANDS].any() else CANONICAL
    elif not any(skeleton.same_tree(tree) for tree in (CANONICAL, CANONICAL_HANDS)):
        raise LayoutError(f"features can move the canonical tree of 22 or 52 joints; got another of {len(skeleton)}")
    valid = valid.clone()
    joints = len(skeleton)
    if joints == BODY:
        valid[:, HANDS] = False
    features = torch.where(spread_mask(given.mask, options), given.features, 0.0)
    seen = known_joints(valid)[:, :joints]
    positions = decode_positions(features, given.fps, options, given.start)[:, :joints]
    if options.rotations == "chains":
        motion = motion_from_keypoints(positions, given.fps, valid)
    else:
        rotations = decode_rotations(features, given.fps, options, given.start, skeleton)[:, :joints]
        resting = rot.identity(len(given), joints).to(rotations)
        heading = rot.about("Y", rot.yaw_of(rotations[:, 0]))
        upright = torch.cat((heading[:, None], resting[:, 1:]), dim=1)
        own = seen.clone()
        if options.pelvis == "velocity":
            own[:, 0] &= seen[:, 1:4].all(1)
        root = positions[:, 0].clone()
        root[:, 1] = torch.where(seen[:, 0], root[:, 1], skeleton.offsets[0, 1].to(root))
        motion = Motion(skeleton, torch.where(own[..., None], rotations, upright), root, given.fps, valid)
    positions = torch.where(seen[..., None], positions, motion.positions)
    face = given.features[:, SLICES["face"]] if valid[:, FACE].any() else None
    return Decoded(motion, positions, face)

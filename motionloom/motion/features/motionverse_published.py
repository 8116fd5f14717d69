"""The release's way from joints to unified features, stage by stage.

Load, move onto the release's body, thin out, put on the floor, move to the origin, face +Z; then
``motionverse.encode_motionverse`` with ``MotionVerseOptions.published()``. Every stage takes the options, so that each
slip of the release can be had or left out on its own. Ours differ by default: thinning is labelled with the rate it
gives, hips have their right sign, mirrored fingers stay themselves.

One defect is not kept: a bone that points exactly against its reference direction gets half a turn (the release:
NaN, then 0).

Source: the converters released with Zhang et al., "Large Motion Model" (ECCV 2024, arXiv 2404.01284); the kinematic
chains are those of HumanML3D. Parity: ``tests/parity/test_lmm_convert.py``.
"""

from functools import lru_cache
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motionloom.errors import LayoutError
from motionloom.motion import rotations as rot
from motionloom.motion.features.humanml3d_published import BODIES
from motionloom.motion.features.layout import smooth
from motionloom.motion.features.motionverse_layout import BODY, CORRECT, JOINTS, MotionVerseOptions
from motionloom.motion.skeleton import CANONICAL_HANDS, MIRROR_HANDS, PARTS

_FINGERS = ((22, 23, 24), (34, 35, 36), (25, 26, 27), (31, 32, 33), (28, 29, 30))
CHAINS: tuple[tuple[int, ...], ...] = (
    *BODIES["humanml3d"].chains,
    *((20, *finger) for finger in _FINGERS),
    *((21, *(joint + 15 for joint in finger)) for finger in _FINGERS),
)
"""Kinematic chains; each begins at a joint that an earlier chain, or the root, has placed."""

# Metres, joints 1..51: the body every clip of the release is moved onto.
_LENGTHS = """
.10307 .10988 .13157 .39362 .39019 .14319 .43243 .42564 .05736 .14338 .14942 .21936 .13749 .14338 .10304 .13161 .12298
.25684 .26309 .26601 .26988
.1084 .0332 .02334 .11377 .03205 .02473 .0992 .02046 .01982 .10512 .02967 .02462 .05592 .03189 .02736
.10787 .03388 .02344 .113 .0321 .0245 .09866 .02035 .01966 .10453 .02958 .02467 .05532 .03228 .0278
"""
# Left fingers by their right partners in the release's mirror image, both joint by joint.
_PERMUTED = (
    (22, 23, 24, 34, 35, 36, 25, 26, 27, 31, 32, 33, 28, 29, 30),
    (43, 44, 45, 46, 47, 48, 40, 41, 42, 37, 38, 39, 49, 50, 51),
)


@lru_cache(maxsize=1)
def directions() -> Float[Tensor, "52 3"]:
    """Reference direction of each joint's bone, arms hanging down; zero for the root."""
    hands = torch.zeros(30, 3)
    hands[:15, 0], hands[15:, 0] = 1.0, -1.0
    return torch.cat((BODIES["humanml3d"].raw_offsets, hands))


def released_offsets() -> Float[Tensor, "52 3"]:
    """Bones of the release's body [m] along their reference directions."""
    lengths = torch.tensor([0.0, *map(float, _LENGTHS.split())])
    return directions() * lengths[:, None]


def load_joints(positions: Float[Tensor, "T J 3"]) -> Float[Tensor, "T 52 3"]:
    """Joints of a file as 52: of 24 the first 22 are taken, and hands that are not there stand at zero.

    Raises:
        LayoutError: There are neither 22, 24 nor 52 joints.
    """
    joints = positions.shape[1]
    if joints not in (BODY, BODY + 2, JOINTS):
        raise LayoutError(
            f"{joints} joints; the unified layout reads 22, 24 or 52 (SMPL, SMPL+H order): map them first"
        )
    if joints == JOINTS:
        return positions
    return torch.cat((positions[:, :BODY], positions.new_zeros(len(positions), JOINTS - BODY, 3)), dim=1)


def load_rotations(axis_angles: Float[Tensor, "T C"]) -> Float[Tensor, "T 52 4"]:
    """SMPL (72 numbers) or SMPL+H (156) rotation vectors as 52 local rotations; SMPL's two hand joints are dropped.

    Raises:
        LayoutError: There are neither 72 nor 156 numbers a frame.
    """
    if axis_angles.shape[1] not in (72, 156):
        raise LayoutError(f"{axis_angles.shape[1]} numbers a frame; SMPL rotations are 72, those of SMPL+H 156")
    found = rot.from_axis_angle(axis_angles.unflatten(1, (-1, 3)))
    if axis_angles.shape[1] == 156:
        return found
    return torch.cat((found[:, :BODY], rot.identity(len(found), JOINTS - BODY).to(found)), dim=1)


def z_up_to_y_up(positions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """AMASS axes (Z up) to ours: ``(x, y, z)`` becomes ``(-x, z, y)``; left stays left."""
    return positions[..., [0, 2, 1]] * positions.new_tensor([-1.0, 1.0, 1.0])


def mirror_joints(positions: Float[Tensor, "T 52 3"], options: MotionVerseOptions = CORRECT) -> Float[Tensor, "T 52 3"]:
    """The mirror image in the plane x = 0: left and right change places.

    ``permuted_fingers`` gives each finger the place of the release's partner, which is another finger.
    """
    order = list(MIRROR_HANDS)
    if options.permuted_fingers:
        for left, right in zip(*_PERMUTED, strict=True):
            order[left], order[right] = right, left
    return positions[:, order] * positions.new_tensor([-1.0, 1.0, 1.0])


def trunk_heading(positions: Float[Tensor, "T J 3"], options: MotionVerseOptions = CORRECT) -> Float[Tensor, "T 4"]:
    """Rotation about +Y from the world to the facing frame, measured on hips and shoulders."""
    hips = positions[:, 1] - positions[:, 2]
    shoulders = positions[:, 16] - positions[:, 17]
    across = rot.normalize(shoulders - hips if options.reversed_hips else shoulders + hips)
    forward = torch.linalg.cross(across, across.new_tensor([0.0, 1.0, 0.0]).expand_as(across))
    if options.smoothing:
        forward = smooth(forward, options.smoothing)
    forward = rot.normalize(forward)
    found = rot.between(forward, forward.new_tensor([0.0, 0.0, 1.0]))
    if options.forced_start:
        found = torch.cat((rot.identity(1).to(found), found[1:]))
    return found


def chain_rotations(positions: Float[Tensor, "T 52 3"], heading: Float[Tensor, "T 4"]) -> Float[Tensor, "T 52 4"]:
    """Rotations of positions along the chains, each starting from the heading; joint 0 holds the heading.

    A bone of no length, which an absent joint gives, makes its joint and those after it NaN, as in the release.
    """
    raw = directions().to(positions)
    found: list[Tensor] = [heading] * JOINTS
    for chain in CHAINS:
        turned = heading
        for parent, joint in pairwise(chain):
            bone = positions[:, joint] - positions[:, parent]
            length = bone.norm(dim=-1, keepdim=True)
            swing = rot.between(raw[joint], bone)
            swing = torch.where(length > 0, swing, torch.nan)
            found[joint] = rot.multiply(rot.conjugate(turned), swing)
            turned = rot.multiply(turned, found[joint])
    return torch.stack(found, dim=1)


def pose_chains(
    rotations: Float[Tensor, "T 52 4"], root: Float[Tensor, "T 3"], offsets: Float[Tensor, "52 3"]
) -> Float[Tensor, "T 52 3"]:
    """Positions of rotations as ``chain_rotations`` gives them, on a body of those bones."""
    offsets = offsets.to(rotations)
    placed: list[Tensor] = [root] * JOINTS
    for chain in CHAINS:
        turned = rotations[:, 0]
        for parent, joint in pairwise(chain):
            turned = rot.multiply(turned, rotations[:, joint])
            placed[joint] = placed[parent] + rot.rotate(turned, offsets[joint])
    return torch.stack(placed, dim=1)


def move_to_body(
    positions: Float[Tensor, "T 52 3"],
    has: Bool[Tensor, "10"],
    offsets: Float[Tensor, "52 3"] | None = None,
    options: MotionVerseOptions = CORRECT,
) -> Float[Tensor, "T 52 3"]:
    """Positions on a body of given bones; joints without a place (absent ones) become 0.

    Args:
        positions: Joints as ``load_joints`` gives them.
        has: Which parts the clip has.
        offsets: Bones of the body; those of the release when left out.
        options: Whose heading to take; it is not smoothed here.
    """
    target = released_offsets() if offsets is None else offsets
    parents = list(CANONICAL_HANDS.parents[1:])
    lengths = (positions[0, 1:] - positions[0, parents]).norm(dim=-1)
    scale = 1.0
    # Legs measure a body, arms one that has no legs.
    for bones in ((5, 8), (19, 21)):
        size = float(sum(lengths[joint - 1] for joint in bones))
        if size > 1e-5:
            scale = float(sum(target[joint].norm() for joint in bones)) / size
            break
    plain = MotionVerseOptions(
        heading="trunk", pelvis="velocity", forced_start=options.forced_start, reversed_hips=options.reversed_hips
    )
    rotations = chain_rotations(positions, trunk_heading(positions, plain))
    placed = pose_chains(rotations, positions[:, 0] * scale, target).nan_to_num(0.0)
    return _without_absent_hands(placed, has, options)


def _without_absent_hands(
    positions: Float[Tensor, "T 52 3"], has: Bool[Tensor, "10"], options: MotionVerseOptions
) -> Float[Tensor, "T 52 3"]:
    left, right = bool(has[PARTS.index("left_hand")]), bool(has[PARTS.index("right_hand")])
    kept = torch.ones(JOINTS, 1).to(positions)
    kept[22:37] = float(left)
    kept[37:] = float(left if options.one_hand_flag else right)
    return positions * kept


def thinning(fps: float, target: float, options: MotionVerseOptions = CORRECT) -> tuple[int, float]:
    """Every how many frames to keep one so as to come near a frame rate, and the rate to write down.

    Raises:
        LayoutError: A rate is not positive.
    """
    if not (fps > 0 and target > 0):
        raise LayoutError(f"frame rates are {fps} and {target}; both must be positive")
    if options.asked_fps:
        return max(1, int(fps / target)), float(target)
    stride = max(1, round(fps / target))
    return stride, fps / stride


def put_on_floor(positions: Float[Tensor, "T 52 3"]) -> Float[Tensor, "T 52 3"]:
    """The lowest height of the body's 22 joints over all frames becomes 0."""
    return positions - positions.new_tensor([0.0, 1.0, 0.0]) * positions[:, :BODY, 1].min()


def move_to_origin(positions: Float[Tensor, "T 52 3"]) -> Float[Tensor, "T 52 3"]:
    """The root of frame 0 stands over the origin."""
    return positions - positions[0, 0] * positions.new_tensor([1.0, 0.0, 1.0])


def face_z(positions: Float[Tensor, "T 52 3"]) -> Float[Tensor, "T 52 3"]:
    """All frames turned by the yaw that makes frame 0 face +Z; here hips have the right sign in the release too."""
    plain = MotionVerseOptions(heading="trunk", pelvis="velocity")
    return rot.rotate(trunk_heading(positions[:1], plain)[:, None], positions)

"""The published feature codecs of HumanML3D (263) and KIT-ML (251), with their quirks.

``features.py`` has the layout and the form our own models use. This file is for the datasets' own files and for
official checkpoints, so it keeps what the published numbers were made with:

* the facing direction behind the root rotation takes the hips with the wrong sign (HumanML3D issues 107, 112, 119);
* every chain, the arms' too, starts from the root's rotation, so an arm is relative to the root (issue 119);
* rotations are fitted to positions without twist and mean nothing for other bodies (issue 26);
* contact thresholds are compared with the squared step of a frame;
* intermediate results are cast to float32 where the published order does it.

Two defects are not kept: a bone that points exactly against its reference direction gets half a turn (published:
NaN), and a clip of three frames is treated as any other (there, old versions of torch took the wrong axis).

Source: Guo et al., "Generating diverse and natural 3D human motions from text" (CVPR 2022), section 3 and the
processing published with HumanML3D. Parity: ``tests/parity/test_humanml3d.py``.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import LayoutError
from motionloom.motion import rotations as rot
from motionloom.motion.features.layout import Layout, root_path, smooth
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.retarget import from_positions, retarget
from motionloom.motion.skeleton import CANONICAL

SIGMA = 20.0
"""Standard deviation [frames] of the Gaussian that smooths the published facing direction."""
MILLIMETRE = 0.001


@dataclass(frozen=True)
class PublishedBody:
    """The constants of one published skeleton.

    Attributes:
        chains: Kinematic chains; each begins at a joint that an earlier chain, or the root, has placed.
        directions: Reference direction of each joint's bone, one word a joint: an axis and its sign.
        across: Right hip, left hip, right shoulder, left shoulder.
        left_foot: Left ankle and toe.
        right_foot: Right ankle and toe.
        scale_bones: The two leg joints whose offsets measure a body's size.
        contact: Squared step [m2 or mm2 a frame] below which a foot stands.
        unit: Metres a unit of length.
        canonical: For each canonical joint the two published joints it lies between, and the share of the way.
    """

    chains: tuple[tuple[int, ...], ...]
    directions: str
    across: tuple[int, int, int, int]
    left_foot: tuple[int, int]
    right_foot: tuple[int, int]
    scale_bones: tuple[int, int]
    contact: float
    unit: float
    canonical: tuple[tuple[int, int, float], ...]

    @property
    def raw_offsets(self) -> Float[Tensor, "J 3"]:
        """The reference directions as unit vectors; zero for the root."""
        axes = {"0": (0.0, 0.0, 0.0), "x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
        words = self.directions.split()
        signs = [-1.0 if word[0] == "-" else 1.0 for word in words]
        return torch.tensor([axes[word[-1]] for word in words]) * torch.tensor(signs)[:, None]


BODIES = {
    "humanml3d": PublishedBody(
        chains=((0, 2, 5, 8, 11), (0, 1, 4, 7, 10), (0, 3, 6, 9, 12, 15), (9, 14, 17, 19, 21), (9, 13, 16, 18, 20)),
        directions="0 x -x y -y -y y -y -y y z z y x -x z -y -y -y -y -y -y",
        across=(2, 1, 17, 16),
        left_foot=(7, 10),
        right_foot=(8, 11),
        scale_bones=(5, 8),
        contact=0.002,
        unit=1.0,
        canonical=tuple((joint, joint, 0.0) for joint in range(22)),
    ),
    # Joints 5-7 and 11-15 are the right side, though their reference direction is +x: in the dataset's mean they
    # lie at -x of a body that walks and points its toes to +z.
    "kit": PublishedBody(
        chains=((0, 11, 12, 13, 14, 15), (0, 16, 17, 18, 19, 20), (0, 1, 2, 3, 4), (3, 5, 6, 7), (3, 8, 9, 10)),
        directions="0 y y y y x -y -y -x -y -y x -y -y z z -x -y -y z z",
        across=(11, 16, 5, 8),
        left_foot=(19, 20),
        right_foot=(14, 15),
        scale_bones=(17, 18),
        contact=0.05,
        unit=MILLIMETRE,
        # The spine has two joints below the neck's base (1, 2) and there are no collars: 3 is the neck's base at the
        # height of the shoulders, 4 the skull's base, 14/19 the mid foot, 15/20 the toes.
        canonical=(
            (0, 0, 0.0),
            (16, 16, 0.0), (11, 11, 0.0), (1, 1, 0.0),
            (17, 17, 0.0), (12, 12, 0.0), (1, 2, 0.5),
            (18, 18, 0.0), (13, 13, 0.0), (2, 2, 0.0),
            (20, 20, 0.0), (15, 15, 0.0), (3, 3, 0.0),
            (3, 8, 0.45), (3, 5, 0.45), (4, 4, 0.0),
            (8, 8, 0.0), (5, 5, 0.0),
            (9, 9, 0.0), (6, 6, 0.0),
            (10, 10, 0.0), (7, 7, 0.0),
        ),
    ),
}  # fmt: skip


def bone_offsets(pose: Float[Tensor, "J 3"], layout: Layout) -> Float[Tensor, "J 3"]:
    """Offsets of a body with the bone lengths of a pose, along the reference directions."""
    body = BODIES[layout.name]
    lengths = pose.new_zeros(layout.joints, 1)
    for chain in body.chains:
        here, parent = list(chain[1:]), list(chain[:-1])
        lengths[here] = (pose[here] - pose[parent]).norm(dim=-1, keepdim=True)
    return body.raw_offsets.to(pose) * lengths


def inverse_kinematics(
    positions: Float[Tensor, "T J 3"], layout: Layout, smoothed: bool = False
) -> Float[Tensor, "T J 4"]:
    """The published rotations of positions: relative along each chain, float32, no twist, quirks included.

    Args:
        positions: Joint positions in the layout's unit.
        layout: Layout they belong to.
        smoothed: Whether the facing direction is smoothed along time, as it is for features.

    Returns:
        Quaternions; that of joint 0 leads from the world to the facing frame and is the identity in frame 0.
    """
    body = BODIES[layout.name]
    # The list is (right hip, left hip, ...) and was unpacked as (left hip, right hip, ...): the published sign.
    left, right, shoulder_r, shoulder_l = body.across
    across = positions[:, right] - positions[:, left] + positions[:, shoulder_r] - positions[:, shoulder_l]
    forward = _cross_up(rot.normalize(across))
    if smoothed:
        forward = smooth(forward, SIGMA)
    root = _between(rot.normalize(forward), torch.tensor([0.0, 0.0, 1.0]))
    root[0] = rot.identity()
    found = rot.identity(len(positions), layout.joints)
    found[:, 0] = root
    raw = body.raw_offsets
    for chain in body.chains:
        turned = root
        for parent, joint in pairwise(chain):
            bone = rot.normalize(positions[:, joint] - positions[:, parent])
            local = rot.multiply(rot.conjugate(turned), _between(raw[joint], bone))
            found[:, joint] = local
            turned = rot.multiply(turned, local)
    return found


def pose_chains(
    rotations: Float[Tensor, "*batch J 4"],
    root: Float[Tensor, "*batch 3"],
    offsets: Float[Tensor, "J 3"],
    layout: Layout,
) -> Float[Tensor, "*batch J 3"]:
    """Positions of the published rotations: every chain starts from the root's rotation.

    Args:
        rotations: Relative along each chain, as ``inverse_kinematics`` gives them.
        root: Position of joint 0.
        offsets: Bone of each joint, as ``bone_offsets`` gives them.
        layout: Layout they belong to.
    """
    offsets = offsets.to(rotations)
    placed: list[Tensor] = [root] * layout.joints
    for chain in BODIES[layout.name].chains:
        turned = rotations[..., 0, :]
        for parent, joint in pairwise(chain):
            turned = rot.multiply(turned, rotations[..., joint, :])
            placed[joint] = placed[parent] + rot.rotate(turned, offsets[joint].expand_as(root))
    return torch.stack(placed, dim=-2)


def place(
    positions: Float[Tensor, "T J 3"], layout: Layout, target_offsets: Float[Tensor, "J 3"] | None = None
) -> Float[Tensor, "T J 3"]:
    """Positions as the datasets store them: on the target body, on the floor, from the origin, facing +Z.

    Args:
        positions: World positions in the layout's unit, Y up.
        layout: Layout they belong to.
        target_offsets: Bones of the body to move onto first; the body stays when left out.

    Returns:
        Positions in float32.
    """
    body = BODIES[layout.name]
    if target_offsets is not None:
        scale = _size(target_offsets, body) / _size(bone_offsets(positions[0], layout), body)
        rotations = inverse_kinematics(positions, layout)
        positions = pose_chains(rotations, positions[:, 0] * scale, target_offsets, layout)
    positions = positions - positions.new_tensor([0.0, 1.0, 0.0]) * positions[..., 1].min()
    positions = positions - positions[0, 0] * positions.new_tensor([1.0, 0.0, 1.0])
    right, left, shoulder_r, shoulder_l = body.across
    first = positions[0]
    across = rot.normalize(first[right] - first[left] + first[shoulder_r] - first[shoulder_l])
    turn = _between(rot.normalize(_cross_up(across)), torch.tensor([0.0, 0.0, 1.0]))
    return rot.rotate(turn, positions.float())


def encode_published(
    positions: Float[Tensor, "T J 3"], layout: Layout, target_offsets: Float[Tensor, "J 3"] | None = None
) -> Float[Tensor, "T-1 D"]:
    """Positions to published features: one row fewer than frames, since a row needs the next frame.

    Args:
        positions: World positions in the layout's unit (metres or, for KIT, millimetres) at its frame rate, Y up.
        layout: Layout to write.
        target_offsets: Bones of the body to move onto first (the datasets': ``bone_offsets`` of frame 0 of clip
            000021 or, for KIT, 03950); the body stays when left out.

    Raises:
        LayoutError: The number of joints does not fit the layout, or there are fewer than two frames.
    """
    if positions.shape[1] != layout.joints:
        raise LayoutError(f"layout {layout.name!r} has {layout.joints} joints; got {positions.shape[1]}")
    if len(positions) < 2:
        raise LayoutError("one frame has no velocities; at least two frames are needed")
    body, slices = BODIES[layout.name], layout.slices
    world = place(positions, layout, target_offsets)
    rotations = inverse_kinematics(world, layout, smoothed=True)
    facing = rotations[:, 0]
    moves = world[1:] - world[:-1]
    yaw_step = rot.multiply(facing[1:], rot.conjugate(facing[:-1]))
    root_step = rot.rotate(facing[1:], moves[:, 0])
    local = rot.rotate(facing[:, None], world - world[:, :1] * torch.tensor([1.0, 0.0, 1.0]))
    feet = list(body.left_foot + body.right_foot)
    features = world.new_empty(len(world) - 1, layout.size)
    features[:, slices["yaw"]] = torch.arcsin(yaw_step[:, 2:3].clamp(-1.0, 1.0))
    features[:, slices["velocity"]] = root_step[:, [0, 2]]
    features[:, slices["height"]] = local[:-1, 0, 1:2]
    features[:, slices["positions"]] = local[:-1, 1:].flatten(1)
    features[:, slices["rotations"]] = rot.to_6d(rot.to_matrix(rotations[:-1, 1:])).flatten(1)
    features[:, slices["velocities"]] = rot.rotate(facing[:-1, None], moves).flatten(1)
    features[:, slices["contacts"]] = (moves[:, feet].square().sum(-1) < body.contact).float()
    return features


def recover_positions(features: Float[Tensor, "*batch T D"], layout: Layout) -> Float[Tensor, "*batch T J 3"]:
    """World positions of published features, in the layout's unit, from their local positions. Differentiable."""
    angle, root = root_path(features)
    local = features[..., layout.slices["positions"]].unflatten(-1, (layout.joints - 1, 3))
    turned = rot.rotate(rot.about("Y", angle)[..., None, :], local)
    ground = root * root.new_tensor([1.0, 0.0, 1.0])
    return torch.cat((root[..., None, :], turned + ground[..., None, :]), dim=-2)


def recover_from_rotations(
    features: Float[Tensor, "*batch T D"], offsets: Float[Tensor, "J 3"], layout: Layout
) -> Float[Tensor, "*batch T J 3"]:
    """World positions of published features, in the layout's unit, from their rotations and a body's bones."""
    angle, root = root_path(features)
    six = features[..., layout.slices["rotations"]].unflatten(-1, (layout.joints - 1, 6))
    local = rot.from_matrix(rot.from_6d(six))
    # Joint 0 holds the rotation from the world to the facing frame, not its inverse: the published chains start
    # from it, and the rotations of their first bones were made relative to it, so it cancels out.
    facing = rot.about("Y", -angle)[..., None, :]
    return pose_chains(torch.cat((facing, local), dim=-2), root, offsets, layout)


def published_motion(features: Float[Tensor, "T D"], layout: Layout, fps: float) -> Motion:
    """A motion of the canonical tree from published features, in metres.

    The published rotations cannot be used (they carry no twist and are relative to the wrong joint), so positions
    are taken and rotations fitted to them; the error is in the provenance. The body has the size of the data,
    which in KIT-ML is a small one; ``retarget`` moves it to another.

    Raises:
        LayoutError: The width of the features does not fit the layout.
    """
    if features.shape[-1] != layout.size:
        raise LayoutError(f"{features.shape[-1]} features a frame do not fit layout {layout.name!r} ({layout.size})")
    body = BODIES[layout.name]
    positions = recover_positions(features, layout) * body.unit
    first, second, share = zip(*body.canonical, strict=True)
    weight = positions.new_tensor(share)[:, None]
    positions = torch.lerp(positions[:, list(first)], positions[:, list(second)], weight)
    motion = from_positions(positions, fps)
    note = f"positions of published {layout.name!r} features, {layout.joints} joints onto {len(CANONICAL)}"
    notes = (note, *motion.provenance.notes)
    contacts = features[:, layout.slices["contacts"]] > 0.5
    return motion.with_(contacts=contacts, provenance=Provenance(notes=notes))


def published_of_motion(motion: Motion, layout: Layout) -> Float[Tensor, "T D"]:
    """Published features of a motion of the canonical tree at the layout's frame rate; the last row is held.

    Raises:
        LayoutError: The layout has other joints, or the motion has one frame only.
    """
    features = encode_published(motion.positions, layout)
    return torch.cat((features, features[-1:]))


def published_on_canonical(features: Float[Tensor, "T D"], layout: Layout, *, fps: float | None = None) -> Motion:
    """As ``published_motion``, moved onto the canonical body; ``fps`` is the layout's when left out."""
    return retarget(published_motion(features, layout, layout.fps if fps is None else fps))


def _size(offsets: Float[Tensor, "J 3"], body: PublishedBody) -> Tensor:
    return sum((offsets[joint].abs().max() for joint in body.scale_bones), torch.tensor(0.0))


def _cross_up(across: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Cross product of +Y and a direction: forward, if the direction points to the body's right."""
    return torch.linalg.cross(across.new_tensor([0.0, 1.0, 0.0]).expand_as(across), across)


def _between(a: Float[Tensor, "*#batch 3"], b: Float[Tensor, "*#batch 3"]) -> Float[Tensor, "*#batch 4"]:
    """Rotation of direction ``a`` to ``b`` in float32, rounded as published: KIT's features are in millimetres."""
    a, b = torch.broadcast_tensors(a.float(), b.float())
    scalar = (a.square().sum(-1) * b.square().sum(-1)).sqrt() + (a * b).sum(-1)
    quaternion = torch.cat((scalar[..., None], torch.linalg.cross(a, b)), dim=-1)
    length = quaternion.norm(dim=-1, keepdim=True)
    # Opposite directions: published is 0/0 here.
    return torch.where(length < 1e-6, rot.between(a, b), quaternion / length.clamp(min=1e-6))

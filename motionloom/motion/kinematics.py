"""Forward kinematics and what follows from positions: facing direction and velocities.

Source: the joint transforms of SMPL (Loper et al., 2015), section 3: R_j = R_parent(j) L_j and
p_j = p_parent(j) + R_parent(j) o_j.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import SkeletonError
from motionloom.motion import rotations as rot
from motionloom.motion.skeleton import Skeleton


def forward_kinematics(
    rotations: Float[Tensor, "*batch J 4"],
    root: Float[Tensor, "*batch 3"],
    skeleton: Skeleton,
) -> tuple[Float[Tensor, "*batch J 3"], Float[Tensor, "*batch J 4"]]:
    """Pose a skeleton. Differentiable; runs on the device and in the dtype of ``rotations``.

    Args:
        rotations: Rotation of each joint relative to its parent (wxyz); the root's is global.
        root: Where the root is in the world [m]; it replaces the root's own offset.
        skeleton: The skeleton to pose.

    Returns:
        World positions of the joints [m] and their world rotations (wxyz).

    Raises:
        SkeletonError: ``rotations`` has another number of joints than ``skeleton``.
    """
    check_joints(rotations.shape[-2], skeleton)
    offsets = skeleton.offsets.to(rotations)
    placed, turned = root[..., None, :], rotations[..., :1, :]
    positions, world = [placed], [turned]
    # One step per level of the tree: all parents of a level's joints are in the level before.
    for joints, parents in skeleton.steps:
        above = turned[..., parents, :]
        placed = placed[..., parents, :] + rot.rotate(above, offsets[joints].expand(*root.shape[:-1], -1, -1))
        turned = rot.multiply(above, rotations[..., joints, :])
        positions.append(placed)
        world.append(turned)
    order = skeleton.level_order
    return torch.cat(positions, dim=-2)[..., order, :], torch.cat(world, dim=-2)[..., order, :]


def to_local(world: Float[Tensor, "*batch J 4"], skeleton: Skeleton) -> Float[Tensor, "*batch J 4"]:
    """Rotations relative to each joint's parent, from world rotations (the inverse of the forward pass)."""
    check_joints(world.shape[-2], skeleton)
    parents = list(skeleton.parents[1:])
    local = rot.multiply(rot.conjugate(world[..., parents, :]), world[..., 1:, :])
    return torch.cat((world[..., :1, :], local), dim=-2)


def check_joints(joints: int, skeleton: Skeleton) -> None:
    """Raise ``SkeletonError`` unless a motion of that many joints fits the skeleton."""
    if joints != len(skeleton):
        raise SkeletonError(
            f"rotations have {joints} joints, the skeleton {len(skeleton)}; is this motion for another skeleton?"
        )


def facing(positions: Float[Tensor, "*batch 22 3"]) -> Float[Tensor, "*batch 3"]:
    """Horizontal unit vector the canonical body faces, from its hips and shoulders (left minus right, both).

    HumanML3D takes the hip term with the opposite sign (issue 107 there); the published codec keeps that,
    this function does not.
    """
    across = positions[..., 1, :] - positions[..., 2, :] + positions[..., 16, :] - positions[..., 17, :]
    up = torch.tensor([0.0, 1.0, 0.0]).to(across)
    forward = torch.linalg.cross(across, up.expand_as(across))
    return rot.normalize(forward)


def yaw(direction: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Angle about +Y [rad] that turns +Z to the horizontal direction; positive to the body's left (+X)."""
    return torch.atan2(direction[..., 0], direction[..., 2])

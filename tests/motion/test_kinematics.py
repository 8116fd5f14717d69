import math

import make
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motionloom.errors import SkeletonError
from motionloom.motion import rotations as rot
from motionloom.motion.kinematics import facing, forward_kinematics, to_local, yaw
from motionloom.motion.skeleton import CANONICAL, Skeleton

sizes, seeds = st.integers(1, 12), st.integers(0, 1000)


@given(joints=sizes, frames=sizes, seed=seeds)
def test_posing_keeps_every_bone_length(joints, frames, seed):
    skeleton = make.skeleton(joints, seed)
    local, root = make.rotations(frames, joints, seed=seed), make.tensor(frames, 3, seed=seed)
    positions, world = forward_kinematics(local, root, skeleton)
    torch.testing.assert_close(positions[:, 0], root)
    for joint, parent in enumerate(skeleton.parents[1:], start=1):
        length = (positions[:, joint] - positions[:, parent]).norm(dim=-1)
        torch.testing.assert_close(length, skeleton.offsets[joint].norm().expand(frames))
        combined = rot.multiply(world[:, parent], local[:, joint])
        torch.testing.assert_close(world[:, joint], combined, atol=1e-6, rtol=0.0)


@given(joints=sizes, seed=seeds, batch=st.sampled_from([(), (3,), (2, 4)]))
def test_local_rotations_come_back_from_world_rotations(joints, seed, batch):
    skeleton = make.skeleton(joints, seed)
    local = make.rotations(*batch, joints, seed=seed)
    _, world = forward_kinematics(local, make.tensor(*batch, 3), skeleton)
    assert make.degrees_apart(to_local(world, skeleton), local) < 0.1


def test_two_bones_by_hand():
    """A 1 m thigh and shin hang down; bending the knee by +90 degrees about X puts the foot behind (-Z)."""
    skeleton = Skeleton(("hip", "knee", "foot"), (-1, 0, 1), torch.tensor([[0.0, 0, 0], [0, -1.0, 0], [0, -1.0, 0]]))
    local = rot.identity(3)
    local[1] = rot.about("X", torch.tensor(math.pi / 2))
    positions, world = forward_kinematics(local, torch.tensor([0.0, 2.0, 0.0]), skeleton)
    wanted = torch.tensor([[0.0, 2.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, -1.0]])
    torch.testing.assert_close(positions, wanted, atol=1e-6, rtol=0.0)
    torch.testing.assert_close(world[2], local[1])


def test_positions_have_gradients_of_all_rotations_and_the_root():
    local = make.rotations(4, 22).requires_grad_()
    root = make.tensor(4, 3).requires_grad_()
    positions, _ = forward_kinematics(local, root, CANONICAL)
    positions[:, [10, 11, 15, 20, 21]].square().sum().backward()
    assert local.grad is not None
    moving = local.grad.abs().amax(dim=(0, 2)) > 0
    # Tips of limbs move nothing beyond themselves.
    assert [CANONICAL.names[joint] for joint in range(22) if not moving[joint]] == [
        "left_foot", "right_foot", "head", "left_wrist", "right_wrist",
    ]  # fmt: skip
    assert root.grad is not None
    assert torch.isfinite(root.grad).all()


def test_double_precision_stays_double():
    positions, world = forward_kinematics(
        make.rotations(2, 22, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64), CANONICAL
    )
    assert positions.dtype == world.dtype == torch.float64


def test_a_motion_for_another_skeleton_is_refused():
    message = "rotations have 5 joints, the skeleton 22; is this motion for another skeleton?"
    with pytest.raises(SkeletonError, match=message):
        forward_kinematics(rot.identity(3, 5), torch.zeros(3, 3), CANONICAL)
    with pytest.raises(SkeletonError, match=message):
        to_local(rot.identity(3, 5), CANONICAL)


@given(angle=st.floats(-3.1, 3.1), seed=seeds)
def test_a_body_turned_by_an_angle_faces_that_angle(angle, seed):
    local = rot.identity(22)
    local[0] = rot.about("Y", torch.tensor(angle))
    positions, _ = forward_kinematics(local, make.tensor(3, seed=seed), CANONICAL)
    assert float(yaw(facing(positions))) == pytest.approx(angle, abs=1e-4)
    assert float(facing(positions).norm()) == pytest.approx(1.0, abs=1e-5)


def test_left_is_positive_yaw():
    assert float(yaw(torch.tensor([1.0, 0.0, 0.0]))) == pytest.approx(math.pi / 2)
    torch.testing.assert_close(facing(CANONICAL.rest_positions), torch.tensor([0.0, 0.0, 1.0]))

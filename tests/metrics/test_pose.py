"""Laws and by-hand cases of the errors between poses."""

import math

import make
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motionloom.errors import MotionError
from motionloom.metrics.pose import (
    acceleration_error,
    average_displacement,
    evaluated_frames,
    final_displacement,
    joint_error,
    procrustes_error,
    root_aligned_error,
    rotation_error,
)
from motionloom.motion import rotations as rot

seeds, sizes = st.integers(0, 10_000), st.integers(3, 24)


@given(seed=seeds, joints=sizes, frames=st.integers(1, 6))
def test_procrustes_sees_neither_turn_nor_size_nor_place(seed, joints, frames):
    pose = make.tensor(frames, joints, 3, seed=seed, dtype=torch.float64)
    other = make.tensor(frames, joints, 3, seed=seed + 1, dtype=torch.float64)
    turn = make.rotations(frames, 1, seed=seed, dtype=torch.float64).expand(-1, joints, -1)
    moved = 0.7 * rot.rotate(turn, pose) + make.tensor(frames, 1, 3, seed=seed + 2, dtype=torch.float64)
    assert float(procrustes_error(moved, pose).max()) < 1e-9
    torch.testing.assert_close(procrustes_error(moved, other), procrustes_error(pose, other))


@given(seed=seeds, joints=st.integers(4, 24))
def test_procrustes_does_not_mirror(seed, joints):
    pose = make.tensor(1, joints, 3, seed=seed, dtype=torch.float64)
    assert float(procrustes_error(pose * torch.tensor([-1.0, 1.0, 1.0]), pose)) > 1e-3


def test_a_pose_in_one_point_stays_in_the_centre():
    pose = torch.tensor([[[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]])
    assert procrustes_error(torch.zeros(1, 2, 3), pose).tolist() == [1.0]


@given(seed=seeds, joints=sizes)
def test_root_alignment_takes_the_place_away_and_nothing_else(seed, joints):
    pose = make.tensor(5, joints, 3, seed=seed, dtype=torch.float64)
    moved = pose + torch.tensor([3.0, -1.0, 2.0])
    assert float(root_aligned_error(moved, pose).max()) < 1e-12
    torch.testing.assert_close(joint_error(moved, pose), torch.full((5,), math.sqrt(14)).double())


@given(seed=seeds, frames=st.integers(3, 20))
def test_acceleration_sees_neither_place_nor_speed(seed, frames):
    motion = make.tensor(frames, 4, 3, seed=seed, dtype=torch.float64)
    drift = torch.arange(frames).double()[:, None, None] * make.tensor(1, 4, 3, seed=seed + 1, dtype=torch.float64)
    assert float(acceleration_error(motion + drift + 1.0, motion).max()) < 1e-12


def test_acceleration_by_hand():
    """x = t² metres at 10 fps accelerates with 2 m/s²: 0.02 m per frame²."""
    time = torch.arange(6).double() / 10
    moving = torch.zeros(6, 1, 3).double()
    moving[:, 0, 0] = time**2
    still = torch.zeros_like(moving)
    assert acceleration_error(moving, still).tolist() == pytest.approx([0.02] * 4)
    assert acceleration_error(moving, still, fps=10).tolist() == pytest.approx([2.0] * 4)


def test_displacement_by_hand():
    """Two joints both 3 m off: a mean over joints would say 3, the published norm says sqrt(18)."""
    a = torch.zeros(2, 2, 3)
    b = torch.zeros(2, 2, 3)
    b[1, :, 0] = 3.0
    assert final_displacement(a, b) == pytest.approx(math.sqrt(18))
    assert average_displacement(a, b) == pytest.approx(math.sqrt(18) / 2)


def test_evaluated_frames_by_hand():
    assert evaluated_frames("prediction", 40) == slice(8, 40)
    assert evaluated_frames("prediction", 40, padded=48) == slice(8, 48)
    assert evaluated_frames("in-between", 37) == slice(9, 28)


def test_rotation_error_by_hand():
    turned = rot.about("X", torch.tensor([[0.0, 0.5]]))
    assert rotation_error(turned, rot.about("X", torch.zeros(1, 2))).tolist() == pytest.approx([0.25], abs=1e-4)


def test_errors_say_what_to_do():
    motion = torch.zeros(2, 4, 3)
    with pytest.raises(MotionError, match=r"2 frame\(s\); an acceleration needs at least 3"):
        acceleration_error(motion, motion)
    with pytest.raises(MotionError, match="fps is 0"):
        acceleration_error(torch.zeros(3, 4, 3), torch.zeros(3, 4, 3), fps=0)
    with pytest.raises(MotionError, match="no frames to compare"):
        average_displacement(motion[:0], motion[:0])
    with pytest.raises(MotionError, match="40 frames, padded to 39"):
        evaluated_frames("prediction", 40, 39)

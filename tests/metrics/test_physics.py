"""Laws and by-hand cases of the physical figures."""

import math

import make
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motionloom.errors import MotionError
from motionloom.metrics.physics import (
    bone_length_error,
    floating,
    foot_slide,
    jitter,
    joint_limit_excess,
    penetration,
    physics,
    skate_ratio,
)
from motionloom.motion import rotations as rot
from motionloom.motion.motion import resample
from motionloom.motion.skeleton import CANONICAL, MIRROR

seeds = st.integers(0, 10_000)


def standing(frames: int) -> torch.Tensor:
    """The T-pose with the lowest joint on the floor."""
    pose = CANONICAL.rest_positions - torch.tensor([0.0, 1.0, 0.0]) * CANONICAL.rest_positions[:, 1].min()
    return pose.expand(frames, -1, -1).clone()


def bent(joint: str, axis: str, degrees: float) -> torch.Tensor:
    """One frame in T-pose with one joint turned."""
    pose = rot.identity(1, 22)
    pose[:, CANONICAL.index(joint)] = rot.about(axis, torch.tensor([math.radians(degrees)]))
    return pose


def exceeded(joint: str, axis: str, degrees: float) -> float:
    """By how many degrees that joint is beyond its limit; all others must be within theirs."""
    found = torch.rad2deg(joint_limit_excess(bent(joint, axis, degrees)))[0]
    index = CANONICAL.index(joint) - 1
    assert float(found.sum() - found[index]) < 1e-9
    return float(found[index])


def test_standing_still_is_perfect():
    got = physics(standing(10), 20.0, rotations=rot.identity(10, 22))
    figures = (got.slide, got.skate_ratio, got.penetration, got.float_, got.jitter, got.bone_length, got.joint_limit)
    assert figures == pytest.approx((0.0,) * 7, abs=1e-5)
    assert (got.fps, got.floor) == (20.0, 0.0)
    assert physics(standing(10), 20.0).joint_limit is None


def test_gliding_by_hand():
    """1 m/s along the floor: every step is a slide and, but for a mean over frames before the clip, a skate."""
    gliding = standing(21)
    gliding[..., 0] += torch.arange(21)[:, None] / 20
    assert foot_slide(gliding, 20.0) == pytest.approx(1.0, rel=1e-5)
    assert skate_ratio(gliding, 20.0) == 1.0
    slow = standing(21)
    slow[..., 0] += 0.8 * torch.arange(21)[:, None] / 20
    # At the ends 3 of 5 frames lie in the clip: 0.48 m/s is under the 0.5 of the published figure.
    assert skate_ratio(slow, 20.0) == pytest.approx(18 / 20)
    assert skate_ratio(gliding + torch.tensor([0.0, 0.06, 0.0]), 20.0) == 0.0
    assert skate_ratio(gliding[:1], 20.0) == 0.0


def test_heights_by_hand():
    heights = standing(4) + torch.tensor([0.0, 0.1, -0.3, 0.0])[:, None, None] * torch.tensor([0.0, 1.0, 0.0])
    assert floating(heights) == pytest.approx(0.1 / 4, abs=1e-6)
    assert penetration(heights) == pytest.approx(0.3 / 4, abs=1e-6)
    assert penetration(heights, floor=-0.3) == pytest.approx(0.0, abs=1e-6)
    assert floating(heights, floor=-0.3) == pytest.approx((0.3 + 0.4 + 0.0 + 0.3) / 4, abs=1e-6)


def test_jerk_by_hand():
    """x = t³ has jerk 6 m/s³ everywhere."""
    moving = torch.zeros(10, 1, 3).double()
    moving[:, 0, 0] = (torch.arange(10).double() / 10) ** 3
    assert jitter(moving, 10.0) == pytest.approx(6.0)
    assert jitter(moving[:3], 10.0) == 0.0


def test_bone_lengths_by_hand():
    """A right forearm (20 cm) 2 cm longer in one of two frames: off its mean by 1 cm in both, in 1 of 21 bones."""
    stretched = standing(2)
    stretched[0, CANONICAL.index("right_wrist"), 0] -= 0.02
    assert bone_length_error(stretched, CANONICAL) == pytest.approx(0.01 / 21, rel=1e-4)
    assert bone_length_error(stretched, CANONICAL, own=False) == pytest.approx(0.02 / 42, rel=1e-4)
    assert bone_length_error(1.1 * standing(2), CANONICAL) == pytest.approx(0.0, abs=1e-7)
    assert bone_length_error(1.1 * standing(2), CANONICAL, own=False) > 0.01


@pytest.mark.parametrize(
    ("joint", "axis", "degrees", "excess"),
    [
        ("left_knee", "X", 120.0, 0.0),
        ("left_knee", "X", 170.0, 10.0),
        ("right_knee", "X", -30.0, 20.0),
        ("right_knee", "X", -100.0, 90.0),
        ("left_knee", "Y", 50.0, 20.0),
        ("left_elbow", "Y", -140.0, 0.0),
        ("left_elbow", "Y", 30.0, 20.0),
        ("right_elbow", "Y", 140.0, 0.0),
        ("right_elbow", "Y", -30.0, 20.0),
        ("left_shoulder", "Z", -90.0, 0.0),
        ("left_hip", "X", -100.0, 0.0),
        ("left_hip", "X", 150.0, 25.0),
        ("spine2", "X", 60.0, 20.0),
        ("left_wrist", "X", 150.0, 40.0),
    ],
)
def test_joint_limits_by_hand(joint, axis, degrees, excess):
    """Knees bend back about +X, the left elbow forward about -Y, the right one about +Y."""
    # Bones that don't lie along an axis share a bend with a little twist.
    assert exceeded(joint, axis, degrees) == pytest.approx(excess, abs=0.5)


@given(seed=seeds)
def test_limits_are_the_same_for_the_mirrored_body_and_for_either_sign_of_a_quaternion(seed):
    pose = make.rotations(3, 22, seed=seed, dtype=torch.float64)
    mirrored = pose[:, list(MIRROR)] * torch.tensor([1.0, 1.0, -1.0, -1.0])
    there = [index - 1 for index in MIRROR[1:]]
    torch.testing.assert_close(joint_limit_excess(mirrored), joint_limit_excess(pose)[:, there])
    torch.testing.assert_close(joint_limit_excess(-pose), joint_limit_excess(pose))


@given(seed=seeds)
def test_figures_do_not_depend_on_where_the_motion_is_and_which_way_it_faces(seed):
    clip = make.motion(30, seed=seed)
    turned = rot.rotate(rot.about("Y", torch.tensor(1.0 + seed % 5).double()), clip.positions.double())
    here = physics(clip.positions.double(), 20.0, 0.1)
    there = physics(turned + torch.tensor([3.0, 0.5, -2.0]), 20.0, 0.6)
    for name in ("slide", "skate_ratio", "penetration", "float_", "jitter", "bone_length"):
        assert vars(there)[name] == pytest.approx(vars(here)[name], rel=1e-5, abs=1e-6), name


def test_speeds_do_not_depend_on_the_frame_rate():
    clip = make.motion(60, seed=3, fps=20.0)
    fine = resample(clip, 60.0)
    low = float(clip.positions[..., 1].max())
    assert foot_slide(fine.positions, 60.0, low) == pytest.approx(foot_slide(clip.positions, 20.0, low), rel=0.05)


def test_errors_say_what_to_do():
    with pytest.raises(MotionError, match="the motion has no frames"):
        physics(standing(0), 20.0)
    with pytest.raises(MotionError, match="fps is 0"):
        physics(standing(2), 0)
    with pytest.raises(MotionError, match="a position is NaN or infinite"):
        physics(standing(2) / 0.0, 20.0)
    with pytest.raises(MotionError, match="positions of 21 joints, a skeleton of 22"):
        bone_length_error(standing(2)[:, 1:], CANONICAL)

import math

import make
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motionloom.data import quality
from motionloom.data.quality import REFUSED, bone_drift, flags, free_fall, leg_swing, nan_share, raw_flags
from motionloom.errors import MotionError
from motionloom.motion import rotations as rot
from motionloom.motion.edit import on_floor
from motionloom.motion.motion import Motion, take
from motionloom.motion.skeleton import CANONICAL

ARMS = (("left_shoulder", 1.0), ("right_shoulder", -1.0))


def arms_down(motion):
    """The same with the arms hanging: nobody walks in a T-pose."""
    rotations = motion.rotations.clone()
    for name, side in ARMS:
        joint = CANONICAL.index(name)
        rotations[:, joint] = rot.multiply(rot.about("Z", torch.tensor(-1.2 * side)), rotations[:, joint])
    return motion.with_(rotations=rotations)


def gait(steps_a_second=1.85, seconds=4.0, fps=30.0, metres=0.7):
    """A walk whose feet stand for 60 % of a stride and swing, lifted, for 40 %."""
    time = torch.arange(round(seconds * fps)) / fps
    stride = 2 / steps_a_second
    phases = [(time / stride + shift) % 1.0 for shift in (0.0, 0.5)]
    motion = arms_down(Motion(CANONICAL, rot.identity(len(time), 22), torch.zeros(len(time), 3), fps))
    rotations, reach = motion.rotations.clone(), metres * 1.2 / 2
    for side, phase in zip(("left", "right"), phases, strict=True):
        standing = reach * (1 - 2 * phase / 0.6)
        swinging = -reach * torch.cos(math.pi * (phase - 0.6) / 0.4)
        ahead = torch.where(phase < 0.6, standing, swinging)
        rotations[:, CANONICAL.index(f"{side}_hip")] = rot.about("X", -torch.asin(ahead / 0.84))
        lifted = torch.where(phase < 0.6, 0.0, 0.2 * torch.sin(math.pi * (phase - 0.6) / 0.4) ** 2)
        rotations[:, CANONICAL.index(f"{side}_knee")] = rot.about("X", lifted)
    root = torch.stack((torch.zeros_like(time), torch.full_like(time, 0.95), metres * steps_a_second * time), dim=-1)
    return on_floor(motion.with_(rotations=rotations, root=root))


def jumps(count=3, seconds=0.5, fps=60.0, gravity=9.81):
    """Stiff jumps on the spot, each so long in the air, with as much time on the ground between them."""
    flight = torch.arange(round(seconds * fps)) / fps
    arc = 0.5 * gravity * flight * (seconds - flight)
    height = torch.cat([torch.cat((torch.zeros_like(arc), arc)) for _ in range(count)] + [torch.zeros_like(arc)])
    body = arms_down(Motion(CANONICAL, rot.identity(len(height), 22), torch.zeros(len(height), 3), fps))
    ground = float(on_floor(body).root[0, 1])
    sway = rot.about("X", 0.05 * torch.sin(torch.arange(len(height)) / fps))
    body.rotations[:, CANONICAL.index("spine2")] = sway
    return body.with_(root=torch.stack((torch.zeros_like(height), ground + height, torch.zeros_like(height)), dim=-1))


def names(motion, **options):
    return {flag.name for flag in flags(motion, **options)}


def test_clean_motions_have_no_flags():
    for motion in (gait(), gait(2.3, metres=0.8), jumps(), take(gait(), torch.arange(1))):
        assert flags(motion) == ()


@pytest.mark.parametrize("factor", [0.25, 0.5, 2.0, 4.0])
def test_a_walk_and_a_jump_at_a_wrong_frame_rate_are_seen_with_the_factor(factor):
    for motion, known in ((gait(), 0.25), (jumps(seconds=0.6), 0.02)):
        (flag,) = (flag for flag in flags(motion.with_(fps=motion.fps * factor)) if flag.name == "fps")
        assert flag.value == pytest.approx(factor, rel=known)
        assert f"{motion.fps * factor:g} fps is about" in flag.detail


@given(seconds=st.floats(0.4, 0.8), fps=st.floats(40.0, 120.0))
def test_jumps_fall_with_one_g_at_any_frame_rate(seconds, fps):
    fall = free_fall(jumps(seconds=seconds, fps=fps).positions.numpy(), fps)
    assert fall is not None
    assert fall == pytest.approx(1.0, abs=0.05)


@given(pace=st.floats(1.4, 2.6), metres=st.floats(0.45, 0.9))
def test_the_swing_of_a_leg_is_measured(pace, metres):
    motion = gait(pace, metres=metres, fps=60.0)
    swing = leg_swing(motion.positions.numpy(), 60.0)
    assert swing is not None
    # A foot is faster than the body for about the 40 % of the stride in which it is lifted.
    assert 0.35 < swing.share < 0.42
    assert swing.seconds == pytest.approx(swing.share * 2 / pace, rel=0.03)


def test_gravity_overrules_the_legs():
    points = jumps().positions.numpy()
    assert free_fall(points, 60.0) == pytest.approx(1.0, abs=0.02)
    assert leg_swing(points, 60.0) is None
    assert free_fall(gait().positions.numpy(), 30.0) is None


def test_who_goes_up_and_down_with_a_part_at_rest_is_in_no_flight():
    """A body that hangs with its hands at one height and pulls itself up slowly; nothing of it touches the floor."""
    motion = jumps(count=3, seconds=1.0, gravity=2.0)
    points = motion.positions.numpy() + np.array([0.0, 0.3, 0.0])
    points[:, 10] = (0.1, 0.2, 0.0)
    assert free_fall(points, 60.0) is None


def test_frozen_repeated_and_jumping_frames():
    motion = gait()
    still = take(motion, torch.zeros(60, dtype=torch.long))
    (flag,) = flags(still)
    assert (flag.name, flag.value) == ("frozen", pytest.approx(0.0, abs=1e-6))
    assert flag.name in REFUSED
    doubled = take(motion, torch.arange(len(motion)).repeat_interleave(2)).with_(fps=60.0)
    (flag,) = flags(doubled)
    assert (flag.name, flag.value) == ("repeated", pytest.approx(0.5, abs=0.01))
    rotations = motion.rotations.clone()
    rotations[50:, 0] = rot.multiply(rot.about("Z", torch.tensor(math.pi)), rotations[50:, 0])
    (flag,) = (flag for flag in flags(motion.with_(rotations=rotations)) if flag.name == "teleport")
    assert "after frame 49" in flag.detail
    assert flag.value > quality.TELEPORT


def test_a_body_in_the_air_floats_but_a_jump_does_not():
    motion = gait()
    root = motion.root.clone()
    root[60:, 1] += 0.4
    (flag,) = flags(motion.with_(root=root))
    assert flag.name == "floating"
    assert flag.value == pytest.approx(0.4, abs=0.05)
    assert "of the frames" in flag.detail
    assert names(motion.with_(root=root), legs_known=False) == set()
    assert "floating" not in names(jumps(seconds=0.9))


def test_t_poses_at_both_ends():
    motion = gait()
    rest = rot.identity(1, 22)
    for count, found in ((1, "1 frame"), (12, "12 frames")):
        rotations = motion.rotations.clone()
        rotations[:count] = rest
        (flag,) = flags(motion.with_(rotations=rotations))
        assert (flag.name, flag.value) == ("t-pose", count)
        assert f"{found} at the start" in flag.detail
    rotations = motion.rotations.clone()
    rotations[-15:] = rest
    (flag,) = flags(motion.with_(rotations=rotations))
    assert (flag.value, flag.detail) == (15.0, "a T-pose of 15 frames at the end")
    # In the middle, and turned about the vertical, it is a pose like any other and a T-pose still.
    rotations = motion.rotations.clone()
    rotations[40:50] = rest
    assert "t-pose" not in names(motion.with_(rotations=rotations))
    rotations = motion.rotations.clone()
    rotations[:15] = rest
    rotations[:, 0] = rot.multiply(rot.about("Y", torch.tensor(1.0)), rotations[:, 0])
    assert "t-pose" in names(motion.with_(rotations=rotations), legs_known=False)


def test_positions_at_hand_give_the_same_flags():
    motion = gait().with_(fps=90.0)
    assert flags(motion, positions=motion.positions) == flags(motion)
    with pytest.raises(MotionError, match="5 joints; the canonical 22 are needed"):
        flags(Motion(make.skeleton(5), make.rotations(4, 5), make.tensor(4, 3), 30.0))


@given(joints=st.integers(2, 12), seed=st.integers(0, 99), size=st.floats(0.01, 100.0))
def test_rigid_bones_do_not_drift_in_any_unit(joints, seed, size):
    skeleton = make.skeleton(joints, seed)
    motion = Motion(skeleton, make.rotations(20, joints, seed=seed), make.tensor(20, 3, seed=seed), 30.0)
    assert bone_drift(size * motion.positions, skeleton.parents) < 1e-3


def test_a_stretching_bone_and_missing_joints():
    motion = gait()
    positions = motion.positions.clone()
    positions[:, 20] += (positions[:, 20] - positions[:, 18]) * torch.linspace(-0.5, 0.5, len(motion))[:, None]
    assert bone_drift(positions, CANONICAL.parents) == pytest.approx(0.45, abs=0.01)
    (flag,) = raw_flags(positions, CANONICAL.parents)
    assert (flag.name, flag.detail) == ("bone-drift", "the lengths of bones vary by 45 %")
    broken = motion.positions.clone()
    broken[:30, 21] = math.nan
    assert nan_share(broken) == pytest.approx(30 / len(motion) / 22)
    (flag,) = raw_flags(broken, CANONICAL.parents)
    assert flag.name == "nan"
    assert raw_flags(motion.positions, CANONICAL.parents) == ()
    assert bone_drift(torch.full((4, 2, 3), math.nan), (-1, 0)) == 0.0
    with pytest.raises(MotionError, match="positions of 22 joints, 3 parents"):
        bone_drift(positions, (-1, 0, 1))
    with pytest.raises(MotionError, match="no frames"):
        nan_share(torch.zeros(0, 22, 3))

import math

import make
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motionloom.errors import MotionError, SkeletonError
from motionloom.motion import rotations as rot
from motionloom.motion.edit import cut, face_forward, join, mirror, on_floor, turn
from motionloom.motion.kinematics import facing
from motionloom.motion.motion import Motion
from motionloom.motion.retarget import measured_body
from motionloom.motion.skeleton import CANONICAL, MIRROR

seeds = st.integers(0, 1000)


def masked(motion: Motion, seed: int = 0) -> Motion:
    frames = len(motion)
    return motion.with_(valid=make.tensor(frames, 10, seed=seed) > 0, contacts=make.tensor(frames, 4, seed=seed) > 0)


def test_cutting_takes_the_frames_of_the_span():
    motion = masked(make.motion(40, fps=20.0))
    part = cut(motion, 0.5, 1.5)
    assert torch.equal(part.rotations, motion.rotations[10:30])
    assert torch.equal(part.root, motion.root[10:30])
    assert part.contacts is not None
    assert motion.contacts is not None
    assert torch.equal(part.contacts, motion.contacts[10:30])
    assert len(cut(motion)) == 40
    assert torch.equal(cut(motion, -0.5).root, motion.root[30:])
    assert torch.equal(cut(motion, 0.0, -0.5).root, motion.root[:30])


@pytest.mark.parametrize(("start", "end"), [(1.0, 1.0), (1.5, 0.5), (0.0, 2.1), (-3.0, None), (2.0, None)])
def test_spans_outside_the_motion_are_refused(start, end):
    with pytest.raises(MotionError, match=r"cannot cut .* out of 2.00 s: no such span"):
        cut(make.motion(40, fps=20.0), start, end)


@given(seed=seeds, blend=st.sampled_from([0.0, 0.2, 0.5]))
def test_joining_goes_on_where_the_first_ends(seed, blend):
    first, second = make.motion(40, seed, fps=20.0), make.motion(40, seed + 1, fps=20.0)
    both = join(first, second, blend)
    overlap = max(1, round(blend * 20.0))
    assert len(both) == 80 - overlap
    assert torch.equal(both.rotations[: 40 - overlap], first.rotations[: 40 - overlap])
    # After the fade the second motion runs, turned and moved as a whole.
    rest = both.root[40:] - both.root[40]
    torch.testing.assert_close(rest.norm(dim=-1), (second.root - second.root[overlap])[overlap:].norm(dim=-1))
    torch.testing.assert_close(both.rotations[40:, 1:], second.rotations[overlap:, 1:])
    # Steps of the path stay of the size of a step; without the turn and the shift they would be metres.
    steps = (both.root[1:] - both.root[:-1])[:, [0, 2]].norm(dim=-1)
    assert float(steps.max()) < 0.25


def test_a_fade_reaches_both_sides_without_a_jump():
    first, second = make.motion(60, 3, fps=30.0), make.motion(60, 4, fps=30.0)
    both = join(first, second, blend=0.5)
    seam = rot.angle_between(both.rotations[1:], both.rotations[:-1])[40:65]
    assert float(torch.rad2deg(seam).max()) < 25.0


def test_masks_are_joined_where_both_are_known():
    first, second = masked(make.motion(20, 0), 1), masked(make.motion(20, 1), 2)
    both = join(first, second, blend=0.2)
    assert both.contacts is not None
    assert first.contacts is not None
    assert second.contacts is not None
    assert torch.equal(both.contacts, torch.cat((first.contacts, second.contacts[4:])))
    assert join(first, second.with_(contacts=None)).contacts is None


def test_joining_what_does_not_fit_is_refused():
    motion = make.motion(10)
    with pytest.raises(SkeletonError, match="the two motions have different skeletons; retarget"):
        join(motion, Motion(make.skeleton(22), motion.rotations, motion.root, motion.fps))
    with pytest.raises(MotionError, match=r"the motions have 20.0 and 30.0 fps; call at_fps on one first"):
        join(motion, motion.with_(fps=30.0))
    with pytest.raises(MotionError, match=r"an overlap of 5 s is longer than one of the motions"):
        join(motion, motion, blend=5)


@given(seed=seeds)
def test_mirroring_reflects_positions_and_undoes_itself(seed):
    motion = masked(make.motion(15, seed), seed)
    image = mirror(motion)
    reflected = motion.positions[:, list(MIRROR)] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(image.positions, reflected, atol=1e-5, rtol=0.0)
    again = mirror(image)
    assert torch.equal(again.rotations, motion.rotations)
    assert torch.equal(again.root, motion.root)
    assert again.valid is not None
    assert motion.valid is not None
    assert torch.equal(again.valid, motion.valid)
    assert image.contacts is not None
    assert motion.contacts is not None
    assert torch.equal(image.contacts, motion.contacts[:, [2, 3, 0, 1]])


def test_a_raised_left_arm_becomes_a_raised_right_arm():
    rotations = rot.identity(1, 22)
    rotations[0, CANONICAL.index("left_shoulder")] = rot.about("Z", torch.tensor(math.pi / 2))
    image = mirror(Motion(CANONICAL, rotations, torch.zeros(1, 3), 20.0)).positions[0]
    assert image[21, 1] > 0.5
    assert image[21, 0] < 0
    assert image[20, 1] < 0.4


def test_only_symmetric_canonical_bodies_are_mirrored():
    motion = make.motion(3)
    with pytest.raises(SkeletonError, match="only motions of the canonical body can be mirrored; call retarget first"):
        mirror(Motion(make.skeleton(22), motion.rotations, motion.root, 20.0))
    positions = motion.positions.clone()
    positions[:, 20] += 0.1 * (positions[:, 20] - positions[:, 18])
    lopsided = Motion(measured_body(positions), motion.rotations, motion.root, 20.0)
    with pytest.raises(SkeletonError, match="the two sides of this body differ; retarget it to a symmetric one"):
        mirror(lopsided)


@given(seed=seeds, angle=st.floats(-3.0, 3.0))
def test_turning_turns_everything_about_the_vertical(seed, angle):
    motion = make.motion(8, seed)
    turned = turn(motion, angle)
    wanted = rot.rotate(rot.about("Y", torch.tensor(angle)), motion.positions)
    torch.testing.assert_close(turned.positions, wanted, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(turn(turned, -angle).positions, motion.positions, atol=1e-5, rtol=0.0)


@given(seed=seeds, height=st.floats(-2.0, 2.0))
def test_the_floor_is_under_the_feet_whatever_the_height(seed, height):
    motion = make.motion(30, seed)
    lifted = motion.with_(root=motion.root + torch.tensor([0.0, height, 0.0]))
    floored = on_floor(lifted)
    torch.testing.assert_close(floored.root, on_floor(motion).root, atol=1e-5, rtol=0.0)
    lowest = floored.positions[..., 1].amin(1)
    assert float(torch.quantile(lowest, 0.05)) == pytest.approx(0.0, abs=1e-5)
    torch.testing.assert_close(floored.root[:, [0, 2]], lifted.root[:, [0, 2]])


def test_one_bad_frame_does_not_move_the_floor():
    motion = make.motion(60)
    broken = motion.root.clone()
    broken[7, 1] -= 5.0
    shift = on_floor(motion.with_(root=broken)).root[0] - on_floor(motion).root[0]
    assert float(shift.abs().max()) < 0.02


@given(seed=seeds, frame=st.integers(0, 9))
def test_facing_forward_stands_over_the_origin_and_faces_z(seed, frame):
    found = face_forward(make.motion(10, seed), frame)
    torch.testing.assert_close(facing(found.positions[frame]), torch.tensor([0.0, 0.0, 1.0]), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(found.root[frame, [0, 2]], torch.zeros(2), atol=1e-6, rtol=0.0)


def test_a_body_without_known_hips_has_no_facing():
    motion = make.motion(3)
    with pytest.raises(SkeletonError, match="known for the canonical body only; call retarget first"):
        face_forward(Motion(make.skeleton(22), motion.rotations, motion.root, 20.0))

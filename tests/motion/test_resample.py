import math

import make
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motionloom.errors import MotionError
from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion, resample, take
from motionloom.motion.skeleton import Skeleton

ONE = Skeleton(("root",), (-1,), torch.zeros(1, 3))


@given(frames=st.integers(1, 40), seed=st.integers(0, 1000), factor=st.integers(2, 4))
def test_up_and_down_again_returns(frames, seed, factor):
    motion = make.motion(frames, seed, fps=20.0)
    there = resample(motion, 20.0 * factor)
    assert len(there) == factor * (frames - 1) + 1
    back = resample(there, 20.0)
    assert len(back) == frames
    assert back.fps == 20.0
    assert make.degrees_apart(back.rotations, motion.rotations) < 0.01
    torch.testing.assert_close(back.root, motion.root, atol=1e-6, rtol=0.0)


@given(frames=st.integers(2, 60), fps=st.sampled_from([7.0, 12.5, 24.0, 25.0, 29.97, 50.0, 119.88]))
def test_first_moment_stays_and_no_time_is_invented(frames, fps):
    motion = make.motion(frames, fps=30.0)
    found = resample(motion, fps)
    assert torch.equal(found.root[0], motion.root[0])
    last = (len(found) - 1) / fps
    assert (frames - 1) / 30.0 - 1 / fps - 1e-6 < last <= (frames - 1) / 30.0 + 1e-6


def test_half_way_by_hand():
    """Between 0 and 90 degrees about Y lie 45 degrees; between 0 m and 1 m lie 0.5 m."""
    rotations = torch.stack((rot.identity(1), rot.about("Y", torch.tensor([math.pi / 2]))))
    contacts = torch.tensor([[True, False, False, False], [False, True, False, False]])
    motion = Motion(ONE, rotations, torch.tensor([[0.0, 0, 0], [1.0, 0, 0]]), 10.0, contacts=contacts)
    found = resample(motion, 20.0)
    torch.testing.assert_close(found.rotations[1], rot.about("Y", torch.tensor([math.pi / 4])))
    torch.testing.assert_close(found.root[:, 0], torch.tensor([0.0, 0.5, 1.0]))
    assert found.contacts is not None
    # Half way is no longer nearer to the first frame.
    assert found.contacts.tolist() == [*contacts[:1].tolist(), *contacts[1:].tolist(), *contacts[1:].tolist()]


def test_a_whole_divisor_picks_frames():
    motion = make.motion(13, fps=60.0)
    found = resample(motion, 20.0)
    assert torch.equal(found.rotations, motion.rotations[::3])
    assert torch.equal(found.root, motion.root[::3])
    assert resample(motion, 60.0) is motion


def test_negated_quaternions_do_not_matter():
    motion = make.motion(9, fps=20.0)
    signs = torch.where(make.tensor(9, 22, 1) < 0, -1.0, 1.0)
    found = resample(motion.with_(rotations=motion.rotations * signs), 50.0)
    assert make.degrees_apart(found.rotations, resample(motion, 50.0).rotations) < 0.1


def test_masks_follow_their_frames():
    valid = torch.arange(40).view(4, 10) % 3 == 0
    motion = make.motion(4, fps=20.0).with_(valid=valid)
    assert take(motion, torch.tensor([3, 0])).valid is not None
    picked = take(motion, torch.tensor([3, 0]))
    assert picked.valid is not None
    assert torch.equal(picked.valid, valid[[3, 0]])
    assert resample(motion, 33.0).valid is not None


@pytest.mark.parametrize("fps", [0.0, -5.0, 1001.0, float("nan")])
def test_impossible_rates_are_refused(fps):
    with pytest.raises(MotionError, match="it must lie between 0 and 1000"):
        resample(make.motion(3), fps)

import make
import pytest
import torch
from corpus import walk
from hypothesis import given
from hypothesis import strategies as st

from motionloom.errors import MotionError
from motionloom.motion.contacts import FEET
from motionloom.motion.stance import follow_feet


def slides(motion):
    """Mean speed [m/s] of standing feet."""
    feet = motion.positions[:, list(FEET)][..., [0, 2]]
    speed = (feet[1:] - feet[:-1]).norm(dim=-1) * motion.fps
    return float(speed[motion.contacts[1:] & motion.contacts[:-1]].mean())


def standing(frames, seed=0, fps=20.0):
    """A body that stands on both feet while its root slides ahead."""
    still = walk(frames, seed, fps)
    still = still.with_(rotations=still.rotations[:1].expand(frames, -1, -1).clone())
    return still.with_(contacts=torch.ones(frames, 4, dtype=torch.bool))


def test_a_body_that_stands_does_not_slide():
    motion = standing(60)
    assert slides(motion) > 0.5
    fixed = follow_feet(motion)
    # The ends of the smoothing are what is left.
    assert slides(fixed) < 0.1
    assert float((fixed.root[5:-5] - fixed.root[5]).norm(dim=-1).max()) < 1e-5


@given(st.integers(0, 1000), st.floats(0.05, 0.6))
def test_only_the_way_over_the_ground_changes(seed, window):
    contacts = make.tensor(40, 4, seed=seed) > 0
    motion = make.motion(40, seed).with_(contacts=contacts)
    fixed = follow_feet(motion, window)
    assert torch.equal(fixed.rotations, motion.rotations)
    assert torch.equal(fixed.root[:, 1], motion.root[:, 1])
    assert torch.equal(fixed.root[0], motion.root[0])


def test_a_body_in_flight_keeps_its_way():
    motion = make.motion(30, 2).with_(contacts=torch.zeros(30, 4, dtype=torch.bool))
    assert torch.allclose(follow_feet(motion).root, motion.root)


def test_turning_the_world_turns_the_correction():
    from motionloom.motion.edit import turn

    contacts = make.tensor(40, 4, seed=3) > 0
    motion = make.motion(40, 3).with_(contacts=contacts)
    torch.testing.assert_close(
        turn(follow_feet(motion), 0.7).root, follow_feet(turn(motion, 0.7)).root, atol=1e-4, rtol=0
    )


def test_without_contacts_there_is_one_clear_line():
    with pytest.raises(MotionError, match="no contacts, so nobody knows which foot stands"):
        follow_feet(make.motion(10))

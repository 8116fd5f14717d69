import make
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motionloom.motion import rotations as rot
from motionloom.motion.contacts import FEET, foot_contacts, with_contacts
from motionloom.motion.edit import mirror, on_floor
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL


def standing(frames: int = 10) -> torch.Tensor:
    """A body that stands still, its toes on the floor."""
    rest = CANONICAL.rest_positions
    return (rest - rest[10, 1] * torch.tensor([0.0, 1.0, 0.0])).repeat(frames, 1, 1)


def test_the_feet_are_ankles_and_toes_left_first():
    assert [CANONICAL.names[joint] for joint in FEET] == ["left_ankle", "left_foot", "right_ankle", "right_foot"]


def test_who_stands_still_touches_the_floor_with_all_four():
    assert foot_contacts(standing(), 20.0).all()
    assert foot_contacts(standing(1), 20.0).all()


def test_a_lifted_left_foot_is_off_the_floor():
    positions = standing()
    positions[3:7, [7, 10], 1] += 0.3
    found = foot_contacts(positions, 20.0)
    assert found[:, 2:].all()
    assert found[:, 0].tolist() == found[:, 1].tolist()
    assert not found[3:7, :2].any()
    # A frame next to one that moves still stands: contact begins and ends on time.
    assert found[[0, 1, 2, 7, 8, 9], 1].all()


@pytest.mark.parametrize(("speed", "stands"), [(0.3, True), (0.4, False)])
@pytest.mark.parametrize("fps", [20.0, 60.0])
def test_a_sliding_foot_stands_up_to_a_speed_whatever_the_frame_rate(speed, stands, fps):
    positions = standing()
    positions[..., 2] += speed / fps * torch.arange(10)[:, None]
    assert foot_contacts(positions, fps).all().item() is stands
    assert foot_contacts(positions, fps).any().item() is stands


def test_the_floor_may_lie_elsewhere():
    high = standing() + torch.tensor([0.0, 2.0, 0.0])
    assert not foot_contacts(high, 20.0).any()
    assert foot_contacts(high, 20.0, floor=2.0).all()


@given(seed=st.integers(0, 200))
def test_the_mirror_image_has_the_other_feets_contacts(seed):
    motion = on_floor(make.motion(30, seed))
    found, image = with_contacts(motion).contacts, with_contacts(mirror(motion)).contacts
    assert found is not None
    assert image is not None
    assert torch.equal(image, found[:, [2, 3, 0, 1]])


def test_contacts_are_written_into_the_motion():
    motion = Motion(CANONICAL, rot.identity(5, 22), standing(5)[:, 0], 20.0)
    assert motion.contacts is None
    assert with_contacts(motion).contacts is not None
    assert torch.equal(with_contacts(motion).root, motion.root)

"""What clean-up promises: held feet hold, nothing else moves, and it says what it did."""

import make
import pytest
import rigs
import torch
from corpus import as_cmu
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.errors import RequestError, RetargetError
from motionloom.metrics.cleaning import before_and_after
from motionloom.motion import rotations as rot
from motionloom.motion.clean import MOST, CleanOptions, clean
from motionloom.motion.joint_maps import find_map, joint_maps, points_at
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL, Skeleton

LEGS = [1, 2, 4, 5, 7, 8]
FEET = CleanOptions(floor=False, jitter=0)
FEET_AND_FLOOR = CleanOptions(jitter=0)
drifts = st.tuples(st.floats(-0.16, 0.16), st.floats(-0.16, 0.16))
spans = st.tuples(st.integers(0, 8), st.integers(14, 30))


def crouch(frames: int = 30, drift: tuple[float, float] = (0.1, 0.1), seed: int = 0, fps: float = 20.0) -> Motion:
    """Somebody stands with bent knees, moves arms and trunk, and slides over the floor by a drift [m/s]."""
    rotations = rot.from_axis_angle(0.2 * make.waves(frames, 66, fps, seed).view(frames, 22, 3))
    for joints, angle in (((0, 10, 11), 0.0), ((1, 2), -0.5), ((4, 5), 1.0), ((7, 8), -0.5)):
        for joint in joints:
            rotations[:, joint] = rot.about("X", torch.full((frames,), angle))
    root = torch.zeros(frames, 3)
    root[:, [0, 2]] = torch.arange(frames)[:, None] / fps * torch.tensor(drift)
    motion = Motion(CANONICAL, rotations, root, fps)
    root[:, 1] -= motion.positions[..., 1].min()
    return motion.with_(root=root)


def standing(motion: Motion, columns: list[int], start: int, end: int) -> Motion:
    """The motion with contacts of its own."""
    contacts = torch.zeros(len(motion), 4, dtype=torch.bool)
    contacts[start:end, columns] = True
    return motion.with_(contacts=contacts)


def spread(points: torch.Tensor) -> float:
    """How far a point gets from its first place [m]."""
    return float((points - points[0]).norm(dim=-1).max())


@settings(max_examples=15)
@given(drift=drifts, span=spans, seed=st.integers(0, 1000), options=st.sampled_from([FEET, FEET_AND_FLOOR]))
def test_a_held_foot_moves_less_than_a_millimetre(drift, span, seed: int, options: CleanOptions):
    start, end = span
    motion = standing(crouch(30, drift, seed), [0, 1, 2, 3], start, end)
    after = clean(motion, options).motion
    for joint in (7, 8, 10, 11):
        assert spread(after.positions[start:end, joint]) < 1e-3
    assert before_and_after(clean(motion, options))[1].contact_slide < 0.01


@settings(max_examples=15)
@given(drift=drifts, seed=st.integers(0, 1000), lean=st.floats(-0.1, 0.1))
def test_only_legs_move_and_bones_keep_their_length(drift, seed: int, lean: float):
    motion = standing(crouch(30, drift, seed), [1], 5, 20)
    motion = motion.with_(root=motion.root + torch.tensor([0.0, lean, 0.0]))
    after = clean(motion, FEET_AND_FLOOR).motion
    others = [joint for joint in range(22) if joint not in LEGS]
    assert torch.equal(after.rotations[:, others], motion.rotations[:, others])
    shift = after.root - motion.root
    torch.testing.assert_close(shift, shift[:1].expand(30, 3), atol=1e-6, rtol=0)
    assert float(shift[:, [0, 2]].abs().max()) == 0.0
    for joint, parent in enumerate(CANONICAL.parents[1:], start=1):
        lengths = (after.positions[:, joint] - after.positions[:, parent]).norm(dim=-1)
        torch.testing.assert_close(lengths, CANONICAL.offsets[joint].norm().expand(30), atol=1e-5, rtol=0)
    apart = rot.angle_between(after.world_rotations[:, LEGS[4:]], motion.world_rotations[:, LEGS[4:]])
    assert float(apart.max()) < 1e-3


@settings(max_examples=15)
@given(drift=drifts, span=spans, seed=st.integers(0, 1000))
def test_cleaning_twice_is_cleaning_once(drift, span, seed: int):
    motion = standing(crouch(30, drift, seed), [0, 1, 2, 3], *span)
    once = clean(motion, FEET_AND_FLOOR).motion
    twice = clean(once, FEET_AND_FLOOR).motion
    assert float((twice.positions - once.positions).norm(dim=-1).max()) < 2e-3


def test_a_rolling_foot_holds_its_heel_and_then_its_toe():
    motion = crouch(30, (0.0, 0.15))
    pitch = torch.linspace(-0.4, 0.4, 30).clamp(max=0.3)
    rotations = motion.rotations.clone()
    rotations[:, 7] = rot.multiply(rotations[:, 7], rot.about("X", pitch))
    motion = motion.with_(rotations=rotations)
    contacts = torch.zeros(30, 4, dtype=torch.bool)
    contacts[4:14, 0], contacts[13:25, 1] = True, True
    after = clean(motion.with_(contacts=contacts), FEET).motion.positions
    assert spread(after[4:14, 7]) < 1e-3
    assert spread(after[13:25, 10]) < 1e-3
    assert spread(motion.positions[4:14, 7]) > 0.05


def test_corrections_come_and_go_softly():
    motion = standing(crouch(40, (0.15, 0.0)), [0, 1, 2, 3], 12, 28)
    after = clean(motion, CleanOptions(floor=False, jitter=0, blend=0.4)).motion
    moved = (after.positions[:, 10] - motion.positions[:, 10])[:, 0]
    assert float(moved[:4].abs().max()) == 0.0
    assert float(moved[36:].abs().max()) == 0.0
    assert float(moved.diff().abs().max()) < 0.02
    hard = clean(motion, CleanOptions(floor=False, jitter=0, blend=0)).motion
    assert torch.equal(hard.rotations[:12], motion.rotations[:12])


def test_a_foot_that_slides_too_far_is_let_go_and_one_out_of_reach_is_told():
    motion = standing(crouch(40, (0.5, 0.0)), [0, 1, 2, 3], 0, 40)
    found = clean(motion, FEET)
    assert float((found.motion.positions - motion.positions).norm(dim=-1).max()) < MOST + 1e-3
    assert "let go in" in found.notes[0]
    up = crouch(40, (0.0, 0.0))
    up = up.with_(root=up.root + torch.linspace(0, 1.5, 40)[:, None] * torch.tensor([0.0, 0.19, 0.0]))
    found = clean(standing(up, [0, 1, 2, 3], 0, 40), FEET)
    assert "reach in 0 frames" not in found.notes[0]


@given(height=st.floats(-0.3, 0.3))
def test_the_floor_comes_to_zero(height: float):
    motion = crouch()
    motion = motion.with_(root=motion.root + torch.tensor([0.0, height, 0.0]))
    found = clean(motion, CleanOptions(feet=False, jitter=0))
    before, after = before_and_after(found)
    assert abs(before.floor - height) < 0.02
    assert abs(after.floor) < 1e-4
    assert after.penetration < 1e-4
    assert any(note.startswith("floor moved from") for note in found.notes)


def test_each_step_can_be_left_out_and_all_are_told():
    motion = crouch()
    only = clean(motion, CleanOptions(feet=False, floor=False, jitter=0.3))
    assert [note.split(" ")[0] for note in only.notes] == ["jitter"]
    assert only.motion.provenance.notes == (*motion.provenance.notes, *only.notes)
    whole = clean(motion, CleanOptions())
    assert [note.split(" ")[0] for note in whole.notes] == ["jitter", "floor", "left", "right"]
    short = clean(crouch(3), CleanOptions(feet=False, floor=False))
    assert short.notes == ("jitter filter left out: 0.25 s are 3 frames here, 5 are needed",)
    assert torch.equal(short.motion.rotations, crouch(3).rotations)


@pytest.mark.parametrize("rig", ["cmu", "mixamo"])
def test_other_skeletons_are_cleaned_as_they_are(rig: str):
    motion = standing(crouch(30, (0.15, -0.1)), [0, 1, 2, 3], 4, 26)
    if rig == "cmu":
        worn = as_cmu(motion).with_(contacts=motion.contacts)
        joint_map = find_map(worn.skeleton)
    else:
        joint_map = next(entry for entry in joint_maps() if entry.name == "mixamo")
        made = rigs.of_map(joint_map, pose=rigs.a_pose(), size=1.1)
        worn = rigs.wear(rigs.held_still(motion, made), made)
    after = clean(worn, FEET_AND_FLOOR).motion
    assert after.skeleton is worn.skeleton
    points = points_at(after.positions, joint_map.slots(worn.skeleton.names))
    for joint in (7, 8, 10, 11):
        assert spread(points[4:26, joint]) < 1e-3
    changed = (after.rotations != worn.rotations).any(dim=-1).any(dim=0)
    assert int(changed.sum()) == 6


def test_what_cannot_be_cleaned_is_refused():
    with pytest.raises(RequestError, match="all steps are switched off"):
        CleanOptions(feet=False, floor=False, jitter=0)
    with pytest.raises(RequestError, match=r"blend -1 s; both must be between 0 and 2 s"):
        CleanOptions(blend=-1)
    with pytest.raises(RequestError, match="the motion has 1 frame; cleaning looks at speeds"):
        clean(crouch(1), CleanOptions())
    odd = make.skeleton(5)
    motion = Motion(odd, rot.identity(9, 5), torch.zeros(9, 3), 20.0)
    with pytest.raises(RetargetError, match="no joint map fits this skeleton"):
        clean(motion, CleanOptions())
    cmu = as_cmu(crouch())
    parents = list(cmu.skeleton.parents)
    parents[cmu.skeleton.index("LeftFoot")] = 0
    loose = Skeleton(cmu.skeleton.names, tuple(parents), cmu.skeleton.offsets)
    with pytest.raises(RetargetError, match="the left leg of this skeleton is no chain of joints hip - knee - ankle"):
        clean(cmu.with_(skeleton=loose), CleanOptions())

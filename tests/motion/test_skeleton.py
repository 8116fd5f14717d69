import make
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motionloom.errors import SkeletonError
from motionloom.motion.skeleton import CANONICAL, JOINT_PARTS, LEG_LENGTH, MIRROR, PARTS, Skeleton


@given(joints=st.integers(1, 30), seed=st.integers(0, 1000))
def test_levels_children_and_rest_agree_with_the_parents(joints, seed):
    skeleton = make.skeleton(joints, seed)
    assert sorted([0, *(joint for level in skeleton.levels for joint in level)]) == list(range(joints))
    for joint, parent in enumerate(skeleton.parents[1:], start=1):
        assert joint in skeleton.children[parent]
        moved = skeleton.rest_positions[joint] - skeleton.rest_positions[parent]
        torch.testing.assert_close(moved, skeleton.offsets[joint], atol=1e-5, rtol=1e-5)
    above = (0,)
    for level, (joints_at, parents_at) in zip(skeleton.levels, skeleton.steps, strict=True):
        assert list(level) == joints_at
        assert [above[slot] for slot in parents_at] == [skeleton.parents[joint] for joint in level]
        above = level
    flat = [0, *(joint for level in skeleton.levels for joint in level)]
    assert [flat[slot] for slot in skeleton.level_order] == list(range(joints))


@pytest.mark.parametrize(
    ("names", "parents", "rows", "message"),
    [
        (("hip", "knee"), (-1, 1), 2, r"joint 1 \('knee'\) has parent 1; it must be one of 0..0"),
        (("hip", "knee"), (-1, -1), 2, r"joint 1 \('knee'\) has parent -1"),
        (("hip",), (0,), 1, r"joint 0 must be the root \(parent -1\); its parent is 0"),
        (("hip", "hip"), (-1, 0), 2, r"joint names must be unique; repeated: \['hip'\]"),
        (("hip", "knee"), (-1, 0), 3, r"need one entry per joint; got \(2, 2, 3\)"),
        ((), (), 0, r"need one entry per joint; got \(0, 0, 0\)"),
        (tuple(map(str, range(513))), (-1, *[0] * 512), 513, "513 joints; a skeleton may have at most 512"),
        (tuple(map(str, range(65))), (-1, *range(64)), 65, "64 levels deep; at most 64 are allowed"),
    ],
)
def test_what_is_no_tree_of_named_joints_is_refused(names, parents, rows, message):
    with pytest.raises(SkeletonError, match=message):
        Skeleton(names, parents, torch.zeros(rows, 3))


def test_joints_are_found_by_name():
    assert CANONICAL.index("left_wrist") == 20
    with pytest.raises(SkeletonError, match="there is no joint 'tail'; the joints are pelvis, left_hip"):
        CANONICAL.index("tail")


def test_the_same_tree_has_the_same_names_and_parents_whatever_its_size():
    assert CANONICAL.scaled(2.0).same_tree(CANONICAL)
    torch.testing.assert_close(CANONICAL.scaled(2.0).offsets, 2.0 * CANONICAL.offsets)
    assert not make.skeleton(22).same_tree(CANONICAL)


def test_the_canonical_body_is_a_symmetric_t_pose():
    flipped = CANONICAL.offsets[list(MIRROR)] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(flipped[1:], CANONICAL.offsets[1:])
    assert [MIRROR[MIRROR[joint]] for joint in range(22)] == list(range(22))
    assert [CANONICAL.names[MIRROR[joint]] for joint in (1, 21)] == ["right_hip", "left_wrist"]
    rest = CANONICAL.rest_positions
    left = [joint for joint, name in enumerate(CANONICAL.names) if name.startswith("left_")]
    assert (rest[left, 0] > 0).all()
    arm = rest[[16, 18, 20]] - rest[16]
    torch.testing.assert_close(arm[:, 1:], torch.zeros(3, 2), atol=1e-6, rtol=0.0)
    assert pytest.approx(0.84) == LEG_LENGTH


def test_every_canonical_joint_belongs_to_a_body_part():
    assert set(JOINT_PARTS) == set(CANONICAL.names)
    assert set(JOINT_PARTS.values()) <= set(PARTS)
    assert JOINT_PARTS["left_wrist"] == "left_arm"
    assert JOINT_PARTS["right_foot"] == "right_leg"

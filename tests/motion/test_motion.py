import subprocess
import sys

import make
import pytest
import torch
from conftest import ROOT

from motionloom.errors import MotionError, SkeletonError
from motionloom.motion import rotations as rot
from motionloom.motion.kinematics import forward_kinematics
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.skeleton import CANONICAL


def still(frames: int = 3, **changes) -> Motion:
    fields = {"rotations": rot.identity(frames, 22), "root": torch.zeros(frames, 3), "fps": 20.0, **changes}
    return Motion(CANONICAL, **fields)


def test_length_seconds_and_derived_arrays():
    motion = make.motion(30, fps=20.0)
    assert len(motion) == 30
    assert motion.seconds == 1.5
    positions, world = forward_kinematics(motion.rotations, motion.root, CANONICAL)
    assert torch.equal(motion.positions, positions)
    assert torch.equal(motion.world_rotations, world)
    assert motion.positions is motion.positions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rotations": rot.identity(0, 22), "root": torch.zeros(0, 3)}, "the motion has no frames; at least one"),
        ({"fps": 0.0}, "fps is 0.0; it must be a positive number"),
        ({"fps": float("inf")}, "fps is inf; it must be a positive number"),
        ({"fps": float("nan")}, "fps is nan; it must be a positive number"),
        ({"root": torch.full((3, 3), float("nan"))}, "holds NaN or infinite values; repair or cut those frames"),
        ({"rotations": rot.identity(3, 22) * float("inf")}, "holds NaN or infinite values"),
        ({"rotations": 1.01 * rot.identity(3, 22)}, "a quaternion's length is off 1 by 0.01; normalise"),
    ],
)
def test_arrays_that_are_no_motion_are_refused(changes, message):
    with pytest.raises(MotionError, match=message):
        still(**changes)


LENGTHS = """
import torch
from motionloom.errors import MotionError
from motionloom.motion.motion import Motion
from motionloom.motion.rotations import identity
from motionloom.motion.skeleton import CANONICAL

root, valid, contacts = torch.zeros(3, 3), torch.ones(3, 10) > 0, torch.ones(3, 4) > 0
for arrays in (root[:2], None, None), (root, valid[:1], None), (root, valid, contacts[:2]):
    try:
        Motion(CANONICAL, identity(3, 22), arrays[0], 20.0, arrays[1], arrays[2])
    except MotionError as error:
        print(error)
"""


def test_arrays_of_different_length_are_refused_without_the_shape_checker_of_the_tests():
    """Tests run with shapes checked, users do not: the message must be our own."""
    done = subprocess.run([sys.executable, "-c", LENGTHS], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines() == [
        "rotations have 3 frames, root has 2; they must agree",
        "rotations have 3 frames, valid has 1; they must agree",
        "rotations have 3 frames, contacts has 2; they must agree",
    ]


def test_another_skeletons_arrays_are_refused():
    with pytest.raises(SkeletonError, match="rotations have 21 joints, the skeleton 22"):
        still(rotations=rot.identity(3, 21))


def test_a_changed_copy_is_checked_again_and_derives_anew():
    motion = make.motion(5)
    moved = motion.with_(root=motion.root + 1.0)
    torch.testing.assert_close(moved.positions, motion.positions + 1.0)
    with pytest.raises(MotionError, match="fps is -1"):
        motion.with_(fps=-1.0)


def test_parts_are_known_unless_masked():
    motion = still()
    assert motion.part_valid("left_arm").tolist() == [True] * 3
    valid = torch.ones(3, 10, dtype=torch.bool)
    valid[1, 3] = False
    assert motion.with_(valid=valid).part_valid("left_arm").tolist() == [True, False, True]
    with pytest.raises(MotionError, match="there is no body part 'tail'; the parts are root, head"):
        motion.part_valid("tail")


def test_notes_are_added_in_order():
    provenance = Provenance("clip.bvh").noting("one").noting("two")
    assert provenance.notes == ("one", "two")
    assert provenance.source == "clip.bvh"


def test_a_motion_goes_to_another_rate_and_to_a_file(tmp_path):
    motion = make.motion(21, fps=20.0)
    assert len(motion.at_fps(10.0)) == 11
    motion.save(tmp_path / "walk.npz")
    assert (tmp_path / "walk.npz").stat().st_size > 0

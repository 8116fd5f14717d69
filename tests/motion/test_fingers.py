import hands
import make
import pytest
import torch

from motionloom.motion import rotations as rot
from motionloom.motion.edit import mirror
from motionloom.motion.fingers import find_fingers
from motionloom.motion.io import load, save
from motionloom.motion.io.amass import read_amass
from motionloom.motion.motion import Motion
from motionloom.motion.retarget import retarget
from motionloom.motion.skeleton import CANONICAL_HANDS, PARTS, Skeleton

FINGERS = CANONICAL_HANDS.names[22:]
_MIXAMO = {
    "pelvis": "Hips", "left_hip": "LeftUpLeg", "right_hip": "RightUpLeg", "spine1": "Spine", "left_knee": "LeftLeg",
    "right_knee": "RightLeg", "spine2": "Spine1", "left_ankle": "LeftFoot", "right_ankle": "RightFoot",
    "spine3": "Spine2", "left_foot": "LeftToeBase", "right_foot": "RightToeBase", "neck": "Neck",
    "left_collar": "LeftShoulder", "right_collar": "RightShoulder", "head": "Head", "left_shoulder": "LeftArm",
    "right_shoulder": "RightArm", "left_elbow": "LeftForeArm", "right_elbow": "RightForeArm",
    "left_wrist": "LeftHand", "right_wrist": "RightHand",
}  # fmt: skip


def split(name):
    side, rest = name.split("_")
    return side, rest[:-1], int(rest[-1])


def mixamo(name):
    if name in _MIXAMO:
        return "mixamorig:" + _MIXAMO[name]
    side, finger, number = split(name)
    return f"mixamorig:{side.title()}Hand{finger.title()}{number}"


def unreal(name):
    side, finger, number = split(name)
    return f"{finger}_0{number}_{side[0]}"


def unity(name):
    side, finger, number = split(name)
    return f"{side.title()}{'Little' if finger == 'pinky' else finger.title()}{_PLACES[number - 1]}"


def vrm(name):
    side, finger, number = split(name)
    places = ("Metacarpal", "Proximal", "Distal") if finger == "thumb" else _PLACES
    return f"{side}{'Little' if finger == 'pinky' else finger.title()}{places[number - 1]}"


_PLACES = ("Proximal", "Intermediate", "Distal")


def renamed(motion, rename):
    skeleton = motion.skeleton
    return Motion(
        Skeleton(tuple(rename(name) for name in skeleton.names), skeleton.parents, skeleton.offsets),
        motion.rotations,
        motion.root,
        motion.fps,
    )


@pytest.mark.parametrize(
    "rename",
    [str, lambda name: mixamo(name).removeprefix("mixamorig:"), unreal, unity, vrm],
    ids=["smpl", "mixamo", "unreal", "unity", "vrm"],
)
def test_fingers_are_found_by_the_names_of_every_family(rename):
    names = tuple(rename(name) for name in FINGERS)
    found = find_fingers(("hips", *names, "LeftHandThumb4", "index_metacarpal_l"))
    assert found == {name: place for place, name in enumerate(FINGERS, start=1)}


def test_a_hand_that_lacks_a_joint_is_no_hand():
    found = find_fingers(tuple(name for name in FINGERS if name != "left_ring2"))
    assert set(found) == {name for name in FINGERS if name.startswith("right")}
    assert find_fingers(("LeftHandIndex1", "LThumb", "RightHandIndex1", "RThumb")) == {}


def test_fingers_come_along_when_asked_for():
    motion = hands.with_hands(20, 1)
    rig = renamed(motion, mixamo)
    moved = retarget(rig, hands=True)
    assert moved.skeleton.same_tree(CANONICAL_HANDS)
    assert hands.apart(moved.rotations[:, 22:], motion.rotations[:, 22:]) < 1e-3
    assert moved.valid is None
    assert len(retarget(rig).skeleton) == 22


def test_fingers_do_not_depend_on_the_axes_of_the_rig():
    motion = hands.with_hands(20, 2)
    rig = renamed(motion, mixamo)
    # The whole rig lies along Z in its rest pose, as files with Z up have it.
    by = rot.about("X", torch.tensor(torch.pi / 2))
    offsets = rot.rotate(by, rig.skeleton.offsets)
    turned = rot.multiply(rot.multiply(by, rig.rotations), rot.conjugate(by))
    rotations = torch.cat((rot.multiply(rig.rotations[:, :1], rot.conjugate(by)), turned[:, 1:]), dim=1)
    lying = Motion(Skeleton(rig.skeleton.names, rig.skeleton.parents, offsets), rotations, rig.root, rig.fps)
    assert float((lying.positions - rig.positions).norm(dim=-1).max()) < 1e-4
    assert hands.apart(retarget(lying, hands=True).rotations[:, 22:], motion.rotations[:, 22:]) < 1e-3


def test_one_hand_alone_is_known_and_the_other_is_not():
    motion = hands.with_hands(8, 3)
    rig = renamed(motion, lambda name: "odd" + name if name.startswith("right_") and name in FINGERS else mixamo(name))
    moved = retarget(rig, hands=True)
    assert moved.valid is not None
    assert [part for part in PARTS if not bool(moved.part_valid(part).all())] == ["right_hand"]
    assert hands.apart(moved.rotations[:, 37:], rot.identity(8, 15)) == 0


def test_amass_files_give_their_fingers_only_when_they_move(tmp_path):
    motion = hands.with_hands(16, 4)
    body = motion.with_(skeleton=make.motion(2).skeleton, rotations=motion.rotations[:, :22])
    save(body, tmp_path / "still.amass.npz")
    assert len(read_amass(tmp_path / "still.amass.npz", hands=True).skeleton) == 22
    import numpy as np

    with np.load(tmp_path / "still.amass.npz") as file:
        arrays = dict(file)
    fingers = rot.to_axis_angle(motion.rotations[:, 22:]).flatten(1).numpy()
    arrays["poses"][:, 66:] = fingers
    del arrays["pose_hand"]
    np.savez(tmp_path / "moving.npz", **arrays)
    found = read_amass(tmp_path / "moving.npz", hands=True)
    assert hands.apart(found.rotations[:, 22:], motion.rotations[:, 22:]) < 1e-3
    assert len(load(tmp_path / "moving.npz").skeleton) == 22


def test_mirroring_exchanges_the_hands():
    motion = hands.with_hands(5, 5)
    twice = mirror(mirror(motion))
    assert torch.allclose(twice.rotations, motion.rotations)
    once = mirror(motion).positions[:, 22:37] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(once, motion.positions[:, 37:], atol=1e-5, rtol=0)

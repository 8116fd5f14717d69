"""Files that were once read wrong without a word, each for a kind; the truth is the motion they were made of."""

import re
from pathlib import Path

import bodies
import numpy as np
import pytest
import rigs
import torch
from bodies import CMU, MIXAMO, QUARTER, UNREAL, apart, bvh

from motionloom.errors import MotionFileError, RetargetError
from motionloom.motion import io
from motionloom.motion import rotations as rot
from motionloom.motion.joint_maps import joint_maps, parse_map
from motionloom.motion.motion import Motion
from motionloom.motion.retarget import retarget
from motionloom.motion.skeleton import CANONICAL

EXACT = 2e-3
"""Files have six decimals of degrees and five of centimetres [m]."""


def notes(motion: Motion) -> str:
    return "; ".join(motion.provenance.notes)


# -- which way is up -------------------------------------------------------------------------------


@pytest.mark.parametrize("reach", [0.0, 1.4])
def test_z_up_files_stand_whatever_the_arms_do(tmp_path: Path, reach: float) -> None:
    """Arms stretched forward, as zombies have them, once made a Z-up body lie on its face."""
    motion = bodies.walk()
    rotations = motion.rotations.clone()
    for joint, sign in ((16, -1.0), (17, 1.0)):
        rotations[:, joint] = rot.about("Y", torch.full((len(motion),), sign * reach))
    motion = motion.with_(rotations=rotations)
    source = bodies.turned(bodies.worn(motion, MIXAMO, turn=QUARTER), QUARTER)
    found = retarget(io.load(bvh(tmp_path / "a.bvh", source)))
    assert "up axis z: the rest pose stands along it" in notes(found)
    assert apart(found, motion) < EXACT


@pytest.mark.parametrize("up", ["y", "z"])
def test_who_lies_all_the_time_lies(tmp_path: Path, up: str) -> None:
    motion = bodies.lying()
    source = bodies.worn(motion, MIXAMO, turn=QUARTER if up == "z" else rot.identity())
    source = bodies.turned(source, QUARTER) if up == "z" else source
    found = retarget(io.load(bvh(tmp_path / "a.bvh", source)))
    assert f"up axis {up}: the rest pose stands along it" in notes(found)
    assert apart(found, motion) < EXACT


def test_a_file_whose_body_stands_on_a_floor_along_another_axis_than_its_rest_pose(tmp_path: Path) -> None:
    """Blender exports Y-up rigs into a Z-up world: a body at rest on Y would be sunk into the floor."""
    motion = bodies.walk()
    root = motion.root.clone()
    root[:, [0, 2]] *= 0.1
    motion = motion.with_(root=root)
    found = retarget(io.load(bvh(tmp_path / "a.bvh", bodies.turned(bodies.worn(motion, MIXAMO), QUARTER))))
    assert "up axis z: the body stands on a floor along it, unlike its rest pose" in notes(found)
    assert apart(found, motion) < EXACT


def test_the_user_has_the_last_word(tmp_path: Path) -> None:
    motion = bodies.walk()
    path = bvh(tmp_path / "a.bvh", bodies.turned(bodies.worn(motion, MIXAMO), QUARTER))
    assert apart(retarget(io.load(path, up="z")), motion) < EXACT
    lies = io.load(path, up="y")
    assert "up axis" not in notes(lies)
    assert float(np.ptp(lies.positions[0, :, 1].numpy())) < 1.0
    with pytest.raises(MotionFileError, match="up axis 'x' is unknown; use 'y' or 'z'"):
        io.load(path, up="x")


def smpl(path: Path, motion: Motion, up: str, **more: object) -> Path:
    """A file of SMPL poses with either axis up; ``more`` are arrays beside them."""
    turn = QUARTER if up == "z" else rot.identity()
    source = bodies.turned(motion, turn)
    poses = np.zeros((len(motion), 165), np.float32)
    poses[:, :66] = rot.to_axis_angle(rot.normalize(source.rotations)).flatten(1).numpy()
    arrays = {"poses": poses, "trans": source.root.numpy(), "mocap_frame_rate": np.array(20)} | more
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
    return path


@pytest.mark.parametrize("keys", [{}, {"expressions": np.zeros((30, 4))}, {"mocap_framerate": np.array(20)}])
@pytest.mark.parametrize("up", ["y", "z"])
def test_smpl_files_stand_in_either_world(tmp_path: Path, up: str, keys: dict[str, object]) -> None:
    """AMASS is Z-up, EMAGE and HY-Motion are Y-up, and no key is sure to say which it is."""
    motion = bodies.walk()
    found = io.load(smpl(tmp_path / "a.npz", motion, up, **keys))
    assert f"up axis {up}: the body stands along it" in notes(found)
    assert apart(found, motion) < 1e-4
    again = io.load(smpl(tmp_path / "a.npz", bodies.lying(), up, **keys), up=up)
    assert apart(again, bodies.lying()) < 1e-4


def test_who_lies_in_amass_lies(tmp_path: Path) -> None:
    motion = bodies.lying()
    found = io.load(smpl(tmp_path / "a.npz", motion.with_(root=motion.root + torch.tensor([0.0, 0.0, 2.0])), "z"))
    assert "up axis z" in notes(found)
    assert float(found.positions[..., 1].max()) < 0.6


def test_a_gender_of_none_is_no_reason_to_refuse(tmp_path: Path) -> None:
    path = smpl(tmp_path / "a.npz", bodies.walk(), "z", gender=np.array(None, dtype=object))
    assert "no gender" in notes(io.load(path))


# -- rigs whose rest pose lies ---------------------------------------------------------------------


def test_a_pelvis_in_another_frame_than_all_other_joints(tmp_path: Path) -> None:
    """Y-up hips, all else Z-up at rest: the pelvis was once turned by 90 degrees, and the note said 5.64 on average."""
    motion = bodies.walk()
    pose = {name: QUARTER for name in MIXAMO if name != "pelvis"}
    found = retarget(io.load(bvh(tmp_path / "a.bvh", bodies.worn(motion, MIXAMO, pose=pose))))
    assert "up axis y: the body stands along it" in notes(found)
    assert "pelvis turned by the line of the hips: its joint rests turned by" in notes(found)
    assert apart(found, motion) < EXACT


def test_hips_that_do_not_turn_with_the_body(tmp_path: Path) -> None:
    motion = bodies.walk(60)
    turning = rot.about("Y", torch.linspace(0.0, 4.0, 60))
    motion = bodies.turned(motion, turning)
    source = bodies.holding_root(bodies.worn(motion, CMU))
    found = retarget(io.load(bvh(tmp_path / "a.bvh", source, unit=0.056444)))
    assert "pelvis turned by the line of the hips: its joint does not turn with it" in notes(found)
    lines = (motion.positions[:, 1] - motion.positions[:, 2], found.positions[:, 1] - found.positions[:, 2])
    assert float(torch.nn.functional.cosine_similarity(*lines, dim=-1).min()) > 0.9999
    assert apart(found, rigs.held_still(motion, rigs.Rig(CMU))) < 0.1


@pytest.mark.parametrize("roll", [90.0, -90.0, 180.0])
def test_limbs_that_are_rolled_about_their_bones_bend_as_elbows_do(tmp_path: Path, roll: float) -> None:
    """Names and places of a map, but another roll about the arms: positions alone tell it."""
    lafan = next(entry for entry in joint_maps() if entry.name == "lafan1")
    arms = {"LeftArm", "LeftForeArm", "LeftHand"}
    about = rot.to_matrix(rigs.degrees_about("X", roll))
    axes = {
        name: tuple((about @ torch.tensor(rows).view(3, 3)).flatten().tolist()) if name in arms else rows
        for name, rows in lafan.axes.items()
    }
    motion = bodies.walk(40)
    rotations = motion.rotations.clone()
    bend = 1.2 + 0.5 * torch.sin(torch.arange(40) / 5.0)
    for joint, sign in ((18, -1.0), (19, 1.0)):
        rotations[:, joint] = rot.about("Y", sign * bend)
    motion = motion.with_(rotations=rotations)
    source = rigs.wear(motion, rigs.of_map(lafan, size=100.0))
    plain = retarget(source, lafan)
    assert "twisted" not in notes(plain)
    rolled = rigs.wear(motion, rigs.Rig(rigs.of_map(lafan).names, rigs.of_map(lafan).extras, axes=axes, size=100.0))
    found = retarget(rolled, lafan)
    assert "left arm twisted by" in notes(found)
    assert apart(found, motion) < EXACT
    off = rot.angle_between(found.world_rotations[:, [16, 18]], motion.world_rotations[:, [16, 18]])
    assert float(torch.rad2deg(off).max()) < 1.0


def test_bones_along_their_own_x_are_read_by_positions(tmp_path: Path) -> None:
    """Rokoko's and other exporters' rest poses are no poses at all."""
    lafan = next(entry for entry in joint_maps() if entry.name == "lafan1")
    axes = {name: rows for name, rows in lafan.axes.items() if name not in ("Hips", "Spine")}
    names = {canonical: name for canonical, name in MIXAMO.items()}
    motion = bodies.walk(40)
    found = retarget(io.load(bvh(tmp_path / "a.bvh", bodies.worn(motion, names, axes=axes))))
    assert "rotations found from the joints' positions" in notes(found)
    assert apart(found, motion) < 0.05


def test_names_of_one_family_on_a_rest_pose_that_stands(tmp_path: Path) -> None:
    bandai = next(entry for entry in joint_maps() if entry.name == "bandai")
    names = {canonical: points[0][0] for canonical, points in bandai.joints.items() if points[0][2] == 0.0}
    motion = bodies.walk()
    found = retarget(io.load(bvh(tmp_path / "a.bvh", bodies.worn(motion, names))))
    assert "map 'bandai'" in notes(found)
    assert apart(found, rigs.held_still(motion, rigs.Rig(names))) < 0.05


def test_a_result_that_is_not_its_source_is_warned_of_or_refused(tmp_path: Path) -> None:
    """Arms and legs that are not where their names say: no line of limbs can be right."""
    motion = bodies.walk()
    table = {name: own for name, own in MIXAMO.items() if "collar" not in name}
    wrong = parse_map("wrong", {"joints": table | {"left_shoulder": "Head", "right_shoulder": "Hips"}})
    with pytest.raises(RetargetError, match=r"degrees off the source \(map 'wrong'\)"):
        retarget(bodies.worn(motion, MIXAMO), wrong)
    found = retarget(bodies.worn(motion, MIXAMO))
    mean, most = re.search(r"limbs off by ([\d.]+) degrees on average, ([\d.]+) at most", notes(found)).groups()  # pyright: ignore
    assert float(mean) < 0.1
    assert float(most) < 0.1
    assert "warning" not in notes(found)


# -- what carries a body ---------------------------------------------------------------------------


@pytest.mark.parametrize("above", [("Armature",), ("Armature", "Reference"), ("root",)])
@pytest.mark.parametrize("beside", [(), ("ik_foot_root", "ik_hand_root")])
def test_roots_above_the_body_are_folded_with_all_its_travel(
    tmp_path: Path, above: tuple[str, ...], beside: tuple[str, ...]
) -> None:
    motion = bodies.walk()
    path = bvh(tmp_path / "a.bvh", bodies.worn(motion, UNREAL), above=above, beside=beside)
    found = io.load(path)
    assert found.skeleton.names[0] == "pelvis"
    assert f"root {above[-1]!r} folded into 'pelvis'" in notes(found)
    assert ("beside the body left out" in notes(found)) == bool(beside)
    assert apart(retarget(found), motion) < EXACT


def test_a_small_sway_below_a_root_is_no_stretch(tmp_path: Path) -> None:
    motion = bodies.walk()
    sway = torch.zeros(len(motion), 3)
    sway[:, 0] = 0.033 * torch.sin(torch.arange(len(motion)) / 3.0)
    motion = motion.with_(root=torch.tensor([0.0, 0.93, 0.0]) + sway)
    path = bvh(tmp_path / "a.bvh", bodies.worn(motion, UNREAL), above=("root",), beside=("ik_foot_root",))
    assert apart(retarget(io.load(path)), motion) < EXACT


@pytest.mark.parametrize(("unit", "name"), [(0.1, "dm"), (0.01, "cm"), (1.0, "m"), (0.001, "mm"), (0.0254, "inch")])
@pytest.mark.parametrize("channels", ["root", "all"])
def test_units_are_those_of_the_body_wherever_its_lengths_stand(
    tmp_path: Path, unit: float, name: str, channels: str
) -> None:
    motion = bodies.walk()
    found = io.load(bvh(tmp_path / "a.bvh", bodies.worn(motion, MIXAMO), unit=unit, channels=channels))
    assert f"unit guessed from the body's size: {name}" in notes(found)
    assert apart(retarget(found), motion) < 5e-3


# -- rows and rates --------------------------------------------------------------------------------


@pytest.mark.parametrize(("announced", "count"), [(30, 30), (29, 29), (31, 30)])
def test_a_row_more_or_less_is_read_with_a_note(tmp_path: Path, announced: int, count: int) -> None:
    found = io.load(bvh(tmp_path / "a.bvh", bodies.worn(bodies.walk(), MIXAMO), announced=announced))
    assert len(found) == count
    assert (f"30 rows of numbers where {announced} are announced" in notes(found)) == (announced != 30)


@pytest.mark.parametrize("announced", [28, 40, 1])
def test_more_rows_or_less_are_refused(tmp_path: Path, announced: int) -> None:
    path = bvh(tmp_path / "a.bvh", bodies.worn(bodies.walk(), MIXAMO), announced=announced)
    with pytest.raises(MotionFileError, match=rf"a.bvh:\d+: 30 frames where {announced} are announced"):
        io.load(path)


@pytest.mark.parametrize("told", ["0", "-1", "nan", "1e99", "30"])
def test_a_frame_time_that_is_none_is_mended_by_true_fps(tmp_path: Path, told: str) -> None:
    path = bvh(tmp_path / "a.bvh", bodies.worn(bodies.walk(), MIXAMO), frame_time=told)
    assert io.load(path, fps=30.0).fps == 30.0
    if told == "30":
        assert "warning: 0.03333 frames a second (30 frames last 900.0 s); name the true rate with --true-fps" in notes(
            io.load(path)
        )
    else:
        with pytest.raises(MotionFileError, match=f"Frame Time is '{told}'; a positive number .* --true-fps"):
            io.load(path)


def test_frames_of_years_are_refused_before_anything_is_made_of_them(tmp_path: Path) -> None:
    source = bodies.worn(bodies.walk(), MIXAMO)
    with pytest.raises(MotionFileError, match="30000 seconds; up to 21600 are read; name the true frame rate with"):
        io.load(bvh(tmp_path / "a.bvh", source, frame_time="1000"))
    slow = io.load(bvh(tmp_path / "a.bvh", source, frame_time="700"))
    with pytest.raises(Exception, match=r"brought to 1000 fps: \d+ frames; up to 2000000 are read"):
        slow.at_fps(1000.0)


# -- what no person can be -------------------------------------------------------------------------


def test_joints_in_centimetres_are_warned_of_and_mended(tmp_path: Path) -> None:
    motion = bodies.walk()
    np.save(tmp_path / "a.npy", 100.0 * motion.positions.numpy())
    assert re.search(
        r"warning: the body is 1\d\d\.\d+ m tall .* name its unit with --unit", notes(io.load(tmp_path / "a.npy"))
    )
    found = io.load(tmp_path / "a.npy", unit="cm")
    assert "warning" not in notes(found)
    assert apart(found, motion) < 1e-3
    np.save(tmp_path / "z.npy", rot.rotate(QUARTER, motion.positions).numpy())
    assert apart(io.load(tmp_path / "z.npy", up="z"), motion) < 1e-3


def test_features_that_were_not_denormalised_are_refused(tmp_path: Path) -> None:
    from motionloom.motion.features.humanml3d import encode_features

    features = encode_features(bodies.walk(60)).numpy()
    np.save(tmp_path / "a.npy", features)
    io.load(tmp_path / "a.npy", rotation="parent")
    np.save(tmp_path / "b.npy", (features - features.mean(0)) / (features.std(0) + 1e-3))
    with pytest.raises(MotionFileError, match=r"are normalised; multiply them by Std.npy and add Mean.npy"):
        io.load(tmp_path / "b.npy")


def test_a_body_that_is_no_body_is_warned_of(tmp_path: Path) -> None:
    points = bodies.walk().positions.clone()
    points += 0.4 * torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "a.npy", points.numpy())
    assert "warning: more than 50 mm is no human body with bones of fixed length" in notes(io.load(tmp_path / "a.npy"))


@pytest.mark.parametrize(("told", "right"), [(120.0, True), (240.0, False), (60.0, False)])
def test_jumps_tell_a_wrong_frame_rate(tmp_path: Path, told: float, right: bool) -> None:
    """A jump of 0.7 s at 120 frames a second falls with 9.81 m/s2 only at that rate."""
    frames = 160
    times = (torch.arange(frames) - 40.0) / 120.0
    height = (0.5 * 9.81 * (0.35**2 - (times - 0.35) ** 2)).clamp(min=0)
    root = torch.tensor([0.0, 0.93, 0.0]).repeat(frames, 1)
    root[:, 1] += height
    motion = Motion(CANONICAL, rot.identity(frames, 22), root, 120.0)
    found = io.load(bvh(tmp_path / "a.bvh", bodies.worn(motion, MIXAMO)), fps=told)
    assert ("is free fall" in notes(found)) != right
    if not right:
        rate = re.search(r"the frame rate may be (\d+), not", notes(found))
        assert rate is not None
        assert float(rate[1]) == pytest.approx(120.0, rel=0.05)


def test_our_own_files_are_known_again(tmp_path: Path) -> None:
    motion = bodies.walk()
    for form in ("a.bvh", "b.npz", "c.csv", "d.npy", "f.glb", "g.fbx"):
        io.save(motion, tmp_path / form)
        found = io.load(tmp_path / form)
        assert found.skeleton.names == CANONICAL.names
        assert "warning" not in notes(found)
    again = io.load(tmp_path / "a.bvh")
    io.save(again, tmp_path / "e.bvh")
    assert len(io.load(tmp_path / "e.bvh").skeleton) == 22


def test_several_skeletons_beside_an_amc_ask_for_one(tmp_path: Path) -> None:
    (tmp_path / "walk_01.amc").write_text(":DEGREES\n1\nroot 0 0 0 0 0 0\nshin 0\n2\nroot 0 0 1 0 0 0\nshin 9\n")
    skeleton = (
        ":units\nlength 1.0\nangle deg\n:root\norder TX TY TZ RX RY RZ\naxis XYZ\nposition 0 0 0\norientation 0 0 0\n"
        ":bonedata\nbegin\nname shin\ndirection 0 -1 0\nlength 10\naxis 0 0 0 XYZ\ndof rx\nend\n"
        ":hierarchy\nbegin\nroot shin\nend\n"
    )
    for name in ("one.asf", "two.asf"):
        (tmp_path / name).write_text(skeleton)
    with pytest.raises(MotionFileError, match=r"2 .asf files lie beside it \(one.asf, two.asf\) .* --asf"):
        io.load(tmp_path / "walk_01.amc")
    assert len(io.load(tmp_path / "walk_01.amc", asf=tmp_path / "one.asf")) == 2

import json
import pickle

import numpy as np
import pytest
from corpus import walk
from scipy.io import savemat
from test_sources_smpl import off, smpl_of

from motionloom.data.convert import convert_take
from motionloom.data.formats.mat import read_mat
from motionloom.data.prepare import prepare
from motionloom.data.sources import actions, video
from motionloom.data.sources.actions import _KINECT
from motionloom.data.sources.video import _H36M, _MPI
from motionloom.data.store import Store
from motionloom.errors import DataError
from motionloom.motion.skeleton import CANONICAL

LIMBS = [CANONICAL.index(f"{side}_{name}") for side in ("left", "right")
         for name in ("knee", "ankle", "elbow", "wrist")]  # fmt: skip


def points_of(motion, joints, count):
    """Points from which the canonical joints come out again; the others are at the pelvis."""
    canonical = motion.positions.numpy().astype(np.float64)
    points = np.repeat(canonical[:, :1], count, axis=1)
    plain = {name: point for name, point in joints.items() if isinstance(point, int)}
    for name, point in plain.items():
        points[:, point] = canonical[:, CANONICAL.index(name)]
    for name, point in joints.items():
        # A point between a known and a free one: put the free one where the joint comes out.
        if not isinstance(point, int) and point[1] not in plain.values():
            first, second, share = point
            wanted = canonical[:, CANONICAL.index(name)]
            points[:, second] = points[:, first] + (wanted - points[:, first]) / share
    return points


def limbs_off(found, wanted):
    from motionloom.motion.edit import face_forward, on_floor

    wanted = face_forward(on_floor(wanted)).positions[:, LIMBS]
    return float((found.positions[:, LIMBS] - wanted).norm(dim=-1).mean())


def flipped(points):
    """Y up to camera axes: Y down, Z away."""
    return points * np.array([1.0, -1.0, -1.0])


def test_humanact12_from_poses_and_from_joints(tmp_path):
    motion = walk(60, 0, 20.0)
    poses, root = smpl_of(motion, "-y")
    joints = np.concatenate((flipped(motion.positions.numpy()), np.zeros((60, 2, 3))), axis=1)
    (tmp_path / "joints").mkdir()
    np.save(tmp_path / "joints" / "P01G01R02F0100T0160A0201.npy", joints)
    (take,) = actions.humanact12(tmp_path / "joints")
    assert (take.id, take.action) == ("humanact12/P01G01R02F0100T0160A0201", "walk")
    assert limbs_off(convert_take(take).motion, motion) < 0.02
    joints[:, 0] = root
    table = {"poses": [poses.reshape(60, 72)], "oldposes": [], "joints3D": [joints], "y": [11]}
    (tmp_path / "humanact12poses.pkl").write_bytes(pickle.dumps(table))
    (take,) = actions.humanact12(tmp_path)
    found = convert_take(take).motion
    assert (take.action, found.fps) == ("throw", 20.0)
    assert off(found, motion) < 1e-3
    (tmp_path / "humanact12poses.pkl").write_bytes(pickle.dumps(table | {"y": []}))
    with pytest.raises(DataError, match="lists 'poses', 'joints3D' and 'y' of one length"):
        actions.humanact12(tmp_path)
    with pytest.raises(DataError, match=r"humanact12poses\.pkl is missing, and so are files"):
        actions.humanact12(tmp_path / "nowhere")


def test_uestc_is_in_place_and_split_by_subject(tmp_path):
    motion = walk(60, 1, 30.0)
    poses, _ = smpl_of(motion, "-y")
    (tmp_path / "info").mkdir()
    (tmp_path / "info" / "names.txt").write_text("a0_d1_p001_c1_color.avi\na1_d0_p003_c2_color.avi\n")
    (tmp_path / "info" / "action_classes.txt").write_text("punching-and-knee-lifting\nmarking_time\n")
    with pytest.raises(DataError, match=r"vibe_cache_refined\.pkl is missing"):
        actions.uestc(tmp_path)
    data = {"pose": [poses.reshape(60, 72), poses.reshape(60, 72)[:10]], "joints3d": [], "orig_cam": []}
    (tmp_path / "vibe_cache_refined.pkl").write_bytes(pickle.dumps(data))
    takes = actions.uestc(tmp_path)
    assert [(take.split, take.action) for take in takes] == [
        ("train", "punching and knee lifting"), ("test", "marking time"),
    ]  # fmt: skip
    found = convert_take(takes[0]).motion
    assert off(found, motion.with_(root=motion.root[:1].expand(60, 3).clone())) < 1e-3
    with pytest.raises(DataError, match=r"0\.33 s long"):
        convert_take(takes[1])
    (tmp_path / "info" / "names.txt").write_text("video.avi\n")
    with pytest.raises(DataError, match=r"names\.txt:1: 'video\.avi' is not a0_d1_p001_c1_color\.avi"):
        actions.uestc(tmp_path)


def write_skeleton(path, *people, empty=0):
    """The text format of NTU RGB+D: people per frame, a line about each, 25 lines of 12 numbers."""
    lines = [str(len(people[0]) + empty)] + ["0"] * empty
    for frame in range(len(people[0])):
        lines.append(str(len(people)))
        for index, points in enumerate(people):
            lines += [f"7205759403794927{index} 0 1 1 0 0 0 0.1 -0.2 2", "25"]
            lines += [f"{x:.7f} {y:.7f} {z:.7f} 258.1 177.5 1028.9 514.9 0.2 0.03 0.9 -0.04 2"
                      for x, y, z in points[frame]]  # fmt: skip
    path.write_text("\n".join(lines) + "\n")


def test_ntu_skeletons_of_one_and_of_two_people(tmp_path):
    motions = [walk(50, seed, 30.0) for seed in (2, 3)]
    points = [points_of(motion, _KINECT, 25) for motion in motions]
    write_skeleton(tmp_path / "S001C001P003R001A023.skeleton", points[0], empty=4)
    write_skeleton(tmp_path / "S018C002P001R001A055.skeleton", points[0] * 0.99, points[1])
    takes = actions.ntu(tmp_path)
    assert [(take.id, take.action, take.split) for take in takes] == [
        ("ntu/S001C001P003R001A023", "hand waving", "test"),
        ("ntu/S018C002P001R001A055-0", "hugging other person", "train"),
        ("ntu/S018C002P001R001A055-1", "hugging other person", "train"),
    ]
    found = convert_take(takes[0]).motion
    assert limbs_off(found, motions[0]) < 0.06
    assert len({len(convert_take(take).motion) for take in takes}) == 1
    text = (tmp_path / "S001C001P003R001A023.skeleton").read_text()
    (tmp_path / "S001C001P003R001A023.skeleton").write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match=r"ends after .* lines, within a frame|where a number is needed"):
        convert_take(takes[0])
    (tmp_path / "S001C001P003R001A023.skeleton").write_text("2\n0\n0\n")
    with pytest.raises(DataError, match="no person is seen"):
        convert_take(takes[0])


def write_pw3d(folder):
    for split in ("train", "validation", "test"):
        (folder / "sequenceFiles" / split).mkdir(parents=True)
    parameters = [smpl_of(walk(60, seed, 30.0), "z") for seed in (0, 1)]
    data = {
        "sequence": "courtyard_dance_00",
        "poses": [poses.reshape(60, 72).astype(np.float64) for poses, _ in parameters],
        "trans": [root.astype(np.float64) for _, root in parameters],
        "poses2d": [np.zeros((60, 3, 18))] * 2,
        "genders": ["m", "f"],
        "campose_valid": [np.ones(60, bool)] * 2,
        "cam_poses": np.repeat(np.eye(4)[None], 60, axis=0),
        "texture_maps": [],
    }
    path = folder / "sequenceFiles" / "validation" / "courtyard_dance_00.pkl"
    path.write_bytes(pickle.dumps(data, protocol=2))
    return path


def test_3dpw_gives_each_person_with_the_keypoints_of_its_video(tmp_path):
    with pytest.raises(DataError, match="train, validation, test are missing"):
        video.pw3d(tmp_path)
    path = write_pw3d(tmp_path / "raw")
    prepare({"pw3d": tmp_path / "raw"}, tmp_path / "store", workers=1, progress=False)
    store = Store(tmp_path / "store")
    assert [(clip.id, clip.split) for clip in store.clips] == [
        ("pw3d/courtyard_dance_00-0", "val"), ("pw3d/courtyard_dance_00-1", "val"),
    ]  # fmt: skip
    assert off(store.motion(store.clips[1]), walk(60, 1, 30.0)) < 1e-3
    assert json.loads(store.clips[1].labels["video"]) == {
        "path": "imageFiles/courtyard_dance_00", "offset": 0.0,
        "keypoints": "sequenceFiles/validation/courtyard_dance_00.pkl#poses2d/1",
    }  # fmt: skip
    path.write_bytes(pickle.dumps({"poses": []}))
    with pytest.raises(DataError, match="lists 'poses' and 'trans' with an array a person are needed"):
        video.pw3d(tmp_path / "raw")


def test_h36m_from_the_table_that_videopose3d_makes(tmp_path):
    motion = walk(60, 4, 50.0)
    points = points_of(motion, _H36M, 32)[..., [2, 0, 1]]
    table = {"S1": {"Walking 1": points.astype(np.float32)}, "S9": {"WalkDog": points.astype(np.float32)}}
    np.savez_compressed(tmp_path / "data_3d_h36m.npz", positions_3d=np.array(table, dtype=object))
    takes = video.h36m(tmp_path)
    assert [(take.id, take.split, take.action) for take in takes] == [
        ("h36m/S1-Walking_1", "train", "walking"), ("h36m/S9-WalkDog", "test", "walk dog"),
    ]  # fmt: skip
    assert limbs_off(convert_take(takes[0]).motion, motion) < 0.06
    with pytest.raises(DataError, match=r"data_3d_h36m\.npz is missing; make it with VideoPose3D"):
        video.h36m(tmp_path / "nowhere")
    np.savez(tmp_path / "data_3d_h36m.npz", positions_3d=np.array({"S2": {}}, dtype=object))
    with pytest.raises(DataError, match="subject 'S2' is unknown"):
        video.h36m(tmp_path)


def write_mpi(folder, motion):
    points = flipped(points_of(motion, _MPI, 28)).reshape(len(motion), 84) * 1000.0
    cells = np.empty((14, 1), dtype=object)
    cells[:, 0] = [points] + [np.zeros((1, 84))] * 13
    path = folder / "S8" / "Seq1" / "annot.mat"
    path.parent.mkdir(parents=True)
    savemat(path, {"frames": np.arange(len(motion))[:, None], "annot3": cells, "cameras": np.arange(14.0)[None]},
            do_compression=True)  # fmt: skip
    return path


def test_mpi_from_one_of_its_cameras(tmp_path):
    motion = walk(60, 5, 25.0)
    path = write_mpi(tmp_path, motion)
    (take,) = video.mpi(tmp_path)
    assert (take.id, take.split) == ("mpi/S8-Seq1", "val")
    assert take.video is not None
    assert take.video.keypoints == "S8/Seq1/annot.mat#annot2/0"
    found = convert_take(take).motion
    assert found.fps == 25.0
    assert limbs_off(found, motion) < 0.03
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"is damaged or cut off|variable 'annot3' is missing"):
        convert_take(take)
    with pytest.raises(DataError, match=r"no files S1/Seq1/annot\.mat"):
        video.mpi(tmp_path / "nowhere")


@pytest.mark.parametrize("packed", [True, False])
def test_mat_files_are_read_as_scipy_writes_them(tmp_path, packed):
    rng = np.random.default_rng(0)
    cells = np.empty((2, 2), dtype=object)
    for index, kind in enumerate(("f8", "f4", "i2", "u1")):
        cells.flat[index] = (rng.normal(size=(3, 2 + index)) * 50).astype(kind)
    number = np.array([[7.0]])
    savemat(tmp_path / "a.mat", {"cells": cells, "x": number, "text": "not read"}, do_compression=packed)
    found = read_mat(tmp_path / "a.mat", ("cells", "x"))
    np.testing.assert_array_equal(found["x"], number)
    for got, want in zip(found["cells"], cells.flatten(order="F"), strict=True):
        np.testing.assert_array_equal(got, want)
    with pytest.raises(DataError, match="variable 'y' is missing"):
        read_mat(tmp_path / "a.mat", ("y",))
    with pytest.raises(DataError, match="is damaged or cut off"):
        read_mat(tmp_path / "a.mat", ("text",))
    (tmp_path / "a.mat").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200))
    with pytest.raises(DataError, match=r"no little-endian \.mat file of version 5"):
        read_mat(tmp_path / "a.mat", ("x",))

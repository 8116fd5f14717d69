import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from corpus import as_cmu, walk
from publishers import write_cm
from ted_files import packed, serialized, write_lmdb

from motionloom.data.convert import convert_take
from motionloom.data.formats.arrow import read_serialized
from motionloom.data.formats.lmdb import LmdbFile
from motionloom.data.prepare import prepare
from motionloom.data.sources import ted
from motionloom.data.store import Store
from motionloom.errors import DataError
from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS, PARTS, Skeleton

ARMS = [CANONICAL.index(f"{side}_{name}") for side in ("left", "right") for name in ("shoulder", "elbow", "wrist")]


def speaker(frames=45, seed=0, fps=15.0):
    """Someone who stands and moves arms and fingers, seen from the front; 52 joints."""
    body = walk(frames, seed, fps)
    time = torch.arange(frames) / fps
    rotations = torch.cat((body.rotations, rot.identity(frames, 30)), dim=1)
    for name, axis, size in (
        ("left_shoulder", "Z", -0.9), ("right_shoulder", "Z", 0.7), ("left_elbow", "Y", -0.8),
        ("right_elbow", "Y", 0.6), ("left_index1", "Z", -0.5), ("right_middle2", "Z", 0.6), ("spine3", "X", 0.1),
    ):  # fmt: skip
        rotations[:, CANONICAL_HANDS.index(name)] = rot.about(axis, size * (1 + torch.sin(2 * time + seed)))
    for name in ("left_hip", "right_hip", "left_knee", "right_knee"):
        rotations[:, CANONICAL_HANDS.index(name)] = rot.identity(1)
    return Motion(CANONICAL_HANDS, rotations, body.root[:1].expand(frames, 3).clone(), fps)


def points_of(motion, joints, count):
    """The points of an estimate of the upper body, about its chest, Y down and Z away from the camera."""
    canonical = motion.positions.numpy().astype(np.float32)
    points = np.repeat(canonical[:, 9:10], count, axis=1)
    for name, point in joints.items():
        if isinstance(point, int):
            points[:, point] = canonical[:, CANONICAL_HANDS.index(name)]
    head = canonical[:, 15]
    if count == 10:
        points[:, 2] = canonical[:, 12] + (head - canonical[:, 12]) / 0.8
    else:
        ear = np.array([0.07, 0, 0], np.float32)
        points[:, 41], points[:, 42] = head - ear, head + ear
    return (points - points[:, :1]) * np.array([1, -1, -1], np.float32)


def clip_of(points, start=2.0, fps=15.0):
    words = [["hello", start - 0.2, start + 0.3], [" ", start + 0.3, start + 0.4], ["there", start + 0.5, start + 1.1]]
    return {
        "words": words,
        "skeletons": [[0.0] * 24 for _ in points],
        "skeletons_3d": list(points),
        "audio_feat": np.zeros((128, 4), np.float16),
        "audio_raw": np.zeros(32, np.float16),
        "start_frame_no": round(30 * start),
        "end_frame_no": round(30 * (start + len(points) / fps)),
        "start_time": start,
        "end_time": start + len(points) / fps,
    }


def write_ted(folder, joints, count, prefix, motions):
    for split, motion in zip(("train", "val", "test"), motions, strict=True):
        clips = [clip_of(points_of(motion, joints, count)), clip_of(points_of(motion, joints, count)[:20], 9.0)]
        videos = [{"vid": f"video{split}", "clips": clips, "framerate": 29.97}, {"vid": "empty", "clips": []}]
        values = {f"{index:010}".encode(): serialized(video) for index, video in enumerate(videos)}
        write_lmdb(folder / f"{prefix}{split}" / "data.mdb", values)
    return folder


def directions(motion):
    """Where upper arms and forearms point, against the line of the shoulders."""
    points = motion.positions
    across = points[:, 16] - points[:, 17]
    heading = rot.about("Y", torch.atan2(across[:, 2], across[:, 0]))
    bones = [(16, 18), (18, 20), (17, 19), (19, 21)]
    return torch.stack([rot.rotate(heading, rot.normalize(points[:, b] - points[:, a])) for a, b in bones], dim=1)


def fingers(motion):
    """Bends of the fingers' joints."""
    return rot.angle_between(motion.rotations[:, 22:], rot.identity(len(motion), 30))


def test_ted_gesture_gives_arms_words_and_sound_in_the_published_split(tmp_path):
    motions = [speaker(seed=seed) for seed in range(3)]
    raw = write_ted(tmp_path / "raw", ted._TED, 10, "lmdb_", motions)
    takes = ted.tedg(raw)
    assert [(take.id, take.split) for take in takes[::2]] == [
        ("tedg/train-videotrain-000", "train"), ("tedg/val-videoval-000", "val"), ("tedg/test-videotest-000", "test"),
    ]  # fmt: skip
    for take, motion in zip(takes[::2], motions, strict=True):
        found = convert_take(take).motion
        assert (len(found), found.fps) == (45, pytest.approx(15.0))
        assert float((directions(found) - directions(motion)).norm(dim=-1).max()) < 0.02
        assert found.valid is not None
        assert [name for name, known in zip(PARTS, found.valid[0].tolist(), strict=True) if known] == [
            "head", "stem", "left_arm", "right_arm",
        ]  # fmt: skip
        assert found.contacts is None
    prepare({"tedg": raw}, tmp_path / "store", workers=1, progress=False)
    clip = Store(tmp_path / "store").clip("tedg/train-videotrain-001")
    assert json.loads(clip.labels["speech"]) == {
        "path": "lmdb_train/data.mdb#0000000000/1/audio_raw", "offset": 0.0,
        "words": [["hello", 0.0, 0.3], ["there", 0.5, 1.1]],
    }  # fmt: skip
    assert (clip.labels["talk"], clip.labels["start"]) == ("videotrain", "9.000")
    assert clip.parts == ("head", "stem", "left_arm", "right_arm")
    assert clip.tasks == ("motion", "speech")


def test_ted_expressive_gives_fingers_too(tmp_path):
    motions = [speaker(seed=seed) for seed in range(3)]
    takes = ted.tedex(write_ted(tmp_path, ted._EXPRESSIVE, 43, "", motions))
    assert takes[0].valid == ("head", "stem", "left_arm", "right_arm", "left_hand", "right_hand")
    found = convert_take(takes[0]).motion
    assert len(found.skeleton) == 52
    assert float((directions(found) - directions(motions[0])).norm(dim=-1).max()) < 0.02
    bent = [CANONICAL_HANDS.index(name) - 22 for name in ("left_index1", "right_middle2")]
    assert float((fingers(found) - fingers(motions[0]))[:, bent].abs().max()) < 0.1


def test_frames_without_anybody_are_unknown(tmp_path):
    points = points_of(speaker(), ted._TED, 10)
    points[40:] = 0.0
    # One array a clip is read like one a frame.
    whole = clip_of(points) | {"skeletons_3d": points}
    video = {"vid": "a", "clips": [whole, clip_of(np.zeros_like(points))]}
    for split in ("train", "val", "test"):
        write_lmdb(tmp_path / f"lmdb_{split}" / "data.mdb", {b"0": serialized(video)})
    first, second, *_ = ted.tedg(tmp_path)
    motion = ted.read_ted(first)
    assert motion.part_valid("left_arm").tolist() == [True] * 40 + [False] * 5
    with pytest.raises(DataError, match="nobody is seen in any of 45 frames"):
        ted.read_ted(second)


def test_partial_and_foreign_databases_are_refused_by_name(tmp_path):
    write_ted(tmp_path, ted._TED, 10, "lmdb_", [speaker()] * 3)
    (tmp_path / "lmdb_val" / "data.mdb").unlink()
    with pytest.raises(DataError, match=r"lmdb_val/data\.mdb is missing; unpack the TED dataset of TED-Gesture"):
        ted.tedg(tmp_path)
    with pytest.raises(DataError, match=r"lmdb_train/data\.mdb, .* missing; unpack the pre-built TED-Expressive"):
        ted.tedex(tmp_path / "nowhere")
    path = tmp_path / "lmdb_val" / "data.mdb"
    for value, message in (
        (serialized([1, 2]), "'vid' and a list 'clips' are needed"),
        (serialized({"vid": "a", "clips": [{"skeletons": [], "words": []}]}), "the first TED dataset, in 2D"),
        (serialized({"vid": "a", "clips": [clip_of(np.zeros((9, 10, 3))) | {"end_time": 1.0}]}), "is from 2.0 to 1.0"),
        (serialized({"vid": "a", "clips": [clip_of(np.zeros((9, 10, 3))) | {"words": [["a", "b"]]}]}), "a word is"),
        (serialized({"_pytype_": "Vocab", "data": b"x"}), "an object of a class of its own"),
        (serialized({"vid": "a"})[:200], "is no readable value of pyarrow.serialize"),
        (b"", "is cut off"),
    ):
        write_lmdb(path, {b"0000000007": value})
        with pytest.raises(DataError, match=message) as caught:
            ted.tedg(tmp_path)
        assert "lmdb_val/data.mdb#0000000007" in str(caught.value)
    write_lmdb(path, {b"0": serialized({"vid": "a", "clips": [clip_of(np.ones((9, 23, 3), np.float32))]})})
    with pytest.raises(DataError, match="frames of 69 numbers; 10 points"):
        ted.read_ted(next(take for take in ted.tedg(tmp_path) if take.split == "val"))


def test_damaged_databases_are_refused(tmp_path):
    path = write_lmdb(tmp_path / "data.mdb", {b"a": b"1" * 9000, b"b": b"2"})
    assert {key: len(value) for key, value in LmdbFile(path).values.items()} == {b"a": 9000, b"b": 1}
    whole = path.read_bytes()
    path.write_bytes(whole[:9000])
    with pytest.raises(DataError, match="is damaged or cut off"):
        _ = LmdbFile(path).values
    path.write_bytes(whole[: 2 * 4096] + b"\xff" * 64 + whole[2 * 4096 + 64 :])
    with pytest.raises(DataError, match="is damaged or cut off"):
        _ = LmdbFile(path).values
    for content in (b"", b"x" * 9000):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"is no LMDB database|cannot be read"):
            LmdbFile(path)
    assert LmdbFile(write_lmdb(tmp_path / "empty.mdb", {})).values == {}


@pytest.mark.parametrize("wrapped", [False, True])
def test_values_of_all_kinds_are_read_in_the_layouts_of_old_and_new_versions(wrapped):
    value = {"a": [1, 2.5, "x", b"y", True, [], {}, (1, (2,))], "b": {"c": [np.arange(6.0).reshape(2, 3)]}, "d": ""}
    found = read_serialized(serialized(value, wrapped), "here")
    assert found["a"] == [1, 2.5, "x", b"y", True, [], {}, [1, [2]]]
    np.testing.assert_array_equal(found["b"]["c"][0], np.arange(6.0).reshape(2, 3))
    assert read_serialized(serialized(value, wrapped), "here", arrays=False)["b"] == {"c": [None]}


def test_a_value_that_names_itself_over_and_over_costs_nothing():
    """Lists of 30 times the same list, 16 deep: written out they would be 30^16 values."""
    union = pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([7])], ["1"])
    for _ in range(16):
        lists = pa.ListArray.from_arrays(pa.array([0, len(union)], pa.int32()), union)
        union = pa.UnionArray.from_dense(pa.array([0] * 30, pa.int8()), pa.array([0] * 30, pa.int32()), [lists], ["9"])
    found = read_serialized(packed(union.slice(0, 1), []), "here")
    assert (len(found), found[0] is found[3]) == (30, True)


def facing_back(motion):
    """The same motion on a skeleton that looks along -Z in its rest pose, as Speech2Gesture-3D's does."""
    named = as_cmu(motion)
    names = [{"Neck1": "Neck"}.get(name, name) for name in named.skeleton.names]
    half = rot.about("Y", torch.tensor(torch.pi))
    rotations = rot.multiply(rot.multiply(half, named.rotations), rot.conjugate(half))
    skeleton = Skeleton(tuple(names), named.skeleton.parents, rot.rotate(half, named.skeleton.offsets))
    return Motion(skeleton, rotations, rot.rotate(half, motion.root), motion.fps)


def test_speech2gesture_3d_from_its_motions_and_speech(tmp_path):
    motion = walk(90, 4, 24.0)
    for number in (7, 20, 1092, 1093):
        write_cm(facing_back(motion), tmp_path / "motion" / f"gesture{number}.bvh")
        (tmp_path / "speech").mkdir(exist_ok=True)
        (tmp_path / "speech" / f"audio{number}.wav").write_bytes(b"RIFF")
    takes = {take.id: take for take in ted.s2g3d(tmp_path)}
    assert {name: take.split for name, take in takes.items() if not take.refuse} == {
        "s2g3d/gesture20": "train", "s2g3d/gesture1092": "test", "s2g3d/gesture1093": "val",
    }  # fmt: skip
    assert takes["s2g3d/gesture7"].refuse == "in no part of the published split"
    speech = takes["s2g3d/gesture20"].speech
    assert speech is not None
    assert speech.path == "speech/audio20.wav"
    found = convert_take(takes["s2g3d/gesture20"]).motion
    assert found.fps == pytest.approx(24.0, abs=1e-3)
    plain = motion.positions
    moved = found.positions[:, ARMS] - found.positions[:, :1]
    assert float((moved - (plain[:, ARMS] - plain[:, :1])).norm(dim=-1).mean()) < 0.03
    (tmp_path / "speech" / "audio20.wav").unlink()
    with pytest.raises(DataError, match=r"speech/audio20\.wav is missing"):
        ted.s2g3d(tmp_path)
    with pytest.raises(DataError, match="motion, speech are missing"):
        ted.s2g3d(tmp_path / "nowhere")

import json
import pickle

import numpy as np
import pytest
import torch
from corpus import walk

from motionloom.data.convert import convert_take
from motionloom.data.prepare import prepare
from motionloom.data.sources import dance, motionx
from motionloom.data.sources.smpl import turn_up
from motionloom.data.store import Store, read_refused
from motionloom.errors import DataError
from motionloom.motion import rotations as rot
from motionloom.motion.edit import face_forward, on_floor

AIST_NAMES = ("gBR_sBM_cAll_d04_mBR0_ch01", "gHO_sFM_cAll_d20_mHO3_ch05", "gKR_sBM_cAll_d01_mKR1_ch02")


def smpl_of(motion, up="y"):
    """Pose parameters (T, 24, 3) and root path of a motion, in a world with another axis up."""
    back = rot.conjugate(turn_up(up)).float()
    rotations = motion.rotations.clone()
    rotations[:, 0] = rot.multiply(back, rotations[:, 0])
    poses = torch.cat((rot.to_axis_angle(rotations), torch.zeros(len(motion), 2, 3)), dim=1)
    return poses.numpy(), rot.rotate(back, motion.root).numpy()


def off(found, wanted):
    return float((found.positions[:, :22] - face_forward(on_floor(wanted)).positions).norm(dim=-1).max())


@pytest.mark.parametrize("up", ["x", "-x", "y", "-y", "z", "-z"])
def test_any_axis_can_be_up(up):
    axis, sign = "xyz".index(up[-1]), -1.0 if up.startswith("-") else 1.0
    source = torch.zeros(3, dtype=torch.float64)
    source[axis] = sign
    torch.testing.assert_close(
        rot.rotate(turn_up(up), source), torch.tensor([0.0, 1.0, 0.0]).double(), atol=1e-12, rtol=0
    )


def write_aist(folder):
    for part in ("motions", "splits", "wav"):
        (folder / part).mkdir(parents=True)
    for index, name in enumerate(AIST_NAMES):
        poses, root = smpl_of(walk(90, index, 60.0))
        data = {
            "smpl_loss": 1.25,
            "smpl_poses": poses.reshape(90, 72).astype(np.float64),
            "smpl_scaling": np.array([93.77886]),
            "smpl_trans": root.astype(np.float64) * 93.77886,
        }
        (folder / "motions" / f"{name}.pkl").write_bytes(pickle.dumps(data, protocol=2))
        (folder / "wav" / f"{name.split('_')[4]}.wav").write_bytes(b"RIFF")
    for split, name in zip(("train", "val", "test"), (*AIST_NAMES[:2], AIST_NAMES[1]), strict=True):
        (folder / "splits" / f"crossmodal_{split}.txt").write_text(name + "\n")
    return folder


def test_aist_is_read_in_metres_with_its_music(tmp_path):
    raw = write_aist(tmp_path / "raw")
    prepare({"aist": raw}, tmp_path / "store", workers=1, progress=False)
    assert [clip for clip, _ in read_refused(tmp_path / "store")] == [f"aist/{AIST_NAMES[2]}"]
    store = Store(tmp_path / "store")
    clip = store.clip(f"aist/{AIST_NAMES[0]}")
    assert (clip.captions, clip.fps, clip.split) == (("a person dances break dance",), 60.0, "train")
    assert json.loads(clip.labels["music"]) == {"path": "wav/mBR0.wav", "offset": 0.0}
    assert off(store.motion(clip), walk(90, 0, 60.0)) < 1e-3
    assert store.clip(f"aist/{AIST_NAMES[1]}").split == "test"


def test_a_partial_aist_names_what_is_missing(tmp_path):
    with pytest.raises(DataError, match="motions, splits are missing; unpack AIST"):
        dance.aist(tmp_path)
    write_aist(tmp_path)
    (tmp_path / "wav" / "mHO3.wav").unlink()
    with pytest.raises(DataError, match="1 files of music are missing: mHO3"):
        dance.aist(tmp_path)
    for path in (tmp_path / "wav").iterdir():
        path.unlink()
    assert all(take.music is None for take in dance.aist(tmp_path))
    (tmp_path / "motions" / f"{AIST_NAMES[0]}.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DataError, match=r"names 'os\.system', which is no array"):
        convert_take(dance.aist(tmp_path)[0])
    (tmp_path / "motions" / f"{AIST_NAMES[0]}.pkl").unlink()
    with pytest.raises(DataError, match="1 motions of the split are missing: gBR_sBM"):
        dance.aist(tmp_path)


def write_finedance(folder, up="y"):
    for part in ("motion", "label_json", "music_wav"):
        (folder / part).mkdir(parents=True)
    for name in ("001", "063", "117"):
        motion = walk(60, int(name), 30.0)
        poses, root = smpl_of(motion, up)
        rows = rot.to_matrix(rot.from_axis_angle(torch.from_numpy(poses[:, :22])))[:, :, :2].flatten(1)
        hands = torch.eye(3)[:2].flatten().repeat(60, 30)
        np.save(folder / "motion" / f"{name}.npy", np.concatenate((root, rows, hands), axis=1).astype(np.float32))
        (folder / "label_json" / f"{name}.json").write_text('{"name": "song", "style1": "Folk", "style2": "Dai"}')
        (folder / "music_wav" / f"{name}.wav").write_bytes(b"RIFF")
    return folder


@pytest.mark.parametrize("up", ["y", "z"])
def test_finedance_is_read_with_the_axis_up_that_it_shows(tmp_path, up):
    takes = dance.finedance(write_finedance(tmp_path, up))
    assert [(take.split, bool(take.refuse)) for take in takes] == [("train", False), ("test", False), ("train", True)]
    converted = convert_take(takes[0])
    found, note = converted.motion, converted.notes
    assert f"up axis seen in the data: {up} up" in note
    assert off(found, walk(60, 1, 30.0)) < 1e-3
    assert takes[0].texts[0].text == "a person dances Dai"
    assert takes[0].music is not None
    assert takes[0].music.path == "music_wav/001.wav"
    (tmp_path / "music_wav" / "063.wav").unlink()
    with pytest.raises(DataError, match=r"music_wav/063\.wav is missing; unpack all of FineDance"):
        dance.finedance(tmp_path)


def write_motionx(folder):
    for name, text in (
        ("idea400/subset_0000/walk_clip1", "a person is walking left\n"),
        ("humanml/000001", "a man walks.#a/DET#0.0#0.0\nhe stops#he/PRON#0.5#1.5\n"),
        ("humanml/M000001", "a man walks.#a/DET#0.0#0.0\n"),
        ("aist/subset_0000/x", "a dance\n"),
    ):
        array = np.random.default_rng(0).normal(size=(60, 322)).astype(np.float32)
        poses, root = smpl_of(walk(60, 3, 30.0))
        array[:, :66], array[:, 309:312] = poses[:, :22].reshape(60, 66), root
        for kind, suffix in (("motion_data/smplx_322", ".npy"), ("texts/semantic_labels", ".txt")):
            path = folder / kind / (name + suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, array) if suffix == ".npy" else path.write_text(text)
    (folder / "val.txt").write_text("idea400/subset_0000/walk_clip1\n")
    return folder


def test_motionx_takes_body_and_sentence_and_leaves_mirrors(tmp_path):
    takes = {take.id: take for take in motionx.takes(write_motionx(tmp_path))}
    assert sorted(takes) == ["motionx/aist/subset_0000/x", "motionx/humanml/000001",
                             "motionx/idea400/subset_0000/walk_clip1"]  # fmt: skip
    walked = takes["motionx/idea400/subset_0000/walk_clip1"]
    assert (walked.split, [text.text for text in walked.texts]) == ("val", ["a person is walking left"])
    assert off(convert_take(walked).motion, walk(60, 3, 30.0)) < 1e-3
    assert [(text.start, text.stop) for text in takes["motionx/humanml/000001"].texts] == [(None, None), (0.5, 1.5)]
    with pytest.raises(DataError, match=r"take it from AIST\+\+ itself"):
        convert_take(takes["motionx/aist/subset_0000/x"])
    (tmp_path / "texts" / "semantic_labels" / "humanml" / "000001.txt").unlink()
    with pytest.raises(DataError, match=r"1 texts are missing: humanml/000001\.txt"):
        motionx.takes(tmp_path)

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import walk

from motionloom.data.convert import convert_take
from motionloom.data.formats.pickle import read_pickle
from motionloom.data.prepare import prepare
from motionloom.data.sources import amass
from motionloom.data.store import Store
from motionloom.errors import DataError
from motionloom.motion.edit import face_forward, on_floor
from motionloom.motion.io import save

TEXT = "a man kicks with his left leg.#a/DET man/NOUN kick/VERB#0.0#0.0\nhe stands#he/PRON stand/VERB#1.0#2.0\n"


def off(found, wanted, first=0, last=None, step=1):
    wanted = wanted.with_(rotations=wanted.rotations[first:last:step], root=wanted.root[first:last:step])
    return float((found.positions - face_forward(on_floor(wanted)).positions).norm(dim=-1).max())


def write_amass(folder, names, fps=120.0, frames=240):
    """Z up, with 52 joints, as SMPL-H files of AMASS are; ours also names its up axis, which theirs do not."""
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save(walk(frames, index, fps), path.with_name("x.amass.npz"))
        with np.load(path.with_name("x.amass.npz")) as arrays:
            kept = {key: arrays[key] for key in ("trans", "poses", "betas", "gender", "mocap_framerate")}
        np.savez(path, dmpls=np.zeros((frames, 8)), **kept)
        path.with_name("x.amass.npz").unlink()
    return folder


def test_amass_is_taken_whole_with_the_split_it_proposes(tmp_path):
    write_amass(tmp_path, ["KIT/3/kick_left02_poses.npz", "SFU/0005/walk_poses.npz", "SSM_synced/a/b_poses.npz"])
    np.savez(tmp_path / "KIT" / "3" / "shape.npz", betas=np.zeros(16))
    takes = amass.amass(tmp_path)
    assert [(take.id, take.split) for take in takes] == [
        ("amass/KIT/3/kick_left02_poses", "train"),
        ("amass/SFU/0005/walk_poses", "val"),
        ("amass/SSM_synced/a/b_poses", "test"),
    ]
    found = convert_take(takes[0]).motion
    assert found.fps == 60.0
    wanted = walk(240, 0)
    wanted = wanted.with_(rotations=wanted.rotations[::2], root=wanted.root[::2], fps=60.0)
    assert off(found, wanted) < 1e-4
    with pytest.raises(DataError, match=r"no files named \.\.\._poses\.npz"):
        amass.amass(tmp_path / "nothing")


def write_babel(folder):
    write_amass(folder / "amass_data", ["CMU/86/86_04_poses.npz", "ACCAD/s/turn_poses.npz"])
    rows = {
        "7": {
            "babel_sid": 7, "url": "https://x/000007.mp4", "feat_p": "CMU/CMU/86/86_04_poses.npz", "dur": 2.0,
            "seq_ann": {"labels": [{"raw_label": "walking around", "proc_label": "walk", "act_cat": ["walk"]}]},
            "frame_ann": {"labels": [
                {"raw_label": "walk to the left", "proc_label": "walk", "start_t": 0.0, "end_t": 1.0},
                {"raw_label": "transition", "proc_label": "transition", "start_t": 1.0, "end_t": 1.1},
                {"raw_label": "stops", "proc_label": "stop", "start_t": 1.0, "end_t": 2.0},
            ]},
        }
    }  # fmt: skip
    extra = {
        "9": {
            "babel_sid": 9, "feat_p": "ACCAD/ACCAD/s/turn_poses.npz", "dur": 2.0, "frame_anns": None,
            "seq_anns": [{"labels": [{"raw_label": "turn", "proc_label": "turn"}]}],
        }
    }  # fmt: skip
    release = folder / "babel_v1.0_release"
    release.mkdir()
    (release / "train.json").write_text(json.dumps(rows))
    (release / "extra_val.json").write_text(json.dumps(extra))
    return folder


def test_babel_labels_sequences_and_spans(tmp_path):
    write_babel(tmp_path / "raw")
    prepare({"babel": tmp_path / "raw"}, tmp_path / "store", workers=1, progress=False)
    clips = {clip.id: clip for clip in Store(tmp_path / "store").clips}
    assert {name: (clip.captions, clip.split, clip.frames) for name, clip in clips.items()} == {
        "babel/train-7": (("walking around",), "train", 120),
        "babel/train-7#00": (("walk to the left",), "train", 60),
        "babel/train-7#01": (("stops",), "train", 60),
        "babel/extra_val-9": (("turn",), "val", 120),
    }
    assert clips["babel/train-7#00"].mirrored == ("walk to the right",)
    assert clips["babel/train-7#00"].labels["description"] == "walk to the left"


def test_a_partial_babel_names_what_is_missing(tmp_path):
    raw = write_babel(tmp_path)
    (raw / "amass_data" / "CMU" / "86" / "86_04_poses.npz").unlink()
    with pytest.raises(DataError, match=r"1 motions that BABEL names are missing: CMU/CMU/86/86_04_poses\.npz"):
        amass.babel(raw)
    (raw / "babel_v1.0_release" / "train.json").write_text('{"7": {"feat_p"')
    with pytest.raises(DataError, match="is no readable JSON"):
        amass.babel(raw)
    with pytest.raises(DataError, match=r"train\.json, val\.json, test\.json are missing"):
        amass.babel(raw / "amass_data")


def write_humanml3d(folder):
    (folder / "texts").mkdir(parents=True)
    for name in ("000000", "000001", "000002", "M000000"):
        (folder / "texts" / f"{name}.txt").write_text(TEXT)
    for split, names in (("train", "000000\nM000000\n000001\n"), ("val", "000002\n"), ("test", "000002\n")):
        (folder / f"{split}.txt").write_text(names)
    return folder


def test_humanml3d_cuts_amass_as_its_index_counts(tmp_path):
    raw = write_humanml3d(tmp_path / "raw")
    (raw / "index.csv").write_text(
        "source_path,start_frame,end_frame,new_name\n"
        "./pose_data/KIT/3/kick_poses.npy,10,50,000000.npy\n"
        "./pose_data/humanact12/humanact12/P01G01R01F0001T0064A0101.npy,0,-1,000001.npy\n"
        "./pose_data/MPI_HDM05/bk/HDM_poses.npy,5,45,000002.npy\n"
    )
    write_amass(raw / "amass_data", ["KIT/3/kick_poses.npz", "MPI_HDM05/bk/HDM_poses.npz"], fps=100.0, frames=900)
    joints = raw / "pose_data" / "humanact12" / "humanact12" / "P01G01R01F0001T0064A0101.npy"
    joints.parent.mkdir(parents=True)
    wanted = walk(60, 5, 20.0)
    np.save(joints, np.concatenate((wanted.positions.numpy(), np.zeros((60, 2, 3))), axis=1))
    takes = {take.id: take for take in amass.humanml3d(raw)}
    assert sorted(takes) == ["humanml3d/000000", "humanml3d/000001", "humanml3d/000002"]
    assert [(text.text, text.start, text.stop) for text in takes["humanml3d/000000"].texts] == [
        ("a man kicks with his left leg.", None, None),
        ("he stands", 1.0, 2.0),
    ]
    # 100 fps: HumanML3D takes every fifth frame, and drops 3 s of HDM05 first; a store keeps every second one.
    found = convert_take(takes["humanml3d/000000"]).motion
    assert off(found, walk(900, 0, 100.0), 50, 250, 2) < 1e-4
    found = convert_take(takes["humanml3d/000002"]).motion
    assert off(found, walk(900, 1, 100.0), 325, 525, 2) < 1e-4
    found = convert_take(takes["humanml3d/000001"]).motion
    assert (len(found), found.fps) == (59, 20.0)
    assert off(found, wanted, 0, 59) < 0.05


def test_humanml3d_from_its_features_and_what_it_lacks(tmp_path):
    raw = write_humanml3d(tmp_path)
    with pytest.raises(DataError, match=r"new_joint_vecs is missing; make it with the HumanML3D scripts"):
        amass.humanml3d(raw)
    (raw / "new_joint_vecs").mkdir()
    from motionloom.motion.features.humanml3d import encode_features

    wanted = walk(60, 0, 20.0)
    for name in ("000000", "000001"):
        np.save(raw / "new_joint_vecs" / f"{name}.npy", encode_features(wanted).numpy())
    with pytest.raises(DataError, match=r"1 files of HumanML3D are missing: 000002\.npy"):
        amass.humanml3d(raw)
    (raw / "val.txt").write_text("000001\n")
    (raw / "test.txt").write_text("000001\n")
    takes = amass.humanml3d(raw)
    found = convert_take(takes[0]).motion
    assert off(found, wanted, 0, len(found)) < 0.03
    (raw / "texts" / "000000.txt").write_text("no times here\n")
    with pytest.raises(DataError, match=r"000000\.txt:1: caption#tokens#from#to is needed"):
        amass.humanml3d(raw)


class Evil:
    def __reduce__(self):
        return (open, ("never-written", "w"))


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_pickles_of_arrays_are_read_at_every_protocol(tmp_path, protocol):
    value = {
        "poses": [np.arange(6.0).reshape(2, 3), np.zeros((1, 2), np.float32, order="F")],
        "big": np.arange(4, dtype=">i4"),
        "name": "walk",
        "scale": np.float64(2.5),
        "nested": np.array([np.zeros(2), np.ones(3)], dtype=object),
        "words": np.array(["a", "bc"]),
        "none": (None, True, 10**12, b"x"),
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(value, protocol=protocol))
    found = read_pickle(tmp_path / "a.pkl")
    assert found.keys() == value.keys()
    np.testing.assert_array_equal(found["poses"][0], value["poses"][0])
    np.testing.assert_array_equal(found["big"], value["big"])
    np.testing.assert_array_equal(found["nested"][1], np.ones(3))
    assert (found["name"], found["scale"], found["none"]) == ("walk", 2.5, value["none"])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (pickle.dumps({"poses": Evil()}), "which is no array; pickles with code are never run"),
        (pickle.dumps(torch.zeros(2)), "which is no array"),
        (b"cos\nsystem\n(S'true'\ntR.", "names 'os.system'"),
        (b"\x80\x02cnumpy\nndarray\n\x8a\x05\x00\x00\x00\x00\x01\x85R.", "has values of unknown form"),
        (b"\x80\x04c_codecs\nencode\n}\x8c\x0c__defaults__)sb.", "makes objects that are no arrays"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\x00\x00\x00abc.", "is cut off"),
        (b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00abc.", "is cut off"),
        (pickle.dumps(np.zeros(100))[:-50], "is cut off"),
        (pickle.dumps(np.zeros(2, dtype=[("a", "f4")])), "is no|records|of type"),
        (b"not a pickle", "has the operation 0x6e"),
        (b"", "is cut off"),
    ],
)
def test_pickles_with_anything_else_are_refused_in_one_line(tmp_path, raw, message):
    (tmp_path / "a.pkl").write_bytes(raw)
    with pytest.raises(DataError, match=message) as error:
        read_pickle(tmp_path / "a.pkl")
    assert "\n" not in str(error.value)
    assert not Path("never-written").exists()


def test_damaged_pickles_are_read_or_refused_but_nothing_else(tmp_path):
    value = {"a": [np.arange(3.0), np.array([np.ones(2), None], dtype=object)], "b": np.array(["x", "yz"]), "c": 2.5}
    rng = np.random.default_rng(0)
    path = tmp_path / "a.pkl"
    refused = 0
    for protocol in (2, 4, 5):
        whole = pickle.dumps(value, protocol=protocol)
        for _ in range(150):
            raw = bytearray(whole)
            for place in rng.integers(0, len(raw), rng.integers(1, 4)):
                raw[place] = rng.integers(0, 256)
            path.write_bytes(raw[: rng.integers(len(raw) // 2, len(raw) + 1)] if rng.random() < 0.3 else raw)
            try:
                read_pickle(path)
            except DataError:
                refused += 1
    assert refused > 200


def test_the_flags_of_a_type_are_not_believed(tmp_path):
    """A state that says "holds Python objects" would have numpy take numbers for addresses."""
    raw = pickle.dumps(np.arange(2.0), protocol=2)
    tail = b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00"
    assert raw.count(tail) == 1
    (tmp_path / "a.pkl").write_bytes(raw.replace(tail, tail[:-1] + b"\x3f"))
    found = read_pickle(tmp_path / "a.pkl")
    assert not found.dtype.hasobject
    np.testing.assert_array_equal(found, [0.0, 1.0])

"""BEAT's words and KIT-ML's sentences."""

import json

import numpy as np
import pytest
from corpus import walk
from publishers import as_beat, write_cm

from motionloom.data.convert import convert_take
from motionloom.data.prepare import prepare
from motionloom.data.sources import kit, speech
from motionloom.data.store import Store
from motionloom.errors import DataError
from motionloom.motion.edit import face_forward, on_floor
from motionloom.motion.features.humanml3d_published import encode_published
from motionloom.motion.features.layout import LAYOUTS
from motionloom.motion.skeleton import CANONICAL

# Which canonical joint each of KIT's 21 joints is.
KIT_JOINTS = (
    "pelvis", "spine1", "spine3", "neck", "head", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder",
    "left_elbow", "left_wrist", "right_hip", "right_knee", "right_ankle", "right_foot", "right_foot", "left_hip",
    "left_knee", "left_ankle", "left_foot", "left_foot",
)  # fmt: skip
GRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.0
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 2.0
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.4
            text = ""
        intervals [2]:
            xmin = 0.4
            xmax = 0.9
            text = "the ""first"" one"
        intervals [3]:
            xmin = 0.9
            xmax = 1.6
            text = "goes"
    item [2]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 2.0
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 0.4
            text = "DH"
"""


def write_beat(folder):
    for name in ("1_wayne_0_1_8", "1_wayne_0_9_16"):
        path = folder / "1" / f"{name}.bvh"
        write_cm(as_beat(walk(240, 0, 120.0)), path)
        path.with_suffix(".wav").write_bytes(b"RIFF")
        path.with_suffix(".TextGrid").write_text(GRID)
        path.with_suffix(".json").write_text("{}")
    return folder


def test_beat_carries_speech_and_words_with_their_times(tmp_path):
    raw = write_beat(tmp_path / "raw")
    (raw / "1" / "1_wayne_0_9_16.TextGrid").write_bytes(GRID.encode("utf-16"))
    prepare({"beat": raw}, tmp_path / "store", workers=1, progress=False)
    clips = Store(tmp_path / "store").clips
    assert [(clip.id, clip.frames, clip.captions) for clip in clips] == [
        ("beat/1_wayne_0_1_8", 120, ()), ("beat/1_wayne_0_9_16", 120, ()),
    ]  # fmt: skip
    for clip in clips:
        assert json.loads(clip.labels["speech"]) == {
            "path": f"1/{clip.id.removeprefix('beat/')}.wav", "offset": 0.0,
            "words": [['the "first" one', 0.4, 0.9], ["goes", 0.9, 1.6]],
        }  # fmt: skip
        assert "left_hand" not in clip.parts  # these recordings have no joints for it
        assert clip.tasks == ("motion", "speech")
    wanted = walk(240, 0, 120.0)
    wanted = wanted.with_(rotations=wanted.rotations[::2], root=wanted.root[::2], fps=60.0)
    found = Store(tmp_path / "store").motion(clips[0]).positions
    assert float((found - face_forward(on_floor(wanted)).positions).norm(dim=-1).max()) < 0.03


def test_a_partial_beat_names_what_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"no files named 1_wayne_0_1_8\.bvh"):
        speech.beat(tmp_path)
    write_beat(tmp_path)
    (tmp_path / "1" / "1_wayne_0_1_8.wav").unlink()
    with pytest.raises(DataError, match=r"1 files of speech are missing: 1_wayne_0_1_8\.wav"):
        speech.beat(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "is no TextGrid in Praat's long form"),
        (GRID[: GRID.index("intervals [1]")], "has no intervals of text"),
        (GRID.replace("xmin = 0.4", "xmin = 0.4.4"), "a time of an interval is no number"),
    ],
)
def test_broken_textgrids_are_refused(tmp_path, text, message):
    (tmp_path / "a.TextGrid").write_text(text)
    with pytest.raises(DataError, match=message):
        speech.read_textgrid(tmp_path / "a.TextGrid")


def test_kit_is_read_at_its_own_rate_and_lists_what_it_lacks(tmp_path):
    (tmp_path / "new_joint_vecs").mkdir()
    (tmp_path / "texts").mkdir()
    with pytest.raises(DataError, match=r"train\.txt, val\.txt, test\.txt are missing"):
        kit.takes(tmp_path)
    for split, names in (("train", "00001\nM00001\n"), ("val", "00002\n"), ("test", "00002\n")):
        (tmp_path / f"{split}.txt").write_text(names)
    wanted = walk(61, 0, 12.5)
    points = 1000.0 * wanted.positions[:, [CANONICAL.index(name) for name in KIT_JOINTS]]
    points[:, [14, 19]] = (points[:, [13, 18]] + points[:, [15, 20]]) / 2.0
    np.save(tmp_path / "new_joint_vecs" / "00001.npy", encode_published(points, LAYOUTS["kit"]).numpy())
    (tmp_path / "texts" / "00001.txt").write_text("a person walks.#a/DET person/NOUN walk/VERB#0.0#0.0\n")
    with pytest.raises(DataError, match=r"4 files of KIT-ML are missing: new_joint_vecs/00002\.npy"):
        kit.takes(tmp_path)
    for split in ("val", "test"):
        (tmp_path / f"{split}.txt").write_text("00001\n")
    takes = kit.takes(tmp_path)
    assert [(take.id, take.split, take.texts[0].text) for take in takes[:1]] == [
        ("kit/00001", "train", "a person walks."),
    ]  # fmt: skip
    found = convert_take(takes[0]).motion
    legs = [CANONICAL.index(f"{side}_{name}") for side in ("left", "right") for name in ("knee", "ankle")]
    wanted = face_forward(on_floor(wanted)).positions[:60, legs]
    assert found.fps == 12.5
    assert float((found.positions[:, legs] - wanted).norm(dim=-1).mean()) < 0.05
    (tmp_path / "00001_mmm.xml").touch()
    with pytest.raises(DataError, match="holds MMM files; the converted set"):
        kit.takes(tmp_path)

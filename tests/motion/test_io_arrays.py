"""Our npz, HumanML3D npy and joints csv."""

import json
from dataclasses import replace
from pathlib import Path

import make_io
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.errors import MotionFileError
from motionloom.motion.io import load, save
from motionloom.motion.motion import Motion

FIXTURE = Path("../shared/fixtures/humanml3d_012314.npz")


@pytest.mark.parametrize("full", [True, False])
def test_npz_gives_back_every_bit(tmp_path: Path, full: bool) -> None:
    motion = make_io.motion(frames=7, joints=5, fps=29.97)
    if not full:
        motion = motion.with_(valid=None, contacts=None)
    save(motion, tmp_path / "a.npz")
    back = load(tmp_path / "a.npz")
    assert back.skeleton.same_tree(motion.skeleton)
    assert back.fps == motion.fps
    assert back.provenance == motion.provenance
    for name in ("rotations", "root", "valid", "contacts"):
        got, want = vars(back)[name], vars(motion)[name]
        assert (got is None) == (want is None)
        if got is not None and want is not None:
            assert torch.equal(got, want)
    assert torch.equal(back.skeleton.offsets, motion.skeleton.offsets)


def rewrite(path: Path, **changes: object) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    for name, value in changes.items():
        arrays.pop(name)
        if value is not None:
            arrays[name] = np.asarray(value)
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"motionloom_format": 2}, "format 2 is not 1; update motionloom"),
        (
            {"motionloom_format": None},
            "neither a motionloom nor an AMASS file; its arrays are: 'contacts', 'fps'",
        ),
        ({"root": None}, "array 'root' is missing; the file is incomplete"),
        ({"root": np.zeros((5, 3))}, "rotations have 12 frames, root has 5"),
        ({"root": np.full((12, 3), np.nan)}, "array 'root': NaN, infinity .* in frame 0"),
        ({"rotations": np.zeros((12, 6, 4))}, "a quaternion's length is off 1"),
        ({"rotations": np.zeros((12, 6, 3))}, "numbers of shape any x 6 x 4 are needed"),
        ({"rotations": np.zeros((0, 6, 4))}, "0 frames; 1 to"),
        ({"parents": [-1, 0, 1, 9, 1, 1]}, "has parent 9"),
        ({"parents": [-1, 0, 1, 3, 1, 1]}, "has parent 3"),
        ({"contacts": np.zeros((3, 4), bool)}, "'contacts' has 3 frames, rotations 12"),
        ({"names": ["a"] * 6}, "joint names must be unique"),
        ({"fps": [1.0, 2.0]}, "array 'fps': one finite number is needed"),
        ({"fps": -1.0}, "fps is -1.0"),
        ({"valid": np.zeros((12, 9), bool)}, "array 'valid' must be T x 10 booleans"),
        ({"provenance": "{}"}, "array 'provenance' is not what motionloom writes"),
        ({"provenance": json.dumps({"source": 3})}, "array 'provenance' is not what"),
    ],
)
def test_wrong_npz_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = tmp_path / "a.npz"
    save(make_io.motion(), path)
    rewrite(path, **changes)
    with pytest.raises(MotionFileError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(place=st.floats(0, 1), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_npz(tmp_path_factory: pytest.TempPathFactory, place: float, byte: int, cut: bool) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.npz"
    save(make_io.motion(frames=2, joints=2), path)
    raw = bytearray(path.read_bytes())
    index = min(int(place * len(raw)), len(raw) - 1)
    raw[index] = byte
    path.write_bytes(raw[:index] if cut else raw)
    try:
        outcome: Motion | MotionFileError = load(path)
    except MotionFileError as error:
        outcome = error
    assert isinstance(outcome, Motion) or str(path) in str(outcome)


@pytest.mark.parametrize("suffix", ["npy", "csv"])
def test_positions_come_back(tmp_path: Path, suffix: str) -> None:
    """Twist about a bone is lost, positions are not; the fit says how far off it is."""
    motion = make_io.canonical(fps=20.0)
    save(motion, tmp_path / f"a.{suffix}")
    back = load(tmp_path / f"a.{suffix}")
    assert back.fps == pytest.approx(20.0, abs=1e-4)
    assert back.provenance.source == f"a.{suffix}"
    assert "rotations fitted to positions: joints off by" in back.provenance.notes[0]
    torch.testing.assert_close(back.positions, motion.positions, atol=2e-3, rtol=0)
    assert load(tmp_path / f"a.{suffix}", fps=60.0).fps == 60.0


def test_npy_is_humanml3d_joints(tmp_path: Path) -> None:
    motion = make_io.canonical()
    save(motion, tmp_path / "a.npy")
    array = np.load(tmp_path / "a.npy")
    assert (array.shape, array.dtype) == ((20, 22, 3), np.float32)
    np.testing.assert_allclose(array, motion.positions.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 21, 3)), r"shape \(5, 21, 3\) is unknown; joints"),
        (np.zeros((5, 264)), r"shape \(5, 264\) is unknown"),
        (np.full((5, 22, 3), np.inf), "NaN, infinity"),
        (np.full((5, 263), np.nan), "NaN, infinity"),
        (np.zeros((0, 22, 3)), "0 frames; 1 to"),
    ],
)
def test_wrong_npy_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(MotionFileError, match=message):
        load(tmp_path / "a.npy")


@pytest.mark.skipif(not FIXTURE.is_file(), reason="../shared/fixtures is not there")
def test_published_features_and_joints_load(tmp_path: Path) -> None:
    """A real HumanML3D clip: features and joints describe the same motion, at 20 fps."""
    with np.load(FIXTURE) as fixture:
        np.save(tmp_path / "features.npy", fixture["vec"])
        np.save(tmp_path / "joints.npy", fixture["recovered_from_ric"])
    features, joints = load(tmp_path / "features.npy"), load(tmp_path / "joints.npy")
    assert features.fps == joints.fps == 20.0
    assert len(features) == len(joints) == 170
    assert float((features.positions - joints.positions).norm(dim=-1).mean()) < 0.03


def test_csv_form(tmp_path: Path) -> None:
    save(make_io.canonical(frames=3, fps=30.0), tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().split("\n")
    assert lines[0].startswith("time,pelvis_x,pelvis_y,pelvis_z,left_hip_x")
    assert lines[1].startswith("0.000000000,0.0000000,0.9300000,0.0000000,")
    assert lines[2].startswith("0.033333333,0.0000000,0.9300000,0.0200000,")
    assert len(lines) == 5
    motion = make_io.motion(joints=1)
    with pytest.raises(MotionFileError, match="joint 'a,b' cannot name a column"):
        save(motion.with_(skeleton=replace(motion.skeleton, names=("a,b",))), tmp_path / "b.csv")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pelvis_x", "hips_x", r":1: column 'pelvis_x' is missing"),
        ("pelvis_x", "pelvis_y", r":1: column 'pelvis_y' is named twice"),
        ("time", "t", r"the frame rate is unknown"),
        ("0.9300000,", "0.9300000,1,", r":2: 67 cells? .*|:2: 68 cells where the header has 67"),
        ("0.9300000", "high", r":2: a cell is no number"),
        ("0.9300000", "nan", r":2: NaN, infinity or"),
        ("0.9300000", "1e99", r":2: NaN, infinity or a number beyond 1e\+09"),
        ("0.033333333", "0.05", r": time steps are uneven"),
        ("0.066666667", "0", r": time steps are uneven"),
    ],
)
def test_wrong_csv_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "a.csv"
    save(make_io.canonical(frames=4), path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(MotionFileError, match=message):
        load(path)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(data=st.data())
def test_damaged_csv(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.csv"
    save(make_io.canonical(frames=4), path)
    path.write_bytes(make_io.damage(path.read_text(), data.draw))
    try:
        outcome: Motion | MotionFileError = load(path)
    except MotionFileError as error:
        outcome = error
    assert isinstance(outcome, Motion) or str(path) in str(outcome)

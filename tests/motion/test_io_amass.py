"""AMASS and SMPL npz: Z-up at the door, both ways."""

import math
from pathlib import Path
from typing import Any

import make_io
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.errors import MotionFileError
from motionloom.motion import rotations as rot
from motionloom.motion.io import load, save
from motionloom.motion.kinematics import facing
from motionloom.motion.motion import Provenance


def fields(frames: int = 3, width: int = 156) -> dict[str, Any]:
    return {
        "trans": np.tile([1.0, 2.0, 0.9], (frames, 1)),
        "poses": np.zeros((frames, width)),
        "betas": np.zeros(16),
        "gender": np.array("male"),
        "mocap_framerate": np.array(120.0),
    }


def test_a_standing_person_by_hand(tmp_path: Path) -> None:
    """AMASS: Z up. A quarter turn about X stands the body up; it then faces -Y there, which is our +Z."""
    arrays = fields()
    poses = np.zeros((3, 156))
    poses[:, 0] = math.pi / 2
    np.savez(tmp_path / "a.npz", **{**arrays, "poses": poses})
    motion = load(tmp_path / "a.npz")
    torch.testing.assert_close(motion.root, torch.tensor([[1.0, 0.9, -2.0]]).repeat(3, 1))
    head, pelvis = motion.positions[0, 15], motion.positions[0, 0]
    assert float((head - pelvis)[1]) > 0.4
    torch.testing.assert_close(facing(motion.positions[0]), torch.tensor([0.0, 0.0, 1.0]), atol=1e-5, rtol=0)
    assert motion.fps == 120.0
    assert motion.provenance.notes[0].startswith("SMPL-H poses (male), on the canonical body's bone lengths")
    assert motion.provenance.notes[1] == "up axis z: the body stands along it"


@settings(deadline=None, derandomize=True, max_examples=15)
@given(frames=st.integers(1, 6), seed=st.integers(0, 99), up=st.sampled_from(["z", "y"]))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, frames: int, seed: int, up: str) -> None:
    path = tmp_path_factory.mktemp("amass") / "a.amass.npz"
    motion = make_io.canonical(frames, fps=29.97)
    motion = motion.with_(
        rotations=make_io.rotations(frames, 22, seed, wild=True),
        provenance=Provenance(text="a bow", licence="CC0-1.0"),
    )
    save(motion, path, up=up)
    back = load(path)
    assert back.fps == 29.97
    assert (back.provenance.text, back.provenance.licence) == ("a bow", "CC0-1.0")
    torch.testing.assert_close(back.root, motion.root, atol=1e-6, rtol=0)
    assert float(rot.angle_between(back.rotations, motion.rotations).max()) < 1e-5
    with np.load(path) as file:
        assert file["poses"].shape == (frames, 156)
        assert str(file["up_axis"]) == up
        assert float(file["trans"][0, "xyz".index(up)]) == pytest.approx(0.93)
        assert set(file.files) >= {
            "trans",
            "poses",
            "betas",
            "gender",
            "mocap_framerate",
            "surface_model_type",
        }


@pytest.mark.parametrize("width", [66, 72, 156, 165])
def test_every_pose_width_reads_the_same(tmp_path: Path, width: int) -> None:
    poses = np.random.default_rng(0).normal(size=(3, width))
    poses[:, :66] = np.linspace(-1, 1, 198).reshape(3, 66)
    arrays = fields()
    np.savez(tmp_path / "a.npz", **{**arrays, "poses": poses})
    parts = {"root_orient": poses[:, :3], "pose_body": poses[:, 3:66], "mocap_frame_rate": np.array(120)}
    np.savez(tmp_path / "b.npz", trans=arrays["trans"], **parts)
    first, second = load(tmp_path / "a.npz"), load(tmp_path / "b.npz")
    assert torch.equal(first.rotations, second.rotations)
    assert first.fps == second.fps


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trans": None}, "array 'trans' is missing"),
        ({"trans": np.zeros((2, 3))}, "poses have 3 frames, trans 2; they must agree"),
        ({"trans": np.full((3, 3), np.nan)}, "array 'trans': NaN"),
        ({"poses": None}, "array 'root_orient' is missing, and there is no 'poses' either"),
        (
            {"poses": np.zeros((3, 100))},
            r"array 'poses' has shape \(3, 100\); T x 66 \(22 joints\), 72 \(SMPL\)",
        ),
        ({"poses": np.full((3, 156), np.inf)}, "array 'poses': NaN, infinity"),
        ({"mocap_framerate": None}, "the frame rate is missing"),
        ({"mocap_framerate": np.array(0.0)}, "fps is 0"),
        ({"poses": np.array([None] * 3)}, "pickled objects, which are never run"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, changes: dict[str, np.ndarray | None], message: str) -> None:
    arrays = {name: value for name, value in {**fields(), **changes}.items() if value is not None}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(MotionFileError, match=message):
        load(tmp_path / "a.npz")


def test_object_arrays_nobody_needs_do_not_matter(tmp_path: Path) -> None:
    """AMASS's own files carry pickled marker labels; they stay packed."""
    np.savez(tmp_path / "a.npz", **fields(), labels=np.array(["a", None], dtype=object))
    assert len(load(tmp_path / "a.npz")) == 3


def test_options(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **fields())
    assert load(tmp_path / "a.npz", up="y", fps=60.0).root[0].tolist() == pytest.approx([1.0, 2.0, 0.9])
    with pytest.raises(MotionFileError, match="up axis 'x' is unknown"):
        load(tmp_path / "a.npz", up="x")
    with pytest.raises(MotionFileError, match="up axis 'x' is unknown"):
        save(make_io.canonical(), tmp_path / "b.amass.npz", up="x")
    with pytest.raises(MotionFileError, match="AMASS needs the canonical 22 joints, this motion has 6 others"):
        save(make_io.motion(), tmp_path / "b.amass.npz")

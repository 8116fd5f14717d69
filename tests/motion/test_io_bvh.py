"""BVH in both directions: by hand, laws, errors by message."""

import math
import re
from pathlib import Path

import make_io
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.errors import MotionFileError
from motionloom.motion import rotations as rot
from motionloom.motion.io import load, save
from motionloom.motion.io.bvh import parse_bvh, read_bvh
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import Skeleton

SHARED = Path("../shared/data/formats")
NUMBER = r"[+-]?([0-9]{1,12}(\.[0-9]{0,8})?|\.[0-9]{1,8})(e[+-]?[0-3])?"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "clip.bvh"
    path.write_bytes(text.encode())
    return path


def test_a_leg_by_hand(tmp_path: Path) -> None:
    """Hip at 0.8 m; frame 1: turned left (+Z becomes +X), shin bent by 90 degrees about X, so towards -X."""
    motion = read_bvh(write(tmp_path, make_io.BVH), unit="cm")
    assert motion.skeleton.names == ("Hips", "Knee", "Knee_end")
    assert motion.fps == 30.0
    want = torch.tensor([[[0, 0.8, 0], [0, 0.4, 0], [0, 0, 0]], [[0, 0.8, 0.1], [0, 0.4, 0.1], [-0.4, 0.4, 0.1]]])
    torch.testing.assert_close(motion.positions, want, atol=1e-6, rtol=0)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    joints=st.integers(1, 12),
    frames=st.integers(1, 9),
    seed=st.integers(0, 99),
    order=st.sampled_from(["ZXY", "ZYX"]),
    unit=st.sampled_from(["m", "cm", "inch"]),
    fps=st.sampled_from([12.5, 24.0, 29.97, 30.0, 60.0, 120.0, 1000 / 7]),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    joints: int, frames: int, seed: int, order: str, unit: str, fps: float,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("bvh") / "a.bvh"
    motion = make_io.motion(frames, joints, seed, fps, wild=True)
    save(motion, path, order=order, unit=unit)
    back = load(path, unit=unit, up="y", ends=False)
    assert back.fps == pytest.approx(fps, rel=1e-8)
    assert sorted(back.skeleton.names) == sorted(name.replace(" ", "_") for name in motion.skeleton.names)
    places = [back.skeleton.names.index(name.replace(" ", "_")) for name in motion.skeleton.names]
    torch.testing.assert_close(back.positions[:, places], motion.positions, atol=2e-5, rtol=0)
    angle = rot.angle_between(back.rotations[:, places], motion.rotations)
    assert float(angle.max()) < 2e-5


def test_second_generation_is_the_same_bytes(tmp_path: Path) -> None:
    """End sites come back as end sites, so nothing grows from file to file."""
    motion = make_io.canonical()
    save(motion, tmp_path / "a.bvh")
    save(load(tmp_path / "a.bvh", unit="cm"), tmp_path / "b.bvh")
    save(motion, tmp_path / "c.bvh")
    assert (tmp_path / "a.bvh").read_bytes() == (tmp_path / "c.bvh").read_bytes()
    first, second = (parse_bvh(tmp_path / name) for name in ("a.bvh", "b.bvh"))
    assert first.names == second.names
    np.testing.assert_allclose(first.offsets, second.offsets, atol=2e-6)


def test_written_form(tmp_path: Path) -> None:
    save(make_io.canonical(), tmp_path / "a.bvh")
    text = (tmp_path / "a.bvh").read_text()
    clip = parse_bvh(tmp_path / "a.bvh")
    assert "Frame Time: 0.0333333333\n" in text
    assert "Frames: 20\n" in text
    assert clip.channels[0] == ("Xposition", "Yposition", "Zposition", "Zrotation", "Xrotation", "Yrotation")
    assert {names for names in clip.channels[1:]} == {(), ("Zrotation", "Xrotation", "Yrotation")}
    assert text.count("End Site") == 5
    assert not clip.offsets[0].any()
    assert not any(" " in name for name in clip.names)
    ends = [joint for joint, names in enumerate(clip.channels) if not names]
    assert (np.linalg.norm(clip.offsets[ends], axis=1) > 1.0).all()


@pytest.mark.parametrize("order", ["ZXY", "ZYX"])
def test_angles_do_not_jump(tmp_path: Path, order: str) -> None:
    """Three turns about each axis, and a slow pass through gimbal lock."""
    frames = 241
    angle = torch.linspace(0, 6 * math.pi, frames)
    skeleton = Skeleton(("a", "b", "c", "d"), (-1, 0, 1, 2), torch.ones(4, 3))
    turns = [rot.about(axis, angle) for axis in "XYZ"]
    tilted = torch.stack((torch.full_like(angle, 0.3), math.pi / 2 - angle / 30, angle / 7), dim=-1)
    turns.append(rot.from_euler(tilted, order))
    motion = Motion(skeleton, torch.stack(turns, dim=1), torch.zeros(frames, 3), 30.0)
    save(motion, tmp_path / "a.bvh", order=order)
    values = parse_bvh(tmp_path / "a.bvh").values[:, 3:]
    # The turns are 4.5 degrees a frame; through gimbal lock a branch may swing by 180 only if it must.
    assert np.abs(np.diff(values[:, :9], axis=0)).max() < 181.0
    assert np.abs(np.diff(values, axis=0)).max() < 200.0
    free = {"ZXY": [0, 2], "ZYX": [0, 2]}[order]
    turned = [values[:, 3 * joint : 3 * joint + 3] for joint in range(3)]
    outer = [next(track for track in turned if np.abs(track[-1, slot] - 1080.0) < 1.0) for slot in free]
    assert all(np.abs(np.diff(track, axis=0)).max() < 4.6 for track in outer)
    back = load(tmp_path / "a.bvh", unit="cm", ends=False)
    assert float(rot.angle_between(back.rotations, motion.rotations).max()) < 2e-5


@pytest.mark.parametrize(
    ("text", "fps"),
    [
        ("0.033333", 30.0), ("0.0333", 30.0), ("0.033", 30.0), ("0.0083333", 120.0), (".0083", 120.0),
        ("0.0333667", 29.97), ("0.0416667", 24.0), ("0.04", 25.0), ("0.0417083750417", 23.976),
        ("0.05", 20.0), ("0.017", 60.0), ("0.016", 62.5), ("0.08", 12.5), ("8.333e-3", 120.005),
    ],
)  # fmt: skip
def test_frame_rates(tmp_path: Path, text: str, fps: float) -> None:
    motion = read_bvh(write(tmp_path, make_io.BVH.replace("0.0333333", text)), unit="cm")
    assert motion.fps == pytest.approx(fps, rel=1e-5)


def test_mixed_and_fixed_decimals_read_the_same(tmp_path: Path) -> None:
    rows = ["0 80 0 0 0 0 0 0 0"] + ["1.5000 -80.2500 0.1250 359.9999 -0.0001 12.3456 7.0000 8.0000 9.0000"] * 3
    head = make_io.BVH.split("Frames")[0]
    fixed = "\n".join([head + "Frames: 4", "Frame Time: 0.05", *rows])
    mixed = fixed.replace("12.3456", "1.23456e1")
    want = np.array([[float(word) for word in row.split()] for row in rows])
    assert np.array_equal(parse_bvh(write(tmp_path, fixed)).values, want)
    assert np.array_equal(parse_bvh(write(tmp_path, mixed)).values, want)
    # Line ends of Windows and old Macs, tabs, trailing blanks, no last line end: all the same.
    for end in ("\r\n", "\r", " \t\n"):
        assert np.array_equal(parse_bvh(write(tmp_path, fixed.replace("\n", end))).values, want)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(words=st.lists(st.from_regex(NUMBER, fullmatch=True), min_size=18, max_size=18))
def test_every_spelling_of_a_number_is_read_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> None:
    rows = [" ".join(words[:9]), " ".join(words[9:])]
    path = tmp_path_factory.mktemp("numbers") / "a.bvh"
    path.write_text(make_io.BVH.partition("0 80 0")[0] + "\n".join(rows))
    want = np.array([float(word) for word in words]).reshape(2, 9)
    if np.abs(want).max() > 1e9:
        with pytest.raises(MotionFileError, match="a finite number up to 1e"):
            parse_bvh(path)
    else:
        assert np.array_equal(parse_bvh(path).values, want)


def test_units_are_guessed_and_noted(tmp_path: Path) -> None:
    motion = make_io.canonical()
    for unit, name in (("m", "m"), ("dm", "dm"), ("cm", "cm"), ("mm", "mm"), ("inch", "inch")):
        save(motion, tmp_path / "a.bvh", unit=unit)
        back = load(tmp_path / "a.bvh")
        assert back.provenance.notes == (
            f"unit guessed from the body's size: {name}",
            "up axis y: the rest pose stands along it",
        )
        assert float(back.positions[0, 0, 1]) == pytest.approx(0.93, abs=1e-5)


def test_z_up_is_seen_and_turned(tmp_path: Path) -> None:
    """The same body written in Z-up axes comes back Y-up, with the same shape of path and pose."""
    motion = make_io.canonical()
    quarter = rot.about("X", torch.tensor(math.pi / 2))
    skeleton = Skeleton(motion.skeleton.names, motion.skeleton.parents, rot.rotate(quarter, motion.skeleton.offsets))
    turned = rot.multiply(rot.multiply(quarter, motion.rotations), rot.conjugate(quarter))
    save(Motion(skeleton, turned, rot.rotate(quarter, motion.root), 30.0), tmp_path / "z.bvh")
    save(motion, tmp_path / "y.bvh")
    want = load(tmp_path / "y.bvh", unit="cm")
    back = load(tmp_path / "z.bvh", unit="cm")
    assert back.provenance.notes == ("up axis z: the rest pose stands along it",)
    torch.testing.assert_close(back.positions, want.positions, atol=1e-5, rtol=0)
    torch.testing.assert_close(back.skeleton.offsets, want.skeleton.offsets, atol=1e-5, rtol=0)
    kept = load(tmp_path / "z.bvh", unit="cm", up="y")
    assert float(kept.root[:, 2].mean()) == pytest.approx(0.93, abs=1e-4)


def edit(old: str, new: str) -> str:
    assert old in make_io.BVH
    return make_io.BVH.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"clip\.bvh: the file is empty"),
        ("hello", r"no line MOTION"),
        (edit("HIERARCHY\n", ""), r":1: a BVH file starts with HIERARCHY, not 'ROOT Hips'"),
        (edit("JOINT Knee", "JOINT Hips"), r":6: joint 'Hips' is named twice"),
        (edit("JOINT Knee", "BONE Knee"), r":6: unknown keyword 'BONE'"),
        (edit("JOINT Knee", "ROOT Knee"), r":6: there must be exactly one ROOT"),
        (edit("OFFSET 0 -40 0", "OFFSET 0 nan 0"), r":8: OFFSET needs three finite numbers"),
        (edit("OFFSET 0 -40 0", "OFFSET 0 -40"), r":8: OFFSET needs three numbers; got '0 -40'"),
        (edit("OFFSET 0 -40 0\n    CH", "CH"), r":13: joint 'Knee' has no OFFSET"),
        (edit("CHANNELS 3 Z", "CHANNELS 4 Z"), r":9: CHANNELS needs a count and as many names"),
        (edit("3 Zrotation X", "3 Zrotation Z"), r":9: unknown or repeated channel"),
        (edit("6 Xposition Yposition", "5 Xposition"), r":5: a joint needs all three position channels"),
        (edit("}\nMOTION", "MOTION"), r"the hierarchy is cut off: 1 joints are still open"),
        (edit("}\nMOTION", "}\n}\nMOTION"), r":16: a closing brace too many"),
        (edit("Frames: 2", "Frames: two"), r":17: Frames is 'two'"),
        (edit("Frames: 2", "Frames: 0"), r":17: Frames is '0'; 1 to"),
        (edit("Frames: 2", "Frames: 99999999999999999999"), r":17: Frames is"),
        (edit("Frames: 2\n", ""), r":17: 'Frames: ...' is needed; got 'Frame Time"),
        (edit("0.0333333", "-1"), r":18: Frame Time is '-1'; a positive number"),
        (edit("0.0333333", "nan"), r":18: Frame Time is 'nan'"),
        (edit("90 0 90 0", "90 0 90 x"), r":20: 'x' where a finite number"),
        (edit("90 0 90 0", "90 0 90 nan"), r":20: 'nan' where a finite number"),
        (edit("90 0 90 0", "90 0 90 1e99"), r":20: '1e99' where a finite number"),
        (edit("90 0 90 0", "90 0"), r":20: 7 values in frame 1 where the hierarchy has 9 channels"),
        (
            edit("Frames: 2", "Frames: 500"),
            r":19: 500 frames are announced, 2 lines follow; the file is cut off",
        ),
        (make_io.BVH.partition("Frames")[0], r":16: the file ends where 'Frames: ...' is needed"),
        (make_io.BVH.partition("0 80 0")[0], r"2 frames are announced, 0 lines follow"),
    ],
)
def test_broken_files_are_refused_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MotionFileError, match=message) as caught:
        read_bvh(write(tmp_path, text))
    assert str(tmp_path / "clip.bvh") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_deep_and_too_many_joints_are_refused(tmp_path: Path) -> None:
    def nest(depth: int) -> str:
        block = "{\nOFFSET 0 1 0\nCHANNELS 3 Zrotation Xrotation Yrotation\n"
        opened = "".join(f"{'JOINT' if i else 'ROOT'} j{i}\n{block}" for i in range(depth))
        zeros = " ".join(["0"] * (3 * depth))
        return f"HIERARCHY\n{opened}{'} ' * depth}\nMOTION\nFrames: 1\nFrame Time: 0.1\n{zeros}\n"

    assert len(read_bvh(write(tmp_path, nest(64))).skeleton) == 64
    with pytest.raises(MotionFileError, match=r":258: more than 512 joints or 64 levels"):
        read_bvh(write(tmp_path, nest(65)))
    ends = "End Site\n{\nOFFSET 0 1 0\n}\n" * 600
    with pytest.raises(MotionFileError, match="more than 512 joints"):
        read_bvh(write(tmp_path, edit("End Site\n    {\n      OFFSET 0 -40 0\n    }\n", ends)))


def test_position_channels(tmp_path: Path) -> None:
    """Constant ones replace the OFFSET; small ones are noted; large ones are refused."""
    six = edit("CHANNELS 3 Z", "CHANNELS 6 Xposition Yposition Zposition Z")
    six = six.replace("}\nMOTION", "JOINT Head\n{\nOFFSET 0 50 0\n}\n}\nMOTION")

    def read(first: float, second: float) -> Motion:
        rows = [f"0 80 0 0 0 0 0 {height} 0 0 0 0" for height in (first, second)]
        return read_bvh(write(tmp_path, six.partition("0 80 0")[0] + "\n".join(rows)), unit="cm")

    torch.testing.assert_close(read(-30, -30).skeleton.offsets[1], torch.tensor([0.0, -0.3, 0.0]))
    small = read(-30, -32)
    torch.testing.assert_close(small.skeleton.offsets[1], torch.tensor([0.0, -0.31, 0.0]))
    assert small.provenance.notes[0] == "position channels of 'Knee' (up to 0.0100 m) made constant"
    with pytest.raises(MotionFileError, match=r"'Knee' is moved by its own position channels by 0\.150 m"):
        read(-30, -60)


def test_a_carrying_root_is_folded_into_its_child(tmp_path: Path) -> None:
    """Bandai-Namco and Unity put a still joint above the hips; these keep their place in the world."""
    text = """HIERARCHY
ROOT carrier
{
OFFSET 0 0 0
CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
JOINT Hips
{
OFFSET 0 7 -452
CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
End Site
{
OFFSET 0 100 0
}
}
}
MOTION
Frames: 2
Frame Time: 0.05
0 0 0 0 0 90 0 80 0 0 0 0
0 0 0 0 0 90 0 80 50 0 0 0
"""
    motion = read_bvh(write(tmp_path, text), unit="cm")
    assert motion.skeleton.names == ("Hips", "Hips_end")
    assert motion.provenance.notes[0] == "root 'carrier' folded into 'Hips'"
    torch.testing.assert_close(motion.root, torch.tensor([[0, 0.8, 0], [0.5, 0.8, 0]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(motion.rotations[:, 0], rot.about("Y", torch.full((2,), math.pi / 2)))


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, make_io.BVH)
    for options, message in (
        ({"unit": "furlong"}, "unit 'furlong' is unknown; use one of m, dm, cm, mm, inch"),
        ({"unit": -1.0}, "unit -1.0 is no positive number"),
        ({"up": "x"}, "up axis 'x' is unknown"),
        ({"fps": 0.0}, "fps is 0.0"),
        ({"size": 3}, "option 'size' does not belong to this format; the options are unit, fps, up, ends"),
    ):
        with pytest.raises(MotionFileError, match=re.escape(message)):
            load(path, **options)
    for options in ({"unit": "ell"}, {"order": "XYZ"}):
        with pytest.raises(MotionFileError, match="use one of"):
            save(make_io.motion(), tmp_path / "b.bvh", **options)


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data/formats is not there")
@pytest.mark.parametrize("path", sorted(SHARED.rglob("*.bvh")), ids=lambda path: path.name)
def test_other_tools_files_load(path: Path) -> None:
    """Every one loads; those of whole bodies stand, 1.3 to 2 m tall, whatever their unit and axes."""
    motion = load(path)
    assert float(motion.rotations.norm(dim=-1).sub(1).abs().max()) < 1e-5
    if "fixtures" not in path.parts:
        heights = motion.positions[..., 1].amax(1) - motion.positions[..., 1].amin(1)
        assert 1.2 < float(heights.median()) < 2.0


@settings(deadline=None, derandomize=True, max_examples=150)
@given(data=st.data())
def test_any_damage_gives_a_motion_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Cut, repeat, swap and scribble: a Motion or a MotionFileError, never anything else."""
    path = tmp_path_factory.mktemp("fuzz") / "a.bvh"
    path.write_bytes(make_io.damage(make_io.BVH, data.draw))
    try:
        outcome: Motion | MotionFileError = read_bvh(path)
    except MotionFileError as error:
        outcome = error
    assert isinstance(outcome, Motion) or str(path) in str(outcome)

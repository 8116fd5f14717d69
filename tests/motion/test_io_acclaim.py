"""ASF/AMC: by hand, on CMU's own files, errors by message."""

import tarfile
from pathlib import Path

import make_io
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.errors import MotionFileError
from motionloom.motion.io import load
from motionloom.motion.io.acclaim import parse_asf
from motionloom.motion.motion import Motion

INCH = 0.0254
CMU = Path("../shared/data/cmu/cmu.tar.xz")


def write(tmp_path: Path, asf: str = make_io.ASF, amc: str = make_io.AMC) -> Path:
    (tmp_path / "01.asf").write_text(asf)
    (tmp_path / "01_02.amc").write_text(amc)
    return tmp_path / "01_02.amc"


def test_a_leg_by_hand(tmp_path: Path) -> None:
    """A hanging leg of 30 inches; in frame 2 the body has turned left by 90 degrees, so +Z is +X.

    The shin's axis frame is turned by 90 degrees about Y: its rx is a turn about the body's -Z. That swings
    the shin from down to the body's -X, which the turned body has at +Z.
    """
    motion = load(write(tmp_path))
    assert motion.skeleton.names == ("root", "thigh", "shin", "shin_end")
    assert motion.fps == 120.0
    want = torch.tensor(
        [
            [[0, 30, 0], [0, 30, 0], [0, 10, 0], [0, 0, 0]],
            [[0, 30, 10], [0, 30, 10], [0, 10, 10], [0, 10, 20]],
        ]
    )
    torch.testing.assert_close(motion.positions, want * INCH, atol=1e-5, rtol=0)


def test_units_angles_limits_and_position(tmp_path: Path) -> None:
    asf = make_io.ASF.replace("length 1.0", "length 0.45").replace("position 0 0 0", "position 1 2 3")
    motion = load(write(tmp_path, asf))
    assert float(motion.skeleton.offsets[2].norm()) == pytest.approx(20 * INCH / 0.45, rel=1e-5)
    assert motion.root[0].tolist() == pytest.approx([value * INCH / 0.45 for value in (1, 32, 3)], rel=1e-5)
    radians = make_io.AMC.replace(":DEGREES", ":RADIANS").replace("90", "1.5707963")
    turned = load(write(tmp_path, amc=radians))
    torch.testing.assert_close(turned.positions, load(write(tmp_path)).positions, atol=1e-5, rtol=0)
    assert load(write(tmp_path), unit="cm", fps=60.0).fps == 60.0
    assert parse_asf(tmp_path / "01.asf").bones["thigh"].limits[0] == pytest.approx((-2.7925, 0.3491), abs=1e-4)


def test_order_of_turns(tmp_path: Path) -> None:
    """``dof rx ry rz`` turns about X first: +90 about X takes -Y to -Z, then +90 about Y takes -Z to -X."""
    motion = load(write(tmp_path, amc=make_io.AMC.replace("thigh 0 0 0", "thigh 90 90 0")))
    knee = motion.positions[0, 2] - motion.positions[0, 1]
    torch.testing.assert_close(knee, torch.tensor([-20.0, 0.0, 0.0]) * INCH, atol=1e-5, rtol=0)


@pytest.mark.skipif(not CMU.is_file(), reason="../shared/data/cmu is not there")
def test_a_real_walk(tmp_path: Path) -> None:
    """CMU 39_01: a person of human size walks ahead, upright, feet on the floor, and a foot always stands."""
    wanted = {"39.asf", "39_01.amc"}
    with tarfile.open(CMU, "r|xz") as archive:
        for member in archive:
            if Path(member.name).name in wanted and (file := archive.extractfile(member)) is not None:
                (tmp_path / Path(member.name).name).write_bytes(file.read())
            if len(list(tmp_path.iterdir())) == 2:
                break
    motion = load(tmp_path / "39_01.amc")
    names, positions = motion.skeleton.names, motion.positions
    lowest = positions[..., 1].amin(1)
    height = positions[:, names.index("head_end"), 1] - lowest
    assert float(lowest.min()) > 0.0
    assert float(lowest.max()) < 0.08
    assert 1.4 < float(height.min()) < float(height.max()) < 1.7
    across = positions[:, names.index("lfemur")] - positions[:, names.index("rfemur")]
    ahead = torch.linalg.cross(across, torch.tensor([0.0, 1.0, 0.0]).expand_as(across))
    velocity = (positions[1:] - positions[:-1]) * motion.fps
    speed = (velocity[:, 0] * ahead[1:] / ahead[1:].norm(dim=-1, keepdim=True)).sum(-1)
    assert 1.3 < float(speed.mean()) < 1.7
    feet = [names.index(name) for name in ("ltoes", "rtoes", "lfoot", "rfoot")]
    assert float(velocity[:, feet].norm(dim=-1).amin(1).median()) < 0.2


def asf(old: str, new: str) -> dict[str, str]:
    assert old in make_io.ASF
    return {"asf": make_io.ASF.replace(old, new, 1)}


def amc(old: str, new: str) -> dict[str, str]:
    assert old in make_io.AMC
    return {"amc": make_io.AMC.replace(old, new, 1)}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (asf("name shin", "name thigh"), r"01\.asf:31: bone 'thigh' has no name or one that is taken"),
        (asf("thigh shin", "thigh shin shin"), r"01\.asf:35: bone 'shin' has two parents"),
        (asf("thigh shin", "thigh root"), r":35: there is no bone 'root' that could hang on 'thigh'"),
        (asf("root thigh", "root foot"), r":34: there is no bone 'foot'"),
        (asf("    thigh shin\n", ""), r"bone 'shin' does not hang on the root"),
        (
            asf("    root thigh\n    thigh shin\n", "    shin thigh\n    thigh shin\n"),
            r":root, :bonedata or :hier",
        ),
        (asf("length 20", "length nan"), r"01\.asf:17: length needs 1 finite numbers; got 'nan'"),
        (asf("length 1.0", "length 0"), r":5: length must be positive"),
        (asf("dof rx\n", "dof rx tx\n"), r":30: bone 'shin' has translations"),
        (asf("dof rx\n", "dof rx rx\n"), r":30: unknown or repeated degree of freedom"),
        (asf("0 0 0 XYZ", "0 0 0 XYW"), r":18: an axis order such as XYZ is needed"),
        (
            asf("orientation 0 0 0", "orientation 0 9 0"),
            r":11: a root orientation other than 0 0 0 is not read",
        ),
        ({"asf": make_io.ASF.partition("    dof rx\n")[0]}, r"the file is cut off in bone 'shin'"),
        ({"asf": "hello"}, r"this is no whole ASF file"),
        (amc("shin 90", "shin 90 1"), r"01_02\.amc:11: shin needs 1 finite numbers; got '90 1'"),
        (amc("shin 90", "shin nan"), r":11: shin needs 1 finite numbers; got 'nan'"),
        (amc("shin 90", "calf 90"), r":11: 'calf' is no moving bone of the \.asf"),
        (amc("shin 90", "thigh 0 0 0"), r":11: 'thigh' comes twice in a frame"),
        (amc("shin 90\n", ""), r":10: frame 2 has no values for 'shin'; the file is cut off"),
        (amc("shin 0\n2", "2"), r":7: frame 1 has no values for 'shin'"),
        (amc("\n2\n", "\n3\n"), r":8: frame 3 comes after 1 frames from 1"),
        (amc("1\nroot", "root"), r":4: 'root' comes twice in a frame, or before the first frame number"),
        ({"amc": ":DEGREES\n"}, r"there is no frame"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(MotionFileError, match=message) as caught:
        load(write(tmp_path, **files))
    assert "\n" not in str(caught.value)


def test_which_asf(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "01.asf").rename(tmp_path / "other.asf")
    assert len(load(path)) == 2
    (tmp_path / "more.asf").write_text(make_io.ASF)
    with pytest.raises(
        MotionFileError,
        match=r"2 \.asf files lie beside it .more.asf, other.asf. and none has its name; name it with --asf",
    ):
        load(path)
    assert len(load(path, asf=tmp_path / "more.asf")) == 2
    with pytest.raises(MotionFileError, match=r"nowhere\.asf: cannot be read"):
        load(path, asf=tmp_path / "nowhere.asf")


@settings(deadline=None, derandomize=True, max_examples=80)
@given(data=st.data())
def test_any_damage_gives_a_motion_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    path = write(folder)
    (folder / "01.asf").write_bytes(make_io.damage(make_io.ASF, data.draw))
    if data.draw(st.booleans()):
        path.write_bytes(make_io.damage(make_io.AMC, data.draw))
    try:
        outcome: Motion | MotionFileError = load(path)
    except MotionFileError as error:
        outcome = error
    assert isinstance(outcome, Motion) or str(folder) in str(outcome)

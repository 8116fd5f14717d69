"""load and save themselves: choice of format, saving all or nothing, arrays that are never unpickled."""

import io
import os
import pickle
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import make_io
import numpy as np
import pytest

from motionloom.errors import MotionFileError
from motionloom.motion.budget import Budget
from motionloom.motion.files import atomic_path, parse_npy, read_arrays
from motionloom.motion.io import READERS, WRITERS, load, save


def npy(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def test_unknown_kinds_name_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(MotionFileError, match=r"clip\.xyz: motions of this kind are not read; known are \.amc, \.bvh"):
        load(tmp_path / "clip.xyz")
    with pytest.raises(MotionFileError, match=r"clip\.xyz: motions of this kind are not written; known are .*\.glb"):
        save(make_io.motion(), tmp_path / "clip.xyz")
    with pytest.raises(MotionFileError, match=r"an \.asf holds only a skeleton"):
        load(tmp_path / "clip.asf")


@pytest.mark.parametrize("suffix", sorted(READERS))
def test_missing_files_directories_and_empty_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip{suffix}"
    with pytest.raises(MotionFileError, match=r"clip.*: cannot be read \(No such file"):
        load(path)
    path.touch()
    (tmp_path / "clip.asf").write_text(make_io.ASF)
    with pytest.raises(MotionFileError, match="is empty"):
        load(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(MotionFileError, match="is a directory"):
        load(path)


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_the_same_motion_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        save(make_io.canonical(), tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_a_failed_save_leaves_the_old_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text("old")
    with pytest.raises(MotionFileError):
        save(make_io.motion(), path, nonsense=1)
    with pytest.raises(MotionFileError, match=r"the directory .* does not exist; make it first"):
        save(make_io.motion(), tmp_path / "no" / path.name)
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(MotionFileError, match="is a directory"):
        save(make_io.motion(), tmp_path / f"folder{suffix}")
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_atomic_path_keeps_the_old_file_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    with atomic_path(path) as temporary:
        assert temporary.suffix == ".txt"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_picture_writers_are_announced() -> None:
    """They are found by entry point, so only the installed package has them."""
    announced = {entry.name: entry.value for entry in entry_points(group="motionloom.writers")}
    if not announced:
        pytest.skip("motionloom is not installed here (run from its source), so nothing is announced")
    assert {".png", ".gif", ".mp4"} <= announced.keys()


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "u1", "?", "U5", "S3", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_as_numpy_reads_them(dtype: str, order: str) -> None:
    array = np.asarray(np.arange(24).reshape(2, 3, 4).astype(dtype), order="C" if order == "C" else "F")
    assert np.array_equal(parse_npy(npy(array), "a"), array)
    assert np.array_equal(parse_npy(npy(array[0, 0, 0]), "a"), array[0, 0, 0])


def test_odd_arrays_are_refused() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, ("bomb",)

    good = npy(np.zeros((4, 3), dtype="f4"))
    cases = [
        (b"", "magic bytes"),
        (pickle.dumps([1]), "magic bytes"),
        (npy(np.array([Bomb()], dtype=object), allow_pickle=True), "pickled objects, which are never run"),
        (npy(np.zeros(2, dtype=[("a", "f4")])), "header of unknown form"),
        (npy(np.zeros(2, dtype="M8[s]")), "header of unknown form"),
        (npy(np.zeros(2, dtype="c8")), "'<c8' are not read, only numbers or text"),
        (good[:-1], r"47 bytes where shape \(4, 3\) needs 48; the file is cut off"),
        (good + b"x", "49 bytes where"),
        (good.replace(b"(4, 3)", b"(9999999999999, 3)"), "a size that no motion has"),
        (good.replace(b"(4, 3)", b"(__i)"), "unknown form"),
    ]
    for raw, message in cases:
        with pytest.raises(MotionFileError, match=message):
            parse_npy(raw, "a.npy")
    assert not Path("bomb").exists()


def test_archives_are_checked_before_they_are_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, big=np.zeros(1_000_000), small=np.ones(3))
    found, names = read_arrays(path, {"small"}, budget=Budget(bytes=100_000))
    assert names == {"big", "small"}
    assert np.array_equal(found["small"], np.ones(3))
    with pytest.raises(MotionFileError, match="8000000 bytes; up to 100000 are read"):
        read_arrays(path, {"big"}, budget=Budget(bytes=100_000))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("small.npy", npy(np.ones(3)))
    with pytest.raises(MotionFileError, match="method other than deflate"):
        read_arrays(path, {"small"})
    path.write_bytes(b"PK\3\4 no zip at all")
    with pytest.raises(MotionFileError, match="no readable npz archive"):
        read_arrays(path, {"small"})

"""Values that LMDB and pyarrow 10 themselves wrote, read without either; ``make_ted.py`` made the file."""

import lzma
from pathlib import Path

import numpy as np
import pytest

from motionloom.data.formats.arrow import read_serialized
from motionloom.data.formats.lmdb import LmdbFile

PARITY = Path(__file__).parent


@pytest.fixture
def database(tmp_path):
    (tmp_path / "data.mdb").write_bytes(lzma.decompress((PARITY / "ted_gesture.mdb.xz").read_bytes()))
    return LmdbFile(tmp_path / "data.mdb")


def test_keys_come_in_order_from_branches_leaves_and_overflow_pages(database):
    keys = list(database.values)
    assert keys == [b"0000000000", b"0000000001", *(f"x{index:04}".encode() for index in range(300))]
    assert all(bytes(database.values[f"x{index:04}".encode()]) == str(index).encode() * 5 for index in range(300))


def test_values_are_those_that_pyarrow_packed(database):
    first, second = (read_serialized(database.values[key], "here") for key in (b"0000000000", b"0000000001"))
    assert second == {"vid": "abcdefghij1", "clips": [], "framerate": 25.0}
    assert (first["vid"], first["framerate"], [len(clip["skeletons_3d"]) for clip in first["clips"]]) == (
        "abcdefghij0", 30.0, [34, 40],
    )  # fmt: skip
    clip = first["clips"][1]
    assert clip["words"] == [["hello", 9.9, 10.4], ["", 10.4, 10.5], ["wörld", 10.5, 11.0]]
    assert (clip["start_frame_no"], clip["end_frame_no"], clip["start_time"]) == (300, 380, 10.0)
    assert clip["skeletons"] == [[1, 2.5] * 12] * 40
    wanted = np.sin(np.arange(40 * 30, dtype=np.float64) / 7).astype(np.float32).reshape(40, 10, 3)
    np.testing.assert_array_equal(np.stack(clip["skeletons_3d"]), wanted)
    np.testing.assert_array_equal(clip["audio_raw"], np.linspace(-1, 1, 64).astype(np.float16))
    assert clip["audio_feat"].shape == (128, 8)


def test_without_arrays_the_rest_is_the_same(database):
    first = read_serialized(database.values[b"0000000000"], "here", arrays=False)
    assert first["clips"][0]["skeletons_3d"] == [None] * 34
    assert first["clips"][0]["audio_raw"] is None
    assert first["clips"][0]["words"][2] == ["wörld", 1.5, 2.0]

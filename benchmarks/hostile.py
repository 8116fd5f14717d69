"""Hostile files, made on the spot: small ones that promise much, large ones of nothing, and pickles that run away.

Each was found by attacking the readers; what they do is described where they are made.
"""

import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

_BVH = """HIERARCHY
ROOT Hips
{
OFFSET 0 0 0
CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
JOINT Knee
{
OFFSET 0 -40 0
CHANNELS 3 Zrotation Xrotation Yrotation
End Site
{
OFFSET 0 -40 0
}
}
}
MOTION
Frames: 2
Frame Time: %s
0 80 0 0 0 0 0 0 0
0 80 10 0 0 90 0 90 0
"""


def read_motion(path: Path) -> Any:
    """Read a motion file as a command does, look at it, and bring it to 30 frames a second."""
    from motionloom.app.inspect import facts
    from motionloom.motion.io import load

    motion = load(path)
    if len(motion) <= 1000:
        facts(motion)
    return motion.at_fps(30.0)


def read_keypoints(path: Path) -> Any:
    """Read keypoints and what an engine sees of them."""
    from motionloom.conditions.keypoints import keypoint_features, load_keypoints

    keypoints = load_keypoints(path, None if b'"fps"' in path.read_bytes()[:4096] else 20.0)
    return keypoint_features(keypoints, 20.0)


def read_sound(path: Path) -> Any:
    """Read a sound file as an engine hears it."""
    from motionloom.conditions.audio import load_audio

    return load_audio(path)


def read_pickled(path: Path) -> Any:
    """Read a pickle of a dataset and print it."""
    from motionloom.data.formats.pickle import read_pickle

    return repr(read_pickle(path))[:100]


def read_matlab(path: Path) -> Any:
    """Read a variable of a MATLAB file."""
    from motionloom.data.formats.mat import read_mat

    return read_mat(path, ("x",))


def read_lmdb(path: Path) -> Any:
    """Read the keys of an LMDB database, and the values packed by Arrow."""
    from motionloom.data.formats.arrow import read_serialized
    from motionloom.data.formats.lmdb import LmdbFile

    return [read_serialized(value, str(path)) for value in list(LmdbFile(path).values.values())[:20]]


def read_map(path: Path) -> Any:
    """Read a joint map."""
    from motionloom.motion.joint_maps import read_map as read

    return read(path)


READERS: dict[str, Callable[[Path], Any]] = {
    "motion": read_motion,
    "keypoints": read_keypoints,
    "sound": read_sound,
    "pickle": read_pickled,
    "mat": read_matlab,
    "lmdb": read_lmdb,
    "map": read_map,
}


def _npy(array: np.ndarray) -> bytes:
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()


def _npz(**arrays: Any) -> bytes:
    file = BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _declared(descr: str, shape: str, body: bytes = b"") -> bytes:
    """An ``.npy`` whose header says anything."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + body


def _own(rotations: np.ndarray, **more: Any) -> bytes:
    joints = rotations.shape[1]
    provenance = {"source": "", "licence": "", "text": "", "seed": None, "engine": "", "notes": []}
    arrays = {
        "motionloom_format": np.array(1),
        "names": np.array([f"j{i}" for i in range(joints)]),
        "parents": np.array([-1, *range(joints - 1)]),
        "offsets": np.ones((joints, 3), np.float32),
        "rotations": rotations,
        "root": np.zeros((len(rotations), 3), np.float32),
        "fps": np.array(20.0),
        "provenance": np.array(json.dumps(provenance)),
    } | more
    return _npz(**arrays)


def _zeros(frames: int, kind: str) -> bytes:
    return _npz(poses=np.zeros((frames, 156), kind), trans=np.zeros((frames, 3), kind), mocap_framerate=np.array(120))


def _element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def _matrix(name: bytes, dims: tuple[int, ...], values: bytes, kind: int = 6) -> bytes:
    head = _element(6, struct.pack("<II", kind, 0)) + _element(5, struct.pack(f"<{len(dims)}i", *dims))
    return _element(14, head + _element(1, name) + values)


def _packed(data: bytes) -> bytes:
    raw = zlib.compress(data, 9)
    return struct.pack("<II", 15, len(raw)) + raw


def _sound(path: Path, rate: int, channels: int, seconds: int) -> None:
    import soundfile

    noise = (0.1 * np.random.default_rng(0).standard_normal((rate, channels))).astype(np.float32)
    with soundfile.SoundFile(path, "w", rate, channels) as file:
        for _ in range(seconds):
            file.write(noise)


_MAT = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
_POINTS = [[float(64 + i), float(128 + 3 * i), 0.9] for i in range(17)]


def _pickles() -> dict[str, bytes]:
    twice = b"".join(b"2\x86" for _ in range(33))
    return {
        # Tuples of the same tuple twice: their hash and their text take 2^33 steps.
        "hash_bomb": b"\x80\x04})" + twice + b"K\x01s.",
        "set_hash_bomb": b"\x80\x04\x8f()" + twice + b"\x90.",
        "repr_bomb": b"\x80\x04]" + twice + b".",
        # A state with fewer objects than its shape says: numpy then takes what lies behind for addresses.
        "short_object_array": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01J\x00\x00\x00\x01\x85cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R\x89]tb.",
        "empty_lists": b"\x80\x04](" + b"]" * (8 << 20) + b"e.",
        "deep": b"\x80\x04" + b"]" * 2_000_000 + b"a" * 1_999_999 + b".",
        "itself": b"\x80\x04]2a.",
        "text_numbers": b"\x80\x04(" + b"I1\n" * 4_000_000 + b"l.",
        "long_number": b"\x80\x02\x8b" + struct.pack("<I", 1 << 28) + b"\xff" * 1000 + b".",
        "code": pickle.dumps(print),
    }


def _matlab() -> dict[str, bytes]:
    cells = b"".join(_matrix(b"", (1, 1), _element(9, b"\0" * 8)) for _ in range(60_000))
    nest = _matrix(b"", (1, 1), _element(9, b"\0" * 8))
    for depth in range(40):
        nest = _matrix(b"x" if depth == 39 else b"", (1, 1), nest, 1)
    return {
        "zlib_bomb": _MAT + _packed(struct.pack("<II", 14, (1 << 31) - 8) + b"\0" * (200 << 20)),
        "wanted_bomb": _MAT + _packed(_matrix(b"x", (1, 30 << 20), _element(9, b"\0" * (240 << 20)))),
        "cells": _MAT + _packed(_matrix(b"x", (1, 60_000), cells, 1)),
        "nested": _MAT + _packed(nest),
        "small_elements": _MAT + struct.pack("<II", 9, 0) * 3_000_000,
    }


def _archives() -> dict[str, bytes]:
    return {
        "amass_half.npz": _zeros(500_000, "f2"),
        "amass_double.npz": _zeros(400_000, "f8"),
        "amass_allowed.npz": _zeros(100_000, "f4"),
        "own_bytes.npz": _own(np.zeros((2_000_000, 64, 4), np.int8)),
        "own_allowed.npz": _own(np.tile(np.array([1, 0, 0, 0], np.float32), (120_000, 60, 1))),
        "names.npz": _own(np.zeros((2, 2, 4)), names=np.array(["a" * 100_000_000, "b"])),
        "fps_large.npz": _own(np.tile([1.0, 0, 0, 0], (3, 2, 1)), fps=np.array(1e300)),
        "fps_small.npz": _own(np.tile([1.0, 0, 0, 0], (3, 2, 1)), fps=np.array(5e-324)),
        "fps_slow.npz": _own(np.tile([1.0, 0, 0, 0], (3, 2, 1)), fps=np.array(1e-6)),
        "pickled.npz": _npz(poses=np.array([{}], dtype=object), trans=np.zeros((1, 3))),
        "zero_by_huge.npy": _declared("<f8", "0, 99999999999999999999"),
        "zero_by_2_63.npy": _declared("<f8", f"0, {2**62}"),
        "promised.npy": _declared("<f8", "30000000000000,"),
        "bool_rates.npz": _own(np.tile([1.0, 0, 0, 0], (3, 2, 1)), fps=np.array([True, False])),
    }


def _texts() -> dict[str, str]:
    columns = ["time", *(f"j_{i}" for i in range(2_000_000))]
    frame = json.dumps([_POINTS])
    people = json.dumps([[_POINTS] * 100])
    bones = "\n".join(f"begin\nname b{i}\ndirection 0 1 0\nlength 1\naxis 0 0 0 XYZ\ndof rx\nend" for i in range(500))
    tree = "root b0\n" + "\n".join(f"b{i} b{i + 1}" for i in range(499))
    head = ":units\nlength 1\nangle deg\n:root\norder TX TY TZ RX RY RZ\naxis XYZ\nposition 0 0 0\norientation 0 0 0\n"
    return {
        "years.bvh": _BVH % "1e5",
        "hours.bvh": _BVH % "10000",
        "tiny_step.bvh": _BVH % "0.0000011",
        "promised.bvh": (_BVH % "0.03").replace("Frames: 2", "Frames: 1999999"),
        "long_line.bvh": _BVH.replace("JOINT Knee", "JOINT " + "x" * 1_000_000) % "0.03",
        "many_rows.bvh": (_BVH % "0.01").replace("Frames: 2", "Frames: 500002") + "0 0 0 0 0 0 0 0 0\n" * 500_000,
        "columns_twice.csv": ",".join(["z"] * 200_000) + "\n1\n",
        "columns.csv": ",".join(columns) + "\n1,2\n",
        "rows.csv": "time\n" + "0\n" * 5_000_000,
        "fps_digits.json": f'{{"fps": 1{"0" * 400}, "frames": [{frame}]}}',
        "width_digits.json": f'{{"fps": 9, "width": 1{"0" * 400}, "height": 2, "frames": [{frame}]}}',
        "empty_lists.json": "[" + "[]," * 7_000_000 + "[]]",
        "slow.json": f'{{"fps": 1e-7, "frames": [{frame}, {frame}]}}',
        "people.json": '{"fps": 20, "frames": [' + ",".join([people[1:-1]] * 400) + "]}",
        "deep.json": "[" * 500_000,
        "tree.asf": f"{head}:bonedata\n{bones}\n:hierarchy\nbegin\n{tree}\nend\n",
        "limits.asf": f"{head}:bonedata\nbegin\nname a\ndirection 0 1 0\nlength 1\naxis 0 0 0 XYZ\ndof rx\nlimits "
        + "(0 1)\n" * 400_000
        + "end\n:hierarchy\nbegin\nroot a\nend\n",
        "deep.toml": "title = " + "[" * 200_000,
    }


def write_attacks(folder: Path) -> list[tuple[str, str, Path]]:
    """Write every attack; returns its name, the reader it is meant for, and the file."""
    made: list[tuple[str, str, Path]] = []

    def add(reader: str, name: str, raw: bytes) -> Path:
        path = folder / f"{reader}-{name}"
        path.write_bytes(raw)
        made.append((f"{reader}: {name}", reader, path))
        return path

    for name, raw in _pickles().items():
        add("pickle", f"{name}.pkl", raw)
    for name, raw in _matlab().items():
        add("mat", f"{name}.mat", raw)
    for name, raw in _archives().items():
        add("motion", name, raw)
    for name, text in _texts().items():
        kind = {"json": "keypoints", "toml": "map"}.get(name.rpartition(".")[2], "motion")
        path = add(kind, name, text.encode())
        if path.suffix == ".asf":
            amc = path.with_suffix(".amc")
            amc.write_text(":DEGREES\n1\nroot 0 0 0 0 0 0\n" + "".join(f"b{i} 0\n" for i in range(500)))
            made[-1] = (made[-1][0], "motion", amc)
    for name, rate, channels, seconds in (
        ("rate_192k.flac", 192_000, 1, 600),
        ("channels_8.ogg", 48_000, 8, 600),
        ("prime_rate.wav", 31_991, 1, 600),
        ("ten_minutes.wav", 22_050, 1, 600),
    ):
        path = folder / f"sound-{name}"
        _sound(path, rate, channels, seconds)
        made.append((f"sound: {name}", "sound", path))
    lying = BytesIO()
    with zipfile.ZipFile(lying, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("poses.npy", _declared("<f4", "1000000000, 156", b"\0" * 1000))
        archive.writestr("trans.npy", _npy(np.zeros((2, 3))))
    add("motion", "header_lies.npz", lying.getvalue())
    return made

"""Whole files of every kind that readers know, small, to be damaged."""

import json
import pickle
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import torch

from benchmarks.hostile import READERS
from motionloom.motion import io
from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL

_ASF = """:version 1.10
:units
length 0.45
angle deg
:root
order TX TY TZ RX RY RZ
axis XYZ
position 0 0 0
orientation 0 0 0
:bonedata
begin
name thigh
direction 0 -1 0
length 20
axis 0 0 10 XYZ
dof rx ry rz
limits (-160 20)
       (-70 70)
       (-60 70)
end
begin
name shin
direction 0 -1 0
length 10
axis 0 90 0 XYZ
dof rx
end
:hierarchy
begin
root thigh
thigh shin
end
"""
_AMC = "".join(f"{n}\nroot 0 30 {n} 0 {n} 0\nthigh 1 2 {n}\nshin {n}\n" for n in range(1, 5))


def _walk() -> Motion:
    frames = 6
    phase = 0.4 * torch.arange(frames)[:, None, None] + torch.arange(22)[:, None] + torch.arange(3)
    root = torch.tensor([0.0, 0.93, 0.0]) + torch.arange(frames)[:, None] * torch.tensor([0.0, 0.0, 0.05])
    return Motion(CANONICAL, rot.from_axis_angle(0.2 * phase.sin()), root, 20.0)


def _keypoints() -> dict[str, object]:
    body = np.random.default_rng(0).uniform(100, 400, (17, 2)).round(1)
    flat = [value for x, y in body.tolist() for value in (x, y, 0.9)]
    frame = [[x, y, 0.9] for x, y in body.tolist()]
    table = [{"x": x / 500, "y": y / 500, "z": 0.1, "visibility": 0.9} for x, y in np.resize(body, (33, 2)).tolist()]
    return {
        "frames": {"fps": 20, "width": 640, "height": 480, "frames": [[frame], [], None, [frame, frame]]},
        "coco": [{"image_id": f"{n}.jpg", "keypoints": flat, "score": 2.9, "idx": 1} for n in (0, 1, 3)],
        "mmpose": {"instance_info": [
            {"frame_id": n, "instances": [{"keypoints": body.tolist(), "keypoint_scores": [0.9] * 17}]} for n in (1, 2)
        ]},
        "openpose": {"people": [{"person_id": [-1], "pose_keypoints_2d": flat}]},
        "mediapipe": {"fps": 30, "width": 640, "height": 480, "frames": [table, table]},
    }  # fmt: skip


def _matlab() -> bytes:
    def element(kind: int, data: bytes) -> bytes:
        return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    def matrix(name: bytes, dims: tuple[int, ...], values: bytes, kind: int = 6) -> bytes:
        head = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(dims)}i", *dims))
        return element(14, head + element(1, name) + values)

    numbers = matrix(b"x", (2, 3), element(9, np.arange(6.0).tobytes()))
    cells = matrix(b"x", (1, 2), numbers + matrix(b"", (1, 1), element(9, b"\0" * 8)), 1)
    raw = zlib.compress(cells)
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    return head + matrix(b"y", (1, 1), element(9, b"\0" * 8)) + numbers + struct.pack("<II", 15, len(raw)) + raw


def _sound(form: str) -> bytes:
    import soundfile

    file = BytesIO()
    times = np.arange(16000) / 16000
    soundfile.write(file, (0.3 * np.sin(2000 * times)).astype(np.float32), 16000, format=form)
    return file.getvalue()


def write_seeds(folder: Path) -> list[tuple[str, Path]]:
    """Write whole files; returns the reader of each and the file."""
    made: list[tuple[str, Path]] = []

    def add(reader: str, name: str, raw: bytes | str) -> None:
        path = folder / name
        path.write_bytes(raw.encode() if isinstance(raw, str) else raw)
        made.append((reader, path))

    motion = _walk()
    for name in ("own.bvh", "own.npz", "smpl.amass.npz", "joints.npy", "joints.csv", "own.glb", "own.fbx"):
        io.save(motion, folder / name)
        made.append(("motion", folder / name))
    from motionloom.motion.features.humanml3d import encode_features

    np.save(folder / "features.npy", encode_features(motion).numpy())
    made.append(("motion", folder / "features.npy"))
    (folder / "leg.asf").write_text(_ASF)
    add("motion", "leg.amc", _AMC)
    for name, data in _keypoints().items():
        add("keypoints", f"{name}.json", json.dumps(data))
    value = {"poses": [np.arange(6.0).reshape(2, 3)], "n": np.array([np.ones(2), None], dtype=object), "w": ("a", 2)}
    for protocol in (0, 2, 4, 5):
        add("pickle", f"protocol{protocol}.pkl", pickle.dumps(value, protocol=protocol))
    add("mat", "cells.mat", _matlab())
    from ted_files import serialized, write_lmdb  # pyright: ignore[reportMissingImports]

    value = {"vid": "a", "clips": [{"start": 0.5, "words": ["x", "y"], "poses": np.zeros((4, 3), np.float32)}]}
    write_lmdb(folder / "ted" / "data.mdb", {b"0001": serialized(value), b"0002": serialized([1, 2.5, b"z"])})
    made.append(("lmdb", folder / "ted" / "data.mdb"))
    for form in ("WAV", "FLAC", "OGG", "MP3"):
        add("sound", f"tone.{form.lower()}", _sound(form))
    names = "\n".join(f'{name} = ["{name}", "B{n}", 0.5]' for n, name in enumerate(CANONICAL.names))
    add("map", "map.toml", f'title = "mine"\nprefixes = ["a_"]\n[joints]\n{names}\n[axes]\nhead = "+Y +Z +X"\n')
    assert {reader for reader, _ in made} <= READERS.keys()
    return made

"""Reading glTF: interpolations, sparse and quantised accessors, places outside the file, and what is refused."""

import base64
import contextlib
import json
from pathlib import Path

import make
import numpy as np
import pytest
import rig_files
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.errors import MotionFileError
from motionloom.motion.io import load, save
from motionloom.motion.io.fbx_read import read_fbx_scene
from motionloom.motion.io.glb_read import read_scene
from motionloom.motion.retarget import retarget


def simple(**changes: object) -> tuple[dict, bytes]:
    """Two joints, one clip of a quarter turn in a second and a step of two metres."""
    times = np.array([0.0, 0.5, 1.0], "<f4")
    turns = np.array([[0, 0, 0, 1], [0, 0.3826834, 0, 0.9238795], [0, 0.7071068, 0, 0.7071068]], "<f4")
    moves = np.array([[0, 1, 0], [0, 1, 1], [0, 1, 2]], "<f4")
    data = times.tobytes() + turns.tobytes() + moves.tobytes()
    tree = {
        "asset": {"version": "2.0"},
        "nodes": [{"name": "a", "children": [1], "translation": [0, 1, 0]}, {"name": "b", "translation": [0, 1, 0]}],
        "skins": [{"joints": [0, 1]}],
        "buffers": [{"byteLength": len(data)}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": 12},
            {"buffer": 0, "byteOffset": 12, "byteLength": 48},
            {"buffer": 0, "byteOffset": 60, "byteLength": 36},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "SCALAR", "min": [0], "max": [1]},
            {"bufferView": 1, "componentType": 5126, "count": 3, "type": "VEC4"},
            {"bufferView": 2, "componentType": 5126, "count": 3, "type": "VEC3"},
        ],
        "animations": [
            {
                "name": "turn",
                "samplers": [{"input": 0, "output": 1}, {"input": 0, "output": 2}],
                "channels": [
                    {"sampler": 0, "target": {"node": 0, "path": "rotation"}},
                    {"sampler": 1, "target": {"node": 0, "path": "translation"}},
                ],
            }
        ],
    }
    tree.update(changes)
    return tree, data


def written(tmp_path: Path, tree: dict, data: bytes) -> Path:
    rig_files.save(tree, data, tmp_path / "clip.glb")
    return tmp_path / "clip.glb"


def test_linear_step_and_spline(tmp_path: Path) -> None:
    tree, data = simple()
    path = written(tmp_path, tree, data)
    motion = load(path, fps=4.0)
    assert (motion.fps, len(motion), motion.skeleton.names) == (4.0, 5, ("a", "b"))
    assert np.allclose(motion.root.numpy()[:, 2], [0, 0.5, 1, 1.5, 2], atol=1e-6)
    # Half a turn between two keys is on the sphere, not on the chord.
    half = 2 * np.arctan2(motion.rotations[1, 0, 2].item(), motion.rotations[1, 0, 0].item())
    assert half == pytest.approx(np.pi / 8, abs=1e-6)
    tree["animations"][0]["samplers"][1]["interpolation"] = "STEP"
    assert np.allclose(load(written(tmp_path, tree, data), fps=4.0).root.numpy()[:, 2], [0, 0, 1, 1, 2])
    tree["animations"][0]["samplers"][1] = {"input": 0, "output": 3, "interpolation": "CUBICSPLINE"}
    # In-tangent, value, out-tangent of each key; flat tangents make an ease.
    rows = np.zeros((9, 3), "<f4")
    rows[1::3] = np.frombuffer(data, "<f4")[15:].reshape(3, 3)
    tree["bufferViews"].append({"buffer": 0, "byteOffset": len(data), "byteLength": rows.nbytes})
    tree["accessors"].append({"bufferView": 3, "componentType": 5126, "count": 9, "type": "VEC3"})
    tree["buffers"][0]["byteLength"] = len(data) + rows.nbytes
    eased = load(written(tmp_path, tree, data + rows.tobytes()), fps=8.0).root.numpy()[:, 2]
    assert np.allclose(eased[:5], [0, 0.15625, 0.5, 0.84375, 1.0], atol=1e-6)


def test_the_rate_is_the_one_the_keys_lie_on(tmp_path: Path) -> None:
    tree, data = simple()
    assert load(written(tmp_path, tree, data)).fps == 30.0  # three poses, half a second apart
    for rate in (24.0, 30.0, 60.0, 29.97002997):
        motion = make.motion(20, fps=rate)
        save(motion, tmp_path / "own.glb")
        raw_tree, raw = rig_files.load_tree(tmp_path / "own.glb")
        raw_tree["animations"][0].pop("extras")
        rig_files.save(raw_tree, raw, tmp_path / "bare.glb")
        assert load(tmp_path / "bare.glb").fps == pytest.approx(rate, rel=1e-6)


def test_sparse_and_quantised_accessors(tmp_path: Path) -> None:
    tree, data = simple()
    extra = np.array([2], "<u2").tobytes() + b"\0\0" + np.array([[0, 1, 7]], "<f4").tobytes()
    tree["bufferViews"] += [
        {"buffer": 0, "byteOffset": len(data), "byteLength": 2},
        {"buffer": 0, "byteOffset": len(data) + 4, "byteLength": 12},
    ]
    tree["accessors"][2]["sparse"] = {
        "count": 1,
        "indices": {"bufferView": 3, "componentType": 5123},
        "values": {"bufferView": 4},
    }
    quantised = np.array([[0, 0, 0, 127], [0, 49, 0, 117], [0, 90, 0, 90]], "i1").tobytes()
    at = len(data) + len(extra)
    tree["bufferViews"].append({"buffer": 0, "byteOffset": at, "byteLength": 12})
    tree["accessors"][1] |= {"bufferView": 5, "componentType": 5120, "normalized": True}
    tree["buffers"][0]["byteLength"] = at + 12
    motion = load(written(tmp_path, tree, data + extra + quantised), fps=2.0)
    assert motion.root[2, 2] == pytest.approx(7.0)
    assert 2 * np.arctan2(*motion.rotations[2, 0, [2, 0]].tolist()) == pytest.approx(np.pi / 2, abs=0.01)


def test_buffers_beside_the_file_and_in_the_text(tmp_path: Path) -> None:
    tree, data = simple()
    tree["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
    (tmp_path / "clip.gltf").write_text(json.dumps(tree))
    assert len(load(tmp_path / "clip.gltf", fps=2.0)) == 3
    tree["buffers"][0]["uri"] = "the%20data.bin"
    (tmp_path / "the data.bin").write_bytes(data)
    (tmp_path / "clip.gltf").write_text(json.dumps(tree))
    assert len(load(tmp_path / "clip.gltf", fps=2.0)) == 3
    for uri in ("../up.bin", "/etc/passwd", "https://example.org/x.bin", "file:///x"):
        tree["buffers"][0]["uri"] = uri
        (tmp_path / "clip.gltf").write_text(json.dumps(tree))
        with pytest.raises(MotionFileError, match="only files in the folder beside"):
            load(tmp_path / "clip.gltf")


def test_matrices_of_nodes_and_names_that_come_twice(tmp_path: Path) -> None:
    tree, data = simple()
    tree["nodes"][1] = {"name": "a", "matrix": [0, 0, -2, 0, 0, 2, 0, 0, 2, 0, 0, 0, 0, 1, 0, 1]}
    scene = read_scene(written(tmp_path, tree, data))
    assert scene.names == ("a", "a_2")
    assert np.allclose(scene.scales[1], 2.0)
    assert np.allclose(scene.rotations[1], [np.sqrt(0.5), 0, np.sqrt(0.5), 0])


REFUSED = [
    ({"asset": {"version": "1.0"}}, "glTF version '1.0'; version 2.0 is read"),
    ({"nodes": []}, "the file has no nodes"),
    ({"nodes": [{"children": [1]}, {"children": [0]}]}, "is its own ancestor"),
    ({"nodes": [{"children": [1]}, {"children": [1]}]}, "node 1 is a child of both node 0 and node 1"),
    ({"nodes": [{"children": [9]}, {}]}, "a child of node 0 is 9; it must be one of the 2 nodes"),
    ({"nodes": [{"rotation": [0, 0, 0, 0]}, {}]}, "rotation of node 0 is no unit quaternion"),
    ({"nodes": [{"translation": [0, 1e30, 0]}, {}]}, "translation of node 0 must be 3 finite numbers"),
    ({"nodes": [{}] * 4097}, "4097 nodes; up to 4096 are read"),
    ({"skins": [{"joints": [5]}]}, "a joint of skin 0 is 5"),
    ({"animations": []}, "holds no animation, so it is no motion; give it as a character with --on"),
    ({"bufferViews": [{"buffer": 0, "byteLength": 9999}] * 3}, "leaves its buffer of 96 bytes"),
    ({"bufferViews": [{"buffer": 3, "byteLength": 12}] * 3}, "must be one of the 1 buffers"),
    ({"buffers": [{"byteLength": 500}]}, "buffer 0 has 96 of 500 bytes; the file is cut off"),
    ({"extensionsUsed": ["VRMC_vrm"], "extensions": {"VRMC_vrm": {}}}, "has no humanoid map"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_is_refused_names_the_place(tmp_path: Path, changes: dict, message: str) -> None:
    path = written(tmp_path, *simple(**changes))
    with pytest.raises(MotionFileError, match=message.replace("(", r"\(")) as refused:
        load(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("at", "change", "message"),
    [
        (1, {"count": 2}, "output of sampler 0 of animation 0 has 2 rows; 3 keys need 3"),
        (1, {"type": "VEC3"}, "is 'VEC3' of type 5126; VEC4 is needed"),
        (0, {"componentType": 9}, "is 'SCALAR' of type 9"),
        (0, {"count": 10**12}, "has count 1000000000000"),
        (0, {"bufferView": 7}, "must be one of the 3 bufferViews"),
        (0, {"byteOffset": 4}, "leaves its buffer"),
    ],
)
def test_accessors_that_lie(tmp_path: Path, at: int, change: dict, message: str) -> None:
    tree, data = simple()
    tree["accessors"][at] |= change
    with pytest.raises(MotionFileError, match=message):
        load(written(tmp_path, tree, data))


def test_nan_times_backwards_and_compression(tmp_path: Path) -> None:
    tree, data = simple()
    bad = bytearray(data)
    bad[60:64] = np.array([np.nan], "<f4").tobytes()
    with pytest.raises(MotionFileError, match=r"output of sampler 1 of animation 0 \(accessor 2\) holds NaN"):
        load(written(tmp_path, tree, bytes(bad)))
    bad = bytearray(data)
    bad[4:8] = np.array([2.0], "<f4").tobytes()
    with pytest.raises(MotionFileError, match="times of sampler 0 of animation 0 do not rise"):
        load(written(tmp_path, tree, bytes(bad)))
    tree["bufferViews"][1]["extensions"] = {"EXT_meshopt_compression": {}}
    with pytest.raises(MotionFileError, match="compressed by EXT_meshopt_compression, which is not read"):
        load(written(tmp_path, tree, data))


def test_clips_are_chosen_by_name(tmp_path: Path) -> None:
    tree, data = simple()
    tree["animations"].append({**tree["animations"][0], "name": "other"})
    path = written(tmp_path, tree, data)
    assert "there are also 'other'" in load(path).provenance.notes[0]
    assert load(path, clip="other").provenance.notes == ()
    with pytest.raises(MotionFileError, match="no animation is called 'x'; there are 'turn', 'other'"):
        load(path, clip="x")


@pytest.mark.parametrize("suffix", [".glb", ".vrma", ".fbx"])
def test_our_own_files_come_back(tmp_path: Path, suffix: str) -> None:
    motion = make.motion(30, fps=30.0)
    save(motion, tmp_path / f"clip{suffix}")
    back = retarget(load(tmp_path / f"clip{suffix}"))
    assert (back.fps, len(back)) == (30.0, 30)
    assert float((back.positions - motion.positions).norm(dim=-1).max()) < 2e-3


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_damaged_glb_and_fbx_are_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    suffix = data.draw(st.sampled_from([".glb", ".fbx", ".vrma"]))
    path = folder / f"clip{suffix}"
    save(make.motion(3), path)
    raw = bytearray(path.read_bytes())
    head = data.draw(st.sampled_from([200, 6000, len(raw)]))
    for _ in range(data.draw(st.integers(0, 8))):
        raw[data.draw(st.integers(0, min(head, len(raw)) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(1, len(raw)))]
    path.write_bytes(bytes(raw))
    with contextlib.suppress(MotionFileError):
        load(path)


def test_fbx_that_is_none(tmp_path: Path) -> None:
    for raw, message in (
        (b"; FBX 7.4.0 project file\n", "is an ASCII FBX; save it as binary FBX"),
        (b"PK\3\4", "is no binary FBX"),
        (b"Kaydara FBX Binary  \0\x1a\0" + (6100).to_bytes(4, "little"), "FBX version 6100; 7.0 to 7.7 are read"),
        (b"Kaydara FBX Binary  \0\x1a\0" + (7400).to_bytes(4, "little"), "the file is cut off"),
    ):
        (tmp_path / "clip.fbx").write_bytes(raw)
        with pytest.raises(MotionFileError, match=message):
            read_fbx_scene(tmp_path / "clip.fbx")

"""GLB, read back by a few lines of its own: the container, the skin, the animation."""

import json
import struct
from pathlib import Path
from typing import Any

import make_io
import numpy as np
import pytest
import torch

from motionloom.errors import MotionFileError
from motionloom.motion import rotations as rot
from motionloom.motion.io import save
from motionloom.motion.io.body import build_body
from motionloom.motion.kinematics import forward_kinematics
from motionloom.motion.loops import Turn, loop_note
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.skeleton import CANONICAL, Skeleton

TYPES = {5126: np.float32, 5121: np.uint8, 5123: np.uint16}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def read(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The JSON of a GLB and the arrays of its accessors."""
    raw = path.read_bytes()
    magic, version, total, length, kind = struct.unpack("<4sIII4s", raw[:20])
    assert (magic, version, total, kind) == (b"glTF", 2, len(raw), b"JSON")
    document = json.loads(raw[20 : 20 + length])
    size, kind = struct.unpack("<I4s", raw[20 + length : 28 + length])
    data = raw[28 + length :]
    assert (kind, size, size % 4) == (b"BIN\0", len(data), 0)
    arrays = []
    for accessor in document["accessors"]:
        view = document["bufferViews"][accessor["bufferView"]]
        chunk = data[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        array = np.frombuffer(chunk, TYPES[accessor["componentType"]]).reshape(-1, WIDTHS[accessor["type"]])
        assert len(array) == accessor["count"]
        assert view["byteOffset"] % 4 == 0
        arrays.append(array)
    return document, arrays


def played(document: dict[str, Any], arrays: list[np.ndarray]) -> tuple[torch.Tensor, np.ndarray]:
    """World matrices ``(T, N, 4, 4)`` of all nodes at the keys of a file's animation, and the times of the keys."""
    (animation,) = document["animations"]
    nodes = document["nodes"]
    tracks: dict[tuple[int, str], torch.Tensor] = {}
    times = np.zeros(0)
    for channel in animation["channels"]:
        sampler = animation["samplers"][channel["sampler"]]
        times = arrays[sampler["input"]][:, 0]
        target = channel["target"]
        tracks[target["node"], target["path"]] = torch.from_numpy(arrays[sampler["output"]].copy()).double()
    world = torch.eye(4, dtype=torch.float64).repeat(len(times), len(nodes), 1, 1)
    parents = {child: index for index, node in enumerate(nodes) for child in node.get("children", [])}
    for index in range(len(nodes)):
        still = torch.tensor(nodes[index].get("translation", [0.0, 0.0, 0.0])).double().expand(len(times), 3)
        turn = torch.tensor(nodes[index].get("rotation", [0.0, 0.0, 0.0, 1.0])).double().expand(len(times), 4)
        local = torch.eye(4, dtype=torch.float64).repeat(len(times), 1, 1)
        quaternion = tracks.get((index, "rotation"), turn)[:, [3, 0, 1, 2]]
        local[:, :3, :3] = rot.to_matrix(rot.normalize(quaternion))
        local[:, :3, 3] = tracks.get((index, "translation"), still)
        world[:, index] = world[:, parents[index]] @ local if index in parents else local
    return world, times


@pytest.mark.parametrize("motion", [make_io.motion(wild=True), make_io.canonical()], ids=["any", "canonical"])
@pytest.mark.parametrize("axes", ["bones", "world"])
@pytest.mark.parametrize("root_motion", ["armature", "joint"])
def test_nodes_and_skin_stand_where_the_joints_do(tmp_path: Path, motion: Motion, axes: str, root_motion: str) -> None:
    save(motion, tmp_path / "a.glb", axes=axes, root_motion=root_motion)
    document, arrays = read(tmp_path / "a.glb")
    world, _ = played(document, arrays)
    joints = len(motion.skeleton)
    places = world[:, 1 : joints + 1, :3, 3].float()
    torch.testing.assert_close(places, motion.positions, atol=1e-5, rtol=0)
    # The skin's matrices: a vertex in rest goes with its joint as the motion says.
    inverse = torch.from_numpy(arrays[document["skins"][0]["inverseBindMatrices"]].reshape(-1, 4, 4).copy()).double()
    skinned = world[:, 1 : joints + 1] @ inverse.transpose(1, 2)
    torch.testing.assert_close(skinned[..., :3, :3].float(), rot.to_matrix(motion.world_rotations), atol=2e-5, rtol=0)
    if axes == "bones":
        # A bone's own Y points at the joint where it ends: to the middle of the body, or to the only child.
        for joint, children in enumerate(motion.skeleton.children):
            if len(children) == 1:
                bone = rot.normalize(places[:, children[0]] - places[:, joint])
                torch.testing.assert_close(world[:, 1 + joint, :3, 1].float(), bone, atol=1e-4, rtol=0)


def test_viewers_look_for_the_body_where_it_is(tmp_path: Path) -> None:
    """three.js takes the bounds of the first pose and the mesh's own node: the node must go with the body."""
    motion = make_io.canonical(60)
    motion = motion.with_(root=motion.root + torch.linspace(0, 8, 60)[:, None] * torch.tensor([1.0, 0.0, 0.0]))
    save(motion, tmp_path / "a.glb")
    document, arrays = read(tmp_path / "a.glb")
    world, _ = played(document, arrays)
    mesh = next(index for index, node in enumerate(document["nodes"]) if "mesh" in node)
    way = world[:, mesh, :3, 3].float() - world[:1, mesh, :3, 3].float()
    torch.testing.assert_close(way, motion.root - motion.root[:1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("x", "angle"), [(0.19, 0.026), (1.5, 0.5)])
def test_a_loop_has_a_closing_key_and_goes_nowhere_or_says_where(tmp_path: Path, x: float, angle: float) -> None:
    motion = make_io.canonical(60, fps=20.0)
    motion = motion.with_(provenance=motion.provenance.noting(loop_note(Turn(x, 0.05, angle))))
    save(motion, tmp_path / "a.glb")
    document, arrays = read(tmp_path / "a.glb")
    world, times = played(document, arrays)
    extras = document["animations"][0]["extras"]
    assert len(times) == 61
    assert times[-1] == pytest.approx(3.0)
    assert extras["loop"] is True
    assert extras["frames"] == 60
    if x < 0.3:
        torch.testing.assert_close(world[-1], world[0], atol=1e-5, rtol=0)
        assert "loop_travel" not in extras
    else:
        assert extras["loop_travel"] == pytest.approx([x, 0.0, 0.05])
        assert extras["loop_turn"] == pytest.approx(angle)
        step = world[-1, 1, :3, 3] - world[0, 1, :3, 3]
        assert step.tolist() == pytest.approx([x, 0.0, 0.05], abs=1e-5)
        save(motion, tmp_path / "b.glb", travel="remove")
        world, _ = played(*read(tmp_path / "b.glb"))
        torch.testing.assert_close(world[-1], world[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("motion", [make_io.motion(wild=True), make_io.canonical()], ids=["any", "canonical"])
def test_the_animation_is_the_motion(tmp_path: Path, motion: Motion) -> None:
    """Kinematics of the nodes and channels give every joint; keys lie at exact k/fps; no sign flips."""
    save(motion, tmp_path / "a.glb", axes="world", root_motion="joint")
    document, arrays = read(tmp_path / "a.glb")
    (animation,) = document["animations"]
    joints = len(motion.skeleton)
    assert [document["nodes"][1 + joint]["name"] for joint in range(joints)] == list(motion.skeleton.names)
    rotations, root = torch.zeros(len(motion), joints, 4), torch.zeros(len(motion), 3)
    for channel in animation["channels"]:
        sampler = animation["samplers"][channel["sampler"]]
        assert sampler["interpolation"] == "LINEAR"
        times = arrays[sampler["input"]][:, 0]
        assert np.array_equal(times, (np.arange(len(motion)) / motion.fps).astype(np.float32))
        values = torch.from_numpy(arrays[sampler["output"]].copy())
        if channel["target"]["path"] == "translation":
            assert channel["target"]["node"] == 1
            root = values
        else:
            rotations[:, channel["target"]["node"] - 1] = values[:, [3, 0, 1, 2]]
    assert len(animation["channels"]) == joints + 1
    torch.testing.assert_close(rotations.norm(dim=-1), torch.ones(len(motion), joints), atol=1e-6, rtol=0)
    assert float((rotations[1:] * rotations[:-1]).sum(-1).min()) >= 0.0
    offsets = torch.tensor([document["nodes"][1 + joint]["translation"] for joint in range(joints)])
    torch.testing.assert_close(offsets[1:], motion.skeleton.offsets[1:], atol=1e-6, rtol=0)
    children = {(1 + p, 1 + j) for j, p in enumerate(motion.skeleton.parents) if j}
    found = {(n, c) for n, node in enumerate(document["nodes"]) if n for c in node.get("children", [])}
    assert children == found
    skeleton = Skeleton(motion.skeleton.names, motion.skeleton.parents, offsets)
    positions, _ = forward_kinematics(rotations, root, skeleton)
    torch.testing.assert_close(positions, motion.positions, atol=1e-5, rtol=0)


def test_skin_and_limits(tmp_path: Path) -> None:
    save(make_io.canonical(), tmp_path / "a.glb", axes="world", root_motion="joint")
    document, arrays = read(tmp_path / "a.glb")
    (skin,) = document["skins"]
    inverse = arrays[skin["inverseBindMatrices"]].reshape(-1, 4, 4)
    rest = (
        np.array(document["nodes"][1]["translation"]) + CANONICAL.rest_positions.numpy() - CANONICAL.offsets[0].numpy()
    )
    np.testing.assert_allclose(inverse[:, 3, :3], -rest, atol=1e-6)
    assert rest[:, 1].min() == pytest.approx(0.0, abs=1e-6)
    (primitive,) = document["meshes"][0]["primitives"]
    attributes = {name: arrays[index] for name, index in primitive["attributes"].items()}
    assert attributes["JOINTS_0"].max() < len(CANONICAL)
    assert (attributes["WEIGHTS_0"].sum(axis=1) == 255).all()
    assert document["accessors"][primitive["attributes"]["WEIGHTS_0"]]["normalized"]
    np.testing.assert_allclose(np.linalg.norm(attributes["NORMAL"], axis=1), 1.0, atol=1e-5)
    limits = document["accessors"][primitive["attributes"]["POSITION"]]
    np.testing.assert_array_equal(limits["min"], attributes["POSITION"].min(axis=0))
    np.testing.assert_array_equal(limits["max"], attributes["POSITION"].max(axis=0))
    assert 1.5 < attributes["POSITION"][:, 1].max() < 1.9
    # Both scene roots, so that the skinned mesh hangs on nothing, as the validator wants it.
    assert document["scenes"][0]["nodes"] == [0, 1 + len(CANONICAL)]


def test_extras_and_name(tmp_path: Path) -> None:
    contacts = torch.zeros(20, 4, dtype=torch.bool)
    contacts[:5, 0] = contacts[18:, 0] = contacts[:, 3] = True
    source = Provenance("a.bvh", "CC0-1.0", "a person waves", 7, "mmm 1")
    motion = make_io.canonical().with_(contacts=contacts, provenance=source)
    save(motion, tmp_path / "a.glb", loop=True)
    document, _ = read(tmp_path / "a.glb")
    (animation,) = document["animations"]
    assert animation["name"] == "a person waves"
    assert animation["extras"] == {
        "fps": 30.0, "frames": 20, "loop": True, "text": "a person waves", "source": "a.bvh", "seed": 7,
        "engine": "mmm 1", "licence": "CC0-1.0",
        "contacts": {
            "left_ankle": [[0, 5], [18, 20]], "left_foot": [], "right_ankle": [], "right_foot": [[0, 20]],
        },
    }  # fmt: skip
    assert document["asset"] == {"version": "2.0", "generator": "motionloom", "copyright": "CC0-1.0"}
    save(make_io.canonical(), tmp_path / "b.glb", name="wave 2")
    document, _ = read(tmp_path / "b.glb")
    assert document["animations"][0]["name"] == "wave 2"
    assert document["animations"][0]["extras"] == {"fps": 30.0, "frames": 20, "loop": False}


@pytest.mark.parametrize(("joints", "kind"), [(1, 5121), (256, 5121), (257, 5123), (512, 5123)])
def test_few_and_many_joints(tmp_path: Path, joints: int, kind: int) -> None:
    skeleton = Skeleton(tuple(f"j{i}" for i in range(joints)), (-1, *(0,) * (joints - 1)), torch.randn(joints, 3))
    motion = Motion(skeleton, rot.identity(1, joints), torch.zeros(1, 3), 30.0)
    save(motion, tmp_path / "a.glb")
    document, arrays = read(tmp_path / "a.glb")
    primitive = document["meshes"][0]["primitives"][0]
    index = primitive["attributes"]["JOINTS_0"]
    assert document["accessors"][index]["componentType"] == kind
    assert int(arrays[primitive["indices"]].max()) == len(arrays[index]) - 1


def test_body_is_closed_and_faces_outwards() -> None:
    """Every edge belongs to two triangles, once each way, and the volume inside is positive and human."""
    body = build_body(CANONICAL)
    edges = np.concatenate([body.triangles[:, [0, 1]], body.triangles[:, [1, 2]], body.triangles[:, [2, 0]]])
    forward = {(int(a), int(b)) for a, b in edges}
    assert len(forward) == len(edges)
    assert {(b, a) for a, b in forward} == forward
    a, b, c = (body.positions[body.triangles[:, corner]].astype(np.float64) for corner in range(3))
    volume = float((np.cross(a, b) * c).sum() / 6)
    assert 0.03 < volume < 0.12
    out = np.cross(b - a, c - a)
    assert ((out * body.normals[body.triangles[:, 0]]).sum(-1) > 0).mean() > 0.99


def test_times_that_float32_cannot_tell_apart_are_refused(tmp_path: Path) -> None:
    motion = Motion(
        Skeleton(("a",), (-1,), torch.zeros(1, 3)), rot.identity(18_000_000, 1), torch.zeros(18_000_000, 3), 1e6
    )
    with pytest.raises(MotionFileError, match="are too many for GLB; cut the motion"):
        save(motion, tmp_path / "a.glb")

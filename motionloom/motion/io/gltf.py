"""Writing GLB (binary glTF 2.0): a skinned body with one animation, for Blender, game engines and the web.

Importers make bones only of nodes that a skin uses, so a simple body of capsules is always there. Y up,
+Z forward, metres, seconds; the same motion gives the same bytes. Format: Khronos, "glTF 2.0 specification".
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motionloom.errors import MotionFileError
from motionloom.motion import rotations as rot
from motionloom.motion.io.body import build_body
from motionloom.motion.loops import closed, loop_of
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import Skeleton

GENERATOR = "motionloom"
FEET = ("left_ankle", "left_foot", "right_ankle", "right_foot")
_FLOAT, _BYTE, _SHORT = 5126, 5121, 5123
_VERTICES, _INDICES = 34962, 34963


class _Buffer:
    """The binary chunk while it grows, with the views and accessors that point into it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: np.ndarray, form: str, kind: int, target: int | None = None, limits: bool = False) -> int:
        """Append an array of one row an element; return the index of its accessor."""
        raw = np.ascontiguousarray(array).tobytes()
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(raw)}
        if target is not None:
            view["target"] = target
        accessor: dict[str, Any] = {
            "bufferView": len(self.views),
            "componentType": kind,
            "count": len(array),
            "type": form,
        }
        if limits:
            rows = array.reshape(len(array), -1)
            accessor["min"] = [float(value) for value in rows.min(axis=0)]
            accessor["max"] = [float(value) for value in rows.max(axis=0)]
        self.data += raw + b"\0" * (-len(raw) % 4)
        self.views.append(view)
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def write_glb(
    motion: Motion,
    path: str | Path,
    name: str | None = None,
    loop: bool | None = None,
    travel: str = "auto",
    axes: str = "bones",
    root_motion: str = "armature",
) -> None:
    """Write a GLB file.

    Joints keep their names. The node above them carries the root's path, and the body hangs on it, so that viewers
    that leave out what is beyond the picture (three.js) look for the body where it is. Frame rate, licence, text, seed,
    contacts and the loop are in the animation's ``extras``; contacts are lists of ``[first, stop)`` frames.

    Args:
        motion: The motion; any skeleton.
        path: The file.
        name: Name of the animation; without it the motion's text, or its source.
        loop: Whether the motion is meant to repeat; left out, if its notes say so. It then has a closing key, one
            frame after the last.
        travel: What becomes of the way that a loop goes: "keep" (the closing key is where the next turn begins;
            ``extras`` say how far: ``loop_travel`` [m], ``loop_turn`` [rad]), "remove" (the closing key is the first),
            or "auto": removed where the body is meant to stay in place.
        axes: "bones": the joints' own Y axes point along their bones, as Blender draws them; "world": in rest all axes
            are the world's, and keys are the motion's own rotations.
        root_motion: Which node is moved by the root's path: "armature", or "joint", the root joint itself.

    Raises:
        MotionFileError: The motion is so long that its times cannot be told apart in float32, or an option is unknown.
    """
    for label, value, known in (
        ("travel", travel, ("auto", "keep", "remove")),
        ("axes", axes, ("bones", "world")),
        ("root_motion", root_motion, ("armature", "joint")),
    ):
        if value not in known:
            raise MotionFileError(f"{path}: {label} {value!r} is unknown; use one of {', '.join(known)}")
    turn = loop_of(motion)
    loops = turn is not None if loop is None else loop
    extras: dict[str, Any] = {"fps": motion.fps, "frames": len(motion), "loop": loops}
    if loops:
        in_place = turn is not None and (travel == "remove" or (travel == "auto" and turn.small))
        motion = closed(motion, turn, in_place=in_place)
        if turn is not None and not in_place:
            extras |= {"loop_travel": [turn.x, 0.0, turn.z], "loop_turn": turn.angle}
    skeleton = motion.skeleton
    joints = len(skeleton)
    rest = skeleton.rest_positions.detach().cpu().double().numpy()
    offsets = skeleton.offsets.detach().cpu().double().numpy().copy()
    # In rest the body stands on the floor at the origin, wherever its own file had it.
    offsets[0] = (0.0, float((rest[0] - rest)[:, 1].max()), 0.0)
    bind = rest - rest[0] + offsets[0]
    own = bone_axes(skeleton) if axes == "bones" else np.tile(np.eye(3), (joints, 1, 1))
    above = np.concatenate((np.eye(3)[None], own[list(skeleton.parents[1:])]))
    own_turns, above_turns = (rot.from_matrix(torch.from_numpy(matrices)) for matrices in (own, above))
    carried = root_motion == "armature"

    buffer = _Buffer()
    nodes: list[dict[str, Any]] = [{"name": "Armature", "children": [1, *([joints + 1] if carried else [])]}]
    rest_turns = rot.multiply(rot.conjugate(above_turns), own_turns).numpy()
    for joint, label in enumerate(skeleton.names):
        node: dict[str, Any] = {"name": label, "translation": _floats(offsets[joint] @ above[joint])}
        if axes == "bones":
            node["rotation"] = _floats(np.roll(rest_turns[joint], -1))
        if skeleton.children[joint]:
            node["children"] = [child + 1 for child in skeleton.children[joint]]
        nodes.append(node)
    nodes.append({"name": "Body", "mesh": 0, "skin": 0})
    inverse = np.tile(np.eye(4, dtype=np.float32), (joints, 1, 1))
    # Matrices lie column by column, so the translation is the last row here, and a rotation's inverse the rotation.
    inverse[:, :3, :3] = own
    inverse[:, 3, :3] = -np.einsum("jab,ja->jb", own, bind)
    turns = rot.multiply(
        rot.multiply(rot.conjugate(above_turns), rot.normalize(motion.rotations.detach().cpu().double())), own_turns
    )
    path_of = motion.root.detach().cpu().double().numpy() - (offsets[0] if carried else 0.0)
    animation = _animation(buffer, motion, path, name, extras, turns, path_of, 0 if carried else 1)
    document = {
        "asset": {"version": "2.0", "generator": GENERATOR},
        "scene": 0,
        "scenes": [{"nodes": [0] if carried else [0, joints + 1]}],
        "nodes": nodes,
        "meshes": [{"name": "Body", "primitives": [_primitive(buffer, motion, offsets[0])]}],
        "materials": [
            {
                "name": "Body",
                "pbrMetallicRoughness": {
                    "baseColorFactor": [0.55, 0.62, 0.72, 1.0],
                    "metallicFactor": 0.0,
                    "roughnessFactor": 0.8,
                },
            }
        ],
        "skins": [
            {
                "name": "Armature",
                "skeleton": 0,
                "joints": list(range(1, joints + 1)),
                "inverseBindMatrices": buffer.add(inverse, "MAT4", _FLOAT),
            }
        ],
        "animations": [animation],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    if motion.provenance.licence:
        document["asset"]["copyright"] = motion.provenance.licence
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii")
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + len(buffer.data)
    with Path(path).open("wb") as file:
        file.write(struct.pack("<4sII", b"glTF", 2, total))
        file.write(struct.pack("<I4s", len(text), b"JSON") + text)
        file.write(struct.pack("<I4s", len(buffer.data), b"BIN\0") + buffer.data)


def _floats(values: np.ndarray) -> list[float]:
    """Numbers as float32 prints them, so that equal skeletons give equal text."""
    return [float(f"{value:.7g}") + 0.0 for value in values.astype(np.float32)]


def _primitive(buffer: _Buffer, motion: Motion, root: np.ndarray) -> dict[str, Any]:
    body = build_body(motion.skeleton)
    positions = (body.positions + root).astype(np.float32)
    few = len(motion.skeleton) <= 256
    joints = np.zeros((len(positions), 4), dtype=np.uint8 if few else np.uint16)
    joints[:, 0] = body.joints
    weights = np.zeros((len(positions), 4), dtype=np.uint8)
    weights[:, 0] = 255
    weight = buffer.add(weights, "VEC4", _BYTE, _VERTICES)
    buffer.accessors[weight]["normalized"] = True
    return {
        "attributes": {
            "POSITION": buffer.add(positions, "VEC3", _FLOAT, _VERTICES, limits=True),
            "NORMAL": buffer.add(body.normals, "VEC3", _FLOAT, _VERTICES),
            "JOINTS_0": buffer.add(joints, "VEC4", _BYTE if few else _SHORT, _VERTICES),
            "WEIGHTS_0": weight,
        },
        "indices": buffer.add(body.triangles.reshape(-1).astype(np.uint16), "SCALAR", _SHORT, _INDICES),
        "material": 0,
    }


def bone_axes(skeleton: Skeleton) -> np.ndarray:
    """Axes ``(J, 3, 3)`` (columns X, Y, Z) of joints in rest, Y along the bone and Z ahead, as far as that goes.

    A joint's bone ends at the child that goes on straightest; a leaf goes on as its own bone came.
    """
    offsets = skeleton.offsets.detach().cpu().double().numpy()
    lengths = np.linalg.norm(offsets, axis=1)
    result = np.empty((len(skeleton), 3, 3))
    along = np.empty((len(skeleton), 3))
    for joint, parent in enumerate(skeleton.parents):
        came = along[parent] if parent >= 0 else np.array([0.0, 1.0, 0.0])
        if parent >= 0 and lengths[joint] > 1e-6:
            came = offsets[joint] / lengths[joint]
        ways = [offsets[child] / lengths[child] for child in skeleton.children[joint] if lengths[child] > 1e-6]
        y = max(ways, key=lambda way: float(way @ came), default=came)
        ahead = np.array([0.0, 0.0, 1.0]) if abs(y[2]) < 0.9 else np.array([0.0, 1.0, 0.0])
        z = ahead - y * float(ahead @ y)
        z /= np.linalg.norm(z)
        along[joint] = y
        result[joint] = np.stack((np.cross(y, z), y, z), axis=1)
    return result


def _animation(
    buffer: _Buffer, motion: Motion, path: str | Path, name: str | None, extras: dict[str, Any],
    turns: torch.Tensor, root: np.ndarray, carrier: int,
) -> dict[str, Any]:  # fmt: skip
    times = (np.arange(len(motion)) / motion.fps).astype(np.float32)
    if (np.diff(times) <= 0).any():
        raise MotionFileError(f"{path}: {len(motion)} frames at {motion.fps} fps are too many for GLB; cut the motion")
    clock = buffer.add(times, "SCALAR", _FLOAT, limits=True)
    quaternions = np.roll(rot.continuous(rot.normalize(turns)).numpy(), -1, axis=-1).astype(np.float32)
    way = buffer.add(root.astype(np.float32), "VEC3", _FLOAT)
    samplers = [{"input": clock, "output": way, "interpolation": "LINEAR"}]
    channels = [{"sampler": 0, "target": {"node": carrier, "path": "translation"}}]
    for joint in range(len(motion.skeleton)):
        output = buffer.add(quaternions[:, joint], "VEC4", _FLOAT)
        channels.append({"sampler": len(samplers), "target": {"node": joint + 1, "path": "rotation"}})
        samplers.append({"input": clock, "output": output, "interpolation": "LINEAR"})
    source = motion.provenance
    for key, value in (("text", source.text), ("source", source.source), ("engine", source.engine)):
        if value:
            extras[key] = value
    if source.licence:
        extras["licence"] = source.licence
    if source.seed is not None:
        extras["seed"] = source.seed
    if motion.contacts is not None:
        flags = motion.contacts[: extras["frames"]].cpu().numpy()
        extras["contacts"] = {foot: _spans(flags[:, slot]) for slot, foot in enumerate(FEET)}
    title = name or source.text or Path(source.source).stem or "motion"
    return {"name": title[:60], "samplers": samplers, "channels": channels, "extras": extras}


def _spans(flags: np.ndarray) -> list[list[int]]:
    """Turn booleans into ``[first, stop)`` pairs."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return [[int(first), int(stop)] for first, stop in edges.reshape(-1, 2)]

"""What USD and FBX files are made of: joints without scale, skinned meshes in rest, and a track a joint; in metres.

Made from a motion (with the grey body) or from a motion on a character (with the character's own meshes). Armatures
that are turned or scaled are worked into the joints, so rest is bind, and one unit is one metre.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from motionloom.motion import rotations as rot
from motionloom.motion.io.body import build_body
from motionloom.motion.io.glb_read import Document, read_document
from motionloom.motion.kinematics import to_local
from motionloom.motion.motion import Motion
from motionloom.motion.rigs.onto import Retargeted
from motionloom.motion.rigs.scene import Scene, as_tensor, matrices, quaternion_between, rotation_of
from motionloom.motion.skeleton import Skeleton

INFLUENCES = 4


@dataclass(frozen=True, eq=False)
class SkinnedMesh:
    """A triangle mesh in rest.

    Attributes:
        name: Its name.
        positions: In metres, in the world.
        normals: Unit vectors, one a vertex.
        texture: Texture coordinates, v upwards; none where the mesh has none.
        triangles: Vertex indices, counter-clockwise seen from outside.
        joints: Which joints move a vertex.
        weights: How much; rows sum to one.
        colour: Base colour, linear RGB.
    """

    name: str
    positions: Float[np.ndarray, "V 3"]
    normals: Float[np.ndarray, "V 3"]
    texture: Float[np.ndarray, "V 2"] | None
    triangles: Int[np.ndarray, "F 3"]
    joints: Int[np.ndarray, "V K"]
    weights: Float[np.ndarray, "V K"]
    colour: tuple[float, float, float] = (0.55, 0.62, 0.72)


@dataclass(frozen=True, eq=False)
class Actor:
    """A skeleton in rest, its meshes and its tracks.

    Attributes:
        name: Name of the clip.
        joints: Names of the joints.
        parents: Parent of each, -1 for roots; parents first.
        rest: Where each joint is in rest, in the world [m].
        turned: Rotation of each joint in rest, in the world (wxyz).
        rotations: Local rotations (wxyz).
        translations: Local places [m].
        fps: Frames a second.
        meshes: What is skinned to the joints.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    rest: Float[np.ndarray, "J 3"]
    turned: Float[np.ndarray, "J 4"]
    rotations: Float[np.ndarray, "T J 4"]
    translations: Float[np.ndarray, "T J 3"]
    fps: float
    meshes: tuple[SkinnedMesh, ...] = ()

    def __len__(self) -> int:
        return len(self.rotations)

    def local_rest(self) -> tuple[np.ndarray, np.ndarray]:
        """Rest places and rotations of the joints in their parents."""
        move, turn = self.rest.copy(), self.turned.copy()
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                turn[joint] = quaternion_between(self.turned[parent], self.turned[joint])
                move[joint] = _turn(_conjugate(self.turned[parent]), self.rest[joint] - self.rest[parent])
        return move, turn


def actor_of(motion: Motion, *, name: str = "motion") -> Actor:
    """A motion with the grey body; in rest it stands on the floor at the origin."""
    skeleton: Skeleton = motion.skeleton
    rest = skeleton.rest_positions.detach().cpu().double().numpy()
    rest = rest - rest[0] + np.array([0.0, float((rest[0] - rest)[:, 1].max()), 0.0])
    body = build_body(skeleton)
    joints = np.zeros((len(body.positions), 1), dtype=np.int64)
    joints[:, 0] = body.joints
    offsets = skeleton.offsets.detach().cpu().double().numpy()
    moved = np.broadcast_to(offsets, (len(motion), *offsets.shape)).copy()
    moved[:, 0] = motion.root.detach().cpu().double().numpy()
    mesh = SkinnedMesh(
        "Body",
        body.positions.astype(np.float64) + rest[0],
        body.normals.astype(np.float64),
        None,
        body.triangles.astype(np.int64),
        joints,
        np.ones((len(joints), 1)),
    )
    quaternions = rot.continuous(rot.normalize(motion.rotations.detach().cpu().double())).numpy()
    still = np.tile(np.array([1.0, 0.0, 0.0, 0.0]), (len(skeleton), 1))
    return Actor(name, skeleton.names, skeleton.parents, rest, still, quaternions, moved, motion.fps, (mesh,))


def actor_on(done: Retargeted, *, name: str = "motion") -> Actor:
    """A motion on a character, with the meshes of its file where they can be read."""
    scene = done.rig.scene
    nodes = sorted({joint for skin in scene.skins for joint in skin} | set(done.rotations))
    inside = set(nodes)
    for node in list(nodes):
        # What lies between two joints belongs to the chain.
        between = []
        for above in scene.above(node)[1:]:
            if above in inside:
                inside.update(between)
                break
            between.append(above)
    nodes = sorted(inside)
    place = {node: at for at, node in enumerate(nodes)}
    parents = tuple(next((place[up] for up in scene.above(node)[1:] if up in place), -1) for node in nodes)
    world = done.rig.world
    rest, turned = world[nodes, :3, 3] * scene.unit, rotation_of(world[nodes])
    played = _played(done, nodes)
    places, turns = played[..., :3, 3] * scene.unit, rotation_of(played)
    skeleton = _tree(tuple(scene.names[node] for node in nodes), parents)
    local = to_local(torch.from_numpy(turns), skeleton).numpy() if parents.count(-1) == 1 else _local(turns, parents)
    moved = places.copy()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            moved[:, joint] = _turn(_conjugate(turns[:, parent]), places[:, joint] - places[:, parent])
    quaternions = rot.continuous(rot.normalize(torch.from_numpy(local))).numpy()
    meshes = _meshes(scene, place, world)
    return Actor(
        name, tuple(scene.names[node] for node in nodes), parents, rest, turned, quaternions, moved, done.fps, meshes
    )


def _tree(names: tuple[str, ...], parents: tuple[int, ...]) -> Skeleton:
    fixed = tuple(0 if parent < 0 and at else parent for at, parent in enumerate(parents))
    return Skeleton(names, fixed, torch.zeros(len(names), 3))


def _local(turns: np.ndarray, parents: tuple[int, ...]) -> np.ndarray:
    found = turns.copy()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            found[:, joint] = quaternion_between(turns[:, parent], turns[:, joint])
    return found


def _played(done: Retargeted, nodes: list[int]) -> np.ndarray:
    scene, frames = done.rig.scene, len(done)
    wanted = sorted({up for node in nodes for up in scene.above(node)})
    world: dict[int, np.ndarray] = {}
    for node in wanted:
        move = done.translations.get(node, np.broadcast_to(scene.translations[node], (frames, 3)))
        turn = done.rotations.get(node, np.broadcast_to(scene.rotations[node], (frames, 4)))
        size = np.broadcast_to(scene.scales[node], (frames, 3))
        local = matrices(np.ascontiguousarray(move), np.ascontiguousarray(turn), size)
        world[node] = world[scene.parents[node]] @ local if scene.parents[node] >= 0 else local
    return np.stack([world[node] for node in nodes], 1)


def _meshes(scene: Scene, place: dict[int, int], world: np.ndarray) -> tuple[SkinnedMesh, ...]:
    """Skinned meshes of a glTF character in rest; compressed ones are left out."""
    if scene.kind not in ("glb", "vrm0", "vrm1"):
        return ()
    document = read_document(scene.path)
    order = {at: node for node, at in enumerate(scene.source)}
    found = []
    for at, node in enumerate(document.table("nodes")):
        if "mesh" not in node:
            continue
        mesh = document.table("meshes")[document.index(node["mesh"], "meshes", f"the mesh of node {at}")]
        for number, primitive in enumerate(mesh.get("primitives", [])):
            piece = _primitive(document, scene, order, place, world, at, primitive)
            if piece is not None:
                label = str(mesh.get("name") or f"mesh_{node['mesh']}")
                label = f"{label}_{number}" if number else label
                found.append(dataclasses.replace(piece, name=label, colour=_colour(document, primitive)))
    return tuple(found)


def _primitive(
    document: Document,
    scene: Scene,
    order: dict[int, int],
    place: dict[int, int],
    world: np.ndarray,
    at: int,
    primitive: dict[str, Any],
) -> SkinnedMesh | None:
    node = document.table("nodes")[at]
    attributes = primitive.get("attributes", {})
    if (
        "POSITION" not in attributes
        or primitive.get("mode", 4) != 4
        or primitive.get("extensions", {}).keys() & {"KHR_draco_mesh_compression"}
    ):
        return None
    wanted = [
        attributes[key] for key in ("POSITION", "NORMAL", "TEXCOORD_0", "JOINTS_0", "WEIGHTS_0") if key in attributes
    ]
    wanted += [primitive["indices"]] if "indices" in primitive else []
    if any(document.packed(index) for index in wanted):
        return None
    positions = document.accessor(attributes["POSITION"], f"positions of node {at}", kinds=("VEC3",))
    normals = (
        document.accessor(attributes["NORMAL"], f"normals of node {at}", kinds=("VEC3",))
        if "NORMAL" in attributes
        else np.tile(np.array([0.0, 1.0, 0.0]), (len(positions), 1))
    )
    texture = (
        document.accessor(attributes["TEXCOORD_0"], f"texture coordinates of node {at}", kinds=("VEC2",))
        if "TEXCOORD_0" in attributes
        else None
    )
    if texture is not None:
        texture = np.stack((texture[:, 0], 1.0 - texture[:, 1]), 1)
    triangles = (
        document.accessor(primitive["indices"], f"indices of node {at}", kinds=("SCALAR",))[:, 0].astype(np.int64)
        if "indices" in primitive
        else np.arange(len(positions))
    )
    triangles = triangles[: len(triangles) // 3 * 3].reshape(-1, 3)
    if len(triangles) == 0 or triangles.max() >= len(positions):
        return None
    if "skin" in node and "JOINTS_0" in attributes and "WEIGHTS_0" in attributes:
        skin = scene.skins[document.index(node["skin"], "skins", f"the skin of node {at}")]
        slots = document.accessor(attributes["JOINTS_0"], f"joints of node {at}", kinds=("VEC4",)).astype(np.int64)
        weights = document.accessor(attributes["WEIGHTS_0"], f"weights of node {at}", kinds=("VEC4",))
        if slots.max() >= len(skin):
            return None
        weights = weights / np.maximum(weights.sum(1, keepdims=True), 1e-9)
        binds = np.stack([world[j] @ np.linalg.inv(scene.binds[j]) if j in scene.binds else world[j] for j in skin])
        matrix = np.einsum("vk,vkij->vij", weights, binds[slots])
        joints = np.array([place[j] for j in skin])[slots]
    else:
        # A rigid piece goes with the joint above it.
        carrier = next((place[up] for up in scene.above(order[at]) if up in place), None)
        if carrier is None:
            return None
        matrix = np.broadcast_to(world[order[at]], (len(positions), 4, 4))
        joints = np.full((len(positions), 1), carrier)
        weights = np.ones((len(positions), 1))
    placed = np.einsum("vij,vj->vi", matrix[:, :3, :3], positions) + matrix[:, :3, 3]
    turned = np.einsum("vij,vj->vi", matrix[:, :3, :3], normals)
    turned = turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)
    return SkinnedMesh("", placed * scene.unit, turned, texture, triangles, joints, weights)


def _colour(document: Document, primitive: dict[str, Any]) -> tuple[float, float, float]:
    materials = document.table("materials")
    at = primitive.get("material")
    if isinstance(at, int) and 0 <= at < len(materials):
        factor = materials[at].get("pbrMetallicRoughness", {}).get("baseColorFactor", [0.8, 0.8, 0.8, 1.0])
        if isinstance(factor, list) and len(factor) >= 3:
            return float(factor[0]), float(factor[1]), float(factor[2])
    return 0.8, 0.8, 0.8


def _conjugate(quaternions: np.ndarray) -> np.ndarray:
    return quaternions * np.array([1.0, -1.0, -1.0, -1.0])


def _turn(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    return rot.rotate(as_tensor(q), as_tensor(v)).numpy()

"""Characters as glTF files, made from the canonical body: other names, rest poses, bone axes, scales and roots."""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rigs
import torch

from motionloom.motion import rotations as rot
from motionloom.motion.rigs.families import find_family
from motionloom.motion.rigs.names import spelled_as
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS, Skeleton

FULL = CANONICAL_HANDS.names


@dataclass
class Made:
    """How a character differs from the canonical body in a T-pose.

    Attributes:
        names: Canonical joint -> its name; joints left out do not exist.
        pose: Canonical joint -> its world rotation in rest, seen from a T-pose.
        along: Which own axis bones lie along: +Y, +X, -Z; "world" leaves all axes those of the world.
        scale: Scale of the armature node; bones are that much larger, so that the size is the same.
        size: Factor of the whole body.
        z_up: Whether the armature node turns a Z-up skeleton.
        root: Name of a joint on the floor above the hips.
        faces: Turn about +Y in degrees; 180 faces -Z.
        extra: Names of twist bones below forearms, and IK bones below the root.
        spines: Names of spine joints, however many; else the three of the names.
        mirror: Whether the armature's X scale is negative.
        lie: Degrees by which the body is laid back.
        zero: Whether the armature has scale 0.
        twice: Whether there is a second one beside it.
        skin: Whether there is a skin.
        swap: Whether left and right names are exchanged.
    """

    names: dict[str, str]
    pose: dict[str, torch.Tensor] = field(default_factory=dict)
    along: str = "+Y"
    scale: float = 1.0
    size: float = 1.0
    z_up: bool = False
    root: str = ""
    faces: float = 0.0
    extra: bool = False
    spines: tuple[str, ...] = ()
    mirror: bool = False
    lie: float = 0.0
    zero: bool = False
    twice: bool = False
    skin: bool = True
    swap: bool = False


def names_of(family: str, *, hands: bool = False, lack: tuple[str, ...] = ()) -> dict[str, str]:
    joints = FULL if hands else CANONICAL.names
    labels = spelled_as(find_family(family), joints)
    return {joint: label for joint, label in zip(joints, labels, strict=True) if joint not in lack}


def twelve() -> dict[str, Made]:
    """The rigs of issue 18."""
    a = rigs.a_pose()
    i = rigs.a_pose(arms=80.0, forearms=76.0, legs=2.0)
    vrm = names_of("vrm", hands=True)
    return {
        "mixamo": Made(
            {k: f"mixamorig:{v}" for k, v in names_of("mixamo", hands=True).items()}, a, z_up=True, scale=0.01
        ),
        "manny": Made(
            names_of("unreal", hands=True),
            a,
            root="root",
            extra=True,
            spines=("spine_01", "spine_02", "spine_03", "spine_04", "spine_05"),
            along="+X",
        ),
        "vrm": Made(vrm, faces=180.0, along="world"),
        "rigify": Made(names_of("rigify"), root="root"),
        "cmu": Made(names_of("cmu"), size=0.9),
        "soma": Made(names_of("soma"), along="-Z"),
        "a_pose": Made(names_of("unity"), i),
        "z_up": Made(names_of("smpl"), z_up=True),
        "centimetres": Made(names_of("daz", lack=("left_foot", "right_foot")), scale=0.01, size=1.2),
        "bones_along_x": Made(names_of("biped"), a, along="+X", root="Bip01"),
        "one_spine": Made(
            names_of("character_creator", lack=("left_collar", "right_collar", "neck")), spines=("CC_Base_Waist",)
        ),
        "scale_100": Made(names_of("xsens"), a, scale=100.0, size=1.3),
    }  # fmt: skip


def write(made: Made, path: Path, *, second: str = "") -> None:
    """Write the character."""
    nodes, skin = build(made)
    if made.twice:
        more, other = build(made, offset=len(nodes))
        for node in more:
            node["name"] = f"{node['name']}.001"
        nodes, skin = [*nodes, *more], [*skin, *other]
    data = bytearray()
    views, accessors = [], []

    def add(array: np.ndarray, form: str, kind: int) -> int:
        raw = np.ascontiguousarray(array).tobytes()
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(raw)})
        entry = {"bufferView": len(views) - 1, "componentType": kind, "count": len(array), "type": form}
        if form == "VEC3":
            entry |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        accessors.append(entry)
        data.extend(raw + b"\0" * (-len(raw) % 4))
        return len(accessors) - 1

    world = world_of(nodes)
    tree = {"asset": {"version": "2.0"}, "scene": 0, "nodes": nodes}
    if made.skin:
        binds = [world[joint] for joint in skin]
        inverse = [np.eye(4) if made.zero else np.linalg.inv(bind) for bind in binds]
        places = np.concatenate(
            [bind[:3, 3] + 0.01 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]]) for bind in binds]
        ).astype(np.float32)
        joints = np.zeros((len(places), 4), np.uint16)
        joints[:, 0] = np.repeat(np.arange(len(skin)), 3)
        weights = np.zeros((len(places), 4), np.float32)
        weights[:, 0] = 1.0
        attributes = {
            "POSITION": add(places, "VEC3", 5126),
            "JOINTS_0": add(joints, "VEC4", 5123),
            "WEIGHTS_0": add(weights, "VEC4", 5126),
        }
        rows = np.stack([matrix.T.reshape(-1) for matrix in inverse]).astype(np.float32)
        tree["skins"] = [{"joints": skin, "inverseBindMatrices": add(rows, "MAT4", 5126)}]
        tree["meshes"] = [{"name": "Mesh", "primitives": [{"attributes": attributes}]}]
        nodes.append({"name": "Mesh", "mesh": 0, "skin": 0})
        tree |= {"bufferViews": views, "accessors": accessors, "buffers": [{"byteLength": len(data)}]}
    below = {child for node in nodes for child in node.get("children", [])}
    tree["scenes"] = [{"nodes": [at for at in range(len(nodes)) if at not in below]}]
    save(tree, bytes(data), path)


def save(tree: dict, data: bytes, path: Path) -> None:
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    data += b"\0" * (-len(data) % 4)
    total = 12 + 8 + len(text) + (8 + len(data) if data else 0)
    raw = struct.pack("<4sII", b"glTF", 2, total) + struct.pack("<I4s", len(text), b"JSON") + text
    if data:
        raw += struct.pack("<I4s", len(data), b"BIN\0") + data
    path.write_bytes(raw)


def load_tree(path: Path) -> tuple[dict, bytes]:
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<I", raw, 12)
    tree = json.loads(raw[20 : 20 + length])
    return tree, raw[20 + length + 8 :]


def build(made: Made, offset: int = 0) -> tuple[list[dict], list[int]]:
    """Nodes and the joints among them."""
    body = CANONICAL_HANDS
    posed = posed_rest(made, body)
    turn = rot.to_matrix(rot.about("Y", torch.tensor(np.deg2rad(made.faces)))).double().numpy()
    lay = rot.to_matrix(rot.about("X", torch.tensor(-np.deg2rad(made.lie)))).double().numpy()
    places = {joint: (lay @ turn @ place) * made.size for joint, place in posed.items()}
    order = [
        joint
        for joint in body.names
        if joint in made.names and not (made.spines and joint in ("spine1", "spine2", "spine3"))
    ]
    parents: dict[str, str] = {}
    labels = dict(made.names)
    if made.spines:
        low, high = places["spine1"], places["spine3"]
        chain = []
        for at, name in enumerate(made.spines):
            key = f"spine_{at}"
            chain.append(key)
            labels[key] = name
            places[key] = low + (high - low) * (at / max(len(made.spines) - 1, 1))
        order = [order[0], *chain, *order[1:]]
        parents |= dict(zip(chain, ["pelvis", *chain[:-1]], strict=True))
    for joint in order:
        if joint in parents or joint == "pelvis":
            continue
        above = body.names[body.parents[body.names.index(joint)]]
        while above not in order:
            if made.spines and above in ("spine1", "spine2", "spine3"):
                above = f"spine_{len(made.spines) - 1}"
                break
            above = body.names[body.parents[body.names.index(above)]]
        parents[joint] = above
    if made.swap:
        flip = {
            joint: joint.replace("left_", "@").replace("right_", "left_").replace("@", "right_") for joint in labels
        }
        labels = {joint: labels[flip[joint]] for joint in labels if flip[joint] in labels}
    axes = {joint: frame(joint, order, parents, places, made.along) for joint in order}
    if made.root:
        order = ["root", *order]
        labels["root"], places["root"], axes["root"] = made.root, np.zeros(3), np.eye(3)
        parents["pelvis"] = "root"
    if made.extra:
        for side in ("left", "right"):
            key = f"{side}_twist"
            order.append(key)
            labels[key] = f"lowerarm_twist_01_{side[0]}"
            parents[key] = f"{side}_elbow"
            places[key] = (places[f"{side}_elbow"] + places[f"{side}_wrist"]) / 2
            axes[key] = axes[f"{side}_elbow"]
        order.append("ik")
        labels["ik"], parents["ik"], places["ik"], axes["ik"] = "ik_foot_root", "root", np.zeros(3), np.eye(3)
    quarter = rot.to_matrix(rot.about("X", torch.tensor(-torch.pi / 2))).double().numpy()
    stand = quarter if made.z_up else np.eye(3)
    size = np.full(3, 0.0 if made.zero else made.scale)
    if made.mirror:
        size[0] *= -1
    nodes: list[dict] = [{"name": "Armature", "rotation": xyzw(stand), "scale": size.tolist(), "children": []}]
    place = {joint: offset + 1 + at for at, joint in enumerate(order)}
    for joint in order:
        above = parents.get(joint)
        scale = 1.0 / made.scale
        if above is None:
            local = stand.T @ places[joint] * scale
            turned = stand.T @ axes[joint]
            nodes[0]["children"].append(place[joint])
        else:
            local = axes[above].T @ (places[joint] - places[above]) * scale
            turned = axes[above].T @ axes[joint]
            nodes[place[above] - offset].setdefault("children", []).append(place[joint])
        nodes.append({"name": labels[joint], "translation": local.tolist(), "rotation": xyzw(turned)})
    return nodes, [place[joint] for joint in order]


def posed_rest(made: Made, body: Skeleton) -> dict[str, np.ndarray]:
    """Where the joints are in rest, soles on the floor."""
    offsets = body.offsets.double().numpy()
    found: dict[str, np.ndarray] = {}
    turned: dict[str, np.ndarray] = {}
    for at, (name, parent) in enumerate(zip(body.names, body.parents, strict=True)):
        above = body.names[parent] if parent >= 0 else ""
        key = name
        if any(finger in name for finger in ("thumb", "index", "middle", "ring", "pinky")):
            key = f"{name.split('_')[0]}_wrist"
        turned[name] = rot.to_matrix(made.pose[key]).double().numpy() if key in made.pose else np.eye(3)
        found[name] = found[above] + turned[above] @ offsets[at] if above else np.zeros(3)
    low = min(place[1] for place in found.values())
    return {name: place - np.array([0.0, low, 0.0]) for name, place in found.items()}


def frame(
    joint: str, order: list[str], parents: dict[str, str], places: dict[str, np.ndarray], along: str
) -> np.ndarray:
    """A joint's own axes: its bone lies along one of them."""
    if along == "world":
        return np.eye(3)
    child = next((other for other in order if parents.get(other) == joint), None)
    bone = places[child] - places[joint] if child else places[joint] - places.get(parents.get(joint, ""), np.zeros(3))
    if np.linalg.norm(bone) < 1e-6:
        return np.eye(3)
    axis = {"+Y": (0.0, 1.0, 0.0), "+X": (1.0, 0.0, 0.0), "-Z": (0.0, 0.0, -1.0)}[along]
    return rot.to_matrix(rot.between(torch.tensor(axis).double(), torch.tensor(bone))).numpy()


def xyzw(matrix: np.ndarray) -> list[float]:
    w, x, y, z = rot.from_matrix(torch.tensor(np.ascontiguousarray(matrix))).tolist()
    return [x, y, z, w]


def world_of(nodes: list[dict]) -> list[np.ndarray]:
    """World matrices, by arithmetic of our own."""
    parents = [-1] * len(nodes)
    for at, node in enumerate(nodes):
        for child in node.get("children", []):
            parents[child] = at
    local = []
    for node in nodes:
        matrix = np.eye(4)
        x, y, z, w = node.get("rotation", [0, 0, 0, 1])
        matrix[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
        matrix[:3, :3] *= np.array(node.get("scale", [1, 1, 1]))
        matrix[:3, 3] = node.get("translation", [0, 0, 0])
        local.append(matrix)
    found: dict[int, np.ndarray] = {}

    def world(at: int) -> np.ndarray:
        if at not in found:
            found[at] = local[at] if parents[at] < 0 else world(parents[at]) @ local[at]
        return found[at]

    return [world(at) for at in range(len(nodes))]


def played(path: Path, frame: int, clip: int = -1) -> dict[str, np.ndarray]:
    """Where each node is in a frame of an animation, read by arithmetic of our own."""
    tree, data = load_tree(path)
    nodes = json.loads(json.dumps(tree["nodes"]))
    animation = tree["animations"][clip]
    for channel in animation["channels"]:
        sampler = animation["samplers"][channel["sampler"]]
        accessor = tree["accessors"][sampler["output"]]
        view = tree["bufferViews"][accessor["bufferView"]]
        width = 4 if accessor["type"] == "VEC4" else 3
        rows = np.frombuffer(data, "<f4", accessor["count"] * width, view.get("byteOffset", 0)).reshape(-1, width)
        nodes[channel["target"]["node"]][channel["target"]["path"]] = rows[min(frame, len(rows) - 1)].tolist()
    return {
        node.get("name", str(at)): matrix[:3, 3]
        for at, (node, matrix) in enumerate(zip(nodes, world_of(nodes), strict=True))
    }

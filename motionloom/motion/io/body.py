"""A simple body of capsules around the bones of a skeleton, for formats and viewers that need a mesh.

Each capsule belongs to one joint and moves with it; nothing is blended, so every skeleton works.
"""

from dataclasses import dataclass

import numpy as np

from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS, Skeleton

SIDES = 10
_HALF = 0.7071067811865476
# Canonical bones by the joint at their end: radius [m], width over depth of the cross-section.
_BONES = {
    "spine1": (0.105, 1.35),
    "spine2": (0.105, 1.3),
    "spine3": (0.105, 1.35),
    "neck": (0.075, 1.5),
    "head": (0.05, 1.0),
    "hip": (0.085, 1.0),
    "knee": (0.068, 1.0),
    "ankle": (0.048, 1.0),
    "foot": (0.036, 1.2),
    "collar": (0.06, 1.0),
    "shoulder": (0.055, 1.0),
    "elbow": (0.043, 1.0),
    "wrist": (0.034, 1.0),
}
# Canonical leaves: from the joint, to the joint [m]; radius [m].
_TIPS = {
    "head": ((0.0, 0.06, 0.015), (0.0, 0.1, 0.015), 0.09),
    "foot": ((0.0, 0.0, 0.0), (0.0, 0.0, 0.05), 0.032),
    "wrist": ((0.02, 0.0, 0.0), (0.12, 0.0, 0.0), 0.032),
}


@dataclass(frozen=True, eq=False)
class Body:
    """A closed triangle mesh in rest pose, the root at the origin.

    Attributes:
        positions: ``(V, 3)`` float32 [m].
        normals: ``(V, 3)`` float32, unit length, outwards.
        joints: ``(V,)`` index of the joint each vertex moves with.
        triangles: ``(F, 3)`` vertex indices, counter-clockwise seen from outside.
    """

    positions: np.ndarray
    normals: np.ndarray
    joints: np.ndarray
    triangles: np.ndarray


@dataclass(frozen=True)
class Capsule:
    """A capsule in rest pose, from ``start`` to ``stop`` [m, root at the origin]; moves with ``joint``."""

    joint: int
    start: tuple[float, float, float]
    stop: tuple[float, float, float]
    radius: float
    width: float


def capsules(skeleton: Skeleton) -> list[Capsule]:
    """Lay capsules around bones: with human proportions on the canonical body, by bone length on others."""
    rest = skeleton.rest_positions.detach().cpu().double().numpy()
    rest = rest - rest[0]
    found = []
    hands = skeleton.same_tree(CANONICAL_HANDS)
    human = hands or skeleton.same_tree(CANONICAL)
    for joint, parent in enumerate(skeleton.parents):
        part = skeleton.names[joint].removeprefix("left_").removeprefix("right_")
        length = float(np.linalg.norm(rest[joint] - rest[parent])) if joint else 0.0
        if length > 1e-4:
            thin = (min(max(0.16 * length, 0.008), 0.07), 1.0)
            radius, width = _BONES.get(part, thin) if human else thin
            found.append(_capsule(parent, rest[parent], rest[joint], radius, width))
        if human and part in _TIPS and not (hands and part == "wrist"):
            start, stop, radius = _TIPS[part]
            side = np.array([-1.0 if skeleton.names[joint].startswith("right_") else 1.0, 1.0, 1.0])
            found.append(_capsule(joint, rest[joint] + start * side, rest[joint] + stop * side, radius, 1.0))
    return found or [_capsule(0, rest[0], rest[0], 0.05, 1.0)]


def _capsule(joint: int, start: np.ndarray, stop: np.ndarray, radius: float, width: float) -> Capsule:
    a, b = start.tolist(), stop.tolist()
    return Capsule(joint, (a[0], a[1], a[2]), (b[0], b[1], b[2]), radius, width)


def build_body(skeleton: Skeleton) -> Body:
    """Mesh the capsules of a skeleton."""
    positions, normals, joints = [], [], []
    pieces = capsules(skeleton)
    for piece in pieces:
        points, directions = _mesh(piece)
        positions.append(points)
        normals.append(directions)
        joints.append(np.full(len(points), piece.joint))
    single = _triangles()
    count = 4 * SIDES + 2
    triangles = np.concatenate([single + count * index for index in range(len(pieces))])
    return Body(
        np.concatenate(positions).astype(np.float32),
        np.concatenate(normals).astype(np.float32),
        np.concatenate(joints),
        triangles,
    )


def _mesh(piece: Capsule) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and normals: a pole, four rings from the start to the stop, a pole."""
    start, stop = np.array(piece.start), np.array(piece.stop)
    axis = stop - start
    length = np.linalg.norm(axis)
    axis = axis / length if length > 1e-9 else np.array([0.0, 1.0, 0.0])
    helper = np.array([0.0, 0.0, 1.0]) if abs(axis[0]) > 0.7 else np.array([1.0, 0.0, 0.0])
    side = helper - axis * (helper @ axis)
    side = side / np.linalg.norm(side)
    # side x depth = axis, so that angles run counter-clockwise seen from the stop.
    depth = np.cross(axis, side)
    angles = np.arange(SIDES) * (2.0 * np.pi / SIDES)
    circle = np.cos(angles)[:, None] * side * piece.width + np.sin(angles)[:, None] * depth
    outwards = np.cos(angles)[:, None] * side / piece.width + np.sin(angles)[:, None] * depth
    outwards = outwards / np.linalg.norm(outwards, axis=1, keepdims=True)
    rings = [(start, -_HALF, _HALF), (start, 0.0, 1.0), (stop, 0.0, 1.0), (stop, _HALF, _HALF)]
    points = [start - axis * piece.radius]
    directions = [-axis]
    for centre, along, across in rings:
        points.extend(centre + piece.radius * (axis * along + circle * across))
        directions.extend(axis * along + outwards * across)
    points.append(stop + axis * piece.radius)
    directions.append(axis)
    normals = np.array(directions)
    return np.array(points), normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _triangles() -> np.ndarray:
    last = 4 * SIDES + 1
    faces = []
    for side in range(SIDES):
        after = (side + 1) % SIDES
        faces.append((0, 1 + after, 1 + side))
        for ring in range(3):
            low, high = 1 + ring * SIDES, 1 + (ring + 1) * SIDES
            faces.append((low + side, low + after, high + after))
            faces.append((low + side, high + after, high + side))
        faces.append((last, 1 + 3 * SIDES + side, 1 + 3 * SIDES + after))
    return np.array(faces)

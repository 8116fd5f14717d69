"""What every reader of characters and clips hands on: a tree of nodes with skins and animation tracks.

Right-handed, Y up, metres unless ``unit`` says otherwise. Quaternions are ``wxyz``, as everywhere in motionloom.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from motionloom.errors import MotionFileError
from motionloom.motion import rotations as rot

MAX_NODES = 4096
PATHS = {"translation": 3, "rotation": 4, "scale": 3}
"""What a track may move, and how many numbers that has."""


@dataclass(frozen=True, eq=False)
class Track:
    """Keys of one property of one node.

    Attributes:
        times: When the keys are [s], rising.
        values: A key's value each; for ``CUBICSPLINE`` in-tangent, value, out-tangent each.
        interpolation: ``LINEAR``, ``STEP`` or ``CUBICSPLINE`` as glTF 2.0 defines them (appendix C).
    """

    times: Float[np.ndarray, " K"]
    values: Float[np.ndarray, "K *parts D"]
    interpolation: str = "LINEAR"

    def at(self, times: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T D"]:
        """Values at some times; before the first and after the last key the value of that key."""
        keys = self.values[:, 1] if self.interpolation == "CUBICSPLINE" else self.values
        quaternion = keys.shape[1] == 4
        if len(self.times) == 1:
            return np.repeat(keys, len(times), axis=0)
        place = np.clip(np.searchsorted(self.times, times, side="right") - 1, 0, len(self.times) - 2)
        span = self.times[place + 1] - self.times[place]
        inside = np.clip(times, self.times[0], self.times[-1]) - self.times[place]
        share = inside / np.where(span > 0, span, 1.0)
        if self.interpolation == "STEP":
            # The last key holds from its own time on.
            return keys[np.where(share >= 1.0, place + 1, place)]
        if self.interpolation == "CUBICSPLINE":
            t, dt = share[:, None], span[:, None]
            t2, t3 = t * t, t * t * t
            found = (
                (2 * t3 - 3 * t2 + 1) * keys[place]
                + dt * (t3 - 2 * t2 + t) * self.values[place, 2]
                + (3 * t2 - 2 * t3) * keys[place + 1]
                + dt * (t3 - t2) * self.values[place + 1, 0]
            )
            return unit(found) if quaternion else found
        if quaternion:
            a, b, w = (as_tensor(x) for x in (keys[place], keys[place + 1], share))
            return rot.slerp(a, b, w).numpy()
        return keys[place] * (1 - share[:, None]) + keys[place + 1] * share[:, None]


@dataclass(frozen=True, eq=False)
class Clip:
    """One animation: tracks by node and property, and whatever else the file says of it."""

    name: str
    tracks: dict[tuple[int, str], Track]
    extras: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scene:
    """A file's tree of nodes.

    Attributes:
        path: The file.
        kind: ``glb``, ``vrm0``, ``vrm1``, ``vrma``, ``fbx`` or ``bvh``.
        names: Name of each node; unique.
        parents: Parent of each node, -1 for roots; parents come before children.
        translations: Rest position in the parent, in the file's unit.
        rotations: Rest rotation in the parent (wxyz).
        scales: Rest scale in the parent.
        skins: The joints of each skin.
        binds: Node -> its matrix where the skin was bound, in the mesh's space.
        clips: The animations.
        humanoid: Humanoid bone by its VRM name -> node, where the file says so itself.
        points: Vertices of the skin in the space of ``binds``, with the node that moves each most: joint -> (V, 3).
        notes: What was passed over.
        unit: Metres a unit.
        source: Where each node is in the file.
    """

    path: Path
    kind: str
    names: tuple[str, ...]
    parents: tuple[int, ...]
    translations: Float[np.ndarray, "N 3"]
    rotations: Float[np.ndarray, "N 4"]
    scales: Float[np.ndarray, "N 3"]
    skins: tuple[tuple[int, ...], ...] = ()
    binds: dict[int, np.ndarray] = field(default_factory=dict)
    clips: tuple[Clip, ...] = ()
    humanoid: dict[str, int] = field(default_factory=dict)
    points: dict[int, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unit: float = 1.0
    source: tuple[int, ...] = ()

    def world(self) -> Float[np.ndarray, "N 4 4"]:
        """Rest matrices of the nodes in the world [file's unit]."""
        return to_world(matrices(self.translations, self.rotations, self.scales), self.parents)

    def children(self, node: int) -> list[int]:
        """Nodes right below a node."""
        return [child for child, parent in enumerate(self.parents) if parent == node]

    def above(self, node: int) -> list[int]:
        """The node and its ancestors, from the node up."""
        found = [node]
        while self.parents[found[-1]] >= 0:
            found.append(self.parents[found[-1]])
        return found


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor over an array, or over a copy where the array is only a view that must not be written to."""
    plain = array.flags.writeable and array.flags.c_contiguous
    return torch.from_numpy(array if plain else np.array(array, order="C"))


def unit(quaternions: np.ndarray) -> np.ndarray:
    """Scale quaternions to unit length."""
    return quaternions / np.maximum(np.linalg.norm(quaternions, axis=-1, keepdims=True), 1e-12)


def matrices(translations: np.ndarray, rotations: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """4 x 4 matrices ``T R S`` of translations, quaternions (wxyz) and scales with any leading axes."""
    found = np.zeros((*translations.shape[:-1], 4, 4))
    found[..., :3, :3] = rot.to_matrix(as_tensor(rotations)).numpy() * scales[..., None, :]
    found[..., :3, 3] = translations
    found[..., 3, 3] = 1.0
    return found


def to_world(local: np.ndarray, parents: tuple[int, ...]) -> np.ndarray:
    """World matrices ``(*batch, N, 4, 4)`` of local ones; parents come before children."""
    world = local.copy()
    for node, parent in enumerate(parents):
        if parent >= 0:
            world[..., node, :, :] = world[..., parent, :, :] @ local[..., node, :, :]
    return world


def rotation_of(matrix: np.ndarray) -> np.ndarray:
    """Rotations (wxyz) of matrices with uniform scale; a shear is taken off by the polar decomposition."""
    u, _, vt = np.linalg.svd(matrix[..., :3, :3])
    turned = u @ vt
    flip = np.linalg.det(turned) < 0
    if np.any(flip):
        vt = vt.copy()
        vt[..., 2, :] *= np.where(flip, -1.0, 1.0)[..., None]
        turned = u @ vt
    return rot.from_matrix(as_tensor(turned)).numpy()


def decompose(matrix: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Translation, rotation (wxyz) and scale of a matrix; a mirrored one gets a negative scale along X.

    Raises:
        MotionFileError: The matrix is not affine, or shears.
    """
    if not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-4):
        raise MotionFileError(f"{where}: the matrix is not affine; its last row must be 0 0 0 1")
    scale = np.linalg.norm(matrix[:3, :3], axis=0)
    turn = matrix[:3, :3] / np.where(scale > 0, scale, 1.0)
    if np.linalg.det(turn) < 0:
        scale[0], turn = -scale[0], turn * np.array([-1.0, 1.0, 1.0])
    if (np.abs(scale) > 0).all() and not np.allclose(turn.T @ turn, np.eye(3), atol=1e-2):
        raise MotionFileError(f"{where}: the matrix shears; only moves, turns and scales are read")
    return matrix[:3, 3].copy(), rotation_of(matrix), scale


def sort_nodes(parents: list[int], where: str) -> list[int]:
    """An order in which parents come before children.

    Raises:
        MotionFileError: Nodes are their own ancestors.
    """
    children: list[list[int]] = [[] for _ in parents]
    roots = []
    for node, parent in enumerate(parents):
        (roots if parent < 0 else children[parent]).append(node)
    order, stack = [], list(reversed(roots))
    while stack:
        node = stack.pop()
        order.append(node)
        stack.extend(reversed(children[node]))
    if len(order) != len(parents):
        lost = min(set(range(len(parents))) - set(order))
        raise MotionFileError(f"{where}: node {lost} is its own ancestor; nodes must form trees")
    return order


def unique_names(names: list[str]) -> tuple[str, ...]:
    """Names with a number behind those that come again, and ``node_K`` for those without any."""
    seen: set[str] = set()
    taken = set(names)
    found = []
    for node, name in enumerate(names):
        plain = name.strip() or f"node_{node}"
        copy, count = plain, 1
        while copy in seen or (copy != name and copy in taken):
            count += 1
            copy = f"{plain}_{count}"
        seen.add(copy)
        found.append(copy)
    return tuple(found)


def quaternion_between(parent: np.ndarray, child: np.ndarray) -> np.ndarray:
    """Rotation of a child in its parent, from both rotations in the world (wxyz, any leading axes)."""
    a, b = as_tensor(parent), as_tensor(child)
    return unit(rot.multiply(rot.conjugate(a), b).numpy())

"""Our own body as a character: a glTF file of the grey figure in a T-pose, under any names, with a root bone or none.

What is done for other people's characters is then done for ours by the same code.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from motionloom.motion import rotations as rot
from motionloom.motion.io.glb_read import read_document
from motionloom.motion.io.gltf import write_glb
from motionloom.motion.io.gltf_build import Builder
from motionloom.motion.motion import Motion
from motionloom.motion.rigs.families import find_family
from motionloom.motion.rigs.names import spelled_as
from motionloom.motion.rigs.rig import Rig, read_rig
from motionloom.motion.skeleton import Skeleton

ROOT = "root"


class OwnBody:
    """The grey figure in a file of its own, for as long as the ``with`` block lasts.

    Attributes:
        rig: The character.
    """

    def __init__(self, skeleton: Skeleton, *, names: str | None = None, root: bool = False) -> None:
        self._folder = TemporaryDirectory(prefix="motionloom-")
        path = Path(self._folder.name) / "body.glb"
        try:
            write_own_body(skeleton, path, names=names, root=root)
            self.rig: Rig = read_rig(path)
        except BaseException:
            self._folder.cleanup()
            raise

    def __enter__(self) -> "OwnBody":
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def write_own_body(skeleton: Skeleton, path: str | Path, *, names: str | None = None, root: bool = False) -> None:
    """Write the grey figure in a T-pose, without an animation.

    Args:
        skeleton: A body of the canonical tree, with hands or without.
        path: The file, ``.glb``.
        names: Name family of the joints; our own when left out.
        root: Whether the node above the hips is a joint, ``root``, on the floor.

    Raises:
        RetargetError: There is no such family, or it lacks a name.
    """
    labels = spelled_as(find_family(names), skeleton.names) if names is not None else skeleton.names
    still = Motion(skeleton, rot.identity(1, len(skeleton)), torch.tensor([[0.0, 0.9, 0.0]]), 30.0)
    write_glb(still, path)
    document = read_document(path)
    tree = json.loads(json.dumps(document.json))
    tree.pop("animations")
    data = _without_unused(tree, document.buffers[0])
    skin = tree["skins"][0]
    inverse = document.accessor(document.json["skins"][0]["inverseBindMatrices"], "bind matrices", kinds=("MAT4",))
    for node, label in zip(skin["joints"], labels, strict=True):
        tree["nodes"][node]["name"] = label
    build = Builder(tree, data)
    if root:
        whole = np.concatenate((inverse, np.eye(4).reshape(1, 16)))
        skin["inverseBindMatrices"] = build.add(whole, "MAT4")
        skin["joints"] = [*skin["joints"], 0]
        tree["nodes"][0]["name"] = ROOT
    build.write(path)


def _without_unused(tree: dict[str, Any], data: bytes) -> bytes:
    """Take accessors that nothing uses out of a file in which each has a view of its own; returns the shorter data."""
    users: list[tuple[dict[str, Any], str]] = [(skin, "inverseBindMatrices") for skin in tree["skins"]]
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            users += [(primitive["attributes"], key) for key in primitive["attributes"]]
            users += [(primitive, "indices")] if "indices" in primitive else []
    kept = sorted({holder[key] for holder, key in users})
    views, accessors, found = [], [], bytearray()
    for at in kept:
        accessor = dict(tree["accessors"][at])
        view = dict(tree["bufferViews"][accessor["bufferView"]])
        start = view.get("byteOffset", 0)
        raw = data[start : start + view["byteLength"]]
        view["byteOffset"], accessor["bufferView"] = len(found), len(views)
        views.append(view)
        accessors.append(accessor)
        found += raw + b"\0" * (-len(raw) % 4)
    for holder, key in users:
        holder[key] = kept.index(holder[key])
    tree["bufferViews"], tree["accessors"], tree["buffers"] = views, accessors, [{}]
    return bytes(found)

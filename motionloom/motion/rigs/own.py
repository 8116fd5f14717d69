"""Our own body as a character: a glTF file of the grey figure in a T-pose, under any names, with a root bone or none.

What is done for other people's characters is then done for ours by the same code.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

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
        write_own_body(skeleton, path, names=names, root=root)
        self.rig: Rig = read_rig(path)

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
    clip = tree.pop("animations")[0]
    first = min([s[key] for s in clip["samplers"] for key in ("input", "output")])
    view = tree["accessors"][first]["bufferView"]
    data = document.buffers[0][: tree["bufferViews"][view]["byteOffset"]]
    tree["accessors"], tree["bufferViews"] = tree["accessors"][:first], tree["bufferViews"][:view]
    tree["buffers"] = [{}]
    skin = tree["skins"][0]
    for node, label in zip(skin["joints"], labels, strict=True):
        tree["nodes"][node]["name"] = label
    build = Builder(tree, data)
    if root:
        inverse = document.accessor(skin["inverseBindMatrices"], "inverse bind matrices", kinds=("MAT4",))
        whole = np.concatenate((inverse, np.eye(4).reshape(1, 16)))
        skin["inverseBindMatrices"] = build.add(whole, "MAT4")
        skin["joints"] = [*skin["joints"], 0]
        tree["nodes"][0]["name"] = ROOT
    build.write(path)

"""A BVH file as a character: its skeleton in its zero pose."""

from pathlib import Path

import numpy as np

from motionloom.errors import MotionFileError
from motionloom.motion.io.bvh import read_bvh
from motionloom.motion.io.bvh_parse import parse_bvh
from motionloom.motion.rigs.scene import Scene

UP_NODE = "motionloom_up"
"""Name of the node that turns a Z-up file; it is not written."""


def read_bvh_scene(path: str | Path) -> Scene:
    """The skeleton of a BVH file in its zero pose.

    Raises:
        MotionFileError: The file is no BVH, or its size cannot be told.
    """
    path = Path(path)
    clip = parse_bvh(path)
    # The reader of motions guesses the unit and the up axis; what it did with the bones shows both.
    motion = read_bvh(path)
    chain = {name: at for at, name in enumerate(motion.skeleton.names)}
    lengths = [
        (np.linalg.norm(clip.offsets[at]), float(motion.skeleton.offsets[chain[name]].norm()))
        for at, name in enumerate(clip.names)
        if at and name in chain and chain[name] > 0
    ]
    theirs, ours = sum(a for a, _ in lengths), sum(b for _, b in lengths)
    if not theirs > 0:
        raise MotionFileError(f"{path}: all bones have length zero in rest; it is no character")
    offsets = clip.offsets.copy()
    rest = np.zeros_like(offsets)
    for joint, parent in enumerate(clip.parents):
        rest[joint] = offsets[joint] + (rest[parent] if parent >= 0 else 0.0)
    height = rest.max(0) - rest.min(0)
    lying = height[2] > 1.5 * height[1]
    count = len(clip.names)
    names, parents = clip.names, clip.parents
    translations = offsets
    rotations = np.tile(np.array([1.0, 0.0, 0.0, 0.0]), (count, 1))
    source = tuple(range(count))
    if lying:
        half = np.sqrt(0.5)
        names, parents = (UP_NODE, *names), (-1, *(parent + 1 for parent in parents))
        translations = np.concatenate((np.zeros((1, 3)), offsets))
        rotations = np.concatenate((np.array([[half, -half, 0.0, 0.0]]), rotations))
        source = (-1, *source)
    notes = tuple(note for note in motion.provenance.notes if "guessed" in note)
    return Scene(
        path,
        "bvh",
        names,
        parents,
        translations,
        rotations,
        np.ones((len(names), 3)),
        notes=(*notes, *(("the file stands along Z; turned to Y up",) if lying else ())),
        unit=float(ours / theirs),
        source=source,
    )

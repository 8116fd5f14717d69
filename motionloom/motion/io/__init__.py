"""Reading and writing motion files: ``load`` and ``save`` choose the format by suffix."""

import os
from pathlib import Path
from typing import Any

from motionloom.errors import MotionFileError
from motionloom.motion.budget import MOTION
from motionloom.motion.files import read_bytes
from motionloom.motion.formats import READERS, WRITERS, can_write, check_options, find_suffix, resolve, write
from motionloom.motion.motion import Motion
from motionloom.motion.plausible import with_doubts
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS, Skeleton

__all__ = ["READERS", "WRITERS", "can_write", "load", "save"]


def load(path: str | os.PathLike[str], **options: Any) -> Motion:
    """Read a motion file; its suffix chooses the reader.

    Args:
        path: The file: .bvh, .amc (with its .asf), .npz (ours, AMASS, SMPL), .npy (HumanML3D), .csv (joints).
        **options: The reader's own options, such as ``unit`` and ``fps`` for BVH.

    Returns:
        The motion; what speaks against its being a person's stands in its provenance's notes as a warning.

    Raises:
        MotionFileError: The suffix or an option is unknown, or the file cannot be read; the message names
            the file and, in text formats, the line.
    """
    path = Path(path)
    suffix = find_suffix(path, READERS)
    if path.suffix.lower() == ".asf":
        raise MotionFileError(f"{path}: an .asf holds only a skeleton; give the .amc, and this file with --asf")
    if suffix is None:
        known = ", ".join(sorted(READERS))
        raise MotionFileError(f"{path}: motions of this kind are not read; known are {known}")
    if not path.is_file():
        read_bytes(path)
    reader = resolve(READERS[suffix])
    check_options(path, reader, options)
    motion = reader(path, **options)
    MOTION.check(path, seconds=motion.seconds)
    return with_doubts(_in_our_order(motion))


def _in_our_order(motion: Motion) -> Motion:
    """A motion of the canonical body, with its joints in our order: most formats list them depth first."""
    skeleton = motion.skeleton
    above = {name: skeleton.names[parent] for name, parent in zip(skeleton.names, skeleton.parents, strict=True)}
    for tree in (CANONICAL, CANONICAL_HANDS):
        pairs = list(zip(tree.names, tree.parents, strict=True))
        same = above.keys() == set(tree.names) and skeleton.names[0] == tree.names[0]
        if same and not skeleton.same_tree(tree) and all(above[n] == tree.names[p] for n, p in pairs if p >= 0):
            order = [skeleton.names.index(name) for name in tree.names]
            body = Skeleton(tree.names, tree.parents, skeleton.offsets[order])
            return motion.with_(skeleton=body, rotations=motion.rotations[:, order])
    return motion


def save(motion: Motion, path: str | os.PathLike[str], **options: Any) -> None:
    """Write a motion to a file; its suffix chooses the format.

    The file appears whole or not at all: it is written under a temporary name and renamed.

    Args:
        motion: The motion.
        path: The file: .bvh .glb .npz .amass.npz .npy .csv, and .png .gif .mp4 for pictures.
        **options: The writer's own options, such as ``unit`` for BVH.

    Raises:
        MotionFileError: The suffix or an option is unknown, the directory does not exist, or the format
            cannot hold this motion.
    """
    write(motion, path, **options)

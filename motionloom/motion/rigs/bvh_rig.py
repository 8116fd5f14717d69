"""A BVH file as a character: its hierarchy, names, channel order and unit are kept, only the frames are new."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from motionloom.errors import MotionFileError
from motionloom.motion.files import read_text
from motionloom.motion.io.bvh import read_bvh
from motionloom.motion.io.bvh_parse import parse_bvh
from motionloom.motion.rigs.euler import smooth_euler
from motionloom.motion.rigs.onto import Retargeted
from motionloom.motion.rigs.scene import Scene

_UP = "motionloom_up"
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
        names, parents = (_UP, *names), (-1, *(parent + 1 for parent in parents))
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


def write_bvh_on(
    done: Retargeted,
    path: str | Path,
    *,
    name: str | None = None,
    reduce: float = 0.0,
    facts: dict[str, Any] | None = None,
) -> None:
    """Write the hierarchy of the character's own BVH with the new frames.

    Args:
        done: The motion on a character that was read from BVH.
        path: The file.
        name: Not used; BVH has no place for it.
        reduce: Not used; BVH holds every frame.
        facts: Not used.

    Raises:
        MotionFileError: The character was read from a file of another kind.
    """
    scene = done.rig.scene
    if scene.kind != "bvh":
        raise MotionFileError(f"{path}: the character {scene.path.name} is no BVH, so there is no hierarchy to keep")
    clip = parse_bvh(scene.path)
    text = read_text(scene.path)
    marker = re.search(r"^[ \t]*MOTION[ \t]*$", text, re.MULTILINE | re.IGNORECASE)
    assert marker is not None
    place = {at: node for node, at in enumerate(scene.source) if at >= 0}
    frames = len(done)
    columns: list[np.ndarray] = []
    for joint, channels in enumerate(clip.channels):
        node = place[joint]
        turned = done.rotations.get(node, np.broadcast_to(scene.rotations[node], (frames, 4)))
        move = done.translations.get(node, np.broadcast_to(scene.translations[node], (frames, 3)))
        order, _ = clip.columns(joint, "rotation")
        if 0 < len(order) < 3 and node in done.rotations:
            raise MotionFileError(
                f"{scene.path}: joint {clip.names[joint]!r} has {len(order)} rotation channels; 3 are needed"
            )
        angles = np.degrees(smooth_euler(turned[:, None], order))[:, 0] if len(order) == 3 else np.zeros((frames, 3))
        for channel in channels:
            axis = channel[0]
            columns.append(move[:, "XYZ".index(axis)] if channel.endswith("position") else angles[:, order.index(axis)])
    values = np.stack(columns, 1).round(6) + 0.0
    row = " ".join(["%.6f"] * values.shape[1])
    seconds = f"{1.0 / done.fps:.10f}"
    lines = [f"Frames: {frames}", f"Frame Time: {seconds}", *(row % tuple(frame) for frame in values.tolist())]
    head = text[: marker.end()].rstrip()
    Path(path).write_text(head + "\n" + "\n".join(lines) + "\n", encoding="utf-8", newline="\n")

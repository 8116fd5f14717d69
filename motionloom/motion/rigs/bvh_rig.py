"""A BVH file as a character: its hierarchy, names, channel order and unit are kept, only the frames are new."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from motionloom.errors import MotionFileError
from motionloom.motion.files import read_text
from motionloom.motion.io.bvh_parse import parse_bvh
from motionloom.motion.rigs.euler import smooth_euler
from motionloom.motion.rigs.onto import Retargeted


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

"""Joints above a body that only carry it: armatures, references, Unreal's root with its targets for IK.

What travels in such files is the pelvis, some joints below the root. The joints on the way to it are folded into it, so
that it becomes the root and holds the transforms of all of them.
"""

import re
from dataclasses import dataclass

import numpy as np
import torch

from motionloom.motion import rotations as rot
from motionloom.motion.io.bvh_parse import END, BvhClip

_AIDS = re.compile(
    r"(^|[^a-z])(ik|fk|pole|target|ctrl|control|constraint|interaction|attach|weapon|prop|camera|cam|helper|effector"
    r"|center_?of_?mass|com|vb|nub|dummy)([^a-z]|$)",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<![A-Z])(IK|FK)(?![a-z])")


@dataclass(frozen=True)
class Carriers:
    """The way from a file's root to the joint that carries its body.

    Attributes:
        path: Joints from the root on; the last one becomes the root. One joint where nothing is folded.
        left_out: Joints that hang on the others and are no part of the body.
    """

    path: tuple[int, ...]
    left_out: tuple[int, ...]


def find_carriers(clip: BvhClip, moving: set[int]) -> Carriers:
    """The joints above a body, as far down as one of them travels by its own position channels.

    Args:
        clip: The file.
        moving: Joints below the root that travel.
    """
    children: list[list[int]] = [[] for _ in clip.names]
    for joint, parent in enumerate(clip.parents[1:], start=1):
        children[parent].append(joint)
    path, whole = [0], [0]
    while True:
        body = [child for child in children[path[-1]] if not _is_aid(clip, child, children)]
        if len(body) != 1 or not children[body[0]]:
            break
        path.append(body[0])
        if body[0] in moving:
            whole = list(path)
    aside = [child for joint in whole[:-1] for child in children[joint] if child not in whole]
    return Carriers(tuple(whole), tuple(aside))


def _is_aid(clip: BvhClip, joint: int, children: list[list[int]]) -> bool:
    """Whether a joint beside the body is an aid of animators, or an end of nothing."""
    name = clip.names[joint]
    if _AIDS.search(name) or _CAMEL.search(name):
        return True
    return not children[joint] and name.endswith(END)


def below(clip: BvhClip, root: int) -> list[int]:
    """The joints of a subtree, in file order."""
    inside = {root}
    for joint, parent in enumerate(clip.parents):
        if parent in inside:
            inside.add(joint)
    return sorted(inside)


def fold(
    path: tuple[int, ...], tracks: dict[int, np.ndarray], offsets: np.ndarray, turns: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """World positions [m] and rotations of the last joint of a path.

    Args:
        path: Joints from the root on.
        tracks: Places ``(T, 3)`` of the joints that travel, seen from their parents, in the file's unit.
        offsets: ``(J, 3)`` places of the others.
        turns: ``(T, J, 4)`` local rotations.
        scale: Metres a unit.
    """
    frames = len(turns)

    def place(joint: int) -> torch.Tensor:
        track = tracks.get(joint)
        track = np.repeat(offsets[joint : joint + 1], frames, axis=0) if track is None else track
        return torch.from_numpy(track * scale).float()

    root, turn = place(path[0]), turns[:, path[0]]
    for joint in path[1:]:
        root = root + rot.rotate(turn, place(joint))
        turn = rot.multiply(turn, turns[:, joint])
    return root, rot.normalize(turn) if len(path) > 1 else turn

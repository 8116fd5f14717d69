"""Writing BVH so that Blender, MotionBuilder, Unreal and three.js open it directly.

One channel order for all joints, root OFFSET zero, position channels on the root only, an End Site on every
leaf, and Euler angles without jumps from frame to frame. The same motion gives the same bytes.
"""

import re
from pathlib import Path

import numpy as np
import torch

from motionloom.errors import MotionFileError
from motionloom.motion import rotations as rot
from motionloom.motion.euler import unrolled
from motionloom.motion.io.bvh import END, UNITS
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import Skeleton

ORDERS = ("ZXY", "ZYX")
_TIP = 0.05
"""Length of the end site of a leaf that has no end of its own [m]."""


def write_bvh(motion: Motion, path: str | Path, unit: str = "cm", order: str = "ZXY") -> None:
    """Write a BVH file.

    A leaf named ``<parent>_end`` that never turns (so the reader names end sites) becomes an End Site again;
    any other leaf gets a short one in the direction of its bone. The root's own offset is not stored: its
    position channels say where it is.

    Args:
        motion: The motion; any skeleton.
        path: The file.
        unit: What one unit of the file is: "cm", "m", "mm" or "inch". BVH does not say it: tell the reader.
        order: Rotation channels of every joint: "ZXY" (no gimbal lock in heading) or "ZYX".

    Raises:
        MotionFileError: The unit or the order is unknown.
    """
    if unit not in UNITS:
        raise MotionFileError(f"{path}: unit {unit!r} is unknown; use one of {', '.join(UNITS)}")
    if order not in ORDERS:
        raise MotionFileError(f"{path}: order {order!r} is not written; use one of {', '.join(ORDERS)}")
    skeleton = motion.skeleton
    sites = {joint for joint in range(1, len(skeleton)) if _is_end(motion, joint)}
    moving = [joint for joint in _depth_first(skeleton) if joint not in sites]
    angles = np.rad2deg(_euler(motion, moving, order))
    root = motion.root.detach().cpu().double().numpy() / UNITS[unit]
    values = np.concatenate((root, angles.reshape(len(motion), -1)), axis=1)
    # Adding zero turns -0.0 into 0.0, so that equal motions print equally.
    values = values.round(6) + 0.0
    row = " ".join(["%.6f"] * values.shape[1])
    lines = _hierarchy(skeleton, sites, 1.0 / UNITS[unit], order)
    lines += ["MOTION", f"Frames: {len(motion)}", f"Frame Time: {_frame_time(motion.fps)}"]
    lines += [row % tuple(frame) for frame in values.tolist()]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _frame_time(fps: float) -> str:
    """Seconds a frame with 10 digits after the point, or as many as the frame rate needs to come back."""
    text = f"{1.0 / fps:.10f}"
    return text if float(text) > 0 and abs(1.0 / float(text) - fps) < 1e-7 * fps else f"{1.0 / fps:.17g}"


def _is_end(motion: Motion, joint: int) -> bool:
    skeleton = motion.skeleton
    parent = skeleton.names[skeleton.parents[joint]]
    named = re.fullmatch(re.escape(parent + END) + r"\d*", skeleton.names[joint]) is not None
    still = bool((motion.rotations[:, joint, 0].abs() > 1.0 - 1e-7).all())
    return named and still and not skeleton.children[joint]


def _depth_first(skeleton: Skeleton) -> list[int]:
    order, stack = [], [0]
    while stack:
        joint = stack.pop()
        order.append(joint)
        stack.extend(reversed(skeleton.children[joint]))
    return order


def _names(skeleton: Skeleton) -> list[str]:
    """Names without white space, still unique: importers cut names at the first space."""
    names: list[str] = []
    for name in skeleton.names:
        plain = re.sub(r"[\s{}]+", "_", name) or "joint"
        copy, copies = plain, 1
        while copy in names:
            copies += 1
            copy = f"{plain}_{copies}"
        names.append(copy)
    return names


def _hierarchy(skeleton: Skeleton, sites: set[int], scale: float, order: str) -> list[str]:
    names = _names(skeleton)
    offsets = (skeleton.offsets.detach().cpu().double() * scale).round(decimals=6).add(0.0).tolist()
    rotation = " ".join(f"{axis}rotation" for axis in order)
    lines = ["HIERARCHY"]
    # (joint, depth): the joint opens; (-1, depth): a block closes.
    stack: list[tuple[int, int]] = [(0, 0)]
    while stack:
        joint, depth = stack.pop()
        tab = "\t" * depth
        if joint < 0:
            lines.append(tab + "}")
            continue
        x, y, z = (0.0, 0.0, 0.0) if joint == 0 else offsets[joint]
        kind = "End Site" if joint in sites else f"{'JOINT' if joint else 'ROOT'} {names[joint]}"
        lines += [tab + kind, tab + "{", f"{tab}\tOFFSET {x:.6f} {y:.6f} {z:.6f}"]
        stack.append((-1, depth))
        if joint in sites:
            continue
        lines.append(tab + ("\tCHANNELS 3 " if joint else "\tCHANNELS 6 Xposition Yposition Zposition ") + rotation)
        if not skeleton.children[joint]:
            x, y, z = _tip(skeleton, joint, scale)
            lines += [
                f"{tab}\tEnd Site",
                f"{tab}\t{{",
                f"{tab}\t\tOFFSET {x:.6f} {y:.6f} {z:.6f}",
                f"{tab}\t}}",
            ]
        stack.extend((child, depth + 1) for child in reversed(skeleton.children[joint]))
    return lines


def _tip(skeleton: Skeleton, joint: int, scale: float) -> tuple[float, float, float]:
    """End site of a leaf: straight on from its own bone, upwards where it has none."""
    bone = skeleton.offsets[joint].double() if joint else torch.zeros(3, dtype=torch.float64)
    length = float(bone.norm())
    direction = bone / length if length > 1e-6 else torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    x, y, z = (direction * _TIP * scale).add(0.0).tolist()
    return x, y, z


def _euler(motion: Motion, joints: list[int], order: str) -> np.ndarray:
    """Angles [rad], ``(T, J, 3)``, each frame in the turn and branch nearest to the frame before."""
    quaternions = rot.normalize(motion.rotations[:, joints].detach().cpu().double())
    angles = rot.to_euler(quaternions, order).numpy()
    return unrolled(angles, order)

"""BVH, the text format of Biovision: a joint tree in rest pose, then one line of channel values a frame.

A joint's position channels replace its OFFSET (as Blender and MotionBuilder have it), end sites become leaf
joints named ``<parent>_end``. BVH names neither its unit nor its up axis; both are guessed unless given, and
every guess is noted in the motion's provenance.
"""

import math
from pathlib import Path

import numpy as np
import torch

from motionloom.errors import MotionError, MotionFileError, SkeletonError
from motionloom.motion import rotations as rot
from motionloom.motion.io.bvh_parse import END, BvhClip, parse_bvh
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.skeleton import Skeleton

__all__ = ["END", "UNITS", "BvhClip", "parse_bvh", "read_bvh"]

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254}
_GUESSES = {"m": 1.0, "inch": 0.0254, "CMU (0.056444 m)": 0.056444, "cm": 0.01, "mm": 0.001}
_REACH = 1.1
"""Longest chain of bones of a grown body [m]; 1.0 to 1.5 over the files this was checked on."""
_STRETCH = 0.05
"""How far a joint's own position channels may wander, as a share of the skeleton's size, before we refuse."""


def read_bvh(
    path: str | Path,
    unit: str | float | None = None,
    fps: float | None = None,
    up: str | None = None,
    ends: bool = True,
) -> Motion:
    """Read a BVH file.

    Args:
        path: The file.
        unit: What one unit of the file is: "cm", "m", "mm", "inch" or a number of metres; guessed from the
            size of the skeleton if not given.
        fps: True frame rate, where the file's own ``Frame Time`` is known to be wrong.
        up: The file's up axis, "y" or "z"; guessed from how the body stands if not given.
        ends: Whether end sites become joints.

    Raises:
        MotionFileError: The file is not BVH, is truncated, holds NaN or infinity, names a joint twice, has
            more than 512 joints or 64 levels, or stretches a joint while it moves.
    """
    path = Path(path)
    if up not in (None, "y", "z"):
        raise MotionFileError(f"{path}: up axis {up!r} is unknown; use 'y' or 'z'")
    if isinstance(unit, str) and unit not in UNITS:
        raise MotionFileError(f"{path}: unit {unit!r} is unknown; use one of {', '.join(UNITS)} or a number of metres")
    if isinstance(unit, int | float) and not 0 < unit < math.inf:
        raise MotionFileError(f"{path}: unit {unit} is no positive number of metres")
    clip = parse_bvh(path)
    try:
        motion = _to_motion(path, clip, clip.fps if fps is None else fps, unit, ends)
        return _stand_up(motion, up)
    except (MotionError, SkeletonError) as error:
        raise MotionFileError(f"{path}: {error}") from None


def _to_motion(path: Path, clip: BvhClip, fps: float, unit: str | float | None, ends: bool) -> Motion:
    offsets = clip.offsets.copy()
    scale, note = _scale(path, clip, unit)
    notes = [note] if note else []
    quaternions = torch.from_numpy(_rotations(clip))
    moving = _moving(clip, offsets, scale)
    # A root that only carries the body (Bandai-Namco's joint_Root, Unity's armature) is folded into its one
    # child when that child is what travels: the child then holds both transforms and nothing else changes.
    root_track = moving.pop(0, np.repeat(offsets[:1], len(clip.values), axis=0))
    root, turn = torch.from_numpy(root_track * scale).float(), quaternions[:, 0]
    first = 0
    while first + 1 in moving and clip.parents.count(first) == 1:
        track = torch.from_numpy(moving.pop(first + 1) * scale).float()
        root = root + rot.rotate(turn, track)
        turn = rot.multiply(turn, quaternions[:, first + 1])
        notes.append(f"root {clip.names[first]!r} folded into {clip.names[first + 1]!r}")
        first += 1
    for joint, track in moving.items():
        middle = np.median(track, axis=0)
        wander = float(np.abs(track - middle).max())
        if wander > _STRETCH * _size(clip, offsets):
            raise MotionFileError(
                f"{path}: joint {clip.names[joint]!r} is moved by its own position channels by"
                f" {wander * scale:.3f} m; bones of fixed length are needed: bake it into rotations first"
            )
        offsets[joint] = middle
        notes.append(f"position channels of {clip.names[joint]!r} (up to {wander * scale:.4f} m) made constant")
    if first:
        turn = rot.normalize(turn)
    quaternions = torch.cat((turn[:, None], quaternions[:, first + 1 :]), dim=1) if first else quaternions
    offsets = offsets * scale
    offsets[first] = 0.0 if first else offsets[first]
    bones = set(clip.parents) | {joint for joint, names in enumerate(clip.channels) if names}
    kept = [joint for joint in range(first, len(clip.names)) if ends or joint in bones]
    skeleton = Skeleton(
        tuple(clip.names[joint] for joint in kept),
        tuple(kept.index(clip.parents[joint]) if joint != first else -1 for joint in kept),
        torch.from_numpy(offsets[kept]).float(),
    )
    if len(kept) != quaternions.shape[1]:
        quaternions = quaternions[:, [joint - first for joint in kept]]
    return Motion(skeleton, quaternions, root, fps, provenance=Provenance(path.name, notes=tuple(notes)))


def _moving(clip: BvhClip, offsets: np.ndarray, scale: float) -> dict[int, np.ndarray]:
    """Tracks ``(T, 3)`` of the joints that travel; a track that stands still becomes the joint's offset."""
    places = {joint: clip.columns(joint, "position") for joint in range(len(clip.names))}
    places = {joint: (axes, columns) for joint, (axes, columns) in places.items() if axes}
    if not places:
        return {}
    order = [columns[axes.index(axis)] for axes, columns in places.values() for axis in "XYZ"]
    tracks = clip.values[:, order].reshape(len(clip.values), len(places), 3)
    wander = np.ptp(tracks, axis=0).max(axis=1) * scale
    moving: dict[int, np.ndarray] = {}
    for slot, joint in enumerate(places):
        if joint and wander[slot] < 1e-4:
            offsets[joint] = tracks[:, slot].mean(0)
        else:
            moving[joint] = tracks[:, slot]
    return moving


def _rotations(clip: BvhClip) -> np.ndarray:
    """Local unit quaternions ``(T, J, 4)``; joints that share a channel order are converted together."""
    quaternions = np.zeros((len(clip.values), len(clip.names), 4), dtype=np.float32)
    quaternions[..., 0] = 1.0
    groups: dict[str, list[tuple[int, list[int]]]] = {}
    for joint in range(len(clip.names)):
        order, columns = clip.columns(joint, "rotation")
        if order:
            groups.setdefault(order, []).append((joint, columns))
    for order, members in groups.items():
        joints = [joint for joint, _ in members]
        # Whole turns are taken off in double precision, so that unwrapped angles keep their digits.
        angles = np.remainder(clip.values[:, [column for _, columns in members for column in columns]], 720.0)
        half = (angles * (np.pi / 360.0)).astype(np.float32).reshape(len(angles), len(joints), len(order))
        if len(order) == 3:
            quaternions[:, joints] = _three_turns(np.cos(half), np.sin(half), order)
        else:
            quaternions[:, joints] = rot.from_euler(torch.from_numpy(2.0 * half), order).numpy()
    return quaternions


def _three_turns(c: np.ndarray, s: np.ndarray, order: str) -> np.ndarray:
    """Quaternions of three turns about different axes, from cosines and sines of the half angles.

    The product (c1 + s1 i)(c2 + s2 j)(c3 + s3 k), written out; ``sign`` is that of i j = sign k.
    """
    i, j, k = ("XYZ".index(axis) + 1 for axis in order)
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    c1, c2, c3 = c[..., 0], c[..., 1], c[..., 2]
    s1, s2, s3 = s[..., 0] * sign, s[..., 1] * sign, s[..., 2] * sign
    cc, ss, cs, sc = c1 * c2, s1 * s2, c1 * s2, s1 * c2
    result = np.empty((*c1.shape, 4), dtype=c.dtype)
    result[..., 0] = cc * c3 - ss * s3
    result[..., i] = (sc * c3 + cs * s3) * sign
    result[..., j] = (cs * c3 - sc * s3) * sign
    result[..., k] = (cc * s3 + ss * c3) * sign
    return result


def _size(clip: BvhClip, offsets: np.ndarray) -> float:
    """Largest extent of the rest pose, in the file's unit."""
    rest = offsets.copy()
    rest[0] = 0.0
    for joint, parent in enumerate(clip.parents[1:], start=1):
        rest[joint] += rest[parent]
    return float(np.ptp(rest, axis=0).max())


def _scale(path: Path, clip: BvhClip, unit: str | float | None) -> tuple[float, str]:
    """Metres a unit, and a note. Without a word from the caller: by the longest chain of bones."""
    if isinstance(unit, str):
        return UNITS[unit], ""
    if unit is not None:
        return float(unit), ""
    reach = [0.0] * len(clip.parents)
    for joint, parent in enumerate(clip.parents[1:], start=1):
        reach[joint] = reach[parent] + float(np.linalg.norm(clip.offsets[joint])) * (parent > 0)
    longest = max(reach) or float(np.linalg.norm(clip.offsets[1:], axis=1).max(initial=0.0))
    if longest == 0.0:
        raise MotionFileError(f"{path}: all OFFSETs below the root are zero, so the unit cannot be guessed; give it")
    name = min(_GUESSES, key=lambda key: abs(math.log(longest * _GUESSES[key] / _REACH)))
    return _GUESSES[name], f"unit guessed from the body's size: {name}"


def _stand_up(motion: Motion, up: str | None) -> Motion:
    """Turn a Z-up motion to Y-up. Without a word from the caller: if it stands along Z, not along Y."""
    if up == "y":
        return motion
    skeleton = motion.skeleton
    rest = skeleton.rest_positions.numpy()[None]
    rest_z = _rises(rest, 2) > 2.0 * _rises(rest, 1)
    if up is None:
        posed = _some_positions(motion)
        height, floor = _rises(posed, 2), float(np.median(posed[..., 2].min(-1)))
        if not (height > 2.0 * _rises(posed, 1) and (rest_z or abs(floor) < 0.2 * height)):
            return motion
        motion = motion.with_(provenance=motion.provenance.noting("up axis guessed from the body's stance: z"))
    turn = rot.about("X", torch.tensor(-torch.pi / 2))
    rotations = motion.rotations.clone()
    rotations[:, 0] = rot.multiply(turn, rotations[:, 0])
    offsets = skeleton.offsets
    if rest_z:
        rotations = rot.multiply(rotations, rot.conjugate(turn))
        rotations[:, 1:] = rot.multiply(turn, rotations[:, 1:])
        offsets = rot.rotate(turn, offsets)
    return motion.with_(
        skeleton=Skeleton(skeleton.names, skeleton.parents, offsets),
        rotations=rotations,
        root=rot.rotate(turn, motion.root),
    )


def _some_positions(motion: Motion) -> np.ndarray:
    """Joint positions in up to 16 frames, ``(T, J, 3)``; a tenth of the cost of full kinematics."""
    some = np.linspace(0, len(motion) - 1, min(len(motion), 16)).round().astype(int)
    turns = rot.to_matrix(motion.rotations[some]).numpy()
    offsets = motion.skeleton.offsets.numpy()
    world, positions = [turns[:, 0]], [motion.root[some].numpy()]
    for joint, parent in enumerate(motion.skeleton.parents[1:], start=1):
        positions.append(positions[parent] + world[parent] @ offsets[joint])
        world.append(world[parent] @ turns[:, joint])
    return np.stack(positions, axis=1)


def _rises(positions: np.ndarray, axis: int) -> float:
    """Middle height of the root above the lowest joint along an axis, over the frames ``(T, J, 3)``."""
    return float(np.median(positions[:, 0, axis] - positions[..., axis].min(-1)))

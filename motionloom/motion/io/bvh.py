"""BVH, the text format of Biovision: a joint tree in rest pose, then one line of channel values a frame.

A joint's position channels replace its OFFSET (as Blender and MotionBuilder have it), end sites become leaf
joints named ``<parent>_end``. BVH names neither its unit nor its up axis; both are guessed unless given, and
every guess is noted in the motion's provenance.
"""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from motionloom.errors import MotionError, MotionFileError, SkeletonError
from motionloom.motion import rotations as rot
from motionloom.motion.io.bvh_fold import below, find_carriers, fold
from motionloom.motion.io.bvh_parse import END, BvhClip, parse_bvh
from motionloom.motion.io.units import UNITS, metres
from motionloom.motion.io.up_axis import stand_up
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS, Skeleton

__all__ = ["END", "UNITS", "BvhClip", "parse_bvh", "read_bvh"]

_GUESSES = {"m": 1.0, "dm": 0.1, "inch": 0.0254, "CMU (0.056444 m)": 0.056444, "cm": 0.01, "mm": 0.001}
_REACH = 1.1
"""Longest chain of bones of a grown body [m]; 1.0 to 1.5 over the files this was checked on."""
_STILL = 5e-5
"""How far a joint's own position channels may wander, as a share of the skeleton's size, and count as still."""
_STRETCH = 0.05
"""How far a joint's own position channels may wander, as a share of the skeleton's size, before we refuse."""


def read_bvh(
    path: str | Path,
    unit: str | float | None = None,
    fps: float | None = None,
    up: str | None = None,
    ends: bool | None = None,
) -> Motion:
    """Read a BVH file.

    Args:
        path: The file.
        unit: What one unit of the file is: "cm", "m", "dm", "mm", "inch" or a number of metres; guessed from the
            size of the skeleton if not given.
        fps: True frame rate, where the file's own ``Frame Time`` is known to be wrong.
        up: The file's up axis, "y" or "z"; guessed from how the body stands if not given.
        ends: Whether end sites become joints. Left out: they do, as some rigs have no other toes, but not in files
            of the canonical body, which come back with the joints they were written with.

    Raises:
        MotionFileError: The file is not BVH, is truncated, holds NaN or infinity, names a joint twice, has
            more than 512 joints or 64 levels, or stretches a joint while it moves.
    """
    path = Path(path)
    if up not in (None, "y", "z"):
        raise MotionFileError(f"{path}: up axis {up!r} is unknown; use 'y' or 'z'")
    metres(path, unit)
    clip = parse_bvh(path, fps)
    try:
        motion = _to_motion(path, clip, clip.fps if fps is None else fps, unit, ends)
        return stand_up(motion, up)
    except (MotionError, SkeletonError) as error:
        raise MotionFileError(f"{path}: {error}") from None


def _to_motion(path: Path, clip: BvhClip, fps: float, unit: str | float | None, ends: bool | None) -> Motion:
    offsets, tracks = _places(clip)
    size = _size(clip, offsets)
    wander = {joint: float(np.ptp(track, axis=0).max()) for joint, track in tracks.items()}
    moving = {joint for joint in tracks if joint and wander[joint] > _STILL * size}
    carriers = find_carriers(clip, moving)
    scale, note = _scale(path, clip, offsets, carriers.path, unit)
    notes = [*clip.notes, *([note] if note else [])]
    quaternions = torch.from_numpy(_rotations(clip))
    root, turn = fold(carriers.path, tracks, offsets, quaternions, scale)
    first = carriers.path[-1]
    notes += [
        f"root {clip.names[above]!r} folded into {clip.names[joint]!r}" for above, joint in pairwise(carriers.path)
    ]
    if carriers.left_out:
        named = ", ".join(repr(clip.names[joint][:40]) for joint in carriers.left_out[:4])
        notes.append(f"{named}{', ...' if len(carriers.left_out) > 4 else ''} beside the body left out")
    inside = below(clip, first)
    for joint in sorted(moving.intersection(inside) - {first}):
        middle = np.median(tracks[joint], axis=0)
        stretch = float(np.abs(tracks[joint] - middle).max())
        if stretch > _STRETCH * size:
            raise MotionFileError(
                f"{path}: joint {clip.names[joint]!r} is moved by its own position channels by"
                f" {stretch * scale:.3f} m; bones of fixed length are needed: bake it into rotations first"
            )
        notes.append(f"position channels of {clip.names[joint]!r} (up to {stretch * scale:.4f} m) made constant")
    offsets = offsets * scale
    offsets[first] = 0.0 if first else clip.offsets[0] * scale
    bones = set(clip.parents) | {joint for joint, names in enumerate(clip.channels) if names}
    ours = _order_of_ours(clip, [joint for joint in inside if joint in bones])
    ends = not ours if ends is None else ends
    kept = ours if ours and not ends else [joint for joint in inside if ends or joint in bones]
    skeleton = Skeleton(
        tuple(clip.names[joint] for joint in kept),
        tuple(kept.index(clip.parents[joint]) if joint != first else -1 for joint in kept),
        torch.from_numpy(offsets[kept]).float(),
    )
    quaternions = torch.cat((turn[:, None], quaternions[:, kept[1:]]), dim=1)
    return Motion(skeleton, quaternions, root, fps, provenance=Provenance(path.name, notes=tuple(notes)))


def _order_of_ours(clip: BvhClip, kept: list[int]) -> list[int]:
    """The joints in our order, if they are those of the canonical body, with or without hands; else none.

    BVH lists them depth first, whatever the order in which they were written.
    """
    places = {clip.names[joint]: joint for joint in kept}
    above = {clip.names[joint]: clip.names[clip.parents[joint]] for joint in kept[1:]}
    for tree in (CANONICAL, CANONICAL_HANDS):
        pairs = zip(tree.names, tree.parents, strict=True)
        wanted = {name: tree.names[parent] for name, parent in pairs if parent >= 0}
        if places.keys() == set(tree.names) and above == wanted:
            return [places[name] for name in tree.names]
    return []


def _places(clip: BvhClip) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Offsets ``(J, 3)`` as the motion has them, and tracks ``(T, 3)`` of the joints with position channels.

    Position channels replace an OFFSET, which some programs leave at zero.
    """
    offsets, tracks = clip.offsets.copy(), {}
    for joint in range(len(clip.names)):
        axes, columns = clip.columns(joint, "position")
        if axes:
            tracks[joint] = clip.values[:, [columns[axes.index(axis)] for axis in "XYZ"]]
            if joint:
                offsets[joint] = np.median(tracks[joint], axis=0)
    return offsets, tracks


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


def _scale(
    path: Path, clip: BvhClip, offsets: np.ndarray, carriers: tuple[int, ...], unit: str | float | None
) -> tuple[float, str]:
    """Metres a unit, and a note. Without a word from the caller: by the longest chain of bones below the hips."""
    if unit is not None:
        return metres(path, unit), ""
    reach = [0.0] * len(clip.parents)
    for joint, parent in enumerate(clip.parents[1:], start=1):
        reach[joint] = reach[parent] + float(np.linalg.norm(offsets[joint])) * (parent not in carriers)
    longest = max(reach) or float(np.linalg.norm(offsets[1:], axis=1).max(initial=0.0))
    if longest == 0.0:
        raise MotionFileError(f"{path}: all bones below the root are of length 0; the unit cannot be guessed: --unit")
    name = min(_GUESSES, key=lambda key: abs(math.log(longest * _GUESSES[key] / _REACH)))
    return _GUESSES[name], f"unit guessed from the body's size: {name}"

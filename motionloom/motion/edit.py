"""Edits that need no model: cut, join, mirror, put on the floor, face forward."""

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import MotionError, SkeletonError
from motionloom.motion import rotations as rot
from motionloom.motion.kinematics import facing, yaw
from motionloom.motion.motion import Motion, take
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS, MIRROR, MIRROR_HANDS, PARTS, Skeleton


def cut(motion: Motion, start: float = 0.0, end: float | None = None) -> Motion:
    """The part from ``start`` to ``end`` [s]; negative times count from the end.

    Raises:
        MotionError: The span is empty or leaves the motion.
    """
    first, last = (
        value + motion.seconds if value < 0 else value for value in (start, motion.seconds if end is None else end)
    )
    a, b = round(first * motion.fps), round(last * motion.fps)
    if not 0 <= a < b <= len(motion):
        raise MotionError(f"cannot cut {start} s to {end} s out of {motion.seconds:.2f} s: no such span")
    return take(motion, torch.arange(a, b))


def join(first: Motion, second: Motion, blend: float = 0.2) -> Motion:
    """Both motions one after the other, the second turned and moved to go on where the first ends.

    Args:
        first: The motion that begins.
        second: The motion that follows: same skeleton and fps.
        blend: Length of the overlap [s] over which one fades into the other.

    Raises:
        SkeletonError: The skeletons differ.
        MotionError: The frame rates differ, or the overlap is longer than one of the motions.
    """
    if not first.skeleton.same_tree(second.skeleton):
        raise SkeletonError("the two motions have different skeletons; retarget one to the other's first")
    if first.fps != second.fps:
        raise MotionError(f"the motions have {first.fps} and {second.fps} fps; call at_fps on one first")
    overlap = max(1, round(blend * first.fps))
    if overlap > min(len(first), len(second)):
        raise MotionError(f"an overlap of {blend} s is longer than one of the motions")
    at = len(first) - overlap
    heading = rot.yaw_of(first.rotations[at, 0]) - rot.yaw_of(second.rotations[0, 0])
    moved = turn(second, float(heading))
    shift = first.root[at] - moved.root[0]
    shift[1] = 0.0
    moved = moved.with_(root=moved.root + shift)
    # Smoothstep: no jump in velocity where the fade begins and ends.
    weight = torch.linspace(0, 1, overlap + 2)[1:-1]
    weight = weight * weight * (3 - 2 * weight)
    rotations = rot.slerp(first.rotations[at:], moved.rotations[:overlap], weight[:, None])
    root = torch.lerp(first.root[at:], moved.root[:overlap], weight[:, None])

    def merged(name: str) -> torch.Tensor | None:
        a, b = getattr(first, name), getattr(moved, name)
        if a is None or b is None:
            return None
        return torch.cat((a, b[overlap:]))

    return first.with_(
        rotations=torch.cat((first.rotations[:at], rotations, moved.rotations[overlap:])),
        root=torch.cat((first.root[:at], root, moved.root[overlap:])),
        valid=merged("valid"),
        contacts=merged("contacts"),
    )


def without_ends(motion: Motion) -> Motion:
    """Bring a motion of the canonical joints into their order, without the end sites that a BVH file adds.

    Args:
        motion: Of any skeleton; one that is not the canonical joints and leaves named ``..._end`` comes back as it is.
    """
    own = motion.skeleton
    if own.same_tree(CANONICAL) or not set(CANONICAL.names) <= set(own.names):
        return motion
    above = {
        name: own.names[parent] if parent >= 0 else "" for name, parent in zip(own.names, own.parents, strict=True)
    }
    ends = {name for name in own.names if name.endswith("_end") and name not in above.values()}
    wanted = {
        name: CANONICAL.names[parent] if parent >= 0 else ""
        for name, parent in zip(CANONICAL.names, CANONICAL.parents, strict=True)
    }
    if set(own.names) - ends != set(CANONICAL.names) or any(above[name] != wanted[name] for name in wanted):
        return motion
    order = [own.names.index(name) for name in CANONICAL.names]
    body = Skeleton(CANONICAL.names, CANONICAL.parents, own.offsets[order])
    return motion.with_(skeleton=body, rotations=motion.rotations[:, order])


def mirror(motion: Motion) -> Motion:
    """The mirror image: left and right change places.

    Works on the canonical tree, with or without hands, with offsets that are themselves symmetric.

    Raises:
        SkeletonError: The skeleton is not the canonical tree, or its two sides differ by more than 1 mm.
    """
    if not any(motion.skeleton.same_tree(tree) for tree in (CANONICAL, CANONICAL_HANDS)):
        raise SkeletonError("only motions of the canonical body can be mirrored; call retarget first")
    order = list(MIRROR if len(motion.skeleton) == len(MIRROR) else MIRROR_HANDS)
    flipped = motion.skeleton.offsets[order] * torch.tensor([-1.0, 1.0, 1.0])
    if float((flipped - motion.skeleton.offsets)[1:].abs().max()) > 1e-3:
        raise SkeletonError("the two sides of this body differ; retarget it to a symmetric one before mirroring")
    # Reflection in the plane x = 0 turns a rotation (w, x, y, z) into (w, x, -y, -z).
    rotations = motion.rotations[:, order] * torch.tensor([1.0, 1.0, -1.0, -1.0])
    parts = [PARTS.index(p.replace("left", "@").replace("right", "left").replace("@", "right")) for p in PARTS]
    return motion.with_(
        rotations=rotations,
        root=motion.root * torch.tensor([-1.0, 1.0, 1.0]),
        valid=None if motion.valid is None else motion.valid[:, parts],
        contacts=None if motion.contacts is None else motion.contacts[:, [2, 3, 0, 1]],
    )


def turn(motion: Motion, angle: float) -> Motion:
    """The motion turned about the vertical through the world's origin by ``angle`` [rad], positive to the left."""
    by = rot.about("Y", torch.tensor(float(angle)))
    rotations = motion.rotations.clone()
    rotations[:, 0] = rot.multiply(by, rotations[:, 0])
    return motion.with_(rotations=rotations, root=rot.rotate(by, motion.root))


def on_floor(motion: Motion, quantile: float = 0.05) -> Motion:
    """The motion shifted so that the floor (see ``floor_height``) is at height 0."""
    shift = torch.tensor([0.0, floor_height(motion.positions, quantile), 0.0])
    return motion.with_(root=motion.root - shift)


def floor_height(positions: Float[Tensor, "T J 3"], quantile: float = 0.05) -> float:
    """Height of the floor [m] under joint positions.

    It is the given quantile over time of the lowest joint's height: a single bad frame or a jump into a pit does
    not lift the rest.
    """
    return float(torch.quantile(positions[..., 1].min(dim=1).values, quantile))


def face_forward(motion: Motion, frame: int = 0) -> Motion:
    """The canonical body turned and moved so that in ``frame`` it stands over the origin and faces +Z.

    Raises:
        SkeletonError: The skeleton is not the canonical tree.
    """
    if not motion.skeleton.same_tree(CANONICAL):
        raise SkeletonError("the facing direction is known for the canonical body only; call retarget first")
    angle = float(yaw(facing(motion.positions[frame])))
    turned = turn(motion, -angle)
    shift = turned.root[frame] * torch.tensor([1.0, 0.0, 1.0])
    return turned.with_(root=turned.root - shift)

"""Which way is up in a file that does not say it: the rest pose decides, and motion only where that says nothing.

A rest pose is clear when a body stands in it: trunk straight along one axis, legs along the other way, and the root's
own offset not along another one. A person who lies all the time lies in a clear file too; only a file whose body stands
on a floor along another axis, and would be sunk into a floor along its rest pose's, is read by its motion.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from motionloom.errors import RetargetError
from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion
from motionloom.motion.rigs.reading import find_map
from motionloom.motion.skeleton import CANONICAL, Skeleton

AXES = ("x", "y", "z")
_SAMPLES = 64
_STRAIGHT, _LEGS, _BEND = 0.9, 0.75, 0.7
"""Cosines: of trunk and axis, of legs and trunk, of the lowest piece of the trunk and the whole, in a clear pose."""
_FLOOR = 0.08
"""How far the lowest joint of a body that stands or walks may be from height 0 [m]."""
_SUNK, _FALL = -0.06, 0.6
"""A body cannot lie so deep in the floor, nor can its root rise and fall by so much while it lies [m]."""


@dataclass(frozen=True)
class Up:
    """An axis that is taken for up, and why.

    Attributes:
        axis: "y" or "z".
        rest: Whether the rest pose is to be turned as well.
        note: Why, in words for the provenance.
    """

    axis: str
    rest: bool
    note: str


def find_up(motion: Motion) -> Up:
    """The axis that is up in a motion as its file has it."""
    rest = _rest(motion.skeleton)
    posed = _positions(motion)
    stance, share = _stance(motion.skeleton, posed)
    lies = _rest_rises(motion.skeleton)
    if rest is not None:
        if stance not in (None, rest) and share >= 0.9 and _walks(posed, rest, stance or rest):
            return Up(
                stance or rest,
                rest == "z",
                f"up axis {stance}: the body stands on a floor along it, unlike its rest pose",
            )
        note = f"up axis {rest}: the rest pose stands along it"
        if stance not in (None, rest):
            note += f", though the motion lies or stands along {stance}; --up {stance} if it stands"
        return Up(rest, rest == "z", note)
    if stance is not None:
        return Up(stance, lies == "z" and stance == "z", f"up axis {stance}: the body stands along it")
    height, floor = _rises(posed, 2), float(np.median(posed[..., 2].min(-1)))
    if height > 2.0 * _rises(posed, 1) and (lies == "z" or abs(floor) < 0.2 * height):
        return Up("z", lies == "z", "up axis z: guessed from the joints' heights; --up y if it lies")
    return Up("y", lies == "z", "up axis y: nothing in the file speaks against it")


def stand_up(motion: Motion, up: str | None) -> Motion:
    """Turn a Z-up motion to Y-up; without a word from the caller, as ``find_up`` decides and notes."""
    seen = find_up(motion)
    if up is None:
        motion = motion.with_(provenance=motion.provenance.noting(seen.note))
    if (up or seen.axis) == "y":
        return motion
    skeleton = motion.skeleton
    turn = rot.about("X", torch.tensor(-torch.pi / 2))
    rotations = motion.rotations.clone()
    rotations[:, 0] = rot.multiply(turn, rotations[:, 0])
    offsets = skeleton.offsets
    if seen.rest:
        rotations = rot.multiply(rotations, rot.conjugate(turn))
        rotations[:, 1:] = rot.multiply(turn, rotations[:, 1:])
        offsets = rot.rotate(turn, offsets)
    return motion.with_(
        skeleton=Skeleton(skeleton.names, skeleton.parents, offsets),
        rotations=rotations,
        root=rot.rotate(turn, motion.root),
    )


def _landmarks(skeleton: Skeleton) -> dict[str, int]:
    """Joints of trunk and legs, by the names of the skeleton; none where they are unknown."""
    try:
        slots = find_map(skeleton).slots(skeleton.names)
    except RetargetError:
        return {}
    return {name: slots[name][0] for name in CANONICAL.names if name in slots}


def _rest(skeleton: Skeleton) -> str | None:
    """The axis along which a clear rest pose stands; nothing where it is not clear."""
    rest = skeleton.rest_positions.double().numpy()
    marks = _landmarks(skeleton)
    if not marks:
        extents = np.ptp(rest, axis=0)
        # Without names: a body is tall along up, and its root well above its lowest joint. Arms may reach as far.
        rises = {axis: _rises(rest[None], axis) for axis in (1, 2)}
        axis = max(rises, key=lambda axis: rises[axis])
        fits = rises[axis] > 2.0 * rises[3 - axis] and extents[axis] >= 0.8 * extents.max()
        return AXES[axis] if fits else None
    trunk, legs = _trunk_legs(rest[None], marks)
    up = trunk[0]
    axis = int(np.argmax(np.abs(up)))
    if axis == 0 or up[axis] < _STRAIGHT or any(float(leg[0] @ up) > -_LEGS for leg in legs):
        return None
    hips = (rest[marks["left_hip"]] + rest[marks["right_hip"]]) / 2
    leg = float(np.linalg.norm(rest[marks["left_ankle"]] - rest[marks["left_hip"]]))
    low = next((rest[marks[name]] - hips for name in ("spine1", "spine2", "spine3", "neck") if name in marks), None)
    if low is not None and np.linalg.norm(low) > 0.03 * leg and low @ up < _BEND * np.linalg.norm(low):
        return None
    # A root that the file itself puts at the height of its legs, but along another axis, tells of mixed frames.
    place = skeleton.offsets[0].double().numpy()
    other = int(np.argmax(np.abs(place)))
    if abs(place[other]) > 0.7 * leg and abs(place[other]) > 3.0 * abs(place[axis]) and other != axis:
        return None
    return AXES[axis]


def _trunk_legs(
    positions: Float[np.ndarray, "T J 3"], marks: dict[str, int]
) -> tuple[Float[np.ndarray, "T 3"], list[Float[np.ndarray, "T 3"]]]:
    """Unit vectors from the hips to the shoulders, and from each hip to its ankle."""

    def middle(name: str) -> np.ndarray:
        return (positions[:, marks[f"left_{name}"]] + positions[:, marks[f"right_{name}"]]) / 2

    def unit(vector: np.ndarray) -> np.ndarray:
        return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9)

    sides = ("left", "right")
    legs = [unit(positions[:, marks[f"{side}_ankle"]] - positions[:, marks[f"{side}_hip"]]) for side in sides]
    return unit(middle("shoulder") - middle("hip")), legs


def _stance(skeleton: Skeleton, posed: Float[np.ndarray, "T J 3"]) -> tuple[str | None, float]:
    """The axis along which the body stands in most of its frames, and in how many of them."""
    marks = _landmarks(skeleton)
    if not marks:
        return None, 0.0
    trunk, legs = _trunk_legs(posed, marks)
    for axis in (1, 2):
        upright = (trunk[:, axis] > 0.8) & (np.minimum(legs[0][:, axis], legs[1][:, axis]) < -0.7)
        share = float(upright.mean())
        if share > 0.5:
            return AXES[axis], share
    return None, 0.0


def _walks(posed: Float[np.ndarray, "T J 3"], rest: str, stance: str) -> bool:
    """Whether a body keeps to a floor along one axis, and could not lie on a floor along the other."""
    lowest = posed[..., AXES.index(stance)].min(-1)
    along = posed[..., AXES.index(rest)]
    stands = abs(np.median(lowest)) < _FLOOR and np.std(lowest) < _FLOOR
    return bool(stands and (np.median(along.min(-1)) < _SUNK or np.ptp(along[:, 0]) > _FALL))


def _positions(motion: Motion) -> Float[np.ndarray, "T J 3"]:
    """Joint positions in up to 64 frames, ``(T, J, 3)``; a tenth of the cost of full kinematics."""
    some = np.linspace(0, len(motion) - 1, min(len(motion), _SAMPLES)).round().astype(int)
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


def _rest_rises(skeleton: Skeleton) -> str | None:
    rest = skeleton.rest_positions.numpy()[None]
    return "z" if _rises(rest, 2) > 2.0 * _rises(rest, 1) else None

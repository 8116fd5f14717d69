"""SMPL pose parameters of any dataset as motions of the canonical body.

The first 22 joints of SMPL, SMPL-H and SMPL-X are the canonical ones, so rotations carry over; bone lengths need the
licensed body model and are the canonical body's. What differs between datasets is which way is up.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import DataError, MotionError
from motionloom.motion import rotations as rot
from motionloom.motion.files import check_numbers
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS

BODY_NUMBERS = 3 * len(CANONICAL)
_STILL = 5e-4
"""Fingers whose quaternions change by less in a whole file (by 0.001 rad) were not captured."""
_SURE = 0.6
"""Cosine of the largest angle between the mean direction of a trunk and an axis that is taken for up."""
_UPS = {"x": (0, 1.0), "-x": (0, -1.0), "y": (1, 1.0), "-y": (1, -1.0), "z": (2, 1.0), "-z": (2, -1.0)}


def smpl_motion(
    poses: np.ndarray, root: np.ndarray, fps: float, up: str, where: str, hands: np.ndarray | None = None
) -> Motion:
    """Axis-angle poses and a root path as a motion, Y up.

    Args:
        poses: ``(T, 72)`` or wider, or ``(T, J, 3)``: the first 66 numbers are the body's.
        root: ``(T, 3)`` [m].
        fps: Frames a second.
        up: Which axis of the data points up: "x", "y", "z" or with a minus, or "seen": the one that the trunk
            mostly points along, which the notes then name.
        where: File (and place) for messages.
        hands: ``(T, 90)``, the left hand's fifteen joints, then the right's; taken along where they move at all.

    Raises:
        MotionFileError: Shapes are wrong, or a number is NaN or infinite.
        DataError: The two differ in length, or no axis is up in "seen" data.
    """
    poses = poses.reshape(len(poses), -1) if poses.ndim == 3 else poses
    if poses.ndim != 2 or poses.shape[1] < BODY_NUMBERS:
        raise DataError(f"{where}: poses of shape {poses.shape}; frames of at least {BODY_NUMBERS} numbers are needed")
    body = check_numbers(np.ascontiguousarray(poses[:, :BODY_NUMBERS]), (None, BODY_NUMBERS), where)
    path = torch.from_numpy(check_numbers(root, (None, 3), where))
    if len(body) != len(path):
        raise DataError(f"{where}: {len(body)} frames of poses and {len(path)} of the root; they must agree")
    if hands is not None:
        fingers = check_numbers(np.ascontiguousarray(hands), (None, 90), f"{where}: hands")
        body = np.concatenate((body, fingers), axis=1)
    return rotated_motion(rot.from_axis_angle(torch.from_numpy(body).unflatten(1, (-1, 3))), path, fps, up, where)


def rotated_motion(
    rotations: Float[Tensor, "T J 4"], root: Float[Tensor, "T 3"], fps: float, up: str, where: str
) -> Motion:
    """Rotations of the canonical body, with or without hands, in a world with another axis up, as a motion, Y up."""
    note = ""
    if up == "seen":
        up, note = _seen_up(rotations, where), "up axis seen in the data: "
    turn = turn_up(up).to(rotations)
    rotations = rotations.clone()
    rotations[:, 0] = rot.multiply(turn, rotations[:, 0])
    notes = (f"SMPL poses on the canonical body's bone lengths; {note}{up} up",)
    provenance = Provenance(Path(where).name, notes=notes)
    fingers = rotations[:, len(CANONICAL) :]
    # Files without captured hands hold one pose throughout: that says nothing about the hands.
    if fingers.numel() and float((fingers - fingers[:1]).abs().max()) < _STILL:
        rotations = rotations[:, : len(CANONICAL)]
    skeleton = CANONICAL if rotations.shape[1] == len(CANONICAL) else CANONICAL_HANDS
    try:
        return Motion(
            skeleton, rot.normalize(rotations).float(), rot.rotate(turn, root).float(), fps, provenance=provenance
        )
    except MotionError as error:
        raise DataError(f"{where}: {error}") from None


def turn_up(up: str) -> Float[Tensor, "4"]:
    """The rotation that takes an axis ("x", "-y", ...) to +Y by the shortest way, half turns about X."""
    axis, sign = _UPS[up]
    if up == "-y":
        return rot.about("X", torch.tensor(torch.pi, dtype=torch.float64))
    source = torch.zeros(3, dtype=torch.float64)
    source[axis] = sign
    return rot.between(source, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))


def _seen_up(rotations: Float[Tensor, "T J 4"], where: str) -> str:
    """The axis that the pelvis, which stands upright most of the time, has up on average."""
    trunk = rot.rotate(rotations[:, 0], torch.tensor([0.0, 1.0, 0.0]).to(rotations)).mean(0)
    best = max(_UPS, key=lambda name: float(trunk[_UPS[name][0]]) * _UPS[name][1])
    axis, sign = _UPS[best]
    if float(trunk[axis]) * sign < _SURE:
        raise DataError(f"{where}: no axis is up on average ({', '.join(f'{v:.2f}' for v in trunk)}): lying or damaged")
    return best

"""AMASS and SMPL ``.npz``: axis-angle poses and a root path, Z-up at the door; no body model is needed.

The first 22 joints of SMPL, SMPL-H and SMPL-X are our canonical ones, in the same order and with the same
T-pose, so rotations carry over as they are. Bone lengths do not: they need the licensed body model, and the
canonical body's are used. Format: Mahmood et al., "AMASS" (ICCV 2019) and its released files.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import MotionError, MotionFileError
from motionloom.motion import rotations as rot
from motionloom.motion.budget import Budget
from motionloom.motion.files import check_finite, check_numbers, check_shape, one_number, one_text, read_arrays
from motionloom.motion.kinematics import forward_kinematics
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS

JOINTS = {66: "22 joints", 72: "SMPL", 156: "SMPL-H", 165: "SMPL-X"}
"""Pose vectors by length: the first 66 numbers are the body's in all of them."""
_RATES = ("mocap_framerate", "mocap_frame_rate", "fps")
_WORDS = ("up_axis", "gender", "surface_model_type", "text", "licence")
_FIELDS = {"trans", "poses", "root_orient", "pose_body", "pose_hand", *_RATES, *_WORDS}
_BODY = 3 * len(CANONICAL)
_HANDS = {156: slice(66, 156), 165: slice(75, 165)}
_Y_UP_KEYS = {"expressions", "expression"}
"""Arrays of EMAGE's and BEAT2's files, which are Y-up; AMASS' have none of them."""
_FLOOR = 0.15
"""How far the lowest joint of a standing body may be from height 0 [m]; betas are not used, so legs may be off."""
_PIECE = 4096
_BUDGET = Budget(elements=1 << 24)
"""100,000 frames of SMPL-H: 15 minutes at 120 frames a second."""
_STILL = 1e-3
"""Fingers that turn less than this [rad] in a whole file were not captured: such files hold one pose throughout."""


def read_amass(path: str | Path, up: str | None = None, fps: float | None = None, hands: bool = False) -> Motion:
    """Read an AMASS or SMPL file: ``trans`` with ``poses``, or with ``root_orient`` and ``pose_body``.

    Args:
        path: The file.
        up: Its up axis, "z" or "y"; without it the file's own ``up_axis``, or what ``_find_up`` sees.
        fps: Frame rate, where the file has none or a wrong one.
        hands: Read the fingers too, where the file has them and they move; the motion then has 52 joints.

    Raises:
        MotionFileError: An array is missing, of another shape, pickled, holds NaN or infinity, or is too large.
    """
    path = Path(path)
    arrays, names = read_arrays(path, _FIELDS, words=set(_WORDS), budget=_BUDGET)
    words = {key: one_text(arrays[key]) for key in _WORDS if key in arrays}
    up = up or words.get("up_axis")
    if up not in ("y", "z", None, ""):
        raise MotionFileError(f"{path}: up axis {up!r} is unknown; use 'y' or 'z'")
    if fps is None:
        key = next((key for key in _RATES if key in arrays), None)
        if key is None:
            raise MotionFileError(
                f"{path}: the frame rate is missing (mocap_framerate or mocap_frame_rate); name it with --true-fps"
            )
        fps = one_number(arrays[key], f"{path}: array {key!r}")
    parts, kind = _poses(path, arrays)
    if "trans" not in arrays:
        raise MotionFileError(f"{path}: array 'trans' is missing; the file has {sorted(names)[:12]}")
    root = torch.from_numpy(check_numbers(arrays["trans"], (None, 3), f"{path}: array 'trans'"))
    if len(root) != len(parts[0]):
        raise MotionFileError(f"{path}: poses have {len(parts[0])} frames, trans {len(root)}; they must agree")
    fingers = _fingers(path, arrays, len(root)) if hands else None
    if fingers is not None:
        parts.append(fingers)
    rotations = _rotations(parts)
    if up:
        why = f"{up}-up"
    else:
        up, why = _find_up(rotations, root, names)
    if up == "z":
        turn = _turn(-1.0)
        rotations[:, 0] = rot.normalize(rot.multiply(turn, rotations[:, 0].double())).float()
        root = rot.rotate(turn, root)
    notes = (
        f"{kind} poses ({words.get('gender') or 'no gender'}), on the canonical body's bone lengths;"
        f" betas{'' if fingers is not None else ', hands'} and face are not used",
        f"up axis {why}",
    )
    provenance = Provenance(path.name, words.get("licence", ""), words.get("text", ""), notes=notes)
    body = CANONICAL if fingers is None else CANONICAL_HANDS
    try:
        return Motion(body, rotations, root.float(), fps, provenance=provenance)
    except MotionError as error:
        raise MotionFileError(f"{path}: {error}") from None


def _rotations(parts: list[np.ndarray]) -> Float[Tensor, "T J 4"]:
    """Unit quaternions of axis-angle vectors side by side, some thousand frames at a time: files may be long."""
    frames, width = len(parts[0]), sum(part.shape[1] for part in parts)
    result = torch.empty(frames, width // 3, 4)
    for start in range(0, frames, _PIECE):
        piece = np.concatenate([part[start : start + _PIECE] for part in parts], axis=1).astype(np.float32)
        vectors = piece.reshape(len(piece), -1, 3)
        half = 0.5 * np.sqrt(np.einsum("tjc,tjc->tj", vectors, vectors))
        made = result[start : start + _PIECE].numpy()
        made[..., 0] = np.cos(half)
        # sin(h) / 2h, which is 1/2 at 0.
        made[..., 1:] = vectors * (0.5 * np.sinc(half / np.pi))[..., None]
    return rot.normalize(result)


def _find_up(rotations: Float[Tensor, "T J 4"], root: Float[Tensor, "T 3"], names: set[str]) -> tuple[str, str]:
    """The up axis of a file that does not say it, and why: SMPL's rest pose says nothing about the world.

    AMASS is Z-up; files with EMAGE's keys are Y-up. A body that clearly stands along the other axis, on a floor there
    or where it could not lie on a floor of the first, overrules that.
    """
    usual = "y" if names & _Y_UP_KEYS else "z"
    some = torch.linspace(0, len(root) - 1, min(len(root), 64)).round().long()
    points, _ = forward_kinematics(rotations[some, : len(CANONICAL)], root[some].float(), CANONICAL)
    trunk = rot.normalize(points[:, 12] - points[:, 0])
    legs = rot.normalize(points[:, [7, 8]] - points[:, [1, 2]])
    other = "z" if usual == "y" else "y"
    axis, mine = "xyz".index(other), "xyz".index(usual)
    upright = (trunk[:, axis] > 0.8) & (legs[..., axis].amin(1) < -0.7)
    if float(upright.float().mean()) <= 0.5:
        stands = bool(((trunk[:, mine] > 0.7).float().mean() > 0.5).item())
        return (
            usual,
            f"{usual}: {'the body stands along it' if stands else f'as such files have it; else --up {other}'}",
        )
    lowest, own = points[..., axis].amin(1), points[..., mine]
    on_floor = abs(float(lowest.median())) < _FLOOR
    lies = float(own.amin(1).median()) > -0.12 and 0.06 < float(own[:, 0].median()) < 0.45
    if on_floor or not lies:
        return other, f"{other}: the body stands along it; --up {usual} if it lies"
    return usual, f"{usual}: the body lies on a floor there; --up {other} if it stands"


def _poses(path: Path, arrays: dict[str, np.ndarray]) -> tuple[list[np.ndarray], str]:
    """Axis-angle vectors of the 22 body joints, ``(T, 66)`` in one or two parts, and what kind of file has them."""
    if "poses" in arrays:
        poses = arrays["poses"]
        poses = poses.reshape(len(poses), -1) if poses.ndim == 3 and poses.shape[2] == 3 else poses
        if poses.ndim != 2 or poses.shape[1] not in JOINTS:
            widths = ", ".join(f"{width} ({kind})" for width, kind in JOINTS.items())
            raise MotionFileError(f"{path}: array 'poses' has shape {arrays['poses'].shape}; T x {widths} are read")
        check_shape(poses, (None, poses.shape[1]), f"{path}: array 'poses'")
        check_finite(poses, f"{path}: array 'poses'")
        return [poses[:, :_BODY]], JOINTS[poses.shape[1]]
    missing = [key for key in ("root_orient", "pose_body") if key not in arrays]
    if missing:
        raise MotionFileError(f"{path}: array {missing[0]!r} is missing, and there is no 'poses' either")
    parts = [arrays["root_orient"], arrays["pose_body"]]
    for key, part, width in zip(("root_orient", "pose_body"), parts, (3, _BODY - 3), strict=True):
        check_shape(part, (None, width), f"{path}: array {key!r}")
        check_finite(part, f"{path}: array {key!r}")
    if len(parts[0]) != len(parts[1]):
        raise MotionFileError(
            f"{path}: 'root_orient' has {len(parts[0])} frames, 'pose_body' {len(parts[1])}; they must agree"
        )
    return parts, "SMPL body"


def _fingers(path: Path, arrays: dict[str, np.ndarray], frames: int) -> np.ndarray | None:
    """Axis-angle vectors of both hands, ``(T, 90)``; nothing where the file has none or they never move."""
    if "pose_hand" in arrays:
        fingers = arrays["pose_hand"]
        check_shape(fingers, (None, 90), f"{path}: array 'pose_hand'")
        check_finite(fingers, f"{path}: array 'pose_hand'")
    elif "poses" in arrays and (flat := arrays["poses"].reshape(len(arrays["poses"]), -1)).shape[1] in _HANDS:
        fingers = flat[:, _HANDS[flat.shape[1]]]
    else:
        return None
    if len(fingers) != frames:
        raise MotionFileError(f"{path}: poses have {frames} frames, 'pose_hand' {len(fingers)}; they must agree")
    return fingers if float(np.ptp(fingers, axis=0).max()) > _STILL else None


def _turn(sign: float) -> torch.Tensor:
    """Return a quarter turn about X; the negative one takes Z-up to Y-up."""
    return rot.about("X", torch.tensor(sign * torch.pi / 2, dtype=torch.float64))


def write_amass(motion: Motion, path: str | Path, up: str = "z") -> None:
    """Write an AMASS file in SMPL-H form (52 joints, hands at rest, betas zero).

    ``trans`` is the pelvis; a body model adds its own pelvis offset, a few centimetres, to that. The up axis
    is in the file as ``up_axis``.

    Args:
        motion: A motion of the canonical 22 joints.
        path: The file.
        up: Its up axis: "z" as in AMASS, or "y".

    Raises:
        MotionFileError: The motion is of another skeleton, or the up axis is unknown.
    """
    if not motion.skeleton.same_tree(CANONICAL):
        raise MotionFileError(
            f"{path}: AMASS needs the canonical 22 joints, this motion has {len(motion.skeleton)} others;"
            " retarget it first"
        )
    if up not in ("y", "z"):
        raise MotionFileError(f"{path}: up axis {up!r} is unknown; use 'y' or 'z'")
    rotations = motion.rotations.detach().cpu().double().clone()
    root = motion.root.detach().cpu().double()
    if up == "z":
        turn = _turn(1.0)
        rotations[:, 0] = rot.multiply(turn, rotations[:, 0])
        root = rot.rotate(turn, root)
    body = rot.to_axis_angle(rot.normalize(rotations)).flatten(1).numpy().astype(np.float32)
    hands = np.zeros((len(motion), 90), dtype=np.float32)
    arrays: dict[str, np.ndarray] = {
        "trans": root.numpy().astype(np.float32),
        "poses": np.concatenate((body, hands), axis=1),
        "root_orient": body[:, :3],
        "pose_body": body[:, 3:],
        "pose_hand": hands,
        "betas": np.zeros(16, dtype=np.float32),
        "gender": np.array("neutral"),
        "surface_model_type": np.array("smplh"),
        "mocap_framerate": np.array(motion.fps, dtype=np.float64),
        "mocap_frame_rate": np.array(motion.fps, dtype=np.float64),
        "up_axis": np.array(up),
    }
    for key, word in (("text", motion.provenance.text), ("licence", motion.provenance.licence)):
        if word:
            arrays[key] = np.array(word)
    with Path(path).open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)

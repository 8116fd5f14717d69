"""AMASS and SMPL ``.npz``: axis-angle poses and a root path, Z-up at the door; no body model is needed.

The first 22 joints of SMPL, SMPL-H and SMPL-X are our canonical ones, in the same order and with the same
T-pose, so rotations carry over as they are. Bone lengths do not: they need the licensed body model, and the
canonical body's are used. Format: Mahmood et al., "AMASS" (ICCV 2019) and its released files.
"""

from pathlib import Path

import numpy as np
import torch

from motionloom.errors import MotionError, MotionFileError
from motionloom.motion import rotations as rot
from motionloom.motion.files import check_numbers, one_number, one_text, read_arrays
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS

JOINTS = {66: "22 joints", 72: "SMPL", 156: "SMPL-H", 165: "SMPL-X"}
"""Pose vectors by length: the first 66 numbers are the body's in all of them."""
_RATES = ("mocap_framerate", "mocap_frame_rate", "fps")
_WORDS = ("up_axis", "gender", "surface_model_type", "text", "licence")
_FIELDS = {"trans", "poses", "root_orient", "pose_body", "pose_hand", *_RATES, *_WORDS}
_BODY = 3 * len(CANONICAL)
_HANDS = {156: slice(66, 156), 165: slice(75, 165)}
_STILL = 1e-3
"""Fingers that turn less than this [rad] in a whole file were not captured: such files hold one pose throughout."""


def read_amass(path: str | Path, up: str | None = None, fps: float | None = None, hands: bool = False) -> Motion:
    """Read an AMASS or SMPL file: ``trans`` with ``poses``, or with ``root_orient`` and ``pose_body``.

    Args:
        path: The file.
        up: Its up axis, "z" or "y"; without it the file's own ``up_axis``, or "z" as AMASS has it.
        fps: Frame rate, where the file has none or a wrong one.
        hands: Read the fingers too, where the file has them and they move; the motion then has 52 joints.

    Raises:
        MotionFileError: An array is missing, of another shape, pickled, or holds NaN or infinity.
    """
    path = Path(path)
    arrays, names = read_arrays(path, _FIELDS)
    words = {key: one_text(arrays[key]) for key in _WORDS if key in arrays}
    up = up or words.get("up_axis") or "z"
    if up not in ("y", "z"):
        raise MotionFileError(f"{path}: up axis {up!r} is unknown; use 'y' or 'z'")
    if fps is None:
        key = next((key for key in _RATES if key in arrays), None)
        if key is None:
            raise MotionFileError(f"{path}: the frame rate is missing (mocap_framerate or mocap_frame_rate); give fps")
        fps = one_number(arrays[key], f"{path}: array {key!r}")
    poses, kind = _poses(path, arrays)
    if "trans" not in arrays:
        raise MotionFileError(f"{path}: array 'trans' is missing; the file has {sorted(names)[:12]}")
    root = torch.from_numpy(check_numbers(arrays["trans"], (None, 3), f"{path}: array 'trans'"))
    if len(root) != len(poses):
        raise MotionFileError(f"{path}: poses have {len(poses)} frames, trans {len(root)}; they must agree")
    fingers = _fingers(path, arrays, len(poses)) if hands else None
    if fingers is not None:
        poses = np.concatenate((poses, fingers), axis=1)
    rotations = rot.from_axis_angle(torch.from_numpy(poses).unflatten(1, (-1, 3)))
    if up == "z":
        turn = _turn(-1.0)
        rotations[:, 0] = rot.multiply(turn, rotations[:, 0])
        root = rot.rotate(turn, root)
    notes = (
        f"{kind} poses ({words.get('gender') or 'no gender'}), {up}-up, on the canonical body's bone lengths;"
        f" betas{'' if fingers is not None else ', hands'} and face are not used",
    )
    provenance = Provenance(path.name, words.get("licence", ""), words.get("text", ""), notes=notes)
    body = CANONICAL if fingers is None else CANONICAL_HANDS
    try:
        return Motion(body, rot.normalize(rotations).float(), root.float(), fps, provenance=provenance)
    except MotionError as error:
        raise MotionFileError(f"{path}: {error}") from None


def _poses(path: Path, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, str]:
    """Axis-angle vectors of the 22 body joints, ``(T, 66)``, and what kind of file they came from."""
    if "poses" in arrays:
        poses = arrays["poses"]
        poses = poses.reshape(len(poses), -1) if poses.ndim == 3 and poses.shape[2] == 3 else poses
        if poses.ndim != 2 or poses.shape[1] not in JOINTS:
            widths = ", ".join(f"{width} ({kind})" for width, kind in JOINTS.items())
            raise MotionFileError(f"{path}: array 'poses' has shape {arrays['poses'].shape}; T x {widths} are read")
        kind = JOINTS[poses.shape[1]]
        return check_numbers(poses, (None, poses.shape[1]), f"{path}: array 'poses'")[:, :_BODY], kind
    missing = [key for key in ("root_orient", "pose_body") if key not in arrays]
    if missing:
        raise MotionFileError(f"{path}: array {missing[0]!r} is missing, and there is no 'poses' either")
    parts = [
        check_numbers(arrays["root_orient"], (None, 3), f"{path}: array 'root_orient'"),
        check_numbers(arrays["pose_body"], (None, _BODY - 3), f"{path}: array 'pose_body'"),
    ]
    if len(parts[0]) != len(parts[1]):
        raise MotionFileError(
            f"{path}: 'root_orient' has {len(parts[0])} frames, 'pose_body' {len(parts[1])}; they must agree"
        )
    return np.concatenate(parts, axis=1), "SMPL body"


def _fingers(path: Path, arrays: dict[str, np.ndarray], frames: int) -> np.ndarray | None:
    """Axis-angle vectors of both hands, ``(T, 90)``; nothing where the file has none or they never move."""
    if "pose_hand" in arrays:
        fingers = check_numbers(arrays["pose_hand"], (None, 90), f"{path}: array 'pose_hand'")
    elif "poses" in arrays and (flat := arrays["poses"].reshape(len(arrays["poses"]), -1)).shape[1] in _HANDS:
        fingers = check_numbers(flat[:, _HANDS[flat.shape[1]]], (None, 90), f"{path}: array 'poses'")
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

"""Plain arrays: our ``.npz`` (a whole motion), HumanML3D ``.npy`` (joints, features), joints as ``.csv``."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from motionloom.errors import LayoutError, MotionError, MotionFileError, SkeletonError
from motionloom.motion.budget import MOTION
from motionloom.motion.files import (
    MAX_FRAMES,
    MAX_NUMBER,
    check_finite,
    check_numbers,
    check_shape,
    one_number,
    one_text,
    parse_npy,
    read_arrays,
    read_bytes,
    read_text,
)
from motionloom.motion.io.units import metres
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.skeleton import CANONICAL, PARTS, Skeleton

FORMAT = 1
"""Version of our npz; readers refuse a newer one."""
LAYOUTS = {263: "humanml3d", 251: "kit"}
"""Feature layouts an ``.npy`` may hold, by width."""
_MAX_COLUMNS = 4096
_FORMAT_KEY = "motionloom_format"
_NEEDED = {_FORMAT_KEY, "names", "parents", "offsets", "rotations", "root", "fps", "provenance"}
_FIELDS = _NEEDED | {"valid", "contacts"}


def write_npz(motion: Motion, path: str | Path) -> None:
    """Write all fields of a motion, compressed, without pickle; ``read_npz`` gives back the same bits.

    Raises:
        MotionFileError: A joint has no name, or one that ends in a null character (numpy cuts those).
    """
    skeleton = motion.skeleton
    if any(not name or name.endswith("\0") for name in skeleton.names):
        raise MotionFileError(f"{path}: a joint has no name, or one that ends in a null; name it")
    arrays = {
        _FORMAT_KEY: np.array(FORMAT),
        "names": np.array(skeleton.names),
        "parents": np.array(skeleton.parents, dtype=np.int64),
        "offsets": skeleton.offsets.detach().cpu().numpy(),
        "rotations": motion.rotations.detach().cpu().numpy(),
        "root": motion.root.detach().cpu().numpy(),
        "fps": np.array(motion.fps, dtype=np.float64),
        "provenance": np.array(json.dumps(asdict(motion.provenance), sort_keys=True)),
    }
    if motion.valid is not None:
        arrays["valid"] = motion.valid.cpu().numpy()
    if motion.contacts is not None:
        arrays["contacts"] = motion.contacts.cpu().numpy()
    with Path(path).open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_npz(path: str | Path, up: str | None = None, fps: float | None = None) -> Motion:
    """Read an ``.npz``: our own form, or AMASS / SMPL when it has their keys (see ``read_amass``).

    Args:
        path: The file.
        up: Up axis of an AMASS / SMPL file, "z" or "y"; ours is always Y-up.
        fps: Frame rate, where the file has none or a wrong one.

    Raises:
        MotionFileError: The file is damaged, too large, of a newer format or of no known kind.
    """
    path = Path(path)
    arrays, names = read_arrays(path, _FIELDS)
    if _FORMAT_KEY not in names:
        if names & {"poses", "pose_body", "root_orient", "trans"}:
            from motionloom.motion.io.amass import read_amass

            return read_amass(path, up=up, fps=fps)
        found = ", ".join(repr(name[:40]) for name in sorted(names)[:12]) or "none"
        raise MotionFileError(f"{path}: neither a motionloom nor an AMASS file; its arrays are: {found}")
    version = one_number(arrays[_FORMAT_KEY], f"{path}: {_FORMAT_KEY}")
    if version != FORMAT:
        raise MotionFileError(f"{path}: format {version:g} is not {FORMAT}; update motionloom")
    missing = sorted(_NEEDED - arrays.keys())
    if missing:
        raise MotionFileError(f"{path}: array {missing[0]!r} is missing; the file is incomplete")
    try:
        return _from_fields(path, arrays, fps)
    except (MotionError, SkeletonError) as error:
        raise MotionFileError(f"{path}: {error}") from None


def _from_fields(path: Path, arrays: dict[str, np.ndarray], fps: float | None) -> Motion:
    names, parents = arrays["names"], arrays["parents"]
    if names.ndim != 1 or names.dtype.kind != "U" or parents.ndim != 1 or parents.dtype.kind != "i":
        raise MotionFileError(f"{path}: 'names' must be a row of words and 'parents' a row of whole numbers")
    joints = len(names)
    skeleton = Skeleton(
        tuple(names.tolist()),
        tuple(parents.tolist()),
        _tensor(arrays["offsets"], (joints, 3), f"{path}: array 'offsets'"),
    )
    rotations = _tensor(arrays["rotations"], (None, joints, 4), f"{path}: array 'rotations'")
    root = _tensor(arrays["root"], (None, 3), f"{path}: array 'root'")
    if len(root) != len(rotations):
        raise MotionFileError(f"{path}: rotations have {len(rotations)} frames, root has {len(root)}")
    flags: dict[str, torch.Tensor | None] = {"valid": None, "contacts": None}
    for key, width in (("valid", len(PARTS)), ("contacts", 4)):
        if key in arrays:
            array = arrays[key]
            if array.dtype != np.bool_ or array.ndim != 2 or array.shape[1] != width:
                raise MotionFileError(f"{path}: array {key!r} must be T x {width} booleans; got {array.shape}")
            if len(array) != len(rotations):
                raise MotionFileError(f"{path}: {key!r} has {len(array)} frames, rotations {len(rotations)}")
            flags[key] = torch.from_numpy(array.copy())
    return Motion(
        skeleton,
        rotations,
        root,
        fps if fps is not None else one_number(arrays["fps"], f"{path}: array 'fps'"),
        valid=flags["valid"],
        contacts=flags["contacts"],
        provenance=_provenance(path, one_text(arrays["provenance"])),
    )


def _tensor(array: np.ndarray, shape: tuple[int | None, ...], where: str) -> torch.Tensor:
    check_shape(array, shape, where)
    check_finite(array, where)
    kind = np.float64 if array.dtype == np.float64 else np.float32
    # Arrays out of archives are ours alone; those over the bytes of a file must not be written to.
    return torch.from_numpy(np.require(array, kind, ["C", "W"]))


def _provenance(path: Path, text: str) -> Provenance:
    try:
        fields = json.loads(text)
        seed = fields["seed"]
        words = [fields[name] for name in ("source", "licence", "text", "engine")]
        notes = fields["notes"]
        fits = all(isinstance(word, str) for word in (*words, *notes)) and (seed is None or type(seed) is int)
        if not fits or not isinstance(notes, list) or len(fields) != 6:
            raise ValueError("a field of another type")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        what = f"array 'provenance' is not what motionloom writes ({error!r:.60})"
        raise MotionFileError(f"{path}: {what}") from None
    return Provenance(words[0], words[1], words[2], seed, words[3], tuple(notes))


def write_npy(motion: Motion, path: str | Path) -> None:
    """Write world positions of the joints [m] as float32 ``(T, J, 3)``, the form of HumanML3D's new_joints.

    The frame rate is not stored; HumanML3D means 20 fps.
    """
    with Path(path).open("wb") as file:
        np.save(file, motion.positions.detach().cpu().numpy().astype(np.float32), allow_pickle=False)


def read_npy(
    path: str | Path,
    fps: float | None = None,
    rotation: str = "published",
    unit: str | float | None = None,
    up: str | None = None,
) -> Motion:
    """Read HumanML3D or KIT arrays: joints ``(T, 22, 3)`` or features ``(T, 263)`` or ``(T, 251)``.

    Args:
        path: The file.
        fps: Frame rate; without it 20 (12.5 for 251 features), as published.
        rotation: Form of 263 features: "published" as the dataset's own, or "parent" as our models make them.
        unit: What one unit of joints is: "m", "cm", ... or metres; metres when left out.
        up: Up axis of joints, "y" or "z"; Y when left out.

    Raises:
        MotionFileError: The array is damaged, of another shape, holds Python objects, NaN or infinity, or features
            that were not denormalised.
    """
    path = Path(path)
    array = parse_npy(read_bytes(path), str(path))
    if array.ndim == 2 and array.shape[1] in LAYOUTS:
        if unit is not None or up is not None:
            raise MotionFileError(f"{path}: features are in metres, Y up; leave --unit and --up out")
        from motionloom.motion.features.humanml3d import decode_features

        features = _tensor(array, (None, array.shape[1]), str(path)).float()
        _check_features(path, features)
        try:
            motion = decode_features(features, LAYOUTS[array.shape[1]], fps, rotation)
        except (LayoutError, MotionError) as error:
            raise MotionFileError(f"{path}: {error}") from None
        return motion.with_(provenance=_named(motion.provenance, path))
    if array.ndim != 3 or array.shape[1:] != (len(CANONICAL), 3):
        raise MotionFileError(
            f"{path}: shape {array.shape} is unknown; joints (T, 22, 3) or features (T, 263 or 251) are read"
        )
    points = check_numbers(array, (None, 22, 3), str(path)) * metres(path, unit)
    return _fit(path, _upright(path, points, up), fps if fps is not None else 20.0)


def _upright(path: Path, points: np.ndarray, up: str | None) -> np.ndarray:
    """Points with Y up, ``(T, J, 3)``, from points with Y or Z up."""
    if up not in (None, "y", "z"):
        raise MotionFileError(f"{path}: up axis {up!r} is unknown; use 'y' or 'z'")
    return points[..., [0, 2, 1]] * (1.0, 1.0, -1.0) if up == "z" else points


def _check_features(path: Path, features: torch.Tensor) -> None:
    """Refuse features whose rotations are none: 6D columns of published arrays have length 1 (HumanML3D, section 3).

    Features that were normalised by a mean and a spread have columns around 0 there, of any length.
    """
    start = 4 + 3 * (21 if features.shape[1] == 263 else 20)
    count = 21 if features.shape[1] == 263 else 20
    six = features[:, start : start + 6 * count].unflatten(1, (count, 2, 3))
    lengths = six.norm(dim=-1)
    off = float((lengths - 1.0).abs().median())
    # Features that a model made are never exact; normalised ones are off by about 1.
    if off > 0.4:
        raise MotionFileError(
            f"{path}: the rotations in it have lengths {float(lengths.min()):.2f} to {float(lengths.max()):.2f} where 1"
            " is needed: the features are normalised; multiply them by Std.npy and add Mean.npy first"
        )


def _fit(path: Path, positions: np.ndarray, fps: float) -> Motion:
    from motionloom.motion.retarget import from_positions

    try:
        motion = from_positions(torch.from_numpy(positions).float(), fps)
    except MotionError as error:
        raise MotionFileError(f"{path}: {error}") from None
    return motion.with_(provenance=_named(motion.provenance, path))


def _named(provenance: Provenance, path: Path) -> Provenance:
    return Provenance(source=path.name, notes=provenance.notes)


def write_csv(motion: Motion, path: str | Path) -> None:
    """Write world positions of the joints [m] as a table: ``time`` [s], then ``<joint>_x``, ``_y``, ``_z``.

    Raises:
        MotionFileError: A joint's name holds a comma, a quote or a line end.
    """
    names = motion.skeleton.names
    odd = [name for name in names if any(mark in name for mark in ',"\n\r')]
    if odd:
        raise MotionFileError(f"{path}: joint {odd[0]!r} cannot name a column (comma, quote or line end); rename it")
    header = ",".join(["time", *(f"{name}_{axis}" for name in names for axis in "xyz")])
    values = motion.positions.detach().cpu().double().numpy().reshape(len(motion), -1).round(7) + 0.0
    row = ",".join(["%.7f"] * values.shape[1])
    lines = [f"{frame / motion.fps:.9f}," + row % tuple(line) for frame, line in enumerate(values.tolist())]
    Path(path).write_text("\n".join([header, *lines]) + "\n", encoding="utf-8", newline="\n")


def read_csv(
    path: str | Path, fps: float | None = None, unit: str | float | None = None, up: str | None = None
) -> Motion:
    """Read a table of joint positions [m] with the canonical 22 joints, columns in any order.

    Args:
        path: The file, as ``write_csv`` writes it; ``time`` [s] may be left out if ``fps`` is given.
        fps: Frame rate; without it the rate of the ``time`` column, which must be even.
        unit: What one unit is: "m", "cm", ... or metres; metres when left out.
        up: Up axis, "y" or "z"; Y when left out.

    Raises:
        MotionFileError: A column is missing, a cell is no finite number, a row is short, or times are uneven.
    """
    path = Path(path)
    lines = read_text(path).rstrip("\n").split("\n")
    if lines[0].count(",") >= _MAX_COLUMNS:
        raise MotionFileError(f"{path}:1: {lines[0].count(',') + 1} columns; up to {_MAX_COLUMNS} are read")
    header = [word.strip() for word in lines[0].split(",")]
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise MotionFileError(f"{path}:1: column {twice[0][:40]!r} is named twice")
    columns = [f"{name}_{axis}" for name in CANONICAL.names for axis in "xyz"]
    missing = [name for name in columns if name not in header]
    if missing:
        raise MotionFileError(
            f"{path}:1: column {missing[0]!r} is missing; the 22 canonical joints are needed (x, y, z)"
        )
    if not 1 < len(lines) <= MAX_FRAMES:
        raise MotionFileError(f"{path}: {len(lines) - 1} rows of numbers; 1 to {MAX_FRAMES} are read")
    MOTION.check(path, elements=(len(lines) - 1) * len(header))
    values = _table(path, lines, len(header))
    if fps is None:
        fps = _rate(path, values[:, header.index("time")] if "time" in header else None)
    positions = values[:, [header.index(name) for name in columns]].reshape(len(values), len(CANONICAL), 3)
    return _fit(path, _upright(path, positions * metres(path, unit), up), fps)


def _table(path: Path, lines: list[str], columns: int) -> np.ndarray:
    """The numbers of all rows but the first."""
    try:
        values = np.loadtxt(lines[1:], delimiter=",", ndmin=2, comments=None)
        if values.shape == (len(lines) - 1, columns) and (np.abs(values) <= MAX_NUMBER).all():
            return values
    except ValueError:
        pass
    # Something is wrong, or an empty line was skipped: row by row, to say where.
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split(",")
        if len(cells) != columns:
            raise MotionFileError(f"{path}:{number}: {len(cells)} cells where the header has {columns}")
        try:
            row = [float(cell) for cell in cells]
        except ValueError:
            raise MotionFileError(f"{path}:{number}: a cell is no number") from None
        if not all(abs(value) <= MAX_NUMBER for value in row):
            raise MotionFileError(f"{path}:{number}: NaN, infinity or a number beyond {MAX_NUMBER:g}")
        rows.append(row)
    return np.array(rows)


def _rate(path: Path, times: np.ndarray | None) -> float:
    """Frames a second of evenly spaced times [s]."""
    if times is None or len(times) < 2:
        raise MotionFileError(
            f"{path}: the frame rate is unknown (no 'time' column, or one row); name it with --true-fps"
        )
    steps = np.diff(times)
    mean = float(times[-1] - times[0]) / len(steps)
    if not 1e-6 < mean < 1e6 or np.abs(steps - mean).max() > 0.02 * mean + 2e-6:
        worst = int(np.abs(steps - mean).argmax())
        what = f"time steps are uneven ({steps[worst]:.6g} s, mean {mean:.6g} s)"
        raise MotionFileError(f"{path}:{worst + 3}: {what}")
    return float(f"{1.0 / mean:.6g}")

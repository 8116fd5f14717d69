"""Reading ASF/AMC, the skeleton and motion files of Acclaim, in which CMU publishes its motion capture.

A bone of the ASF has a rest direction and length in world axes and an axis frame ``C``; the AMC turns it by
``M`` in that frame, so relative to its parent it turns by ``C M C^-1``. Our joint of that name sits where
the bone starts; the ends of leaf bones become joints ``<bone>_end``.
Format: Lander, "Working with motion capture file formats" (Game Developer, January 1998).
"""

import math
from array import array
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from motionloom.errors import MotionError, MotionFileError, SkeletonError
from motionloom.motion import rotations as rot
from motionloom.motion.files import MAX_FRAMES, MAX_NUMBER, read_text
from motionloom.motion.io.bvh_parse import END
from motionloom.motion.io.units import metres
from motionloom.motion.io.up_axis import stand_up
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.skeleton import MAX_JOINTS, Skeleton

INCH = 0.0254
"""CMU's lengths are inches times the ``length`` of the units section (0.45 there)."""
FPS = 120.0
"""AMC files do not say their frame rate; this is CMU's."""


@dataclass
class AsfBone:
    """A bone of an ASF file, angles in radians, lengths in the file's unit.

    Attributes:
        name: Its name; "root" for the root.
        dof: Its degrees of freedom in the order of the AMC's values ("rx", "tz", ...).
        limits: Lowest and highest value of each degree of freedom, where the file has them.
        axis: Angles of its axis frame, in the sequence of ``order``.
        order: Axes in the sequence in which they turn, such as "XYZ": X first.
        direction: Rest direction in world axes.
        length: Its length.
        children: Names of its children.
        taken: Whether it has a parent.
    """

    name: str = ""
    dof: tuple[str, ...] = ()
    limits: list[tuple[float, float]] = field(default_factory=list)
    axis: tuple[float, ...] = (0.0, 0.0, 0.0)
    order: str = "XYZ"
    direction: tuple[float, ...] = (0.0, 0.0, 0.0)
    length: float = 0.0
    children: list[str] = field(default_factory=list)
    taken: bool = False


@dataclass
class Asf:
    """A skeleton file: bones by name, the root among them, metres a unit, and radians a unit of angle."""

    bones: dict[str, AsfBone] = field(default_factory=dict)
    unit: float = INCH
    angle: float = math.pi / 180.0
    position: tuple[float, ...] = (0.0, 0.0, 0.0)


def read_acclaim(
    path: str | Path,
    asf: str | Path | None = None,
    fps: float | None = None,
    unit: str | float | None = None,
    up: str | None = None,
) -> Motion:
    """Read an AMC file with its ASF.

    Args:
        path: The ``.amc``.
        asf: The ``.asf``; without it the one of the same name beside the AMC, or of the name before the
            last ``_`` (CMU: ``39_01.amc`` and ``39.asf``), or the only one there.
        fps: Frame rate, which AMC files do not hold; CMU's 120 when left out.
        unit: What one unit of the files is ("cm", "m", ... or metres); without it inches over the ASF's
            ``length``, as CMU means it.
        up: The files' up axis, "y" or "z"; seen in the rest pose or the motion if not given.

    Raises:
        MotionFileError: A file is missing, cut off or breaks a rule of the format (with its line).
    """
    path = Path(path)
    if up not in (None, "y", "z"):
        raise MotionFileError(f"{path}: up axis {up!r} is unknown; use 'y' or 'z'")
    scale = metres(path, unit)
    skeleton_path = Path(asf) if asf is not None else _find_asf(path)
    body = parse_asf(skeleton_path)
    if unit is not None:
        body.unit = scale
    order = _depth_first(skeleton_path, body)
    values, radians = _parse_amc(path, {name: len(body.bones[name].dof) for name in order}, body.angle)
    try:
        motion = stand_up(_to_motion(path, body, order, values, radians, FPS if fps is None else fps), up)
    except (MotionError, SkeletonError) as error:
        raise MotionFileError(f"{path}: {error}") from None
    if fps is not None:
        return motion
    note = f"fps {FPS:g} taken, CMU's: the file does not say; --true-fps if it is another"
    return motion.with_(provenance=replace(motion.provenance, notes=(note, *motion.provenance.notes)))


def _find_asf(path: Path) -> Path:
    for name in (path.stem, path.stem.rpartition("_")[0]):
        for suffix in (".asf", ".ASF"):
            if name and path.with_name(name + suffix).is_file():
                return path.with_name(name + suffix)
    try:
        beside = sorted(other for other in path.parent.iterdir() if other.suffix.lower() == ".asf")
    except OSError:
        beside = []
    if len(beside) != 1:
        found = ", ".join(other.name[:40] for other in beside[:4]) or "none"
        raise MotionFileError(
            f"{path}: its skeleton is missing: {len(beside)} .asf files lie beside it ({found}) and none has its name;"
            " name it with --asf"
        )
    return beside[0]


def parse_asf(path: str | Path) -> Asf:
    """Parse a skeleton file.

    Raises:
        MotionFileError: The file is no ASF, lacks a section or breaks a rule; the message names the line.
    """
    path = Path(path)
    body = Asf(bones={"root": AsfBone("root")})
    section, bone = "", None
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            if words[0].startswith(":"):
                section, bone = words[0].lower(), None
            elif section == ":units":
                _unit_line(body, words)
            elif section == ":root":
                _root_line(body, words)
            elif section == ":bonedata":
                bone = _bone_line(body, bone, words)
            elif section == ":hierarchy" and words[0] not in ("begin", "end"):
                _hierarchy_line(body, words)
        except ValueError as error:
            raise MotionFileError(f"{path}:{number}: {error}") from None
    if bone is not None:
        raise MotionFileError(f"{path}: the file is cut off in bone {bone.name!r}")
    if len(body.bones) < 2 or not body.bones["root"].children or not body.bones["root"].dof:
        raise MotionFileError(f"{path}: :root, :bonedata or :hierarchy is missing; this is no whole ASF file")
    for each in body.bones.values():
        each.axis = tuple(angle * body.angle for angle in each.axis)
        each.limits = [(low * body.angle, high * body.angle) for low, high in each.limits]
    return body


def _numbers(words: list[str], count: int, what: str) -> tuple[float, ...]:
    try:
        values = tuple(float(word) for word in words)
    except ValueError:
        values = ()
    if len(values) != count or not all(abs(value) <= MAX_NUMBER for value in values):
        raise ValueError(f"{what} needs {count} finite numbers; got {' '.join(words)[:60]!r}")
    return values


def _unit_line(body: Asf, words: list[str]) -> None:
    if words[0] == "length":
        (length,) = _numbers(words[1:], 1, "length")
        if length <= 0:
            raise ValueError(f"length must be positive; it is {length:g}")
        body.unit = INCH / length
    elif words[0] == "angle":
        if words[1:] not in (["deg"], ["rad"]):
            raise ValueError(f"angle must be 'deg' or 'rad'; got {' '.join(words[1:])[:40]!r}")
        body.angle = 1.0 if words[1] == "rad" else math.pi / 180.0


def _root_line(body: Asf, words: list[str]) -> None:
    root = body.bones["root"]
    if words[0] == "order":
        root.dof = _dof(words[1:])
    elif words[0] == "axis":
        root.order = _order(words[1:])
    elif words[0] == "position":
        body.position = _numbers(words[1:], 3, "position")
    elif words[0] == "orientation" and any(_numbers(words[1:], 3, "orientation")):
        raise ValueError("a root orientation other than 0 0 0 is not read: its meaning differs among writers")


def _dof(words: list[str]) -> tuple[str, ...]:
    names = tuple(word.lower() for word in words)
    known = {kind + axis for kind in "tr" for axis in "xyz"}
    if not set(names) <= known or len(set(names)) != len(names):
        raise ValueError(f"unknown or repeated degree of freedom in {' '.join(words)[:40]!r}; use tx..tz, rx..rz")
    return names


def _order(words: list[str]) -> str:
    if len(words) != 1 or sorted(words[0].upper()) != ["X", "Y", "Z"]:
        raise ValueError(f"an axis order such as XYZ is needed; got {' '.join(words)[:40]!r}")
    return words[0].upper()


def _bone_line(body: Asf, bone: AsfBone | None, words: list[str]) -> AsfBone | None:
    """Take in a line of the bone data; return the bone that is open after it."""
    if words[0] == "begin":
        if bone is not None:
            raise ValueError(f"bone {bone.name!r} has no 'end'")
        return AsfBone()
    if bone is None:
        raise ValueError(f"{words[0][:40]!r} stands outside 'begin' and 'end'")
    if words[0] == "end":
        if not bone.name or bone.name in body.bones:
            raise ValueError(f"bone {bone.name!r} has no name or one that is taken; names must be unique")
        if len(body.bones) >= MAX_JOINTS:
            raise ValueError(f"more than {MAX_JOINTS} bones")
        body.bones[bone.name] = bone
        return None
    if words[0] == "name":
        bone.name = " ".join(words[1:])[:200]
    elif words[0] == "direction":
        bone.direction = _numbers(words[1:], 3, "direction")
    elif words[0] == "length":
        (bone.length,) = _numbers(words[1:], 1, "length")
    elif words[0] == "axis":
        bone.axis, bone.order = _numbers(words[1:4], 3, "axis"), _order(words[4:])
    elif words[0] == "dof":
        bone.dof = _dof(words[1:])
        if any(name.startswith("t") for name in bone.dof):
            raise ValueError(f"bone {bone.name!r} has translations; bones of fixed length are needed")
    elif words[0] == "limits" or words[0].startswith("("):
        pair = " ".join(words).removeprefix("limits").replace("(", " ").replace(")", " ").replace(",", " ").split()
        if pair and all(word.lstrip("-+") != "inf" for word in pair):
            low, high = _numbers(pair, 2, "limits")
            if len(bone.limits) >= 6:
                raise ValueError(f"bone {bone.name[:40]!r} has more than six limits, one for each way to move")
            bone.limits.append((low, high))
    return bone


def _hierarchy_line(body: Asf, words: list[str]) -> None:
    if words[0] not in body.bones:
        raise ValueError(f"there is no bone {words[0][:40]!r}")
    for child in words[1:]:
        if child not in body.bones or child == "root":
            raise ValueError(f"there is no bone {child[:40]!r} that could hang on {words[0]!r}")
        if body.bones[child].taken:
            raise ValueError(f"bone {child!r} has two parents")
        body.bones[child].taken = True
        body.bones[words[0]].children.append(child)


def _depth_first(path: Path, body: Asf) -> list[str]:
    """Names of the bones, parents first; every bone has one parent, so a bone in a cycle is never met."""
    order, stack = [], ["root"]
    while stack:
        name = stack.pop()
        order.append(name)
        stack.extend(reversed(body.bones[name].children))
    lost = sorted(set(body.bones) - set(order))
    if lost:
        raise MotionFileError(f"{path}: bone {lost[0]!r} does not hang on the root; the hierarchy is incomplete")
    return order


def _parse_amc(path: Path, widths: dict[str, int], angle: float) -> tuple[dict[str, np.ndarray], float]:
    """Values ``(T, width)`` of each bone that moves, and radians a unit of angle."""
    # Plain arrays: lists of numbers would take five times as much.
    tracks = {name: array("d") for name, width in widths.items() if width}
    frame, number = 0, 0
    first: int | None = None

    def fail(what: str) -> MotionFileError:
        return MotionFileError(f"{path}:{number}: {what}")

    def check_whole() -> None:
        missing = next((name for name, row in tracks.items() if len(row) < frame * widths[name]), None)
        if missing is not None:
            raise fail(f"frame {frame} has no values for {missing!r}; the file is cut off or is for another .asf")

    for number, line in enumerate(read_text(path).rstrip().split("\n"), start=1):  # noqa: B007 (used in fail)
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith(":"):
            keyword = words[0].lower()
            angle = {":degrees": math.pi / 180.0, ":radians": 1.0}.get(keyword, angle)
        elif len(words) == 1 and words[0].isdecimal():
            check_whole()
            first = int(words[0][:9]) if first is None else first
            if int(words[0][:9]) != first + frame or frame >= MAX_FRAMES:
                raise fail(f"frame {words[0][:20]} comes after {frame} frames from {first}; frames must follow on")
            frame += 1
        elif words[0] not in tracks:
            raise fail(f"{words[0][:40]!r} is no moving bone of the .asf; is it the right one?")
        elif len(tracks[words[0]]) != (frame - 1) * widths[words[0]]:
            raise fail(f"{words[0]!r} comes twice in a frame, or before the first frame number")
        else:
            try:
                tracks[words[0]].extend(_numbers(words[1:], widths[words[0]], words[0]))
            except ValueError as error:
                raise fail(str(error)) from None
    if frame == 0:
        raise fail("there is no frame; this is no AMC file, or it is cut off")
    check_whole()
    return {name: np.frombuffer(row).reshape(frame, widths[name]) for name, row in tracks.items()}, angle


def _to_motion(
    path: Path, body: Asf, order: list[str], values: dict[str, np.ndarray], angle: float, fps: float
) -> Motion:
    parent_of = {child: bone.name for bone in body.bones.values() for child in bone.children}
    names, parents, offsets, turns = [], [], [], []
    frames = len(values["root"])
    still = rot.identity(frames, dtype=torch.float64)
    for name in order:
        bone = body.bones[name]
        names.append(name)
        parents.append(names.index(parent_of[name]) if name in parent_of else -1)
        offsets.append(_reach(body.bones[parent_of[name]]) if name in parent_of else (0.0, 0.0, 0.0))
        turns.append(_turn(bone, values[name], angle) if bone.dof else still)
        if not bone.children:
            parents.append(len(names) - 1)
            names.append(name + END)
            offsets.append(_reach(bone))
            turns.append(still)
    root = np.array(body.position) + np.zeros((frames, 3))
    for column, dof in enumerate(body.bones["root"].dof):
        if dof.startswith("t"):
            root[:, "xyz".index(dof[1])] += values["root"][:, column]
    skeleton = Skeleton(tuple(names), tuple(parents), (torch.tensor(offsets).double() * body.unit).float())
    notes = (f"one unit taken as {body.unit:.6f} m",)
    return Motion(
        skeleton,
        rot.normalize(torch.stack(turns, dim=1)).float(),
        torch.from_numpy(root * body.unit).float(),
        float(fps),
        provenance=Provenance(path.name, notes=notes),
    )


def _reach(bone: AsfBone) -> tuple[float, float, float]:
    x, y, z = (bone.length * part for part in bone.direction)
    return x, y, z


def _turn(bone: AsfBone, values: np.ndarray, angle: float) -> torch.Tensor:
    """Rotation ``C M C^-1`` relative to the parent, ``(T, 4)`` float64."""
    axes = [(dof[1].upper(), column) for column, dof in enumerate(bone.dof) if dof.startswith("r")]
    if not axes:
        return rot.identity(len(values), dtype=torch.float64)
    # What is named first turns first: read backwards that is our intrinsic order.
    axes.reverse()
    angles = torch.from_numpy(values[:, [column for _, column in axes]] * angle)
    turn = rot.from_euler(angles, "".join(axis for axis, _ in axes))
    by_axis = dict(zip("XYZ", bone.axis, strict=True))
    frame = torch.tensor([by_axis[axis] for axis in reversed(bone.order)], dtype=torch.float64)
    frame = rot.from_euler(frame, bone.order[::-1])
    return rot.multiply(rot.multiply(frame, turn), rot.conjugate(frame))

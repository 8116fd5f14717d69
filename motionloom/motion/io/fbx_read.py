"""Reading binary FBX 7.1 to 7.7: skeleton, skin and animation of Mixamo, MotionBuilder, Maya, Blender and others.

Bounded: every record and array is checked before it is unpacked. Old binary files (6.x) and ASCII files are refused in
words. A node's transform is ``T Roff Rp Rpre R Rpost^-1 Rp^-1 Soff Sp S Sp^-1`` (Autodesk, "Computing transformation
matrices", FBX SDK help); curves are constant, linear or cubic with the slopes that the file has.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from motionloom.errors import MotionFileError
from motionloom.motion import rotations as rot
from motionloom.motion.files import MAX_BYTES, MAX_FRAMES, MAX_NUMBER, read_bytes
from motionloom.motion.io.fbx_tree import MAGIC, Record
from motionloom.motion.motion import Motion
from motionloom.motion.rigs.scene import (
    MAX_NODES,
    Clip,
    Scene,
    Track,
    as_tensor,
    rotation_of,
    sort_nodes,
    unique_names,
    unit,
)

TICKS = 46_186_158_000
MAX_RECORDS = 2_000_000
MAX_DEPTH = 64
_ARRAYS = {"f": np.dtype("<f4"), "d": np.dtype("<f8"), "l": np.dtype("<i8"), "i": np.dtype("<i4"), "b": np.dtype("u1")}
_PLAIN = {"Y": "<h", "C": "<B", "I": "<i", "F": "<f", "D": "<d", "L": "<q"}
_MODES = {1: 120.0, 2: 100.0, 3: 60.0, 4: 50.0, 5: 48.0, 6: 30.0, 7: 30.0, 8: 30000 / 1001, 9: 30000 / 1001, 10: 25.0,
          11: 24.0, 12: 1000.0, 13: 24000 / 1001, 15: 96.0, 16: 72.0, 17: 60000 / 1001, 18: 120000 / 1001}  # fmt: skip
_ORDERS = ("XYZ", "XZY", "YZX", "YXZ", "ZXY", "ZYX")
_KINDS = {"Lcl Translation": "T", "Lcl Rotation": "R", "Lcl Scaling": "S"}
_CONSTANT, _CUBIC = 0x2, 0x8


class _Parser:
    """One file's records."""

    def __init__(self, path: Path, raw: bytes) -> None:
        self.path, self.raw, self.count, self.unpacked = path, raw, 0, 0
        if raw[: len(MAGIC)] != MAGIC or len(raw) < len(MAGIC) + 4:
            plain = raw[:200].lstrip()[:1] == b";" or b"FBXHeaderExtension" in raw[:2000]
            word = "is an ASCII FBX; save it as binary FBX" if plain else "is no binary FBX; is the suffix right?"
            raise MotionFileError(f"{path}: {word}")
        self.version = struct.unpack_from("<I", raw, len(MAGIC))[0]
        if not 7000 <= self.version < 8000:
            raise MotionFileError(
                f"{path}: FBX version {self.version}; 7.0 to 7.7 are read, save it again as FBX 2014 or newer"
            )
        self.wide = self.version >= 7500

    def top(self) -> Record:
        root, at = Record("root"), len(MAGIC) + 4
        while True:
            record, at = self.record(at, len(self.raw), 0)
            if record is None:
                return root
            root.nested.append(record)

    def record(self, at: int, stop: int, depth: int) -> tuple[Record | None, int]:
        head = 25 if self.wide else 13
        if at + head > stop:
            raise MotionFileError(f"{self.path}: the file is cut off at byte {at}")
        end, count, length, name = struct.unpack_from("<QQQB" if self.wide else "<IIIB", self.raw, at)
        if end == 0:
            return None, at + head
        self.count += 1
        start = at + head + name
        if not start + length <= end <= stop or depth > MAX_DEPTH or self.count > MAX_RECORDS or count > MAX_RECORDS:
            raise MotionFileError(
                f"{self.path}: the record at byte {at} leaves the file; the file is cut off or damaged"
            )
        label = self.raw[at + head : start].decode("latin-1")
        values, at = self.properties(start, start + length, count, label)
        record = Record(label, values)
        while at < end:
            nested, at = self.record(at, end, depth + 1)
            if nested is None:
                break
            record.nested.append(nested)
        return record, end

    def properties(self, at: int, stop: int, count: int, label: str) -> tuple[tuple[Any, ...], int]:
        found: list[Any] = []
        for _ in range(count):
            code = chr(self.raw[at]) if at < stop else ""
            at += 1
            if code in _PLAIN:
                size = struct.calcsize(_PLAIN[code])
                if at + size > stop:
                    break
                found.append(struct.unpack_from(_PLAIN[code], self.raw, at)[0])
                at += size
            elif code in ("S", "R"):
                size = struct.unpack_from("<I", self.raw, at)[0] if at + 4 <= stop else stop
                at += 4
                if at + size > stop:
                    break
                piece = self.raw[at : at + size]
                found.append(piece.decode("utf-8", errors="replace") if code == "S" else piece)
                at += size
            elif code in _ARRAYS:
                value, at = self.array(at, stop, code, label)
                found.append(value)
            else:
                break
        if len(found) != count or at != stop:
            raise MotionFileError(f"{self.path}: properties of record {label!r} near byte {at} are damaged")
        return tuple(found), stop

    def array(self, at: int, stop: int, code: str, label: str) -> tuple[np.ndarray, int]:
        if at + 12 > stop:
            raise MotionFileError(f"{self.path}: an array of record {label!r} is cut off")
        length, packed, size = struct.unpack_from("<III", self.raw, at)
        at += 12
        dtype = _ARRAYS[code]
        need = length * dtype.itemsize
        self.unpacked += need
        if at + size > stop or packed > 1 or self.unpacked > MAX_BYTES:
            raise MotionFileError(f"{self.path}: an array of record {label!r} is damaged or too large")
        raw = self.raw[at : at + size]
        if packed:
            try:
                unpack = zlib.decompressobj()
                raw = unpack.decompress(raw, need + 1)
            except zlib.error:
                raise MotionFileError(f"{self.path}: an array of record {label!r} cannot be unpacked") from None
        if len(raw) != need:
            raise MotionFileError(f"{self.path}: an array of record {label!r} has {len(raw)} of {need} bytes")
        found = np.frombuffer(raw, dtype)
        if dtype.kind == "f" and not (np.abs(found) <= 1e30).all():
            raise MotionFileError(f"{self.path}: an array of record {label!r} holds NaN or infinity")
        return found, at + size


def _first(record: Record | None, name: str) -> Record | None:
    return next((entry for entry in record.nested if entry.name == name), None) if record is not None else None


def _values(record: Record) -> dict[str, tuple[Any, ...]]:
    """The ``Properties70`` of an object: name -> values."""
    block = _first(record, "Properties70")
    if block is None:
        return {}
    return {str(p.properties[0]): p.properties[4:] for p in block.nested if p.name == "P" and len(p.properties) >= 4}


@dataclass
class _Node:
    """A model and what its transform is made of."""

    number: int
    name: str
    form: str
    values: dict[str, tuple[Any, ...]]

    def vector(self, path: Path, name: str, default: float = 0.0) -> np.ndarray:
        found = self.values.get(name)
        if found is None:
            return np.full(3, default)
        if len(found) < 3 or not all(isinstance(x, int | float) and abs(x) <= MAX_NUMBER for x in found[:3]):
            raise MotionFileError(f"{path}: {name} of {self.name!r} must be three finite numbers")
        return np.array([float(x) for x in found[:3]])


class _File:
    """Objects by id and their connections."""

    def __init__(self, path: Path) -> None:
        self.path = path
        top = _Parser(path, read_bytes(path)).top()
        self.settings = _values(_first(top, "GlobalSettings") or Record(""))
        objects = _first(top, "Objects")
        if objects is None:
            raise MotionFileError(f"{path}: holds no objects")
        self.objects: dict[int, Record] = {}
        for record in objects.nested:
            if record.properties and isinstance(record.properties[0], int):
                self.objects[record.properties[0]] = record
        self.below: dict[int, list[int]] = {}
        self.above: dict[int, list[tuple[int, str]]] = {}
        links = _first(top, "Connections")
        for link in links.nested if links is not None else ():
            if len(link.properties) >= 3 and link.properties[0] in ("OO", "OP"):
                child, parent = link.properties[1:3]
                if isinstance(child, int) and isinstance(parent, int):
                    prop = str(link.properties[3]) if len(link.properties) > 3 else ""
                    self.below.setdefault(parent, []).append(child)
                    self.above.setdefault(child, []).append((parent, prop))

    def of(self, number: int, kind: str, form: str = "") -> list[int]:
        """Objects right below one, of a kind."""
        return [
            child
            for child in self.below.get(number, ())
            if child in self.objects
            and self.objects[child].name == kind
            and (not form or str(self.objects[child].properties[-1]) == form)
        ]

    def name(self, number: int) -> str:
        record = self.objects[number]
        return str(record.properties[1]).split("\0")[0] if len(record.properties) > 1 else ""


def read_fbx_scene(path: str | Path) -> Scene:
    """The nodes, skins and takes of a binary FBX file, turned to Y up.

    Raises:
        MotionFileError: The file is no binary FBX 7, is cut off or damaged, or holds no nodes.
    """
    path = Path(path)
    file = _File(path)
    nodes = [
        _Node(number, file.name(number), str(record.properties[-1]), _values(record))
        for number, record in file.objects.items()
        if record.name == "Model"
    ]
    if not nodes:
        raise MotionFileError(f"{path}: holds no models, so neither a skeleton nor a motion")
    if len(nodes) > MAX_NODES:
        raise MotionFileError(f"{path}: {len(nodes)} models; up to {MAX_NODES} are read")
    index = {node.number: at for at, node in enumerate(nodes)}
    parents = [
        next((index[parent] for parent, prop in file.above.get(node.number, ()) if parent in index and not prop), -1)
        for node in nodes
    ]
    order = sort_nodes(parents, str(path))
    # A node of our own above all others turns the file's axes to Y up, +Z front.
    place = {old: new + 1 for new, old in enumerate(order)}
    nodes = [nodes[old] for old in order]
    number = {node.number: at + 1 for at, node in enumerate(nodes)}
    axes = _axes(path, file.settings)
    still = [_local(path, node, 1) for node in nodes]
    locals_ = np.stack([axes, *(matrix[0] for matrix in still)])
    move, turn, size = _parts(locals_)
    skins, binds, points = _skins(file, number)
    factor = _number(file.settings, "UnitScaleFactor", 1.0)
    scene = Scene(
        path=path,
        kind="fbx",
        names=unique_names(["motionloom_axes", *(node.name for node in nodes)]),
        parents=(-1, *(place[parents[old]] if parents[old] >= 0 else 0 for old in order)),
        translations=move,
        rotations=turn,
        scales=size,
        skins=skins,
        binds={node: axes @ matrix for node, matrix in binds.items()},
        clips=_clips(file, nodes, number),
        points={node: rows @ axes[:3, :3].T for node, rows in points.items()},
        unit=0.01 * factor,
        source=(-1, *(order)),
    )
    limbs = {at + 1 for at, node in enumerate(nodes) if node.form in ("LimbNode", "Limb")}
    if not skins and limbs:
        # Without a skin the limb nodes are the skeleton.
        import dataclasses

        scene = dataclasses.replace(scene, skins=(tuple(sorted(limbs)),))
    return scene


def _number(values: dict[str, tuple[Any, ...]], name: str, default: float) -> float:
    found = values.get(name, ())
    return float(found[0]) if found and isinstance(found[0], int | float) and np.isfinite(found[0]) else default


def _axes(path: Path, settings: dict[str, tuple[Any, ...]]) -> np.ndarray:
    """Matrix that takes the file's axes to ours."""
    rows = []
    for name, usual in (("CoordAxis", 0), ("UpAxis", 1), ("FrontAxis", 2)):
        axis, sign = _number(settings, name, usual), _number(settings, f"{name}Sign", 1.0)
        if axis not in (0, 1, 2) or sign not in (1, -1):
            raise MotionFileError(f"{path}: {name} is {axis:g} with sign {sign:g}; no such axis")
        rows.append(sign * np.eye(3)[int(axis)])
    found = np.eye(4)
    found[:3, :3] = np.stack(rows)
    if abs(abs(np.linalg.det(found)) - 1.0) > 1e-6:
        raise MotionFileError(f"{path}: the file's axes name one direction twice")
    if np.linalg.det(found) < 0:
        found[2, :3] *= -1.0
    return found


def _euler(degrees: np.ndarray, order: str) -> np.ndarray:
    """Rotation matrices of FBX angles: the first letter of the order turns first."""
    angles = np.radians(degrees)[..., ["XYZ".index(axis) for axis in reversed(order)]]
    return rot.to_matrix(rot.from_euler(as_tensor(angles), order[::-1])).numpy()


def _local(
    path: Path,
    node: _Node,
    frames: int,
    move: np.ndarray | None = None,
    turn: np.ndarray | None = None,
    size: np.ndarray | None = None,
) -> np.ndarray:
    """Local matrices ``(T, 4, 4)`` of a node, with animated parts where they are given."""

    def shift(vector: np.ndarray) -> np.ndarray:
        found = np.zeros((len(np.atleast_2d(vector)), 4, 4)) + np.eye(4)
        found[:, :3, 3] = vector
        return found

    def spin(matrix: np.ndarray) -> np.ndarray:
        found = np.zeros((*matrix.shape[:-2], 4, 4)) + np.eye(4)
        found[..., :3, :3] = matrix
        return found

    active = bool(_number(node.values, "RotationActive", 0))
    at = int(_number(node.values, "RotationOrder", 0)) if active else 0
    order = _ORDERS[at] if 0 <= at < 6 else "XYZ"
    move = node.vector(path, "Lcl Translation") if move is None else move
    turn = node.vector(path, "Lcl Rotation") if turn is None else turn
    size = node.vector(path, "Lcl Scaling", 1.0) if size is None else size
    pre, post = ((node.vector(path, name) if active else np.zeros(3)) for name in ("PreRotation", "PostRotation"))
    pivot, offset = node.vector(path, "RotationPivot"), node.vector(path, "RotationOffset")
    scale_pivot, scale_offset = node.vector(path, "ScalingPivot"), node.vector(path, "ScalingOffset")
    scale = np.zeros((len(np.atleast_2d(size)), 4, 4)) + np.eye(4)
    for axis in range(3):
        scale[:, axis, axis] = np.atleast_2d(size)[:, axis]
    found = (
        shift(move) @ shift(offset) @ shift(pivot) @ spin(_euler(pre, "XYZ")) @ spin(_euler(np.atleast_2d(turn), order))
    )
    found = found @ np.linalg.inv(spin(_euler(post, "XYZ"))) @ shift(-pivot) @ shift(scale_offset) @ shift(scale_pivot)
    found = found @ scale @ shift(-scale_pivot)
    return np.broadcast_to(found, (frames, 4, 4)) if len(found) == 1 else found


def _parts(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places, rotations and scales of matrices; a mirrored one keeps a negative scale along X."""
    size = np.linalg.norm(matrix[..., :3, :3], axis=-2)
    flip = np.linalg.det(matrix[..., :3, :3]) < 0
    size[..., 0] = np.where(flip, -size[..., 0], size[..., 0])
    safe = np.where(np.abs(size) > 1e-12, size, 1.0)
    turn = np.zeros_like(matrix)
    turn[..., :3, :3] = matrix[..., :3, :3] / safe[..., None, :]
    return matrix[..., :3, 3].copy(), unit(rotation_of(turn)), size


def _skins(
    file: _File, number: dict[int, int]
) -> tuple[tuple[tuple[int, ...], ...], dict[int, np.ndarray], dict[int, np.ndarray]]:
    skins, binds = [], {}
    points: dict[int, list[np.ndarray]] = {}
    for skin, record in file.objects.items():
        if record.name != "Deformer" or str(record.properties[-1]) != "Skin":
            continue
        geometry = next((file.objects.get(parent) for parent, _ in file.above.get(skin, ())), None)
        vertices = _first(geometry, "Vertices")
        rows = vertices.properties[0] if vertices is not None and vertices.properties else None
        place = rows.reshape(-1, 3) if isinstance(rows, np.ndarray) and rows.size % 3 == 0 else None
        joints = []
        for cluster in file.of(skin, "Deformer", "Cluster"):
            joint = next((number[child] for child in file.below.get(cluster, ()) if child in number), None)
            if joint is None:
                continue
            joints.append(joint)
            link, mesh = (_matrix(file, cluster, name) for name in ("TransformLink", "Transform"))
            if link is None or abs(float(np.linalg.det(link))) < 1e-18:
                continue
            binds.setdefault(joint, link)
            record = file.objects[cluster]
            listed, weights = _first(record, "Indexes"), _first(record, "Weights")
            if place is None or mesh is None or listed is None or weights is None or not listed.properties:
                continue
            sure = listed.properties[0][: len(weights.properties[0])][
                weights.properties[0][: len(listed.properties[0])] > 0.5
            ]
            sure = sure[(sure >= 0) & (sure < len(place))]
            if len(sure):
                matrix = link @ mesh
                points.setdefault(joint, []).append(place[sure] @ matrix[:3, :3].T + matrix[:3, 3])
        if joints:
            skins.append(tuple(joints))
    return tuple(skins), binds, {joint: np.concatenate(rows) for joint, rows in points.items()}


def _matrix(file: _File, cluster: int, name: str) -> np.ndarray | None:
    record = _first(file.objects[cluster], name)
    if record is None or not record.properties or not isinstance(record.properties[0], np.ndarray):
        return None
    rows = record.properties[0]
    return rows.astype(np.float64).reshape(4, 4).T if rows.size == 16 else None


def _clips(file: _File, nodes: list[_Node], number: dict[int, int]) -> tuple[Clip, ...]:
    found = []
    for stack, record in file.objects.items():
        if record.name != "AnimationStack":
            continue
        curves: dict[int, dict[str, list[tuple[np.ndarray, np.ndarray, Record] | None]]] = {}
        for layer in file.of(stack, "AnimationLayer")[:1]:
            for curve_node in file.of(layer, "AnimationCurveNode"):
                for model, prop in file.above.get(curve_node, ()):
                    if model in number and prop in _KINDS:
                        curves.setdefault(number[model], {})[_KINDS[prop]] = _axes_of(file, curve_node)
        if curves:
            found.append(_clip(file, file.name(stack), nodes, curves))
    return tuple(found)


def _axes_of(file: _File, node: int) -> list[tuple[np.ndarray, np.ndarray, Record] | None]:
    found: list[tuple[np.ndarray, np.ndarray, Record] | None] = [None, None, None]
    for curve in file.of(node, "AnimationCurve"):
        prop = next((prop for parent, prop in file.above[curve] if parent == node), "")
        record = file.objects[curve]
        times, values = _first(record, "KeyTime"), _first(record, "KeyValueFloat")
        if prop[:2] != "d|" or prop[2:] not in ("X", "Y", "Z") or times is None or values is None:
            continue
        if not times.properties or not values.properties or len(times.properties[0]) != len(values.properties[0]):
            raise MotionFileError(f"{file.path}: a curve has unequal numbers of times and values")
        clock = times.properties[0].astype(np.float64) / TICKS
        if len(clock) == 0 or (np.diff(clock) <= 0).any():
            continue
        found["XYZ".index(prop[2:])] = (clock, values.properties[0].astype(np.float64), record)
    return found


def _clip(
    file: _File,
    name: str,
    nodes: list[_Node],
    curves: dict[int, dict[str, list[tuple[np.ndarray, np.ndarray, Record] | None]]],
) -> Clip:
    every = np.unique(
        np.concatenate([curve[0] for parts in curves.values() for axes in parts.values() for curve in axes if curve])
    )
    mode = int(_number(file.settings, "TimeMode", 6))
    rate = _MODES.get(mode) or _number(file.settings, "CustomFrameRate", 30.0)
    if not 1.0 <= rate <= 1000.0:
        rate = 30.0
    first, last = float(every[0]), float(every[-1])
    off = (every - first) * rate
    told = float(np.abs(off - np.round(off)).max()) < 1e-2
    if not told and len(every) > 2:
        # The scene's rate is not that of the keys: their own spacing counts.
        step = float(np.median(np.diff(every)))
        own = round(1.0 / step, 3)
        off = (every - first) * own
        if float(np.abs(off - np.round(off)).max()) < 1e-2 and 1.0 <= own <= 1000.0:
            rate = own
    frames = round((last - first) * rate) + 1
    if frames > MAX_FRAMES:
        raise MotionFileError(f"{file.path}: take {name!r} has {frames} frames; up to {MAX_FRAMES} are read")
    times = first + np.arange(frames) / rate
    tracks: dict[tuple[int, str], Track] = {}
    for node, parts in curves.items():
        model = nodes[node - 1]
        defaults = {
            "T": model.vector(file.path, "Lcl Translation"),
            "R": model.vector(file.path, "Lcl Rotation"),
            "S": model.vector(file.path, "Lcl Scaling", 1.0),
        }
        moved = {}
        for kind, axes in parts.items():
            columns = [
                _evaluate(axis, times) if axis is not None else np.full(frames, defaults[kind][at])
                for at, axis in enumerate(axes)
            ]
            moved[kind] = np.stack(columns, 1)
        matrix = _local(file.path, model, frames, moved.get("T"), moved.get("R"), moved.get("S"))
        move, turn, size = _parts(matrix)
        tracks[node, "translation"] = Track(times - first, move)
        tracks[node, "rotation"] = Track(times - first, turn)
        if "S" in moved and float(np.ptp(size, axis=0).max()) > 1e-6:
            tracks[node, "scale"] = Track(times - first, size)
    return Clip(name or "take", tracks, {"fps": rate})


def _evaluate(curve: tuple[np.ndarray, np.ndarray, Record], times: np.ndarray) -> np.ndarray:
    """Values of a curve: between keys as the earlier key says, outside as at the ends."""
    clock, values, record = curve
    if len(clock) == 1:
        return np.full(len(times), values[0])
    flags, data = _attributes(record, len(clock))
    place = np.clip(np.searchsorted(clock, times + 1e-9, side="right") - 1, 0, len(clock) - 2)
    span = clock[place + 1] - clock[place]
    share = np.clip((times - clock[place]) / span, 0.0, 1.0)
    a, b = values[place], values[place + 1]
    found = a + (b - a) * share
    kind = flags[place]
    constant = (kind & _CONSTANT) > 0
    cubic = (kind & _CUBIC) > 0
    s2, s3 = share * share, share**3
    right, left = data[place, 0] * span, data[place, 1] * span
    spline = (2 * s3 - 3 * s2 + 1) * a + (s3 - 2 * s2 + share) * right + (3 * s2 - 2 * s3) * b + (s3 - s2) * left
    found = np.where(cubic, spline, found)
    return np.where(constant, np.where(share >= 1.0, b, a), found)


def _attributes(record: Record, keys: int) -> tuple[np.ndarray, np.ndarray]:
    """Flags and slopes of each key, spread out from the runs that the file stores."""
    listed = [_first(record, name) for name in ("KeyAttrFlags", "KeyAttrDataFloat", "KeyAttrRefCount")]
    arrays = [entry.properties[0] if entry is not None and entry.properties else None for entry in listed]
    flags, data, counts = arrays
    if not (isinstance(flags, np.ndarray) and isinstance(data, np.ndarray) and isinstance(counts, np.ndarray)):
        return np.zeros(keys, np.int64), np.zeros((keys, 2))
    if len(flags) != len(counts) or len(data) != 4 * len(flags) or counts.min(initial=0) < 0 or counts.sum() != keys:
        return np.zeros(keys, np.int64), np.zeros((keys, 2))
    rows = np.repeat(np.arange(len(flags)), counts)
    return flags[rows].astype(np.int64), data.reshape(-1, 4)[rows, :2].astype(np.float64)


def read_fbx(path: str | Path, *, clip: str | None = None, fps: float | None = None) -> Motion:
    """Read a take of a binary FBX file as a motion of the file's skeleton.

    Args:
        path: The file.
        clip: Name of the take; the first one when left out, with a note where there are more.
        fps: Frame rate to read it at; the file's when left out.

    Raises:
        MotionFileError: The file is damaged, has no take that moves a skeleton, or none of that name.
    """
    from motionloom.motion.rigs.clips import scene_motion

    return scene_motion(read_fbx_scene(Path(path)), clip=clip, fps=fps)

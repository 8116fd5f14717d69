"""Reading glTF 2.0: ``.glb``, ``.gltf``, ``.vrm`` (0.x and 1.0) and ``.vrma``, as a scene or as a motion.

Nothing is trusted: sizes, indices, cycles and numbers are checked before they are used, and every refusal names the
place in the file. Meshes are read only as far as the floor under a character needs it; compressed ones (Draco,
meshopt) are passed over.

Sources: Khronos, "glTF 2.0 specification" (sections 3.6, 3.7, 3.11, appendix C); VRM consortium,
"VRMC_vrm-1.0", "VRM 0.x" and "VRMC_vrm_animation-1.0".
"""

import base64
import binascii
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from motionloom.errors import MotionFileError
from motionloom.motion.files import MAX_BYTES, MAX_NUMBER, read_bytes
from motionloom.motion.motion import Motion
from motionloom.motion.rigs.scene import (
    MAX_NODES,
    PATHS,
    Clip,
    Scene,
    Track,
    decompose,
    sort_nodes,
    unique_names,
    unit,
)

MAX_TEXT = 1 << 26
"""Largest JSON chunk [bytes]."""
MAX_ENTRIES = 1 << 17
"""Most accessors, views, samplers or channels."""
MAX_POINTS = 2_000_000
"""Most vertices that are looked at to find the floor."""
_TYPES: dict[int, np.dtype[Any]] = {
    5120: np.dtype("<i1"),
    5121: np.dtype("<u1"),
    5122: np.dtype("<i2"),
    5123: np.dtype("<u2"),
    5125: np.dtype("<u4"),
    5126: np.dtype("<f4"),
}
_SIZES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_PACKED = ("EXT_meshopt_compression", "KHR_meshopt_compression", "KHR_draco_mesh_compression")


@dataclass(frozen=True, eq=False)
class Document:
    """The parts of a glTF file.

    Attributes:
        path: The file.
        json: Its JSON.
        binary: The binary chunk of a ``.glb``; empty for ``.gltf``.
        buffers: The bytes of each buffer.
        tables: The lists of the JSON that were checked already.
    """

    path: Path
    json: dict[str, Any]
    binary: bytes
    buffers: tuple[bytes, ...]
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def table(self, name: str) -> list[dict[str, Any]]:
        """A list of objects at the top of the JSON.

        Raises:
            MotionFileError: It is no list of objects, or has too many.
        """
        if (known := self.tables.get(name)) is not None:
            return known
        found = self.json.get(name, [])
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise MotionFileError(f"{self.path}: {name} must be a list of objects")
        most = MAX_NODES if name == "nodes" else MAX_ENTRIES
        if len(found) > most:
            raise MotionFileError(f"{self.path}: {len(found)} {name}; up to {most} are read")
        self.tables[name] = found
        return found

    def index(self, value: Any, name: str, where: str) -> int:
        """Check an index into a table of the file.

        Raises:
            MotionFileError: It is no number of the table.
        """
        size = len(self.table(name))
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < size:
            raise MotionFileError(f"{self.path}: {where} is {_short(value)}; it must be one of the {size} {name}")
        return value

    def packed(self, accessor: Any) -> bool:
        """Whether the data of an accessor lies in a compressed view, which is not read."""
        entry = self.table("accessors")[self.index(accessor, "accessors", "an accessor")]
        if "bufferView" not in entry:
            return False
        view = self.table("bufferViews")[self.index(entry["bufferView"], "bufferViews", "an accessor's bufferView")]
        extensions = view.get("extensions")
        return isinstance(extensions, dict) and any(name in extensions for name in _PACKED)

    def accessor(self, value: Any, where: str, *, kinds: tuple[str, ...]) -> np.ndarray:
        """The rows of an accessor as float64 (whole numbers where they are not normalised).

        Args:
            value: Index of the accessor.
            where: What it is of, for messages.
            kinds: Which types may be there, such as ``("VEC3",)``.

        Returns:
            ``(count, components)``.

        Raises:
            MotionFileError: It leaves its buffer, is compressed, of another type, or holds NaN or infinity.
        """
        entry = self.table("accessors")[self.index(value, "accessors", where)]
        where = f"{where} (accessor {value})"
        kind, code, count = entry.get("type"), entry.get("componentType"), entry.get("count")
        if kind not in kinds or not isinstance(code, int) or code not in _TYPES:
            need = " or ".join(kinds)
            raise MotionFileError(f"{self.path}: {where} is {_short(kind)} of type {_short(code)}; {need} is needed")
        if not isinstance(count, int) or isinstance(count, bool) or not 0 < count <= MAX_BYTES // 4:
            raise MotionFileError(f"{self.path}: {where} has count {_short(count)}; a number above 0 is needed")
        dtype, width = _TYPES[code], _SIZES[kind]
        if "bufferView" in entry:
            rows = self._rows(entry["bufferView"], entry.get("byteOffset", 0), (count, width), dtype, where)
        else:
            if count * width * 8 > MAX_BYTES:
                raise MotionFileError(f"{self.path}: {where} unpacks to more than {MAX_BYTES} bytes")
            rows = np.zeros((count, width), dtype)
        if "sparse" in entry:
            rows = self._sparse(rows, entry["sparse"], dtype, where)
        found = rows.astype(np.float64)
        if entry.get("normalized") is True and dtype.kind in "iu":
            # Section 3.6.2.2: the most negative number and its neighbour both mean -1.
            found = np.maximum(found / np.iinfo(dtype).max, -1.0)
        if dtype.kind == "f":
            bad = ~(np.abs(found) <= MAX_NUMBER)
            if bad.any():
                row = int(np.argwhere(bad)[0, 0])
                raise MotionFileError(f"{self.path}: {where} holds NaN, infinity or beyond {MAX_NUMBER:g} in row {row}")
        return found

    def _sparse(self, rows: np.ndarray, sparse: Any, dtype: np.dtype[Any], where: str) -> np.ndarray:
        parts = [sparse.get(key) if isinstance(sparse, dict) else None for key in ("count", "indices", "values")]
        count, indices, values = parts
        if not isinstance(count, int) or not isinstance(indices, dict) or not isinstance(values, dict):
            raise MotionFileError(f"{self.path}: {where} has a sparse part without count, indices or values")
        code = indices.get("componentType")
        if code not in (5121, 5123, 5125) or not 0 < count <= len(rows):
            raise MotionFileError(f"{self.path}: {where} has a sparse part of type {_short(code)}, count {count}")
        places = self._rows(indices.get("bufferView"), indices.get("byteOffset", 0), (count, 1), _TYPES[code], where)
        found = self._rows(values.get("bufferView"), values.get("byteOffset", 0), (count, rows.shape[1]), dtype, where)
        if int(places.max()) >= len(rows):
            raise MotionFileError(f"{self.path}: {where} has a sparse index beyond its {len(rows)} rows")
        rows = rows.copy()
        rows[places[:, 0].astype(np.int64)] = found
        return rows

    def _rows(self, view: Any, offset: Any, shape: tuple[int, int], dtype: np.dtype[Any], where: str) -> np.ndarray:
        entry = self.table("bufferViews")[self.index(view, "bufferViews", f"the bufferView of {where}")]
        extensions = entry.get("extensions")
        if isinstance(extensions, dict) and (packed := next((name for name in _PACKED if name in extensions), "")):
            raise MotionFileError(
                f"{self.path}: {where} is compressed by {packed}, which is not read; export without compression"
            )
        buffer = self.index(entry.get("buffer"), "buffers", f"the buffer of bufferView {view}")
        start, length, stride = entry.get("byteOffset", 0), entry.get("byteLength"), entry.get("byteStride")
        # A column of a matrix starts on a multiple of four bytes; only MAT2 and MAT3 of small types would be padded.
        row = dtype.itemsize * shape[1]
        step = row if stride is None else stride
        numbers = (offset, start, length, step)
        if any(not isinstance(n, int) or isinstance(n, bool) or n < 0 for n in numbers) or step < row:
            raise MotionFileError(f"{self.path}: bufferView {view} of {where} has offsets that are no plain numbers")
        data = self.buffers[buffer]
        if start + length > len(data) or offset + step * (shape[0] - 1) + row > length:
            raise MotionFileError(
                f"{self.path}: {where} leaves its buffer of {len(data)} bytes; the file is cut off or damaged"
            )
        raw = np.frombuffer(data, np.uint8)[start + offset : start + offset + step * (shape[0] - 1) + row]
        strided = np.lib.stride_tricks.as_strided(raw, (shape[0], row), (step, 1))
        return np.ascontiguousarray(strided).view(dtype).reshape(shape)


def read_document(path: str | Path) -> Document:
    """Read the JSON and the buffers of a ``.glb``, ``.vrm``, ``.vrma`` or ``.gltf``.

    Raises:
        MotionFileError: The file is no glTF 2.0, is cut off, or a buffer is missing or too short.
    """
    path = Path(path)
    raw = read_bytes(path)
    binary = b""
    if raw[:4] == b"glTF":
        text, binary = _chunks(path, raw)
    elif raw.lstrip()[:1] == b"{":
        text = raw
    else:
        raise MotionFileError(f"{path}: is no glTF (the magic bytes are missing); is the suffix right?")
    if len(text) > MAX_TEXT:
        raise MotionFileError(f"{path}: {len(text)} bytes of JSON; up to {MAX_TEXT} are read")
    try:
        found = json.loads(text.decode("utf-8"), parse_constant=_no_constant)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise MotionFileError(f"{path}: the JSON cannot be read ({' '.join(str(error).split())[:100]})") from None
    asset = found.get("asset") if isinstance(found, dict) else None
    if not isinstance(asset, dict) or not str(asset.get("version", "")).startswith("2"):
        version = asset.get("version") if isinstance(asset, dict) else None
        raise MotionFileError(f"{path}: glTF version {_short(version)}; version 2.0 is read")
    empty = Document(path, found, binary, ())
    buffers = tuple(_buffer(empty, at, entry) for at, entry in enumerate(empty.table("buffers")))
    return Document(path, found, binary, buffers)


def _chunks(path: Path, raw: bytes) -> tuple[bytes, bytes]:
    if len(raw) < 20:
        raise MotionFileError(f"{path}: {len(raw)} bytes; the file is cut off")
    _, version, total = struct.unpack_from("<4sII", raw)
    if version != 2:
        raise MotionFileError(f"{path}: GLB version {version}; version 2 is read")
    if total > len(raw):
        raise MotionFileError(f"{path}: {len(raw)} bytes where the header announces {total}; the file is cut off")
    at, chunks = 12, []
    while at + 8 <= total and len(chunks) < 16:
        length, kind = struct.unpack_from("<I4s", raw, at)
        if at + 8 + length > total:
            raise MotionFileError(f"{path}: chunk {len(chunks)} leaves the file; the file is cut off")
        chunks.append((kind, raw[at + 8 : at + 8 + length]))
        at += 8 + length
    if not chunks or chunks[0][0] != b"JSON":
        raise MotionFileError(f"{path}: the first chunk is no JSON")
    return chunks[0][1], next((data for kind, data in chunks[1:] if kind == b"BIN\0"), b"")


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON")


def _buffer(document: Document, at: int, entry: dict[str, Any]) -> bytes:
    path, uri, length = document.path, entry.get("uri"), entry.get("byteLength")
    if not isinstance(length, int) or isinstance(length, bool) or not 0 <= length <= MAX_BYTES:
        raise MotionFileError(f"{path}: buffer {at} has byteLength {_short(length)}")
    if uri is None:
        data = document.binary if at == 0 else b""
        if entry.get("extensions") and len(data) < length:
            # A meshopt fallback buffer has no bytes: nothing that is read may lie in it.
            return data
    else:
        data = read_uri(path, uri, f"buffer {at}")
    if len(data) < length:
        raise MotionFileError(f"{path}: buffer {at} has {len(data)} of {length} bytes; the file is cut off")
    return data


def read_uri(path: Path, uri: Any, where: str) -> bytes:
    """The bytes of a data URI, or of a file beside ``path``.

    Raises:
        MotionFileError: It is no such URI, leads out of the folder, or cannot be read.
    """
    if not isinstance(uri, str):
        raise MotionFileError(f"{path}: {where} has a uri that is no text")
    if uri.startswith("data:"):
        head, _, body = uri.partition(",")
        try:
            return (
                base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote(body).encode("latin-1")
            )
        except (binascii.Error, ValueError):
            raise MotionFileError(f"{path}: {where} has a data URI that cannot be decoded") from None
    name = unquote(uri)
    if "\0" in name or ":" in name or name.startswith(("/", "\\")) or ".." in Path(name.replace("\\", "/")).parts:
        raise MotionFileError(f"{path}: {where} lies at {_short(uri)}; only files in the folder beside are read")
    return read_bytes(path.parent / name)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _numbers(path: Path, value: Any, count: int, where: str) -> np.ndarray:
    fits = isinstance(value, list) and len(value) == count
    if not fits or not all(isinstance(x, int | float) and abs(x) <= MAX_NUMBER for x in value):
        raise MotionFileError(f"{path}: {where} must be {count} finite numbers; it is {_short(value)}")
    return np.array(value, dtype=np.float64)


def read_scene(source: str | Path | Document) -> Scene:
    """The nodes, skins, humanoid map and animations of a glTF file.

    Raises:
        MotionFileError: The file is damaged: the message names the place.
    """
    document = source if isinstance(source, Document) else read_document(source)
    path, entries = document.path, document.table("nodes")
    if not entries:
        raise MotionFileError(f"{path}: the file has no nodes, so neither a skeleton nor a motion")
    parents = [-1] * len(entries)
    for at, entry in enumerate(entries):
        children = entry.get("children", [])
        if not isinstance(children, list):
            raise MotionFileError(f"{path}: children of node {at} must be a list")
        for child in children:
            document.index(child, "nodes", f"a child of node {at}")
            if parents[child] >= 0:
                raise MotionFileError(f"{path}: node {child} is a child of both node {parents[child]} and node {at}")
            parents[child] = at
    order = sort_nodes(parents, str(path))
    place = {node: at for at, node in enumerate(order)}
    rest = [_transform(path, entries[node], node) for node in order]
    names = unique_names([entry["name"] if isinstance(entry.get("name"), str) else "" for entry in entries])
    notes: list[str] = []
    skins, binds, points = _skins(document, place, notes)
    kind, humanoid = _humanoid(document, place)
    return Scene(
        path=path,
        kind=kind,
        names=tuple(names[node] for node in order),
        parents=tuple(place[parents[node]] if parents[node] >= 0 else -1 for node in order),
        translations=np.stack([entry[0] for entry in rest]),
        rotations=np.stack([entry[1] for entry in rest]),
        scales=np.stack([entry[2] for entry in rest]),
        skins=skins,
        binds=binds,
        clips=tuple(_clip(document, at, entry, place) for at, entry in enumerate(document.table("animations"))),
        humanoid=humanoid,
        points=points,
        notes=tuple(dict.fromkeys(notes)),
        source=tuple(order),
    )


def _transform(path: Path, entry: dict[str, Any], node: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    where = f"node {node}"
    if "matrix" in entry:
        matrix = _numbers(path, entry["matrix"], 16, f"matrix of {where}").reshape(4, 4).T
        return decompose(matrix, f"{path}: {where}")
    move = _numbers(path, entry.get("translation", [0, 0, 0]), 3, f"translation of {where}")
    turn = _numbers(path, entry.get("rotation", [0, 0, 0, 1]), 4, f"rotation of {where}")
    scale = _numbers(path, entry.get("scale", [1, 1, 1]), 3, f"scale of {where}")
    if abs(float(np.linalg.norm(turn)) - 1.0) > 0.05:
        raise MotionFileError(f"{path}: rotation of {where} is no unit quaternion")
    return move, unit(np.roll(turn, 1)), scale


def _skins(
    document: Document, place: dict[int, int], notes: list[str]
) -> tuple[tuple[tuple[int, ...], ...], dict[int, np.ndarray], dict[int, np.ndarray]]:
    path = document.path
    skins: list[tuple[int, ...]] = []
    binds: dict[int, np.ndarray] = {}
    for at, skin in enumerate(document.table("skins")):
        listed = skin.get("joints")
        if not isinstance(listed, list) or not listed:
            raise MotionFileError(f"{path}: skin {at} has no joints")
        joints = tuple(place[document.index(joint, "nodes", f"a joint of skin {at}")] for joint in listed)
        skins.append(joints)
        matrix = skin.get("inverseBindMatrices")
        if matrix is None:
            continue
        if document.packed(matrix):
            notes.append("inverse bind matrices are compressed and were not read; the rest pose of the nodes is taken")
            continue
        rows = document.accessor(matrix, f"inverse bind matrices of skin {at}", kinds=("MAT4",))
        if len(rows) < len(joints):
            raise MotionFileError(f"{path}: skin {at} has {len(rows)} inverse bind matrices for {len(joints)} joints")
        inverse = rows.reshape(-1, 4, 4).transpose(0, 2, 1)
        for joint, found in zip(joints, inverse, strict=False):
            if abs(float(np.linalg.det(found))) > 1e-18:
                binds.setdefault(joint, np.linalg.inv(found))
    return tuple(skins), binds, _points(document, skins, notes)


def _points(document: Document, skins: list[tuple[int, ...]], notes: list[str]) -> dict[int, np.ndarray]:
    """Where the vertices of each joint are in the mesh: those that it moves by more than half."""
    found: dict[int, list[np.ndarray]] = {}
    meshes, seen, total = document.table("meshes"), set(), 0
    for at, node in enumerate(document.table("nodes")):
        if "skin" not in node or "mesh" not in node:
            continue
        skin = document.index(node["skin"], "skins", f"the skin of node {at}")
        mesh = document.index(node["mesh"], "meshes", f"the mesh of node {at}")
        primitives = meshes[mesh].get("primitives")
        if (skin, mesh) in seen or not isinstance(primitives, list):
            continue
        seen.add((skin, mesh))
        for primitive in primitives:
            attributes = primitive.get("attributes") if isinstance(primitive, dict) else None
            keys = ("POSITION", "JOINTS_0", "WEIGHTS_0")
            if not isinstance(attributes, dict) or not all(key in attributes for key in keys):
                continue
            extensions = primitive.get("extensions")
            packed = isinstance(extensions, dict) and any(name in extensions for name in _PACKED)
            if packed or any(document.packed(attributes[key]) for key in keys):
                notes.append("compressed meshes are kept as they are; their soles were not looked at")
                continue
            positions = document.accessor(attributes["POSITION"], f"positions of mesh {mesh}", kinds=("VEC3",))
            joints = document.accessor(attributes["JOINTS_0"], f"joints of mesh {mesh}", kinds=("VEC4",))
            weights = document.accessor(attributes["WEIGHTS_0"], f"weights of mesh {mesh}", kinds=("VEC4",))
            total += len(positions)
            if not len(positions) == len(joints) == len(weights) or total > MAX_POINTS:
                notes.append(f"mesh {mesh} has too many vertices, or unequal arrays; its soles were not looked at")
                continue
            best = weights.argmax(1)
            rows = np.arange(len(best))
            owner, sure = joints[rows, best].astype(np.int64), weights[rows, best] > 0.5
            for slot in np.unique(owner[sure]):
                if slot < len(skins[skin]):
                    found.setdefault(skins[skin][slot], []).append(positions[sure & (owner == slot)])
    return {joint: np.concatenate(pieces) for joint, pieces in found.items()}


def _humanoid(document: Document, place: dict[int, int]) -> tuple[str, dict[str, int]]:
    """What kind of file it is, and the humanoid map of VRM files; bones by their VRM 1.0 names."""
    extensions = document.json.get("extensions")
    extensions = extensions if isinstance(extensions, dict) else {}
    for name, kind in (("VRMC_vrm_animation", "vrma"), ("VRMC_vrm", "vrm1"), ("VRM", "vrm0")):
        if name not in extensions:
            continue
        block = extensions[name]
        bones = block.get("humanoid", {}) if isinstance(block, dict) else {}
        bones = bones.get("humanBones") if isinstance(bones, dict) else None
        pairs: list[tuple[Any, Any]] = []
        if isinstance(bones, dict):
            pairs = [(bone, entry.get("node") if isinstance(entry, dict) else None) for bone, entry in bones.items()]
        elif isinstance(bones, list):
            pairs = [(entry.get("bone"), entry.get("node")) for entry in bones if isinstance(entry, dict)]
        if not pairs:
            raise MotionFileError(f"{document.path}: the {name} extension has no humanoid map (humanBones)")
        found = {}
        for bone, node in pairs:
            if not isinstance(bone, str):
                raise MotionFileError(f"{document.path}: a bone of the {name} humanoid map has no name")
            if node == -1:  # VRM 0.x exporters write this for bones that are not there
                continue
            found[bone] = place[document.index(node, "nodes", f"humanoid bone {bone!r}")]
        if kind == "vrm0":
            # VRM 0.x calls the three bones of a thumb proximal, intermediate, distal; 1.0 counts from the palm.
            words = {"Proximal": "Metacarpal", "Intermediate": "Proximal"}
            found = {
                next(
                    (bone[: -len(a)] + b for a, b in words.items() if "Thumb" in bone and bone.endswith(a)), bone
                ): node
                for bone, node in found.items()
            }
        return kind, found
    return "glb", {}


def _clip(document: Document, at: int, entry: dict[str, Any], place: dict[int, int]) -> Clip:
    path, where = document.path, f"animation {at}"
    samplers, channels = entry.get("samplers"), entry.get("channels")
    for name, listed in (("samplers", samplers), ("channels", channels)):
        if not isinstance(listed, list) or len(listed) > MAX_ENTRIES or not all(isinstance(x, dict) for x in listed):
            raise MotionFileError(f"{path}: {name} of {where} must be a list of objects")
    assert isinstance(samplers, list)
    assert isinstance(channels, list)
    tracks: dict[tuple[int, str], Track] = {}
    clocks: dict[int, np.ndarray] = {}
    for number, channel in enumerate(channels):
        target = channel.get("target")
        kind = target.get("path") if isinstance(target, dict) else None
        if not isinstance(target, dict) or "node" not in target or kind not in PATHS:
            continue  # morph weights and pointers of extensions: not of the skeleton
        node = document.index(target["node"], "nodes", f"the target of channel {number} of {where}")
        index = channel.get("sampler")
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(samplers):
            raise MotionFileError(f"{path}: channel {number} of {where} has sampler {_short(index)}")
        tracks[place[node], kind] = _track(
            document, samplers[index], PATHS[kind], f"sampler {index} of {where}", clocks
        )
    extras = entry.get("extras")
    name = entry.get("name")
    return Clip(
        name if isinstance(name, str) and name else f"animation_{at}",
        tracks,
        extras if isinstance(extras, dict) else {},
    )


def _track(document: Document, sampler: dict[str, Any], width: int, where: str, clocks: dict[int, np.ndarray]) -> Track:
    path, form = document.path, sampler.get("interpolation", "LINEAR")
    if form not in ("LINEAR", "STEP", "CUBICSPLINE"):
        raise MotionFileError(f"{path}: {where} has interpolation {_short(form)}; glTF knows LINEAR, STEP, CUBICSPLINE")
    index = document.index(sampler.get("input"), "accessors", f"input of {where}")
    if index not in clocks:
        times = document.accessor(index, f"input of {where}", kinds=("SCALAR",))[:, 0]
        if (np.diff(times) <= 0).any() or times[0] < 0:
            raise MotionFileError(f"{path}: times of {where} do not rise from zero on")
        clocks[index] = times
    times = clocks[index]
    kind = "VEC4" if width == 4 else "VEC3"
    values = document.accessor(sampler.get("output"), f"output of {where}", kinds=(kind,))
    need = len(times) * (3 if form == "CUBICSPLINE" else 1)
    if len(values) != need:
        raise MotionFileError(f"{path}: output of {where} has {len(values)} rows; {len(times)} keys need {need}")
    if form == "CUBICSPLINE":
        values = values.reshape(len(times), 3, width)
    if width == 4:
        values = np.roll(values, 1, axis=-1)
        if form != "CUBICSPLINE":
            if (np.linalg.norm(values, axis=-1) < 0.1).any():
                raise MotionFileError(f"{path}: output of {where} holds rotations that are no unit quaternions")
            values = unit(values)
    return Track(times, values, form)


def read_glb(path: str | Path, *, clip: str | None = None, fps: float | None = None) -> Motion:
    """Read an animation of a glTF, VRM or VRMA file as a motion of the file's skeleton.

    Args:
        path: The file: .glb, .gltf, .vrm or .vrma.
        clip: Name of the animation; the first one when left out, with a note where there are more.
        fps: Frame rate to read it at; left out, the one its key times lie on.

    Raises:
        MotionFileError: The file is damaged, has no animation of a skeleton, or none of that name.
    """
    from motionloom.motion.rigs.clips import scene_motion

    return scene_motion(read_scene(Path(path)), clip=clip, fps=fps)

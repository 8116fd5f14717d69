"""Writing FBX: binary 7.4, a skinned mesh on limb nodes with one animation stack, for every tool that reads FBX.

Centimetres (``UnitScaleFactor`` 1), Y up, +Z front. A joint's rest rotation is its ``PreRotation``, so its own rotation
is zero in rest; the curves are Euler degrees without jumps, one key a frame at exact multiples of the frame's ticks.
Facts of the format: the Blender Foundation's description of it, and what Blender, ufbx and three.js read.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from motionloom.motion.io.fbx_tree import FILE_ID, TIME, VERSION, Int64, Record, write_tree
from motionloom.motion.motion import Motion
from motionloom.motion.rigs.actor import Actor, SkinnedMesh, actor_of, actor_on
from motionloom.motion.rigs.euler import smooth_euler
from motionloom.motion.rigs.facts import facts_of
from motionloom.motion.rigs.onto import Retargeted
from motionloom.motion.rigs.scene import matrices, quaternion_between

TICKS = 46_186_158_000
"""FBX's units of time a second."""
_CM = 100.0
_MODES = {120.0: 1, 100.0: 2, 60.0: 3, 50.0: 4, 48.0: 5, 30.0: 6, 25.0: 10, 24.0: 11}
"""FBX's numbers of the usual frame rates; any other is "custom", 14."""
_LINEAR = 0x00000004
_TRAVELS, _NUDGE = 1e-4, 2e-5
"""How far a joint must move in its parent to get curves for it, and how far it is nudged in rest [m]."""


def write_fbx(motion: Motion, path: str | Path, *, name: str | None = None, loop: bool = False) -> None:
    """Write a motion with the grey body.

    Args:
        motion: The motion; any skeleton.
        path: The file.
        name: Name of the take.
        loop: Whether it is meant to repeat; noted in the file.
    """
    title = name or motion.provenance.text or Path(motion.provenance.source).stem or "motion"
    _write(actor_of(motion, name=title), path, facts_of(motion, loop=loop))


def write_fbx_on(
    done: Retargeted,
    path: str | Path,
    *,
    name: str | None = None,
    reduce: float = 0.0,
    facts: dict[str, Any] | None = None,
) -> None:
    """Write a motion on a character: its joints under their names, its meshes without textures.

    Args:
        done: The motion on the character.
        path: The file.
        name: Name of the take.
        reduce: Leave out keys that come back by interpolation within this many degrees.
        facts: What the file says of the clip.
    """
    _write(actor_on(done, name=name or "motion"), path, facts or {}, reduce=reduce)


class _Scene:
    """Objects and connections while they are collected; ids count up, so equal input gives equal bytes."""

    def __init__(self) -> None:
        self.objects = Record("Objects")
        self.connections = Record("Connections")
        self.counts: dict[str, int] = {}
        self._next = 1000

    def object(self, kind: str, name: str, label: str, form: str) -> tuple[Int64, Record]:
        self._next += 1
        number = Int64(self._next)
        record = self.objects.add(kind, number, f"{name}\0\x01{label}", form)
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return number, record

    def join(self, child: int, parent: int, prop: str | None = None) -> None:
        ends = (Int64(child), Int64(parent))
        if prop is None:
            self.connections.add("C", "OO", *ends)
        else:
            self.connections.add("C", "OP", *ends, prop)


def _write(actor: Actor, path: str | Path, facts: dict[str, Any], *, reduce: float = 0.0) -> None:
    actor = _unhooked(actor)
    scene = _Scene()
    move, turn = actor.local_rest()
    models = _joints(scene, actor, move, turn, facts)
    meshes = [_mesh(scene, actor, models, mesh) for mesh in actor.meshes]
    _pose(scene, actor, models, meshes)
    _animation(scene, actor, models, turn, reduce)
    write_tree(path, [*_head(actor), _definitions(scene), scene.objects, scene.connections, _takes(actor)])


def _unhooked(actor: Actor) -> Actor:
    """Joints that travel, a fiftieth of a millimetre off their parents' bones in rest.

    Blender's importer connects a joint that lies exactly at the tip of its parent, and a connected bone cannot travel.
    """
    rest = actor.rest.copy()
    still = actor.local_rest()[0]
    for joint, parent in enumerate(actor.parents):
        moves = float(np.abs(actor.translations[:, joint] - still[joint]).max()) > _TRAVELS
        if parent >= 0 and moves and np.hypot(still[joint, 0], still[joint, 2]) < 1e-4 * abs(still[joint, 1]):
            rest[joint] += _NUDGE * np.array([1.0, 0.0, 1.0])
    return dataclasses.replace(actor, rest=rest)


def _joints(scene: _Scene, actor: Actor, move: np.ndarray, turn: np.ndarray, facts: dict[str, Any]) -> list[Int64]:
    models: list[Int64] = []
    degrees = np.degrees(smooth_euler(turn[None], "ZYX"))[0, :, ::-1]
    for joint, name in enumerate(actor.joints):
        attribute, record = scene.object("NodeAttribute", name, "NodeAttribute", "LimbNode")
        record.add("TypeFlags", "Skeleton")
        record.add("Properties70").property70("Size", "double", "Number", "", 3.0)
        model, record = scene.object("Model", name, "Model", "LimbNode")
        record.add("Version", 232)
        block = record.add("Properties70")
        block.property70("RotationActive", "bool", "", "", 1)
        block.property70("InheritType", "enum", "", "", 1)
        block.property70("PreRotation", "Vector3D", "Vector", "", *map(float, degrees[joint]))
        block.property70("Lcl Translation", "Lcl Translation", "", "A", *map(float, move[joint] * _CM))
        block.property70("Lcl Rotation", "Lcl Rotation", "", "A", 0.0, 0.0, 0.0)
        block.property70("Lcl Scaling", "Lcl Scaling", "", "A", 1.0, 1.0, 1.0)
        if joint == 0 and facts:
            block.property70("motionloom", "KString", "", "U", json.dumps(facts, ensure_ascii=True))
        record.add("Shading", True)
        record.add("Culling", "CullingOff")
        scene.join(attribute, model)
        scene.join(model, models[actor.parents[joint]] if actor.parents[joint] >= 0 else 0)
        models.append(model)
    return models


def _mesh(scene: _Scene, actor: Actor, models: list[Int64], mesh: SkinnedMesh) -> Int64:
    geometry, record = scene.object("Geometry", mesh.name, "Geometry", "Mesh")
    record.add("Properties70")
    record.add("GeometryVersion", 124)
    record.add("Vertices", (mesh.positions * _CM).reshape(-1).astype(np.float64))
    corners = mesh.triangles.astype(np.int32).copy()
    corners[:, 2] = -corners[:, 2] - 1  # the last corner of a polygon is stored as its complement
    record.add("PolygonVertexIndex", corners.reshape(-1))
    layers = [("LayerElementNormal", "Normals", mesh.normals.reshape(-1).astype(np.float64), "ByVertice")]
    for kind, name, values, mapping in layers:
        layer = record.add(kind, 0)
        layer.add("Version", 101)
        layer.add("Name", "")
        layer.add("MappingInformationType", mapping)
        layer.add("ReferenceInformationType", "Direct")
        layer.add(name, values)
    if mesh.texture is not None:
        layer = record.add("LayerElementUV", 0)
        layer.add("Version", 101)
        layer.add("Name", "UVMap")
        layer.add("MappingInformationType", "ByPolygonVertex")
        layer.add("ReferenceInformationType", "IndexToDirect")
        layer.add("UV", mesh.texture.reshape(-1).astype(np.float64))
        layer.add("UVIndex", mesh.triangles.reshape(-1).astype(np.int32))
    layer = record.add("LayerElementMaterial", 0)
    layer.add("Version", 101)
    layer.add("Name", "")
    layer.add("MappingInformationType", "AllSame")
    layer.add("ReferenceInformationType", "IndexToDirect")
    layer.add("Materials", np.zeros(1, np.int32))
    top = record.add("Layer", 0)
    top.add("Version", 100)
    for kind in (
        "LayerElementNormal",
        "LayerElementMaterial",
        *(["LayerElementUV"] if mesh.texture is not None else []),
    ):
        element = top.add("LayerElement")
        element.add("Type", kind)
        element.add("TypedIndex", 0)
    model, record = scene.object("Model", mesh.name, "Model", "Mesh")
    record.add("Version", 232)
    block = record.add("Properties70")
    block.property70("Lcl Translation", "Lcl Translation", "", "A", 0.0, 0.0, 0.0)
    block.property70("Lcl Rotation", "Lcl Rotation", "", "A", 0.0, 0.0, 0.0)
    block.property70("Lcl Scaling", "Lcl Scaling", "", "A", 1.0, 1.0, 1.0)
    record.add("Shading", True)
    record.add("Culling", "CullingOff")
    material, record = scene.object("Material", mesh.name, "Material", "")
    record.add("Version", 102)
    record.add("ShadingModel", "lambert")
    record.add("MultiLayer", 0)
    block = record.add("Properties70")
    block.property70("DiffuseColor", "Color", "", "A", *mesh.colour)
    scene.join(model, 0)
    scene.join(geometry, model)
    scene.join(material, model)
    _skin(scene, actor, models, mesh, geometry)
    return model


def _skin(scene: _Scene, actor: Actor, models: list[Int64], mesh: SkinnedMesh, geometry: Int64) -> None:
    skin, record = scene.object("Deformer", mesh.name, "Deformer", "Skin")
    record.add("Version", 101)
    record.add("Link_DeformAcuracy", 50.0)
    record.add("SkinningType", "Linear")
    scene.join(skin, geometry)
    bind = matrices(actor.rest * _CM, actor.turned, np.ones_like(actor.rest))
    for joint, model in enumerate(models):
        weight = np.where(mesh.joints == joint, mesh.weights, 0.0).sum(1)
        rows = np.flatnonzero(weight > 1e-6)
        if not len(rows):
            continue
        cluster, record = scene.object("Deformer", actor.joints[joint], "SubDeformer", "Cluster")
        record.add("Version", 100)
        record.add("UserData", "", "")
        record.add("Indexes", rows.astype(np.int32))
        record.add("Weights", weight[rows].astype(np.float64))
        record.add("Transform", np.linalg.inv(bind[joint]).T.reshape(-1))
        record.add("TransformLink", bind[joint].T.reshape(-1))
        scene.join(cluster, skin)
        scene.join(model, cluster)


def _pose(scene: _Scene, actor: Actor, models: list[Int64], meshes: list[Int64]) -> None:
    _, record = scene.object("Pose", "BindPose", "Pose", "BindPose")
    record.add("Type", "BindPose")
    record.add("Version", 100)
    record.add("NbPoseNodes", len(models) + len(meshes))
    bind = matrices(actor.rest * _CM, actor.turned, np.ones_like(actor.rest))
    for model, matrix in [*zip(models, bind, strict=True), *((mesh, np.eye(4)) for mesh in meshes)]:
        node = record.add("PoseNode")
        node.add("Node", model)
        node.add("Matrix", matrix.T.reshape(-1))


def _animation(scene: _Scene, actor: Actor, models: list[Int64], turn: np.ndarray, reduce: float) -> None:
    stack, record = scene.object("AnimationStack", actor.name, "AnimStack", "")
    block = record.add("Properties70")
    times = np.array([round(frame * TICKS / actor.fps) for frame in range(len(actor))], dtype=np.int64)
    for key, value in (
        ("LocalStart", 0),
        ("LocalStop", times[-1]),
        ("ReferenceStart", 0),
        ("ReferenceStop", times[-1]),
    ):
        block.property70(key, "KTime", "Time", "", Int64(value))
    layer, _ = scene.object("AnimationLayer", actor.name, "AnimLayer", "")
    scene.join(layer, stack)
    own = quaternion_between(np.broadcast_to(turn, actor.rotations.shape), actor.rotations)
    degrees = np.degrees(smooth_euler(own, "ZYX"))[..., ::-1]
    rest = actor.local_rest()[0]
    for joint, model in enumerate(models):
        _curves(scene, layer, model, "R", "Lcl Rotation", degrees[:, joint], times, reduce)
        if joint == 0 or float(np.abs(actor.translations[:, joint] - rest[joint]).max()) > _TRAVELS:
            _curves(
                scene, layer, model, "T", "Lcl Translation", actor.translations[:, joint] * _CM, times, reduce * 0.25
            )


def _curves(
    scene: _Scene,
    layer: Int64,
    model: Int64,
    label: str,
    prop: str,
    values: np.ndarray,
    times: np.ndarray,
    tolerance: float,
) -> None:
    node, record = scene.object("AnimationCurveNode", label, "AnimCurveNode", "")
    block = record.add("Properties70")
    for at, axis in enumerate("XYZ"):
        block.property70(f"d|{axis}", "Number", "", "A", float(values[0, at]))
    scene.join(node, layer)
    scene.join(node, model, prop)
    for at, axis in enumerate("XYZ"):
        keys = _keys(values[:, at], tolerance)
        curve, record = scene.object("AnimationCurve", "", "AnimCurve", "")
        record.add("Default", float(values[0, at]))
        record.add("KeyVer", 4008)
        record.add("KeyTime", times[keys])
        record.add("KeyValueFloat", values[keys, at].astype(np.float32))
        record.add("KeyAttrFlags", np.array([_LINEAR], np.int32))
        record.add("KeyAttrDataFloat", np.zeros(4, np.float32))
        record.add("KeyAttrRefCount", np.array([len(keys)], np.int32))
        scene.join(curve, node, f"d|{axis}")


def _keys(values: np.ndarray, tolerance: float) -> np.ndarray:
    """Frames to keep of a curve of one number; all of them without a tolerance."""
    from motionloom.motion.rigs.reduce import reduce_curve

    return reduce_curve(values, tolerance) if tolerance > 0 else np.arange(len(values))


def _head(actor: Actor) -> list[Record]:
    head = Record("FBXHeaderExtension")
    head.add("FBXHeaderVersion", 1003)
    head.add("FBXVersion", VERSION)
    head.add("EncryptionType", 0)
    stamp = head.add("CreationTimeStamp")
    for key, value in zip(
        ("Version", "Year", "Month", "Day", "Hour", "Minute", "Second", "Millisecond"),
        (1000, 1970, 1, 1, 10, 0, 0, 0),
        strict=True,
    ):
        stamp.add(key, value)
    head.add("Creator", "motionloom")
    settings = Record("GlobalSettings")
    settings.add("Version", 1000)
    block = settings.add("Properties70")
    for key, value in (
        ("UpAxis", 1),
        ("UpAxisSign", 1),
        ("FrontAxis", 2),
        ("FrontAxisSign", 1),
        ("CoordAxis", 0),
        ("CoordAxisSign", 1),
        ("OriginalUpAxis", 1),
        ("OriginalUpAxisSign", 1),
    ):
        block.property70(key, "int", "Integer", "", value)
    block.property70("UnitScaleFactor", "double", "Number", "", 1.0)
    block.property70("OriginalUnitScaleFactor", "double", "Number", "", 1.0)
    block.property70("TimeMode", "enum", "", "", _MODES.get(round(actor.fps, 6), 14))
    block.property70("TimeSpanStart", "KTime", "Time", "", Int64(0))
    stop = round((len(actor) - 1) * TICKS / actor.fps)
    block.property70("TimeSpanStop", "KTime", "Time", "", Int64(stop))
    block.property70("CustomFrameRate", "double", "Number", "", float(actor.fps))
    documents = Record("Documents")
    documents.add("Count", 1)
    document = documents.add("Document", Int64(999), "Scene", "Scene")
    block = document.add("Properties70")
    block.property70("SourceObject", "object", "", "")
    block.property70("ActiveAnimStackName", "KString", "", "", actor.name)
    document.add("RootNode", Int64(0))
    return [
        head,
        Record("FileId", (FILE_ID,)),
        Record("CreationTime", (TIME,)),
        Record("Creator", ("motionloom",)),
        settings,
        documents,
        Record("References"),
    ]


def _definitions(scene: _Scene) -> Record:
    found = Record("Definitions")
    found.add("Version", 100)
    found.add("Count", 1 + sum(scene.counts.values()))
    found.add("ObjectType", "GlobalSettings").add("Count", 1)
    for kind, count in scene.counts.items():
        found.add("ObjectType", kind).add("Count", count)
    return found


def _takes(actor: Actor) -> Record:
    takes = Record("Takes")
    takes.add("Current", actor.name)
    take = takes.add("Take", actor.name)
    take.add("FileName", f"{actor.name}.tak")
    stop = round((len(actor) - 1) * TICKS / actor.fps)
    take.add("LocalTime", Int64(0), Int64(stop))
    take.add("ReferenceTime", Int64(0), Int64(stop))
    return takes

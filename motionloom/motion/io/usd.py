"""Writing USD: ``.usda`` text, and ``.usdz``, the same in a zip without compression.

``SkelRoot`` over ``Skeleton`` (world ``bindTransforms``, local ``restTransforms``), ``SkelAnimation`` (rotations with
the real part first) and the skinned meshes. Metres, Y up, one time code a frame, ``timeCodesPerSecond`` = fps.
Source: Pixar, "UsdSkel schema overview" and "USDZ file format specification".
"""

import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from motionloom.motion.motion import Motion
from motionloom.motion.rigs.actor import Actor, actor_of, actor_on
from motionloom.motion.rigs.facts import facts_of
from motionloom.motion.rigs.onto import Retargeted
from motionloom.motion.rigs.scene import matrices

_ALIGN = 64


def write_usd(motion: Motion, path: str | Path, *, name: str | None = None, loop: bool = False) -> None:
    """Write a motion with the grey body.

    Args:
        motion: The motion; any skeleton.
        path: The file, ``.usda`` or ``.usdz``.
        name: Name of the clip.
        loop: Whether it is meant to repeat; noted in the file.
    """
    title = name or motion.provenance.text or Path(motion.provenance.source).stem or "motion"
    _write(actor_of(motion, name=title), path, facts_of(motion, loop=loop))


def write_usd_on(
    done: Retargeted,
    path: str | Path,
    *,
    name: str | None = None,
    reduce: float = 0.0,
    facts: dict[str, Any] | None = None,
) -> None:
    """Write a motion on a character: its joints and its meshes, without textures.

    Args:
        done: The motion on the character.
        path: The file, ``.usda`` or ``.usdz``.
        name: Name of the clip.
        reduce: Not used; USD holds every frame.
        facts: What the file says of the clip.
    """
    _write(actor_on(done, name=name or "motion"), path, facts or {})


def _write(actor: Actor, path: str | Path, facts: dict[str, Any]) -> None:
    text = "\n".join(_lines(actor, facts)) + "\n"
    raw = text.encode("utf-8")
    path = Path(path)
    if path.suffix.lower() == ".usdz":
        _zip(path, "clip.usda", raw)
    else:
        path.write_bytes(raw)


def _zip(path: Path, name: str, raw: bytes) -> None:
    """One stored member whose bytes start on a multiple of 64; always the same date, so always the same bytes."""
    header = 30 + len(name.encode())
    padding = (-header - 4) % _ALIGN
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_STORED
    info.extra = struct.pack("<HH", 0x1986, padding) + b"\0" * padding
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(info, raw)
    assert zlib.crc32(raw) == info.CRC


def _lines(actor: Actor, facts: dict[str, Any]) -> Iterator[str]:
    paths = _joint_paths(actor)
    last = len(actor) - 1
    yield "#usda 1.0"
    yield "("
    yield '    defaultPrim = "Actor"'
    yield f"    doc = {json.dumps('motionloom: ' + actor.name)}"
    yield f"    endTimeCode = {last}"
    yield "    metersPerUnit = 1"
    yield "    startTimeCode = 0"
    yield f"    timeCodesPerSecond = {_number(actor.fps)}"
    yield f"    framesPerSecond = {_number(actor.fps)}"
    yield '    upAxis = "Y"'
    if facts:
        yield "    customLayerData = {"
        yield f"        string motionloom = {json.dumps(json.dumps(facts, ensure_ascii=True))}"
        yield "    }"
    yield ")"
    yield 'def SkelRoot "Actor" (prepend apiSchemas = ["SkelBindingAPI"])'
    yield "{"
    yield "    rel skel:skeleton = </Actor/Skeleton>"
    clip = _plain(actor.name)
    yield f"    rel skel:animationSource = </Actor/Skeleton/{clip}>"
    extent = _extent(actor)
    yield f"    float3[] extent = [{extent}]"
    yield from _skeleton(actor, paths)
    for at, mesh in enumerate(actor.meshes):
        yield from _mesh(actor, at, mesh)
    for at, mesh in enumerate(actor.meshes):
        yield f'    def Material "Material_{at}"'
        yield "    {"
        yield f"        token outputs:surface.connect = </Actor/Material_{at}/Surface.outputs:surface>"
        yield '        def Shader "Surface"'
        yield "        {"
        yield '            uniform token info:id = "UsdPreviewSurface"'
        yield f"            color3f inputs:diffuseColor = {_tuple(mesh.colour)}"
        yield "            float inputs:roughness = 0.8"
        yield "            token outputs:surface"
        yield "        }"
        yield "    }"
    yield "}"


def _skeleton(actor: Actor, paths: list[str]) -> Iterator[str]:
    joints = ", ".join(json.dumps(path) for path in paths)
    bind = matrices(actor.rest, actor.turned, np.ones_like(actor.rest))
    move, turn = actor.local_rest()
    rest = matrices(move, turn, np.ones_like(move))
    yield '    def Skeleton "Skeleton" (prepend apiSchemas = ["SkelBindingAPI"])'
    yield "    {"
    yield f"        uniform token[] joints = [{joints}]"
    yield f"        uniform matrix4d[] bindTransforms = [{', '.join(_matrix(m) for m in bind)}]"
    yield f"        uniform matrix4d[] restTransforms = [{', '.join(_matrix(m) for m in rest)}]"
    clip = _plain(actor.name)
    yield f"        rel skel:animationSource = </Actor/Skeleton/{clip}>"
    yield f'        def SkelAnimation "{clip}"'
    yield "        {"
    yield f"            uniform token[] joints = [{joints}]"
    ones = ", ".join(["(1, 1, 1)"] * len(paths))
    yield f"            half3[] scales = [{ones}]"
    yield "            quatf[] rotations.timeSamples = {"
    for frame, rows in enumerate(actor.rotations):
        yield f"                {frame}: [{', '.join(_tuple(row) for row in rows)}],"
    yield "            }"
    yield "            float3[] translations.timeSamples = {"
    for frame, rows in enumerate(actor.translations):
        yield f"                {frame}: [{', '.join(_tuple(row) for row in rows)}],"
    yield "            }"
    yield "        }"
    yield "    }"


def _mesh(actor: Actor, at: int, mesh: Any) -> Iterator[str]:
    width = mesh.joints.shape[1]
    yield f'    def Mesh "Mesh_{at}" (prepend apiSchemas = ["SkelBindingAPI", "MaterialBindingAPI"])'
    yield "    {"
    yield f"        string ui:displayName = {json.dumps(mesh.name)}"
    yield '        uniform token subdivisionScheme = "none"'
    yield f"        int[] faceVertexCounts = [{', '.join(['3'] * len(mesh.triangles))}]"
    yield f"        int[] faceVertexIndices = [{', '.join(map(str, mesh.triangles.reshape(-1).tolist()))}]"
    yield f"        point3f[] points = [{', '.join(_tuple(row) for row in mesh.positions)}]"
    low, high = mesh.positions.min(0), mesh.positions.max(0)
    yield f"        float3[] extent = [{_tuple(low)}, {_tuple(high)}]"
    yield f"        normal3f[] normals = [{', '.join(_tuple(row) for row in mesh.normals)}] ("
    yield '            interpolation = "vertex"'
    yield "        )"
    if mesh.texture is not None:
        yield f"        texCoord2f[] primvars:st = [{', '.join(_tuple(row) for row in mesh.texture)}] ("
        yield '            interpolation = "vertex"'
        yield "        )"
    joints = ", ".join(map(str, mesh.joints.reshape(-1).tolist()))
    weights = ", ".join(_number(weight) for weight in mesh.weights.reshape(-1).tolist())
    yield f"        int[] primvars:skel:jointIndices = [{joints}] ("
    yield f"            elementSize = {width}"
    yield '            interpolation = "vertex"'
    yield "        )"
    yield f"        float[] primvars:skel:jointWeights = [{weights}] ("
    yield f"            elementSize = {width}"
    yield '            interpolation = "vertex"'
    yield "        )"
    one = "((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))"
    yield f"        matrix4d primvars:skel:geomBindTransform = {one}"
    yield "        rel skel:skeleton = </Actor/Skeleton>"
    yield f"        rel material:binding = </Actor/Material_{at}>"
    yield "    }"


def _joint_paths(actor: Actor) -> list[str]:
    """Paths of joints; a name of USD is letters, digits and underscores, so others become underscores."""
    labels: list[str] = []
    for name in actor.joints:
        plain = _plain(name)
        label, count = plain, 1
        while label in labels:
            count += 1
            label = f"{plain}_{count}"
        labels.append(label)
    found: list[str] = []
    for label, parent in zip(labels, actor.parents, strict=True):
        found.append(f"{found[parent]}/{label}" if parent >= 0 else label)
    return found


def _plain(name: str) -> str:
    """A name of USD: letters, digits and underscores, no digit first."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII) or "_"
    return f"_{plain}" if plain[0].isdigit() else plain


def _extent(actor: Actor) -> str:
    low, high = actor.rest.min(0) - 1.0, actor.rest.max(0) + 1.0
    root = actor.translations[:, 0]
    return f"{_tuple(low + np.minimum(root.min(0), 0))}, {_tuple(high + np.maximum(root.max(0), 0))}"


def _number(value: float) -> str:
    return f"{value:.9g}"


def _tuple(values: Any) -> str:
    return "(" + ", ".join(f"{float(value) + 0.0:.7g}" for value in values) + ")"


def _matrix(matrix: np.ndarray) -> str:
    """USD multiplies rows from the left, so its matrices are ours turned over."""
    return "(" + ", ".join("(" + ", ".join(f"{x + 0.0:.9g}" for x in row) + ")" for row in matrix.T) + ")"

"""A character's own glTF file with one more animation: meshes, materials and textures keep their bytes.

The result is a ``.glb``; buffers and pictures beside a ``.gltf`` are taken in. Key times are k / fps, quaternions go on
without changes of sign; the animation's ``extras`` say frame rate, loop, contacts, licence, text, seed, certificate.
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np

from motionloom.errors import MotionFileError
from motionloom.motion.io.glb_read import Document, read_document, read_uri
from motionloom.motion.io.gltf_build import Builder
from motionloom.motion.rigs.onto import Retargeted
from motionloom.motion.rigs.scene import Scene


def write_glb_on(
    done: Retargeted,
    path: str | Path,
    *,
    name: str | None = None,
    reduce: float = 0.0,
    facts: dict[str, Any] | None = None,
) -> None:
    """Write the character's file with the motion added.

    Args:
        done: The motion on a character that was read from glTF or VRM.
        path: The file, ``.glb`` or ``.vrm``.
        name: Name of the animation.
        reduce: Leave out keys that come back by interpolation within this many degrees.
        facts: What the animation's ``extras`` say.

    Raises:
        MotionFileError: The character was read from a file of another kind.
    """
    scene = done.rig.scene
    if scene.kind not in ("glb", "vrm0", "vrm1"):
        raise MotionFileError(f"{path}: the character {scene.path.name} is no glTF; write its own format instead")
    document = read_document(scene.path)
    tree = copy.deepcopy(document.json)
    build = Builder(tree, bytes(_one_buffer(document, tree)))
    clip = build.clip(name or "motion", facts or {})
    tracks = [(node, "translation", values) for node, values in sorted(done.translations.items())]
    tracks += [(node, "rotation", values) for node, values in sorted(done.rotations.items())]
    for node, kind, values in tracks:
        _loose(tree["nodes"][scene.source[node]], scene, node)
        # What carries the body is kept more closely, so that the whole does not drift.
        within = reduce / 2 if node in done.translations else reduce
        build.baked(clip, scene.source[node], kind, values, fps=done.fps, reduce=within, size=done.rig.leg)
    build.write(path)


def _one_buffer(document: Document, tree: dict[str, Any]) -> bytearray:
    """All buffers in the binary chunk; those with a place of their own (a meshopt fallback) stay as they are."""
    buffers = tree.get("buffers", [])
    inside = bool(buffers) and "uri" not in buffers[0] and document.binary
    data = bytearray(document.buffers[0][: buffers[0]["byteLength"]] if inside else b"")
    data += b"\0" * (-len(data) % 4)
    moved: dict[int, int] = {0: 0} if inside else {}
    for at, entry in enumerate(buffers):
        if at in moved or "uri" not in entry:
            continue
        moved[at] = len(data)
        data += document.buffers[at]
        data += b"\0" * (-len(data) % 4)
    kept = [at for at in range(len(buffers)) if at not in moved]
    place = {at: number for number, at in enumerate(kept, start=1)}
    for view in tree.get("bufferViews", []):
        _move_view(view, moved, place)
        extensions = view.get("extensions", {})
        for block in extensions.values():
            if isinstance(block, dict) and "buffer" in block:
                _move_view(block, moved, place)
    first = {key: value for key, value in buffers[0].items() if key != "uri"} if buffers and 0 in moved else {}
    tree["buffers"] = [{**first, "byteLength": len(data)}, *(buffers[at] for at in kept)]
    for number, image in enumerate(tree.get("images", [])):
        uri = image.get("uri")
        if isinstance(uri, str) and not uri.startswith("data:"):
            raw = read_uri(document.path, uri, f"image {number}")
            views = tree.setdefault("bufferViews", [])
            views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(raw)})
            del image["uri"]
            image["bufferView"] = len(views) - 1
            image.setdefault("mimeType", "image/png" if raw[:4] == b"\x89PNG" else "image/jpeg")
            data += raw + b"\0" * (-len(raw) % 4)
            tree["buffers"][0]["byteLength"] = len(data)
    return data


def _move_view(view: dict[str, Any], moved: dict[int, int], place: dict[int, int]) -> None:
    buffer = view.get("buffer", 0)
    if buffer in moved:
        if moved[buffer]:
            view["byteOffset"] = view.get("byteOffset", 0) + moved[buffer]
        view["buffer"] = 0
    else:
        view["buffer"] = place[buffer]


def _loose(node: dict[str, Any], scene: Scene, at: int) -> None:
    """A node that is animated must not have a matrix (glTF 2.0, section 3.5.3): write its parts instead."""
    if "matrix" not in node:
        return
    del node["matrix"]
    node["translation"] = [float(x) for x in scene.translations[at]]
    node["rotation"] = [float(x) for x in np.roll(scene.rotations[at], -1)]
    node["scale"] = [float(x) for x in scene.scales[at]]

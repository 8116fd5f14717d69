"""Putting a glTF file together: a JSON tree, a binary chunk that grows, and tracks."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from motionloom.motion.rigs.reduce import reduce_track

_FLOAT = 5126


class Builder:
    """A glTF file in the making.

    Attributes:
        tree: The JSON.
        data: The binary chunk.
    """

    def __init__(self, tree: dict[str, Any] | None = None, data: bytes = b"") -> None:
        self.tree: dict[str, Any] = (
            tree if tree is not None else {"asset": {"version": "2.0", "generator": "motionloom"}}
        )
        self.data = bytearray(data)
        self.data += b"\0" * (-len(self.data) % 4)
        self._clocks: dict[bytes, int] = {}

    def add(self, array: np.ndarray, form: str, *, limits: bool = False) -> int:
        """Append an array of float32, one row an element; return the index of its accessor."""
        rows = np.ascontiguousarray(array, dtype=np.float32)
        views, accessors = self.tree.setdefault("bufferViews", []), self.tree.setdefault("accessors", [])
        views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": rows.nbytes})
        entry: dict[str, Any] = {
            "bufferView": len(views) - 1,
            "componentType": _FLOAT,
            "count": len(rows),
            "type": form,
        }
        if limits:
            flat = rows.reshape(len(rows), -1)
            entry["min"], entry["max"] = ([float(x) for x in edge] for edge in (flat.min(0), flat.max(0)))
        accessors.append(entry)
        self.data += rows.tobytes()
        return len(accessors) - 1

    def clip(self, name: str, extras: dict[str, Any]) -> dict[str, Any]:
        """Begin an animation; one of the same name gets a number."""
        taken = [entry.get("name") for entry in self.tree.get("animations", [])]
        label, count = name[:60] or "motion", 1
        while label in taken:
            count += 1
            label = f"{name[:60]}.{count:03d}"
        animation = {"name": label, "samplers": [], "channels": [], **({"extras": extras} if extras else {})}
        self.tree.setdefault("animations", []).append(animation)
        return animation

    def track(
        self,
        clip: dict[str, Any],
        node: int,
        kind: str,
        *,
        times: np.ndarray,
        values: np.ndarray,
        interpolation: str = "LINEAR",
    ) -> None:
        """Add a track of a node's ``translation`` or ``rotation`` (quaternions wxyz); splines have three rows a key."""
        seconds = times.astype(np.float32)
        clock = seconds.tobytes()
        if clock not in self._clocks:
            self._clocks[clock] = self.add(seconds, "SCALAR", limits=True)
        rows = np.roll(values, -1, axis=-1) if kind == "rotation" else values
        output = self.add(rows.reshape(-1, rows.shape[-1]), "VEC4" if kind == "rotation" else "VEC3")
        clip["channels"].append({"sampler": len(clip["samplers"]), "target": {"node": node, "path": kind}})
        clip["samplers"].append({"input": self._clocks[clock], "output": output, "interpolation": interpolation})

    def baked(
        self, clip: dict[str, Any], node: int, kind: str, values: np.ndarray, *, fps: float, reduce: float, size: float
    ) -> None:
        """Add a track of a value a frame, with fewer keys where that is wanted [degrees]."""
        if reduce > 0:
            keys = reduce_track(values, kind, degrees=reduce, fps=fps, size=size)
            frames, rows, form = keys.frames, keys.values, keys.interpolation
        else:
            frames, rows, form = np.arange(len(values)), values, "LINEAR"
        self.track(clip, node, kind, times=frames / fps, values=rows, interpolation=form)

    def write(self, path: str | Path) -> None:
        """Write a ``.glb``."""
        buffers = self.tree.get("buffers") or [{}]
        self.tree["buffers"] = [{**buffers[0], "byteLength": len(self.data)}, *buffers[1:]]
        text = json.dumps(self.tree, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")
        text += b" " * (-len(text) % 4)
        data = bytes(self.data) + b"\0" * (-len(self.data) % 4)
        total = 12 + 8 + len(text) + 8 + len(data)
        with Path(path).open("wb") as file:
            file.write(struct.pack("<4sII", b"glTF", 2, total))
            file.write(struct.pack("<I4s", len(text), b"JSON") + text)
            file.write(struct.pack("<I4s", len(data), b"BIN\0") + data)

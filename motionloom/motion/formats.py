"""Which formats there are: plain tables suffix -> function, imported when first used.

Pictures and videos are written by whoever announces itself under the entry-point group ``motionloom.writers``.
"""

import inspect
import os
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from motionloom.errors import MotionFileError
from motionloom.motion.files import atomic_path

READERS = {
    ".bvh": "motionloom.motion.io.bvh:read_bvh",
    ".amc": "motionloom.motion.io.acclaim:read_acclaim",
    ".npz": "motionloom.motion.io.arrays:read_npz",
    ".npy": "motionloom.motion.io.arrays:read_npy",
    ".csv": "motionloom.motion.io.arrays:read_csv",
    ".glb": "motionloom.motion.io.glb_read:read_glb",
    ".gltf": "motionloom.motion.io.glb_read:read_glb",
    ".vrm": "motionloom.motion.io.glb_read:read_glb",
    ".vrma": "motionloom.motion.io.glb_read:read_glb",
    ".fbx": "motionloom.motion.io.fbx_read:read_fbx",
}
WRITERS = {
    ".bvh": "motionloom.motion.io.bvh_write:write_bvh",
    ".glb": "motionloom.motion.io.gltf:write_glb",
    ".vrma": "motionloom.motion.io.vrma:write_vrma",
    ".fbx": "motionloom.motion.io.fbx_write:write_fbx",
    ".usda": "motionloom.motion.io.usd:write_usd",
    ".usdz": "motionloom.motion.io.usd:write_usd",
    ".amass.npz": "motionloom.motion.io.amass:write_amass",
    ".npz": "motionloom.motion.io.arrays:write_npz",
    ".npy": "motionloom.motion.io.arrays:write_npy",
    ".csv": "motionloom.motion.io.arrays:write_csv",
}
WRITERS_GROUP = "motionloom.writers"


def write(motion: Any, path: str | os.PathLike[str], **options: Any) -> None:
    """Write a ``Motion`` to a file, whole or not at all: under a temporary name, which is then renamed.

    Raises:
        MotionFileError: The suffix or an option is unknown, the directory does not exist, or the format cannot hold
            this motion.
    """
    path = Path(path)
    writer = can_write(path)
    check_options(path, writer, options)
    with atomic_path(path) as temporary:
        writer(motion, temporary, **options)


def can_write(path: str | os.PathLike[str]) -> Callable[..., None]:
    """Find the writer for a file; called before long work, it refuses what could not be written after it.

    Raises:
        MotionFileError: The suffix is unknown, or the directory does not exist.
    """
    path = Path(path)
    suffix = find_suffix(path, WRITERS)
    pictures = {entry.name: entry for entry in entry_points(group=WRITERS_GROUP)}
    if suffix is None and path.suffix.lower() not in pictures:
        known = ", ".join(sorted([*WRITERS, *pictures]))
        raise MotionFileError(f"{path}: motions of this kind are not written; known are {known}")
    if not path.parent.is_dir():
        raise MotionFileError(f"{path}: the directory {path.parent} does not exist; make it first")
    return resolve(WRITERS[suffix]) if suffix else pictures[path.suffix.lower()].load()


def find_suffix(path: Path, table: dict[str, str]) -> str | None:
    """The longest suffix of the table that the file's name ends with."""
    fitting = [suffix for suffix in table if path.name.lower().endswith(suffix)]
    return max(fitting, key=len, default=None)


def resolve(target: str) -> Callable[..., Any]:
    """The function that a table names as "module:name"."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def check_options(path: Path, function: Callable[..., Any], options: dict[str, Any]) -> None:
    """See that a reader or writer has these options.

    Raises:
        MotionFileError: It has no such option; the message names those that it has.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters if parameter.name not in ("path", "motion")]
    unknown = sorted(set(options) - set(known))
    if unknown:
        choices = f"the options are {', '.join(known)}" if known else "it has none"
        raise MotionFileError(f"{path}: option {unknown[0]!r} does not belong to this format; {choices}")

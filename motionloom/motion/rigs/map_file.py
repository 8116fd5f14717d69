"""A user's map of a character's bones: TOML, as ``motionloom rig init`` writes it."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from motionloom.errors import RetargetError
from motionloom.motion.rigs.families import BONES

CHAINS = ("spine", "neck")
"""Bones that may be several nodes."""
_DIRECTIONS = {"+X": (1, 0, 0), "-X": (-1, 0, 0), "+Y": (0, 1, 0), "-Y": (0, -1, 0), "+Z": (0, 0, 1), "-Z": (0, 0, -1)}


@dataclass(frozen=True)
class MapFile:
    """What a user's map says: bones by node name, and which way the character stands and faces."""

    path: Path
    bones: dict[str, tuple[str, ...]]
    faces: tuple[int, int, int] | None = None


def read_map_file(path: str | Path) -> MapFile:
    """Read a map: ``[bones]`` with a node name for each bone (a list for spine and neck), and ``faces = "+Z"``.

    Raises:
        RetargetError: The file cannot be read, or names an unknown bone or direction.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RetargetError(f"{path}: no map can be read ({' '.join(str(error).split())})") from None
    unknown = sorted(set(table) - {"bones", "faces", "title"})
    listed = table.get("bones")
    if unknown or not isinstance(listed, dict):
        raise RetargetError(f"{path}: {f'key {unknown[0]!r} is unknown' if unknown else 'there is no table [bones]'}")
    bones = {}
    for bone, entry in listed.items():
        names = (entry,) if isinstance(entry, str) else tuple(entry) if isinstance(entry, list) else ()
        if bone not in BONES or not all(isinstance(name, str) for name in names):
            raise RetargetError(f"{path}: {bone!r} = {entry!r}; bones are {', '.join(BONES[:13])}, ... with node names")
        if len(names) > 1 and bone not in CHAINS:
            raise RetargetError(f"{path}: {bone!r} is one node; only spine and neck may be several")
        if names and names[0]:
            bones[bone] = names
    faces = table.get("faces")
    if faces is not None and faces not in ("+X", "-X", "+Z", "-Z"):
        raise RetargetError(f"{path}: faces = {faces!r}; use +X, -X, +Z or -Z")
    return MapFile(path, bones, _DIRECTIONS[faces] if faces else None)

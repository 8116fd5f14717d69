"""What is understood of a character, as facts and as a map to edit."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from motionloom.errors import MotionFileError, RetargetError
from motionloom.motion.files import atomic_path
from motionloom.motion.rigs.families import BONES, FINGER_BONES
from motionloom.motion.rigs.rig import Rig, candidates, read_rig, read_scene_of


def rig_facts(path: str | Path, *, map_file: str | Path | None = None) -> dict[str, Any]:
    """What is understood of a character.

    Raises:
        MotionFileError: The file is damaged or holds no skeleton.
        RetargetError: It is refused; the message says why.
    """
    rig = read_rig(path, map_file=map_file)
    scene = rig.scene
    place = rig.world[candidates(scene), :3, 3]
    return {
        "file": str(path),
        "kind": scene.kind,
        "joints": len(candidates(scene)),
        "faces": _direction(rig.forward),
        "height_m": round(float(place[:, 1].max() - rig.floor) * scene.unit, 3),
        "leg_m": round(rig.leg * scene.unit, 3),
        "root_bone": scene.names[rig.root] if rig.root is not None else "none",
        "animations": [clip.name for clip in scene.clips],
        "bones": {bone: {"node": _node(rig, bone), "rule": rig.rules[bone]} for bone in BONES if bone in rig.rules},
        "left_in_rest": [scene.names[node] for node in rig.still],
        "notes": list(rig.notes),
    }


def _node(rig: Rig, bone: str) -> str:
    chain = {"spine": rig.spine, "neck": rig.neck}.get(bone)
    return " ".join(rig.scene.names[node] for node in (chain if chain is not None else (rig.bones[bone],)))


def _direction(forward: np.ndarray) -> str:
    axis = int(np.abs(forward).argmax())
    return f"{'+' if forward[axis] > 0 else '-'}{'XYZ'[axis]}"


def write_map(path: str | Path, out: str | Path, *, map_file: str | Path | None = None) -> list[str]:
    """Write a map of a character's bones, to be edited and given with ``--map``.

    A character that is refused gets a map as well: with the bones that are known, and the reason as a comment.

    Returns:
        Notes on what could not be told.

    Raises:
        MotionFileError: The file is damaged or holds no skeleton, or the map cannot be written.
    """
    out = Path(out)
    if out.suffix.lower() != ".toml":
        raise MotionFileError(f"{out}: a map is a .toml file")
    scene = read_scene_of(path)
    told: list[str] = []
    lines = [f"# Bones of {Path(path).name} for motionloom; edit what is wrong, then give it with --map."]
    known: dict[str, tuple[str, ...]] = {}
    try:
        rig = read_rig(scene, map_file=map_file)
        lines.append(f'faces = "{_direction(rig.forward)}"')
        for bone in BONES:
            if bone in rig.rules:
                chain = {"spine": rig.spine, "neck": rig.neck}.get(bone)
                nodes = chain if chain is not None else (rig.bones[bone],)
                known[bone] = tuple(scene.names[node] for node in nodes)
    except RetargetError as error:
        told.append(f"it is refused as it is: {error}")
        lines += [f"# It is refused as it is: {error}", '# faces = "+Z"']
        from motionloom.motion.rigs.families import rank_families

        nodes = candidates(scene)
        _, matches = rank_families([scene.names[node] for node in nodes])[0]
        known = {bone: tuple(scene.names[nodes[at]] for at in places[:1]) for bone, places in matches.items()}
    lines += ["", "[bones]"]
    for bone in BONES:
        if bone == "root":
            continue
        names = known.get(bone, ())
        if bone in ("spine", "neck"):
            lines.append(f"{bone} = [{', '.join(_quoted(name) for name in names)}]")
        elif names or bone not in FINGER_BONES:
            lines.append(f"{bone} = {_quoted(names[0] if names else '')}")
    used = {name for names in known.values() for name in names}
    free = [scene.names[node] for node in candidates(scene) if scene.names[node] not in used]
    if free:
        lines += ["", "# Joints no bone names:", *(f"#   {name}" for name in free)]
    with atomic_path(out) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return told


def _quoted(name: str) -> str:
    """A string of TOML; its escapes are those of JSON."""
    return json.dumps(name, ensure_ascii=False)

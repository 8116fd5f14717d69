"""Fingers: which joints of a foreign skeleton are the thirty finger joints of the canonical body with hands.

A hand counts when all of its fifteen joints are there; in the rest pose it is held flat, as hands of rigs are.
"""

import re

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS, PARTS, Skeleton

_NAMES = "thumb|index|middle|ring|pinky|little"
_PLACES = "0?[123]|metacarpal|proximal|intermediate|distal"
_PATTERNS = (
    re.compile(rf"(?P<side>left|right)_?(?:hand)?_?(?P<finger>{_NAMES})_?(?P<place>{_PLACES})"),
    re.compile(rf"(?P<finger>{_NAMES})_(?P<place>{_PLACES})_(?P<side>l|r)"),
)
_NUMBERS = {"metacarpal": 1, "proximal": 1, "intermediate": 2, "distal": 3}
_VRM_THUMB = {"metacarpal": 1, "proximal": 2, "distal": 3}
"""VRM 1.0 counts a thumb from the palm."""
_WRISTS = {"left": CANONICAL.index("left_wrist"), "right": CANONICAL.index("right_wrist")}
_BODY = len(CANONICAL)


def find_fingers(names: tuple[str, ...]) -> dict[str, int]:
    """Canonical finger joint -> joint of the skeleton, by the names that SMPL-H, Mixamo, VRM, Unity and Unreal use.

    Args:
        names: The skeleton's joints, without namespace and prefix.

    Returns:
        All fifteen joints of a hand or none of it.
    """
    found: dict[str, int] = {}
    vrm = any("thumbmetacarpal" in name.lower().replace("_", "") for name in names)
    for joint, name in enumerate(names):
        match = next((m for pattern in _PATTERNS if (m := pattern.fullmatch(name.lower()))), None)
        if match is None:
            continue
        finger = "pinky" if match["finger"] == "little" else match["finger"]
        place = match["place"].lstrip("0")
        if place == "metacarpal" and finger != "thumb":
            continue  # in the palm: no joint of ours
        numbers = _VRM_THUMB if finger == "thumb" and vrm else _NUMBERS
        number = numbers[place] if place in numbers else int(place)
        side = {"l": "left", "r": "right"}.get(match["side"], match["side"])
        found.setdefault(f"{side}_{finger}{number}", joint)
    for side in _WRISTS:
        wanted = [name for name in CANONICAL_HANDS.names[_BODY:] if name.startswith(side)]
        if not set(wanted) <= found.keys():
            for name in wanted:
                found.pop(name, None)
    return found


def with_hands(
    body: Motion,
    source: Motion,
    fingers: dict[str, int],
    wrists: tuple[int, int],
    corrections: Float[Tensor, "2 4"],
) -> Motion:
    """A motion of the canonical body with the fingers of the motion it was made from.

    Args:
        body: Motion of the canonical 22 joints.
        source: What it was made from.
        fingers: As ``find_fingers`` tells.
        wrists: The source's left and right wrist.
        corrections: What takes a source wrist's world rotation to ours.
    """
    sides = [side for side in _WRISTS if f"{side}_index1" in fingers]
    rotations = rot.identity(len(body), len(CANONICAL_HANDS)).to(body.rotations)
    rotations[:, :_BODY] = body.rotations
    for joint, name in enumerate(CANONICAL_HANDS.names[_BODY:], start=_BODY):
        if name not in fingers:
            continue
        row = ("left", "right").index(name.split("_")[0])
        parent = CANONICAL_HANDS.parents[joint]
        above = fingers[CANONICAL_HANDS.names[parent]] if parent >= _BODY else wrists[row]
        world = source.world_rotations
        local = rot.multiply(rot.conjugate(world[:, above]), world[:, fingers[name]])
        turn = corrections[row].to(local)
        rotations[:, joint] = rot.multiply(rot.multiply(rot.conjugate(turn), local), turn)
    valid = body.valid
    missing = [PARTS.index(f"{side}_hand") for side in _WRISTS if side not in sides]
    if missing:
        valid = torch.ones(len(body), len(PARTS), dtype=torch.bool) if valid is None else valid.clone()
        valid[:, missing] = False
    return body.with_(skeleton=hands_of(body.skeleton), rotations=rot.normalize(rotations), valid=valid)


def hands_of(body: Skeleton) -> Skeleton:
    """The same body with the canonical hands."""
    offsets = CANONICAL_HANDS.offsets.clone()
    offsets[:_BODY] = body.offsets
    return Skeleton(CANONICAL_HANDS.names, CANONICAL_HANDS.parents, offsets)


__all__ = ["find_fingers", "hands_of", "with_hands"]

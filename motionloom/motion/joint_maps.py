"""Which joint of a foreign skeleton is which of ours: name maps, kept as TOML files in ``maps/``.

A map has a table ``[joints]``, canonical name -> where that joint is in the source: ``"Name"``, a point between two
joints ``["A", "B", 0.4]``, or a list of alternatives of either kind, of which the first whose joints exist is taken.

A rest pose tells how the body stands when all rotations are zero: a T-pose, an A-pose, arms hanging. Where it is no
pose at all (every bone along its own X), ``[axes]`` says where each source joint's X, Y and Z point in a T-pose.
"""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import RetargetError
from motionloom.motion import rotations as rot
from motionloom.motion.skeleton import CANONICAL, Skeleton

OPTIONAL = frozenset(
    {"spine1", "spine2", "spine3", "left_collar", "right_collar", "left_foot", "right_foot", "neck", "head"}
)
"""Canonical joints a source may lack; they then follow their parent."""
_AXES = {"X": (1.0, 0.0, 0.0), "Y": (0.0, 1.0, 0.0), "Z": (0.0, 0.0, 1.0)}
_FORMS = {dict: "table", list: "list of words of up to 100 characters", str: "text", bool: "true or false"}
_LEGS = ((1, 7), (2, 8))
_UPRIGHT = 0.5
"""Cosine of the largest angle between a leg and straight down in a pose that is taken for standing."""

Point = tuple[str, str, float]
"""First source joint, second source joint, share of the way to the second. The first also gives the rotation."""
Slot = tuple[int, int, float]
"""The same by index."""


@dataclass(frozen=True, eq=False)
class JointMap:
    r"""How one family of skeletons answers to the canonical joint names.

    Attributes:
        name: File name of the map.
        title: What it is for.
        joints: Canonical joint -> alternatives.
        axes: Source joint -> where its own X, Y, Z point in a T-pose (rows of 3); empty where the rest pose
            itself is a standing pose.
        prefixes: Regular expressions of what may stand in front of the names (``mixamorig\d*``). A namespace
            (``Actor:Hips``) is always taken off.
        marks: Source joints without which the map does not apply, whatever else fits: they tell families with
            the same joint names apart.
        vertical: Whether the rest pose of this family stands straight up in the file. If not, up is the direction
            from pelvis to neck, and hands and feet count as those of a T-pose.
    """

    name: str
    title: str
    joints: dict[str, tuple[Point, ...]]
    axes: dict[str, tuple[float, ...]] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    vertical: bool = True

    def bare(self, name: str) -> str:
        """A source joint's name without namespace and prefix."""
        name = name.rsplit(":", 1)[-1]
        for prefix in self.prefixes:
            if (found := re.match(prefix, name)) and found.end() < len(name):
                return name[found.end() :]
        return name

    def slots(self, names: tuple[str, ...]) -> dict[str, Slot]:
        """Where each canonical joint is among a skeleton's joints; those it lacks are left out."""
        index = {self.bare(name): joint for joint, name in reversed(list(enumerate(names)))}
        if not set(self.marks) <= index.keys():
            return {}
        found = {}
        for canonical, points in self.joints.items():
            fitting = [(index[a], index[b], share) for a, b, share in points if a in index and b in index]
            if fitting:
                found[canonical] = fitting[0]
        return found

    def reference(self, skeleton: Skeleton) -> Float[Tensor, "J 4"] | None:
        """World rotation of each source joint in a T-pose facing +Z, where the map has axes; else nothing."""
        if not self.axes:
            return None
        world: list[Tensor] = []
        for joint, name in enumerate(skeleton.names):
            axes = self.axes.get(self.bare(name))
            if axes is not None:
                world.append(rot.from_matrix(torch.tensor(axes).view(3, 3).T))
            else:
                world.append(world[skeleton.parents[joint]] if joint else rot.identity())
        return torch.stack(world)


def parse_map(name: str, table: dict[str, Any]) -> JointMap:
    """A map from a table as its TOML file has it.

    Raises:
        RetargetError: The table lacks ``joints``, names an unknown canonical joint or key, or an entry has
            another form than described in this module.
    """
    unknown = sorted(set(table) - {"title", "joints", "axes", "prefixes", "marks", "vertical"})
    if unknown or "joints" not in table:
        raise RetargetError(f"joint map {name!r}: {f'key {unknown[0]!r} is unknown' if unknown else 'no [joints]'}")
    forms = (("joints", dict), ("axes", dict), ("prefixes", list), ("marks", list), ("title", str), ("vertical", bool))
    for key, form in forms:
        value = table.get(key)
        words = not isinstance(value, list) or all(isinstance(word, str) and len(word) <= 100 for word in value)
        if value is not None and not (isinstance(value, form) and words):
            raise RetargetError(f"joint map {name!r}: {key} is no {_FORMS[form]}")
    try:
        _ = [re.compile(prefix) for prefix in table.get("prefixes", ())]
    except (re.error, RecursionError, OverflowError) as error:
        raise RetargetError(f"joint map {name!r}: a prefix is no regular expression ({error})") from None
    joints = {}
    for canonical, entry in table["joints"].items():
        if canonical not in CANONICAL.names:
            known = ", ".join(CANONICAL.names)
            raise RetargetError(f"joint map {name!r}: {canonical!r} is no canonical joint; they are {known}")
        several = isinstance(entry, list) and len(entry) > 0 and not isinstance(entry[-1], int | float)
        joints[canonical] = tuple(_point(name, canonical, item) for item in (entry if several else [entry]))
    return JointMap(
        name,
        table.get("title", name),
        joints,
        {joint: _parse_axes(name, joint, text) for joint, text in table.get("axes", {}).items()},
        tuple(table.get("prefixes", ())),
        tuple(table.get("marks", ())),
        table.get("vertical", True),
    )


def _point(name: str, canonical: str, entry: Any) -> Point:
    if isinstance(entry, str):
        return entry, entry, 0.0
    kinds = [type(item) for item in entry] if isinstance(entry, list) else []
    if kinds not in ([str, str, float], [str, str, int]) or not -10 <= entry[2] <= 10:
        raise RetargetError(
            f"joint map {name!r}: {canonical} = {entry!r} is neither a name nor [name, name, share of the way]"
        )
    return entry[0], entry[1], float(entry[2])


def _parse_axes(name: str, joint: str, text: str | list[float]) -> tuple[float, ...]:
    if isinstance(text, list):
        # Nine numbers of directions; anything else is refused below.
        fits = all(type(value) in (int, float) and -2 <= value <= 2 for value in text)
        axes = tuple(float(value) for value in text) if fits else ()
    elif not isinstance(text, str):
        axes = ()
    else:
        words = [word for word in text.split() if re.fullmatch(r"[+-][XYZ]", word)]
        axes = tuple(v * (-1.0 if word[0] == "-" else 1.0) for word in words for v in _AXES[word[1]])
    rows = torch.tensor(axes).view(-1, 3) if len(axes) == 9 else torch.zeros(3, 3)
    if float((torch.linalg.det(rows) - 1.0).abs()) > 0.05:
        raise RetargetError(
            f"joint map {name!r}: axes of {joint!r} are {text!r}; needed are three directions that make a"
            " right-handed frame, such as '+Y +Z +X', or nine numbers"
        )
    return axes


def read_map(path: Path) -> JointMap:
    """Read a map of your own from a TOML file.

    Raises:
        RetargetError: The file cannot be read, is no TOML or no map.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError, tomllib.TOMLDecodeError) as error:
        raise RetargetError(f"{path}: no joint map can be read ({error})") from None
    return parse_map(path.stem, table)


@lru_cache(maxsize=1)
def joint_maps() -> tuple[JointMap, ...]:
    """All maps that are shipped, sorted by name."""
    files = sorted(resources.files("motionloom.motion.maps").iterdir(), key=lambda item: item.name)
    return tuple(
        parse_map(file.name.removesuffix(".toml"), tomllib.loads(file.read_text(encoding="utf-8")))
        for file in files
        if file.name.endswith(".toml")
    )


def find_map(skeleton: Skeleton) -> JointMap:
    """The shipped map that fits a skeleton best: by names (letter case counts), then by its rest pose.

    Raises:
        RetargetError: No map finds the joints a body needs.
    """
    fitting = _by_names(skeleton.names)
    # Two families may share all names and differ in what the rest pose is; a rig may have one's names and a rest pose
    # that needs no axes.
    plain = [_without_axes(entry) for entry in fitting if entry.axes]
    return next((entry for entry in (*fitting, *plain) if stands(entry, skeleton)), fitting[0])


@lru_cache(maxsize=64)
def _without_axes(joint_map: JointMap) -> JointMap:
    """The same names, for rigs whose rest pose stands."""
    return replace(joint_map, axes={})


@lru_cache(maxsize=256)
def _by_names(names: tuple[str, ...]) -> tuple[JointMap, ...]:
    """Maps that find all joints a body needs, those that find most of the others first, specific ones first."""
    missing = {entry: set(CANONICAL.names) - entry.slots(names).keys() for entry in joint_maps()}
    needed = {entry: [name for name in CANONICAL.names if name in missing[entry] - OPTIONAL] for entry in missing}
    fitting = [entry for entry in missing if not needed[entry]]
    if not fitting:
        nearest = min(missing, key=lambda entry: (len(needed[entry]), len(missing[entry])))
        raise RetargetError(
            f"no joint map fits this skeleton ({listed(names, 4)}); the nearest, {nearest.name!r}, lacks"
            f" {listed(needed[nearest], 6)}: pass a JointMap of your own"
        )
    return tuple(sorted(fitting, key=lambda entry: (len(missing[entry]), -len(entry.marks))))


def listed(names: Sequence[str], most: int) -> str:
    """The first of some names, each cut to 40 characters."""
    return ", ".join(name[:40] for name in names[:most]) + (", ..." if len(names) > most else "")


def points_at(positions: Float[Tensor, "*batch S 3"], slots: dict[str, Slot]) -> Float[Tensor, "*batch 22 3"]:
    """Where the canonical joints are in a source's positions; a joint it lacks sits at its parent's place."""
    rows: list[Slot] = []
    for joint, name in enumerate(CANONICAL.names):
        rows.append(slots[name] if name in slots else rows[CANONICAL.parents[joint]])
    first, second, share = zip(*rows, strict=True)
    weight = positions.new_tensor(share)[:, None]
    return torch.lerp(positions[..., list(first), :], positions[..., list(second), :], weight)


def reference_points(joint_map: JointMap, skeleton: Skeleton) -> Float[Tensor, "22 3"]:
    """The canonical joints of a source in its T-pose (maps with axes) or rest pose."""
    world = joint_map.reference(skeleton)
    places = [torch.zeros(3)]
    for joint, parent in enumerate(skeleton.parents[1:], start=1):
        offset = skeleton.offsets[joint].float()
        places.append(places[parent] + (offset if world is None else rot.rotate(world[parent], offset)))
    return points_at(torch.stack(places), joint_map.slots(skeleton.names))


def stands(joint_map: JointMap, skeleton: Skeleton) -> bool:
    """Whether the pose a map takes for the reference is one of a standing body: both legs below the trunk.

    A rest pose may stand along any axis of its file; a T-pose that a map's axes describe stands along +Y, left at +X.
    """
    points = reference_points(joint_map, skeleton)
    up = rot.normalize(points[16] + points[17] - points[1] - points[2])
    left = rot.normalize(points[1] - points[2])
    if joint_map.axes and min(float(up[1]), float(left[0])) < _UPRIGHT:
        return False
    legs = [rot.normalize(points[ankle] - points[hip]) for hip, ankle in _LEGS]
    return all(float(leg @ up) < -_UPRIGHT for leg in legs)

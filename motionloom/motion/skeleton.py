"""Skeletons: trees of named joints in rest pose, and the canonical body every engine speaks of.

Conventions: metres, right-handed, +Y up, +Z forward, so a body's left is +X. The canonical rest pose is a T-pose.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import SkeletonError

MAX_JOINTS = 512
MAX_DEPTH = 64

PARTS = (
    "root",
    "head",
    "stem",
    "left_arm",
    "right_arm",
    "left_leg",
    "right_leg",
    "left_hand",
    "right_hand",
    "face",
)
"""The ten body parts of the grid time x parts (LMM, arXiv 2404.01284, section 3.2)."""


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A tree of joints in rest pose; parents come before children, so one pass visits it all.

    Attributes:
        names: Joint names, unique; the first is the root.
        parents: Index of each joint's parent; -1 for the root only.
        offsets: Rest position of each joint relative to its parent [m]; all rest rotations are the identity.

    Raises:
        SkeletonError: The fields disagree in length, a name is repeated, a parent doesn't come before its
            child, or there are more than 512 joints or 64 levels.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Float[Tensor, "J 3"]

    def __post_init__(self) -> None:
        sizes = len(self.names), len(self.parents), len(self.offsets)
        if len(set(sizes)) != 1 or sizes[0] == 0:
            raise SkeletonError(f"names, parents, offsets need one entry per joint; got {sizes}")
        if sizes[0] > MAX_JOINTS:
            raise SkeletonError(f"{sizes[0]} joints; a skeleton may have at most {MAX_JOINTS}")
        if len(set(self.names)) != len(self.names):
            repeated = sorted({name for name in self.names if self.names.count(name) > 1})
            raise SkeletonError(f"joint names must be unique; repeated: {repeated}")
        if self.parents[0] != -1:
            raise SkeletonError(f"joint 0 must be the root (parent -1); its parent is {self.parents[0]}")
        for joint, parent in enumerate(self.parents[1:], start=1):
            if not 0 <= parent < joint:
                raise SkeletonError(
                    f"joint {joint} ({self.names[joint]!r}) has parent {parent}; it must be one of"
                    f" 0..{joint - 1}: list each parent before its children"
                )
        if len(self.levels) >= MAX_DEPTH:
            raise SkeletonError(f"the skeleton is {len(self.levels)} levels deep; at most {MAX_DEPTH} are allowed")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Joints below the root grouped by depth: kinematics takes one step per level, not per joint."""
        depth = [0] * len(self.names)
        groups: list[list[int]] = []
        for joint, parent in enumerate(self.parents[1:], start=1):
            depth[joint] = depth[parent] + 1
            if depth[joint] > len(groups):
                groups.append([])
            groups[depth[joint] - 1].append(joint)
        return tuple(tuple(group) for group in groups)

    @cached_property
    def steps(self) -> tuple[tuple[list[int], list[int]], ...]:
        """For each level its joints, and where in the level above (level 0 is the root) their parents stand."""
        above: tuple[int, ...] = (0,)
        found = []
        for level in self.levels:
            found.append((list(level), [above.index(self.parents[joint]) for joint in level]))
            above = level
        return tuple(found)

    @cached_property
    def level_order(self) -> list[int]:
        """Where each joint stands when the root and all levels are put one after the other."""
        flat = [0, *(joint for level in self.levels for joint in level)]
        return [flat.index(joint) for joint in range(len(flat))]

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Children of each joint, in order."""
        found: list[list[int]] = [[] for _ in self.names]
        for joint, parent in enumerate(self.parents[1:], start=1):
            found[parent].append(joint)
        return tuple(tuple(group) for group in found)

    @cached_property
    def rest_positions(self) -> Float[Tensor, "J 3"]:
        """Rest position of each joint in the world when the root sits at its own offset [m]."""
        positions = [self.offsets[0]]
        for joint, parent in enumerate(self.parents[1:], start=1):
            positions.append(positions[parent] + self.offsets[joint])
        return torch.stack(positions)

    def index(self, name: str) -> int:
        """Index of the joint of that name.

        Raises:
            SkeletonError: There is no such joint.
        """
        if name not in self.names:
            raise SkeletonError(f"there is no joint {name!r}; the joints are {', '.join(self.names)}")
        return self.names.index(name)

    def same_tree(self, other: "Skeleton") -> bool:
        """Whether both have the same joint names and parents (offsets may differ)."""
        return self.names == other.names and self.parents == other.parents

    def scaled(self, factor: float) -> "Skeleton":
        """The same tree with all offsets times ``factor``."""
        return Skeleton(self.names, self.parents, self.offsets * factor)


# name, parent, x, y, z [m]. Proportions: near the means over the 31-joint files of the CMU motion capture database
# (legs 0.84 m), made symmetric and put into a T-pose; `runs/measure_body.py` prints them.
_CANONICAL = (
    ("pelvis", -1, 0.0, 0.930, 0.0),
    ("left_hip", 0, 0.094, -0.100, 0.0),
    ("right_hip", 0, -0.094, -0.100, 0.0),
    ("spine1", 0, 0.0, 0.118, -0.010),
    ("left_knee", 1, 0.0, -0.428, 0.0),
    ("right_knee", 2, 0.0, -0.428, 0.0),
    ("spine2", 3, 0.0, 0.070, 0.0),
    ("left_ankle", 4, 0.0, -0.412, 0.0),
    ("right_ankle", 5, 0.0, -0.412, 0.0),
    ("spine3", 6, 0.0, 0.047, 0.0),
    ("left_foot", 7, 0.0, -0.055, 0.112),
    ("right_foot", 8, 0.0, -0.055, 0.112),
    ("neck", 9, 0.0, 0.150, 0.0),
    ("left_collar", 9, 0.080, 0.080, 0.0),
    ("right_collar", 9, -0.080, 0.080, 0.0),
    ("head", 12, 0.0, 0.095, 0.015),
    ("left_shoulder", 13, 0.098, 0.0, 0.0),
    ("right_shoulder", 14, -0.098, 0.0, 0.0),
    ("left_elbow", 16, 0.290, 0.0, 0.0),
    ("right_elbow", 17, -0.290, 0.0, 0.0),
    ("left_wrist", 18, 0.200, 0.0, 0.0),
    ("right_wrist", 19, -0.200, 0.0, 0.0),
)

CANONICAL = Skeleton(
    names=tuple(row[0] for row in _CANONICAL),
    parents=tuple(row[1] for row in _CANONICAL),
    offsets=torch.tensor([row[2:] for row in _CANONICAL]),
)
"""The 22 joints of HumanML3D (SMPL order and names) with our own neutral proportions."""

_SIDES = ("left", "right")
JOINT_PARTS: dict[str, str] = {
    "pelvis": "root",
    **dict.fromkeys(("spine1", "spine2", "spine3"), "stem"),
    **dict.fromkeys(("neck", "head"), "head"),
    **{f"{side}_{joint}": f"{side}_arm" for side in _SIDES for joint in ("collar", "shoulder", "elbow", "wrist")},
    **{f"{side}_{joint}": f"{side}_leg" for side in _SIDES for joint in ("hip", "knee", "ankle", "foot")},
}
"""The body part each canonical joint belongs to."""

MIRROR = tuple(
    CANONICAL.names.index(name.replace("left_", "@").replace("right_", "left_").replace("@", "right_"))
    for name in CANONICAL.names
)
"""For each canonical joint the index of its mirror image."""

LEG_LENGTH = float(CANONICAL.offsets[4].norm() + CANONICAL.offsets[7].norm())
"""Thigh plus shin of the canonical body [m]: the scale of retargeting."""

# finger, offset of its first joint from the wrist, of the second and third from the one before [m]: our own neutral
# hand, held flat with the palm down and the thumb forward; the right hand is its mirror image.
_FINGERS = (
    ("index", (0.1060, -0.0030, 0.0260), (0.0330, 0.0, 0.0020), (0.0235, 0.0, 0.0010)),
    ("middle", (0.1130, 0.0, 0.0040), (0.0320, 0.0, 0.0), (0.0245, 0.0, 0.0)),
    ("pinky", (0.0920, -0.0080, -0.0350), (0.0200, 0.0, -0.0040), (0.0190, 0.0, -0.0030)),
    ("ring", (0.1035, -0.0030, -0.0170), (0.0300, 0.0, -0.0020), (0.0245, 0.0, -0.0010)),
    ("thumb", (0.0350, -0.0150, 0.0400), (0.0250, -0.0020, 0.0200), (0.0230, 0.0, 0.0150)),
)


def _with_hands() -> Skeleton:
    names, parents, offsets = list(CANONICAL.names), list(CANONICAL.parents), CANONICAL.offsets.tolist()
    for side, wrist, sign in (("left", 20, 1.0), ("right", 21, -1.0)):
        for finger, *bones in _FINGERS:
            for number, (x, y, z) in enumerate(bones, start=1):
                parents.append(wrist if number == 1 else len(names) - 1)
                names.append(f"{side}_{finger}{number}")
                offsets.append([sign * x, y, z])
    return Skeleton(tuple(names), tuple(parents), torch.tensor(offsets))


CANONICAL_HANDS = _with_hands()
"""The canonical body with three joints for each of ten fingers: 52 joints in the order of SMPL+H."""

MIRROR_HANDS = (*MIRROR, *range(37, 52), *range(22, 37))
"""For each of the 52 joints the index of its mirror image."""

BODY = tuple(part for part in PARTS if part in JOINT_PARTS.values())
"""The parts that the canonical body has; it has no hands and no face of its own."""
BODY_COLUMNS = [PARTS.index(part) for part in BODY]

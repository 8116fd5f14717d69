"""Our own skeleton under the names of another family (``--names unreal``)."""

from collections.abc import Sequence

from motionloom.errors import RetargetError
from motionloom.motion.motion import Motion
from motionloom.motion.rigs.families import FINGER_BONES, SIDES, Family, find_family
from motionloom.motion.skeleton import Skeleton

_BONE_OF = {
    "pelvis": "hips",
    "neck": "neck",
    "head": "head",
    **{
        f"{side}_{joint}": f"{side}_{bone}"
        for side in SIDES
        for joint, bone in (
            ("hip", "upper_leg"),
            ("knee", "lower_leg"),
            ("ankle", "foot"),
            ("foot", "toe"),
            ("collar", "collar"),
            ("shoulder", "upper_arm"),
            ("elbow", "lower_arm"),
            ("wrist", "hand"),
        )
    },
    **{bone: bone for bone in FINGER_BONES},
}
_SPINES = ("spine1", "spine2", "spine3")


def spelled_as(family: Family, names: Sequence[str]) -> tuple[str, ...]:
    """Names of canonical joints in a family.

    Raises:
        RetargetError: The family has no name for a joint, or a joint is not canonical.
    """
    found = []
    for name in names:
        if name in _SPINES:
            options = family.spelled["spine"]
            at = _SPINES.index(name)
            if at >= len(options):
                raise RetargetError(f"name family {family.name!r} has {len(options)} spine bones; three are needed")
            found.append(options[at])
            continue
        bone = _BONE_OF.get(name)
        if bone is None or bone not in family.spelled:
            raise RetargetError(f"name family {family.name!r} has no name for {name!r}; retarget the motion first")
        found.append(family.spelled[bone][0])
    return tuple(found)


def renamed(motion: Motion, family: str) -> Motion:
    """A motion of the canonical body with the joint names of a family.

    Raises:
        RetargetError: There is no such family, or it lacks a name.
    """
    skeleton = motion.skeleton
    labels = spelled_as(find_family(family), skeleton.names)
    return motion.with_(skeleton=Skeleton(labels, skeleton.parents, skeleton.offsets))

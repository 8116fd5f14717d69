"""The reading side: a joint map for any humanoid skeleton, from the shipped maps, the name families, or its shape.

The shipped maps (``motion/maps``) come first: they know the rest poses and proportions of data sets. Where none fits,
the same name families and the same geometry that tell the bones of a character tell those of a source.
"""

from functools import lru_cache

import numpy as np

from motionloom.errors import RetargetError
from motionloom.motion import joint_maps
from motionloom.motion.joint_maps import JointMap, Point, stands
from motionloom.motion.rigs.families import REQUIRED, SIDES, rank_families
from motionloom.motion.rigs.geometry import find_bones
from motionloom.motion.skeleton import Skeleton

_LIMBS = {
    "collar": "collar",
    "upper_arm": "shoulder",
    "lower_arm": "elbow",
    "hand": "wrist",
    "upper_leg": "hip",
    "lower_leg": "knee",
    "foot": "ankle",
    "toe": "foot",
}


def find_map(skeleton: Skeleton) -> JointMap:
    """The joint map of a skeleton: a shipped one, else one made from name families, else from its shape.

    Raises:
        RetargetError: It is no human by name nor by shape.
    """
    refusal = None
    try:
        found = joint_maps.find_map(skeleton)
        if stands(found, skeleton):
            return found
    except RetargetError as error:
        found, refusal = None, error
    offsets = skeleton.offsets.detach().cpu().double().contiguous().numpy()
    made = _made(skeleton.names, skeleton.parents, offsets.tobytes())
    if made is not None and (found is None or stands(made, skeleton)):
        return made
    if found is not None:
        return found
    assert refusal is not None
    raise RetargetError(f"{str(refusal).removesuffix('pass a JointMap of your own')}name its bones with --map")


@lru_cache(maxsize=128)
def _made(names: tuple[str, ...], parents: tuple[int, ...], offsets: bytes) -> JointMap | None:
    family, matches = rank_families(names)[0]
    if all(bone in matches for bone in REQUIRED):
        bones = {bone: places[0] for bone, places in matches.items() if bone not in ("spine", "root")}
        return map_of(names, parents, bones, f"family {family.name}")
    rest = np.frombuffer(offsets).reshape(-1, 3).copy()
    rest[0] = 0.0
    for joint, parent in enumerate(parents[1:], start=1):
        rest[joint] += rest[parent]
    try:
        bones = find_bones(rest, parents, range(len(names)))
    except RetargetError:
        return None
    if any(bone not in bones for bone in REQUIRED):
        return None
    return map_of(names, parents, bones, "geometry")


def map_of(names: tuple[str, ...], parents: tuple[int, ...], bones: dict[str, int], title: str) -> JointMap:
    """A joint map from bones: the spine lies between the hips and where the arms leave, the neck below the head."""

    def above(joint: int) -> list[int]:
        path = [joint]
        while parents[path[-1]] >= 0:
            path.append(parents[path[-1]])
        return path

    made = JointMap(title, title, {})

    def at(joint: int) -> Point:
        return made.bare(names[joint]), made.bare(names[joint]), 0.0

    def between(first: int, second: int, share: float) -> Point:
        return made.bare(names[first]), made.bare(names[second]), share

    left, right = (above(bones[f"{side}_upper_arm"]) for side in SIDES)
    shared = [joint for joint in left if joint in set(right)]
    hips = bones["hips"]
    if hips not in shared or any(hips not in above(bones[f"{side}_upper_leg"]) for side in SIDES):
        legs = set(above(bones["left_upper_leg"])) & set(above(bones["right_upper_leg"]))
        hips = next((joint for joint in shared if joint in legs), hips)
    # 3ds Max Biped hangs the collars on the neck, which is a neck all the same.
    others = {bones[name] for name in ("left_collar", "right_collar", "neck", "head") if name in bones}
    trunk = shared[: shared.index(hips)] if hips in shared else shared
    spine = [joint for joint in reversed(trunk) if joint not in others]
    joints: dict[str, tuple[Point, ...]] = {"pelvis": (at(hips),)}
    if len(spine) == 1:
        joints |= {
            "spine1": (between(hips, spine[0], 0.5),),
            "spine2": (between(hips, spine[0], 0.75),),
            "spine3": (at(spine[0]),),
        }
    elif len(spine) == 2:
        joints |= {
            "spine1": (at(spine[0]),),
            "spine2": (between(spine[0], spine[1], 0.5),),
            "spine3": (at(spine[1]),),
        }
    elif spine:
        joints |= {
            "spine1": (at(spine[0]),),
            "spine2": (at(spine[len(spine) // 2]),),
            "spine3": (at(spine[-1]),),
        }
    if "head" in bones:
        joints["head"] = (at(bones["head"]),)
        path = above(bones["head"])[1:]
        top = spine[-1] if spine else hips
        neck = path[: path.index(top)] if top in path else []
        if neck:
            joints["neck"] = (at(neck[-1]),)
    for side in SIDES:
        for bone, joint in _LIMBS.items():
            if f"{side}_{bone}" in bones:
                joints[f"{side}_{joint}"] = (at(bones[f"{side}_{bone}"]),)
        foot = bones[f"{side}_foot"]
        ends = [child for child, parent in enumerate(parents) if parent == foot]
        if f"{side}_toe" not in bones and ends:
            joints[f"{side}_foot"] = (at(ends[0]),)
    return JointMap(title, title, joints)


__all__ = ["find_map", "map_of"]

"""Which moving node carries which: the anatomy of a rig, whatever its tree says."""

from motionloom.motion.rigs.families import FINGERS, SIDES
from motionloom.motion.rigs.rig import Rig


def carriers(rig: Rig, *, fingers: bool) -> dict[int, int]:
    """Moving node -> moving node that carries it, from the hips outwards."""
    bones = rig.bones
    found = {bones["hips"]: -1}
    last = bones["hips"]
    for node in rig.spine:
        found[node] = last
        last = node
    chest = last
    for node in rig.neck:
        found[node] = last
        last = node
    if "head" in bones:
        found[bones["head"]] = last
    for side in SIDES:
        last = chest
        for bone in ("collar", "upper_arm", "lower_arm", "hand"):
            if f"{side}_{bone}" in bones:
                found[bones[f"{side}_{bone}"]] = last
                last = bones[f"{side}_{bone}"]
        hand = last
        for finger in FINGERS if fingers else ():
            last = hand
            for number in (1, 2, 3):
                if (name := f"{side}_{finger}{number}") in bones:
                    found[bones[name]] = last
                    last = bones[name]
        last = bones["hips"]
        for bone in ("upper_leg", "lower_leg", "foot", "toe"):
            if f"{side}_{bone}" in bones:
                found[bones[f"{side}_{bone}"]] = last
                last = bones[f"{side}_{bone}"]
    return found

"""Writing VRMA: an animation for every VRM avatar.

A glTF file with ``VRMC_vrm_animation``: a T-pose rest without rotations, translation on the hips only. Players scale
the hips by the height of theirs over the height in the file. Source: VRM consortium, "VRMC_vrm_animation-1.0".
"""

from pathlib import Path
from typing import Any

from motionloom.motion import rotations as rot
from motionloom.motion.io.gltf_build import Builder
from motionloom.motion.motion import Motion
from motionloom.motion.rigs.facts import facts_of
from motionloom.motion.rigs.families import find_family
from motionloom.motion.rigs.names import spelled_as
from motionloom.motion.rigs.onto import Retargeted, canonical
from motionloom.motion.skeleton import LEG_LENGTH


def write_vrma(
    motion: Motion,
    path: str | Path,
    *,
    name: str | None = None,
    loop: bool = False,
    reduce: float = 0.0,
    facts: dict[str, Any] | None = None,
) -> None:
    """Write a VRMA file.

    Args:
        motion: Any motion; one that is not of the canonical tree is retargeted first.
        path: The file.
        name: Name of the animation.
        loop: Whether it is meant to repeat.
        reduce: Leave out keys that come back by interpolation within this many degrees.
        facts: What its ``extras`` say, where that is known already.

    Raises:
        RetargetError: The motion is of no human.
    """
    motion = canonical(motion)
    skeleton = motion.skeleton
    labels = spelled_as(find_family("vrm"), skeleton.names)
    rest = skeleton.rest_positions.detach().cpu().double().numpy()
    offsets = skeleton.offsets.detach().cpu().double().numpy().copy()
    offsets[0] = (0.0, float((rest[0] - rest)[:, 1].max()), 0.0)
    build = Builder()
    build.tree["nodes"] = [
        {
            "name": label,
            "translation": [float(f"{x:.7g}") + 0.0 for x in offsets[joint]],
            **({"children": list(skeleton.children[joint])} if skeleton.children[joint] else {}),
        }
        for joint, label in enumerate(labels)
    ]
    build.tree["scenes"], build.tree["scene"] = [{"nodes": [0]}], 0
    bones = {label: {"node": joint} for joint, label in enumerate(labels)}
    build.tree["extensionsUsed"] = ["VRMC_vrm_animation"]
    build.tree["extensions"] = {"VRMC_vrm_animation": {"specVersion": "1.0", "humanoid": {"humanBones": bones}}}
    if motion.provenance.licence:
        build.tree["asset"]["copyright"] = motion.provenance.licence
    quaternions = rot.continuous(rot.normalize(motion.rotations.detach().cpu().double())).numpy()
    root = motion.root.detach().cpu().double().numpy()
    tracks = [(0, "translation", root), *((joint, "rotation", quaternions[:, joint]) for joint in range(len(labels)))]
    clip = build.clip(name or motion.provenance.text or "motion", facts or facts_of(motion, loop=loop))
    for joint, kind, values in tracks:
        build.baked(clip, joint, kind, values, fps=motion.fps, reduce=reduce, size=LEG_LENGTH)
    build.write(path)


def write_vrma_on(
    done: Retargeted,
    path: str | Path,
    *,
    name: str | None = None,
    reduce: float = 0.0,
    facts: dict[str, Any] | None = None,
) -> None:
    """Write the motion as VRMA; the format knows no character, so players put it on theirs.

    Args:
        done: The motion on a character.
        path: The file.
        name: Name of the animation.
        reduce: Leave out keys that come back by interpolation within this many degrees.
        facts: What its ``extras`` say.
    """
    write_vrma(done.source, path, name=name, loop=done.looped, reduce=reduce, facts=facts)

"""An animation of a scene as a motion: the joints of its skin, their rest pose as the skeleton, baked at a frame rate.

Rotations are taken in the world relative to the rest pose, so bones may lie along any axis of their own and armatures
may be turned or scaled; travel of the nodes above the hips is folded into the root.
"""

from collections.abc import Sequence

import numpy as np
import torch

from motionloom.errors import MotionFileError, SkeletonError
from motionloom.motion import rotations as rot
from motionloom.motion.files import MAX_FRAMES
from motionloom.motion.kinematics import to_local
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.rigs.scene import Clip, Scene, as_tensor, matrices, rotation_of, to_world
from motionloom.motion.skeleton import MAX_JOINTS, Skeleton

_RATES = (30.0, 24.0, 25.0, 60.0, 50.0, 20.0, 48.0, 72.0, 90.0, 100.0, 120.0, 240.0, 30000 / 1001, 24000 / 1001)
_FALLBACK = 30.0
_STRETCH = 0.02
"""Share of the body's size that a bone may change in length, and a joint above the hips wander, unnoticed."""
_SAME = 1e-4
"""How far a key may be off its frame [s]."""
_BAKED = 0.2
"""Keys that are evenly spaced and no further apart [s] are one a frame."""


def scene_motion(scene: Scene, *, clip: str | None = None, fps: float | None = None) -> Motion:
    """Bake an animation.

    Args:
        scene: The file.
        clip: Name of the animation; the first one that moves the skeleton when left out.
        fps: Frame rate; left out, the one that the key times lie on.

    Raises:
        MotionFileError: There is no animation of a skeleton, none of that name, or the skeleton is too large.
    """
    notes = list(scene.notes)
    joints = _joints(scene)
    if not scene.clips:
        raise MotionFileError(
            f"{scene.path}: holds no animation, so it is no motion; give it as a character with --on instead"
        )
    chosen = _choose(scene, clip, set(joints), notes)
    start, stop = _span(chosen)
    rate = _rate(scene, chosen, fps, notes)
    frames = round((stop - start) * rate) + 1
    told = chosen.extras.get("frames")
    if chosen.extras.get("loop") is True and told == frames - 1:
        frames -= 1  # a loop's closing key repeats the first frame
    if frames > MAX_FRAMES:
        raise MotionFileError(f"{scene.path}: {frames} frames at {rate:g} fps; up to {MAX_FRAMES} are read")
    times = start + np.arange(frames) / rate
    world = pose_world(scene, chosen, times)
    return _motion(scene, chosen, world, joints, rate, notes)


def pose_world(scene: Scene, clip: Clip, times: np.ndarray) -> np.ndarray:
    """World matrices ``(T, N, 4, 4)`` of all nodes at some times [s]."""
    count = (len(times), len(scene.names))
    move = np.broadcast_to(scene.translations, (*count, 3)).copy()
    turn = np.broadcast_to(scene.rotations, (*count, 4)).copy()
    size = np.broadcast_to(scene.scales, (*count, 3)).copy()
    table = {"translation": move, "rotation": turn, "scale": size}
    for (node, kind), track in clip.tracks.items():
        table[kind][:, node] = track.at(times)
    return to_world(matrices(move, turn, size), scene.parents)


def _joints(scene: Scene) -> list[int]:
    """Nodes that make the skeleton: joints of skins, humanoid bones, and without both all nodes that move."""
    found = {joint for skin in scene.skins for joint in skin} | set(scene.humanoid.values())
    if not found:
        found = {node for clip in scene.clips for node, _ in clip.tracks}
        found |= {child for child, parent in enumerate(scene.parents) if parent in found}
    return sorted(found)


def _choose(scene: Scene, name: str | None, joints: set[int], notes: list[str]) -> Clip:
    moving = [clip for clip in scene.clips if any(node in joints for node, _ in clip.tracks)]
    if name is not None:
        found = next((clip for clip in moving if clip.name == name), None)
        if found is None:
            known = ", ".join(repr(clip.name) for clip in moving[:20])
            raise MotionFileError(f"{scene.path}: no animation is called {name!r}; there are {known}")
        return found
    if not moving:
        raise MotionFileError(f"{scene.path}: none of its animations moves a joint of the skeleton")
    if len(moving) > 1:
        others = ", ".join(repr(clip.name) for clip in moving[1:12])
        notes.append(f"animation {moving[0].name!r} read; there are also {others} (choose with --clip)")
    return moving[0]


def _span(clip: Clip) -> tuple[float, float]:
    return (
        min(float(track.times[0]) for track in clip.tracks.values()),
        max(float(track.times[-1]) for track in clip.tracks.values()),
    )


def _rate(scene: Scene, clip: Clip, fps: float | None, notes: list[str]) -> float:
    """Frames a second: as told, as our own files say, as baked keys are spaced, or a usual rate all keys lie on."""
    if fps is not None:
        if not 0 < fps <= 1000:
            raise MotionFileError(f"{scene.path}: {fps} fps; a rate of up to 1000 is needed")
        return float(fps)
    told = clip.extras.get("fps")
    if isinstance(told, int | float) and not isinstance(told, bool) and 0 < told <= 1000:
        return float(told)
    times = np.unique(np.concatenate([track.times for track in clip.tracks.values()]))
    if len(times) < 2:
        return _FALLBACK
    steps = np.diff(times)
    steps = steps[steps > 1e-5]
    step = float(np.median(steps))
    if float(np.ptp(steps)) < _SAME and step <= _BAKED:
        own = 1.0 / step
        near = min((*_RATES, max(1.0, float(round(own)))), key=lambda rate: abs(rate - own))
        return near if abs(near - own) < 1e-4 * own else own
    for rate in _RATES:
        off = (times - times[0]) * rate
        if float(np.abs(off - np.round(off)).max()) < _SAME * rate and rate * float(steps.min()) > 0.999:
            return rate
    notes.append(f"key times lie on no frame rate; read at {_FALLBACK:g} fps")
    return _FALLBACK


def _motion(scene: Scene, clip: Clip, world: np.ndarray, joints: Sequence[int], fps: float, notes: list[str]) -> Motion:
    rest = scene.world()
    inside = set(joints)
    parents = {joint: _parent_in(scene, joint, inside) for joint in joints}
    root = _root(scene, joints, parents, rest, world, notes)
    kept = [joint for joint in joints if joint == root or _below(joint, root, parents)]
    size = float(np.ptp(rest[kept, :3, 3], axis=0).max())
    if not size > 0:
        raise MotionFileError(f"{scene.path}: all joints of the skeleton lie at one place")
    scale = scene.unit * _sane(size * scene.unit, notes)
    place = {joint: at for at, joint in enumerate(kept)}
    offsets = np.zeros((len(kept), 3))
    wander, stretched = 0.0, ""
    for joint in kept[1:]:
        parent = parents[joint]
        # The bone as its parent carries it, taken back to the rest pose.
        bone = world[:, joint, :3, 3] - world[:, parent, :3, 3]
        turn = rotation_of(world[:, parent]), rotation_of(rest[parent])
        local = _turned(_conjugate(turn[0]), bone)
        middle = np.median(local, axis=0)
        off = float(np.linalg.norm(local - middle, axis=1).max())
        if off > wander:
            wander, stretched = off, scene.names[joint]
        offsets[place[joint]] = _turned(turn[1], middle)
    if wander > _STRETCH * size:
        notes.append(
            f"bones change their length by up to {wander / size:.1%} of the body ({stretched!r}); made constant"
        )
    label = {node: bone for bone, node in scene.humanoid.items()} if scene.kind == "vrma" else {}
    try:
        skeleton = Skeleton(
            tuple(label.get(joint, scene.names[joint]) for joint in kept),
            tuple(-1 if joint == root else place[parents[joint]] for joint in kept),
            torch.from_numpy(offsets * scale).float(),
        )
    except SkeletonError as error:
        raise MotionFileError(f"{scene.path}: {error} (at most {MAX_JOINTS} joints)") from None
    turned = torch.from_numpy(rotation_of(world[:, kept]))
    still = torch.from_numpy(rotation_of(rest[kept]))
    delta = rot.normalize(rot.multiply(turned, rot.conjugate(still)))
    extras = clip.extras
    provenance = Provenance(
        source=scene.path.name,
        licence=str(extras.get("licence", "")),
        text=str(extras.get("text", "")),
        engine=str(extras.get("engine", "")),
        notes=tuple(notes),
    )
    local = rot.continuous(rot.normalize(to_local(delta, skeleton)))
    place_ = torch.from_numpy(world[:, root, :3, 3] * scale).float()
    return Motion(skeleton, local.float(), place_, fps, provenance=provenance)


def _sane(size: float, notes: list[str]) -> float:
    """Factor of a skeleton that is no body of this world in its file's unit: a power of ten, noted."""
    if 0.3 < size < 12.0:
        return 1.0
    factor = 10.0 ** -np.round(np.log10(size / 1.7))
    notes.append(f"the skeleton is {size:.3g} m large in its file's unit; taken as {size * factor:.3g} m")
    return float(factor)


def _conjugate(quaternions: np.ndarray) -> np.ndarray:
    return quaternions * np.array([1.0, -1.0, -1.0, -1.0])


def _turned(quaternions: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return rot.rotate(torch.from_numpy(quaternions), as_tensor(vectors)).numpy()


def _parent_in(scene: Scene, joint: int, inside: set[int]) -> int:
    above = scene.parents[joint]
    while above >= 0 and above not in inside:
        above = scene.parents[above]
    return above


def _below(joint: int, root: int, parents: dict[int, int]) -> bool:
    while joint >= 0 and joint != root:
        joint = parents[joint]
    return joint == root


def _root(
    scene: Scene,
    joints: Sequence[int],
    parents: dict[int, int],
    rest: np.ndarray,
    world: np.ndarray,
    notes: list[str],
) -> int:
    """The joint that carries the body: below nodes that wander (a root bone), above nearly all others."""
    count = dict.fromkeys(joints, 1)
    for joint in reversed(joints):
        if parents[joint] >= 0:
            count[parents[joint]] += count[joint]
    root = max((joint for joint in joints if parents[joint] < 0), key=lambda joint: count[joint])
    if len([joint for joint in joints if parents[joint] < 0]) > 1:
        notes.append(f"several skeletons or loose joints; the one of {scene.names[root]!r} was read")
    size = max(float(np.ptp(rest[list(joints), :3, 3], axis=0).max()), 1e-12)
    while True:
        below = [joint for joint in joints if parents[joint] == root]
        main = max(below, key=lambda joint: count[joint], default=-1)
        if main < 0 or count[main] < 0.5 * count[root]:
            return root
        bone = world[:, main, :3, 3] - world[:, root, :3, 3]
        local = _turned(_conjugate(rotation_of(world[:, root])), bone)
        if float(np.ptp(local, axis=0).max()) < 0.5 * _STRETCH * size:
            return root
        notes.append(f"root {scene.names[root]!r} folded into {scene.names[main]!r}")
        root = main

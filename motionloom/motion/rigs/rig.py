"""A character: which node is which bone, how it stands and faces, and whether a motion may be put on it.

Bones come from a map file, else from the file's own humanoid map (VRM), else from names, else from the shape of the
tree. What would come out wrong is refused by name: sides swapped, mirrored, lying, two skeletons, scale 0, no human.
"""

import dataclasses
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from motionloom.errors import MotionFileError, RetargetError
from motionloom.motion.rigs.families import BONES, FINGER_BONES, REQUIRED, SIDES, plain, rank_families
from motionloom.motion.rigs.geometry import find_bones
from motionloom.motion.rigs.map_file import CHAINS, MapFile, read_map_file
from motionloom.motion.rigs.scene import Scene, rotation_of

_TRUSTED = 11
"""Of the thirteen required bones so many must be named for names to be believed at all."""
_VRM = {
    "shoulder": "collar",
    "upperarm": "upper_arm",
    "lowerarm": "lower_arm",
    "hand": "hand",
    "upperleg": "upper_leg",
    "lowerleg": "lower_leg",
    "foot": "foot",
    "toes": "toe",
}
_UNBOUND = 8.0
"""Rest and bind pose that differ by more [degrees, mean over limbs] are two poses; the more even one is taken."""


@dataclass(frozen=True, eq=False)
class Rig:
    """A character's skeleton with its bones told apart.

    Attributes:
        scene: The file; its rest rotations are those of the pose that bones are compared in.
        bones: Bone -> node, single bones and fingers.
        spine: Nodes from above the hips to where arms and neck leave.
        neck: Nodes between the spine and the head.
        root: Node above the hips that stands for the body on the floor; none where the hips are the top.
        rules: Bone -> how it was found.
        forward: Unit vector the character faces, in the file's axes; horizontal.
        floor: Height of the soles in rest [file's unit].
        notes: What was decided on the way.
    """

    scene: Scene
    bones: dict[str, int]
    spine: tuple[int, ...]
    neck: tuple[int, ...]
    root: int | None
    rules: dict[str, str]
    forward: np.ndarray
    floor: float
    notes: tuple[str, ...] = ()
    still: tuple[int, ...] = ()
    """Joints that no bone moves; they keep their rest pose."""

    @property
    def path(self) -> Path:
        """The file."""
        return self.scene.path

    def position(self, bone: str) -> np.ndarray:
        """Where a bone begins in rest [file's unit]."""
        return self.world[self.bones[bone], :3, 3]

    @property
    def world(self) -> np.ndarray:
        """Rest matrices of all nodes."""
        return _world_of(self.scene)

    @property
    def leg(self) -> float:
        """Thigh plus shin, the mean of both sides [file's unit]."""
        lengths = []
        for side in SIDES:
            hip, knee, ankle = (self.position(f"{side}_{bone}") for bone in ("upper_leg", "lower_leg", "foot"))
            lengths.append(np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee))
        return float(np.mean(lengths))


_CACHE: dict[int, tuple[Scene, np.ndarray]] = {}


def _world_of(scene: Scene) -> np.ndarray:
    """Rest matrices of a scene, kept for the scene that was asked for last."""
    known = _CACHE.get(0)
    if known is None or known[0] is not scene:
        known = (scene, scene.world())
        _CACHE[0] = known
    return known[1]


def read_scene_of(path: str | Path) -> Scene:
    """Read a character's file by its suffix: .glb .gltf .vrm .vrma .bvh, and .fbx with the extra ``fbx``.

    Raises:
        MotionFileError: The suffix is of no character, or the file is damaged.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".glb", ".gltf", ".vrm", ".vrma"):
        from motionloom.motion.io.glb_read import read_scene

        return read_scene(path)
    if suffix == ".fbx":
        from motionloom.motion.io.fbx_read import read_fbx_scene

        return read_fbx_scene(path)
    if suffix == ".bvh":
        from motionloom.motion.rigs.bvh_scene import read_bvh_scene

        return read_bvh_scene(path)
    raise MotionFileError(f"{path}: is no character; characters are .glb .gltf .vrm .fbx .bvh")


def read_rig(path: "str | Path | Scene", *, map_file: str | Path | None = None) -> Rig:
    """Read a character and tell its bones.

    Args:
        path: The character: .glb, .gltf, .vrm, .fbx or .bvh, or a scene that was read already.
        map_file: A map of your own (``motionloom rig init`` writes one to edit).

    Raises:
        MotionFileError: The file is damaged or holds no skeleton.
        RetargetError: It is no human, or a motion on it would come out wrong; the message says why.
    """
    scene = path if isinstance(path, Scene) else read_scene_of(path)
    told = read_map_file(map_file) if map_file is not None else None
    nodes = candidates(scene)
    _check_scale(scene, nodes)
    bones, spine, neck, rules, notes = _tell(scene, nodes, told)
    scene = _steadier_pose(scene, bones, notes)
    forward = _facing(scene, bones, told, notes)
    bones = _turned_sides(scene, bones, rules, forward)
    _check_stance(scene, bones, forward, told)
    root = _root_above(scene, bones["hips"], nodes)
    used = {*bones.values(), *spine, *neck} | ({root} if root is not None else set())
    still = tuple(node for node in nodes if node not in used)
    floor = _floor(scene, bones, notes)
    return Rig(scene, bones, spine, neck, root, rules, forward, floor, (*scene.notes, *notes), still)


def candidates(scene: Scene) -> list[int]:
    """Nodes that may be bones: joints of the skins and of the humanoid map, with what lies between them.

    Raises:
        MotionFileError: The file has neither.
    """
    found = {joint for skin in scene.skins for joint in skin} | set(scene.humanoid.values())
    if not found and scene.kind in ("bvh", "fbx"):
        return list(range(len(scene.names)))
    if not found:
        raise MotionFileError(
            f"{scene.path}: has no skin and no humanoid map, so no skeleton; export the character with its armature"
        )
    for joint in list(found):
        between = []
        for node in scene.above(joint)[1:]:
            if node in found:
                found.update(between)
                break
            between.append(node)
    return sorted(found)


def _check_scale(scene: Scene, nodes: list[int]) -> None:
    seen = {node for joint in nodes for node in scene.above(joint)}
    for node in sorted(seen):
        if float(np.abs(scene.scales[node]).min()) < 1e-8:
            raise RetargetError(f"{scene.path}: node {scene.names[node]!r} has scale 0, so the character has no size")
    world = _world_of(scene)
    flipped = [node for node in nodes if np.linalg.det(world[node, :3, :3]) < 0]
    if flipped:
        raise RetargetError(
            f"{scene.path}: the skeleton is mirrored (negative scale at {scene.names[flipped[0]]!r}); apply the scale"
        )


def _tell(
    scene: Scene, nodes: list[int], told: MapFile | None
) -> tuple[dict[str, int], tuple[int, ...], tuple[int, ...], dict[str, str], list[str]]:
    """Find the bones by the first rule that applies."""
    bones: dict[str, int] = {}
    rules: dict[str, str] = {}
    notes: list[str] = []
    by_name = {scene.names[node]: node for node in range(len(scene.names))}
    if told is not None:
        for bone, names in told.bones.items():
            for name in names:
                if name not in by_name:
                    raise RetargetError(f"{told.path}: there is no node {name!r} in {scene.path.name}")
            bones[bone], rules[bone] = by_name[names[0]], "map file"
    if scene.humanoid:
        for word, node in scene.humanoid.items():
            bone = vrm_bone(word)
            if bone in BONES and bone not in bones:
                bones[bone], rules[bone] = node, "vrm"
    _by_names(scene, nodes, bones, rules, notes, lone=told is None)
    lacking = [bone for bone in REQUIRED if bone not in bones]
    if lacking:
        _by_shape(scene, nodes, bones, rules, lacking)
    _fix_hips(scene, bones, notes)
    spine, neck = _chains(scene, bones, nodes)
    if told is not None:
        chains = {"spine": spine, "neck": neck}
        for bone in CHAINS:
            if bone in told.bones:
                chains[bone] = tuple(sorted(by_name[name] for name in told.bones[bone]))
        spine, neck = chains["spine"], chains["neck"]
    for bone, chain in (("spine", spine), ("neck", neck)):
        rules.pop(bone, None)
        bones.pop(bone, None)
        if chain:
            rules[bone] = "map file" if told is not None and bone in told.bones else "between"
    bones.pop("root", None)
    rules.pop("root", None)
    return bones, spine, neck, {bone: rules[bone] for bone in BONES if bone in rules}, notes


def vrm_bone(word: str) -> str:
    """Our name of a VRM humanoid bone: ``leftUpperArm`` is ``left_upper_arm``; "" for eyes and jaw."""
    if word in ("hips", "spine", "neck", "head"):
        return word
    side = next((side for side in SIDES if word.startswith(side)), "")
    rest = word[len(side) :]
    if side and rest.lower() in _VRM:
        return f"{side}_{_VRM[rest.lower()]}"
    places = (
        ("Metacarpal", "Proximal", "Distal") if rest.startswith("Thumb") else ("Proximal", "Intermediate", "Distal")
    )
    match = re.fullmatch(r"(Thumb|Index|Middle|Ring|Little)(\w+)", rest)
    if side and match and match[2] in places:
        finger = {"Little": "pinky"}.get(match[1], match[1].lower())
        return f"{side}_{finger}{places.index(match[2]) + 1}"
    return ""


def _by_names(
    scene: Scene, nodes: list[int], bones: dict[str, int], rules: dict[str, str], notes: list[str], *, lone: bool
) -> None:
    """Fill in bones by the name family that knows most of them."""
    family, matches = rank_families([scene.names[node] for node in nodes])[0]
    if sum(bone in matches for bone in REQUIRED) < _TRUSTED and not bones:
        return
    if sum(bone in matches for bone in REQUIRED) < _TRUSTED:
        # A humanoid map or a map file was there: only its fingers are looked for by name.
        matches = {bone: places for bone, places in matches.items() if bone in FINGER_BONES}
    if lone and not scene.humanoid and (copy := _second(scene, nodes, matches)):
        raise RetargetError(
            f"{scene.path}: holds two skeletons (another one at {copy!r}); delete one, or name the bones of the one to"
            " use with --map"
        )
    for bone, places in matches.items():
        if bone not in bones and bone != "spine":
            bones[bone], rules[bone] = nodes[places[0]], f"names: {family.name}"
    if any(rule.startswith("names") for bone, rule in rules.items() if bone not in CHAINS):
        notes.append(f"bone names are of the family {family.name!r}: {family.title}")


def _turned_sides(scene: Scene, bones: dict[str, int], rules: dict[str, str], forward: np.ndarray) -> dict[str, int]:
    """Sides that only the shape told follow from which way the character faces."""
    shaped = [bone for bone in REQUIRED if bone != "hips" and rules.get(bone) == "geometry"]
    if len(shaped) < len(REQUIRED) - 1:
        return bones
    place = _world_of(scene)[:, :3, 3]
    across = place[bones["left_upper_leg"]] - place[bones["right_upper_leg"]]
    if float(across @ np.cross((0.0, 1.0, 0.0), forward)) >= 0:
        return bones
    flip = {"left": "right", "right": "left"}
    return {
        (f"{flip[side]}_{rest}" if (side := bone.split("_")[0]) in flip else bone): node
        for bone, node in bones.items()
        for rest in (bone.partition("_")[2],)
    }


def _second(scene: Scene, nodes: list[int], matches: dict[str, list[int]]) -> str:
    """A node of a second skeleton: bones that come twice, or another tree that is human too; "" where there is none."""
    stems = {node: plain(re.sub(r"(_\d+|\.\d{3})$", "", scene.names[node])) for node in nodes}
    twice = []
    for bone in REQUIRED:
        for at in matches.get(bone, ())[:1]:
            mine = nodes[at]
            for other in nodes:
                if other != mine and stems[other] == stems[mine] and not _related(scene, mine, other):
                    twice.append(other)
                    break
    if len(twice) > len(REQUIRED) // 2:
        return scene.names[twice[0]]
    trees: dict[int, list[int]] = {}
    inside = set(nodes)
    for node in nodes:
        top = [above for above in scene.above(node) if above in inside][-1]
        trees.setdefault(top, []).append(node)
    human = []
    for top, members in trees.items():
        if len(members) >= len(REQUIRED):
            _, found = rank_families([scene.names[node] for node in members])[0]
            if sum(bone in found for bone in REQUIRED) >= _TRUSTED:
                human.append(top)
    return scene.names[human[1]] if len(human) > 1 else ""


def _related(scene: Scene, first: int, second: int) -> bool:
    """Whether one of two nodes lies above the other, as the pieces of a limb do."""
    return first in scene.above(second) or second in scene.above(first)


def _by_shape(scene: Scene, nodes: list[int], bones: dict[str, int], rules: dict[str, str], lacking: list[str]) -> None:
    named = [bone for bone in REQUIRED if bone in bones]
    try:
        shaped = find_bones(_world_of(scene)[:, :3, 3], scene.parents, nodes)
    except RetargetError as error:
        known = f"; by name it lacks {', '.join(lacking)}" if named else ""
        raise RetargetError(
            f"{scene.path}: {error}{known}; if it is human all the same, name its bones with --map"
            " (`motionloom rig init` writes a map)"
        ) from None
    for bone, node in shaped.items():
        if bone not in bones:
            bones[bone], rules[bone] = node, "geometry"


def _fix_hips(scene: Scene, bones: dict[str, int], notes: list[str]) -> None:
    """The hips must lie above both legs and both arms; else what does lie there is taken."""
    limbs = [bones[f"{side}_{bone}"] for side in SIDES for bone in ("upper_leg", "upper_arm")]
    common = set(scene.above(limbs[0]))
    for node in limbs[1:]:
        common &= set(scene.above(node))
    if not common:
        raise RetargetError(
            f"{scene.path}: holds two skeletons, or legs and arms that hang on nothing in common; join them"
        )
    if bones["hips"] not in common:
        lowest = max(common)
        notes.append(f"legs and arms meet in {scene.names[lowest]!r}, not in {scene.names[bones['hips']]!r}")
        bones["hips"] = lowest


def _chains(scene: Scene, bones: dict[str, int], nodes: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Spine: from above the hips to where both arms still hang on; neck: from there to the head."""
    hips = bones["hips"]
    left, right = (scene.above(bones[f"{side}_upper_arm"]) for side in SIDES)
    shared = [node for node in left if node in set(right)]
    spine = []
    for node in shared:
        if node == hips:
            break
        spine.append(node)
    # 3ds Max Biped hangs the collars on the neck, which is a neck all the same.
    others = {bones[name] for name in ("left_collar", "right_collar", "neck", "head") if name in bones}
    spine = [node for node in reversed(spine) if node not in others]
    if "head" not in bones:
        return tuple(spine), ()
    neck = []
    for node in scene.above(bones["head"])[1:]:
        if node == hips or node in spine:
            break
        neck.append(node)
    return tuple(spine), tuple(reversed(neck))


def _steadier_pose(scene: Scene, bones: dict[str, int], notes: list[str]) -> Scene:
    """Take the pose the skin was bound in where the nodes rest in another, less even one."""
    pairs = [
        (bones[f"{side}_{a}"], bones[f"{side}_{b}"])
        for side in SIDES
        for a, b in (
            ("upper_arm", "lower_arm"),
            ("lower_arm", "hand"),
            ("upper_leg", "lower_leg"),
            ("lower_leg", "foot"),
        )
    ]
    hips = bones["hips"]
    if hips not in scene.binds or not all(node in scene.binds for pair in pairs for node in pair):
        return scene
    world = _world_of(scene)
    frame = world[hips] @ np.linalg.inv(scene.binds[hips])
    bound = world.copy()
    for node, parent in enumerate(scene.parents):
        if node in scene.binds:
            bound[node] = frame @ scene.binds[node]
        elif parent >= 0:
            bound[node] = bound[parent] @ np.linalg.inv(world[parent]) @ world[node]
    angles = []
    for a, b in pairs:
        one, two = (place[b, :3, 3] - place[a, :3, 3] for place in (world, bound))
        cosine = one @ two / max(float(np.linalg.norm(one) * np.linalg.norm(two)), 1e-12)
        angles.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    if float(np.mean(angles)) < _UNBOUND or _unevenness(bound, pairs) >= _unevenness(world, pairs):
        return scene
    notes.append(
        f"the nodes rest {float(np.mean(angles)):.0f} degrees off the pose the skin was bound in, which is taken"
    )
    turned = rotation_of(bound)
    rotations = scene.rotations.copy()
    from motionloom.motion.rigs.scene import quaternion_between

    for node, parent in enumerate(scene.parents):
        if node in scene.binds and parent >= 0:
            rotations[node] = quaternion_between(turned[parent], turned[node])
    return dataclasses.replace(scene, rotations=rotations)


def _unevenness(world: np.ndarray, pairs: list[tuple[int, int]]) -> float:
    """How far the right limbs are from mirror images of the left ones, seen by heights and lengths."""
    half = len(pairs) // 2
    bones = [world[b, :3, 3] - world[a, :3, 3] for a, b in pairs]
    return float(
        sum(
            abs(one[1] - two[1]) / max(float(np.linalg.norm(one)), 1e-12)
            for one, two in zip(bones[:half], bones[half:], strict=True)
        )
    )


def _facing(scene: Scene, bones: dict[str, int], told: MapFile | None, notes: list[str]) -> np.ndarray:
    """Which way the character faces: as told, as its toes, its feet's skin or its thumbs point, as VRM says."""
    if told is not None and told.faces is not None:
        return np.array(told.faces, dtype=float)
    world = _world_of(scene)
    place = world[:, :3, 3]
    hips = (place[bones["left_upper_leg"]] + place[bones["right_upper_leg"]]) / 2
    size = float(np.linalg.norm(hips - (place[bones["left_foot"]] + place[bones["right_foot"]]) / 2))
    across = place[bones["left_upper_leg"]] - place[bones["right_upper_leg"]]
    named = _flat(np.cross(across, (0.0, 1.0, 0.0)))
    evidence = []
    for foot in (bones["left_foot"], bones["right_foot"]):
        ends = [node for node in range(len(place)) if node != foot and foot in scene.above(node)]
        reach = max(
            (place[node] - place[foot] for node in ends), key=lambda bone: _norm(_flat(bone, False)), default=None
        )
        if reach is None or _norm(_flat(reach, False)) < 0.08 * size:
            reach = _sole(scene, foot)
        if reach is not None and _norm(_flat(reach, False)) > 0.02 * size:
            evidence.append(_flat(reach))
    if len(evidence) == 2 and _norm(np.sum(evidence, axis=0)) > 1.0:
        return _straight(_flat(np.sum(evidence, axis=0)), named)
    if scene.kind in ("vrm0", "vrm1"):
        return np.array((0.0, 0.0, 1.0 if scene.kind == "vrm1" else -1.0))
    for side in SIDES:
        thumb, hand, finger = (bones.get(f"{side}_{word}") for word in ("thumb2", "hand", "middle1"))
        if thumb is not None and hand is not None:
            along = place[finger if finger is not None else bones[f"{side}_hand"]] - place[bones[f"{side}_lower_arm"]]
            along = along / max(_norm(along), 1e-12)
            off = place[thumb] - place[hand]
            off = _flat(off - (off @ along) * along, False)
            if _norm(off) > 0.02 * size:
                evidence.append(_flat(off))
    if evidence and _norm(np.sum(evidence, axis=0)) > 0.5 * len(evidence):
        return _straight(_flat(np.sum(evidence, axis=0)), named)
    notes.append("nothing shows which way it faces; the sides are taken as named")
    return named if _norm(named) > 0 else np.array((0.0, 0.0, 1.0))


def _straight(seen: np.ndarray, named: np.ndarray) -> np.ndarray:
    """The direction square to the hip line, on the side that was seen."""
    if abs(float(seen @ named)) < 0.5:
        return seen
    return named if float(seen @ named) > 0 else -named


def _flat(vector: np.ndarray, scaled: bool = True) -> np.ndarray:
    level = np.array((vector[0], 0.0, vector[2]))
    length = _norm(level)
    return level / length if scaled and length > 0 else level


def _norm(vector: Any) -> float:
    return float(np.linalg.norm(vector))


def _skin_points(scene: Scene, node: int) -> np.ndarray | None:
    """Rest places of the vertices that a node moves."""
    if node not in scene.points or node not in scene.binds:
        return None
    points = scene.points[node]
    local = np.linalg.inv(scene.binds[node])
    matrix = _world_of(scene)[node] @ local
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _sole(scene: Scene, foot: int) -> np.ndarray | None:
    """From the ankle to the middle of the foot's skin."""
    points = _skin_points(scene, foot)
    return None if points is None else points.mean(0) - _world_of(scene)[foot, :3, 3]


def _floor(scene: Scene, bones: dict[str, int], notes: list[str]) -> float:
    """Height of the soles: of the skin of feet and toes, else a little below the lowest joint."""
    feet = [bones[f"{side}_{bone}"] for side in SIDES for bone in ("foot", "toe") if f"{side}_{bone}" in bones]
    place = _world_of(scene)[:, :3, 3]
    skin = [points[:, 1].min() for foot in feet if (points := _skin_points(scene, foot)) is not None]
    if skin:
        return float(min(skin))
    below = [node for node in range(len(place)) if any(foot in scene.above(node) for foot in feet)]
    lowest = float(place[below, 1].min())
    leg = float(place[bones["left_upper_leg"], 1] - place[bones["left_foot"], 1])
    # A ground plane through the origin is what files mean, where the lowest joint is near it.
    if abs(lowest) < 0.15 * leg:
        return 0.0
    notes.append("no skin shows the soles; the lowest joint of the feet is taken for the floor")
    return lowest


def _check_stance(scene: Scene, bones: dict[str, int], forward: np.ndarray, told: MapFile | None) -> None:
    place = _world_of(scene)[:, :3, 3]
    where = scene.path

    def middle(bone: str) -> np.ndarray:
        return (place[bones[f"left_{bone}"]] + place[bones[f"right_{bone}"]]) / 2

    for side in SIDES:
        for limb in (("upper_arm", "lower_arm", "hand"), ("upper_leg", "lower_leg", "foot")):
            nodes = [bones[f"{side}_{bone}"] for bone in limb]
            if len(set(nodes)) < 3 or min(_norm(place[a] - place[b]) for a, b in pairwise(nodes)) <= 1e-9:
                raise RetargetError(
                    f"{where}: the {side} {limb[0].split('_')[1]} has bones of no length, or one node twice"
                )
    trunk = middle("upper_arm") - middle("upper_leg")
    legs = middle("foot") - middle("upper_leg")
    up, down = trunk[1] / max(_norm(trunk), 1e-12), -legs[1] / max(_norm(legs), 1e-12)
    if up < 0.6 or down < 0.6:
        pose = "upside down" if up < -0.6 else "lying" if down < 0.6 and abs(up) < 0.6 else "bent over or sitting"
        tilt = np.degrees(np.arccos(np.clip(up, -1, 1)))
        raise RetargetError(
            f"{where}: the character is {pose} in rest (trunk {tilt:.0f} degrees off the vertical, +Y is up);"
            " export it standing, with the rotation of its armature applied"
        )
    lengths = {}
    for limb in (("upper_arm", "lower_arm", "hand"), ("upper_leg", "lower_leg", "foot")):
        sizes = [
            sum(_norm(place[bones[f"{side}_{a}"]] - place[bones[f"{side}_{b}"]]) for a, b in pairwise(limb))
            for side in SIDES
        ]
        if max(sizes) > 1.5 * min(sizes):
            raise RetargetError(
                f"{where}: left and right {limb[0].split('_')[1]} differ in length ({sizes[0]:.3g} and {sizes[1]:.3g});"
                " are the bones named rightly? (--map names them)"
            )
        lengths[limb[0]] = sum(sizes) / 2
    if not 0.25 < lengths["upper_arm"] / lengths["upper_leg"] < 4.0:
        raise RetargetError(f"{where}: arms and legs are of no human proportion; name the bones with --map")
    # Seen from above, the left of somebody who faces +Z is at +X.
    left = np.cross((0.0, 1.0, 0.0), forward)
    sides = {
        bone: float((place[bones[f"left_{bone}"]] - place[bones[f"right_{bone}"]]) @ left)
        for bone in ("upper_leg", "foot", "upper_arm", "lower_arm", "hand")
    }
    wrong = [bone for bone, across in sides.items() if across < 0]
    if wrong and told is None:
        which = "left and right are swapped" if len(wrong) >= 4 else f"left and right of {', '.join(wrong)} are swapped"
        raise RetargetError(
            f"{where}: {which}: what is called left lies on the right of a character whose feet point this way; name"
            " the bones with --map, and which way it faces"
        )


def _root_above(scene: Scene, hips: int, nodes: list[int]) -> int | None:
    """The bone between the armature and the hips that stands on the floor, where there is one."""
    inside = set(nodes)
    above = [node for node in scene.above(hips)[1:] if node in inside]
    return above[-1] if above else None

"""How well a motion went onto a character, measured on the tracks that are written, through the file's own nodes."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from motionloom.motion import rotations as rot
from motionloom.motion.rigs.families import SIDES
from motionloom.motion.rigs.onto import JOINT_OF, LIMBS, Retargeted, character_frame, rest_frame, rest_trunk
from motionloom.motion.rigs.scene import as_tensor, matrices

PASS_DEGREES, PASS_ROOT = 2.0, 2.0
"""Largest mean direction error [degrees] and hips path error [% of leg length] of a verdict ``pass``."""
WARN_DEGREES, WARN_ROOT = 10.0, 10.0
"""Beyond these the verdict is ``refused``."""
_BACKWARDS, _FOLDED = -10.0, 165.0
"""A knee or elbow bent less or more than that [degrees] is over its limit."""


@dataclass(frozen=True)
class Certificate:
    """What was measured.

    Attributes:
        verdict: ``pass``, ``warn`` or ``refused``.
        reasons: Why it is no ``pass``.
        mean_direction_error: Mean over limbs and frames of the angle between a bone and the source's [degrees].
        max_direction_error: Largest one.
        limbs: Bone -> mean and max of that angle. Neck and feet are compared with their own rest pose.
        hips_path_error: Mean distance of the hips from the source's path, scaled [% of leg length].
        skate_before: Mean level speed of standing feet before they were held [m/s].
        skate_after: The same afterwards.
        penetration: Deepest that a sole is under the floor [mm].
        joint_limit_violations: Frames in which a knee or elbow is bent beyond its limit, over all four.
        scale: Leg length of the character over that of the source.
        mapped: Bone -> node and the rule that found it.
        left_in_rest: How many joints no bone moves.
        notes: What was decided on the way.
    """

    verdict: str
    reasons: tuple[str, ...]
    mean_direction_error: float
    max_direction_error: float
    limbs: dict[str, tuple[float, float]]
    hips_path_error: float
    skate_before: float
    skate_after: float
    penetration: float
    joint_limit_violations: int
    scale: float
    mapped: dict[str, tuple[str, str]] = field(default_factory=dict)
    left_in_rest: int = 0
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values, rounded, for JSON."""
        found = asdict(self)
        found["limbs"] = {bone: {"mean": round(a, 3), "max": round(b, 3)} for bone, (a, b) in self.limbs.items()}
        found["mapped"] = {bone: {"node": node, "rule": rule} for bone, (node, rule) in self.mapped.items()}
        for key, digits in (
            ("mean_direction_error", 3),
            ("max_direction_error", 3),
            ("hips_path_error", 3),
            ("skate_before", 4),
            ("skate_after", 4),
            ("penetration", 2),
            ("scale", 5),
        ):
            found[key] = round(found[key], digits)
        found["reasons"], found["notes"] = list(self.reasons), list(self.notes)
        return found

    def lines(self) -> list[str]:
        """A short text."""
        worst = sorted(self.limbs.items(), key=lambda entry: -entry[1][0])[:3]
        rules: dict[str, int] = {}
        for _, rule in self.mapped.values():
            rules[rule] = rules.get(rule, 0) + 1
        told = ", ".join(f"{count} by {rule}" for rule, count in rules.items())
        return [
            f"certificate: {self.verdict}" + "".join(f"; {reason}" for reason in self.reasons),
            f"  directions off by {self.mean_direction_error:.2f} degrees on average, {self.max_direction_error:.2f} at"
            f" most ({', '.join(f'{bone} {mean:.2f}' for bone, (mean, _) in worst)})",
            f"  hips path off by {self.hips_path_error:.2f} % of leg length, scale {self.scale:.3f}",
            f"  foot skate {self.skate_before:.3f} m/s before, {self.skate_after:.3f} m/s after the feet were held;"
            f" penetration {self.penetration:.1f} mm; {self.joint_limit_violations} frames over joint limits",
            f"  {len(self.mapped)} bones mapped: {told}; {self.left_in_rest} joints left in rest",
        ]


def certify(done: Retargeted) -> Certificate:
    """Measure a retargeted motion."""
    rig, source = done.rig, done.source
    places = _played(done)
    turn = character_frame(rig)
    unit = rig.scene.unit

    def at(bone: str) -> np.ndarray:
        return places[rig.bones[bone]] @ turn.T * unit

    points = source.positions.detach().cpu().double().numpy()
    world = source.world_rotations.detach().cpu().double().numpy()
    joints = {name: joint for joint, name in enumerate(source.skeleton.names)}
    limbs: dict[str, tuple[float, float]] = {}
    for side in SIDES:
        for bone, end in LIMBS:
            mine = at(f"{side}_{end}") - at(f"{side}_{bone}")
            a, b = (joints[JOINT_OF[f"{side}_{name}"]] for name in (bone, end))
            limbs[f"{side}_{bone}"] = _angles(mine, points[:, b] - points[:, a])
    trunk = np.sum([at(f"{side}_upper_arm") - at(f"{side}_upper_leg") for side in SIDES], axis=0)
    theirs = np.sum([points[:, a] - points[:, b] for a, b in ((16, 1), (17, 2))], axis=0)
    rest, _ = rest_frame(rig)
    mine_rest = np.sum([rest[rig.bones[f"{s}_upper_arm"]] - rest[rig.bones[f"{s}_upper_leg"]] for s in SIDES], axis=0)
    lean = rot.between(torch.tensor(rest_trunk(source.skeleton.offsets.double().numpy())), torch.tensor(mine_rest))
    if float(rot.angle_between(lean, rot.identity(dtype=torch.float64))) > np.radians(12.0):
        chest = torch.from_numpy(world[:, 6])
        theirs = rot.rotate(rot.multiply(rot.multiply(chest, lean.expand_as(chest)), rot.conjugate(chest)),
                            torch.from_numpy(theirs)).numpy()  # fmt: skip
    limbs["trunk"] = _angles(trunk, theirs)
    for bone, end, joint in (
        *((f"{side}_foot", f"{side}_toe", joints[f"{side}_ankle"]) for side in SIDES),
        *([("neck", "head", joints["neck"])] if rig.neck and "head" in rig.bones else []),
    ):
        if end not in rig.bones:
            continue
        start = rig.neck[0] if bone == "neck" else rig.bones[bone]
        bone_rest = rest[rig.bones[end]] - rest[start]
        if bone != "neck":
            # The toes of the source point its own way; only the tilt of the sole is compared.
            bone_rest = np.array([0.0, bone_rest[1], np.hypot(bone_rest[0], bone_rest[2])])
            ours = source.skeleton.offsets.double().numpy()[joints[JOINT_OF[end]]]
            yaw = np.arctan2(ours[0], ours[2])
            bone_rest = np.array([np.sin(yaw) * bone_rest[2], bone_rest[1], np.cos(yaw) * bone_rest[2]])
        else:
            # Several neck joints share what the source's one neck and head do.
            continue
        mine = (places[rig.bones[end]] - places[start]) @ turn.T * unit
        limbs[bone] = _angles(mine, _rotated(world[:, joint], bone_rest))
    means = [mean for mean, _ in limbs.values()]
    leg = rig.leg * unit
    centre = (at("left_upper_leg") + at("right_upper_leg")) / 2
    off = np.linalg.norm(centre - done.goals["hips"], axis=1) / leg * 100
    soles = _soles(done, places)
    floor = rig.floor * unit
    heights = np.array(
        [rest[rig.bones[f"{side}_{bone}"]][1] - floor for side in SIDES for bone in ("foot", "toe")
         if f"{side}_{bone}" in rig.bones]
    )  # fmt: skip
    depth = float(np.maximum(heights - (soles[..., 1] - floor), 0.0).max()) * 1000
    mean, most, path = float(np.mean(means)), max(value for _, value in limbs.values()), float(off.mean())
    reasons = []
    if mean > PASS_DEGREES:
        reasons.append(f"directions off by {mean:.1f} degrees (at most {PASS_DEGREES:g} pass)")
    if path > PASS_ROOT:
        reasons.append(f"hips path off by {path:.1f} % of leg length (at most {PASS_ROOT:g} pass)")
    bad = mean > WARN_DEGREES or path > WARN_ROOT
    mapped = {bone: (rig.scene.names[node], rig.rules[bone]) for bone, node in rig.bones.items()}
    for bone, chain in (("spine", rig.spine), ("neck", rig.neck)):
        if chain:
            mapped[bone] = (" ".join(rig.scene.names[node] for node in chain), rig.rules[bone])
    return Certificate(
        "refused" if bad else "warn" if reasons else "pass",
        tuple(reasons),
        mean,
        most,
        limbs,
        path,
        done.skate[0],
        done.skate[1],
        depth,
        _over_limits(points, world),
        done.scale,
        mapped,
        len([node for node in rig.still if node not in done.rotations]),
        done.notes,
    )


def _played(done: Retargeted) -> np.ndarray:
    """World places ``(N, T, 3)`` [file's unit] of the nodes that matter, as a player would show them."""
    scene = done.rig.scene
    wanted = {node for moving in done.rotations for node in scene.above(moving)}
    count, frames = len(scene.names), len(done)
    places = np.zeros((count, frames, 3))
    world: dict[int, np.ndarray] = {}
    for node in sorted(wanted):
        move = done.translations.get(node, np.broadcast_to(scene.translations[node], (frames, 3)))
        turned = done.rotations.get(node, np.broadcast_to(scene.rotations[node], (frames, 4)))
        size = np.broadcast_to(scene.scales[node], (frames, 3))
        local = matrices(np.ascontiguousarray(move), np.ascontiguousarray(turned), size)
        parent = scene.parents[node]
        world[node] = world[parent] @ local if parent >= 0 else local
        places[node] = world[node][:, :3, 3]
    return places


def _soles(done: Retargeted, places: np.ndarray) -> np.ndarray:
    rig = done.rig
    turn = character_frame(rig)
    nodes = [rig.bones[f"{side}_{bone}"] for side in SIDES for bone in ("foot", "toe") if f"{side}_{bone}" in rig.bones]
    return np.stack([places[node] @ turn.T * rig.scene.unit for node in nodes], 1)


def _rotated(quaternions: np.ndarray, vector: np.ndarray) -> np.ndarray:
    turned = as_tensor(quaternions)
    return rot.rotate(turned, torch.tensor(vector).expand(len(turned), 3)).numpy()


def _angles(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Mean and largest angle between vectors [degrees]."""
    a, b = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12) for v in (a, b))
    half = np.arctan2(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))
    angles = np.degrees(2 * half)
    return float(angles.mean()), float(angles.max())


def _over_limits(points: np.ndarray, world: np.ndarray) -> int:
    """Frames of knees bent backwards, and of knees and elbows folded into themselves."""
    count = 0
    for upper, middle, end, knee in ((1, 4, 7, True), (2, 5, 8, True), (16, 18, 20, False), (17, 19, 21, False)):
        first, second = points[:, middle] - points[:, upper], points[:, end] - points[:, middle]
        cross = np.cross(first, second)
        angle = np.degrees(np.arctan2(np.linalg.norm(cross, axis=1), (first * second).sum(1)))
        if knee:
            side = _rotated(world[:, upper], np.array([1.0, 0.0, 0.0]))
            angle = np.where((cross * side).sum(1) < 0, -angle, angle)
        count += int(((angle < _BACKWARDS) | (angle > _FOLDED)).sum())
    return count

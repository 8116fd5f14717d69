"""A motion onto somebody's character: the way back of ``retarget``.

All is done in the world, in metres, of a body facing +Z. A bone's rotation is that of the source joint relative to the
canonical T-pose, times the swing that takes the character's rest pose to a T-pose, times the bone's rest rotation; so
rest poses, bone axes, turned and scaled armatures do not matter. Hips travel scaled by leg length; feet that stand are
held by two-bone inverse kinematics.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from motionloom.errors import RetargetError
from motionloom.motion import rotations as rot
from motionloom.motion.contacts import FEET, foot_contacts
from motionloom.motion.formats import resolve
from motionloom.motion.motion import Motion
from motionloom.motion.retarget import retarget
from motionloom.motion.rigs.carriers import carriers
from motionloom.motion.rigs.families import FINGER_BONES, SIDES
from motionloom.motion.rigs.feet import hold_feet
from motionloom.motion.rigs.rig import Rig, read_rig
from motionloom.motion.rigs.roots import smooth
from motionloom.motion.rigs.scene import as_tensor, quaternion_between, rotation_of
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS

if TYPE_CHECKING:
    from motionloom.motion.rigs.certificate import Certificate

JOINT_OF = {
    "hips": "pelvis",
    "neck": "neck",
    "head": "head",
    **{
        f"{side}_{bone}": f"{side}_{joint}"
        for side in SIDES
        for bone, joint in (
            ("collar", "collar"),
            ("upper_arm", "shoulder"),
            ("lower_arm", "elbow"),
            ("hand", "wrist"),
            ("upper_leg", "hip"),
            ("lower_leg", "knee"),
            ("foot", "ankle"),
            ("toe", "foot"),
        )
    },
    **{bone: bone for bone in FINGER_BONES},
}
"""Bone -> canonical joint whose rotation it takes."""
LIMBS = (
    ("upper_arm", "lower_arm"),
    ("lower_arm", "hand"),
    ("upper_leg", "lower_leg"),
    ("lower_leg", "foot"),
)
"""Bones that point where the source's do, with the bones at their ends."""
_TILT = 12.0
"""A trunk that leans more than that in rest [degrees] keeps its lean: it is how the character stands."""
_TWISTS = ("twist", "roll")
_SPINE = (0, 3, 6, 9)


@dataclass(frozen=True, eq=False)
class Retargeted:
    """A motion on a character: local tracks of the nodes that move.

    Attributes:
        rig: The character.
        source: The motion on the canonical body.
        fps: Frames a second.
        rotations: Node -> ``(T, 4)`` local rotations (wxyz).
        translations: Node -> ``(T, 3)`` local places [file's unit].
        contacts: Whether left ankle, left toe, right ankle, right toe stand.
        notes: What was decided.
        skate: Speed of standing feet before and after they were held [m/s].
        looped: Whether the motion is meant to repeat.
    """

    rig: Rig
    source: Motion
    fps: float
    rotations: dict[int, np.ndarray]
    translations: dict[int, np.ndarray]
    contacts: Bool[Tensor, "T 4"]
    scale: float
    notes: tuple[str, ...] = ()
    skate: tuple[float, float] = (0.0, 0.0)
    looped: bool = False
    goals: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.source)

    @property
    def certificate(self) -> "Certificate":
        """How well it went, measured on the tracks as they are."""
        return resolve("motionloom.motion.rigs.certificate:certify")(self)

    def save(self, path: "str | PathLike[str]", *, name: str | None = None) -> None:
        """Write the character with the motion; the suffix chooses the format (see ``rigs.export``).

        Raises:
            MotionFileError: The format is unknown, or cannot hold this character.
        """
        resolve("motionloom.motion.rigs.export:save_on")(self, path, name=name)


def retarget_to(
    motion: Motion,
    rig: "Rig | str | PathLike[str]",
    *,
    map_file: "str | Path | None" = None,
    root_bone: bool = False,
    in_place: bool = False,
    hold: bool = True,
    ground: bool = True,
    loop: bool = False,
) -> Retargeted:
    """Put a motion on a character.

    Args:
        motion: Any motion; one that is not of the canonical tree is retargeted first.
        rig: The character, or its file.
        map_file: A map of the character's bones, where they are not told rightly.
        root_bone: Let the bone above the hips carry travel and heading (root motion), not the hips.
        in_place: Take the travel on the floor away.
        hold: Hold standing feet in place by inverse kinematics.
        ground: Set the soles on the floor; without it heights are only scaled.
        loop: Say in the file that the motion is meant to repeat.

    Raises:
        RetargetError: The character is no human or would move wrongly, or has no root bone where one is asked for.
        MotionFileError: The character's file is damaged.
    """
    if not isinstance(rig, Rig):
        rig = read_rig(Path(rig), map_file=map_file)
    source = canonical(motion)
    if root_bone and rig.root is None:
        raise RetargetError(
            f"{rig.path}: has no bone above {rig.scene.names[rig.bones['hips']]!r} that could carry root motion;"
            " use --root-bone none"
        )
    body = _Body(rig, source, ground=ground)
    return body.solve(root_bone=root_bone, in_place=in_place, hold=hold, loop=loop)


def canonical(motion: Motion) -> Motion:
    """The motion on the canonical tree, with its fingers where it has them."""
    skeleton = motion.skeleton
    if skeleton.same_tree(CANONICAL) or skeleton.same_tree(CANONICAL_HANDS):
        return motion
    return retarget(motion, hands=True)


def character_frame(rig: Rig) -> np.ndarray:
    """Matrix that takes the file's axes to those of a body facing +Z; a turn about +Y."""
    x, z = float(rig.forward[0]), float(rig.forward[2])
    return np.array([[z, 0.0, -x], [0.0, 1.0, 0.0], [x, 0.0, z]]) / np.hypot(x, z)


def rest_frame(rig: Rig) -> tuple[np.ndarray, np.ndarray]:
    """Rest positions [m] of all nodes and their rest rotations (wxyz), in the frame of a body facing +Z."""
    turn = character_frame(rig)
    world = rig.world
    places = world[:, :3, 3] @ turn.T * rig.scene.unit
    turned = _times(rotation_of(_square(turn))[None], rotation_of(world))
    return places, turned


def _square(matrix: np.ndarray) -> np.ndarray:
    found = np.eye(4)
    found[:3, :3] = matrix
    return found


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return rot.multiply(as_tensor(a), as_tensor(b)).numpy()


def _turn(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    a, b = as_tensor(q), as_tensor(v)
    return rot.rotate(*(torch.broadcast_tensors(a, b.new_zeros(*b.shape[:-1], 4))[0], b)).numpy()


def _between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return rot.between(as_tensor(a), as_tensor(b)).numpy()


class _Body:
    """The character and the source while the motion is worked out; deltas are rotations away from rest."""

    def __init__(self, rig: Rig, source: Motion, *, ground: bool) -> None:
        self.rig, self.source, self.ground = rig, source, ground
        self.frames = len(source)
        self.rest, self.turned = rest_frame(rig)
        self.points = source.positions.detach().cpu().double().numpy()
        self.world = source.world_rotations.detach().cpu().double().numpy()
        self.offsets = source.skeleton.offsets.detach().cpu().double().numpy()
        self.joints = {name: at for at, name in enumerate(source.skeleton.names)}
        self.notes: list[str] = []
        self.above = carriers(rig, fingers=len(self.joints) > 22)
        """Moving node -> the moving node that carries it."""
        self.node = dict(rig.bones)
        ours = float(np.linalg.norm(self.offsets[4]) + np.linalg.norm(self.offsets[7]))
        self.scale = rig.leg * rig.scene.unit / ours

    def solve(self, *, root_bone: bool, in_place: bool, hold: bool, loop: bool) -> Retargeted:
        deltas = self.deltas()
        hips, goal = self.hips(deltas)
        contacts = self.contacts()
        places = self.places(deltas, hips)
        skate = [_skate(self.soles(places, deltas), contacts, self.source.fps)] * 2
        if hold:
            self.hold(deltas, places, contacts, loop=loop)
            places = self.places(deltas, hips)
            skate[1] = _skate(self.soles(places, deltas), contacts, self.source.fps)
        self.twists(deltas, places)
        travel = self.travel(goal, deltas, root_bone=root_bone, in_place=in_place)
        rotations, translations = self.tracks(deltas, places, travel, root_bone=root_bone)
        return Retargeted(
            self.rig,
            self.source,
            self.source.fps,
            rotations,
            translations,
            contacts,
            self.scale,
            (*self.rig.notes, *self.notes),
            (skate[0], skate[1]),
            loop,
            {"hips": goal - travel[0] if in_place else goal, "travel": travel[0], "heading": travel[1]},
        )

    # --- rotations -----------------------------------------------------------------------------------------------

    def deltas(self) -> dict[int, np.ndarray]:
        """Rotation of each moving node away from its rest, in the world: ``(T, 4)``."""
        found: dict[int, np.ndarray] = {}
        swings = self.swings()
        for bone, node in self.node.items():
            joint = self.joints.get(JOINT_OF[bone])
            if joint is not None and node in self.above:
                found[node] = _times(self.world[:, joint], swings.get(bone, np.array([1.0, 0, 0, 0]))[None])
        neck = self.rig.neck
        for at, node in enumerate(neck):
            share = torch.full((self.frames,), at / max(len(neck), 1), dtype=torch.float64)
            a, b = (torch.from_numpy(self.world[:, joint]) for joint in (12, 15))
            found[node] = rot.slerp(a, b, share).numpy()
        self._spine(found)
        return found

    def swings(self) -> dict[str, np.ndarray]:
        """What takes each bone from its rest to where it is in a T-pose."""
        found: dict[str, np.ndarray] = {}
        for side in SIDES:
            for chain, ends in (
                (("upper_arm", "lower_arm"), ("lower_arm", "hand")),
                (("upper_leg", "lower_leg"), ("lower_leg", "foot")),
            ):
                so_far = np.array([1.0, 0.0, 0.0, 0.0])
                for bone, end in zip(chain, ends, strict=True):
                    mine = self.place(f"{side}_{end}") - self.place(f"{side}_{bone}")
                    ours = self.offsets[self.joints[JOINT_OF[f"{side}_{end}"]]]
                    # One swing after the other, so that the forearm keeps its twist to the upper arm.
                    so_far = _times(_between(_turn(so_far, mine), ours), so_far)
                    found[f"{side}_{bone}"] = so_far
                if chain[0] == "upper_arm":
                    found[f"{side}_hand"] = so_far
                    found |= {bone: so_far for bone in FINGER_BONES if bone.startswith(side)}
            found[f"{side}_foot"] = found[f"{side}_toe"] = self._toe_out(side)
        return found

    def _toe_out(self, side: str) -> np.ndarray:
        """Soles are flat in rest, but toes may point outwards: a turn about the vertical."""
        still = np.array([1.0, 0.0, 0.0, 0.0])
        if f"{side}_toe" not in self.node:
            return still
        mine = self.place(f"{side}_toe") - self.place(f"{side}_foot")
        ours = self.offsets[self.joints[JOINT_OF[f"{side}_toe"]]]
        if np.hypot(mine[0], mine[2]) < 0.3 * np.linalg.norm(mine) or mine[2] < 0:
            return still
        angle = np.arctan2(ours[0], ours[2]) - np.arctan2(mine[0], mine[2])
        return np.array([np.cos(angle / 2), 0.0, np.sin(angle / 2), 0.0])

    def _spine(self, deltas: dict[int, np.ndarray]) -> None:
        """Share the bend of the source's four trunk joints along the character's spine, by arc length."""
        spine, hips = self.rig.spine, self.node["hips"]
        if not spine:
            self.notes.append("there is no spine between hips and arms; the trunk moves as one piece")
            return
        top = self.rig.neck[0] if self.rig.neck else self.node.get("head")
        end = self.rest[top] if top is not None else (self.place("left_upper_arm") + self.place("right_upper_arm")) / 2
        path = np.stack([self.rest[hips], *(self.rest[node] for node in spine), end])
        arc = np.concatenate(([0.0], np.linalg.norm(np.diff(path, axis=0), axis=1).cumsum()))
        arc = arc / max(arc[-1], 1e-12)
        bones = [np.linalg.norm(self.offsets[joint]) for joint in (3, 6, 9, 12)]
        theirs = np.concatenate(([0.0], np.cumsum(bones))) / sum(bones)
        for at, node in enumerate(spine):
            low, high = arc[at + 1], arc[at + 2]
            weights = [max(min(high, theirs[k + 1]) - max(low, theirs[k]), 0.0) for k in range(len(_SPINE))]
            if sum(weights) <= 1e-9:
                # A joint at the very top, or several at one place, goes with what lies there.
                weights = [float(theirs[k] <= low <= theirs[k + 1]) for k in range(len(_SPINE))]
            if at == len(spine) - 1 and len(spine) > 1:
                weights = [0.0, 0.0, 0.0, 1.0]  # it carries neck and arms, as the source's chest does
            deltas[node] = _mean([self.world[:, joint] for joint in _SPINE], weights)
        self._straighten(deltas)

    def _straighten(self, deltas: dict[int, np.ndarray]) -> None:
        """Turn the spine as a whole so that the line from hips to shoulders points where the source's does."""
        mine = np.sum([self.place(f"{s}_upper_arm") - self.place(f"{s}_upper_leg") for s in SIDES], axis=0)
        theirs = rest_trunk(self.offsets)
        tilt = np.degrees(np.arccos(np.clip(_unit(mine) @ _unit(theirs), -1, 1)))
        goal = np.sum([self.points[:, a] - self.points[:, b] for a, b in ((16, 1), (17, 2))], axis=0)
        if tilt > _TILT:
            self.notes.append(f"the trunk leans by {tilt:.0f} degrees in rest, and keeps that lean")
            lean, chest = _between(theirs, mine), self.world[:, 6]
            goal = _turn(chest, _turn(lean, _turn(_conjugate(chest), goal)))
        for _ in range(4):
            places = self.places(deltas, np.zeros((self.frames, 3)))
            ends = [places[self.node[f"{s}_upper_arm"]] - places[self.node[f"{s}_upper_leg"]] for s in SIDES]
            now = np.sum(ends, axis=0)
            fix = _between(now, goal)
            for node in self.rig.spine:
                deltas[node] = _times(fix, deltas[node])

    def twists(self, deltas: dict[int, np.ndarray], places: dict[int, np.ndarray]) -> None:
        """Twist bones of the forearm take half of the hand's twist; others stay in rest and are named."""
        names, left = self.rig.scene.names, []
        for side in SIDES:
            lower, hand = self.node[f"{side}_lower_arm"], self.node[f"{side}_hand"]
            chain = [node for node in self.rig.scene.above(hand)[1:] if lower in self.rig.scene.above(node)[1:]]
            beside = [
                node
                for node in self.rig.still
                if self.rig.scene.parents[node] == lower and any(word in names[node].lower() for word in _TWISTS)
            ]
            axis = self.rest[hand] - self.rest[lower]
            bone = _turn(deltas[lower], axis)
            relative = _times(deltas[hand], _conjugate(deltas[lower]))
            unit = bone / np.linalg.norm(bone, axis=1, keepdims=True)
            angle = 2 * np.arctan2((relative[:, 1:] * unit).sum(1), relative[:, 0])
            angle = (angle + np.pi) % (2 * np.pi) - np.pi
            for node in [*chain, *beside]:
                half = 0.25 * angle[:, None]
                deltas[node] = _times(np.concatenate((np.cos(half), np.sin(half) * unit), 1), deltas[lower])
                self.above[node] = lower
                places[node] = places[lower] + _turn(deltas[lower], self.rest[node] - self.rest[lower])
            if chain:
                # The hand hangs on the last piece of a forearm of several; that lies on the forearm's axis.
                self.above[hand] = chain[0]
        for node in self.rig.still:
            if node not in self.above and any(word in names[node].lower() for word in _TWISTS):
                left.append(names[node])
        if left:
            more = f" and {len(left) - 4} more" if len(left) > 4 else ""
            self.notes.append(f"twist bones {', '.join(left[:4])}{more} stay in rest")

    # --- places --------------------------------------------------------------------------------------------------

    def place(self, bone: str) -> np.ndarray:
        return self.rest[self.node[bone]]

    def places(self, deltas: dict[int, np.ndarray], hips: np.ndarray) -> dict[int, np.ndarray]:
        """Where every moving node is [m]: bones are as long as in rest."""
        found = {self.node["hips"]: hips}
        for node, above in self.above.items():
            if node in deltas and above >= 0:
                found[node] = found[above] + _turn(deltas[above], self.rest[node] - self.rest[above])
        return found

    def hips(self, deltas: dict[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Where the hips node is, and the middle of the hip joints: scaled by leg length, soles on the floor."""
        centre = self.points[:, 1:3].mean(1)
        feet = self.points[:, list(FEET)]
        drop = float(np.mean([-self.offsets[10][1], -self.offsets[11][1]]))
        stands = self.contacts().numpy()
        toes, touch = feet[:, [1, 3], 1], stands[:, [1, 3]]
        low = float(np.median(toes[touch])) if touch.any() else float(np.percentile(toes.min(1), 5))
        ankle = drop + float(np.clip(low, 0.0, 0.05))
        mine = float(np.mean([self.place(f"{side}_foot")[1] for side in SIDES])) - self.rig.floor * self.rig.scene.unit
        goal = self.scale * centre
        if self.ground:
            goal[:, 1] = self.scale * (centre[:, 1] - ankle) + mine + self.rig.floor * self.rig.scene.unit
        middle = (self.place("left_upper_leg") + self.place("right_upper_leg")) / 2 - self.place("hips")
        return goal - _turn(deltas[self.node["hips"]], middle), goal

    def contacts(self) -> Bool[Tensor, "T 4"]:
        if self.source.contacts is not None:
            return self.source.contacts.cpu()
        return foot_contacts(torch.from_numpy(self.points[:, :22]).float(), self.source.fps)

    def soles(self, places: dict[int, np.ndarray], deltas: dict[int, np.ndarray]) -> np.ndarray:
        """Left ankle, left toe, right ankle, right toe: ``(T, 4, 3)`` [m]; a missing toe is where one would be."""
        rows = []
        for side in SIDES:
            foot = self.node[f"{side}_foot"]
            rows.append(places[foot])
            rows.append(places[foot] + _turn(deltas[foot], self.toe(side) - self.rest[foot]))
        return np.stack(rows, 1)

    def toe(self, side: str) -> np.ndarray:
        """Where the toe joint is in rest, or would be."""
        if f"{side}_toe" in self.node:
            return self.place(f"{side}_toe")
        foot = self.place(f"{side}_foot")
        height = foot[1] - self.rig.floor * self.rig.scene.unit
        ahead = self.scale * float(np.linalg.norm(self.offsets[10][[0, 2]]))
        return foot + np.array([0.0, -0.6 * height, ahead])

    def hold(
        self, deltas: dict[int, np.ndarray], places: dict[int, np.ndarray], contacts: Bool[Tensor, "T 4"], *, loop: bool
    ) -> None:
        """Bend the legs so that standing feet stay where they are, and no sole is under the floor."""
        floor = self.rig.floor * self.rig.scene.unit
        soles = self.soles(places, deltas)
        for at, side in enumerate(SIDES):
            upper, lower, foot = (self.node[f"{side}_{bone}"] for bone in ("upper_leg", "lower_leg", "foot"))
            heights = np.array([self.rest[foot][1], self.toe(side)[1]]) - floor
            turned = hold_feet(
                (places[upper], places[lower], places[foot]),
                soles[:, 2 * at : 2 * at + 2],
                contacts[:, 2 * at : 2 * at + 2].numpy(),
                heights=heights,
                floor=floor,
                fps=self.source.fps,
                pole=_turn(deltas[upper], np.array([0.0, 0.0, 1.0])),
                loop=loop,
            )
            deltas[upper] = _times(turned[0], deltas[upper])
            deltas[lower] = _times(turned[1], deltas[lower])

    def travel(
        self, goal: np.ndarray, deltas: dict[int, np.ndarray], *, root_bone: bool, in_place: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """What is taken off the hips: the way on the floor, and with a root bone the heading (quaternions)."""
        way = np.zeros_like(goal)
        heading = np.tile(np.array([1.0, 0.0, 0.0, 0.0]), (self.frames, 1))
        if in_place or root_bone:
            way[:, [0, 2]] = goal[:, [0, 2]]
        if root_bone:
            across = self.points[:, 1] - self.points[:, 2] + self.points[:, 16] - self.points[:, 17]
            yaw = np.unwrap(np.arctan2(-across[:, 2], across[:, 0]))
            yaw = smooth(yaw, 0.25 * self.source.fps)
            heading = np.stack((np.cos(yaw / 2), 0 * yaw, np.sin(yaw / 2), 0 * yaw), 1)
        return way, heading

    def tracks(
        self,
        deltas: dict[int, np.ndarray],
        places: dict[int, np.ndarray],
        travel: tuple[np.ndarray, np.ndarray],
        *,
        root_bone: bool,
    ) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
        """Local rotations and places of the nodes, in the file's own axes and unit."""
        rig, scene = self.rig, self.rig.scene
        back = rotation_of(_square(character_frame(rig).T))[None]
        way, heading = travel
        if root_bone and rig.root is not None:
            # The root bone turns about the body's place on the floor and stands there.
            deltas = {**deltas, rig.root: heading}
            places = dict(places)
            places[rig.root] = way + _turn(heading, self.rest[rig.root] * np.array([1.0, 1.0, 1.0]))
            self.above = {rig.root: -1, **self.above}
        elif way.any():
            places = {node: place - way for node, place in places.items()}
        carrier = self._carriers(deltas)
        still = _times(back, self.turned)
        world = rig.world
        local, moved = {}, {}
        for node in sorted(deltas):
            mine = _times(_times(back, deltas[node]), self.turned[node][None])
            above = scene.parents[node]
            if above < 0:
                local[node] = mine
            elif carrier[above] < 0:
                local[node] = quaternion_between(np.broadcast_to(still[above], mine.shape), mine)
            else:
                theirs = _times(_times(back, deltas[carrier[above]]), self.turned[above][None])
                local[node] = quaternion_between(theirs, mine)
            attached = above >= 0 and carrier[above] == self.above.get(node, -2) and carrier[above] >= 0
            if not attached:
                moved[node] = self._local_place(node, places[node], deltas, places, carrier, world)
        for node in range(len(scene.names)):
            # Where the bind pose was taken for the rest pose, joints that do not move need it written.
            if node not in local and node in scene.binds and "bound" in " ".join(rig.notes):
                local[node] = np.broadcast_to(scene.rotations[node], (self.frames, 4)).copy()
        return (
            {node: rot.continuous(rot.normalize(as_tensor(q))).numpy() for node, q in local.items()},
            moved,
        )

    def _carriers(self, deltas: dict[int, np.ndarray]) -> list[int]:
        """For each node the nearest moving node at or above it; -1 where nothing moves."""
        found: list[int] = []
        for node, parent in enumerate(self.rig.scene.parents):
            found.append(node if node in deltas else found[parent] if parent >= 0 else -1)
        return found

    def _local_place(
        self,
        node: int,
        place: np.ndarray,
        deltas: dict[int, np.ndarray],
        places: dict[int, np.ndarray],
        carrier: list[int],
        world: np.ndarray,
    ) -> np.ndarray:
        """A place in the node's parent, in the file's unit."""
        scene = self.rig.scene
        turn = character_frame(self.rig)
        target = place @ turn / scene.unit
        above = scene.parents[node]
        if above < 0:
            return target
        over = carrier[above]
        if over < 0:
            matrix = np.linalg.inv(world[above])
            return target @ matrix[:3, :3].T + matrix[:3, 3]
        # The parent is carried: its rest matrix, moved with what carries it.
        back = _turn(_conjugate(deltas[over]), place - places[over]) + self.rest[over]
        rest = back @ turn / scene.unit
        matrix = np.linalg.inv(world[above])
        return rest @ matrix[:3, :3].T + matrix[:3, 3]


@lru_cache(maxsize=4)
def _rest_of(key: bytes) -> np.ndarray:
    offsets = np.frombuffer(key).reshape(-1, 3)
    place = np.zeros((22, 3))
    for joint in range(1, 22):
        place[joint] = place[CANONICAL.parents[joint]] + offsets[joint]
    return place


def rest_trunk(offsets: np.ndarray) -> np.ndarray:
    place = _rest_of(np.ascontiguousarray(offsets[:22]).tobytes())
    return place[16] + place[17] - place[1] - place[2]


def _mean(quaternions: list[np.ndarray], weights: list[float]) -> np.ndarray:
    """Weighted mean of nearby rotations, by their quaternions on one side of the sphere."""
    first = next(q for q, w in zip(quaternions, weights, strict=True) if w > 0)
    total = np.zeros_like(first)
    for quaternion, weight in zip(quaternions, weights, strict=True):
        sign = np.where((quaternion * first).sum(1, keepdims=True) < 0, -1.0, 1.0)
        total += weight * sign * quaternion
    return total / np.linalg.norm(total, axis=1, keepdims=True)


def _skate(soles: np.ndarray, contacts: Bool[Tensor, "T 4"], fps: float) -> float:
    """Mean level speed of feet that stand [m/s]."""
    if len(soles) < 2:
        return 0.0
    stands = contacts.numpy()
    both = stands[1:] & stands[:-1]
    steps = np.linalg.norm(np.diff(soles, axis=0)[..., [0, 2]], axis=-1) * fps
    return float(steps[both].mean()) if both.any() else 0.0


def _conjugate(quaternions: np.ndarray) -> np.ndarray:
    return quaternions * np.array([1.0, -1.0, -1.0, -1.0])


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


__all__ = ["JOINT_OF", "LIMBS", "Retargeted", "canonical", "character_frame", "rest_frame", "retarget_to"]

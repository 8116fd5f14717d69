"""Any humanoid skeleton to the canonical body, and positions to rotations.

A map (a TOML file in ``maps/``) names the source joint, or the point between two, for each canonical joint.
Twist comes from the source's rotations, corrected by its reference pose; swing comes from the direction of the
bones, so a limb points where the source's limb points, whatever the proportions. Feet keep their angle to the
floor, not to the ankle-toe line, which differs between rigs. Size is matched by leg length.
"""

import tomllib
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import RetargetError
from motionloom.motion import rotations as rot
from motionloom.motion.kinematics import forward_kinematics, to_local
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.skeleton import CANONICAL, LEG_LENGTH, Skeleton

OPTIONAL = frozenset(
    {"spine1", "spine2", "spine3", "left_collar", "right_collar", "left_foot", "right_foot", "neck", "head"}
)
"""Canonical joints a source may lack; they then follow their parent."""
_ANKLES = (7, 8)
_AXES = {"X": (1.0, 0.0, 0.0), "Y": (0.0, 1.0, 0.0), "Z": (0.0, 0.0, 1.0)}


@dataclass(frozen=True)
class JointMap:
    """How one family of skeletons answers to the canonical joint names.

    Attributes:
        name: File name of the map.
        title: What it is for.
        joints: Canonical joint -> (source joint, second source joint, share of the way to the second).
        axes: Source joint -> where its own X, Y, Z point in a T-pose (rows of 3); empty where the rest pose
            itself is a T-pose or near one.
        prefix: Pattern in front of the names that may be there or not (``mixamorig:``).
    """

    name: str
    title: str
    joints: dict[str, tuple[str, str, float]]
    axes: dict[str, tuple[float, ...]] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ()

    def bare(self, name: str) -> str:
        """A source joint's name without the map's prefix."""
        for prefix in self.prefixes:
            if name.startswith(prefix):
                return name[len(prefix) :]
        return name


def _parse_axes(text: str | list[float]) -> tuple[float, ...]:
    if isinstance(text, list):
        return tuple(text)
    return tuple(value * (-1.0 if word[0] == "-" else 1.0) for word in text.split() for value in _AXES[word[1]])


@lru_cache(maxsize=1)
def joint_maps() -> tuple[JointMap, ...]:
    """All maps that are shipped, sorted by name."""
    maps = []
    for entry in sorted(resources.files("motionloom.motion.maps").iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".toml"):
            table = tomllib.loads(entry.read_text())
            joints = {
                canonical: (source, source, 0.0) if isinstance(source, str) else (source[0], source[1], source[2])
                for canonical, source in table["joints"].items()
            }
            axes = {joint: _parse_axes(text) for joint, text in table.get("axes", {}).items()}
            maps.append(
                JointMap(entry.name[:-5], table["title"], joints, axes, tuple(table.get("prefixes", ())))
            )
    return tuple(maps)


def find_map(skeleton: Skeleton) -> JointMap:
    """The shipped map that covers the most canonical joints of a skeleton.

    Raises:
        RetargetError: No map finds the joints a body needs.
    """
    best, missing_best = None, None
    for candidate in joint_maps():
        names = {candidate.bare(name) for name in skeleton.names}
        missing = [key for key, (a, b, _) in candidate.joints.items() if not {a, b} <= names]
        if best is None or missing_best is None or len(missing) < len(missing_best):
            best, missing_best = candidate, missing
    assert best is not None and missing_best is not None
    needed = [key for key in missing_best if key not in OPTIONAL]
    if needed:
        raise RetargetError(
            f"no joint map fits this skeleton ({', '.join(skeleton.names[:8])}, ...); the nearest, {best.name!r},"
            f" lacks {', '.join(needed)}: pass a JointMap of your own"
        )
    return best


def retarget(motion: Motion, joint_map: JointMap | None = None, target: Skeleton = CANONICAL) -> Motion:
    """Move a motion of any humanoid skeleton onto the canonical body.

    Args:
        motion: The source motion, Y up.
        joint_map: How its joints are called; found by the names when left out.
        target: Body to move onto; the canonical tree with any offsets.

    Returns:
        The motion on ``target``: same frames and fps, root path scaled by leg length. The provenance notes the
        map and the mean angle between the source's limbs and the result's.

    Raises:
        RetargetError: No map fits, or the source has legs of no length.
    """
    if motion.skeleton.same_tree(target) and bool(torch.allclose(motion.skeleton.offsets[1:], target.offsets[1:])):
        return motion
    joint_map = joint_map or find_map(motion.skeleton)
    source = _Source(motion, joint_map, target)
    guess = source.guess()
    known = [index for index, name in enumerate(target.names) if name in source.slots]
    fit = fit_rotations(source.points, target, guess=guess, known=tuple(known), keep=_ANKLES)
    leg = float((source.points[0, 1] - source.points[0, 4]).norm() + (source.points[0, 4] - source.points[0, 7]).norm())
    if leg < 1e-6:
        raise RetargetError(f"the source's left leg has no length (map {joint_map.name!r}): joints coincide")
    scale = float(target.offsets[4].norm() + target.offsets[7].norm()) / leg
    positions, _ = forward_kinematics(fit.rotations, torch.zeros_like(motion.root), target)
    # The hips, not the pelvis, carry the legs: rigs place the pelvis joint at different heights above them.
    root = scale * source.points[:, 1:3].mean(1) - positions[:, 1:3].mean(1)
    note = f"retargeted by map {joint_map.name!r}, scale {scale:.4f}, limbs off by {fit.degrees:.2f} degrees on average"
    return Motion(target, fit.rotations, root, motion.fps, motion.valid, motion.contacts, motion.provenance.noting(note))


class _Source:
    """A source motion read through a joint map: its points, and what its rotations say of the canonical ones."""

    def __init__(self, motion: Motion, joint_map: JointMap, target: Skeleton) -> None:
        self.motion, self.map, self.target = motion, joint_map, target
        names = [joint_map.bare(name) for name in motion.skeleton.names]
        self.index = {name: index for index, name in reversed(list(enumerate(names)))}
        self.slots = {
            name: (self.index[a], self.index[b], share)
            for name, (a, b, share) in joint_map.joints.items()
            if a in self.index and b in self.index
        }
        self.points = self._points(motion.positions)

    def _points(self, positions: Float[Tensor, "*batch S 3"]) -> Float[Tensor, "*batch 22 3"]:
        columns = []
        for joint, name in enumerate(self.target.names):
            if name in self.slots:
                a, b, share = self.slots[name]
                columns.append(torch.lerp(positions[..., a, :], positions[..., b, :], share))
            else:
                columns.append(columns[self.target.parents[joint]])
        return torch.stack(columns, dim=-2)

    def guess(self) -> Float[Tensor, "T 22 4"]:
        """World rotations of the canonical joints as the source's rotations have them."""
        world = self.motion.world_rotations
        drivers, corrections = [], []
        for joint, name in enumerate(self.target.names):
            if name not in self.slots:
                drivers.append(drivers[self.target.parents[joint]])
                corrections.append(corrections[self.target.parents[joint]])
                continue
            drivers.append(self.slots[name][0])
            corrections.append(self._correction(joint, name))
        return rot.multiply(world[:, drivers], torch.stack(corrections).to(world))

    def _correction(self, joint: int, name: str) -> Float[Tensor, "4"]:
        """What takes a source joint's world rotation to the canonical one's, from the reference pose."""
        source = self.map.joints[name][0]
        if source in self.map.axes:
            columns = torch.tensor(self.map.axes[source]).view(3, 3).T
            return rot.conjugate(rot.from_matrix(columns))
        turn = self._reference_turn
        children = [child for child in self.target.children[joint] if self.target.names[child] in self.slots]
        if len(children) != 1 or joint in _ANKLES:
            return turn
        rest = self._rest_points
        bone = rest[children[0]] - rest[joint]
        if float(bone.norm()) < 1e-6:
            return turn
        swing = rot.between(rot.rotate(turn, self.target.offsets[children[0]]), bone)
        return rot.multiply(swing, turn)

    @property
    def _rest_points(self) -> Float[Tensor, "22 3"]:
        return self._points(self.motion.skeleton.rest_positions)

    @property
    def _reference_turn(self) -> Float[Tensor, "4"]:
        """Rotation from canonical axes to the way the source's rest pose stands and faces."""
        rest = self._rest_points
        left = rot.normalize(rest[1] - rest[2])
        up = rest[12] - rest[0] if "neck" in self.slots else rest[16] + rest[17] - rest[1] - rest[2]
        up = rot.normalize(up - (up * left).sum() * left)
        return rot.from_matrix(torch.stack((left, up, torch.linalg.cross(left, up)), dim=-1))


@dataclass(frozen=True)
class Fit:
    """Rotations found for given positions.

    Attributes:
        rotations: Local rotations (wxyz).
        degrees: Mean angle between given and resulting bone directions [degrees].
    """

    rotations: Float[Tensor, "T J 4"]
    degrees: float


def fit_rotations(
    positions: Float[Tensor, "T J 3"],
    skeleton: Skeleton,
    guess: Float[Tensor, "T J 4"] | None = None,
    known: tuple[int, ...] | None = None,
    keep: tuple[int, ...] = (),
) -> Fit:
    """Rotations that point every bone of a skeleton along given positions.

    Each joint starts from ``guess`` (or from its parent, which leaves the twist of the rest pose) and is turned by
    the shortest rotation that aligns its bone; joints with several children are placed by least squares (Kabsch)
    when there is no guess, and keep the guess otherwise, but for the chest, which follows the neck.

    Args:
        positions: Where the joints should be [m]; only directions matter.
        skeleton: The body to turn.
        guess: World rotations to start from.
        known: Joints whose positions mean something; all when left out.
        keep: Joints whose guess is kept whatever the positions say.
    """
    known_set = set(range(len(skeleton))) if known is None else set(known)
    offsets = skeleton.offsets.to(positions)
    world: list[Tensor] = []
    errors: list[Tensor] = []
    for joint, parent in enumerate(skeleton.parents):
        children = [child for child in skeleton.children[joint] if child in known_set]
        start = guess[:, joint] if guess is not None else world[parent] if joint else None
        bones = positions[:, children] - positions[:, joint : joint + 1]
        if joint in keep and guess is not None:
            turned = guess[:, joint]
        elif len(children) > 1 and guess is None:
            turned = rot.from_matrix(
                rot.kabsch(rot.normalize(offsets[children]).expand_as(bones), rot.normalize(bones))
            )
        elif start is None:
            turned = rot.identity(len(positions)).to(positions)
        elif not children or (len(children) > 1 and joint == 0):
            turned = start
        else:
            # Of several children the first one below the chest is the neck: it carries on the spine.
            bone, offset = bones[:, 0], offsets[children[0]]
            turned = rot.multiply(rot.between(rot.rotate(start, offset.expand_as(bone)), bone), start)
        if children and joint not in keep:
            reached = rot.rotate(turned[:, None], offsets[children].expand_as(bones))
            cosine = (rot.normalize(reached) * rot.normalize(bones)).sum(-1)
            errors.append(torch.rad2deg(torch.acos(cosine.clamp(-1, 1))).mean())
        world.append(rot.normalize(turned))
    return Fit(to_local(torch.stack(world, dim=1), skeleton), float(torch.stack(errors).mean()))


def from_positions(
    positions: Float[Tensor, "T 22 3"], fps: float, skeleton: Skeleton | None = None
) -> Motion:
    """Joint positions of the canonical 22 joints to a motion with rotations; the error is in its provenance.

    Twist about a bone cannot be seen in positions: it is that of the rest pose.

    Args:
        positions: World positions [m], Y up.
        fps: Frames a second.
        skeleton: Body to use; when left out, the canonical one with the bone lengths of the positions (medians).
    """
    if skeleton is None:
        parents = list(CANONICAL.parents[1:])
        lengths = (positions[:, 1:] - positions[:, parents]).norm(dim=-1).median(0).values
        offsets = CANONICAL.offsets.clone()
        offsets[1:] = rot.normalize(offsets[1:]) * lengths[:, None]
        skeleton = Skeleton(CANONICAL.names, CANONICAL.parents, offsets)
    fit = fit_rotations(positions, skeleton)
    reached, _ = forward_kinematics(fit.rotations, positions[:, 0], skeleton)
    error = (reached - positions).norm(dim=-1)
    note = (
        f"rotations fitted to positions: joints off by {1000 * float(error.mean()):.1f} mm on average,"
        f" {1000 * float(error.max()):.1f} mm at most; twist as in the rest pose"
    )
    return Motion(skeleton, fit.rotations, positions[:, 0], fps, provenance=Provenance(notes=(note,)))


__all__ = ["LEG_LENGTH", "Fit", "JointMap", "find_map", "fit_rotations", "from_positions", "joint_maps", "retarget"]

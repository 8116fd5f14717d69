"""Any motion as a loop: the stretch whose end best meets its beginning, the rest of the difference shared out.

Two frames meet where the body, seen from its own place and heading, has the same pose and goes on in the same way
(Kovar, Gleicher, Pighin, "Motion graphs", 2002, section 3.1). The last frame of the result repeats the first pose, so
that players that jump from the last key to the first show no step.
"""

import numpy as np
import torch
from jaxtyping import Float

from motionloom.errors import MotionError
from motionloom.motion import rotations as rot
from motionloom.motion.kinematics import facing
from motionloom.motion.motion import Motion

SHORTEST = 0.5
"""Shortest cycle [s]."""
_BLEND = 0.4
"""Time on each side of the seam over which the difference is shared out [s]."""
_STRAIGHT = 60.0
"""Largest turn of a cycle [degrees] that is taken for a fault and not for what the body does."""
_TURNING = 0.04
"""What a turn of one radian in a cycle counts for, against a difference of place [m]."""
_SPEED = 0.15
"""Weight of a difference of velocity [s] against one of place."""


def closed(motion: Motion) -> tuple[Motion, float]:
    """Make a loop of a motion of the canonical tree.

    Args:
        motion: The motion.

    Returns:
        The cycle, its last frame with the pose of its first, and the largest angle between the two [degrees].

    Raises:
        MotionError: The motion is shorter than a cycle.
    """
    least = max(4, round(SHORTEST * motion.fps))
    if len(motion) < least + 1:
        raise MotionError(f"a loop of {motion.seconds:.2f} s; at least {SHORTEST + 1 / motion.fps:.2f} s are needed")
    if _wraps(motion):
        found = _share(_straighten(_with_end(motion)))
        note = "loop: the motion was one already; its first pose is repeated at the end"
    else:
        first, last, gap = _best(motion, least)
        found = _share(_straighten(_cut(motion, first, last + 1)))
        note = f"loop: frames {first} to {last} of {len(motion)}, which were {1000 * gap:.0f} mm apart on average"
    found = found.with_(provenance=found.provenance.noting(note))
    a, b = found.rotations[0].double(), found.rotations[-1].double()
    angles = rot.angle_between(a, b)
    # The root's heading may turn with each cycle; only its lean has to come back.
    heading = rot.about("Y", -_yaw(found))
    lean = rot.multiply(heading[[0, -1]], found.rotations[[0, -1], 0].double())
    angles[0] = rot.angle_between(lean[0], lean[1])
    return found, float(torch.rad2deg(angles.max()))


def _local(motion: Motion) -> Float[np.ndarray, "T J 3"]:
    """Places of the joints seen from the body's place and heading."""
    positions = motion.positions.detach().cpu().double()
    ground = motion.root.detach().cpu().double() * torch.tensor([1.0, 0.0, 1.0])
    turned = rot.rotate(rot.about("Y", -_yaw(motion))[:, None], positions - ground[:, None])
    return turned[:, :22].numpy()


def _yaw(motion: Motion) -> torch.Tensor:
    forward = facing(motion.positions.detach().cpu().double()[:, :22])
    return torch.atan2(forward[:, 0], forward[:, 2])


def _features(motion: Motion) -> np.ndarray:
    places = _local(motion)
    speed = np.gradient(places, axis=0) * motion.fps
    ground = motion.root.detach().cpu().double().numpy()[:, [0, 2]]
    way = np.gradient(ground, axis=0) * motion.fps
    yaw = _yaw(motion).numpy()
    cos, sin = np.cos(-yaw), np.sin(-yaw)
    ahead = np.stack((cos * way[:, 0] + sin * way[:, 1], -sin * way[:, 0] + cos * way[:, 1]), 1)
    return np.concatenate(
        (places.reshape(len(places), -1), _SPEED * speed.reshape(len(places), -1), _SPEED * 5 * ahead), 1
    )


def _wraps(motion: Motion) -> bool:
    """Whether the step from the last frame to the first is one like those between."""
    features = _features(motion)[:, :66]
    steps = np.linalg.norm(np.diff(features, axis=0), axis=1)
    wrap = float(np.linalg.norm(features[0] - features[-1]))
    usual = float(np.percentile(steps, 90))
    return 0.05 * usual < wrap <= 1.2 * usual and float(np.ptp(features, axis=0).max()) > 0.02


def _best(motion: Motion, least: int) -> tuple[int, int, float]:
    """First and last frame of the cycle, and how far apart they are on average [m]."""
    features = _features(motion)
    total = (features**2).sum(1)
    squared = np.maximum(total[:, None] + total[None] - 2 * features @ features.T, 0.0)
    distance = np.sqrt(squared / 22)
    first, last = np.triu_indices(len(features), k=least)
    yaw = np.unwrap(_yaw(motion).numpy())
    # Of nearly equal ones the longer is the better, eight millimetres for each tenth of the clip, and the straighter.
    cost = distance[first, last] - 0.08 * (last - first) / len(features)
    cost += _TURNING * np.abs(yaw[last] - yaw[first])
    at = int(cost.argmin())
    return int(first[at]), int(last[at]), float(distance[first[at], last[at]])


def _cut(motion: Motion, first: int, stop: int) -> Motion:
    return motion.with_(
        rotations=motion.rotations[first:stop],
        root=motion.root[first:stop],
        valid=None if motion.valid is None else motion.valid[first:stop],
        contacts=None if motion.contacts is None else motion.contacts[first:stop],
    )


def _straighten(motion: Motion) -> Motion:
    """Take a small turn of the whole cycle out of it, evenly, so that its repetitions go straight on."""
    yaw = np.unwrap(_yaw(motion).numpy())
    turned = yaw[-1] - yaw[0]
    if abs(turned) > np.radians(_STRAIGHT):
        return motion
    back = torch.from_numpy(-turned * np.linspace(0.0, 1.0, len(motion)))
    turns = rot.about("Y", back).to(motion.rotations)
    rotations = motion.rotations.clone()
    rotations[:, 0] = rot.multiply(turns, rotations[:, 0])
    # The steps turn with the body, so that feet that stand go on standing.
    steps = motion.root[1:] - motion.root[:-1]
    moved = torch.cat((motion.root[:1], rot.rotate(turns[1:], steps))).cumsum(0)
    return motion.with_(rotations=rot.normalize(rotations), root=moved)


def _with_end(motion: Motion) -> Motion:
    """The cycle with its first pose once more, where the next turn begins."""
    yaw = _yaw(motion)
    frames = len(motion)
    step = yaw[-1] - yaw[-2] if frames > 1 else yaw.new_zeros(())
    turned = rot.about("Y", (yaw[-1] + step - yaw[0])[None]).to(motion.rotations)
    rotations = torch.cat((motion.rotations, motion.rotations[:1]))
    rotations[-1, 0] = rot.multiply(turned[0], motion.rotations[0, 0])
    way = motion.root[-1] - motion.root[-2]
    end = (motion.root[-1] + way)[None].clone()
    end[0, 1] = motion.root[0, 1]
    repeat = torch.arange(frames + 1) % frames
    return motion.with_(
        rotations=rotations,
        root=torch.cat((motion.root, end)),
        valid=None if motion.valid is None else motion.valid[repeat],
        contacts=None if motion.contacts is None else motion.contacts[repeat],
    )


def _share(motion: Motion) -> Motion:
    """Take half of the difference between the ends off each end, fading inwards; the heading is left as it is."""
    frames = len(motion)
    reach = max(2, min(frames // 2, round(_BLEND * motion.fps)))
    along = torch.arange(frames, dtype=torch.float64)
    near_start = _ease((1.0 - along / reach).clamp(0, 1))
    near_end = _ease((1.0 - (frames - 1 - along) / reach).clamp(0, 1))
    yaw = _yaw(motion)
    rotations = motion.rotations.double().clone()
    heading = rot.about("Y", yaw)
    rotations[:, 0] = rot.multiply(rot.conjugate(heading), rotations[:, 0])
    middle = rot.slerp(rotations[0], rotations[-1], torch.full((rotations.shape[1],), 0.5, dtype=torch.float64))
    for end, weight in ((0, near_start), (-1, near_end)):
        fix = rot.multiply(middle, rot.conjugate(rotations[end]))
        whole = fix.expand_as(rotations)
        still = rot.identity(dtype=torch.float64).expand_as(whole)
        share = weight[:, None].expand(-1, len(fix))
        rotations = rot.multiply(rot.slerp(still, whole, share), rotations)
    rotations[:, 0] = rot.multiply(heading, rotations[:, 0])
    root = motion.root.double().clone()
    height = (root[0, 1] + root[-1, 1]) / 2
    root[:, 1] += near_start * (height - motion.root[0, 1].double()) + near_end * (height - motion.root[-1, 1].double())
    contacts = motion.contacts
    if contacts is not None:
        contacts = contacts.clone()
        contacts[-1] = contacts[0]
    return motion.with_(rotations=rot.normalize(rotations).float(), root=root.float(), contacts=contacts)


def _ease(share: torch.Tensor) -> torch.Tensor:
    return share * share * (3.0 - 2.0 * share)

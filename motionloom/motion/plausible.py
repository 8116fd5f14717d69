"""Whether a motion that was read can be one of a person: size, pace, free fall, jumps.

What is beyond these bounds is most often a wrong unit, frame rate, up axis or skeleton file. The motion is kept as it
is, with a note that says what is odd and which option mends it.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.motion.kinematics import forward_kinematics
from motionloom.motion.motion import Motion

WARNING = "warning: "
"""How notes about doubts begin."""
HEIGHT = (1.0, 2.5)
"""Heights of people and of characters like them [m]."""
FPS = (5.0, 1000.0)
GRAVITY = 9.81
_FALL = (5.0, 16.0)
"""Accelerations of a flight that are taken for free fall [m/s^2]: the hips are not the centre of mass."""
_CLIMB = 2.0
"""Below this a rise and fall is a way over uneven ground, not a jump at a third of its speed [m/s^2]."""
_SHORTEST, _RISE = 0.2, 0.12
"""Seconds that feet are off the floor, and height above it [m], in a flight that can be measured."""
_STANDS = 0.2
"""Speed below which a joint stands [m/s]."""
_JUMP = 20.0
"""Speed of a body that no person reaches [m/s]: a jump from one frame to the next."""
_BODY = 12
"""Joints from which on a skeleton is taken for a person's."""
_SAMPLES = 32


def doubts(motion: Motion) -> list[str]:
    """What speaks against a motion being a person's, each with the option that mends it."""
    found = []
    if not FPS[0] <= motion.fps <= FPS[1]:
        found.append(
            f"{motion.fps:.4g} frames a second ({len(motion)} frames last {motion.seconds:.1f} s);"
            " name the true rate with --true-fps"
        )
    if len(motion.skeleton) < _BODY:
        return found
    height = body_height(motion)
    if not HEIGHT[0] <= height <= HEIGHT[1]:
        found.append(f"the body is {height:.2f} m tall from feet to head; name its unit with --unit")
    if len(motion) < 3 or found:
        return found
    steps = (motion.root[1:] - motion.root[:-1]).norm(dim=-1) * motion.fps
    worst = int(steps.argmax())
    if float(steps[worst]) > _JUMP:
        found.append(
            f"the body moves by {float(steps[worst]) / motion.fps:.2f} m from frame {worst} to the next"
            f" ({float(steps[worst]):.0f} m/s): cut the motion there, or name --unit or --true-fps"
        )
        return found
    fall = free_fall(motion)
    if fall is not None and fall > _CLIMB and not _FALL[0] <= fall <= _FALL[1]:
        # Frames at n times the true rate make everything fall n^2 times as fast.
        rate = motion.fps * math.sqrt(GRAVITY / fall)
        found.append(
            f"jumps fall with {fall:.1f} m/s2 where {GRAVITY:.1f} is free fall: the frame rate may be"
            f" {rate:.0f}, not {motion.fps:g}; name it with --true-fps"
        )
    return found


def with_doubts(motion: Motion) -> Motion:
    """The motion with its doubts in its notes."""
    provenance = motion.provenance
    for doubt in doubts(motion):
        provenance = provenance.noting(WARNING + doubt)
    return motion if provenance is motion.provenance else motion.with_(provenance=provenance)


def body_height(motion: Motion) -> float:
    """Length of a body [m]: the largest extent in any of some frames, or of its rest pose.

    Bodies bend and lie; arms, which stretch as far as a body is tall, count only as far as they do on people.
    """
    points = _some_positions(motion)
    extents = (points.amax(1) - points.amin(1)).amax(0)
    tall = float(extents[1])
    # Somebody who lies or bends all the time is as long as the way along the bones from toes to head.
    return max(tall, 0.85 * _longest_path(motion))


def _longest_path(motion: Motion) -> float:
    """Longest way along the bones between two joints [m]: from the toes to the head, or from hand to hand."""
    reach = [0.0] * len(motion.skeleton)
    best = 0.0
    lengths = motion.skeleton.offsets.norm(dim=-1).tolist()
    for joint in range(len(motion.skeleton) - 1, 0, -1):
        parent, through = motion.skeleton.parents[joint], reach[joint] + lengths[joint]
        best = max(best, reach[parent] + through)
        reach[parent] = max(reach[parent], through)
    # Finger tips and clavicles make the way from hand to hand longer than a body is tall.
    return 0.9 * best


def _some_positions(motion: Motion) -> Float[Tensor, "S J 3"]:
    some = torch.linspace(0, len(motion) - 1, min(len(motion), _SAMPLES)).round().long()
    return forward_kinematics(motion.rotations[some], motion.root[some], motion.skeleton)[0]


def free_fall(motion: Motion) -> float | None:
    """Acceleration [m/s^2] with which a body falls in its jumps; nothing where it does not leave the floor.

    A parabola is laid through the root's height in each flight, a span in which all joints are well above the floor.
    """
    height = motion.root[:, 1]
    if float(height.amax() - height.amin()) < _RISE:
        return None
    lowest = torch.cat(
        [
            forward_kinematics(turns, root, motion.skeleton)[0][..., 1].amin(1)
            for turns, root in zip(motion.rotations.split(4096), motion.root.split(4096), strict=True)
        ]
    )
    floor = (
        float(lowest.quantile(0.2))
        if len(lowest) < 1_000_000
        else float(lowest[:: len(lowest) // 500_000].quantile(0.2))
    )
    found: list[tuple[int, float]] = []
    start = None
    for frame, up in enumerate([*(lowest > floor + _RISE).tolist(), False]):
        if up and start is None:
            start = frame
        elif not up and start is not None:
            span = height[start:frame].double()
            start = None
            if len(span) < max(5, _SHORTEST * motion.fps * 0.25):
                continue
            times = torch.arange(len(span)).double()
            basis = torch.stack((torch.ones_like(times), times, times * times), dim=1)
            curve = torch.linalg.lstsq(basis, span[:, None]).solution[:, 0]
            off = float((basis @ curve - span).abs().max())
            # Climbing and being carried are no parabolas, and neither rise and fall in one span.
            peak = float(-curve[1] / (2 * curve[2])) if float(curve[2]) < 0 else -1.0
            rise = float(span.max() - torch.maximum(span[0], span[-1]))
            fits = rise > 0.04 and off < 0.2 * rise and 0.2 * len(span) < peak < 0.8 * len(span)
            if fits and _flies(motion, frame - len(span), frame):
                found.append((len(span), float(-2 * curve[2]) * motion.fps**2))
    if not found:
        return None
    return max(found)[1]


def _flies(motion: Motion, start: int, stop: int) -> bool:
    """Whether the lowest joint moves as well: on stairs and slopes it stands, though high above the floor."""
    points, _ = forward_kinematics(motion.rotations[start:stop], motion.root[start:stop], motion.skeleton)
    lowest = points[:-1, :, 1].argmin(1)
    frames = torch.arange(len(lowest))
    speed = (points[frames + 1, lowest] - points[frames, lowest]).norm(dim=-1) * motion.fps
    return float(speed.quantile(0.25)) > _STANDS

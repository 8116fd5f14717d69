"""Is a motion what a body can do, or a fault of its file? Facts that are measured, each with its figure.

A flag is raised only where the evidence is strong. Most flags say "look at this clip": a body that stands on a box
floats over the floor that was measured, and is no fault. Only those in ``REFUSED`` make a clip worthless.

A wrong frame rate is seen in two things that no body can choose. In free flight the centre of mass falls with 1 g; a
clip that is declared k times too fast shows k² g. And a leg swings forward in about 0.44 s at any speed, from a stroll
to a sprint, for it swings much as a pendulum of its length does (Mochon & McMahon, 1980, "Ballistic walking"; faster
gaits have longer steps rather than quicker legs: Weyand et al., 2000). What goes up with the pace is the share of the
time that is spent swinging, and it is the same at any frame rate: it says how long the swing should take.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import MotionError
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL, LEG_LENGTH

REFUSED = frozenset({"frozen"})
"""Flags of clips that are nothing but garbage: nothing moves in them."""

STILL = 0.005
"""A clip in which no joint leaves its mean place by more [m] is frozen; who stands still sways by more."""
REPEATED = 0.3
"""Share of frames that are copies of the one before: captures repeat a frame where they lost the body."""
TELEPORT = 30.0
"""A joint that moves faster than this against the pelvis [m/s] has jumped; a fast punch has 12."""
FLOAT_HEIGHT, FLOAT_SECONDS, FLOAT_SHARE = 0.2, 1.0, 0.25
"""All joints this high above the floor [m], for longer than any jump lasts [s], in this share of the clip."""
T_POSE_DEGREES, T_POSE_SPEED = 12.0, 0.15
"""How far the arms may be from straight out to the sides, and how fast the wrists [m/s], in a T-pose."""
SWING, SWING_SLOPE = 0.279, -0.585
"""Seconds of a leg's swing are SWING · share^SWING_SLOPE where it swings in a share of the time: fitted to 1,154
captured walks and runs, 0.50 s at a share of 0.37 (a walk), 0.40 s at 0.55 (a sprint)."""
SWING_RANGE = (0.63, 1.55)
"""Swings that last another multiple of that are of a wrong frame rate; 99 % of the captured have 0.75 to 1.37."""
FALL_RANGE = (0.45, 1.9)
"""Falls with another share of 1 g are of a wrong frame rate; captured jumps and leaps have 0.6 to 1.4."""
MAX_BONE_DRIFT = 0.15
"""Bones of a pose estimate whose lengths vary by more (see ``bone_drift``) do not belong to one body."""

_GRAVITY = 9.81
_HIPS, _SHOULDERS, _ELBOWS, _WRISTS, _KNEES, _ANKLES = (1, 2), (16, 17), (18, 19), (20, 21), (4, 5), (7, 8)
_MIN_STEPS, _MAX_VARIATION, _MIN_STEP = 3, 0.25, 0.3
"""A gait: at least so many intervals between steps, which vary by no more (as a share), and so long in legs."""
_CLEAR = 0.12
"""Higher than this above the floor [m] no joint touches it."""

# Share of the body's mass about each joint, after the segments of Winter (2009), table 4.1.
_MASS = {
    "pelvis": 0.142, "hip": 0.05, "spine1": 0.1, "spine2": 0.1, "spine3": 0.117, "knee": 0.0735, "ankle": 0.03,
    "foot": 0.007, "neck": 0.03, "collar": 0.02, "head": 0.06, "shoulder": 0.014, "elbow": 0.022, "wrist": 0.014,
}  # fmt: skip
_WEIGHTS = np.array([_MASS[name.split("_")[-1]] for name in CANONICAL.names])
_WEIGHTS /= _WEIGHTS.sum()


@dataclass(frozen=True)
class Flag:
    """Something about a motion that is not as it should be.

    Attributes:
        name: "frozen", "repeated", "teleport", "floating", "t-pose" or "fps"; of raw positions "nan" or "bone-drift".
        value: The measured figure; what it is says ``detail``.
        detail: One line for a reader, with figure and unit.
    """

    name: str
    value: float
    detail: str


@dataclass(frozen=True)
class Swing:
    """The swing of a leg in a gait.

    Attributes:
        seconds: How long it takes [s].
        share: Which share of the time it is.
    """

    seconds: float
    share: float


def flags(
    motion: Motion, legs_known: bool = True, positions: Float[Tensor, "T 22 3"] | None = None
) -> tuple[Flag, ...]:
    """What is wrong with a motion of the canonical body that stands on a floor at height 0.

    Args:
        motion: The motion, in metres.
        legs_known: Whether its legs are real; without them nothing is said about floor and frame rate.
        positions: Its world positions [m] where they are at hand; they are computed otherwise.

    Raises:
        MotionError: The motion is not of the canonical joints.
    """
    if len(motion.skeleton) != len(CANONICAL):
        raise MotionError(f"{len(motion.skeleton)} joints; the canonical {len(CANONICAL)} are needed: call retarget")
    points = (motion.positions if positions is None else positions).detach().cpu().numpy().astype(np.float64)
    frozen = _frozen(points)
    if frozen is not None:
        return (frozen,)
    repeated = _repeated(points)
    found = [repeated, _teleport(points, motion.fps), *_t_poses(points, motion.fps, legs_known)]
    if legs_known:
        found.append(_floating(points, motion.fps))
    # Speeds between copies of frames are 0: they say nothing about time.
    if legs_known and repeated is None:
        found.append(_wrong_fps(points, motion.fps))
    return tuple(flag for flag in found if flag is not None)


def raw_flags(positions: Float[Tensor, "T J 3"], parents: tuple[int, ...]) -> tuple[Flag, ...]:
    """What is wrong with the positions of a source, before they are a motion: values that are NaN, bones that stretch.

    Args:
        positions: World positions in any unit.
        parents: Parent of each joint; -1 for those that hang on none.

    Raises:
        MotionError: There are not as many parents as joints, or no frames.
    """
    share, drift = nan_share(positions), bone_drift(positions, parents)
    found = []
    if share > 0:
        found.append(Flag("nan", share, f"{100 * share:.1f} % of the joints are NaN or infinite"))
    if drift > MAX_BONE_DRIFT:
        found.append(Flag("bone-drift", drift, f"the lengths of bones vary by {100 * drift:.0f} %"))
    return tuple(found)


def nan_share(positions: Float[Tensor, "T J 3"]) -> float:
    """Share of joints (over frames) that are NaN or infinite.

    Raises:
        MotionError: There are no frames.
    """
    if positions.numel() == 0:
        raise MotionError("the positions have no frames; at least one is needed")
    return float((~torch.isfinite(positions).all(-1)).double().mean())


def bone_drift(positions: Float[Tensor, "T J 3"], parents: tuple[int, ...]) -> float:
    """By how much bones change their lengths over time, as a share of the length.

    For each bone half the distance between its 5th and 95th percentile over its median: single bad frames do not
    count. Of the bones the one that drifts most; bones of no length (under 1 % of the longest) are left out.

    Args:
        positions: World positions in any unit; NaN where a joint is not seen.
        parents: Parent of each joint; -1 for those that hang on none.

    Raises:
        MotionError: There are not as many parents as joints.
    """
    if positions.shape[1] != len(parents):
        raise MotionError(f"positions of {positions.shape[1]} joints, {len(parents)} parents; they must agree")
    bones = [joint for joint, parent in enumerate(parents) if parent >= 0]
    points = positions.detach().cpu().numpy().astype(np.float64)
    lengths = np.linalg.norm(points[:, bones] - points[:, [parents[joint] for joint in bones]], axis=-1)
    lengths = lengths[:, np.isfinite(lengths).any(0)]
    if lengths.size == 0:
        return 0.0
    low, middle, high = np.nanpercentile(lengths, (5, 50, 95), axis=0)
    real = middle > 0.01 * middle.max()
    return float(((high - low)[real] / middle[real]).max() / 2) if real.any() else 0.0


def _frozen(points: np.ndarray) -> Flag | None:
    far = float(np.abs(points - points.mean(0)).max())
    if len(points) > 1 and far < STILL:
        return Flag("frozen", far, f"nothing moves: no joint leaves its place by more than {1000 * far:.1f} mm")
    return None


def _repeated(points: np.ndarray) -> Flag | None:
    if len(points) < 2:
        return None
    share = float((np.abs(np.diff(points, axis=0)).max((1, 2)) < 1e-5).mean())
    if share > REPEATED:
        return Flag("repeated", share, f"{100 * share:.0f} % of the frames repeat the frame before")
    return None


def _teleport(points: np.ndarray, fps: float) -> Flag | None:
    if len(points) < 2:
        return None
    speeds = np.linalg.norm(np.diff(points - points[:, :1], axis=0), axis=-1) * fps
    frame, joint = np.unravel_index(speeds.argmax(), speeds.shape)
    fastest = float(speeds[frame, joint])
    if fastest > TELEPORT:
        name = CANONICAL.names[joint]
        return Flag("teleport", fastest, f"{name} jumps at {fastest:.0f} m/s against the pelvis after frame {frame}")
    return None


def _t_poses(points: np.ndarray, fps: float, legs_known: bool) -> list[Flag | None]:
    """T-poses that are held at the start and at the end; the figure is how many frames."""
    if not _arms_out(points[[0, -1]], legs_known).any():
        return []
    posed = _arms_out(points, legs_known)
    # A single frame before the motion has no speed of its own: what counts is that the pose itself is held.
    speed = np.linalg.norm(np.diff(points[:, _WRISTS] - points[:, :1], axis=0), axis=-1).max(1) * fps
    held = posed[1:] & posed[:-1] & (speed < T_POSE_SPEED)
    found = []
    for where, first, steps in (("start", posed[0], held), ("end", posed[-1], held[::-1])):
        count = int(first) * (1 + (int((~steps).argmax()) if not steps.all() else len(steps)))
        # Dancers begin with open arms and go on at once; a rest pose either stands or is gone in the next frame.
        gone = count == 1 and len(speed) > 0 and speed[0 if where == "start" else -1] > TELEPORT / 10
        if count and (gone or count / fps >= 0.2):
            found.append(Flag("t-pose", float(count), f"a T-pose of {count} frame{'s' * (count > 1)} at the {where}"))
    return found


def _arms_out(points: np.ndarray, legs_known: bool) -> np.ndarray:
    """In which frames arms and, where they are known, legs are as in a T-pose."""
    across = _unit(points[:, _SHOULDERS[0]] - points[:, _SHOULDERS[1]])
    out = np.stack((across, -across), axis=1)
    cosine = np.cos(np.deg2rad(T_POSE_DEGREES))
    posed = np.abs(across[:, 1]) < np.sin(np.deg2rad(T_POSE_DEGREES))
    for upper, lower in ((_SHOULDERS, _ELBOWS), (_ELBOWS, _WRISTS)):
        posed &= ((_unit(points[:, lower] - points[:, upper]) * out).sum(-1) > cosine).all(1)
    if legs_known:
        for upper, lower in ((_HIPS, _KNEES), (_KNEES, _ANKLES)):
            posed &= (_unit(points[:, upper] - points[:, lower])[..., 1] > cosine).all(1)
    return posed


def _floating(points: np.ndarray, fps: float) -> Flag | None:
    lowest = points[..., 1].min(1)
    spans = [(first, stop) for first, stop in _spans(lowest > FLOAT_HEIGHT) if stop - first > FLOAT_SECONDS * fps]
    share = sum(stop - first for first, stop in spans) / len(points)
    if share < FLOAT_SHARE:
        return None
    height = max(float(np.median(lowest[first:stop])) for first, stop in spans)
    return Flag("floating", height, f"{height:.2f} m above its floor in {100 * share:.0f} % of the frames")


def _wrong_fps(points: np.ndarray, fps: float) -> Flag | None:
    """A frame rate by which bodies fall, or legs swing, as none does; the figure is declared over true frame rate."""
    fall, swing = free_fall(points, fps), leg_swing(points, fps)
    if fall is not None:
        # Where there is a flight it decides: gravity is the same for all, a gait is not.
        if FALL_RANGE[0] <= fall <= FALL_RANGE[1]:
            return None
        factor = float(np.sqrt(fall))
        return Flag("fps", factor, f"falls with {fall:.2f} g: {fps:g} fps is about {factor:.2g} times the true rate")
    if swing is None:
        return None
    factor = SWING * swing.share**SWING_SLOPE / swing.seconds
    if SWING_RANGE[0] <= 1 / factor <= SWING_RANGE[1]:
        return None
    said = f"{fps:g} fps is about {factor:.2g} times the true rate"
    return Flag("fps", factor, f"legs swing forward in {swing.seconds:.2f} s: {said}")


def free_fall(points: Float[np.ndarray, "T 22 3"], fps: float) -> float | None:
    """With how many g the body falls while nothing of it is near the floor; ``None`` if it never clearly does.

    Over each flight a parabola is fitted to the height of the centre of mass. A slow fall is one only if the lowest
    joint falls alike: who is held (on hands, ropes or boxes) goes up and down slowly, but with a part at rest.
    """
    lowest, centre = points[..., 1].min(1), points[..., 1] @ _WEIGHTS
    found = []
    for first, stop in _spans(lowest > _CLEAR):
        if stop - first < 5 or first == 0 or stop == len(points):
            continue
        fall, fit = _parabola(centre[first:stop], fps)
        if fit < 0.95 or fall < 0.02:
            continue
        if fall < FALL_RANGE[0]:
            feet, feet_fit = _parabola(lowest[first:stop], fps)
            if feet_fit < 0.9 or feet < 0.7 * fall or lowest[first:stop].max() < _CLEAR + 0.03:
                continue
        elif (stop - first) / fps < 0.1 and fall < FALL_RANGE[1]:
            continue
        found.append(fall)
    return float(np.median(found)) if found else None


def leg_swing(points: Float[np.ndarray, "T 22 3"], fps: float) -> Swing | None:
    """How long a leg swings forward in the steps of an even walk or run; ``None`` if there is none.

    Steps are where one ankle overtakes the other in the direction the body faces. A foot swings while it is faster
    than the body: how large a share of the time that is does not depend on the frame rate.
    """
    across = points[:, 1] - points[:, 2] + points[:, 16] - points[:, 17]
    forward = _unit(np.stack((-across[:, 2], across[:, 0]), axis=1))
    apart = ((points[:, 7] - points[:, 8])[:, [0, 2]] * forward).sum(1)
    far = np.flatnonzero(np.abs(apart) > 0.08 * LEG_LENGTH)
    steps = far[1:][np.diff(np.sign(apart[far])) != 0]
    if len(steps) <= _MIN_STEPS:
        return None
    gaps, first, last = np.diff(steps), steps[0], steps[-1]
    pace = np.linalg.norm(np.diff(points[first : last + 1, 0][:, [0, 2]], axis=0), axis=1).mean()
    if gaps.std() > _MAX_VARIATION * gaps.mean() or pace * gaps.mean() < _MIN_STEP * LEG_LENGTH:
        return None
    feet = np.linalg.norm(np.diff(points[first : last + 1, _ANKLES], axis=0), axis=-1)
    share = float((feet > pace).mean())
    return Swing(2 * share * float(gaps.mean()) / fps, share) if share > 0 else None


def _parabola(height: np.ndarray, fps: float) -> tuple[float, float]:
    """Downward acceleration [g] of a height [m] and the share of its variance that a parabola explains."""
    time = (np.arange(len(height)) - (len(height) - 1) / 2) / fps
    basis = np.vander(time, 3)
    factors, *_ = np.linalg.lstsq(basis, height, rcond=None)
    rest = height - basis @ factors
    return float(-2 * factors[0] / _GRAVITY), 1.0 - float(rest.var() / max(height.var(), 1e-12))


def _spans(mask: np.ndarray) -> list[tuple[int, int]]:
    """First frame and the one after the last of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return [(int(first), int(stop)) for first, stop in zip(edges[::2], edges[1::2], strict=True)]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)

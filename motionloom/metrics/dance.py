"""Dance: kinetic and geometric features, their FID and diversity, and beat alignment.

The features of fairmotion (Gopinath and Won, 2020) in the form AIST++ and Bailando use them; every published table
of music-to-dance is made with them, so their slips are kept, each under a name:

* :data:`ENERGY_SLIP`: in the "energy" of the kinetic features one of four positions is divided by the frame time too
  often. The feature depends on where the dancer is, so FIDk depends on :func:`rooted`.
* :data:`FRAME_TIMES`: frames last 1/60 s for kinetic features and 1/120 s for geometric ones, at any real frame rate.
* :data:`MOVE_SLIP`: the features of relative movement ignore their last joint.

Motions are joint positions in metres, Y up, in SMPL's order. Beats come in as frame numbers; they are not looked for
in music here.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motionloom.errors import MotionError, RequestError
from motionloom.metrics.distribution import fid

ENERGY_SLIP = "v1 = x[t] - x[t-1] / dt: only the previous position is divided by the frame time (fairmotion)"
FRAME_TIMES = "1/60 s in kinetic, 1/120 s in geometric features, whatever the frame rate (fairmotion, AIST++)"
MOVE_SLIP = "relative movement of the third joint; the fourth joint named is ignored (fairmotion)"
BEAT_SIGMA = "sigma of 3 frames in the score and 5 in the smoothing, whatever the frame rate (AIST++)"

AlignmentConvention = Literal["bailando", "fact"]
"""Beat alignment averages over the music's beats ("bailando") or over the dance's ("fact", AIST++)."""

_WINDOW = 2
# Lengths of SMPL's neutral rest pose [m], the units of the geometric thresholds: upper arm, shoulders, hips.
_ARM, _SHOULDERS, _HIPS = 0.2568381092, 0.3908483585, 0.1192470659

_JOINTS = {
    "root": 0, "lhip": 1, "rhip": 2, "belly": 3, "lknee": 4, "rknee": 5, "lankle": 7, "rankle": 8, "chest": 9,
    "ltoes": 10, "rtoes": 11, "neck": 12, "lshoulder": 16, "rshoulder": 17, "lelbow": 18, "relbow": 19,
    "lwrist": 20, "rwrist": 21,
}  # fmt: skip

# Kind, joints, threshold (or range in degrees), in the published order. Kinds: see `geometric_features`.
_GEOMETRIC: tuple[tuple[str, str, float | tuple[float, float]], ...] = (
    ("normal speed", "neck rhip lhip rwrist", 1.8 * _ARM),
    ("normal speed", "neck lhip rhip lwrist", 1.8 * _ARM),
    ("along", "chest neck neck rwrist", 0.2 * _ARM),
    ("along", "chest neck neck lwrist", 0.2 * _ARM),
    ("relative speed", "belly chest chest rwrist", 1.8 * _ARM),
    ("relative speed", "belly chest chest lwrist", 1.8 * _ARM),
    ("angle", "relbow rshoulder relbow rwrist", (0, 110)),
    ("angle", "lelbow lshoulder lelbow lwrist", (0, 110)),
    ("along", "lshoulder rshoulder lwrist rwrist", 2.5 * _SHOULDERS),
    ("relative speed", "lwrist rwrist rwrist lwrist", 1.4 * _ARM),
    ("relative speed", "rwrist root lwrist root", 1.4 * _ARM),
    ("relative speed", "lwrist root rwrist root", 1.4 * _ARM),
    ("fast", "rwrist", 2.5 * _ARM),
    ("fast", "lwrist", 2.5 * _ARM),
    ("plane", "root lhip ltoes rankle", 0.38 * _ARM),
    ("plane", "root rhip rtoes lankle", 0.38 * _ARM),
    ("above lowest", "rankle", 1.2 * _ARM),
    ("above lowest", "lankle", 1.2 * _ARM),
    ("along", "lhip rhip lankle rankle", 2.1 * _HIPS),
    ("angle", "rknee rhip rknee rankle", (0, 110)),
    ("angle", "lknee lhip lknee lankle", (0, 110)),
    ("fast", "rankle", 2.5 * _ARM),
    ("fast", "lankle", 2.5 * _ARM),
    ("angle", "neck root rshoulder relbow", (25, 180)),
    ("angle", "neck root lshoulder lelbow", (25, 180)),
    ("angle", "neck root rhip rknee", (50, 180)),
    ("angle", "neck root lhip lknee", (50, 180)),
    ("plane", "rankle neck lankle root", 0.5 * _ARM),
    ("upright angle", "neck root", (70, 110)),
    ("below lowest", "rwrist", -1.2 * _ARM),
    ("below lowest", "lwrist", -1.2 * _ARM),
    ("fast", "root", 2.3 * _ARM),
)  # fmt: skip


@dataclass(frozen=True)
class DanceScores:
    """Figures of a set of dances in one kind of features; with kinetic ones FIDk and Divk, with geometric FIDg, Divg.

    Attributes:
        fid: Fréchet distance to the real dances.
        diversity: Mean distance between all pairs of the measured dances.
        real_diversity: The same of the real dances: the row to compare with.
        samples: Number of measured and of real dances; below the number of features FID is badly determined.
    """

    fid: float
    diversity: float
    real_diversity: float
    samples: tuple[int, int]


def rooted(positions: Float[Tensor, "T J 3"]) -> Float[Tensor, "T J 3"]:
    """The motion moved so that the root starts at the origin: what Bailando measures; see :data:`ENERGY_SLIP`."""
    return positions - positions[:1, :1]


def kinetic_features(positions: Float[Tensor, "T J 3"], frame_time: float = 1 / 60) -> Float[Tensor, " F"]:
    """Kinetic features: per joint mean squared horizontal speed, the same vertical, and "energy".

    Speed and acceleration are means over five frames, fewer at the ends; :data:`ENERGY_SLIP`.

    Args:
        positions: Joint positions [m]; Bailando gives :func:`rooted` ones of at most 20 s.
        frame_time: Duration of a frame [s]; published figures use the default at any frame rate.

    Returns:
        Three numbers a joint, joint by joint: 72 for 24 joints, 66 for 22.

    Raises:
        MotionError: There are fewer than three frames.
    """
    if len(positions) < 3:
        raise MotionError(f"the motion has {len(positions)} frame(s); kinetic features need at least 3")
    places = positions.detach().cpu().double()
    speed = _window_mean(places.diff(dim=0), len(places) - 1) / frame_time
    before, here, after = places[:-2], places[1:-1], places[2:]
    acceleration = ((after - here) / frame_time - (here - before / frame_time)) / frame_time
    energy = _window_mean(acceleration, len(places) - 1).norm(dim=-1).mean(0)
    horizontal = speed[..., [0, 2]].square().sum(-1).mean(0)
    vertical = speed[..., 1].square().mean(0)
    return torch.stack((horizontal, vertical, energy), dim=-1).flatten()


def geometric_features(positions: Float[Tensor, "T J 3"]) -> Float[Tensor, " 32"]:
    """Geometric ("manual") features: in which share of the frames each of 32 conditions on the joints holds.

    The conditions of Müller et al. 2005 as AIST++ and Bailando's ``manual_new`` have them; :data:`FRAME_TIMES`,
    :data:`MOVE_SLIP`. Kinds: "fast": a joint's speed; "along": place along a direction; "plane": distance from the
    plane of three joints; "normal speed": speed against a joint along the normal of a plane; "relative speed": speed
    against a joint towards another; "angle": between two bones.

    Args:
        positions: Joint positions [m], Y up, of 22 or 24 joints in SMPL's order; hands only count as lowest points.

    Raises:
        MotionError: There are fewer than two frames, or another number of joints.
    """
    if len(positions) < 2 or positions.shape[1] not in (22, 24):
        raise MotionError(
            f"{len(positions)} frame(s) of {positions.shape[1]} joints; geometric features need at least 2 frames of"
            " SMPL's first 22 joints, or of all 24: retarget the motion first"
        )
    places = positions.detach().cpu().double()
    holds = [_holds(places, kind, joints.split(), limit) for kind, joints, limit in _GEOMETRIC]
    return torch.stack(holds).double().mean(-1)


def dance_scores(real: Float[Tensor, "N F"], made: Float[Tensor, "M F"]) -> DanceScores:
    """FID and diversity of features, both sets scaled with mean and population deviation of the *real* one.

    Raises:
        RequestError: A set has fewer than two dances, or a feature is NaN or infinite.
    """
    mean, deviation = real.double().mean(0), real.double().std(0, correction=0) + 1e-10
    scaled_real, scaled_made = (real.double() - mean) / deviation, (made.double() - mean) / deviation
    distance = fid(scaled_real, scaled_made)
    return DanceScores(distance, _spread(scaled_made), _spread(scaled_real), (len(made), len(real)))


def motion_beats(positions: Float[Tensor, "T J 3"]) -> Int[Tensor, " K"]:
    """Frames in which a dance comes to rest: local minima of the joints' mean speed, smoothed (:data:`BEAT_SIGMA`).

    Raises:
        MotionError: There are fewer than four frames.
    """
    if len(positions) < 4:
        raise MotionError(f"the motion has {len(positions)} frame(s); its beats need at least 4")
    speed = positions.detach().cpu().double().diff(dim=0).norm(dim=-1).mean(-1)
    smooth = _gaussian(speed, sigma=5.0)
    lowest = (smooth[1:-1] < smooth[:-2]) & (smooth[1:-1] < smooth[2:])
    return lowest.nonzero()[:, 0] + 1


def beat_alignment(
    music: Int[Tensor, " B"], dance: Int[Tensor, " K"], convention: AlignmentConvention, sigma: float = 3.0
) -> float:
    """Beat alignment score: mean of exp(-d² / 2 sigma²), d the frames to the nearest beat of the other.

    On the same dances the conventions differ by a factor of about two, so a figure without its convention says
    nothing. A dance without beats scores 0.

    Args:
        music: Frames of the music's beats, within the dance.
        dance: Frames of the dance's beats (:func:`motion_beats`).
        convention: "bailando" averages over the beats of the music, "fact" over those of the dance.
        sigma: Width in frames; published figures use 3 at 60 fps (:data:`BEAT_SIGMA`).

    Raises:
        RequestError: The music has no beats, or the convention is unknown.
    """
    if convention not in ("bailando", "fact"):
        raise RequestError(f"convention {convention!r} is unknown; conventions are bailando, fact")
    if len(music) == 0:
        raise RequestError("the music has no beats; alignment needs at least one")
    if len(dance) == 0:
        return 0.0
    apart = (music[:, None] - dance[None]).double().abs()
    nearest = apart.amin(1 if convention == "bailando" else 0)
    return float((-nearest.square() / (2 * sigma**2)).exp().mean())


def _window_mean(values: Float[Tensor, "L J 3"], count: int) -> Float[Tensor, "C J 3"]:
    """Mean of the values at most two places from each of the places 0 to ``count`` - 1, as many as there are."""
    places = torch.arange(count)
    low = (places - _WINDOW).clamp(min=0)
    high = (places + _WINDOW + 1).clamp(max=len(values))
    sums = torch.cat((torch.zeros_like(values[:1]), values.cumsum(0)))
    return (sums[high] - sums[low]) / (high - low)[:, None, None]


def _holds(
    places: Float[Tensor, "T J 3"], kind: str, joints: list[str], limit: float | tuple[float, float]
) -> Bool[Tensor, " F"]:
    """Whether one condition holds, for each frame but the first."""
    now = [places[1:, _JOINTS[name]] for name in joints]
    moved = [(places[1:, _JOINTS[name]] - places[:-1, _JOINTS[name]]) * 120 for name in joints]
    if isinstance(limit, tuple):
        bone = now[1] - now[0]
        other = now[3] - now[2] if kind == "angle" else torch.tensor([0.0, 1.0, 0.0]).to(bone).expand_as(bone)
        cosine = (bone * other).sum(-1) / (bone.norm(dim=-1) * other.norm(dim=-1))
        degrees = torch.rad2deg(torch.arccos(cosine))
        return (degrees > limit[0]) & (degrees < limit[1])
    if kind == "fast":
        return moved[0].norm(dim=-1) > limit
    if kind == "above lowest":
        return now[0][:, 1] - places[1:, :, 1].amin(-1) > limit
    if kind == "below lowest":
        return places[1:, :, 1].amin(-1) - now[0][:, 1] > limit
    if kind == "along":
        return _project(now[3] - now[2], now[1] - now[0]) > limit
    if kind == "plane":
        normal = torch.linalg.cross(now[2] - now[0], now[1] - now[0])
        return _project(now[3] - now[0], normal) > limit
    if kind == "normal speed":
        normal = torch.linalg.cross(now[2] - now[0], now[1] - now[0])
        return _project(moved[3] - moved[0], normal) > limit
    return _project(moved[2] - moved[0], now[1] - now[0]) > limit


def _project(vector: Float[Tensor, "T 3"], direction: Float[Tensor, "T 3"]) -> Float[Tensor, " T"]:
    return (vector * direction).sum(-1) / direction.norm(dim=-1)


def _spread(features: Float[Tensor, "N F"]) -> float:
    """Mean Euclidean distance of all pairs."""
    return float(torch.pdist(features).mean())


def _gaussian(signal: Float[Tensor, " L"], sigma: float) -> Float[Tensor, " L"]:
    """Gaussian smoothing cut off at four sigma, the signal mirrored at its ends (as scipy's default does)."""
    radius = int(4 * sigma + 0.5)
    steps = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (steps / sigma).double().square())
    places = (torch.arange(len(signal))[:, None] + steps) % (2 * len(signal))
    mirrored = torch.where(places < len(signal), places, 2 * len(signal) - 1 - places)
    return signal[mirrored] @ (weights / weights.sum())

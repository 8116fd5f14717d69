"""Keypoints of motions that nobody filmed: mocap seen by random cameras, with a detector's errors.

These are the only pairs of video and motion that need no video. They are synthetic, and say so: points come from joints
inside the body, bodies hide nothing, and errors are drawn, not those of a detector.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from motionloom.conditions.keypoints import COCO, Keypoints
from motionloom.errors import RequestError
from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion

# Places on the head relative to its joint, at rest [m]: a head of 22 cm above the joint.
_FACE = {
    "nose": (0.0, 0.055, 0.105), "left_eye": (0.032, 0.090, 0.085), "right_eye": (-0.032, 0.090, 0.085),
    "left_ear": (0.075, 0.070, 0.0), "right_ear": (-0.075, 0.070, 0.0),
}  # fmt: skip
_NEAREST = 0.2
_SWAP = [COCO.index(name.replace("left_", "@").replace("right_", "left_").replace("@", "right_")) for name in COCO]


@dataclass(frozen=True)
class Camera:
    """A camera without lens errors.

    Attributes:
        rotation: World to camera; the camera's x is right, y down, z away from it.
        position: Where it stands in the world [m].
        focal: Focal length [pixels].
        size: Width and height of the image [pixels].
    """

    rotation: Float[Tensor, "3 3"]
    position: Float[Tensor, "3"]
    focal: float
    size: tuple[int, int]


@dataclass(frozen=True)
class Projection:
    """What a camera sees.

    Attributes:
        points: Places in the image [pixels], x right, y down.
        seen: Which of them are before the camera and inside the image.
    """

    points: Float[Tensor, "T K 2"]
    seen: Bool[Tensor, "T K"]


@dataclass(frozen=True)
class Errors:
    """How wrong a detector may be; each clip draws its own amounts up to these. Lengths are shares of the trunk.

    Attributes:
        jitter: Noise of each frame.
        bias: Offset of a joint that stays for the whole clip.
        hidden: Share of the time a joint is not found, in spells of about half a second.
        lost: Share of the frames in which nobody is found.
        swapped: Share of the time left and right are mistaken for each other.
    """

    jitter: float = 0.04
    bias: float = 0.04
    hidden: float = 0.25
    lost: float = 0.05
    swapped: float = 0.03


def look_at(eye: Float[Tensor, "3"], target: Float[Tensor, "3"], roll: float = 0.0) -> Float[Tensor, "3 3"]:
    """Rotation of a camera that looks from a place at another, upright but for a roll [rad].

    Raises:
        RequestError: Both are one above the other, so that there is no upright.
    """
    away = target - eye
    right = torch.linalg.cross(away, torch.tensor([0.0, 1.0, 0.0]).to(away))
    if float(right.norm()) < 1e-6:
        raise RequestError("the camera looks straight up or down, or at itself; move it aside")
    forward, right = F.normalize(away, dim=0), F.normalize(right, dim=0)
    down = torch.linalg.cross(forward, right)
    cosine, sine = math.cos(roll), math.sin(roll)
    return torch.stack((cosine * right + sine * down, cosine * down - sine * right, forward))


def random_camera(positions: Float[Tensor, "T J 3"], generator: torch.Generator) -> Camera:
    """A camera somewhere around a motion that has most of it in its image.

    From any side, from 10 degrees below to 35 above the horizontal, 2 to 7 m from the path, opening angle 35 to 75
    degrees, rolled by up to 5 degrees; the image is 16:9, 4:3, square or upright.
    """

    def draw(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    middle = (positions.amin((0, 1)) + positions.amax((0, 1))) / 2
    reach = float((positions.amax((0, 1)) - positions.amin((0, 1))).norm()) / 2
    width, height = ((1280, 720), (640, 480), (640, 640), (720, 1280))[int(draw(0, 4 - 1e-6))]
    opening, yaw, pitch = math.radians(draw(35, 75)), draw(0, 2 * math.pi), math.radians(draw(-10, 35))
    # Far enough that a ball of most of the motion's extent fits into the narrower side.
    distance = max(draw(2.0, 7.0), draw(0.7, 1.2) * reach / math.sin(opening / 2))
    side = torch.tensor([math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)])
    eye = middle + distance * side.to(middle)
    aim = middle + 0.1 * reach * torch.randn(3, generator=generator).to(middle)
    focal = min(width, height) / 2 / math.tan(opening / 2)
    return Camera(look_at(eye, aim, math.radians(draw(-5, 5))), eye, focal, (width, height))


def project(positions: Float[Tensor, "T K 3"], camera: Camera) -> Projection:
    """Points of the world [m] as a camera sees them."""
    local = (positions - camera.position.to(positions)) @ camera.rotation.to(positions).T
    depth = local[..., 2:]
    size = torch.tensor(camera.size).to(positions)
    points = camera.focal * local[..., :2] / depth.clamp(min=_NEAREST) + size / 2
    inside = ((points >= 0) & (points < size)).all(-1)
    return Projection(points, inside & (depth[..., 0] > _NEAREST))


def coco_points(motion: Motion) -> Float[Tensor, "T 17 3"]:
    """The places [m] of COCO's 17 points on a canonical body; eyes, nose and ears turn with the head.

    Raises:
        SkeletonError: A joint is missing: retarget the motion first.
    """
    skeleton = motion.skeleton
    head = skeleton.index("head")
    columns = [
        motion.positions[:, head]
        + rot.rotate(motion.world_rotations[:, head], torch.tensor(_FACE[name]).expand(len(motion), 3))
        if name in _FACE
        else motion.positions[:, skeleton.index(name)]
        for name in COCO
    ]
    return torch.stack(columns, dim=1)


def synthetic_keypoints(motion: Motion, generator: torch.Generator, errors: Errors | None = None) -> Keypoints:
    """Keypoints of a motion as a detector might give them for a video of it; points that are hidden have confidence 0.

    Args:
        motion: A motion of the canonical body.
        generator: Draws the camera and the errors.
        errors: How wrong the detector may be; ``Errors(0, 0, 0, 0, 0)`` gives the bare projection.

    Raises:
        SkeletonError: See ``coco_points``.
    """
    errors = Errors() if errors is None else errors
    places = coco_points(motion)
    view = project(places, random_camera(places, generator))
    frames, count = view.seen.shape

    def amount(most: float) -> float:
        return most * float(torch.rand((), generator=generator))

    trunk = (view.points[:, [5, 6]].mean(1) - view.points[:, [11, 12]].mean(1)).norm(dim=-1).median()
    jitter = amount(errors.jitter) * torch.randn(frames, count, 2, generator=generator)
    bias = amount(errors.bias) * torch.randn(1, count, 2, generator=generator)
    points = view.points + trunk * (jitter + bias)
    hidden = _spells(frames, count, amount(errors.hidden), motion.fps, generator)
    lost = torch.rand(frames, 1, generator=generator) < amount(errors.lost)
    swapped = _spells(frames, 1, amount(errors.swapped), motion.fps, generator)
    points = torch.where(swapped[..., None], points[:, _SWAP], points)
    seen = torch.where(swapped, view.seen[:, _SWAP], view.seen) & ~hidden & ~lost
    sure = 0.95 - 4 * jitter.norm(dim=-1) + 0.03 * torch.randn(frames, count, generator=generator)
    return Keypoints(points, torch.where(seen, sure.clamp(0.2, 1.0), 0.0), motion.fps)


def _spells(frames: int, count: int, share: float, fps: float, generator: torch.Generator) -> Bool[Tensor, "T K"]:
    """When something holds that holds ``share`` of the time, for about half a second at once."""
    knots = torch.randn(max(2, math.ceil(frames / fps / 0.5) + 1), count, generator=generator)
    track = F.interpolate(knots.T[None], size=frames, mode="linear", align_corners=True)[0].T
    # Between two knots the spread is smaller; this is the mean one.
    limit = float(torch.special.ndtri(torch.tensor(share).double())) * 0.82
    return track < limit

"""Video as 2D keypoints of one person a frame, and what engines see of them.

COCO-17 and -18, BODY-25, Halpe-26, MediaPipe-33 and WholeBody-133 files are read; all layouts become COCO's 17 points.
Toes, mid points, fingers and the points of hands and faces are not read. Points a detector did not find have
confidence 0.

Sources: Lin et al., "Microsoft COCO" (ECCV 2014); Cao et al., "OpenPose" (TPAMI 2019) for BODY-25; Bazarevsky et al.,
"BlazePose" (2020) for MediaPipe's 33 points.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.conditions.keypoint_files import BUDGET, read_keypoints
from motionloom.conditions.keypoint_tracks import confidences, follow
from motionloom.errors import MotionFileError, RequestError

COCO = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
LAYOUTS: dict[str, tuple[int, tuple[int, ...]]] = {
    "coco-17": (17, tuple(range(17))),
    "body-25": (25, (0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11)),
    "coco-18": (18, (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)),
    "halpe-26": (26, tuple(range(17))),
    "mediapipe-33": (33, (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)),
    "wholebody-133": (133, tuple(range(17))),
}
"""Layout -> number of its points, and which of them are COCO's."""
KEYPOINT_SLICES = {"points": slice(0, 34), "confidence": slice(34, 51), "root": slice(51, 53)}
"""What the columns of ``keypoint_features`` are."""
KEYPOINT_WIDTH = 53
SEEN = 0.1
"""Points with less confidence are not looked at."""
MAX_VIDEO_FRAMES = BUDGET.frames
MAX_SIDE = 100_000
_SHOULDERS, _HIPS = [5, 6], [11, 12]


@dataclass(frozen=True)
class Keypoints:
    """Where a person's joints are seen in each frame of a video.

    Attributes:
        points: Places in the image, x to the right and y down; pixels, or any unit that is the same for both.
        confidence: How sure the detector is, from 0 (not seen) to 1.
        fps: Frames a second.
        notes: What was taken to be so when they were read.

    Raises:
        RequestError: The arrays disagree, there are no frames, the frame rate is not positive or so small that they
            last longer than two hours, a number is NaN, or a confidence is not from 0 to 1.
    """

    points: Float[Tensor, "T 17 2"]
    confidence: Float[Tensor, "T 17"]
    fps: float
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        frames = len(self.points)
        if not 0 < frames == len(self.confidence) <= MAX_VIDEO_FRAMES:
            raise RequestError(
                f"{frames} frames of points, {len(self.confidence)} of confidence; as many, 1 to {MAX_VIDEO_FRAMES},"
                " are needed"
            )
        if not 0 < self.fps <= 1000:
            raise RequestError(f"{self.fps} frames a second of keypoints; more than 0 and at most 1000 are needed")
        if frames / self.fps > BUDGET.seconds:
            raise RequestError(
                f"{frames} frames of keypoints at {self.fps:g} a second last {frames / self.fps:.0f} s; up to"
                f" {BUDGET.seconds:.0f} s are read: name the true rate with --keypoints-fps"
            )
        if not torch.isfinite(self.points).all() or not ((self.confidence >= 0) & (self.confidence <= 1)).all():
            raise RequestError("keypoints hold NaN or infinity, or a confidence that is not from 0 to 1")

    def __len__(self) -> int:
        return len(self.points)


def load_keypoints(
    path: str | os.PathLike[str], fps: float | None = None, size: tuple[int, int] | None = None
) -> Keypoints:
    """Read keypoints from a JSON file, or from a folder with OpenPose's file for each frame.

    What is understood: OpenPose's ``people`` (also ComfyUI's DWPose); COCO's results and annotations (``image_id``,
    ``keypoints``), AlphaPose's; mmpose's ``instance_info`` with ``keypoint_scores``; and a list of frames, bare or as
    ``frames`` beside ``fps``, ``width`` and ``height``, a frame being null, or points as lists ``[x, y, confidence]``
    or tables with ``x``, ``y`` and ``visibility``. The number of points tells the layout. Of several people the
    largest in the first frame is followed, by its id where there is one and by its place; frames without it, and
    frames that the file leaves out, are unseen.

    Args:
        path: File of at most 64 MiB, or folder.
        fps: Frames a second, if the file does not say it.
        size: Width and height of the image, if the file does not say it; needed where places are shares of it
            (MediaPipe).

    Raises:
        MotionFileError: The file or folder is missing, too large, no JSON, holds no keypoints or those of another
            layout; or it does not tell the frame rate or the image size, and you did not.
    """
    path = Path(path)
    file = read_keypoints(path)
    fps = fps if fps is not None else file.fps
    if fps is None:
        raise MotionFileError(f"{path}: does not say how many frames a second it has; name them with --keypoints-fps")
    size = size or file.size
    shapes = {len(person.table) for people in file.frames for person in people}
    layout = [name for name, (count, _) in LAYOUTS.items() if shapes == {count}]
    if not layout:
        told = f"frames of {' and '.join(map(str, sorted(shapes)))} points" if shapes else "no person in any frame"
        needed = ", ".join(f"{name} ({count} points)" for name, (count, _) in LAYOUTS.items())
        raise MotionFileError(f"{path}: {told}; what is read is {needed}: convert to one of them")
    frames, notes = confidences(file.frames)
    chosen, more = follow(frames)
    nobody = np.zeros((next(iter(shapes)), 3))
    table = np.stack([nobody if one is None else one for one in chosen])[:, list(LAYOUTS[layout[0]][1])]
    seen = table[..., 2] > 0
    if np.abs(table[seen][:, :2]).max(initial=0.0) <= 2.0:
        if size is None or not 1 <= min(size) <= max(size) <= MAX_SIDE:
            told = "whose size it does not say" if size is None else f"which has {size[0]:g} x {size[1]:g} pixels"
            raise MotionFileError(
                f"{path}: places are shares of the image, {told}; give width and height of 1 to {MAX_SIDE} pixels"
                " with --image-size, for example 1920x1080"
            )
        table[..., :2] *= size
    try:
        points = torch.from_numpy(table).float()
        return Keypoints(points[..., :2], points[..., 2], float(fps), (*file.notes, *notes, *more))
    except (RequestError, OverflowError) as error:
        raise MotionFileError(f"{path}: {error}") from None


def keypoint_features(keypoints: Keypoints, fps: float) -> Float[Tensor, "N 53"]:
    """What engines see of a video, at the frame rate of the motion; ``KEYPOINT_SLICES`` names the columns.

    Points are seen from the middle of the hips, y up, the length of the trunk being 1 (its 90 % quantile over the clip,
    as bending shortens it), so neither the size of the image nor the distance of the camera matters. "root" is the path
    of the hips in the image in that unit, from the middle of the clip. Points that are not seen are 0 with confidence
    0; where the hips are not seen, their place is interpolated.

    Raises:
        RequestError: No frame shows both shoulders and both hips, or the frame rate is not between 0 and 1000.
    """
    if not 0 < fps <= 1000:
        raise RequestError(f"{fps} frames a second; more than 0 and at most 1000 are needed")
    seen = keypoints.confidence >= SEEN
    whole = seen[:, _SHOULDERS + _HIPS].all(-1)
    trunk = keypoints.points[:, _SHOULDERS].mean(1) - keypoints.points[:, _HIPS].mean(1)
    length = float(trunk[whole].norm(dim=-1).quantile(0.9)) if bool(whole.any()) else 0.0
    if length <= 0:
        raise RequestError("no frame of the keypoints shows both shoulders and both hips; show the whole trunk")
    hips = _fill(keypoints.points[:, _HIPS].mean(1), seen[:, _HIPS].all(-1))
    up = torch.tensor([1.0, -1.0]) / length
    points = torch.where(seen[..., None], (keypoints.points - hips[:, None]) * up, 0.0)
    root = (hips - (hips.amin(0) + hips.amax(0)) / 2) * up
    confidence = torch.where(seen, keypoints.confidence, 0.0)

    count = max(1, round(len(keypoints) * fps / keypoints.fps))
    BUDGET.check("keypoints", error=RequestError, elements=count * 3)
    times = (torch.arange(count).double() * keypoints.fps / fps).clamp(max=len(keypoints) - 1)
    low = times.floor().long()
    high = (low + 1).clamp(max=len(keypoints) - 1)
    share = (times - low).float()[:, None]
    # A point that only one of both frames shows is where that frame shows it.
    before, after = (1 - share) * seen[low], share * seen[high]
    mixed = before[..., None] * points[low] + after[..., None] * points[high]
    mixed = mixed / (before + after).clamp(min=1e-6)[..., None]
    sure = torch.lerp(confidence[low], confidence[high], share)
    return torch.cat((mixed.flatten(1), sure, torch.lerp(root[low], root[high], share)), dim=-1)


def _fill(values: Float[Tensor, "T 2"], known: Tensor) -> Float[Tensor, "T 2"]:
    """Values where they are known, between them linearly, before and behind them the nearest."""
    places = known.nonzero()[:, 0].numpy()
    frames = np.arange(len(values))
    columns = [np.interp(frames, places, values[places, axis].numpy()) for axis in range(2)]
    return torch.from_numpy(np.stack(columns, axis=1)).float()

"""Video as 2D keypoints of one person a frame: COCO-17, BODY-25 and MediaPipe-33 files, and what engines see of them.

All layouts become COCO's 17 points; toes, mid points, fingers and the points of hands and faces are not read. Points a
detector did not find have confidence 0.

Sources: Lin et al., "Microsoft COCO" (ECCV 2014); Cao et al., "OpenPose" (TPAMI 2019) for BODY-25; Bazarevsky et al.,
"BlazePose" (2020) for MediaPipe's 33 points.
"""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import MotionFileError, RequestError
from motionloom.motion.files import read_text

COCO = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
LAYOUTS: dict[str, tuple[int, tuple[int, ...]]] = {
    "coco-17": (17, tuple(range(17))),
    "body-25": (25, (0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11)),
    "mediapipe-33": (33, (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)),
}
"""Layout -> number of its points, and which of them are COCO's."""
KEYPOINT_SLICES = {"points": slice(0, 34), "confidence": slice(34, 51), "root": slice(51, 53)}
"""What the columns of ``keypoint_features`` are."""
KEYPOINT_WIDTH = 53
SEEN = 0.1
"""Points with less confidence are not looked at."""
MAX_JSON = 1 << 26
"""Largest file of keypoints [bytes]."""
MAX_VIDEO_FRAMES = 60_000
MAX_PEOPLE = 100
MAX_SIDE = 100_000
_DEEPEST = 4
_SHOULDERS, _HIPS = [5, 6], [11, 12]
_LISTS = ("keypoints", "landmarks", "landmark", "pose_landmarks", "points", "pose_keypoints_2d")


@dataclass(frozen=True)
class Keypoints:
    """Where a person's joints are seen in each frame of a video.

    Attributes:
        points: Places in the image, x to the right and y down; pixels, or any unit that is the same for both.
        confidence: How sure the detector is, from 0 (not seen) to 1.
        fps: Frames a second.

    Raises:
        RequestError: The arrays disagree, there are no frames, the frame rate is not positive, a number is NaN, or a
            confidence is not from 0 to 1.
    """

    points: Float[Tensor, "T 17 2"]
    confidence: Float[Tensor, "T 17"]
    fps: float

    def __post_init__(self) -> None:
        frames = len(self.points)
        if not 0 < frames == len(self.confidence) <= MAX_VIDEO_FRAMES:
            raise RequestError(
                f"{frames} frames of points, {len(self.confidence)} of confidence; as many, 1 to {MAX_VIDEO_FRAMES},"
                " are needed"
            )
        if not 0 < self.fps <= 1000:
            raise RequestError(f"{self.fps} frames a second of keypoints; more than 0 and at most 1000 are needed")
        if not torch.isfinite(self.points).all() or not ((self.confidence >= 0) & (self.confidence <= 1)).all():
            raise RequestError("keypoints hold NaN or infinity, or a confidence that is not from 0 to 1")

    def __len__(self) -> int:
        return len(self.points)


def load_keypoints(
    path: str | os.PathLike[str], fps: float | None = None, size: tuple[int, int] | None = None
) -> Keypoints:
    """Read keypoints from a JSON file, or from a folder with OpenPose's file for each frame.

    What is understood: OpenPose's ``people``; COCO's results and annotations (``image_id``, ``keypoints``); and a list
    of frames, bare or as ``frames`` beside ``fps``, ``width`` and ``height``, a frame being null, or points as lists
    ``[x, y, confidence]`` or tables with ``x``, ``y`` and ``visibility``. The number of points tells the layout. Of
    several people the largest in the first frame is followed, from frame to frame the nearest.

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
    data = _read_folder(path) if path.is_dir() else _read_json(path)
    head = data if isinstance(data, dict) else {}
    fps = fps if fps is not None else _number(head.get("fps"), f"{path}: fps")
    if fps is None:
        raise MotionFileError(f"{path}: does not say how many frames a second it has; give fps")
    width, height = (_number(head.get(key), f"{path}: {key}") for key in ("width", "height"))
    if size is None and width is not None and height is not None:
        size = (round(width), round(height))
    frames = _frames(data, path)
    if not 0 < len(frames) <= MAX_VIDEO_FRAMES:
        raise MotionFileError(f"{path}: {len(frames)} frames; 1 to {MAX_VIDEO_FRAMES} are read")
    found = [_people(frame, f"{path}: frame {index}") for index, frame in enumerate(frames)]
    shapes = {len(person) for people in found for person in people}
    layout = [name for name, (count, _) in LAYOUTS.items() if shapes == {count}]
    if not layout:
        told = f"frames of {' and '.join(map(str, sorted(shapes)))} points" if shapes else "no person in any frame"
        needed = ", ".join(f"{name} ({count} points)" for name, (count, _) in LAYOUTS.items())
        raise MotionFileError(f"{path}: {told}; what is read is {needed}: convert to one of them")
    table = np.stack(_follow(found))[:, list(LAYOUTS[layout[0]][1])]
    seen = table[..., 2] > 0
    if np.abs(table[seen][:, :2]).max(initial=0.0) <= 2.0:
        if size is None or not 1 <= min(size) <= max(size) <= MAX_SIDE:
            told = "whose size it does not say" if size is None else f"which has {size[0]:g} x {size[1]:g} pixels"
            raise MotionFileError(
                f"{path}: places are shares of the image, {told}; give width and height of 1 to {MAX_SIDE} pixels"
            )
        table[..., :2] *= size
    if set(np.unique(table[..., 2])) <= {0.0, 1.0, 2.0}:
        # COCO's flags: 0 not labelled, 1 labelled but hidden, 2 visible; a detector's file of ones means visible.
        table[..., 2] /= max(1.0, table[..., 2].max())
    try:
        points = torch.from_numpy(table).float()
        return Keypoints(points[..., :2], points[..., 2], float(fps))
    except RequestError as error:
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


def _read_json(path: Path) -> Any:
    if path.is_file() and path.stat().st_size > MAX_JSON:
        raise MotionFileError(f"{path}: {path.stat().st_size} bytes; keypoints of up to {MAX_JSON} bytes are read")
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise MotionFileError(f"{path}: is no readable JSON ({' '.join(str(error).split())[:80]})") from None


def _read_folder(path: Path) -> list[Any]:
    files = sorted(path.glob("*_keypoints.json"))
    if not 0 < len(files) <= MAX_VIDEO_FRAMES:
        raise MotionFileError(
            f"{path}: {len(files)} files *_keypoints.json; OpenPose's folder has one a frame, 1 to {MAX_VIDEO_FRAMES}"
        )
    return [_read_json(file) for file in files]


def _frames(data: Any, path: Path) -> list[Any]:
    """What each frame holds."""
    if isinstance(data, dict) and "people" in data:
        return [data]
    if isinstance(data, dict):
        data = data.get("frames", data.get("annotations"))
    if not isinstance(data, list):
        raise MotionFileError(f"{path}: holds no list of frames, people or annotations; are these keypoints?")
    if data and all(isinstance(item, dict) and "image_id" in item for item in data):
        images: dict[str, list[Any]] = {}
        for item in data:
            images.setdefault(str(item["image_id"]), []).append(item)
        # File names and numbers: both come in order when numbers inside are padded to one width.
        order = sorted(images, key=lambda name: [part.zfill(12) for part in name.split(".")])
        return [images[name] for name in order]
    return data


def _people(frame: Any, where: str, depth: int = 0) -> list[np.ndarray]:
    """The people of a frame, each an array (points, 3)."""
    if depth > _DEEPEST:
        raise MotionFileError(f"{where}: lists within lists within lists; are these keypoints?")
    if isinstance(frame, dict):
        inside = [frame[key] for key in ("people", *_LISTS) if key in frame]
        if not inside:
            raise MotionFileError(f"{where}: a table without {', '.join(('people', *_LISTS))}; are these keypoints?")
        return _people(inside[0], where, depth + 1)
    if frame is None or frame == []:
        return []
    if not isinstance(frame, list):
        raise MotionFileError(f"{where}: {type(frame).__name__} where points are needed")
    first = frame[0]
    if isinstance(first, dict) and "x" in first:
        return [_points([_row(point, where) for point in frame], where)]
    if isinstance(first, int | float):
        if len(frame) % 3:
            raise MotionFileError(f"{where}: {len(frame)} numbers; each point needs three: x, y, confidence")
        return [_points([frame[place : place + 3] for place in range(0, len(frame), 3)], where)]
    if isinstance(first, list) and first and isinstance(first[0], int | float) and len(first) in (2, 3, 4):
        return [_points(frame, where)]
    if len(frame) > MAX_PEOPLE:
        raise MotionFileError(f"{where}: {len(frame)} people; up to {MAX_PEOPLE} are read")
    if isinstance(first, list | dict):
        return [one for person in frame for one in _people(person, where, depth + 1) if len(one)]
    raise MotionFileError(f"{where}: {type(first).__name__} where points are needed")


def _row(point: Any, where: str) -> list[Any]:
    if not isinstance(point, dict) or "x" not in point or "y" not in point:
        raise MotionFileError(f"{where}: a point without x and y")
    return [point["x"], point["y"], point.get("visibility", point.get("score", point.get("confidence", 1.0)))]


def _points(rows: list[Any], where: str) -> np.ndarray:
    """Numbers as (points, 3): rows of x, y; of x, y, confidence; or of x, y, z, confidence."""
    try:
        table = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise MotionFileError(f"{where}: points are no numbers, or of different length") from None
    if table.ndim != 2 or table.shape[1] not in (2, 3, 4) or not (np.abs(table) < 1e6).all():
        raise MotionFileError(f"{where}: points of shape {table.shape}, or NaN or huge; x, y, confidence are needed")
    sure = table[:, -1] if table.shape[1] > 2 else np.ones(len(table))
    return np.stack((table[:, 0], table[:, 1], sure), axis=1)


def _number(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise MotionFileError(f"{where}: {str(value)[:40]!r} is no positive number")
    return float(value)


def _follow(found: list[list[np.ndarray]]) -> list[np.ndarray]:
    """One person through all frames: first the largest, then the nearest; zeros where nobody is."""
    nobody = np.zeros_like(next(person for people in found for person in people))
    chosen: list[np.ndarray] = []
    last: np.ndarray | None = None
    for people in found:
        visible = [person for person in people if (person[:, 2] > 0).any()]
        if not visible:
            chosen.append(nobody)
            continue
        places = [person[person[:, 2] > 0, :2] for person in visible]
        if last is None:
            rank = [-float(np.ptp(place, axis=0).sum()) for place in places]
        else:
            rank = [float(np.linalg.norm(place.mean(axis=0) - last)) for place in places]
        best = int(np.argmin(rank))
        chosen.append(visible[best])
        last = places[best].mean(axis=0)
    return chosen

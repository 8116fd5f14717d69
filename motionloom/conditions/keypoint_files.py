"""Files of 2D keypoints: whatever form they have, people by frames.

Frames are those of the video: files and images are put in the order of the numbers in their names, and a frame in which
nobody was found is a frame without people, whether the file says so or leaves it out.
"""

import json
import math
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from motionloom.errors import MotionFileError
from motionloom.motion.budget import Budget
from motionloom.motion.files import read_bytes, read_text

BUDGET = Budget(bytes=1 << 26, elements=3_000_000, frames=60_000, seconds=2 * 3600.0, depth=64)
"""For one video's keypoints."""
MAX_PEOPLE = 100
_FOLDER_BYTES = 1 << 29
_DEEPEST = 4
_POINTS = ("keypoints", "landmarks", "landmark", "pose_landmarks", "points", "pose_keypoints_2d")
_PEOPLE = ("people", "instances", "persons")
_SCORES = ("keypoint_scores", "keypoints_visible", "keypoint_confidences", "confidences", "scores", "visibility")
_IDS = ("idx", "track_id", "person_id", "instance_id")
_FRAMES = ("frames", "instance_info", "annotations")
_SURE = ("visibility", "score", "confidence", "likelihood")
_GAPS = 10
"""Numbers of frames that leave out more than this many times as many as there are are no numbers of frames."""


@dataclass(frozen=True, eq=False)
class Person:
    """A person in a frame.

    Attributes:
        table: ``(points, 3)`` float64: x, y, and a third number that may be a confidence.
        scored: Whether the third numbers are sure to be confidences.
        id: By which a tracker knows this person; ``None`` if it does not say.
    """

    table: np.ndarray
    scored: bool
    id: str | None = None


@dataclass(frozen=True, eq=False)
class KeypointFile:
    """What a file or folder of keypoints says.

    Attributes:
        frames: The people of each frame.
        fps: Frames a second, if it says so.
        size: Width and height of the image [pixels], if it says so.
        notes: What was taken to be so.
    """

    frames: list[list[Person]]
    fps: float | None
    size: tuple[int, int] | None
    notes: tuple[str, ...]


def read_keypoints(path: Path) -> KeypointFile:
    """Read a JSON file, or a folder with one for each frame.

    Raises:
        MotionFileError: The file or folder is missing, too large, no JSON, or holds no keypoints.
    """
    numbers: list[int] | None = None
    if path.is_dir():
        files = _files(path)
        data: Any = [_read_json(file) for file in files]
        numbers = _numbers([file.stem for file in files])
    else:
        data = _read_json(path)
    head = data if isinstance(data, dict) else {}
    frames, ids = _frames(data, path)
    numbers = ids if numbers is None else numbers
    if not 0 < len(frames) <= BUDGET.frames:
        raise MotionFileError(f"{path}: {len(frames)} frames; 1 to {BUDGET.frames} are read")
    found = [_people(frame, f"{path}: frame {index}") for index, frame in enumerate(frames)]
    found, notes = _with_gaps(found, numbers)
    return KeypointFile(found, positive(head.get("fps"), f"{path}: fps"), _size(head, frames, path), notes)


def positive(value: Any, where: str) -> float | None:
    """A positive number, or nothing where nothing is said.

    Raises:
        MotionFileError: It is something else.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e308:
        raise MotionFileError(f"{where}: {str(value)[:40]!r} is no positive number")
    return float(value)


def _files(path: Path) -> list[Path]:
    files = list(path.glob("*_keypoints.json")) or list(path.glob("*.json"))
    if not 0 < len(files) <= BUDGET.frames:
        raise MotionFileError(
            f"{path}: {len(files)} files *_keypoints.json; OpenPose's folder has one a frame, 1 to {BUDGET.frames}"
        )
    total = sum(file.stat().st_size for file in files)
    if total > _FOLDER_BYTES:
        raise MotionFileError(f"{path}: {total} bytes of keypoints; up to {_FOLDER_BYTES} are read")
    return sorted(files, key=lambda file: natural(file.name))


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key by which names come in the order of the numbers in them: 2 before 10."""
    parts = re.split(r"(\d{1,18})", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def _numbers(names: list[str]) -> list[int] | None:
    """The last number of each name; nothing if one has none or two have the same."""
    last = [re.findall(r"\d{1,18}", name) for name in names]
    if not all(last):
        return None
    numbers = [int(found[-1]) for found in last]
    return numbers if len(set(numbers)) == len(numbers) else None


def _read_json(path: Path) -> Any:
    if path.is_file():
        BUDGET.check(path, bytes=path.stat().st_size)
    raw = read_bytes(path) if path.is_file() else b""
    # What a parser will make is counted before it makes it.
    BUDGET.check(path, elements=raw.count(b",") + 2 * (raw.count(b"[") + raw.count(b"{")))
    del raw
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise MotionFileError(f"{path}: is no readable JSON ({' '.join(str(error).split())[:80]})") from None


def _frames(data: Any, path: Path) -> tuple[list[Any], list[int] | None]:
    """What each frame holds, and the frames' numbers, where they are numbered."""
    if isinstance(data, dict) and any(key in data for key in _PEOPLE):
        return [data], None
    if isinstance(data, dict):
        images = data.get("images")
        data = next((data[key] for key in _FRAMES if key in data), None)
        if isinstance(images, list) and isinstance(data, list):
            data = _by_image_names(images, data)
    if not isinstance(data, list):
        raise MotionFileError(f"{path}: holds no list of frames, people or annotations; are these keypoints?")
    for key in ("image_id", "frame_id"):
        if data and all(isinstance(item, dict) and isinstance(item.get(key), str | int) for item in data):
            images_: dict[str, list[Any]] = {}
            for item in data:
                images_.setdefault(str(item[key])[:200], []).append(item)
            order = sorted(images_, key=natural)
            stems = [re.sub(r"\.\w+$", "", name) for name in order]
            return [images_[name] for name in order], _numbers(stems)
    return data, None


def _by_image_names(images: list[Any], items: list[Any]) -> list[Any]:
    """Annotations of COCO's form, by the file names of their images, which say more about time than their numbers."""
    names = {
        image["id"]: image["file_name"]
        for image in images
        if isinstance(image, dict)
        and isinstance(image.get("id"), str | int)
        and isinstance(image.get("file_name"), str)
    }
    numbers = _numbers([re.sub(r"\.\w+$", "", name) for name in names.values()])
    if not names or numbers is None:
        return items
    return [
        {**item, "image_id": names.get(item.get("image_id"), item.get("image_id"))} if isinstance(item, dict) else item
        for item in items
    ]


def _with_gaps(found: list[list[Person]], numbers: list[int] | None) -> tuple[list[list[Person]], tuple[str, ...]]:
    """Frames in which nobody was found and which the file therefore leaves out."""
    if numbers is None or len(numbers) < 3 or len(numbers) != len(found):
        return found, ()
    steps = np.diff(np.array(numbers, dtype=np.float64))
    if not (steps > 0).all():
        return found, ()
    stride = math.gcd(*(second - first for first, second in pairwise(numbers)))
    count = (numbers[-1] - numbers[0]) // stride + 1
    if count == len(found):
        return found, ()
    if count > _GAPS * len(found) or count > BUDGET.frames:
        return found, (
            f"numbers of frames from {numbers[0]} to {numbers[-1]} for {len(found)} frames: not taken as time",
        )
    frames: list[list[Person]] = [[] for _ in range(count)]
    for number, people in zip(numbers, found, strict=True):
        frames[(number - numbers[0]) // stride] = people
    return frames, (f"{count - len(found)} of {count} frames are left out in the file: nobody is seen in them",)


def _size(head: dict[str, Any], frames: list[Any], path: Path) -> tuple[int, int] | None:
    """Width and height of the image, wherever they stand."""
    places = [head, *(frame for frame in frames[:1] if isinstance(frame, dict))]
    images = head.get("images")
    places += [image for image in images[:1] if isinstance(image, dict)] if isinstance(images, list) else []
    for place in places:
        for width, height in (("width", "height"), ("canvas_width", "canvas_height"), ("image_width", "image_height")):
            x, y = (positive(place.get(key), f"{path}: {key}") for key in (width, height))
            if x is not None and y is not None:
                return round(x), round(y)
    return None


def _people(frame: Any, where: str, depth: int = 0) -> list[Person]:
    """The people of a frame."""
    if depth > _DEEPEST:
        raise MotionFileError(f"{where}: lists within lists within lists; are these keypoints?")
    if frame is None or frame == []:
        return []
    if isinstance(frame, dict):
        return _of_table(frame, where, depth)
    if not isinstance(frame, list):
        raise MotionFileError(f"{where}: {type(frame).__name__} where points are needed")
    first = frame[0]
    if isinstance(first, dict) and "x" in first:
        rows = [_row(point, where) for point in frame]
        return [Person(_points([row for row, _ in rows], where), all(scored for _, scored in rows))]
    if isinstance(first, int | float):
        if len(frame) % 3:
            raise MotionFileError(f"{where}: {len(frame)} numbers; each point needs three: x, y, confidence")
        return [Person(_points([frame[place : place + 3] for place in range(0, len(frame), 3)], where), False)]
    if isinstance(first, list) and first and isinstance(first[0], int | float) and len(first) in (2, 3, 4, 5):
        return [Person(_points(frame, where), len(first) != 3)]
    if len(frame) > MAX_PEOPLE:
        raise MotionFileError(f"{where}: {len(frame)} people; up to {MAX_PEOPLE} are read")
    if isinstance(first, list | dict):
        return [one for person in frame for one in _people(person, where, depth + 1) if len(one.table)]
    raise MotionFileError(f"{where}: {type(first).__name__} where points are needed")


def _of_table(frame: dict[str, Any], where: str, depth: int) -> list[Person]:
    inside = next((frame[key] for key in (*_PEOPLE, *_POINTS) if key in frame), frame)
    if inside is frame:
        raise MotionFileError(f"{where}: a table without {', '.join((*_PEOPLE, *_POINTS))}; are these keypoints?")
    people = _people(inside, where, depth + 1)
    if len(people) != 1 or any(key in frame for key in _PEOPLE):
        return people
    person = people[0]
    # Scores may stand apart from the points: mmpose, RTMPose and ViTPose write them so.
    scores = next((frame[key] for key in _SCORES if isinstance(frame.get(key), list)), None)
    if scores is not None:
        while len(scores) == 1 and isinstance(scores[0], list):
            scores = scores[0]
        column = _points([[0.0, 0.0, score] for score in scores], where)[:, 2] if scores else np.zeros(0)
        if len(column) != len(person.table):
            raise MotionFileError(f"{where}: {len(person.table)} points and {len(column)} scores; they must agree")
        table = np.column_stack((person.table[:, :2], column))
        return [Person(table, True, _identity(frame))]
    return [Person(person.table, person.scored, _identity(frame))]


def _identity(frame: dict[str, Any]) -> str | None:
    """By which a tracker knows a person: a number, or one in a list; -1 means that it does not."""
    for key in _IDS:
        value = frame.get(key)
        while isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
            return f"{value:g}"
        if isinstance(value, str) and value:
            return value[:100]
    return None


def _row(point: Any, where: str) -> tuple[list[Any], bool]:
    if not isinstance(point, dict) or "x" not in point or "y" not in point:
        raise MotionFileError(f"{where}: a point without x and y")
    return [point["x"], point["y"], next((point[key] for key in _SURE if key in point), 1.0)], True


def _points(rows: list[Any], where: str) -> np.ndarray:
    """Numbers as (points, 3): rows of x, y; of x, y, third; of x, y, z, confidence; or with more behind these."""
    try:
        table = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise MotionFileError(f"{where}: points are no numbers, or of different length") from None
    if table.ndim != 2 or table.shape[1] not in (2, 3, 4, 5) or not (np.abs(table) < 1e6).all():
        raise MotionFileError(f"{where}: points of shape {table.shape}, or NaN or huge; x, y, confidence are needed")
    if table.shape[1] == 2:
        return np.column_stack((table, np.ones(len(table))))
    return table[:, [0, 1, min(3, table.shape[1] - 1)]]

"""Keypoints are a time series of one person: what order, gaps, other people and scores do to it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from motionloom.conditions.keypoints import LAYOUTS, Keypoints, keypoint_features, load_keypoints
from motionloom.errors import MotionFileError, RequestError

FRAMES = 24


def person(frame: int, x: float = 500.0, size: float = 200.0, layout: str = "coco-17") -> np.ndarray:
    """Points ``(N, 3)`` of a person who sways: those of COCO in a layout, all others unseen."""
    generator = np.random.default_rng(0)
    body = generator.uniform(-0.5, 0.5, (17, 2))
    body[[5, 6], 1], body[[11, 12], 1] = -0.3, 0.1
    points = np.column_stack((x + size * body[:, 0] + 2.0 * frame, 500.0 + size * body[:, 1], np.full(17, 0.9)))
    count, places = LAYOUTS[layout]
    table = np.zeros((count, 3))
    table[list(places)] = points
    return table


TRUTH = np.stack([person(frame) for frame in range(FRAMES)])


def write(path: Path, data: Any) -> Path:
    path.write_text(json.dumps(data))
    return path


def assert_is_the_person(found: Keypoints, unseen: set[int] | None = None) -> None:
    seen = [frame for frame in range(FRAMES) if frame not in (unseen or set())]
    assert len(found) == FRAMES
    np.testing.assert_allclose(found.points[seen].numpy(), TRUTH[seen, :, :2], atol=1e-3)
    assert float(found.confidence[seen].min()) > 0.5
    assert all(not found.confidence[frame].any() for frame in unseen or set())


@pytest.mark.parametrize("name", ["frame_{}_keypoints.json", "{}_keypoints.json", "v2_cam1_{:03d}_keypoints.json"])
def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path, name: str) -> None:
    for frame in range(FRAMES):
        points = person(frame, layout="body-25").ravel().tolist()
        write(tmp_path / name.format(frame), {"people": [{"person_id": [-1], "pose_keypoints_2d": points}]})
    assert_is_the_person(load_keypoints(tmp_path, fps=20))


@pytest.mark.parametrize("name", ["{}.jpg", "img_{:06d}.png", "{}"])
def test_frames_that_are_left_out_are_unseen(tmp_path: Path, name: str) -> None:
    gap = set(range(7, 13))
    items = [
        {"image_id": name.format(frame), "keypoints": person(frame).ravel().tolist(), "score": 2.9}
        for frame in range(FRAMES)
        if frame not in gap
    ]
    found = load_keypoints(write(tmp_path / "a.json", items), fps=20)
    assert_is_the_person(found, gap)
    assert "6 of 24 frames are left out in the file: nobody is seen in them" in found.notes


def test_every_fifth_frame_of_a_video_is_no_gap(tmp_path: Path) -> None:
    items = [{"image_id": 5 * frame, "keypoints": person(frame).ravel().tolist()} for frame in range(FRAMES)]
    assert_is_the_person(load_keypoints(write(tmp_path / "a.json", items), fps=4))


def test_numbers_that_are_no_time_are_not_taken_for_it(tmp_path: Path) -> None:
    ids = np.sort(np.random.default_rng(1).choice(10**6, FRAMES, replace=False)).tolist()
    items = [{"image_id": ids[frame], "keypoints": person(frame).ravel().tolist()} for frame in range(FRAMES)]
    found = load_keypoints(write(tmp_path / "a.json", items), fps=20)
    assert_is_the_person(found)
    assert "not taken as time" in found.notes[0]


@pytest.mark.parametrize("key", ["keypoint_scores", "keypoints_visible", "scores"])
def test_scores_count_wherever_they_stand(tmp_path: Path, key: str) -> None:
    frames = []
    for frame in range(FRAMES):
        points = person(frame)
        points[9] = (0.0, 0.0, 0.02)
        frames.append([{"keypoints": points[:, :2].tolist(), key: points[:, 2].tolist()}])
    mmpose = {"instance_info": [{"frame_id": n + 1, "instances": people} for n, people in enumerate(frames)]}
    for data in ({"fps": 20, "frames": frames}, mmpose):
        found = load_keypoints(write(tmp_path / "a.json", data), fps=20)
        torch.testing.assert_close(found.confidence[:, 9], torch.full((FRAMES,), 0.02))
        assert float(found.confidence[:, :9].min()) > 0.8


@pytest.mark.parametrize("ids", [False, True])
def test_another_person_is_not_the_one_who_is_lost(tmp_path: Path, ids: bool) -> None:
    lost = {10, 11, 12}
    frames = []
    for frame in range(FRAMES):
        people = [] if frame in lost else [{"idx": 4, "keypoints": person(frame).ravel().tolist()}]
        people.append({"idx": 7, "keypoints": person(frame, 1440.0, 120.0).ravel().tolist()})
        frames.append(people if ids else [one["keypoints"] for one in people])
    found = load_keypoints(write(tmp_path / "a.json", {"fps": 20, "frames": frames}))
    assert_is_the_person(found, lost)
    assert found.notes == ("in 3 frames only other people are seen: the followed one counts as unseen there",)


def test_an_id_tells_people_apart_who_pass_each_other(tmp_path: Path) -> None:
    """Nearest places alone would follow the other one from where the two meet."""
    frames = []
    for frame in range(FRAMES):
        mine, other = person(frame), person(FRAMES - 1 - frame, 500.0, 190.0)
        people = [{"track_id": 1, "keypoints": mine.tolist()}, {"track_id": 2, "keypoints": other.tolist()}]
        frames.append(people if frame % 2 else people[::-1])
    assert_is_the_person(load_keypoints(write(tmp_path / "a.json", {"fps": 20, "frames": frames})))


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_every_layout_gives_the_same_seventeen_points(tmp_path: Path, layout: str) -> None:
    frames = [[person(frame, layout=layout).tolist()] for frame in range(FRAMES)]
    assert_is_the_person(load_keypoints(write(tmp_path / "a.json", {"fps": 20, "frames": frames})))


def test_coco_18_with_a_canvas_is_dwpose(tmp_path: Path) -> None:
    size = np.array([1920.0, 1080.0])
    frames = []
    for frame in range(FRAMES):
        points = person(frame, layout="coco-18")
        points[:, :2] /= size
        people = [{"pose_keypoints_2d": points.ravel().tolist()}]
        frames.append({"people": people, "canvas_width": 1920, "canvas_height": 1080})
    assert_is_the_person(load_keypoints(write(tmp_path / "a.json", frames), fps=20))
    for one in frames:
        del one["canvas_width"]
    write(tmp_path / "b.json", frames)
    with pytest.raises(MotionFileError, match=r"--image-size, for example 1920x1080"):
        load_keypoints(tmp_path / "b.json", fps=20)
    assert_is_the_person(load_keypoints(tmp_path / "b.json", fps=20, size=(1920, 1080)))


def test_a_third_number_that_is_a_depth_is_no_confidence(tmp_path: Path) -> None:
    frames = []
    for frame in range(FRAMES):
        points = person(frame)
        points[:, 2] = np.linspace(-0.4, 0.5, 17)
        frames.append([points.tolist()])
    found = load_keypoints(write(tmp_path / "a.json", {"fps": 20, "frames": frames}))
    assert_is_the_person(found)
    assert "taken as depth, all points as seen" in found.notes[0]


def test_confidences_above_one_are_cut_and_named(tmp_path: Path) -> None:
    frames = [[person(frame).tolist()] for frame in range(FRAMES)]
    frames[5][0][3][2] = 1.04
    found = load_keypoints(write(tmp_path / "a.json", {"fps": 20, "frames": frames}))
    assert_is_the_person(found)
    assert found.notes == ("confidences beyond 0 to 1 in 1 frames, the first is frame 5: cut to that range",)


@pytest.mark.parametrize("number", ["1" + "0" * 400, "1e400", "-1", "NaN", '"20"', "true"])
def test_numbers_that_are_none_are_refused(tmp_path: Path, number: str) -> None:
    frames = json.dumps([[person(0).tolist()]] * 3)
    (tmp_path / "a.json").write_text(f'{{"fps": {number}, "frames": {frames}}}')
    with pytest.raises(MotionFileError, match=r"fps: .* is no positive number"):
        load_keypoints(tmp_path / "a.json")
    (tmp_path / "b.json").write_text(f'{{"fps": 9, "width": {number}, "height": 9, "frames": {frames}}}')
    with pytest.raises(MotionFileError, match=r"width: .* is no positive number"):
        load_keypoints(tmp_path / "b.json")


def test_a_video_of_days_is_refused_before_frames_are_made(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", {"fps": 1e-3, "frames": [[person(frame).tolist()] for frame in range(FRAMES)]})
    with pytest.raises(MotionFileError, match="last 24000 s; up to 7200 s are read: name the true rate"):
        load_keypoints(path)
    slow = load_keypoints(path, fps=0.01)
    with pytest.raises(RequestError, match=r"keypoints: \d+ numbers or items; up to 3000000 are read"):
        keypoint_features(slow, 1000.0)


def test_what_would_take_long_to_parse_is_refused_before(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" + "[]," * 2_000_000 + "[]]")
    with pytest.raises(MotionFileError, match=r"a.json: \d+ numbers or items; up to 3000000 are read"):
        load_keypoints(tmp_path / "a.json", fps=20)


def test_the_size_of_a_picture_on_the_command_line(tmp_path: Path) -> None:
    import typer

    from motionloom.app.cli.conditions import Followed

    frames = []
    for frame in range(FRAMES):
        points = person(frame)
        points[:, :2] /= (1920.0, 1080.0)
        frames.append([points.tolist()])
    path = write(tmp_path / "a.json", {"fps": 20, "frames": frames})
    found = Followed(keypoints=path, image_size="1920x1080").read(None)["keypoints"]
    assert_is_the_person(found)
    with pytest.raises(typer.BadParameter, match=re.escape("'wide' is no size; write 1920x1080")):
        Followed(keypoints=path, image_size="wide").read(None)

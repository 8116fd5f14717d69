"""Keypoints of videos: three layouts in their usual files, what engines see of them, and mocap seen by cameras."""

import json
import math

import make
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.conditions.cameras import (
    Camera,
    Errors,
    coco_points,
    look_at,
    project,
    random_camera,
    synthetic_keypoints,
)
from motionloom.conditions.keypoints import (
    COCO,
    KEYPOINT_SLICES,
    KEYPOINT_WIDTH,
    LAYOUTS,
    Keypoints,
    keypoint_features,
    load_keypoints,
)
from motionloom.errors import MotionFileError, RequestError
from motionloom.motion.skeleton import CANONICAL

seeds = st.integers(0, 10_000)
NONE = Errors(0.0, 0.0, 0.0, 0.0, 0.0)


def seen(frames: int = 20, seed: int = 0, fps: float = 20.0) -> Keypoints:
    return synthetic_keypoints(make.motion(frames, seed=seed, fps=fps), make.generator(seed), NONE)


def rows(keypoints: Keypoints, layout: str) -> list[list[list[float]]]:
    """The keypoints as lists of a layout; points that COCO lacks are far away."""
    count, places = LAYOUTS[layout]
    table = torch.full((len(keypoints), count, 3), 7.0)
    table[..., 2] = 0.9
    table[:, list(places)] = torch.cat((keypoints.points, keypoints.confidence[..., None]), dim=-1)
    return table.tolist()


def flat(frame: list[list[float]]) -> list[float]:
    return [number for point in frame for number in point]


def write(path, data):
    path.write_text(json.dumps(data))
    return path


# -- files -----------------------------------------------------------------------------------------


def openpose_folder(tmp_path, keypoints):
    folder = tmp_path / "openpose"
    folder.mkdir()
    for index, frame in enumerate(rows(keypoints, "body-25")):
        data = {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": flat(frame)}]}
        write(folder / f"clip_{index:012d}_keypoints.json", data)
    return folder


def openpose_list(tmp_path, keypoints):
    people = [[{"pose_keypoints_2d": flat(frame)}] for frame in rows(keypoints, "body-25")]
    return write(tmp_path / "list.json", [{"people": person} for person in people])


def coco_results(tmp_path, keypoints):
    frames = [flat(frame) for frame in rows(keypoints, "coco-17")]
    results = [{"image_id": index, "category_id": 1, "keypoints": frame} for index, frame in enumerate(frames)]
    # Detectors write in the order they finish.
    return write(tmp_path / "results.json", results[::-1])


def coco_frames(tmp_path, keypoints):
    return write(tmp_path / "frames.json", {"fps": 20, "frames": rows(keypoints, "coco-17")})


def mediapipe(tmp_path, keypoints):
    frames = [
        {"pose_landmarks": [{"x": x / 640, "y": y / 480, "z": 0.1, "visibility": sure} for x, y, sure in frame]}
        for frame in rows(keypoints, "mediapipe-33")
    ]
    return write(tmp_path / "mediapipe.json", {"width": 640, "height": 480, "frames": frames})


@pytest.mark.parametrize("form", [openpose_folder, openpose_list, coco_results, coco_frames, mediapipe])
def test_every_form_gives_the_same_points(tmp_path, form):
    want = seen()
    got = load_keypoints(form(tmp_path, want), fps=20.0)
    assert got.fps == 20.0
    torch.testing.assert_close(got.confidence, want.confidence)
    torch.testing.assert_close(got.points, want.points, rtol=1e-4, atol=1e-2)


def test_the_largest_person_is_followed_and_missed_frames_are_not_seen(tmp_path):
    want = seen(6)
    large = rows(want, "coco-17")
    small = [[[x / 9 + 2000, y / 9, sure] for x, y, sure in frame] for frame in large]
    frames = [[small[0], large[0]], [large[1], small[1]], None, [small[3], large[3]], [], [large[5]]]
    got = load_keypoints(write(tmp_path / "two.json", frames), fps=30.0)
    for index in (0, 1, 3, 5):
        torch.testing.assert_close(got.points[index], want.points[index])
    assert not got.confidence[[2, 4]].any()


def test_flags_of_annotations_are_halves_and_ones(tmp_path):
    frame = [[float(index), 100.0, float(index % 3)] for index in range(17)]
    got = load_keypoints(
        write(tmp_path / "a.json", {"annotations": [{"image_id": "1.jpg", "keypoints": frame}]}), fps=1
    )
    assert got.confidence[0, :3].tolist() == [0.0, 0.5, 1.0]


POINTS = [[1.0, 200.0, 0.5]] * 17


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([[[1.0, 200.0, 0.5]] * 19], r"frames of 19 points; what is read is coco-17 \(17 points\)"),
        ([POINTS, POINTS[:9]], "frames of 9 and 17 points"),
        ([None, []], "no person in any frame"),
        ({"skeleton": 3}, "no list of frames"),
        ([{"id": 4}], "frame 0: a table without people"),
        ([[["a", "b", "c"]] * 17], "frame 0: str where points are needed"),
        ([[[1.0, math.nan, 0.5]] * 17], "or NaN or huge"),
        ([[[0.1, 0.2, 0.5]] * 33], "shares of the image, whose size it does not say"),
        ({"fps": 9, "width": 1e300, "height": 9, "frames": [[[0.1, 0.2, 0.5]] * 33]}, "give width and height of 1 to"),
        ([[1.0, 2.0, 3.0, 4.0]], "4 numbers; each point needs three"),
        ([[[[[[[[1.0]]]]]]]], "lists within lists"),
        ([[{"x": 1.0}] * 17], "a point without x and y"),
        ({"fps": "ten", "frames": [POINTS]}, "fps: 'ten' is no positive number"),
        ([[[10**400, 1.0, 0.5]] * 17], "points are no numbers"),
    ],
)
def test_files_of_another_form_are_refused_in_one_line(tmp_path, data, message):
    path = write(tmp_path / "bad.json", data)
    with pytest.raises(MotionFileError, match=message) as caught:
        load_keypoints(path, fps=None if isinstance(data, dict) and "fps" in data else 25.0)
    assert "\n" not in str(caught.value)
    assert "bad.json" in str(caught.value)


def test_missing_and_broken_files_are_refused(tmp_path):
    with pytest.raises(MotionFileError, match="cannot be read"):
        load_keypoints(tmp_path / "none.json", fps=25.0)
    with pytest.raises(MotionFileError, match=r"0 files \*_keypoints.json"):
        load_keypoints(tmp_path, fps=25.0)
    (tmp_path / "cut.json").write_text('{"frames": [[1.0,')
    with pytest.raises(MotionFileError, match="no readable JSON"):
        load_keypoints(tmp_path / "cut.json", fps=25.0)
    (tmp_path / "deep.json").write_text("[" * 200_000)
    with pytest.raises(MotionFileError, match="no readable JSON"):
        load_keypoints(tmp_path / "deep.json", fps=25.0)
    with pytest.raises(MotionFileError, match="how many frames a second"):
        load_keypoints(write(tmp_path / "a.json", [POINTS]))
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate((1 << 26) + 1)
    with pytest.raises(MotionFileError, match="67108865 bytes; up to 67108864 are read"):
        load_keypoints(tmp_path / "large.json", fps=25.0)


# -- what engines see ------------------------------------------------------------------------------


@settings(max_examples=12)
@given(seed=seeds, scale=st.floats(0.1, 5), x=st.floats(-500, 500), y=st.floats(-500, 500))
def test_image_size_and_distance_do_not_matter(seed, scale, x, y):
    one = seen(seed=seed)
    other = Keypoints(one.points * scale + torch.tensor([x, y]), one.confidence, one.fps)
    torch.testing.assert_close(
        keypoint_features(one, 20.0), keypoint_features(other, 20.0), rtol=1e-3, atol=2e-3 + 1e-3 / scale
    )


def test_a_standing_body_by_hand():
    """Hips 2 apart at y 300, shoulders 100 above: the trunk is 1, the left hip at (0.01, 0), the nose 1.5 above."""
    points = torch.full((4, 17, 2), 50.0)
    points[:, 11], points[:, 12] = torch.tensor([201.0, 300.0]), torch.tensor([199.0, 300.0])
    points[:, 5], points[:, 6] = torch.tensor([220.0, 200.0]), torch.tensor([180.0, 200.0])
    points[:, 0] = torch.tensor([200.0, 150.0])
    confidence = torch.ones(4, 17)
    confidence[:, 9] = 0.0
    features = keypoint_features(Keypoints(points, confidence, 10.0), 20.0)
    assert features.shape == (8, KEYPOINT_WIDTH)
    found = features[0, KEYPOINT_SLICES["points"]].view(17, 2)
    torch.testing.assert_close(found[[0, 5, 11]], torch.tensor([[0.0, 1.5], [0.2, 1.0], [0.01, 0.0]]))
    assert found[9].tolist() == [0.0, 0.0]
    assert float(features[0, KEYPOINT_SLICES["confidence"]][9]) == 0.0
    assert not features[:, KEYPOINT_SLICES["root"]].any()


def test_a_wrist_seen_in_one_of_two_frames_is_where_it_was_seen():
    keypoints = seen(3)
    keypoints.confidence[1, 9] = 0.0
    features = keypoint_features(keypoints, 40.0)
    wrist = features[:, KEYPOINT_SLICES["points"]].view(-1, 17, 2)[:, 9]
    torch.testing.assert_close(wrist[1], wrist[0])
    assert wrist[2].tolist() == [0.0, 0.0]


def test_without_a_trunk_there_is_no_scale():
    keypoints = seen(3)
    keypoints.confidence[:, 11] = 0.0
    with pytest.raises(RequestError, match="show the whole trunk"):
        keypoint_features(keypoints, 20.0)
    with pytest.raises(RequestError, match="0 frames a second"):
        keypoint_features(seen(3), 0.0)
    with pytest.raises(RequestError, match="0 frames of points"):
        Keypoints(torch.zeros(0, 17, 2), torch.zeros(0, 17), 20.0)


# -- cameras ---------------------------------------------------------------------------------------


def test_a_camera_before_a_person_by_hand():
    """5 m before a person who faces it: their left is to the right, 1 m is 100 pixels, up is less y."""
    eye = torch.tensor([0.0, 1.0, 5.0])
    camera = Camera(look_at(eye, torch.tensor([0.0, 1.0, 0.0])), eye, 500.0, (640, 480))
    points = torch.tensor([[[0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 1.0, 9.0], [9.0, 1.0, 0.0]]])
    view = project(points, camera)
    torch.testing.assert_close(view.points[0, :3], torch.tensor([[320.0, 240.0], [420.0, 240.0], [320.0, 140.0]]))
    assert view.seen[0].tolist() == [True, True, True, False, False]


def test_looking_straight_down_is_refused():
    with pytest.raises(RequestError, match="straight up or down"):
        look_at(torch.tensor([0.0, 3.0, 0.0]), torch.zeros(3))


@settings(max_examples=15)
@given(seed=seeds)
def test_cameras_turn_without_stretching_and_see_most_of_the_motion(seed):
    places = coco_points(make.motion(60, seed=seed))
    camera = random_camera(places, make.generator(seed))
    torch.testing.assert_close(camera.rotation @ camera.rotation.T, torch.eye(3), rtol=0, atol=1e-5)
    assert float(torch.det(camera.rotation)) == pytest.approx(1.0, abs=1e-4)
    assert float(project(places, camera).seen.float().mean()) > 0.5


def test_the_face_turns_with_the_head():
    motion = make.motion(5, size=0.0)
    places = coco_points(motion)
    nose, left, right = (places[:, COCO.index(name)] for name in ("nose", "left_ear", "right_ear"))
    head = motion.positions[:, CANONICAL.index("head")]
    forward = torch.linalg.cross(left - right, torch.tensor([0.0, 1.0, 0.0]).expand(5, 3))
    assert ((nose - head) * forward).sum(-1).gt(0).all()
    assert (nose - head).norm(dim=-1).lt(0.2).all()


@settings(max_examples=10)
@given(seed=seeds)
def test_the_same_seed_gives_the_same_pair_and_another_another(seed):
    motion = make.motion(30, seed=seed)
    first, again = (synthetic_keypoints(motion, make.generator(seed)) for _ in range(2))
    torch.testing.assert_close(first.points, again.points, rtol=0, atol=0)
    assert not torch.equal(first.points, synthetic_keypoints(motion, make.generator(seed + 1)).points)


def test_errors_are_as_large_as_they_are_said_to_be():
    """Over many clips: hidden and lost take half of their largest shares in the mean."""
    motion = make.motion(60)
    clips = [synthetic_keypoints(motion, make.generator(seed), Errors(0.0, 0.0, 0.4, 0.2, 0.0)) for seed in range(40)]
    plain = [synthetic_keypoints(motion, make.generator(seed), NONE) for seed in range(40)]
    kept = sum(float((clip.confidence > 0).sum()) for clip in clips) / sum(
        float((c.confidence > 0).sum()) for c in plain
    )
    assert kept == pytest.approx(0.8 * 0.9, abs=0.08)

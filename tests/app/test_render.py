import dataclasses

import numpy as np
import pytest
from corpus import as_cmu, walk
from PIL import Image

from motionloom.app.render import LEFT, RIGHT, Camera, body, contact_sheet, draw_pose, write_sheet, write_video
from motionloom.errors import MotionFileError, RequestError


@pytest.fixture(scope="module")
def motion():
    return walk(30, 0, fps=20.0)


def of_colour(picture: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """Pixels whose hue is that of a body side, whatever the shading."""
    pixels = np.asarray(picture, dtype=float)
    unit = pixels / np.linalg.norm(pixels, axis=-1, keepdims=True).clip(1)
    wanted = np.array(colour) / np.linalg.norm(colour)
    return (unit @ wanted) > 0.999


def test_left_is_left_seen_from_the_front(motion):
    """A body that faces the camera has its left on the picture's right."""
    joints = motion.positions[0].numpy().astype(float)
    picture = draw_pose(joints, body(motion), Camera(azimuth=0), np.array([0.0, 1.0, 0.0]))
    left, right = (np.nonzero(of_colour(picture, colour))[1].mean() for colour in (LEFT, RIGHT))
    assert left > right + 20


def test_the_body_hides_what_is_behind_it():
    from motionloom.app.render import Capsules

    joints = np.array([[0.0, 1.0, 1.0], [0.0, 1.2, 1.0], [0.0, 1.0, -1.0], [0.0, 1.2, -1.0]])
    near, far = (0, 1), (2, 3)
    for order in ((near, far), (far, near)):
        colours = tuple(LEFT if ends == near else RIGHT for ends in order)
        picture = draw_pose(
            joints, Capsules(order, (0.1, 0.1), colours), Camera(azimuth=0, elevation=0), np.array([0, 1.1, 0.0])
        )
        assert of_colour(picture, LEFT).sum() > 500
        assert of_colour(picture, RIGHT).sum() < 50


def test_a_body_has_volume(motion):
    joints = motion.positions[0].numpy().astype(float)
    picture = draw_pose(joints, body(motion), Camera(azimuth=0), np.array([0.0, 1.0, 0.0]))
    sides = of_colour(picture, LEFT) | of_colour(picture, RIGHT)
    assert sides.sum() > 0.02 * sides.size


def test_sheet_shows_as_many_poses_as_asked(motion, tmp_path):
    small, large = contact_sheet(motion, "walk", 3, 100), contact_sheet(motion, "walk", 6, 100)
    assert large.width - small.width == 300
    write_sheet(motion, tmp_path / "walk.png")
    with Image.open(tmp_path / "walk.png") as picture:
        assert picture.format == "PNG"
    with pytest.raises(RequestError, match="a sheet shows 2 to 40"):
        contact_sheet(motion, poses=1)


def test_other_skeletons_and_single_frames_are_drawn_too(motion):
    assert contact_sheet(as_cmu(motion), poses=2, cell=80).width > 0
    one = dataclasses.replace(motion, rotations=motion.rotations[:1], root=motion.root[:1])
    assert contact_sheet(one, poses=4, cell=80).width > 0


def test_gif_has_the_motion_s_length(motion, tmp_path):
    write_video(motion, tmp_path / "walk.gif", size=64)
    with Image.open(tmp_path / "walk.gif") as picture:
        assert getattr(picture, "n_frames", 1) == 30
        assert picture.info["duration"] == 50


def test_mp4_has_every_frame(motion, tmp_path):
    import imageio_ffmpeg

    write_video(motion, tmp_path / "walk.mp4", size=64)
    count, seconds = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "walk.mp4"))
    assert count == 30
    assert seconds == pytest.approx(1.5, abs=0.06)


def test_bad_video_requests(motion, tmp_path):
    with pytest.raises(RequestError, match="64 to 2048 are drawn"):
        write_video(motion, tmp_path / "walk.mp4", size=10)
    with pytest.raises(MotionFileError, match=r"as \.mp4 or \.gif"):
        write_video(motion, tmp_path / "walk.avi")
    assert not list(tmp_path.iterdir())


def test_saving_a_motion_by_suffix_finds_the_pictures(motion, tmp_path):
    motion.save(tmp_path / "walk.png")
    assert (tmp_path / "walk.png").stat().st_size > 1000

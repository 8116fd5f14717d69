"""Dances in time: which rest meets which beat, by hand, and what the warp leaves as it was."""

import math

import make
import pytest
import torch
from make_m3gpt import clicks, write_m3gpt

from motionloom.engines.beat_sync import FASTEST, Stretch, beat_sync, heard, match, warp
from motionloom.engines.m3gpt.engine import M3GPT
from motionloom.engines.request import Request, Segment
from motionloom.metrics.dance import beat_alignment, motion_beats
from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL


def swinging(seconds: float, period: float, fps: float = 60.0) -> Motion:
    """Both arms swing and rest twice a period."""
    time = torch.arange(round(seconds * fps)) / fps
    rotations = rot.identity(len(time), 22)
    for name in ("left_shoulder", "right_shoulder"):
        rotations[:, CANONICAL.index(name)] = rot.about("Z", torch.cos(2 * math.pi * time / period))
    root = torch.zeros(len(time), 3)
    root[:, 1] = 0.9
    return Motion(CANONICAL, rotations, root, fps)


def times(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def all_of(music: torch.Tensor) -> list[Stretch]:
    return [Stretch(0.0, math.inf, music)]


def test_rests_go_to_near_beats():
    assert match(times(0.9, 2.1), times(1.0, 2.0), 0.0, 3.0) == [(1.0, 0.9), (2.0, 2.1)]
    # Three beats near one rest: the nearest one.
    assert match(times(1.0), times(0.8, 1.05, 1.3), 0.0, 2.0) == [(1.05, 1.0)]
    # Too far for the speeds that are allowed: three times as slow, then three times as fast.
    assert match(times(0.5), times(1.5), 0.0, 2.0) == []
    assert match(times(), times(1.0), 0.0, 2.0) == match(times(1.0), times(), 0.0, 2.0) == []


def test_a_curve_through_points_rises_and_keeps_its_speeds_in_bounds():
    there, here = times(0.0, 1.0, 2.0, 3.0), times(0.0, 1.2, 1.9, 3.0)
    grid = torch.linspace(0, 3, 301, dtype=torch.float64)
    found = warp(grid, there, here)
    torch.testing.assert_close(found[[0, 100, 200, 300]], here)
    steps = found.diff() * 100
    assert 0.5 < float(steps.min()) < float(steps.max()) < 1.4
    assert float(steps.diff().abs().max()) < 0.05
    torch.testing.assert_close(warp(grid, there, there), grid)


@pytest.mark.parametrize("fps", [20.0, 60.0])
def test_a_swing_keeps_the_time_of_another_tempo(fps):
    motion = swinging(6.0, 1.3).at_fps(fps)
    music = torch.arange(0.4, 6.0, 0.72, dtype=torch.float64)

    def aligned(made: Motion) -> float:
        return beat_alignment((60 * music).round().long(), motion_beats(made.at_fps(60.0).positions), "bailando")

    made, count = beat_sync(motion, all_of(music))
    assert count >= 7
    assert aligned(motion) < 0.6
    assert aligned(made) > 0.85
    assert len(made) == len(motion)
    assert made.fps == motion.fps
    # The same poses, from the same first to the same last, at most so much faster.
    torch.testing.assert_close(made.root[[0, -1]], motion.root[[0, -1]])
    angle, before = (
        rot.to_axis_angle(each.rotations[:, CANONICAL.index("left_shoulder")])[:, 2] for each in (made, motion)
    )
    torch.testing.assert_close(angle[[0, -1]], before[[0, -1]], atol=1e-3, rtol=0)
    fastest = float(before.diff().abs().max())
    assert float(angle.diff().abs().max()) < 1.5 * FASTEST * fastest


def test_without_rests_or_beats_nothing_changes():
    motion = swinging(2.0, 0.8)
    assert beat_sync(motion, []) == beat_sync(motion, all_of(times())) == (motion, 0)
    still = motion.with_(rotations=motion.rotations[:1].repeat(len(motion), 1, 1))
    assert beat_sync(still, all_of(times(0.5, 1.0))) == (still, 0)
    assert beat_sync(make.motion(2), all_of(times(0.01)))[1] == 0


def test_beats_of_a_request_lie_on_its_timeline():
    music = clicks(4.0, 120)
    request = Request((Segment("walks", 2.0), Segment("dances", 3.0, music=music)))
    (found,) = heard(request)
    assert (found.start, found.stop) == (2.0, 5.0)
    assert float(found.beats.min()) >= 2.0
    assert float((found.beats.diff() - 0.5).abs().max()) < 0.05


def test_what_has_no_music_keeps_its_time():
    """Music from the second to the fourth second of six: what lies before and behind it stays, frame by frame."""
    motion = swinging(6.0, 1.3)
    made, count = beat_sync(motion, [Stretch(2.0, 4.0, torch.arange(0.05, 9.0, 0.5, dtype=torch.float64))])
    assert count >= 1
    gap = (made.rotations - motion.rotations).abs().amax((1, 2))
    assert float(gap[:119].max()) < 1e-3
    assert float(gap[242:].max()) < 1e-3
    assert float(gap[125:235].max()) > 0.02


def test_a_dance_that_stands_still_for_long_keeps_time_before_and_after():
    rests = torch.tensor([0.55, 1.05, 1.45, 9.1, 9.6, 10.0], dtype=torch.float64)
    music = torch.arange(0.5, 11.0, 0.5, dtype=torch.float64)
    assert [beat for beat, _ in match(rests, music, 0.0, 11.0)] == [0.5, 1.0, 1.5, 9.0, 9.5, 10.0]


def test_ten_minutes_are_matched_soon():
    """Only beats within a second of a rest are looked at: a thousand of each are no million of pairs."""
    music = torch.arange(0.3, 600.0, 0.5, dtype=torch.float64)
    rests = music[::1] + 0.1 * torch.sin(torch.arange(len(music)))
    assert len(match(rests, music, 0.0, 600.0)) == len(music)


def test_an_engine_keeps_time_unless_told_not_to(tmp_path):
    engine, music = M3GPT(write_m3gpt(tmp_path / "m3gpt")), clicks(4.0, 120)
    warped, plain = (engine.generate(music=music, seed=2, in_time=choice)[0] for choice in (True, False))
    assert len(warped) == len(plain)
    again, count = beat_sync(plain, heard(Request((Segment("", 4.0, music=music),))))
    assert torch.equal(warped.rotations, again.rotations)
    assert torch.equal(warped.root, again.root)
    said = [note for note in warped.provenance.notes if "beats of the music" in note]
    assert len(said) == (count > 0)
    assert not any("beats of the music" in note for note in plain.provenance.notes)

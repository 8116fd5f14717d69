"""Laws and by-hand cases of the dance features, beat alignment and music beats."""

import math

import make
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motionloom.errors import MotionError, RequestError
from motionloom.metrics.dance import (
    beat_alignment,
    dance_scores,
    geometric_features,
    kinetic_features,
    motion_beats,
    rooted,
)
from motionloom.metrics.music import beat_scores, beats_per_second, coverage_and_hit
from motionloom.motion.skeleton import CANONICAL

seeds = st.integers(0, 10_000)
WRIST = CANONICAL.index("right_wrist")


def gliding(frames: int, speed: float) -> torch.Tensor:
    """The body in T-pose, moved along X with ``speed`` metres a frame and up with half of it."""
    way = torch.arange(frames).double()[:, None, None] * torch.tensor([speed, speed / 2, 0.0]).double()
    return CANONICAL.rest_positions.double() + way


def test_kinetic_speeds_of_a_glide_by_hand():
    """0.01 m a frame at 1/60 s is 0.6 m/s: squared 0.36 along the floor and 0.09 up, at all joints and frames."""
    features = kinetic_features(gliding(10, 0.01)).view(22, 3)
    torch.testing.assert_close(features[:, 0], torch.full((22,), 0.36).double())
    torch.testing.assert_close(features[:, 1], torch.full((22,), 0.09).double())


def test_the_energy_depends_on_the_place_as_published():
    """Standing still 1 m from the origin: (0 - (1 - 60)) * 60 = 3540, which a true acceleration would not have."""
    still = torch.zeros(8, 1, 3).double()
    still[..., 0] = 1.0
    assert float(kinetic_features(still)[2]) == pytest.approx(3540.0)
    assert float(kinetic_features(rooted(still))[2]) == 0.0


@given(seed=seeds, frames=st.integers(3, 12), joints=st.integers(1, 5))
def test_kinetic_speeds_do_not_depend_on_the_place(seed, frames, joints):
    clip = make.tensor(frames, joints, 3, seed=seed, dtype=torch.float64)
    here, there = kinetic_features(clip).view(-1, 3), kinetic_features(clip + 5.0).view(-1, 3)
    torch.testing.assert_close(here[:, :2], there[:, :2])
    torch.testing.assert_close(kinetic_features(clip, 1 / 30).view(-1, 3)[:, :2], here[:, :2] / 4)


def test_geometric_features_of_a_standing_body_by_hand():
    """The T-pose at rest, axis by axis: nothing is fast, no limb is bent, hands are high, the trunk is upright."""
    features = geometric_features(gliding(5, 0.0)).tolist()
    assert [features[index] for index in (12, 13, 21, 22, 31)] == [0.0] * 5
    assert [features[index] for index in (6, 7, 19, 20)] == [0.0] * 4
    assert [features[index] for index in (29, 30)] == [0.0, 0.0]
    assert features[28] == 0.0
    assert features[8] == 1.0, "hands farther apart than two and a half shoulders"


def test_a_fast_wrist_is_seen_in_the_frames_it_is_fast():
    """The threshold is 2.5 upper arms (0.642 m/s at 1/120 s a frame, that is 5.4 mm a frame)."""
    clip = gliding(5, 0.0)
    clip[2:, WRIST, 2] += 0.006
    clip[3:, WRIST, 2] += 0.005
    assert float(geometric_features(clip)[12]) == 0.25


@given(seed=seeds)
def test_geometric_features_do_not_see_a_turn_about_the_vertical(seed):
    clip = make.motion(12, seed=seed).positions.double()
    angle = 0.3 + seed % 7
    turn = torch.tensor(
        [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
    ).double()
    torch.testing.assert_close(geometric_features(clip @ turn.T), geometric_features(clip), atol=0.1, rtol=0.0)


@given(seed=seeds, size=st.integers(2, 8))
def test_dance_scores_do_not_depend_on_the_units_of_a_feature(seed, size):
    real = make.tensor(20, size, seed=seed, dtype=torch.float64)
    made = make.tensor(15, size, seed=seed + 1, dtype=torch.float64)
    units = 10.0 ** torch.arange(size).double()
    plain, scaled = dance_scores(real, made), dance_scores(real * units + 3.0, made * units + 3.0)
    assert plain.fid == pytest.approx(scaled.fid, rel=1e-5)
    assert plain.diversity == pytest.approx(scaled.diversity, rel=1e-5)
    assert dance_scores(real, real).fid == pytest.approx(0.0, abs=1e-6)
    assert plain.samples == (15, 20)


def test_diversity_by_hand():
    """Real dances at -1 and 1 have deviation 1; those made at 0, 3, 6 are 3, 3 and 6 apart."""
    real, made = torch.tensor([[-1.0], [1.0]]), torch.tensor([[0.0], [3.0], [6.0]])
    got = dance_scores(real, made)
    assert (got.diversity, got.real_diversity) == (pytest.approx(4.0), pytest.approx(2.0))


def test_beats_of_a_swing_are_where_it_rests():
    """A swing of one second at 60 fps rests every 30 frames; a third of a frame late, as two equal minima are none."""
    clip = gliding(181, 0.0)
    clip[:, WRIST, 1] += 0.3 * torch.cos(2 * math.pi * (torch.arange(181).double() - 0.3) / 60)
    beats = motion_beats(clip)
    nearest = (beats[:, None] + 0.5 - 30.0 * torch.arange(1, 6)).abs().amin(0)
    assert float(nearest.max()) <= 1.0


def test_alignment_by_hand_differs_between_the_conventions():
    """Music at 10 and 40, dance at 10: over the music (1 + exp(-50)) / 2, over the dance 1."""
    music, dance = torch.tensor([10, 40]), torch.tensor([10])
    assert beat_alignment(music, dance, "bailando") == pytest.approx((1 + math.exp(-50)) / 2)
    assert beat_alignment(music, dance, "fact") == 1.0
    assert beat_alignment(music, torch.tensor([13, 37]), "bailando") == pytest.approx(math.exp(-0.5))
    assert beat_alignment(music, dance[:0], "fact") == 0.0


def test_music_beats_by_hand():
    real, made = torch.tensor([1, 1, 0, 0]), torch.tensor([1, 0, 1, 1])
    assert coverage_and_hit(real, made, "d2mgan") == (1.5, 0.5)
    assert coverage_and_hit(real, made, "loris") == (pytest.approx(1 / 3), 0.5)
    assert coverage_and_hit(real, torch.zeros_like(real), "loris") == (0.0, 0.0)
    got = beat_scores([real, real], [made, real], "loris")
    assert got.bcs == pytest.approx(2 / 3)
    assert got.csd == pytest.approx((2 / 3) / math.sqrt(2))
    assert got.bhs == pytest.approx(0.75)
    assert got.f1 == pytest.approx(2 * (2 / 3) * 0.75 / (2 / 3 + 0.75))


@given(seed=seeds, seconds=st.integers(1, 20))
def test_the_same_music_scores_one(seed, seconds):
    onsets = seconds * torch.rand(10, generator=make.generator(seed)).double()
    marks = beats_per_second(onsets, seconds)
    assert coverage_and_hit(marks, marks, "d2mgan") == coverage_and_hit(marks, marks, "loris") == (1.0, 1.0)


def test_onsets_outside_of_the_piece_do_not_count():
    assert beats_per_second(torch.tensor([-1.0, 0.2, 0.9, 2.0, 5.1]), 3).tolist() == [1, 0, 1]


def test_errors_say_what_to_do():
    beats = torch.tensor([1, 0])
    with pytest.raises(MotionError, match=r"2 frame\(s\); kinetic features need at least 3"):
        kinetic_features(torch.zeros(2, 24, 3))
    with pytest.raises(MotionError, match="of 20 joints; geometric features need"):
        geometric_features(torch.zeros(5, 20, 3))
    with pytest.raises(MotionError, match=r"3 frame\(s\); its beats need at least 4"):
        motion_beats(torch.zeros(3, 24, 3))
    with pytest.raises(RequestError, match="the music has no beats"):
        beat_alignment(beats[:0], beats, "fact")
    with pytest.raises(RequestError, match="piece 1: the real music has no beat"):
        beat_scores([beats, 0 * beats], [beats, beats], "loris")
    with pytest.raises(RequestError, match="piece 0: 2 s real, 1 s made"):
        beat_scores([beats, beats], [beats[:1], beats], "loris")
    with pytest.raises(RequestError, match="beats a second are 0 or 1"):
        coverage_and_hit(beats, 2 * beats, "d2mgan")
    with pytest.raises(RequestError, match="1 real and 1 made pieces"):
        beat_scores([beats], [beats], "loris")

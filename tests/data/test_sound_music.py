"""Music made for motions: its beats are those that were meant, and those of the motion rather than of another."""

import math

import make
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.conditions.audio import RATE, load_audio, save_audio
from motionloom.conditions.beats import beats
from motionloom.data.sound.music import BEAT_FPS, STYLES, Grid, accompany, fit_grid, kinematic_beats
from motionloom.errors import RequestError
from motionloom.metrics.dance import beat_alignment
from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL


def swinging(bpm: float, seconds: float = 10.0, first: float = 0.3, fps: float = 30.0) -> Motion:
    """Both arms go up and down and stop at each beat."""
    still = make.motion(round(seconds * fps), fps=fps, size=0.0)
    times = torch.arange(len(still)).double() / fps
    angle = 0.8 * torch.cos(math.pi * bpm / 60 * (times - first)).float()
    rotations = torch.zeros(len(still), len(CANONICAL), 4)
    rotations[..., 0] = 1.0
    for name in ("left_shoulder", "right_shoulder"):
        rotations[:, CANONICAL.index(name)] = rot.about("Z", angle)
    return still.with_(rotations=rotations, root=still.root[:1].expand(len(still), 3))


@pytest.mark.parametrize("style", list(STYLES))
def test_beats_that_are_found_are_those_that_were_meant(style):
    music = accompany(swinging(110.0), seed=2, style=style)
    assert music.style == style
    assert music.bpm == pytest.approx(110.0, rel=0.02)
    found = beats(music.sound.samples, RATE)
    # The tracker may leave out a beat at the ends.
    assert float((music.beats[1:-1, None] - found).abs().amin(1).max()) < 0.07


@pytest.mark.parametrize("bpm", [80.0, 100.0, 140.0])
def test_music_is_aligned_with_its_own_motion_and_not_with_another(bpm):
    motion = swinging(bpm)
    rests = (kinematic_beats(motion)[0] * BEAT_FPS).round().long()
    own = (accompany(motion, seed=1).beats * BEAT_FPS).round().long()
    other = (accompany(swinging(113.0, first=0.05), seed=1).beats * BEAT_FPS).round().long()
    score = beat_alignment(own, rests, "fact")
    assert score > 0.85
    assert score > beat_alignment(other, rests, "fact") + 0.3


@settings(max_examples=20)
@given(bpm=st.floats(75, 150), phase=st.floats(0, 1), seed=st.integers(0, 1000))
def test_a_grid_is_found_among_noise_and_gaps(bpm, phase, seed):
    """Moments on a grid, 10 ms off, every third missing; the likely tempo is near, so it is not halved or doubled."""
    period, g = 60 / bpm, make.generator(seed)
    times = torch.arange(phase * period, 12.0, period, dtype=torch.float64)
    times = times + 0.01 * torch.randn(len(times), generator=g).double()
    kept = times[torch.arange(len(times)) % 3 != seed % 3]
    grid = fit_grid(kept, torch.ones(len(kept)).double(), 12.0, likely=bpm)
    assert grid.bpm == pytest.approx(bpm, rel=0.01)
    wrong = ((kept - grid.first) / (60 / grid.bpm) + 0.5) % 1 - 0.5
    assert float(wrong.abs().mean()) < 0.1


def test_a_grid_by_hand():
    assert Grid(120.0, 0.25).times(1.5).tolist() == [0.25, 0.75, 1.25]
    nothing = torch.zeros(0, dtype=torch.float64)
    assert fit_grid(nothing, nothing, 4.0, likely=90.0) == Grid(90.0, 0.0)


def test_the_same_seed_gives_the_same_music_and_seeds_give_several_styles():
    motion = swinging(100.0, seconds=3.0)
    first, again = accompany(motion, seed=5), accompany(motion, seed=5)
    torch.testing.assert_close(first.sound.samples, again.sound.samples, rtol=0, atol=0)
    made = [accompany(motion, seed) for seed in range(8)]
    assert len({music.style for music in made}) > 2
    assert not torch.equal(made[0].sound.samples, made[1].sound.samples)


def test_music_is_as_long_as_the_motion_and_can_be_written(tmp_path):
    music = accompany(swinging(100.0, seconds=3.0), seed=0)
    assert len(music.sound.samples) == 3 * RATE
    assert 0.1 < float(music.sound.samples.abs().max()) <= 0.9 + 1e-6
    save_audio(music.sound, tmp_path / "a.wav")
    torch.testing.assert_close(load_audio(tmp_path / "a.wav").samples, music.sound.samples, rtol=0, atol=1e-4)


def test_a_body_that_stands_still_gets_music_of_its_styles_tempo():
    still = make.motion(60, fps=30.0, size=0.0)
    still = still.with_(root=still.root[:1].expand(60, 3), rotations=still.rotations[:1].expand(60, -1, -1))
    music = accompany(still, seed=0, style="waltz")
    assert music.bpm == STYLES["waltz"].likely
    assert music.sound.samples.abs().max() > 0.1


def test_patterns_are_whole_bars():
    for style in STYLES.values():
        assert len({len(style.kick), len(style.snare), len(style.hat), len(style.bass)}) == 1
        assert len(style.kick) == 4 * style.beats


def test_what_cannot_be_played_is_refused():
    with pytest.raises(RequestError, match="no style 'polka'; styles are house"):
        accompany(swinging(100.0, seconds=2.0), 0, "polka")
    with pytest.raises(RequestError, match=r"lasts 0\.1 s; music is made for 0\.5 to 600 s"):
        accompany(swinging(100.0, seconds=0.1), 0)

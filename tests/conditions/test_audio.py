"""Sound files and what engines see of them: parity with librosa, cases by hand, bad files."""

import math

import make
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.conditions import spectra
from motionloom.conditions.audio import (
    AUDIO_SLICES,
    AUDIO_WIDTH,
    RATE,
    Sound,
    audio_features,
    load_audio,
    resample,
    save_audio,
)
from motionloom.conditions.beats import beat_frames, beats, tempo
from motionloom.errors import MotionFileError, RequestError

LIBROSA_FPS = RATE / 512
seeds = st.integers(0, 10_000)


def tone(hertz: float, seconds: float, rate: int = RATE, level: float = 0.5) -> torch.Tensor:
    return (level * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * rate)).double() / rate)).float()


def clicks(bpm: float, seconds: float, first: float = 0.25) -> tuple[torch.Tensor, torch.Tensor]:
    """Short decaying noises on every beat, and their times."""
    times = torch.arange(first, seconds - 0.1, 60 / bpm, dtype=torch.float64)
    noise = make.tensor(1000) * torch.exp(-torch.arange(1000) / 150)
    sound = torch.zeros(round(seconds * RATE))
    for start in (times * RATE).round().long().tolist():
        sound[start : start + 1000] += 0.2 * noise
    return sound, times


def band(seconds: float = 4.0) -> torch.Tensor:
    """Clicks, two tones and some noise."""
    sound = clicks(110.0, seconds)[0] + tone(330.0, seconds, level=0.2) + tone(1234.5, seconds, level=0.05)
    return sound + 0.003 * make.tensor(len(sound), seed=1)


# -- parity ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def librosa():
    return pytest.importorskip("librosa", reason="librosa 0.11 is the oracle: pip install librosa==0.11.0")


def agree(ours: torch.Tensor, theirs: np.ndarray, tolerance: float) -> None:
    """librosa has one frame more than a motion of the same duration, or none."""
    count = min(len(ours), len(theirs))
    assert count > 100
    assert abs(len(ours) - len(theirs)) <= 1
    torch.testing.assert_close(ours[:count].double(), torch.from_numpy(theirs[:count]).double(), rtol=0, atol=tolerance)


def test_mel_and_chroma_filters_are_librosas(librosa):
    for rate, bands in ((22050, 64), (16000, 40), (44100, 128)):
        theirs = torch.from_numpy(librosa.filters.mel(sr=rate, n_fft=2048, n_mels=bands))
        torch.testing.assert_close(spectra.mel_filters(rate, bands), theirs, rtol=0, atol=1e-8)
    theirs = torch.from_numpy(librosa.filters.chroma(sr=RATE, n_fft=2048))
    torch.testing.assert_close(spectra.chroma_filters(RATE), theirs, rtol=0, atol=1e-6)


def test_log_mel_is_librosas_within_a_thousandth_of_a_decibel(librosa):
    power = librosa.feature.melspectrogram(y=band().numpy(), sr=RATE, n_mels=64)
    agree(spectra.log_mel(band(), RATE, LIBROSA_FPS), librosa.power_to_db(power).T, 1e-3)


def test_onset_strength_is_librosas_within_a_thousandth_of_a_decibel(librosa):
    level = librosa.power_to_db(librosa.feature.melspectrogram(y=band().numpy(), sr=RATE))
    agree(spectra.onset_strength(band(), RATE, LIBROSA_FPS), librosa.onset.onset_strength(S=level, sr=RATE), 1e-3)


def test_chroma_is_librosas_at_concert_pitch(librosa):
    theirs = librosa.feature.chroma_stft(y=band().numpy(), sr=RATE, tuning=0.0)
    agree(spectra.chroma(band(), RATE, LIBROSA_FPS), theirs.T, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("bpm", [80.0, 104.0, 128.0])
def test_beats_are_librosas_where_librosa_finds_the_tempo(librosa, bpm):
    """Both within 70 ms, the usual tolerance; librosa's are later by the half of a longer frame."""
    sound, _ = clicks(bpm, 12.0)
    theirs = torch.from_numpy(librosa.beat.beat_track(y=sound.numpy(), sr=RATE, units="time")[1])
    apart = (beats(sound, RATE)[:, None] - theirs).abs().amin(0)
    assert float(apart[1:-1].max()) < 0.07


# -- by hand ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hertz", "pitch"), [(440.0, "A"), (261.63, "C"), (880.0, "A"), (369.99, "F#")])
def test_a_tone_is_its_pitch(hertz, pitch):
    found = spectra.chroma(tone(hertz, 1.0), RATE, 20.0)[2:-2]
    assert {spectra.PITCHES[index] for index in found.argmax(-1).tolist()} == {pitch}


def test_a_tone_is_loudest_in_the_band_around_it():
    """Slaney's mel is 15 at 1 kHz; 64 bands to 11025 Hz (49.9 mel) lie 0.768 apart: 1 kHz is band 18.5."""
    loud = spectra.log_mel(tone(1000.0, 1.0), RATE, 25.0)[5:-5].argmax(-1)
    assert set(loud.tolist()) <= {18, 19}


def test_power_of_a_tone_by_hand():
    """At a frequency of the transform a Hann window gives (amplitude x window sum / 2) squared: (0.5 x 1024 / 2)²."""
    power = spectra.spectrogram(tone(100 * RATE / 2048, 1.0), RATE, 25.0)
    assert float(power[12, 100]) == pytest.approx(256.0**2, rel=1e-4)


@pytest.mark.parametrize("bpm", [60.0, 75.0, 90.0, 120.0, 140.0, 160.0])
def test_clicks_are_beats_within_30_ms(bpm):
    sound, times = clicks(bpm, 12.0)
    found = beats(sound, RATE)
    assert len(found) == len(times)
    assert float((found - times).abs().max()) < 0.03


def test_the_likely_tempo_decides_between_twice_and_half():
    fps = RATE / 256
    onsets = spectra.onset_strength(clicks(80.0, 12.0)[0], RATE, fps)
    assert tempo(onsets, fps, likely=80.0) == pytest.approx(80.0, rel=0.01)
    assert tempo(onsets, fps, likely=200.0) == pytest.approx(160.0, rel=0.01)


def test_beats_go_on_where_a_click_is_missing_but_not_beyond_the_music():
    sound, times = clicks(120.0, 12.0)
    gap = round(float(times[8]) * RATE)
    sound[gap - 50 : gap + 1100] = 0
    sound = torch.cat((torch.zeros(2 * RATE), sound, torch.zeros(3 * RATE)))
    found = beats(sound, RATE)
    assert len(found) == len(times)
    assert float((found - times - 2.0).abs().max()) < 0.05


def test_nothing_recurs_in_silence_and_in_one_click():
    assert len(beats(torch.zeros(RATE), RATE)) == 0
    assert len(beat_frames(torch.zeros(200), 86.0, 120.0)) == 0
    assert tempo(torch.zeros(2), 86.0) == 0.0


@settings(max_examples=10)
@given(
    old=st.sampled_from([16000, 44100, 48000, 44099]), hertz=st.floats(100, 7000), new=st.sampled_from([22050, 16000])
)
def test_resampling_keeps_a_tone_and_its_duration(old, hertz, new):
    hertz = min(hertz, 0.45 * min(old, new))
    made, wanted = resample(tone(hertz, 1.0, old), old, new), tone(hertz, 1.0, new)
    assert len(made) == new
    torch.testing.assert_close(made[2000:-2000], wanted[2000:-2000], rtol=0, atol=1e-3)


def test_resampling_takes_away_what_the_new_rate_cannot_hold():
    assert float(resample(tone(15_000.0, 1.0, 48_000), 48_000, RATE)[2000:-2000].abs().max()) < 1e-4


@settings(max_examples=12)
@given(fps=st.sampled_from([4.0, 12.5, 20.0, 25.0, 29.97, 60.0, 120.0]), seconds=st.floats(0.05, 3.0), seed=seeds)
def test_features_are_as_many_as_frames_of_the_motion_and_from_0_to_1(fps, seconds, seed):
    sound = 0.1 * make.tensor(round(seconds * RATE), seed=seed)
    features = audio_features(sound, RATE, fps)
    assert features.shape == (max(1, round(len(sound) / RATE * fps)), AUDIO_WIDTH)
    assert 0.0 <= float(features.min()) <= float(features.max()) <= 1.0 + 1e-6


@pytest.mark.parametrize("fps", [2.0, 7.5, 20.0, 43.1, 100.0])
def test_no_part_of_the_clip_is_left_out(fps):
    """A click anywhere is seen by the frame nearest to it, also between frames that are half a second apart."""
    for place in torch.linspace(0.02, 3.7, 11).tolist():
        sound = 1e-3 * make.tensor(4 * RATE)
        sound[round(place * RATE) : round(place * RATE) + 60] += 0.5
        seen = audio_features(sound, RATE, fps)[:, AUDIO_SLICES["mel"]].mean(-1)
        assert abs(float(seen.argmax()) / fps - place) < 0.5 / fps + 0.05


@given(seed=seeds)
@settings(max_examples=5)
def test_a_clip_of_a_batch_is_what_it_is_alone(seed):
    pair = torch.stack((0.1 * make.tensor(RATE, seed=seed), tone(440.0, 1.0)))
    for measure in (spectra.log_mel, spectra.chroma, spectra.onset_strength):
        both = measure(pair, RATE, 20.0)
        torch.testing.assert_close(both[0], measure(pair[0], RATE, 20.0), rtol=1e-4, atol=1e-4)


def test_features_do_not_depend_on_loudness():
    quiet, loud = audio_features(0.1 * band(), RATE, 20.0), audio_features(band(), RATE, 20.0)
    torch.testing.assert_close(quiet, loud, rtol=0, atol=1e-3)


def test_beats_are_marked_in_their_frames():
    sound, times = clicks(120.0, 6.0)
    marked = audio_features(sound, RATE, 20.0)[:, AUDIO_SLICES["beat"]][:, 0].nonzero()[:, 0]
    assert float((marked.double() / 20 - times).abs().max()) <= 0.05
    assert max(piece.stop for piece in AUDIO_SLICES.values()) == AUDIO_WIDTH


def test_silent_samples_give_zeros():
    assert not audio_features(torch.zeros(RATE), RATE, 20.0).any()


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
@pytest.mark.parametrize("rate", [44100, 22050])
def test_a_tone_survives_the_file(tmp_path, suffix, rate):
    save_audio(Sound(tone(440.0, 2.0, rate), rate), tmp_path / f"a{suffix}")
    sound = load_audio(tmp_path / f"a{suffix}")
    assert sound.rate == RATE
    assert sound.seconds == pytest.approx(2.0, abs=0.05)
    power = spectra.spectrogram(sound.samples, RATE, 10.0)[10]
    assert float(power.argmax()) * RATE / 2048 == pytest.approx(440.0, abs=11)


def test_channels_are_mixed_and_spans_are_read(tmp_path):
    left, right = tone(440.0, 3.0), torch.cat((torch.zeros(RATE), tone(660.0, 2.0)))
    soundfile.write(tmp_path / "a.wav", torch.stack((left, right), 1).numpy(), RATE, subtype="FLOAT")
    torch.testing.assert_close(load_audio(tmp_path / "a.wav").samples, (left + right) / 2)
    span = load_audio(tmp_path / "a.wav", start=1.0, seconds=0.5)
    torch.testing.assert_close(span.samples, ((left + right) / 2)[RATE : RATE + RATE // 2])


def bad(path, samples: np.ndarray, rate: int = RATE, **more) -> None:
    soundfile.write(path, samples, rate, **more)


def test_files_that_are_no_use_are_refused_in_one_line(tmp_path):
    quiet = np.zeros(RATE)
    cases = {
        "none.wav": (None, "there is no such file"),
        "empty.wav": (lambda path: path.write_bytes(b""), "0 bytes"),
        "text.mp3": (lambda path: path.write_text("do re mi " * 50), "no readable sound file"),
        "headerless.raw": (lambda path: path.write_bytes(b"1234" * 999), "no readable sound file"),
        "silent.wav": (lambda path: bad(path, quiet), "is silent"),
        "short.wav": (lambda path: bad(path, quiet[:2205] + 0.1), r"0\.1 s of sound"),
        "hour.wav": (lambda path: bad(path, np.zeros(3600 * 4000, np.int16), 4000), "3600 s of sound; up to 600 s"),
        "many.wav": (lambda path: bad(path, np.ones((RATE, 9))), "9 channels"),
        "slow.wav": (lambda path: bad(path, quiet, 500), "500 samples a second"),
        "nan.wav": (lambda path: bad(path, quiet + np.nan, subtype="FLOAT"), "NaN"),
    }
    for name, (write, message) in cases.items():
        if write is not None:
            write(tmp_path / name)
        with pytest.raises(MotionFileError, match=message) as caught:
            load_audio(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)
    with pytest.raises(MotionFileError, match="is a directory"):
        load_audio(tmp_path)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_a_file_that_is_cut_off_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    save_audio(Sound(band(5.0).clamp(-1, 1), RATE), path)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(MotionFileError, match=r"cut off|no readable sound file"):
        load_audio(path)


def test_impossible_wishes_are_refused(tmp_path):
    save_audio(Sound(tone(440.0, 1.0), RATE), tmp_path / "a.wav")
    with pytest.raises(RequestError, match=r"span from -1"):
        load_audio(tmp_path / "a.wav", start=-1.0)
    with pytest.raises(RequestError, match="100 samples a second"):
        load_audio(tmp_path / "a.wav", rate=100)
    with pytest.raises(MotionFileError, match="0 s of sound from 5 s on"):
        load_audio(tmp_path / "a.wav", start=5.0)
    with pytest.raises(RequestError, match="finite samples"):
        audio_features(torch.full((RATE,), math.nan), RATE, 20.0)
    with pytest.raises(RequestError, match="0 frames a second"):
        audio_features(tone(440.0, 1.0), RATE, 0.0)
    with pytest.raises(RequestError, match="mel bands"):
        spectra.mel_filters(RATE, 900)
    with pytest.raises(RequestError, match="likely tempo 500"):
        tempo(torch.rand(100), 86.0, likely=500.0)
    with pytest.raises(RequestError, match="tempo 0"):
        beat_frames(torch.rand(100), 86.0, 0.0)
    with pytest.raises(MotionFileError, match="loudest sample is 2"):
        save_audio(Sound(torch.full((100,), 2.0), RATE), tmp_path / "b.wav")
    with pytest.raises(MotionFileError, match=r"not '\.aac'"):
        save_audio(Sound(tone(440.0, 1.0), RATE), tmp_path / "b.aac")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav"]

"""Sound as people have it: what blocks, channels and beginnings do to it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from motionloom.conditions import audio
from motionloom.conditions.audio import Sound, load_audio, save_audio
from motionloom.errors import MotionFileError

RATE = 44100


def song(seconds: float, rate: int = RATE) -> torch.Tensor:
    times = torch.arange(round(seconds * rate)).double() / rate
    noise = torch.randn(len(times), generator=torch.Generator().manual_seed(0))
    return (0.3 * (440 * torch.pi * times).sin() * (1 + (3 * times).sin()) + 0.02 * noise).float().clamp(-1, 1)


@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".flac", ".wav"])
def test_blocks_and_spans_do_not_matter(tmp_path: Path, suffix: str) -> None:
    """MP3 once differed by 0.093 from each 65,536th sample on, because reading went back to where it was."""
    path = tmp_path / f"a{suffix}"
    save_audio(Sound(song(6.0), RATE), path)
    whole, _ = soundfile.read(path, dtype="float32")
    found = load_audio(path, RATE).samples.numpy()
    np.testing.assert_array_equal(found, whole)
    start = round(2.3 * RATE)
    np.testing.assert_array_equal(load_audio(path, RATE, 2.3, 2.0).samples.numpy(), whole[start : start + 2 * RATE])


def test_the_decoder_has_nothing_to_say(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    save_audio(Sound(song(5.0), RATE), path)
    code = f"from motionloom.conditions.audio import load_audio; load_audio({str(path)!r}, start=1.5, seconds=2)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_channels_that_cancel_each_other_are_not_mixed(tmp_path: Path) -> None:
    left = song(2.0).numpy()
    soundfile.write(tmp_path / "a.wav", np.column_stack((left, -left)), RATE)
    found = load_audio(tmp_path / "a.wav", RATE)
    np.testing.assert_allclose(found.samples.numpy(), left, atol=1e-4)
    assert found.notes == ("its channels cancel each other: channel 1 of 2 taken",)
    soundfile.write(tmp_path / "b.wav", np.column_stack((left, 0.0 * left)), RATE)
    mixed = load_audio(tmp_path / "b.wav", RATE)
    np.testing.assert_allclose(mixed.samples.numpy(), left / 2, atol=1e-4)
    assert mixed.notes == ()


def test_a_silent_beginning_names_where_sound_begins(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.concatenate((np.zeros(3 * RATE), song(3.0).numpy())), RATE)
    with pytest.raises(MotionFileError, match=r"its sound begins at 3\.0 s; name where to begin with --from 3\.0"):
        load_audio(tmp_path / "a.wav", seconds=2.0)
    assert load_audio(tmp_path / "a.wav", start=3.0, seconds=2.0).seconds == 2.0
    soundfile.write(tmp_path / "b.wav", np.zeros(3 * RATE), RATE)
    with pytest.raises(MotionFileError, match=r"is silent .* give a file with sound, or leave the condition out"):
        load_audio(tmp_path / "b.wav")


@pytest.mark.parametrize("suffix", [".m4a", ".aac", ".wma"])
def test_what_is_not_decoded_names_the_way(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"song{suffix}").write_bytes(b"\0" * 100)
    with pytest.raises(MotionFileError, match=rf"convert it first: ffmpeg -i song\{suffix} song\.wav"):
        load_audio(tmp_path / f"song{suffix}")


def test_limits_are_looked_at_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = np.zeros((48000, 8), np.int16)
    with soundfile.SoundFile(tmp_path / "a.wav", "w", 48000, 8, "PCM_16") as file:
        for _ in range(200):
            file.write(quiet)
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("something was decoded"))
    with pytest.raises(MotionFileError, match=r"200 s of sound; up to 150 s at 48000 Hz with 8 channels .* --from and"):
        load_audio(tmp_path / "a.wav")


def test_a_minute_of_ogg_is_written(tmp_path: Path) -> None:
    """The encoder once overflowed its stack, which ended the process."""
    save_audio(Sound(song(70.0, 22050), 22050), tmp_path / "a.ogg")
    assert load_audio(tmp_path / "a.ogg").seconds == pytest.approx(70.0, abs=0.01)


@pytest.mark.parametrize(("old", "new"), [(48000, 22050), (44101, 22050), (22050, 48000)])
def test_long_sound_is_resampled_in_pieces_as_in_one(old: int, new: int) -> None:
    samples = song(45.0, old)
    whole = audio._resample_whole(samples, old, new)
    torch.testing.assert_close(audio.resample(samples, old, new), whole, atol=2e-6, rtol=0)

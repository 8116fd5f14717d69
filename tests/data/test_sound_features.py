"""Sound of a store's clips: made once, the same each time, and brought to any frame rate."""

import shutil

import pytest
import torch

from motionloom.conditions.audio import AUDIO_SLICES, Sound, save_audio
from motionloom.data.sound.features import SOUND_FPS, SoundOptions, SoundSet, pooled, sound_features, sound_of
from motionloom.errors import DataError

CLICKS = Sound((torch.arange(2 * 22050) % 11025 < 100).float(), 22050)


@pytest.mark.parametrize("fps", [7.5, 20.0, 60.0, 100.0])
def test_no_onset_is_lost_at_any_frame_rate(fps):
    fine = sound_features(CLICKS)
    tokens = pooled(fine, 0.0, fps, round(2 * fps))
    assert tokens.shape == (round(2 * fps), 78)
    sharp = AUDIO_SLICES["onset"]
    for frame in range(1, round(2 * fps) - 1):
        near = [row for row in range(len(fine)) if abs(row / SOUND_FPS - frame / fps) < 0.49 / fps]
        if near:
            assert float(tokens[frame, sharp].max()) >= float(fine[near, sharp].max())
    assert float(tokens.max()) <= 1.0
    assert float(tokens.min()) >= 0.0


def test_a_window_is_what_is_heard_from_there_on_and_silence_behind_the_end():
    fine = sound_features(CLICKS)
    whole, late = pooled(fine, 0.0, 20.0, 40), pooled(fine, 1.0, 20.0, 40)
    torch.testing.assert_close(late[:20], whole[20:])
    assert not late[21:].any()
    assert torch.equal(pooled(fine, 0.0, SOUND_FPS, len(fine)), fine)


def test_music_is_made_once_and_is_the_clip_s_own(store):
    sounds = SoundSet(store, "music", SoundOptions(versions=2, others=3))
    given = [clip for clip in store.clips if sounds.versions(clip)]
    assert len(given) == 3
    clip = given[0]
    window = sounds.window(clip, 0, 0.25, 20.0, 20)
    fresh = pooled(sound_features(sound_of(store, clip, "music", 0)), 0.25, 20.0, 20)
    torch.testing.assert_close(window, fresh, atol=1e-3, rtol=1e-3)
    folder = next((store.path / "features").glob("music-*"))
    before = (folder / "features.npy").stat().st_mtime_ns
    SoundSet(store, "music", SoundOptions(versions=2, others=3))
    assert (folder / "features.npy").stat().st_mtime_ns == before


def test_recorded_sound_is_taken_where_it_lies(store, tmp_path):
    clip = store.clips[0]
    clip = type(clip)(**{**vars(clip), "labels": {"music": '{"path": "song.wav", "offset": 0.5}'}})
    save_audio(Sound(torch.cat((torch.zeros(22050), CLICKS.samples, CLICKS.samples)), 22050), tmp_path / "song.wav")
    found = sound_of(store, clip, "music", 0, {clip.source: tmp_path})
    assert abs(found.seconds - clip.seconds) < 0.01
    assert not found.samples[:11000].abs().max() > 1e-3  # half of the second of silence is before the clip
    assert float(found.samples[11025 : 11025 + 50].max()) > 0.5


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_speech_is_given_to_gestures_only(store):
    sounds = SoundSet(store, "speech", SoundOptions(others=2))
    words = ("wave", "bye", "call", "respond", "guide", "raise-up", "bow")
    given = [clip for clip in store.clips if sounds.versions(clip)]
    assert all(any(word in " ".join(clip.labels.values()) for word in words) for clip in given)


def test_what_is_missing_is_named(store, monkeypatch):
    with pytest.raises(DataError, match="sound of 'aist=/nowhere': write source=FOLDER"):
        SoundSet(store, "music", SoundOptions(folders=("aist=/nowhere",)))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(DataError, match="espeak-ng, which is not installed"):
        SoundSet(store, "speech")

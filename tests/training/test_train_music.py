"""Music for a store's clips, and a music tokenizer in the training loop."""

import dataclasses

import numpy as np
import pytest
import torch

from motionloom.conditions.audio import RATE
from motionloom.data.sound.features import is_dance
from motionloom.errors import DataError, TrainingError
from motionloom.models.checkpoint import load_checkpoint
from motionloom.models.tokenizers.music import MusicTokenizer
from motionloom.training.loop import train
from motionloom.training.music import MusicData
from motionloom.training.music_data import accompaniments
from motionloom.training.recipes import Recipe, TrainConfig

OPTIONS = TrainConfig(
    steps=14, batch=2, lr=1e-2, warmup=2, precision="fp32", log_every=1, eval_every=14, save_every=7, beta2=0.9
)
MODEL = {"strides": [16, 8, 4], "widths": [8, 8, 8], "groups": [3], "depth": 1, "codes": 16, "code_dim": 8}
DATA = {"minutes": 0.1, "held_out": 0.05, "seconds": 0.4, "warm": 5}


def recipe(**changes):
    return Recipe("tiny", "music", dataclasses.replace(OPTIONS, **changes), MODEL, DATA)


def test_music_is_made_once_and_each_piece_belongs_to_a_clip(store):
    made = accompaniments(store, "train", 0.15, 3)
    assert 0.15 <= made.minutes < 0.2
    known = {clip.id: clip for clip in store.split("train")}
    for place, name in enumerate(made.clips):
        samples = made.piece(place)
        assert len(samples) == round(known[name].seconds * RATE)
        assert float(samples.abs().max()) <= 1
    again = accompaniments(store, "train", 0.15, 3)
    assert again.clips == made.clips
    assert np.array_equal(again.samples, made.samples)
    assert not torch.equal(accompaniments(store, "train", 0.15, 4).piece(0)[:20000], made.piece(0)[:20000])


def test_crops_are_spans_of_the_pieces(store):
    made = accompaniments(store, "train", 0.15, 3)
    crops = made.crops(5, 2000, np.random.default_rng(0))
    whole = torch.from_numpy(made.samples.astype(np.float32) / 32767)
    for crop in crops:
        places = (whole[: -len(crop)] == crop[0]).nonzero()[:, 0]
        assert any(torch.equal(whole[place : place + len(crop)], crop) for place in places.tolist())
    with pytest.raises(DataError, match=r"no piece of sound has 45 s"):
        made.crops(1, 45 * RATE, np.random.default_rng(0))
    with pytest.raises(DataError, match="has no clip of 99 s to make music for"):
        accompaniments(store, "train", 1.0, 0, shortest=99.0)


def test_dances_are_known_by_their_labels(store):
    clip = store.clips[0]
    assert not is_dance(clip)
    assert is_dance(dataclasses.replace(clip, labels={"content": "dance-short"}))
    assert is_dance(dataclasses.replace(clip, labels={"description": "salsa dancing"}))
    assert not is_dance(dataclasses.replace(clip, labels={"content": "walk"}, captions=("a dancer walks",)))


def test_training_lowers_the_loss_and_going_on_equals_no_interruption(store, tmp_path):
    folder = train(recipe(), store.path, tmp_path / "a", accelerator="cpu")
    rows = [line.split(",") for line in (tmp_path / "a" / "log.csv").read_text().split()[1:]]
    losses = [float(value) for _, name, value in rows if name == "loss"]
    assert np.mean(losses[-4:]) < 0.95 * np.mean(losses[:4])
    learned = [float(value) for _, name, value in rows if name == "commitment"]
    assert learned[:5] == [0.0] * 5
    assert min(learned[5:]) > 0
    figures = {name: float(value) for _, name, value in rows if name.startswith("val/")}
    assert set(figures) == {"val/snr_db", "val/spectral", "val/codes"}
    checkpoint = load_checkpoint(folder)
    assert isinstance(checkpoint.model, MusicTokenizer)
    assert "| snr_db |" in checkpoint.card
    for stop in (7, None):
        train(recipe(), store.path, tmp_path / "b", accelerator="cpu", stop_after=stop)
    other = load_checkpoint(tmp_path / "b" / "model").model.state_dict()
    for name, value in checkpoint.model.state_dict().items():
        assert torch.equal(value, other[name]), name


def test_impossible_values_are_refused():
    with pytest.raises(TrainingError, match=r"crops of 0.05 s; 0.093 to 10 s are needed"):
        MusicData(seconds=0.05)
    with pytest.raises(TrainingError, match="quietest in"):
        MusicData(quietest=0.0)

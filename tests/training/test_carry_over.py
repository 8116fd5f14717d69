"""A masked transformer is carried over to another tokenizer and other captions without losing what it knows."""

import dataclasses

import numpy as np
import pytest
import torch
from test_train import TINY, tokenizer_recipe

from motionloom.data.loader import FeatureSet
from motionloom.errors import TrainingError
from motionloom.models.checkpoint import load_checkpoint, save_checkpoint
from motionloom.models.masked.model import MaskedTransformer
from motionloom.models.tokenizers.motion import MotionTokenizer
from motionloom.training.carry_over import carried_over, carry_over, same_frames, whitened_anew
from motionloom.training.loop import train
from motionloom.training.recipes import Recipe

MASKED = {"codes": 16, "width": 16, "heads": 2, "layers": 1, "max_tokens": 12}


@pytest.fixture(scope="module")
def tokenizer(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    return train(tokenizer_recipe(), store.path, folder, accelerator="cpu")


@pytest.fixture(scope="module")
def masked(store, tokenizer, tmp_path_factory):
    recipe = Recipe("tiny", "masked", TINY, MASKED, {"tokenizer": str(tokenizer)})
    return train(recipe, store.path, tmp_path_factory.mktemp("masked"), accelerator="cpu")


def renamed(tokenizer, folder):
    """The same tokenizer with its codes in another order, and that order."""
    checkpoint = load_checkpoint(tokenizer)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    assert isinstance(checkpoint.model, MotionTokenizer)
    quantizer = checkpoint.model.quantizer
    for name in ("codebook", "sums", "counts", "usage"):
        getattr(quantizer, name).copy_(getattr(quantizer, name)[order])
    save_checkpoint(folder, checkpoint.model, checkpoint.stats, checkpoint.data, checkpoint.licence, checkpoint.card)
    return order


def test_codes_with_other_names_are_found_again(store, tokenizer, masked, tmp_path):
    order = renamed(tokenizer, tmp_path / "renamed")
    carry_over(store, masked, tokenizer, tmp_path / "renamed", tmp_path / "start")
    before, after = (load_checkpoint(folder).model.state_dict() for folder in (masked, tmp_path / "start"))
    counts = same_frames(store, tokenizer, tmp_path / "renamed")
    used = counts[0].sum(1) > 0
    assert used.any()
    for name in ("embedding.table.weight", "trunk.head.weight"):
        torch.testing.assert_close(after[name][:16][used], before[name][order][used], atol=2e-3, rtol=1e-2)
    # Ids behind the codes, and everything else, stay.
    torch.testing.assert_close(after["embedding.table.weight"][16:], before["embedding.table.weight"][16:])


def test_reading_sentences_whitened_anew_changes_nothing(masked):
    checkpoint = load_checkpoint(masked)
    model, weights = checkpoint.model, dict(checkpoint.model.state_dict())
    assert isinstance(model, MaskedTransformer)
    earlier = checkpoint.stats["sentence_mean"], checkpoint.stats["sentence_std"]
    later = earlier[0] + 0.1 * torch.randn(384), earlier[1] * (0.5 + torch.rand(384))
    sentence = torch.randn(3, 384) * 0.05
    wanted = model.trunk.sentence((sentence - earlier[0]) / earlier[1])
    whitened_anew(weights, earlier, later)
    model.load_state_dict(weights)
    torch.testing.assert_close(
        model.trunk.sentence((sentence - later[0]) / later[1]), wanted, atol=1e-3, rtol=1e-3
    )  # fmt: skip


def test_a_code_that_stands_for_two_earlier_ones_lies_between_them():
    weights = {"embedding.table.weight": torch.eye(7), "trunk.head.weight": torch.eye(4, 7)}
    counts = np.zeros((1, 4, 4))
    counts[0, 0, 1] = counts[0, 0, 2] = 5
    found = carried_over(weights, counts, specials=3)
    vector = found["embedding.table.weight"][0]
    assert vector[1] == pytest.approx(vector[2].item())
    assert float(vector.norm()) == pytest.approx(1.0, abs=1e-5)
    # Codes that were not seen keep what they had.
    assert torch.equal(found["embedding.table.weight"][1:], weights["embedding.table.weight"][1:])


def test_tokenizers_that_do_not_fit_are_refused(store, tokenizer, tmp_path):
    other = dataclasses.replace(tokenizer_recipe(steps=2), model={"width": 16, "codes": 8, "code_dim": 8})
    small = train(other, store.path, tmp_path, accelerator="cpu")
    with pytest.raises(TrainingError, match=r"has 16 codes, .* has 8: the same number is needed"):
        same_frames(store, tokenizer, small)


def test_some_clips_of_a_set_are_a_set(store):
    clips = FeatureSet(store, "train")
    some = clips.picked(np.array([2, 0]))
    assert len(some) == 2
    assert torch.equal(some.clip(0), clips.clip(2))
    assert torch.equal(some.clip(1, mirrored=True), clips.clip(0, mirrored=True))

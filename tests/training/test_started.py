"""A training that goes on from trained weights keeps the figures that its inputs are scaled by."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_train import TINY, tokenizer_recipe

from motionloom.models.checkpoint import load_checkpoint
from motionloom.training.loop import train
from motionloom.training.recipes import Recipe

SHORT = dataclasses.replace(TINY, steps=2, eval_every=2, save_every=2)


def run(recipe, store, folder, **changes):
    recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, **changes))
    return train(recipe, store.path, folder, accelerator="cpu")


def moved(folder):
    """The statistics of a checkpoint made other than the store's."""
    found = {name: value.clone() * 1.5 for name, value in load_file(folder / "stats.safetensors").items()}
    save_file(found, folder / "stats.safetensors")


@pytest.mark.parametrize("kind", ["tokenizer", "matcher", "length", "masked"])
def test_statistics_are_those_of_the_model_it_starts_from(kind, store, tmp_path):
    if kind == "tokenizer":
        recipe = tokenizer_recipe(steps=2, eval_every=2, save_every=2)
    elif kind == "matcher":
        recipe = Recipe("tiny", kind, SHORT, {"width": 16, "heads": 2, "layers": 1})
    elif kind == "length":
        recipe = Recipe("tiny", kind, SHORT)
    else:
        tokenizer = run(tokenizer_recipe(steps=2, eval_every=2, save_every=2), store, tmp_path / "tokenizer")
        sizes = {"codes": 16, "width": 16, "heads": 2, "layers": 1, "max_tokens": 12}
        recipe = Recipe("tiny", kind, SHORT, sizes, {"tokenizer": str(tokenizer)})
    first = run(recipe, store, tmp_path / "first")
    moved(first)
    kept = ("mean", "std") if kind == "tokenizer" else ("sentence_mean", "sentence_std")
    second = run(recipe, store, tmp_path / "second", init=str(first))
    wanted, found = load_checkpoint(first).stats, load_checkpoint(second).stats
    for name in (*kept, *(("mean", "std") if kind == "matcher" else ())):
        assert torch.equal(wanted[name], found[name]), name

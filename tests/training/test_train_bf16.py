"""Every trainer under CPU autocast, on a store that nothing was computed for yet."""

import dataclasses
import shutil

import numpy as np
import pytest
from test_train import TINY, tokenizer_recipe
from test_train_diffusion import second_stage
from test_train_language import recipe as language_recipe
from test_train_language import tokenizers  # noqa: F401 - a fixture
from test_train_music import recipe as music_recipe

from motionloom.data.store import Store
from motionloom.training.loop import train
from motionloom.training.recipes import Recipe
from motionloom.training.registry import TRAINERS

SHORT = dataclasses.replace(TINY, steps=2, eval_every=2, save_every=2, log_every=1, precision="bf16")


@pytest.fixture
def fresh(store, tmp_path):
    """The store without the features, tokens and vectors that other trainings left beside it."""
    shutil.copytree(store.path, tmp_path / "store", ignore=shutil.ignore_patterns("features"))
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def tokenizer(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    return train(tokenizer_recipe(steps=4), store.path, folder, accelerator="cpu", progress=False)


def recipe_of(kind: str, tokenizer, tokenizers) -> Recipe:  # noqa: F811
    if kind == "tokenizer":
        return tokenizer_recipe(**{name: getattr(SHORT, name) for name in ("steps", "eval_every", "precision")})
    if kind == "body_tokenizer":
        sizes = {"width": 16, "codes": 16, "code_dim": 8, "part_widths": [16, 16, 16, 16]}
        return Recipe("tiny", kind, SHORT, sizes, {"window": 24})
    if kind == "masked":
        sizes = {"width": 16, "heads": 2, "layers": 1, "codes": 16, "max_tokens": 12}
        return Recipe("tiny", kind, SHORT, sizes, {"tokenizer": str(tokenizer)})
    if kind == "length":
        return Recipe("tiny", kind, SHORT)
    if kind == "matcher":
        return Recipe("tiny", kind, SHORT, {"width": 16, "heads": 2, "layers": 1})
    if kind == "diffusion":
        return second_stage(steps=2, precision="bf16")
    if kind == "music":
        return music_recipe(steps=2, eval_every=2, precision="bf16")
    return language_recipe(tokenizers, {"steps": 2, "precision": "bf16"})


@pytest.mark.parametrize("kind", sorted(TRAINERS))
def test_every_kind_trains_in_bfloat16_on_a_new_store(kind, fresh, tokenizer, tokenizers, tmp_path):  # noqa: F811
    made = train(
        recipe_of(kind, tokenizer, tokenizers), fresh.path, tmp_path / "run", accelerator="cpu", progress=False
    )
    rows = [line.split(",") for line in (tmp_path / "run" / "log.csv").read_text().splitlines()[1:]]
    losses = [float(value) for _, name, value in rows if name == "loss"]
    assert losses
    assert np.isfinite(losses).all()
    assert (made / "weights.safetensors").is_file()


def test_what_is_kept_beside_the_store_is_the_same_in_bfloat16(store, fresh, tokenizer, tokenizers, tmp_path):  # noqa: F811
    """Tokens were once encoded inside the first loss, under autocast."""
    recipe = recipe_of("masked", tokenizer, tokenizers)
    kept = {}
    for precision in ("fp32", "bf16"):
        options = dataclasses.replace(recipe.train, precision=precision)
        shutil.rmtree(fresh.path / "features", ignore_errors=True)
        run = tmp_path / precision
        train(dataclasses.replace(recipe, train=options), fresh.path, run, accelerator="cpu", progress=False)
        kept[precision] = {file.name: np.load(file)["tokens"] for file in (fresh.path / "features").glob("tokens-*")}
    assert kept["fp32"].keys() == kept["bf16"].keys() != set()
    for name, tokens in kept["fp32"].items():
        assert np.array_equal(tokens, kept["bf16"][name])

"""Laws of checkpoints: what is saved comes back bit for bit, and everything else is refused in words."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from motionloom.errors import CheckpointError
from motionloom.models import MODELS
from motionloom.models.checkpoint import Storage, load_checkpoint, save_checkpoint
from motionloom.models.diffusion.config import DiffusionConfig
from motionloom.models.diffusion.model import DiffusionTransformer
from motionloom.models.importing import import_official
from motionloom.models.length import LengthPredictor
from motionloom.models.masked.model import MaskedTransformer
from motionloom.models.masked.upper_body import PartsTokenizer, PartsTransformer
from motionloom.models.tokenizers.motion import MotionTokenizer

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
TINY = {
    "tokenizer": MotionTokenizer.tiny,
    "masked": MaskedTransformer.tiny,
    "length": LengthPredictor.tiny,
    "parts_tokenizer": PartsTokenizer.tiny,
    "parts_masked": PartsTransformer.tiny,
}
STATS = {"mean": torch.arange(3.0), "std": torch.ones(3)}


def save(folder: Path, model: nn.Module, storage: Storage = "float32") -> None:
    save_checkpoint(folder, model, STATS, {"sources": ["made up"]}, "CC0-1.0", "# A card\n", storage)


def filled(kind: str) -> nn.Module:
    torch.manual_seed(1)
    model = TINY[kind]()
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.normal_()
    return model


@pytest.mark.parametrize("kind", list(TINY))
def test_what_is_saved_comes_back_bit_for_bit(kind: str, tmp_path: Path):
    model = filled(kind)
    save(tmp_path / "a", model)
    state = torch.get_rng_state()
    loaded = load_checkpoint(tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), state)
    assert (loaded.kind, type(loaded.model)) == (kind, MODELS[kind])
    assert not loaded.model.training
    assert loaded.data == {"sources": ["made up"]}
    assert (loaded.licence, loaded.card) == ("CC0-1.0", "# A card\n")
    assert torch.equal(loaded.stats["mean"], STATS["mean"])
    for key, value in model.state_dict().items():
        assert torch.equal(value, loaded.model.state_dict()[key]), key
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_a_loaded_tokenizer_gives_the_same_output(tmp_path: Path):
    torch.manual_seed(0)
    model = MotionTokenizer.tiny().eval()
    save(tmp_path / "a", model)
    loaded = load_checkpoint(tmp_path / "a").model
    assert isinstance(loaded, MotionTokenizer)
    x = torch.randn(2, 16, 263)
    assert torch.equal(loaded.encode(x), model.encode(x))
    assert torch.equal(loaded(x).reconstruction, model(x).reconstruction)


@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
def test_half_storage_halves_parameters_and_spares_the_codebook(storage: Storage, tmp_path: Path):
    model = filled("tokenizer")
    save(tmp_path / "a", model, storage)
    assert load_file(tmp_path / "a" / "weights.safetensors")["encoder.stem.weight"].dtype == getattr(torch, storage)
    loaded = load_checkpoint(tmp_path / "a").model.state_dict()
    for key, value in model.state_dict().items():
        assert loaded[key].dtype == value.dtype
        torch.testing.assert_close(loaded[key], value, atol=0.02, rtol=0.01)
    assert torch.equal(loaded["quantizer.codebook"], model.state_dict()["quantizer.codebook"])


def test_replacing_is_all_or_nothing(tmp_path: Path):
    save(tmp_path / "a", filled("length"))
    before = load_file(tmp_path / "a" / "weights.safetensors")
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_checkpoint(tmp_path / "a", TINY["length"](), STATS, {"bad": object()}, "CC0-1.0", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    after = load_file(tmp_path / "a" / "weights.safetensors")
    assert all(torch.equal(before[key], after[key]) for key in before)
    save(tmp_path / "a", TINY["masked"]())
    assert load_checkpoint(tmp_path / "a").kind == "masked"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def change(folder: Path, **values: object) -> None:
    head = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(head | values))


def test_fields_that_came_later_take_their_defaults(tmp_path: Path):
    folder = tmp_path / "a"
    sizes: dict[str, Any] = {
        "part_dim": 8,
        "layers": 1,
        "time_dim": 16,
        "experts": 2,
        "max_frames": 20,
        "dataset_tokens": 2,
    }
    save(folder, DiffusionTransformer(DiffusionConfig(**sizes)))
    config = json.loads((folder / "config.json").read_text())["config"]
    change(folder, config={name: value for name, value in config.items() if name != "text_encoder"})
    model = load_checkpoint(folder).model
    assert isinstance(model, DiffusionTransformer)
    assert model.config.text_encoder == "minilm"
    change(folder, config={name: value for name, value in config.items() if name != "layers"})
    with pytest.raises(CheckpointError, match=r"missing \['layers'\], unknown \[\]"):
        load_checkpoint(folder)


def test_what_does_not_fit_is_refused(tmp_path: Path):
    folder = tmp_path / "a"
    with pytest.raises(CheckpointError, match=r"is no checkpoint: it has no config\.json"):
        load_checkpoint(folder)
    with pytest.raises(CheckpointError, match="Linear is no kind of model to save"):
        save(folder, nn.Linear(1, 1))
    save(folder, filled("length"))
    good = json.loads((folder / "config.json").read_text())
    change(folder, format=2, version="9.1")
    with pytest.raises(CheckpointError, match=r"has format 2, this package reads 1: install motionloom 9\.1"):
        load_checkpoint(folder)
    change(folder, format=1, kind="poem")
    with pytest.raises(CheckpointError, match="holds a 'poem'; this package knows tokenizer, body_tokenizer, masked"):
        load_checkpoint(folder)
    change(folder, kind="length", config=good["config"] | {"depth": 3})
    with pytest.raises(CheckpointError, match=r"other fields than LengthConfig: missing \[\], unknown \['depth'\]"):
        load_checkpoint(folder)
    change(folder, config=good["config"] | {"width": 64})
    with pytest.raises(CheckpointError, match=r"a length: layers\.0\.weight has shape \(32, 16\), \(64, 16\)"):
        load_checkpoint(folder)
    change(folder, config=good["config"] | {"width": -1})
    with pytest.raises(CheckpointError, match="width is -1; give a whole number, 2 to 16384"):
        load_checkpoint(folder)
    change(folder, config=good["config"])
    weights = load_file(folder / "weights.safetensors")
    weights["extra"] = weights.pop("layers.0.bias")
    save_file(weights, folder / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"missing \['layers\.0\.bias'\], unknown \['extra'\]"):
        load_checkpoint(folder)
    (folder / "weights.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors cannot be read"):
        load_checkpoint(folder)


def official(name: str) -> dict[str, torch.Tensor]:
    path = FIXTURES / f"{name}.state.safetensors"
    if not path.exists():
        pytest.skip(f"parity fixture {path.name} is not on this machine")
    return load_file(path)


@pytest.fixture
def stats(tmp_path: Path) -> tuple[Path, Path]:
    np.save(tmp_path / "mean.npy", np.zeros(263))
    np.save(tmp_path / "std.npy", np.ones(263))
    return tmp_path / "mean.npy", tmp_path / "std.npy"


def test_official_files_become_our_checkpoints(tmp_path: Path, stats: tuple[Path, Path]):
    torch.save({"net": official("mmm_tiny_vqvae")}, tmp_path / "net_last.pth")
    torch.save({"trans": official("mmm_tiny_trans")}, tmp_path / "trans.pth")
    torch.save({"trans": official("mmm_tiny_sep_trans")}, tmp_path / "sep.tar")
    found = import_official(tmp_path / "net_last.pth", "tokenizer", *stats)
    assert list(found.models) == ["tokenizer"]
    assert found.stats["std"].shape == (263,)
    found = import_official(tmp_path / "trans.pth", "masked", *stats, heads=4)
    assert list(found.models) == ["masked", "tokenizer"]
    for kind, model in found.models.items():
        save_checkpoint(tmp_path / kind, model, found.stats, {"sources": ["official"]}, "see the authors", "")
        assert load_checkpoint(tmp_path / kind).kind == kind
    found = import_official(tmp_path / "sep.tar", "parts_masked", *stats, heads=4)
    assert list(found.models) == ["parts_masked", "parts_tokenizer"]
    found = import_official(FIXTURES / "mmm_tiny_sep_vq.state.safetensors", "parts_tokenizer", *stats)
    assert torch.equal(found.models["parts_tokenizer"].get_buffer("std"), found.stats["std"])


def test_a_motiongpt_file_gives_its_tokenizer(tmp_path: Path, stats: tuple[Path, Path]):
    state = {key.replace("vqvae.", "vae."): value for key, value in official("mmm_tiny_vqvae").items()}
    torch.save({"state_dict": state | {"lm.weight": torch.zeros(1)}}, tmp_path / "a.ckpt")
    found = import_official(tmp_path / "a.ckpt", "tokenizer", *stats)
    assert isinstance(found.models["tokenizer"], MotionTokenizer)


def test_wrong_official_files_are_refused(tmp_path: Path, stats: tuple[Path, Path]):
    mean, std = stats
    state = official("mmm_tiny_vqvae")
    torch.save({"net": state, "args": argparse.Namespace(width=1)}, tmp_path / "args.pth")
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        import_official(tmp_path / "args.pth", "tokenizer", mean, std)
    torch.save({"net": state | {"vqvae.decoder.odd": torch.zeros(1)}}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"unknown keys in the official tokenizer: decoder\.odd"):
        import_official(tmp_path / "odd.pth", "tokenizer", mean, std)
    del state["vqvae.decoder.model.6.bias"]
    torch.save({"net": state}, tmp_path / "half.pth")
    with pytest.raises(CheckpointError, match="is no complete tokenizer"):
        import_official(tmp_path / "half.pth", "tokenizer", mean, std)
    with pytest.raises(CheckpointError, match="this is no MMM transformer"):
        import_official(tmp_path / "half.pth", "masked", mean, std)
    with pytest.raises(CheckpointError, match="does not exist"):
        import_official(tmp_path / "none.pth", "masked", mean, std)
    np.save(std, np.zeros(263))
    with pytest.raises(CheckpointError, match="one finite number above 0 per feature"):
        import_official(tmp_path / "half.pth", "tokenizer", mean, std)
    np.save(mean, np.zeros(251))
    np.save(std, np.ones(251))
    with pytest.raises(CheckpointError, match="statistics of another data set"):
        import_official(tmp_path / "half.pth", "tokenizer", mean, std)

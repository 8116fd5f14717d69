"""MMM's upper-body tokenizers and transformer against the published numbers (random weights, float32)."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from motionloom.models.masked.official import (
    parts_masked_from_official,
    parts_tokenizer_from_official,
    split_tokenizer,
)
from motionloom.models.masked.upper_body import PartsTokenizer, PartsTransformer, sample_upper

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"


def fixture(name: str) -> dict[str, torch.Tensor]:
    path = FIXTURES / f"{name}.safetensors"
    if not path.exists():
        pytest.skip(f"parity fixture {path.name} is not on this machine")
    return load_file(path)


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_the_tokenizers_agree():
    want = fixture("mmm_tiny_sep_vq.io")
    config, state = parts_tokenizer_from_official(fixture("mmm_tiny_sep_vq.state"), want["mean"], want["std"])
    model = PartsTokenizer(config).eval()
    model.load_state_dict(state, strict=True)
    for half, columns in (("upper", model.columns.upper), ("lower", model.columns.lower)):
        assert want[f"{half}_mask"].nonzero()[:, 0].tolist() == columns
    assert want["upper_y_mask"].nonzero()[:, 0].tolist() == model.columns.upper_heights
    close(model.relative(want["x"]), want["x_shift_down"])
    close(model.absolute(model.relative(want["x"])), want["x"])
    assert torch.equal(model.encode(want["x"]), want["idx"])
    close(model.decode(want["idx"]), want["decoded"])
    output = model(want["x"])
    close(output.reconstruction, want["forward"])
    close(output.commitment, want["loss"])
    close(output.perplexity, want["perplexity"])


@torch.no_grad()
def test_the_transformer_and_its_sampler_agree():
    want, state = fixture("mmm_tiny_sep_trans.io"), fixture("mmm_tiny_sep_trans.state")
    with safe_open(FIXTURES / "mmm_tiny_sep_trans.state.safetensors", "pt") as file:
        heads = int(file.metadata()["n_head"])
    config, ours = parts_masked_from_official(state, heads)
    model = PartsTransformer(config).eval()
    model.load_state_dict(ours, strict=True)
    ids = torch.stack((want["upper_ids"], want["lower_ids"]), dim=2)
    logits = model.trunk(
        model.embedding(ids), want["src_mask"], model.trunk.read_text(want["feat"], want["word"], None, None)
    )
    close(logits, want["logits"])
    close(model(ids, want["src_mask"], want["feat"], want["word"]), want["logits"][:, 1:])
    got = sample_upper(model, want["lower_target"], want["frames"] // 4, want["feat"], want["word"])
    assert torch.equal(got, want["sample_argmax"])
    mean, std = torch.zeros(263), torch.ones(263)
    assert parts_tokenizer_from_official(split_tokenizer(state), mean, std)[0].codes == config.codes

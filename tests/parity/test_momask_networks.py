"""MoMask's networks and samplers against the published numbers (random weights, float32)."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from motionloom.models.momask.official import (
    base_from_official,
    length_from_official,
    residual_from_official,
    residual_tokenizer_from_official,
)
from motionloom.models.momask.sampling import sample_base, sample_residual
from motionloom.models.momask.tokenizer import ResidualTokenizer
from motionloom.models.momask.transformers import MoMaskLength, MoMaskTransformer, ResidualTransformer

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"


def fixture(part: str) -> dict[str, torch.Tensor]:
    path = FIXTURES / f"momask_tiny.{part}.safetensors"
    if not path.exists():
        pytest.skip(f"parity fixture {path.name} is not on this machine")
    return load_file(path)


def network(prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in fixture("state").items() if key.startswith(prefix)}


def tokenizer() -> ResidualTokenizer:
    config, state = residual_tokenizer_from_official(network("vq."))
    model = ResidualTokenizer(config).eval()
    model.load_state_dict(state, strict=True)
    return model


def base() -> MoMaskTransformer:
    config, state = base_from_official(network("mask."), quantizers=3)
    model = MoMaskTransformer(config).eval()
    model.load_state_dict(state, strict=True)
    return model


def residual() -> ResidualTransformer:
    config, state = residual_from_official(network("res."))
    model = ResidualTransformer(config).eval()
    model.load_state_dict(state, strict=True)
    return model


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_the_tokenizer_agrees():
    want, model = fixture("io"), tokenizer()
    close(model.latents(want["x"]), want["z"].mT)
    assert torch.equal(model.encode(want["x"]), want["idx"])
    close(model.decode(want["idx"]), want["decoded"])
    output = model(want["x"])
    close(output.reconstruction, want["forward"])
    close(output.commitment, want["commit"])
    close(output.perplexity, want["perplexity"])
    close(model.decode(want["res_argmax"]), want["motion_from_res_argmax"])


@torch.no_grad()
def test_the_masked_transformer_agrees_with_and_without_guidance():
    want, model = fixture("io"), base()
    valid, nobody = ~want["pad_mask"], torch.ones(3, dtype=torch.bool)
    given, free = (model(want["ids"], valid, want["cond"], no) for no in (None, nobody))
    close(given.mT, want["mask_logits"])
    close(free.mT, want["mask_logits_uncond"])
    close((free + 4 * (given - free)).mT, want["mask_logits_cfg4"])


@torch.no_grad()
def test_the_residual_transformer_agrees_with_and_without_guidance():
    want, model = fixture("io"), residual()
    valid, nobody = ~want["pad_mask"], torch.ones(3, dtype=torch.bool)
    given, free = (model(want["res_hist"], 2, valid, want["cond"], no) for no in (None, nobody))
    close(given.mT, want["res_logits_q2"])
    close((free + 5 * (given - free)).mT, want["res_logits_q2_cfg5"])


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("gen_argmax", {"temperature": 0.0}),
        ("gen_categorical_seed11", {"draw": "categorical"}),
        ("gen_gumbel_seed11", {"draw": "gumbel"}),
    ],
)
def test_base_tokens_are_drawn_as_published(name, how):
    want = fixture("io")
    stream = torch.Generator().manual_seed(11)
    got = sample_base(base(), want["token_len"], want["cond"], slots=49, generator=stream, **how)
    assert torch.equal(got, want[name])


@pytest.mark.parametrize(
    ("name", "first", "how"),
    [("res_argmax", "gen_argmax", {"temperature": 0.0}), ("res_seed12", "gen_categorical_seed11", {})],
)
def test_finer_layers_are_drawn_as_published(name, first, how):
    want = fixture("io")
    stream = torch.Generator().manual_seed(12)
    got = sample_residual(residual(), want[first], want["token_len"], want["cond"], generator=stream, **how)
    assert torch.equal(got, want[name])


@torch.no_grad()
def test_the_length_estimator_agrees():
    want = fixture("io")
    config, state = length_from_official(network("length."))
    model = MoMaskLength(config).eval()
    model.load_state_dict(state, strict=True)
    close(model(want["cond"]), want["length_logits"])

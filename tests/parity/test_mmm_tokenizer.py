"""MMM's tokenizer and codebook against the published code's numbers (random weights, CPU, float32)."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.nn import functional as F

from motionloom.models.masked.official import tokenizer_from_official
from motionloom.models.tokenizers.motion import Activation, MotionTokenizer, Norm, tokenizer_loss
from motionloom.models.tokenizers.quantize import EMAQuantizer

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
VARIANTS = ["mmm_tiny_vqvae", "mmm_tiny_vqvae_kit", "mmm_tiny_vqvae_gelu_gn"]


def fixture(name: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    path = FIXTURES / f"{name}.safetensors"
    if not path.exists():
        pytest.skip(f"parity fixture {path.name} is not on this machine")
    with safe_open(path, "pt") as file:
        return load_file(path), file.metadata() or {}


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_every_stage_agrees(name: str):
    state, options = fixture(f"{name}.state")
    want, _ = fixture(f"{name}.io")
    norm = None if options["norm"] == "None" else options["norm"]
    config, ours = tokenizer_from_official(state, cast(Activation, options["act"]), cast(Norm | None, norm))
    assert (config.width, config.codes, config.code_dim) == tuple(
        int(options[key]) for key in ("width", "nb_code", "code_dim")
    )
    assert (config.levels, config.depth) == (int(options["down_t"]), int(options["depth"]))
    model = MotionTokenizer(config)
    model.load_state_dict(ours, strict=True)
    model.eval()

    z = model.latents(want["x"])
    close(z.transpose(1, 2) if want["z"].shape[1] == config.code_dim else z, want["z"])
    quantized = model.quantizer(z)
    assert torch.equal(quantized.ids, want["idx"])
    zq = quantized.vectors
    close(zq.transpose(1, 2) if want["zq"].shape[1] == config.code_dim else zq, want["zq"])
    close(model.decode(want["idx"]), want["decoded"])
    output = model(want["x"])
    close(output.reconstruction, want["forward"])
    close(output.commitment, want["commit"])
    close(output.perplexity, want["perplexity"])
    assert torch.equal(model.encode(want["x"]), want["idx"])

    local = slice(4, 67 if config.features == 263 else 64)
    close(F.smooth_l1_loss(output.reconstruction, want["x"]), want["loss_recons"])
    close(F.smooth_l1_loss(output.reconstruction[..., local], want["x"][..., local]), want["loss_vel"])
    close(
        tokenizer_loss(output, want["x"], local),
        want["loss_recons"] + 0.02 * want["commit"] + 0.5 * want["loss_vel"],
    )

    ids = model.encode(want["x_len60"])
    assert torch.equal(ids, want["idx_len60"])
    close(model.decode(ids), want["dec_len60"])


def test_45_published_updates_with_two_resets():
    want, options = fixture("mmm_quantizer_train")
    quantizer = EMAQuantizer(int(options["nb_code"]), int(options["code_dim"]), reset="published")
    quantizer.train()
    for i, x in enumerate(want["xs"]):
        got = quantizer(x.transpose(1, 2), torch.Generator().manual_seed(1000 + i))
        if f"codebook_{i}" not in want:
            continue
        close(got.vectors.transpose(1, 2), want[f"out_{i}"])
        close(got.commitment, want[f"commit_{i}"])
        close(got.perplexity, want[f"ppl_{i}"])
        close(quantizer.codebook, want[f"codebook_{i}"])
        close(quantizer.sums, want[f"code_sum_{i}"])
        close(quantizer.counts, want[f"code_count_{i}"])
        close(quantizer.usage[:, None], want[f"usage_{i}"])


def test_one_update_with_replacement_at_every_step():
    path = FIXTURES / "metrics_ema_reset_step.npz"
    if not path.exists():
        pytest.skip(f"parity fixture {path.name} is not on this machine")
    with np.load(path) as file:
        want = {name: torch.from_numpy(file[name]) for name in file.files if file[name].dtype == np.float32}
    codes, size = want["codebook_before"].shape
    quantizer = EMAQuantizer(codes, size, reset="every_step").train()
    for state in (quantizer.codebook, quantizer.sums):
        state.copy_(want["codebook_before"])
    quantizer.initialised.fill_(True)
    got = quantizer(want["x_NCT"].transpose(1, 2))
    close(got.vectors.transpose(1, 2), want["xd"])
    close(got.commitment, want["commit"])
    close(got.perplexity, want["perplexity"])
    close(quantizer.codebook, want["codebook_after"])
    close(quantizer.sums, want["code_sum_after"])
    close(quantizer.counts, want["code_count_after"])

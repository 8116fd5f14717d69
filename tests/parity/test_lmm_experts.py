"""LMM's mixture of experts against the published code's numbers, with and without dropped choices."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from motionloom.models.diffusion.moe import Experts, balance, choose

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
NAMES = {
    "model.gates.0.cosine_projector.weight": "router.weight",
    "model.gates.0.cosine_projector.bias": "router.bias",
    "model.gates.0.sim_matrix": "similarity",
    "model.gates.0.temperature": "temperature",
    "model.experts.batched_fc1_w": "first",
    "model.experts.batched_fc1_bias": "first_bias",
    "model.experts.batched_fc2_w": "second",
    "model.experts.batched_fc2_bias": "second_bias",
    "proj.weight": "proj.weight",
    "proj.bias": "proj.bias",
}


@pytest.fixture(params=["balanced", "overflow"])
def want(request) -> dict[str, torch.Tensor]:
    path = FIXTURES / f"lmm_moe_{request.param}.safetensors"
    if not path.exists():
        pytest.skip(f"parity fixture {path.name} is not on this machine")
    return load_file(path)


@torch.no_grad()
def test_experts_agree(want):
    model = Experts(64, 320, experts=16, top_k=4, capacity=1.5, drops=True).eval()
    model.load_state_dict({ours: want[f"sd.{name}"] for name, ours in NAMES.items()}, strict=True)
    x = want["x"] + want["sd.embedding"][:, : want["x"].shape[1]]
    tokens = x.flatten(0, 2)
    logits = model.logits(tokens)
    torch.testing.assert_close(logits, want["gate_logits"])
    slots = model.slots(len(tokens))
    assert slots is not None
    assert slots == int(want["capacity"])
    routes = choose(logits.softmax(1), 4, slots)
    counts = torch.bincount(routes.experts.flatten(), minlength=16)
    assert torch.equal(counts.float(), want["topk_counts"])
    assert int((routes.gates == 0).sum()) == int((counts - slots).clamp(min=0).sum())
    torch.testing.assert_close(model.mix(tokens, routes), want["inner"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(x)[0], want["y"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(balance(logits, logits, routes.experts, 1.0)[None], want["l_aux"])

"""Laws of the mixture of experts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from motionloom.models.diffusion.moe import Experts, Routes, balance, choose

seeds = st.integers(0, 2**31)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def experts(seed: int = 0, capacity: float = 0.0, drops: bool = False) -> Experts:
    torch.manual_seed(seed)
    model = Experts(8, 12, experts=5, top_k=2, capacity=capacity, drops=drops)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@given(tokens=st.integers(1, 40), seed=seeds)
@settings(max_examples=10)
@torch.no_grad()
def test_gathered_experts_are_the_weighted_sum_of_all(tokens: int, seed: int):
    model = experts(seed % 7)
    x = torch.randn(tokens, 8, generator=seeded(seed))
    routes = choose(model.logits(x).softmax(1), 2)
    torch.testing.assert_close(routes.gates.sum(1), torch.ones(tokens))
    gates = torch.zeros(tokens, 5).scatter(1, routes.experts, routes.gates)
    hidden = F.gelu(torch.einsum("nw,ehw->neh", x, model.first) + model.first_bias)
    every = torch.einsum("neh,ehw->new", hidden, model.second) + model.second_bias
    want = torch.einsum("ne,new->nw", gates, every)
    torch.testing.assert_close(model.mix(x, routes), want, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model(x)[0], model.proj(F.gelu(want)), atol=1e-5, rtol=1e-4)


@given(seed=seeds)
@settings(max_examples=5)
@torch.no_grad()
def test_a_token_s_output_does_not_depend_on_the_others(seed: int):
    model = experts()
    x = torch.randn(30, 8, generator=seeded(seed))
    torch.testing.assert_close(model(x)[0][7:9], model(x[7:9])[0], atol=1e-5, rtol=1e-5)


def test_a_bound_drops_the_least_sure_tokens_by_hand():
    # All three tokens want expert 0 first; two of them may have it, the surest ones.
    scores = torch.tensor([[0.6, 0.4, 0.0], [0.9, 0.1, 0.0], [0.7, 0.0, 0.3]])
    routes = choose(scores, 2, slots=2)
    assert routes.experts.tolist() == [[0, 1], [0, 1], [0, 2]]
    torch.testing.assert_close(routes.gates, torch.tensor([[0.0, 0.4], [0.9, 0.1], [0.7, 0.3]]))
    assert choose(scores, 2, slots=1).gates.tolist()[1] == pytest.approx([0.9, 0.1])


def test_the_bound_holds_in_training_and_where_it_is_asked_for():
    assert experts(capacity=1.5).slots(11) is None
    assert experts(capacity=1.5, drops=True).slots(11) == 2 * int(1.5 * 3)
    assert experts(capacity=1.5).train().slots(11) == 8
    assert experts().train().slots(11) is None


@given(seed=seeds)
@settings(max_examples=5)
@torch.no_grad()
def test_dropped_choices_add_nothing(seed: int):
    model = experts(capacity=1.0, drops=True)
    x = torch.randn(20, 8, generator=seeded(seed))
    scores = model.logits(x).softmax(1)
    bounded, free = choose(scores, 2, slots=3), choose(scores, 2)
    assert int((bounded.gates > 0).sum()) <= 5 * 3
    assert torch.equal(bounded.gates[bounded.gates > 0], free.gates[bounded.gates > 0])
    # The same gates through experts that know of no bound.
    want = experts().mix(x, Routes(free.experts, bounded.gates))
    torch.testing.assert_close(model.mix(x, bounded), want, atol=1e-5, rtol=1e-4)


def test_even_use_has_no_loss_and_uneven_use_has_one():
    logits = torch.eye(4).repeat(5, 1) * 3
    even = balance(logits, logits, logits.topk(1).indices, 1.0)
    load_balancing_loss = balance(
        logits[:1].expand(20, 4), logits[:1].expand(20, 4), torch.zeros(20, 1, dtype=torch.long), 1.0
    )
    assert float(even) == pytest.approx(0.0, abs=1e-6)
    assert float(load_balancing_loss) > 0.1


def test_training_balances_and_every_weight_learns():
    model = experts().train()
    out, load_balancing_loss = model(torch.randn(50, 8, generator=seeded(2)))
    assert float(load_balancing_loss.detach()) > 0
    (out.square().mean() + load_balancing_loss).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.abs().sum() > 0), name

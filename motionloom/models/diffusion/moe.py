"""A mixture of experts: each token is read by the few small networks that a router chooses for it.

Tokens are gathered expert by expert, so no more is computed than was chosen. The published form drops a token's choice
where an expert has its fill, which makes a token's output depend on all other tokens; ours never does at inference.

Shapes: ``N`` tokens, ``W`` channels, ``E`` experts, ``k`` choices a token.

Sources: LMM (arXiv 2404.01284), section 4.2; the router of cosines is that of arXiv 2206.04046, equation 3; order of
precedence (BPR) arXiv 2106.05974, section 4.1; losses for balance arXiv 2106.05974, appendix A.
Parity: ``tests/parity/test_lmm_experts.py``.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

_HOTTEST = math.log(100.0)
"""Upper bound of the learned log-temperature."""
_ROUTER_WIDTH = 256


@dataclass(frozen=True)
class Routes:
    """Which experts read which token.

    Attributes:
        experts: The choices of each token, best first.
        gates: Weights of the choices; they sum to 1, but for choices that were dropped, which have 0.
    """

    experts: Int[Tensor, "N k"]
    gates: Float[Tensor, "N k"]


def choose(scores: Float[Tensor, "N E"], top_k: int, slots: int | None = None) -> Routes:
    """Choose the experts of each token.

    Args:
        scores: Probability of each expert.
        top_k: Choices a token.
        slots: Tokens that an expert takes; None for all that come. All first choices come before all second ones, and
            among these the tokens with the largest probability first. A choice that is dropped is not made up for.
    """
    best, experts = scores.topk(top_k, dim=1)
    gates = best / best.sum(dim=1, keepdim=True).clamp(min=torch.finfo(best.dtype).eps)
    if slots is not None:
        gates = gates.masked_fill(_queue(scores, experts) >= slots, 0.0)
    return Routes(experts, gates)


def _queue(scores: Float[Tensor, "N E"], experts: Int[Tensor, "N k"]) -> Int[Tensor, "N k"]:
    """How many choices of the same expert come before each choice."""
    order = (-scores.amax(dim=1)).argsort(dim=0)
    place = torch.empty_like(experts)
    taken = torch.zeros(scores.shape[1], dtype=torch.long, device=scores.device)
    for choice in range(experts.shape[1]):
        chosen = F.one_hot(experts[order, choice], scores.shape[1])
        before = chosen.cumsum(dim=0) - chosen + taken
        place[order, choice] = (before * chosen).sum(dim=1)
        taken = taken + chosen.sum(dim=0)
    return place


def balance(
    clean: Float[Tensor, "N E"], noisy: Float[Tensor, "N E"], experts: Int[Tensor, "N k"], noise: float
) -> Float[Tensor, ""]:
    """How unevenly tokens spread over experts: mean of the squared variations of importance and load; 0 is even.

    Args:
        clean: Logits before noise.
        noisy: Logits that the choice was made on.
        experts: The choices.
        noise: Standard deviation of the noise times the number of experts.
    """
    probability = clean.softmax(dim=1)
    threshold = noisy.gather(1, experts)[:, -1:]
    # The published load compares probabilities with a logit; kept, since trained routers were balanced by it.
    reach = (probability - threshold) * (clean.shape[1] / noise)
    load = torch.special.ndtr(reach).sum(dim=0)
    return 0.5 * (_variation(probability.sum(dim=0)) + _variation(load))


def _variation(sums: Float[Tensor, "E"]) -> Float[Tensor, ""]:
    # With a single expert there is nothing to balance, and no variance.
    return sums.var(correction=min(1, len(sums) - 1)) / (sums.mean().square() + 1e-10)


class Experts(nn.Module):
    """Tokens through their experts, then GELU and a linear map.

    Args:
        width: Channels of a token.
        out: Channels of the result.
        experts: Networks to choose from.
        top_k: Choices a token.
        capacity: In training, an expert takes this many times its even share; 0 is no bound.
        drops: Whether that bound holds at inference too (published).
        noise: Standard deviation of the router's noise in training, times the number of experts.
    """

    def __init__(
        self, width: int, out: int, experts: int, top_k: int, capacity: float, drops: bool, noise: float = 1.0
    ) -> None:
        super().__init__()
        self.top_k, self.capacity, self.drops, self.noise = top_k, capacity, drops, noise
        self.router = nn.Linear(width, _ROUTER_WIDTH)
        self.similarity = nn.Parameter(0.01 * torch.randn(_ROUTER_WIDTH, experts))
        self.temperature = nn.Parameter(torch.full((1,), math.log(2.0)))
        bound = 1 / math.sqrt(width)
        self.first = nn.Parameter(torch.empty(experts, 4 * width, width).uniform_(-bound, bound))
        self.first_bias = nn.Parameter(torch.zeros(experts, 4 * width))
        self.second = nn.Parameter(torch.empty(experts, 4 * width, width).uniform_(-bound / 2, bound / 2))
        self.second_bias = nn.Parameter(torch.zeros(experts, width))
        self.proj = nn.Linear(width, out)

    def forward(self, x: Float[Tensor, "*batch W"]) -> tuple[Float[Tensor, "*batch O"], Float[Tensor, ""]]:
        """Compute the tokens' outputs and, in training, the loss that balances the experts (else 0)."""
        tokens = x.flatten(0, -2)
        logits = self.logits(tokens)
        noisy = logits
        if self.training and self.noise:
            noisy = logits + torch.randn_like(logits) * (self.noise / logits.shape[1])
        routes = choose(noisy.softmax(dim=1), self.top_k, self.slots(len(tokens)))
        load_balancing_loss = (
            balance(logits, noisy, routes.experts, self.noise) if self.training else logits.new_zeros(())
        )
        return self.proj(F.gelu(self.mix(tokens, routes))).view(*x.shape[:-1], -1), load_balancing_loss

    def slots(self, tokens: int) -> int | None:
        """Tokens that an expert takes of so many; None for all that come."""
        if not self.capacity or not (self.training or self.drops):
            return None
        share = -(-tokens // self.similarity.shape[1])
        return self.top_k * int(self.capacity * share)

    def logits(self, x: Float[Tensor, "N W"]) -> Float[Tensor, "N E"]:
        """The router's logits: cosines to each expert over a learned temperature; always in float32."""
        with torch.autocast(x.device.type, enabled=False):
            # The tokens' views need not be written out: their products with the experts follow from x itself, and
            # their lengths from the views' Gram matrix, which is much smaller than they are.
            views = torch.cat((self.router.weight, self.router.bias[:, None]), dim=1)
            ones = torch.cat((x.float(), x.new_ones(len(x), 1, dtype=torch.float32)), dim=1)
            products = ones @ (views.mT @ torch.cat((views, F.normalize(self.similarity, dim=0)), dim=1))
            length = (products[:, : ones.shape[1]] * ones).sum(dim=1, keepdim=True).clamp(min=1e-24).sqrt()
            return products[:, ones.shape[1] :] * (self.temperature.clamp(max=_HOTTEST).exp() / length)

    def mix(self, x: Float[Tensor, "N W"], routes: Routes) -> Float[Tensor, "N W"]:
        """Weighted sum of the chosen experts' outputs for each token."""
        count = routes.experts.shape[1]
        kept = (routes.gates > 0).flatten() if self.capacity else None
        # Dropped choices go behind all others, to no expert.
        chosen = routes.experts.flatten()
        if kept is not None:
            chosen = torch.where(kept, chosen, len(self.first))
        order = chosen.argsort(stable=True)
        sizes = torch.bincount(chosen, minlength=len(self.first)).tolist()[: len(self.first)]
        rows = x.index_select(0, (order // count)[: sum(sizes)])
        read = [
            F.gelu(F.linear(part, self.first[expert], self.first_bias[expert])) @ self.second[expert]
            + self.second_bias[expert]
            for expert, part in enumerate(rows.split(sizes))
            if len(part)
        ]
        out = torch.cat([*read, x.new_zeros(len(order) - sum(sizes), x.shape[1], dtype=read[0].dtype)])
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        # Gathers and sums in one pass.
        return F.embedding_bag(back.view(-1, count), out, per_sample_weights=routes.gates.to(out), mode="sum")

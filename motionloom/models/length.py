"""How long a text's motion should be: from a sentence vector to a distribution over token counts.

Shapes: ``B`` items, ``E`` sentence size, ``L`` possible lengths (class i is i + 1 tokens: never 0).

Source: the length estimator of Guo et al., "Generating diverse and natural 3D human motions from text" (CVPR
2022), on a sentence vector instead of words, as in MoMask (arXiv 2312.00063).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from motionloom.errors import RequestError
from motionloom.schema import check, ranged


@dataclass(frozen=True)
class LengthConfig:
    """Sizes of a length predictor."""

    sentence_dim: int = ranged(384, low=1, high=16384)
    """Size of a sentence vector, E."""
    width: int = ranged(256, low=2, high=16384)
    """Channels of the first hidden layer; the second has half as many."""
    max_tokens: int = ranged(49, low=1, high=65536)
    """Longest motion in tokens, L."""
    dropout: float = ranged(0.1, low=0, high=1)
    """Dropout after each hidden layer."""

    def __post_init__(self) -> None:
        check(self, RequestError)


class LengthPredictor(nn.Module):
    """MLP with layer norms over a sentence vector."""

    config_class = LengthConfig

    def __init__(self, config: LengthConfig) -> None:
        super().__init__()
        self.config = config
        half = config.width // 2
        self.layers = nn.Sequential(
            nn.Linear(config.sentence_dim, config.width),
            nn.LayerNorm(config.width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.width, half),
            nn.LayerNorm(half),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(half, config.max_tokens),
        )

    @classmethod
    def tiny(cls) -> "LengthPredictor":
        """Make a very small model for tests."""
        return cls(LengthConfig(sentence_dim=16, width=32, max_tokens=12))

    def forward(self, sentence: Float[Tensor, "B E"]) -> Float[Tensor, "B L"]:
        """Compute the logits of 1..L tokens."""
        return self.layers(sentence)

    @torch.no_grad()
    def sample(self, sentence: Float[Tensor, "B E"], seeds: Sequence[int], spread: float = 1.0) -> Int[Tensor, "B"]:
        """Draw lengths in tokens, each from its own seed, so that a draw does not depend on the batch.

        Args:
            sentence: Sentence vectors.
            seeds: One per sentence.
            spread: Middle share of the distribution to draw from; 1 is all of it, 0 its median.
        """
        if len(seeds) != len(sentence):
            raise RequestError(f"{len(seeds)} seeds were given for {len(sentence)} sentences: give one each")
        shares = self(sentence).double().softmax(1).cumsum(1)
        drawn = [torch.rand(1, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in seeds]
        middle = 0.5 + spread * (torch.stack(drawn).to(shares) - 0.5)
        below = shares < middle * shares[:, -1:]
        return 1 + below.sum(1).clamp(max=self.config.max_tokens - 1)

    @torch.no_grad()
    def mode(self, sentence: Float[Tensor, "B E"]) -> Int[Tensor, "B"]:
        """Return the most probable lengths in tokens."""
        return 1 + self(sentence).argmax(1)


def length_loss(
    logits: Float[Tensor, "B L"], lengths: Int[Tensor, "B"], label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Cross entropy against true lengths in tokens.

    Raises:
        RequestError: A length is not in 1..L.
    """
    if int(lengths.min()) < 1 or int(lengths.max()) > logits.shape[1]:
        raise RequestError(
            f"lengths run from {int(lengths.min())} to {int(lengths.max())} tokens; they must be in"
            f" 1..{logits.shape[1]}"
        )
    return F.cross_entropy(logits.float(), lengths - 1, label_smoothing=label_smoothing)

"""MoMask's transformers: one fills in masked base tokens, the other predicts each finer layer from those before it.

Shapes: ``B`` items, ``N`` token slots, ``K`` codes, ``C`` size of a token vector, ``E`` sentence size, ``W`` channels,
``P`` tokens before the slots (sentence, and layer).

Source: MoMask (arXiv 2312.00063), sections 3.2 and 3.3. Parity: ``tests/parity/test_momask.py``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from motionloom.errors import RequestError
from motionloom.models.layers import init_transformer, sine_positions
from motionloom.schema import check, ranged

_HEAD_EPS = 1e-12


@dataclass(frozen=True)
class MoMaskConfig:
    """Sizes of either transformer; the defaults are those of MoMask's release."""

    codes: int = ranged(512, low=2, high=65536, help="Codes of each codebook, K.")
    code_dim: int = ranged(512, low=1, high=4096, help="Size of a token vector, C.")
    quantizers: int = ranged(6, low=1, high=64, help="Codebooks of the tokenizer.")
    width: int = ranged(384, low=2, high=8192, help="Channels, W.")
    heads: int = ranged(6, low=1, high=256, help="Attention heads.")
    layers: int = ranged(8, low=1, high=256, help="Blocks.")
    mlp: int = ranged(1024, low=1, high=65536, help="Channels inside the MLPs.")
    sentence_dim: int = ranged(512, low=1, high=8192, help="Size of a sentence vector, E.")
    max_tokens: int = ranged(49, low=1, high=5000, help="Longest motion in slots.")

    def __post_init__(self) -> None:
        check(self, RequestError, "MoMask transformer")
        if self.width % self.heads or self.width % 2:
            raise RequestError(f"width {self.width} must be even and divisible by {self.heads} heads")

    @property
    def mask_id(self) -> int:
        """Id of a base token that is to be predicted."""
        return self.codes

    @property
    def pad_id(self) -> int:
        """Id behind a motion in the masked transformer's table."""
        return self.codes + 1


class _Block(nn.Module):
    """Post-norm block: self-attention, MLP."""

    def __init__(self, config: MoMaskConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.attention_in = nn.Linear(config.width, 3 * config.width)
        self.attention_out = nn.Linear(config.width, config.width)
        self.mlp_in, self.mlp_out = nn.Linear(config.width, config.mlp), nn.Linear(config.mlp, config.width)
        self.norm_attention, self.norm_mlp = nn.LayerNorm(config.width), nn.LayerNorm(config.width)

    def forward(self, x: Float[Tensor, "B M W"], seen: Bool[Tensor, "B M"]) -> Float[Tensor, "B M W"]:
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.attention_in(x).chunk(3, dim=-1)
        )
        heads = F.scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None, None, :])
        x = self.norm_attention(x + self.attention_out(heads.transpose(1, 2).flatten(2)))
        return self.norm_mlp(x + self.mlp_out(F.gelu(self.mlp_in(x))))


class _Trunk(nn.Module):
    """Token vectors, behind the sentence and further tokens, to head vectors of the slots.

    The position code reaches the slots only, not what stands before them.
    """

    positions: Tensor

    def __init__(self, config: MoMaskConfig, outputs: int) -> None:
        super().__init__()
        self.sentence = nn.Linear(config.sentence_dim, config.width)
        self.inputs = nn.Linear(config.code_dim, config.width)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.dense = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=_HEAD_EPS)
        self.head = nn.Linear(config.width, outputs)
        self.max_tokens = config.max_tokens
        self.register_buffer("positions", sine_positions(config.max_tokens, config.width), persistent=False)

    def forward(
        self, vectors: Float[Tensor, "B N C"], valid: Bool[Tensor, "B N"], first: Float[Tensor, "B P W"]
    ) -> Float[Tensor, "B N O"]:
        if vectors.shape[1] > self.max_tokens:
            raise RequestError(f"{vectors.shape[1]} slots were given, the model has {self.max_tokens}: ask for less")
        slots = self.inputs(vectors) + self.positions[: vectors.shape[1]]
        x, seen = torch.cat((first, slots), dim=1), F.pad(valid, (first.shape[1], 0), value=True)
        for block in cast(Iterable[_Block], self.blocks):
            x = block(x, seen)
        return self.head(self.norm(F.gelu(self.dense(x[:, first.shape[1] :]))))

    def read(self, sentence: Float[Tensor, "B E"], no_text: Bool[Tensor, "B"] | None) -> Float[Tensor, "B 1 W"]:
        """The sentence's token; that of no text comes from a zero vector."""
        if no_text is not None:
            sentence = sentence.masked_fill(no_text[:, None], 0.0)
        return self.sentence(sentence)[:, None]


class MoMaskTransformer(nn.Module):
    """Predict every base token from the visible ones and the sentence."""

    config_class = MoMaskConfig

    def __init__(self, config: MoMaskConfig) -> None:
        super().__init__()
        self.config = config
        self.table = nn.Embedding(config.codes + 2, config.code_dim)
        self.trunk = _Trunk(config, config.codes)
        self.apply(init_transformer)

    @classmethod
    def tiny(cls) -> "MoMaskTransformer":
        """Make a very small model for tests."""
        return cls(tiny_config())

    def forward(
        self,
        ids: Int[Tensor, "B N"],
        valid: Bool[Tensor, "B N"],
        sentence: Float[Tensor, "B E"],
        no_text: Bool[Tensor, "B"] | None = None,
    ) -> Float[Tensor, "B N K"]:
        """Logits of every slot.

        Args:
            ids: Base tokens, ``mask_id`` and ``pad_id``.
            valid: Slots that hold motion.
            sentence: Sentence vectors.
            no_text: Items whose sentence is to be ignored.
        """
        return self.trunk(self.table(ids), valid, self.trunk.read(sentence, no_text))


class ResidualTransformer(nn.Module):
    """Predict the ids of a layer from the summed vectors of the layers before it.

    ``tables`` holds Q tables of K codes and one id for nothing. Table q - 1 has the vectors of layer q - 1 as inputs
    and, from layer 1 on, table q those that the outputs of layer q are compared with: a layer's ids go in as they came
    out. The first serves as input only, the last as output only.
    """

    config_class = MoMaskConfig

    def __init__(self, config: MoMaskConfig) -> None:
        super().__init__()
        self.config = config
        self.tables = nn.Parameter(0.02 * torch.randn(config.quantizers, config.codes + 1, config.code_dim))
        self.layer = nn.Linear(config.quantizers, config.width)
        self.trunk = _Trunk(config, config.code_dim)
        self.apply(init_transformer)

    @classmethod
    def tiny(cls) -> "ResidualTransformer":
        """Make a very small model for tests."""
        return cls(tiny_config())

    @property
    def nothing(self) -> int:
        """Id of a layer that adds nothing."""
        return self.config.codes

    def vectors(self, ids: Int[Tensor, "B N"], layer: int) -> Float[Tensor, "B N C"]:
        """Input vectors of a layer's ids."""
        return F.embedding(ids, self.tables[layer])

    def forward(
        self,
        history: Float[Tensor, "B N C"],
        layer: int,
        valid: Bool[Tensor, "B N"],
        sentence: Float[Tensor, "B E"],
        no_text: Bool[Tensor, "B"] | None = None,
    ) -> Float[Tensor, "B N K1"]:
        """Logits of a layer's codes, and of nothing.

        Args:
            history: Sum of ``vectors`` of the layers before.
            layer: 1 to Q - 1.
            valid: Slots that hold motion.
            sentence: Sentence vectors.
            no_text: Items whose sentence is to be ignored.
        """
        which = self.layer.weight[:, layer] + self.layer.bias
        first = torch.cat((self.trunk.read(sentence, no_text), which.expand(len(history), 1, -1)), dim=1)
        return self.trunk(history, valid, first) @ self.tables[layer].mT


@dataclass(frozen=True)
class MoMaskLengthConfig:
    """Sizes of the length estimator; the defaults are those of MoMask's release."""

    sentence_dim: int = ranged(512, low=1, high=8192, help="Size of a sentence vector, E.")
    width: int = ranged(
        512, low=4, high=8192, help="Channels of the first hidden layer; the next have half of it each."
    )
    classes: int = ranged(50, low=2, high=5000, help="Lengths: class n is n slots.")

    def __post_init__(self) -> None:
        check(self, RequestError, "length estimator")


class MoMaskLength(nn.Module):
    """A sentence to a distribution over lengths in slots."""

    config_class = MoMaskLengthConfig

    def __init__(self, config: MoMaskLengthConfig) -> None:
        super().__init__()
        self.config = config
        sizes = (config.sentence_dim, config.width, config.width // 2, config.width // 4)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(nn.LayerNorm(size) for size in sizes[1:])
        self.head = nn.Linear(sizes[-1], config.classes)

    @classmethod
    def tiny(cls) -> "MoMaskLength":
        """Make a very small model for tests."""
        return cls(MoMaskLengthConfig(sentence_dim=16, width=16, classes=13))

    def forward(self, sentence: Float[Tensor, "B E"]) -> Float[Tensor, "B L"]:
        """Logits of 0..L-1 slots."""
        x = sentence
        for layer, norm in zip(self.hidden, self.norms, strict=True):
            x = F.leaky_relu(norm(layer(x)), 0.2)
        return self.head(x)


def tiny_config() -> MoMaskConfig:
    """Sizes of very small transformers for tests, which fit ``ResidualTokenizer.tiny``."""
    return MoMaskConfig(
        codes=24, code_dim=8, quantizers=3, width=16, heads=2, layers=2, mlp=24, sentence_dim=16, max_tokens=12
    )

"""Transformer parts that two or more models share.

Shapes: ``B`` items, ``N`` queries, ``M`` keys, ``W`` channels, ``H`` heads, ``S`` rows that are computed.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class KeysValues:
    """Keys and values of an attention, split into heads, ready to be attended to many times."""

    keys: Float[Tensor, "B H M C"]
    values: Float[Tensor, "B H M C"]


@dataclass(frozen=True)
class Grid:
    """Where rows that are computed lie in a batch with padding.

    Attributes:
        items: B.
        slots: N.
        places: Of each row among B x N, rising; None when every place has its row.
    """

    items: int
    slots: int
    places: Int[Tensor, "S"] | None

    @classmethod
    def of(cls, chosen: Bool[Tensor, "B N"]) -> "Grid":
        """The grid of the chosen places."""
        places = None if bool(chosen.all()) else chosen.flatten().nonzero()[:, 0]
        return cls(chosen.shape[0], chosen.shape[1], places)

    def spread(self, rows: Float[Tensor, "S W"]) -> Float[Tensor, "B N W"]:
        """Put rows in their places, zeros elsewhere."""
        if self.places is not None:
            rows = rows.new_zeros(self.items * self.slots, rows.shape[1]).index_copy_(0, self.places, rows)
        return rows.unflatten(0, (self.items, self.slots))

    def pick(self, batch: Float[Tensor, "B N W"]) -> Float[Tensor, "S W"]:
        """Take the rows from their places."""
        flat = batch.flatten(0, 1)
        return flat if self.places is None else flat[self.places]

    def within(self, rows: Float[Tensor, "S W"], some: "Grid") -> Float[Tensor, "S2 W"]:
        """Take those rows that are in another grid of this shape, all of whose places must be in this one."""
        if some is self or some.places is None:
            return rows
        if self.places is None:
            return rows[some.places]
        return rows[torch.searchsorted(self.places, some.places)]


class Attention(nn.Module):
    """Multi-head attention; keys and values may be computed once and kept."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def read(self, x: Float[Tensor, "B M W"]) -> KeysValues:
        """Compute what will be attended to."""
        return KeysValues(self._split(self.key(x)), self._split(self.value(x)))

    def forward(
        self, x: Float[Tensor, "B N W"], memory: KeysValues, valid: Bool[Tensor, "B M"] | None
    ) -> Float[Tensor, "B N W"]:
        """Attend from ``x`` to the memory; positions that are not valid are never seen."""
        heads = self._attend(self.query(x), memory, valid)
        return F.dropout(self.proj(heads), self.dropout if self.training else 0.0)

    def read_rows(self, x: Float[Tensor, "S W"], grid: Grid) -> KeysValues:
        """As ``read``, from rows that lie in a grid."""
        return KeysValues(self._split(grid.spread(self.key(x))), self._split(grid.spread(self.value(x))))

    def rows(
        self, x: Float[Tensor, "S W"], grid: Grid, memory: KeysValues, valid: Bool[Tensor, "B M"] | None
    ) -> Float[Tensor, "S W"]:
        """As ``forward``, from rows that lie in a grid; without dropout."""
        return self.proj(grid.pick(self._attend(grid.spread(self.query(x)), memory, valid)))

    def _attend(
        self, query: Float[Tensor, "B N W"], memory: KeysValues, valid: Bool[Tensor, "B M"] | None
    ) -> Float[Tensor, "B N W"]:
        mask = None if valid is None else valid[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        heads = F.scaled_dot_product_attention(
            self._split(query), memory.keys, memory.values, attn_mask=mask, dropout_p=dropout
        )
        return heads.transpose(1, 2).flatten(2)

    def _split(self, x: Float[Tensor, "B M W"]) -> Float[Tensor, "B H M C"]:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Pre-norm block: self-attention if wanted, attention to words if wanted, MLP."""

    def __init__(self, width: int, heads: int, mlp_ratio: int, dropout: float, to_self: bool, to_words: bool) -> None:
        super().__init__()
        self.to_self, self.to_words = to_self, to_words
        if to_self:
            self.norm_self = nn.LayerNorm(width)
            self.self_attention = Attention(width, heads, dropout)
        if to_words:
            self.norm_cross = nn.LayerNorm(width)
            self.norm_words = nn.LayerNorm(width)
            self.cross_attention = Attention(width, heads, dropout)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_ratio * width),
            nn.GELU(),
            nn.Linear(mlp_ratio * width, width),
            nn.Dropout(dropout),
        )

    def read_words(self, words: Float[Tensor, "B M W"]) -> KeysValues:
        """Compute the keys and values of the words for this block."""
        return self.cross_attention.read(self.norm_words(words))

    def forward(
        self,
        x: Float[Tensor, "B N W"],
        valid: Bool[Tensor, "B N"] | None,
        words: KeysValues | None,
        words_valid: Bool[Tensor, "B M"] | None,
    ) -> Float[Tensor, "B N W"]:
        """Run the block; ``words`` is needed exactly when the block attends to words."""
        if self.to_self:
            y = self.norm_self(x)
            x = x + self.self_attention(y, self.self_attention.read(y), valid)
        if words is not None:
            x = x + self.cross_attention(self.norm_cross(x), words, words_valid)
        return x + self.mlp(self.norm_mlp(x))

    def rows(
        self,
        x: Float[Tensor, "S W"],
        grid: Grid,
        out: Grid,
        valid: Bool[Tensor, "B N"] | None,
        words: KeysValues | None,
        words_valid: Bool[Tensor, "B M"] | None,
    ) -> Float[Tensor, "R W"]:
        """As ``forward``, on rows only; without dropout.

        Args:
            x: Rows.
            grid: Where they lie.
            out: Which of them to compute.
            valid: As in ``forward``; None when every place of the grid is.
            words: As in ``forward``.
            words_valid: As in ``forward``.
        """
        if self.to_self:
            y = self.norm_self(x)
            memory = self.self_attention.read_rows(y, grid)
            x = grid.within(x, out) + self.self_attention.rows(grid.within(y, out), out, memory, valid)
        if words is not None:
            x = x + self.cross_attention.rows(self.norm_cross(x), out, words, words_valid)
        return x + self.mlp(self.norm_mlp(x))


def sine_positions(positions: int, width: int) -> Float[Tensor, "positions width"]:
    """Make the sinusoidal position code: sine on even channels, cosine on odd ones, base 10000.

    Source: Attention Is All You Need (arXiv 1706.03762), section 3.5.
    """
    steps = torch.arange(0, width, 2) * (-math.log(10000.0) / width)
    angles = torch.arange(positions)[:, None] * torch.exp(steps)
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)


def init_transformer(module: nn.Module) -> None:
    """Initialise as GPT-2 does: normal 0.02 for weights and tables, zero biases; use with ``apply``."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)

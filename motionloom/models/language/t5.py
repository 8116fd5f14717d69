"""A T5 decoder that writes one token after another, fast: the weights of ``transformers``, a step of our own.

What ``transformers`` does at every step is done once here: keys and values of the source, room for those of the answer,
the table of relative positions, queries, keys and values as one matrix; and the output head has the rows of what is
wanted only. At batch 1 a step reads all weights once and computes little, so its time is that of reading memory.

Shapes: ``B`` items, ``S`` source tokens, ``W`` channels, ``H`` heads, ``C`` channels of a head, ``R`` rows of the head.

Source: Raffel et al., "T5" (arXiv 1910.10683); Shazeer, "GLU variants" (arXiv 2002.05202) for gated ones.
Parity with ``transformers`` is held by ``tests/parity/test_m3gpt_decoding.py``.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from motionloom.errors import RequestError

Precision = Literal["fp32", "bf16", "int8"]
Map = Callable[[Tensor], Tensor]
_ACTIVATIONS: dict[str, Map] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}


@dataclass(frozen=True, eq=False)
class _Layer:
    """The weights of a decoder layer, ready to be read; norms are vectors."""

    own_norm: Tensor
    own: Map
    own_out: Map
    cross_norm: Tensor
    cross: Map
    cross_keys: Tensor
    cross_values: Tensor
    cross_out: Map
    wide_norm: Tensor
    wide: Map
    narrow: Map


@dataclass(eq=False)
class Answering:
    """Where a batch of answers stands.

    Attributes:
        memory: For each layer keys and values of the sources.
        memory_mask: 0 where a source token exists, minus infinity elsewhere; None where all do.
        cache: For each layer keys and values of the answers so far.
        bias: What relative positions add, for the distances of the cache, the longest first.
        head: The output head.
        place: Tokens read so far.
    """

    memory: list[tuple[Tensor, Tensor]]
    memory_mask: Tensor | None
    cache: list[Tensor]
    bias: Float[Tensor, "H room"]
    head: Map
    place: int = 0


class T5Decoder:
    """A snapshot of a T5 decoder's weights; later training of the network does not reach it.

    Args:
        network: A ``T5ForConditionalGeneration``.
        precision: ``fp32``; ``bf16`` for processors that have instructions for it; ``int8``: 8-bit weights (a scale a
            row) and inputs (a scale an item, so that an item's result does not depend on its batch), faster than
            fp32 on processors without bf16; not all of its tokens are those of fp32.

    Raises:
        RequestError: The precision is unknown, or torch has no int8 operators here.
    """

    def __init__(self, network: Any, precision: Precision = "fp32") -> None:
        if precision not in get_args(Precision):
            raise RequestError(f"precision is {precision!r}; known: {', '.join(get_args(Precision))}")
        if precision == "int8" and not {"x86", "fbgemm", "onednn"} & set(torch.backends.quantized.supported_engines):
            raise RequestError("this torch has no int8 operators for this processor: take precision fp32 or bf16")
        self.kind = torch.bfloat16 if precision == "bf16" else torch.float32
        self.matrix = _int8 if precision == "int8" else partial(_plain, kind=self.kind)
        config = network.config
        self.heads, self.eps, self.gated = config.num_heads, config.layer_norm_epsilon, config.is_gated_act
        self.activation = _ACTIVATIONS[config.dense_act_fn]
        self.furthest = config.relative_attention_max_distance
        self.table = network.decoder.embed_tokens.weight.detach().to(self.kind)
        scale = config.d_model**-0.5 if config.scale_decoder_outputs else 1.0
        self.head_rows = network.lm_head.weight.detach() * scale
        self.norm = self._vector(network.decoder.final_layer_norm)
        first = network.decoder.block[0].layer[0].SelfAttention
        self.bias = first.relative_attention_bias.weight.detach().to(self.kind)
        self.layers = [self._layer(*block.layer) for block in network.decoder.block]

    def _vector(self, norm: Any) -> Tensor:
        return norm.weight.detach().to(self.kind)

    def _layer(self, own: Any, cross: Any, feed: Any) -> _Layer:
        mine, theirs, dense = own.SelfAttention, cross.EncDecAttention, feed.DenseReluDense
        wide = [dense.wi_0.weight, dense.wi_1.weight] if self.gated else [dense.wi.weight]
        return _Layer(
            own_norm=self._vector(own.layer_norm),
            own=self.matrix(torch.cat((mine.q.weight, mine.k.weight, mine.v.weight)).detach()),
            own_out=self.matrix(mine.o.weight.detach()),
            cross_norm=self._vector(cross.layer_norm),
            cross=self.matrix(theirs.q.weight.detach()),
            cross_keys=theirs.k.weight.detach().to(self.kind),
            cross_values=theirs.v.weight.detach().to(self.kind),
            cross_out=self.matrix(theirs.o.weight.detach()),
            wide_norm=self._vector(feed.layer_norm),
            wide=self.matrix(torch.cat(wide).detach()),
            narrow=self.matrix(dense.wo.weight.detach()),
        )

    @torch.no_grad()
    def begin(self, memory: Float[Tensor, "B S W"], valid: Bool[Tensor, "B S"], room: int, rows: range) -> Answering:
        """Read the encoded sources.

        Args:
            memory: From the encoder.
            valid: Which source tokens exist.
            room: Tokens that will be read at most.
            rows: Of the head: what is wanted.
        """
        memory = memory.to(self.kind)

        def split(x: Tensor) -> Tensor:
            return x.unflatten(2, (self.heads, -1)).transpose(1, 2).contiguous()

        known = [
            (split(F.linear(memory, layer.cross_keys)), split(F.linear(memory, layer.cross_values)))
            for layer in self.layers
        ]
        size = known[0][0].shape[-1]
        mask = None
        if not bool(valid.all()):
            mask = torch.zeros(valid.shape, dtype=self.kind, device=valid.device).masked_fill(~valid, -math.inf)
            mask = mask[:, None, None]
        cache = [memory.new_zeros(2, len(memory), self.heads, room, size) for _ in self.layers]
        distance = torch.arange(room, device=memory.device)
        bias = self.bias[_bucket(distance, len(self.bias), self.furthest)].T.flip(1).contiguous()
        return Answering(known, mask, cache, bias, self.matrix(self.head_rows[rows.start : rows.stop]))

    @torch.no_grad()
    def step(self, rows: Int[Tensor, "B"], state: Answering) -> Float[Tensor, "B R"]:
        """Read one more token of each answer; logits of the next one, over the rows that are wanted."""
        if state.place >= state.bias.shape[1]:
            raise RequestError(f"there was room for {state.place} tokens: begin with more")
        items, here = len(rows), state.place
        bias = state.bias[None, :, None, state.bias.shape[1] - 1 - here :]
        x = self.table[rows]
        width = x.shape[1:]
        for layer, cache, (keys, values) in zip(self.layers, state.cache, state.memory, strict=True):
            mine = layer.own(F.rms_norm(x, width, layer.own_norm, self.eps)).view(items, 3, self.heads, -1)
            cache[:, :, :, here] = mine[:, 1:].transpose(0, 1)
            seen = cache[:, :, :, : here + 1]
            heads = F.scaled_dot_product_attention(mine[:, 0, :, None], seen[0], seen[1], bias, scale=1.0)
            x = x + layer.own_out(heads.flatten(1))
            query = layer.cross(F.rms_norm(x, width, layer.cross_norm, self.eps)).view(items, self.heads, 1, -1)
            heads = F.scaled_dot_product_attention(query, keys, values, state.memory_mask, scale=1.0)
            x = x + layer.cross_out(heads.flatten(1))
            inner = layer.wide(F.rms_norm(x, width, layer.wide_norm, self.eps))
            if self.gated:
                gate, inner = inner.chunk(2, dim=1)
                inner = self.activation(gate) * inner
            else:
                inner = self.activation(inner)
            x = x + layer.narrow(inner)
        state.place += 1
        return state.head(F.rms_norm(x, width, self.norm, self.eps)).float()


def _bucket(distance: Int[Tensor, " n"], buckets: int, furthest: int) -> Int[Tensor, " n"]:
    """Which learned bias a distance backwards has: exact for the first half, then logarithmic (T5, section 2.1)."""
    exact = buckets // 2
    grown = (distance.clamp(min=1).float() / exact).log() / math.log(furthest / exact) * (buckets - exact)
    return torch.where(distance < exact, distance, (exact + grown.long()).clamp(max=buckets - 1))


def _plain(weight: Float[Tensor, "D C"], kind: torch.dtype) -> Map:
    weight = weight.to(kind)
    return lambda x: F.linear(x, weight)


def _int8(weight: Float[Tensor, "D C"]) -> Map:
    """A map with 8-bit weights and inputs, summed in integers."""
    scale = weight.abs().amax(1).clamp(min=1e-12).double() / 127
    with warnings.catch_warnings():
        # torch says that quantised tensors will go; no other operator of it is faster on processors without bf16.
        warnings.simplefilter("ignore")
        zeros = torch.zeros(len(scale), dtype=torch.long)
        packed = torch.ops.quantized.linear_prepack(
            torch.quantize_per_channel(weight.float(), scale, zeros, 0, torch.qint8), None
        )
    # The operator scales its inputs by their extremes over the batch; this row makes those -1 and 1 in every batch.
    guard = torch.zeros(1, weight.shape[1])
    guard[0, 0], guard[0, 1] = 1.0, -1.0

    def apply(x: Tensor) -> Tensor:
        most = torch.linalg.vector_norm(x, math.inf, dim=1, keepdim=True).clamp_(min=1e-12)
        return torch.ops.quantized.linear_dynamic(torch.cat((x / most, guard)), packed, True)[: len(x)] * most

    return apply

"""MMM at its published size: how long our code takes, with random weights.

How long the official code takes on the same machine is in ``bench_official.py``.
"""

import copy
import warnings
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from motionloom.app.clock import has_bf16, machine, size, time_jobs
from motionloom.engines.threads import using_threads
from motionloom.errors import RequestError
from motionloom.models.masked.model import MaskedConfig, MaskedTransformer
from motionloom.models.masked.sampling import sample_published
from motionloom.models.tokenizers.motion import MotionTokenizer, TokenizerConfig

OFFICIAL = (
    "the official MMM code, same sizes, one clip of 196 frames: about 4.3 CPU-seconds on one thread, 5.3 on two"
    " (2.7 s wall); 32 clips: 3.2 CPU-seconds (1.7 s wall) a clip; measured elsewhere, not in this run"
)
NO_BF16 = "not measured: this processor has no bf16 instructions"
NOT_ASKED = "not measured: not asked for"
NO_INT8 = "not measured: this torch has no int8 operators for this processor"
WORDS = 77
"""Word slots of CLIP's text encoder."""


def bench_mmm(
    frames: int = 196,
    repeats: int = 3,
    threads: int = 2,
    clips: int = 1,
    bf16: bool | None = None,
    seed: int = 0,
    masked: MaskedConfig | None = None,
    tokenizer: TokenizerConfig | None = None,
) -> dict[str, Any]:
    """Time generation at MMM's published size: all passes of the published sampler, and the decoding of the tokens.

    Weights, sentence and word vectors are random (the schedule does not depend on them), tokens are the most
    probable ones; the text encoder is not part of it.

    Args:
        frames: Length of each clip.
        repeats: Runs.
        threads: Threads of torch.
        clips: Clips in one batch.
        bf16: Time bfloat16 as well: where the processor has instructions for it (None), always, or never.
        seed: Of the random weights and vectors.
        masked: Sizes of the transformer; the published ones when left out.
        tokenizer: Sizes of the tokenizer; the published ones when left out.

    Returns:
        ``fp32``, ``bf16`` and ``int8`` (see ``Int8Linear``), each with ``total``, ``sample`` and ``decode`` times,
        the latter two also with the share of tokens that are those of fp32, or a sentence that says why it was not
        measured.

    Raises:
        RequestError: There are no repeats, or the clip is too long for the model.
    """
    if frames < 1 or clips < 1:
        raise RequestError(f"{clips} clips of {frames} frames; at least one of each is needed")
    masked = masked or MaskedConfig.published()
    torch.manual_seed(seed)
    decoder = MotionTokenizer(tokenizer or TokenizerConfig.published()).eval()
    model = MaskedTransformer(masked).eval()
    tokens = -(-frames // decoder.frames_per_token)
    lengths = torch.full((clips,), tokens)
    sentence = torch.randn(clips, masked.sentence_dim)
    words = torch.randn(clips, WORDS, masked.word_dim)
    found: dict[str, torch.Tensor] = {}

    def run(name: str, network: MaskedTransformer) -> dict[str, Any]:
        kind = torch.bfloat16 if name == "bf16" else torch.float32
        coder, given = decoder.to(kind), (sentence.to(kind), words.to(kind))

        def make() -> None:
            found[name] = sample_published(network, lengths, *given)[:, :tokens]

        @torch.no_grad()
        def decode() -> None:
            coder.decode(found[name])

        parts = time_jobs({"sample": make, "decode": decode}, repeats)
        equal = {} if name == "fp32" else {"equal_tokens": share(found[name] == found["fp32"])}
        return {"total": parts.pop("all"), **parts, **equal}

    with using_threads(threads):
        result: dict[str, Any] = {
            "benchmark": "mmm",
            "machine": machine(),
            "seed": seed,
            "frames": frames,
            "clips": clips,
            "tokens": tokens,
            "steps": 10,
            "repeats": repeats,
            "parameters": {"masked": size(model), "tokenizer": size(decoder)},
            "reference": OFFICIAL,
        }
        for name, network in variants(model, bf16).items():
            result[name] = network if isinstance(network, str) else run(name, network)
    return result


def variants(model: MaskedTransformer, bf16: bool | None) -> dict[str, MaskedTransformer | str]:
    """A network in the number formats that are measured, or why one is not.

    Args:
        model: In float32.
        bf16: Where the processor has instructions for it (None), always, or never.
    """
    reduced: MaskedTransformer | str = NO_BF16 if bf16 is None else NOT_ASKED
    if bf16 or (bf16 is None and has_bf16()):
        reduced = copy.deepcopy(model).to(torch.bfloat16)
    int8 = as_int8(model) if {"x86", "fbgemm"} & set(torch.backends.quantized.supported_engines) else NO_INT8
    return {"fp32": model, "bf16": reduced, "int8": int8}


def share(true: Bool[Tensor, "..."]) -> float:
    """Share of what is true."""
    return round(float(true.float().mean()), 4)


class Int8Linear(nn.Module):
    """A linear map with 8-bit weights (a scale for each row) and 8-bit inputs (one scale a call), summed in integers.

    Faster than float32 on processors without bf16; a call's scale depends on all its rows, so that results depend
    on the batch, and torch has announced to drop the operators: for measurements only.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        scale = linear.weight.detach().abs().amax(1).clamp(min=1e-12).double() / 127
        with warnings.catch_warnings():
            # torch says that quantised tensors will go; nothing else in it is fast without bf16 instructions.
            warnings.simplefilter("ignore")
            zeros = torch.zeros(len(scale), dtype=torch.long)
            weight = torch.quantize_per_channel(linear.weight.detach(), scale, zeros, 0, torch.qint8)
            self.packed = torch.ops.quantized.linear_prepack(weight, linear.bias)

    def forward(self, x: Float[Tensor, "*rows C"]) -> Float[Tensor, "*rows D"]:
        """Map rows."""
        return torch.ops.quantized.linear_dynamic(x, self.packed, True)


def as_int8(network: MaskedTransformer) -> MaskedTransformer:
    """A copy of a network with all its linear maps in 8 bits."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, Int8Linear(child))
    return network

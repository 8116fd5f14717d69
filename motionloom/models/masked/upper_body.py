"""Upper-body editing: two tokenizers, one for each half of the body, and a transformer for the upper one.

The lower half's tokens are given, the upper half's are made. Only the 263-layout of HumanML3D is served.
Shapes: ``B`` items, ``T`` frames, ``D`` features, ``N`` tokens, ``K`` codes, ``E`` sentence size,
``M`` words, ``F`` word size, ``W`` channels; the last axis of ids is (upper, lower).

Source: MMM (arXiv 2312.03596), section 3.4 and its released code. Parity: ``tests/parity/test_mmm_parts.py``.
"""

from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from motionloom.errors import RequestError
from motionloom.models.layers import init_transformer
from motionloom.models.masked.cache import InferenceCache
from motionloom.models.masked.model import MaskedConfig, TextMemory, Trunk, layout
from motionloom.models.masked.sampling import published_loop
from motionloom.models.tokenizers.motion import MotionTokenizer, TokenizerConfig, TokenizerOutput
from motionloom.motion.features.layout import LAYOUTS

_LAYOUT = LAYOUTS["humanml3d"]
_LOWER_JOINTS = (0, 1, 2, 4, 5, 7, 8, 10, 11)


@dataclass(frozen=True)
class PartsTokenizerConfig(TokenizerConfig):
    """As for one tokenizer; ``code_dim`` counts both halves together, ``codes`` is for each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features != _LAYOUT.size or self.code_dim % 2:
            raise RequestError(
                f"body halves need {_LAYOUT.size} features and an even code_dim;"
                f" got {self.features} and {self.code_dim}"
            )

    def half(self, features: int) -> TokenizerConfig:
        """Return the config of one half's tokenizer."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(TokenizerConfig)}
        values |= {"features": features, "code_dim": self.code_dim // 2}
        return TokenizerConfig(**values)


class PartsTokenizer(nn.Module):
    """Two tokenizers over the features of the lower and the upper body.

    Heights of upper joints are taken relative to the root's before encoding, so that the upper half does not
    have to know how high the body is; for that the model needs the statistics of the features (buffers
    ``mean`` and ``std``, to be set before use) and of the relative heights (``mean_upper``, ``std_upper``).
    """

    config_class = PartsTokenizerConfig
    mean: Tensor
    std: Tensor
    mean_upper: Tensor
    std_upper: Tensor

    def __init__(self, config: PartsTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.columns = BodyColumns.of_layout()
        self.upper = MotionTokenizer(config.half(len(self.columns.upper)))
        self.lower = MotionTokenizer(config.half(len(self.columns.lower)))
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("std", torch.ones(config.features))
        self.register_buffer("mean_upper", torch.zeros(len(self.columns.upper_heights)))
        self.register_buffer("std_upper", torch.ones(len(self.columns.upper_heights)))

    @classmethod
    def tiny(cls) -> "PartsTokenizer":
        """Make a very small model for tests."""
        return cls(PartsTokenizerConfig(width=32, codes=32, code_dim=8))

    def forward(self, features: Float[Tensor, "B T D"], generator: torch.Generator | None = None) -> TokenizerOutput:
        """Encode, quantise and decode; commitments add up, the perplexity is the lower half's."""
        relative = self.relative(features)
        upper = self.upper(relative[..., self.columns.upper], generator)
        lower = self.lower(relative[..., self.columns.lower], generator)
        return TokenizerOutput(
            self._merge(upper.reconstruction, lower.reconstruction),
            upper.commitment + lower.commitment,
            lower.perplexity,
            torch.stack((upper.ids, lower.ids), dim=2),
        )

    def encode(self, features: Float[Tensor, "B T D"], lengths: Int[Tensor, "B"] | None = None) -> Int[Tensor, "B N 2"]:
        """Return token ids of both halves; see ``MotionTokenizer.encode``."""
        relative = self.relative(features)
        upper = self.upper.encode(relative[..., self.columns.upper], lengths)
        return torch.stack((upper, self.lower.encode(relative[..., self.columns.lower], lengths)), dim=2)

    def decode(self, ids: Int[Tensor, "B N 2"], lengths: Int[Tensor, "B"] | None = None) -> Float[Tensor, "B T D"]:
        """Return normalised features of both halves' ids; see ``MotionTokenizer.decode``."""
        merged = self._merge(self.upper.decode(ids[..., 0], lengths), self.lower.decode(ids[..., 1], lengths))
        if lengths is None:
            return merged
        frames = torch.arange(merged.shape[1], device=ids.device)
        return merged * (frames < lengths[:, None] * self.upper.frames_per_token)[..., None]

    def relative(self, features: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Take the heights of upper joints relative to the root's, normalised by their own statistics."""
        heights = self.columns.upper_heights
        metres = features * self.std + self.mean
        shifted = features.clone()
        above = metres[..., heights] - metres[..., self.columns.root_height, None]
        shifted[..., heights] = (above - self.mean_upper) / self.std_upper
        return shifted

    def absolute(self, features: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Undo ``relative``."""
        heights, root = self.columns.upper_heights, self.columns.root_height
        height = features[..., root] * self.std[root] + self.mean[root]
        metres = features[..., heights] * self.std_upper + self.mean_upper + height[..., None]
        shifted = features.clone()
        shifted[..., heights] = (metres - self.mean[heights]) / self.std[heights]
        return shifted

    def _merge(self, upper: Float[Tensor, "B T U"], lower: Float[Tensor, "B T L"]) -> Float[Tensor, "B T D"]:
        order = torch.tensor(self.columns.upper + self.columns.lower, device=upper.device).argsort()
        return self.absolute(torch.cat((upper, lower), dim=2)[..., order])


@dataclass(frozen=True)
class BodyColumns:
    """Which features belong to which half of the body.

    Attributes:
        upper: Columns of the upper body.
        lower: Columns of the lower body: root, legs, contacts.
        upper_heights: Columns that are heights of upper joints.
        root_height: Column of the root's height.
    """

    upper: list[int]
    lower: list[int]
    upper_heights: list[int]
    root_height: int

    @classmethod
    def of_layout(cls) -> "BodyColumns":
        """Sort the columns of the 263-layout."""
        slices = _LAYOUT.slices
        lower, heights = set(range(_LAYOUT.size)), []
        for joint in range(_LAYOUT.joints):
            if joint in _LOWER_JOINTS:
                continue
            positions = slices["positions"].start + 3 * (joint - 1)
            rotations = slices["rotations"].start + 6 * (joint - 1)
            velocities = slices["velocities"].start + 3 * joint
            for start, size in ((positions, 3), (rotations, 6), (velocities, 3)):
                lower -= set(range(start, start + size))
            heights.append(positions + 1)
        upper = sorted(set(range(_LAYOUT.size)) - lower)
        return cls(upper, sorted(lower), heights, slices["height"].start)


class PartsTransformer(nn.Module):
    """Masked transformer whose tokens are an upper and a lower id; it predicts the upper one."""

    config_class = MaskedConfig

    def __init__(self, config: MaskedConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = PartsEmbedding(config)
        self.trunk = Trunk(config)
        self.apply(init_transformer)

    @classmethod
    def tiny(cls) -> "PartsTransformer":
        """Make a very small model for tests."""
        return cls(
            MaskedConfig(
                codes=32, max_tokens=12, width=32, layers=2, word_layers=1, sentence_dim=16, word_dim=12,
                embedding="codebook", code_dim=8, positions="sine_twice", end_token=True, null_text=False,
                length_embedding=False,
            )
        )  # fmt: skip

    def forward(
        self,
        ids: Int[Tensor, "B N 2"],
        valid: Bool[Tensor, "B N"],
        sentence: Float[Tensor, "B E"],
        words: Float[Tensor, "B M F"],
    ) -> Float[Tensor, "B N K"]:
        """Compute the logits of the upper half's tokens; see ``MaskedTransformer.forward``."""
        return self.logits(ids, valid, self.trunk.read_text(sentence, words, None, None))

    def logits(self, ids: Int[Tensor, "B N 2"], valid: Bool[Tensor, "B N"], text: TextMemory) -> Float[Tensor, "B N K"]:
        """Compute the logits for texts that are read already."""
        return self.trunk(self.embedding(ids), valid, text)[:, 1:]


class PartsEmbedding(nn.Module):
    """Token vectors from two frozen codebooks side by side, with one table of special ids for both."""

    upper: Tensor
    lower: Tensor

    def __init__(self, config: MaskedConfig) -> None:
        super().__init__()
        if config.code_dim % 2:
            raise RequestError(f"code_dim is {config.code_dim}; two halves need an even one")
        half = config.code_dim // 2
        self.register_buffer("upper", torch.zeros(config.codes, half))
        self.register_buffer("lower", torch.zeros(config.codes, half))
        self.special = nn.Embedding(3, half)
        self.project = nn.Linear(config.code_dim, config.width)

    def forward(self, ids: Int[Tensor, "*rows 2"]) -> Float[Tensor, "*rows W"]:
        """Look both ids up and map them together."""
        halves = [
            F.embedding(ids[..., i], torch.cat((codes, self.special.weight)))
            for i, codes in enumerate((self.upper, self.lower))
        ]
        return self.project(torch.cat(halves, dim=-1))


@torch.no_grad()
def sample_upper(
    model: PartsTransformer,
    lower: Int[Tensor, "B N"],
    lengths: Int[Tensor, "B"],
    sentence: Float[Tensor, "B E"],
    words: Float[Tensor, "B M F"],
    generator: torch.Generator | None = None,
    steps: int = 20,
) -> Int[Tensor, "B N"]:
    """Make the upper half's tokens for given lower ones, as MMM's released code does.

    Args:
        model: In eval mode.
        lower: Lower ids of ``config.slots`` slots; mask ids where the lower half may be ignored.
        lengths: Tokens of each motion.
        sentence: Sentence vectors.
        words: Word vectors.
        generator: Stream of the Gumbel noise; None takes the most probable tokens.
        steps: Forward passes; here a single item does not stop early.

    Returns:
        Upper ids of all slots: motion, end token, pads.
    """
    text = model.trunk.read_text(sentence, words, None, None)
    empty, valid = layout(model.config, lengths, model.config.slots)
    if lower.shape != empty.shape:
        raise RequestError(f"lower ids have shape {tuple(lower.shape)}; {tuple(empty.shape)} is needed")
    motion = empty == model.config.mask_id
    # The end token and the pads stand in both halves.
    lower = torch.where(motion, lower, empty)
    cache = InferenceCache(model.trunk, model.embedding, valid, text)
    return published_loop(
        lambda ids, hidden: cache.logits(torch.stack((ids, lower), dim=2), hidden),
        model.config, empty, lengths, motion, lengths, steps, generator, stops_early=False,
    )  # fmt: skip

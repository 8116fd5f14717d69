"""The motion tokenizer: features to token ids and back, one token for every few frames.

One class holds MMM's published tokenizer and ours; they differ by config values.
Shapes: ``B`` clips, ``T`` frames, ``D`` features, ``N`` tokens, ``W`` channels inside.

Source: MMM (arXiv 2312.03596), section 3.1, after T2M-GPT (arXiv 2301.06052). Parity: ``tests/parity``.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from motionloom.errors import RequestError
from motionloom.models.tokenizers.quantize import EMAQuantizer, Reset
from motionloom.schema import check, ranged

Activation = Literal["relu", "silu", "gelu"]
Norm = Literal["none", "LN", "GN", "BN"]
Mask = Bool[Tensor, "B T"] | None
Mask2 = Bool[Tensor, "B T2"] | None

_GROUPS = 32
_ACTIVATIONS = {"relu": F.relu, "silu": F.silu, "gelu": F.gelu}


@dataclass(frozen=True)
class TokenizerConfig:
    """Sizes and choices of a motion tokenizer; the defaults are those of our starter model."""

    features: int = ranged(263, low=1, high=65536)
    """Features of a frame, D."""
    width: int = ranged(192, low=1, high=16384)
    """Channels inside encoder and decoder."""
    levels: int = ranged(2, low=1, high=8)
    """Times the frame rate is halved: a token stands for 2**levels frames."""
    depth: int = ranged(3, low=1, high=32)
    """Residual blocks at each level."""
    dilation_growth: int = ranged(3, low=1, high=16)
    """Dilations are growth**(depth-1), ..., growth, 1, in this order."""
    activation: Activation = "relu"
    """Non-linearity inside the residual blocks; stem and head always use ReLU."""
    norm: Norm = "none"
    """Normalisation inside the residual blocks: none, LN (channels), GN (32 groups), BN (batch)."""
    codes: int = ranged(512, low=1, high=1 << 20)
    """Entries in the codebook."""
    code_dim: int = ranged(64, low=1, high=16384)
    """Size of a code."""
    decay: float = ranged(0.99, low=0, high=1)
    """Weight of the past in the codebook's running means."""
    reset: Reset = "steady"
    """What happens to unused codes; see ``EMAQuantizer``."""
    reset_every: int = ranged(20, low=1, high=1 << 30)
    """Training steps between two replacements of unused codes."""
    seed: int = ranged(0, low=0, high=(1 << 63) - 1)
    """Start of the codebook's random streams."""

    def __post_init__(self) -> None:
        check(self, RequestError)
        if self.norm == "GN" and self.width % _GROUPS:
            raise RequestError(f"norm GN needs a width divisible by {_GROUPS}; it is {self.width}")

    @classmethod
    def published(cls, features: int = 263) -> "TokenizerConfig":
        """Return the sizes of MMM's released tokenizers (263 features HumanML3D, 251 KIT-ML)."""
        return cls(features=features, width=512, codes=8192, code_dim=32, reset="published")


@dataclass(frozen=True)
class TokenizerOutput:
    """One pass through the tokenizer.

    Attributes:
        reconstruction: Decoded features; T rounded down to whole tokens.
        commitment: Mean squared distance between latents and codes.
        perplexity: How many codes this batch used, in effect.
        ids: Token ids.
    """

    reconstruction: Float[Tensor, "B T D"]
    commitment: Float[Tensor, ""]
    perplexity: Float[Tensor, ""]
    ids: Int[Tensor, "B N *parts"]


class MotionTokenizer(nn.Module):
    """VQ-VAE over motion features: convolutions down in time, a codebook, convolutions up again."""

    config_class = TokenizerConfig

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quantizer = EMAQuantizer(
            config.codes, config.code_dim, config.decay, config.reset, config.reset_every, config.seed
        )
        self.decoder = Decoder(config)

    @classmethod
    def tiny(cls, features: int = 263) -> "MotionTokenizer":
        """Make a very small model for tests."""
        return cls(TokenizerConfig(features=features, width=32, codes=32, code_dim=8))

    @property
    def frames_per_token(self) -> int:
        """Frames that one token stands for."""
        return 2**self.config.levels

    def forward(self, features: Float[Tensor, "B T D"], generator: torch.Generator | None = None) -> TokenizerOutput:
        """Encode, quantise and decode; in training mode the codebook moves too.

        Args:
            features: Normalised features, all frames valid.
            generator: Random stream of the codebook; by default one that depends on the step only.
        """
        quantized = self.quantizer(self.latents(features), generator)
        reconstruction = self.decode_vectors(quantized.vectors)
        return TokenizerOutput(reconstruction, quantized.commitment, quantized.perplexity, quantized.ids)

    def encode(self, features: Float[Tensor, "B T D"], lengths: Int[Tensor, "B"] | None = None) -> Int[Tensor, "B N"]:
        """Token ids of normalised features.

        Args:
            features: Normalised features.
            lengths: Valid frames of each clip, when the batch is padded. A clip's ids depend on its own
                frames only; behind its lengths // frames_per_token tokens stand ids of -1.

        Raises:
            RequestError: A clip is shorter than one token.
        """
        latents = self.latents(features, lengths)
        with torch.autocast(features.device.type, enabled=False):
            flat = latents.float().reshape(-1, self.config.code_dim)
            ids = self.quantizer.nearest(flat).view(latents.shape[:2])
        if lengths is None:
            return ids
        valid = length_mask(lengths // self.frames_per_token, ids.shape[1])
        return ids.masked_fill(~valid, -1)

    def decode(self, ids: Int[Tensor, "B N"], lengths: Int[Tensor, "B"] | None = None) -> Float[Tensor, "B T D"]:
        """Normalised features of token ids; T = N * frames_per_token.

        Args:
            ids: Token ids.
            lengths: Valid tokens of each clip, when the batch is padded. A clip's frames depend on its own
                tokens only; behind them stand zeros, and the ids there are ignored.

        Raises:
            RequestError: An id within a clip's length is no code.
        """
        if lengths is not None:
            check_lengths(lengths, ids.shape[1], "tokens")
            ids = ids.masked_fill(~length_mask(lengths, ids.shape[1]), 0)
        return self.decode_vectors(self.quantizer.lookup(ids), lengths)

    def latents(
        self, features: Float[Tensor, "B T D"], lengths: Int[Tensor, "B"] | None = None
    ) -> Float[Tensor, "B N C"]:
        """Run the encoder alone, without quantisation."""
        mask = check_features(features, lengths, self.config.features, self.frames_per_token)
        return self.encoder(features.transpose(1, 2), mask).transpose(1, 2)

    def decode_vectors(
        self, vectors: Float[Tensor, "B N C"], lengths: Int[Tensor, "B"] | None = None
    ) -> Float[Tensor, "B T D"]:
        """Run the decoder alone, on code vectors."""
        mask = None if lengths is None else length_mask(lengths, vectors.shape[1])
        return self.decoder(vectors.transpose(1, 2), mask).transpose(1, 2)


class Encoder(nn.Module):
    """Stem, then per level a strided convolution and residual blocks, then the head."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.stem = nn.Conv1d(config.features, config.width, 3, padding=1)
        self.levels = nn.ModuleList(_Down(config) for _ in range(config.levels))
        self.head = nn.Conv1d(config.width, config.code_dim, 3, padding=1)

    def forward(self, x: Float[Tensor, "B D T"], mask: Mask = None) -> Float[Tensor, "B C N"]:
        """Go from features to latents."""
        x = F.relu(self.stem(_cut(x, mask)))
        for level in self.levels:
            x, mask = level(x, mask)
        return self.head(_cut(x, mask))


class Decoder(nn.Module):
    """Stem, then per level residual blocks and doubling in time, then the head."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.stem = nn.Conv1d(config.code_dim, config.width, 3, padding=1)
        self.levels = nn.ModuleList(_Up(config) for _ in range(config.levels))
        self.last = nn.Conv1d(config.width, config.width, 3, padding=1)
        self.head = nn.Conv1d(config.width, config.features, 3, padding=1)

    def forward(self, x: Float[Tensor, "B C T2"], mask: Mask2 = None) -> Float[Tensor, "B D T"]:
        """Go from code vectors to features."""
        x = F.relu(self.stem(_cut(x, mask)))
        for level in self.levels:
            x, mask = level(x, mask)
        x = F.relu(self.last(_cut(x, mask)))
        return _cut(self.head(_cut(x, mask)), mask)


class _Down(nn.Module):
    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.conv = nn.Conv1d(config.width, config.width, 4, stride=2, padding=1)
        self.blocks = _blocks(config)

    def forward(self, x: Float[Tensor, "B W T"], mask: Mask) -> tuple[Float[Tensor, "B W T2"], Mask2]:
        x = self.conv(_cut(x, mask))
        if mask is not None:
            mask = length_mask(mask.sum(1) // 2, x.shape[2])
        for block in self.blocks:
            x = block(x, mask)
        return x, mask


class _Up(nn.Module):
    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.blocks = _blocks(config)
        self.conv = nn.Conv1d(config.width, config.width, 3, padding=1)

    def forward(self, x: Float[Tensor, "B W T"], mask: Mask) -> tuple[Float[Tensor, "B W T2"], Mask2]:
        for block in self.blocks:
            x = block(x, mask)
        x = x.repeat_interleave(2, dim=2)
        mask = None if mask is None else mask.repeat_interleave(2, dim=1)
        return self.conv(_cut(x, mask)), mask


class _Block(nn.Module):
    """Residual block: norm, activation, dilated convolution, norm, activation, mixing of channels."""

    def __init__(self, config: TokenizerConfig, dilation: int) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[config.activation]
        self.norm1, self.norm2 = _Norm(config), _Norm(config)
        self.conv1 = nn.Conv1d(config.width, config.width, 3, padding=dilation, dilation=dilation)
        self.conv2 = nn.Conv1d(config.width, config.width, 1)

    def forward(self, x: Float[Tensor, "B W T"], mask: Mask) -> Float[Tensor, "B W T"]:
        y = self.conv1(_cut(self.activation(self.norm1(x, mask)), mask))
        return x + self.conv2(self.activation(self.norm2(y, mask)))


def _blocks(config: TokenizerConfig) -> nn.ModuleList:
    return nn.ModuleList(_Block(config, config.dilation_growth**power) for power in reversed(range(config.depth)))


class _Norm(nn.Module):
    """The normalisation of a residual block, by name."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.kind = config.norm
        if config.norm == "LN":
            self.layer = nn.LayerNorm(config.width)
        elif config.norm == "GN":
            self.layer = nn.GroupNorm(_GROUPS, config.width, eps=1e-6)
        elif config.norm == "BN":
            self.layer = nn.BatchNorm1d(config.width, eps=1e-6)
        else:
            self.layer = nn.Identity()

    def forward(self, x: Float[Tensor, "B W T"], mask: Mask) -> Float[Tensor, "B W T"]:
        """Normalise; padded frames do not count."""
        if self.kind == "LN":
            return self.layer(x.transpose(1, 2)).transpose(1, 2)
        if mask is None or not isinstance(self.layer, nn.GroupNorm):
            return self.layer(x)
        # Group norm takes its statistics over time as well.
        weight = mask[:, None, None, :].to(x)
        grouped = x.unflatten(1, (_GROUPS, -1))
        count = weight.sum((2, 3), keepdim=True) * grouped.shape[2]
        mean = (grouped * weight).sum((2, 3), keepdim=True) / count
        variance = ((grouped - mean) ** 2 * weight).sum((2, 3), keepdim=True) / count
        normal = ((grouped - mean) / torch.sqrt(variance + self.layer.eps)).flatten(1, 2)
        return normal * self.layer.weight[:, None] + self.layer.bias[:, None]


def length_mask(lengths: Int[Tensor, "B"], size: int) -> Bool[Tensor, "B size"]:
    """Which of ``size`` places lie within each length."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def _cut(x: Float[Tensor, "B W T"], mask: Mask) -> Float[Tensor, "B W T"]:
    """Zeros behind each clip's end: what a convolution would find there if the clip were alone."""
    return x if mask is None else x.masked_fill(~mask[:, None, :], 0.0)


def check_lengths(lengths: Int[Tensor, "B"], size: int, unit: str) -> None:
    """Refuse lengths that do not fit a batch.

    Raises:
        RequestError: A length is below 1 or above ``size``.
    """
    if int(lengths.min()) < 1 or int(lengths.max()) > size:
        raise RequestError(
            f"lengths run from {int(lengths.min())} to {int(lengths.max())} {unit}; the batch holds 1..{size}"
        )


def tokenizer_loss(
    output: TokenizerOutput,
    target: Float[Tensor, "B T D"],
    local_positions: slice,
    commitment: float = 0.02,
    positions: float = 0.5,
) -> Float[Tensor, ""]:
    """MMM's published training loss.

    Its code names the last term a velocity loss; it is one on the joint positions.

    Args:
        output: Of the tokenizer on ``target``.
        target: Normalised features.
        local_positions: The features that are joint positions relative to the root.
        commitment: Weight of the commitment.
        positions: Weight of the position term.
    """
    whole = F.smooth_l1_loss(output.reconstruction, target)
    local = F.smooth_l1_loss(output.reconstruction[..., local_positions], target[..., local_positions])
    return whole + commitment * output.commitment + positions * local


def check_features(
    features: Float[Tensor, "B T D"], lengths: Int[Tensor, "B"] | None, size: int, frames_per_token: int
) -> Bool[Tensor, "B T"] | None:
    """Check what a tokenizer is to encode; returns which frames exist, ``None`` where all do.

    Args:
        features: Normalised features.
        lengths: Frames of each clip; ``None`` if all have ``T``.
        size: Features of a frame that the tokenizer needs.
        frames_per_token: Frames of the shortest clip.

    Raises:
        RequestError: The frames are of another layout, or a clip is too short.
    """
    frames = features.shape[1]
    if features.shape[2] != size:
        raise RequestError(
            f"frames have {features.shape[2]} features, the tokenizer needs {size}; is this motion in another layout?"
        )
    shortest = frames if lengths is None else int(lengths.min())
    if shortest < frames_per_token:
        raise RequestError(f"a clip has {shortest} frames; a token needs {frames_per_token}: give a longer clip")
    if lengths is None:
        return None
    check_lengths(lengths, frames, "frames")
    return length_mask(lengths, frames)

"""The music tokenizer: sound at 22,050 Hz to token ids and back, whole or as a stream in constant memory.

One class holds the top level of Jukebox's published VQ-VAE (172 tokens a second) and ours (43 a second, so that half a
minute fits a sequence); they differ by config values. Training loss and the names of official weights are in
``music_training.py``.
Shapes: ``B`` clips, ``S`` samples, ``N`` tokens, ``W`` channels inside, ``C`` size of a code.

Source: Jukebox (arXiv 2005.00341), section 3 and appendix B.1; M3GPT (arXiv 2405.16273) uses its top level, frozen.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from motionloom.conditions.audio import RATE
from motionloom.errors import RequestError
from motionloom.models.tokenizers.quantize import EMAQuantizer, Reset
from motionloom.schema import check, ranged


@dataclass(frozen=True)
class MusicTokenizerConfig:
    """Sizes and choices of a music tokenizer; the defaults are ours."""

    strides: tuple[int, ...] = ranged((8, 8, 8), low=2, high=1024)
    """By how much each strided convolution goes down in time, the first first; a token is their product of samples."""
    widths: tuple[int, ...] = ranged((48, 96, 192), low=1, high=16384)
    """Channels of the residual blocks behind each strided convolution."""
    groups: tuple[int, ...] = ranged((3,), low=1, high=64)
    """Strided convolutions of each stage; between stages the sound passes through ``code_dim`` channels."""
    depth: int = ranged(3, low=1, high=64)
    """Residual blocks behind each strided convolution."""
    dilation_growth: int = ranged(3, low=1, high=64)
    """Dilations are 1, growth, growth^2, ...; in the decoder the other way round."""
    codes: int = ranged(2048, low=1, high=1 << 20)
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
        if not self.strides or len(self.widths) != len(self.strides) or sum(self.groups) != len(self.strides):
            raise RequestError(
                f"{len(self.strides)} strides, {len(self.widths)} widths, groups of {self.groups}: one width a stride"
                " is needed, and groups that add up to the strides"
            )
        if any(stride < 2 or stride % 2 for stride in self.strides) or min(*self.widths, *self.groups) < 1:
            raise RequestError(
                f"strides are {self.strides}, widths {self.widths}; even strides and widths from 1 are needed"
            )

    @classmethod
    def published(cls) -> "MusicTokenizerConfig":
        """Return the sizes of Jukebox's top level: hop 128, 2,048 codes."""
        return cls(strides=(2,) * 7, widths=(32,) * 7, groups=(3, 2, 2), depth=4, reset="every_step")


@dataclass(frozen=True)
class MusicOutput:
    """One pass through the tokenizer.

    Attributes:
        reconstruction: Decoded sound; S rounded down to whole tokens.
        commitment: Mean squared distance between latents and codes.
        perplexity: How many codes this batch used, in effect.
        ids: Token ids.
    """

    reconstruction: Float[Tensor, "B S"]
    commitment: Float[Tensor, ""]
    perplexity: Float[Tensor, ""]
    ids: Int[Tensor, "B N"]


class MusicTokenizer(nn.Module):
    """VQ-VAE over samples: convolutions down in time, a codebook, convolutions up again."""

    config_class = MusicTokenizerConfig

    def __init__(self, config: MusicTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        starts = [sum(config.groups[:i]) for i in range(len(config.groups))]
        spans = [slice(start, start + size) for start, size in zip(starts, config.groups, strict=True)]
        self.encoder = nn.Sequential(*(_down(config, span, first=i == 0) for i, span in enumerate(spans)))
        self.quantizer = EMAQuantizer(
            config.codes, config.code_dim, config.decay, config.reset, config.reset_every, config.seed
        )
        self.decoder = nn.Sequential(*(_up(config, span) for span in reversed(spans)))
        self.out = nn.Conv1d(config.code_dim, 1, 3, padding=1)

    @classmethod
    def tiny(cls) -> "MusicTokenizer":
        """Make a very small model of our form for tests."""
        return cls(MusicTokenizerConfig(strides=(4, 2), widths=(12, 16), groups=(2,), depth=2, codes=16, code_dim=8))

    @classmethod
    def tiny_published(cls) -> "MusicTokenizer":
        """Make a very small model of the published form for tests."""
        return cls(
            MusicTokenizerConfig(
                strides=(2, 2, 2), widths=(8, 8, 8), groups=(2, 1), depth=2, codes=16, code_dim=8, reset="every_step"
            )
        )

    @property
    def samples_per_token(self) -> int:
        """Samples that one token stands for."""
        return math.prod(self.config.strides)

    @property
    def tokens_per_second(self) -> float:
        """Token rate at 22,050 Hz."""
        return RATE / self.samples_per_token

    def forward(self, samples: Float[Tensor, "B S"], generator: torch.Generator | None = None) -> MusicOutput:
        """Encode, quantise and decode; in training mode the codebook moves too."""
        quantized = self.quantizer(self.latents(samples), generator)
        reconstruction = self.decode_vectors(quantized.vectors)
        return MusicOutput(reconstruction, quantized.commitment, quantized.perplexity, quantized.ids)

    def latents(self, samples: Float[Tensor, "B S"]) -> Float[Tensor, "B N C"]:
        """Run the encoder alone.

        Raises:
            RequestError: There is less sound than one token, or a sample is NaN or infinite.
        """
        if samples.shape[1] < self.samples_per_token:
            raise RequestError(
                f"{samples.shape[1]} samples; a token needs {self.samples_per_token}: give a longer piece of sound"
            )
        if not bool(torch.isfinite(samples).all()):
            raise RequestError("a sample is NaN or infinite; finite samples between -1 and 1 are needed")
        return self.encoder(samples[:, None]).mT

    def decode_vectors(self, vectors: Float[Tensor, "B N C"]) -> Float[Tensor, "B S"]:
        """Run the decoder alone, on code vectors."""
        return self.out(self.decoder(vectors.mT))[:, 0]

    def encode(self, samples: Float[Tensor, "B S"]) -> Int[Tensor, "B N"]:
        """Token ids of sound at 22,050 Hz; what is left behind the last whole token gets none.

        Raises:
            RequestError: See ``latents``.
        """
        latents = self.latents(samples)
        return self.quantizer.nearest(latents.flatten(0, 1)).view(latents.shape[:2])

    def decode(self, ids: Int[Tensor, "B N"]) -> Float[Tensor, "B S"]:
        """Sound of token ids; S = N * samples_per_token.

        Raises:
            RequestError: An id is no code.
        """
        return self.decode_vectors(self.quantizer.lookup(ids))

    @property
    def reach(self) -> int:
        """Tokens on each side that a token, or the sound of a token, can depend on."""
        dilations = sum(self.config.dilation_growth**power for power in range(self.config.depth))
        near, step, ends = 0.0, 1, set(self._ends())
        for place, stride in enumerate(self.config.strides):
            # A strided convolution (forwards or backwards) reaches 1.5 strides at most; stages add one of size 3.
            near += 1.5 * stride * step
            step *= stride
            near += step * (dilations + 2 * (place + 1 in ends))
        return math.ceil((near + 1) / step) + 1

    def _ends(self) -> list[int]:
        return [sum(self.config.groups[: i + 1]) for i in range(len(self.config.groups))]

    @torch.no_grad()
    def encode_stream(self, blocks: Iterable[Float[Tensor, "_"]], tokens: int = 512) -> Iterator[Int[Tensor, "_"]]:
        """Encode sound that comes in blocks of any size: the ids that ``encode`` would give for all of it.

        Args:
            blocks: Consecutive samples of one channel at 22,050 Hz.
            tokens: Encoded at once; memory and delay depend on it, the result does not.

        Raises:
            RequestError: See ``latents``; ``tokens`` is below 1.
        """
        pieces = _windows((block[None] for block in blocks), self.reach, tokens, self.samples_per_token)
        for window, skip, count in pieces:
            yield self.encode(window)[0, skip : skip + count if count is not None else None]

    @torch.no_grad()
    def decode_stream(self, blocks: Iterable[Int[Tensor, "_"]], tokens: int = 512) -> Iterator[Float[Tensor, "_"]]:
        """Decode ids that come in blocks of any size: the sound that ``decode`` would give for all of them.

        Args:
            blocks: Consecutive token ids.
            tokens: Decoded at once; memory and delay depend on it, the result does not.

        Raises:
            RequestError: An id is no code, there are none, or ``tokens`` is below 1.
        """
        hop = self.samples_per_token
        for window, skip, count in _windows((block[None] for block in blocks), self.reach, tokens, 1):
            yield self.decode(window)[0, skip * hop : (skip + count) * hop if count is not None else None]


def _windows(blocks: Iterable[Tensor], reach: int, tokens: int, size: int) -> Iterator[tuple[Tensor, int, int | None]]:
    """Cut a stream into overlapping windows.

    Args:
        blocks: (1, any) of items.
        reach: Tokens that a window needs on each side, where the stream has them.
        tokens: Of a window, without those.
        size: Items of a token.

    Yields:
        The window, its tokens to leave out in front, and how many to take behind them (None: all).
    """
    if tokens < 1:
        raise RequestError(f"{tokens} tokens at once were asked for; at least 1 is needed")
    held, left = None, 0
    for block in blocks:
        held = block if held is None else torch.cat((held, block), dim=1)
        # One token more than the window: the last one, with what is left behind it, belongs to the last window.
        while held.shape[1] >= (left + tokens + reach + 1) * size:
            yield held[:, : (left + tokens + reach) * size], left, tokens
            drop = max(0, left + tokens - reach)
            held, left = held[:, drop * size :], left + tokens - drop
    if held is None:
        raise RequestError("the stream is empty; at least one token is needed")
    yield held, left, None


class _Residual(nn.Module):
    """Residual block: activation, dilated convolution, activation, mixing of channels."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.conv2 = nn.Conv1d(width, width, 1)

    def forward(self, x: Float[Tensor, "B W T"]) -> Float[Tensor, "B W T"]:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


def _residuals(config: MusicTokenizerConfig, width: int, reverse: bool) -> nn.Sequential:
    dilations = [config.dilation_growth**power for power in range(config.depth)]
    return nn.Sequential(*(_Residual(width, d) for d in (reversed(dilations) if reverse else dilations)))


def _down(config: MusicTokenizerConfig, span: slice, first: bool) -> nn.Sequential:
    """A stage of the encoder."""
    layers: list[nn.Module] = []
    width = 1 if first else config.code_dim
    for stride, wide in zip(config.strides[span], config.widths[span], strict=True):
        layers += [
            nn.Conv1d(width, wide, 2 * stride, stride=stride, padding=stride // 2),
            _residuals(config, wide, reverse=False),
        ]
        width = wide
    return nn.Sequential(*layers, nn.Conv1d(width, config.code_dim, 3, padding=1))


def _up(config: MusicTokenizerConfig, span: slice) -> nn.Sequential:
    """A stage of the decoder: the mirror of ``_down``."""
    strides, widths = config.strides[span][::-1], config.widths[span][::-1]
    layers: list[nn.Module] = [nn.Conv1d(config.code_dim, widths[0], 3, padding=1)]
    for stride, wide, after in zip(strides, widths, (*widths[1:], config.code_dim), strict=True):
        layers += [
            _residuals(config, wide, reverse=True),
            nn.ConvTranspose1d(wide, after, 2 * stride, stride=stride, padding=stride // 2),
        ]
    return nn.Sequential(*layers)


LEVEL = 0.95
"""Music is brought to this peak before it becomes codes."""

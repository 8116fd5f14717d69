"""MoMask's motion tokenizer: a residual VQ-VAE, each codebook quantising what the ones before it left over.

Encoder and decoder are those of the motion tokenizer (``tokenizers/motion.py``).
Shapes: ``B`` clips, ``T`` frames, ``D`` features, ``N`` token slots, ``Q`` codebooks, ``K`` codes, ``C`` their
size.

Source: MoMask (arXiv 2312.00063), section 3.1. Parity: ``tests/parity/test_momask.py``.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from motionloom.errors import RequestError
from motionloom.models.tokenizers.motion import (
    Activation,
    Decoder,
    Encoder,
    Norm,
    TokenizerConfig,
    TokenizerOutput,
    check_features,
    check_lengths,
    length_mask,
)
from motionloom.schema import check, ranged

ABSENT = -1
"""Id of a layer that adds nothing to its slot."""


@dataclass(frozen=True)
class ResidualTokenizerConfig:
    """Sizes and choices of a residual tokenizer; the defaults are those of MoMask's release."""

    features: int = ranged(263, low=5, high=4096, help="Features of a frame, D.")
    width: int = ranged(512, low=1, high=4096, help="Channels inside encoder and decoder.")
    levels: int = ranged(2, low=1, high=6, help="Times the frame rate is halved.")
    depth: int = ranged(3, low=1, high=16, help="Residual blocks at each level.")
    dilation_growth: int = ranged(3, low=1, high=8, help="Dilations are powers of it.")
    activation: Activation = "relu"
    norm: Norm = "none"
    quantizers: int = ranged(6, low=1, high=64, help="Codebooks, Q.")
    codes: int = ranged(512, low=2, high=65536, help="Codes of each codebook, K.")
    code_dim: int = ranged(512, low=1, high=4096, help="Size of a code, C.")

    def __post_init__(self) -> None:
        check(self, RequestError, "residual tokenizer")

    @property
    def networks(self) -> TokenizerConfig:
        """The same for the encoder and decoder that it shares with other tokenizers."""
        return TokenizerConfig(
            features=self.features, width=self.width, levels=self.levels, depth=self.depth,
            dilation_growth=self.dilation_growth, activation=self.activation, norm=self.norm, codes=self.codes,
            code_dim=self.code_dim,
        )  # fmt: skip


class ResidualTokenizer(nn.Module):
    """Features to Q ids a slot and back; what is missing of the finer layers only makes the motion coarser."""

    config_class = ResidualTokenizerConfig
    codebooks: Tensor

    def __init__(self, config: ResidualTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config.networks), Decoder(config.networks)
        self.register_buffer("codebooks", torch.zeros(config.quantizers, config.codes, config.code_dim))

    @classmethod
    def tiny(cls, features: int = 263) -> "ResidualTokenizer":
        """Make a very small model for tests."""
        made = cls(ResidualTokenizerConfig(features=features, width=16, codes=24, code_dim=8, quantizers=3))
        nn.init.normal_(made.codebooks)
        return made

    @property
    def frames_per_token(self) -> int:
        """Frames that one slot stands for."""
        return 2**self.config.levels

    def forward(self, features: Float[Tensor, "B T D"]) -> TokenizerOutput:
        """Encode, quantise and decode; commitment and perplexity are means over the codebooks."""
        rest = self.latents(features)
        found, commitment, perplexity = [], [], []
        for layer in range(self.config.quantizers):
            ids, codes = self._nearest(rest, layer)
            shares = torch.bincount(ids.flatten(), minlength=self.config.codes) / ids.numel()
            perplexity.append(torch.exp(-(shares * torch.log(shares + 1e-7)).sum()))
            commitment.append((rest - codes).square().mean())
            found.append(ids)
            rest = rest - codes
        ids = torch.stack(found, dim=-1)
        return TokenizerOutput(self.decode(ids), torch.stack(commitment).mean(), torch.stack(perplexity).mean(), ids)

    def encode(self, features: Float[Tensor, "B T D"], lengths: Int[Tensor, "B"] | None = None) -> Int[Tensor, "B N Q"]:
        """Ids of normalised features; see ``MotionTokenizer.encode``.

        Raises:
            RequestError: A clip is shorter than one slot.
        """
        rest = self.latents(features, lengths)
        found = []
        for layer in range(self.config.quantizers):
            ids, codes = self._nearest(rest, layer)
            found.append(ids)
            rest = rest - codes
        ids = torch.stack(found, dim=-1)
        if lengths is None:
            return ids
        return ids.masked_fill(~length_mask(lengths // self.frames_per_token, ids.shape[1])[..., None], ABSENT)

    def decode(self, ids: Int[Tensor, "B N Q"], lengths: Int[Tensor, "B"] | None = None) -> Float[Tensor, "B T D"]:
        """Normalised features of ids; T = N * frames_per_token.

        Args:
            ids: Of each slot, ``ABSENT`` for a layer that adds nothing.
            lengths: Slots of each clip, when the batch is padded; behind them stand zeros. Without, absent slots are
                decoded as a zero vector, as the published code does with its padding.

        Raises:
            RequestError: An id is no code.
        """
        if ids.shape[2] != self.config.quantizers or int(ids.min()) < ABSENT or int(ids.max()) >= self.config.codes:
            raise RequestError(
                f"ids from {int(ids.min())} to {int(ids.max())} of {ids.shape[2]} layers were given;"
                f" {self.config.quantizers} layers of 0..{self.config.codes - 1}, or {ABSENT}, are needed"
            )
        mask = None
        if lengths is not None:
            check_lengths(lengths, ids.shape[1], "slots")
            mask = length_mask(lengths, ids.shape[1])
            ids = ids.masked_fill(~mask[..., None], ABSENT)
        codes = sum(
            self.codebooks[layer][ids[..., layer].clamp(min=0)] * (ids[..., layer, None] >= 0)
            for layer in range(self.config.quantizers)
        )
        return self.decoder(torch.as_tensor(codes).mT, mask).mT

    def latents(
        self, features: Float[Tensor, "B T D"], lengths: Int[Tensor, "B"] | None = None
    ) -> Float[Tensor, "B N C"]:
        """Run the encoder alone, without quantisation."""
        mask = check_features(features, lengths, self.config.features, self.frames_per_token)
        return self.encoder(features.mT, mask).mT

    def _nearest(
        self, latents: Float[Tensor, "B N C"], layer: int
    ) -> tuple[Int[Tensor, "B N"], Float[Tensor, "B N C"]]:
        """The nearest code of a layer and its vector."""
        codes = self.codebooks[layer]
        distance = latents.square().sum(-1, keepdim=True) - 2 * latents @ codes.mT + codes.square().sum(1)
        ids = distance.argmin(-1)
        return ids, codes[ids]

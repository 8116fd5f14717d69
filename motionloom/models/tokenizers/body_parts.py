"""The starter's motion tokenizer: one token for every few frames and part of the body.

Legs with the root, trunk, left arm and right arm are encoded apart, each with a codebook of its own, so that a part
can be edited while the others keep their tokens; arms are described by rotations relative to the trunk, so a bow is
in the trunk's tokens only. One decoder reads all parts together. Shapes: ``B`` clips, ``T`` frames, ``D`` features,
``N`` tokens, ``P`` parts, ``C`` size of all parts' codes side by side.

Sources: MMM (arXiv 2312.03596), section 3.4, for tokens of body parts (there two, with decoders of their own).
"""

from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from motionloom.errors import RequestError
from motionloom.models.tokenizers.motion import (
    Decoder,
    Encoder,
    TokenizerConfig,
    TokenizerOutput,
    check_features,
    check_lengths,
    length_mask,
)
from motionloom.models.tokenizers.quantize import EMAQuantizer
from motionloom.motion.features.layout import LAYOUTS
from motionloom.schema import ranged

_LAYOUT = LAYOUTS["humanml3d"]

PARTS = {
    "lower": (1, 2, 4, 5, 7, 8, 10, 11),
    "torso": (3, 6, 9, 12, 15),
    "left_arm": (13, 16, 18, 20),
    "right_arm": (14, 17, 19, 21),
}
"""Parts of the body and their joints; the root goes with the lower part."""


@dataclass(frozen=True)
class BodyTokenizerConfig(TokenizerConfig):
    """As for one tokenizer; ``width`` is the decoder's, ``codes`` and ``code_dim`` are for each part."""

    part_widths: tuple[int, ...] = ranged((160, 96, 96, 96), low=1, high=16384)
    """Channels inside each part's encoder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features != _LAYOUT.size:
            raise RequestError(f"body parts need {_LAYOUT.size} features; got {self.features}")
        if len(self.part_widths) != len(PARTS):
            raise RequestError(f"part_widths are {self.part_widths}; one for each of {', '.join(PARTS)} is needed")

    def one(self, features: int, width: int, code_dim: int) -> TokenizerConfig:
        """Return the config of one part's encoder, or of the decoder."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(TokenizerConfig)}
        values |= {"features": features, "width": width, "code_dim": code_dim}
        return TokenizerConfig(**values)


class BodyTokenizer(nn.Module):
    """VQ-VAE with an encoder and a codebook for each part of the body, and one decoder.

    The trunk's heights are taken relative to the root's before encoding; for that the model needs the spread of
    the features (buffer ``std``, to be set before use).
    """

    config_class = BodyTokenizerConfig
    std: Tensor

    def __init__(self, config: BodyTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.columns = part_columns()
        self.encoders = nn.ModuleList(
            Encoder(config.one(len(columns), width, config.code_dim))
            for columns, width in zip(self.columns.values(), config.part_widths, strict=True)
        )
        self.quantizers = nn.ModuleList(
            EMAQuantizer(
                config.codes, config.code_dim, config.decay, config.reset, config.reset_every, config.seed + part
            )
            for part in range(len(PARTS))
        )
        self.decoder = Decoder(config.one(config.features, config.width, config.code_dim * len(PARTS)))
        self.register_buffer("std", torch.ones(config.features))

    @classmethod
    def tiny(cls) -> "BodyTokenizer":
        """Make a very small model for tests."""
        return cls(BodyTokenizerConfig(width=32, codes=32, code_dim=8, part_widths=(16, 8, 8, 8)))

    @property
    def frames_per_token(self) -> int:
        """Frames that one token stands for."""
        return 2**self.config.levels

    def forward(self, features: Float[Tensor, "B T D"], generator: torch.Generator | None = None) -> TokenizerOutput:
        """Encode, quantise and decode; in training mode the codebooks move too.

        Args:
            features: Normalised features, all frames valid.
            generator: Random stream of the codebooks; by default one that depends on the step only.
        """
        found = [
            quantizer(latents, generator)
            for quantizer, latents in zip(self.quantizers, self.latents(features), strict=True)
        ]
        return TokenizerOutput(
            self.decode_vectors(torch.cat([one.vectors for one in found], dim=2)),
            torch.stack([one.commitment for one in found]).mean(),
            torch.stack([one.perplexity for one in found]).mean(),
            torch.stack([one.ids for one in found], dim=2),
        )

    def encode(self, features: Float[Tensor, "B T D"], lengths: Int[Tensor, "B"] | None = None) -> Int[Tensor, "B N P"]:
        """Token ids of normalised features; see ``MotionTokenizer.encode``.

        Raises:
            RequestError: A clip is shorter than one token.
        """
        ids = []
        with torch.autocast(features.device.type, enabled=False):
            for quantizer, latents in zip(self.quantizers, self.latents(features, lengths), strict=True):
                assert isinstance(quantizer, EMAQuantizer)
                ids.append(quantizer.nearest(latents.float().flatten(0, 1)).view(latents.shape[:2]))
        found = torch.stack(ids, dim=2)
        if lengths is None:
            return found
        return found.masked_fill(~length_mask(lengths // self.frames_per_token, found.shape[1])[..., None], -1)

    def decode(self, ids: Int[Tensor, "B N P"], lengths: Int[Tensor, "B"] | None = None) -> Float[Tensor, "B T D"]:
        """Normalised features of token ids; see ``MotionTokenizer.decode``.

        Raises:
            RequestError: An id within a clip's length is no code.
        """
        if lengths is not None:
            check_lengths(lengths, ids.shape[1], "tokens")
            ids = ids.masked_fill(~length_mask(lengths, ids.shape[1])[..., None], 0)
        vectors = []
        for part, quantizer in enumerate(self.quantizers):
            assert isinstance(quantizer, EMAQuantizer)
            vectors.append(quantizer.lookup(ids[..., part]))
        return self.decode_vectors(torch.cat(vectors, dim=2), lengths)

    def latents(
        self, features: Float[Tensor, "B T D"], lengths: Int[Tensor, "B"] | None = None
    ) -> list[Float[Tensor, "B N _"]]:
        """Run the encoders alone, without quantisation."""
        mask = check_features(features, lengths, self.config.features, self.frames_per_token)
        relative = self._relative(features)
        return [
            encoder(relative[..., columns].transpose(1, 2), mask).transpose(1, 2)
            for encoder, columns in zip(self.encoders, self.columns.values(), strict=True)
        ]

    def decode_vectors(
        self, vectors: Float[Tensor, "B N C"], lengths: Int[Tensor, "B"] | None = None
    ) -> Float[Tensor, "B T D"]:
        """Run the decoder alone, on the parts' code vectors side by side."""
        mask = None if lengths is None else length_mask(lengths, vectors.shape[1])
        return self.decoder(vectors.transpose(1, 2), mask).transpose(1, 2)

    def _relative(self, features: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Take the heights of the trunk's joints relative to the root's, still in units of their spread."""
        heights = [_LAYOUT.slices["positions"].start + 3 * (joint - 1) + 1 for joint in PARTS["torso"]]
        root = _LAYOUT.slices["height"].start
        shifted = features.clone()
        shifted[..., heights] -= features[..., root, None] * (self.std[root] / self.std[heights])
        return shifted


def part_columns() -> dict[str, list[int]]:
    """Which features each part's encoder reads.

    The lower part reads root, contacts and everything about its joints; the trunk its rotations and positions; an
    arm its rotations, of which the collar's is relative to the trunk.
    """
    slices = _LAYOUT.slices

    def of_joints(block: str, size: int, joints: tuple[int, ...], first: int = 1) -> list[int]:
        starts = [slices[block].start + size * (joint - first) for joint in joints]
        return [start + i for start in starts for i in range(size)]

    def rotations(joints: tuple[int, ...]) -> list[int]:
        return of_joints("rotations", 6, joints)

    legs, trunk = PARTS["lower"], PARTS["torso"]
    root = [*range(slices["height"].stop), *range(slices["contacts"].start, slices["contacts"].stop)]
    moving = of_joints("velocities", 3, (0, *legs), first=0)
    return {
        "lower": sorted(root + of_joints("positions", 3, legs) + rotations(legs) + moving),
        "torso": of_joints("positions", 3, trunk) + rotations(trunk),
        "left_arm": rotations(PARTS["left_arm"]),
        "right_arm": rotations(PARTS["right_arm"]),
    }

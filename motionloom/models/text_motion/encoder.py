"""Our text-motion encoder: how well a motion fits a sentence, as the cosine of two vectors.

Shapes: ``B`` items, ``T`` frames, ``D`` features, ``N`` patches of frames, ``M`` words, ``F`` word size, ``E``
sentence size, ``C`` size of the shared space.

Sources: contrastive training of two towers, CLIP (arXiv 2103.00020), for motions TMR (arXiv 2305.00976); several
right answers in a batch share the target, as in supervised contrastive learning (arXiv 2004.11362).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from motionloom.errors import RequestError
from motionloom.models.layers import Block, init_transformer
from motionloom.schema import check, ranged


@dataclass(frozen=True)
class TextMotionConfig:
    """Sizes of a text-motion encoder; the defaults are those of our starter model."""

    features: int = ranged(263, low=1, high=65536)
    """Features of a frame, D."""
    patch: int = ranged(4, low=1, high=1024)
    """Frames that become one vector."""
    max_patches: int = ranged(49, low=1, high=65536)
    """Longest motion in patches."""
    width: int = ranged(192, low=1, high=16384)
    """Channels of both towers."""
    heads: int = ranged(4, low=1, high=1024)
    """Attention heads."""
    layers: int = ranged(3, low=1, high=256)
    """Blocks of the motion tower."""
    text_layers: int = ranged(2, low=1, high=256)
    """Blocks of the text tower."""
    dropout: float = ranged(0.1, low=0, high=1)
    """Dropout of attention weights, projections and MLPs."""
    sentence_dim: int = ranged(384, low=1, high=16384)
    """Size of a sentence vector, E."""
    word_dim: int = ranged(384, low=1, high=16384)
    """Size of a word vector, F."""
    size: int = ranged(192, low=1, high=16384)
    """Size of the shared space, C."""

    def __post_init__(self) -> None:
        check(self, RequestError)
        if self.width % self.heads:
            raise RequestError(f"width {self.width} is not divisible by {self.heads} heads")


class TextMotionEncoder(nn.Module):
    """A motion tower and a text tower with one space of unit vectors."""

    config_class = TextMotionConfig

    def __init__(self, config: TextMotionConfig) -> None:
        super().__init__()
        self.config = config
        width, sizes = config.width, (config.width, config.heads, 4, config.dropout)
        self.patches = nn.Linear(config.patch * config.features, width)
        self.positions = nn.Parameter(0.02 * torch.randn(config.max_patches, width))
        self.motion_blocks = nn.ModuleList(Block(*sizes, to_self=True, to_words=False) for _ in range(config.layers))
        self.motion_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.size))
        self.sentence = nn.Linear(config.sentence_dim, width)
        self.words = nn.Linear(config.word_dim, width)
        self.text_blocks = nn.ModuleList(Block(*sizes, to_self=True, to_words=False) for _ in range(config.text_layers))
        self.text_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.size))
        self.log_scale = nn.Parameter(torch.tensor(2.5))
        self.apply(init_transformer)

    @classmethod
    def tiny(cls) -> "TextMotionEncoder":
        """Make a very small model for tests."""
        return cls(
            TextMotionConfig(
                features=12, max_patches=8, width=32, layers=1, text_layers=1, sentence_dim=16, word_dim=12, size=16
            )
        )

    def embed_motions(self, features: Float[Tensor, "B T D"], frames: Int[Tensor, "B"]) -> Float[Tensor, "B C"]:
        """Unit vectors of motions.

        Args:
            features: Normalised features; what stands behind a motion's end does not matter.
            frames: Frames of each motion; those beyond its last whole patch are not read.

        Raises:
            RequestError: A motion is shorter than a patch or longer than the model reads.
        """
        config = self.config
        most = config.max_patches * config.patch
        if int(frames.min()) < config.patch or int(frames.max()) > most:
            raise RequestError(
                f"motions have {int(frames.min())} to {int(frames.max())} frames; this model reads {config.patch} to"
                f" {most}: cut them"
            )
        count = int(frames.max()) // config.patch
        valid = torch.arange(count, device=frames.device) < (frames // config.patch)[:, None]
        x = features[:, : count * config.patch].reshape(len(features), count, -1).masked_fill(~valid[..., None], 0.0)
        x = self.patches(x) + self.positions[:count]
        for block in self.motion_blocks:
            x = block(x, valid, None, None)
        mean = x.masked_fill(~valid[..., None], 0.0).sum(1) / valid.sum(1, keepdim=True)
        return F.normalize(self.motion_head(mean).float(), dim=1)

    def embed_texts(
        self, sentence: Float[Tensor, "B E"], words: Float[Tensor, "B M F"], words_valid: Bool[Tensor, "B M"]
    ) -> Float[Tensor, "B C"]:
        """Unit vectors of texts, from whitened sentence vectors and word states."""
        x = torch.cat((self.sentence(sentence)[:, None], self.words(words)), dim=1)
        valid = F.pad(words_valid, (1, 0), value=True)
        for block in self.text_blocks:
            x = block(x, valid, None, None)
        return F.normalize(self.text_head(x[:, 0]).float(), dim=1)

    def forward(
        self,
        features: Float[Tensor, "B T D"],
        frames: Int[Tensor, "B"],
        sentence: Float[Tensor, "B E"],
        words: Float[Tensor, "B M F"],
        words_valid: Bool[Tensor, "B M"],
    ) -> Float[Tensor, "B B"]:
        """Scaled cosines of every text (rows) with every motion (columns)."""
        texts = self.embed_texts(sentence, words, words_valid)
        return self.log_scale.clamp(max=4.6).exp() * texts @ self.embed_motions(features, frames).T


def contrastive_loss(logits: Float[Tensor, "B B"], fits: Bool[Tensor, "B B"]) -> Float[Tensor, ""]:
    """Cross entropy in both directions; motions that a text fits as well share its target.

    Args:
        logits: From ``TextMotionEncoder.forward``.
        fits: Which text (row) describes which motion (column); true on the diagonal.
    """
    share = fits.to(logits)
    rows = F.cross_entropy(logits, share / share.sum(1, keepdim=True))
    columns = F.cross_entropy(logits.T, share.T / share.T.sum(1, keepdim=True))
    return (rows + columns) / 2

"""The published text-to-motion evaluator: a motion and a sentence to vectors that lie close where they belong together.

Source: Guo et al., "Generating diverse and natural 3D human motions from text" (CVPR 2022), section 4: the networks
behind the FID, R-precision and MM-Dist of nearly every paper on HumanML3D and KIT-ML.

Shapes: ``B`` clips, ``T`` frames, ``D`` features, ``N`` snippets of four frames, ``M`` word places, ``E`` embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from motionloom.data.loader import Stats
from motionloom.errors import CheckpointError, LayoutError, RequestError
from motionloom.models.text_motion.glove import TAGS, GloVe
from motionloom.schema import check, ranged

SNIPPET = 4
"""Frames a snippet of the movement encoder advances by."""
_CONTACTS = 4
_SLOPE = 0.2


@dataclass(frozen=True)
class EvaluatorConfig:
    """Sizes of an evaluator; the defaults are the published ones for HumanML3D."""

    features: int = ranged(263, low=5, high=65536)
    """Features of a frame, D; the last four, foot contacts, are not looked at."""
    max_frames: int = ranged(196, low=4, high=65536)
    """Every clip is filled up to this length with zeros: it is part of what the weights learned."""
    movement_width: int = ranged(512, low=1, high=16384)
    """Channels between the two convolutions."""
    movement_dim: int = ranged(512, low=1, high=16384)
    """Size of a snippet's vector."""
    motion_width: int = ranged(1024, low=1, high=16384)
    """Size of the states that read snippets, in each direction."""
    text_width: int = ranged(512, low=1, high=16384)
    """Size of the states that read words, in each direction."""
    embedding: int = ranged(512, low=1, high=16384)
    """Size of the common space, E."""
    word_dim: int = ranged(300, low=1, high=16384)
    """Size of a word vector."""
    tags: int = ranged(len(TAGS), low=1, high=1024)
    """Kinds of parts of speech."""
    dropout: float = ranged(0.2, low=0, high=1)
    """Dropout between the convolutions."""

    def __post_init__(self) -> None:
        check(self, RequestError)
        if self.max_frames % SNIPPET:
            raise LayoutError(f"max_frames is {self.max_frames}; it must be a multiple of {SNIPPET}")


class MovementEncoder(nn.Module):
    """Features to snippet vectors: two convolutions of stride 2 and a linear layer."""

    def __init__(self, config: EvaluatorConfig) -> None:
        super().__init__()
        self.first = nn.Conv1d(config.features - _CONTACTS, config.movement_width, 4, 2, 1)
        self.second = nn.Conv1d(config.movement_width, config.movement_dim, 4, 2, 1)
        self.out = nn.Linear(config.movement_dim, config.movement_dim)
        self.dropout = config.dropout

    def forward(self, features: Float[Tensor, "B T D"]) -> Float[Tensor, "B N C"]:
        """Encode normalised features."""
        x = features[..., :-_CONTACTS].transpose(1, 2)
        for conv in (self.first, self.second):
            x = F.leaky_relu(F.dropout(conv(x), self.dropout, self.training), _SLOPE)
        return self.out(x.transpose(1, 2))


class Reader(nn.Module):
    """A bidirectional GRU with learned first states; its two last states become one vector."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, width)
        self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.start = nn.Parameter(torch.randn(2, 1, width))
        self.head = nn.Sequential(
            nn.Linear(2 * width, width), nn.LayerNorm(width), nn.LeakyReLU(_SLOPE), nn.Linear(width, outputs)
        )

    def forward(self, x: Float[Tensor, "B N C"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B E"]:
        """Read the first ``lengths`` places of each sequence, in any order of lengths."""
        packed = pack_padded_sequence(self.embed(x), lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, states = self.gru(packed, self.start.expand(-1, len(x), -1).contiguous())
        return self.head(torch.cat((states[0], states[1]), dim=-1))


class Evaluator(nn.Module):
    """Movement, motion and text encoders with one common space."""

    config_class = EvaluatorConfig

    def __init__(self, config: EvaluatorConfig) -> None:
        super().__init__()
        self.config = config
        self.movement = MovementEncoder(config)
        self.motion = Reader(config.movement_dim, config.motion_width, config.embedding)
        self.tag = nn.Linear(config.tags, config.word_dim)
        self.text = Reader(config.word_dim, config.text_width, config.embedding)

    @classmethod
    def tiny(cls) -> "Evaluator":
        """Make a very small model for tests."""
        sizes = {"movement_width": 12, "movement_dim": 12, "motion_width": 24, "text_width": 16, "embedding": 16}
        return cls(EvaluatorConfig(**sizes))

    def embed_motions(self, features: Float[Tensor, "B T D"], frames: Int[Tensor, "B"]) -> Float[Tensor, "B E"]:
        """Embed clips given in the evaluator's own normalisation (see ``renormalise``).

        Args:
            features: Normalised by the evaluator's statistics; what stands behind a clip's end is not looked at.
            frames: Length of each clip; a rest below four frames is not looked at, as published.

        Raises:
            LayoutError: The features are of another layout.
            RequestError: A clip is shorter than 4 frames, or longer than ``features`` or ``max_frames``.
        """
        batch, time, channels = features.shape
        if channels != self.config.features:
            raise LayoutError(
                f"the clips have {channels} features, the evaluator reads {self.config.features}: use the evaluator"
                " of that layout"
            )
        shortest, longest = int(frames.min()), int(frames.max())
        most = min(time, self.config.max_frames)
        if len(frames) != batch or shortest < SNIPPET or longest > most:
            raise RequestError(
                f"{len(frames)} lengths from {shortest} to {longest} frames were given for {batch} clips; one of"
                f" {SNIPPET}..{most} is needed for each: cut or drop the others"
            )
        inside = torch.arange(time, device=features.device) < frames.to(features.device)[:, None]
        x = features.masked_fill(~inside[..., None], 0.0)[:, : self.config.max_frames]
        x = F.pad(x, (0, 0, 0, self.config.max_frames - x.shape[1]))
        return self.motion(self.movement(x), frames // SNIPPET)

    def embed_texts(
        self, words: Float[Tensor, "B M W"], tags: Float[Tensor, "B M P"], lengths: Int[Tensor, "B"]
    ) -> Float[Tensor, "B E"]:
        """Embed sentences given as word vectors and one-hot tags (see ``conditions.glove``).

        Raises:
            RequestError: A length is not in 1..M.
        """
        if int(lengths.min()) < 1 or int(lengths.max()) > words.shape[1]:
            raise RequestError(
                f"lengths run from {int(lengths.min())} to {int(lengths.max())} words; they must be in"
                f" 1..{words.shape[1]}"
            )
        return self.text(words + self.tag(tags), lengths)


def renormalise(features: Float[Tensor, "*batch D"], source: Stats, target: Stats) -> Float[Tensor, "*batch D"]:
    """Turn features normalised by one pair of statistics into features normalised by another.

    Published models and evaluators use statistics that differ by factors of 5 and 25 in some features; an evaluator
    fed with a model's own normalisation gives numbers that look right and are not.

    Args:
        features: Normalised by ``source``.
        source: Statistics of the model that made them.
        target: Statistics of the evaluator.

    Raises:
        LayoutError: The sizes differ.
    """
    sizes = features.shape[-1], len(source.mean), len(target.mean)
    if len(set(sizes)) > 1:
        raise LayoutError(f"features, source and target have {sizes} numbers a frame: they are of different layouts")
    return target.normalize(source.restore(features))


@dataclass(frozen=True, eq=False)
class PublishedEvaluator:
    """The published evaluator with what belongs to it: raw features and tagged captions in, embeddings out.

    Attributes:
        network: In eval mode.
        stats: The evaluator's own mean and standard deviation of the features.
        glove: The published vocabulary.

    Raises:
        CheckpointError: Statistics or vocabulary are of another size than the network.
    """

    network: Evaluator
    stats: Stats
    glove: GloVe

    def __post_init__(self) -> None:
        config = self.network.config
        got, need = (len(self.stats.mean), self.glove.vectors.shape[1]), (config.features, config.word_dim)
        if got != need:
            raise CheckpointError(f"statistics and word vectors have {got} numbers; this evaluator needs {need}")

    @torch.no_grad()
    def motions(self, clips: Sequence[Float[Tensor, "_frames D"]]) -> Float[Tensor, "B E"]:
        """Embed clips of any lengths, given as features in their own units (not normalised by anybody).

        Raises:
            LayoutError: A clip is of another layout.
            RequestError: There is no clip, or one is shorter than 4 frames or longer than the evaluator reads.
        """
        if not clips:
            raise RequestError("there are no clips; give at least one")
        if odd := [clip.shape[1] for clip in clips if clip.shape[1] != self.network.config.features]:
            raise LayoutError(f"a clip has {odd[0]} features, the evaluator reads {self.network.config.features}")
        frames = torch.tensor([len(clip) for clip in clips])
        padded = torch.nn.utils.rnn.pad_sequence([self.stats.normalize(clip) for clip in clips], batch_first=True)
        return self.network.embed_motions(padded, frames)

    @torch.no_grad()
    def captions(self, captions: Sequence[Sequence[str]]) -> Float[Tensor, "B E"]:
        """Embed captions, each a list of ``word/TAG`` tokens.

        Raises:
            RequestError: See ``GloVe``.
        """
        found = self.glove(captions)
        return self.network.embed_texts(found.words, found.tags, found.lengths)

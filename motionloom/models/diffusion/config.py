"""What a motion diffusion model is made of and what it is asked: sizes, clips, conditions.

Shapes: ``B`` clips, ``T`` frames, ``P`` body parts (ten), ``M`` tokens of a condition, ``F`` their size.

Source: LMM (arXiv 2404.01284), sections 3 and 4.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motionloom.errors import RequestError
from motionloom.motion.features.motionverse_layout import CORRECT, SIZE, MotionVerseOptions, part_columns
from motionloom.motion.skeleton import PARTS
from motionloom.schema import check, ranged

MODALITIES = ("text", "music", "speech", "video")
"""What a motion can follow. "video" has one token a frame: image features, or keypoints."""
PUBLISHED_DATASETS = (
    "all", "amass_mocap", "motionx_mocap", "humanact12_mocap", "uestc_mocap", "ntu_mocap", "aist_mocap", "beat_mocap",
    "tedg_mocap", "tedex_mocap", "s2g3d_mocap", "h36m_mocap", "mpi_mocap", "humanml3d_t2m", "kitml_t2m", "babel_t2m",
    "motionx_t2m", "humanact12_t2m", "uestc_t2m", "ntu_t2m", "aist_m2d", "beat_s2g", "tedg_s2g", "tedex_s2g",
    "s2g3d_s2g", "h36m_v2m", "mpi_v2m",
)  # fmt: skip
PUBLISHED_ROTATIONS = ("h3d_rot", "smpl_rot", "bvh_rot")
PublishedSize = Literal["tiny", "small", "base", "large"]
_PUBLISHED: dict[PublishedSize, tuple[int, int, int, int, int]] = {
    "tiny": (64, 4, 2, 16, 4),
    "small": (64, 8, 2, 16, 4),
    "base": (128, 12, 4, 16, 4),
    "large": (128, 20, 4, 32, 8),
}
"""Channels of a part, blocks, layers of a condition's encoder, experts, choices."""


@dataclass(frozen=True)
class DiffusionConfig:
    """Sizes and choices of a diffusion model; the defaults are ours, small enough for a laptop."""

    LATER: ClassVar[tuple[str, ...]] = ("text_encoder",)
    """Fields that older checkpoints do not have; they were written with the defaults."""

    part_dim: int = ranged(32, low=1, high=4096)
    """Channels of a body part, L; a frame has ten times as many."""
    layers: int = ranged(4, low=1, high=256)
    """Blocks."""
    condition_layers: int = ranged(1, low=0, high=256)
    """Layers of each condition's encoder."""
    experts: int = ranged(4, low=1, high=1024)
    """Small networks to choose from."""
    top_k: int = ranged(2, low=1, high=1024)
    """Experts that read a token."""
    capacity: float = ranged(0.0, low=0, high=1000)
    """In training an expert takes this many times its even share of tokens (published: 1.5); 0 is no bound."""
    drops: bool = False
    """Whether that bound holds at inference too (published), so that a result depends on its batch."""
    attention: Literal["art", "plain"] = "art"
    """How frames see each other and the conditions: LMM's ArtAttention, or plain attention (ablation)."""
    linear_prior: bool = True
    """Whether the network adds to the best linear guess, see ``linear_prior.py`` (not published)."""
    local: int = ranged(3, low=0, high=256)
    """Frames to either side that a frame's MLP sees, weighed as the frame rate asks for; 0 for none (published)."""
    time_dim: int = ranged(256, low=1, high=16384)
    """Channels of the diffusion step's embedding."""
    max_frames: int = ranged(300, low=1, high=65536)
    """Longest clip."""
    max_tokens: int = ranged(400, low=1, high=65536)
    """Longest condition, in tokens."""
    text_dim: int = ranged(384, low=0, high=16384)
    """Size of a word; 0 where the model knows no text. The same for music, speech and video."""
    text_encoder: str = "minilm"
    """Whose words they are; see ``conditions/clip.py``."""
    music_dim: int = ranged(0, low=0, high=16384)
    """Size of a music token."""
    speech_dim: int = ranged(0, low=0, high=16384)
    """Size of a speech token."""
    video_dim: int = ranged(0, low=0, high=16384)
    """Size of a frame of video: image features, or keypoints."""
    audio_stride: int = ranged(1, low=1, high=1024)
    """Take each so-manieth token of music and speech (published: 3)."""
    aligned: tuple[str, ...] = ("text", "music", "speech", "video")
    """Conditions that are also added to the frames: each token to its frame, of text the first, which is the sentence,
    to all (not published: templates alone would have to carry what happens, and when)."""
    sees_padding: bool = False
    """Whether a condition's encoder attends to tokens that do not exist (published)."""
    datasets: tuple[str, ...] = ("all",)
    """Sources that have read-in, read-out and memory tokens of their own; the first is for any."""
    rotations: tuple[str, ...] = ("parent",)
    """Kinds of rotation features that have memory tokens of their own."""
    dataset_tokens: int = ranged(16, low=1, high=4096)
    """Memory tokens of a dataset."""
    rotation_tokens: int = ranged(0, low=0, high=4096)
    """Memory tokens of a rotation kind."""
    swapped_sides: bool = False
    """Whether the parts named left arm and left leg hold the right ones and the reverse (published)."""
    clean_cells: bool = True
    """Whether cells that are known are read clean and marked, not noised (not published)."""
    dropout: float = ranged(0.1, low=0, high=1)
    """Dropout in the blocks."""

    def __post_init__(self) -> None:
        check(self, RequestError)
        if self.part_dim % 2:
            raise RequestError(f"part_dim is {self.part_dim}; it must be even")
        if 0 < self.capacity < 1:
            raise RequestError(f"capacity is {self.capacity}; it must be at least 1, or 0 for no bound")
        if not 1 <= self.top_k <= self.experts:
            raise RequestError(f"top_k is {self.top_k}; it must be from 1 to the number of experts, {self.experts}")
        if not self.datasets or not self.rotations:
            raise RequestError("at least one dataset and one kind of rotations must be named")
        strided = set(self.aligned) & {"music", "speech"} if self.audio_stride > 1 else set()
        if not set(self.aligned) <= set(MODALITIES) or strided:
            raise RequestError(f"aligned is {self.aligned}; {', '.join(MODALITIES)} can be, sound if audio_stride is 1")

    @property
    def features(self) -> int:
        """Features of a frame."""
        return SIZE

    @property
    def width(self) -> int:
        """Channels of a frame, D."""
        return len(PARTS) * self.part_dim

    @property
    def widths(self) -> dict[str, int]:
        """Size of a token of each modality that may be given; 0 where the model does not know it."""
        return dict(zip(MODALITIES, (self.text_dim, self.music_dim, self.speech_dim, self.video_dim), strict=True))

    @property
    def modalities(self) -> tuple[str, ...]:
        """What this model can follow."""
        return tuple(name for name, width in self.widths.items() if width)

    @property
    def columns(self) -> dict[str, tuple[int, ...]]:
        """Columns of the unified features that each part holds."""
        return part_columns(MotionVerseOptions.published() if self.swapped_sides else CORRECT)

    @property
    def per_frame(self) -> tuple[str, ...]:
        """Modalities that must have one token a frame."""
        return tuple(name for name in self.modalities if name in {*self.aligned, "video"} - {"text"})

    def stride(self, modality: str) -> int:
        """Each so-manieth token of a modality is read."""
        return self.audio_stride if modality in ("music", "speech") else 1

    @classmethod
    def published(cls, size: PublishedSize = "tiny") -> "DiffusionConfig":
        """Return LMM's released sizes; 97, 147, 733 and 1,103 million parameters."""
        part_dim, layers, condition_layers, experts, top_k = _PUBLISHED[size]
        return cls(
            part_dim=part_dim, layers=layers, condition_layers=condition_layers, experts=experts, top_k=top_k,
            capacity=1.5, linear_prior=False, local=0, time_dim=2048, max_frames=200, max_tokens=300, text_dim=1024,
            music_dim=768, speech_dim=768, video_dim=1024, audio_stride=3, aligned=(), sees_padding=True,
            datasets=PUBLISHED_DATASETS, rotations=PUBLISHED_ROTATIONS, dataset_tokens=48, rotation_tokens=16,
            swapped_sides=True, clean_cells=False,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Condition:
    """What some clips are to follow, of one modality.

    Attributes:
        features: Tokens.
        given: Clips that have this condition; of the others, what stands in ``features`` does not matter.
        valid: Tokens that exist; None when all do.

    Raises:
        RequestError: Shapes disagree, or a clip has the condition but none of its tokens exists.
    """

    features: Float[Tensor, "B M F"]
    given: Bool[Tensor, "B"]
    valid: Bool[Tensor, "B M"] | None = None

    def __post_init__(self) -> None:
        if self.features.shape[:1] != self.given.shape:
            raise RequestError(f"{len(self.features)} conditions were given for {len(self.given)} clips: give one each")
        if self.valid is not None and self.valid.shape != self.features.shape[:2]:
            raise RequestError(f"valid is {tuple(self.valid.shape)}; {tuple(self.features.shape[:2])} is needed")
        tokens = torch.ones_like(self.given) if self.valid is None else self.valid.any(1)
        if bool((self.given & ~tokens).any()):
            raise RequestError("a condition without a token was given: give tokens, or leave it out")

    def take(self, rows: Int[Tensor, "R"]) -> "Condition":
        """The conditions of some clips."""
        return Condition(self.features[rows], self.given[rows], None if self.valid is None else self.valid[rows])


Conditions = Mapping[str, Condition]


@dataclass(frozen=True, eq=False)
class Clips:
    """The motions that are asked for, but for their conditions.

    Attributes:
        parts: Cells that hold motion to be read; the model infers the others.
        lengths: Frames of each clip.
        seconds: Of one frame of each clip: 1 / fps.
        dataset: Index in ``DiffusionConfig.datasets``.
        rotation: Index in ``DiffusionConfig.rotations``.
        known: Cells whose features are clean, where the model has ``clean_cells``; None when none are.
        timeline: Sizes of groups of consecutive clips that follow each other on one time line; None when each stands
            alone. Clips of a group may have different frame rates.

    Raises:
        RequestError: Shapes disagree, or a length does not fit.
    """

    parts: Bool[Tensor, "B T P"]
    lengths: Int[Tensor, "B"]
    seconds: Float[Tensor, "B"]
    dataset: Int[Tensor, "B"]
    rotation: Int[Tensor, "B"]
    known: Bool[Tensor, "B T P"] | None = None
    timeline: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        clips, frames, parts = self.parts.shape
        if parts != len(PARTS):
            raise RequestError(f"a mask of {parts} parts was given; the ten are {', '.join(PARTS)}")
        counts = {len(self.lengths), len(self.seconds), len(self.dataset), len(self.rotation), clips}
        if len(counts) > 1 or (self.known is not None and self.known.shape != self.parts.shape):
            raise RequestError(f"lengths, seconds, dataset, rotation and known must be those of {clips} clips")
        if bool((self.lengths < 1).any()) or bool((self.lengths > frames).any()):
            raise RequestError(f"lengths are {self.lengths.tolist()}; they must be from 1 to {frames} frames")
        if not bool((self.seconds > 0).all()):
            raise RequestError(f"a frame lasts {self.seconds.tolist()} s; it must be more than 0")
        if self.timeline is not None and (min(self.timeline) < 1 or sum(self.timeline) != clips):
            raise RequestError(f"groups of {self.timeline} clips were given for {clips} clips: they must add up")

    def __len__(self) -> int:
        return len(self.lengths)

    @classmethod
    def whole(cls, lengths: Int[Tensor, "B"], fps: float) -> "Clips":
        """Clips with all parts, of the first dataset and kind of rotations."""
        none = torch.zeros_like(lengths)
        parts = torch.ones(len(lengths), int(lengths.max()), len(PARTS), dtype=torch.bool, device=lengths.device)
        return cls(parts, lengths, torch.full(lengths.shape, 1 / fps, device=lengths.device), none, none)

    @property
    def frames(self) -> Bool[Tensor, "B T"]:
        """Frames that exist."""
        return torch.arange(self.parts.shape[1], device=self.lengths.device) < self.lengths[:, None]

    @property
    def starts(self) -> Float[Tensor, "B"]:
        """When each clip starts on its time line [s]."""
        spans = self.lengths * self.seconds
        if self.timeline is None:
            return torch.zeros_like(spans)
        return torch.cat([group.cumsum(0) - group for group in spans.split(list(self.timeline))])

    def take(self, rows: Int[Tensor, "R"], timeline: tuple[int, ...] | None) -> "Clips":
        """Some clips, in groups of other sizes."""
        known = None if self.known is None else self.known[rows]
        lengths, seconds = self.lengths[rows], self.seconds[rows]
        return Clips(self.parts[rows], lengths, seconds, self.dataset[rows], self.rotation[rows], known, timeline)

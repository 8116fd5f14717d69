"""The motion diffusion model: noised features and conditions in, clean features out.

One class holds LMM's published network and ours; they differ by config values. Sizes are in ``diffusion_config.py``,
blocks in ``diffusion_blocks.py``, noise in ``schedule.py``; it is sampled in ``diffusion_sampling.py`` and trained in
``diffusion_training.py``.

Shapes: ``B`` clips, ``R`` rows of a batch, ``T`` frames, ``P`` body parts, ``L`` channels of a part, ``D`` = P L,
``S`` diffusion steps; features have 669 columns (``motion/features/motionverse.py``), normalised.

Source: LMM (arXiv 2404.01284), section 4. Parity: ``tests/parity/test_lmm_denoiser.py``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from motionloom.errors import RequestError
from motionloom.models.diffusion.blocks import (
    AdaLN,
    ConditionEncoder,
    DiffusionBlock,
    Fan,
    Memory,
    Read,
    Sums,
    Tokens,
    combine,
)
from motionloom.models.diffusion.config import Clips, Conditions, DiffusionConfig
from motionloom.models.diffusion.prior import LinearPrior
from motionloom.models.diffusion.schedule import NoiseSchedule
from motionloom.motion.skeleton import PARTS


@dataclass(frozen=True, eq=False)
class Styles:
    """What diffusion steps change in the network.

    Attributes:
        blocks: For each block the scales and shifts of its two ``AdaLN``; a row is a step.
        alpha_bar: Share of the clean variance at each.
    """

    blocks: tuple[tuple[Tensor, Tensor], ...]
    alpha_bar: Float[Tensor, " S"]

    def at(self, place: int) -> "Styles":
        """One of the steps."""
        blocks = tuple((mixed[place, None], refined[place, None]) for mixed, refined in self.blocks)
        return Styles(blocks, self.alpha_bar[place, None])


@dataclass(frozen=True, eq=False)
class Denoised:
    """What one pass gives.

    Attributes:
        features: Clean features, as predicted; behind a clip's end anything.
        load_balancing_loss: Loss for balanced experts, of the blocks.
        times: For each block with ArtAttention the templates' times before the sigmoid.
        doubt: How far off the linear prior each part is expected to be; None without one.
    """

    features: Float[Tensor, "R T 669"]
    load_balancing_loss: Float[Tensor, ""]
    times: tuple[Float[Tensor, "R P L"], ...]
    doubt: Float[Tensor, "R P"] | None = None


@dataclass(frozen=True, eq=False)
class Reading:
    """The conditions of some clips, as each block keeps them.

    Attributes:
        blocks: Memories of each block.
        given: For each modality the clips that have it.
        load_balancing_loss: Loss for balanced experts.
        frames: Of each aligned modality what it adds to frames.
    """

    blocks: tuple[Read, ...]
    given: Mapping[str, Bool[Tensor, "B"]]
    load_balancing_loss: Float[Tensor, ""]
    frames: Mapping[str, Float[Tensor, "B T D"]]

    def combine(self, rows: Int[Tensor, "R"], seen: Mapping[str, Bool[Tensor, "R"]] | None = None) -> "Seen":
        """What each row of a batch sees, block by block.

        Args:
            rows: The clip of each row.
            seen: For each modality the rows that may see it, if their clips have it; None: all that they have.
        """
        flags = {name: given[rows] & (True if seen is None else seen[name]) for name, given in self.given.items()}
        added = [frames[rows] * flags[name][:, None, None] for name, frames in self.frames.items()]
        blocks = tuple(combine(read, rows, flags) for read in self.blocks)
        return Seen(blocks, torch.stack(added).sum(0) if added else None)


@dataclass(frozen=True, eq=False)
class Seen:
    """What the rows of a batch see of conditions.

    Attributes:
        blocks: Block by block.
        added: To their frames, from aligned conditions; None for nothing.
    """

    blocks: tuple[Sums | Memory, ...]
    added: Float[Tensor, "R T D"] | None


_SMALLEST = 1e-3
"""A guess is not made larger than by its inverse: at the first steps it is next to nothing."""


class DiffusionTransformer(nn.Module):
    """Predict the clean features of clips from noised ones, the noise level and conditions."""

    config_class = DiffusionConfig
    order: Tensor
    back: Tensor
    parts_of: Tensor

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.config = config
        columns = list(config.columns.values())
        self.sizes = [len(part) for part in columns]
        order = torch.tensor([column for part in columns for column in part])
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", order.argsort(), persistent=False)
        self.register_buffer("parts_of", torch.tensor(self.sizes), persistent=False)
        self.read_in = PartMaps(self.sizes, [config.part_dim] * len(PARTS), len(config.datasets))
        self.read_out = PartMaps([config.part_dim] * len(PARTS), self.sizes, len(config.datasets), zero=True)
        self.prior = LinearPrior(self.sizes) if config.linear_prior else None
        self.mask_token = nn.Parameter(0.02 * torch.randn(len(PARTS), config.part_dim))
        # In the published network a parameter that nothing reads.
        self.clean_token = nn.Parameter(torch.zeros(len(PARTS), config.part_dim))
        self.step = nn.Sequential(
            nn.Linear(config.width, config.time_dim), nn.SiLU(), nn.Linear(config.time_dim, config.time_dim)
        )
        self.encoders = nn.ModuleDict(
            {name: ConditionEncoder(size, config) for name, size in config.widths.items() if size}
        )
        aligned = [name for name in config.aligned if name in config.modalities]
        self.aligned = nn.ModuleDict({name: nn.Linear(config.width, config.width) for name in aligned})
        self.blocks = nn.ModuleList([DiffusionBlock(config) for _ in range(config.layers)])
        for module in self.modules():
            if isinstance(module, AdaLN):
                # A block starts as no change, so deep models train from the first step on.
                nn.init.zeros_(module.out.weight)
                nn.init.zeros_(cast(Tensor, module.out.bias))

    @classmethod
    def tiny(cls) -> "DiffusionTransformer":
        """Make a very small model of our form for tests."""
        return cls(
            DiffusionConfig(
                part_dim=8, layers=2, time_dim=32, max_frames=24, max_tokens=30, text_dim=12, music_dim=6, video_dim=5,
                dataset_tokens=4, rotation_tokens=2, aligned=("text", "video"),
            )
        )  # fmt: skip

    def forward(
        self, x: Float[Tensor, "B T 669"], t: Int[Tensor, "B"], clips: Clips, conditions: Conditions
    ) -> Denoised:
        """Compute clean features and what training needs beside.

        Args:
            x: Noised features; those of ``clips.known`` cells clean.
            t: Diffusion step of each clip.
            clips: Masks, lengths, frame rates.
            conditions: By modality.

        Raises:
            RequestError: Something does not fit the model.
        """
        reading = self.read(clips, conditions)
        rows = torch.arange(len(clips), device=x.device)
        done = self.denoise(x, self.styles(t), clips, reading.combine(rows))
        return Denoised(done.features, done.load_balancing_loss + reading.load_balancing_loss, done.times)

    def read(self, clips: Clips, conditions: Conditions) -> Reading:
        """Read conditions once for many steps.

        Raises:
            RequestError: Something does not fit the model.
        """
        self.check(clips, conditions)
        tokens: dict[str, Tokens] = {}
        given: dict[str, Tensor] = {}
        added: dict[str, Tensor] = {}
        for name, condition in conditions.items():
            # As published, a modality that no clip has is left out.
            if not bool(condition.given.any()):
                continue
            # Where experts do not compete, clips without the condition need no reading.
            rows = None if self.config.capacity or bool(condition.given.all()) else condition.given.nonzero()[:, 0]
            own, frames = (condition, clips.frames) if rows is None else (condition.take(rows), clips.frames[rows])
            stride = self.config.stride(name)
            features = own.features[:, ::stride]
            valid = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
            if own.valid is not None:
                valid = own.valid[:, ::stride]
            if name in self.config.per_frame:
                valid = valid & frames
            encoded = self.encoders[name](features, None if self.config.sees_padding else valid)
            tokens[name], given[name] = Tokens(encoded, valid, rows), condition.given
            if name in self.aligned:
                told = encoded[:, :1].expand(-1, frames.shape[1], -1) if name == "text" else encoded
                mapped = self.aligned[name](told) * frames[..., None]
                empty = mapped.new_zeros(len(clips), *mapped.shape[1:])
                added[name] = mapped if rows is None else empty.index_copy(0, rows, mapped)
        reads = [cast(DiffusionBlock, block).mixer.read(tokens, clips) for block in self.blocks]
        load_balancing_loss = torch.stack([load_balancing_loss for _, load_balancing_loss in reads]).sum()
        return Reading(tuple(read for read, _ in reads), given, load_balancing_loss, added)

    def styles(self, t: Int[Tensor, "S"]) -> Styles:
        """What the blocks do at some diffusion steps."""
        step = self.step(embed_steps(t, self.config.width))
        blocks = (cast(DiffusionBlock, block) for block in self.blocks)
        styles = tuple((block.mixed.style(step), block.refined.style(step)) for block in blocks)
        return Styles(styles, _kept().to(t.device)[t])

    def denoise(
        self,
        x: Float[Tensor, "B T 669"],
        styles: Styles,
        clips: Clips,
        seen: Seen,
        fan: Fan | None = None,
    ) -> Denoised:
        """Compute clean features with conditions and step read already.

        Args:
            x: Noised features of clips.
            styles: From ``styles``, one row, or one each.
            clips: Of ``x``.
            seen: From ``Reading.combine``.
            fan: Rows to compute, where they are not the clips themselves (with and without conditions).
        """
        features, guess = x[..., self.order], None
        if self.prior is not None:
            guess = self.prior(features, clips, styles.alpha_bar)
            size = guess.size.clamp(min=_SMALLEST)[:, None].repeat_interleave(self.parts_of, dim=2)
            read = guess.features / size
            if clips.known is not None and self.config.clean_cells:
                read = torch.where(clips.known.repeat_interleave(self.parts_of, dim=2), features, read)
            features = read
            guess = guess if fan is None else guess.take(fan.rows)
        h = torch.stack(self.read_in(features.split(self.sizes, dim=2), clips.dataset), dim=2)
        h = torch.where(clips.parts[..., None], h, self.mask_token.to(h))
        if clips.known is not None and self.config.clean_cells:
            h = h + self.clean_token * (clips.known & clips.parts)[..., None]
        h = h.flatten(2)
        if seen.added is not None:
            # From here on rows differ, also those of one clip.
            if fan is not None:
                h, clips, fan = h[fan.rows], fan.clips, None
            h = h + seen.added
        load_balancing_loss, times = [], []
        for block, style, memory in zip(self.blocks, styles.blocks, seen.blocks, strict=True):
            mixed = block(h, style, clips, memory, fan)
            if fan is not None:
                clips, fan = fan.clips, None
            h = mixed.x
            load_balancing_loss.append(mixed.load_balancing_loss)
            times += [] if mixed.times is None else [mixed.times]
        out = torch.cat(self.read_out(h.split(self.config.part_dim, dim=2), clips.dataset), dim=2)
        doubt = None
        if guess is not None:
            doubt = guess.doubt
            out = guess.features + out * doubt[:, None].repeat_interleave(self.parts_of, dim=2)
        return Denoised(out[..., self.back], torch.stack(load_balancing_loss).sum(), tuple(times), doubt)

    def check(self, clips: Clips, conditions: Conditions) -> None:
        """See that a request fits the model.

        Raises:
            RequestError: It does not.
        """
        config = self.config
        if clips.parts.shape[1] > config.max_frames:
            raise RequestError(f"{clips.parts.shape[1]} frames were asked for, the model has {config.max_frames}")
        for ids, names in ((clips.dataset, config.datasets), (clips.rotation, config.rotations)):
            if bool((ids < 0).any()) or bool((ids >= len(names)).any()):
                raise RequestError(f"ids {ids.tolist()} were given; this model knows {len(names)}: {', '.join(names)}")
        if clips.timeline is not None and config.attention != "art":
            raise RequestError("clips on one time line need attention='art': make them one by one")
        for name, condition in conditions.items():
            if name not in config.modalities:
                raise RequestError(f"this model cannot follow {name!r}; it knows {', '.join(config.modalities)}")
            clip, tokens, size = condition.features.shape
            if (clip, size) != (len(clips), config.widths[name]):
                raise RequestError(
                    f"{name} has {clip} clips with tokens of size {size}; {len(clips)} clips with tokens of size"
                    f" {config.widths[name]} are needed"
                )
            if -(-tokens // config.stride(name)) > config.max_tokens:
                most = config.max_tokens * config.stride(name)
                raise RequestError(f"{name} has {tokens} tokens; the model reads at most {most}")
            if name in config.per_frame and tokens != clips.parts.shape[1]:
                raise RequestError(
                    f"{name} has {tokens} tokens; one for each of {clips.parts.shape[1]} frames is needed"
                )


class PartMaps(nn.Module):
    """A linear map for each body part and dataset."""

    def __init__(self, inputs: Sequence[int], outputs: Sequence[int], datasets: int, zero: bool = False) -> None:
        super().__init__()
        weights, biases = [], []
        for size, out in zip(inputs, outputs, strict=True):
            bound = 0.0 if zero else 1 / math.sqrt(size)
            weights.append(torch.empty(datasets, out, size).uniform_(-bound, bound))
            biases.append(torch.zeros(datasets, out))
        self.weights, self.biases = nn.ParameterList(weights), nn.ParameterList(biases)

    def forward(self, parts: Sequence[Tensor], dataset: Int[Tensor, "B"]) -> list[Tensor]:
        """Map each part with the weights of its clip's dataset."""
        alike = bool((dataset == dataset[0]).all())
        maps = zip(parts, self.weights, self.biases, strict=True)
        if alike:
            one = dataset[0]
            return [F.linear(part, weight[one], bias[one]) for part, weight, bias in maps]
        return [torch.baddbmm(bias[dataset][:, None], part, weight[dataset].mT) for part, weight, bias in maps]


@cache
def _kept() -> Float[Tensor, "S"]:
    """Share of the clean variance at each step of the schedule that models are trained with."""
    return NoiseSchedule.linear().alpha_bar.float()


def embed_steps(t: Int[Tensor, "S"], width: int) -> Float[Tensor, "S D"]:
    """Sinusoids of diffusion steps: cosines, then sines, of frequencies from 1 down to 1/10000."""
    half = width // 2
    frequencies = torch.exp(-math.log(10000.0) / half * torch.arange(half, device=t.device))
    angles = t[:, None] * frequencies
    return torch.cat((angles.cos(), angles.sin()), dim=1)

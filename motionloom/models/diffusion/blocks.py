"""The blocks of the motion diffusion model: encoders of conditions, ArtAttention, the read-out over time.

ArtAttention gathers frames and conditions into templates that live at points in time, with a value and three
derivatives each, and frames read a Taylor expansion of them; so any frame rate can be written, and read.

What does not change over the steps of sampling is computed once: ``read`` turns conditions into ``Sums``, one for each
source and clip; ``combine`` picks those that a row of a batch may see.

Shapes: ``B`` clips, ``R`` rows of a batch (a clip may have several: one with its conditions, one without), ``T``
frames, ``P`` body parts, ``L`` channels of a part (and templates of a part), ``D`` = P L, ``M`` tokens.

Source: LMM (arXiv 2404.01284), section 4.2; efficient attention is arXiv 1812.01243, the stylisation MotionDiffuse's
(arXiv 2208.15001). Parity: ``tests/parity/test_lmm_denoiser.py``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from motionloom.models.diffusion.config import Clips, DiffusionConfig
from motionloom.models.diffusion.moe import Experts
from motionloom.motion.skeleton import PARTS

_NEVER = -1e30
"""A key that is not to be seen; its share is exactly 0 beside any other."""
_ALWAYS = "always"
"""Name of the source that every row sees: its dataset and its kind of rotations."""


@dataclass(frozen=True, eq=False)
class Sums:
    """A softmax over tokens that is not complete yet: it can be joined with that over other tokens.

    Attributes:
        peak: Largest key of each channel.
        total: Sum of the exponentials of the keys, less the peak.
        weighted: Values, weighted by those.
    """

    peak: Float[Tensor, "B P L"]
    total: Float[Tensor, "B P L"]
    weighted: Float[Tensor, "B P L L"]

    @classmethod
    def of(
        cls, keys: Float[Tensor, "B M P L"], values: Float[Tensor, "B M P L"], valid: Bool[Tensor, "B M"] | None = None
    ) -> "Sums":
        """Sum over tokens; those that are not valid do not count."""
        keys = keys.permute(0, 2, 3, 1).float()
        if valid is not None:
            keys = keys.masked_fill(~valid[:, None, None], _NEVER)
        # The outcome does not depend on the peak, so no gradient needs to go through it.
        peak = keys.detach().amax(dim=3)
        weights = (keys - peak[..., None]).exp()
        return cls(peak, weights.sum(dim=3), weights.to(values.dtype) @ values.transpose(1, 2))

    def take(self, rows: Int[Tensor, "R"], seen: Bool[Tensor, "R"] | None = None) -> "Sums":
        """Sums of some rows; for those that may not see them, of nothing."""
        peak = self.peak[rows]
        if seen is not None:
            peak = peak.masked_fill(~seen[:, None, None], _NEVER)
        return Sums(peak, self.total[rows], self.weighted[rows])

    def spread(self, rows: Int[Tensor, "B"], count: int) -> "Sums":
        """These sums as those of some of ``count`` clips; the others have sums over nothing."""

        def wide(x: Tensor, fill: float = 0.0) -> Tensor:
            return x.new_full((count, *x.shape[1:]), fill).index_copy(0, rows, x)

        return Sums(wide(self.peak, _NEVER), wide(self.total), wide(self.weighted))

    def join(self, other: "Sums") -> "Sums":
        """The sums over both sets of tokens."""
        peak = torch.maximum(self.peak, other.peak)
        mine, theirs = (self.peak - peak).exp(), (other.peak - peak).exp()
        weighted = self.weighted * mine[..., None] + other.weighted * theirs[..., None]
        return Sums(peak, self.total * mine + other.total * theirs, weighted)

    @property
    def templates(self) -> Float[Tensor, "B P L L"]:
        """The softmax's outcome: one vector for each channel of the keys."""
        return self.weighted / self.total[..., None]


@dataclass(frozen=True, eq=False)
class Memory:
    """Keys and values of plain attention, one head a part, and which rows may see them."""

    keys: Float[Tensor, "B P M L"]
    values: Float[Tensor, "B P M L"]
    valid: Bool[Tensor, "B M"]

    def take(self, rows: Int[Tensor, "R"], seen: Bool[Tensor, "R"] | None = None) -> "Memory":
        """Those of some rows; for rows that may not see them, none is valid."""
        valid = self.valid[rows]
        return Memory(self.keys[rows], self.values[rows], valid if seen is None else valid & seen[:, None])

    def spread(self, rows: Int[Tensor, "B"], count: int) -> "Memory":
        """These tokens as those of some of ``count`` clips; the others have none."""

        def wide(x: Tensor) -> Tensor:
            return x.new_zeros((count, *x.shape[1:])).index_copy(0, rows, x)

        return Memory(wide(self.keys), wide(self.values), wide(self.valid))

    def join(self, other: "Memory") -> "Memory":
        """Both sets of tokens."""
        keys, values = torch.cat((self.keys, other.keys), dim=2), torch.cat((self.values, other.values), dim=2)
        return Memory(keys, values, torch.cat((self.valid, other.valid), dim=1))


Read = Mapping[str, Sums | Memory]
"""What a block keeps of its conditions: source -> memory of each clip."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """An encoded condition.

    Attributes:
        values: Tokens of the clips that have it.
        valid: Which of them count.
        rows: Which clips those are; None for all.
    """

    values: Float[Tensor, "G M D"]
    valid: Bool[Tensor, "G M"]
    rows: Int[Tensor, "G"] | None = None


@dataclass(frozen=True, eq=False)
class Fan:
    """Rows that are still the same as clips: what they share is computed once.

    Attributes:
        rows: The clip of each row.
        clips: Of the rows.
    """

    rows: Int[Tensor, "R"]
    clips: Clips


def combine(read: Read, rows: Int[Tensor, "R"], seen: Mapping[str, Bool[Tensor, "R"]]) -> Sums | Memory:
    """What each row of a batch sees of the conditions.

    Args:
        read: From a mixer.
        rows: The clip of each row.
        seen: For each modality the rows that may see it.
    """
    found = read[_ALWAYS].take(rows)
    for name, source in read.items():
        if name != _ALWAYS and bool(seen[name].any()):
            found = found.join(source.take(rows, seen[name]))  # pyright: ignore[reportArgumentType]
    return found


class ConditionEncoder(nn.Module):
    """Tokens of a condition, in the model's width."""

    def __init__(self, inputs: int, config: DiffusionConfig) -> None:
        super().__init__()
        self.inp = nn.Linear(inputs, config.width)
        self.positions = nn.Parameter(0.02 * torch.randn(config.max_tokens, config.width))
        layers = [ConditionLayer(config.width, config.dropout) for _ in range(config.condition_layers)]
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Float[Tensor, "B M F"], valid: Bool[Tensor, "B M"] | None) -> Float[Tensor, "B M D"]:
        """Encode; with ``valid``, other tokens do not matter."""
        x = self.inp(x) + self.positions[: x.shape[1]]
        for layer in self.layers:
            x = layer(x, valid)
        return x


class ConditionLayer(nn.Module):
    """Efficient attention, one head a body part, and an MLP; both are added to what comes in."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )

    def forward(self, x: Float[Tensor, "B M D"], valid: Bool[Tensor, "B M"] | None) -> Float[Tensor, "B M D"]:
        """Run the layer."""
        y = self.norm(x)
        query, key, value = (
            layer(y).unflatten(2, (len(PARTS), -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        if valid is not None:
            key = key.masked_fill(~valid[:, None, :, None], _NEVER)
        read = query.softmax(dim=3) @ (key.softmax(dim=2).mT @ value)
        x = x + read.transpose(1, 2).flatten(2)
        return x + self.mlp(x)


class AdaLN(nn.Module):
    """Normalise, scale and shift as the diffusion step asks, and project."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.modulate = nn.Linear(config.time_dim, 2 * config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(config.width, config.width)

    def style(self, step: Float[Tensor, "S E"]) -> Float[Tensor, "S D2"]:
        """Scale and shift of some steps."""
        return self.modulate(F.silu(step))

    def forward(self, x: Float[Tensor, "R T D"], style: Float[Tensor, "S D2"]) -> Float[Tensor, "R T D"]:
        """Apply; ``style`` has one row, or one each."""
        scale, shift = style[:, None].chunk(2, dim=2)
        return self.out(self.dropout(F.silu(self.norm(x) * (1 + scale) + shift)))


class TimeReadout(nn.Module):
    """Write frames at any time from templates: each lies at a time of its own and is continued from there."""

    def __init__(self, part_dim: int) -> None:
        super().__init__()
        hidden = 4 * part_dim
        # The first layers of five small networks in one: time, value, and the value's three derivatives.
        self.hidden = nn.Linear(part_dim, 5 * hidden)
        self.time = nn.Linear(hidden, 1)
        self.states = nn.Parameter(torch.empty(4, hidden, part_dim).uniform_(-(hidden**-0.5), hidden**-0.5))
        self.states_bias = nn.Parameter(torch.zeros(4, part_dim))
        self.sharpness = nn.Parameter(torch.ones(1))

    def forward(
        self, templates: Float[Tensor, "R P L L"], clips: Clips
    ) -> tuple[Float[Tensor, "R T P L"], Float[Tensor, "R P L"]]:
        """Return the frames, and the templates' times before they are brought into the clip."""
        hidden = F.gelu(self.hidden(templates)).unflatten(-1, (5, -1))
        raw = (self.time(hidden[..., 0, :])[..., 0] / self.sharpness).float()
        derived = torch.einsum("rpdsh,shl->rpsdl", hidden[..., 1:, :], self.states) + self.states_bias[:, None]
        states = derived + templates[:, :, None]
        starts = clips.starts
        times = raw.sigmoid() * (clips.lengths * clips.seconds)[:, None, None] + starts[:, None, None]
        frames = torch.arange(clips.parts.shape[1], device=raw.device)
        now = frames * clips.seconds[:, None] + starts[:, None]
        if clips.timeline is None:
            return _taylor(now, times, states), raw
        groups = zip(*(x.split(list(clips.timeline)) for x in (now, times, states)), strict=True)
        return torch.cat([_taylor(at, *_shared(when, what)) for at, when, what in groups]), raw


def _shared(
    times: Float[Tensor, "G P L"], states: Float[Tensor, "G P S L L"]
) -> tuple[Float[Tensor, "G P GL"], Float[Tensor, "G P S GL L"]]:
    """The templates of all clips of a group, for each of them."""
    group = len(times)
    together = times.permute(1, 0, 2).flatten(1), states.permute(1, 2, 0, 3, 4).flatten(2, 3)
    return together[0].expand(group, -1, -1), together[1].expand(group, -1, -1, -1, -1)


def _taylor(
    now: Float[Tensor, "R T"], times: Float[Tensor, "R P K"], states: Float[Tensor, "R P S K L"]
) -> Float[Tensor, "R T P L"]:
    """Each frame's mean over templates, continued to its time; near templates count more."""
    since = now[:, None, :, None] - times[:, :, None]
    power = torch.softmax(-since.square(), dim=3)
    powers = [power]
    for _ in range(states.shape[2] - 1):
        power = power * since
        powers.append(power)
    weights = torch.cat(powers, dim=3).to(states.dtype)
    return (weights @ states.flatten(2, 3)).transpose(1, 2)


class ArtMixer(nn.Module):
    """ArtAttention: parts of a frame see each other, frames see templates of frames and conditions."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        part = config.part_dim
        options = config.experts, config.top_k, config.capacity, config.drops
        self.norm = nn.LayerNorm(config.width)
        self.positions = nn.Parameter(0.02 * torch.randn(config.max_frames, len(PARTS), part))
        self.experts = Experts(part, 5 * part, *options)
        self.condition_norms = nn.ModuleDict({name: nn.LayerNorm(config.width) for name in config.modalities})
        self.condition_experts = Experts(part, 2 * part, *options)
        shapes = {
            "dataset": (len(config.datasets), config.dataset_tokens, len(PARTS), part),
            "rotation": (len(config.rotations), config.rotation_tokens, len(PARTS), part),
        }
        self.keys = nn.ParameterDict({name: 0.02 * torch.randn(shape) for name, shape in shapes.items()})
        self.values = nn.ParameterDict({name: 0.02 * torch.randn(shape) for name, shape in shapes.items()})
        self.heat = nn.ParameterDict({name: torch.ones(1) for name in ("motion", *shapes, *config.modalities)})
        self.readout = TimeReadout(part)

    def read(self, tokens: Mapping[str, Tokens], clips: Clips) -> tuple[Read, Float[Tensor, ""]]:
        """Sum over the tokens of each condition; the second value is the loss for balanced experts."""
        which = {"dataset": clips.dataset, "rotation": clips.rotation}
        keys = torch.cat([self.keys[name][index] / self.heat[name] for name, index in which.items()], dim=1)
        values = torch.cat([self.values[name][index] for name, index in which.items()], dim=1)
        found: dict[str, Sums | Memory] = {_ALWAYS: Sums.of(keys, values)}
        losses = [keys.new_zeros(())]
        for name, condition in tokens.items():
            y = self.condition_norms[name](condition.values).unflatten(2, (len(PARTS), -1))
            read, load_balancing_loss = self.condition_experts(y)
            key, value = read.chunk(2, dim=3)
            sums = Sums.of(key / self.heat[name], value, condition.valid)
            found[name] = sums if condition.rows is None else sums.spread(condition.rows, len(clips))
            losses.append(load_balancing_loss)
        return found, torch.stack(losses).sum() / max(1, len(tokens))

    def forward(
        self, x: Float[Tensor, "B T D"], clips: Clips, memory: Sums | Memory, fan: Fan | None
    ) -> tuple[Float[Tensor, "R T D"], Float[Tensor, ""], Float[Tensor, "R P L"]]:
        """Mix the frames of each row.

        Args:
            x: Frames.
            clips: Of ``x``.
            memory: What the rows see of the conditions.
            fan: The rows to go on with; None when they are those of ``x``.

        Returns:
            Mixed frames, the loss for balanced experts, and the templates' times before the sigmoid.
        """
        y = self.norm(x).unflatten(2, (len(PARTS), -1)) + self.positions[: x.shape[1]]
        read, load_balancing_loss = self.experts(y)
        body_value, body_key, body_query, key, value = read.chunk(5, dim=3)
        frames = clips.frames
        # Parts of a frame: ten tokens, so their ten by ten products are cheaper than L by L sums.
        body_key = body_key.softmax(dim=2) * frames[..., None, None]
        body = (body_query.softmax(dim=3) @ body_key.mT) @ body_value
        sums = Sums.of(key / self.heat["motion"], value, frames)
        if fan is not None:
            clips, body, sums = fan.clips, body[fan.rows], sums.take(fan.rows)
        written, times = self.readout(sums.join(cast(Sums, memory)).templates, clips)
        return (body + written).flatten(2), load_balancing_loss, times


class PlainMixer(nn.Module):
    """Plain attention with one head a part over frames and conditions; what ArtAttention is measured against."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.positions = nn.Parameter(0.02 * torch.randn(config.max_frames, config.width))
        self.query, self.key, self.value = (nn.Linear(config.width, config.width) for _ in range(3))
        self.condition_norms = nn.ModuleDict({name: nn.LayerNorm(config.width) for name in config.modalities})
        self.condition_key, self.condition_value = (nn.Linear(config.width, config.width) for _ in range(2))
        self.dataset = nn.Parameter(0.02 * torch.randn(len(config.datasets), config.dataset_tokens, config.width))
        self.rotation = nn.Parameter(0.02 * torch.randn(len(config.rotations), config.rotation_tokens, config.width))

    def read(self, tokens: Mapping[str, Tokens], clips: Clips) -> tuple[Read, Float[Tensor, ""]]:
        """Keys and values of the tokens of each condition; there are no experts to balance."""
        always = torch.cat((self.dataset[clips.dataset], self.rotation[clips.rotation]), dim=1)
        found: dict[str, Sums | Memory] = {
            _ALWAYS: self._memory(always, torch.ones(always.shape[:2], dtype=torch.bool, device=always.device))
        }
        for name, condition in tokens.items():
            memory = self._memory(self.condition_norms[name](condition.values), condition.valid)
            found[name] = memory if condition.rows is None else memory.spread(condition.rows, len(clips))
        return found, always.new_zeros(())

    def _memory(self, y: Float[Tensor, "B M D"], valid: Bool[Tensor, "B M"]) -> Memory:
        return Memory(_heads(self.condition_key(y)), _heads(self.condition_value(y)), valid)

    def forward(
        self, x: Float[Tensor, "B T D"], clips: Clips, memory: Sums | Memory, fan: Fan | None
    ) -> tuple[Float[Tensor, "R T D"], Float[Tensor, ""], None]:
        """Mix the frames of each row; see ``ArtMixer.forward``. There are no templates."""
        if fan is not None:
            clips, x = fan.clips, x[fan.rows]
        y = self.norm(x) + self.positions[: x.shape[1]]
        seen = Memory(_heads(self.key(y)), _heads(self.value(y)), clips.frames).join(cast(Memory, memory))
        mask = seen.valid[:, None, None]
        mixed = F.scaled_dot_product_attention(_heads(self.query(y)), seen.keys, seen.values, attn_mask=mask)
        return mixed.transpose(1, 2).flatten(2), x.new_zeros(()), None


def _heads(x: Float[Tensor, "B M D"]) -> Float[Tensor, "B P M L"]:
    return x.unflatten(2, (len(PARTS), -1)).transpose(1, 2)


@dataclass(frozen=True, eq=False)
class Mixed:
    """What a block gives.

    Attributes:
        x: Frames.
        load_balancing_loss: Loss for balanced experts.
        times: Of the templates, before the sigmoid; None with plain attention.
    """

    x: Float[Tensor, "R T D"]
    load_balancing_loss: Float[Tensor, ""]
    times: Float[Tensor, "R P L"] | None


class DiffusionBlock(nn.Module):
    """Frames and conditions mixed, then each frame's parts together through an MLP."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.mixer = ArtMixer(config) if config.attention == "art" else PlainMixer(config)
        self.mixed = AdaLN(config)
        self.neighbours = Neighbours(config) if config.local else None
        self.mlp = nn.Sequential(
            nn.Linear(config.width, 4 * config.width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(4 * config.width, config.width),
        )
        self.refined = AdaLN(config)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        styles: Sequence[Float[Tensor, "S D2"]],
        clips: Clips,
        memory: Sums | Memory,
        fan: Fan | None = None,
    ) -> Mixed:
        """Run the block; ``styles`` are those of its two ``AdaLN``, the rest see ``ArtMixer.forward``."""
        mixed, load_balancing_loss, times = self.mixer(x, clips, memory, fan)
        x = (x if fan is None else x[fan.rows]) + self.mixed(mixed, styles[0])
        rows = clips if fan is None else fan.clips
        seen = x if self.neighbours is None else self.neighbours(x, rows)
        return Mixed(x + self.refined(self.mlp(seen), styles[1]), load_balancing_loss, times)


_USUAL_FRAME = 1 / 20
"""Seconds of a frame at which the weights of neighbours are the first row of theirs."""


class Neighbours(nn.Module):
    """Frames nearby, added to each frame: a weight for each channel and distance, that changes with the frame rate.

    Templates are smooth over a second, so what tells noise from motion within a tenth of it must come from here.
    """

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.reach = config.local
        self.weights = nn.Parameter(torch.zeros(2, 2 * config.local + 1, config.width))

    def forward(self, x: Float[Tensor, "R T D"], clips: Clips) -> Float[Tensor, "R T D"]:
        """Add the neighbours; behind a clip's ends there are none."""
        pace = -torch.log(clips.seconds / _USUAL_FRAME)[:, None, None]
        weights = self.weights[0] + pace * self.weights[1]
        inside = F.pad(x * clips.frames[..., None], (0, 0, self.reach, self.reach))
        frames = x.shape[1]
        near = (inside[:, step : step + frames] * weights[:, None, step] for step in range(2 * self.reach + 1))
        return x + torch.stack(list(near)).sum(0)

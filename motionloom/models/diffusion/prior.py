"""What can be said of a noised motion without a network: the best linear guess from the data's own statistics.

A diffusion network of a laptop's size would spend most of its training on what a filter knows: that motion is smooth,
and which features of a part go together. So it starts from the Wiener estimate: each part is turned into its principal
directions, each of them into cosines over time, and each cosine is kept as far as the data has more power there than
the noise. The network learns what is to be added. Near the end of sampling the guess is exact, at its beginning it is
the mean. As in EDM the network reads the guess, brought to unit size, instead of the noise, and what it adds is scaled
by what the guess leaves open, so that every diffusion step asks for an answer of the same size.

Shapes: ``B`` clips, ``T`` frames, ``C`` features in the order of the parts, ``G`` time lines of ``N`` frames, ``K``
frequencies of a table, ``P`` parts.

Sources: N. Wiener, "Extrapolation, Interpolation, and Smoothing of Stationary Time Series" (1949). EDM's skip (Karras
et al., arXiv 2206.00364, section 5, with its scaling of inputs and outputs) is the same for data with one variance and
no time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from motionloom.models.diffusion.config import Clips

FREQUENCIES = torch.logspace(math.log10(0.05), math.log10(30.0), 24)
"""Where the density of power is known [Hz]."""
_LEAST = 1e-9


@dataclass(frozen=True, eq=False)
class Guess:
    """What the prior says.

    Attributes:
        features: The guess.
        doubt: By how much each part's clean features are off it, on average.
        size: How large the guess of each part is, on average.
    """

    features: Float[Tensor, "B T C"]
    doubt: Float[Tensor, "B P"]
    size: Float[Tensor, "B P"]

    def take(self, rows: Int[Tensor, "R"]) -> "Guess":
        """That of some clips."""
        return Guess(self.features[rows], self.doubt[rows], self.size[rows])


class LinearPrior(nn.Module):
    """The best linear guess of clean features from noised ones of the same clip, part by part.

    Args:
        sizes: Features of each part.
    """

    density: Tensor
    level: Tensor
    table: Tensor

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)
        for index, size in enumerate(sizes):
            self.register_buffer(f"basis{index}", torch.eye(size))
        # As logarithms: powers span more decades than half precision has. Until it is fitted, about unit variance.
        self.register_buffer("density", torch.full((len(FREQUENCIES), sum(sizes)), math.log(0.05)))
        self.register_buffer("level", torch.full((sum(sizes),), math.log(0.05)))
        self.register_buffer("table", FREQUENCIES.log(), persistent=False)

    @torch.no_grad()
    def fit(
        self, bases: Sequence[Float[Tensor, "_ _"]], density: Float[Tensor, "K C"], level: Float[Tensor, " C"]
    ) -> None:
        """Take over statistics of normalised features.

        Args:
            bases: Principal directions of each part, as columns.
            density: Power of each direction at ``FREQUENCIES`` [1 / Hz]; zeros for parts that nobody knows.
            level: Variance of its mean over a clip.
        """
        for index, basis in enumerate(bases):
            self.get_buffer(f"basis{index}").copy_(basis)
        self.density.copy_(density.clamp(min=_LEAST).log())
        self.level.copy_(level.clamp(min=_LEAST).log())

    def directions(self, x: Float[Tensor, "G N C"], back: bool = False) -> Float[Tensor, "G N C"]:
        """Features in the parts' principal directions, or back."""
        turned = []
        for index, part in enumerate(x.split(self.sizes, dim=2)):
            basis = self.get_buffer(f"basis{index}")
            turned.append(part @ (basis.mT if back else basis))
        return torch.cat(turned, dim=2)

    def power(self, lengths: Int[Tensor, "G"], seconds: Float[Tensor, "G"], frames: int) -> Float[Tensor, "G N C"]:
        """Variance of each cosine of each direction."""
        number = torch.arange(frames, device=lengths.device)
        hertz = number.clamp(min=1) / (2 * lengths * seconds)[:, None]
        place = (hertz.log() - self.table[0]) / (self.table[1] - self.table[0])
        place = place.clamp(0, len(self.table) - 1)
        low = place.floor().long().clamp(max=len(self.table) - 2)
        share = (place - low)[..., None]
        logs = self.density[low] * (1 - share) + self.density[low + 1] * share
        power = logs.exp() / seconds[:, None, None]
        power[:, 0] = self.level.exp() * lengths[:, None]
        return power

    def forward(self, x: Float[Tensor, "B T C"], clips: Clips, alpha_bar: Float[Tensor, " S"]) -> Guess:
        """The guess; cells that may not be read neither help nor are guessed.

        Args:
            x: Noised features, in the order of the parts; those of ``clips.known`` cells clean.
            clips: Of ``x``; clips on one time line are read as one if they have one frame rate.
            alpha_bar: Share of the clean variance at the diffusion step, for all or for each.
        """
        seen = _columns(clips.parts & clips.frames[..., None], self.sizes)
        share = alpha_bar.to(x).expand(len(clips)) if len(alpha_bar) == 1 else alpha_bar.to(x)
        if clips.known is not None:
            # Known cells come clean; here they must be as large as noised ones are.
            x = torch.where(_columns(clips.known, self.sizes), x * share.sqrt()[:, None, None], x)
        rows, places, lengths, seconds = _lines(clips)
        line = x.new_zeros(len(lengths), int(lengths.max()), x.shape[2])
        inside = clips.frames
        line[rows[inside], places[inside]] = (x * seen)[inside]
        waves = cosines(lengths, line.shape[1]).to(x)
        power = self.power(lengths, seconds, line.shape[1]).to(x)
        # All clips of a time line are at one diffusion step.
        own = x.new_zeros(len(lengths)).scatter(0, rows[:, 0], share)[:, None, None]
        gain = own.sqrt() * power / (own * power + 1 - own)
        found = self.directions(waves.mT @ (gain * (waves @ self.directions(line))), back=True)
        there = (torch.arange(line.shape[1], device=x.device) < lengths[:, None])[..., None]
        doubt, size = (
            self._by_part(var * there, lengths)[rows[:, 0]]
            for var in (power * (1 - own) / (own * power + 1 - own), gain.square() * (own * power + 1 - own))
        )
        return Guess(found[rows, places] * seen, doubt, size)

    def _by_part(self, variance: Float[Tensor, "G N C"], lengths: Int[Tensor, "G"]) -> Float[Tensor, "G P"]:
        """Mean deviation of each part."""
        parts = [part.sum((1, 2)) / part.shape[2] for part in variance.split(self.sizes, dim=2)]
        return (torch.stack(parts, dim=1) / lengths[:, None]).sqrt()


def _columns(parts: Bool[Tensor, "B T P"], sizes: Sequence[int]) -> Bool[Tensor, "B T C"]:
    return parts.repeat_interleave(torch.tensor(sizes, device=parts.device), dim=2)


def _lines(
    clips: Clips,
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"], Int[Tensor, "G"], Float[Tensor, "G"]]:
    """For each frame its time line and place on it; for each time line its frames and the seconds of one."""
    sizes = list(clips.timeline or (1,) * len(clips))
    device = clips.lengths.device
    if clips.timeline is not None and any(bool((own != own[0]).any()) for own in clips.seconds.split(sizes)):
        sizes = [1] * len(clips)
    group = torch.arange(len(sizes), device=device).repeat_interleave(torch.tensor(sizes, device=device))
    starts = torch.cat([own.cumsum(0) - own for own in clips.lengths.split(sizes)])
    frame = torch.arange(clips.parts.shape[1], device=device)
    lengths = torch.zeros(len(sizes), dtype=torch.long, device=device).index_add(0, group, clips.lengths)
    # Behind a clip's end any place will do: what is read there does not count.
    places = torch.minimum(starts[:, None] + frame, lengths[group][:, None] - 1)
    first = torch.tensor([sum(sizes[:index]) for index in range(len(sizes))], device=device)
    return group[:, None].expand(-1, len(frame)), places, lengths, clips.seconds[first]


def cosines(lengths: Int[Tensor, "G"], frames: int) -> Float[Tensor, "G N N"]:
    """Orthonormal cosines (DCT-II) of each length, one a row; zeros behind the length."""
    at = torch.arange(frames, device=lengths.device)
    size = lengths[:, None, None]
    waves = torch.cos(math.pi * (at[None, None] + 0.5) * at[None, :, None] / size)
    scale = torch.where(at == 0, 1.0, 2.0)[None, :, None] / size
    inside = (at[None, None] < size) & (at[None, :, None] < size)
    return torch.where(inside, waves * scale.sqrt(), 0.0)

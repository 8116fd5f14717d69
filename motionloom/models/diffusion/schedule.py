"""Noise schedules and the steps back from noise to motion.

A schedule says how much of a clean signal is left at each of (usually) 1000 levels of noise; a solver walks from the
last level to none over a few of them, with a model's guess of the clean signal at each. Where the guess is held to a
known value, both solvers bring that value, with the noise they started from, exactly to the right level, and in the
end give it back bit for bit.

Shapes: ``S`` steps of a schedule; ``*shape`` any.

Sources: DDPM (arXiv 2006.11239), equation 4; cosine schedule: arXiv 2102.09672, equation 17; DDIM (arXiv 2010.02502),
equation 12; DPM-Solver++ (arXiv 2211.01095), algorithm 2. Parity: ``tests/parity/test_lmm_schedule.py``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motionloom.errors import RequestError

Method = Literal["ddim", "dpm"]
Spacing = Literal["time", "noise"]
PUBLISHED_SECTIONS = (15, 15, 8, 6, 6)
"""Steps that LMM takes in each fifth of the 1000, from the clean end: 50."""


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """How much signal is left at each step.

    Attributes:
        alpha_bar: Share of the clean signal's variance, falling (the papers' cumulative product of alphas); float64.

    Raises:
        RequestError: The shares do not fall, or leave 0..1.
    """

    alpha_bar: Float[Tensor, "S"]

    def __post_init__(self) -> None:
        inside = bool((self.alpha_bar > 0).all()) and bool((self.alpha_bar < 1).all())
        if len(self.alpha_bar) == 0 or not inside or bool((self.alpha_bar.diff() >= 0).any()):
            raise RequestError("a noise schedule needs shares between 0 and 1 that fall with each step")

    @classmethod
    def of_betas(cls, betas: Float[Tensor, "S"]) -> "NoiseSchedule":
        """The schedule whose steps add noise of these variances."""
        return cls((1 - betas.double()).cumprod(0))

    @classmethod
    def linear(cls, steps: int = 1000) -> "NoiseSchedule":
        """Variances that grow linearly from 1e-4 to 0.02 (published); scaled for other numbers of steps."""
        scale = 1000 / steps
        return cls.of_betas(torch.linspace(scale * 1e-4, min(0.999, scale * 0.02), steps, dtype=torch.float64))

    @classmethod
    def cosine(cls, steps: int = 1000) -> "NoiseSchedule":
        """Signal that fades as a squared cosine: less time is spent where nothing can be seen."""
        angle = (torch.arange(steps + 1, dtype=torch.float64) / steps + 0.008) / 1.008 * math.pi / 2
        alpha_bar = angle.cos().square()
        return cls.of_betas((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999))

    def __len__(self) -> int:
        return len(self.alpha_bar)

    @property
    def betas(self) -> Float[Tensor, "S"]:
        """Variance of the noise that each step adds."""
        before = torch.cat((self.alpha_bar.new_ones(1), self.alpha_bar[:-1]))
        return 1 - self.alpha_bar / before

    def level(self, step: int) -> "Level":
        """Signal and noise at a step; -1 is without noise."""
        if step < 0:
            return Level(1.0, 0.0)
        alpha_bar = float(self.alpha_bar[step])
        return Level(math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar))

    def noised(
        self, clean: Float[Tensor, "B *shape"], t: Int[Tensor, "B"], noise: Float[Tensor, "B *shape"]
    ) -> Float[Tensor, "B *shape"]:
        """Bring clean signals to the noise level of their steps."""
        alpha_bar = self.alpha_bar.to(clean.device)[t].view(-1, *[1] * (clean.ndim - 1))
        return alpha_bar.sqrt().to(clean) * clean + (1 - alpha_bar).sqrt().to(clean) * noise

    def sections(self, counts: Sequence[int] = PUBLISHED_SECTIONS) -> tuple[int, ...]:
        """Steps of a solver, falling: so many in each of equal sections, evenly spaced, both ends included.

        Raises:
            RequestError: The sections are too small for that many steps.
        """
        size = len(self) // len(counts)
        if size * len(counts) != len(self) or min(counts) < 1 or max(counts) > size:
            raise RequestError(f"{tuple(counts)} steps do not fit into equal sections of {len(self)} steps")
        found: list[int] = []
        for section, count in enumerate(counts):
            # Nearest whole numbers; exact halves go down, as sums of floats happen to do in the release.
            last, gaps = size - 1, max(1, count - 1)
            found += [section * size + -(-(2 * place * last - gaps) // (2 * gaps)) for place in range(count)]
        return tuple(reversed(found))

    def spaced(self, steps: int, spacing: Spacing = "time") -> tuple[int, ...]:
        """Steps of a solver, falling, from the last one of the schedule.

        Args:
            steps: How many.
            spacing: "time": evenly, each a share of the schedule. "noise": evenly in the logarithm of signal over
                noise, down to the clean end; ten such steps of "dpm" do about what fifty of "ddim" do.

        Raises:
            RequestError: There are fewer steps in the schedule.
        """
        if not 1 <= steps <= len(self):
            raise RequestError(f"{steps} steps were asked for; from 1 to {len(self)} are possible")
        last = len(self) - 1
        if spacing == "time":
            # The clean end is not a step of its own: a guess there would change nothing.
            return tuple(last - (last + 1) * place // steps for place in range(steps))
        ratio = 0.5 * torch.log(self.alpha_bar / (1 - self.alpha_bar))
        wanted = torch.linspace(float(ratio[-1]), float(ratio[0]), steps, dtype=torch.float64)
        found: list[int] = []
        for place, near in enumerate((ratio[None] - wanted[:, None]).abs().argmin(dim=1).tolist()):
            # Where a schedule is coarse several are nearest to one step: then the next one that is free is taken.
            highest = found[-1] - 1 if found else last
            found.append(max(min(near, highest), steps - 1 - place))
        return tuple(found)


@dataclass(frozen=True)
class Level:
    """A noise level: factors of the clean signal and of unit noise."""

    signal: float
    noise: float

    @property
    def ratio(self) -> float:
        """Logarithm of signal over noise."""
        return math.log(self.signal / self.noise) if self.noise else math.inf


Predict = Callable[[Tensor, int], Tensor]
"""From a noised signal and the place of the step among those asked for to the clean signal."""
Draw = Callable[[], Tensor]
"""Fresh unit noise in the shape of the signal."""


@dataclass(frozen=True, eq=False)
class Known:
    """Part of the signal that is known.

    Attributes:
        values: The clean signal there.
        mask: Where it is known.
        published: Hold it as LMM's release does: put it in before each step without its noise, and take what comes
            out in the end. By default the guess is held to it, which is exact.
    """

    values: Float[Tensor, "*shape"]
    mask: Bool[Tensor, "*shape"]
    published: bool = False


def solve(
    predict: Predict,
    x: Float[Tensor, "*shape"],
    schedule: NoiseSchedule,
    steps: Sequence[int],
    method: Method = "ddim",
    eta: float = 0.0,
    draw: Draw | None = None,
    known: Known | None = None,
) -> Float[Tensor, "*shape"]:
    """Walk from noise to a clean signal.

    Args:
        predict: The model.
        x: Unit noise.
        schedule: That the model was trained with.
        steps: Of the schedule, falling.
        method: "ddim", or "dpm": DPM-Solver++(2M), which needs a fifth of the steps.
        eta: Noise that "ddim" adds again; 0 is none, 1 that of DDPM.
        draw: Where that noise comes from.
        known: Part of the signal that is given.

    Raises:
        RequestError: Steps do not fall or are not the schedule's, or noise is wanted without a source.
    """
    if not steps or list(steps) != sorted(set(steps), reverse=True) or not 0 <= steps[-1] <= steps[0] < len(schedule):
        raise RequestError(f"steps {tuple(steps)} must fall and be in 0..{len(schedule) - 1}")
    if eta < 0 or (eta > 0 and (draw is None or method != "ddim")):
        raise RequestError(f"eta is {eta}; above 0 it needs the method 'ddim' and a source of noise, and never below")
    levels = [schedule.level(step) for step in (*steps, -1)]
    before: tuple[Tensor, Level] | None = None
    for place in range(len(steps)):
        now, then = levels[place], levels[place + 1]
        if known is not None and known.published:
            x = torch.where(known.mask, now.signal * known.values, x)
        clean = predict(x, place)
        if known is not None and not known.published:
            clean = torch.where(known.mask, known.values, clean)
        if then.noise == 0:
            return clean
        if method == "dpm":
            x, before = dpm_step(x, clean, now, then, before), (clean, now)
        else:
            x = ddim_step(x, clean, now, then, eta, draw)
    return x


def ddim_step(
    x: Float[Tensor, "*shape"],
    clean: Float[Tensor, "*shape"],
    now: Level,
    then: Level,
    eta: float = 0.0,
    draw: Draw | None = None,
) -> Float[Tensor, "*shape"]:
    """Go from one noise level to a lower one along the line that the guess ``clean`` draws."""
    noise = (x - now.signal * clean) / now.noise
    fresh = 0.0
    if eta and draw is not None:
        fresh = eta * then.noise / now.noise * math.sqrt(max(0.0, 1 - (now.signal / then.signal) ** 2))
    x = then.signal * clean + math.sqrt(then.noise**2 - fresh**2) * noise
    return x + fresh * draw() if fresh and draw is not None else x


def dpm_step(
    x: Float[Tensor, "*shape"],
    clean: Float[Tensor, "*shape"],
    now: Level,
    then: Level,
    before: tuple[Float[Tensor, "*shape"], Level] | None,
) -> Float[Tensor, "*shape"]:
    """Go to a lower noise level with the guess continued from the one of the step before (second order)."""
    gap = then.ratio - now.ratio
    if before is not None:
        ratio = (now.ratio - before[1].ratio) / gap
        clean = clean + (clean - before[0]) / (2 * ratio)
    return then.noise / now.noise * x - then.signal * math.expm1(-gap) * clean

"""Sampling from the motion diffusion model: noise from seeds, guidance by modality, known cells held exactly.

An item's noise comes from its own seed and is drawn at its own length, so that its motion depends neither on the batch
nor on its place there. Conditions and steps are read once; clips are computed without their conditions only where and
while guidance asks for it.

Shapes: ``B`` clips, ``R`` rows of a batch, ``T`` frames, ``P`` body parts.

Sources: LMM (arXiv 2404.01284), section 4; classifier-free guidance: arXiv 2207.12598; with several conditions in
a row: InstructPix2Pix (arXiv 2211.09800), equation 3; guidance in a span only: arXiv 2404.07724.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import RequestError
from motionloom.models.diffusion.blocks import Fan
from motionloom.models.diffusion.config import MODALITIES, Clips, Conditions
from motionloom.models.diffusion.model import DiffusionTransformer, Reading, Seen
from motionloom.models.diffusion.schedule import Known, Method, NoiseSchedule, solve
from motionloom.motion.features.motionverse_layout import CORRECT, SIZE, MotionVerseOptions, spread_mask
from motionloom.progress import SILENT, Progress

Precision = Literal["float32", "bfloat16"]
Mend = Callable[[Float[Tensor, "B T 669"], int], Float[Tensor, "B T 669"]]
"""From a guess of clean features and its diffusion step to a better guess."""


@dataclass(frozen=True)
class Guidance:
    """How strongly each condition is followed.

    With weights w1, w2 ... of the modalities a clip has, in the order of ``MODALITIES``, the outcome is
    none + w1 (first - none) + w2 (first and second - first) + ...; so 1 is the model as it is, and one weight for all
    is plain guidance by all of them together, at the cost of one pass more.

    Attributes:
        weights: Of each modality; of those not named 1.
        growing: Whether weights are scales of a guidance that grows with noise, 1 + scale * t/S (published).
        span: Shares of the noise steps between which clips are guided at all.

    Raises:
        RequestError: A name is unknown or the span is none.
    """

    weights: Mapping[str, float]
    growing: bool = False
    span: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.weights) - set(MODALITIES)):
            raise RequestError(f"guidance of {', '.join(unknown)} was asked for; known: {', '.join(MODALITIES)}")
        if not 0 <= self.span[0] <= self.span[1] <= 1:
            raise RequestError(f"guidance from {self.span[0]} to {self.span[1]} was asked for; both are shares of 1")

    @classmethod
    def even(cls, weight: float) -> "Guidance":
        """One weight for all."""
        return cls(dict.fromkeys(MODALITIES, weight))

    @classmethod
    def published(cls, scale: float = 5.5) -> "Guidance":
        """LMM's released one: 5.5, but 10.5 for its tiny model on HumanML3D."""
        return cls(dict.fromkeys(MODALITIES, scale), growing=True)

    def at(self, share: float, modalities: Sequence[str]) -> list[float]:
        """Weights at a share of the noise steps."""
        if not self.span[0] <= share <= self.span[1]:
            return [1.0] * len(modalities)
        weights = [self.weights.get(name, 1.0) for name in modalities]
        if not self.growing:
            return weights
        return [1 + self.weights.get(name, 0.0) * share for name in modalities]


@torch.no_grad()
def sample(
    model: DiffusionTransformer,
    schedule: NoiseSchedule,
    clips: Clips,
    conditions: Conditions,
    seeds: Sequence[int],
    steps: Sequence[int],
    method: Method = "ddim",
    guidance: Guidance | None = None,
    known: Float[Tensor, "B T 669"] | None = None,
    eta: float = 0.0,
    precision: Precision = "float32",
    temperature: float = 1.0,
    mend: Mend | None = None,
    progress: Progress = SILENT,
) -> Float[Tensor, "B T 669"]:
    """Make motions.

    Args:
        model: In eval mode.
        schedule: That it was trained with.
        clips: What is asked for; ``clips.known`` says which cells are given.
        conditions: By modality.
        seeds: One per clip.
        steps: Of the schedule, falling: ``schedule.sections()`` or ``schedule.spaced(10)``.
        method: Solver, see ``solve``.
        guidance: None is the model as it is.
        known: Normalised features of the given cells; those of others do not matter.
        eta: Noise that "ddim" adds again.
        precision: "bfloat16" is faster where the processor has it.
        temperature: Scale of the noise; below 1 motions lie nearer to what is usual.
        mend: What is known of clean features without the model, applied to each of its guesses.
        progress: Told about every step; may raise ``Cancelled``.

    Returns:
        Normalised features; given cells bit for bit, zeros behind each clip's end.

    Raises:
        RequestError: The request does not fit the model.
    """
    if len(seeds) != len(clips):
        raise RequestError(f"{len(seeds)} seeds were given for {len(clips)} clips: give one each")
    if (known is None) != (clips.known is None) or (known is not None and known.shape[:2] != clips.parts.shape[:2]):
        raise RequestError("known features and the mask clips.known go together, with the same clips and frames")
    device = clips.lengths.device
    streams = [torch.Generator().manual_seed(seed) for seed in seeds]
    lengths = clips.lengths.tolist()

    def draw() -> Tensor:
        noise = torch.zeros(*clips.parts.shape[:2], SIZE)
        for row, stream, length in zip(noise, streams, lengths, strict=True):
            row[:length] = torch.randn(length, SIZE, generator=stream)
        return temperature * noise.to(device)

    held = None
    if known is not None and clips.known is not None:
        options = MotionVerseOptions.published() if model.config.swapped_sides else CORRECT
        held = Known(known, spread_mask(clips.known, options))
    with torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext():
        passes = GuidedModel(model, clips, conditions, steps, len(schedule), guidance or Guidance({}), held)

        def guess(x: Tensor, place: int) -> Tensor:
            found = passes(x, place)
            found = found if mend is None else mend(found, steps[place])
            progress.step()
            return found

        made = solve(guess, draw(), schedule, steps, method, eta, draw, held)
    return made.masked_fill(~clips.frames[..., None], 0.0)


@dataclass(frozen=True, eq=False)
class _Batch:
    """Rows that are computed together; kept while they stay the same."""

    rows: Tensor
    clips: Clips
    flags: dict[str, Tensor]
    seen: Seen


class GuidedModel:
    """The guided model over the steps of a solver: ``passes(x, place)`` is the clean signal.

    Args:
        model: In eval mode.
        clips: What is asked for.
        conditions: By modality.
        steps: Of the schedule, that the solver takes.
        total: Steps of the schedule.
        guidance: How strongly conditions are followed.
        known: Cells that are given; put in clean where the model wants them so.
    """

    def __init__(
        self,
        model: DiffusionTransformer,
        clips: Clips,
        conditions: Conditions,
        steps: Sequence[int],
        total: int,
        guidance: Guidance,
        known: Known | None = None,
    ) -> None:
        self.model, self.clips, self.conditions, self.known = model, clips, conditions, known
        self._steps = torch.tensor(steps, device=clips.lengths.device)
        self._styles = model.styles(self._steps)
        model.check(clips, conditions)
        # The published bound on experts makes rows compete, so there all of them must be read together.
        self._reading: Reading | None = None if model.config.drops else model.read(clips, conditions)
        self._plan = _plan(clips, conditions, [guidance.at(step / total, _order(conditions)) for step in steps])
        self._batches: dict[tuple[int, ...], _Batch] = {}

    def __call__(self, x: Float[Tensor, "B T 669"], place: int) -> Float[Tensor, "B T 669"]:
        """The guess of the clean signal at one of the steps."""
        if self.known is not None and self.model.config.clean_cells:
            x = torch.where(self.known.mask, self.known.values, x)
        active = tuple(row for row, run in enumerate(self._plan) if run.shares[place])
        if active not in self._batches:
            self._batches[active] = self._batch([self._plan[row] for row in active])
        batch = self._batches[active]
        if self._reading is None:
            clean = self._together(x, batch, place)
        else:
            plain = torch.equal(batch.rows, torch.arange(len(x), device=x.device))
            fan = None if plain else Fan(batch.rows, batch.clips)
            clean = self.model.denoise(x, self._styles.at(place), self.clips, batch.seen, fan).features
        shares = [self._plan[row].shares[place] for row in active for _ in self._plan[row].clips]
        weighted = clean.float() * torch.tensor(shares, device=x.device)[:, None, None]
        return torch.zeros_like(x).index_add_(0, batch.rows, weighted)

    def _batch(self, runs: "list[_Run]") -> _Batch:
        device = self.clips.lengths.device
        rows = torch.tensor([clip for run in runs for clip in run.clips], device=device)
        timeline = None if self.clips.timeline is None else tuple(len(run.clips) for run in runs)
        flags = {
            name: torch.tensor([name in run.seen for run in runs for _ in run.clips], device=device)
            for name in self.conditions
        }
        seen = Seen((), None) if self._reading is None else self._reading.combine(rows, flags)
        return _Batch(rows, self.clips.take(rows, timeline), flags, seen)

    def _together(self, x: Tensor, batch: _Batch, place: int) -> Tensor:
        conditions = {name: condition.take(batch.rows) for name, condition in self.conditions.items()}
        conditions = {name: replace(own, given=own.given & batch.flags[name]) for name, own in conditions.items()}
        t = self._steps[place].expand(len(batch.rows))
        return self.model(x[batch.rows], t, batch.clips, conditions).features


@dataclass(frozen=True)
class _Run:
    """Clips of one time line that are computed with some of their conditions.

    Attributes:
        clips: Which.
        seen: Modalities they may see.
        shares: Weight of the outcome at each step; they sum to 1 over the runs of a clip.
    """

    clips: tuple[int, ...]
    seen: tuple[str, ...]
    shares: tuple[float, ...]


def _order(conditions: Conditions) -> list[str]:
    return [name for name in MODALITIES if name in conditions and bool(conditions[name].given.any())]


def _plan(clips: Clips, conditions: Conditions, weights: Sequence[Sequence[float]]) -> list[_Run]:
    """All runs that some step needs, those with the most conditions first.

    Args:
        clips: What is asked for.
        conditions: By modality.
        weights: For each step those of the modalities in ``_order``.
    """
    order = _order(conditions)
    # shares[k][step]: weight of the outcome with the first k modalities.
    bounds = [[1.0, *row, 0.0] for row in weights]
    shares = [[row[count] - row[count + 1] for row in bounds] for count in range(len(order) + 1)]
    given = {name: conditions[name].given for name in order}
    runs: list[_Run] = []
    sizes = clips.timeline or (1,) * len(clips)
    for start, size in zip([sum(sizes[:index]) for index in range(len(sizes))], sizes, strict=True):
        own = tuple(range(start, start + size))
        alike: dict[tuple[str, ...], list[float]] = {}
        for count in range(len(order), -1, -1):
            has = tuple(name for name in order[:count] if bool(given[name][list(own)].any()))
            so_far = alike.get(has, [0.0] * len(weights))
            alike[has] = [a + b for a, b in zip(so_far, shares[count], strict=True)]
        runs += [_Run(own, seen, tuple(share)) for seen, share in alike.items() if any(share)]
    return sorted(runs, key=lambda run: -len(run.seen))

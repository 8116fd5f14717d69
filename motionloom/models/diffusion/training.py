"""Training of the motion diffusion model: what is hidden, what is known, and the losses.

Shapes: ``B`` clips, ``T`` frames, ``P`` body parts, ``L`` templates of a part, ``K`` datasets.

Source: LMM (arXiv 2404.01284), section 4.3. Parity: ``tests/parity/test_lmm_schedule.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from motionloom.errors import TrainingError
from motionloom.models.diffusion.config import Clips, Condition, Conditions, DiffusionConfig
from motionloom.models.diffusion.model import Denoised
from motionloom.models.diffusion.schedule import NoiseSchedule
from motionloom.motion.features.motionverse_layout import CORRECT, SLICES, MotionVerseOptions, part_columns, spread_mask

_LEAST_DOUBT = 0.1
"""Where the prior is nearly certain, errors are not blown up further."""


@dataclass(frozen=True)
class LossOptions:
    """Weights and shares of the training loss; the defaults are published but for ``known``."""

    features: float = 20.0
    """Weight of the squared error of features."""
    changes: float = 0.0
    """Weight, beside that, of the squared error of changes over 1/20 s, frame by frame (MDM, arXiv 2209.14916)."""
    way: float = 0.0
    """Weight, beside that, of errors of the root's turn and way summed up over time (not published): a small error of
    every frame is a large one of where a walk ends."""
    balance: float = 10.0
    """Weight of the loss that keeps experts evenly used."""
    spread: float = 1e-4
    """Weight of the divergence of the templates' times (before the sigmoid) from a unit normal."""
    hide: bool = True
    """Whether cells are hidden: each with a probability of its clip's own, which is uniform in 0..1."""
    known: float = 0.5
    """Share of clips of which some cells are known, in a model with clean cells (not published)."""
    drop_condition: float = 0.1
    """Share of clips that lose a condition, for each modality."""
    drop_dataset: float = 0.1
    """Share of clips that are said to be of any dataset."""


@dataclass(frozen=True, eq=False)
class Losses:
    """The training loss and its terms before their weights."""

    total: Float[Tensor, ""]
    features: Float[Tensor, ""]
    load_balancing_loss: Float[Tensor, ""]
    spread: Float[Tensor, ""]


def training_loss(
    model: nn.Module,
    config: DiffusionConfig,
    schedule: NoiseSchedule,
    target: Float[Tensor, "B T 669"],
    clips: Clips,
    conditions: Conditions,
    generator: torch.Generator,
    options: LossOptions | None = None,
    weights: Float[Tensor, "K 669"] | None = None,
) -> Losses:
    """Training loss on a batch; all randomness but dropout and the router's noise from ``generator``.

    Args:
        model: A ``DiffusionTransformer``, wrapped for parallel training or not.
        config: Of the model.
        schedule: Of the noise.
        target: Clean features, normalised.
        clips: Here ``parts`` are the cells that the data knows: the loss is taken on them, hidden or not.
        conditions: By modality.
        generator: CPU random stream.
        options: Weights and shares.
        weights: Of each feature, for each dataset of the config.

    Raises:
        TrainingError: The clips come with known cells; those are drawn here.
    """
    options = options or LossOptions()
    if clips.known is not None:
        raise TrainingError("training clips came with known cells; leave clips.known out, it is drawn here")
    count, device = len(clips), target.device
    t = draw_steps(clips, len(schedule), generator).to(device)
    noise = torch.randn(target.shape, generator=generator).to(target)
    there = clips.parts & clips.frames[..., None]
    shown = there
    if options.hide:
        chance = torch.rand(count, 1, 1, generator=generator)
        shown = there & (torch.rand(there.shape, generator=generator) >= chance).to(device)
    columns = MotionVerseOptions.published() if config.swapped_sides else CORRECT
    x, known = schedule.noised(target, t, noise), None
    if config.clean_cells:
        known = draw_known(clips, options.known, generator) & there
        x, shown = torch.where(spread_mask(known, columns), target, x), shown | known
    dataset = clips.dataset
    if options.drop_dataset:
        lost = (torch.rand(count, generator=generator) < options.drop_dataset).to(device)
        dataset = dataset.masked_fill(lost, 0)
    alpha_bar: dict[str, Condition] = {}
    for name, condition in conditions.items():
        lost = (torch.rand(count, generator=generator) < options.drop_condition).to(device)
        alpha_bar[name] = replace(condition, given=condition.given & ~lost)
    seen = replace(clips, parts=shown, known=known, dataset=dataset)
    done: Denoised = model(x, t, seen, alpha_bar)
    # Cells that the model was given clean are not made, so nothing is to be learned on them.
    cells = spread_mask(there if known is None else there & ~known, columns).to(target)
    if weights is not None:
        cells = cells * weights.to(target)[clips.dataset][:, None]
    made, wanted = done.features.float(), target
    error = asked = feature_loss(made, target, cells).mean()
    if done.doubt is not None:
        # Every diffusion step and part counts alike: errors are taken in units of what the linear prior leaves open.
        unit = _by_column(done.doubt.clamp(min=_LEAST_DOUBT), config, columns)[:, None]
        made, wanted = made / unit, target / unit
        asked = feature_loss(made, wanted, cells).mean()
    changes = error.new_zeros(())
    if options.changes:
        both = cells[:, 1:] * (cells[:, :-1] > 0)
        pace = (0.05 / clips.seconds.to(target))[:, None, None]
        changes = feature_loss(made.diff(dim=1) * pace, wanted.diff(dim=1) * pace, both).mean()
    way = error.new_zeros(())
    if options.way:
        way = way_loss(made, wanted, cells).mean()
    spread = spread_loss(done.times) if done.times else error.new_zeros(())
    asked = asked + options.changes * changes + options.way * way
    total = options.features * asked + options.balance * done.load_balancing_loss + options.spread * spread
    return Losses(total, error, done.load_balancing_loss, spread)


def _by_column(
    parts: Float[Tensor, "B P"], config: DiffusionConfig, options: MotionVerseOptions
) -> Float[Tensor, "B 669"]:
    """A number of each part as one of each of its columns."""
    found = parts.new_ones(len(parts), config.features)
    for index, columns in enumerate(part_columns(options).values()):
        found[:, list(columns)] = parts[:, index, None]
    return found


def draw_steps(clips: Clips, steps: int, generator: torch.Generator) -> Int[Tensor, "B"]:
    """Diffusion steps of some clips: those on one time line have the same, and all together are evenly spread."""
    sizes = clips.timeline or (1,) * len(clips)
    # One draw from each of as many equal spans as there are groups: any number of steps is as likely as before.
    places = (torch.randperm(len(sizes), generator=generator) + torch.rand(len(sizes), generator=generator)) / len(
        sizes
    )
    drawn = (places * steps).long().clamp(max=steps - 1)
    return drawn.repeat_interleave(torch.tensor(sizes))


def feature_loss(
    made: Float[Tensor, "B T 669"], target: Float[Tensor, "B T 669"], weights: Float[Tensor, "B T 669"]
) -> Float[Tensor, "B"]:
    """Weighted mean squared error of each clip; 0 where nothing has weight."""
    error, total = ((made - target).square() * weights).sum((1, 2)), weights.sum((1, 2))
    return error / total.masked_fill(total == 0, 1.0)


def way_loss(
    made: Float[Tensor, "B T 669"], target: Float[Tensor, "B T 669"], weights: Float[Tensor, "B T 669"]
) -> Float[Tensor, "B"]:
    """Errors of the root's turn and steps added up from the first frame on, mean of each clip.

    A sum of n errors that have nothing to do with each other is as large as the root of n of them, so that is its unit;
    beyond it errors count by their size, not its square: the few who spin would drown those who walk straight.
    """
    root = [*range(SLICES["yaw"].start, SLICES["velocity"].stop)]
    there = (weights[..., root] > 0).to(made)
    number = torch.arange(1, made.shape[1] + 1, device=made.device).sqrt()[:, None]
    summed = ((made - target)[..., root] * there).cumsum(1) / number
    error = F.smooth_l1_loss(summed, torch.zeros_like(summed), reduction="none") * there
    total = there.sum((1, 2))
    return error.sum((1, 2)) / total.masked_fill(total == 0, 1.0)


def spread_loss(times: Sequence[Float[Tensor, "B P L"]]) -> Float[Tensor, ""]:
    """Divergence of the templates' times from a unit normal, mean over clips and summed over parts and blocks.

    Templates then neither gather at one time nor crowd at the ends. (The release puts the logarithm of the standard
    deviation where that of the variance belongs.)
    """
    terms = []
    for block in times:
        mean, variance = block.mean(dim=2), block.var(dim=2).clamp(min=1e-8)
        terms.append(-0.5 * (1 + variance.log() - mean.square() - variance).sum(dim=1).mean())
    return torch.stack(terms).sum()


def draw_known(clips: Clips, share: float, generator: torch.Generator) -> Bool[Tensor, "B T P"]:
    """Cells that are given, as edits have them: all but a span of frames, some parts, or both together.

    Args:
        clips: What is trained on.
        share: Of clips that have such cells.
        generator: CPU random stream.
    """
    count, frames, parts = clips.parts.shape
    lengths = clips.lengths.cpu()
    kind = torch.rand(count, generator=generator)
    # The gap may touch either end: then the clip is to be continued, or led up to.
    edges = (torch.rand(count, 2, generator=generator) * 1.5 - 0.25).clamp(0, 1).sort(dim=1).values * lengths[:, None]
    at = torch.arange(frames)
    outside = (at < edges[:, :1].floor()) | (at >= edges[:, 1:].ceil())
    some = torch.rand(count, parts, generator=generator) < 0.5
    by_frame = outside[:, :, None] & (kind < 0.75 * share)[:, None, None]
    by_part = some[:, None] & ((kind >= 0.5 * share) & (kind < share))[:, None, None]
    return (by_frame | by_part).to(clips.parts.device)

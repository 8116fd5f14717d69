"""Training of the masked transformer: how tokens are hidden, and the losses, of MMM's release and ours.

Shapes: ``B`` items, ``N`` token slots, ``P`` body parts, ``K`` codes, ``E`` sentence size, ``M`` words, ``F`` word
size.

Sources: MMM (arXiv 2312.03596), section 3.2; for our share of hidden tokens MaskGIT (arXiv 2202.04200).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from motionloom.models.masked.model import MaskedConfig, layout

_TOGETHER = 0.15
"""Share of items whose slots are hidden with all their parts."""
_KNOWN_PARTS = 0.25
"""Share of items in which whole parts stay visible."""


@dataclass(frozen=True)
class Corrupted:
    """A training batch with part of its tokens hidden.

    Attributes:
        ids: What the model sees.
        valid: Slots of motion (and end token).
        predict: Slots the loss is taken on.
    """

    ids: Int[Tensor, "B N *parts"]
    valid: Bool[Tensor, "B N"]
    predict: Bool[Tensor, "B N *parts"]


def corrupt(
    target: Int[Tensor, "B N *parts"],
    lengths: Int[Tensor, "B"],
    config: MaskedConfig,
    generator: torch.Generator,
    replaced: float = 0.1,
) -> Corrupted:
    """Hide tokens for our training: a share of cos(pi/2 u) is masked, some of the visible ones are replaced.

    With body parts, tokens are mostly hidden one by one; in some items all parts of a slot go together, and in
    some whole parts stay visible, which is what editing a part looks like.

    Args:
        target: True tokens; what stands behind a length does not matter.
        lengths: Slots of each motion.
        config: Of the model.
        generator: CPU random stream.
        replaced: Share of the visible tokens that become random codes; they are to be predicted as well.
    """
    ratio = torch.cos(0.5 * math.pi * torch.rand(len(target), generator=generator)).to(lengths.device)
    empty, valid = layout(config, lengths, target.shape[1])
    cells = target[..., None] if config.parts == 1 else target
    motion = (empty == config.mask_id)[..., None].expand(cells.shape)
    blank = empty[..., None].expand(cells.shape)
    order = torch.rand(cells.shape, generator=generator)
    candidates = motion
    if config.parts > 1:
        kind = torch.rand(len(cells), generator=generator)
        together = kind < _TOGETHER
        order = torch.where(together[:, None, None], order[..., :1].expand(cells.shape), order)
        stay = torch.rand(len(cells), config.parts, generator=generator) < 0.5
        stay[torch.arange(len(cells)), torch.randint(config.parts, (len(cells),), generator=generator)] = False
        stay &= (kind > 1 - _KNOWN_PARTS)[:, None]
        candidates = motion & ~stay[:, None].to(motion.device)
    order = order.to(motion.device).masked_fill(~candidates, 2.0).flatten(1)
    count = (ratio * candidates.sum((1, 2))).round().clamp(min=1)
    # Equal numbers (parts of one slot) keep their order, so a slot may be cut at the very edge of the share only.
    rank = order.argsort(dim=1, stable=True).argsort(1)
    masked = (rank < count[:, None]).view(cells.shape) & candidates
    wrong = (torch.rand(cells.shape, generator=generator) < replaced).to(motion.device) & motion & ~masked
    noise = torch.randint(config.codes, cells.shape, generator=generator).to(target.device)
    ids = torch.where(wrong, noise, torch.where(motion & ~masked, cells, blank))
    return Corrupted(ids.view(target.shape), valid, (masked | wrong).view(target.shape))


def corrupt_published(
    target: Int[Tensor, "B N"],
    lengths: Int[Tensor, "B"],
    config: MaskedConfig,
    generator: torch.Generator,
    keep: float = 0.5,
) -> Corrupted:
    """Hide tokens as MMM's code does: replace each with probability 1 - keep, then mask a share of U(0.5, 1).

    The loss is taken on all motion tokens, the untouched ones too.
    """
    ratio = 0.5 + 0.5 * torch.rand(len(target), generator=generator)
    masked, empty, valid, motion = _mask_share(target, lengths, ratio, config, generator)
    wrong = (torch.rand(target.shape, generator=generator) >= keep).to(target.device) & motion & ~masked
    noise = torch.randint(config.codes, target.shape, generator=generator).to(target.device)
    ids = torch.where(wrong, noise, torch.where(motion & ~masked, target, empty))
    return Corrupted(ids, valid, motion)


def _mask_share(
    target: Int[Tensor, "B N"],
    lengths: Int[Tensor, "B"],
    ratio: Float[Tensor, "B"],
    config: MaskedConfig,
    generator: torch.Generator,
) -> tuple[Bool[Tensor, "B N"], Int[Tensor, "B N"], Bool[Tensor, "B N"], Bool[Tensor, "B N"]]:
    """Choose round(ratio * length), at least 1, random motion tokens.

    Returns:
        Chosen slots, the empty layout, valid slots, motion slots.
    """
    empty, valid = layout(config, lengths, target.shape[1])
    motion = empty == config.mask_id
    count = (ratio.to(lengths.device) * lengths).round().clamp(min=1)
    order = torch.rand(target.shape, generator=generator).to(target.device)
    rank = order.masked_fill(~motion, 2.0).argsort(1).argsort(1)
    return (rank < count[:, None]) & motion, empty, valid, motion


def masked_loss(
    logits: Float[Tensor, "B N *parts K"],
    target: Int[Tensor, "B N *parts"],
    predict: Bool[Tensor, "B N *parts"],
    label_smoothing: float = 0.1,
) -> Float[Tensor, ""]:
    """Mean cross entropy over all tokens that are to be predicted: our training loss."""
    chosen = logits[predict].float()
    return F.cross_entropy(chosen, target[predict], label_smoothing=label_smoothing)


def published_loss(
    logits: Float[Tensor, "B N K"], target: Int[Tensor, "B N"], predict: Bool[Tensor, "B N"]
) -> Float[Tensor, ""]:
    """Cross entropy averaged over each motion's tokens, then over the motions: MMM's training loss."""
    safe = target.masked_fill(~predict, 0)
    each = F.cross_entropy(logits.float().transpose(1, 2), safe, reduction="none") * predict
    return (each.sum(1) / predict.sum(1)).mean()


def training_loss(
    model: nn.Module,
    config: MaskedConfig,
    target: Int[Tensor, "B N *parts"],
    lengths: Int[Tensor, "B"],
    sentence: Float[Tensor, "B E"],
    words: Float[Tensor, "B M F"],
    words_valid: Bool[Tensor, "B M"],
    generator: torch.Generator,
    drop_text: float = 0.1,
    label_smoothing: float = 0.1,
) -> Float[Tensor, ""]:
    """Our training loss on a batch, all randomness but dropout from ``generator``.

    Args:
        model: A ``MaskedTransformer``, wrapped for parallel training or not.
        config: Of the model.
        target: True tokens, N at most ``config.slots``.
        lengths: Tokens of each motion.
        sentence: Sentence vectors.
        words: Word vectors.
        words_valid: Which words exist.
        generator: CPU random stream.
        drop_text: Share of items trained without text.
        label_smoothing: Of the cross entropy.
    """
    seen = corrupt(target, lengths, config, generator)
    no_text = (torch.rand(len(target), generator=generator) < drop_text).to(target.device)
    logits = model(seen.ids, seen.valid, sentence, words, words_valid, no_text)
    return masked_loss(logits, target, seen.predict, label_smoothing)

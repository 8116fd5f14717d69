"""Sampling from the masked transformer: MMM's published samplers, quirks and all, and ours.

Shapes: ``B`` items, ``N`` token slots, ``K`` codes, ``E`` sentence size, ``M`` words, ``F`` word size.

Sources: MMM (arXiv 2312.03596), section 3.3; MaskGIT (arXiv 2202.04200), section 3.2; classifier-free
guidance (arXiv 2207.12598). Parity: ``tests/parity/test_mmm_masked.py``.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from motionloom.errors import RequestError
from motionloom.models.masked.cache import InferenceCache
from motionloom.models.masked.model import MaskedConfig, MaskedTransformer, layout
from motionloom.progress import SILENT, Progress

Predict = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def sample(
    model: MaskedTransformer,
    lengths: Int[Tensor, "B"],
    sentence: Float[Tensor, "B E"],
    words: Float[Tensor, "B M F"],
    words_valid: Bool[Tensor, "B M"],
    seeds: Sequence[int],
    steps: int = 10,
    temperature: float = 1.0,
    guidance: float = 1.5,
    order_noise: float = 4.0,
    inward: float = 0.0,
    ends: tuple[int, float] = (0, 1.0),
    known: Int[Tensor, "B S *parts"] | None = None,
    no_text: Bool[Tensor, "B"] | None = None,
    progress: Progress = SILENT,
) -> Int[Tensor, "B N *parts"]:
    """Fill in motion tokens, a few per step, the model's surest (plus noise) first: our sampler.

    An item's noise comes from its own seed and is drawn at its own length, so that its tokens depend neither
    on the batch nor on its place there. With body parts, each part of a slot is a token of its own.

    Args:
        model: In eval mode, of our form (no end token).
        lengths: Tokens of each motion.
        sentence: Sentence vectors.
        words: Word vectors.
        words_valid: Which words exist.
        seeds: One per item.
        steps: Forward passes; the share still hidden after step i is cos(pi/2 * i/steps).
        temperature: Of the logits; 0 takes the most probable token.
        guidance: Scale s of classifier-free guidance, u + s * (c - u); 1 is without, and half the work.
        order_noise: Scale of the Gumbel noise on the order in which tokens are settled; small values with
            strong guidance make motions stand still, infinity is a random order.
        inward: What a slot's sureness loses with each slot between it and the nearer end of its motion: the pose
            that a motion starts and ends with is settled first.
        ends: How many slots at each end of a motion have a temperature of their own, and which: people start and
            stop in much the same poses, whatever they do between.
        known: Tokens that are to stay, mask ids where to fill in; behind a length anything may stand.
        no_text: Items to make without their text.
        progress: Told about every step; may raise ``Cancelled``.

    Returns:
        Token ids, -1 behind each motion's length.

    Raises:
        RequestError: The request does not fit the model.
    """
    config = model.config
    if config.end_token:
        raise RequestError("this model needs an end token: use sample_published")
    if len(seeds) != len(lengths):
        raise RequestError(f"{len(seeds)} seeds were given for {len(lengths)} items: give one each")
    if steps < 1 or min(temperature, order_noise, inward, *ends) < 0:
        raise RequestError(
            f"steps {steps}, temperature {temperature}, order noise {order_noise}, inward {inward}, ends {ends}: steps"
            " must be at least 1, the others at least 0"
        )
    slots = int(lengths.max())
    empty, valid = layout(config, lengths, slots)
    # Tokens stand in a row (slot, part); the network gets them back in its own shape.
    shape = empty.shape if config.parts == 1 else (*empty.shape, config.parts)
    empty = empty.repeat_interleave(config.parts, dim=1)
    ids = empty if known is None else _with_known(config, empty, known[:, :slots].flatten(1))
    hidden = ids == config.mask_id
    to_fill = hidden.sum(1)
    if guidance == 1:
        text = model.read_text(sentence, words, words_valid, no_text)
    else:
        dropped = torch.zeros_like(lengths, dtype=torch.bool) if no_text is None else no_text
        both = [torch.cat((x, x)) for x in (sentence, words, words_valid)]
        text = model.read_text(both[0], both[1], both[2], torch.cat((dropped, torch.ones_like(dropped))))
        valid = valid.repeat(2, 1)
    cache = InferenceCache(model.trunk, model.embedding, valid, text)
    streams = [torch.Generator().manual_seed(seed) for seed in seeds]
    slot = torch.arange(slots, device=ids.device)
    depth = torch.minimum(slot, lengths[:, None] - 1 - slot).repeat_interleave(config.parts, dim=1)
    heat = torch.where(depth < ends[0], ends[1], temperature)
    for step in range(1, steps + 1):
        # Logits are computed for whole slots, so a slot counts while any of its parts is hidden.
        asked = hidden.unflatten(1, (slots, config.parts)).any(2)
        open_ = asked.repeat_interleave(config.parts, dim=1)
        seen = ids.view(shape)
        if guidance == 1:
            logits = cache.logits(seen, asked)
        else:
            given, free = cache.logits(torch.cat((seen, seen)), asked.repeat(2, 1)).chunk(2)
            logits = free + guidance * (given - free)
        logits = logits.float().reshape(-1, config.codes)
        token_noise, order_draw = _noise(streams, lengths * config.parts, open_, config.codes)
        warm = heat[open_][:, None]
        logits = torch.where(warm > 0, logits / warm.clamp(min=1e-6), logits)
        choice = torch.where(warm > 0, logits + token_noise, logits).argmax(1)
        sure = F.log_softmax(logits, dim=1).gather(1, choice[:, None])[:, 0]
        sure = order_draw if math.isinf(order_noise) else sure + order_noise * order_draw
        sure = torch.zeros(ids.shape, device=ids.device).masked_scatter(open_, sure) - inward * depth
        # Settle the surest hidden tokens and leave the schedule's share hidden; none at the last step.
        left = (to_fill * math.cos(0.5 * math.pi * step / steps) + 1e-9).floor().long()
        count = hidden.sum(1) - (left if step < steps else 0)
        order = sure.masked_fill(~hidden, -math.inf).sort(dim=1, descending=True, stable=True).indices
        rank = order.argsort(1)
        settled = hidden & (rank < count[:, None])
        ids = torch.where(settled, ids.masked_scatter(open_, choice), ids)
        hidden = hidden & ~settled
        progress.step()
    return ids.masked_fill(empty == config.pad_id, -1).view(shape)


def _noise(
    streams: list[torch.Generator], lengths: Int[Tensor, "B"], open_: Bool[Tensor, "B tokens"], codes: int
) -> tuple[Float[Tensor, "R K"], Float[Tensor, "R"]]:
    """Gumbel noise for open tokens and for their order; each item draws from its own stream at its own length."""
    # An exponential draw is never zero, so its logarithm is finite.
    draws = torch.ones(*open_.shape, codes + 1)
    for row, stream, length in zip(draws, streams, lengths.tolist(), strict=True):
        row[:length].exponential_(generator=stream)
    noise = -torch.log(draws.to(open_.device)[open_])
    return noise[:, :-1], noise[:, -1]


def _with_known(config: MaskedConfig, empty: Int[Tensor, "B N"], known: Int[Tensor, "B M"]) -> Int[Tensor, "B N"]:
    """Put known tokens into empty motions."""
    if known.shape != empty.shape:
        raise RequestError(f"known tokens have shape {tuple(known.shape)}; {tuple(empty.shape)} is needed")
    motion = empty == config.mask_id
    inside = known[motion]
    if bool(((inside != config.mask_id) & ((inside < 0) | (inside >= config.codes))).any()):
        raise RequestError(f"known tokens must be codes 0..{config.codes - 1}, or {config.mask_id} where to fill in")
    return torch.where(motion, known, empty)


@torch.no_grad()
def sample_published(
    model: MaskedTransformer,
    lengths: Int[Tensor, "B"],
    sentence: Float[Tensor, "B E"],
    words: Float[Tensor, "B M F"],
    generator: torch.Generator | None = None,
    steps: int = 10,
    known: Int[Tensor, "B S"] | None = None,
    *,
    stops_early: bool = True,
) -> Int[Tensor, "B N"]:
    """Sample as MMM's released code does, its quirks included.

    The number of useful steps grows with the length. A single item stops when its schedule has ended, and
    through a slip of operator order some lengths stop after one pass; a batch always runs all steps and goes
    on to predict its least sure token again. So a result depends on being alone or in a batch.

    Args:
        model: In eval mode, of the published form.
        lengths: Tokens of each motion: frames / 4, rounded up.
        sentence: Sentence vectors.
        words: Word vectors, all slots.
        generator: Stream of the Gumbel noise, one draw of B x slots x K per step; None takes the most
            probable tokens.
        steps: Forward passes at most: 10 for text to motion, 1 for transitions of long sequences.
        known: Kept tokens, mask ids where to fill in (in-between and outpainting).
        stops_early: Whether a single item stops when its schedule has ended; without, it is made as in a batch.

    Returns:
        Ids of all slots: motion, end token, pads.
    """
    text = model.read_text(sentence, words)
    empty, valid = layout(model.config, lengths, model.config.slots)
    start = empty if known is None else _with_known(model.config, empty, known)
    fill = start == model.config.mask_id
    cache = InferenceCache(model.trunk, model.embedding, valid, text)
    return published_loop(cache.logits, model.config, start, lengths, fill, fill.sum(1), steps, generator, stops_early)


@torch.no_grad()
def inpaint_published(
    model: MaskedTransformer,
    first: Int[Tensor, "A"],
    count: int,
    last: Int[Tensor, "C"],
    sentence: Float[Tensor, "1 E"],
    words: Float[Tensor, "1 M F"],
    generator: torch.Generator | None = None,
    steps: int = 20,
) -> Int[Tensor, "1 N"]:
    """Fill ``count`` tokens between two pieces as MMM's older in-painting does.

    Its schedule counts the whole motion, not the gap, and hides known tokens too; they are put back at each
    step.

    Args:
        model: In eval mode, of the published form.
        first: Tokens before the gap.
        count: Tokens to make.
        last: Tokens behind the gap.
        sentence: Sentence vector.
        words: Word vectors.
        generator: Stream of the Gumbel noise; None takes the most probable tokens.
        steps: Forward passes at most.
    """
    config = model.config
    gap = torch.full((count,), config.mask_id, device=first.device)
    inside = torch.cat((first, gap, last))[None]
    lengths = torch.tensor([inside.shape[1]], device=first.device)
    text = model.read_text(sentence, words)
    empty, valid = layout(config, lengths, config.slots)
    start = torch.cat((inside, empty[:, inside.shape[1] :]), dim=1)
    motion = empty == config.mask_id
    cache = InferenceCache(model.trunk, model.embedding, valid, text)
    return published_loop(cache.logits, config, start, lengths, motion, lengths, steps, generator)


def published_loop(
    predict: Predict,
    config: MaskedConfig,
    ids: Int[Tensor, "B N"],
    lengths: Int[Tensor, "B"],
    candidates: Bool[Tensor, "B N"],
    budget: Int[Tensor, "B"],
    steps: int,
    generator: torch.Generator | None,
    stops_early: bool = True,
) -> Int[Tensor, "B N"]:
    """Run the published schedule.

    Args:
        predict: From ids and the slots that are hidden to the logits of those slots, in a row.
        config: Of the model.
        ids: Where to start; tokens that are no mask ids here stay.
        lengths: Tokens of each motion.
        candidates: Slots that may be hidden.
        budget: How many slots count as all of them.
        steps: Forward passes at most.
        generator: Stream of the Gumbel noise; None takes the most probable tokens.
        stops_early: Whether a single item stops (see ``sample_published``).
    """
    start, kept = ids, ids != config.mask_id
    # 49 is the longest motion of the release; rounding is to even, as torch and Python both do.
    schedule = (steps / config.max_tokens * lengths).round() + 1e-8
    scores = torch.ones(ids.shape, device=ids.device)
    for step in range(steps):
        time = (step / schedule).clamp(max=1)
        if stops_early and len(ids) == 1 and step > 0 and bool((step - 1 / schedule).clamp(max=1) == time):
            break
        count = (torch.cos(0.5 * math.pi * time) * budget).floor().clamp(min=1)
        scores = scores.masked_fill(~candidates, 0.0)
        # Not guarded in the published code: 0/0 when every token is certain.
        scores = scores / scores.sum(1, keepdim=True).clamp(min=1e-30)
        rank = scores.sort(1, descending=True).indices.argsort(1)
        hidden = rank < count[:, None]
        ids = ids.masked_fill(hidden, config.mask_id)
        logits = predict(ids, hidden).float()
        noisy = logits if generator is None else logits + _gumbel(hidden, logits, generator)
        choice = noisy.argmax(1)
        sure = logits.softmax(1).gather(1, choice[:, None])[:, 0]
        ids = ids.masked_scatter(hidden, choice)
        scores = torch.zeros_like(scores).masked_scatter(hidden, 1 - sure)
        ids = torch.where(kept, start, ids)
    return ids


def _gumbel(
    hidden: Bool[Tensor, "B N"], logits: Float[Tensor, "H K"], generator: torch.Generator
) -> Float[Tensor, "H K"]:
    """Gumbel noise of the hidden slots; all slots are drawn, as the published stream has them."""
    uniform = torch.zeros(*hidden.shape, logits.shape[1]).uniform_(0, 1, generator=generator)
    inner = -torch.log(uniform.to(logits.device)[hidden].clamp(min=1e-20))
    return -torch.log(inner.clamp(min=1e-20))

"""Sampling from MoMask's transformers: base tokens a few per step, then every finer layer in one pass.

Shapes: ``B`` items, ``N`` token slots, ``K`` codes, ``Q`` codebooks, ``E`` sentence size.

Source: MoMask (arXiv 2312.00063), section 3.4. Parity: ``tests/parity/test_momask.py``.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motionloom.errors import RequestError
from motionloom.models.momask.tokenizer import ABSENT
from motionloom.models.momask.transformers import MoMaskTransformer, ResidualTransformer
from motionloom.models.tokenizers.motion import length_mask
from motionloom.progress import SILENT, Progress

Draw = Literal["categorical", "gumbel"]
TOP = 0.1
"""Share of the codes, the most probable ones, that are drawn from."""
_BASE_ORDER, _RESIDUAL_ORDER = (1, 0, 2), (0, 2, 1)
"""Axes of the logits in the order in which the published code draws their noise: slots first, or codes before slots."""
_KEPT = 1e5
"""Score of a token that is not hidden again."""


@torch.no_grad()
def sample_base(
    model: MoMaskTransformer,
    lengths: Int[Tensor, "B"],
    sentence: Float[Tensor, "B E"],
    *,
    steps: int = 10,
    guidance: float = 4.0,
    temperature: float = 1.0,
    top: float = TOP,
    draw: Draw = "categorical",
    generator: torch.Generator | None = None,
    no_text: Bool[Tensor, "B"] | None = None,
    known: Int[Tensor, "B N"] | None = None,
    slots: int | None = None,
    progress: Progress = SILENT,
) -> Int[Tensor, "B N"]:
    """Fill in base tokens; a token once accepted is never hidden again.

    Args:
        model: In eval mode.
        lengths: Slots of each motion.
        sentence: Sentence vectors.
        steps: Forward passes; before pass i, cos(pi/2 * i/(steps - 1)) of the tokens to make are hidden, at least one.
        guidance: Scale s of classifier-free guidance, u + s * (c - u).
        temperature: Of the logits; 0 takes the most probable token.
        top: Share of the codes that are drawn from, the most probable ones.
        draw: How; the two differ in their use of the random stream only.
        generator: Random stream; torch's own when left out.
        no_text: Items to make without their sentence.
        known: Tokens that are to stay, mask ids where to fill in.
        slots: Of the batch; the longest motion when left out.
        progress: Told about every step.

    Returns:
        Ids, ``ABSENT`` behind each motion.

    Raises:
        RequestError: A length or a known token does not fit the model.
    """
    config = model.config
    if int(lengths.min()) < 1 or int(lengths.max()) > config.max_tokens:
        raise RequestError(
            f"lengths run from {int(lengths.min())} to {int(lengths.max())} slots; 1 to {config.max_tokens} are made"
        )
    valid = length_mask(lengths, slots or int(lengths.max()))
    ids = torch.where(valid, config.mask_id, config.pad_id)
    if known is not None:
        if known.shape != ids.shape or int(known[valid].min()) < 0 or int(known[valid].max()) > config.mask_id:
            raise RequestError(
                f"known tokens must be codes 0..{config.codes - 1}, or {config.mask_id} where to fill in"
            )
        ids = torch.where(valid, known, config.pad_id)
    fill = ids == config.mask_id
    scores = torch.zeros(ids.shape).masked_fill(~fill, _KEPT)
    for time in torch.linspace(0, 1, steps):
        count = (torch.cos(time * math.pi * 0.5) * fill.sum(1)).round().clamp(min=1)
        hidden = (scores.argsort(1).argsort(1) < count[:, None]) & fill
        ids = ids.masked_fill(hidden, config.mask_id)

        logits = _guided(partial(model, ids, valid, sentence), no_text, guidance, len(ids))
        chosen = _draw(logits, temperature, top, draw, generator, _BASE_ORDER)
        ids = torch.where(hidden, chosen, ids)
        sure = logits.softmax(-1).gather(2, chosen[..., None])[..., 0]
        scores = sure.masked_fill(~hidden, _KEPT)
        progress.step()
    return ids.masked_fill(~valid, ABSENT)


@torch.no_grad()
def sample_residual(
    model: ResidualTransformer,
    base: Int[Tensor, "B N"],
    lengths: Int[Tensor, "B"],
    sentence: Float[Tensor, "B E"],
    *,
    guidance: float = 5.0,
    temperature: float = 1.0,
    top: float = TOP,
    generator: torch.Generator | None = None,
    no_text: Bool[Tensor, "B"] | None = None,
    known: Int[Tensor, "B N Q"] | None = None,
    progress: Progress = SILENT,
) -> Int[Tensor, "B N Q"]:
    """Predict every finer layer of base tokens, one pass each.

    Args:
        model: In eval mode.
        base: Base tokens; what stands behind a motion does not matter.
        lengths: Slots of each motion.
        sentence: Sentence vectors.
        guidance: Scale of classifier-free guidance.
        temperature: Of the logits; 0 takes the most probable id.
        top: Share of the ids that are drawn from.
        generator: Random stream; torch's own when left out.
        no_text: Items to make without their sentence.
        known: Ids of all layers that are to stay (not published: there, an edit makes all residuals anew), ``ABSENT``
            where to predict.
        progress: Told about every step.

    Returns:
        Ids of all layers, ``ABSENT`` behind each motion and where a layer adds nothing.
    """
    valid = length_mask(lengths, base.shape[1])
    layers = [base.masked_fill(~valid, model.nothing)]
    history: Tensor | None = None
    for layer in range(1, model.config.quantizers):
        vectors = model.vectors(layers[-1], layer - 1)
        history = vectors if history is None else history + vectors

        logits = _guided(partial(model, history, layer, valid, sentence), no_text, guidance, len(base))
        chosen = _draw(logits, temperature, top, "gumbel", generator, _RESIDUAL_ORDER)
        if known is not None:
            chosen = torch.where(known[..., layer] >= 0, known[..., layer], chosen)
        layers.append(chosen.masked_fill(~valid, model.nothing))
        progress.step()
    found = torch.stack(layers, dim=-1)
    return found.masked_fill(found == model.nothing, ABSENT)


def _guided(predict: Callable[[Tensor | None], Tensor], no_text: Tensor | None, guidance: float, items: int) -> Tensor:
    """Logits u + s * (c - u); a single pass where both are the same, or s is 1."""
    given = predict(no_text)
    if guidance == 1 or (no_text is not None and bool(no_text.all())):
        return given
    free = predict(torch.ones(items, dtype=torch.bool))
    return free + guidance * (given - free)


def _draw(
    logits: Float[Tensor, "B N K"],
    temperature: float,
    top: float,
    draw: Draw,
    generator: torch.Generator | None,
    order: tuple[int, int, int],
) -> Int[Tensor, "B N"]:
    if temperature == 0:
        return logits.argmax(-1)
    # The slack keeps a share such as 0.1 of 640 at 64, whatever it is in binary.
    best = logits.topk(max(1, math.ceil(top * logits.shape[-1] - 1e-6)), dim=-1)
    kept = torch.full_like(logits, -math.inf).scatter(-1, best.indices, best.values) / temperature
    if draw == "gumbel":
        noise = torch.zeros([kept.shape[axis] for axis in order]).uniform_(0, 1, generator=generator)
        noise = noise.permute([order.index(axis) for axis in range(3)])
        inner = -torch.log(noise.clamp(min=1e-20))
        return (kept - torch.log(inner.clamp(min=1e-20))).argmax(-1)
    shares = kept.softmax(-1).flatten(0, 1)
    return torch.multinomial(shares, 1, generator=generator).view(kept.shape[:2])

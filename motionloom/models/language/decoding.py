"""Answers of the motion language model: only tokens of what is wanted, in well-formed brackets, of a bounded length.

Shapes: ``B`` items, ``S`` source tokens, ``R`` rows that may be chosen.

Sources: M3GPT (arXiv 2405.16273), section 3.2, for the form of answers; top-p: Holtzman et al. (arXiv 1904.09751).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from motionloom.errors import RequestError
from motionloom.models.language.model import MotionLM, places_of, to_the_right
from motionloom.models.language.t5 import Answering, Precision, T5Decoder
from motionloom.models.language.vocabulary import Modality, pad_sequences
from motionloom.progress import SILENT, Progress


@dataclass(frozen=True)
class Answers:
    """What the model wrote.

    Attributes:
        ids: For each item its codes (from 0), or its rows of text; brackets and ends are left out.
        confidence: Mean log-probability of what was chosen among what was allowed.
        full: Items that ran into ``max_codes`` and did not end by themselves; a text is then cut there.
        ending: Log-probability of ending just there, and nowhere before; zeros unless it was asked for.
    """

    ids: tuple[Int[Tensor, "_"], ...]
    confidence: Float[Tensor, "B"]
    full: Bool[Tensor, "B"]
    ending: Float[Tensor, "B"]


class Decoder:
    """Writes answers with a snapshot of a model's weights; make a new one when the model has learned more.

    Args:
        model: The model; it is put into eval mode.
        precision: Of T5's decoder; see ``T5Decoder``. Other networks have ``fp32`` only.

    Raises:
        RequestError: The network does not have that precision.
    """

    def __init__(self, model: MotionLM, precision: Precision = "fp32") -> None:
        if model.config.backbone != "t5" and precision != "fp32":
            raise RequestError(f"precision {precision} is for T5 only; take fp32")
        self.model = model.eval()
        self.decoder = T5Decoder(model.network, precision) if model.config.backbone == "t5" else None

    @torch.no_grad()
    def write(
        self,
        sources: Sequence[Int[Tensor, "_"]],
        modality: Modality,
        max_codes: int | Sequence[int],
        min_codes: int | Sequence[int] = 1,
        seeds: Sequence[int] | None = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        uncond: Sequence[Int[Tensor, "_"]] | None = None,
        guidance: float = 1.0,
        endings: bool = False,
        progress: Progress = SILENT,
    ) -> Answers:
        """Answer prompts. An item's answer depends neither on the batch nor on its place there.

        Args:
            sources: Prompts from ``sequence``.
            modality: What to write.
            max_codes: Codes (or pieces of text) of an answer at most; one number, or one an item.
            min_codes: At least; equal to ``max_codes`` for an exact length.
            seeds: One per item; needed above temperature 0.
            temperature: Of the logits; 0 takes the most probable token.
            top_p: Choose among the most probable tokens that together have this probability.
            uncond: For each prompt the same without what is to be followed; needed with a guidance other than 1.
            guidance: Scale s of classifier-free guidance, u + s * (c - u) (arXiv 2207.12598); 1 is without, and half
                the work.
            endings: Whether to find ``Answers.ending``, at the cost of one step more.
            progress: Told about every token; may raise ``Cancelled``.

        Raises:
            RequestError: The request is impossible, or longer than the model reads.
        """
        count, vocabulary = len(sources), self.model.vocabulary
        low, high = _bounds(min_codes, count), _bounds(max_codes, count)
        beside = [] if guidance == 1 else list(uncond or [])
        if guidance != 1 and len(beside) != count:
            raise RequestError(f"guidance {guidance} for {count} prompts with {len(beside)} without what is followed")
        sources = [*sources, *beside]
        self._check(sources, count, low, high, seeds, temperature, top_p)
        codes = vocabulary.codes(modality)
        rows = codes if modality == "text" else range(codes.start, vocabulary.stop(modality) + 1)
        end = vocabulary.stop(modality) - rows.start
        closed = torch.zeros(len(rows), dtype=torch.bool)
        # An answer has neither control pieces nor a second start; its end is opened below when it may come.
        closed[list(vocabulary.reserved) if modality == "text" else [vocabulary.start(modality) - rows.start, end]] = (
            True
        )
        streams = None if seeds is None or temperature == 0 else [torch.Generator().manual_seed(seed) for seed in seeds]
        begin = [] if modality == "text" else [vocabulary.start(modality)]
        reader = self._reader(sources, begin, rows, int(high.max()) + endings)
        reader = _Guided(reader, guidance) if beside else reader
        logits, told = reader.first, torch.zeros(count, int(high.max()), dtype=torch.long)
        lengths, score, choices = torch.zeros(count).long(), torch.zeros(count), torch.zeros(count).long()
        open_, full = torch.ones(count, dtype=torch.bool), torch.zeros(count, dtype=torch.bool)
        ending, shut = torch.zeros(count), closed.clone()
        shut[end] = False
        progress.expect(int(high.max()))
        for place in range(int(high.max())):
            progress.step()
            allowed = logits.masked_fill(closed, -math.inf)
            allowed[:, end] = logits[:, end].masked_fill(low > place, -math.inf)
            chosen = _choose(allowed, streams, temperature, top_p)
            sure = F.log_softmax(allowed, dim=1).gather(1, chosen[:, None])[:, 0]
            score, choices = score + torch.where(open_, sure, 0.0), choices + open_.long()
            if endings:
                ends = logits.masked_fill(shut, -math.inf).log_softmax(1)[:, end]
                ending = ending + torch.where(open_, torch.where(chosen == end, ends, _other(ends)), 0.0)
            open_ = open_ & (chosen != end)
            told[:, place] = chosen
            lengths = lengths + open_.long()
            full = full | (open_ & (lengths == high))
            open_ = open_ & (lengths < high)
            if not endings and not bool(open_.any()):
                break
            logits = reader.read(chosen + rows.start)
            if endings:
                ends = logits.masked_fill(shut, -math.inf).log_softmax(1)[:, end]
                ending = ending + torch.where(full & (lengths == place + 1), ends, 0.0)
            if not bool(open_.any()):
                break
        first = rows.start if modality == "text" else codes.start
        ids = tuple(row[:length] + rows.start - first for row, length in zip(told, lengths.tolist(), strict=True))
        return Answers(ids, score / choices, full, ending)

    def _reader(self, sources: Sequence[Tensor], begin: list[int], rows: range, most: int) -> "Reader":
        source, valid = pad_sequences(sources, self.model.vocabulary.pad)
        if self.decoder is None:
            return _DecoderOnly(self.model, source, valid, begin, rows)
        state = self.decoder.begin(self.model.encode(source, valid), valid, len(begin) + most, rows)
        return _EncoderDecoder(self.decoder, state, [self.model.vocabulary.pad, *begin], len(sources))

    def _check(
        self, sources: Sequence[Tensor], count: int, low: Tensor, high: Tensor, seeds: Sequence[int] | None,
        temperature: float, top_p: float,
    ) -> None:  # fmt: skip
        limit = self.model.config.max_tokens
        if not sources or bool((low < 1).any()) or bool((low > high).any()):
            raise RequestError(
                f"{count} prompts for answers of {low.tolist()[:4]} to {high.tolist()[:4]} tokens; at least one"
                " prompt, and 1 <= min_codes <= max_codes, are needed"
            )
        # A start, an end and the end of the sequence belong to an answer.
        longest = max(max(len(one) for one in sources), int(high.max()) + 3)
        if longest > limit:
            raise RequestError(f"a prompt or an answer has {longest} tokens, at most {limit} are read: ask for less")
        if any(len(one) == 0 for one in sources):
            raise RequestError("a prompt is empty; make it with sequence()")
        if not (math.isfinite(temperature) and temperature >= 0 and 0 < top_p <= 1):
            raise RequestError(f"temperature {temperature} must be at least 0, top_p {top_p} above 0 and at most 1")
        if temperature > 0 and (seeds is None or len(seeds) != count):
            given = "no" if seeds is None else len(seeds)
            raise RequestError(f"{given} seeds were given for {count} items: give one each, or temperature 0")


class Reader:
    """Reads tokens of answers one by one; ``first`` are the logits of the first token."""

    first: Tensor

    def read(self, rows: Int[Tensor, "B"]) -> Float[Tensor, "B R"]:
        """Read the next token of every answer; logits of the one behind it."""
        raise NotImplementedError


class _EncoderDecoder(Reader):
    def __init__(self, decoder: T5Decoder, state: Answering, begin: list[int], count: int) -> None:
        self.decoder, self.state = decoder, state
        for row in begin:
            self.first = self.read(torch.full((count,), row))

    def read(self, rows: Int[Tensor, "B"]) -> Float[Tensor, "B R"]:
        return self.decoder.step(rows, self.state)


class _Guided(Reader):
    """Reads every answer twice, behind its prompt and behind the one without, and moves their logits apart."""

    def __init__(self, both: Reader, guidance: float) -> None:
        self.both, self.guidance = both, guidance
        self.first = self._mix(both.first)

    def read(self, rows: Int[Tensor, "B"]) -> Float[Tensor, "B R"]:
        return self._mix(self.both.read(rows.repeat(2)))

    def _mix(self, logits: Float[Tensor, "B2 R"]) -> Float[Tensor, "B R"]:
        given, free = logits.chunk(2)
        return free + self.guidance * (given - free)


class _DecoderOnly(Reader):
    def __init__(self, model: MotionLM, source: Tensor, valid: Tensor, begin: list[int], rows: range) -> None:
        self.network: Any = model.network
        self.head = self.network.lm_head.weight[rows.start : rows.stop]
        source, valid = to_the_right(source, valid)
        self.seen, self.past = valid, None
        forced = torch.tensor(begin, dtype=torch.long).expand(len(source), -1)
        self.first = self._read(torch.cat((source, forced), dim=1), len(begin))

    def read(self, rows: Int[Tensor, "B"]) -> Float[Tensor, "B R"]:
        return self._read(rows[:, None], 1)

    def _read(self, rows: Int[Tensor, "B N"], new: int) -> Float[Tensor, "B R"]:
        self.seen = F.pad(self.seen, (0, new), value=True)
        output = self.network.model(
            input_ids=rows,
            attention_mask=self.seen.long(),
            position_ids=places_of(self.seen)[:, -rows.shape[1] :],
            past_key_values=self.past,
            use_cache=True,
        )
        self.past = output.past_key_values
        return F.linear(output.last_hidden_state[:, -1], self.head).float()


def _bounds(given: int | Sequence[int], count: int) -> Int[Tensor, "B"]:
    numbers = [given] * count if isinstance(given, int) else list(given)
    if len(numbers) != count:
        raise RequestError(f"{len(numbers)} lengths were given for {count} prompts: give one, or one each")
    return torch.tensor(numbers, dtype=torch.long)


def _other(log: Float[Tensor, "B"]) -> Float[Tensor, "B"]:
    """Logarithms of what probabilities leave."""
    return torch.log1p(-log.exp().clamp(max=1 - 1e-6))


def _choose(
    logits: Float[Tensor, "B R"], streams: list[torch.Generator] | None, temperature: float, top_p: float
) -> Int[Tensor, "B"]:
    """The most probable row, or one drawn with each item's own stream."""
    if streams is None:
        return logits.argmax(1)
    logits = logits / temperature
    if top_p < 1:
        order = logits.sort(dim=1, descending=True, stable=True)
        share = order.values.softmax(1)
        # A row stays while those before it have not yet reached top_p; so the first always stays.
        out = share.cumsum(1) - share >= top_p
        logits = logits.masked_fill(out.gather(1, order.indices.argsort(1)), -math.inf)
    # An exponential draw is never zero, so its logarithm is finite.
    draws = torch.stack([torch.empty(logits.shape[1]).exponential_(generator=stream) for stream in streams])
    return (logits - draws.log()).argmax(1)

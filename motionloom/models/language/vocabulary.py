"""One vocabulary of text, motion and music: which row of the language model stands for what, and sequences of them.

Rows, in this order: text pieces; motion codes, then start, end and mask of motion; music codes, then start, end and
mask of music. A motion or a piece of music in a sequence is its codes between its start and its end.

Source: M3GPT (arXiv 2405.16273), section 3.2; the order of rows is that of its release (T5: 32,100 text pieces, motion
from 32,100, music from 32,615, 34,666 rows in all).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from motionloom.conditions.text import minilm_folder
from motionloom.errors import RequestError

Modality = Literal["text", "motion", "music"]
MASKED = -1
"""In codes of a prompt: a place that is hidden and to be filled in."""
MINILM = "minilm"
"""Name of the WordPiece file that comes with the text encoder."""
SPECIAL_ROWS = 3


@dataclass(frozen=True)
class Vocabulary:
    """Sizes of the vocabulary and what its rows are.

    Attributes:
        text: Text pieces, control pieces of the text tokenizer included.
        motion: Motion codes.
        music: Music codes.
        pad: Row that fills up batches, and from which T5's decoder starts.
        end: Row that ends every sequence.
        reserved: Text rows that no text can become and no answer contains: control pieces, ``pad`` and ``end`` too.
    """

    text: int
    motion: int = 512
    music: int = 2048
    pad: int = 0
    end: int = 1
    reserved: tuple[int, ...] = (0, 1)

    def __post_init__(self) -> None:
        if min(self.text, self.motion, self.music) < 1:
            raise RequestError(
                f"{self.text} text, {self.motion} motion, {self.music} music rows; each needs at least 1"
            )
        if not {self.pad, self.end} <= set(self.reserved) <= set(range(self.text)):
            raise RequestError(
                f"reserved rows {self.reserved[:9]} must be text rows (0..{self.text - 1}) and hold pad {self.pad} and"
                f" end {self.end}"
            )

    @property
    def rows(self) -> int:
        """All rows."""
        return self.text + self.motion + self.music + 2 * SPECIAL_ROWS

    def codes(self, modality: Modality) -> range:
        """Rows of a modality's codes (of text: its pieces)."""
        if modality not in get_args(Modality):
            raise RequestError(f"modality is {modality!r}; known: {', '.join(get_args(Modality))}")
        if modality == "text":
            return range(self.text)
        first = self.text if modality == "motion" else self.text + self.motion + SPECIAL_ROWS
        return range(first, first + (self.motion if modality == "motion" else self.music))

    def start(self, modality: Modality) -> int:
        """Row that stands before codes of motion or music."""
        return self._behind(modality, 0)

    def stop(self, modality: Modality) -> int:
        """Row that stands behind codes of motion or music; of text: the end of the sequence."""
        return self.end if modality == "text" else self._behind(modality, 1)

    def mask(self, modality: Modality) -> int:
        """Row that stands for a hidden code of motion or music."""
        return self._behind(modality, 2)

    def _behind(self, modality: Modality, place: int) -> int:
        if modality == "text":
            raise RequestError("text has no brackets and no mask; motion and music have")
        return self.codes(modality).stop + place

    def wrap(self, codes: Int[Tensor, " n"], modality: Modality) -> Int[Tensor, " m"]:
        """Codes of motion or music as rows between their brackets; -1 becomes the mask.

        Raises:
            RequestError: There are none, or one is no code of that modality.
        """
        rows = self.codes(modality)
        if len(codes) == 0 or int(codes.min()) < MASKED or int(codes.max()) >= len(rows):
            span = f"{int(codes.min())} to {int(codes.max())}" if len(codes) else "nothing"
            raise RequestError(
                f"{modality} codes run from {span}; 0..{len(rows) - 1} are needed, {MASKED} where hidden"
            )
        inside = torch.where(codes == MASKED, self.mask(modality), codes + rows.start)
        return torch.cat((codes.new_tensor([self.start(modality)]), inside, codes.new_tensor([self.stop(modality)])))

    def unwrap(self, rows: Int[Tensor, " m"], modality: Modality) -> Int[Tensor, " n"]:
        """Codes from rows between brackets: the inverse of ``wrap``.

        Raises:
            RequestError: The brackets are not at both ends, or something else than codes and masks is between.
        """
        codes, mask = self.codes(modality), self.mask(modality)
        inside = rows[1:-1]
        fits = (inside == mask) | ((inside >= codes.start) & (inside < codes.stop))
        if (
            len(rows) < 3
            or [int(rows[0]), int(rows[-1])] != [self.start(modality), self.stop(modality)]
            or not fits.all()
        ):
            raise RequestError(
                f"{len(rows)} rows are no {modality}: a start {self.start(modality)}, codes {codes.start}.."
                f"{codes.stop - 1} and an end {self.stop(modality)} are needed"
            )
        return torch.where(inside == mask, MASKED, inside - codes.start)


class Pieces:
    """A text tokenizer: text to rows and back; its control pieces can be neither written nor read.

    Args:
        source: ``minilm`` for the WordPiece file of the installed text encoder, or a ``tokenizer.json`` as a string.
        pad: The control piece that fills up batches.
        end: The control piece that ends a sequence.

    Raises:
        RequestError: The string is no tokenizer, or has no such pieces.
    """

    def __init__(self, source: str, pad: str, end: str) -> None:
        from tokenizers import Tokenizer

        if source == MINILM:
            source = (minilm_folder() / "tokenizer.json").read_text(encoding="utf-8")
        try:
            model = json.loads(source)["model"]
            tokenizer = Tokenizer.from_str(source)
        except Exception as error:
            # The tokenizers package raises bare Exceptions.
            reason = " ".join(str(error).split())[:100]
            raise RequestError(f"this is no tokenizer.json ({reason}); give one, or {MINILM!r}") from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # What looks like a control piece in a text is then only letters.
        tokenizer.encode_special_tokens = True
        self.tokenizer, self.count = tokenizer, tokenizer.get_vocab_size(with_added_tokens=True)
        added = tokenizer.get_added_tokens_decoder()
        rows = {name: tokenizer.token_to_id(name) for name in (pad, end)}
        if None in rows.values():
            raise RequestError(f"the tokenizer has no {[n for n, row in rows.items() if row is None]}; name its own")
        self.pad, self.end = int(rows[pad] or 0), int(rows[end] or 0)
        unknown = model.get("unk_id")
        if unknown is None and model.get("unk_token") is not None:
            unknown = tokenizer.token_to_id(model["unk_token"])
        special = {row for row, token in added.items() if token.special} - {unknown}
        self.reserved = tuple(sorted(special | {self.pad, self.end}))

    def encode(self, text: str) -> list[int]:
        """Rows of a text, without an end.

        Raises:
            RequestError: The text is empty, or would become a control piece.
        """
        rows = self.tokenizer.encode(text, add_special_tokens=False).ids
        if not rows:
            raise RequestError(f"the text {text[:40]!r} has no words; give one that has")
        forbidden = sorted(set(rows) & set(self.reserved))
        if forbidden:
            names = ", ".join(repr(self.tokenizer.id_to_token(row)) for row in forbidden)
            raise RequestError(f"the text {text[:40]!r} holds the control piece {names}; leave it out")
        return rows

    def decode(self, rows: Sequence[int]) -> str:
        """Text of rows; control pieces are refused.

        Raises:
            RequestError: A row is no piece of text.
        """
        if any(row in self.reserved or not 0 <= row < self.count for row in rows):
            raise RequestError(f"rows {list(rows)[:9]} hold more than text (0..{self.count - 1}, no control pieces)")
        return self.tokenizer.decode(list(rows), skip_special_tokens=False).strip()

    def vocabulary(self, motion: int = 512, music: int = 2048) -> Vocabulary:
        """The joint vocabulary: text with motion and music behind it."""
        return Vocabulary(self.count, motion, music, self.pad, self.end, self.reserved)


def train_pieces(texts: Sequence[str], pieces: int = 2000) -> str:
    """Learn byte-level BPE from texts, as a ``tokenizer.json`` with the control pieces ``<pad>`` and ``</s>``.

    Every text can be written with it, unseen words and emoji included. Source: Sennrich et al. (arXiv 1508.07909).

    Args:
        texts: Captions.
        pieces: Rows at most; at least 258 (all bytes and two control pieces).

    Raises:
        RequestError: There are no texts, or too few pieces.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    if not texts or pieces < 258:
        raise RequestError(f"{len(texts)} texts for {pieces} pieces; texts and at least 258 pieces are needed")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=pieces, special_tokens=["<pad>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str()


@dataclass(frozen=True)
class Codes:
    """Codes of motion or music as a part of a prompt.

    Attributes:
        modality: ``motion`` or ``music``.
        ids: Codes from 0; -1 where hidden.
    """

    modality: Modality
    ids: Int[Tensor, " n"]


Part = str | Codes


def sequence(parts: Sequence[Part], vocabulary: Vocabulary, pieces: Pieces, most: int) -> Int[Tensor, " n"]:
    """Rows of a prompt or an answer: its parts in order and the end.

    Args:
        parts: Texts and codes.
        vocabulary: Of the model.
        pieces: Its text tokenizer.
        most: Longest sequence, the end included; longer ones are refused, never cut.

    Raises:
        RequestError: There are no parts, one is no text or codes of the vocabulary, or they are too long.
    """
    if not parts:
        raise RequestError("a sequence needs at least one part: a text, or codes")
    rows: list[Tensor] = []
    for part in parts:
        inside = (
            torch.tensor(pieces.encode(part)) if isinstance(part, str) else vocabulary.wrap(part.ids, part.modality)
        )
        rows.append(inside.long())
    whole = torch.cat((*rows, torch.tensor([vocabulary.end])))
    if len(whole) > most:
        raise RequestError(
            f"the sequence has {len(whole)} tokens, at most {most} are read: give a shorter text, motion or music"
        )
    return whole


def pad_sequences(sequences: Sequence[Int[Tensor, "_"]], pad: int) -> tuple[Int[Tensor, "B N"], Bool[Tensor, "B N"]]:
    """Sequences as one batch, and which places of it exist."""
    lengths = torch.tensor([len(one) for one in sequences])
    batch = torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True, padding_value=pad)
    return batch, torch.arange(batch.shape[1]) < lengths[:, None]


@dataclass(frozen=True)
class Split:
    """A span of codes that is known, or hidden, in a longer sequence.

    Attributes:
        first: First code of the span.
        last: Code behind the span.
    """

    first: int
    last: int


def prefix(codes: int, form: Literal["paper", "release"] = "paper") -> Split:
    """Codes that prediction sees.

    Args:
        codes: Codes of the whole motion.
        form: ``paper``: the first fifth, at least one. ``release``: its code divides by 4 once too often and counts
            the start bracket, which leaves about a twentieth, or nothing.
    """
    return Split(0, max(1, codes // 5) if form == "paper" else int(0.05 * codes))


def middle(codes: int, form: Literal["paper", "release"] = "paper") -> Split:
    """Codes that in-between hides.

    Args:
        codes: Codes of the whole motion.
        form: ``paper``: the middle half. ``release``: about an eighth near the beginning, by the same slip.
    """
    if form == "paper":
        return Split(codes // 4, codes - codes // 4)
    return Split(codes // 16, 3 * codes // 16)

"""The conditional masked transformer: text and some motion tokens in, the missing tokens out.

One class holds MMM's published network and ours; they differ by config values. How it is trained is in
``masked_training.py``, how it is sampled in ``masked_sampling.py``. Shapes: ``B`` items, ``N`` token slots,
``P`` body parts (an axis that a model with one code a slot does not have), ``K`` codes, ``E`` sentence size, ``M``
words, ``F`` word size, ``W`` channels.

Source: MMM (arXiv 2312.03596), sections 3.2 and 3.3. Parity: ``tests/parity/test_mmm_masked.py``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from motionloom.errors import RequestError
from motionloom.models.layers import Block, KeysValues, init_transformer, sine_positions
from motionloom.schema import check, ranged


@dataclass(frozen=True)
class MaskedConfig:
    """Sizes and choices of a masked transformer; the defaults are those of our starter model."""

    codes: int = ranged(512, low=1, high=1 << 20)
    """Motion codes, K. Behind them come three special ids: end, pad, mask."""
    parts: int = ranged(1, low=1, high=64)
    """Codes in a slot: one for the whole body, or one for each of its parts (ours; ids then have a last axis P)."""
    max_tokens: int = ranged(49, low=1, high=65536)
    """Longest motion in slots."""
    width: int = ranged(192, low=1, high=16384)
    """Channels, W."""
    heads: int = ranged(4, low=1, high=1024)
    """Attention heads."""
    layers: int = ranged(6, low=1, high=256)
    """Blocks with self-attention."""
    word_layers: int = ranged(0, low=0, high=256)
    """Blocks that attend to the words only, before the sentence joins (published: 2). With 0, every block
    with self-attention attends to the words as well (ours)."""
    mlp_ratio: int = ranged(4, low=1, high=64)
    """Width of the MLPs over the width."""
    dropout: float = ranged(0.1, low=0, high=1)
    """Dropout of attention weights, projections and MLPs."""
    sentence_dim: int = ranged(384, low=1, high=16384)
    """Size of a sentence vector, E."""
    word_dim: int = ranged(384, low=1, high=16384)
    """Size of a word vector, F."""
    embedding: Literal["learned", "codebook"] = "learned"
    """Token vectors: a table of their own, or the tokenizer's frozen codes with a linear map (published)."""
    code_dim: int = ranged(64, low=1, high=16384)
    """Size of the tokenizer's codes; used by embedding="codebook" only."""
    positions: Literal["learned", "sine_twice"] = "learned"
    """Position code: a learned table, or a sinusoidal one that reaches the tokens twice (published)."""
    end_positions: bool = False
    """Add a learned code for the distance to the motion's end, so that an end is as easy to learn as a start (not
    published)."""
    reach: int = ranged(0, low=0, high=64)
    """Slots on each side that a pair of convolutions mixes into a slot before the blocks: what follows what is learned
    sooner than through attention with learned positions (not published)."""
    end_token: bool = False
    """Put an end token behind the motion (published)."""
    null_text: bool = True
    """Learn what no text is, for training with dropped text and for guidance (not published)."""
    length_embedding: bool = True
    """Add a learned vector for the motion's length to the sentence (not published)."""

    def __post_init__(self) -> None:
        check(self, RequestError)
        if self.width % self.heads:
            raise RequestError(f"width {self.width} is not divisible by {self.heads} heads")
        if self.parts > 1 and (self.embedding == "codebook" or self.end_token):
            raise RequestError(f"parts is {self.parts}; more than one need embedding='learned' and no end token")

    @property
    def slots(self) -> int:
        """Token slots: the longest motion and its end token."""
        return self.max_tokens + self.end_token

    @property
    def end_id(self) -> int:
        """Id of the end token."""
        return self.codes

    @property
    def pad_id(self) -> int:
        """Id of the tokens behind the motion."""
        return self.codes + 1

    @property
    def mask_id(self) -> int:
        """Id of a token that is to be predicted."""
        return self.codes + 2

    @classmethod
    def published(cls, codes: int = 8192, code_dim: int = 32) -> "MaskedConfig":
        """Return the sizes of MMM's released transformer: 2 word blocks, 7 + 9 blocks with self-attention."""
        return cls(
            codes=codes, width=1024, heads=16, layers=16, word_layers=2, sentence_dim=512, word_dim=512,
            embedding="codebook", code_dim=code_dim, positions="sine_twice", end_token=True, null_text=False,
            length_embedding=False,
        )  # fmt: skip


@dataclass(frozen=True)
class TextMemory:
    """A text as the network reads it; computed once for many passes.

    Attributes:
        sentence: The sentence token.
        words: For each block its keys and values, or None where a block does not attend to words.
        words_valid: Which words exist; None when all slots count (published).
    """

    sentence: Float[Tensor, "B W"]
    words: tuple[KeysValues | None, ...]
    words_valid: Bool[Tensor, "B M"] | None

    def of(self, items: Int[Tensor, "A"]) -> "TextMemory":
        """The texts of some items."""
        words = tuple(None if read is None else KeysValues(read.keys[items], read.values[items]) for read in self.words)
        return TextMemory(self.sentence[items], words, None if self.words_valid is None else self.words_valid[items])


class MaskedTransformer(nn.Module):
    """Predict every motion token from the visible ones and the text."""

    config_class = MaskedConfig

    def __init__(self, config: MaskedConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = CodebookEmbedding(config) if config.embedding == "codebook" else TableEmbedding(config)
        self.trunk = Trunk(config)
        self.apply(init_transformer)

    @classmethod
    def tiny(cls) -> "MaskedTransformer":
        """Make a very small model of our form for tests."""
        return cls(MaskedConfig(codes=32, max_tokens=12, width=32, layers=2, sentence_dim=16, word_dim=12))

    @classmethod
    def tiny_parts(cls) -> "MaskedTransformer":
        """Make a very small model of the starter's form for tests: a code for each of four body parts in a slot."""
        return cls(
            MaskedConfig(
                codes=32, parts=4, max_tokens=12, width=32, layers=2, sentence_dim=16, word_dim=12, end_positions=True,
                reach=2,
            )
        )  # fmt: skip

    @classmethod
    def tiny_published(cls) -> "MaskedTransformer":
        """Make a very small model of the published form for tests."""
        return cls(
            MaskedConfig(
                codes=32, max_tokens=12, width=32, layers=2, word_layers=1, sentence_dim=16, word_dim=12,
                embedding="codebook", code_dim=8, positions="sine_twice", end_token=True, null_text=False,
                length_embedding=False,
            )
        )  # fmt: skip

    def forward(
        self,
        ids: Int[Tensor, "B N *parts"],
        valid: Bool[Tensor, "B N"],
        sentence: Float[Tensor, "B E"],
        words: Float[Tensor, "B M F"],
        words_valid: Bool[Tensor, "B M"] | None = None,
        no_text: Bool[Tensor, "B"] | None = None,
    ) -> Float[Tensor, "B N *parts K"]:
        """Compute the logits of every slot.

        Args:
            ids: Motion tokens and special ids; what stands in slots that are not valid does not matter.
            valid: Slots that hold motion (and the end token, where the config has one).
            sentence: Sentence vectors.
            words: Word vectors.
            words_valid: Which words exist; None means all.
            no_text: Items whose text is to be ignored.
        """
        return self.logits(ids, valid, self.read_text(sentence, words, words_valid, no_text))

    def read_text(
        self,
        sentence: Float[Tensor, "B E"],
        words: Float[Tensor, "B M F"],
        words_valid: Bool[Tensor, "B M"] | None = None,
        no_text: Bool[Tensor, "B"] | None = None,
    ) -> TextMemory:
        """Read texts once; see ``forward`` for the arguments."""
        return self.trunk.read_text(sentence, words, words_valid, no_text)

    def logits(
        self,
        ids: Int[Tensor, "B N *parts"],
        valid: Bool[Tensor, "B N"],
        text: TextMemory,
        see_sentence: bool = True,
    ) -> Float[Tensor, "B N *parts K"]:
        """Compute the logits of every slot for texts that are read already.

        Args:
            ids: As in ``forward``.
            valid: As in ``forward``.
            text: From ``read_text``, in the same order of items.
            see_sentence: Whether tokens may attend to the sentence (its slot stays).
        """
        logits = self.trunk(self.embedding(ids), valid, text, see_sentence)[:, 1:]
        return logits if self.config.parts == 1 else logits.unflatten(2, (self.config.parts, self.config.codes))


class Trunk(nn.Module):
    """Everything between token vectors and logits; slot 0 of the output is the sentence's, parts stand in a row."""

    lengths: nn.Embedding
    positions: Tensor

    def __init__(self, config: MaskedConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.sentence = nn.Linear(config.sentence_dim, width)
        self.words = nn.Linear(config.word_dim, width)
        if config.null_text:
            self.null_sentence = nn.Parameter(torch.zeros(width))
            self.null_word = nn.Parameter(torch.zeros(width))
        if config.length_embedding:
            self.lengths = nn.Embedding(config.max_tokens + 1, width)
        if config.positions == "learned":
            self.positions = nn.Parameter(0.02 * torch.randn(config.slots + 1, width))
        else:
            self.register_buffer("positions", sine_positions(config.slots + 1, width))
        if config.end_positions:
            self.end_positions = nn.Parameter(torch.zeros(config.max_tokens, width))
        if config.reach:
            self.mix_in = nn.Conv1d(width, 2 * width, 2 * config.reach + 1, padding=config.reach)
            self.mix_out = nn.Conv1d(2 * width, width, 3, padding=1)
            # Nothing at first, so that a model that was trained without can be trained on.
            nn.init.zeros_(self.mix_out.weight)
            nn.init.zeros_(cast(Tensor, self.mix_out.bias))
        sizes = width, config.heads, config.mlp_ratio, config.dropout
        words_only = [Block(*sizes, to_self=False, to_words=True) for _ in range(config.word_layers)]
        with_self = [Block(*sizes, to_self=True, to_words=config.word_layers == 0) for _ in range(config.layers)]
        self.blocks = nn.ModuleList(words_only + with_self)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.parts * config.codes, bias=False)

    def read_text(
        self,
        sentence: Float[Tensor, "B E"],
        words: Float[Tensor, "B M F"],
        words_valid: Bool[Tensor, "B M"] | None,
        no_text: Bool[Tensor, "B"] | None,
    ) -> TextMemory:
        """Read texts once for many passes.

        Raises:
            RequestError: Text is to be ignored, but the model never learned to do without.
        """
        token, states = self.sentence(sentence), self.words(words)
        if self.config.null_text:
            null = self.null_word.to(states).expand(len(states), 1, -1)
            states = torch.cat((null, states), dim=1)
            if words_valid is None:
                words_valid = torch.ones(words.shape[:2], dtype=torch.bool, device=words.device)
            if no_text is not None:
                token = torch.where(no_text[:, None], self.null_sentence.to(token), token)
                words_valid = words_valid & ~no_text[:, None]
            words_valid = F.pad(words_valid, (1, 0), value=True)
        elif no_text is not None and bool(no_text.any()):
            raise RequestError("this model has no branch without text (null_text is off): give a text, guidance 1")
        blocks = cast(Iterable[Block], self.blocks)
        memory = tuple(block.read_words(states) if block.to_words else None for block in blocks)
        return TextMemory(token, memory, words_valid)

    def forward(
        self,
        x: Float[Tensor, "B N W"],
        valid: Bool[Tensor, "B N"],
        text: TextMemory,
        see_sentence: bool = True,
    ) -> Float[Tensor, "B N1 PK"]:
        """Compute logits of the sentence's slot and the N token slots."""
        tokens = x.shape[1]
        if tokens > self.config.slots:
            raise RequestError(f"{tokens} token slots were given, the model has {self.config.slots}: ask for less")
        blocks = list(zip(self.blocks, text.words, strict=True))
        if self.config.positions == "sine_twice":
            x = x + self.positions[:tokens]
        for block, words in blocks[: self.config.word_layers]:
            x = block(x, None, words, text.words_valid)
        x = self.assemble(x, valid, text.sentence)
        seen = F.pad(valid, (1, 0), value=see_sentence)
        for block, words in blocks[self.config.word_layers :]:
            x = block(x, seen, words, text.words_valid)
        return self.head(self.norm(x))

    def assemble(
        self, x: Float[Tensor, "B N W"], valid: Bool[Tensor, "B N"], sentence: Float[Tensor, "B W"]
    ) -> Float[Tensor, "B N1 W"]:
        """Put the sentence before the token vectors and add what says where each stands."""
        tokens = x.shape[1]
        if self.config.reach:
            # What stands behind a motion's end must not matter, so it is zero before each convolution.
            blank = ~valid[:, None]
            mixed = F.gelu(self.mix_in(x.mT.masked_fill(blank, 0.0))).masked_fill(blank, 0.0)
            x = x + self.mix_out(mixed).mT
        if self.config.end_positions:
            left = valid.sum(1, keepdim=True) - 1 - torch.arange(tokens, device=x.device)
            x = x + self.end_positions[left.clamp(min=0)]
        if self.config.length_embedding:
            sentence = sentence + self.lengths(valid.sum(1).clamp(max=self.config.max_tokens))
        return torch.cat((sentence[:, None], x), dim=1) + self.positions[: tokens + 1]


class TableEmbedding(nn.Module):
    """Token vectors from a learned table of motion codes and special ids; those of a slot's parts add up."""

    def __init__(self, config: MaskedConfig) -> None:
        super().__init__()
        self.parts, self.size = config.parts, config.codes + 3
        self.table = nn.Embedding(self.parts * self.size, config.width)

    def forward(self, ids: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Look token vectors up; with body parts, ids have them as their last axis."""
        if self.parts == 1:
            return self.table(ids)
        first = torch.arange(self.parts, device=ids.device) * self.size
        return self.table(ids + first).sum(-2)


class CodebookEmbedding(nn.Module):
    """Token vectors from the tokenizer's frozen codes, a small table of special ids and a linear map."""

    codebook: Tensor

    def __init__(self, config: MaskedConfig) -> None:
        super().__init__()
        self.register_buffer("codebook", torch.zeros(config.codes, config.code_dim))
        self.special = nn.Embedding(3, config.code_dim)
        self.project = nn.Linear(config.code_dim, config.width)

    def forward(self, ids: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows W"]:
        """Look codes up and map them."""
        return self.project(F.embedding(ids, torch.cat((self.codebook, self.special.weight))))


def layout(
    config: MaskedConfig, lengths: Int[Tensor, "B"], slots: int
) -> tuple[Int[Tensor, "B slots"], Bool[Tensor, "B slots"]]:
    """Lay out empty motions: mask ids up to each length, then the end token if the config has one, then pads.

    Returns:
        Ids, and which slots are valid (motion and end token).

    Raises:
        RequestError: A length is not in 1..max_tokens.
    """
    if int(lengths.min()) < 1 or int(lengths.max()) > config.max_tokens:
        raise RequestError(
            f"lengths run from {int(lengths.min())} to {int(lengths.max())} tokens; the model makes"
            f" 1..{config.max_tokens}: ask for another length"
        )
    slot = torch.arange(slots, device=lengths.device)
    ids = torch.where(slot < lengths[:, None], config.mask_id, config.pad_id)
    if config.end_token:
        ids = torch.where(slot == lengths[:, None], config.end_id, ids)
    return ids, ids != config.pad_id

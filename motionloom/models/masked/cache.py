"""Many passes of a masked transformer over the same motions and texts, none of which computes a thing twice.

A sampler asks for the logits of the tokens that are still hidden, ten times or so, and between two passes little
changes. So a pass here leaves out what ``Trunk.forward`` computes for training: slots behind a motion's end, blocks
that see no other slot where the slot has not changed, the last block and the head where nothing is asked, and items
whose tokens are those of the pass before (short motions are finished early). What comes out is the same.

Shapes: ``B`` items, ``N`` token slots, ``K`` codes, ``P`` body parts, ``W`` channels, ``S`` rows that are computed,
``R`` rows that are asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from motionloom.models.layers import Block, Grid
from motionloom.models.masked.model import TextMemory, Trunk

Embed = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Active:
    """Items that take part in a pass, with what belongs to them.

    Attributes:
        items: Which ones.
        valid: Their slots that exist.
        text: Their texts.
        grid: Where their rows lie, the sentence's slot first.
        seen: Rows of the grid that may be attended to; None when there are no others.
    """

    items: Int[Tensor, "A"]
    valid: Bool[Tensor, "A N"]
    text: TextMemory
    grid: Grid
    seen: Bool[Tensor, "A N1"] | None


class InferenceCache:
    """InferenceCache over some motions and texts; see the top of this file.

    Args:
        trunk: Of the network, in eval mode.
        embed: From ids, one row each, to token vectors.
        valid: Slots that hold motion (and the end token, where the network has one).
        text: From ``Trunk.read_text``.
    """

    def __init__(self, trunk: Trunk, embed: Embed, valid: Bool[Tensor, "B N"], text: TextMemory) -> None:
        self.trunk, self.embed, self.valid, self.text = trunk, embed, valid, text
        blocks = cast(Sequence[Block], trunk.blocks)
        self._words_only = blocks[: trunk.config.word_layers]
        self._with_self = blocks[trunk.config.word_layers :]
        self._active: _Active | None = None
        self._ids: Tensor | None = None
        self._vectors = torch.zeros(0)
        self._asked = torch.zeros_like(valid)
        self._logits = trunk.positions.new_zeros(0, trunk.config.parts * trunk.config.codes)

    @torch.no_grad()
    def logits(self, ids: Int[Tensor, "B N *parts"], asked: Bool[Tensor, "B N"]) -> Float[Tensor, "R PK"]:
        """Logits of the slots that are asked for, item by item and slot by slot; parts stand in a row.

        Args:
            ids: Motion tokens and special ids; what stands in slots that are not valid does not matter.
            asked: Slots whose logits are wanted; all of them must be valid.
        """
        if self._ids is None:
            changed = self.valid
        else:
            changed = (ids != self._ids).flatten(2).any(2) if ids.ndim == 3 else ids != self._ids
            changed = changed & self.valid
        fresh = asked.any(1) & (changed.any(1) | (asked & ~self._asked).any(1))
        vectors = self._read(ids, changed)
        self._ids = ids.clone()
        rows = self._compute(fresh, vectors, asked) if bool(fresh.any()) else self._logits[:0]
        if not bool(fresh.all()):
            rows = self._with_old(rows, fresh, asked)
        self._asked, self._logits = asked, rows
        return rows

    def _read(self, ids: Int[Tensor, "B N *parts"], changed: Bool[Tensor, "B N"]) -> Float[Tensor, "B N W"]:
        """Token vectors behind the blocks that see words only: each depends on its own slot alone."""
        if self._ids is None:
            self._vectors = self.trunk.positions.new_zeros(*ids.shape[:2], self.trunk.config.width)
        if not bool(changed.any()):
            return self._vectors
        x = self.embed(ids[changed])
        if self.trunk.config.positions == "sine_twice":
            x = x + self.trunk.positions[changed.nonzero()[:, 1]]
        grid = Grid.of(changed)
        for block, words in zip(self._words_only, self.text.words, strict=False):
            x = block.rows(x, grid, grid, None, words, self.text.words_valid)
        self._vectors[changed] = x
        return self._vectors

    def _compute(
        self, fresh: Bool[Tensor, "B"], vectors: Float[Tensor, "B N W"], asked: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "R PK"]:
        """Logits of the fresh items' slots that are asked for."""
        active, trunk = self._take(fresh), self.trunk
        x = trunk.assemble(vectors[active.items], active.valid, active.text.sentence)
        x = active.grid.pick(x)
        asked = F.pad(asked[active.items], (1, 0), value=False)
        want = Grid.of(asked)
        words = active.text.words[trunk.config.word_layers :]
        for at, (block, read) in enumerate(zip(self._with_self, words, strict=True), start=1):
            last = want if at == len(self._with_self) else active.grid
            x = block.rows(x, active.grid, last, active.seen, read, active.text.words_valid)
        return trunk.head(trunk.norm(x))

    def _take(self, fresh: Bool[Tensor, "B"]) -> _Active:
        """The fresh items and what belongs to them, kept while they stay the same."""
        items = fresh.nonzero()[:, 0]
        if self._active is None or not torch.equal(self._active.items, items):
            everyone = len(items) == len(fresh)
            valid = self.valid if everyone else self.valid[items]
            seen = F.pad(valid, (1, 0), value=True)
            self._active = _Active(
                items,
                valid,
                self.text if everyone else self.text.of(items),
                Grid.of(seen),
                None if bool(seen.all()) else seen,
            )
        return self._active

    def _with_old(
        self, rows: Float[Tensor, "new PK"], fresh: Bool[Tensor, "B"], asked: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "R PK"]:
        """Put new rows and those of the last pass in order."""
        item, slot = asked.nonzero(as_tuple=True)
        new = fresh[item]
        place = (self._asked.flatten().cumsum(0) - 1).view(self._asked.shape)
        found = rows.new_empty(len(item), rows.shape[1])
        found[new] = rows
        found[~new] = self._logits[place[item[~new], slot[~new]]]
        return found

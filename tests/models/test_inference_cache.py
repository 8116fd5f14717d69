"""InferenceCache leave work out, never a difference: their logits are those of the whole network."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.models.layers import Grid
from motionloom.models.masked.cache import InferenceCache
from motionloom.models.masked.model import MaskedTransformer, layout

LENGTHS = torch.tensor([12, 3, 7, 1, 12, 9])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(kind: str) -> MaskedTransformer:
    torch.manual_seed(0)
    made = {
        "ours": MaskedTransformer.tiny,
        "parts": MaskedTransformer.tiny_parts,
        "published": MaskedTransformer.tiny_published,
    }[kind]()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    if kind == "published":
        made.get_buffer("embedding.codebook").normal_()
    return made.eval()


@torch.no_grad()
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), kind=st.sampled_from(["ours", "parts", "published"]))
def test_logits_are_those_of_the_whole_network(seed: int, kind: str):
    model, random = network(kind), seeded(seed)
    config = model.config
    ids, valid = layout(config, LENGTHS, config.slots)
    sentence = torch.randn(6, 16, generator=random)
    words = torch.randn(6, 5, 12, generator=random)
    words_valid = None if kind == "published" else torch.arange(5) < torch.randint(1, 6, (6, 1), generator=random)
    text = model.read_text(sentence, words, words_valid)
    cache = InferenceCache(model.trunk, model.embedding, valid, text)
    if kind == "parts":
        ids = ids[..., None].repeat(1, 1, config.parts)
    for _ in range(6):
        # Some items stay as they are, some change; of some nothing is asked, and what is asked moves.
        asked = valid & (torch.rand(valid.shape, generator=random) < torch.rand(6, 1, generator=random).round())
        want = model.logits(ids, valid, text)[asked].flatten(1)
        torch.testing.assert_close(cache.logits(ids, asked), want, atol=1e-5, rtol=1e-5)
        moves = (torch.rand(6, 1, generator=random) < 0.5) & (torch.rand(valid.shape, generator=random) < 0.3)
        moves = moves if kind != "parts" else moves[..., None]
        ids = torch.where(moves, torch.randint(config.codes, ids.shape, generator=random), ids)


@torch.no_grad()
def test_what_has_not_changed_is_not_computed_again():
    model = network("published")
    ids, valid = layout(model.config, LENGTHS, model.config.slots)
    text = model.read_text(torch.randn(6, 16), torch.randn(6, 5, 12))
    cache = InferenceCache(model.trunk, model.embedding, valid, text)
    rows: list[int] = []
    hook = model.trunk.head.register_forward_hook(lambda *call: rows.append(len(call[2])))
    asked = valid & (ids == model.config.mask_id)
    first = cache.logits(ids, asked)
    again = cache.logits(ids, asked)
    ids[4, 0] = 1
    cache.logits(ids, asked)
    nothing = cache.logits(ids, torch.zeros_like(asked))
    hook.remove()
    assert rows == [int(LENGTHS.sum()), 12]
    assert torch.equal(first, again)
    assert nothing.shape == (0, model.config.codes)


def test_rows_come_back_from_their_grid():
    chosen = torch.tensor([[True, False, True], [False, True, True]])
    grid, rows = Grid.of(chosen), torch.arange(8.0).view(4, 2)
    spread = grid.spread(rows)
    assert torch.equal(grid.pick(spread), rows)
    assert (spread[~chosen] == 0).all()
    some = Grid.of(torch.tensor([[False, False, True], [False, True, False]]))
    assert torch.equal(grid.within(rows, some), rows[[1, 2]])
    whole = Grid.of(torch.ones(2, 2, dtype=torch.bool))
    assert whole.places is None
    assert torch.equal(whole.within(rows, Grid.of(torch.tensor([[True, False], [False, False]]))), rows[:1])


@pytest.mark.parametrize("kind", ["ours", "published"])
@torch.no_grad()
def test_an_item_without_a_question_may_be_asked_later(kind: str):
    model = network(kind)
    ids, valid = layout(model.config, LENGTHS, model.config.slots)
    text = model.read_text(torch.randn(6, 16), torch.randn(6, 5, 12))
    cache = InferenceCache(model.trunk, model.embedding, valid, text)
    asked = valid.clone()
    asked[2] = False
    cache.logits(ids, asked)
    want = model.logits(ids, valid, text)[valid]
    torch.testing.assert_close(cache.logits(ids, valid), want, atol=1e-5, rtol=1e-5)

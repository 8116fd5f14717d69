"""Laws of the masked transformer, its training and its sampler."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.errors import RequestError
from motionloom.models.masked.cache import InferenceCache
from motionloom.models.masked.model import MaskedConfig, MaskedTransformer, layout
from motionloom.models.masked.sampling import sample, sample_published
from motionloom.models.masked.training import (
    corrupt,
    corrupt_published,
    masked_loss,
    published_loss,
    training_loss,
)

LENGTHS = torch.tensor([12, 3, 7, 1, 12, 9, 5, 10])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(seed: int = 0, published: bool = False, parts: bool = False) -> MaskedTransformer:
    """A tiny model whose weights are large enough that its opinions differ."""
    torch.manual_seed(seed)
    network = MaskedTransformer.tiny_parts() if parts else MaskedTransformer.tiny()
    if published:
        network = MaskedTransformer.tiny_published()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return network.eval()


def texts(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    sentence = torch.randn(count, 16, generator=seeded(seed))
    words = torch.randn(count, 5, 12, generator=seeded(seed + 1))
    valid = torch.arange(5) < torch.randint(1, 6, (count, 1), generator=seeded(seed + 2))
    return sentence, words, valid


@torch.no_grad()
def test_padding_and_absent_words_do_not_matter():
    network = model()
    sentence, words, words_valid = texts(8)
    _, valid = layout(network.config, LENGTHS, 12)
    ids = torch.randint(35, (8, 12), generator=seeded(3))
    logits = network(ids, valid, sentence, words, words_valid)
    ids[~valid] = 0
    words[~words_valid] = 100.0
    again = network(ids, valid, sentence, words, words_valid)
    torch.testing.assert_close(again[valid], logits[valid], atol=1e-5, rtol=1e-5)
    for i, length in enumerate(LENGTHS.tolist()):
        known = int(words_valid[i].sum())
        alone = network(
            ids[i : i + 1, :length], valid[i : i + 1, :length], sentence[i : i + 1], words[i : i + 1, :known]
        )
        torch.testing.assert_close(alone[0], logits[i, :length], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_codes_for_the_end_count_from_each_motion_s_own_end():
    torch.manual_seed(0)
    network = MaskedTransformer(
        MaskedConfig(codes=32, max_tokens=12, width=32, layers=2, sentence_dim=16, word_dim=12, end_positions=True)
    ).eval()
    sentence, words, words_valid = texts(8)
    _, valid = layout(network.config, LENGTHS, 12)
    ids = torch.randint(35, (8, 12), generator=seeded(3))
    before = network(ids, valid, sentence, words, words_valid)
    network.trunk.end_positions[0] += torch.randn(32, generator=seeded(4))
    after = network(ids, valid, sentence, words, words_valid)
    assert not torch.allclose(before[valid], after[valid])
    for i, length in enumerate(LENGTHS.tolist()):
        alone = network(
            ids[i : i + 1, :length], valid[i : i + 1, :length], sentence[i : i + 1], words[i : i + 1],
            words_valid[i : i + 1],
        )  # fmt: skip
        torch.testing.assert_close(alone[0], after[i, :length], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_convolutions_change_nothing_until_they_are_trained_and_then_see_neighbours_within_reach():
    torch.manual_seed(0)
    config = MaskedConfig(codes=32, max_tokens=12, width=32, layers=1, sentence_dim=16, word_dim=12)
    plain = MaskedTransformer(config).eval()
    mixing = MaskedTransformer(dataclasses.replace(config, reach=2)).eval()
    mixing.load_state_dict(mixing.state_dict() | plain.state_dict())
    sentence, words, words_valid = texts(8)
    _, valid = layout(plain.config, LENGTHS, 12)
    ids = torch.randint(35, (8, 12), generator=seeded(3))
    torch.testing.assert_close(mixing(ids, valid, sentence, words, words_valid),
                               plain(ids, valid, sentence, words, words_valid))  # fmt: skip
    mixing.trunk.mix_out.weight.normal_(generator=seeded(4))
    x = torch.randn(1, 12, 32, generator=seeded(5))
    everywhere = torch.ones(1, 12, dtype=torch.bool)
    moved = x.clone()
    moved[0, 5] += 1
    before, after = (mixing.trunk.assemble(y, everywhere, torch.zeros(1, 32))[0, 1:] for y in (x, moved))
    changed = (before != after).any(1).nonzero()[:, 0].tolist()
    assert changed == list(range(2, 9))


@torch.no_grad()
def test_dropped_text_leaves_no_trace():
    network = model()
    sentence, words, words_valid = texts(2)
    _, valid = layout(network.config, torch.tensor([6, 6]), 6)
    ids = torch.full((2, 6), network.config.mask_id)
    without = torch.tensor([True, True])
    logits = network(ids, valid, sentence, words, words_valid, without)
    torch.testing.assert_close(logits[0], logits[1])
    assert not torch.allclose(logits, network(ids, valid, sentence, words, words_valid))
    with pytest.raises(RequestError, match="no branch without text"):
        model(published=True)(ids, valid, sentence, words, words_valid, without)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("guidance", [1.0, 1.5])
@pytest.mark.parametrize("parts", [False, True])
def test_an_item_alone_equals_the_item_at_any_place_of_a_batch(seed: int, guidance: float, parts: bool):
    network = model(seed, parts=parts)
    sentence, words, words_valid = texts(8, seed)
    seeds = [1000 * seed + i for i in range(8)]
    known = torch.randint(33, (8, 12, 4) if parts else (8, 12), generator=seeded(seed))
    known[known >= 20] = network.config.mask_id

    def run(items: list[int]) -> torch.Tensor:
        chosen = torch.tensor(items)
        return sample(
            network,
            LENGTHS[chosen],
            sentence[chosen],
            words[chosen],
            words_valid[chosen],
            [seeds[i] for i in items],
            guidance=guidance,
            inward=guidance - 1,
            known=known[chosen],
        )

    together = run(list(range(8)))
    turned = run([5, 2, 7, 0, 3, 6, 1, 4])
    for place, i in enumerate([5, 2, 7, 0, 3, 6, 1, 4]):
        length = int(LENGTHS[i])
        alone = run([i])
        assert torch.equal(together[i, :length], alone[0])
        assert torch.equal(turned[place, :length], alone[0])
        assert (together[i, length:] == -1).all()
        kept = known[i, :length] != network.config.mask_id
        assert torch.equal(alone[0, kept], known[i, :length][kept])
    assert together[:, 0].max() < 32


@settings(max_examples=10, deadline=None)
@given(
    steps=st.integers(1, 15),
    temperature=st.sampled_from([0.0, 0.7, 1.0]),
    noise=st.sampled_from([0.0, math.inf]),
    parts=st.booleans(),
)
def test_every_hidden_token_becomes_a_code(steps: int, temperature: float, noise: float, parts: bool):
    network = model(parts=parts)
    seeds = list(range(8))
    arguments = network, LENGTHS, *texts(8), seeds, steps, temperature, 1.5, noise
    ids = sample(*arguments)
    valid = torch.arange(12) < LENGTHS[:, None]
    assert ((ids[valid] >= 0) & (ids[valid] < 32)).all()
    assert (ids[~valid] == -1).all()
    assert torch.equal(ids, sample(*arguments))


@pytest.mark.parametrize("parts", [False, True])
def test_inward_order_settles_the_ends_of_every_motion_before_its_middle(parts: bool, monkeypatch):
    network = model(5, parts=parts)
    seen: list[torch.Tensor] = []
    real = InferenceCache.logits

    def spy(self, ids, asked):
        seen.append(asked.clone())
        return real(self, ids, asked)

    monkeypatch.setattr(InferenceCache, "logits", spy)
    lengths = torch.tensor([12, 7])
    for inward in (1000.0, 0.0):
        seen.clear()
        sample(network, lengths, *texts(2), seeds=[1, 2], steps=8, guidance=1.0, inward=inward)
        orderly = True
        for asked in seen[1:]:
            for row, length in zip(asked, lengths.tolist(), strict=True):
                slot = torch.arange(length)
                depth = torch.minimum(slot, length - 1 - slot)
                here = row[:length]
                # No slot is open while one nearer to the middle is settled.
                orderly &= not bool(here.any()) or bool(here[depth > depth[here].min()].all())
        assert orderly == (inward > 0)


def test_certain_models_do_not_divide_by_zero():
    network = model(published=True)
    with torch.no_grad():
        network.trunk.head.weight.mul_(1e4)
    ids = sample_published(network, LENGTHS, *texts(8)[:2], generator=seeded(0))
    motion = torch.arange(13) < LENGTHS[:, None]
    assert (ids[motion] < 32).all()
    assert (ids.gather(1, LENGTHS[:, None]) == network.config.end_id).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_our_corruption_hides_what_it_asks_for(seed: int):
    config = MaskedTransformer.tiny().config
    target = torch.randint(32, (8, 12), generator=seeded(seed))
    seen = corrupt(target, LENGTHS, config, seeded(seed))
    motion = torch.arange(12) < LENGTHS[:, None]
    assert torch.equal(seen.valid, motion)
    assert (seen.predict & motion).any(1).all()
    assert not (seen.predict & ~motion).any()
    shown = motion & ~seen.predict
    assert torch.equal(seen.ids[shown], target[shown])
    assert (seen.ids[~motion] == config.pad_id).all()


def test_corruption_of_parts_hides_single_tokens_whole_slots_and_spares_whole_parts():
    config = MaskedTransformer.tiny_parts().config
    lengths = torch.full((600,), 12)
    target = torch.randint(32, (600, 12, 4), generator=seeded(0))
    seen = corrupt(target, lengths, config, seeded(1), replaced=0.0)
    hidden = seen.ids == config.mask_id
    assert torch.equal(hidden, seen.predict)
    assert torch.equal(seen.ids[~hidden], target[~hidden])
    some = hidden.flatten(1).any(1)
    assert some.all()
    # With all parts of a slot alike, at most one slot is cut by the share's edge.
    alike = (hidden.all(2) | ~hidden.any(2)).sum(1) >= 11
    spared = (~hidden).all(1).any(1)
    assert 0.1 < alike.float().mean() < 0.35
    assert 0.15 < spared.float().mean() < 0.6


def test_published_corruption_masks_half_or_more_and_spares_the_end():
    config = MaskedTransformer.tiny_published().config
    lengths = torch.full((2000,), 10)
    target = torch.zeros(2000, 13, dtype=torch.long)
    seen = corrupt_published(target, lengths, config, seeded(0))
    masked = (seen.ids[:, :10] == config.mask_id).float().mean(1)
    assert masked.min() >= 0.5
    assert masked.mean().item() == pytest.approx(0.75, abs=0.01)
    changed = (seen.ids[:, :10] > 0) & (seen.ids[:, :10] < 32)
    visible = seen.ids[:, :10] < 32
    assert (changed.sum() / visible.sum()).item() == pytest.approx(0.5 * 31 / 32, abs=0.02)
    assert (seen.ids[:, 10] == config.end_id).all()
    assert torch.equal(seen.predict, torch.arange(13).expand(2000, -1) < 10)


def test_losses_by_hand():
    logits = torch.tensor([[[0.0, 0.0], [9.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    target = torch.zeros(2, 2, dtype=torch.long)
    predict = torch.tensor([[True, True], [True, False]])
    sure = math.log(1 + math.exp(-9.0))
    assert masked_loss(logits, target, predict, 0.0).item() == pytest.approx((2 * math.log(2) + sure) / 3)
    want = ((math.log(2) + sure) / 2 + math.log(2)) / 2
    assert published_loss(logits, target, predict).item() == pytest.approx(want)


@pytest.mark.parametrize(("published", "parts"), [(False, False), (True, False), (False, True)])
def test_training_lowers_the_loss(published: bool, parts: bool):
    torch.manual_seed(0)
    network = MaskedTransformer.tiny_parts() if parts else MaskedTransformer.tiny()
    if published:
        network = MaskedTransformer.tiny_published()
    config = network.config
    if published:
        network.get_buffer("embedding.codebook").normal_()
    sentence, words, words_valid = texts(8)
    target = torch.randint(4, (8, config.slots, 4) if parts else (8, config.slots), generator=seeded(0))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    generator, losses = seeded(0), []
    for _ in range(30):
        if published:
            seen = corrupt_published(target, LENGTHS, config, generator)
            loss = published_loss(network(seen.ids, seen.valid, sentence, words), target, seen.predict)
        else:
            loss = training_loss(network, config, target, LENGTHS, sentence, words, words_valid, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_bfloat16_autocast_runs():
    network = MaskedTransformer.tiny()
    target = torch.zeros(8, 12, dtype=torch.long)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = training_loss(network, network.config, target, LENGTHS, *texts(8), seeded(0))
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_published_size():
    with torch.device("meta"):
        network = MaskedTransformer(MaskedConfig.published())
    own = sum(parameter.numel() for parameter in network.parameters())
    code = network.trunk.positions.numel()
    # The official count has the fixed position code among its parameters, and a second table nobody reads.
    assert code == 51 * 1024
    assert own + 2 * code == 236_315_744


def test_errors_say_what_to_do():
    network = model()
    with pytest.raises(RequestError, match=r"lengths run from 0 to 12 tokens; the model makes 1\.\.12"):
        layout(network.config, torch.tensor([0, 12]), 12)
    with pytest.raises(RequestError, match="7 seeds were given for 8 items"):
        sample(network, LENGTHS, *texts(8), list(range(7)))
    with pytest.raises(RequestError, match=r"known tokens must be codes 0\.\.31, or 34"):
        sample(network, LENGTHS, *texts(8), list(range(8)), known=torch.full((8, 12), 33))
    with pytest.raises(RequestError, match="use sample_published"):
        sample(model(published=True), LENGTHS, *texts(8), list(range(8)))
    with pytest.raises(RequestError, match=r"parts is 2; .* need embedding='learned'"):
        MaskedConfig(parts=2, embedding="codebook")
    with pytest.raises(RequestError, match="width 10 is not divisible by 4 heads"):
        MaskedConfig(width=10)

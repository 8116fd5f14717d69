"""Laws and by-hand cases of FID, retrieval, diversity and multimodality."""

import math

import make
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motionloom.errors import RequestError
from motionloom.metrics.distribution import (
    Moments,
    consecutive_pools,
    distinct_pools,
    diversity,
    draw_pairs,
    fid,
    frechet,
    interval,
    moments,
    multimodality,
    pair_distance,
    retrieval,
)

seeds = st.integers(0, 10_000)


@given(seed=seeds, samples=st.integers(2, 40), size=st.integers(1, 12))
def test_fid_of_a_set_with_itself_is_nothing_and_grows_with_the_square_of_a_shift(seed, samples, size):
    values = make.tensor(samples, size, seed=seed, dtype=torch.float64)
    assert fid(values, values) == pytest.approx(0.0, abs=1e-6)
    assert fid(values, values + 3.0) == pytest.approx(9.0 * size, abs=1e-6)


@given(seed=seeds, size=st.integers(1, 6))
def test_fid_is_symmetric_and_does_not_see_a_rotation(seed, size):
    a = make.tensor(30, size, seed=seed, dtype=torch.float64)
    b = 2.0 * make.tensor(20, size, seed=seed + 1, dtype=torch.float64) + 0.5
    turn = torch.linalg.qr(make.tensor(size, size, seed=seed + 2, dtype=torch.float64)).Q
    assert fid(a, b) == pytest.approx(fid(b, a), rel=1e-9)
    assert fid(a @ turn, b @ turn) == pytest.approx(fid(a, b), rel=1e-9)


def test_frechet_distance_by_hand():
    """Diagonal Gaussians: each axis adds (difference of means)² + (difference of standard deviations)²."""
    a = Moments(torch.tensor([0.0, 1.0]).double(), torch.diag(torch.tensor([4.0, 9.0])).double(), 10)
    b = Moments(torch.tensor([3.0, 1.0]).double(), torch.diag(torch.tensor([1.0, 0.0])).double(), 10)
    assert frechet(a, b) == pytest.approx(9 + (2 - 1) ** 2 + (3 - 0) ** 2)


def test_moments_by_hand():
    got = moments(torch.tensor([[0.0, 0.0], [2.0, 4.0]]))
    assert got.mean.tolist() == [1.0, 2.0]
    assert got.covariance.tolist() == [[2.0, 4.0], [4.0, 8.0]]
    assert got.samples == 2


def test_retrieval_by_hand():
    """Sentence 0 finds its motion at once, 1 second, 2 third."""
    text = torch.tensor([[0.0], [10.0], [20.0]])
    motion = torch.tensor([[1.0], [17.0], [7.0]])
    got = retrieval(text, motion, consecutive_pools(3, 3))
    # Distances: 0 -> 1, 17, 7; 10 -> 9, 7, 3; 20 -> 19, 3, 13.
    assert got.r_precision == pytest.approx((1 / 3, 1.0, 1.0))
    assert got.mm_dist == pytest.approx((1 + 7 + 13) / 3)
    assert (got.samples, got.pool) == (3, 3)


@given(seed=seeds, pools=st.integers(1, 4), pool=st.integers(3, 9))
def test_perfect_embeddings_are_found_and_equal_ones_score_as_chance(seed, pools, pool):
    values = make.tensor(pools * pool, 8, seed=seed)
    places = consecutive_pools(pools * pool, pool)
    assert retrieval(values, values, places).r_precision == (1.0, 1.0, 1.0)
    same = torch.ones_like(values)
    assert retrieval(same, same, places).r_precision == pytest.approx([k / pool for k in (1, 2, 3)])


@given(seed=seeds)
def test_the_pool_size_matters_and_the_order_inside_a_pool_does_not(seed):
    text, motion = make.tensor(64, 4, seed=seed), make.tensor(64, 4, seed=seed + 1)
    order = torch.cat((torch.randperm(32, generator=make.generator(seed)), torch.arange(32, 64)))
    whole = retrieval(text, motion, consecutive_pools(64))
    assert retrieval(text[order], motion[order], consecutive_pools(64)).r_precision == whole.r_precision
    assert retrieval(text, motion, consecutive_pools(64, 64)).r_precision <= whole.r_precision


def test_consecutive_pools_leave_the_rest_out():
    assert consecutive_pools(70).tolist() == [list(range(32)), list(range(32, 64))]


@given(seed=seeds, samples=st.integers(8, 60))
def test_distinct_pools_hold_no_caption_twice_and_no_index_twice(seed, samples):
    captions = [f"A person  does {index % max(6, samples // 3)}." for index in range(samples)]
    pools = distinct_pools(captions, 4, seed=seed)
    assert len(pools.unique()) == pools.numel()
    for pool in pools.tolist():
        assert len({captions[index] for index in pool}) == 4
    assert torch.equal(pools, distinct_pools(captions, 4, seed=seed))


def test_captions_that_differ_only_in_writing_are_the_same():
    with pytest.raises(RequestError, match="2 distinct captions do not fill a pool of 3"):
        distinct_pools(["A man walks.", "a man  walks", "a man runs"], 3, seed=0)


def test_diversity_and_multimodality_by_hand():
    """Points on a line one metre apart: the distance of a pair is the difference of its indices."""
    line = torch.arange(400.0)[:, None]
    first, second = draw_pairs(400, 300, seed=5)
    assert diversity(line, seed=5) == pytest.approx(float((first - second).abs().double().mean()))
    assert pair_distance(line, torch.tensor([0, 3]), torch.tensor([4, 3])) == 2.0
    first, second = draw_pairs(12, 10, seed=5)
    sets = torch.stack((torch.arange(12.0), 3 * torch.arange(12.0)))[..., None]
    assert multimodality(sets, seed=5) == pytest.approx(2 * float((first - second).abs().double().mean()))


def test_pairs_are_drawn_without_replacement_but_may_meet_themselves():
    drawn = [draw_pairs(30, 30, seed) for seed in range(20)]
    assert all(len(first.unique()) == len(second.unique()) == 30 for first, second in drawn)
    assert any(bool((first == second).any()) for first, second in drawn)


def test_a_small_set_is_paired_a_hundred_times():
    line = torch.arange(200.0)[:, None]
    assert diversity(line, seed=1) == diversity(line, seed=1, pairs=100)


def test_the_interval_uses_the_population_deviation():
    got = interval([1.0, 3.0])
    assert got.mean == 2.0
    assert got.half_width == pytest.approx(1.96 / math.sqrt(2))
    assert got.repeats == 2
    assert interval([4.0]).half_width == 0.0


def test_errors_say_what_to_do():
    values = make.tensor(20, 3)
    with pytest.raises(RequestError, match=r"1 embedding\(s\); a covariance needs at least 2"):
        moments(values[:1])
    with pytest.raises(RequestError, match="NaN or infinite"):
        fid(values, values / 0.0)
    with pytest.raises(RequestError, match="embeddings of 3 and 2 dimensions"):
        fid(values, values[:, :2])
    with pytest.raises(RequestError, match="20 samples do not fill a pool of 32"):
        consecutive_pools(20)
    with pytest.raises(RequestError, match="20 samples are too few for 100 pairs"):
        diversity(values, seed=0)
    with pytest.raises(RequestError, match="top 11 of a pool of 10"):
        retrieval(values, values, consecutive_pools(20, 10), top=11)
    with pytest.raises(RequestError, match="no repeats"):
        interval([])

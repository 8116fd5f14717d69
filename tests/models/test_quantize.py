"""Laws of the codebook: nearest codes, gradients, replacement, resuming, several processes."""

import copy
import os
import socket

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.multiprocessing.spawn import spawn

from motionloom.errors import RequestError
from motionloom.models.tokenizers.quantize import EMAQuantizer, Reset


def vectors(seed: int, rows: int = 40, size: int = 4) -> torch.Tensor:
    return torch.randn(2, rows // 2, size, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=20, deadline=None)
@given(codes=st.integers(1, 9), size=st.integers(1, 5), seed=st.integers(0, 99))
def test_each_vector_takes_its_nearest_code(codes: int, size: int, seed: int):
    quantizer = EMAQuantizer(codes, size).eval()
    x = vectors(seed, size=size)
    quantizer.codebook.copy_(torch.randn(codes, size, generator=torch.Generator().manual_seed(seed + 1)))
    got = quantizer(x)
    gaps = torch.cdist(x, quantizer.codebook.expand(2, -1, -1))
    chosen = gaps.gather(2, got.ids[..., None])[..., 0]
    torch.testing.assert_close(chosen, gaps.min(2).values, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got.vectors, quantizer.lookup(got.ids))
    assert 1 - 1e-4 <= float(got.perplexity) <= codes + 1e-4


def test_the_gradient_passes_straight_through():
    quantizer = EMAQuantizer(8, 4).train()
    x = vectors(0).requires_grad_()
    quantizer(x).vectors.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones_like(x))


def test_running_means_by_hand():
    quantizer = EMAQuantizer(2, 1, decay=0.5, reset="none").train()
    quantizer(torch.tensor([[[0.0], [10.0]]]))
    quantizer(torch.tensor([[[1.0], [1.0]]]))
    # Code 0: count 1, 1, then 0.5 + 0.5 * 2 = 1.5; sum 0, 0, then 0.5 * 2 = 1. Code 1 halves both once.
    torch.testing.assert_close(quantizer.counts, torch.tensor([1.5, 0.5]))
    torch.testing.assert_close(quantizer.codebook, torch.tensor([[1 / 1.5], [10.0]]))


def test_steady_replaces_codes_nobody_chose_and_their_statistics():
    quantizer = EMAQuantizer(4, 2, reset_every=3).train()
    quantizer(torch.randn(1, 40, 2, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        for state in (quantizer.codebook, quantizer.sums):
            state[3] = 1000.0
        quantizer.counts[3] = 1.0
        quantizer.usage.zero_()
    x = torch.randn(1, 40, 2, generator=torch.Generator().manual_seed(1))
    quantizer(x)
    assert float(quantizer.codebook[3, 0]) == 1000.0
    quantizer(x)
    assert (x[0] == quantizer.codebook[3]).all(1).any()
    assert torch.equal(quantizer.sums[3], quantizer.codebook[3])
    assert float(quantizer.counts[3]) == 1.0
    assert int(quantizer.usage.sum()) == int(quantizer.since_reset) == 0


@pytest.mark.parametrize("reset", ["steady", "none"])
def test_silent_codes_stay_finite_for_ever(reset: Reset):
    quantizer = EMAQuantizer(8, 2, reset=reset, reset_every=10**9, decay=0.5).train()
    quantizer(torch.randn(1, 64, 2, generator=torch.Generator().manual_seed(0)))
    before = quantizer.codebook.clone()
    for _ in range(400):
        quantizer(torch.full((1, 4, 2), 50.0))
    silent = quantizer.counts < 0.5
    assert silent.sum() == 7
    torch.testing.assert_close(quantizer.codebook[silent], before[silent])


def test_a_small_first_batch_still_fills_the_codebook():
    quantizer = EMAQuantizer(16, 3).train()
    quantizer(torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0)))
    assert torch.unique(quantizer.codebook, dim=0).shape == (16, 3)


@pytest.mark.parametrize("reset", ["steady", "published", "every_step"])
def test_resuming_equals_no_interruption(reset: Reset):
    straight = EMAQuantizer(16, 4, reset=reset, reset_every=4).train()
    for step in range(6):
        straight(vectors(step))
    resumed = EMAQuantizer(16, 4, reset=reset, reset_every=4).train()
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    for step in range(6, 14):
        straight(vectors(step))
        resumed(vectors(step))
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_bfloat16_does_not_reach_the_codebook():
    quantizer, same = EMAQuantizer(16, 4).train(), EMAQuantizer(16, 4).train()
    x = vectors(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = quantizer(x)
    assert torch.equal(got.vectors, same(x).vectors)
    assert quantizer.codebook.dtype == torch.float32


def test_unknown_ids_are_refused():
    with pytest.raises(RequestError, match=r"ids run from 0 to 8, the codebook has 0\.\.7"):
        EMAQuantizer(8, 2).lookup(torch.tensor([0, 8]))


def _rank(rank: int, port: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    quantizer = EMAQuantizer(16, 4, reset_every=2).train()
    for step in range(5):
        quantizer(vectors(10 * step + rank))
    torch.save(quantizer.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_keep_one_codebook(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(_rank, (port, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert float(first["counts"].sum()) > 17  # hits of both processes: 40 a step against 16 counts at the start
    for key, value in first.items():
        assert torch.equal(value, second[key]), key

"""FID, R-precision, MM-Dist, Diversity and MultiModality against the numbers of the published evaluation code."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from motionloom.metrics.distribution import (
    consecutive_pools,
    diversity,
    draw_pairs,
    fid,
    moments,
    multimodality,
    pair_distance,
    retrieval,
)

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"


def fixture(name: str) -> dict[str, Tensor]:
    path = FIXTURES / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"parity fixture {path.name} is not on this machine")
    with np.load(path, allow_pickle=False) as arrays:
        return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays.files if arrays[key].dtype.kind != "U"}


@pytest.mark.parametrize(
    ("name", "text", "motion", "precision", "distance"),
    [
        ("t2m_metrics", "text", "motion", "r_precision", "matching_score"),
        ("metrics_t2m", "text_emb", "motion_emb", "top123", "mm_dist"),
    ],
)
def test_retrieval_agrees_with_both_published_evaluations(name, text, motion, precision, distance):
    want = fixture(name)
    got = retrieval(want[text], want[motion], consecutive_pools(len(want[text])))
    assert got.r_precision == pytest.approx(want[precision].tolist(), abs=1e-7)
    assert got.mm_dist == pytest.approx(float(want[distance]), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "real", "made"), [("t2m_metrics", "gt", "motion"), ("metrics_t2m", "gt_emb", "motion_emb")]
)
def test_fid_agrees_with_both_published_evaluations(name, real, made):
    want = fixture(name)
    assert fid(want[real], want[made]) == pytest.approx(float(want["fid"]), rel=1e-6)


def test_moments_agree_with_the_published_evaluation():
    want = fixture("t2m_metrics")
    got = moments(want["motion"])
    torch.testing.assert_close(got.mean.float(), want["mu"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(got.covariance, want["cov"], atol=1e-5, rtol=1e-5)


def test_diversity_and_multimodality_draw_the_published_pairs():
    want = fixture("t2m_metrics")
    assert diversity(want["motion"], seed=0) == pytest.approx(float(want["diversity_seed0_300"]), rel=1e-6)
    assert multimodality(want["mm"], seed=1) == pytest.approx(float(want["multimodality_seed1_10"]), rel=1e-6)


def test_diversity_of_the_recorded_pairs():
    want = fixture("metrics_t2m")
    first, second = draw_pairs(len(want["motion_emb"]), 300, seed=0)
    assert torch.equal(first, want["div_i1"])
    assert torch.equal(second, want["div_i2"])
    got = pair_distance(want["motion_emb"], first, second)
    assert got == pytest.approx(float(want["diversity"]), rel=1e-6)

"""MPJPE, PA-MPJPE, acceleration error, ADE and FDE against published evaluations' numbers.

MPJPE, PA-MPJPE and acceleration are output of the published code; ADE and FDE its formulas typed again.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from motionloom.metrics.pose import (
    acceleration_error,
    average_displacement,
    evaluated_frames,
    final_displacement,
    procrustes_error,
    root_aligned_error,
)

FIXTURE = Path(__file__).parents[3] / "shared" / "fixtures" / "metrics_t2m.npz"


@pytest.fixture(scope="module")
def want() -> dict[str, Tensor]:
    if not FIXTURE.exists():
        pytest.skip(f"parity fixture {FIXTURE.name} is not on this machine")
    with np.load(FIXTURE, allow_pickle=False) as arrays:
        return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays.files}


def test_errors_of_poses(want):
    made, real = want["joints_pred"], want["joints_ref"]
    torch.testing.assert_close(root_aligned_error(made, real), want["mpjpe_root_aligned"], atol=1e-6, rtol=0.0)
    torch.testing.assert_close(procrustes_error(made, real), want["pampjpe"], atol=2e-6, rtol=0.0)
    torch.testing.assert_close(acceleration_error(made, real), want["accel"], atol=1e-6, rtol=0.0)


@pytest.mark.parametrize(("task", "key"), [("prediction", "pred"), ("in-between", "inbetween")])
def test_displacements_over_the_published_frames(want, task, key):
    padded = want["joints_ref"].shape[1] if task == "prediction" else None
    for index, frames in enumerate(want["lengths"].tolist()):
        span = evaluated_frames(task, frames, padded)
        made, real = want["joints_pred"][index, span], want["joints_ref"][index, span]
        assert average_displacement(made, real) == pytest.approx(float(want[f"ADE_{key}"][index]), rel=1e-6)
        assert final_displacement(made, real) == pytest.approx(float(want[f"FDE_{key}"][index]), rel=1e-6)

"""Laws of the jitter filter."""

import make
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motionloom.errors import MotionError
from motionloom.metrics.physics import physics
from motionloom.motion import rotations as rot
from motionloom.motion.smooth import savitzky_golay, smooth, window_frames

seeds = st.integers(0, 10**6)


@given(frames=st.integers(9, 60), half=st.integers(2, 4), seed=seeds)
def test_a_cubic_passes_unchanged_to_its_very_ends(frames: int, half: int, seed: int):
    time = torch.linspace(-1, 1, frames, dtype=torch.float64)[:, None]
    factors = make.tensor(4, 5, seed=seed, dtype=torch.float64)
    track = sum(factors[power] * time**power for power in range(4))
    assert isinstance(track, torch.Tensor)
    torch.testing.assert_close(savitzky_golay(track, 2 * half + 1), track)


def test_weights_by_hand():
    """The published weights for five points: (-3, 12, 17, 12, -3) / 35."""
    got = savitzky_golay(torch.eye(9, dtype=torch.float64), 5)[4]
    want = torch.tensor([0, 0, -3, 12, 17, 12, -3, 0, 0], dtype=torch.float64) / 35
    torch.testing.assert_close(got, want)


@given(seed=st.integers(0, 1000))
def test_jitter_goes_and_the_motion_stays(seed: int):
    motion = make.motion(60, seed, fps=60.0)
    shaken = motion.with_(
        rotations=rot.multiply(motion.rotations, rot.from_axis_angle(0.01 * make.tensor(60, 22, 3, seed=seed + 1))),
        root=motion.root + 0.002 * make.tensor(60, 3, seed=seed + 2),
    )
    calm = smooth(shaken, 0.25)
    before, after = physics(shaken.positions, 60.0), physics(calm.positions, 60.0)
    assert after.jitter < 0.3 * before.jitter
    assert float((calm.positions - motion.positions).norm(dim=-1).mean()) < 0.015
    assert smooth(shaken, 0.5).rotations.shape == shaken.rotations.shape


def test_signs_of_quaternions_do_not_matter():
    motion = make.motion(40, 3)
    signs = torch.where(torch.rand(40, 22, 1, generator=make.generator(0)) < 0.5, -1.0, 1.0)
    flipped = motion.with_(rotations=motion.rotations * signs)
    assert make.degrees_apart(smooth(motion, 0.35).rotations, smooth(flipped, 0.35).rotations) < 0.05


def test_windows_are_odd_and_fit():
    motion = make.motion(12, 0, fps=20.0)
    assert [window_frames(motion, window) for window in (0.0, 0.2, 0.25, 0.35, 2.0)] == [1, 5, 5, 7, 11]
    assert smooth(motion, 0.1) is motion
    assert smooth(make.motion(3, 0), 1.0).positions.shape == (3, 22, 3)


@pytest.mark.parametrize("window", [-0.1, 2.5, float("nan")])
def test_other_windows_are_refused(window: float):
    with pytest.raises(MotionError, match="it must be between 0 and 2 s"):
        smooth(make.motion(12, 0), window)

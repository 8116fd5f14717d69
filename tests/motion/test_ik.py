"""Laws of two-bone inverse kinematics."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from make import tensor
from torch import Tensor

from motionloom.motion import rotations as rot
from motionloom.motion.ik import STRETCH, TwoBone, two_bone

seeds = st.integers(0, 10**6)
FORWARD = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def limbs(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Starts, middles and ends of limbs with bones of 0.3 to 0.6 m, in float64."""
    start = tensor(count, 3, seed=seed, dtype=torch.float64)
    ways = rot.normalize(tensor(2, count, 3, seed=seed + 1, dtype=torch.float64))
    lengths = 0.3 + 0.3 * torch.rand(2, count, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    middle = start + lengths[0] * ways[0]
    return start, middle, middle + lengths[1] * ways[1]


def pose(start: Tensor, middle: Tensor, end: Tensor, turn: TwoBone) -> tuple[Tensor, Tensor]:
    """Middle and end after the turns."""
    knee = start + rot.rotate(turn.upper, middle - start)
    return knee, knee + rot.rotate(turn.lower, end - middle)


@given(count=st.integers(1, 8), seed=seeds)
def test_the_end_reaches_the_target_and_else_points_at_it(count: int, seed: int):
    start, middle, end = limbs(count, seed)
    target = start + 0.6 * tensor(count, 3, seed=seed + 2, dtype=torch.float64)
    turn = two_bone(start, middle, end, target, FORWARD.expand(count, 3))
    knee, foot = pose(start, middle, end, turn)
    torch.testing.assert_close(foot, turn.end, atol=1e-8, rtol=0)
    torch.testing.assert_close((knee - start).norm(dim=-1), (middle - start).norm(dim=-1))
    a, b = (middle - start).norm(dim=-1), (end - middle).norm(dim=-1)
    distance = (target - start).norm(dim=-1)
    fits = (distance < STRETCH * (a + b)) & (distance > (a - b).abs() + 1e-3 * (a + b))
    assert torch.all((foot - target).norm(dim=-1)[fits] < 1e-6)
    straight = rot.normalize(foot - start) - rot.normalize(target - start)
    assert float(straight.abs().max()) < 1e-6


@given(count=st.integers(1, 8), seed=seeds)
def test_a_target_already_met_changes_nothing(count: int, seed: int):
    start, middle, end = limbs(count, seed)
    turn = two_bone(start, middle, end, end, FORWARD.expand(count, 3))
    knee, foot = pose(start, middle, end, turn)
    assert float((knee - middle).abs().max()) < 1e-6
    assert float((foot - end).abs().max()) < 1e-6


@given(seed=seeds, along=st.floats(0.3, 0.95))
def test_the_knee_stays_in_its_plane_and_on_its_side(seed: int, along: float):
    start, middle, end = limbs(6, seed)
    target = start + along * (end - start)
    knee, _ = pose(start, middle, end, two_bone(start, middle, end, target, FORWARD.expand(6, 3)))
    line = rot.normalize(end - start)
    before = middle - start - ((middle - start) * line).sum(-1, keepdim=True) * line
    after = knee - start - ((knee - start) * line).sum(-1, keepdim=True) * line
    torch.testing.assert_close(rot.normalize(after), rot.normalize(before), atol=1e-5, rtol=0)


def test_by_hand():
    """A leg of 0.4 + 0.3 m hangs straight down; a foot 0.5 m below the hip bends the knee forward by a right angle."""
    hip, down = torch.zeros(3), torch.tensor([0.0, -1.0, 0.0])
    knee, foot, target = 0.4 * down, 0.7 * down, 0.5 * down
    turn = two_bone(hip, knee, foot, target, torch.tensor([0.0, 0.0, 1.0]))
    bent, reached = pose(hip, knee, foot, turn)
    torch.testing.assert_close(reached, target, atol=1e-6, rtol=0)
    torch.testing.assert_close(bent, torch.tensor([0.0, -0.32, 0.24]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("pole", [(0.0, -1.0, 0.0), (0.0, 0.0, 0.0)])
def test_a_straight_leg_without_a_useful_pole_still_bends(pole: tuple[float, float, float]):
    hip, down = torch.zeros(3), torch.tensor([0.0, -1.0, 0.0])
    turn = two_bone(hip, 0.4 * down, 0.8 * down, 0.6 * down, torch.tensor(pole))
    knee, foot = pose(hip, 0.4 * down, 0.8 * down, turn)
    torch.testing.assert_close(foot, 0.6 * down, atol=1e-6, rtol=0)
    torch.testing.assert_close(knee.norm(), torch.tensor(0.4))


def test_a_target_at_the_hip_itself_gives_a_folded_leg_and_no_nan():
    hip, down = torch.zeros(3), torch.tensor([0.0, -1.0, 0.0])
    turn = two_bone(hip, 0.4 * down, 0.8 * down, hip, torch.tensor([0.0, 0.0, 1.0]))
    assert float(turn.end.norm()) < 0.01
    assert torch.isfinite(turn.upper).all()
    assert torch.isfinite(turn.lower).all()

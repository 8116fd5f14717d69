"""Statistics of the linear prior, measured on made-up features."""

import numpy as np
import pytest
import torch

from motionloom.data.motionverse_loader import MotionVerseSet
from motionloom.models.diffusion.prior import LinearPrior
from motionloom.motion.features.motionverse_layout import MotionVerseStats, part_columns
from motionloom.training.diffusion_prior import fit_prior

PLAIN = MotionVerseStats(torch.zeros(669), torch.ones(669))
SPINNER, CALM = 3.0, 0.1


class Clips(MotionVerseSet):
    """Twenty clips at one frame rate: white noise, about a mean of its own; one of them spins and sways."""

    def __init__(self, frames: int = 60) -> None:
        self.rates = (20.0,)
        random = torch.Generator().manual_seed(0)
        self.features = torch.randn(20, frames, 669, generator=random) + torch.randn(20, 1, 669, generator=random)
        sizes = torch.full((20,), CALM)
        sizes[7] = SPINNER
        # What else of the root changes sides would mix with its turning in so few clips.
        self.features[:, :, [1, 465]] = 0.0
        for column in (0, 100):
            self.features[:, :, column] *= sizes[:, None]

    def __len__(self) -> int:
        return len(self.features)

    def clip(self, index: int, rate: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        assert rate == 0
        return self.features[index], torch.ones(self.features.shape[1], 10, dtype=torch.bool)


@pytest.fixture(scope="module")
def prior():
    made = LinearPrior([len(part) for part in part_columns().values()])
    fit_prior(made, Clips(), PLAIN)
    return made


def direction(prior: LinearPrior, column: int) -> tuple[int, int]:
    """The principal direction that a column is, among all of them, and its part."""
    start = 0
    for index, columns in enumerate(part_columns().values()):
        if column in columns:
            return start + int(prior.get_buffer(f"basis{index}")[columns.index(column)].abs().argmax()), index
        start += len(columns)
    raise AssertionError(column)


def test_directions_are_orthonormal(prior):
    for index, size in enumerate(prior.sizes):
        basis = prior.get_buffer(f"basis{index}")
        torch.testing.assert_close(basis.mT @ basis, torch.eye(size), atol=1e-4, rtol=0)


def test_white_noise_has_the_same_power_everywhere(prior):
    others = np.r_[10:90]
    density = prior.density[:, others].exp().mean(1) * 20
    assert float(density.min()) > 0.7
    assert float(density.max()) < 1.4
    assert float(prior.level[others].exp().mean()) == pytest.approx(1.0, abs=0.3)


def test_one_who_spins_does_not_have_everyone_turn(prior):
    turn, sway = (direction(prior, column)[0] for column in (0, 100))
    mean = (19 * CALM**2 + SPINNER**2) / 20
    for found in (prior.level, prior.density + torch.tensor(20.0).log()):
        assert float(found[..., turn].exp().mean()) < 0.1 * mean
        assert float(found[..., turn].exp().mean()) > 0.3 * CALM**2
    assert float(prior.density[:, sway].exp().mean() * 20) == pytest.approx(mean, rel=0.4)

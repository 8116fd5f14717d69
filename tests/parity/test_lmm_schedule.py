"""LMM's noise schedule, solver and loss against the published code's numbers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from motionloom.models.diffusion.schedule import Known, NoiseSchedule, solve
from motionloom.models.diffusion.training import feature_loss
from motionloom.motion.features.motionverse_layout import MotionVerseOptions, spread_mask

FIXTURE = Path(__file__).parents[3] / "shared" / "fixtures" / "lmm_sampler_loss.safetensors"
SCHEDULE = NoiseSchedule.linear()
STEPS = SCHEDULE.sections()


@pytest.fixture(scope="module")
def want() -> dict[str, torch.Tensor]:
    if not FIXTURE.exists():
        pytest.skip(f"parity fixture {FIXTURE.name} is not on this machine")
    return load_file(FIXTURE)


def toy(x: torch.Tensor, place: int) -> torch.Tensor:
    """The closed form that stood for the model when the fixture was made."""
    return 0.5 * x.tanh() + STEPS[place] / 1000


def test_the_schedule_agrees(want):
    torch.testing.assert_close(SCHEDULE.betas, want["betas"])
    torch.testing.assert_close(SCHEDULE.alpha_bar, want["alphas_cumprod"])


def test_the_fifty_steps_agree(want):
    assert list(reversed(STEPS)) == want["respaced.timesteps"].tolist()
    taken = NoiseSchedule(SCHEDULE.alpha_bar[list(reversed(STEPS))])
    torch.testing.assert_close(taken.betas, want["respaced.betas"])
    torch.testing.assert_close(taken.alpha_bar, want["respaced.alphas_cumprod"])


def test_ddim_agrees(want):
    got = solve(toy, want["toy.noise"], SCHEDULE, STEPS)
    torch.testing.assert_close(got, want["toy.ddim"], atol=1e-5, rtol=1e-5)


def test_published_context_agrees_at_the_first_steps_and_the_end(want):
    mask = want["toy.context_mask"][..., None].bool().expand_as(want["toy.gt"])
    known = Known(want["toy.gt"], mask, published=True)
    seen = []

    def watched(x: torch.Tensor, place: int) -> torch.Tensor:
        seen.append(x)
        return toy(x, place)

    got = solve(watched, want["toy.noise"], SCHEDULE, STEPS, known=known)
    torch.testing.assert_close(got, want["toy.ddim_context"], atol=1e-5, rtol=1e-5)
    for place, name in ((1, "toy.ctx_step0"), (2, "toy.ctx_step1")):
        # What comes out of a step is what the next one sees, but for the cells put in before it.
        torch.testing.assert_close(seen[place][~mask], want[name][~mask], atol=1e-5, rtol=1e-5)
        held = SCHEDULE.level(STEPS[place]).signal * want["toy.gt"]
        torch.testing.assert_close(seen[place][mask], held[mask], atol=1e-6, rtol=1e-5)


def test_losses_agree(want):
    cells = spread_mask(want["loss.part_mask"], MotionVerseOptions.published())
    assert torch.equal(cells, want["loss.expanded_mask"])
    pair = want["loss.pred"], want["loss.target"]
    torch.testing.assert_close(20 * feature_loss(*pair, cells), want["loss.per_sample_unweighted"])
    weighted = cells * want["loss.dim_weight"][:, None]
    torch.testing.assert_close(20 * feature_loss(*pair, weighted), want["loss.per_sample_weighted"])

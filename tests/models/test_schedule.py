"""Laws of noise schedules and solvers."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motionloom.errors import RequestError
from motionloom.models.diffusion.schedule import (
    Known,
    Level,
    Method,
    NoiseSchedule,
    Spacing,
    ddim_step,
    dpm_step,
    solve,
)

SCHEDULES = {"linear": NoiseSchedule.linear(), "cosine": NoiseSchedule.cosine()}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(schedule: NoiseSchedule, steps: tuple[int, ...], spread: float):
    """The best guess where clean signals are normal with that deviation, and the true outcome of the walk."""

    def predict(x: torch.Tensor, place: int) -> torch.Tensor:
        level = schedule.level(steps[place])
        variance = (level.signal * spread) ** 2 + level.noise**2
        return level.signal * spread**2 / variance * x

    first = schedule.level(steps[0])
    return predict, spread / math.sqrt((first.signal * spread) ** 2 + first.noise**2)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_signal_and_noise_share_the_variance_and_betas_make_the_schedule(schedule: NoiseSchedule):
    for step in (0, 17, 999):
        level = schedule.level(step)
        assert level.signal**2 + level.noise**2 == pytest.approx(1.0)
        assert level.ratio == pytest.approx(math.log(level.signal / level.noise))
    assert schedule.level(-1) == Level(1.0, 0.0)
    assert schedule.level(-1).ratio == math.inf
    torch.testing.assert_close(NoiseSchedule.of_betas(schedule.betas).alpha_bar, schedule.alpha_bar)
    assert float(schedule.alpha_bar[-1]) < 1e-4


def test_the_linear_schedule_by_hand():
    schedule = NoiseSchedule.linear()
    assert float(schedule.betas[0]) == pytest.approx(1e-4)
    assert float(schedule.betas[-1]) == pytest.approx(0.02)
    assert float(schedule.alpha_bar[1]) == pytest.approx((1 - 1e-4) * (1 - 1e-4 - 0.0199 / 999))


@given(seed=st.integers(0, 2**31))
def test_noised_signals_lie_between_signal_and_noise(seed: int):
    schedule = NoiseSchedule.cosine(100)
    clean, noise = torch.randn(2, 3, 4, 5, generator=seeded(seed))
    t = torch.randint(100, (3,), generator=seeded(seed))
    for row, step in enumerate(t.tolist()):
        level = schedule.level(step)
        want = level.signal * clean[row] + level.noise * noise[row]
        torch.testing.assert_close(schedule.noised(clean, t, noise)[row], want)


def test_steps_fall_from_the_last_and_are_as_many_as_asked_for():
    schedule = NoiseSchedule.linear()
    assert schedule.sections((3, 2)) == (999, 500, 499, 249, 0)
    assert schedule.sections((1,)) == (0,)
    assert schedule.spaced(4) == (999, 749, 499, 249)
    assert schedule.spaced(1) == (999,)
    assert schedule.spaced(4, "noise")[-1] == 0


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("spacing", ["time", "noise"])
def test_no_step_is_taken_twice(schedule: NoiseSchedule, spacing: Spacing):
    for count in (1, 10, 300, 1000):
        steps = schedule.spaced(count, spacing)
        assert len(steps) == count
        assert steps[0] == 999
        assert list(steps) == sorted(set(steps), reverse=True)
        assert min(steps) >= 0


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("method", ["ddim", "dpm"])
def test_a_right_guess_at_every_step_is_the_outcome(schedule: NoiseSchedule, method: Method):
    clean, noise = torch.randn(2, 3, 4, generator=seeded(0))
    seen = []
    steps = schedule.spaced(7)

    def predict(x: torch.Tensor, place: int) -> torch.Tensor:
        level = schedule.level(steps[place])
        seen.append((x - level.signal * clean) / level.noise)
        return clean

    first = schedule.level(steps[0])
    assert torch.equal(solve(predict, first.signal * clean + first.noise * noise, schedule, steps, method), clean)
    for found in seen:
        # The walk keeps the noise it started with.
        torch.testing.assert_close(found, noise, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("spread", [0.2, 0.5, 1.0])
def test_ten_steps_of_dpm_are_about_as_near_to_the_truth_as_fifty_of_ddim(spread: float):
    schedule = NoiseSchedule.linear()
    errors = {}
    x = torch.ones(1, dtype=torch.float64)
    ways: dict[Method, tuple[int, ...]] = {"dpm": schedule.spaced(10, "noise"), "ddim": schedule.sections()}
    for method, steps in ways.items():
        predict, true = gaussian(schedule, steps, spread)
        errors[method] = abs(float(solve(predict, x, schedule, steps, method)) / true - 1)
    assert errors["dpm"] < 0.04
    assert errors["dpm"] < 1.3 * errors["ddim"]


@pytest.mark.parametrize("method", ["ddim", "dpm"])
def test_both_solvers_reach_the_truth_with_many_steps(method: Method):
    schedule = NoiseSchedule.linear()
    steps = schedule.sections((1000,))
    predict, true = gaussian(schedule, steps, spread=2.0)
    x = torch.ones(1, dtype=torch.float64)
    assert float(solve(predict, x, schedule, steps, method)) == pytest.approx(true, rel=0.01)


def test_the_first_step_of_dpm_is_that_of_ddim():
    schedule = NoiseSchedule.linear()
    x, clean = torch.randn(2, 6, generator=seeded(1))
    now, then = schedule.level(800), schedule.level(500)
    torch.testing.assert_close(dpm_step(x, clean, now, then, None), ddim_step(x, clean, now, then))


def test_noise_that_is_added_again_has_the_variance_of_ddpm():
    schedule = NoiseSchedule.linear()
    now, then = schedule.level(500), schedule.level(499)
    zero = torch.zeros(1, dtype=torch.float64)
    step = ddim_step(zero, zero, now, then, 1.0, lambda: torch.ones_like(zero))
    beta = float(schedule.betas[500])
    assert float(step) == pytest.approx(math.sqrt(beta * then.noise**2 / now.noise**2))


@given(seed=st.integers(0, 2**31), method=st.sampled_from(["ddim", "dpm"]), eta=st.sampled_from([0.0, 0.7]))
def test_known_parts_come_back_bit_for_bit_and_at_the_right_noise(seed: int, method: Method, eta: float):
    schedule = NoiseSchedule.linear()
    steps = schedule.spaced(6)
    values, x = torch.randn(2, 3, 5, generator=seeded(seed))
    mask = torch.rand(3, 5, generator=seeded(seed)) < 0.5
    spreads = []

    def predict(x: torch.Tensor, place: int) -> torch.Tensor:
        level = schedule.level(steps[place])
        spreads.append((x - level.signal * values)[mask] / level.noise)
        return torch.tanh(x)

    stream = seeded(seed)
    if method == "dpm":
        eta = 0.0
    known = Known(values, mask)
    out = solve(predict, x, schedule, steps, method, eta, lambda: torch.randn(3, 5, generator=stream), known)
    assert torch.equal(out[mask], values[mask])
    if eta == 0:
        for spread in spreads[1:]:
            torch.testing.assert_close(spread, spreads[0], atol=1e-3, rtol=1e-3)


def test_what_does_not_fit_is_refused():
    schedule = NoiseSchedule.linear()
    x = torch.zeros(1)
    with pytest.raises(RequestError, match="needs shares between 0 and 1 that fall"):
        NoiseSchedule(torch.tensor([0.5, 0.6], dtype=torch.float64))
    with pytest.raises(RequestError, match=r"\(300, 300, 300\) steps do not fit into equal sections of 1000"):
        schedule.sections((300, 300, 300))
    with pytest.raises(RequestError, match="1001 steps were asked for; from 1 to 1000"):
        schedule.spaced(1001)
    with pytest.raises(RequestError, match=r"steps \(5, 7\) must fall and be in 0\.\.999"):
        solve(lambda x, _: x, x, schedule, (5, 7))
    with pytest.raises(RequestError, match=r"eta is 0\.5; above 0 it needs the method 'ddim' and a source of noise"):
        solve(lambda x, _: x, x, schedule, (5, 3), eta=0.5)

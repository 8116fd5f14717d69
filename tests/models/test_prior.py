"""The linear prior: exact for white data, the mean of smooth data, blind to what may not be read."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.models.diffusion.config import Clips
from motionloom.models.diffusion.prior import FREQUENCIES, LinearPrior
from motionloom.models.diffusion.schedule import NoiseSchedule

SIZES = (3, 2, 2, 2, 2, 2, 2, 2, 2, 2)
WIDTH = sum(SIZES)
SCHEDULE = NoiseSchedule.linear()
seeds = st.integers(0, 2**31)


def clips(lengths: list[int], fps: float = 20.0, timeline: tuple[int, ...] | None = None, **changes) -> Clips:
    sizes = torch.tensor(lengths)
    whole = Clips.whole(sizes, fps)
    parts = changes.get("parts", whole.parts)
    return Clips(parts, sizes, whole.seconds, whole.dataset, whole.rotation, None, timeline)


def white(variance: float, fps: float = 20.0) -> LinearPrior:
    """A prior of features that are noise themselves."""
    prior = LinearPrior(SIZES)
    bases = [
        torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(size)))[0] for size in SIZES
    ]
    density = torch.full((len(FREQUENCIES), WIDTH), variance / fps)
    # The mean over a clip is measured by itself: over ten frames it has a tenth of the variance.
    prior.fit(bases, density, torch.full((WIDTH,), variance / 10))
    return prior


def smooth() -> LinearPrior:
    """A prior of features that hardly change within half a second."""
    prior = LinearPrior(SIZES)
    density = 1 / (1 + (FREQUENCIES / 0.5) ** 4)
    prior.fit([torch.eye(size) for size in SIZES], density[:, None].expand(-1, WIDTH), torch.full((WIDTH,), 0.3))
    return prior


def noised(seed: int, rows: int, frames: int) -> torch.Tensor:
    return torch.randn(rows, frames, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("step", [0, 200, 999])
def test_of_white_data_each_number_is_scaled_as_wiener_says(step):
    variance, alpha_bar = 2.5, float(SCHEDULE.alpha_bar[step])
    x = noised(0, 2, 10)
    got = white(variance)(x, clips([10, 10]), torch.tensor([alpha_bar])).features
    torch.testing.assert_close(
        got, x * alpha_bar**0.5 * variance / (alpha_bar * variance + 1 - alpha_bar), atol=1e-5, rtol=1e-4
    )


@given(seed=seeds, frames=st.integers(2, 24))
@settings(max_examples=10, deadline=None)
def test_neither_padding_nor_hidden_cells_nor_other_clips_have_a_say(seed, frames):
    prior, alpha_bar = smooth(), torch.tensor([0.4])
    x = noised(seed, 2, 24)
    alone = prior(x[:1, :frames], clips([frames]), alpha_bar).features
    torch.testing.assert_close(
        prior(x, clips([frames, 24]), alpha_bar).features[:1, :frames], alone, atol=1e-5, rtol=1e-4
    )
    assert not prior(x, clips([frames, 24]), alpha_bar).features[0, frames:].any()
    parts = torch.rand(2, 24, 10, generator=torch.Generator().manual_seed(seed)) < 0.6
    hidden = ~parts.repeat_interleave(torch.tensor(SIZES), dim=2)
    first, second = (
        prior(torch.where(hidden, rubbish, x), clips([24, 24], parts=parts), alpha_bar).features
        for rubbish in (0.0, 99.0)
    )
    assert torch.equal(first, second)
    assert not first[hidden].any()


def test_a_time_line_is_read_as_one_clip_and_each_row_has_its_own_step():
    prior = smooth()
    x = noised(3, 1, 24)
    whole = prior(x, clips([24]), torch.tensor([0.3])).features
    pieces = torch.stack((x[0, :12], x[0, 12:]))
    cut = prior(pieces, clips([12, 12], timeline=(2,)), torch.tensor([0.3])).features
    torch.testing.assert_close(torch.cat((cut[0], cut[1])), whole[0], atol=1e-5, rtol=1e-4)
    apart = prior(pieces, clips([12, 12]), torch.tensor([0.3])).features
    assert not torch.allclose(apart, cut, atol=1e-3)
    each = prior(pieces, clips([12, 12]), torch.tensor([0.3, 0.9])).features
    torch.testing.assert_close(each[0], apart[0])
    torch.testing.assert_close(each[1], prior(pieces[1:], clips([12]), torch.tensor([0.9])).features[0])


@pytest.mark.parametrize("fps", [10.0, 20.0, 60.0])
def test_smooth_motion_is_found_in_noise_at_any_frame_rate(fps):
    seconds = 5.0
    frames = round(fps * seconds)
    time = torch.arange(frames) / fps
    clean = torch.sin(2 * torch.pi * 0.4 * time)[None, :, None].expand(1, -1, WIDTH)
    alpha_bar = 0.5
    x = alpha_bar**0.5 * clean + (1 - alpha_bar) ** 0.5 * noised(1, 1, frames)
    error = (smooth()(x, clips([frames], fps), torch.tensor([alpha_bar])).features - clean).square().mean()
    # The best guess by frames alone, of a sine of variance 1/2.
    alone = (x * alpha_bar**0.5 * 0.5 / (alpha_bar * 0.5 + 1 - alpha_bar) - clean).square().mean()
    assert float(error) < 0.6 * float(alone)
    assert float((smooth()(clean, clips([frames], fps), torch.tensor([1 - 1e-6])).features - clean).abs().max()) < 0.02


def test_doubt_and_size_are_what_wiener_says_of_white_data():
    variance, alpha_bar = 2.5, 0.3
    found = white(variance)(noised(0, 1, 10), clips([10]), torch.tensor([alpha_bar]))
    doubt = (variance * (1 - alpha_bar) / (alpha_bar * variance + 1 - alpha_bar)) ** 0.5
    size = (alpha_bar * variance**2 / (alpha_bar * variance + 1 - alpha_bar)) ** 0.5
    torch.testing.assert_close(found.doubt, torch.full((1, 10), doubt), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.size, torch.full((1, 10), size), atol=1e-4, rtol=1e-3)

"""Tempo and beats of music.

Source: Ellis, "Beat tracking by dynamic programming" (Journal of New Music Research, 2007): the tempo is where the
onset strength resembles itself (section 3.2), the beats are the chain with the most onset strength whose steps are
nearly even (section 3.1). Unlike there, the tempo is looked for on a fine grid and at several multiples at once.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from motionloom.conditions.spectra import onset_strength
from motionloom.errors import RequestError

BEAT_HOP = 256
"""Frames of beat tracking [samples]: 11.6 ms at 22,050 Hz."""
SLOWEST, FASTEST = 40.0, 240.0
"""Tempos that are looked for [beats a minute]."""
LIKELY_BPM = 120.0
OCTAVES = 1.0
"""Deviation of the tempo from the likely one, in octaves (Ellis, equation 7)."""
TIGHTNESS = 400.0
"""What an uneven step costs: this times the squared log of its ratio to the period (Ellis: alpha)."""

LATE = 0.015
"""The onset strength of a click is found this much after the click, in the mean [s]; beats are told earlier by it."""


def tempo(onsets: Float[Tensor, " N"], fps: float, likely: float = LIKELY_BPM) -> float:
    """Tempo [beats a minute] of an onset strength, from 40 to 240; 0 if there are no onsets, or one.

    Args:
        onsets: Onset strength.
        fps: Its frames a second.
        likely: Tempo that is taken when twice or half of it fits as well.

    Raises:
        RequestError: ``likely`` is no tempo.
    """
    if not SLOWEST <= likely <= FASTEST:
        raise RequestError(f"likely tempo {likely}; it must lie from {SLOWEST:g} to {FASTEST:g} beats a minute")
    curve = onsets.double() - onsets.double().mean()
    spectrum = torch.fft.rfft(curve, 2 * len(curve))
    alike = torch.fft.irfft(spectrum.abs().square())[: len(curve)]
    if len(curve) < 3 or float(alike[0]) <= 1e-9:
        return 0.0
    alike = alike / alike[0]
    candidates = torch.exp2(torch.arange(math.log2(SLOWEST), math.log2(FASTEST), 0.003, dtype=torch.float64))
    periods = 60 * fps / candidates
    score = torch.zeros_like(candidates)
    # A period shows at its multiples too, and there more exactly; half of the true period only at every other one.
    for multiple in (1, 2, 3, 4):
        score += _between(alike, periods * multiple) / 4
    score = score.clamp(min=0) * torch.exp(-0.5 * (torch.log2(candidates / likely) / OCTAVES).square())
    best = int(score.argmax())
    return float(candidates[best]) if float(score[best]) > 0 else 0.0


def beat_frames(onsets: Float[Tensor, " N"], fps: float, bpm: float) -> Int[Tensor, " K"]:
    """Frames of the beats: the chain of frames with the most onset strength and steps of nearly one period.

    Weak beats at both ends, where the music has not begun or is over, are left out.

    Args:
        onsets: Onset strength.
        fps: Its frames a second.
        bpm: Tempo to keep.

    Raises:
        RequestError: The tempo is not positive.
    """
    if not bpm > 0:
        raise RequestError(f"tempo {bpm} beats a minute; beats need one above 0")
    period = 60 * fps / bpm
    curve = onsets.double().numpy()
    spread = float(curve.std())
    if spread <= 1e-9 or len(curve) < 3:
        return torch.zeros(0, dtype=torch.int64)
    reach = np.arange(-math.ceil(period), math.ceil(period) + 1)
    local = np.convolve(curve / spread, np.exp(-0.5 * (32 * reach / period) ** 2), "full")[math.ceil(period) :]
    local = local[: len(curve)]
    near, far = max(1, round(period / 2)), round(2 * period)
    steps = np.arange(far, near - 1, -1)
    cost = -TIGHTNESS * np.log(steps / period) ** 2
    total, before = local.copy(), np.full(len(local), -1)
    for frame in range(near, len(local)):
        start = frame - far
        options = total[max(start, 0) : frame - near + 1] + cost[max(-start, 0) :]
        best = int(options.argmax())
        if options[best] > 0:
            total[frame] += options[best]
            before[frame] = max(start, 0) + best
    beat = len(total) - 1 - int(total[::-1][: max(1, math.ceil(period))].argmax())
    chain = [beat]
    while before[chain[-1]] >= 0:
        chain.append(int(before[chain[-1]]))
    frames = np.array(chain[::-1])
    strong = np.flatnonzero(local[frames] >= 0.5 * np.sqrt(np.mean(local[frames] ** 2)))
    kept = frames[strong[0] : strong[-1] + 1]
    return torch.from_numpy(kept.astype(np.int64))


def beats(samples: Float[Tensor, " S"], rate: int, likely: float = LIKELY_BPM) -> Float[Tensor, " K"]:
    """Times of the beats of a piece [s]; none where nothing recurs (silence, a single note).

    Args:
        samples: Sound.
        rate: Samples a second.
        likely: See ``tempo``.
    """
    fps = rate / BEAT_HOP
    onsets = onset_strength(samples, rate, fps)
    bpm = tempo(onsets, fps, likely)
    if bpm == 0:
        return torch.zeros(0, dtype=torch.float64)
    return (beat_frames(onsets, fps, bpm).double() / fps - LATE).clamp(min=0)


def _between(values: Float[Tensor, " N"], places: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
    """Values at places between whole ones; 0 behind the end."""
    low = places.floor().long()
    inside = low + 1 < len(values)
    low = low.clamp(max=len(values) - 2)
    return torch.lerp(values[low], values[low + 1], places - low) * inside

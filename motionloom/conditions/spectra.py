"""What is heard when: spectra at any frame rate, mel bands, onset strength and chroma.

Frame n looks at a window of 2,048 samples around n / fps; beyond the ends there is silence. Below 43 frames a second
the windows would leave gaps, so several of them are pooled into a frame: those up to half a frame before and after it.

Sources: Slaney, "Auditory Toolbox" (1998) for the mel bands; Böck and Widmer, "Maximum filter vibrato suppression for
onset detection" (DAFx 2013), section 2.1, for the spectral flux; Ellis, "Chroma feature analysis" (2007) for chroma.
Parity with librosa 0.11 is held by tests.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor

from motionloom.errors import RequestError

WINDOW = 2048
"""Samples of a window; 93 ms at 22,050 Hz."""
HOP = 512
"""Windows at least this dense [samples]: 43 frames a second at 22,050 Hz."""
RANGE_DB = 80.0
"""What is this far below the loudest band of a clip counts as silence [dB]."""
MAX_FPS = 1000.0
PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_CHUNK = 2048
_QUIETEST = 1e-10


def frame_count(samples: int, rate: int, fps: float) -> int:
    """Frames of a clip: as many as motion of the same duration has, at least one.

    Raises:
        RequestError: The frame rate is not between 0 and 1000, or the sample rate not positive.
    """
    if not 0 < fps <= MAX_FPS or rate <= 0:
        raise RequestError(
            f"{fps} frames a second of {rate} Hz; fps between 0 and {MAX_FPS:g} and Hz above 0 are needed"
        )
    return max(1, round(samples * fps / rate))


def spectrogram(samples: Float[Tensor, "*B S"], rate: int, fps: float) -> Float[Tensor, "*B N K"]:
    """Power spectra of Hann windows around the times n / fps.

    Args:
        samples: Sound; leading axes are clips.
        rate: Samples a second.
        fps: Frames a second; above 43 (at 22,050 Hz) no sample is left out.
    """
    centres = (torch.arange(frame_count(samples.shape[-1], rate, fps)).double() * rate / fps).round().long()
    padded = F.pad(samples, (WINDOW // 2, WINDOW // 2))
    window = torch.hann_window(WINDOW, periodic=True).to(samples)
    # In pieces: all windows of ten minutes at once would be hundreds of megabytes.
    pieces = [
        _power(torch.fft.rfft(padded[..., some[:, None] + torch.arange(WINDOW)] * window))
        for some in centres.split(_CHUNK)
    ]
    return torch.cat(pieces, dim=-2)


def mel_filters(rate: int, bands: int) -> Float[Tensor, "M K"]:
    """Triangles of equal area, evenly spaced in Slaney's mel from 0 Hz to half the sample rate.

    Slaney's mel is linear up to 1 kHz (15 a kilohertz) and logarithmic above (27 to a factor of 6.4).

    Raises:
        RequestError: There are no bands, or so many that one falls between two frequencies.
    """
    knee, step = 15.0, math.log(6.4) / 27
    top = knee + math.log(rate / 2 / 1000) / step if rate > 2000 else rate / 2 * 3 / 200
    mels = torch.linspace(0.0, top, bands + 2, dtype=torch.float64)
    edges = torch.where(mels < knee, mels * 200 / 3, 1000 * torch.exp(step * (mels - knee)))
    heard = torch.linspace(0.0, rate / 2, WINDOW // 2 + 1, dtype=torch.float64)
    low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rise, fall = (heard - low) / (mid - low), (high - heard) / (high - mid)
    filters = torch.minimum(rise, fall).clamp(min=0) * 2 / (high - low)
    if bands < 1 or bool((filters.amax(-1) == 0).any()):
        raise RequestError(f"{bands} mel bands at {rate} Hz; take from 1 to about {rate // 150}")
    return filters.float()


def chroma_filters(rate: int) -> Float[Tensor, "12 K"]:
    """Weight of each frequency for each of the twelve pitch classes, C first, A at 440 Hz.

    A Gaussian a semitone wide (or as wide as the spacing of the frequencies, where that is more) around each pitch;
    frequencies five octaves above 27.5 Hz count most, with a deviation of two octaves.
    """
    heard = torch.arange(1, WINDOW // 2 + 1, dtype=torch.float64) * rate / WINDOW
    pitch = 12 * torch.log2(heard / 27.5)
    # 0 Hz has no pitch; as is usual it is put an octave and a half below the first frequency.
    pitch = torch.cat((pitch[:1] - 18, pitch))
    width = torch.cat((pitch.diff().clamp(min=1), torch.ones(1).double()))
    apart = (pitch - torch.arange(12)[:, None] + 6) % 12 - 6
    weights = torch.exp(-0.5 * (2 * apart / width).square())
    weights = weights / weights.norm(dim=0, keepdim=True)
    weights = weights * torch.exp(-0.5 * ((pitch / 12 - 5) / 2).square())
    # Counted from A; three semitones on is C.
    return weights.roll(-3, dims=0).float()


def decibels(power: Float[Tensor, "*B N M"]) -> Float[Tensor, "*B N M"]:
    """Power in dB, at most 80 below the loudest place of the clip (and never below -100)."""
    level = 10 * power.clamp(min=_QUIETEST).log10()
    return torch.maximum(level, level.amax((-2, -1), keepdim=True) - RANGE_DB)


def log_mel(samples: Float[Tensor, "*B S"], rate: int, fps: float, bands: int = 64) -> Float[Tensor, "*B N M"]:
    """Mel bands in dB at a frame rate; see ``decibels``.

    Raises:
        RequestError: See ``frame_count`` and ``mel_filters``.
    """
    fine = windows_a_frame(rate, fps)
    bank = mel_filters(rate, bands).to(samples)
    count = frame_count(samples.shape[-1], rate, fps)
    return decibels(pool(spectrogram(samples, rate, fps * fine) @ bank.T, fine, count, "mean"))


def chroma(samples: Float[Tensor, "*B S"], rate: int, fps: float) -> Float[Tensor, "*B N 12"]:
    """How much of each pitch class (C first) is heard, the strongest of a frame being 1; silent frames are 0.

    Raises:
        RequestError: See ``frame_count``.
    """
    fine = windows_a_frame(rate, fps)
    count = frame_count(samples.shape[-1], rate, fps)
    energy = spectrogram(samples, rate, fps * fine) @ chroma_filters(rate).to(samples).T
    energy = pool(energy, fine, count, "mean")
    most = energy.amax(-1, keepdim=True)
    return torch.where(most > _QUIETEST, energy / most.clamp(min=_QUIETEST), 0.0)


def onset_strength(samples: Float[Tensor, "*B S"], rate: int, fps: float) -> Float[Tensor, "*B N"]:
    """How much louder it gets: mean rise in dB of 128 mel bands from a frame to the next, never negative.

    A window hears a note half its length before the note is at its centre, so the curve is moved later by that much.

    Raises:
        RequestError: See ``frame_count``.
    """
    level = decibels(spectrogram(samples, rate, fps) @ mel_filters(rate, 128).to(samples).T)
    rise = level.diff(dim=-2).clamp(min=0).mean(-1)
    late = 1 + int(WINDOW / 2 * fps / rate)
    return F.pad(rise, (late, 0))[..., : level.shape[-2]]


def windows_a_frame(rate: int, fps: float) -> int:
    """How many windows are pooled into a frame, so that no sample is left out."""
    frame_count(0, rate, fps)
    return max(1, math.ceil(rate / HOP / fps - 1e-6))


def pool(
    values: Float[Tensor, "*B F C"], fine: int, count: int, how: Literal["mean", "max"]
) -> Float[Tensor, "*B N C"]:
    """``count`` frames from windows that are ``fine`` times as many; each takes those around its time.

    Frame n's windows are those around number n x ``fine``, where the first and the last window go on beyond the ends.
    """
    if fine == 1:
        return values[..., :count, :]
    windows = (torch.arange(count * fine) - fine // 2).clamp(0, values.shape[-2] - 1)
    groups = values[..., windows, :].unflatten(-2, (count, fine))
    return groups.mean(-2) if how == "mean" else groups.amax(-2)


def _power(spectrum: Complex[Tensor, "*B N K"]) -> Float[Tensor, "*B N K"]:
    # Not abs().square(): the square root of each would take longer than the transform.
    return spectrum.real.square() + spectrum.imag.square()

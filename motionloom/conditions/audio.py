"""Music and speech: sound files, and what engines see of them, in torch alone.

Files are read by soundfile (libsndfile): wav, flac, ogg (vorbis and opus), mp3, aiff and others. Reading is bounded in
bytes, seconds, channels and sample rate, whatever a file's header says about itself.
"""

import contextlib
import math
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from motionloom.conditions import spectra
from motionloom.conditions.beats import beats
from motionloom.errors import MotionFileError, RequestError
from motionloom.motion.files import MAX_BYTES, atomic_path

RATE = 22050
"""Samples a second that engines hear; nothing above 11 kHz is seen."""
MIN_SECONDS = 0.5
MAX_SECONDS = 600.0
"""Longest sound that is read at once [s]; of a longer file read a span."""
MAX_CHANNELS = 8
MIN_RATE, MAX_RATE = 4000, 192_000
SILENCE = 1e-4
"""A file whose loudest sample is below this (-80 dB of full scale) is silent."""
MEL_BANDS = 64
AUDIO_SLICES = {"mel": slice(0, 64), "onset": slice(64, 65), "beat": slice(65, 66), "chroma": slice(66, 78)}
"""What the columns of ``audio_features`` are."""
AUDIO_WIDTH = 78
_BLOCK = 1 << 16
_MAX_SAMPLES = int(MAX_SECONDS) * 48_000
"""Most samples of a channel that are decoded: ten minutes at 48 kHz, fewer seconds at higher rates."""
_MAX_DECODED = 2 * _MAX_SAMPLES
"""The same over all channels."""
_SHARED = 25
"""Least common divisor of usual sample rates with ours."""
_SEEKABLE = ("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW")
"""Codings in which a place can be gone to; others are decoded from their beginning, or what is heard depends on it."""
_CANCELLED = 0.5
"""A mix that is this quiet beside what its loudest channel contributes has lost it."""
_WHOLE, _PIECE_SECONDS, _MARGIN_SECONDS = 40.0, 8.0, 0.25
"""Sound longer than this is resampled in pieces of that length, with so much of their neighbours [s]."""
_DECODING = threading.RLock()
_DECODER_SAYS = re.compile(rb"libmpg123|^(Note|Warning|Error): ")
_FOREIGN = (".m4a", ".aac", ".mp4", ".wma", ".mka", ".webm", ".mov", ".amr")
_WIDEST_TAPER = 0.05
_CUT_WAV = re.compile(r"data\s*: (\d+) \(should be (\d+)\)")
_UNKNOWN_LENGTH = 0x7FFFF000
"""Programs that write to a pipe give a length from here on, because they do not know it."""


@dataclass(frozen=True)
class Sound:
    """Sound of one channel.

    Attributes:
        samples: Samples, full scale being 1.
        rate: Samples a second.
        notes: What was taken to be so when it was read.
    """

    samples: Float[Tensor, " S"]
    rate: int
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Duration [s]."""
        return len(self.samples) / self.rate


def load_audio(
    path: str | os.PathLike[str], rate: int = RATE, start: float = 0.0, seconds: float | None = None
) -> Sound:
    """Read a sound file, mix its channels to one and bring it to a sample rate.

    Args:
        path: A file of at most 512 MiB.
        rate: Samples a second wanted.
        start: Where to begin [s].
        seconds: How much to read [s]; to the end if not given.

    Raises:
        MotionFileError: The file is missing, no sound, empty, cut off, silent, damaged (NaN), or has more than 8
            channels, an odd sample rate, or less than 0.5 s or more than 600 s of what is wanted.
        RequestError: The span or the sample rate is impossible.
    """
    if not 0 <= start < math.inf or (seconds is not None and not MIN_SECONDS <= seconds <= MAX_SECONDS):
        raise RequestError(
            f"span from {start} s of {seconds} s; a start from 0 and {MIN_SECONDS:g} to {MAX_SECONDS:g} s are needed"
        )
    _check_rate(rate, "the sample rate wanted")
    path = Path(path)
    with _opened(path) as file:
        _check_header(file, path)
        native, channels = int(file.samplerate), int(file.channels)
        mono, loudness = _read(file, path, start, seconds)
    notes = ()
    if len(mono) < MIN_SECONDS * native:
        raise MotionFileError(
            f"{path}: {len(mono) / native:.3g} s of sound from {start:g} s on; at least {MIN_SECONDS:g} s are needed"
        )
    if not np.isfinite(mono).all():
        raise MotionFileError(f"{path}: holds NaN or infinite samples; write it again from its source")
    # Channels in opposite phase are lost when they are mixed (karaoke tracks, cables with wrong poles).
    if channels > 1 and float(np.sqrt(np.mean(np.square(mono)))) < _CANCELLED / channels * float(loudness.max()):
        best = int(loudness.argmax())
        with _opened(path) as file:
            mono, _ = _read(file, path, start, seconds, channel=best)
        notes = (f"its channels cancel each other: channel {best + 1} of {channels} taken",)
    loudest = float(np.abs(mono).max())
    if loudest < SILENCE:
        raise MotionFileError(f"{path}: is silent (loudest sample {loudest:.2g} of 1){_first_sound(path, start)}")
    return Sound(resample(torch.from_numpy(mono), native, rate), rate, notes)


def _first_sound(path: Path, start: float) -> str:
    """Where a file that is silent at its beginning is heard first, in words."""
    with _opened(path) as file:
        place = 0
        while place < MAX_SECONDS * file.samplerate:
            block = file.read(_BLOCK, dtype="float32", always_2d=True)
            if len(block) == 0:
                break
            loud = np.abs(block).max(axis=1) >= SILENCE
            place += len(block)
            if place > start * file.samplerate and loud.any():
                first = (place - len(block) + int(loud.argmax())) / file.samplerate
                if first > start:
                    return f": its sound begins at {first:.1f} s; name where to begin with --from {first:.1f}"
    return "; give a file with sound, or leave the condition out"


def save_audio(sound: Sound, path: str | os.PathLike[str]) -> None:
    """Write 16-bit wav or flac, or ogg or mp3; the suffix chooses. The file appears whole or not at all.

    Raises:
        MotionFileError: The suffix is another, a sample is beyond full scale or NaN, or the file cannot be written.
    """
    import soundfile

    path = Path(path)
    if path.suffix.lower() not in (".wav", ".flac", ".ogg", ".mp3"):
        raise MotionFileError(f"{path}: sound is written as .wav, .flac, .ogg or .mp3, not {path.suffix!r}")
    peak = float(sound.samples.abs().max()) if len(sound.samples) else 0.0
    if not peak <= 1.0:
        raise MotionFileError(f"{path}: the loudest sample is {peak:.3g}; scale the sound to at most 1 first")
    with atomic_path(path) as temporary:
        try:
            samples = sound.samples.cpu().numpy()
            with soundfile.SoundFile(temporary, "w", sound.rate, 1) as file:
                # In blocks: the encoder of ogg keeps what it is given at once on its stack, which a minute overflows.
                for start in range(0, len(samples), _BLOCK):
                    file.write(samples[start : start + _BLOCK])
        except soundfile.SoundFileError as error:
            raise MotionFileError(f"{path}: cannot be written ({_reason(error)})") from None


def resample(samples: Float[Tensor, "*B S"], old: int, new: int) -> Float[Tensor, "*B R"]:
    """Sound at another sample rate, without what the lower of both rates cannot hold.

    The spectrum is cut off, with a cosine over its last 5 %, so that attacks do not ring; this suits any two rates.

    Args:
        samples: Sound; leading axes are clips.
        old: Samples a second it has.
        new: Samples a second wanted.

    Raises:
        RequestError: A rate is not from 4 to 192 kHz.
    """
    _check_rate(old, "the sample rate")
    _check_rate(new, "the sample rate wanted")
    if old == new:
        return samples
    if samples.shape[-1] > _WHOLE * old:
        return _resample_pieces(samples, old, new)
    return _resample_whole(samples, old, new)


def _resample_pieces(samples: Float[Tensor, "*B S"], old: int, new: int) -> Float[Tensor, "*B R"]:
    """Long sound, piece by piece with some of its neighbours: the filter hears a few milliseconds around a sample."""
    unit = old // math.gcd(old, new)
    piece, margin = (math.ceil(seconds * old / unit) * unit for seconds in (_PIECE_SECONDS, _MARGIN_SECONDS))
    length, cut = samples.shape[-1], margin * new // old
    wanted = round(length * new / old)
    result = samples.new_empty((*samples.shape[:-1], wanted))
    for start in range(0, length, piece):
        first, last = start - margin, start + piece + margin
        part = F.pad(samples[..., max(first, 0) : min(last, length)], (max(-first, 0), max(last - length, 0)))
        made = _resample_whole(part, old, new)[..., cut : cut + piece * new // old]
        place = start * new // old
        count = min(made.shape[-1], wanted - place)
        result[..., place : place + count] = made[..., :count]
    return result


def _resample_whole(samples: Float[Tensor, "*B S"], old: int, new: int) -> Float[Tensor, "*B R"]:
    shared = math.gcd(old, new)
    # Silence behind the end keeps the end from wrapping around to the start; sizes with small factors are fast.
    blocks = _fast_size(math.ceil((samples.shape[-1] + old // 20) * shared / old))
    long, wanted = blocks * (old // shared), blocks * (new // shared)
    spectrum = torch.fft.rfft(F.pad(samples, (0, long - samples.shape[-1])))
    kept = min(long, wanted) // 2 + 1
    place = torch.linspace(0, 1, kept).to(samples)
    taper = 0.5 + 0.5 * torch.cos(math.pi * ((place - 1) / _WIDEST_TAPER + 1).clamp(min=0))
    shaped = F.pad(spectrum[..., :kept] * taper, (0, wanted // 2 + 1 - kept))
    return torch.fft.irfft(shaped * (new / old), wanted)[..., : round(samples.shape[-1] * new / old)]


def audio_features(samples: Float[Tensor, " S"], rate: int, fps: float) -> Float[Tensor, "N 78"]:
    """What engines see of music and speech, at the frame rate of the motion; all numbers lie from 0 to 1.

    ``AUDIO_SLICES`` names the columns: log-mel levels (1 the loudest place of the clip, 0 at 80 dB below it), onset
    strength (1 the strongest of the clip), 1 in the frames nearest to a beat, and chroma. Frame n is the time n / fps;
    it hears what is up to half a frame (and at least 46 ms) from it, so nothing is left out. Silence gives zeros.

    Args:
        samples: Sound at any rate; it is listened to at 22,050 Hz.
        rate: Samples a second.
        fps: Frames a second of the motion.

    Raises:
        RequestError: There are no samples, a sample is NaN or infinite, or a rate is impossible.
    """
    if len(samples) == 0 or not torch.isfinite(samples).all():
        raise RequestError(f"{len(samples)} samples of sound, or NaN among them; finite samples are needed")
    heard = resample(samples.float(), rate, RATE)
    frames = spectra.frame_count(len(heard), RATE, fps)
    fine = spectra.windows_a_frame(RATE, fps)
    level = spectra.log_mel(heard, RATE, fps, MEL_BANDS)
    mel = (level - level.max()) / spectra.RANGE_DB + 1
    onset = spectra.pool(spectra.onset_strength(heard, RATE, fps * fine)[:, None], fine, frames, "max")
    beat = torch.zeros(frames, 1)
    beat[(beats(heard, RATE) * fps).round().long().clamp(max=frames - 1)] = 1.0
    pitch = spectra.chroma(heard, RATE, fps)
    features = torch.cat((mel, onset / onset.max().clamp(min=1e-9), beat, pitch), dim=-1)
    return features if float(heard.abs().max()) >= SILENCE else torch.zeros_like(features)


def _check_rate(rate: int, where: str) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        kind = RequestError if where.startswith("the sample rate") else MotionFileError
        raise kind(f"{where}: {rate} samples a second; {MIN_RATE} to {MAX_RATE} are read: convert it first")


def _check_header(file: Any, path: Path) -> None:
    """Refuse what is beyond the limits before anything is decoded."""
    _check_rate(file.samplerate, str(path))
    if file.channels > MAX_CHANNELS:
        raise MotionFileError(f"{path}: {file.channels} channels; up to {MAX_CHANNELS} are read: mix it down first")


@contextmanager
def _quiet(path: Path) -> Iterator[None]:
    """Keep what the decoder of MP3 writes about damage straight to the standard error; all else is passed on.

    The file descriptor is the process's: what other threads write meanwhile comes a little later.
    """
    if path.suffix.lower() not in (".mp3", ".mp2", ".mpga"):
        yield
        return
    with _DECODING, tempfile.TemporaryFile() as said:
        kept = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            said.seek(0)
            others = [line for line in said.read().splitlines(keepends=True) if not _DECODER_SAYS.search(line)]
            with contextlib.suppress(OSError):
                os.write(kept, b"".join(others))
            os.close(kept)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A sound file, its errors in one line."""
    with _quiet(path), _opened_aloud(path) as file:
        yield file


@contextmanager
def _opened_aloud(path: Path) -> Iterator[Any]:
    import soundfile

    if path.is_dir():
        raise MotionFileError(f"{path}: is a directory; give the name of a file")
    if not path.is_file():
        raise MotionFileError(f"{path}: there is no such file, or it is no ordinary one")
    size = path.stat().st_size
    if not 0 < size <= MAX_BYTES:
        raise MotionFileError(f"{path}: {size} bytes; sound files of 1 to {MAX_BYTES} bytes are read")

    class Stream(soundfile.SoundFile):
        """A file that is only read on: going to where one is makes decoders of MP3 begin anew, which is heard."""

        def seekable(self) -> bool:
            return False

    if path.suffix.lower() in _FOREIGN:
        raise MotionFileError(
            f"{path}: {path.suffix} is not read; convert it first: ffmpeg -i {path.name[:40]} {path.stem[:36]}.wav"
        )
    try:
        file = Stream(path)
    # A TypeError is how it says that headerless samples (.raw) have no rate.
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise MotionFileError(f"{path}: is no readable sound file ({_reason(error)})") from None
    try:
        with file:
            yield file
    except (soundfile.SoundFileError, OSError) as error:
        raise MotionFileError(f"{path}: is no readable sound file ({_reason(error)})") from None


def _read(
    file: Any, path: Path, start: float, seconds: float | None, channel: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Samples of a span, channels mixed (or one of them), and how loud each channel is there (RMS).

    Memory is bounded by what is wanted, not by what the header claims.
    """
    whole = _CUT_WAV.search(file.extra_info)
    cut = whole is not None and int(whole[2]) < int(whole[1]) < _UNKNOWN_LENGTH
    if cut or "end-of-stream" in file.extra_info.lower():
        raise MotionFileError(f"{path}: the file is cut off; fetch or write it again")
    rate, told = file.samplerate, file.frames
    first = min(round(start * rate), told)
    limit = math.ceil((MAX_SECONDS if seconds is None else seconds) * rate)
    most = min(_MAX_SAMPLES, _MAX_DECODED // file.channels)
    # Rates that share nothing with ours take transforms of awkward sizes: six times as long.
    most = most if math.gcd(rate, RATE) >= _SHARED else most // 6
    if (told - first > limit and seconds is None) or min(limit, told - first) > most:
        raise MotionFileError(
            f"{path}: {min(told - first, limit if seconds else told) / rate:.0f} s of sound; up to"
            f" {min(MAX_SECONDS, most / rate):.0f} s at {rate} Hz with {file.channels} channels are read at once:"
            " name a span with --from and --seconds, or cut the file"
        )
    if first and any(coding in file.subtype for coding in _SEEKABLE):
        file.seek(first)
    else:
        _skip(file, first)
    wanted = min(limit, max(told - first, 0))
    mono = np.empty(wanted, np.float32)
    power, got = np.zeros(file.channels), 0
    while got < wanted:
        block = file.read(min(_BLOCK, wanted - got), dtype="float32", always_2d=True)
        if len(block) == 0:
            break
        mono[got : got + len(block)] = block.mean(axis=1) if channel is None else block[:, channel]
        power += np.einsum("sc,sc->c", block, block, dtype=np.float64)
        got += len(block)
    if got < wanted:
        raise MotionFileError(f"{path}: the file is cut off; {told} samples are promised, sound ends at {first + got}")
    return mono, np.sqrt(power / max(1, got))


def _skip(file: Any, samples: int) -> None:
    """Decode and drop the beginning of a file."""
    while samples > 0:
        got = len(file.read(min(_BLOCK, samples), dtype="float32", always_2d=True))
        samples = samples - got if got else 0


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[-100:]


def _fast_size(size: int) -> int:
    """The next number that has no factors but 2, 3 and 5."""
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 1

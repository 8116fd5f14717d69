"""Music for motions that were recorded without any: a small synthesiser that plays to the motion's own beats.

A steady grid of beats is fitted to the moments in which the body comes to rest; a style, a key and chords are drawn
from the seed; drums, bass, chords and a melody are played on the grid, louder in bars that move more, the melody on the
moments of rest. The pairs are synthetic: the music follows the dance, not the dance the music.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor

from motionloom.conditions.audio import MAX_SECONDS, MIN_SECONDS, RATE, Sound
from motionloom.errors import RequestError
from motionloom.metrics.dance import motion_beats
from motionloom.motion.motion import Motion

SLOWEST, FASTEST = 60.0, 180.0
"""Tempos that are fitted [beats a minute]."""
NOTE = "music synthesised to the motion's kinematic beats"
BEAT_FPS = 60.0
"""Frame rate at which the motion's beats are looked for, as in AIST++."""
_OCTAVES = 0.5
_PHASES = 64


@dataclass(frozen=True)
class Style:
    """How a kind of music is played; each pattern is a bar of sixteenths, a letter other than "." being a stroke.

    Attributes:
        likely: Tempo that is taken when several fit [beats a minute].
        kick: Pattern of the bass drum.
        snare: Pattern of the snare drum.
        hat: Pattern of the cymbal.
        bass: Pattern of the bass.
        minor: Whether the key is minor.
        swing: Where the second of two sixteenths lies between its neighbours; 0.5 is even.
        pad: Loudness of the chords that are held.
    """

    likely: float
    kick: str
    snare: str
    hat: str
    bass: str
    minor: bool
    swing: float = 0.5
    pad: float = 0.5

    @property
    def beats(self) -> int:
        """Beats of a bar."""
        return len(self.kick) // 4


STYLES = {
    "house": Style(122, "x...x...x...x...", "....x.......x...", "..x...x...x...x.", "..x...x...x...x.", True),
    "hiphop": Style(
        92, "x.....x.x.......", "....x.......x...", "x.x.x.x.x.x.x.x.", "x.....x.x.....x.", True, 0.58, 0.4
    ),
    "rock": Style(116, "x.......x.x.....", "....x.......x...", "x.x.x.x.x.x.x.x.", "x.x.x.x.x.x.x.x.", False, 0.5, 0.3),
    "latin": Style(104, "x...x..xx...x..x", "......x.....x...", "x.xxx.xxx.xxx.xx", "x..x..x.x..x..x.", False),
    "waltz": Style(96, "x...........", "....x...x...", "x...x.x.x...", "x.......x...", False, 0.5, 0.6),
    "electro": Style(
        140, "x...x...x...x...", "....x..x....x...", "xxxxxxxxxxxxxxxx", "x.xx..x.x.xx..x.", True, 0.5, 0.3
    ),
}
# Degree of a chord -> degrees that may follow it (tonic 0): the usual functional moves.
_FOLLOWING = {0: (3, 4, 5, 1), 1: (4,), 2: (5, 3), 3: (0, 4, 1), 4: (0, 5), 5: (3, 1, 4)}
_SCALES = {False: (0, 2, 4, 5, 7, 9, 11), True: (0, 2, 3, 5, 7, 8, 10)}


@dataclass(frozen=True)
class Grid:
    """Evenly spaced beats.

    Attributes:
        bpm: Beats a minute.
        first: Time of the first beat [s], from 0 to one beat.
    """

    bpm: float
    first: float

    def times(self, seconds: float) -> Float[Tensor, " K"]:
        """Times of the beats before the end [s]."""
        return torch.arange(self.first, seconds, 60 / self.bpm, dtype=torch.float64)


@dataclass(frozen=True)
class Accompaniment:
    """Music made for a motion.

    Attributes:
        sound: As long as the motion.
        beats: Times of its beats [s].
        bpm: Beats a minute.
        style: Name of the style.
    """

    sound: Sound
    beats: Float[Tensor, " K"]
    bpm: float
    style: str


def kinematic_beats(motion: Motion) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """When a motion comes to rest [s], and how much it slows down for it [m/s]; see ``metrics.dance.motion_beats``."""
    positions = motion.at_fps(BEAT_FPS).positions
    if len(positions) < 4:
        return torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    frames = motion_beats(positions)
    speed = positions.double().diff(dim=0).norm(dim=-1).mean(-1) * BEAT_FPS
    around = F.max_pool1d(speed[None], 37, stride=1, padding=18)[0]
    return frames.double() / BEAT_FPS, (around - speed)[(frames - 1).clamp(min=0)].clamp(min=1e-6)


def fit_grid(times: Float[Tensor, " K"], weights: Float[Tensor, " K"], seconds: float, likely: float) -> Grid:
    """The even beats on which most of the weight lies.

    A moment on a beat counts 1.8, half between two -0.2, at a quarter -0.8: cos(x) + 0.8 cos(2x) of its phase x.

    Args:
        times: Moments [s].
        weights: What each counts; without any the grid is at the likely tempo from 0 on.
        seconds: Duration of the clip: the longer, the finer the tempos that are tried.
        likely: Tempo that is preferred, with a deviation of half an octave [beats a minute].
    """
    if len(times) == 0:
        return Grid(likely, 0.0)
    hertz = torch.arange(SLOWEST / 60, FASTEST / 60, min(0.02, 0.04 / seconds), dtype=torch.float64)
    phases = torch.arange(_PHASES, dtype=torch.float64) / _PHASES
    share = (weights / weights.sum()).to(torch.complex128)
    fit = torch.zeros(len(hertz), _PHASES, dtype=torch.float64)
    for overtone, amount in ((1, 1.0), (2, 0.8)):
        turns = _turned(-overtone * hertz[:, None] * times) @ share
        fit += amount * (turns[:, None] * _turned(overtone * phases)).real
    prior = torch.exp(-0.5 * (torch.log2(hertz * 60 / likely) / _OCTAVES).square())
    best = int((fit.clamp(min=0) * prior[:, None]).argmax())
    rate, phase = float(hertz[best // _PHASES]), float(phases[best % _PHASES])
    return Grid(60 * rate, phase / rate)


def accompany(motion: Motion, seed: int, style: str | None = None) -> Accompaniment:
    """Make music for a motion; the same motion, seed and style give the same music.

    Args:
        motion: At least 0.5 s, at most 600 s; one that never comes to rest gets beats at its style's tempo.
        seed: Draws the style, key, chords and melody.
        style: One of ``STYLES``, or drawn.

    Raises:
        RequestError: There is no such style, or the motion is too short or too long.
    """
    if style is not None and style not in STYLES:
        raise RequestError(f"there is no style {style!r}; styles are {', '.join(STYLES)}")
    if not MIN_SECONDS <= motion.seconds <= MAX_SECONDS:
        raise RequestError(
            f"the motion lasts {motion.seconds:.3g} s; music is made for {MIN_SECONDS:g} to {MAX_SECONDS:g} s"
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = list(STYLES)[int(torch.randint(len(STYLES), (), generator=generator))]
    name = drawn if style is None else style
    rests, weights = kinematic_beats(motion)
    grid = fit_grid(rests, weights, motion.seconds, STYLES[name].likely)
    samples = _play(STYLES[name], grid, rests, weights, motion, generator)
    return Accompaniment(Sound(samples, RATE), grid.times(motion.seconds), grid.bpm, name)


def _turned(turns: Float[Tensor, "*S"]) -> Complex[Tensor, "*S"]:
    return torch.polar(torch.ones_like(turns), 2 * math.pi * turns)


def _play(
    style: Style, grid: Grid, rests: Tensor, weights: Tensor, motion: Motion, generator: torch.Generator
) -> Float[Tensor, " S"]:
    """The whole piece."""
    length, beat = round(motion.seconds * RATE), 60 / grid.bpm
    mix = torch.zeros(length)

    def draw(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    def add(voice: Tensor, time: float, level: float) -> None:
        start = round(time * RATE)
        skipped = max(0, -start)
        end = min(length, start + len(voice))
        if end > start + skipped:
            mix[start + skipped : end] += level * voice[skipped : skipped + end - start - skipped]

    # The bar begins on the beat where most of the motion's rests are.
    place = torch.round((rests - grid.first) / beat).long() % style.beats
    downbeat = int(torch.bincount(place, weights, minlength=style.beats).argmax()) if len(rests) else 0
    begin = grid.first + (downbeat - style.beats) * beat
    bars = math.ceil((motion.seconds - begin) / (style.beats * beat))
    lively = _liveliness(motion, begin, style.beats * beat, bars)
    root, chord = 45 + draw(12), 0
    noise = torch.randn(RATE, generator=generator)
    voices = {"kick": _kick(), "snare": _snare(noise), "hat": _hat(noise)}
    levels = {"kick": 0.9, "snare": 0.5, "hat": 0.16}
    patterns = {"kick": style.kick, "snare": style.snare, "hat": style.hat}
    for bar in range(bars):
        start, level = begin + bar * style.beats * beat, lively[bar]
        notes = [_note(root, chord + third, style.minor) for third in (0, 2, 4)]
        for step in range(4 * style.beats):
            time = start + (step + (step % 2) * (2 * style.swing - 1)) * beat / 4
            accent = 1.0 if step % 4 == 0 else 0.7
            for drum, pattern in patterns.items():
                if pattern[step] != ".":
                    add(voices[drum], time, levels[drum] * accent * (level if drum == "hat" else 0.5 + level / 2))
            if style.bass[step] != ".":
                add(_tone(notes[0] - 12, 0.4 * beat, 5, 0.005, 0.25), time, 0.4 * accent)
        for note in notes:
            add(_tone(note + 12, style.beats * beat, 4, 0.08, 2.0), start, 0.12 * style.pad)
        inside = (rests >= start) & (rests < start + style.beats * beat)
        for rest in rests[inside].tolist():
            # On the nearest eighth, so that the melody keeps time.
            time = grid.first + round((rest - grid.first) / beat * 2) * beat / 2
            add(_tone(notes[draw(3)] + 24, 0.7 * beat, 6, 0.003, 0.18), time, 0.22)
        choices = _FOLLOWING[chord]
        chord = choices[draw(len(choices))] if bar + 2 < bars else 0
    return 0.9 * torch.tanh(1.2 * mix) / math.tanh(1.2 * max(1.0, float(mix.abs().max())))


def _liveliness(motion: Motion, begin: float, bar: float, bars: int) -> list[float]:
    """How much each bar moves, from 0.4 to 1."""
    speed = motion.positions.diff(dim=0, append=motion.positions[-1:]).norm(dim=-1).mean(-1)
    number = ((torch.arange(len(speed)) / motion.fps - begin) / bar).floor().long().clamp(0, bars - 1)
    total = torch.zeros(bars).index_add(0, number, speed.float())
    mean = total / torch.bincount(number, minlength=bars).clamp(min=1)
    return (0.4 + 0.6 * mean / mean.max().clamp(min=1e-9)).tolist()


def _note(root: int, degree: int, minor: bool) -> int:
    """MIDI number of a degree of the scale; degrees go on over octaves."""
    return root + 12 * (degree // 7) + _SCALES[minor][degree % 7]


def _time(seconds: float) -> Float[Tensor, " S"]:
    return torch.arange(max(1, round(seconds * RATE))) / RATE


def _tone(note: int, seconds: float, overtones: int, attack: float, decay: float) -> Float[Tensor, " S"]:
    """A note whose overtones die away sooner the higher they are."""
    time, hertz = _time(seconds), 440.0 * 2 ** ((note - 69) / 12)
    sound = torch.zeros(len(time))
    for number in range(1, overtones + 1):
        if number * hertz < RATE / 2:
            sound += torch.sin(2 * math.pi * number * hertz * time) * torch.exp(-time * number / decay) / number
    edges = (time / attack).clamp(max=1) * ((time[-1] - time) / 0.01).clamp(max=1)
    return sound * edges


def _kick() -> Float[Tensor, " S"]:
    """A tone that falls from 150 to 48 Hz within some hundredths of a second."""
    time = _time(0.3)
    turns = 48 * time + 100 * 0.03 * (1 - torch.exp(-time / 0.03))
    return torch.sin(2 * math.pi * turns) * torch.exp(-time / 0.09)


def _snare(noise: Float[Tensor, " N"]) -> Float[Tensor, " S"]:
    time = _time(0.2)
    return 0.6 * torch.sin(2 * math.pi * 190 * time) * torch.exp(-time / 0.04) + 0.4 * noise[: len(time)] * torch.exp(
        -time / 0.06
    )


def _hat(noise: Float[Tensor, " N"]) -> Float[Tensor, " S"]:
    """Noise without its lower half."""
    time = _time(0.08)
    return 0.7 * noise[: len(time) + 1].diff() * torch.exp(-time / 0.02)

"""Speech for gestures that were recorded without any: phrases of espeak-ng whose loudest moment falls on the strokes.

The pairs are synthetic: the words mean nothing to the gestures; only the time of the stress follows the hands.
espeak-ng (GPL-3, a Debian package) is a program of its own and is used only where it is installed.
"""

import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from motionloom.conditions.audio import MAX_SECONDS, MIN_SECONDS, RATE, Sound, resample
from motionloom.errors import RequestError
from motionloom.motion.motion import Motion

NOTE = "speech synthesised with espeak-ng, its stresses on the strokes of the hands"
STROKE_FPS = 60.0
SLOWEST_STROKE = 0.5
"""A hand is in a stroke where it is faster than this against the chest [m/s] ..."""
STROKE_SHARE = 0.35
"""... and than this share of its fast moments in the clip."""
BETWEEN = 0.35
"""Strokes are at least this far apart [s]."""
_PAUSE = 0.05
_EVERY = 1.6
VOICES = ("en-us+m1", "en-us+m3", "en-us+m7", "en-us+f2", "en-us+f3", "en-us+f5")
_OPENINGS = ("so", "well", "and then", "you see", "after all", "in the end", "of course", "I think")
_SUBJECTS = ("the people", "my brother", "everybody", "the old house", "this city", "our team", "the children", "we")
_VERBS = ("walked away", "came together", "stopped talking", "grew bigger", "fell apart", "looked around", "moved on")
_ENDINGS = ("over there", "every single day", "all the way up", "without a word", "right here", "from the beginning")


@dataclass(frozen=True)
class Phrase:
    """Some words that are said in one breath.

    Attributes:
        text: The words.
        start: When they begin [s].
        end: When they are over [s].
        stress: Their loudest moment [s].
    """

    text: str
    start: float
    end: float
    stress: float


@dataclass(frozen=True)
class Spoken:
    """Speech made for a motion.

    Attributes:
        sound: As long as the motion.
        phrases: What is said when.
    """

    sound: Sound
    phrases: tuple[Phrase, ...]

    @property
    def text(self) -> str:
        """All that is said."""
        return " ".join(phrase.text for phrase in self.phrases)


def strokes(motion: Motion) -> Float[Tensor, " K"]:
    """When a hand is in the middle of a stroke [s]: peaks of the faster hand's speed against the chest.

    Raises:
        SkeletonError: The skeleton has no joints of the canonical names: retarget the motion first.
    """
    positions = motion.at_fps(STROKE_FPS).positions.double()
    chest = positions[:, motion.skeleton.index("spine3")]
    hands = torch.stack([positions[:, motion.skeleton.index(f"{side}_wrist")] - chest for side in ("left", "right")], 1)
    if len(hands) < 4:
        return torch.zeros(0, dtype=torch.float64)
    speed = (hands.diff(dim=0).norm(dim=-1) * STROKE_FPS).amax(-1)
    smooth = F.avg_pool1d(speed[None], 7, stride=1, padding=3, count_include_pad=False)[0]
    reach = round(BETWEEN * STROKE_FPS)
    highest = F.max_pool1d(smooth[None], 2 * reach + 1, stride=1, padding=reach)[0]
    limit = max(SLOWEST_STROKE, STROKE_SHARE * float(smooth.quantile(0.95)))
    peaks = ((smooth == highest) & (smooth > limit)).nonzero()[:, 0]
    return (peaks.double() + 0.5) / STROKE_FPS


def speak(motion: Motion, seed: int) -> Spoken:
    """Make speech for a motion: phrases of a small grammar, each with its stress on a stroke of the hands.

    A stroke that comes before the last one's phrase is over gets none; a motion without strokes is spoken to evenly.

    Args:
        motion: At least 0.5 s, at most 600 s, of the canonical body.
        seed: Draws the voice, its pitch and speed, and the words.

    Raises:
        RequestError: espeak-ng is not installed or fails, or the motion is too short or too long.
        SkeletonError: See ``strokes``.
    """
    if not MIN_SECONDS <= motion.seconds <= MAX_SECONDS:
        raise RequestError(
            f"the motion lasts {motion.seconds:.3g} s; {MIN_SECONDS:g} to {MAX_SECONDS:g} s are spoken to"
        )
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    voice, words_a_minute, pitch = VOICES[draw(len(VOICES))], 150 + 25 * draw(3), 35 + 15 * draw(3)
    moments = strokes(motion)
    if len(moments) == 0:
        moments = torch.arange(_EVERY / 2, motion.seconds, _EVERY, dtype=torch.float64)
    mix = torch.zeros(round(motion.seconds * RATE))
    phrases: list[Phrase] = []
    for moment in moments.tolist():
        group = (_OPENINGS, _SUBJECTS, _VERBS, _ENDINGS)[len(phrases) % 4]
        text = group[draw(len(group))]
        sound = say(text, voice, words_a_minute, pitch)
        stress = _loudest(sound) / RATE
        start, end = moment - stress, moment - stress + len(sound) / RATE
        free = phrases[-1].end + _PAUSE if phrases else 0.0
        if start < free or end > motion.seconds:
            continue
        place = round(start * RATE)
        mix[place : place + len(sound)] += sound[: len(mix) - place]
        phrases.append(Phrase(text, start, end, moment))
    return Spoken(Sound(mix.clamp(-1, 1), RATE), tuple(phrases))


@lru_cache(maxsize=4096)
def say(text: str, voice: str, words_a_minute: int, pitch: int) -> Float[Tensor, " S"]:
    """Words as sound at 22,050 Hz, without the silence around them.

    Args:
        text: The words.
        voice: Name of one of espeak-ng's voices.
        words_a_minute: Speed.
        pitch: From 0 to 99.

    Raises:
        RequestError: espeak-ng is not installed, or says nothing.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise RequestError("speech is made by espeak-ng, which is not installed: apt-get install espeak-ng")
    command = [program, "-v", voice, "-s", str(words_a_minute), "-p", str(pitch), "-z", "--stdout", "--", text]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    # A wav header of 44 bytes, the rate in bytes 24 to 27; its lengths are not known to espeak-ng and wrong.
    if done.returncode or done.stdout[:4] != b"RIFF" or len(done.stdout) < 1000:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise RequestError(f"espeak-ng said nothing for {text[:40]!r} with voice {voice!r}: {said[:100]}")
    raw = np.frombuffer(done.stdout[44 : len(done.stdout) // 2 * 2], "<i2").astype(np.float32) / 32768
    sound = resample(torch.from_numpy(raw), int.from_bytes(done.stdout[24:28], "little"), RATE)
    heard = (sound.abs() > 0.01).nonzero()[:, 0]
    return sound[int(heard[0]) : int(heard[-1]) + 1] if len(heard) else sound


def _loudest(sound: Float[Tensor, " S"]) -> int:
    """The sample around which 80 ms have the most energy."""
    width = min(len(sound), round(0.08 * RATE)) // 2 * 2 + 1
    return int(F.avg_pool1d(sound.square()[None], width, stride=1, padding=width // 2)[0].argmax())

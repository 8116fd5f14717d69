"""Speech made for gestures: its stresses fall on the strokes of the hands."""

import math
import shutil

import make
import pytest
import torch

from motionloom.conditions.audio import RATE
from motionloom.data.sound import speech as spoken
from motionloom.data.sound.speech import say, speak, strokes
from motionloom.errors import RequestError
from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
MIDDLES = (0.9, 2.6, 4.4, 6.6)


def gesturing(middles: tuple[float, ...] = MIDDLES, seconds: float = 8.0, fps: float = 30.0) -> Motion:
    """The right arm goes up and down in turn, half a second each, fastest at the given times."""
    still = make.motion(round(seconds * fps), fps=fps, size=0.0)
    times = torch.arange(len(still)).double() / fps
    angle = torch.zeros(len(still)).double()
    for number, middle in enumerate(middles):
        way = ((times - middle) / 0.5 + 0.5).clamp(0, 1)
        angle += (-1) ** number * 0.9 * 0.5 * (1 - torch.cos(math.pi * way))
    rotations = torch.zeros(len(still), len(CANONICAL), 4)
    rotations[..., 0] = 1.0
    rotations[:, CANONICAL.index("right_shoulder")] = rot.about("Z", angle.float())
    return still.with_(rotations=rotations, root=still.root[:1].expand(len(still), 3))


def test_strokes_are_where_the_hand_is_fastest():
    found = strokes(gesturing())
    torch.testing.assert_close(found, torch.tensor(MIDDLES).double(), rtol=0, atol=0.06)
    assert len(strokes(gesturing(()))) == 0


@needs_espeak
def test_every_stress_is_on_a_stroke():
    speech = speak(gesturing(), seed=3)
    moments = strokes(gesturing())
    assert len(speech.phrases) >= 2
    assert len(speech.sound.samples) == 8 * RATE
    for phrase in speech.phrases:
        assert float((moments - phrase.stress).abs().min()) < 1e-6
        inside = speech.sound.samples[round(phrase.start * RATE) : round(phrase.end * RATE)]
        energy = inside.square().unfold(0, 1765, 100).mean(-1)
        loudest = phrase.start + (int(energy.argmax()) * 100 + 882) / RATE
        assert loudest == pytest.approx(phrase.stress, abs=0.02)
    assert all(one.end < two.start for one, two in zip(speech.phrases, speech.phrases[1:], strict=False))
    assert speech.text.split()


@needs_espeak
def test_the_same_seed_says_the_same_and_hands_at_rest_are_spoken_to_evenly():
    first, again = speak(gesturing(), seed=5), speak(gesturing(), seed=5)
    assert first.phrases == again.phrases
    torch.testing.assert_close(first.sound.samples, again.sound.samples, rtol=0, atol=0)
    assert len(speak(gesturing(()), seed=5).phrases) >= 2


@needs_espeak
def test_an_unknown_voice_is_told():
    with pytest.raises(RequestError, match="espeak-ng said nothing for 'hello'"):
        say("hello", "xx-zz", 160, 50)


def test_without_espeak_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(spoken.shutil, "which", lambda name: None)
    say.cache_clear()
    with pytest.raises(RequestError, match="apt-get install espeak-ng"):
        speak(gesturing(), seed=1)
    with pytest.raises(RequestError, match=r"lasts 0\.1 s"):
        speak(gesturing((), seconds=0.1), seed=1)

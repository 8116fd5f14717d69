"""How M3GPT's motions are drawn: guidance, and of several draws the one that ends best."""

import dataclasses

import make
import pytest
import torch
from make_m3gpt import clicks, noted, write_m3gpt

import motionloom as ml
from motionloom.engines.m3gpt.decoder import prompt_parts
from motionloom.engines.m3gpt.engine import M3GPT
from motionloom.engines.request import Segment
from motionloom.errors import RequestError
from motionloom.models.language.decoding import Decoder
from motionloom.models.language.vocabulary import Codes

WALK = "a person walks forward"


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return M3GPT(write_m3gpt(tmp_path_factory.mktemp("m3gpt")))


@pytest.fixture(scope="module")
def clip():
    """Three seconds at 30 fps."""
    return make.motion(90, 0, 30.0)


def same(a, b) -> bool:
    return torch.equal(a.rotations, b.rotations) and torch.equal(a.root, b.root)


def test_what_guidance_leaves_out(engine, clip, monkeypatch):
    """The sentence and the music, but never the motion that is there already."""
    asked = noted(monkeypatch)
    guided, plain = (engine.generate(WALK, seconds=2.0, seed=3, guidance=scale)[0] for scale in (4.0, 1.0))
    assert not same(guided, plain)
    assert asked[0].uncond == prompt_parts("any-motion")
    asked.clear()
    engine.generate(music=clicks(7.0), guidance=2.0)
    assert asked[0].uncond == prompt_parts("any-motion")
    assert [part.modality for part in asked[1].uncond or [] if isinstance(part, Codes)] == ["motion"]
    asked.clear()
    engine.predict(clip, 2.0, text=WALK, guidance=2.0)
    # What the answer begins with is seen by both.
    assert len(asked[0].prefix) > 0
    assert asked[0].uncond == prompt_parts("any-motion")
    asked.clear()
    engine.complete(clip, ml.frames(0, 1.0) | ml.frames(2.0, 3.0), text=WALK, guidance=2.0)
    assert [part.modality for part in asked[0].uncond or [] if isinstance(part, Codes)] == ["motion"]
    assert len(asked[0].parts) > len(asked[0].uncond or [])
    # Where there is nothing to follow, guidance changes nothing.
    assert same(*(engine.generate("", seconds=1.0, seed=1, guidance=scale)[0] for scale in (1.0, 5.0)))


def test_of_several_draws_the_one_that_ends_best_is_kept(engine, monkeypatch):
    """The first is what a single one would be; where it ends best itself, it is the answer."""
    alone = engine.generate(WALK, seconds=2.0, seed=3, draws=1)[0]
    scores: list[float] = []
    write = Decoder.write

    def noting(writer, *given, **more):
        said = write(writer, *given, **more)
        if scores:
            said = dataclasses.replace(said, ending=torch.tensor(scores))
        return said

    monkeypatch.setattr(Decoder, "write", noting)
    scores[:] = [0.0, -1.0, -2.0]
    assert same(engine.generate(WALK, seconds=2.0, seed=3, draws=3)[0], alone)
    scores[:] = [-1.0, -2.0, 0.0]
    assert not same(engine.generate(WALK, seconds=2.0, seed=3, draws=3)[0], alone)
    scores.clear()
    asked = noted(monkeypatch)
    engine.story([Segment(WALK, 2.0), Segment("someone bows", 2.0)])
    engine.generate(WALK)
    engine.generate("", seconds=2.0)
    engine.generate(music=clicks(3.0))
    engine.generate(WALK, seconds=12.0)
    # Only the end of a sentence's motion is one, and only where a length was asked for.
    assert [ask.draws for ask in asked] == [8, 8, 1, 1, 1, 1, 8]
    with pytest.raises(RequestError, match="draws is 0; give a whole number, 1 to 64"):
        engine.generate(WALK, seconds=2.0, draws=0)

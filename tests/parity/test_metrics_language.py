"""BLEU, ROUGE-L, CIDEr, METEOR and the tokeniser against pycocoevalcap 1.2's numbers."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from motionloom.metrics.language import bleu, caption_scores, cider, meteor, rouge_l
from motionloom.metrics.ptb import tokenize

FIXTURE = Path(__file__).parents[3] / "shared" / "fixtures" / "metrics_text.json"


@pytest.fixture(scope="module")
def want() -> dict[str, Any]:
    if not FIXTURE.exists():
        pytest.skip(f"parity fixture {FIXTURE.name} is not on this machine")
    return json.loads(FIXTURE.read_text())


def texts(want: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    keys = list(want["references"])
    captions = [want["hypotheses"][key] for key in keys]
    return [one[0] if isinstance(one, list) else one for one in captions], [want["references"][key] for key in keys]


def test_captions_are_cut_as_by_the_published_tokeniser(want):
    captions, references = texts(want)
    assert [" ".join(tokenize(caption)) for caption in captions] == list(want["ptb_hypotheses"].values())
    got = [[" ".join(tokenize(reference)) for reference in group] for group in references]
    assert got == list(want["ptb_references"].values())


@pytest.mark.parametrize("style", ["pycoco_ptb", "pycoco_rawsplit_nlgeval_style", "pycoco_ptb_single_ref"])
def test_scores_of_the_set_and_of_each_caption(want, style):
    captions, references = texts(want)
    if style == "pycoco_ptb_single_ref":
        references = [group[:1] for group in references]
    cut = str.split if "rawsplit" in style else tokenize
    words = [cut(caption) for caption in captions]
    wanted = [[cut(reference) for reference in group] for group in references]
    for got, whole, each in zip(
        bleu(words, wanted), want[style]["bleu"], want[style]["bleu_per_sentence"], strict=True
    ):
        assert got.whole == pytest.approx(whole, rel=1e-9)
        assert got.each == pytest.approx(each, rel=1e-9)
    assert rouge_l(words, wanted).each == pytest.approx(want[style]["rougeL_per"], rel=1e-9)
    assert rouge_l(words, wanted).whole == pytest.approx(want[style]["rougeL"], rel=1e-9)
    assert cider(words, wanted).each == pytest.approx(want[style]["cider_per"], rel=1e-9)
    assert cider(words, wanted).whole == pytest.approx(want[style]["cider"], rel=1e-9)
    scores = caption_scores(captions, references, "split" if "rawsplit" in style else "ptb")
    assert scores.bleu == pytest.approx(want[style]["bleu"], rel=1e-9)
    assert scores.cider == pytest.approx(want[style]["cider"], rel=1e-9)


def test_meteor_where_its_program_is_present(want):
    jar = os.environ.get("METEOR_JAR")
    if jar is None or shutil.which("java") is None:
        pytest.skip("METEOR needs Java, and METEOR_JAR must name meteor-1.5.jar")
    captions, references = texts(want)
    wanted = [[tokenize(reference) for reference in group] for group in references]
    got = meteor([tokenize(caption) for caption in captions], wanted, Path(jar))
    assert got.each == pytest.approx(want["meteor_per"], rel=1e-6)
    assert got.whole == pytest.approx(want["meteor"], rel=1e-6)

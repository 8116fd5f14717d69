"""Laws and by-hand cases of the caption scores and of the tokeniser."""

import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motionloom.errors import RequestError
from motionloom.metrics.language import bleu, caption_scores, cider, meteor, rouge_l
from motionloom.metrics.ptb import PUNCTUATION, TOKENIZER, tokenize

WORDS = (
    *("a", "the", "person", "man", "walks", "runs", "turns", "left"),
    *("right", "slowly", "and", "then", "waves", "hand", "in", "circle"),
)
seeds = st.integers(0, 10_000)


def sentences(count: int, seed: int) -> list[list[str]]:
    drawn = random.Random(seed)
    return [drawn.choices(WORDS, k=drawn.randint(5, 12)) for _ in range(count)]


@pytest.mark.parametrize(
    ("caption", "tokens"),
    [
        ('A person\'s arms (both) go up.. then "down"...', "a person 's arms -lrb- both -rrb- go up then down"),
        ("he can't, don't; cannot gonna they're we'll", "he ca n't do n't can not gon na they 're we 'll"),
        ("the boys' arms and/or hands: 1/2 turn, 45-degree", "the boys arms and/or hands 1/2 turn 45-degree"),
        ("turns 90° left-right 3.5 steps 1,000 times", "turns 90 ° left-right 3.5 steps 1,000 times"),
        ("walks.he stops,then goes 10ft 2nd 5:30 o'clock", "walks.he stops then goes 10ft 2nd 5:30 o'clock"),
        ("What?! no!! well…", "what ?! no !! well"),
        ("it’s “fine” – ok — yes", "it 's fine ok yes"),
        ("left--right - mid a* x*y 100% $5", "left right mid a * x * y 100 % $ 5"),
        ("dr. x goes e.g. left etc. at no. 5 or no.", "dr. x goes e.g. left etc. at no. 5 or no"),
        ("to point b. He sits, to point b. slowly, stop., go", "to point b he sits to point b. slowly stop. go"),
        ("'tis 'em he'd've 2 1/2 turns 1½", "'t is 'em he 'd 've 2 1/2 turns 1 1/2"),
        ("  \n\t ", ""),
        ("...", ""),
    ],
)
def test_tokens_by_hand(caption, tokens):
    assert tokenize(caption) == tokens.split()


@given(text=st.text(max_size=60))
def test_any_text_is_cut_into_words_without_spaces_or_dropped_marks(text):
    for token in tokenize(text):
        assert token
        assert not any(character.isspace() for character in token)
        assert token not in PUNCTUATION
    assert tokenize(f" {text}\n") == tokenize(text)


@given(seed=seeds, count=st.integers(2, 8))
def test_a_caption_equal_to_a_reference_scores_best(seed, count):
    references = [[words, words[:4]] for words in sentences(count, seed)]
    captions = [group[0] for group in references]
    assert [score.whole for score in bleu(captions, references)] == pytest.approx([1.0] * 4)
    assert rouge_l(captions, references).whole == pytest.approx(1.0)


@given(seed=seeds, count=st.integers(2, 8))
def test_scores_do_not_depend_on_the_order_of_references_or_captions(seed, count):
    captions = sentences(count, seed)
    references = [list(group) for group in zip(sentences(count, seed + 1), sentences(count, seed + 2), strict=True)]
    for score in (lambda a, b: bleu(a, b)[3], rouge_l, cider):
        plain = score(captions, references).whole
        assert score(captions, [group[::-1] for group in references]).whole == pytest.approx(plain)
        assert score(captions[::-1], references[::-1]).whole == pytest.approx(plain)


def test_bleu_by_hand():
    """Three of four words, one of three pairs; as long as the reference, so that shortness costs nothing."""
    first, second, *_ = bleu([["a", "man", "walks", "left"]], [[["a", "man", "runs", "left"]]])
    assert first.whole == pytest.approx(3 / 4)
    assert second.whole == pytest.approx(math.sqrt(3 / 4 * 1 / 3))


def test_bleu_takes_off_for_a_short_caption_by_the_nearest_reference():
    caption, references = ["a", "man"], [["a", "man", "walks"], ["a", "man", "walks", "slowly", "to", "the", "left"]]
    assert bleu([caption], [references])[0].whole == pytest.approx(math.exp(1 - 3 / 2))


def test_rouge_takes_precision_and_recall_from_different_references():
    """Reference 1: all 3 words of the caption in order, of 6; reference 2: 2 of 2. Published F takes 3/3 and 2/2."""
    caption = ["a", "man", "walks"]
    references = [["a", "tall", "man", "slowly", "walks", "left"], ["man", "walks"]]
    assert rouge_l([caption], [references]).whole == pytest.approx(1.0)
    single = rouge_l([caption], [references[:1]]).whole
    assert single == pytest.approx((1 + 1.44) * 1.0 * 0.5 / (0.5 + 1.44))


def test_cider_by_hand():
    """Equal captions with no word in common with other motions have cosine 1 in all four orders: 10."""
    captions = [["a", "man", "walks", "to", "town"], ["she", "waves", "both", "arms", "now"]]
    assert cider(captions, [[caption] for caption in captions]).each == pytest.approx((10.0, 10.0))
    assert cider(captions[:1], [captions[:1]]).whole == 0.0, "in a set of one every word is everywhere"


def test_cider_counts_the_length_in_pairs():
    """One word against three of the same: cosine 1 in single words, none in the longer groups; 0 pairs against 2."""
    captions = [["jumps"], ["she", "waves", "both", "arms"]]
    references = [[["jumps", "jumps", "jumps"]], [captions[1]]]
    assert cider(captions, references).each[0] == pytest.approx(10 / 4 * math.exp(-4 / 72))


def test_an_empty_caption_scores_nothing():
    references = [[["a", "man", "walks"]], [["she", "waves"]]]
    captions = [[], []]
    assert bleu(captions, references)[0].whole == 0.0
    assert rouge_l(captions, references).whole == 0.0
    assert cider(captions, references).whole == 0.0


def test_results_name_their_tokeniser():
    captions, references = ["A man walks."], [["a man walks"]]
    ptb, split = caption_scores(captions, references), caption_scores(captions, references, "split")
    assert ptb.tokenizer == TOKENIZER
    assert "white space" in split.tokenizer
    assert ptb.bleu[0] == pytest.approx(1.0)
    assert split.bleu[0] == pytest.approx(1 / 3)
    assert ptb.captions == 1


def test_errors_say_what_to_do():
    words = [["a", "man", "walks"]]
    with pytest.raises(RequestError, match="1 captions and references for 2 motions"):
        cider(words, [words, words])
    with pytest.raises(RequestError, match="0 captions"):
        bleu([], [])
    with pytest.raises(RequestError, match="motion 0 has no reference"):
        rouge_l(words, [[]])
    with pytest.raises(RequestError, match="motion 1 has no reference, or one without words"):
        caption_scores(["a man", "a man"], [["a man"], ["..."]])


def test_meteor_says_what_is_missing(monkeypatch, tmp_path):
    words = [["a", "man", "walks"]]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequestError, match="METEOR needs Java"):
        meteor(words, [words], tmp_path / "meteor-1.5.jar")
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\nexit 1\n")
    java.chmod(0o755)
    with pytest.raises(RequestError, match="is missing; give the path"):
        meteor(words, [words], Path("nowhere.jar"))
    jar = tmp_path / "meteor-1.5.jar"
    jar.touch()
    with pytest.raises(RequestError, match="METEOR's program failed"):
        meteor(words, [words], jar)

"""Captions against references: BLEU, ROUGE-L, CIDEr, and METEOR where Java and its program are present.

The scores of COCO's caption evaluation (pycocoevalcap 1.2), which motion-to-text reports. They depend on the tokeniser
by up to a quarter, so every result names it. What everybody's numbers contain is kept and named:

* :data:`ROUGE_SLIP`: best precision and best recall may come from different references.
* :data:`CIDER_NAME`: what is called CIDEr is CIDEr-D times 10, and its length penalty counts pairs of words.
* CIDEr weighs words by the references of the very set that is measured: it depends on the whole set, and a set of
  one caption scores 0.

BERTScore, which needs a language model on disk, is in ``bertscore``.
"""

import math
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from motionloom.errors import RequestError
from motionloom.metrics.ptb import TOKENIZER, tokenize

Tokens = Sequence[str]
Tokenizer = Literal["ptb", "split"]
"""How captions become words: "ptb" is COCO's; "split" cuts at spaces only, as nlg-eval does (TM2T, MotionGPT)."""

ROUGE_SLIP = "best precision and best recall over references, not the best F of one reference; beta 1.2 (COCO)"
CIDER_NAME = "CIDEr-D times 10, sigma 6, idf from the measured set, length counted in word pairs (COCO)"

_ORDERS = 4
_TINY, _SMALL = 1e-15, 1e-9


@dataclass(frozen=True)
class Score:
    """A score of a set of captions and of each caption in it."""

    whole: float
    each: tuple[float, ...]


@dataclass(frozen=True)
class CaptionScores:
    """Scores of a set of captions.

    Attributes:
        bleu: BLEU-1 to BLEU-4 of the whole set.
        rouge_l: ROUGE-L (:data:`ROUGE_SLIP`).
        cider: CIDEr (:data:`CIDER_NAME`).
        captions: How many captions were measured.
        tokenizer: Name and version of the tokeniser: without it the figures mean nothing.
    """

    bleu: tuple[float, float, float, float]
    rouge_l: float
    cider: float
    captions: int
    tokenizer: str


def caption_scores(
    captions: Sequence[str], references: Sequence[Sequence[str]], tokenizer: Tokenizer = "ptb"
) -> CaptionScores:
    """BLEU-1 to 4, ROUGE-L and CIDEr of captions.

    Args:
        captions: One caption a motion.
        references: The true captions of each motion.
        tokenizer: How to cut them into words.

    Raises:
        RequestError: There are no captions, a motion has no reference or one without words, or the numbers differ.
    """
    if tokenizer not in ("ptb", "split"):
        raise RequestError(f"tokenizer {tokenizer!r} is unknown; tokenizers are ptb, split")
    cut = tokenize if tokenizer == "ptb" else str.split
    words = [cut(caption) for caption in captions]
    wanted = [[cut(reference) for reference in group] for group in references]
    first, second, third, fourth = (score.whole for score in bleu(words, wanted))
    return CaptionScores(
        bleu=(first, second, third, fourth),
        rouge_l=rouge_l(words, wanted).whole,
        cider=cider(words, wanted).whole,
        captions=len(words),
        tokenizer=TOKENIZER if tokenizer == "ptb" else "cut at white space, case and punctuation kept",
    )


def bleu(captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> tuple[Score, Score, Score, Score]:
    """BLEU-1 to BLEU-4 (Papineni et al. 2002) with the closest reference length, as COCO computes it.

    Counts are added over the set, so ``whole`` is not the mean of ``each``. A caption without any matching group of
    words scores a small number above 0 instead of 0, as in COCO.

    Raises:
        RequestError: There are no captions, a motion has no reference or one without words, or the numbers differ.
    """
    _check(captions, references)
    totals, each = [0] * (2 * _ORDERS + 2), []
    for caption, group in zip(captions, references, strict=True):
        counts = _matches(caption, group)
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        each.append(_bleu_of(counts))
    scores = [Score(whole, tuple(one[order] for one in each)) for order, whole in enumerate(_bleu_of(totals))]
    return scores[0], scores[1], scores[2], scores[3]


def rouge_l(captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> Score:
    """ROUGE-L (Lin 2004) of captions, and its mean: :data:`ROUGE_SLIP`.

    Raises:
        RequestError: There are no captions, a motion has no reference or one without words, or the numbers differ.
    """
    _check(captions, references)
    each = []
    for caption, group in zip(captions, references, strict=True):
        common = [_longest_common(caption, reference) for reference in group]
        precision = max(common) / max(len(caption), 1)
        recall = max(length / len(reference) for length, reference in zip(common, group, strict=True))
        weighted = recall + 1.2**2 * precision
        each.append((1 + 1.2**2) * precision * recall / weighted if weighted > 0 else 0.0)
    return Score(sum(each) / len(each), tuple(each))


def cider(captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]], sigma: float = 6.0) -> Score:
    """CIDEr (Vedantam et al. 2015) of captions, and its mean: :data:`CIDER_NAME`.

    Raises:
        RequestError: There are no captions, a motion has no reference or one without words, or the numbers differ.
    """
    _check(captions, references)
    counted = [[_counts(reference) for reference in group] for group in references]
    found_in: Counter[tuple[str, ...]] = Counter()
    for group in counted:
        found_in.update(set().union(*group))
    motions = math.log(len(references))

    def weigh(counts: Counter[tuple[str, ...]]) -> list[dict[tuple[str, ...], float]]:
        weights: list[dict[tuple[str, ...], float]] = [{} for _ in range(_ORDERS)]
        for words, count in counts.items():
            weights[len(words) - 1][words] = count * (motions - math.log(max(1, found_in[words])))
        return weights

    each = []
    for caption, texts, group in zip(captions, references, counted, strict=True):
        mine = weigh(_counts(caption))
        total = 0.0
        for text, counts in zip(texts, group, strict=True):
            # Word pairs, not words: the published code counts the length in its second group.
            apart = max(len(caption) - 1, 0) - max(len(text) - 1, 0)
            likeness = sum(_likeness(a, b) for a, b in zip(mine, weigh(counts), strict=True))
            total += likeness / _ORDERS * math.exp(-(apart**2) / (2 * sigma**2))
        each.append(10.0 * total / len(group))
    return Score(sum(each) / len(each), tuple(each))


def meteor(captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]], jar: Path) -> Score:
    """METEOR 1.5 for English with ``-norm``, by its own Java program; give it tokens of :func:`ptb.tokenize`.

    Args:
        captions: Words of each caption.
        references: Words of the true captions.
        jar: ``meteor-1.5.jar``, with its paraphrase table beside it in ``data/``.

    Raises:
        RequestError: Java or the file is missing, the program fails, or captions and references don't fit together.
    """
    _check(captions, references)
    java = shutil.which("java")
    if java is None:
        raise RequestError("METEOR needs Java, which is not on the PATH; install a Java runtime or leave METEOR out")
    if not jar.is_file():
        raise RequestError(f"METEOR's program {jar} is missing; give the path of meteor-1.5.jar or leave METEOR out")
    command = [java, "-jar", "-Xmx2G", jar.name, "-", "-", "-stdio", "-l", "en", "-norm"]
    try:
        with subprocess.Popen(
            command, cwd=jar.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as program:
            try:
                answers = _ask_meteor(program, captions, references)
            finally:
                program.kill()
    # Closing the pipe of a program that has died fails once more, so the whole of it is inside.
    except (OSError, ValueError) as error:
        raise RequestError(f"METEOR's program failed ({error}); run `java -jar {jar.name}` to see why") from error
    return Score(answers[-1], tuple(answers[:-1]))


def _ask_meteor(
    program: "subprocess.Popen[str]", captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]
) -> list[float]:
    """METEOR of each caption, and of the whole set last."""
    if program.stdin is None or program.stdout is None:
        raise ValueError("no open input and output")
    statistics = ["EVAL"]
    for caption, group in zip(captions, references, strict=True):
        texts = [" ".join(words).replace("|||", "") for words in (*group, caption)]
        print(" ||| ".join(("SCORE", *texts)), file=program.stdin, flush=True)
        statistics.append(program.stdout.readline().strip())
    print(" ||| ".join(statistics), file=program.stdin, flush=True)
    return [float(program.stdout.readline()) for _ in range(len(captions) + 1)]


def _matches(caption: Tokens, group: Sequence[Tokens]) -> list[int]:
    """Matching and possible groups of one to four words, then the caption's length and the nearest reference's."""
    mine = _counts(caption)
    most: Counter[tuple[str, ...]] = Counter()
    for reference in group:
        most |= _counts(reference)
    right = [0] * _ORDERS
    for words, count in (mine & most).items():
        right[len(words) - 1] += count
    possible = [max(0, len(caption) - order) for order in range(_ORDERS)]
    nearest = min(group, key=lambda reference: (abs(len(reference) - len(caption)), len(reference)))
    return [*right, *possible, len(caption), len(nearest)]


def _bleu_of(counts: Sequence[int]) -> list[float]:
    """BLEU-1 to BLEU-4 from what `_matches` gives, or from sums of it."""
    length, wanted = counts[-2:]
    ratio = (length + _TINY) / (wanted + _SMALL)
    short = math.exp(1 - 1 / ratio) if ratio < 1 and length > 0 else float(ratio >= 1)
    product, scores = 1.0, []
    for order in range(_ORDERS):
        product *= (counts[order] + _TINY) / (counts[_ORDERS + order] + _SMALL)
        scores.append(product ** (1 / (order + 1)) * short)
    return scores


def _likeness(mine: dict[tuple[str, ...], float], wanted: dict[tuple[str, ...], float]) -> float:
    """Cosine of two weighted counts, the caption's clipped to the reference's."""
    lengths = math.hypot(*mine.values()) * math.hypot(*wanted.values())
    if lengths == 0:
        return 0.0
    return sum(min(mine[words], weight) * weight for words, weight in wanted.items() if words in mine) / lengths


def _counts(words: Tokens) -> Counter[tuple[str, ...]]:
    """How often each group of one to four neighbouring words occurs."""
    return Counter(
        tuple(words[start : start + order])
        for order in range(1, _ORDERS + 1)
        for start in range(len(words) - order + 1)
    )


def _longest_common(a: Tokens, b: Tokens) -> int:
    """Length of the longest sequence of words in both, in order, gaps allowed."""
    row = [0] * (len(b) + 1)
    for word in a:
        corner = 0
        for index, other in enumerate(b, start=1):
            above = row[index]
            row[index] = corner + 1 if word == other else max(above, row[index - 1])
            corner = above
    return row[-1]


def _check(captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> None:
    if len(captions) != len(references) or not captions:
        raise RequestError(
            f"{len(captions)} captions and references for {len(references)} motions; scores need one caption a motion"
        )
    for index, group in enumerate(references):
        if not group or not all(group):
            raise RequestError(f"motion {index} has no reference, or one without words; leave it out or repair it")

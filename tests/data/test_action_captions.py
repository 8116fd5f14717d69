"""Wordings for sets of single actions: side, height, direction and count exact, many ways of saying each."""

import csv
import re
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from motionloom.data.captions import ACTION_SETS, action_of, captions_for
from motionloom.errors import DataError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
RULES = tomllib.loads(files("motionloom.data").joinpath("captions_actions.toml").read_text("utf-8"))
SENTENCES = [
    "a person stands idle",
    "a person in a fighting stance kicks forward high",
    "a person in a fighting stance kicks to the left side low",
    "a person in a fighting stance punches about 45 degrees to the left at chest height far out",
    "a person jumps straight up as high as they can",
    "a person jumps and turns 90 degrees to the left in the air",
    "a person jumps about 90 degrees to the left low over a long distance",
    "a person reaches out with the right arm about 30 degrees to the left down to the floor",
    "a person catches something far up high on the left",
    "a person turns on the spot 180 degrees to the left",
    "a person walks in a tight circle to the left",
    "a person makes a beat gesture at chest height with the left hand",
    "a person lies down on the floor",
]
COUNTED = [
    "a person squats down once with the arms stretched forward",
    "a person does a side lunge to the left and comes back up",
    "a person standing upright raises the straight left leg forward and lowers it",
    "a person hops forward once on both legs",
    "a person kicks forward once with the left leg",
]


def captions(description: str, count: str = "", mirrored: bool = False) -> tuple[str, ...]:
    labels = {"description": description} | ({"count": count} if count else {})
    return captions_for("hdm05", labels, mirrored)


@pytest.mark.parametrize("description", SENTENCES + COUNTED)
def test_a_sentence_has_many_wordings_and_its_mirror_the_same_with_sides_exchanged(description):
    said = captions(description)
    assert len(said) >= 8
    assert len(set(said)) == len(said)
    for text, mirrored in zip(said, captions(description, mirrored=True), strict=True):
        assert re.fullmatch(r"[a-z0-9]+([ ,'-]+[a-z0-9]+)*", text), text
        assert sorted(re.findall(r"\b(?:left|right)", text)) == sorted(
            {"left": "right", "right": "left"}[side] for side in re.findall(r"\b(?:left|right)", mirrored)
        )


def test_sides_that_are_said_are_the_right_ones():
    for text in captions("a person in a fighting stance kicks to the left side low"):
        # Whatever goes to the left, the foot that kicks is the right one.
        assert not re.search(r"left (foot|leg)", text)
        assert not re.search(r"right side|to the right\b", text)
    for text in captions("a person turns on the spot 90 degrees to the left"):
        assert "right" not in text
        assert not re.search("180|360|half|full", text)
    assert not any("left" in text for text in captions("a person does a side lunge to the right and comes back up"))


@pytest.mark.parametrize("description", COUNTED)
def test_counts_that_are_said_are_the_right_ones(description):
    wrong = {
        "1": r"\btwice\b|two times|three times|\btwo\b|\bthree\b|again and again",
        "2": r"\bonce\b|\bone\b|three times|\bthree\b",
        "3": r"\bonce\b|\bone\b|twice|two times|\btwo\b",
    }
    right = {"1": r"\bonce\b|\bone\b|\bsingle\b", "2": r"twice|two", "3": r"three"}
    for count, pattern in wrong.items():
        said = captions(description, count)
        assert len(said) >= 8
        assert [text for text in said if re.search(pattern, text)] == [], count
        assert any(re.search(right[count], text) for text in said)


def test_heights_stay_apart():
    high, low = (" ".join(captions(f"a person in a fighting stance kicks forward {way}")) for way in ("high", "low"))
    assert "knee height" in low
    assert "knee" not in high
    assert not re.search(r"\bhigh\b|head height", low)


def test_standing_still_is_said_in_many_ways_and_raises_no_hand():
    said = " ; ".join(captions("a person stands idle"))
    assert all(words in said for words in ("stands still", "waiting", "does nothing"))
    assert not re.search("hand|raise|wave", said)


def test_every_rule_has_an_action_and_words_enough():
    for rule in RULES["rules"]:
        assert re.fullmatch("[a-z-]+", rule["action"])
        assert len(rule["phrases"]) >= 8, rule["match"]
        assert len(rule.get("counted", rule["phrases"])) >= 8, rule["match"]
        re.compile(rule["match"])


def test_a_sentence_without_a_rule_is_refused():
    with pytest.raises(DataError, match="no captions for the description 'a person knits'"):
        action_of("a person knits")


@pytest.mark.parametrize("source", ACTION_SETS)
def test_every_clip_of_the_manifest_has_a_rule_of_its_own(source):
    manifest = SHARED / source / "manifest.csv"
    if not manifest.exists():
        pytest.skip(f"the manifest is not here: {manifest}")
    with manifest.open(encoding="utf-8") as rows:
        sentences = sorted({row["caption"] for row in csv.DictReader(rows)})
    for sentence in sentences:
        matching = [rule["match"] for rule in RULES["rules"] if re.fullmatch(rule["match"], sentence)]
        assert len(matching) == 1, (sentence, matching)
        assert len(captions_for(source, {"description": sentence}, False)) >= 8

"""Sentences with several actions, counts and negations as stories."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motionloom.engines.split import MOST, read_actions, repeats, split_actions


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a person walks forward", ["a person walks forward"]),
        ("a man walks, then sits down, then waves", ["a man walks", "a man sits down", "a man waves"]),
        ("a person walks, then turns, then waves", ["a person walks", "a person turns", "a person waves"]),
        ("a girl is walking, then running", ["a girl is walking", "a girl is running"]),
        ("first he kneels, then he crawls forward", ["he kneels", "he crawls forward"]),
        ("walk forward, then turn left, and finally wave", ["walk forward", "turn left", "wave"]),
        ("he jumps. Then he bows.", ["he jumps", "he bows"]),
        ("an old man walks, stops, and bows", ["an old man walks", "an old man stops", "an old man bows"]),
        ("walks, turns and waves", ["walks", "turns", "waves"]),
        ("a person walks in a circle; then jumps", ["a person walks in a circle", "a person jumps"]),
        ("she bows before sitting down", ["she bows", "she is sitting down"]),
        ("before sitting down, she waves", ["she waves", "she is sitting down"]),
        ("a person waves after jumping", ["a person is jumping", "a person waves"]),
        ("after walking a few steps, the man lies down", ["the man is walking a few steps", "the man lies down"]),
        ("turn left, then right", ["turn left", "turn right"]),
        ("he walks to the left and then to the right", ["he walks to the left", "he walks to the right"]),
    ],
)
def test_actions_in_a_row_are_told_apart_and_keep_their_subject(text, parts):
    assert split_actions(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "the boy walks while waving",
        "he walks and waves at the same time",
        "a person walks and turns left",
        "a person bends down and picks something up",
        "a person raises both hands and lowers them again",
        "an old, tired person walks slowly",
        "a person kicks forward with the left foot",
    ],
)
def test_what_is_one_action_or_done_at_once_stays_whole(text):
    assert split_actions(text) == [text]
    assert read_actions(text).notes == ()


def test_what_was_learned_as_one_clip_stays_whole():
    text = "a person walks forward and then turns left"
    assert len(split_actions(text)) == 2
    assert split_actions(text, whole=lambda sentence: sentence == text) == [text]


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("a person jumps", 1), ("jump twice", 2), ("jump thrice", 3), ("he bows three times", 3), ("kick 12 times", 12),
        ("takes two steps", 1), ("one time", 1),
    ],
)  # fmt: skip
def test_counts_are_read(text, times):
    assert repeats(text) == times


def test_counts_that_were_not_learned_become_a_story():
    assert split_actions("a person jumps three times") == ["a person jumps"] * 3
    assert split_actions("a person kicks twice, then bows") == ["a person kicks", "a person kicks", "a person bows"]
    assert split_actions("he bows 5 times") == ["he bows"] * 5
    # Squats, lunges, raises of arm or leg and hops have captions that count up to three.
    assert split_actions("do three squats") == ["do three squats"]
    assert split_actions("he squats twice") == ["he squats twice"]
    assert split_actions("he squats four times") == ["he squats"] * 4
    assert split_actions(f"he bows {MOST + 5} times") == [f"he bows {MOST + 5} times"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a person does not walk", "a person stands still"),
        ("a person doesn't move", "a person stands still"),
        ("don't walk", "stand still"),
        ("she walks but does not wave", "she walks"),
        ("he walks without swinging his arms", "he walks"),
        ("stand still, don't move", "stand still"),
    ],
)
def test_what_is_not_done_is_left_out_with_a_note(text, left):
    found = read_actions(text)
    assert found.parts == (left,)
    assert len(found.notes) == 1
    assert "not" in found.notes[0] or "still" in found.notes[0]


def test_ways_that_captions_do_say_are_kept():
    for text in ("a person stands without moving", "walk back without turning around"):
        assert read_actions(text).parts == (text,)


def test_a_split_is_said_in_a_note():
    (note,) = read_actions("a man walks, then waves").notes
    assert note == "read as 2 actions, one after the other: a man walks; a man waves"


SOME = "a man walks , then and . ; not twice left before after sitting 3 times"


@given(st.lists(st.sampled_from(SOME.split())))
def test_anything_gives_at_least_one_part_and_no_empty_one(words):
    parts = split_actions(" ".join(words) or "x")
    assert 1 <= len(parts) <= MOST or parts == [" ".join(words)]
    assert all(part.strip() for part in parts) or not " ".join(words).strip(" .,;")

"""Sentences that no training clip is like are told from those that are worded differently."""

import tomllib
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

from motionloom.conditions.text import minilm
from motionloom.conditions.wording import content_stems, predicate, stem
from motionloom.engines.novelty import NoveltyTable, bundled_table, load_table, novelty
from motionloom.errors import CheckpointError, RequestError

CAPTIONS = ("a person walks forward", "a person waves the left hand", "jump straight up", "kick a ball")


@pytest.fixture(scope="module")
def table():
    encoder = minilm()
    vectors = encoder([predicate(text) for text in CAPTIONS]).sentence.numpy()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    stems = frozenset(stem for text in CAPTIONS for stem in content_stems(text))
    return NoveltyTable(CAPTIONS, vectors, stems, 0.3, 0.45, encoder.name)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a person walks forward", "walks forward"),
        ("a cyclops tramples onward", "tramples onward"),
        ("the old man is waving", "waving"),
        ("there is a person walking ahead", "walking ahead"),
        ("Walk forward.", "walk forward"),
        ("she's waving to the king", "waving to the king"),
        ("someone kicks the boss", "kicks the boss"),
        ("", ""),
    ],
)
def test_the_predicate_is_what_is_done(text, what):
    assert predicate(text) == what


def test_forms_of_a_verb_have_one_stem():
    for forms in (("walk", "walks", "walking", "walked"), ("hop", "hops", "hopping"), ("carry", "carries")):
        assert len({stem(form) for form in forms}) == 1
    assert stem("kiss") == "kis" or stem("kiss") == "kiss"
    assert content_stems("a person walks to the left-handed door") == ["walk", "left", "hand", "door"]


def test_a_caption_is_at_no_distance_from_itself_whoever_does_it(table):
    for text, nearest in (("a person walks forward", CAPTIONS[0]), ("the king walks forward", CAPTIONS[0])):
        (found,) = table([text])
        assert found.distance < 0.01
        assert not found.unknown
        assert (found.nearest, found.note) == (nearest, "")


def test_what_is_like_no_caption_is_unknown_and_says_what_is_nearest(table):
    (found,) = table(["a person plays the violin"])
    assert found.unknown
    assert found.words == ("play", "violin")
    assert found.note == f"no clip like 'a person plays the violin' was learned; nearest is {found.nearest!r}"


def test_new_words_make_a_sentence_farther(table):
    far, near = table(["kick a xylophone"])[0], replace(table, weight=0.0)(["kick a xylophone"])[0]
    assert far.distance == pytest.approx(near.distance + 0.3 * 0.5, abs=1e-4)


def test_a_table_is_the_same_after_writing(table, tmp_path):
    table.save(tmp_path / "table")
    again = load_table(tmp_path / "table")
    assert (again.captions, again.stems, again.threshold) == (table.captions, table.stems, table.threshold)
    assert float(np.abs(again.vectors - table.vectors).max()) < 0.01
    assert again(["jump up"])[0].nearest == table(["jump up"])[0].nearest


def test_broken_tables_are_refused(table, tmp_path):
    with pytest.raises(CheckpointError, match="is no table of captions"):
        load_table(tmp_path)
    table.save(tmp_path)
    facts = (tmp_path / "captions.json").read_text()
    (tmp_path / "captions.json").write_text(facts.replace('"jump straight up",', ""))
    with pytest.raises(CheckpointError, match="do not belong together"):
        load_table(tmp_path)
    with pytest.raises(CheckpointError, match="made with 'other'"):
        replace(table, encoder="other")(["walk"])
    with pytest.raises(RequestError, match="the text is empty"):
        table([" "])


@pytest.mark.parametrize("engine", ["mmm", "lmm", "m3gpt"])
def test_the_bundled_tables_keep_their_promises(engine):
    """At most 5 % false alarms and 80 % of unknown sentences caught, as results/novelty*.json say."""
    table = bundled_table(engine)
    folder = files("motionloom.metrics")
    unknown = tomllib.loads((folder / "unknown_actions.toml").read_text("utf-8"))["actions"]
    wide = tomllib.loads((folder / "action_prompts.toml").read_text("utf-8"))["prompts"]
    old = tomllib.loads((folder / "prompts.toml").read_text("utf-8"))
    known = [*old["grammar"], *old["free"], *old["fresh"], *(wide if "smartbody" in table.sources else ())]
    assert len(unknown) == 30
    caught = [found.unknown for entry in unknown for found in table(entry["texts"])]
    texts = [entry["text"] for entry in known]
    alarms = [found.text for found in table(texts) if found.unknown]
    assert np.mean(caught) >= 0.8
    assert len(alarms) <= 0.05 * len(texts), alarms


def test_a_sentence_is_looked_up_by_name_of_the_engine():
    assert not novelty("an old person walks").unknown
    assert not novelty("an old person walks", "lmm").unknown
    assert novelty("a person knits a scarf").unknown
    assert novelty("a person knits a scarf", "lmm").unknown

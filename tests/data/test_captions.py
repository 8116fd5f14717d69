import csv
import re
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motionloom.data.captions import all_captions, captions_for, known_labels, swap_sides
from motionloom.errors import DataError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
PROMPTS = tomllib.loads(files("motionloom.metrics").joinpath("prompts.toml").read_text("utf-8"))

STYLES = tomllib.loads(files("motionloom.data").joinpath("captions_bandai.toml").read_text("utf-8"))["styles"]
BANDAI = [(labels["content"], labels["style"]) for source, labels in known_labels() if source == "bandai"]
SIDED = {
    "walk-left": "left",
    "walk-right": "right",
    "walk-turn-left": "left",
    "walk-turn-right": "right",
    "wave-left-hand": "left",
    "wave-right-hand": "right",
    "raise-up-left-hand": "left",
    "raise-up-right-hand": "right",
    "bye": "right",
    "guide": "right",
    "kick": "right",
    "respond": "left",
}
OTHER = {"left": "right", "right": "left"}

# Words that belong to one style (or to two of the same meaning) and may stand in no other's sentences.
STYLE_WORDS = {
    "active": r"energ|active|lively|vigor|brisk|quick steps",
    "angry": r"\bangr|\banger|furi",
    "childish": r"child|kid\b|playful",
    "chimpira": r"thug|gangster|punk|swagger",
    "feminine": r"femin|lady|womanly|grace\b|like a woman",
    "giant": r"giant|ogre|\btroll\b|huge|heavily",
    "happy": r"\bhapp|cheer|joy",
    "masculine masculinity": r"masculin|manly|macho|tough|like a man\b",
    "musical": r"music|rhythm|beat of",
    "not-confident": r"timid|shy|confiden|insecure|hesita",
    "old elderly": r"\bold\b|elderly|\baged|frail|senior|grand(mother|father)",
    "proud": r"proud|pride|arrogan",
    "sad": r"\bsad\b|\bsad[ln]|gloom|depress|grie|mourn|sorrow",
    "tired exhausted": r"\btired|wear|worn|exhaust",
    "youthful": r"young|youth|teenager",
    "normal": r"normal|casual|ordinary|usual|average",
    "old elderly sad": r"slow",
}


def bandai(content: str, style: str, mirrored: bool = False) -> tuple[str, ...]:
    return captions_for("bandai", {"content": content, "style": style}, mirrored)


@pytest.mark.parametrize("mirrored", [False, True])
def test_every_label_has_many_different_clean_sentences(mirrored):
    for source, labels in known_labels():
        sentences = captions_for(source, labels, mirrored)
        assert len(sentences) >= (36 if source == "bandai" else 20), labels
        assert len(set(sentences)) == len(sentences)
        for sentence in sentences:
            assert re.fullmatch(r"[a-z0-9]+([ ,'-]+[a-z0-9]+)*", sentence), sentence


def test_the_same_sentences_come_every_time_and_are_all_listed():
    first = bandai("walk-turn-left", "elderly")
    assert first == bandai("walk-turn-left", "elderly")
    listed = all_captions()
    assert listed == sorted(set(listed))
    assert set(first) <= set(listed)
    assert {"a person walks forward", "an old person walks forward", "a person bows"} <= set(listed)


def test_no_sentence_names_the_wrong_side():
    for content, style in BANDAI:
        for mirrored in (False, True):
            named = [set(re.findall("left|right", text)) for text in bandai(content, style, mirrored)]
            side = SIDED.get(content, "")
            allowed = {OTHER[side] if mirrored else side} if side else set()
            assert all(found <= allowed for found in named), (content, style)
            if side and content != "kick":
                assert sum(map(bool, named)) > 0.6 * len(named), (content, style)


def test_a_mirrored_clip_draws_from_the_other_sides_sentences():
    assert bandai("wave-left-hand", "normal", True) == bandai("wave-right-hand", "normal")
    assert bandai("walk-turn-right", "active", True) == bandai("walk-turn-left", "active")
    assert bandai("wave-both-hands", "active", True) == bandai("wave-both-hands", "active")
    assert "a person waves goodbye with the left hand" in bandai("bye", "normal", True)


def test_no_sentence_names_another_style():
    for content, style in BANDAI:
        for text in bandai(content, style):
            for owners, words in STYLE_WORDS.items():
                if style not in owners.split():
                    assert not re.search(words, text), (content, style, text)


def test_style_is_left_out_in_few_sentences_unless_it_is_the_normal_one():
    for content, style in BANDAI:
        texts, words = bandai(content, style), STYLES[style]
        named = [phrase for slot in ("who", "how", "ly", "pace") for phrase in words.get(slot, [])]
        plain = sum(not any(phrase in text for phrase in named) for text in texts) / len(texts)
        low, high = (0.7, 0.97) if style == "normal" else (0.05, 0.35)
        assert low < plain < high, (content, style)


def test_label_traps():
    for side in ("left", "right"):
        for text in bandai(f"raise-up-{side}-hand", "feminine"):
            assert re.search("slight|chest|little|halfway|no higher", text), text
        assert not [t for t in bandai(f"walk-{side}", "normal") if "turn" in t.replace("without turning", "")]
        assert any("lowers it again" in t for t in bandai(f"raise-up-{side}-hand", "normal"))
        assert not [t for t in bandai(f"wave-{side}-hand", "normal") if re.search("bye|farewell", t)]
    for content in ("bye", "byebye"):
        assert all(re.search("bye|farewell", text) for text in bandai(content, "happy"))
    assert all(re.search("both|the two|bye bye", t) for t in bandai("byebye", "sad"))


def test_cmu_sides_follow_the_mirror():
    labels = {"description": "basketball - forward dribble, 90-degree left turns"}
    straight, mirrored = captions_for("cmu", labels, False), captions_for("cmu", labels, True)
    assert all("left" in text and "right " not in text.replace("right angles", "") for text in straight)
    assert all("right" in text and "left" not in text for text in mirrored)


@pytest.mark.parametrize("source", ["bandai-namco", "cmu"])
def test_every_clip_of_the_manifest_has_captions(source):
    manifest = SHARED / source / "manifest.csv"
    if not manifest.exists():
        pytest.skip(f"the manifest is not here: {manifest}")
    with manifest.open(encoding="utf-8") as rows:
        labels = [{k: r[k] for k in ("content", "style", "description") if k in r} for r in csv.DictReader(rows)]
    assert labels
    assert all(captions_for(source.split("-")[0], clip, False) for clip in labels)


SIDE_WORDS = ["left", "right", "Left", "RIGHT", "leftward", "rightwards", "leftmost", "left-handed", "LEFT."]
WORDS = st.sampled_from([*SIDE_WORDS, "clockwise", "Counterclockwise", "upright", "angle", "behind", "away", "all"])


@given(st.lists(WORDS, max_size=12))
def test_swapping_twice_changes_nothing(words):
    sentence = " ".join(words)
    assert swap_sides(swap_sides(sentence)) == sentence


@given(st.sampled_from([text for labels in BANDAI[::9] for text in bandai(*labels)]))
def test_swapping_a_caption_exchanges_the_sides(text):
    swapped = swap_sides(text)
    assert swapped.count("left") == text.count("right")
    assert swap_sides(swapped) == text


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("turns left, then Right", "turns right, then Left"),
        ("a right-handed throw to the LEFT", "a left-handed throw to the RIGHT"),
        ("moves leftward", "moves rightward"),
        ("spins clockwise", "spins counterclockwise"),
        ("spins Anti-clockwise", "spins Clockwise"),
        ("stands upright and turns at right angles", "stands upright and turns at right angles"),
        ("steps right away with the left foot", "steps right away with the right foot"),
    ],
)
def test_swapping_by_hand(text, swapped):
    assert swap_sides(text) == swapped


def test_prompts_for_judging_are_inside_and_outside_the_grammar():
    listed = set(all_captions())
    assert len(PROMPTS["grammar"]) >= 20
    assert len(PROMPTS["free"]) >= 20
    assert [p["text"] for p in PROMPTS["grammar"] if p["text"] not in listed] == []
    assert [p["text"] for p in PROMPTS["free"] if p["text"] in listed] == []
    words = {word for text in listed for word in re.findall("[a-z]+", text)}
    assert len(PROMPTS["fresh"]) >= 20
    assert [p["text"] for p in PROMPTS["fresh"] if set(re.findall("[a-z]+", p["text"])) <= words] == []
    for prompt in PROMPTS["grammar"] + PROMPTS["free"] + PROMPTS["fresh"]:
        assert set(prompt) <= {"text", "content", "side", "style", "seconds"}
        assert prompt["side"] in ("", "left", "right", "both")
        named = set(re.findall("left|right", prompt["text"])) - {prompt["side"]}
        assert not named, prompt


def test_unknown_labels_are_refused_by_name():
    with pytest.raises(DataError, match="no captions for source 'kit'"):
        captions_for("kit", {}, False)
    with pytest.raises(DataError, match="'bandai' need the label 'style'"):
        captions_for("bandai", {"content": "walk"}, False)
    with pytest.raises(DataError, match="content 'fly' in style 'normal'"):
        bandai("fly", "normal")
    with pytest.raises(DataError, match="description 'knitting'"):
        captions_for("cmu", {"description": "knitting"}, False)

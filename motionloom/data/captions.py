"""English sentences for the labels of a clip.

The sources name their clips by short labels (a content and a style, a note such as "walk", or one sentence); a
text-to-motion model needs many ways of saying each of them. The wording is data: ``captions_bandai.toml``
holds the grammar, phrases and styles, ``captions_cmu.toml`` the phrases for CMU's notes, ``captions_actions.toml``
rules for the sentences of sets of single actions. This file only expands them.

Two promises hold for every sentence: the side is right (or not named), and so is the style (or not named).
Sentences are lower case without a final period.
"""

import random
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from operator import itemgetter
from typing import Any

from motionloom.errors import DataError

OTHER_SIDE = {"left": "right", "right": "left"}
ACTION_SETS = ("cmu-more", "hdm05", "mesh2motion", "smartbody", "ui-prmd")
"""Sources whose label ``description`` is a sentence that ``captions_actions.toml`` has a rule for."""

# "right away", "right angle" name no side; "left away" is spared too, so that swapping twice changes nothing.
_NO_SIDE = r"(?!\s+(?:away|now|angles?|angled|after|before|behind|here|there)\b)"
_SIDE_WORD = re.compile(
    rf"(?<!\ball )\b(?:(?P<side>left|right|Left|Right|LEFT|RIGHT)(?P<tail>(?i:wards?|most)?)\b{_NO_SIDE}"
    r"|(?P<spin>(?i:counter-?|anti-?)?(?i:clockwise))\b)"
)


_SLOT = re.compile(r"\{(\w+)\}")
_VERB = re.compile(r"\[(\w+)\]")
_CHOICE = re.compile(r"\(([^()]*)\)")
_SYNONYMS = re.compile(r"<(\w+)>")
_COUNTS = {"1": ("once", "one"), "2": ("(twice|two times)", "two"), "3": ("three times", "three")}
_IRREGULAR = {"be": ("is", "being"), "have": ("has", "having"), "tiptoe": ("tiptoes", "tiptoeing")}


def swap_sides(sentence: str) -> str:
    """Exchange left and right, as the mirror image of a motion needs it.

    Also leftward, left-handed and clockwise / counterclockwise; case is kept. Swapping twice gives the
    sentence back, except that anticlockwise and counter-clockwise come back as counterclockwise.
    """
    return _SIDE_WORD.sub(_swap_word, sentence)


def _swap_word(match: re.Match[str]) -> str:
    word = match["side"] or match["spin"]
    lower = word.lower()
    swapped = OTHER_SIDE.get(lower) or ("counterclockwise" if lower == "clockwise" else "clockwise")
    if word.isupper():
        swapped = swapped.upper()
    elif word[0].isupper():
        swapped = swapped.capitalize()
    return swapped + (match["tail"] or "")


def captions_for(source: str, labels: Mapping[str, str], mirrored: bool = False) -> tuple[str, ...]:
    """All sentences for one clip, always the same ones in the same order.

    Args:
        source: ``"bandai"`` (labels ``content`` and ``style``), ``"cmu"`` (label ``description``) or one of
            :data:`ACTION_SETS` (labels ``description`` and, where it is known, ``count``).
        labels: The clip's labels as its manifest gives them.
        mirrored: The clip is its own mirror image: sides are named the other way round.

    Raises:
        DataError: The source, or one of the labels, is not known here.
    """
    if source == "bandai":
        return _bandai(_label(source, labels, "content"), _label(source, labels, "style"), mirrored)
    if source == "cmu":
        return _cmu(_label(source, labels, "description"), mirrored)
    if source in ACTION_SETS:
        return _action(_label(source, labels, "description"), labels.get("count", ""), mirrored)
    known = ", ".join(map(repr, ("bandai", "cmu", *ACTION_SETS)))
    raise DataError(f"no captions for source {source!r}; known are {known}")


def action_of(description: str) -> str:
    """The action of a sentence of the sets of single actions: "kick", "squat", "idle" ...

    Raises:
        DataError: No rule matches the sentence.
    """
    return str(_rule(description)[0]["action"])


def all_captions() -> list[str]:
    """Every sentence :func:`captions_for` can give, each once, sorted; for encoding them ahead of time."""
    found: set[str] = set()
    for source, labels in known_labels():
        for mirrored in (False, True):
            found.update(captions_for(source, labels, mirrored))
    return sorted(found)


def known_labels() -> Iterator[tuple[str, dict[str, str]]]:
    """Every (source, labels) for which there are captions."""
    pairs = {(c, s) for group in _words("bandai")["sets"] for c in group["contents"] for s in group["styles"]}
    for content, style in sorted(pairs):
        yield "bandai", {"content": content, "style": style}
    for description in sorted(_words("cmu")["descriptions"]):
        yield "cmu", {"description": description}


def _label(source: str, labels: Mapping[str, str], name: str) -> str:
    if name not in labels:
        raise DataError(f"captions for {source!r} need the label {name!r}; got {sorted(labels)}")
    return labels[name]


@cache
def _words(source: str) -> dict[str, Any]:
    return tomllib.loads(files("motionloom.data").joinpath(f"captions_{source}.toml").read_text("utf-8"))


@cache
def _bandai(content: str, style: str, mirrored: bool) -> tuple[str, ...]:
    words = _words("bandai")
    if content not in words["contents"] or style not in words["styles"]:
        raise DataError(
            f"no captions for content {content!r} in style {style!r}; contents: {sorted(words['contents'])},"
            f" styles: {sorted(words['styles'])}"
        )
    entry = words["contents"][content]
    pool = entry.get("by_style", {}).get(style, entry["pool"])
    side = entry.get("side", "")
    if mirrored and side:
        side = OTHER_SIDE[side]
    # The seed names the pool and side, not the content: a mirrored clip draws the other side's.
    rng = random.Random(f"{pool} {side} {style}")
    found, how = words["pools"][pool], words["styles"][style]
    # Some ways of moving have verbs of their own: a giant stomps.
    found = found | {"phrases": found["phrases"] + how.get("extra", {}).get(pool, [])}
    return _expand(found, how, side, rng)


@cache
def _cmu(description: str, mirrored: bool) -> tuple[str, ...]:
    known = _words("cmu")["descriptions"]
    if description not in known:
        raise DataError(f"no captions for the CMU description {description!r}; add it to captions_cmu.toml")
    sentences = _expand({"phrases": known[description]}, _words("cmu")["style"], "", random.Random(description))
    return tuple(swap_sides(sentence) for sentence in sentences) if mirrored else sentences


@cache
def _rule(description: str) -> tuple[dict[str, Any], re.Match[str]]:
    for rule in _words("actions")["rules"]:
        if found := re.fullmatch(rule["match"], description):
            return rule, found
    raise DataError(f"no captions for the description {description!r}; add a rule to captions_actions.toml")


@cache
def _action(description: str, count: str, mirrored: bool) -> tuple[str, ...]:
    rule, found = _rule(description)
    phrases = list(rule.get("counted", rule["phrases"]) if count in ("2", "3") else rule["phrases"])
    if count == "1":
        phrases += rule.get("once", [])
    slots = {name: _ways(name, value) for name, value in found.groupdict().items()}
    slots["times"], slots["number"] = _COUNTS.get(count, _COUNTS["1"])
    filled = [_SYNONYMS.sub(_verbs, _fill(phrase, slots)) for phrase in phrases]
    words = _words("actions")
    pool = {"phrases": list(dict.fromkeys(filled)), "per_phrase": words["grammar"]["per_phrase"]}
    sentences = _expand(pool, words["style"], "", random.Random(f"{description} {count}"))
    return tuple(swap_sides(sentence) for sentence in sentences) if mirrored else sentences


def _fill(phrase: str, slots: Mapping[str, str]) -> str:
    return _SLOT.sub(lambda slot: slots.get(slot[1], slot[0]), phrase)


def _ways(name: str, value: str | None) -> str:
    """Ways of saying what a rule's expression caught, as a choice; its side stays what it is."""
    value = (value or "").strip()
    if name == "what":
        verb, _, rest = value.partition(" ")
        return f"[{verb.removesuffix('s')}] {rest}"
    side = re.search(r"\b(left|right)\b", value)
    key = re.sub(r"\b(left|right)\b", "{side}", value)
    table = _words("actions")["slots"]
    ways = table.get(f"{name} {key}", table.get(key, [key]))
    return f"({'|'.join(way.replace('{side}', side[0] if side else '') for way in ways)})"


def _verbs(match: re.Match[str]) -> str:
    """All verbs of one meaning, as a choice."""
    verbs = [verb.partition(" ") for verb in _words("actions")["verbs"][match[1]]]
    return f"({'|'.join(f'[{verb}]{space}{rest}' for verb, space, rest in verbs)})"


def _expand(pool: dict[str, Any], style: dict[str, Any], side: str, rng: random.Random) -> tuple[str, ...]:
    """Draw different sentences from phrases x forms x words, a share of them without the style."""
    grammar = _words("bandai")["grammar"]
    everyone = [*grammar["subject"], *(word for g in style["genders"] for word in grammar[f"subject_{g}"])]
    slots = {"subject": everyone, "person": grammar["person"], "who": style["who"], "how": style["how"]}
    slots |= {"ly": style["ly"], "pace": style.get("pace", []) if pool.get("paced", False) else []}
    filled = {slot for slot, choices in slots.items() if choices} | {"does", "doing", "order"}
    styled_forms = [form for form in grammar["styled_forms"] if filled.issuperset(_SLOT.findall(form))]
    phrases = pool["phrases"]
    total = pool.get("per_phrase", grammar["per_phrase"]) * len(phrases)
    plain = round(style.get("plain_share", grammar["plain_share"]) * total) if styled_forms else total

    # The plainest sentences are always there: "a person walks forward", "an old person walks forward".
    openings = [f"{person} {{does}}" for person in (grammar["subject"][0], *style["who"][:1])]
    found = {
        _sentence(form, _choose(phrase, None), slots, side, rng): None for form in openings for phrase in phrases[:3]
    }
    plain += len(phrases[:3]) * (len(openings) - 1)
    shuffled = rng.sample(phrases, len(phrases))
    for wanted, forms in ((plain, grammar["plain_forms"]), (total, styled_forms)):
        # A short pool may not hold `wanted` different sentences: a bounded number of draws.
        for draw in range(20 * total):
            if len(found) >= wanted:
                break
            phrase = _choose(shuffled[draw % len(phrases)], rng)
            sentence = _sentence(rng.choice(forms), phrase, slots, side, rng)
            if len(_genders(sentence)) < 2:  # not "she walks like an old man"
                found[sentence] = None
    return tuple(found)


def _sentence(form: str, phrase: str, slots: dict[str, list[str]], side: str, rng: random.Random) -> str:
    chosen = {slot: rng.choice(choices) for slot, choices in slots.items() if f"{{{slot}}}" in form}
    person = " ".join(chosen[slot] for slot in ("subject", "person", "who") if slot in chosen)
    owner = "your" if "{order}" in form else [*_genders(person), "their"][0] if person else "the"
    words = phrase.replace("{side}", side).replace("{own}", rng.choice(("the", owner)))
    chosen["order"] = _VERB.sub(lambda verb: verb[1], words)
    chosen["does"] = _VERB.sub(lambda verb: _third_person(verb[1]), words)
    chosen["doing"] = _VERB.sub(lambda verb: _gerund(verb[1]), words)
    return " ".join(form.format_map(chosen).split())


def _genders(text: str) -> list[str]:
    """Find the pronouns (his, her) of the persons named in a text."""
    grammar, words = _words("bandai")["grammar"], set(re.findall(r"\w+", text))
    return [pronoun for pronoun, key in (("his", "his"), ("her", "hers")) if words.intersection(grammar[key])]


def _choose(phrase: str, rng: random.Random | None) -> str:
    """Settle every (a|b) of a phrase; without ``rng`` on the first of its words."""
    pick = rng.choice if rng else itemgetter(0)
    return _CHOICE.sub(lambda words: pick(words[1].split("|")), phrase)


@cache
def _third_person(verb: str) -> str:
    if verb in _IRREGULAR:
        return _IRREGULAR[verb][0]
    if verb.endswith(("s", "sh", "ch", "x", "z", "o")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + "s"


@cache
def _gerund(verb: str) -> str:
    if verb in _IRREGULAR:
        return _IRREGULAR[verb][1]
    doubled: Sequence[str] = _words("bandai")["grammar"]["doubled"]
    if verb in doubled:
        return verb + verb[-1] + "ing"
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    return (verb[:-1] if verb.endswith("e") and not verb.endswith("ee") else verb) + "ing"

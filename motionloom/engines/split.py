"""A sentence with several actions as a story: one sentence an action, in the order in which they are to happen.

"a man walks, then sits down, then waves" is three sentences with one subject. What is done at the same time ("while",
"with") stays together, and so does "and" between two verbs ("walks and turns left", "bends down and picks something
up"): most such pairs are one clip. Negations are taken out, with a note: no caption says what is not done. Counts of
actions that were learned one at a time ("jumps three times") become so many sentences.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from motionloom.conditions.wording import predicate, stem, words_of

MOST = 12
"""Parts a sentence is split into at most; a longer list is left whole."""
_THEN = re.compile(
    r"\s*(?:[,;.]\s*(?:and\s+)?|\band\s+|\bbut\s+)?"
    r"\b(?:then|afterwards|after that|after which|next|finally|lastly|later|subsequently|followed by)\b,?\s*"
    r"|\s*;\s*|\.\s+(?=\S)",
    re.IGNORECASE,
)
_FIRST = re.compile(r"^(?:first(?:ly)?|at first|to begin with),?\s+|\s*,?\s*\bfirst\b", re.IGNORECASE)
_AFTER_AHEAD = re.compile(r"^after\s+(?P<first>[^,]+),\s*(?P<second>.+)$", re.IGNORECASE)
_BEFORE_AHEAD = re.compile(r"^before\s+(?P<second>[^,]+),\s*(?P<first>.+)$", re.IGNORECASE)
_AFTER = re.compile(r"^(?P<second>.+?),?\s+after\s+(?P<first>\w+ing\b.*)$", re.IGNORECASE)
_BEFORE = re.compile(r"^(?P<first>.+?),?\s+before\s+(?P<second>\w+ing\b.*)$", re.IGNORECASE)
_SAME_TIME = re.compile(r"\b(?:at the same time|simultaneously|all the while|at once)\b", re.IGNORECASE)
_NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_NUMBER = "|".join((*_NUMBERS, r"\d{1,2}"))
_TIMES = re.compile(rf"\s*,?\s*\b(?:(?P<word>twice|thrice)|(?P<number>{_NUMBER})\s+times)\b", re.IGNORECASE)
_LEARNED_COUNTS = frozenset(
    ("squat", "lung", "hop", "crunch", "rais", "lift", "rotat", "circl", "kneebend", "bend", "hurdl", "sit")
)  # fmt: skip
"""Stems of actions whose captions count: up to three of them are one clip."""
_NOT_DONE = (
    # "walks but does not wave", "walks, not waving", "walks without waving"
    re.compile(r",?\s*\b(?:but|and|yet)?\s*(?:does|do|did|is|are)(?:\s+not|n't)\s+(?P<what>[^,;.]+)", re.IGNORECASE),
    re.compile(r",?\s*\b(?:but\s+)?never\s+(?P<what>[^,;.]+)", re.IGNORECASE),
    re.compile(r",?\s*\bwithout\s+(?P<what>\w+ing\b[^,;.]*)", re.IGNORECASE),
    re.compile(r"^(?:do not|don't)\s+(?P<what>[^,;.]+)", re.IGNORECASE),
)
_STILL = re.compile(r"\b(?:mov|walk|go|stir|step|run|budg)", re.IGNORECASE)
"""Who does not do this stands still."""
_KEPT = re.compile(r"without (?:moving|turning|looking|walking|stopping|a sound)\b.*", re.IGNORECASE)
"""Ways of doing something that captions do say."""


@dataclass(frozen=True)
class Split:
    """A sentence as sentences of one action each.

    Attributes:
        parts: The sentences in their order; the sentence itself where it is one action.
        notes: What was done to it, one line each.
    """

    parts: tuple[str, ...]
    notes: tuple[str, ...] = ()


def split_actions(text: str, whole: Callable[[str], bool] | None = None) -> list[str]:
    """A sentence as one sentence for each of its actions, in their order.

    Args:
        text: The sentence.
        whole: Says of a sentence whether it was learned as one clip and is to stay whole.
    """
    return list(read_actions(text, whole).parts)


def read_actions(text: str, whole: Callable[[str], bool] | None = None) -> Split:
    """:func:`split_actions` with notes for the reader.

    Args:
        text: The sentence.
        whole: Says of a sentence whether it was learned as one clip and is to stay whole.
    """
    text = " ".join(text.split()).rstrip(". ;")
    text, notes = without_negation(text)
    if whole is not None and whole(text):
        return Split((text,), notes)
    parts = [text] if _SAME_TIME.search(text) else _in_order(text)
    if len(parts) > 1:
        parts = _with_subject(_with_verb(parts))
    counted = [again for part in parts for again in _repeated(part)]
    if not 1 < len(counted) <= MOST:
        parts = parts if len(parts) <= MOST else [text]
        counted = parts if len(counted) > MOST else counted
    if len(counted) > 1:
        notes = (*notes, f"read as {len(counted)} actions, one after the other: {'; '.join(counted)}")
    return Split(tuple(counted), notes)


def without_negation(text: str) -> tuple[str, tuple[str, ...]]:
    """A sentence without what is not done, and a note on each thing taken out.

    Who is said not to move stands still; nothing else can be said by leaving out, so what is left is what is done.
    """
    notes: list[str] = []
    for pattern in _NOT_DONE:
        for found in list(pattern.finditer(text)):
            if _KEPT.fullmatch(found[0].strip(" ,")):
                continue
            left = " ".join((text[: found.start()] + text[found.end() :]).split()).strip(" ,")
            if not _does_something(left):
                what = found["what"].strip()
                subject = left or "a person"
                if not _STILL.search(what):
                    notes.append(f"{found[0].strip(' ,')!r} says only what is not done; read as standing still")
                else:
                    notes.append(f"{found[0].strip(' ,')!r} read as standing still")
                return ("stand still" if found.start() == 0 and not left else f"{subject} stands still"), tuple(notes)
            notes.append(f"{found[0].strip(' ,')!r} is left out: no clip says what is not done")
            text = left
            break
    return text, tuple(notes)


def repeats(text: str) -> int:
    """How often a sentence says something is done: 2 for "twice", 3 for "three times", 1 where it does not say."""
    found = _TIMES.search(text)
    if found is None:
        return 1
    if found["word"]:
        return 2 if found["word"].lower() == "twice" else 3
    number = found["number"].lower()
    return _NUMBERS.get(number) or int(number)


def _does_something(text: str) -> bool:
    """Whether a sentence still has a predicate."""
    words = words_of(text)
    return (bool(words) and predicate(text) != " ".join(words)) or (len(words) > 0 and words[0] not in _SUBJECTS)


_SUBJECTS = frozenset(("a", "an", "the", "he", "she", "they", "it", "someone", "somebody", "this", "that", "my", "one"))


def _in_order(text: str) -> list[str]:
    """The actions in the order in which they are to happen."""
    for pattern in (_AFTER_AHEAD, _BEFORE_AHEAD, _AFTER, _BEFORE):
        if (found := pattern.match(text)) and not _THEN.match(found["second"]):
            first, second = found["first"], found["second"]
            if pattern in (_AFTER_AHEAD, _AFTER):
                first = _finite(first, second)
            else:
                second = _finite(second, first)
            return [*_in_order(first), *_in_order(second)]
    pieces = [piece.strip(" ,") for piece in _THEN.split(_FIRST.sub("", text))]
    pieces = [piece for piece in pieces if piece and words_of(piece) != ["and"]]
    return [part for piece in pieces for part in _listed(piece)] or [text]


def _listed(text: str) -> list[str]:
    """The members of a list of at least three verbs: "walks, turns and waves"."""
    members = [member.strip() for member in re.split(r"\s*,\s*(?:and\s+)?|\s+and\s+", text)]
    if len(re.findall(r",", text)) < 1 or len(members) < 3:
        return [text]
    first = words_of(predicate(members[0]))
    if not first:
        return [text]
    form = _form(first[0])
    if all(member and _form(words_of(member)[0]) == form for member in members[1:] if words_of(member)):
        return [member for member in members if words_of(member)]
    return [text]


def _form(verb: str) -> str:
    if verb.endswith("ing"):
        return "ing"
    return "s" if verb.endswith("s") and not verb.endswith("ss") else ""


def _subject(text: str) -> str:
    """Who does it, with its auxiliary: "a man", "the girl is"; empty for an order."""
    words, rest = text.split(), words_of(predicate(text))
    plain = words_of(text)
    if not rest or len(rest) >= len(plain):
        return ""
    return " ".join(words[: len(plain) - len(rest)])


def _with_subject(parts: list[str]) -> list[str]:
    """Every part with the subject of the first, where it has none of its own or only a pronoun."""
    subject = _subject(parts[0])
    if not subject:
        return parts
    who = re.sub(r"\s+(?:is|are|was|were)$", "", subject)
    found = [parts[0]]
    for part in parts[1:]:
        own = _subject(part)
        words = words_of(part)
        rest = part.split()
        if own and words[0] in ("he", "she", "they", "it"):
            part = " ".join(rest[len(own.split()) :])
            own = ""
        if not own:
            verb = words_of(part)[0] if words_of(part) else ""
            part = f"{who} is {part}" if verb.endswith("ing") else f"{who} {part}"
        found.append(part)
    return found


_DIRECTIONS = frozenset(
    ("left", "right", "to", "back", "forward", "backward", "forwards", "backwards", "up", "down", "around", "straight")
)
"""A part that begins with one of these has the verb of the part before it."""


def _with_verb(parts: list[str]) -> list[str]:
    """Parts without a verb with that of the part before: "turn left, then right"."""
    found: list[str] = []
    for part in parts:
        words = words_of(part)
        if found and words and words[0] in _DIRECTIONS:
            verb = words_of(predicate(found[-1]))[:1]
            part = " ".join((*verb, part))
        found.append(part)
    return found


def _finite(gerund: str, other: str) -> str:
    """A gerund with the subject of another sentence: "sitting down" beside "he waves" is "he is sitting down"."""
    words = words_of(gerund)
    subject = re.sub(r"\s+(?:is|are|was|were)$", "", _subject(other))
    if not words or not words[0].endswith("ing") or not subject:
        return gerund
    return f"{subject} is {gerund}"


def _repeated(part: str) -> list[str]:
    """A part as often as it says, unless its count was learned."""
    times = repeats(part)
    stems = {stem(word) for word in words_of(predicate(part))}
    if times < 2 or (times <= 3 and stems & _LEARNED_COUNTS):
        return [part]
    once = " ".join(_TIMES.sub("", part, count=1).split()).strip(" ,")
    return [once] * times if once else [part]

"""What a sentence says is done, without who does it: the predicate, its content words, their stems.

Plain rules on words, no model: enough for sentences about what a person does. ``engines/novelty.py`` compares
predicates, for a text encoder takes "a cyclops" and "a person" for more different than "walks" and "runs".
"""

import re

_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")
_OPENING = """a an the he she they we it one this that these those my your his her our their someone somebody everyone
there"""
_PERSONS = """person people man woman men women boy girl kid child guy lady figure human adult character actor performer
student individual stranger neighbor guest worker male female gentleman pedestrian walker dancer player"""
_EMPTY = """a an the he she they we i you it of to in on at with and or then than is are was were be been being for from
by as if his her their your its my our up down out off over under again once twice one two three four times both this
that these those there just please not no into onto around away back while who which him them someone somebody something
person man woman people human so very too also after before until toward towards through about against"""
_DETERMINING = "a an the this that these those my your his her our their one"
_OPENERS, _PEOPLE, _FUNCTION, _DETERMINERS = (
    frozenset(words.split()) for words in (_OPENING, _PERSONS, _EMPTY, _DETERMINING)
)
_IS = re.compile(r"\b(he|she|it|there|that|who)'s\b")
_BE = frozenset(("is", "are", "was", "were"))
_NO_VERB = ("ss", "us", "is")
"""Endings of words in -s that are no verbs of the third person."""
_LONGEST_SUBJECT = 7


def words_of(text: str) -> list[str]:
    """The words of a text in lower case; hyphenated ones stay whole."""
    return _WORD.findall(_IS.sub(r"\1 is", text.lower()))


def predicate(text: str) -> str:
    """What is done, without who does it: "a cyclops tramples onward" is "tramples onward".

    Sentences without a subject ("walk forward", "walking") stay as they are, in lower case and without punctuation.
    """
    words = words_of(text)
    if not words or not (words[0] in _OPENERS or (len(words) > 1 and words[1] in _PEOPLE)):
        return " ".join(words)
    for place, word in enumerate(words[:_LONGEST_SUBJECT]):
        if word in _BE:
            rest = words[place + 1 :]
            # "there is a person walking" goes on after the person.
            return predicate(" ".join(rest)) if words[0] == "there" and rest else " ".join(rest or words)
        # Right behind a determiner stands no verb: "a cyclops tramples", "the king walks".
        if place == 0 or word in _PEOPLE or (place == 1 and words[0] in _DETERMINERS):
            continue
        if (word.endswith("s") and not word.endswith(_NO_VERB)) or word.endswith("ing"):
            return " ".join(words[place:])
    return " ".join(words)


def stem(word: str) -> str:
    """A word without the endings of verbs and plurals: walks, walking and walked are one."""
    for ending, instead in (("ies", "y"), ("ing", ""), ("es", ""), ("s", ""), ("ed", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)] + instead
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls":
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


def content_stems(text: str) -> list[str]:
    """Stems of the words of a predicate that mean something by themselves; hyphenated words in their parts."""
    parts = (part for word in words_of(predicate(text)) for part in word.split("-"))
    return [stem(part) for part in parts if part not in _FUNCTION]

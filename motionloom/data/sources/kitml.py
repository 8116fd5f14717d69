"""Sentences that people wrote for trials of the CMU database (the KIT Motion-Language annotations of AMASS).

Plappert, Mandery, Asfour, "The KIT Motion-Language Dataset", Big Data 2016. The table ``kitml_cmu.csv`` has the columns
trial and text. Spelling is mended. Half of the trials' sentences are never trained on: they travel as the label
``kept`` of their clip, for testing.
"""

import hashlib
import re
from collections import defaultdict
from pathlib import Path

from motionloom.data.sources.common import read_table

TABLE = "kitml_cmu.csv"
_MENDED = {
    "bakcward": "backward",
    "balacing": "balancing",
    "baskeball": "basketball",
    "befor": "before",
    "bhind": "behind",
    "ciricle": "circle",
    "cirle": "circle",
    "clockwize": "clockwise",
    "conterclockwise": "counterclockwise",
    "continiues": "continues",
    "counterclockwize": "counterclockwise",
    "danse": "dance",
    "doesnt": "does not",
    "execise": "exercise",
    "fightig": "fighting",
    "forwad": "forward",
    "forwads": "forwards",
    "forwars": "forwards",
    "foward": "forward",
    "fowards": "forwards",
    "gitarre": "guitar",
    "guitarre": "guitar",
    "gymnatics": "gymnastics",
    "huiman": "human",
    "ist": "is",
    "lateralyl": "laterally",
    "litlle": "little",
    "lookig": "looking",
    "opposit": "opposite",
    "peforms": "performs",
    "perfoming": "performing",
    "perfoms": "performs",
    "performes": "performs",
    "perosn": "person",
    "persone": "person",
    "pretents": "pretends",
    "pusehd": "pushed",
    "reachs": "reaches",
    "sholder": "shoulder",
    "sidewards": "sideways",
    "sidewared": "sideways",
    "sirring": "stirring",
    "spining": "spinning",
    "sqatted": "squatted",
    "squad": "squat",
    "staight": "straight",
    "stepipng": "stepping",
    "strirring": "stirring",
    "stumbels": "stumbles",
    "truning": "turning",
    "trurns": "turns",
    "waling": "walking",
    "wawing": "waving",
    "wlaks": "walks",
    "wlking": "walking",
    "wuickly": "quickly",
}
"""Misspelt words of the table and what they should be."""


def human_sentences(folder: Path) -> dict[str, tuple[str, ...]]:
    """Trial -> its sentences, from the table in a folder or in a folder ``cmu-captions`` beside it; none without.

    Raises:
        DataError: The table cannot be read.
    """
    for place in (folder, folder.parent / "cmu-captions", folder.parent.parent / "cmu-captions"):
        if (place / TABLE).is_file():
            found: dict[str, list[str]] = defaultdict(list)
            for row in read_table(place / TABLE, ("trial", "text")):
                found[row["trial"]].append(row["text"])
            return {trial: tuple(texts) for trial, texts in found.items()}
    return {}


def sentences_of(trial: str, texts: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, str]]:
    """What of a trial's sentences is trained on, and the label with what is kept for testing.

    Half of the trials are kept, drawn by their names: always the same ones.
    """
    clean = tuple(mended(text) for text in texts)
    if clean and hashlib.sha256(f"kitml {trial}".encode()).digest()[0] % 2:
        return (), {"kept": " ; ".join(clean)}
    return clean, {}


def mended(text: str) -> str:
    """A sentence in lower case, without a final period, its spelling put right."""
    words = " ".join(text.split()).rstrip(". ").lower()
    return re.sub(r"[a-z]+", lambda word: _MENDED.get(word[0], word[0]), words)

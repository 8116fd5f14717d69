"""Penn Treebank tokenisation of captions, as the caption metrics of COCO use it.

BLEU, ROUGE-L and CIDEr change by a quarter with the tokeniser, so results name it: :data:`TOKENIZER`. This one gives,
without Java, what ``PTBTokenizer -preserveLines -lowerCase`` of Stanford CoreNLP 3.4.1 gives for English captions once
the punctuation in :data:`PUNCTUATION` is dropped. Like that tokeniser it takes the longest of several patterns at each
place. Habits that may surprise, and that every published score contains:

* Lower-casing comes before the punctuation is dropped, so brackets stay as the tokens ``-lrb-`` and ``-rrb-``.
* A dot stays on a word before a comma, semicolon or colon (``person.,``) and on single letters and abbreviations.
* ``T.`` at the end of a caption keeps its dot; there the original goes by the first word of the *next* caption.
* Two sentences without a space between them stay one word (``stops.then``); ``?!`` and ``!!`` are tokens.
"""

import re

TOKENIZER = "motionloom PTB 1, after Stanford CoreNLP 3.4.1 PTBTokenizer -preserveLines -lowerCase, COCO punctuation"
"""Name and version of the tokeniser; the number changes whenever a caption may be split differently."""

PUNCTUATION = frozenset(
    ("''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";")
)
"""Tokens that are dropped: COCO's list. The brackets in it are in capitals and never match."""

_ABBREVIATIONS = (
    "adj adm adv al ala apr ariz assn assoc asst attys aug ave bancorp bhd bldg blvd brig bros calif capt cf cie cmdr"
    " co col colo comdr conn corp cos cpl ct dak dec dept det dr drs elec ens esq est etc ext feb fla fri ft ga gen"
    " gov govs hon inc ind insp intl invt jan jos jr jul jun kan kans ky lieut lt ltd maj mar md messrs mfg mich minn"
    " mlle mme mo mon mont mr mrs ms msgr mt mtg natl neb nev nov oct okla penn pfc ph plc pres prof profs pte pty"
    " pvt rd rep reps rev rt sen sens sep sept seq sfc sgt spc sq sr st ste supt supts sys tel tenn thu thurs tue"
    " tues univ va vs vt wed wis wisc wm wyo"
).replace(" ", "|")
_NUMBERED = "art|ca|figs?|nos?|op|pp|prop"

# Before one of these words the dot after a single letter ends the sentence.
_OPENERS = (
    "A About According Additionally After An As At But Earlier He Her Here However If In It Last Many More Now Once One"
    " Other Our She Since So Some Such That The Their Then There These They This We What When While Yet You"
).replace(" ", "|")

_LETTER, _WORDCHAR, _APOSTROPHE = r"[^\W\d_]", r"[^\W_]", r"['’\u0092]"
_STEM = rf"(?:[dol](?:{_APOSTROPHE}|[`‘‛]){_WORDCHAR})?{_WORDCHAR}+"
_PIECE = r"(?:[a-z](?:\.[a-z])+\.?|[a-z0-9]+)"
_HYPHENED = rf"{_WORDCHAR}+(?:-{_WORDCHAR}+)*"
_AUXILIARY = rf"{_APOSTROPHE}(?:[msd]|re|ve|ll)(?![a-z])"
_NOT = rf"n(?:{_APOSTROPHE}|[`‘‛])t(?![a-z])"

# At each place the longest of these wins, among equally long ones the first. A look-ahead counts for the length, as in
# the scanner this follows; it is the second group.
_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(</?[a-z!?][^<>]*>)",
        r"(https?://[^\s\"<>|()]+[^\s\"<>|.!?(){},-])",
        r"([^\s\"'`<>|.!?(){},@]+(?:\.[^\s\"'`<>|.!?(){},@]+)*@[^\s\"'`<>|.!?(){},@]+(?:\.[^\s\"'`<>|.!?(){},@]+)*)",
        r"(can)(not)(?![^\W_])",
        r"(gon|wan)(na)(?![^\W_])",
        r"(got)(ta)(?![^\W_])",
        r"(gim|lem)(me)(?![^\W_])",
        rf"({_LETTER}{_WORDCHAR}*?)({_NOT})",
        rf"({_NOT})",
        rf"({_LETTER}{_WORDCHAR}*(?:[.!?]{_LETTER}{_WORDCHAR}*)*)({_AUXILIARY})",
        rf"({_STEM}(?:[-_]{_STEM})*)({_AUXILIARY})",
        rf"({_AUXILIARY})",
        rf"({_LETTER}{_WORDCHAR}*(?:[.!?]{_LETTER}{_WORDCHAR}*)*)",
        rf"({_STEM}(?:[-_]{_STEM})*)",
        # A dot or comma inside a hyphenated word does not end it, nor does a slash between two of them.
        rf"([a-z0-9][a-z0-9.,]*(?:-{_PIECE})+)({_AUXILIARY})",
        rf"([a-z0-9][a-z0-9.,]*(?:-{_PIECE})+)",
        rf"({_HYPHENED}(?:/{_HYPHENED})+)",
        rf"((?:{_ABBREVIATIONS})\.)",
        rf"((?:{_NUMBERED})\.)(\s\d)",
        rf"({_LETTER}(?:\.{_LETTER})+\.)",
        rf"({_LETTER}\.)(?!\s+(?-i:{_OPENERS})\b)",
        rf"({_LETTER}{_WORDCHAR}*(?:[.!?]{_LETTER}{_WORDCHAR}*)*\.)([,;:])",
        r"([-+]?(?:\d*(?:[.,:]\d+)+|\d+))",
        r"(\d+/\d+)",
        rf"({_APOSTROPHE}(?:(?:em|till?|cause|\d0s)(?!\w)|(?:n|\d\d)(?=\s|$)))",
        r"(ma'am|c'mon|c'est|'n'|(?:us|au?|ca?|nz|hk|s)\$)",
        r"('t)(is|was)",
        rf"(y{_APOSTROPHE})({_LETTER})",
        r"([<>]?[:;=][o*'-]?(?:[()\\{@|\[\]]|[dpo](?!'?\w)))",
        rf"([@#]{_LETTER}\w*)",
        r"(\.{3,5}|-{2,4}|[?!]+|<<|>>|_{2,}|\*{2,}|#{2,})",
        r"(\S)",
    )
)
_SPELLING = {
    "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-", "…": "...",
    "“": "``", "”": "''", "„": "''", "‘": "`", "’": "'", '"': "''", "–": "--", "—": "--", "―": "--",
    "½": " 1/2", "¼": " 1/4", "¾": " 3/4", "£": "#", "€": "$", "\u2010": "", "\u2011": "", "\u200b": "",
}  # fmt: skip


def tokenize(caption: str) -> list[str]:
    """Tokens of a caption, lower-case, without punctuation.

    An empty list is what a caption without words gives; the scores in ``language`` accept it as a wrong answer.
    """
    text = caption.replace("&amp;", "&").replace("\u00ad", "")
    tokens = []
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        found = [match for pattern in _PATTERNS if (match := pattern.match(text, place))]
        token = max(found, key=lambda match: match.end() - match.start())[1]
        place += len(token)
        tokens += _spell(token).split()
    return [token for token in tokens if token not in PUNCTUATION]


def _spell(token: str) -> str:
    if token[0] == "." and len(token) > 1 and set(token) == {"."}:
        return "..."
    if set(token) == {"-"}:
        return "-" if len(token) == 1 else "--"
    return "".join(_SPELLING.get(character, character) for character in token.lower())

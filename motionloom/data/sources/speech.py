"""Speech with gestures: BEAT.

BEAT (Liu et al., ECCV 2022; non-commercial): folders by speaker with ``1_wayne_0_1_8.bvh`` (120 fps, centimetres) and
of the same name ``.wav`` and ``.TextGrid``, the words with their times as Praat writes them. Facial weights
(``.json``), emotions (``.csv``) and semantic marks (``.txt``) are not read.
"""

import re
from pathlib import Path

from motionloom import licences
from motionloom.data.sources import Media, Take, Timed
from motionloom.data.sources.common import BODY, HANDS, listed, split_of
from motionloom.errors import DataError, MotionFileError
from motionloom.motion.files import read_bytes

_FPS = 120.0
_NAME = re.compile(r"(?P<id>\d+)_(?P<speaker>[A-Za-z]+)_(?P<kind>\d)_(?P<first>\d+)_(?P<last>\d+)")
_INTERVAL = re.compile(
    r'xmin\s*=\s*(?P<start>[\d.eE+-]+)\s*xmax\s*=\s*(?P<stop>[\d.eE+-]+)\s*text\s*=\s*"(?P<text>(?:[^"]|"")*)"'
)
_TIER = re.compile(r"item\s*\[\d+\]\s*:")
_TIER_NAME = re.compile(r'name\s*=\s*"([^"]*)"')


def beat(folder: Path) -> list[Take]:
    """The recordings of BEAT with their speech; all takes of a recording share a split.

    Raises:
        DataError: There are no recordings, or speech or words of some are missing or broken.
    """
    found = {path: _NAME.fullmatch(path.stem) for path in sorted(folder.rglob("*.bvh"))}
    files = {path: name for path, name in found.items() if name is not None}
    if not files:
        raise DataError(f"{folder}: no files named 1_wayne_0_1_8.bvh; unpack BEAT there")
    missing = [
        path.with_suffix(suffix).name
        for path in files
        for suffix in (".wav", ".TextGrid")
        if not path.with_suffix(suffix).is_file()
    ]
    if missing:
        raise DataError(f"{folder}: {len(missing)} files of speech are missing: {listed(missing)}")
    return [
        Take(
            id=f"beat/{path.stem}",
            source="beat",
            licence=licences.BEAT,
            path=path,
            fps=_FPS,
            unit=0.01,
            split=split_of(f"beat {name['id']} {name['kind']} {name['first']}"),
            labels={"speaker": name["speaker"], "recording": f"{name['kind']}_{name['first']}_{name['last']}"},
            speech=Media(
                path.with_suffix(".wav").relative_to(folder).as_posix(),
                words=read_textgrid(path.with_suffix(".TextGrid")),
            ),
            valid=(*BODY, *HANDS),
        )
        for path, name in files.items()
    ]


def read_textgrid(path: Path) -> tuple[Timed, ...]:
    """The spoken words of a TextGrid in Praat's long form: its tier of words, or its first tier.

    Raises:
        DataError: The file cannot be read or has no intervals of text.
    """
    try:
        raw = read_bytes(path)
    except MotionFileError as error:
        raise DataError(str(error)) from None
    text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", errors="replace")
    tiers = _TIER.split(text)[1:]
    if "TextGrid" not in text[:200] or not tiers:
        raise DataError(f"{path}: is no TextGrid in Praat's long form")
    named = {match[1]: tier for tier in tiers if (match := _TIER_NAME.search(tier)) is not None}
    tier = named.get("words", tiers[0])
    try:
        words = [
            Timed(found["text"].replace('""', '"').strip(), float(found["start"]), float(found["stop"]))
            for found in _INTERVAL.finditer(tier)
        ]
    except ValueError:
        raise DataError(f"{path}: a time of an interval is no number") from None
    if not words:
        raise DataError(f"{path}: has no intervals of text; download it again")
    return tuple(word for word in words if word.text)

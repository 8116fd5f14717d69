"""A take and its timed texts as clips: the whole take, and a clip for each part that texts describe.

Times are seconds from the first frame of the take. A text that covers the take describes the whole of it; one that
covers a part makes a clip of that part. Sound and pictures travel in the labels: paths, offsets and words as JSON.
"""

import json
from dataclasses import asdict, dataclass

from motionloom.data.captions import ACTION_SETS, captions_for, swap_sides
from motionloom.data.sources import Media, Take, Timed
from motionloom.errors import DataError

TOLERANCE = 0.15
"""How far from the ends of a take [s] a text may begin and end and still cover it."""
_GENERATED = ("bandai", "cmu", *ACTION_SETS)
"""Sources whose labels are expanded into sentences."""


@dataclass(frozen=True)
class Piece:
    """One clip of a take.

    Attributes:
        name: What is added to the take's id; empty for the whole take.
        start: Where it begins [s].
        stop: Where it ends [s].
        texts: Sentences that describe all of it.
    """

    name: str
    start: float
    stop: float
    texts: tuple[str, ...]


def pieces_of(item: Take, seconds: float) -> list[Piece]:
    """The clips of a take: first the whole of it, then the parts that texts describe, by their times.

    Args:
        item: The take.
        seconds: How long it is.

    Raises:
        DataError: A text ends before it begins, or begins after the take has ended.
    """
    whole: list[str] = []
    parts: dict[tuple[float, float], list[str]] = {}
    for timed in item.texts:
        start = max(0.0, timed.start or 0.0)
        stop = seconds if timed.stop is None else min(seconds, timed.stop)
        if start >= stop:
            raise DataError(
                f"the text {timed.text[:40]!r} is from {start:g} s to {timed.stop} s, the motion has {seconds:.2f} s"
            )
        covers = start <= TOLERANCE and stop >= seconds - TOLERANCE
        (whole if covers else parts.setdefault((start, stop), [])).append(timed.text)
    found = [Piece("", 0.0, seconds, tuple(whole))]
    for index, ((start, stop), texts) in enumerate(sorted(parts.items())):
        found.append(Piece(f"#{index:02d}", start, stop, tuple(texts)))
    return found


def captions_of(item: Take, texts: tuple[str, ...], mirrored: bool) -> list[str]:
    """Sentences for a clip of a take: each once, in order; the name of the action serves as one."""
    if item.source in _GENERATED:
        human = [swap_sides(text) if mirrored else text for text in texts]
        return list(dict.fromkeys((*captions_for(item.source, item.labels, mirrored), *human)))
    sentences = dict.fromkeys(" ".join(text.split()) for text in (*texts, item.action))
    sentences.pop("", None)
    return list(dict.fromkeys(swap_sides(text) for text in sentences)) if mirrored else list(sentences)


def labels_of(item: Take, start: float, stop: float, texts: tuple[str, ...] = ()) -> dict[str, str]:
    """Labels of a clip: the dataset's own, and what the take carries beside the motion, as JSON.

    ``description`` is what tells clips of one meaning from others: the dataset's own, or the first sentence.
    """
    labels = dict(item.labels)
    if item.source not in _GENERATED and (texts or item.action):
        labels.setdefault("description", " ".join((texts or (item.action,))[0].split()))
    if item.action:
        labels["action"] = item.action
    for name, media in (("music", item.music), ("speech", item.speech), ("video", item.video)):
        if media is not None:
            labels[name] = json.dumps(_media_row(media, start, stop), sort_keys=True)
    return labels


def _media_row(media: Media, start: float, stop: float) -> dict[str, object]:
    row = {key: value for key, value in asdict(media).items() if value}
    row["offset"] = round(media.offset + start, 4)
    words = [shifted for word in media.words if (shifted := _within(word, start, stop)) is not None]
    if words:
        row["words"] = words
    else:
        row.pop("words", None)
    return row


def _within(word: Timed, start: float, stop: float) -> list[object] | None:
    """A word as (text, start, stop) in the time of a clip, if it is heard there."""
    begin, end = word.start or 0.0, stop if word.stop is None else word.stop
    if end <= start or begin >= stop:
        return None
    return [word.text, round(max(begin, start) - start, 4), round(min(end, stop) - start, 4)]

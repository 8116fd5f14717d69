"""A corpus at a glance: what a store holds by source, licence, task, frame rate and body part, and what is odd."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from motionloom.data.store import SPLITS, TASKS, Clip, Store, read_refused
from motionloom.motion.skeleton import PARTS

_REASONS = 12


def corpus_report(path: Path) -> dict[str, Any]:
    """Counts and hours of a store.

    Args:
        path: Its folder.

    Returns:
        ``clips``, ``frames``, ``hours``, ``bytes`` and ``bytes_per_frame`` on disk (without cached features);
        ``sources``, ``licences``, ``splits``, ``tasks``, ``fps`` and ``parts``, each with clips and hours by name;
        ``captions`` (different sentences, their mean number a clip, clips without); ``lengths`` [s]; ``flags`` and
        ``refused`` with counts by reason; the ``digest``.

    Raises:
        DataError: The folder is no store.
    """
    store = Store(path)
    clips = store.clips
    lengths = sorted(clip.seconds for clip in clips)
    size = sum((store.path / name).stat().st_size for name in store.manifest["sha256"])
    reasons = Counter(_kind(reason) for _, reason in read_refused(path))
    return {
        "clips": len(clips),
        "frames": store.manifest["frames"],
        "hours": _hours(clips),
        "bytes": size,
        "bytes_per_frame": round(size / store.manifest["frames"], 1),
        "sources": {
            name: {
                **_table(clip for clip in clips if clip.source == name),
                "refused": entry["refused"],
                "flagged": entry.get("flagged", 0),
                "licence": entry["licence"],
            }
            for name, entry in store.manifest["sources"].items()
        },
        "licences": {
            name: {**table, "terms": store.licences[name].terms}
            for name, table in _by(clips, lambda clip: [clip.licence]).items()
        },
        "splits": {name: _table(clip for clip in clips if clip.split == name) for name in SPLITS},
        "tasks": {name: _table(clip for clip in clips if name in clip.tasks) for name in TASKS},
        "fps": _by(clips, lambda clip: [f"{clip.fps:g}"]),
        "parts": {name: _table(clip for clip in clips if name in clip.parts) for name in PARTS},
        "captions": {
            "different": len({text for clip in clips for text in clip.captions}),
            "a clip": round(sum(len(clip.captions) for clip in clips) / len(clips), 1),
            "clips without": sum(not clip.captions for clip in clips),
        },
        "lengths": {
            "shortest": round(lengths[0], 2),
            "median": round(lengths[len(lengths) // 2], 2),
            "longest": round(lengths[-1], 2),
        },
        "flags": dict(sorted(Counter(flag.partition(":")[0] for clip in clips for flag in clip.flags).items())),
        "refused": dict(reasons.most_common(_REASONS)),
        "digest": store.digest,
    }


def _table(clips: Iterable[Clip]) -> dict[str, Any]:
    kept = list(clips)
    return {"clips": len(kept), "hours": _hours(kept)}


def _hours(clips: Iterable[Clip]) -> float:
    return round(sum(clip.seconds for clip in clips) / 3600, 3)


def _by(clips: tuple[Clip, ...], names: Any) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        for name in names(clip):
            groups.setdefault(name, []).append(clip)
    return {name: _table(groups[name]) for name in sorted(groups)}


def _kind(reason: str) -> str:
    """A reason without the figures of the one clip, so that like ones count together."""
    words = ["#" if any(letter.isdigit() for letter in word) else word for word in reason.split()]
    return " ".join(words)[:90]

"""Bandai-Namco Research Motiondataset 1 and 2 (CC BY-NC 4.0): BVH files whose names are their labels.

Neighbouring ids of set 2 are repeated takes of one action, so splits are made by ranges of ids
within a content and style, and near copies stay together.
"""

import hashlib
import re
from collections import defaultdict
from pathlib import Path

from motionloom import licences
from motionloom.data.sources import Take
from motionloom.errors import DataError

_NAME = re.compile(r"dataset-(?P<dataset>[12])_(?P<content>[^_]+)_(?P<style>[^_]+)_(?P<id>\d+)")
_MISLABELLED = {
    "dataset-2_walk-turn-left_masculine_006": "turns right, against its label",
    "dataset-2_walk-turn-left_masculine_007": "turns right, against its label",
    "dataset-2_walk-turn-right_masculine_006": "turns by 260 degrees, not by 90",
    "dataset-2_walk-turn-right_masculine_007": "turns left, against its label",
    "dataset-2_walk-turn-left_normal_031": "turns back at the end, which its label does not say",
    "dataset-2_walk-turn-left_normal_032": "turns back at the end, which its label does not say",
    "dataset-2_walk-turn-left_normal_033": "turns back at the end, which its label does not say",
    "dataset-2_walk-turn-right_normal_004": "turns back at the end, which its label does not say",
    "dataset-2_walk-turn-right_normal_032": "turns back at the end, which its label does not say",
    "dataset-2_walk-turn-right_normal_033": "turns back at the end, which its label does not say",
}
"""Clips whose motion is not what their name says, found by the turn angle of every clip."""


def takes(folder: Path) -> list[Take]:
    """All clips of both datasets, found by their names (``dataset-2_walk-turn-left_elderly_003.bvh``).

    Raises:
        DataError: There is no such file below the folder.
    """
    found = {path.stem: path for path in sorted(folder.rglob("dataset-*_*.bvh"))}
    if not found:
        raise DataError(
            f"{folder}: no files named dataset-1_CONTENT_STYLE_ID.bvh or dataset-2_...; unpack"
            " Bandai-Namco-Research-Motiondataset-1 and -2 there"
        )
    rows = []
    for clip in sorted(found):
        words = _NAME.fullmatch(clip)
        if words is None:
            raise DataError(f"{found[clip]}: the name is not dataset-N_CONTENT_STYLE_ID.bvh, so it has no label")
        rows.append({"clip": clip, **words.groupdict()})
    splits = _splits(rows)
    return [
        Take(
            id=f"bandai/{row['clip']}",
            source="bandai",
            licence=licences.BANDAI,
            path=found[row["clip"]],
            fps=30.0,
            unit=0.01,
            split=splits[row["clip"]],
            labels={"content": row["content"], "style": row["style"], "dataset": row["dataset"]},
            refuse=_MISLABELLED.get(row["clip"], ""),
        )
        for row in rows
    ]


def _splits(rows: list[dict[str, str]]) -> dict[str, str]:
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row in rows:
        groups[row["dataset"], row["content"], row["style"]].append(row["clip"])
    found = {}
    for (dataset, content, style), clips in groups.items():
        if dataset == "1" or len(clips) < 10:
            # One clip a label: held out by label, one in twelve each.
            share = int(hashlib.sha256(f"{content} {style}".encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
            name = "test" if share < 0.06 else "val" if share < 0.10 else "train"
            found.update(dict.fromkeys(clips, name))
            continue
        # The last ids are the test clips, those before them validation: whole ranges, no near copy on both sides.
        count = len(clips)
        first_test, first_val = count - max(1, round(0.06 * count)), count - max(2, round(0.10 * count))
        for index, clip in enumerate(clips):
            found[clip] = "test" if index >= first_test else "val" if index >= first_val else "train"
    return found

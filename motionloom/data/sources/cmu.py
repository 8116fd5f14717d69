"""The Carnegie Mellon University motion capture database, as BVH and AMC files with a manifest.

Free for research and commercial use; credit mocap.cs.cmu.edu, NSF EIA-0196217. The folder holds ``manifest.csv`` with
the columns clip, subject, file, format, frames, fps, description. The manifest's fps is right where a file's own is
not (salsa says 120 and is 60). Units differ by family and are guessed from the body; size is matched by leg length.
Sentences that people wrote are used where ``kitml_cmu.csv`` lies in the folder or in ``cmu-captions`` beside it.
"""

import csv
import hashlib
from pathlib import Path

from motionloom import licences
from motionloom.data.sources import Take, Timed
from motionloom.data.sources.kitml import human_sentences, sentences_of
from motionloom.errors import DataError

_BROKEN = {
    "salsa_06": "the head is turned by more than 60 degrees in every frame",
    "salsa_07": "the body turns upside down from the middle on",
}
"""Clips whose capture went wrong, found by looking at joint angles."""
_PARTNER = 15
"""salsa_16..30 are the partners of salsa_01..15 in the same takes."""


def takes(folder: Path) -> list[Take]:
    """All files of the manifest, those to be refused with the reason.

    Raises:
        DataError: There is no manifest, or it names files that are not there.
    """
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        raise DataError(f"{folder}: manifest.csv is missing; unpack the CMU archive and give its folder")
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    missing = [row["file"] for row in rows if not (folder / row["file"]).is_file()]
    if missing:
        raise DataError(f"{folder}: {len(missing)} files of the manifest are missing, first {missing[0]}")
    human = human_sentences(folder)
    return [_take(folder, row, human.get(row["clip"], ())) for row in rows]


def _take(folder: Path, row: dict[str, str], human: tuple[str, ...]) -> Take:
    clip = row["clip"].replace("/", "_")
    refuse = ""
    if row["description"].startswith("playground"):
        refuse = "hangs on props that are not in the data (playground)"
    refuse = refuse or _BROKEN.get(clip, "")
    # Frame 0 of the BVH files is a T-pose, not motion.
    t_pose = row["format"] == "bvh"
    used, kept = sentences_of(clip, human)
    return Take(
        id=f"cmu/{clip}",
        source="cmu",
        licence=licences.CMU,
        path=folder / row["file"],
        fps=float(row["fps"]),
        unit=None,
        split=_split(clip),
        labels={"description": row["description"], "subject": row["subject"]} | kept,
        texts=tuple(Timed(text) for text in used),
        skip=1 if t_pose else 0,
        refuse=refuse,
    )


def _split(clip: str) -> str:
    """By take: both dancers of one take stay together."""
    name = clip.rsplit("_", 1)
    if "salsa" in clip and len(name) == 2 and name[1].isdigit():
        clip = f"{name[0]}_{(int(name[1]) - 1) % _PARTNER + 1:02d}"
    share = int(hashlib.sha256(clip.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return "test" if share < 0.06 else "val" if share < 0.10 else "train"

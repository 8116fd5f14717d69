"""The store: a corpus of motions in few memory-mapped files and one index table.

Layout of the folder (format 2)::

    manifest.json   format, counts, hours, licences, SHA-256 of the other files
    index.parquet   one row a clip: id, source, licence, split, fps, start row, frames, row of its hands, known parts,
                    labels, captions, flags, notes
    rotations.npy   int16 [rows, 22, 4], quaternion components x 32767
    root.npy        float32 [rows, 3], metres
    contacts.npy    uint8 [rows], bits 0..3: left ankle, left toe, right ankle, right toe
    valid.npy       uint16 [rows], bit k: part k of the ten is known
    hands.npy       int16 [rows of clips with hands, 30, 4], quaternion components x 32767
    refused.csv     every file that was not taken, and why

All clips are of the canonical body, on the floor, the first frame over the origin facing +Z. Format 1 has no hands
and no masks; it is read as well.
"""

import csv
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motionloom.data.rows import open_rows
from motionloom.errors import DataError
from motionloom.licences import Licence, licence_of
from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS, PARTS

FORMAT = 2
_READABLE = (1, 2)
SPLITS = ("train", "val", "test")
QUATERNION_SCALE = 32767.0
BODY_PARTS = tuple(part for part in PARTS if part not in ("left_hand", "right_hand", "face"))
"""The parts of a body that is captured without fingers and face."""
TASKS = ("motion", "text", "action", "music", "speech", "video")
"""What a clip may serve (``Clip.tasks``)."""
_BITS = 1 << np.arange(len(PARTS), dtype=np.uint16)


@dataclass(frozen=True)
class Clip:
    """One row of the index.

    Attributes:
        id: Unique name, "source/clip".
        source: Dataset it came from.
        licence: Licence of that dataset.
        split: "train", "val" or "test".
        fps: Frames a second.
        start: First row in the arrays.
        frames: Number of rows.
        labels: The dataset's own labels.
        captions: Sentences that describe it.
        mirrored: Sentences that describe its mirror image.
        notes: What preparation did to it.
        flags: What the quality gate measured and found odd.
        parts: Body parts that are known in some frame.
        hands: First row of its fingers; -1 where it has none.
    """

    id: str
    source: str
    licence: str
    split: str
    fps: float
    start: int
    frames: int
    labels: dict[str, str]
    captions: tuple[str, ...]
    mirrored: tuple[str, ...]
    notes: str
    flags: tuple[str, ...] = ()
    parts: tuple[str, ...] = BODY_PARTS
    hands: int = -1

    @property
    def tasks(self) -> tuple[str, ...]:
        """What a model can learn from it: motion by itself, and from each condition that came with it."""
        found = ["motion"]
        if self.captions:
            found.append("text")
        return (*found, *(name for name in ("action", "music", "speech", "video") if name in self.labels))

    @property
    def seconds(self) -> float:
        """Duration [s]."""
        return self.frames / self.fps

    @property
    def shows(self) -> str:
        """What it shows: its content or action where the dataset has such classes, else its description."""
        return next((self.labels[name] for name in ("content", "action", "description") if name in self.labels), "")


def pack_rotations(quaternions: torch.Tensor) -> np.ndarray:
    """Unit quaternions as int16; the error is below 0.004 degrees."""
    return torch.round(quaternions * QUATERNION_SCALE).to(torch.int16).numpy()


def unpack_rotations(packed: np.ndarray) -> torch.Tensor:
    """Unit quaternions of packed ones."""
    return rot.normalize(torch.from_numpy(packed.astype(np.float32)))


def pack_parts(valid: torch.Tensor | None, frames: int, hands: bool) -> np.ndarray:
    """Which parts are known in which frame as bits; parts that the skeleton has no joints for are not."""
    known = np.ones((frames, len(PARTS)), dtype=bool) if valid is None else valid.numpy().copy()
    without = ("face",) if hands else ("left_hand", "right_hand", "face")
    known[:, [PARTS.index(part) for part in without]] = False
    return (known @ _BITS).astype(np.uint16)


def unpack_parts(bits: np.ndarray) -> torch.Tensor:
    """Masks ``[T, 10]`` of packed ones."""
    return torch.from_numpy((bits[:, None] & _BITS) > 0)


class Store:
    """A prepared corpus, opened for reading.

    Args:
        path: Folder that ``motionloom data prepare`` wrote.

    Raises:
        DataError: The folder is no store, or one of a newer format, or a file of it is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        manifest = self.path / "manifest.json"
        if not manifest.is_file():
            raise DataError(
                f"{self.path} is no store: manifest.json is missing; make one with `motionloom data prepare`"
            )
        self.manifest: dict[str, Any] = json.loads(manifest.read_text())
        if self.manifest.get("format") not in _READABLE:
            raise DataError(
                f"{self.path} has store format {self.manifest.get('format')}, this version reads"
                f" {' and '.join(map(str, _READABLE))}: prepare it again"
            )
        missing = [name for name in self.manifest["sha256"] if not (self.path / name).is_file()]
        if missing:
            raise DataError(f"{self.path} lacks {', '.join(missing)}: prepare it again")
        self.rotations = np.load(self.path / "rotations.npy", mmap_mode="r")
        self.root = np.load(self.path / "root.npy", mmap_mode="r")
        self.contacts = np.load(self.path / "contacts.npy", mmap_mode="r")
        later = {name: self.path / f"{name}.npy" for name in ("valid", "hands") if self.manifest["format"] > 1}
        self.later = {name: open_rows(path) for name, path in later.items()}

    @cached_property
    def clips(self) -> tuple[Clip, ...]:
        """All clips, in the order of their ids."""
        import pyarrow.parquet as parquet

        rows = parquet.read_table(self.path / "index.parquet").to_pylist()
        return tuple(
            Clip(
                **{
                    **{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()},
                    "labels": json.loads(row["labels"]),
                }
            )
            for row in rows
        )

    @cached_property
    def licences(self) -> dict[str, Licence]:
        """The licences of its clips, by the text that a clip has."""
        known = self.manifest.get("licences", {})
        return {text: licence_of(text, known) for text in sorted({clip.licence for clip in self.clips})}

    def split(self, name: str) -> tuple[Clip, ...]:
        """The clips of one split.

        Raises:
            DataError: There is no such split.
        """
        if name not in SPLITS:
            raise DataError(f"split {name!r} is unknown; the splits are {', '.join(SPLITS)}")
        return tuple(clip for clip in self.clips if clip.split == name)

    def clip(self, name: str) -> Clip:
        """The clip of that id.

        Raises:
            DataError: There is none.
        """
        for clip in self.clips:
            if clip.id == name:
                return clip
        raise DataError(f"{self.path} has no clip {name!r}")

    def motion(self, clip: Clip, hands: bool = False) -> Motion:
        """The motion of a clip.

        Args:
            clip: A row of the index.
            hands: With its fingers, where it has them: 52 joints instead of 22.

        Returns:
            ``valid`` tells which parts are known; ``None`` where all of its joints' parts are.
        """
        rows = slice(clip.start, clip.start + clip.frames)
        bits = torch.from_numpy(np.unpackbits(self.contacts[rows, None], axis=1, bitorder="little")[:, :4].astype(bool))
        rotations = unpack_rotations(np.asarray(self.rotations[rows]))
        fingers = hands and clip.hands >= 0
        if fingers:
            packed = self.later["hands"][clip.hands : clip.hands + clip.frames]
            rotations = torch.cat((rotations, unpack_rotations(np.asarray(packed))), dim=1)
        return Motion(
            CANONICAL_HANDS if fingers else CANONICAL,
            rotations,
            torch.from_numpy(np.array(self.root[rows])),
            clip.fps,
            valid=self._valid(rows, fingers),
            contacts=bits if {"left_leg", "right_leg"} <= set(clip.parts) else None,
            provenance=Provenance(source=clip.id, licence=clip.licence, notes=tuple(filter(None, [clip.notes]))),
        )

    def _valid(self, rows: slice, fingers: bool) -> torch.Tensor | None:
        if "valid" not in self.later:
            return None
        known = unpack_parts(np.asarray(self.later["valid"][rows]))
        needed = [PARTS.index(part) for part in (*BODY_PARTS, *(("left_hand", "right_hand") if fingers else ()))]
        return None if bool(known[:, needed].all()) else known

    @property
    def digest(self) -> str:
        """SHA-256 over the hashes of all files: two stores of equal digest hold the same bytes."""
        return hashlib.sha256(json.dumps(self.manifest["sha256"], sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_refused(path: str | Path) -> list[tuple[str, str]]:
    """(clip, reason) of everything that a store did not take."""
    with (Path(path) / "refused.csv").open(newline="", encoding="utf-8") as file:
        return [(row["clip"], row["reason"]) for row in csv.DictReader(file)]


def label_of(clip: Clip) -> str:
    """What a clip shows: content and style, or its description; clips alike in this share their captions."""
    return " ".join(clip.labels.get(name, "") for name in ("content", "style", "description"))

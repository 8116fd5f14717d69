"""The store: a corpus of motions in few memory-mapped files and one index table.

Layout of the folder (format 1)::

    manifest.json   format, counts, hours, licences, SHA-256 of the other files
    index.parquet   one row a clip: id, source, licence, split, fps, start row, frames, captions, labels, notes
    rotations.npy   int16 [rows, 22, 4], quaternion components x 32767
    root.npy        float32 [rows, 3], metres
    contacts.npy    uint8 [rows], bits 0..3: left ankle, left toe, right ankle, right toe
    refused.csv     every file that was not taken, and why

All clips are of the canonical body, on the floor, the first frame over the origin facing +Z.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motionloom.errors import DataError
from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.skeleton import CANONICAL

FORMAT = 1
SPLITS = ("train", "val", "test")
QUATERNION_SCALE = 32767.0


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

    @property
    def seconds(self) -> float:
        """Duration [s]."""
        return self.frames / self.fps


def pack_rotations(quaternions: torch.Tensor) -> np.ndarray:
    """Unit quaternions as int16; the error is below 0.004 degrees."""
    return torch.round(quaternions * QUATERNION_SCALE).to(torch.int16).numpy()


def unpack_rotations(packed: np.ndarray) -> torch.Tensor:
    """Unit quaternions of packed ones."""
    return rot.normalize(torch.from_numpy(packed.astype(np.float32)))


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
        if self.manifest.get("format") != FORMAT:
            raise DataError(
                f"{self.path} has store format {self.manifest.get('format')}, this version reads {FORMAT}:"
                " prepare it again"
            )
        missing = [name for name in self.manifest["sha256"] if not (self.path / name).is_file()]
        if missing:
            raise DataError(f"{self.path} lacks {', '.join(missing)}: prepare it again")
        self.rotations = np.load(self.path / "rotations.npy", mmap_mode="r")
        self.root = np.load(self.path / "root.npy", mmap_mode="r")
        self.contacts = np.load(self.path / "contacts.npy", mmap_mode="r")

    @cached_property
    def clips(self) -> tuple[Clip, ...]:
        """All clips, in the order of their ids."""
        import pyarrow.parquet as parquet

        rows = parquet.read_table(self.path / "index.parquet").to_pylist()
        return tuple(
            Clip(
                **{
                    **row,
                    "labels": json.loads(row["labels"]),
                    "captions": tuple(row["captions"]),
                    "mirrored": tuple(row["mirrored"]),
                }
            )
            for row in rows
        )

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

    def motion(self, clip: Clip) -> Motion:
        """The motion of a clip."""
        rows = slice(clip.start, clip.start + clip.frames)
        bits = torch.from_numpy(np.unpackbits(self.contacts[rows, None], axis=1, bitorder="little")[:, :4].astype(bool))
        return Motion(
            CANONICAL,
            unpack_rotations(np.asarray(self.rotations[rows])),
            torch.from_numpy(np.array(self.root[rows])),
            clip.fps,
            contacts=bits,
            provenance=Provenance(source=clip.id, licence=clip.licence, notes=tuple(filter(None, [clip.notes]))),
        )

    @property
    def digest(self) -> str:
        """SHA-256 over the hashes of all files: two stores of equal digest hold the same bytes."""
        return hashlib.sha256(json.dumps(self.manifest["sha256"], sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

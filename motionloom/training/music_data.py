"""Sound to learn from: accompaniment synthesised for clips of a store, made once and kept beside the store."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from motionloom.conditions.audio import RATE
from motionloom.data.loader import is_whole
from motionloom.data.rows import RowWriter
from motionloom.data.sound.features import is_dance
from motionloom.data.sound.music import accompany
from motionloom.data.store import Clip, Store
from motionloom.errors import DataError

_VERSION = 1
_FULL = 32767.0
_ROUNDS = 6


@dataclass(frozen=True, eq=False)
class SoundSet:
    """Pieces of sound in one array.

    Attributes:
        samples: All pieces, one behind the other, as 16-bit numbers at 22,050 Hz.
        starts: First sample of each piece.
        lengths: Samples of each piece.
        clips: Id of the clip that each piece was made for.
    """

    samples: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    clips: tuple[str, ...]

    @property
    def minutes(self) -> float:
        """Duration of all pieces."""
        return float(self.lengths.sum()) / RATE / 60

    def piece(self, index: int) -> Float[Tensor, " S"]:
        """One piece; full scale is 1."""
        start = int(self.starts[index])
        rows = np.asarray(self.samples[start : start + int(self.lengths[index])])
        return torch.from_numpy(rows.astype(np.float32) / _FULL)

    def crops(self, count: int, size: int, rng: np.random.Generator) -> Float[Tensor, "B S"]:
        """Random spans of the same length; a piece is chosen in proportion to its length.

        Raises:
            DataError: No piece is that long.
        """
        long = self.lengths >= size
        if not long.any():
            raise DataError(f"no piece of sound has {size / RATE:.2g} s; prepare a store with longer clips")
        edges = np.cumsum(np.where(long, self.lengths, 0))
        pieces = np.searchsorted(edges, rng.integers(0, edges[-1], count), side="right")
        first = self.starts[pieces] + (rng.random(count) * (self.lengths[pieces] - size + 1)).astype(np.int64)
        rows = np.stack([self.samples[start : start + size] for start in first])
        return torch.from_numpy(rows.astype(np.float32) / _FULL)


def accompaniments(store: Store, split: str, minutes: float, seed: int, shortest: float = 2.0) -> SoundSet:
    """Music for clips of a split, or what was made of it an earlier time.

    Dances come first and with several pieces each; the other clips follow in random order, each with music of its own
    seed, and again with other music until there is enough of it, or six pieces for every clip.

    Args:
        store: The store; the sound is kept in its features folder.
        split: Of the store.
        minutes: How much is wanted; a minute takes 2.6 MB.
        seed: Of order and music.
        shortest: Clips below this are left out [s].

    Raises:
        DataError: The split has no clip that long.
    """
    what = f"{store.digest} {split} {minutes} {seed} {shortest} {_VERSION}"
    name = hashlib.sha256(what.encode()).hexdigest()[:16]
    file = store.path / "features" / f"accompaniment-{name}.npy"
    listing = file.with_suffix(".json")
    if not (file.is_file() and listing.is_file()):
        _make(store, split, minutes, seed, shortest, file, listing)
    pieces = json.loads(listing.read_text())
    lengths = np.array([length for _, length in pieces], dtype=np.int64)
    return SoundSet(
        np.load(file, mmap_mode="r"), np.cumsum(lengths) - lengths, lengths, tuple(clip for clip, _ in pieces)
    )


def _make(store: Store, split: str, minutes: float, seed: int, shortest: float, file: Path, listing: Path) -> None:
    clips = [clip for clip in store.split(split) if clip.seconds >= shortest and is_whole(clip)]
    if not clips:
        raise DataError(f"{store.path}: split {split!r} has no clip of {shortest:g} s to make music for")
    file.parent.mkdir(parents=True, exist_ok=True)
    listing.unlink(missing_ok=True)
    pieces: list[tuple[str, int]] = []
    part = file.with_suffix(".part")
    with RowWriter(part, np.int16, ()) as writer, tqdm(total=round(minutes), desc="music", unit="min") as shown:
        for number, clip in _order(clips, np.random.default_rng(seed)):
            # A number of its own for each piece, so that no two begin alike.
            sound = accompany(store.motion(clip), seed * 1_000_003 + number).sound
            writer.append(torch.round(sound.samples.clamp(-1, 1) * _FULL).to(torch.int16).numpy())
            pieces.append((clip.id, len(sound.samples)))
            shown.n = int(writer.rows / RATE / 60)
            shown.refresh()
            if writer.rows >= minutes * 60 * RATE:
                break
    part.replace(file)
    listing.write_text(json.dumps(pieces))


def _order(clips: list[Clip], rng: np.random.Generator) -> Iterator[tuple[int, Clip]]:
    """Every clip up to six times, dances three times at once."""
    dances = [clip for clip in clips if is_dance(clip)]
    others = [clip for clip in clips if not is_dance(clip)]
    number = 0
    for round_ in range(_ROUNDS):
        shuffled = [others[place] for place in rng.permutation(len(others))]
        for clip in (*(dances * 3 if round_ % 3 == 0 else []), *shuffled):
            yield number, clip
            number += 1

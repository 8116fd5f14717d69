"""Windows of the unified 669 features at any frame rates, with the parts that are known.

Features are encoded once a frame rate and kept beside the store as half floats, and only the columns of parts that
some clip of the store knows: a corpus without fingers and faces keeps 259 of 669 numbers. Shapes: ``B`` windows, ``T``
frames, ``P`` the ten body parts, ``D`` 669 features.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm import tqdm

from motionloom.data.loader import finish_cache, is_current
from motionloom.data.mixture import MixOptions, Mixture
from motionloom.data.rows import RowWriter, open_rows
from motionloom.data.store import Clip, Store, pack_parts, unpack_parts
from motionloom.errors import DataError
from motionloom.motion.features.motionverse import encode_motionverse
from motionloom.motion.features.motionverse_layout import (
    MIRROR_PARTS,
    SIZE,
    MotionVerseStats,
    measure_stats,
    mirror_columns,
    part_columns,
)
from motionloom.motion.skeleton import PARTS


@dataclass(frozen=True)
class MotionVerseWindows:
    """A batch of windows.

    Attributes:
        features: Features, not normalised; 0 in unknown parts and behind a window's length.
        mask: Which parts are known; none behind a window's length.
        lengths: Frames of each window.
        fps: Frame rate of each window.
        clips: Index of each window's clip in the split.
        starts: First frame of each window in its clip, at its frame rate.
        mirrored: Which windows are mirror images.
        tasks: Index in ``tasks`` of the task each window was drawn for.
    """

    features: Float[Tensor, "B T D"]
    mask: Bool[Tensor, "B T P"]
    lengths: Int[Tensor, " B"]
    fps: Float[Tensor, " B"]
    clips: Int[Tensor, " B"]
    starts: Int[Tensor, " B"]
    mirrored: Bool[Tensor, " B"]
    tasks: Int[Tensor, " B"]


@dataclass(frozen=True, eq=False)
class _Rate:
    """The features of a split at one frame rate; rows of each of its clips."""

    features: Tensor
    bits: np.ndarray
    starts: np.ndarray
    frames: np.ndarray


class MotionVerseSet:
    """The unified features of one split of a store at one or several frame rates.

    Args:
        store: The store.
        split: "train", "val" or "test".
        rates: Frame rates; a window is of one of them, as far as its clip was captured as fast (see ``faster``).
        min_frames: Clips shorter than this at the slowest rate are left out.
        mix: Weights of datasets and tasks.
        faster: How many times faster than it was captured a clip may be made, by interpolation.

    Raises:
        DataError: No clip of the split is long enough, or the mixture asks for what is not there.
    """

    def __init__(
        self,
        store: Store,
        split: str,
        rates: tuple[float, ...] = (20.0,),
        min_frames: int = 16,
        mix: MixOptions | None = None,
        faster: float = 1.0,
    ) -> None:
        if not rates or min(rates) <= 0:
            raise DataError(f"frame rates are {rates}; at least one, all above 0, is needed")
        self.store, self.rates = store, rates
        self.columns = known_columns(store)
        # Where each kept column goes in the mirror image, and with which sign.
        order, signs = mirror_columns()
        back = torch.empty_like(order)
        back[order] = torch.arange(SIZE)
        self._mirror = back[self.columns], signs[back[self.columns]]
        clips = store.split(split)
        tables = [self._open(fps) for fps in rates]
        slowest = tables[int(np.argmin(rates))][2]
        kept = [clip for clip in clips if slowest[clip.id][1] >= min_frames]
        if not kept:
            raise DataError(f"{store.path}: no clip of split {split!r} has {min_frames} frames at {min(rates):g} fps")
        self.clips: tuple[Clip, ...] = tuple(kept)
        self._rates = [
            _Rate(
                torch.from_numpy(features),
                bits,
                np.array([rows[clip.id][0] for clip in kept]),
                np.array([rows[clip.id][1] for clip in kept]),
            )
            for features, bits, rows in tables
        ]
        # A rate far above a clip's own would be made up; one of those below it is taken instead.
        own = np.array([clip.fps for clip in kept])
        self._usable = np.array([[fps <= rate * faster * 1.01 or fps == min(rates) for fps in rates] for rate in own])
        self.mixture = Mixture(kept, self._rates[int(np.argmin(rates))].frames, mix or MixOptions())

    def _open(self, fps: float) -> tuple[np.ndarray, np.ndarray, dict[str, tuple[int, int]]]:
        folder = self.store.path / "features" / f"unified-{fps:g}"
        if not is_current(folder, self.store):
            _encode_all(self.store, folder, fps, self.columns)
        table = json.loads((folder / "rows.json").read_text())["clips"]
        rows = {clip: (start, frames) for clip, (start, frames) in table.items()}
        return open_rows(folder / "features.npy", "c"), open_rows(folder / "valid.npy"), rows

    def __len__(self) -> int:
        return len(self.clips)

    def clip(self, index: int, rate: int = 0) -> tuple[Float[Tensor, "T D"], Bool[Tensor, "T P"]]:
        """All features of one clip and which of its parts are known."""
        table = self._rates[rate]
        rows = slice(int(table.starts[index]), int(table.starts[index] + table.frames[index]))
        features = torch.zeros(rows.stop - rows.start, SIZE)
        features[:, self.columns] = table.features[rows].float()
        return features, unpack_parts(table.bits[rows])

    def windows(self, count: int, frames: int, rng: np.random.Generator, mirror: bool = True) -> MotionVerseWindows:
        """Random windows.

        Args:
            count: How many.
            frames: Their longest length; shorter clips make shorter windows.
            rng: Where the randomness comes from.
            mirror: Turn half of them into their mirror images.
        """
        rows, tasks = self.mixture.draw(count, rng)
        picks = rng.random((count, len(self.rates))) * self._usable[rows]
        rates = picks.argmax(1)
        flips = rng.random(count) < 0.5 if mirror else np.zeros(count, dtype=bool)
        places = rng.random(count)
        features = torch.zeros(count, frames, SIZE)
        bits = np.zeros((count, frames), dtype=np.uint16)
        lengths = np.empty(count, dtype=np.int64)
        starts = np.empty(count, dtype=np.int64)
        plain, (order, signs) = self.columns, self._mirror
        for item, (row, rate) in enumerate(zip(rows.tolist(), rates.tolist(), strict=True)):
            table = self._rates[rate]
            length = min(frames, int(table.frames[row]))
            start = int(places[item] * (table.frames[row] - length + 1))
            first = int(table.starts[row]) + start
            window = table.features[first : first + length].float()
            target = features[item, :length]
            if flips[item]:
                target.index_copy_(1, order, window.mul_(signs))
            else:
                target.index_copy_(1, plain, window)
            bits[item, :length] = table.bits[first : first + length]
            lengths[item], starts[item] = length, start
        mask = unpack_parts(bits.reshape(-1)).view(count, frames, len(PARTS))
        turned = torch.from_numpy(flips)
        mask[turned] = mask[turned][..., list(MIRROR_PARTS)]
        return MotionVerseWindows(
            features,
            mask,
            torch.from_numpy(lengths),
            torch.tensor([self.rates[rate] for rate in rates.tolist()]),
            torch.from_numpy(rows),
            torch.from_numpy(starts),
            turned,
            torch.from_numpy(tasks),
        )

    def stats(self) -> MotionVerseStats:
        """Mean and spread of the known cells of all clips, at the first frame rate."""
        return measure_stats(self.clip(index) for index in range(len(self)))


def known_columns(store: Store) -> Int[Tensor, " C"]:
    """The feature columns of parts that some clip of a store knows."""
    parts = {part for clip in store.clips for part in clip.parts}
    columns = part_columns()
    return torch.tensor(sorted(column for part in parts for column in columns[part]))


def _encode_all(store: Store, folder: Path, fps: float, columns: Int[Tensor, " C"]) -> None:
    """Encode every clip, one at a time; unknown parts are zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.json").unlink(missing_ok=True)
    rows: dict[str, tuple[int, int]] = {}
    with (
        RowWriter(folder / "features.part", np.float16, (len(columns),)) as features,
        RowWriter(folder / "valid.part", np.uint16, ()) as valid,
    ):
        for clip in tqdm(store.clips, desc=f"unified features at {fps:g} fps", unit="clip"):
            start = features.rows
            motion = store.motion(clip, hands=True).with_(contacts=None).at_fps(fps)
            if len(motion) > 1:
                found = encode_motionverse(motion)
                features.append(found.features[:, columns].numpy().astype(np.float16))
                valid.append(pack_parts(found.mask, len(found), hands=True))
            rows[clip.id] = (start, features.rows - start)
    finish_cache(folder, store, rows, ("features", "valid"))

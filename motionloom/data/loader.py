"""From a store to training windows, and the statistics that normalise them.

Features of a whole split are encoded once per layout and frame rate and kept beside the store as one memory-mapped
array; windows are cut from it. What a batch holds follows from (seed, step, rank) alone, so a training that was
interrupted goes on with the very batches it would have had.
"""

import json
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm import tqdm

from motionloom.data.rows import RowWriter
from motionloom.data.store import BODY_PARTS, Clip, Store
from motionloom.errors import DataError
from motionloom.motion.features.humanml3d import encode_features, mirror_columns
from motionloom.motion.features.layout import LAYOUTS

_CACHE_VERSION = 1


@dataclass(frozen=True)
class Stats:
    """Mean and standard deviation of every feature; saved with each model that was trained with them."""

    mean: Float[Tensor, " D"]
    std: Float[Tensor, " D"]

    def normalize(self, features: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """To zero mean and unit spread."""
        return (features - self.mean.to(features)) / self.std.to(features)

    def restore(self, features: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Back to the features' own units."""
        return features * self.std.to(features) + self.mean.to(features)


@dataclass(frozen=True)
class Windows:
    """A batch of windows.

    Attributes:
        features: Features in their own units, not normalised.
        lengths: Frames of each window that are motion; past them the last frame is held.
        clips: Index of each window's clip in the split.
        mirrored: Which windows are mirror images.
    """

    features: Float[Tensor, "B T D"]
    lengths: Int[Tensor, " B"]
    clips: Int[Tensor, " B"]
    mirrored: Bool[Tensor, " B"]


class FeatureSet:
    """The features of one split of a store at one frame rate.

    Args:
        store: The store.
        split: "train", "val" or "test"; clips that lack a part of the body are left out.
        fps: Frame rate of the features; clips are resampled to it.
        min_frames: Clips shorter than this are left out.
        source: Only clips of this source; of all when left out.

    Raises:
        DataError: No clip of the split is long enough.
    """

    def __init__(
        self, store: Store, split: str, fps: float = 20.0, min_frames: int = 12, source: str | None = None
    ) -> None:
        self.store, self.fps = store, fps
        folder = store.path / "features" / f"humanml3d-parent-{fps:g}"
        if not is_current(folder, store):
            _encode_all(store, folder, fps)
        rows = json.loads((folder / "rows.json").read_text())["clips"]
        features = np.load(folder / "features.npy", mmap_mode="c")
        self.features: Float[Tensor, "R D"] = torch.from_numpy(features)
        kept: list[tuple[Clip, int, int]] = [
            (clip, *rows[clip.id])
            for clip in store.split(split)
            if rows[clip.id][1] >= min_frames and source in (None, clip.source)
        ]
        if not kept:
            raise DataError(
                f"{store.path}: no clip of split {split!r} has {min_frames} frames of a whole body at {fps:g} fps"
            )
        self.clips = tuple(clip for clip, _, _ in kept)
        self.starts = np.array([start for _, start, _ in kept])
        self.frames = np.array([frames for _, _, frames in kept])

    def __len__(self) -> int:
        return len(self.clips)

    def picked(self, rows: np.ndarray) -> "FeatureSet":
        """The same features, of some clips only."""
        found = copy(self)
        found.clips = tuple(self.clips[row] for row in rows)
        found.starts, found.frames = self.starts[rows], self.frames[rows]
        return found

    def clip(self, index: int, mirrored: bool = False) -> Float[Tensor, "T D"]:
        """All features of one clip."""
        start = int(self.starts[index])
        features = self.features[start : start + int(self.frames[index])]
        if mirrored:
            order, signs = mirror_columns()
            features = features[:, order] * signs
        return features.clone()

    def weights(self, power: float) -> np.ndarray:
        """Chance of each clip: in proportion to its frames, times the size of its label group to ``-power``."""
        labels = [f"{clip.source} {clip.shows}" for clip in self.clips]
        totals: dict[str, float] = {}
        for label, frames in zip(labels, self.frames, strict=True):
            totals[label] = totals.get(label, 0.0) + float(frames)
        raw = np.array([frames * totals[label] ** -power for label, frames in zip(labels, self.frames, strict=True)])
        return raw / raw.sum()

    def windows(
        self, count: int, frames: int, rng: np.random.Generator, chances: np.ndarray | None = None, mirror: bool = True
    ) -> Windows:
        """Random windows.

        Args:
            count: How many.
            frames: Their length; shorter clips are held at their last frame.
            rng: Where the randomness comes from.
            chances: Chance of each clip; in proportion to its frames when left out.
            mirror: Turn half of them into their mirror images.
        """
        if chances is None:
            # A frame drawn at random belongs to a clip with the right chance; a search finds it.
            edges = np.cumsum(self.frames)
            clips = np.searchsorted(edges, rng.integers(0, edges[-1], count), side="right")
        else:
            clips = rng.choice(len(self.clips), count, p=chances)
        spare = np.maximum(self.frames[clips] - frames, 0)
        first = self.starts[clips] + (rng.random(count) * (spare + 1)).astype(np.int64)
        lengths = np.minimum(self.frames[clips], frames)
        flips = rng.random(count) < 0.5 if mirror else np.zeros(count, dtype=bool)
        batch = torch.empty(count, frames, self.features.shape[1])
        order, signs = mirror_columns()
        # Columns are gathered into one small buffer that stays in the cache; a batch-wide gather is four times slower.
        buffer = torch.empty_like(batch[0])
        rows = zip(first.tolist(), lengths.tolist(), flips.tolist(), strict=True)
        for row, (start, length, flip) in enumerate(rows):
            window, target = self.features[start : start + length], batch[row, :length]
            if flip:
                torch.index_select(window, 1, order, out=buffer[:length])
                torch.mul(buffer[:length], signs, out=target)
            else:
                target.copy_(window)
            if length < frames:
                last = held(window[-1])
                batch[row, length:] = last[order] * signs if flip else last
        return Windows(batch, torch.from_numpy(lengths), torch.from_numpy(clips), torch.from_numpy(flips))

    def stats(self) -> Stats:
        """Mean per feature, spread per block; yaw step and height have their own spread, contacts a fixed one."""
        order, signs = mirror_columns()
        total, square = (torch.zeros(self.features.shape[1], dtype=torch.float64) for _ in range(2))
        for index in range(len(self)):
            rows = self.clip(index).double()
            total += rows.sum(0)
            square += rows.square().sum(0)
        count = int(self.frames.sum())
        total, square = total / count, square / count
        # In double to the end: a height of 1 m that hardly changes would lose its spread to rounding.
        middle = (total + total[order] * signs) / 2
        deviation = ((square + square[order]) / 2 - middle.square()).clamp(min=0.0).float()
        mean = middle.float()
        std = torch.empty_like(mean)
        for name, block in LAYOUTS["humanml3d"].slices.items():
            std[block] = 0.5 if name == "contacts" else deviation[block].mean().sqrt().clamp(min=1e-4)
        return Stats(mean, std)


def held(frame: Float[Tensor, "D"]) -> Float[Tensor, "D"]:
    """A frame's features when the body stops there: same pose, nothing moves."""
    slices = LAYOUTS["humanml3d"].slices
    still = frame.clone()
    for name in ("yaw", "velocity", "velocities"):
        still[slices[name]] = 0.0
    return still


def is_current(folder: Path, store: Store) -> bool:
    """Whether a folder holds the features of this very store."""
    rows = folder / "rows.json"
    if not rows.is_file() or not (folder / "features.npy").is_file():
        return False
    found = json.loads(rows.read_text())
    return found["store"] == store.digest and found["version"] == _CACHE_VERSION


def finish_cache(folder: Path, store: Store, rows: dict[str, tuple[int, int]], names: tuple[str, ...]) -> None:
    """Give the arrays of a cache their names; the table of rows, without which it does not count, comes last."""
    for name in names:
        (folder / f"{name}.part").replace(folder / f"{name}.npy")
    temporary = folder / "rows.part"
    temporary.write_text(json.dumps({"store": store.digest, "version": _CACHE_VERSION, "clips": rows}))
    temporary.replace(folder / "rows.json")


def _encode_all(store: Store, folder: Path, fps: float) -> None:
    """Encode every clip of a whole body, one at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.json").unlink(missing_ok=True)
    rows: dict[str, tuple[int, int]] = {}
    with RowWriter(folder / "features.part", np.float32, (LAYOUTS["humanml3d"].size,)) as writer:
        for clip in tqdm(store.clips, desc=f"features at {fps:g} fps", unit="clip"):
            start = writer.rows
            if is_whole(clip):
                motion = store.motion(clip).with_(contacts=None).at_fps(fps)
                if len(motion) > 1:
                    writer.append(encode_features(motion).numpy())
            rows[clip.id] = (start, writer.rows - start)
    finish_cache(folder, store, rows, ("features",))


def is_whole(clip: Clip) -> bool:
    """Whether all parts of the body are known; layouts without masks hold no others."""
    return set(BODY_PARTS) <= set(clip.parts)

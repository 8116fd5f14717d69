"""Training the motion diffusion model on windows of unified features at several frame rates.

First stage: motion alone, with random cells hidden, some known, at random frame rates. Second stage, from its weights:
the same with text, and with keypoints of random cameras. A batch follows from (seed, step, rank) alone.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from motionloom.conditions.audio import AUDIO_WIDTH
from motionloom.conditions.cameras import synthetic_keypoints
from motionloom.conditions.clip import text_encoder
from motionloom.conditions.keypoints import KEYPOINT_WIDTH, keypoint_features
from motionloom.conditions.text import TextEncoder, text_tokens
from motionloom.data.mixture import MixOptions
from motionloom.data.motionverse_loader import MotionVerseSet, MotionVerseWindows
from motionloom.data.sound.features import Kind, SoundOptions, SoundSet
from motionloom.data.store import Store
from motionloom.errors import RequestError, TrainingError
from motionloom.models.checkpoint import load_checkpoint, save_checkpoint
from motionloom.models.diffusion.config import Clips, Condition, DiffusionConfig
from motionloom.models.diffusion.model import DiffusionTransformer
from motionloom.models.diffusion.schedule import NoiseSchedule
from motionloom.models.diffusion.training import LossOptions, training_loss
from motionloom.motion.features.motionverse import decode_motionverse
from motionloom.motion.features.motionverse_layout import (
    MIRROR_PARTS,
    SIZE,
    MotionVerseFeatures,
    MotionVerseStats,
    measure_stats,
    mirror_columns,
    part_columns,
)
from motionloom.motion.skeleton import BODY_COLUMNS, PARTS
from motionloom.schema import ranged
from motionloom.training.caption_vectors import caption_table, started_whitening
from motionloom.training.cards import Origins, card
from motionloom.training.diffusion_batches import MOST_PIECES, Batch
from motionloom.training.diffusion_prior import fit_prior
from motionloom.training.recipes import Recipe
from motionloom.training.task import Step

_PIECE = 16
"""A batch is cut into pieces of clips of like length, each with at least so many: fewer are mostly overhead."""
_HELD_OUT = 96
"""Windows that are evaluated on."""
_TRAVELS = 0.4
"""Mean speed of the root from which on a shorter piece of a motion still shows what its caption says [m/s]."""
_TASKS = ("motion", "text")
_SOUNDS: tuple[Kind, ...] = ("music", "speech")


@dataclass(frozen=True)
class DiffusionData:
    """What a diffusion model is trained on."""

    rates: tuple[float, ...] = ranged(
        (10.0, 12.5, 15.0, 20.0, 30.0), low=1, high=240, help="Frame rates of the windows, each drawn as often."
    )
    faster: float = ranged(
        1.0, low=1, high=16, help="How many times faster than it was captured a clip may be made, by interpolation."
    )
    frames: int = ranged(120, low=2, high=100_000, help="Longest window; at a low rate it lasts longer.")
    shortest: int = ranged(
        10, low=2, high=100_000, unit="frames", help="Shortest window, and shortest clip at the slowest rate."
    )
    tasks: Mapping[str, float] = ranged(
        default_factory=lambda: {"motion": 1.0}, low=0,
        help="How often a window is of which task: motion follows nothing, text its caption.",
    )  # fmt: skip
    datasets: Mapping[str, float] = ranged(
        default_factory=dict, low=0, help="How often a window is of which source; those not named weigh 1."
    )
    power: float = ranged(
        0.0, low=0, high=1, help="A label group is drawn in proportion to its number of frames ** (1 - power)."
    )
    pieces: float = ranged(
        0.25, low=0, high=1, help="Chance that a window is cut shorter; with a text only if the motion travels."
    )
    video: float = ranged(0.0, low=0, high=1, help="Share of windows that see keypoints of a random camera.")
    music: float = ranged(0.0, low=0, high=1, help="Share of windows that hear their music, of those with some.")
    speech: float = ranged(0.0, low=0, high=1, help="Share of windows that hear their speech, of those with some.")
    sounds: Mapping[str, str] = field(default_factory=dict)
    """Folder of recorded sound of a source; clips without it hear sound that is made up."""
    accompanied: int = ranged(
        300, low=0, help="Clips without recorded sound that hear made-up music, beside dances; and gestures speech."
    )
    text_encoder: str = "minilm"
    """``minilm``, or the folder of a text tower; see ``conditions/clip.py``."""
    joined: float = ranged(
        0.0, low=0, high=1, help="Share of updates whose windows are twice as long, cut into clips of one time line."
    )
    root: float = ranged(5.0, low=0, help="Weight of the root's features in the loss; that of the others is 1.")

    def __post_init__(self) -> None:
        if not self.rates:
            raise TrainingError("rates is empty; at least one frame rate is needed")
        if not any(self.tasks.values()):
            raise TrainingError("no task has a weight above 0; there is nothing to draw")


def read(recipe: Recipe) -> tuple[DiffusionConfig, DiffusionData, LossOptions]:
    """The tables of a recipe.

    Raises:
        TrainingError: A value does not fit.
    """
    return (
        recipe.table("model", DiffusionConfig),
        recipe.table("data", DiffusionData),
        recipe.table("loss", LossOptions),
    )


class DiffusionTask:
    """A diffusion model in the training loop.

    Raises:
        TrainingError: The recipe names tasks or sizes that do not fit.
    """

    def __init__(self, recipe: Recipe, store: Path) -> None:
        self.config, self.data, self.options = read(recipe)
        self.store = Store(store)
        self.mix = MixOptions(
            self.data.datasets,
            self.data.tasks,
            power=self.data.power,
        )
        self._check(recipe.name)
        self.schedule = NoiseSchedule.linear()
        self.seed = recipe.train.seed
        self.init = recipe.train.init
        self.train = self._windows_of("train")
        self.weights = torch.ones(len(self.config.datasets), SIZE)
        self.weights[:, list(part_columns()["root"])] = self.data.root
        network = DiffusionTransformer(self.config)
        self.model: nn.Module = network
        if network.prior is not None and not self.init:
            fit_prior(network.prior, self.train, self.stats)

    def _check(self, name: str) -> None:
        unknown = sorted(set(self.mix.tasks) - set(_TASKS))
        if unknown:
            raise TrainingError(f"{name}: task {unknown[0]!r} is not trained here; tasks are {', '.join(_TASKS)}")
        if not self.data.shortest < self.data.frames <= self.config.max_frames or self.data.shortest < 2:
            raise TrainingError(
                f"{name}: windows of {self.data.shortest} to {self.data.frames} frames; from 2 to the model's"
                f" max_frames, {self.config.max_frames}, are possible"
            )
        if self._reads_text:
            words, sentence = self.encoder.word_dim, self.encoder.sentence_dim
            if words != sentence or self.config.text_dim != words:
                raise TrainingError(
                    f"{name}: text_dim is {self.config.text_dim}; words of {self.encoder.name} have size {words}, its"
                    f" sentences {sentence}: all three must agree"
                )
            self.config = replace(self.config, text_encoder=self.encoder.name)
        for kind in _SOUNDS:
            if self._share(kind) and self.config.widths[kind] != AUDIO_WIDTH:
                raise TrainingError(f"{name}: {kind}_dim is {self.config.widths[kind]}; sound has size {AUDIO_WIDTH}")
        if self.data.joined and self.config.attention != "art":
            raise TrainingError(f"{name}: joined is {self.data.joined}; only attention 'art' has time lines: make it 0")
        if self.data.video and self.config.video_dim != KEYPOINT_WIDTH:
            raise TrainingError(f"{name}: video_dim is {self.config.video_dim}; keypoints have size {KEYPOINT_WIDTH}")

    def _share(self, kind: Kind) -> float:
        return self.data.music if kind == "music" else self.data.speech

    @property
    def _reads_text(self) -> bool:
        return self.mix.tasks.get("text", 0.0) > 0

    def _windows_of(self, split: str) -> MotionVerseSet:
        known = {clip.source for clip in self.store.split(split)}
        mix = self.mix
        if split != "train":
            # A held-out split may lack a source that is trained on.
            mix = replace(mix, datasets={name: weight for name, weight in mix.datasets.items() if name in known})
        return MotionVerseSet(self.store, split, self.data.rates, self.data.shortest, mix, self.data.faster)

    @cached_property
    def stats(self) -> MotionVerseStats:
        """Statistics of the features: those of the model that is started from, or measured on clips and mirrors."""
        if self.init:
            trained = load_checkpoint(Path(self.init)).stats
            return MotionVerseStats(trained["mean"], trained["std"])
        order, signs = mirror_columns()

        def clips() -> Any:
            for index in range(len(self.train)):
                features, mask = self.train.clip(index)
                yield features, mask
                yield features[:, order] * signs, mask[:, list(MIRROR_PARTS)]

        return measure_stats(clips())

    @cached_property
    def encoder(self) -> TextEncoder:
        """What makes vectors of captions."""
        return text_encoder(self.data.text_encoder)

    @cached_property
    def captions(self) -> Any:
        """The captions of the store as vectors."""
        return caption_table(self.store, self.encoder)

    @cached_property
    def whitening(self) -> tuple[Tensor, Tensor]:
        """Mean and spread of the captions' sentence vectors."""
        return started_whitening(self.init, self.captions.features)

    def prepare(self) -> None:
        """Measure or load the statistics, encode the captions, list the sound."""
        _ = self.stats, self.sounds
        if self._reads_text:
            _ = self.whitening
        for split in ("val", "test"):
            self._windows_of(split)

    def loss(self, model: nn.Module, step: Step) -> dict[str, Tensor]:
        """Loss of one batch of windows."""
        rng = np.random.default_rng([step.seed, step.index, step.rank])
        joined = bool(rng.random() < self.data.joined)
        items, frames = (max(1, step.items // 2), 2 * self.data.frames) if joined else (step.items, self.data.frames)
        windows = self.train.windows(items, frames, rng)
        batch = self.batch(self.train, self.shortened(windows, self.train, rng), rng)
        if joined:
            batch = batch.cut(self.data.frames, self.data.shortest, rng)
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        terms = self._terms(model, batch, generator, self.options)
        if step.world > 1:
            # Processes wait for a gradient of every parameter, also of an encoder that no clip of this batch used.
            terms["loss"] = terms["loss"] + 0.0 * torch.stack([value.sum() for value in model.parameters()]).sum()
        return terms

    def _terms(
        self, model: nn.Module, batch: Batch, generator: torch.Generator, options: LossOptions
    ) -> dict[str, Tensor]:
        """Loss terms of a batch, computed in pieces of like length: else most would be padding."""
        found: dict[str, Tensor] = {}
        for part in batch.by_length(max(1, len(batch.clips) // _PIECE)):
            losses = training_loss(
                model, self.config, self.schedule, part.target, part.clips, part.conditions, generator, options,
                self.weights,
            )  # fmt: skip
            # Each piece's loss is a mean over its clips; the whole is the mean over all.
            share = len(part.clips) / len(batch.clips)
            for name, value in {
                "loss": losses.total,
                "error": losses.features,
                "load_balancing_loss": losses.load_balancing_loss,
            }.items():
                found[name] = found[name] + share * value if name in found else share * value
        return found

    def shortened(
        self, windows: MotionVerseWindows, clips: MotionVerseSet, rng: np.random.Generator
    ) -> MotionVerseWindows:
        """Some windows cut to a shorter piece, so that the model knows any length."""
        lengths = windows.lengths.numpy()
        chance, size, place = rng.random((3, len(lengths)))
        frames = np.arange(windows.features.shape[1]) < lengths[:, None]
        speed = (windows.features[:, :, 1:3].norm(dim=-1).numpy() * frames).sum(1) / lengths
        told = np.array([clips.mixture.tasks[task] == "text" for task in windows.tasks.tolist()])
        cut = (chance < self.data.pieces) & (~told | (speed > _TRAVELS)) & (lengths > self.data.shortest)
        features, mask, short = windows.features.clone(), windows.mask.clone(), windows.lengths.clone()
        starts = windows.starts.clone()
        for row in np.flatnonzero(cut).tolist():
            length = int(self.data.shortest + size[row] * (lengths[row] - self.data.shortest))
            first = int(place[row] * (lengths[row] - length + 1))
            for array, source in ((features, windows.features), (mask, windows.mask)):
                array[row] = 0
                array[row, :length] = source[row, first : first + length]
            short[row], starts[row] = length, starts[row] + first
        return replace(windows, features=features, mask=mask, lengths=short, starts=starts)

    def batch(self, clips: MotionVerseSet, windows: MotionVerseWindows, rng: np.random.Generator) -> Batch:
        """Windows with what they follow.

        Args:
            clips: Where the windows are from.
            windows: The windows.
            rng: Draws captions and cameras.
        """
        count, none = len(windows.lengths), torch.zeros(len(windows.lengths), dtype=torch.long)
        sources = [clips.clips[row].source for row in windows.clips.tolist()]
        names = self.config.datasets
        dataset = torch.tensor([names.index(source) if source in names else 0 for source in sources])
        clean = Clips(windows.mask, windows.lengths, (1 / windows.fps).float(), dataset, none)
        conditions: dict[str, Condition] = {}
        if self._reads_text:
            told = torch.tensor([clips.mixture.tasks[task] == "text" for task in windows.tasks.tolist()])
            rows = torch.zeros(count, dtype=torch.long)
            for row in told.nonzero()[:, 0].tolist():
                choices = self.captions.choices(clips.clips[int(windows.clips[row])], bool(windows.mirrored[row]))
                rows[row] = int(rng.choice(choices))
            tokens, valid = text_tokens(self.captions.pick(rows), *self.whitening)
            conditions["text"] = Condition(tokens, told, valid)
        if self.data.video:
            conditions["video"] = self._seen(windows, rng)
        for kind, sounds in self.sounds.items():
            conditions[kind] = self._heard(sounds, clips, windows, rng)
        return Batch(self.stats.normalize(windows.features, windows.mask), clean, conditions)

    @cached_property
    def sounds(self) -> dict[Kind, SoundSet]:
        """The sound of the store's clips, of the kinds that are trained."""
        options = SoundOptions(
            tuple(f"{name}={folder}" for name, folder in self.data.sounds.items()), others=self.data.accompanied
        )
        return {kind: SoundSet(self.store, kind, options) for kind in _SOUNDS if self.config.widths[kind]}

    def _heard(
        self, sounds: SoundSet, clips: MotionVerseSet, windows: MotionVerseWindows, rng: np.random.Generator
    ) -> Condition:
        """The sound of some windows whose clips have any."""
        count, frames = windows.mask.shape[:2]
        features, given = torch.zeros(count, frames, AUDIO_WIDTH), torch.zeros(count, dtype=torch.bool)
        share = self._share(sounds.kind)
        for row, (chance, which) in enumerate(rng.random((count, 2)).tolist()):
            clip = clips.clips[int(windows.clips[row])]
            versions = sounds.versions(clip)
            if not versions or chance >= share:
                continue
            length, fps = int(windows.lengths[row]), float(windows.fps[row])
            start = int(windows.starts[row]) / fps
            features[row, :length] = sounds.window(clip, int(which * versions), start, fps, length)
            given[row] = True
        return Condition(features, given)

    def _seen(self, windows: MotionVerseWindows, rng: np.random.Generator) -> Condition:
        """Keypoints of random cameras for some windows of whole bodies."""
        count, frames = windows.mask.shape[:2]
        features, given = torch.zeros(count, frames, KEYPOINT_WIDTH), torch.zeros(count, dtype=torch.bool)
        for row in np.flatnonzero(rng.random(count) < self.data.video).tolist():
            length, fps = int(windows.lengths[row]), float(windows.fps[row])
            generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
            mask = windows.mask[row, :length]
            if not bool(mask[:, BODY_COLUMNS].all()):
                continue
            motion = decode_motionverse(MotionVerseFeatures(windows.features[row, :length], mask, fps)).motion
            try:
                features[row, :length] = keypoint_features(synthetic_keypoints(motion, generator), fps)
            except RequestError:
                # A camera that never shows the whole trunk gives nothing to follow.
                continue
            given[row] = True
        return Condition(features, given)

    @cached_property
    def val(self) -> Batch:
        """Windows of the validation split, always the same."""
        return self._held_out_batch("val")

    def _held_out_batch(self, split: str) -> Batch:
        clips, rng = self._windows_of(split), np.random.default_rng(7)
        return self.batch(clips, clips.windows(_HELD_OUT, self.data.frames, rng, mirror=False), rng)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Errors on validation windows, always with the same masks and noise."""
        return self._held_out(model, self.val)

    def _held_out(self, model: nn.Module, batch: Batch) -> dict[str, float]:
        """Errors of normalised features, nothing hidden, whatever training hides: with the conditions, and without."""
        found = {}
        for name, dropped in (("error", 0.0), ("error_alone", 1.0)):
            options = replace(self.options, hide=False, drop_condition=dropped, drop_dataset=0.0)
            if dropped and not batch.conditions:
                continue
            generator = torch.Generator().manual_seed(7)
            found[name] = float(self._terms(model, batch, generator, options)["error"])
        return found

    def export(self, folder: Path, model: nn.Module, facts: Mapping[str, Any]) -> None:
        """Write the model with the statistics of its features, frame rates and sentences."""
        with torch.no_grad():
            figures = self._held_out(model, self._held_out_batch("test"))
        stats = {
            "mean": self.stats.mean,
            "std": self.stats.std,
            "rates": torch.tensor(sorted(self.data.rates)),
            "frames": torch.tensor([self.data.shortest, self.data.frames, MOST_PIECES if self.data.joined else 1]),
            "parts": self._known_parts(),
        }
        if self._reads_text:
            stats |= dict(zip(("sentence_mean", "sentence_std"), self.whitening, strict=True))
        origins = Origins.of(
            self.store, facts.get("init", ""), text_encoder=self.encoder.licence if self._reads_text else None
        )
        save_checkpoint(
            folder,
            model,
            stats=stats,
            data=origins.data,
            licence=origins.licence,
            card=card("Motion diffusion model", asdict(self.data), facts, figures, origins),
            storage="float16",
        )

    def _known_parts(self) -> Bool[Tensor, " P"]:
        """Parts that some training clip knows: only those can be made."""
        known = {part for clip in self.train.clips for part in clip.parts}
        return torch.tensor([part in known for part in PARTS])


def task(recipe: Recipe, store: Path) -> DiffusionTask:
    """Make the task of a recipe."""
    return DiffusionTask(recipe, store)

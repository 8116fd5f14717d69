"""Motions from the diffusion model: at which frame rate, of what known cells, and back to a motion.

The model makes frames itself at any rate it was trained on, and at those between; a motion that is asked for at a
higher rate, or that is too long for the model at its own, is made at a lower one and read by splines.
Shapes: ``T`` frames of the answer, ``N`` frames of the model.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from motionloom.conditions.clip import named_encoder
from motionloom.conditions.keypoints import KEYPOINT_SLICES, keypoint_features
from motionloom.conditions.text import TextEncoder, text_tokens
from motionloom.data.sound.features import pooled, sound_features
from motionloom.engines.options import EngineOptions
from motionloom.engines.request import Segment
from motionloom.engines.seeds import item_seed
from motionloom.errors import CheckpointError, RequestError
from motionloom.models.checkpoint import Checkpoint
from motionloom.models.diffusion.config import Clips, Condition
from motionloom.models.diffusion.model import DiffusionTransformer
from motionloom.models.diffusion.sampling import Guidance, sample
from motionloom.models.diffusion.schedule import Method, NoiseSchedule
from motionloom.motion import rotations as rot
from motionloom.motion.blend import resample_smoothly
from motionloom.motion.contacts import with_contacts
from motionloom.motion.features.motionverse import decode_motionverse, encode_motionverse
from motionloom.motion.features.motionverse_consistency import enforce_consistency
from motionloom.motion.features.motionverse_layout import (
    SIZE,
    MotionVerseFeatures,
    MotionVerseOptions,
    MotionVerseStats,
    spread_mask,
)
from motionloom.motion.motion import Motion
from motionloom.motion.retarget import retarget
from motionloom.motion.skeleton import BODY_COLUMNS, CANONICAL, PARTS
from motionloom.motion.smooth import MAX_WINDOW, smooth
from motionloom.progress import SILENT, Progress
from motionloom.schema import ranged

_SLACK = 1e-6
AGREES = 0.8
"""From this share of the noise steps on a guess is a mean over many motions, with neither bones nor steps: it stays as
it is (results/lmm-denoising.json)."""
_STATS = ("mean", "std", "rates", "frames", "parts")


@dataclass(frozen=True)
class LMMOptions(EngineOptions):
    """How the diffusion model is sampled."""

    steps: int = ranged(10, low=1, high=1000, help="InferenceCache through the network.")
    guidance: float = ranged(
        2.0, low=0, high=20, help="How strongly conditions are followed; 1 is the model as it is, for half the work."
    )
    weights: Mapping[str, float] = ranged(
        default_factory=dict, low=0, high=20, help="The same of single conditions, in the place of guidance."
    )
    temperature: float = ranged(
        0.85, low=0, high=2, help="Scale of the noise; below 1 motions lie nearer to what is usual."
    )
    # Below it conditions are followed plainly, in one pass.
    guided_from: float = ranged(
        0.3, low=0, high=1, help="Share of the noise steps from which on conditions are guided."
    )
    enforce_consistency: bool = ranged(
        True, help="Whether each guess is made consistent: bones, velocities, contacts (MotionVerse consistency)."
    )
    smoothing: float = ranged(0.25, low=0, high=MAX_WINDOW, unit="s", help="Window of the jitter filter; 0 for none.")
    method: Method = ranged("dpm", help='Solver: "dpm" (DPM-Solver++) or "ddim", which needs five times the steps.')


@dataclass(frozen=True, eq=False)
class Job:
    """One motion to be made.

    Attributes:
        frames: How long it is to be.
        fps: Its frame rate.
        follows: What it follows.
        seed: Of its random stream.
        known: A motion as long as it, of the canonical body, and which of its cells are known; None for nothing.
        start: Where in sound and video it begins [s].
    """

    frames: int
    fps: float
    follows: Segment
    seed: int
    known: tuple[Motion, Bool[Tensor, "T 10"]] | None = None
    start: float = 0.0


class Denoiser:
    """The diffusion model as one thing that makes motions.

    Args:
        checkpoint: Of a diffusion model that was trained here.
        folder: Where it came from, for messages.

    Raises:
        CheckpointError: It is another model, or has not the statistics that training writes.
    """

    def __init__(self, checkpoint: Checkpoint, folder: Path) -> None:
        if not isinstance(checkpoint.model, DiffusionTransformer):
            raise CheckpointError(f"{folder} holds a {checkpoint.kind}; a diffusion model is needed")
        self.model, config = checkpoint.model, checkpoint.model.config
        # The release takes word states alone, as they come; ours have the sentence before them, whitened.
        self.published = config.swapped_sides
        whitened = bool(config.text_dim) and not self.published
        needed = (*_STATS, *(("sentence_mean", "sentence_std") if whitened else ()))
        missing = sorted(set(needed) - set(checkpoint.stats))
        if missing:
            raise CheckpointError(f"{folder} has no {', '.join(missing)}: export it by `motionloom train`")
        values = checkpoint.stats
        if values["frames"].shape != (3,):
            raise CheckpointError(f"{folder} was written by an older motionloom: train it again, or export it anew")
        sizes = {"mean": (SIZE,), "std": (SIZE,), "parts": (len(PARTS),)}
        sizes |= dict.fromkeys(("sentence_mean", "sentence_std"), (config.text_dim,)) if whitened else {}
        for name, shape in sizes.items():
            if tuple(values[name].shape) != shape:
                raise CheckpointError(f"{folder}: {name} has shape {tuple(values[name].shape)}; {shape} is needed")
        self.stats = MotionVerseStats(values["mean"], values["std"])
        self.rates: tuple[float, ...] = tuple(sorted(values["rates"].tolist()))
        self.shortest, self.longest, self.pieces = (int(number) for number in values["frames"].tolist())
        self.parts: Bool[Tensor, " P"] = values["parts"]
        self.sentence = (values["sentence_mean"], values["sentence_std"]) if whitened else None
        self.schedule = NoiseSchedule.linear()

    @property
    def text(self) -> TextEncoder:
        """The text encoder that the model was trained with, loaded when first needed.

        Raises:
            CheckpointError: It is not bundled, and its weights are not where they are said to be.
        """
        config = self.model.config
        return named_encoder(config.text_encoder, word_dim=config.text_dim if self.published else None)

    @property
    def min_seconds(self) -> float:
        """Shortest motion that is made [s]."""
        return self.shortest / self.rates[-1]

    @property
    def max_seconds(self) -> float:
        """Longest motion that is made in one piece [s]: clips on one time line were trained as far as twice a clip."""
        return self.longest * min(2, self.pieces) / self.rates[0]

    def rate(self, seconds: float, fps: float) -> float:
        """Frame rate at which a motion is made: its own where the model can, else the nearest that was trained.

        Raises:
            RequestError: The model makes no motion of that length at any rate.
        """
        fitting = [rate for rate in self.rates if self._fits(seconds, rate)]
        if not fitting:
            raise RequestError(
                f"{seconds:g} s asked for; this model makes {self.min_seconds:.1f} to {self.max_seconds:.1f} s in one"
                " piece"
            )
        if self.rates[0] <= fps <= self.rates[-1] and self._fits(seconds, fps):
            return fps
        return min(fitting, key=lambda rate: abs(rate - fps))

    def _fits(self, seconds: float, rate: float) -> bool:
        most = min(self.longest * self.pieces, self.max_seconds * rate)
        return self.shortest <= round(seconds * rate) and math.ceil(seconds * rate - _SLACK) <= most + _SLACK

    @torch.no_grad()
    def make(self, job: Job, options: LMMOptions, progress: Progress = SILENT) -> Motion:
        """Make a motion, from over the origin, facing +Z; known cells steer it and are not copied into it.

        Motions are made one by one: on a processor a batch saves little, and so no bit of a motion depends on others.

        Raises:
            RequestError: See ``rate``.
        """
        fps = self.rate(job.frames / job.fps, job.fps)
        frames = math.ceil(job.frames / job.fps * fps - _SLACK)
        # What is longer than a clip of the training is several, that follow each other on one time line.
        count = math.ceil(frames / self.longest)
        edges = [round(frames * place / count) for place in range(count + 1)]
        lengths = torch.tensor(edges).diff()
        none = torch.zeros(count, dtype=torch.long)
        known = mask = cells = None
        if job.known is not None:
            features, cells = self._encoded(*job.known, fps, frames)
            cells &= self.parts
            known, mask = _cut(self.stats.normalize(features, cells), edges), _cut(cells, edges)

        def mend(guess: Tensor, step: int) -> Tensor:
            if known is not None and mask is not None:
                guess = torch.where(spread_mask(mask), known, guess)
            # What is made consistent are features of our codec.
            if self.published or step >= AGREES * len(self.schedule):
                return guess
            rows = enforce_consistency(
                self.stats.denormalize(_joined(guess, lengths)), self.stats, self.parts, fps, cells
            )
            return _cut(self.stats.normalize(rows, self.parts.expand(frames, -1)), edges)

        clips = Clips(
            self.parts.expand(count, int(lengths.max()), -1), lengths, torch.full((count,), 1 / fps), none, none, mask,
            (count,) if count > 1 else None,
        )  # fmt: skip
        steps = self.schedule.spaced(options.steps, "noise" if options.method == "dpm" else "time")
        weights = dict.fromkeys(self.model.config.modalities, options.guidance) | dict(options.weights)
        guidance = Guidance(weights, span=(options.guided_from, 1.0))
        # What weighs nothing is not followed where there is no guidance either.
        told = {name: one for name, one in self._conditions(job, fps, edges).items() if weights[name]}
        seeds = [job.seed, *(item_seed(job.seed, 1 + number) for number in range(count - 1))]
        scores = sample(
            self.model, self.schedule, clips, told, seeds, steps, options.method, guidance,
            known, temperature=options.temperature, mend=mend if options.enforce_consistency else None,
            progress=progress,
        )  # fmt: skip
        scores = _joined(scores, lengths)
        parts = self.parts.expand(frames, -1)
        unified = MotionVerseFeatures(self.stats.denormalize(scores), parts, fps)
        if self.published:
            # Rotations are fitted to positions of a body of the data's size.
            made = retarget(
                decode_motionverse(unified, CANONICAL, MotionVerseOptions.published()).motion.with_(valid=None)
            )
        else:
            made = decode_motionverse(unified, CANONICAL).motion
        if bool(self.parts[BODY_COLUMNS].all()):
            made = made.with_(valid=None)
        if fps != job.fps:
            valid = made.valid
            made = resample_smoothly(made, torch.arange(job.frames) / job.fps, job.fps)
            made = made if valid is None else made.with_(valid=valid[:1].expand(job.frames, -1))
        return with_contacts(smooth(made, options.smoothing))

    def _encoded(
        self, motion: Motion, known: Bool[Tensor, "T 10"], fps: float, frames: int
    ) -> tuple[Float[Tensor, "N 669"], Bool[Tensor, "N 10"]]:
        """Features of a motion's known cells at the model's frame rate.

        A frame is known if those around its moment are, at the motion's own rate.
        """
        place = torch.arange(frames, dtype=torch.float64) * (motion.fps / fps)
        low, high = (place + _SLACK).floor().long(), (place - _SLACK).ceil().long()
        inside = high < len(motion)
        low, high = low.clamp(max=len(motion) - 1), high.clamp(max=len(motion) - 1)
        mask = known[low] & known[high] & inside[:, None]
        weight = (place - low).to(motion.root).clamp(0, 1)[:, None]
        rotations = rot.slerp(motion.rotations[low], motion.rotations[high], weight)
        root = torch.lerp(motion.root[low], motion.root[high], weight)
        # A row is a frame and the step to the next: the last frame needs one that nothing is known of.
        longer = motion.with_(
            rotations=torch.cat((rotations, rotations[-1:])),
            root=torch.cat((root, root[-1:])),
            fps=fps,
            valid=torch.cat((mask, torch.zeros_like(mask[:1]))),
            contacts=None,
        )
        found = encode_motionverse(longer)
        return found.features, found.mask

    def _conditions(self, job: Job, fps: float, edges: list[int]) -> dict[str, Condition]:
        given: dict[str, Condition] = {}
        count, frames, told = len(edges) - 1, edges[-1], job.follows
        yes = torch.ones(count, dtype=torch.bool)
        if told.text and self.model.config.text_dim:
            read = self.text([told.text])
            tokens, valid = (read.words, read.valid) if self.sentence is None else text_tokens(read, *self.sentence)
            given["text"] = Condition(tokens.expand(count, -1, -1), yes, valid.expand(count, -1))
        for name, sound in (("music", told.music), ("speech", told.speech)):
            if sound is not None:
                heard = pooled(sound_features(sound), job.start, fps, frames)
                given[name] = Condition(_cut(heard, edges), yes)
        if told.keypoints is not None:
            whole = keypoint_features(told.keypoints, fps)
            seen = whole[round(job.start * fps) :][:frames]
            # Where the video ends sooner nobody is seen any more, in the place of its last frame.
            features = torch.zeros(frames, whole.shape[1])
            features[: len(seen)] = seen
            root = KEYPOINT_SLICES["root"]
            features[len(seen) :, root] = whole[-1, root]
            given["video"] = Condition(_cut(features, edges), yes)
        return given


def _joined(pieces: Float[Tensor, "B T C"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "N C"]:
    """Pieces one after the other, without what fills them up."""
    return torch.cat([piece[:length] for piece, length in zip(pieces, lengths.tolist(), strict=True)])


def _cut(rows: Shaped[Tensor, "N C"], edges: list[int]) -> Shaped[Tensor, "B T C"]:
    """Rows in consecutive pieces, filled up with zeros."""
    found = rows.new_zeros(len(edges) - 1, max(b - a for a, b in pairwise(edges)), rows.shape[1])
    for piece, (start, stop) in zip(found, pairwise(edges), strict=True):
        piece[: stop - start] = rows[start:stop]
    return found

"""Training the text-motion encoder on the clips and captions of a store.

Half of a batch are mirror images of the other half, so left and right must be told apart. A caption that describes
several motions of the batch (the same label, or no side said) counts as right for all of them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from motionloom.conditions.text import MiniLM
from motionloom.data.loader import FeatureSet
from motionloom.data.mixture import draw_chances
from motionloom.data.store import Store, label_of
from motionloom.metrics.distribution import POOL, distinct_pools, retrieval
from motionloom.models.checkpoint import save_checkpoint
from motionloom.models.text_motion.encoder import TextMotionConfig, TextMotionEncoder, contrastive_loss
from motionloom.schema import ranged
from motionloom.training.caption_vectors import caption_table, started_whitening
from motionloom.training.cards import Origins, card
from motionloom.training.recipes import Recipe, no_loss
from motionloom.training.started import started_stats
from motionloom.training.task import Step


@dataclass(frozen=True)
class TextMotionData:
    """What a text-motion encoder is trained on."""

    fps: float = ranged(20.0, low=1, high=240, help="Frame rate of the features.")
    power: float = ranged(0.5, low=0, high=1, help="A label group is drawn by its number of clips ** power.")
    shares: Mapping[str, float] = ranged(
        default_factory=lambda: {"cmu": 0.12}, low=0, high=1, help="Largest share of the draws of a source."
    )
    pieces: float = ranged(0.5, low=0, high=1, help="Chance that a motion is cut shorter, down to six tenths.")
    noise: float = ranged(0.05, low=0, help="Spread of the noise added to normalised features.")


def read(recipe: Recipe) -> tuple[TextMotionConfig, TextMotionData]:
    """The tables of a recipe.

    Raises:
        TrainingError: A value does not fit.
    """
    no_loss(recipe)
    return recipe.table("model", TextMotionConfig), recipe.table("data", TextMotionData)


class TextMotionTask:
    """A text-motion encoder in the training loop."""

    def __init__(self, recipe: Recipe, store: Path) -> None:
        self.config, self.data = read(recipe)
        self.store = Store(store)
        self.captions = caption_table(self.store)
        self.center, self.scale = started_whitening(recipe.train.init, self.captions.features)
        self.train = FeatureSet(self.store, "train", self.data.fps)
        self.stats = started_stats(recipe.train.init) or self.train.stats()
        self.model: nn.Module = TextMotionEncoder(self.config)

    @cached_property
    def chances(self) -> np.ndarray:
        """Chance of each training clip: groups by size ** power, sources capped."""
        return draw_chances(list(self.train.clips), self.data.power, self.data.shares)

    def prepare(self) -> None:
        """Compute the chances of the clips, and see that the other splits have some."""
        _ = self.chances
        for split in ("val", "test"):
            FeatureSet(self.store, split, self.data.fps)

    def loss(self, model: nn.Module, step: Step) -> dict[str, Tensor]:
        """Contrastive loss of one batch of clips and their mirror images."""
        rng = np.random.default_rng([step.seed, step.index, step.rank])
        rows = rng.choice(len(self.train), step.items // 2, p=self.chances)
        items = [(int(row), mirrored) for row in rows for mirrored in (False, True)]
        motions = [self._piece(self.train.clip(row, mirrored), rng) for row, mirrored in items]
        features, frames = self._pad(motions)
        features = features + self.data.noise * torch.from_numpy(rng.standard_normal(features.shape, np.float32))
        choices = [self.captions.choices(self.train.clips[row], mirrored) for row, mirrored in items]
        picked = np.array([rng.choice(options) for options in choices])
        fits = torch.from_numpy(np.stack([np.isin(picked, options) for options in choices], axis=1))
        texts = self.captions.pick(torch.from_numpy(picked))
        sentence = (texts.sentence - self.center) / self.scale
        logits = model(features, frames, sentence, texts.words, texts.valid)
        return {"loss": contrastive_loss(logits, fits)}

    def _piece(self, features: Tensor, rng: np.random.Generator) -> Tensor:
        most = self.config.max_patches * self.config.patch
        if len(features) > most:
            start = int(rng.integers(len(features) - most + 1))
            features = features[start : start + most]
        if rng.random() < self.data.pieces:
            features = features[: max(3 * self.config.patch, int(len(features) * rng.uniform(0.6, 1.0)))]
        return features

    def _pad(self, motions: list[Tensor]) -> tuple[Tensor, Tensor]:
        frames = torch.tensor([len(motion) for motion in motions])
        padded = torch.zeros(len(motions), int(frames.max()), self.config.features)
        for row, motion in zip(padded, motions, strict=True):
            row[: len(motion)] = self.stats.normalize(motion)
        return padded, frames

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Retrieval on the validation clips."""
        return self._held_out(model, FeatureSet(self.store, "val", self.data.fps))[0]

    def _held_out(self, model: nn.Module, clips: FeatureSet) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Retrieval in pools of 32 clips of different labels (or as many as there are), both ways; cosines of pairs.

        Returns:
            Figures; and 101 quantiles of the cosines of right pairs and of pairs of different labels.
        """
        assert isinstance(model, TextMotionEncoder)
        most = self.config.max_patches * self.config.patch
        motions = [clips.clip(index)[:most] for index in range(len(clips))]
        found = [model.embed_motions(*self._pad(motions[i : i + 64])) for i in range(0, len(motions), 64)]
        motion = torch.cat(found)
        labels = [label_of(clip) for clip in clips.clips]
        pool = min(POOL, len(set(labels)))
        other = torch.tensor([[a != b for b in labels] for a in labels])
        figures: dict[str, list[float]] = {}
        right, wrong = [], []
        for draw in range(10):
            rng = np.random.default_rng(draw)
            picked = [int(rng.choice(self.captions.choices(clip, False))) for clip in clips.clips]
            texts = self.captions.pick(torch.tensor(picked))
            text = model.embed_texts((texts.sentence - self.center) / self.scale, texts.words, texts.valid)
            cosines = text @ motion.T
            right.append(cosines.diagonal())
            wrong.append(cosines[other])
            figures.setdefault("cosine", []).append(float(cosines.diagonal().mean()))
            if pool < 2:
                continue
            pools = distinct_pools(labels, pool, seed=draw)
            for name, pair in (("text_to_motion", (text, motion)), ("motion_to_text", (motion, text))):
                for top, value in enumerate(retrieval(*pair, pools, min(3, pool)).r_precision, 1):
                    figures.setdefault(f"{name}_top{top}", []).append(value)
        at = torch.linspace(0, 1, 101)
        quantiles = {
            "right": torch.cat(right).quantile(at),
            "wrong": torch.cat(wrong if pool > 1 else right)[:1_000_000].quantile(at),
        }
        return {name: float(np.mean(values)) for name, values in figures.items()}, quantiles

    def export(self, folder: Path, model: nn.Module, facts: Mapping[str, Any]) -> None:
        """Write the encoder with its statistics, held-out retrieval and the cosines of right and wrong pairs."""
        with torch.no_grad():
            figures, quantiles = self._held_out(model, FeatureSet(self.store, "test", self.data.fps))
        stats = {"mean": self.stats.mean, "std": self.stats.std, **quantiles}
        origins = Origins.of(self.store, facts.get("init", ""), text_encoder=MiniLM.licence)
        save_checkpoint(
            folder,
            model,
            stats=stats | {"sentence_mean": self.center, "sentence_std": self.scale},
            data=origins.data,
            licence=origins.licence,
            card=card("Text-motion encoder", asdict(self.data), facts, figures, origins),
            storage="float16",
        )


def task(recipe: Recipe, store: Path) -> TextMotionTask:
    """Make the task of a recipe."""
    return TextMotionTask(recipe, store)

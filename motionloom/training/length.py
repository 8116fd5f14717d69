"""Training the length predictor: how many tokens the motion of a sentence usually has."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from motionloom.conditions.text import MiniLM
from motionloom.data.loader import FeatureSet
from motionloom.data.store import Store
from motionloom.models.checkpoint import save_checkpoint
from motionloom.models.length import LengthConfig, LengthPredictor, length_loss
from motionloom.schema import ranged
from motionloom.training.caption_vectors import caption_table, started_whitening
from motionloom.training.cards import Origins, card
from motionloom.training.recipes import Recipe, no_loss
from motionloom.training.task import Step


@dataclass(frozen=True)
class LengthData:
    """What a length predictor is trained on."""

    frames_per_token: int = ranged(4, low=1, high=1024, help="Of the tokenizer it serves.")
    fps: float = ranged(20.0, low=1, high=240, help="Of the features.")
    label_smoothing: float = ranged(0.05, low=0, high=0.999, help="Of the cross entropy.")


def read(recipe: Recipe) -> tuple[LengthConfig, LengthData]:
    """The tables of a recipe.

    Raises:
        TrainingError: A value does not fit.
    """
    no_loss(recipe)
    return recipe.table("model", LengthConfig), recipe.table("data", LengthData)


class LengthTask:
    """A length predictor in the training loop."""

    def __init__(self, recipe: Recipe, store: Path) -> None:
        self.config, self.data = read(recipe)
        self.store = Store(store)
        self.captions = caption_table(self.store)
        self.center, self.scale = started_whitening(recipe.train.init, self.captions.features)
        self.train, self.val = (FeatureSet(self.store, split, self.data.fps) for split in ("train", "val"))
        self.model: nn.Module = LengthPredictor(self.config)

    def _pairs(self, clips: FeatureSet, rows: np.ndarray, rng: np.random.Generator | None) -> tuple[Tensor, Tensor]:
        """Sentence vectors and token counts; a random caption of each clip, or its first."""
        choices = [self.captions.choices(clips.clips[row], False) for row in rows]
        picked = torch.tensor([int(options[0] if rng is None else rng.choice(options)) for options in choices])
        tokens = torch.from_numpy(clips.frames[rows] // self.data.frames_per_token)
        sentence = (self.captions.features.sentence[picked] - self.center) / self.scale
        return sentence, tokens.clamp(1, self.config.max_tokens)

    def prepare(self) -> None:
        """See that the test split has clips."""
        FeatureSet(self.store, "test", self.data.fps)

    def loss(self, model: nn.Module, step: Step) -> dict[str, Tensor]:
        """Cross entropy of one batch of (caption, length)."""
        rng = np.random.default_rng([step.seed, step.index, step.rank])
        sentence, tokens = self._pairs(self.train, rng.integers(0, len(self.train), step.items), rng)
        return {"loss": length_loss(model(sentence), tokens, self.data.label_smoothing)}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Cross entropy and median error of the most likely length on the validation clips."""
        return self._held_out(model, self.val)

    def _held_out(self, model: nn.Module, clips: FeatureSet) -> dict[str, float]:
        assert isinstance(model, LengthPredictor)
        sentence, tokens = self._pairs(clips, np.arange(len(clips)), None)
        error = (model.mode(sentence) - tokens).abs().float() * self.data.frames_per_token / self.data.fps
        return {
            "cross_entropy": float(length_loss(model(sentence), tokens, 0.0)),
            "median_error_s": float(error.median()),
            "mean_error_s": float(error.mean()),
        }

    def export(self, folder: Path, model: nn.Module, facts: Mapping[str, Any]) -> None:
        """Write the predictor with the whitening of its sentences."""
        with torch.no_grad():
            figures = self._held_out(model, FeatureSet(self.store, "test", self.data.fps))
        origins = Origins.of(self.store, facts.get("init", ""), text_encoder=MiniLM.licence)
        save_checkpoint(
            folder,
            model,
            stats={"sentence_mean": self.center, "sentence_std": self.scale},
            data=origins.data,
            licence=origins.licence,
            card=card("Length predictor", asdict(self.data), facts, figures, origins),
            storage="float16",
        )


def task(recipe: Recipe, store: Path) -> LengthTask:
    """Make the task of a recipe."""
    return LengthTask(recipe, store)

"""Training a music tokenizer on synthesised accompaniment: random crops, and errors of samples and spectra."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from motionloom.conditions.audio import RATE
from motionloom.data.store import Store
from motionloom.errors import TrainingError
from motionloom.licences import SYNTHETIC
from motionloom.models.checkpoint import save_checkpoint
from motionloom.models.tokenizers.music import MusicOutput, MusicTokenizer, MusicTokenizerConfig
from motionloom.models.tokenizers.music_training import SCALES, music_loss
from motionloom.training.cards import Origins, card
from motionloom.training.music_data import SoundSet, accompaniments
from motionloom.training.recipes import Recipe, from_table
from motionloom.training.task import Step

_FIRST = 16
"""Batches of which the first codes are made."""


@dataclass(frozen=True)
class MusicData:
    """What a music tokenizer is trained on."""

    minutes: float = 70.0
    """Accompaniment that is made of the training split, at 2.6 MB a minute."""
    held_out: float = 3.0
    """Minutes of the other splits."""
    seconds: float = 1.5
    """Length of a crop."""
    quietest: float = 0.5
    """Crops are scaled by a factor between this and 1."""
    warm: int = 300
    """Updates before sound goes through the codebook; its first codes are then the latents of an encoder that hears."""

    def __post_init__(self) -> None:
        if not (self.held_out > 0 and 0 < self.minutes <= 300 and 0 < self.quietest <= 1):
            raise TrainingError("minutes must lie in (0, 300], held_out above 0, quietest in (0, 1]")
        if self.warm < 0:
            raise TrainingError(f"warm is {self.warm}; it must be at least 0")
        if not max(SCALES)[0] / RATE <= self.seconds <= 10:
            raise TrainingError(f"crops of {self.seconds} s; {max(SCALES)[0] / RATE:.2g} to 10 s are needed")


@dataclass(frozen=True)
class MusicLoss:
    """Weights of the loss terms beside the samples' squared error."""

    spectral: float = 1.0
    """Spectra at three scales."""
    commitment: float = 0.02
    """Distance of latents to their codes."""


class MusicTask:
    """A music tokenizer in the training loop."""

    def __init__(self, recipe: Recipe, store: Path) -> None:
        self.data = from_table(MusicData, recipe.data, f"{recipe.name}: [data]")
        self.weights = from_table(MusicLoss, recipe.loss, f"{recipe.name}: [loss]")
        self.store, self.seed = Store(store), recipe.train.seed
        tokenizer = MusicTokenizer(from_table(MusicTokenizerConfig, recipe.model, f"{recipe.name}: [model]"))
        hop = tokenizer.samples_per_token
        self.size = max(1, round(self.data.seconds * RATE / hop)) * hop
        self.model: nn.Module = tokenizer

    @cached_property
    def train(self) -> SoundSet:
        """The training sound; made when first needed, for an export needs none."""
        return accompaniments(self.store, "train", self.data.minutes, self.seed)

    def prepare(self) -> None:
        """Make the training sound."""
        _ = self.train

    def loss(self, model: nn.Module, step: Step) -> dict[str, Tensor]:
        """Loss terms of one batch of crops."""
        assert isinstance(model, MusicTokenizer)
        rng = np.random.default_rng([step.seed, step.index, step.rank])
        target = self._crops(step.items, rng, next(model.parameters()).device)
        if step.index < self.data.warm:
            latents = model.latents(target)
            none, ids = target.new_zeros(()), latents.new_zeros(latents.shape[:2], dtype=torch.long)
            output = MusicOutput(model.decode_vectors(latents), none, none, ids)
        else:
            if not model.quantizer.initialised:
                # One batch has fewer latents than there are codes.
                with torch.no_grad():
                    model.quantizer(model.latents(self._crops(_FIRST * step.items, rng, target.device)))
            output = model(target)
        # Spectra need more digits than half precision has.
        output = replace(output, reconstruction=output.reconstruction.float())
        terms = music_loss(output, target, self.weights.spectral, self.weights.commitment)
        return {
            "loss": terms.total, "samples": terms.samples, "spectral": terms.spectral, "commitment": terms.commitment,
            "perplexity": output.perplexity,
        }  # fmt: skip

    def _crops(self, count: int, rng: np.random.Generator, device: torch.device) -> Float[Tensor, "B S"]:
        level = torch.from_numpy(rng.uniform(self.data.quietest, 1.0, (count, 1)).astype(np.float32))
        return (self.train.crops(count, self.size, rng) * level).to(device)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Reconstruction of validation music."""
        assert isinstance(model, MusicTokenizer)
        return fidelity(model, accompaniments(self.store, "val", self.data.held_out, self.seed), self.size)

    def export(self, folder: Path, model: nn.Module, facts: Mapping[str, Any]) -> None:
        """Write the tokenizer with its held-out figures."""
        assert isinstance(model, MusicTokenizer)
        figures = fidelity(model, accompaniments(self.store, "test", self.data.held_out, self.seed), self.size)
        origins = Origins.of(self.store, facts.get("init", ""), sound=SYNTHETIC)
        save_checkpoint(
            folder,
            model,
            stats={},
            data=origins.data | {"sound": "synthesised to the clips' kinematic beats"},
            licence=origins.licence,
            card=card("Music tokenizer", asdict(self.data), facts, figures, origins),
            storage="float16",
        )


def task(recipe: Recipe, store: Path) -> MusicTask:
    """Make the task of a recipe."""
    return MusicTask(recipe, store)


@torch.no_grad()
def fidelity(model: MusicTokenizer, sounds: SoundSet, size: int, count: int = 24) -> dict[str, float]:
    """How near decoded music is to what was encoded, on spans that are always the same.

    Returns:
        snr_db: power of the sound over that of the difference [dB]; spectral: the training's error of the spectra;
        codes: how many different ones these spans used.
    """
    model = model.eval()
    crops: Float[Tensor, "B S"] = sounds.crops(count, size, np.random.default_rng(0))
    output = model(crops)
    terms = music_loss(output, crops)
    power = float(crops.square().mean())
    return {
        "snr_db": 10 * float(np.log10(power / max(float(terms.samples), 1e-12))),
        "spectral": float(terms.spectral),
        "codes": float(len(torch.unique(output.ids))),
    }

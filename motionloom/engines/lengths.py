"""How long a motion for a text usually is."""

from pathlib import Path

import torch

from motionloom.conditions.text import minilm
from motionloom.errors import CheckpointError
from motionloom.models.checkpoint import Checkpoint, load_checkpoint
from motionloom.models.length import LengthPredictor

RATE = 5.0
"""Tokens a second of the bundled length predictors."""
SPREAD = 0.6
"""Predicted lengths come from the middle 60 % of what the data has: its extremes are odd clips."""
_ANYTHING = "a person moves"


class LengthEstimator:
    """A trained length predictor, asked with texts.

    Args:
        checkpoint: Holds a ``LengthPredictor`` and the statistics of its sentences.
        rate: Tokens a second that it counts in.

    Raises:
        CheckpointError: The checkpoint holds another model.
    """

    def __init__(self, checkpoint: Checkpoint, *, rate: float = RATE) -> None:
        if not isinstance(checkpoint.model, LengthPredictor):
            raise CheckpointError(f"a {checkpoint.kind} was given; lengths need a 'length' predictor")
        self.model, self.checkpoint, self.rate = checkpoint.model, checkpoint, rate

    @classmethod
    def open(cls, folder: Path, *, rate: float = RATE) -> "LengthEstimator":
        """The predictor of a checkpoint folder.

        Raises:
            CheckpointError: There is none, or it holds another model.
        """
        return cls(load_checkpoint(folder), rate=rate)

    @torch.no_grad()
    def tokens(self, texts: list[str], seeds: list[int]) -> list[int]:
        """Lengths in tokens, each drawn from its own seed and independent of the others.

        Args:
            texts: What the person does; empty for anything.
            seeds: One a text.
        """
        sentences = minilm()([text or _ANYTHING for text in texts]).sentence
        stats = self.checkpoint.stats
        sentences = (sentences - stats["sentence_mean"]) / stats["sentence_std"]
        # Each alone: the prediction must not depend, not even in the last bit, on the batch.
        return [int(self.model.sample(sentences[at : at + 1], [seed], SPREAD)) for at, seed in enumerate(seeds)]

    def seconds(self, text: str, seed: int) -> float:
        """A length that motions of a text have [s]."""
        return self.tokens([text], [seed])[0] / self.rate

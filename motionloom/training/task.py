"""What a model brings to the training loop."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn


@dataclass(frozen=True)
class Step:
    """Where a training is: what a task may use to make its batch.

    Attributes:
        index: Number of the update, from 0.
        seed: The recipe's seed.
        rank: This process.
        world: All processes.
        items: Items for this process.
    """

    index: int
    seed: int
    rank: int
    world: int
    items: int


@runtime_checkable
class Task(Protocol):
    """What a model brings to the loop."""

    model: nn.Module

    def prepare(self) -> None:
        """Make what batches are drawn from, such as encoded clips.

        Called once before the first update, outside autocast: what a loss made when first needed would be made in
        bfloat16, and kept.
        """
        ...

    def loss(self, model: nn.Module, step: Step) -> dict[str, Tensor]:
        """Loss terms of one batch; "loss" is what is minimised."""
        ...

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Held-out figures."""
        ...

    def export(self, folder: Path, model: nn.Module, facts: Mapping[str, Any]) -> None:
        """Write the trained model as a checkpoint directory."""
        ...

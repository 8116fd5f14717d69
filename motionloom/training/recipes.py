"""Recipes: TOML files that say what to train, on what, and how.

A recipe has a ``kind`` and the tables ``train`` (``TrainConfig``), ``model`` (the model's own config), ``data`` and
``loss``. Unknown keys are refused, so that a typo is not a silently used default.
"""

import dataclasses
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from motionloom.errors import TrainingError

T = TypeVar("T")


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained; the same for every kind."""

    steps: int = 1000
    """Updates of the weights."""
    batch: int = 64
    """Items in an update, all processes together."""
    optimizer: str = "adamw"
    """"adamw", or "adafactor", whose steps are relative to a tensor's size: T5 starts with a table of size 1 beside
    query matrices of 0.01, and with equal steps for both it hardly learns to read its prompts (LOG.md)."""
    lr: float = 4e-4
    """Highest learning rate; of "adafactor" in root mean squares of each tensor."""
    warmup: int = 50
    """Updates over which the learning rate rises to ``lr``."""
    hold: float = 0.6
    """Share of the updates before the learning rate begins to fall."""
    decay: str = "linear"
    """How it falls: "linear" or "cosine"."""
    floor: float = 0.03
    """Learning rate at the end over the highest."""
    beta1: float = 0.9
    """AdamW's first moment."""
    beta2: float = 0.99
    """AdamW's second moment."""
    weight_decay: float = 0.01
    """AdamW's weight decay; vectors (biases, norms) have none."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.0
    """Weight of the past in the running mean of the weights that is evaluated and shipped; 0 for none."""
    init: str = ""
    """Folder of a trained model to start from; tensors it has not yet keep their start values."""
    precision: str = "auto"
    """"fp32", "bf16", or "auto": bf16 where the processor computes in it."""
    seed: int = 0
    """Start of every random stream."""
    log_every: int = 20
    """Updates between two lines of the log."""
    eval_every: int = 500
    """Updates between two evaluations."""
    save_every: int = 500
    """Updates between two checkpoints."""
    keep: int = 2
    """Checkpoints that are kept."""

    def __post_init__(self) -> None:
        if self.decay not in ("linear", "cosine"):
            raise TrainingError(f"decay {self.decay!r} is unknown; use 'linear' or 'cosine'")
        if self.optimizer not in ("adamw", "adafactor"):
            raise TrainingError(f"optimizer {self.optimizer!r} is unknown; use 'adamw' or 'adafactor'")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise TrainingError(f"precision {self.precision!r} is unknown; use 'auto', 'fp32' or 'bf16'")
        if min(self.steps, self.batch, self.log_every, self.eval_every, self.save_every, self.keep) < 1:
            raise TrainingError("steps, batch, log_every, eval_every, save_every and keep must be at least 1")
        if not 0 <= self.ema < 1 or not 0 <= self.hold <= 1:
            raise TrainingError("ema must lie in [0, 1), hold in [0, 1]")


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe.

    Attributes:
        name: File name without its suffix.
        kind: What is trained: a key of ``tasks.train.KINDS``.
        train: How.
        model, data, loss: Tables for the task of that kind.
    """

    name: str
    kind: str
    train: TrainConfig
    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """What makes two runs the same run: everything but how often they log, evaluate and save."""
        table = dataclasses.asdict(self)
        for key in ("log_every", "eval_every", "save_every", "keep"):
            del table["train"][key]
        return json.dumps(table, sort_keys=True, default=str)


def from_table(kind: type[T], table: dict[str, Any], where: str) -> T:
    """A config dataclass from a table; lists become tuples.

    Raises:
        TrainingError: A key is unknown, or a value is refused.
    """
    known = {entry.name for entry in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(table) - known)
    if unknown:
        raise TrainingError(f"{where}: unknown keys {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    try:
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})
    except TypeError as error:
        raise TrainingError(f"{where}: {error}") from None


def load_recipe(path: str | Path, **changes: Any) -> Recipe:
    """Read a recipe.

    Args:
        path: The TOML file.
        **changes: Fields of ``TrainConfig`` to use instead of the file's.

    Raises:
        TrainingError: The file is missing, no TOML, or holds keys that are not known.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror})") from None
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"{path}: no valid TOML ({error})") from None
    unknown = sorted(set(table) - {"kind", "train", "model", "data", "loss"})
    if unknown or "kind" not in table:
        raise TrainingError(f"{path}: needs 'kind' and the tables train, model, data, loss; got also {unknown}")
    changes = {key: value for key, value in changes.items() if value is not None}
    train = from_table(TrainConfig, {**table.get("train", {}), **changes}, f"{path}: [train]")
    return Recipe(path.stem, table["kind"], train, table.get("model", {}), table.get("data", {}), table.get("loss", {}))

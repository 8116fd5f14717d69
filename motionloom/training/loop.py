"""The one training loop: every model, one process or many, resumable to the bit.

Nothing in a step depends on what happened before it but the state that is saved: batches follow from (seed, step,
rank), and the global random stream (dropout) is set anew in every step. So a run that was killed and goes on ends
with the very weights of one that was not.
"""

import csv
import json
import math
import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from motionloom.errors import TrainingError
from motionloom.models.checkpoint import load_checkpoint
from motionloom.training.recipes import Recipe, TrainConfig
from motionloom.training.registry import trainer
from motionloom.training.task import Step, Task

STATE = "state.safetensors"


def train(
    recipe: Recipe,
    store: Path,
    run: Path,
    devices: int = 1,
    accelerator: str = "auto",
    tensorboard: bool = False,
    progress: bool = True,
    stop_after: int | None = None,
) -> Path:
    """Train what a recipe says; a run that was begun in ``run`` goes on.

    Args:
        recipe: The recipe.
        store: The store to train on.
        run: Folder for logs, checkpoints and the result in ``run/model``.
        devices: Processes (CPU) or GPUs.
        accelerator: "cpu", "gpu" or "auto".
        tensorboard: Write event files beside the CSV log.
        progress: Show a progress bar.
        stop_after: Leave after this update, as if interrupted there (a checkpoint is written).

    Returns:
        The folder of the exported model.

    Raises:
        TrainingError: The recipe is wrong, the run belongs to another recipe, or the loss is not finite.
    """
    from lightning_fabric import Fabric

    trainer(recipe.kind)
    if recipe.train.batch % devices:
        raise TrainingError(f"a batch of {recipe.train.batch} cannot be shared evenly by {devices} processes")
    strategy = "auto" if devices == 1 else "ddp_spawn"
    precision = "bf16-mixed" if use_bf16(recipe.train.precision, accelerator) else "32-true"
    fabric = Fabric(accelerator=accelerator, devices=devices, strategy=strategy, precision=precision)
    run.mkdir(parents=True, exist_ok=True)
    # Bound beforehand: Fabric walks through arguments of a launch, and refuses frozen dataclasses there.
    fabric.launch(
        partial(_fit, recipe=recipe, store=store, run=run, tensorboard=tensorboard, progress=progress, last=stop_after)
    )
    return run / "model"


def use_bf16(precision: str, accelerator: str = "auto") -> bool:
    """Whether to compute in bfloat16: "auto" does where the hardware has instructions for it."""
    if precision != "auto":
        return precision == "bf16"
    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_avx512_bf16_supported())


def _fit(
    fabric: Any, recipe: Recipe, store: Path, run: Path, tensorboard: bool, progress: bool, last: int | None
) -> None:
    config = recipe.train
    torch.manual_seed(config.seed)
    task = trainer(recipe.kind)(recipe, store)
    if config.init:
        _start_from(task.model, Path(config.init))
    optimizer = _optimizer(task.model, config)
    whole, optimizer = fabric.setup(_Loss(task), optimizer)
    average = {name: value.detach().clone() for name, value in task.model.state_dict().items()} if config.ema else {}
    first = _resume(run, recipe, task.model, optimizer, average)
    chief = fabric.global_rank == 0
    log = _Log(run, tensorboard, first) if chief else None
    last = config.steps if last is None else min(last, config.steps)
    if first < last:
        task.prepare()
    shown = tqdm(
        range(first, last), initial=first, total=config.steps, desc=recipe.name, disable=not (progress and chief)
    )
    for index in shown:
        task.model.train()
        torch.manual_seed(_mix(config.seed, index, fabric.global_rank))
        rate = config.lr * learning_rate(config, index)
        for group in optimizer.param_groups:
            group["lr"] = rate
        step = Step(index, config.seed, fabric.global_rank, fabric.world_size, config.batch // fabric.world_size)
        terms = whole(vars(step))
        if not torch.isfinite(terms["loss"]):
            raise TrainingError(
                f"the loss is {float(terms['loss'].detach())} in step {index}; lower lr or check the data"
            )
        fabric.backward(terms["loss"])
        fabric.clip_gradients(whole, optimizer, max_norm=config.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if average:
            _average(average, task.model, min(config.ema, (index + 1) / (index + 10)))
        done = index + 1
        if log and (done % config.log_every == 0 or done == last):
            figures = {name: float(value.detach()) for name, value in terms.items()}
            shown.set_postfix({"loss": f"{figures['loss']:.3f}"})
            log.write(done, {**figures, "lr": rate})
        if chief and (done % config.eval_every == 0 or done == config.steps):
            with _averaged(task.model, average), torch.no_grad():
                figures = {f"val/{name}": value for name, value in task.evaluate(task.model.eval()).items()}
            if log:
                log.write(done, figures)
        if chief and (done % config.save_every == 0 or done == last):
            _save(run, recipe, done, task.model, optimizer, average)
        fabric.barrier()
    if chief and last == config.steps:
        facts = {
            "recipe": recipe.name, "steps": config.steps, "seed": config.seed, "batch": config.batch,
            "init": config.init,
        }  # fmt: skip
        with _averaged(task.model, average):
            task.export(run / "model", task.model.eval(), facts)


def _start_from(model: nn.Module, folder: Path) -> None:
    """Take over trained weights; what the trained model has not yet keeps its start values.

    Raises:
        TrainingError: A trained tensor has no place in the model, or another shape.
    """
    trained = load_checkpoint(folder).model.state_dict()
    own = model.state_dict()
    misfits = [name for name, value in trained.items() if name not in own or own[name].shape != value.shape]
    if misfits:
        raise TrainingError(f"{folder}: tensors that do not fit this model: {', '.join(misfits[:3])}")
    model.load_state_dict(own | trained)


class _Loss(nn.Module):
    """Model and loss as one module with plain dicts in and out, which is what Fabric can wrap."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model = task.model
        self.terms = task.loss

    def forward(self, step: dict[str, int]) -> dict[str, Tensor]:
        return self.terms(self.model, Step(**step))


def learning_rate(config: TrainConfig, index: int) -> float:
    """Share of the highest learning rate in update ``index``."""
    if index < config.warmup:
        return (index + 1) / (config.warmup + 1)
    hold = config.hold * config.steps
    if index <= hold:
        return 1.0
    done = (index - hold) / max(1.0, config.steps - hold)
    fall = done if config.decay == "linear" else 0.5 - 0.5 * math.cos(math.pi * done)
    return 1.0 - (1.0 - config.floor) * fall


def _mix(seed: int, index: int, rank: int) -> int:
    """One seed from three numbers; neighbours are far apart (an odd multiplier modulo 2**63)."""
    return (seed * 0x9E3779B97F4A7C15 + index * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) % (1 << 63)


def _optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    groups = _groups(model, config.weight_decay)
    if config.optimizer == "adafactor":
        return torch.optim.Adafactor(groups, lr=config.lr)
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2))


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    weights = [value for value in model.parameters() if value.requires_grad]
    return [
        {"params": [value for value in weights if value.ndim > 1], "weight_decay": weight_decay},
        {"params": [value for value in weights if value.ndim <= 1], "weight_decay": 0.0},
    ]


def _average(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value.detach(), 1.0 - decay)
        else:
            average[name].copy_(value)


class _averaged:  # noqa: N801 - used like a function
    """Puts the running mean of the weights into the model, and the weights back afterwards."""

    def __init__(self, model: nn.Module, average: dict[str, Tensor]) -> None:
        self.model, self.average = model, average

    def __enter__(self) -> None:
        if self.average:
            self.kept = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
            self.model.load_state_dict(self.average)

    def __exit__(self, *_: object) -> None:
        if self.average:
            self.model.load_state_dict(self.kept)


def _save(run: Path, recipe: Recipe, step: int, model: nn.Module, optimizer: Any, average: dict[str, Tensor]) -> None:
    """One checkpoint under a temporary name, then renamed; older ones beyond ``keep`` go afterwards."""
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value.contiguous() for name, value in average.items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value.contiguous() for name, value in values.items()}
    folder, temporary = run / f"step-{step:07d}", run / f".step-{step:07d}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file({name: value.clone() for name, value in tensors.items()}, temporary / STATE)
    (temporary / "meta.json").write_text(json.dumps({"step": step, "recipe": recipe.fingerprint}))
    with (temporary / STATE).open("rb") as file:
        os.fsync(file.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    temporary.replace(folder)
    for old in sorted(run.glob("step-*"))[: -recipe.train.keep]:
        shutil.rmtree(old)


def _resume(run: Path, recipe: Recipe, model: nn.Module, optimizer: Any, average: dict[str, Tensor]) -> int:
    """Load the newest checkpoint of the run; the update to go on with."""
    found = sorted(run.glob("step-*"))
    if not found:
        return 0
    meta = json.loads((found[-1] / "meta.json").read_text())
    if meta["recipe"] != recipe.fingerprint:
        raise TrainingError(f"{run} holds a run of another recipe; give another folder or remove it")
    tensors = load_file(found[-1] / STATE)

    def part(prefix: str) -> dict[str, Tensor]:
        return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}

    model.load_state_dict(part("model."))
    for name, value in part("average.").items():
        average[name].copy_(value)
    state = optimizer.state_dict()
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in part("optimizer.").items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = value
    state["state"] = slots
    optimizer.load_state_dict(state)
    return int(meta["step"])


class _Log:
    """Figures by step: a CSV file of (step, name, value), and TensorBoard events when asked for."""

    def __init__(self, run: Path, tensorboard: bool, first: int) -> None:
        self.path = run / "log.csv"
        rows: list[list[str]] = []
        if self.path.is_file():
            with self.path.open(newline="") as file:
                # Lines past the checkpoint belong to updates that are made again.
                rows = [row for row in csv.reader(file) if len(row) == 3 and row[0].isdigit() and int(row[0]) <= first]
        with self.path.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([["step", "name", "value"], *rows])
        self.events = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.events = SummaryWriter(str(run / "events"))

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        with self.path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(
                (step, name, f"{value:.6g}") for name, value in figures.items()
            )
        if self.events is not None:
            for name, value in figures.items():
                self.events.add_scalar(name, value, step)

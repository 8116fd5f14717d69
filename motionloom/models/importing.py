"""Official checkpoints: what their files hold, as our models.

Nothing here trusts a file: tensors only, no archive that unpacks to more than itself, sizes before anything is built.
"""

import pickle
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from motionloom.errors import CheckpointError, RequestError
from motionloom.models import MODELS
from motionloom.models.checkpoint import build_model, read_tensors
from motionloom.models.diffusion.official import diffusion_from_official
from motionloom.models.masked.official import (
    evaluator_from_official,
    masked_from_official,
    parts_masked_from_official,
    parts_tokenizer_from_official,
    split_tokenizer,
    tokenizer_from_official,
)
from motionloom.models.tokenizers.motion import Activation, Norm
from motionloom.schema import LONGEST

_LARGEST_STATISTIC = 1 << 20
OfficialKind = Literal["tokenizer", "masked", "parts_tokenizer", "parts_masked", "evaluator", "diffusion"]


_EVALUATOR_PARTS = ("movement_encoder", "text_encoder", "motion_encoder")
"""State dicts in the evaluator's file; what else is there (optimisers, an epoch) only training needs."""


@dataclass(frozen=True, eq=False)
class Official:
    """What an official file holds, as our models.

    Attributes:
        models: Kind to model, in eval mode. A transformer's file holds its tokenizer as well.
        stats: ``mean`` and ``std`` that the official model was trained with.
    """

    models: dict[str, nn.Module]
    stats: dict[str, Tensor]


def import_official(
    path: Path,
    kind: OfficialKind,
    mean: Path,
    std: Path,
    *,
    activation: Activation = "relu",
    norm: Norm | None = None,
    dilation_growth: int = 3,
    heads: int | None = None,
    top_k: int | None = None,
) -> Official:
    """Read an official checkpoint (MMM, LMM; tokenizers also of T2M-GPT and MotionGPT; the text-to-motion evaluator).

    Args:
        path: ``.pth``, ``.tar`` or ``.ckpt`` (read as plain tensors only), or ``.safetensors``.
        kind: What it holds.
        mean: ``.npy`` with the mean of the features the model was trained with. Required: published models
            use several statistics, different by factors of 5 and 25 in some features, and the wrong ones
            ruin results without any error.
        std: ``.npy`` with the standard deviation.
        activation: Of the tokenizer; not visible in the weights.
        norm: Of the tokenizer; not visible in the weights when there are norms.
        dilation_growth: Of the tokenizer; not visible in the weights.
        heads: Of the transformer; not visible in the weights. By default one per 64 channels.
        top_k: Experts that read a token of a diffusion model. By default a quarter of them.

    Raises:
        CheckpointError: The file holds something else, or the statistics do not fit.
    """
    if kind not in get_args(OfficialKind):
        raise CheckpointError(f"kind is {kind!r}; known: {', '.join(get_args(OfficialKind))}")
    state = read_official(Path(path))
    stats = {"mean": read_statistic(mean), "std": read_statistic(std, positive=True)}
    with one_line(Path(path), kind):
        states, features = _ours(state, kind, stats, (activation, norm, dilation_growth), heads, top_k)
    if {len(value) for value in stats.values()} != {features}:
        raise CheckpointError(
            f"{mean} and {std} have {[len(value) for value in stats.values()]} numbers, the model"
            f" {features} features: these are the statistics of another data set"
        )
    models = {
        name: build_model(MODELS[name], config, ours, f"{path} is no complete {name}")
        for name, (config, ours) in states.items()
    }
    return Official(models, stats)


def _ours(
    state: dict[str, Tensor],
    kind: OfficialKind,
    stats: dict[str, Tensor],
    options: tuple[Activation, Norm | None, int],
    heads: int | None,
    top_k: int | None,
) -> tuple[dict[str, tuple[Any, dict[str, Tensor]]], int]:
    """Configs and states of our models by their kind, and how many features they read."""
    states: dict[str, tuple[Any, dict[str, Tensor]]] = {}
    if kind in ("masked", "parts_masked"):
        read = masked_from_official if kind == "masked" else parts_masked_from_official
        states[kind] = read(state, heads)
        state = split_tokenizer(state)
    if kind == "evaluator":
        states["evaluator"] = evaluator_from_official(state)
    elif kind == "diffusion":
        states["diffusion"] = diffusion_from_official(state, top_k)
    elif kind in ("masked", "tokenizer"):
        states["tokenizer"] = tokenizer_from_official(state, *options)
    else:
        states["parts_tokenizer"] = parts_tokenizer_from_official(state, stats["mean"], stats["std"], *options)
    return states, list(states.values())[-1][0].features


@contextmanager
def one_line(path: Path, kind: str) -> Iterator[None]:
    """Say in one line what is wrong with a file whose tensors are not those of a kind of model.

    Raises:
        CheckpointError: A tensor is missing, or has other dimensions, or sizes make no model.
    """
    try:
        yield
    except KeyError as missing:
        raise CheckpointError(f"{path} is no complete {kind}: it has no {str(missing)[:LONGEST]}") from None
    except (IndexError, ValueError, TypeError, ZeroDivisionError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is no {kind}: a tensor has other dimensions than needed ({' '.join(str(error).split())[:LONGEST]})"
        ) from None
    except RequestError as error:
        raise CheckpointError(f"{path} is no {kind}: {error}") from None


def read_official(path: Path, keys: Sequence[str] = ("net", "trans", "state_dict")) -> dict[str, Tensor]:
    """The state dict of an official file, read as plain tensors only.

    Args:
        path: ``.pth``, ``.tar``, ``.ckpt``, ``.bin`` or ``.safetensors``.
        keys: Under which the state dict may lie; the first that is there.

    Raises:
        CheckpointError: The file does not exist, is none, or holds more than tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    if path.suffix == ".safetensors":
        return read_tensors(path)
    if tuple(int(n) for n in torch.__version__.split(".")[:2]) < (2, 6):
        raise CheckpointError(f"reading {path.name} safely needs torch 2.6 or later, this is {torch.__version__}")
    _refuse_bombs(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(f"{path} holds more than tensors, or is damaged; it was not read: {reason}") from None
    for key in keys:
        if isinstance(content, dict) and key in content:
            content = content[key]
            break
    if isinstance(content, dict) and all(isinstance(content.get(part), dict) for part in _EVALUATOR_PARTS):
        content = {f"{part}.{key}": value for part in _EVALUATOR_PARTS for key, value in content[part].items()}
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise CheckpointError(f"{path} has no state dict under {', '.join(map(repr, keys))}")
    for key, value in content.items():
        # A view may be larger than what it looks at: some bytes that would become gigabytes.
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise CheckpointError(f"{path}: {key[:LONGEST]} has shape {tuple(value.shape)}, but not that many numbers")
    state = {key.removeprefix("module."): value for key, value in content.items()}
    if any(key.startswith("vae.encoder.") for key in state):
        # MotionGPT's file holds its tokenizer beside a language model.
        state = {key.removeprefix("vae."): value for key, value in state.items() if key.startswith("vae.")}
    return state


def _refuse_bombs(path: Path) -> None:
    """See that a zip archive does not unpack to more than itself: torch writes without compression."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            inside = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged; it was not read: {error}") from None
    if inside > path.stat().st_size:
        raise CheckpointError(f"{path} would unpack to {inside} bytes from {path.stat().st_size}; it was not read")


def read_statistic(path: Path, *, positive: bool = False) -> Tensor:
    """A vector of statistics from a ``.npy`` file.

    Raises:
        CheckpointError: It is none, or one of its numbers makes no sense.
    """
    try:
        if path.is_file() and path.stat().st_size > _LARGEST_STATISTIC:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(f"{path} cannot be read as a .npy file: {error}") from None
    if (
        array.ndim != 1
        or array.dtype.kind not in "fiu"
        or not np.isfinite(array).all()
        or (positive and not (array > 0).all())
    ):
        above = " above 0" if positive else ""
        raise CheckpointError(f"{path} has shape {array.shape}; one finite number{above} per feature is needed")
    return torch.from_numpy(array.astype(np.float32))

"""Saving and loading models: one directory holds everything that is needed to use one.

* ``config.json``: kind, format number, the config dataclass, package version, data ledger, licence
* ``weights.safetensors``: parameters and buffers
* ``stats.safetensors``: mean and std of the features, and whatever else the model's user needs
* ``card.md``: what it is, for people

Nothing here reads pickle but ``import_official``, and that only as plain tensors.
"""

import json
import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, cast, get_args

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from motionloom.errors import CheckpointError, MotionloomError
from motionloom.licences import Licence, licence_of, licences_in
from motionloom.models import MODELS
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

FORMAT = 1
try:
    _VERSION = metadata.version("motionloom")
except metadata.PackageNotFoundError:
    # Run from a source tree that was never installed.
    _VERSION = "0+source"
Storage = Literal["float32", "float16", "bfloat16"]
Json = dict[str, Any] | list[Any]


class Model(Protocol):
    """What this module needs of a model class: a frozen dataclass of choices, and to be built from it."""

    config_class: ClassVar[type]
    config: Any


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model read from its directory.

    Attributes:
        kind: Key of ``MODELS``.
        model: In eval mode, float32.
        stats: Mean and std of the features, and whatever else was saved with the model.
        data: The ledger of the data it learned from.
        licence: Of the weights.
        version: Of the package that saved it.
        card: The text for people.
    """

    kind: str
    model: nn.Module
    stats: dict[str, Tensor]
    data: Json
    licence: str
    version: str
    card: str

    @property
    def licences(self) -> list[Licence]:
        """Its licence and those of everything that it was made from, as its data card names them."""
        return [licence_of(self.licence), *licences_in(self.data)]


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    stats: Mapping[str, Tensor],
    data: Json,
    licence: str,
    card: str,
    storage: Storage = "float32",
) -> None:
    """Save a model as a directory; an older one of that name is replaced, and never half.

    Args:
        folder: Where to.
        model: Of a class in ``MODELS``, not wrapped.
        stats: What is needed beside the weights, such as ``mean`` and ``std`` of the features.
        data: The ledger of the training data: sources with their licences.
        licence: Of the weights.
        card: The text for people (Markdown).
        storage: Type of the parameters on disk; buffers (codebooks, counts) stay as they are.

    Raises:
        CheckpointError: The model is of no known kind.
    """
    kinds = [kind for kind, known in MODELS.items() if type(model) is known]
    if not kinds:
        raise CheckpointError(f"{type(model).__name__} is no kind of model to save; known: {', '.join(MODELS)}")
    config = {
        "kind": kinds[0],
        "format": FORMAT,
        "config": asdict(cast(Model, model).config),
        "version": _VERSION,
        "storage": storage,
        "licence": licence,
        "data": data,
    }
    dtype = getattr(torch, storage)
    parameters = {name for name, _ in model.named_parameters()}
    weights = {
        name: (value.to(dtype) if name in parameters else value).detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    fresh.mkdir()
    try:
        (fresh / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        save_file(weights, fresh / "weights.safetensors")
        save_file(
            {name: value.detach().cpu().contiguous() for name, value in stats.items()},
            fresh / "stats.safetensors",
        )
        (fresh / "card.md").write_text(card, encoding="utf-8")
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    except BaseException:
        # Whatever went wrong, the older checkpoint stays and nothing half-written does.
        shutil.rmtree(fresh, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path, map_location: str | torch.device = "cpu") -> Checkpoint:
    """Load a model from its directory, strictly.

    Args:
        folder: Where ``save_checkpoint`` put it.
        map_location: Device for the model and its statistics.

    Raises:
        CheckpointError: The directory is missing or incomplete, of a newer format or an unknown kind, or its
            config or weights do not fit this package's model.
    """
    folder = Path(folder)
    head = _read_head(folder)
    model_class = MODELS[head["kind"]]
    config = _config(cast(Model, model_class).config_class, head["config"], folder)
    # Building a model draws random numbers that loading then overwrites; the caller's stream must not move.
    with torch.random.fork_rng(devices=[]):
        model = model_class(config)
    weights = _read_tensors(folder / "weights.safetensors", map_location)
    wanted = {name: value.dtype for name, value in model.state_dict().items()}
    if wanted.keys() != weights.keys():
        raise CheckpointError(
            f"{folder} does not fit a {head['kind']}: missing {sorted(wanted.keys() - weights.keys())[:5]},"
            f" unknown {sorted(weights.keys() - wanted.keys())[:5]}; saved by motionloom {head['version']}"
        )
    try:
        model.load_state_dict({name: weights[name].to(wanted[name]) for name in wanted}, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{folder} does not fit its own config: {' '.join(str(error).split())}") from None
    card = folder / "card.md"
    return Checkpoint(
        kind=head["kind"],
        model=model.to(map_location).eval(),
        stats=_read_tensors(folder / "stats.safetensors", map_location),
        data=head["data"],
        licence=head["licence"],
        version=head["version"],
        card=card.read_text(encoding="utf-8") if card.exists() else "",
    )


def _read_head(folder: Path) -> dict[str, Any]:
    """Read and check config.json."""
    missing = [n for n in ("config.json", "weights.safetensors", "stats.safetensors") if not (folder / n).is_file()]
    if missing:
        raise CheckpointError(f"{folder} is no checkpoint: it has no {', '.join(missing)}")
    try:
        head = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        number, kind, version = head["format"], head["kind"], head["version"]
        _ = head["config"].items(), head["data"], head["licence"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / 'config.json'} cannot be read: {error!r}") from None
    if number != FORMAT:
        raise CheckpointError(
            f"{folder} has format {number}, this package reads {FORMAT}: install motionloom {version} or later"
        )
    if kind not in MODELS:
        raise CheckpointError(f"{folder} holds a {kind!r}; this package knows {', '.join(MODELS)}")
    return head


def _config(config_class: type, values: dict[str, Any], folder: Path) -> Any:
    """Build the config dataclass; every field must be there and no other, but for those that came later."""
    names = {field.name for field in fields(config_class)}
    missing, unknown = names - values.keys() - set(getattr(config_class, "LATER", ())), values.keys() - names
    if missing or unknown:
        raise CheckpointError(
            f"{folder / 'config.json'} has other fields than {config_class.__name__}: missing {sorted(missing)},"
            f" unknown {sorted(unknown)}"
        )
    frozen = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        return config_class(**frozen)
    except (MotionloomError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: {error}") from None


def _read_tensors(path: Path, map_location: str | torch.device) -> dict[str, Tensor]:
    try:
        return load_file(path, device=str(map_location))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


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
    activation: Activation = "relu",
    norm: Norm | None = None,
    dilation_growth: int = 3,
    heads: int | None = None,
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

    Raises:
        CheckpointError: The file holds something else, or the statistics do not fit.
    """
    if kind not in get_args(OfficialKind):
        raise CheckpointError(f"kind is {kind!r}; known: {', '.join(get_args(OfficialKind))}")
    state = _official_state(Path(path))
    stats = {"mean": _statistic(mean), "std": _statistic(std, positive=True)}
    states: dict[str, tuple[Any, dict[str, Tensor]]] = {}
    if kind in ("masked", "parts_masked"):
        read = masked_from_official if kind == "masked" else parts_masked_from_official
        states[kind] = read(state, heads)
        state = split_tokenizer(state)
    options = activation, norm, dilation_growth
    if kind == "evaluator":
        states["evaluator"] = config, _ = evaluator_from_official(state)
    elif kind == "diffusion":
        states["diffusion"] = config, _ = diffusion_from_official(state)
    elif kind in ("masked", "tokenizer"):
        states["tokenizer"] = config, _ = tokenizer_from_official(state, *options)
    else:
        states["parts_tokenizer"] = config, _ = parts_tokenizer_from_official(
            state, stats["mean"], stats["std"], *options
        )
    if {len(value) for value in stats.values()} != {config.features}:
        raise CheckpointError(
            f"{mean} and {std} have {[len(value) for value in stats.values()]} numbers, the model"
            f" {config.features} features: these are the statistics of another data set"
        )
    models = {}
    for name, (config, ours) in states.items():
        model = MODELS[name](config)
        try:
            model.load_state_dict(ours, strict=True)
        except RuntimeError as error:
            raise CheckpointError(f"{path} is no complete {name}: {' '.join(str(error).split())}") from None
        models[name] = model.eval()
    return Official(models, stats)


def _official_state(path: Path) -> dict[str, Tensor]:
    """Read the state dict of an official file."""
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    if path.suffix == ".safetensors":
        return _read_tensors(path, "cpu")
    if tuple(int(n) for n in torch.__version__.split(".")[:2]) < (2, 6):
        raise CheckpointError(f"reading {path.name} safely needs torch 2.6 or later, this is {torch.__version__}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path} holds more than tensors, or is damaged; it was not read: {reason}") from None
    for key in ("net", "trans", "state_dict"):
        if isinstance(content, dict) and key in content:
            content = content[key]
            break
    if isinstance(content, dict) and all(isinstance(content.get(part), dict) for part in _EVALUATOR_PARTS):
        content = {f"{part}.{key}": value for part in _EVALUATOR_PARTS for key, value in content[part].items()}
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path} has no state dict under 'net', 'trans' or 'state_dict'")
    state = {key.removeprefix("module."): value for key, value in content.items()}
    if any(key.startswith("vae.encoder.") for key in state):
        # MotionGPT's file holds its tokenizer beside a language model.
        state = {key.removeprefix("vae."): value for key, value in state.items() if key.startswith("vae.")}
    return state


def _statistic(path: Path, positive: bool = False) -> Tensor:
    """Read a vector of statistics."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as a .npy file: {error}") from None
    if array.ndim != 1 or not np.isfinite(array).all() or (positive and not (array > 0).all()):
        above = " above 0" if positive else ""
        raise CheckpointError(f"{path} has shape {array.shape}; one finite number{above} per feature is needed")
    return torch.from_numpy(array.astype(np.float32))

"""Saving and loading models: one directory holds everything that is needed to use one.

* ``config.json``: kind, format number, the config dataclass, package version, data ledger, licence
* ``weights.safetensors``: parameters and buffers
* ``stats.safetensors``: mean and std of the features, and whatever else the model's user needs
* ``card.md``: what it is, for people

Nothing here reads pickle. A directory may come from anybody, so sizes are checked before anything is built of them.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from motionloom.errors import CheckpointError, MotionloomError
from motionloom.licences import Licence, licence_of, licences_in
from motionloom.models import MODELS, ModelTable
from motionloom.schema import LONGEST, check_values, shown

FORMAT = 1
try:
    _VERSION = metadata.version("motionloom")
except metadata.PackageNotFoundError:
    # Run from a source tree that was never installed.
    _VERSION = "0+source"
Storage = Literal["float32", "float16", "bfloat16"]
Json = dict[str, Any] | list[Any]
_LARGEST_TEXT = 16 << 20
_LARGEST_HEADER = 8 << 20
_HEAD: dict[str, type | tuple[type, ...]] = {
    "format": int, "kind": str, "version": str, "config": dict, "data": (dict, list), "licence": str,
}  # fmt: skip


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
    *,
    kinds: Mapping[str, type[nn.Module]] = MODELS,
) -> None:
    """Save a model as a directory; an older one of that name is replaced, and never half.

    Args:
        folder: Where to.
        model: Of a class in ``kinds``, not wrapped.
        stats: What is needed beside the weights, such as ``mean`` and ``std`` of the features.
        data: The ledger of the training data: sources with their licences.
        licence: Of the weights.
        card: The text for people (Markdown).
        storage: Type of the parameters on disk; buffers (codebooks, counts) stay as they are.
        kinds: Names of the classes that can be saved.

    Raises:
        CheckpointError: The model is of no known kind.
    """
    if isinstance(kinds, ModelTable):
        names = [kind for kind in (kinds.kind_of(type(model)),) if kind is not None]
    else:
        names = [kind for kind, known in kinds.items() if type(model) is known]
    if not names:
        raise CheckpointError(f"{type(model).__name__} is no kind of model to save; known: {', '.join(kinds)}")
    config = {
        "kind": names[0],
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


def load_checkpoint(
    folder: Path,
    map_location: str | torch.device = "cpu",
    *,
    kinds: Mapping[str, type[nn.Module]] = MODELS,
) -> Checkpoint:
    """Load a model from its directory, strictly.

    Args:
        folder: Where ``save_checkpoint`` put it.
        map_location: Device for the model and its statistics.
        kinds: Names of the classes that can be loaded.

    Raises:
        CheckpointError: The directory is missing or incomplete, of a newer format or an unknown kind, or its
            config or weights do not fit this package's model.
    """
    folder = Path(folder)
    head = _read_head(folder, kinds)
    model_class = kinds[head["kind"]]
    config = _config(cast(Model, model_class).config_class, head["config"], folder)
    shapes = _read_shapes(folder / "weights.safetensors")
    wanted = _fits(model_class, config, shapes, f"{folder} does not fit a {head['kind']}", head["version"])
    # Building a model draws random numbers that loading then overwrites; the caller's stream must not move.
    with torch.random.fork_rng(devices=[]):
        model = model_class(config)
    weights = _read_tensors(folder / "weights.safetensors", map_location)
    model.load_state_dict({name: weights[name].to(wanted[name].dtype) for name in wanted}, strict=True)
    return Checkpoint(
        kind=head["kind"],
        model=model.to(map_location).eval(),
        stats=read_tensors(folder / "stats.safetensors", map_location),
        data=head["data"],
        licence=head["licence"],
        version=head["version"],
        card=_read_card(folder / "card.md"),
    )


def build_model(model_class: type[nn.Module], config: Any, state: Mapping[str, Tensor], what: str) -> nn.Module:
    """A model in eval mode with the weights of a state dict that came from elsewhere.

    Args:
        model_class: Its class.
        config: Its config.
        state: Its weights, under our names.
        what: Begins a message, for example "x.pth is no complete tokenizer".

    Raises:
        CheckpointError: Tensors are missing, unknown, or of another shape.
    """
    _fits(model_class, config, {name: tuple(value.shape) for name, value in state.items()}, what)
    with torch.random.fork_rng(devices=[]):
        model = model_class(config)
    model.load_state_dict(dict(state), strict=True)
    return model.eval()


def _fits(
    model_class: type[nn.Module], config: Any, shapes: Mapping[str, tuple[int, ...]], what: str, version: str = ""
) -> dict[str, Tensor]:
    """See that weights have the shapes of a model, which takes no memory for it; returns what it would hold."""
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            wanted = dict(model_class(config).state_dict())
    except MotionloomError as error:
        raise CheckpointError(f"{what}: {error}") from None
    saved = f"; saved by motionloom {version}" if version else ""
    if wanted.keys() != shapes.keys():
        raise CheckpointError(
            f"{what}: missing {sorted(wanted.keys() - shapes.keys())[:5]},"
            f" unknown {[name[:LONGEST] for name in sorted(shapes.keys() - wanted.keys())[:5]]}{saved}"
        )
    for name, value in wanted.items():
        if tuple(value.shape) != shapes[name]:
            raise CheckpointError(f"{what}: {name} has shape {shapes[name]}, {tuple(value.shape)} is needed{saved}")
    return wanted


def _read_head(folder: Path, kinds: Mapping[str, type[nn.Module]]) -> dict[str, Any]:
    """Read and check config.json."""
    missing = [n for n in ("config.json", "weights.safetensors", "stats.safetensors") if not (folder / n).is_file()]
    if missing:
        raise CheckpointError(f"{folder} is no checkpoint: it has no {', '.join(missing)}")
    head = read_json(folder / "config.json")
    wrong = [name for name, kind in _HEAD.items() if not isinstance(head.get(name), kind)]
    if wrong:
        raise CheckpointError(f"{folder / 'config.json'} cannot be read: {wrong[0]} is {shown(head.get(wrong[0]))}")
    number, kind, version = head["format"], head["kind"], shown(head["version"]).strip("'")
    if number != FORMAT:
        raise CheckpointError(
            f"{folder} has format {number}, this package reads {FORMAT}: install motionloom {version} or later"
        )
    if kind not in kinds:
        raise CheckpointError(f"{folder} holds a {shown(kind)}; this package knows {', '.join(kinds)}")
    return head


def read_json(path: Path) -> dict[str, Any]:
    """A table from a JSON file that anybody may have written.

    Raises:
        CheckpointError: It is none, or larger than 16 MB.
    """
    try:
        if path.stat().st_size > _LARGEST_TEXT:
            raise CheckpointError(f"{path} has {path.stat().st_size} bytes; at most {_LARGEST_TEXT} are read")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {' '.join(str(error).split())[:120]}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} cannot be read: a table is needed, it holds {shown(found)}")
    return found


def _read_card(path: Path) -> str:
    if not path.exists():
        return ""
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_TEXT).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read as a text ({type(error).__name__}); remove it") from None


def _config(config_class: type, values: dict[str, Any], folder: Path) -> Any:
    """Build the config dataclass; every field must be there and no other, but for those that came later."""
    names = {field.name for field in fields(config_class)}
    missing, unknown = names - values.keys() - set(getattr(config_class, "LATER", ())), values.keys() - names
    if missing or unknown:
        raise CheckpointError(
            f"{folder / 'config.json'} has other fields than {config_class.__name__}: missing {sorted(missing)},"
            f" unknown {[name[:LONGEST] for name in sorted(unknown)[:5]]}"
        )
    frozen = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        check_values(config_class, frozen, error=CheckpointError, where=str(folder / "config.json"))
        return config_class(**frozen)
    except CheckpointError:
        raise
    except (MotionloomError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: {error}") from None


def _read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors in a file; the tensors are not read."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
        if size > _LARGEST_HEADER:
            raise CheckpointError(f"{path} cannot be read: its header has {size} bytes, at most {_LARGEST_HEADER} are")
        with safe_open(path, "pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def read_tensors(path: Path, map_location: str | torch.device = "cpu") -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: It is none.
    """
    _read_shapes(path)
    return _read_tensors(path, map_location)


def _read_tensors(path: Path, map_location: str | torch.device) -> dict[str, Tensor]:
    try:
        return load_file(path, device=str(map_location))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None

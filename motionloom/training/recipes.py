"""Recipes: TOML files that say what to train, on what, and how.

A recipe has a ``kind`` and the tables ``train`` (``TrainConfig``), ``model`` (the model's own config), ``data`` and
``loss``. Keys, types and ranges are checked, each in a line that names file, line and table.

A curriculum is a recipe with ``[[stage]]`` tables: each changes some values of the tables above it, and starts from
the weights of the stage before. An engine recipe has ``engine`` and ``[[part]]`` tables instead: recipes of the models
that the engine is made of, in the order in which they are trained, and which of them use which (``uses``).

Those that come with the package are in ``training/configs`` and are found by their name.
"""

import dataclasses
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from motionloom.errors import MotionloomError, TrainingError
from motionloom.schema import Where, build, check, ranged, shown

T = TypeVar("T")
TABLES = ("train", "model", "data", "loss")
_STAGE_KEYS = {"name", *TABLES}
_PART_KEYS = {"name", "recipe", "uses"}
_LARGEST_FILE = 1 << 20
"""Bytes of a recipe at most."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained; the same for every kind."""

    steps: int = ranged(1000, low=1, high=10**9, help="Updates of the weights.")
    batch: int = ranged(64, low=1, high=65_536, help="Items in an update, all processes together.")
    optimizer: str = "adamw"
    """"adamw", or "adafactor", whose steps are relative to a tensor's size: T5 starts with a table of size 1 beside
    query matrices of 0.01, and with equal steps for both it hardly learns to read its prompts (LOG.md)."""
    lr: float = ranged(4e-4, above=0, help="Highest learning rate; of adafactor in root mean squares of each tensor.")
    warmup: int = ranged(50, low=0, high=10**9, help="Updates over which the learning rate rises to lr.")
    hold: float = ranged(0.6, low=0, high=1, help="Share of the updates before the learning rate begins to fall.")
    decay: str = "linear"
    """How it falls: "linear" or "cosine"."""
    floor: float = ranged(0.03, low=0, high=1, help="Learning rate at the end over the highest.")
    beta1: float = ranged(0.9, low=0, high=0.9999999, help="AdamW's first moment.")
    beta2: float = ranged(0.99, low=0, high=0.9999999, help="AdamW's second moment.")
    weight_decay: float = ranged(0.01, low=0, help="AdamW's; vectors (biases, norms) have none.")
    clip: float = ranged(1.0, above=0, help="Largest norm of the gradient.")
    ema: float = ranged(
        0.0, low=0, high=0.9999999, help="Weight of the past in the mean of the weights that is shipped; 0 for none."
    )
    init: str = ""
    """Folder of a trained model to start from; tensors it has not yet keep their start values."""
    precision: str = "auto"
    """"fp32", "bf16", or "auto": bf16 where the processor computes in it."""
    seed: int = ranged(0, low=0, high=2**32 - 1, help="Start of every random stream.")
    log_every: int = ranged(20, low=1, help="Updates between two lines of the log.")
    eval_every: int = ranged(500, low=1, help="Updates between two evaluations.")
    save_every: int = ranged(500, low=1, help="Updates between two checkpoints.")
    keep: int = ranged(2, low=1, high=10_000, help="Checkpoints that are kept.")

    def __post_init__(self) -> None:
        check(self, TrainingError)
        for name, known in (
            ("decay", ("linear", "cosine")),
            ("optimizer", ("adamw", "adafactor")),
            ("precision", ("auto", "fp32", "bf16")),
        ):
            if getattr(self, name) not in known:
                raise TrainingError(
                    f"{name} {shown(getattr(self, name))} is unknown; use {' or '.join(map(repr, known))}"
                )


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe of one model, or one stage of it.

    Attributes:
        name: File name without its suffix, and the stage.
        kind: What is trained: a key of ``registry.TRAINERS``.
        train: How.
        model, data, loss: Tables for the trainer of that kind.
        places: File and line of tables and keys, as "data.rates", for messages.
    """

    name: str
    kind: str
    train: TrainConfig
    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def fingerprint(self) -> str:
        """What makes two runs the same run: everything but how often they log, evaluate and save."""
        table = {name: getattr(self, name) for name in ("name", "kind", "model", "data", "loss")}
        train = dataclasses.asdict(self.train)
        for key in ("log_every", "eval_every", "save_every", "keep"):
            del train[key]
        return json.dumps({**table, "train": train}, sort_keys=True, default=str)

    def table(self, name: str, kind: type[T]) -> T:
        """One of the tables as the dataclass that it is for.

        Raises:
            TrainingError: A key is unknown or missing, or a value does not fit.
        """
        return from_table(kind, getattr(self, name), _where(self.places, self.name, name))


@dataclass(frozen=True)
class Curriculum:
    """Stages of one model; a recipe without stages is a curriculum of one.

    Attributes:
        name: File name without its suffix.
        stages: In order; each starts from the one before.
    """

    name: str
    stages: tuple[Recipe, ...]


@dataclass(frozen=True)
class Part:
    """One model of an engine.

    Attributes:
        name: Of its folder in the engine.
        curriculum: How it is trained.
        uses: Key of a table, as "data.tokenizer" -> part whose folder is put there.
    """

    name: str
    curriculum: Curriculum
    uses: Mapping[str, str]


@dataclass(frozen=True)
class EngineRecipe:
    """All models of an engine.

    Attributes:
        name: File name without its suffix.
        engine: Name of the engine that serves them.
        parts: In the order in which they are trained.
    """

    name: str
    engine: str
    parts: tuple[Part, ...]


def from_table(kind: type[T], table: Mapping[str, Any], where: Where) -> T:
    """A config dataclass from a table of TOML; tables of numbers may still be lists of "name=number".

    Raises:
        TrainingError: A key is unknown or missing, or a value does not fit.
    """
    values = dict(table) if isinstance(table, Mapping) else table
    if isinstance(values, dict):
        hints = get_type_hints(kind)
        for name, value in values.items():
            if name in hints and isinstance(value, list | tuple) and _mapping_in(hints[name]) is not None:
                place = where(name) if callable(where) else where
                values[name] = _pairs(value, _mapping_in(hints[name]), f"{place}: {name}")
    try:
        return build(kind, values, error=_PlacedError, where=where)
    except _PlacedError as error:
        raise TrainingError(str(error)) from None
    except MotionloomError as error:
        raise TrainingError(f"{where('') if callable(where) else where}: {error}") from None


class _PlacedError(MotionloomError):
    """A value does not fit; the message says where it stands."""


def no_loss(recipe: Recipe) -> None:
    """See that a kind without weights of loss terms is given none.

    Raises:
        TrainingError: There are some.
    """
    if recipe.loss:
        place = recipe.places.get("loss", recipe.name)
        raise TrainingError(f"{place}: [loss]: unknown keys {', '.join(recipe.loss)[:80]}; {recipe.kind} has none")


def shipped() -> tuple[str, ...]:
    """Names of the recipes that come with the package."""
    return tuple(sorted(entry.name[:-5] for entry in _configs().iterdir() if entry.name.endswith(".toml")))


def load_recipe(source: str | Path, *, stage: str | None = None, sets: Sequence[str] = (), **changes: Any) -> Recipe:
    """Read a recipe of one stage, or one stage of a curriculum as it is without the one before.

    Args:
        source: The TOML file, or the name of a recipe that comes with the package.
        stage: Which; a recipe without stages needs none.
        sets: Changes as "table.key=value".
        **changes: Fields of ``TrainConfig`` to use instead of the file's.

    Raises:
        TrainingError: The file is missing, no TOML, holds keys or values that do not fit, or has several stages.
    """
    found = load_training(source, sets=sets, **changes)
    if isinstance(found, EngineRecipe):
        raise TrainingError(f"{source} is a recipe of an engine; name that of one model")
    known = {each.name.partition("/")[2]: each for each in found.stages}
    if stage not in known and not (stage is None and len(known) == 1):
        raise TrainingError(f"{source} has the stages {', '.join(known)}; name one of them")
    return found.stages[0] if stage is None else known[stage]


def load_training(source: str | Path, *, sets: Sequence[str] = (), **changes: Any) -> Curriculum | EngineRecipe:
    """Read any recipe.

    Args:
        source: The TOML file, or the name of a recipe that comes with the package.
        sets: Changes of all stages as "table.key=value", of an engine's parts as "part.table.key=value"; the value is
            TOML, or else a text.
        **changes: Fields of ``TrainConfig`` to use instead of the file's, in all stages.

    Raises:
        TrainingError: The file is missing, no TOML, or holds keys or values that do not fit.
    """
    return _read(source, [_assignment(entry) for entry in sets], changes, ())


def _read(
    source: str | Path, sets: list[tuple[list[str], Any]], changes: Mapping[str, Any], seen: tuple[str, ...]
) -> Curriculum | EngineRecipe:
    name, where, text = _text(source)
    if name in seen or len(seen) > 3:
        raise TrainingError(f"{where}: recipes name each other in a circle: {', '.join((*seen, name))}")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"{where}: no valid TOML ({str(error)[:200]})") from None
    except (RecursionError, ValueError) as error:
        raise TrainingError(f"{where}: no recipe ({_first_line(error)})") from None
    places = _places(text, where)
    if "engine" in table:
        return _engine(name, where, table, sets=sets, changes=changes, seen=(*seen, name), source=source)
    unknown = sorted(set(table) - {"kind", "stage", *TABLES})
    if unknown or not isinstance(table.get("kind"), str):
        what = f"it has also {', '.join(unknown)[:80]}" if unknown else f"kind is {shown(table.get('kind'))}"
        raise TrainingError(f"{where}: a recipe is a text 'kind', tables {', '.join(TABLES)}, and [[stage]]; {what}")
    base = {key: _a_table(table.get(key, {}), f"{where}: [{key}]") for key in TABLES}
    stages = table.get("stage", [{}])
    if not (isinstance(stages, list) and stages and all(isinstance(stage, dict) for stage in stages)):
        raise TrainingError(f"{where}: stage is {shown(stages)}; write each as [[stage]]")
    found = []
    for number, stage in enumerate(stages, 1):
        own = f"{where}: [[stage]] {number}"
        if unknown := sorted(set(stage) - _STAGE_KEYS):
            raise TrainingError(f"{own}: unknown keys {', '.join(unknown)[:80]}; known are {', '.join(_STAGE_KEYS)}")
        title = stage.get("name", str(number))
        if not (isinstance(title, str) and _NAME.fullmatch(title)):
            raise TrainingError(f"{own}: name is {shown(title)}; give letters, digits, '-', '_' and '.'")
        merged = {key: {**base[key], **_a_table(stage.get(key, {}), f"{own}: {key}")} for key in TABLES}
        for path, value in sets:
            if not 2 <= len(path) <= 3 or path[0] not in TABLES:
                raise TrainingError(
                    f"--set {'.'.join(path)}: name a key of a table of {name}, as train.lr; tables are"
                    f" {', '.join(TABLES)}"
                )
            if len(path) == 3:
                inner = merged[path[0]].get(path[1], {})
                value = {**(inner if isinstance(inner, dict) else {}), path[2]: value}
            merged[path[0]][path[1]] = value
        merged["train"] |= {key: value for key, value in changes.items() if value is not None}
        at = {key: place for key, place in places.items() if key.partition(".")[0] not in ("stage",)}
        if len(stages) > 1 or stage:
            at |= {key: own for key in TABLES} | {
                f"{key}.{entry}": own for key in TABLES for entry in _a_table(stage.get(key, {}), own)
            }
        at |= {".".join(path[:2]): f"--set {'.'.join(path)}" for path, _ in sets}
        title = name if len(stages) == 1 and not stage else f"{name}/{title}"
        train = from_table(TrainConfig, merged["train"], _where(at, where, "train"))
        found.append(Recipe(title, table["kind"], train, merged["model"], merged["data"], merged["loss"], at))
    if len({recipe.name for recipe in found}) < len(found):
        raise TrainingError(f"{where}: two stages have the same name")
    return Curriculum(name, tuple(found))


def _engine(
    name: str,
    where: str,
    table: Mapping[str, Any],
    *,
    sets: list[tuple[list[str], Any]],
    changes: Mapping[str, Any],
    seen: tuple[str, ...],
    source: str | Path,
) -> EngineRecipe:
    parts = table.get("part")
    if unknown := sorted(set(table) - {"engine", "part"}):
        raise TrainingError(f"{where}: unknown keys {', '.join(unknown)[:80]}; an engine's are engine and [[part]]")
    if not isinstance(table["engine"], str) or not (
        isinstance(parts, list) and parts and all(isinstance(part, dict) for part in parts)
    ):
        raise TrainingError(f"{where}: engine must be a name, and [[part]] tables must follow")
    found: list[Part] = []
    for number, part in enumerate(parts, 1):
        own = f"{where}: [[part]] {number}"
        title, recipe, uses = part.get("name"), part.get("recipe"), part.get("uses", {})
        if set(part) - _PART_KEYS or not (isinstance(title, str) and _NAME.fullmatch(title)):
            raise TrainingError(f"{own}: give a name, a recipe, and uses; got {shown(part)}")
        if not isinstance(recipe, str) or not recipe:
            raise TrainingError(f"{own}: recipe is {shown(recipe)}; name one, or a file")
        known = {each.name for each in found}
        if not isinstance(uses, dict) or not all(
            key.partition(".")[0] in TABLES and "." in key and used in known for key, used in uses.items()
        ):
            raise TrainingError(
                f'{own}: uses is {shown(uses)}; write {{"data.tokenizer" = "PART"}} with a part before this one'
            )
        if title in known:
            raise TrainingError(f"{own}: two parts are named {title!r}")
        path: str | Path = recipe
        if recipe.endswith(".toml") and not isinstance(source, str | Path):
            path = Path(recipe)
        elif recipe.endswith(".toml"):
            path = Path(source).parent / recipe
        mine = [(keys[1:], value) for keys, value in sets if keys[0] == title]
        inner = _read(path, mine, changes, seen)
        if isinstance(inner, EngineRecipe):
            raise TrainingError(f"{own}: {recipe} is a recipe of an engine; name that of one model")
        found.append(Part(title, inner, uses))
    for keys, _ in sets:
        if keys[0] not in {part.name for part in found}:
            raise TrainingError(
                f"--set {'.'.join(keys)}: name a part of {name} first, as {found[0].name}.train.lr; parts are"
                f" {', '.join(part.name for part in found)}"
            )
    return EngineRecipe(name, table["engine"], tuple(found))


def using(curriculum: Curriculum, folders: Mapping[str, Path]) -> Curriculum:
    """The curriculum with folders put where its tables name them, as "data.tokenizer"."""
    stages = []
    for recipe in curriculum.stages:
        for key, folder in folders.items():
            table, _, name = key.partition(".")
            if table == "train":
                recipe = replace(recipe, train=replace(recipe.train, **{name: str(folder)}))
            else:
                recipe = replace(recipe, **{table: {**getattr(recipe, table), name: str(folder)}})
        stages.append(recipe)
    return replace(curriculum, stages=tuple(stages))


def _configs() -> Any:
    return resources.files("motionloom.training") / "configs"


@cache
def _text_of_shipped(name: str) -> str:
    return (_configs() / f"{name}.toml").read_text(encoding="utf-8")


def _text(source: str | Path) -> tuple[str, str, str]:
    """Name, place for messages and text of a recipe.

    Raises:
        TrainingError: There is none, or it is no text.
    """
    if str(source) in shipped() and not Path(source).is_file():
        return str(source), f"recipe {source}", _text_of_shipped(str(source))
    path = Path(source)
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or _first_line(error)
        known = "" if path.suffix == ".toml" else f"; recipes that come with the package: {', '.join(shipped())}"
        raise TrainingError(f"{path}: cannot be read ({reason}){known}") from None
    if len(raw) > _LARGEST_FILE:
        raise TrainingError(f"{path}: larger than 1 MB, which no recipe is")
    try:
        return path.stem, str(path), raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path}: no UTF-8 text (byte {error.start}); save it as UTF-8") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _a_table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TrainingError(f"{where}: a table is needed; got {shown(value)}")
    return value


def _assignment(text: str) -> tuple[list[str], Any]:
    """Path and value of "table.key=value"."""
    key, equals, value = text.partition("=")
    path = key.strip().split(".")
    if not equals or not all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in path) or len(path) < 2:
        raise TrainingError(f"--set {text[:80]!r}: write TABLE.KEY=VALUE, for example train.lr=1e-3")
    try:
        return path, tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError, ValueError, KeyError):
        return path, value


def _places(text: str, where: str) -> dict[str, str]:
    """File and line of every "table.key" that begins a line of a recipe, up to its first stage."""
    found, table = {}, ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[([A-Za-z_.]+)\]", line):
            table = header[1]
            found.setdefault(table, f"{where}:{number}")
        elif re.match(r"\s*\[\[", line):
            table = "stage"
        elif key := re.match(r"\s*([A-Za-z0-9_-]+)\s*=", line):
            found.setdefault(f"{table}.{key[1]}" if table else key[1], f"{where}:{number}")
    return found


def _where(places: Mapping[str, str], whole: str, table: str) -> Where:
    """What a message about a key of a table begins with."""

    def place(key: str) -> str:
        own = places.get(f"{table}.{key}") if key else None
        return f"{own or places.get(table) or whole}: [{table}]"

    return place


def _mapping_in(hint: Any) -> Any:
    """The mapping in a type, if it is one of names and single values."""
    origin = get_origin(hint)
    return hint if isinstance(origin, type) and issubclass(origin, Mapping) else None


def _pairs(entries: Sequence[Any], hint: Any, where: str) -> dict[str, Any]:
    """A table from "name=value", as older recipes write it."""
    found: dict[str, Any] = {}
    numbers = get_args(hint)[1] is float
    for entry in entries:
        name, equals, value = entry.partition("=") if isinstance(entry, str) else ("", "", "")
        try:
            found[name] = float(value) if numbers else value
        except ValueError:
            equals = ""
        if not equals or not name:
            raise TrainingError(
                f"{where}: {shown(entry)} is no weight; write name=number in a table of its own, for example text = 0.8"
                if numbers
                else f"{where}: {shown(entry)} is not name=value"
            )
    return found

"""What can be trained: each kind names its trainer, which is imported when it is asked for."""

from collections.abc import Callable, Collection
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

from motionloom.errors import TrainingError
from motionloom.schema import shown
from motionloom.training.recipes import Recipe
from motionloom.training.task import Task

TRAINERS = {
    "tokenizer": "motionloom.training.tokenizer",
    "body_tokenizer": "motionloom.training.tokenizer",
    "masked": "motionloom.training.masked",
    "length": "motionloom.training.length",
    "matcher": "motionloom.training.text_motion",
    "diffusion": "motionloom.training.diffusion",
    "music": "motionloom.training.music",
    "llm": "motionloom.training.language",
}
"""Kind of a recipe -> module with ``task``, which makes it, and ``read``, which checks the tables of a recipe; where
they are needed, ``INPUTS``, keys of folders that must be given, and ``follow``, how a later stage starts."""


def trainer(kind: str) -> Callable[[Recipe, Path], Task]:
    """The function of a recipe and a store's folder that makes the task of a kind.

    Raises:
        TrainingError: The kind is unknown.
    """
    return _module(kind).task


def check_recipe(recipe: Recipe, later: Collection[str] = ()) -> None:
    """See that a recipe can be trained, before anything is built.

    Args:
        recipe: The recipe.
        later: Keys of folders, as "data.tokenizer", that earlier trainings will write.

    Raises:
        TrainingError: The kind is unknown, a value does not fit, or a folder that is needed holds no model.
    """
    module = _module(recipe.kind)
    module.read(recipe)
    for key, what in getattr(module, "INPUTS", {}).items():
        table, _, name = key.partition(".")
        if key not in later:
            _see_a_model(getattr(recipe, table).get(name, ""), key, what, recipe)
    if recipe.train.init and "train.init" not in later:
        _see_a_model(recipe.train.init, "train.init", "a trained model", recipe)


def follow(recipe: Recipe, folder: Path) -> Recipe:
    """A stage that starts from the model of the stage before."""
    own = getattr(_module(recipe.kind), "follow", None)
    return own(recipe, folder) if own else replace(recipe, train=replace(recipe.train, init=str(folder)))


def _see_a_model(folder: object, key: str, what: str, recipe: Recipe) -> None:
    place, name = recipe.places.get(key, recipe.name), key.partition(".")[2]
    if folder == "":
        raise TrainingError(f"{place}: {name} must be given: the folder of {what} (--set {key}=FOLDER)")
    if not isinstance(folder, str) or not (Path(folder) / "config.json").is_file():
        raise TrainingError(f"{place}: {name} is {shown(folder)}, which holds no model; give the folder of {what}")


def _module(kind: str) -> ModuleType:
    if kind not in TRAINERS:
        raise TrainingError(f"kind {shown(kind)} is unknown; kinds are {', '.join(sorted(TRAINERS))}")
    return import_module(TRAINERS[kind])

"""Training by a whole recipe: the stages of a model one after the other, and the models of an engine.

A run folder holds a folder for each stage (``1-NAME``, ``2-NAME``, ...) and at last ``model``; that of an engine holds
a run folder for each part, and at last ``model`` with a sub-folder for each. A run that was stopped in any stage goes
on there.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from motionloom.errors import TrainingError
from motionloom.progress import SILENT, Progress
from motionloom.training.loop import check_store, train
from motionloom.training.recipes import Curriculum, EngineRecipe, Recipe, using
from motionloom.training.registry import check_recipe, follow


def train_all(
    recipe: Curriculum | EngineRecipe, store: Path, run: Path, *, progress: Progress = SILENT, **how: Any
) -> Path:
    """Train what a recipe says; a run that was begun in ``run`` goes on.

    Args:
        recipe: Of a model or an engine.
        store: The store to train on.
        run: Folder for logs, checkpoints and the result in ``run/model``.
        progress: Told about every update; may raise ``Cancelled``.
        **how: See ``loop.train``: devices, accelerator, tensorboard, threads.

    Returns:
        The folder of the model, or of the engine.

    Raises:
        TrainingError: The recipe is wrong, the run belongs to another recipe, or the loss is not finite.
    """
    check_all(recipe, store)
    if isinstance(recipe, Curriculum):
        return _train_stages(recipe, store, run, progress=progress, **how)
    folders: dict[str, Path] = {}
    for part in recipe.parts:
        whole = using(part.curriculum, {key: folders[used] for key, used in part.uses.items()})
        folders[part.name] = _train_stages(whole, store, run / part.name, progress=progress, **how)
    description = json.dumps({"engine": recipe.engine, "format": 1}) + "\n"
    return _gather(folders, run / "model", description)


def check_all(recipe: Curriculum | EngineRecipe, store: Path) -> None:
    """See that everything that is needed up to the end is there, before anything is built.

    Raises:
        TrainingError: A value does not fit, a folder is missing, or a split of the store has no clips.
    """
    parts = (
        [(recipe, {})] if isinstance(recipe, Curriculum) else [(each.curriculum, each.uses) for each in recipe.parts]
    )
    for curriculum, uses in parts:
        for number, stage in enumerate(curriculum.stages):
            after = {"train.init"} if number else set()
            check_recipe(stage, {*uses, *after})
    check_store(store)


def _train_stages(curriculum: Curriculum, store: Path, run: Path, *, progress: Progress, **how: Any) -> Path:
    if len(curriculum.stages) == 1:
        return train(curriculum.stages[0], store, run, progress=progress, **how)
    before: Path | None = None
    for number, stage in enumerate(curriculum.stages, 1):
        asked = stage if before is None or _starts_itself(stage) else follow(stage, before)
        folder = run / f"{number}-{stage.name.rpartition('/')[2]}"
        before = folder / "model"
        if not _is_done(folder, asked):
            # Written last: a model that lies there was made by just this stage of this recipe.
            train(asked, store, folder, progress=progress, **how)
            _replace_text(folder / "done.json", asked.fingerprint)
    assert before is not None
    return _gather({"": before}, run / "model")


def _starts_itself(stage: Recipe) -> bool:
    return bool(stage.train.init or stage.data.get("start"))


def _is_done(folder: Path, recipe: Recipe) -> bool:
    file = folder / "done.json"
    if not (file.is_file() and (folder / "model" / "config.json").is_file()):
        return False
    if file.read_text(encoding="utf-8") != recipe.fingerprint:
        raise TrainingError(f"{folder} holds a run of another recipe; give another folder or remove it")
    return True


def _gather(folders: dict[str, Path], target: Path, description: str = "") -> Path:
    """Copy models into one folder under a temporary name, which is then renamed."""
    temporary = target.with_name(f".{target.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    for name, folder in folders.items():
        shutil.copytree(folder, temporary / name)
    if description:
        _replace_text(temporary / "engine.json", description)
    shutil.rmtree(target, ignore_errors=True)
    temporary.replace(target)
    return target


def _replace_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)

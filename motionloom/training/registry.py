"""What can be trained: each kind names its trainer, which is imported when it is asked for."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from motionloom.errors import TrainingError
from motionloom.training.recipes import Recipe
from motionloom.training.task import Task

TRAINERS = {
    "tokenizer": "motionloom.training.tokenizer:task",
    "body_tokenizer": "motionloom.training.tokenizer:task",
    "masked": "motionloom.training.masked:task",
    "length": "motionloom.training.length:task",
    "matcher": "motionloom.training.text_motion:task",
    "diffusion": "motionloom.training.diffusion:task",
    "music": "motionloom.training.music:task",
    "llm": "motionloom.training.language:task",
}


def trainer(kind: str) -> Callable[[Recipe, Path], Task]:
    """The function of a recipe and a store's folder that makes the task of a kind.

    Raises:
        TrainingError: The kind is unknown.
    """
    if kind not in TRAINERS:
        raise TrainingError(f"kind {kind!r} is unknown; kinds are {', '.join(sorted(TRAINERS))}")
    module, _, name = TRAINERS[kind].partition(":")
    return getattr(import_module(module), name)

"""Optional packages: what each extra is for, and one line where one is missing."""

from importlib import import_module
from types import ModuleType

EXTRAS = {"lightning_fabric": "train", "tensorboard": "train", "torch.utils.tensorboard": "train", "ray": "ray"}
"""Module -> extra of ``pip install 'motionloom[EXTRA]'`` that brings it."""


def need(module: str, what: str, error: type[Exception]) -> ModuleType:
    """An optional module.

    Args:
        module: Its name, one of ``EXTRAS``.
        what: What needs it, to begin the message with.
        error: What is raised.

    Raises:
        error: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        name = module.rpartition(".")[2]
        raise error(f"{what} needs {name}: pip install 'motionloom[{EXTRAS[module]}]'") from None

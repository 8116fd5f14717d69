"""Engines by name: found by the entry-point group ``motionloom.engines``, checkpoint folders by their ``engine.json``.

The bundled engines are declared as those of other packages are, so nothing here names one.
"""

import json
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from motionloom.engines.base import Engine
from motionloom.errors import CheckpointError

GROUP = "motionloom.engines"
DESCRIPTION = "engine.json"
"""File of a folder that says which engine it holds: ``{"engine": "mmm", "format": 1}``."""
FORMAT = 1


@cache
def _announced() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def engine_names() -> tuple[str, ...]:
    """Names of the engines that are installed, in order."""
    return tuple(sorted(_announced()))


def engine_class(name: str) -> type[Engine]:
    """The class of an installed engine.

    Raises:
        CheckpointError: No installed package announces an engine of that name.
    """
    if name not in _announced():
        raise CheckpointError(f"there is no engine {name!r}; installed are {', '.join(engine_names())}")
    found = _announced()[name].load()
    if not (isinstance(found, type) and issubclass(found, Engine)):
        raise CheckpointError(f"the entry point {name!r} of {GROUP} names {found!r}, which is no Engine")
    return found


def load(name: str | Path, **options: Any) -> Engine:
    """An engine: an installed one by its name, with the weights it comes with, or one from a folder.

    Args:
        name: A name, for example "mmm", or a folder that training, ``motionloom import`` or fine-tuning wrote.
        **options: Of the engine's ``open``.

    Raises:
        CheckpointError: There is neither such an engine nor such a folder, or its weights do not fit.
    """
    if str(name) in _announced():
        kind = engine_class(str(name))
        return kind.open(kind.starter(), **options)
    folder = Path(name)
    if not folder.is_dir():
        raise CheckpointError(
            f"there is no engine {str(name)!r}: installed are {', '.join(engine_names())}; or give a folder"
        )
    return engine_class(engine_of(folder)).open(folder, **options)


def engine_of(folder: Path) -> str:
    """Name of the engine that a folder holds: by its ``engine.json``, or recognised, for folders older than that.

    Raises:
        CheckpointError: The folder holds no engine, or ``engine.json`` is none.
    """
    description = folder / DESCRIPTION
    if description.is_file():
        return _described(description)
    fitting = [name for name in engine_names() if engine_class(name).recognises(folder)]
    if len(fitting) != 1:
        what = "could be any of " + ", ".join(fitting) if fitting else "holds no engine that is known"
        raise CheckpointError(
            f'{folder} {what}: it has no {DESCRIPTION}; write one, for example {{"engine": "mmm", "format": {FORMAT}}}'
        )
    return fitting[0]


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(1 << 16))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON ({str(error)[:100]})") from None
    return found if isinstance(found, dict) else {}


def _described(path: Path) -> str:
    found = _read(path)
    name, number = found.get("engine"), found.get("format")
    if not isinstance(name, str) or not isinstance(number, int):
        raise CheckpointError(f'{path} must hold {{"engine": NAME, "format": {FORMAT}}}')
    if number > FORMAT:
        raise CheckpointError(f"{path} is of format {number}, this version reads up to {FORMAT}: install a newer one")
    return name


def facts_of(folder: Path) -> dict[str, Any]:
    """What else ``engine.json`` says of a folder, such as the text encoder; empty where there is none.

    Raises:
        CheckpointError: It cannot be read.
    """
    description = folder / DESCRIPTION
    return _read(description) if description.is_file() else {}


def describe_folder(folder: Path, engine: str, **facts: str) -> None:
    """Write ``engine.json`` into a folder.

    Args:
        folder: Of the engine.
        engine: Its name.
        **facts: What else its ``open`` needs to know.

    Raises:
        OSError: It cannot be written.
    """
    temporary = folder / f".{DESCRIPTION}"
    temporary.write_text(json.dumps({"engine": engine, "format": FORMAT, **facts}) + "\n", encoding="utf-8")
    temporary.replace(folder / DESCRIPTION)

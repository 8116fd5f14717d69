"""Protocols by the name of what they measure; each is imported when it is asked for."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from motionloom.errors import RequestError
from motionloom.evaluation.harness import Protocol, render

PROTOCOLS = {
    "text": "motionloom.evaluation.text:TextProtocol",
    "conditions": "motionloom.evaluation.conditions:ConditionProtocol",
    "language": "motionloom.evaluation.language:LanguageProtocol",
    "rules": "motionloom.evaluation.rules:RulesProtocol",
}


def protocol(task: str) -> type[Protocol]:
    """The protocol of a task.

    Raises:
        RequestError: There is none.
    """
    if task not in PROTOCOLS:
        raise RequestError(f"task {task!r} is unknown; tasks are {', '.join(PROTOCOLS)}")
    module, _, name = PROTOCOLS[task].partition(":")
    return getattr(import_module(module), name)


def markdown(result: Mapping[str, Any]) -> list[str]:
    """The tables of a result, also of a file that is older than ``task`` in it."""
    return render(protocol(result.get("task") or _guessed(result)).tables(result))


def _guessed(result: Mapping[str, Any]) -> str:
    if "rows" in result:
        return "text"
    if "tasks" in result:
        return "language" if "captions" in result else "conditions"
    return "rules"

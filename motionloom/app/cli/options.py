"""Options of an engine on the command line: ``--option NAME=VALUE``, read by the types that the engine declares."""

import json
from typing import Annotated, Any

import typer

Option = Annotated[
    list[str] | None,
    typer.Option(help="NAME=VALUE, an option of the engine (motionloom models --options NAME); repeat for more."),
]


def parse_options(given: list[str] | None, kind: type) -> dict[str, Any]:
    """Values of options as their types want them: numbers, true or false, tables as JSON, else text.

    Args:
        given: As typed.
        kind: Dataclass of the engine's options; unknown names and wrong values are refused where it is built.
    """
    texts = {entry["name"] for entry in _fields(kind) if "'" in entry["type"] or entry["type"] == "a text"}
    found: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--option")
        found[name] = value if name in texts else _value(value)
    return found


def _fields(kind: type) -> list[dict[str, Any]]:
    from motionloom.schema import describe

    return describe(kind)


def _value(text: str) -> Any:
    """A JSON value, where the text is one; Python's spelling of truth is taken as well."""
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except ValueError:
        return text

"""Fields of dataclasses with types and ranges, checked in one line each: options, requests, recipes, configs.

A dataclass says what it takes by its annotations (bool, int, float, str, ``Literal``, tuples, lists, dicts and unions
of them) and by ``ranged`` fields. ``check`` holds an instance against that, ``build`` makes one from a mapping of
foreign values, such as a table of a TOML file or options of a command line.
"""

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Where = str | Callable[[str], str]
"""What begins a message: a text, or a function of the name of the field that is at fault ("" for none)."""
LONGEST = 80
"""Characters of a wrong value that a message shows."""


def ranged(
    default: Any = MISSING, *, low: float | None = None, high: float | None = None, above: float | None = None,
    help: str = "", unit: str = "", default_factory: Any = MISSING,
) -> Any:  # fmt: skip
    """A dataclass field with a range.

    Args:
        default: Its default; without one the field must be given.
        low: Smallest value.
        high: Largest value.
        above: What the value must be larger than.
        help: What it does, for ``motionloom models --options`` and error messages.
        unit: Of the number, as "s" or "frames".
        default_factory: Makes the default, where it is a mutable one.
    """
    facts = {"low": low, "high": high, "above": above, "help": help, "unit": unit}
    if default_factory is not MISSING:
        return field(default_factory=default_factory, metadata=facts)
    if default is MISSING:
        return field(metadata=facts)
    return field(default=default, metadata=facts)


def check(instance: Any, error: type[Exception], where: Where = "") -> None:
    """See that every field of a dataclass has a value of its type and range.

    Args:
        instance: The dataclass.
        error: What is raised.
        where: Begins the message, for example the file and table that the values came from.

    Raises:
        error: A value does not fit; the message names the field, the value and what is needed.
    """
    hints = _hints(type(instance))
    for entry in fields(instance):
        if entry.name in hints:
            _check_one(entry.name, getattr(instance, entry.name), hints[entry.name], entry.metadata, error, where)


def check_values(kind: type, values: Mapping[str, Any], *, error: type[Exception], where: str = "") -> None:
    """See that values fit the fields of a dataclass, before one is made of them.

    Args:
        kind: The dataclass.
        values: Field names and values.
        error: What is raised.
        where: Begins the message.

    Raises:
        error: A value does not fit.
    """
    hints, known = _hints(kind), {entry.name: entry for entry in fields(kind)}
    for name, value in values.items():
        if name in known:
            _check_one(name, value, hints.get(name, Any), known[name].metadata, error, where)


def build(
    kind: type[T], values: Mapping[str, Any], *, error: type[Exception], where: Where = "", what: str = "keys"
) -> T:
    """An instance of a dataclass from a mapping.

    Args:
        kind: The dataclass.
        values: Field names and values; lists become tuples where the field is one.
        error: What is raised.
        where: Begins the message.
        what: What the keys are called.

    Raises:
        error: A key is unknown or missing, or a value does not fit.
    """
    if not isinstance(values, Mapping):
        raise error(f"{_start(where)}a table of values is needed; got {shown(values)}")
    known = {entry.name: entry for entry in fields(kind) if entry.init}  # type: ignore[arg-type]
    unknown = sorted(str(name) for name in values if name not in known)
    if unknown:
        raise error(
            f"{_start(where, unknown[0])}unknown {what} {', '.join(unknown)[:LONGEST]}; known are"
            f" {', '.join(sorted(known))}"
        )
    missing = [
        name
        for name, entry in known.items()
        if entry.default is MISSING and entry.default_factory is MISSING and name not in values
    ]
    if missing:
        raise error(f"{_start(where)}{', '.join(missing)} must be given")
    hints = _hints(kind)
    given = {}
    for name, value in values.items():
        hint = hints.get(name, Any)
        found = tuple(value) if isinstance(value, list) and _wants_tuple(hint) else value
        inner = _dataclass_in(hint)
        if inner is not None and isinstance(found, Mapping):
            found = build(inner, found, error=error, where=f"{_place(where, name)}[{name}]")
        _check_one(name, found, hint, known[name].metadata, error, where)
        given[name] = found
    return kind(**given)


def describe(kind: type) -> list[dict[str, Any]]:
    """Fields of a dataclass as plain facts: name, type, default, range and help."""
    hints = _hints(kind)
    found = []
    for entry in fields(kind):
        default = entry.default if entry.default is not MISSING else None
        if entry.default is MISSING and entry.default_factory is not MISSING:
            default = entry.default_factory()
        found.append(
            {
                "name": entry.name,
                "type": _words(hints.get(entry.name, Any)),
                "default": default,
                "range": _range(entry.metadata),
                "help": entry.metadata.get("help", ""),
            }
        )
    return found


def shown(value: Any) -> str:
    """A foreign value in a message, cut to a length that fits a line."""
    if isinstance(value, str | bool | int | float | None):
        text = (
            repr(value)
            if not isinstance(value, int) or abs(value) < 10**30
            else f"an integer of {value.bit_length()} bits"
        )
    elif isinstance(value, list | tuple | dict) and len(value) <= 4 and all(map(_is_plain, _inside(value))):
        text = repr(value)
    else:
        text = f"a {type(value).__name__}"
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _inside(value: Any) -> list[Any]:
    return [*value.keys(), *value.values()] if isinstance(value, dict) else list(value)


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | float | None) or (
        isinstance(value, str | int) and len(value if isinstance(value, str) else hex(value)) < 30
    )


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _place(where: Where, name: str) -> str:
    return where(name) if callable(where) else where


def _start(where: Where, name: str = "") -> str:
    place = _place(where, name)
    return f"{place}: " if place else ""


def _check_one(
    name: str, value: Any, hint: Any, facts: Mapping[str, Any], error: type[Exception], where: Where
) -> None:
    if not _fits(value, hint):
        raise error(f"{_start(where, name)}{name} is {shown(value)}; give {_needed(hint, facts)}")
    for number in _numbers(value):
        bad = isinstance(number, float) and not math.isfinite(number)
        low, high, above = (facts.get(key) for key in ("low", "high", "above"))
        bad |= low is not None and number < low
        bad |= high is not None and number > high
        bad |= above is not None and number <= above
        if bad:
            raise error(f"{_start(where, name)}{name} is {shown(value)}; give {_needed(hint, facts)}")


def _numbers(value: Any) -> list[float]:
    if isinstance(value, bool):
        return []
    if isinstance(value, int | float):
        return [value]
    if isinstance(value, tuple | list):
        return [number for item in value for number in _numbers(item)]
    if isinstance(value, Mapping):
        return [number for item in value.values() for number in _numbers(item)]
    return []


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type; what is no plain type is not looked at."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in arguments)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    if origin in (tuple,):
        if not isinstance(value, tuple):
            return False
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return all(_fits(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    if origin in (list,):
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(
            _fits(key, arguments[0]) and _fits(item, arguments[1]) for key, item in value.items()
        )
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str, bytes) or hint is type(None):
        return isinstance(value, hint)
    return isinstance(value, hint) if isinstance(hint, type) and origin is None else True


def _wants_tuple(hint: Any) -> bool:
    return get_origin(hint) is tuple or any(get_origin(part) is tuple for part in get_args(hint))


def _dataclass_in(hint: Any) -> type | None:
    for part in (hint, *get_args(hint)):
        if isinstance(part, type) and is_dataclass(part):
            return part
    return None


def _words(hint: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(part) for part in arguments if part is not type(None))
    if origin is Literal:
        return " or ".join(repr(choice) for choice in arguments)
    names = {float: "a number", int: "a whole number", bool: "True or False", str: "a text"}
    if origin is tuple or origin is list:
        inner = {"a number": "numbers", "a whole number": "whole numbers", "a text": "texts"}
        return f"a list of {inner.get(_words(arguments[0]), 'values')}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a table of names and numbers"
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def _range(facts: Mapping[str, Any]) -> str:
    low, high, above, unit = (facts.get(key) for key in ("low", "high", "above", "unit"))
    tail = f" {unit}" if unit else ""
    if low is not None and high is not None:
        return f"{low:g} to {high:g}{tail}"
    if above is not None:
        return f"above {above:g}" + (f", up to {high:g}" if high is not None else "") + tail
    if low is not None:
        return f"from {low:g}{tail}"
    return f"up to {high:g}{tail}" if high is not None else ""


def _needed(hint: Any, facts: Mapping[str, Any]) -> str:
    spread = _range(facts)
    return f"{_words(hint)}, {spread}" if spread else _words(hint)

"""The one evaluation harness: what every protocol has in common.

A protocol names its units of work, one row and repeat or one sub-task each, measures a unit at a time, and turns all
of them into figures. Here are the rest: a unit that is done is kept, so that a run that was killed goes on where it
stopped; the result says what was measured with which weights, store and options; tables are written.
"""

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from motionloom.data.store import Store
from motionloom.engines.base import Engine, version
from motionloom.engines.text_motion import TextMotionScorer
from motionloom.engines.threads import using_threads
from motionloom.errors import RequestError
from motionloom.metrics.distribution import interval
from motionloom.motion.files import atomic_path
from motionloom.progress import SILENT, Progress

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Subject:
    """What is measured, and with what.

    Attributes:
        engine: The engine.
        store: Where real clips come from; ``None`` only for protocols that need none.
        scorer: Text-motion encoder; ``None`` only for protocols that score nothing with it.
        beside: Other engines that are measured beside it.
    """

    engine: Engine
    store: Store | None = None
    scorer: TextMotionScorer | None = None
    beside: tuple[Engine, ...] = ()


@dataclass(frozen=True)
class Table:
    """One table of a result.

    Attributes:
        title: Its heading; empty where there is only one.
        columns: Names of the figures that are shown, in order.
        rows: Row -> figure -> a number, an interval (``mean``, ``half_width``) or a text.
        before: Lines above it.
        after: Lines below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, Any]]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


class Protocol(ABC):
    """One way to measure an engine.

    Attributes:
        task: Its name, as ``motionloom evaluate --task`` takes it.
        Options: A frozen dataclass of what can be chosen; it checks itself.
        scored: Whether a text-motion encoder is needed.
        stored: Whether a store is needed.
    """

    task: ClassVar[str]
    Options: ClassVar[type]
    scored: ClassVar[bool] = False
    stored: ClassVar[bool] = True

    @abstractmethod
    def __init__(self, subject: Subject, options: Any) -> None:
        """Read the clips and see that everything can be measured.

        Raises:
            DataError: The store has too little.
            RequestError: The engine does not serve what is measured, or an option does not fit it.
        """

    @abstractmethod
    def units(self) -> Sequence[str]:
        """Names of the units of work, in the order in which they are measured."""

    @abstractmethod
    def measure(self, unit: str, progress: Progress) -> dict[str, Any]:
        """Measure a unit; the answer depends on the unit only and can be written as JSON."""

    @abstractmethod
    def collect(self, found: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """The body of the result, from the answers of all units."""

    @classmethod
    @abstractmethod
    def tables(cls, result: Mapping[str, Any]) -> list[Table]:
        """The tables of a result that was made, or was read from a file."""


def evaluate(
    kind: type[Protocol], subject: Subject, *, options: Any, out: Path, progress: Progress = SILENT
) -> dict[str, Any]:
    """Measure an engine and write the result; an interrupted run goes on where it stopped.

    Args:
        kind: The protocol.
        subject: What is measured.
        options: An instance of ``kind.Options``.
        out: The JSON file; beside it, until all is done, a folder with the units that are done.
        progress: Counts units; told at every step of the engine; may raise ``Cancelled``.

    Raises:
        DataError: The store has too little to measure on.
        RequestError: The engine does not serve what is measured, a store or an encoder is missing, the file cannot be
            written, or an unfinished run of something else lies beside it.
        Cancelled: ``progress`` stopped the work; the units done so far are kept.
    """
    check_out(out)
    if kind.stored and subject.store is None:
        raise RequestError(f"task {kind.task!r} is measured on clips: give a store (--data)")
    if kind.scored and subject.scorer is None:
        raise RequestError(f"task {kind.task!r} is scored by a text-motion encoder: give one")
    head = _head(kind, subject, options)
    parts = out.with_name(f".{out.name}.parts")
    _refuse_another(parts, head)
    protocol = kind(subject, options)
    parts.mkdir(exist_ok=True)
    _write(parts / "head.json", head)
    units = list(protocol.units())
    progress.expect(len(units))
    found: dict[str, dict[str, Any]] = {}
    with using_threads(subject.engine.threads):
        for index, unit in enumerate(units):
            part = parts / f"{index:05d}.json"
            if not part.is_file():
                _write(part, protocol.measure(unit, _watching(progress)))
            found[unit] = json.loads(part.read_text(encoding="utf-8"))
            progress.step()
    result = {**head, **protocol.collect(found)}
    _write(out, result, indent=1)
    for file in parts.iterdir():
        file.unlink()
    parts.rmdir()
    # As it is read back from the file.
    return json.loads(out.read_text(encoding="utf-8"))


def check_out(out: Path) -> None:
    """See that a result can be written, before the work and not after it.

    Raises:
        RequestError: It cannot.
    """
    if out.suffix != ".json":
        raise RequestError(f"{out}: results are written as .json; give such a name")
    if out.is_dir() or not out.parent.is_dir():
        raise RequestError(f"{out}: no file can be written there; name one in a folder that exists")


def check_splits(splits: Sequence[str]) -> None:
    """See that splits of a store are known.

    Raises:
        RequestError: One is not, or there is none.
    """
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown or not splits:
        what = f"split {unknown[0]!r} is unknown" if unknown else "no split is given"
        raise RequestError(f"{what}; splits are {', '.join(SPLITS)}")


def check_only(only: Sequence[str], known: Sequence[str], what: str) -> None:
    """See that parts of a protocol are known.

    Raises:
        RequestError: One is not, or there is none.
    """
    unknown = sorted(set(only) - set(known))
    if unknown or not only:
        named = f"{what} {', '.join(unknown)} are unknown" if unknown else f"no {what} are given"
        raise RequestError(f"{named}; {what} are {', '.join(known)}")


def lacking(engine: Engine, needs: Sequence[str]) -> str:
    """Why an engine cannot be measured on something; empty where it can."""
    missing = sorted(set(needs) - engine.capabilities)
    return f"engine {engine.name!r} does not serve {', '.join(missing)}" if missing else ""


def intervals(repeats: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and 95 % interval of every figure over repeats that have the same figures."""
    return {name: asdict(interval([figures[name] for figures in repeats])) for name in repeats[0]}


def render(tables: Sequence[Table]) -> list[str]:
    """Tables as Markdown, as README and the command show them."""
    lines: list[str] = []
    for table in tables:
        lines += [f"### {table.title}", ""] if table.title else []
        lines += [*table.before, ""] if table.before else []
        if table.rows:
            lines += [f"| row | {' | '.join(table.columns)} |", f"|---|{'---|' * len(table.columns)}"]
            for row, figures in table.rows.items():
                cells = [_cell(figures[name]) if name in figures else "–" for name in table.columns]
                lines.append(f"| {row} | {' | '.join(cells)} |")
        lines += ["", *table.after] if table.after else []
        lines.append("")
    return lines[:-1]


def columns_of(rows: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """All figures of some rows, in the order of their first appearance."""
    return tuple(dict.fromkeys(name for figures in rows.values() for name in figures))


def shown(entry: Mapping[str, Any], *, sign: bool = False) -> str:
    """A mean with its interval."""
    mean, half = entry["mean"], entry["half_width"]
    digits = 3 if abs(mean) < 10 else 1
    return f"{mean:{'+' if sign else ''}.{digits}f} ± {half:.{digits}f}"


def weights_digest(folder: Path | None) -> str:
    """SHA-256 over all weight files below a folder, by name; of nothing where an engine has no folder."""
    digest = hashlib.sha256()
    for path in [] if folder is None else sorted(folder.rglob("weights.safetensors")):
        digest.update(path.relative_to(folder or path).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _head(kind: type[Protocol], subject: Subject, options: Any) -> dict[str, Any]:
    engine = subject.engine
    head: dict[str, Any] = {
        "task": kind.task,
        "version": version(),
        "engine": {"name": engine.name, "weights": weights_digest(engine.folder)},
    }
    if subject.beside:
        head["beside"] = [{"name": one.name, "weights": weights_digest(one.folder)} for one in subject.beside]
    if kind.scored and subject.scorer is not None:
        head["evaluator"] = {"name": "matcher", "weights": weights_digest(subject.scorer.folder)}
    head["store"] = subject.store.digest if subject.store is not None else None
    head["options"] = {entry.name: getattr(options, entry.name) for entry in fields(options)}
    # As it is read back from the file.
    return json.loads(json.dumps(head, default=str))


def _refuse_another(parts: Path, head: Mapping[str, Any]) -> None:
    file = parts / "head.json"
    if not file.is_file():
        return
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        kept = {}
    if kept == head:
        return
    kept = kept if isinstance(kept, dict) else {}
    other = [name for name in head if kept.get(name) != head[name]]
    raise RequestError(
        f"{parts} holds an unfinished run of other settings or weights ({', '.join(other) or 'unknown'} differ);"
        " remove it to start anew, or give another --out"
    )


def _watching(progress: Progress) -> Progress:
    """What an engine is given: each of its steps tells the watcher, who may cancel, and counts as no unit."""
    return Progress(lambda *_: progress.step(0))


def _write(path: Path, value: Any, indent: int | None = None) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=indent) + "\n", encoding="utf-8")


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return shown(value)
    if isinstance(value, int | float):
        return f"{value:.3f}" if math.isfinite(value) else "–"
    return str(value).replace("|", "/").replace("\n", " ")

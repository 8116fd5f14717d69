"""``motionloom import``: official checkpoints to folders that ``motionloom.load`` opens.

An engine says by ``Engine.imports`` which kinds of official checkpoints it reads, and by which function. Each function
writes the parts of an engine into a folder and, as soon as all are there, its ``engine.json``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from motionloom.conditions.clip import text_encoder
from motionloom.engines.registry import engine_class, engine_names
from motionloom.errors import CheckpointError
from motionloom.licences import licence_of


@dataclass(frozen=True)
class ImportOptions:
    """What an import is told beside the file.

    Attributes:
        licence: Of the weights, as their authors state it.
        mean: ``.npy`` with the mean of the features the model was trained with.
        std: ``.npy`` with their standard deviation.
        text_encoder: Folder of the text tower that the model reads sentences by; its name is then kept and checked.
        length: File of a length estimator, for kinds that need one of their own.
        heads: Attention heads, where the weights do not tell.
        top_k: Experts that read a token, where the weights do not tell.
        fps: Frame rate of the features that a tokenizer was trained with.
        norm: Of a tokenizer: LN, GN or BN, where the weights do not tell.
        activation: Of a tokenizer.
    """

    licence: str
    mean: Path | None = None
    std: Path | None = None
    text_encoder: Path | None = None
    length: Path | None = None
    heads: int | None = None
    top_k: int | None = None
    fps: float = 20.0
    norm: str | None = None
    activation: str = "relu"

    def __post_init__(self) -> None:
        if not 1 <= self.fps <= 240:
            raise CheckpointError(f"--fps is {self.fps}; give 1 to 240")

    def statistics(self, why: str) -> tuple[Path, Path]:
        """The files of the statistics.

        Raises:
            CheckpointError: They were not given.
        """
        if self.mean is None or self.std is None:
            raise CheckpointError(f"{why}: give --mean and --std, the .npy files that it was trained with")
        return self.mean, self.std


@dataclass(frozen=True)
class Imported:
    """What an import wrote.

    Attributes:
        folders: The checkpoints.
        engine: Name of the engine that the folder holds now; empty while parts are missing.
        missing: What is still missing, and how it comes in.
    """

    folders: tuple[Path, ...]
    engine: str = ""
    missing: tuple[str, ...] = ()


Importer = Callable[[Path, Path, ImportOptions], Imported]


def import_kinds() -> dict[str, str]:
    """Kinds of official checkpoints that the installed engines read, and the function of each as "module:name"."""
    found: dict[str, str] = {}
    for name in engine_names():
        found |= engine_class(name).imports
    return dict(sorted(found.items()))


def import_official(source: Path, kind: str, *, out: Path, options: ImportOptions) -> Imported:
    """Read an official checkpoint into a folder.

    Args:
        source: The official file or folder.
        kind: One of ``import_kinds()``.
        out: Folder to write; parts of an engine may come one after the other.
        options: See ``ImportOptions``.

    Raises:
        CheckpointError: The kind is unknown, the source holds something else, or an option is missing.
    """
    kinds = import_kinds()
    if kind not in kinds:
        raise CheckpointError(f"kind {kind!r} is unknown; kinds are {', '.join(kinds)}")
    module, _, name = kinds[kind].partition(":")
    importer: Importer = getattr(import_module(module), name)
    out.mkdir(parents=True, exist_ok=True)
    return importer(source, out, options)


def told_encoder(
    options: ImportOptions, family: str, *, sentence_dim: int | None = None, word_dim: int | None = None
) -> str:
    """Name of the text encoder that an imported model needs: the one that was given, or any of a family.

    Raises:
        CheckpointError: The one that was given has other sizes.
    """
    if options.text_encoder is None:
        return family
    found = text_encoder(options.text_encoder)
    needed = (
        found.sentence_dim if sentence_dim is None else sentence_dim,
        found.word_dim if word_dim is None else word_dim,
    )
    if (found.sentence_dim, found.word_dim) != needed:
        raise CheckpointError(
            f"{options.text_encoder} holds {found.name} with sentences of {found.sentence_dim} and words of"
            f" {found.word_dim} numbers; the model reads {needed[0]} and {needed[1]}: give another --text-encoder"
        )
    return found.name


def data_card(source: Path, options: ImportOptions) -> Mapping[str, Any]:
    """The data card of imported weights: what they come from, and under which licences."""
    licence = licence_of(options.licence)
    card: dict[str, Any] = {"imported": source.name, "licences": {str(licence): licence.facts()}}
    if options.text_encoder is not None:
        card["inputs"] = {"text encoder": {"licence": str(text_encoder(options.text_encoder).licence)}}
    return card


def model_card(source: Path, options: ImportOptions) -> str:
    """The card for people."""
    licence = licence_of(options.licence)
    return (
        f"# {source.name}\n\nImported from the official `{source.name}`. Licence of the weights: {licence}"
        f" ({licence.terms}).\n"
    )

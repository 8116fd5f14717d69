"""Official checkpoints to directories of ours."""

from pathlib import Path
from typing import cast, get_args

from motionloom.errors import CheckpointError
from motionloom.models.checkpoint import OfficialKind, import_official, save_checkpoint


def import_checkpoint(source: Path, kind: str, mean: Path, std: Path, out: Path, licence: str) -> list[Path]:
    """Load an official checkpoint and write each model in it as a directory below ``out``.

    Raises:
        CheckpointError: The file is not of that kind, or its statistics do not fit.
    """
    if kind not in get_args(OfficialKind):
        raise CheckpointError(f"kind {kind!r} is unknown; kinds are {', '.join(get_args(OfficialKind))}")
    official = import_official(source, cast(OfficialKind, kind), mean, std)
    card = f"# {source.name}\n\nImported from the official file `{source.name}`. Licence of the weights: {licence}.\n"
    folders = []
    for name, model in official.models.items():
        save_checkpoint(out / name, model, official.stats, {"imported": source.name}, licence, card)
        folders.append(out / name)
    return folders

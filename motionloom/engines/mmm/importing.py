"""MMM's official transformer, which holds its tokenizer, to an engine's folder."""

from pathlib import Path
from typing import cast

from motionloom.engines.importing import Imported, ImportOptions, data_card, model_card, told_encoder
from motionloom.engines.registry import describe_folder
from motionloom.errors import CheckpointError
from motionloom.models.checkpoint import save_checkpoint
from motionloom.models.importing import import_official
from motionloom.models.masked.model import MaskedTransformer
from motionloom.models.tokenizers.motion import Activation, Norm
from motionloom.motion.features.layout import LAYOUTS


def import_masked(source: Path, out: Path, options: ImportOptions) -> Imported:
    """Write ``tokenizer`` and ``masked`` of an official MMM transformer, and say how they are to be used.

    Raises:
        CheckpointError: The file holds something else, or statistics were not given or do not fit.
    """
    mean, std = options.statistics("MMM's statistics are not in its file")
    found = import_official(
        source, "masked", mean, std, activation=cast(Activation, options.activation),
        norm=cast(Norm | None, options.norm), heads=options.heads,
    )  # fmt: skip
    masked, size = found.models["masked"], len(found.stats["mean"])
    assert isinstance(masked, MaskedTransformer)
    if size != LAYOUTS["humanml3d"].size:
        raise CheckpointError(f"{source} makes {size} features; only HumanML3D's 263 become motions of the mmm engine")
    config = masked.config
    encoder = told_encoder(options, "clip", sentence_dim=config.sentence_dim, word_dim=config.word_dim)
    for name in ("tokenizer", "masked"):
        save_checkpoint(
            out / name, found.models[name], found.stats, dict(data_card(source, options)), options.licence,
            model_card(source, options),
        )  # fmt: skip
    describe_folder(out, "mmm", text_encoder=encoder, features="published")
    return Imported((out / "tokenizer", out / "masked"), "mmm")

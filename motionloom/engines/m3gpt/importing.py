"""The parts of an M3GPT engine from official files, one import each into the same folder.

* ``language``: a T5 directory of ``transformers`` with the rows of motion and music (M3GPT's form)
* ``tokenizer``: a motion tokenizer of M3GPT, T2M-GPT or MotionGPT, which are the same network
* ``music``: Jukebox's VQ-VAE, whose top level M3GPT takes its music codes from
"""

from pathlib import Path
from typing import cast

import torch

from motionloom.engines.importing import Imported, ImportOptions, data_card, model_card
from motionloom.engines.m3gpt.decoder import MODELS, PUBLISHED_FPS, MotionLanguageModel
from motionloom.engines.registry import DESCRIPTION, describe_folder
from motionloom.errors import CheckpointError
from motionloom.models.checkpoint import build_model, save_checkpoint
from motionloom.models.importing import import_official, one_line, read_official
from motionloom.models.language.model import from_folder
from motionloom.models.tokenizers.motion import Activation, Norm
from motionloom.models.tokenizers.music import MusicTokenizer
from motionloom.models.tokenizers.music_training import music_from_official
from motionloom.motion.features.layout import LAYOUTS

_HOW = {
    "language": "--kind language T5_FOLDER",
    "motion": "--kind tokenizer FILE --mean MEAN.npy --std STD.npy --fps 20",
    "music": "--kind music VQVAE_FILE",
}


def import_language(source: Path, out: Path, options: ImportOptions) -> Imported:
    """Write ``language`` of a T5 directory.

    Raises:
        CheckpointError: It is no such directory, or has no rows of motion and music.
    """
    if not source.is_dir():
        raise CheckpointError(f"{source} is no folder; give a T5 directory of transformers")
    with one_line(source, "T5 with rows of motion and music"):
        model = from_folder(source, needs_codes=True)
    card = dict(data_card(source, options))
    save_checkpoint(out / "language", model, {}, card, options.licence, model_card(source, options))
    return _finished(out, "language")


def import_tokenizer(source: Path, out: Path, options: ImportOptions) -> Imported:
    """Write ``motion`` of an official motion tokenizer.

    Raises:
        CheckpointError: The file holds something else, or statistics were not given or do not fit.
    """
    mean, std = options.statistics("a tokenizer's statistics are not in its file")
    found = import_official(
        source, "tokenizer", mean, std, activation=cast(Activation, options.activation),
        norm=cast(Norm | None, options.norm),
    )  # fmt: skip
    if len(found.stats["mean"]) != LAYOUTS["humanml3d"].size:
        raise CheckpointError(f"{source} reads {len(found.stats['mean'])} features; HumanML3D's 263 are needed")
    save_checkpoint(
        out / "motion", found.models["tokenizer"], found.stats | {PUBLISHED_FPS: torch.tensor(float(options.fps))},
        dict(data_card(source, options)), options.licence, model_card(source, options),
    )  # fmt: skip
    return _finished(out, "motion")


def import_music(source: Path, out: Path, options: ImportOptions) -> Imported:
    """Write ``music`` of Jukebox's VQ-VAE.

    Raises:
        CheckpointError: The file holds something else.
    """
    with one_line(source, "music tokenizer of Jukebox"):
        config, state = music_from_official(read_official(source, ("model", "state_dict")))
    model = build_model(MusicTokenizer, config, state, f"{source} is no complete music tokenizer")
    save_checkpoint(
        out / "music", model, {}, dict(data_card(source, options)), options.licence, model_card(source, options)
    )
    return _finished(out, "music")


def _finished(out: Path, part: str) -> Imported:
    """Describe the folder as soon as all parts are there and fit each other."""
    missing = [name for name in MODELS if not (out / name / "config.json").is_file()]
    if missing:
        (out / DESCRIPTION).unlink(missing_ok=True)
        return Imported((out / part,), "", tuple(f"{name}: motionloom import {_HOW[name]}" for name in missing))
    MotionLanguageModel(out)
    describe_folder(out, "m3gpt")
    return Imported((out / part,), "m3gpt")

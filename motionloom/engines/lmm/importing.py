"""LMM's official denoiser to an engine's folder."""

from dataclasses import replace
from pathlib import Path

import torch

from motionloom.engines.importing import Imported, ImportOptions, data_card, model_card, told_encoder
from motionloom.engines.registry import describe_folder
from motionloom.models.checkpoint import save_checkpoint
from motionloom.models.diffusion.model import DiffusionTransformer
from motionloom.models.importing import import_official
from motionloom.motion.skeleton import BODY, PARTS

RATES = (20.0, 30.0)
"""Frame rates that answers are made at; those of most of what the release was trained on."""
SHORTEST = 16
"""Frames of the shortest motion."""


def import_diffusion(source: Path, out: Path, options: ImportOptions) -> Imported:
    """Write ``diffusion`` of an official LMM file; body parts are made, hands and face are not.

    Raises:
        CheckpointError: The file holds something else, or statistics were not given or do not fit.
    """
    mean, std = options.statistics("LMM's statistics are not in its file")
    found = import_official(source, "diffusion", mean, std, top_k=options.top_k)
    model = found.models["diffusion"]
    assert isinstance(model, DiffusionTransformer)
    if model.config.text_dim:
        encoder = told_encoder(options, "imagebind", word_dim=model.config.text_dim)
        model.config = replace(model.config, text_encoder=encoder)
    stats = found.stats | {
        "rates": torch.tensor(RATES),
        "frames": torch.tensor([SHORTEST, model.config.max_frames, 1]),
        "parts": torch.tensor([part in BODY for part in PARTS]),
    }
    save_checkpoint(
        out / "diffusion", model, stats, dict(data_card(source, options)), options.licence, model_card(source, options)
    )
    describe_folder(out, "lmm")
    return Imported((out / "diffusion",), "lmm")

"""A small diffusion engine with random weights, for tests that need one but not a good one."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from corpus import walk

from motionloom.models.checkpoint import save_checkpoint
from motionloom.models.diffusion.model import DiffusionTransformer
from motionloom.models.length import LengthConfig, LengthPredictor
from motionloom.motion.features.motionverse import encode_motionverse

SENTENCE = {"sentence_mean": torch.zeros(384), "sentence_std": torch.ones(384)}


def write_lmm(folder: Path, pieces: int = 1, **changes: Any) -> Path:
    """An LMM engine directory: right shapes, random weights, statistics of a walk; clips of 6 to 60 frames, up to
    ``pieces`` of them on one time line."""
    torch.manual_seed(0)
    sizes = {"text_dim": 384, "music_dim": 0, "video_dim": 53, "max_frames": 60, "max_tokens": 80}
    config = dataclasses.replace(DiffusionTransformer.tiny().config, **{**sizes, **changes})
    model = DiffusionTransformer(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    found = encode_motionverse(walk(200, 0, fps=20.0))
    stats = {
        "mean": found.features.mean(0),
        "std": torch.full((669,), 0.05),
        "rates": torch.tensor([10.0, 12.5, 20.0, 30.0]),
        "frames": torch.tensor([6, config.max_frames, pieces]),
        "parts": found.mask[0],
    }
    stats |= SENTENCE if config.text_dim else {}
    facts = {"sources": {"made up": {}}}, "CC0", "# a test\n"
    save_checkpoint(folder / "diffusion", model.eval(), stats, *facts)
    save_checkpoint(folder / "length", LengthPredictor(LengthConfig(max_tokens=12)).eval(), SENTENCE, *facts)
    return folder

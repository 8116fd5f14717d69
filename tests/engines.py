"""A small engine with random weights, for tests that need one but not a good one."""

from pathlib import Path

import torch

from motionloom.models.checkpoint import save_checkpoint
from motionloom.models.length import LengthConfig, LengthPredictor
from motionloom.models.masked import MaskedConfig, MaskedTransformer
from motionloom.models.tokenizer import MotionTokenizer, TokenizerConfig
from motionloom.motion.features import LAYOUTS, encode_features


def write_engine(folder: Path) -> Path:
    """An MMM engine directory: right shapes, random weights, statistics of a walk."""
    from corpus import walk

    torch.manual_seed(0)
    features = encode_features(walk(400, 0, fps=20.0))
    std = torch.ones(LAYOUTS["humanml3d"].size) * 0.05
    sentence = {"sentence_mean": torch.zeros(384), "sentence_std": torch.ones(384)}
    tokenizer = MotionTokenizer(TokenizerConfig(width=16, codes=32, code_dim=8))
    tokenizer.quantizer.codebook.normal_()
    models = {
        "tokenizer": (tokenizer, {"mean": features.mean(0), "std": std}),
        "masked": (MaskedTransformer(MaskedConfig(codes=32, width=32, heads=2, layers=2)), sentence),
        "length": (LengthPredictor(LengthConfig()), sentence),
    }
    for name, (model, stats) in models.items():
        save_checkpoint(folder / name, model.eval(), stats, {"sources": {"made up": {}}}, "CC0", f"# {name}\n")
    return folder

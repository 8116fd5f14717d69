"""A small engine with random weights, for tests that need one but not a good one."""

from pathlib import Path

import torch

from motionloom.models.checkpoint import save_checkpoint
from motionloom.models.length import LengthConfig, LengthPredictor
from motionloom.models.masked.model import MaskedConfig, MaskedTransformer
from motionloom.models.tokenizers.body_parts import BodyTokenizer
from motionloom.models.tokenizers.motion import MotionTokenizer, TokenizerConfig
from motionloom.motion.features.humanml3d import encode_features
from motionloom.motion.features.layout import LAYOUTS

SPREAD = 0.05


def write_engine(folder: Path) -> Path:
    """An MMM engine directory: right shapes, random weights, statistics of a walk."""
    torch.manual_seed(0)
    tokenizer = MotionTokenizer(TokenizerConfig(width=16, codes=32, code_dim=8))
    tokenizer.quantizer.codebook.normal_()
    return _write(folder, tokenizer, MaskedConfig(codes=32, width=32, heads=2, layers=2))


def write_body_engine(folder: Path) -> Path:
    """The same with a token for each part of the body."""
    torch.manual_seed(0)
    tokenizer = BodyTokenizer.tiny()
    for quantizer in tokenizer.quantizers:
        quantizer.get_buffer("codebook").normal_()
    tokenizer.std.fill_(SPREAD)
    return _write(
        folder, tokenizer, MaskedConfig(codes=32, parts=4, width=32, heads=2, layers=2, end_positions=True, reach=2)
    )


def _write(folder: Path, tokenizer: MotionTokenizer | BodyTokenizer, masked: MaskedConfig) -> Path:
    from corpus import walk

    features = encode_features(walk(400, 0, fps=20.0))
    std = torch.ones(LAYOUTS["humanml3d"].size) * SPREAD
    sentence = {"sentence_mean": torch.zeros(384), "sentence_std": torch.ones(384)}
    models = {
        "tokenizer": (tokenizer, {"mean": features.mean(0), "std": std}),
        "masked": (MaskedTransformer(masked), sentence),
        "length": (LengthPredictor(LengthConfig()), sentence),
    }
    for name, (model, stats) in models.items():
        save_checkpoint(folder / name, model.eval(), stats, {"sources": {"made up": {}}}, "CC0", f"# {name}\n")
    return folder

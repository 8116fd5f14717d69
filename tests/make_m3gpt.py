"""A small M3GPT engine with random weights, for tests that need one but not a good one."""

from pathlib import Path

import torch
from corpus import walk
from make_mmm import SPREAD

from motionloom.conditions.audio import RATE, Sound
from motionloom.engines.m3gpt.decoder import MotionLanguageModel, Prompt
from motionloom.models.checkpoint import save_checkpoint
from motionloom.models.language.model import MotionLM, MotionLMConfig
from motionloom.models.language.prompts import TASKS
from motionloom.models.language.vocabulary import train_pieces
from motionloom.models.tokenizers.motion import MotionTokenizer, TokenizerConfig
from motionloom.models.tokenizers.music import MusicTokenizer, MusicTokenizerConfig
from motionloom.motion.features.humanml3d import encode_features

FACTS = {"sources": {"made up": {}}}, "CC0", "# a test\n"


def small_language(seed: int = 0, motion: int = 32, music: int = 24, most: int = 260, **changes: object) -> MotionLM:
    """A tiny T5 whose answers vary."""
    torch.manual_seed(seed)
    texts = [known.plain for known in TASKS.values()] + ["a person walks forward and waves", "someone dances"]
    config = MotionLMConfig(
        pieces=train_pieces(texts, 400), pad="<pad>", end="</s>", motion_codes=motion, music_codes=music,
        max_tokens=most, width=32, mlp=48, layers=2, decoder_layers=2, heads=4, kv_heads=4, head_dim=8, tied=False,
    )  # fmt: skip
    model = MotionLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        # An untrained model would end at once, or never.
        model.network.lm_head.weight.mul_(0.6)
    return model.eval()


def write_m3gpt(folder: Path, motion: int = 32, music: int = 24) -> Path:
    """An M3GPT engine directory: right shapes, random weights, statistics of a walk; 11 codes of music a second."""
    features = encode_features(walk(400, 0, fps=20.0))
    torch.manual_seed(0)
    tokenizer = MotionTokenizer(TokenizerConfig(width=16, codes=32, code_dim=8))
    tokenizer.quantizer.codebook.normal_()
    heard = MusicTokenizer(
        MusicTokenizerConfig(strides=(16, 16, 8), widths=(8, 8, 8), depth=1, codes=24, code_dim=8),
    )
    heard.quantizer.codebook.normal_()
    stats = {"mean": features.mean(0), "std": torch.full((features.shape[1],), SPREAD)}
    save_checkpoint(folder / "language", small_language(motion=motion, music=music), {}, *FACTS)
    save_checkpoint(folder / "motion", tokenizer.eval(), stats, *FACTS)
    save_checkpoint(folder / "music", heard.eval(), {}, *FACTS)
    return folder


def clicks(seconds: float, bpm: float = 120.0, rate: int = RATE) -> Sound:
    """A click on every beat."""
    samples = torch.zeros(round(seconds * rate))
    step = round(60 / bpm * rate)
    for start in range(0, len(samples) - 400, step):
        samples[start : start + 400] = torch.sin(torch.arange(400) * 0.2) * torch.linspace(1, 0, 400) * 0.8
    return Sound(samples, rate)


def noted(monkeypatch) -> list[Prompt]:
    """Whatever the engine asks its model from now on."""
    asked: list[Prompt] = []
    say = MotionLanguageModel.generate

    def noting(model, asks, modality, *options, **more):
        asked.extend(asks)
        return say(model, asks, modality, *options, **more)

    monkeypatch.setattr(MotionLanguageModel, "generate", noting)
    return asked

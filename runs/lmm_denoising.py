"""How well a diffusion model guesses clean motions from noised ones, step by step, beside its linear prior alone.

    python runs/lmm_denoising.py --store STORE [--engine lmm] [--out results/lmm-denoising.json]

Mean squared errors of normalised features of the body on held-out clips with their first caption; the same noise for
all columns. "enforce_consistency": the guess after
``motion/features/motionverse_consistency.py``; the engine uses it below step 800.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motionloom.conditions.text import text_tokens
from motionloom.data.store import Store
from motionloom.engines.lmm.engine import LMM
from motionloom.engines.registry import load
from motionloom.evaluation.harness import weights_digest
from motionloom.models.diffusion.config import Clips, Condition
from motionloom.motion.features.motionverse import encode_motionverse
from motionloom.motion.features.motionverse_consistency import enforce_consistency
from motionloom.motion.features.motionverse_layout import spread_mask
from motionloom.motion.files import atomic_path

STEPS = (50, 150, 300, 600, 750, 900, 990)
FPS, FRAMES = 20.0, 80
COLUMNS = ("prior", "prior, enforce_consistency", "model", "model, enforce_consistency")


@torch.no_grad()
def errors(engine: LMM, features: Tensor, mask: Tensor, caption: str, seed: int) -> Tensor:
    """Errors on one clip, a row per step and a column per guess."""
    denoiser, frames = engine.denoiser, len(features)
    assert denoiser.model.prior is not None
    assert denoiser.sentence is not None
    clean = denoiser.stats.normalize(features, mask)[None]
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    none = torch.zeros(1, dtype=torch.long)
    clips = Clips(denoiser.parts.expand(1, frames, -1), torch.tensor([frames]), torch.tensor([1 / FPS]), none, none)
    tokens, valid = text_tokens(denoiser.text([caption]), *denoiser.sentence)
    told = {"text": Condition(tokens, torch.tensor([True]), valid)}
    seen = spread_mask(clips.parts)[0]
    found = []
    for number in STEPS:
        step = torch.tensor([number])
        noised = denoiser.schedule.noised(clean, step, noise)
        alpha_bar = denoiser.model.styles(step).alpha_bar
        prior = denoiser.model.prior(noised[..., denoiser.model.order], clips, alpha_bar).features[
            ..., denoiser.model.back
        ]
        model = denoiser.model(noised, step, clips, told).features
        for guess in (prior[0], model[0]):
            rows = denoiser.stats.denormalize(guess)
            mended = enforce_consistency(rows, denoiser.stats, denoiser.parts, FPS)
            for made in (guess, denoiser.stats.normalize(mended, clips.parts[0])):
                found.append((made - clean[0])[seen].square().mean())
    return torch.stack(found).view(len(STEPS), len(COLUMNS))


def main() -> None:
    """Measure, print the table, write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", default="lmm")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--source", default="bandai")
    parser.add_argument("--out", type=Path, default=Path("results/lmm-denoising.json"))
    options = parser.parse_args()

    engine, store = load(options.engine), Store(options.store)
    if not isinstance(engine, LMM):
        parser.error(f"engine {options.engine!r} is {engine.name}; a diffusion engine is needed")
    clips = [clip for clip in store.split("test") if clip.source == options.source and clip.seconds > 2]
    clips = clips[:: max(1, len(clips) // options.clips)][: options.clips]
    total = torch.zeros(len(STEPS), len(COLUMNS))
    for seed, clip in enumerate(clips):
        found = encode_motionverse(store.motion(clip).at_fps(FPS))
        total += errors(engine, found.features[:FRAMES], found.mask[:FRAMES], clip.captions[0], seed)
    mean = (total / len(clips)).tolist()
    result: dict[str, Any] = {
        "weights": weights_digest(engine.folder),
        "store": store.digest,
        "clips": len(clips),
        "source": options.source,
        "errors": {str(step): dict(zip(COLUMNS, row, strict=True)) for step, row in zip(STEPS, mean, strict=True)},
    }
    print(f"| step | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for step, row in zip(STEPS, mean, strict=True):
        print(f"| {step} | {' | '.join(f'{value:.4f}' for value in row)} |")
    with atomic_path(options.out) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()

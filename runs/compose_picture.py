"""Draw music that a language model composed for motions: wave, spectrum and beats under the poses.

python runs/compose_picture.py [--engine m3gpt] [--out docs/images/m3gpt-compose.png] [--sounds FOLDER]

The motions are made by the bundled MMM starter, so that anybody can repeat it. Below what the model composed stands,
for comparison, the accompaniment that is synthesised to the same motion, as in training. Beats are found in both alike.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from ten_tasks import CELL, POSES, marks

from motionloom.app.render import INK, PAPER, contact_sheet
from motionloom.conditions.audio import AUDIO_SLICES, Sound, audio_features, save_audio
from motionloom.conditions.beats import beats
from motionloom.data.sound.music import accompany
from motionloom.engines.m3gpt.engine import M3GPT
from motionloom.engines.registry import load
from motionloom.evaluation.condition_scores import kinematic
from motionloom.motion.files import atomic_path
from motionloom.motion.motion import Motion

MADE = (("a person walks forward", 5.0), ("a person dances", 6.0))
WIDTH = CELL * POSES
SIDE = int(1.35 * CELL)
FPS = 60.0


def wave(sound: Sound, title: str) -> Image.Image:
    """Least and greatest sample of each column."""
    tall = 48
    image = Image.new("RGB", (WIDTH + SIDE, tall), PAPER)
    draw = ImageDraw.Draw(image)
    peak = float(sound.samples.abs().max().clamp(min=1e-6))
    for x, piece in enumerate(torch.tensor_split(sound.samples, WIDTH)):
        low, high = float(piece.min()) / peak, float(piece.max()) / peak
        draw.line((x, tall / 2 * (1 - 0.95 * high), x, tall / 2 * (1 - 0.95 * low)), fill=INK)
    draw.text((WIDTH + 8, 8), title, fill=INK)
    return image


def spectrum(sound: Sound) -> Image.Image:
    """Mel levels, loud is dark, low is below."""
    mel = audio_features(sound.samples, sound.rate, FPS)[:, AUDIO_SLICES["mel"]]
    grey = (255 * (1 - mel.clamp(0, 1))).T.flip(0).numpy().astype(np.uint8)
    image = Image.new("RGB", (WIDTH + SIDE, 68), PAPER)
    image.paste(Image.fromarray(grey).resize((WIDTH, 64)).convert("RGB"), (0, 0))
    return image


def rows(motion: Motion, sound: Sound, title: str) -> list[Image.Image]:
    """All that is drawn of a sound."""
    heard = beats(sound.samples, sound.rate)
    return [wave(sound, title), spectrum(sound), marks(motion, heard, kinematic(motion), "its beats", "motion's rests")]


def main() -> None:
    """Compose, draw, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", default="m3gpt")
    parser.add_argument("--out", type=Path, default=Path("docs/images/m3gpt-compose.png"))
    parser.add_argument("--sounds", type=Path, help="keep the sounds in this folder")
    options = parser.parse_args()

    engine, maker = load(options.engine), load("mmm")
    if not isinstance(engine, M3GPT):
        parser.error(f"engine {engine.name!r} composes nothing")
    found: list[Image.Image] = []
    for number, (text, seconds) in enumerate(MADE):
        motion = maker.generate(text, seconds=seconds, seed=1)[0]
        composed, played = engine.compose(motion, seed=number), accompany(motion, number).sound
        found += [contact_sheet(motion, f"{text} (MMM starter)", POSES, CELL)]
        found += rows(motion, composed, "composed") + rows(motion, played, "synthesised")
        if options.sounds is not None:
            options.sounds.mkdir(parents=True, exist_ok=True)
            save_audio(composed, options.sounds / f"composed-{number}.wav")
            save_audio(played, options.sounds / f"synthesised-{number}.wav")
    image = Image.new("RGB", (max(row.width for row in found), sum(row.height for row in found)), PAPER)
    top = 0
    for row in found:
        image.paste(row, (0, top))
        top += row.height
    with atomic_path(options.out) as temporary:
        image.quantize(96).save(temporary, format="PNG", optimize=True)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()

"""Sentences to files: python examples/text_to_motion.py [FOLDER]."""

import sys
from pathlib import Path

import motionloom as ml

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
engine = ml.load("mmm")
for seed, text in enumerate(["a person walks forward", "a person waves the right hand", "a person bows"]):
    clip = engine.generate(text, seconds=4.0, seed=seed)[0]
    path = folder / f"{text.split()[2]}.bvh"
    clip.save(path)
    print(f"{path}: {len(clip)} frames, root travels {abs(clip.joints[-1, 0] - clip.joints[0, 0]).sum():.2f} m")

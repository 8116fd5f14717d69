"""Keep what is good, generate the rest: python examples/edit_a_motion.py [FOLDER]."""

import sys
from pathlib import Path

import motionloom as ml

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
engine = ml.load("mmm")
walk = engine.generate("a person walks forward", seconds=4.0, seed=1)[0]
waving = engine.complete(walk, ml.parts("legs"), text="a person waves both hands", seed=2)[0]
between = engine.complete(walk, ml.frames(0, 1.0) | ml.frames(-1.0), text="a person turns around", seed=3)[0]
longer = engine.predict(walk, 2.0, text="a person stops", seed=4)[0]
for name, clip in {"waving": waving, "between": between, "longer": longer}.items():
    clip.save(folder / f"{name}.npz")
    print(f"{name}: {clip.seconds:.1f} s")
print("legs kept:", bool((waving.rotations[:, 1] == walk.rotations[:, 1]).all()))

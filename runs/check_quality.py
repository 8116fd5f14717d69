"""How often the quality gate flags real clips, and the same walks and runs declared at a wrong frame rate.

python runs/check_quality.py --store STORE [--out results/quality.json]

The gate's constants were chosen on CMU and Bandai-Namco, so on these its figures flatter it.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from motionloom.data.quality import flags
from motionloom.data.store import Store
from motionloom.motion.files import atomic_path

FACTORS = (0.25, 0.5, 2.0, 4.0)
GAITS = ("walk", "run", "dash", "jog")


def main() -> None:
    """Measure every clip; every gait also at wrong rates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    store = Store(options.store)
    real: Counter[str] = Counter()
    caught, gaits = Counter({str(factor): 0 for factor in FACTORS}), 0
    for clip in store.clips:
        motion = store.motion(clip)
        real.update(flag.name for flag in flags(motion, motion.contacts is not None))
        label = clip.labels.get("content", clip.labels.get("description", "")).lower()
        if not label.startswith(GAITS):
            continue
        gaits += 1
        for factor in FACTORS:
            found = flags(motion.with_(fps=factor * motion.fps), motion.contacts is not None)
            caught[str(factor)] += any(flag.name == "fps" for flag in found)
    shares = {factor: round(count / gaits, 4) for factor, count in caught.items()}
    result = {"store": store.digest, "clips": len(store.clips), "flags": dict(real), "gaits": gaits, "caught": shares}
    print(json.dumps(result, indent=1))
    if options.out:
        with atomic_path(options.out) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

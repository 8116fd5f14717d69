"""What a tokenizer loses on held-out clips.

    python runs/reconstruct.py --store STORE [--tokenizer motionloom/starter/mmm/tokenizer] [--split test] [--out FILE]

Clips go through the tokenizer alone and whole, up to 6.4 s and up to 9.8 s of them (drift grows with length); joints
are posed by the decoded rotations. "all" is every clip of the split, the rest by source.
"""

import argparse
import json
from pathlib import Path

import torch

from motionloom.data.loader import FeatureSet, Stats
from motionloom.data.store import Store
from motionloom.models.checkpoint import load_checkpoint
from motionloom.models.tokenizers.body_parts import BodyTokenizer
from motionloom.models.tokenizers.motion import MotionTokenizer
from motionloom.motion.files import atomic_path
from motionloom.training.tokenizer import reconstruction


def main() -> None:
    """Print the figures and, when asked, write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, default=Path("motionloom/starter/mmm/tokenizer"))
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    torch.set_num_threads(1)
    checkpoint = load_checkpoint(options.tokenizer)
    if not isinstance(checkpoint.model, MotionTokenizer | BodyTokenizer):
        parser.error(f"{options.tokenizer} holds no tokenizer")
    stats = Stats(checkpoint.stats["mean"], checkpoint.stats["std"])
    store = Store(options.store)
    found = {}
    for seconds, frames in ((6.4, 128), (9.8, 196)):
        for source in (None, *sorted(store.manifest["sources"])):
            if source and not any(clip.source == source for clip in store.split(options.split)):
                continue
            clips = FeatureSet(store, options.split, source=source)
            figures = reconstruction(checkpoint.model, stats, clips, frames)
            name = f"{source or 'all'}, up to {seconds} s, {len(clips)} clips"
            found[name] = figures
            print(
                f"{name}: local {figures['local_mm']:.1f} mm, with drift {figures['global_mm']:.1f} mm,"
                f" rotations {figures['degrees']:.2f} degrees, {figures['codes']:.0f} codes"
            )
    if options.out:
        with atomic_path(options.out) as temporary:
            temporary.write_text(
                json.dumps({"split": options.split, "store": store.digest, "figures": found}, indent=1) + "\n"
            )


if __name__ == "__main__":
    main()

"""Start a masked transformer for a tokenizer and captions it was not trained with from what it has learned.

    python runs/carry_over.py --store STORE --masked FOLDER --earlier TOKENIZER --later TOKENIZER --out FOLDER

The result is what a recipe's [train] init names.
"""

import argparse
from pathlib import Path

import torch

from motionloom.data.store import Store
from motionloom.training.carry_over import carry_over


def main() -> None:
    """Read the folders and write the start."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("store", "masked", "earlier", "later", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        carry_over(Store(options.store), options.masked, options.earlier, options.later, options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()

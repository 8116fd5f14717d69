"""Judge an engine by the geometry rules and write the table that the README quotes.

    python runs/judge_starter.py --out results/mmm-judge.json [--engine mmm] [--store STORE] [--seeds 12]

Without a store the real clips' column is left out.
"""

import argparse
import json
from pathlib import Path

from motionloom.data.store import Store
from motionloom.engines.registry import load
from motionloom.evaluation.rules import judge_engine, judge_store, real_quantities
from motionloom.motion.files import atomic_path


def main() -> None:
    """Run all groups of sentences, with given and with predicted lengths."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", default="mmm")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--order-noise", type=float)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--inward", type=float)
    parser.add_argument("--ends", type=int)
    parser.add_argument("--ends-temperature", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--smoothing", type=float)
    parser.add_argument("--best-of", type=int)
    parser.add_argument("--lengths", nargs="+", default=["given", "predicted"])
    parser.add_argument("--groups", nargs="+", default=["grammar", "free", "fresh"])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    engine = load(options.engine)
    names = ("guidance", "order_noise", "temperature", "inward", "steps", "best_of", "ends", "ends_temperature",
             "smoothing")  # fmt: skip
    how = {name: value for name in names if (value := getattr(options, name)) is not None}
    seeds = list(range(options.first, options.first + options.seeds))
    results = {
        f"{group}, {lengths} lengths": judge_engine(engine, group, seeds, lengths, **how)
        for group in options.groups
        for lengths in options.lengths
    }
    real = None
    store = Store(options.store) if options.store else None
    if store:
        real = {split: judge_store(store, split) for split in ("test", "train")}
        real |= {f"labels of {group}": real_quantities(store, group) for group in options.groups}
    for name, result in results.items():
        share = result["passed"] / result["of"]
        style = f"{result['style_passed']}/{result['style_of']}"
        print(f"{name}: {result['passed']}/{result['of']} ({share:.1%}); style rules {style}")
        for text, failures in sorted(result["failed"].items(), key=lambda entry: -len(entry[1]))[:6]:
            print(f"    {result['by_sentence'][text]}  {text}: {failures[0]}")
    for name in next(iter(results.values()))["means"]:
        made = ", ".join(f"{result['means'][name]:.3f}" for result in results.values() if name in result["means"])
        rows = {} if real is None else {key: value["means"] for key, value in real.items() if name in value["means"]}
        found = "".join(f"; real, {key} {means[name]:.3f}" for key, means in rows.items())
        print(f"{name}: {made}{found}")
    if options.out:
        with atomic_path(options.out) as temporary:
            temporary.write_text(
                json.dumps(
                    {"engine": options.engine, **results, "real": real, "store": store.digest if store else None},
                    indent=1,
                )
                + "\n"
            )


if __name__ == "__main__":
    main()

"""Judge how many actions an engine knows and print a table by group.

    python runs/judge_actions.py [--engine mmm] [--seeds 6] [--out results/mmm-actions.json]

The engine is a name or a folder. ``runs/check_actions.py`` holds the same rules against captured clips.
"""

import argparse
import json
from pathlib import Path

from motionloom.engines.registry import load
from motionloom.evaluation.actions import judge_actions
from motionloom.motion.files import atomic_path


def main() -> None:
    """Run all sentences with given and with predicted lengths."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", default="mmm")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--lengths", nargs="+", default=["given", "predicted"])
    parser.add_argument("--groups", nargs="+", default=[])
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--best-of", type=int)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    how = {name: value for name in ("guidance", "temperature", "best_of") if (value := getattr(options, name))}
    engine = load(options.engine)
    seeds = range(options.first, options.first + options.seeds)
    results = {
        f"{lengths} lengths": judge_actions(engine, seeds, lengths, options.groups, **how)
        for lengths in options.lengths
    }
    for name, result in results.items():
        print(f"{name}: {result['passed']}/{result['of']} ({result['passed'] / result['of']:.1%})")
        print("| group | passed |\n|---|---|")
        for group, count in result["by_group"].items():
            print(f"| {group} | {count} |")
        for text, failures in sorted(result["failed"].items(), key=lambda entry: -len(entry[1])):
            print(f"    {result['by_sentence'][text]}  {text}: {failures[0]}")
    if options.out:
        with atomic_path(options.out) as temporary:
            temporary.write_text(json.dumps({"engine": options.engine, **results}, indent=1) + "\n")


if __name__ == "__main__":
    main()

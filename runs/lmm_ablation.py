"""Compare diffusion models that were trained with one thing changed: LMM's ablation at a small size.

    python runs/lmm_ablation.py full=work/lmm/full plain=work/lmm/plain ... --store STORE

Each folder is that of a training run: its ``log.csv`` and ``model``. Of each: the last errors on held-out windows (with
conditions, and without), R-precision and FID on some held-out clips where the model reads text, and the error of a
prediction 1 s ahead beside standing still. The first run is the one that the others are compared with.
"""

import argparse
import csv
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from motionloom.app.clock import size
from motionloom.data.store import Store
from motionloom.engines.lmm.engine import LMM
from motionloom.engines.text_motion import TextMotionScorer
from motionloom.evaluation.conditions import ConditionOptions, ConditionProtocol
from motionloom.evaluation.harness import Subject, evaluate
from motionloom.evaluation.text import TextOptions, TextProtocol
from motionloom.models.checkpoint import load_checkpoint
from motionloom.models.diffusion.model import DiffusionTransformer
from motionloom.motion.files import atomic_path

ROW = "engine, true length"
FIGURES = ("R-precision top 1", "R-precision top 3", "FID", "MM-Dist")
COLUMNS = (
    ("val error", "val/error"),
    ("val error, no condition", "val/error_alone"),
    ("Top 1", "R-precision top 1"),
    ("Top 3", "R-precision top 3"),
    ("FID", "FID"),
    ("prediction 1 s, mm", "prediction 1000 ms"),
    ("standing still, mm", "standing still 1000 ms"),
)


def last_values(log: Path) -> dict[str, float]:
    """The last value of each held-out figure of a training log, and its step."""
    found: dict[str, float] = {}
    with log.open(newline="") as file:
        for row in csv.DictReader(file):
            found["steps"] = max(found.get("steps", 0.0), float(row["step"]))
            if row["name"].startswith("val/"):
                found[row["name"]] = float(row["value"])
    return found


def measure(
    folder: Path, store: Store, scorer: TextMotionScorer, clips: int, repeats: int, seeds: int
) -> dict[str, Any]:
    """All figures of one run."""
    model = load_checkpoint(folder / "model").model
    assert isinstance(model, DiffusionTransformer)
    engine = LMM(folder / "model")
    result: dict[str, Any] = {
        "parameters": size(model),
        "attention": model.config.attention,
        "log": last_values(folder / "log.csv"),
    }
    with tempfile.TemporaryDirectory() as work:
        if "text" in engine.capabilities:
            options = TextOptions("test", repeats, only=("real", ROW), clips=clips, variety=False)
            subject = Subject(engine, store, scorer)
            rows = evaluate(TextProtocol, subject, options=options, out=Path(work) / "text.json")["rows"]
            result["text"] = {name: rows[ROW][name] for name in FIGURES}
            result["real"] = {name: rows["real"][name] for name in FIGURES}
        asked = ConditionOptions(only=("prediction",), clips=clips, seeds=seeds)
        out = Path(work) / "conditions.json"
        found = evaluate(ConditionProtocol, Subject(engine, store), options=asked, out=out)
        result["prediction"] = found["tasks"]["prediction"]
        result["options"] = {"clips": clips, "repeats": repeats, "tasks": asdict(asked)}
    return result


def figures(result: dict[str, Any]) -> dict[str, tuple[float, float | None]]:
    """Mean and half width of what the table shows."""
    found: dict[str, tuple[float, float | None]] = {
        name: (value, None) for name, value in result["log"].items() if name.startswith("val/")
    }
    found |= {name: (entry["mean"], entry["half_width"]) for name, entry in result.get("text", {}).items()}
    rows = result["prediction"]["rows"]
    for name, row in (("prediction 1000 ms", "engine"), ("standing still 1000 ms", "standing still")):
        found[name] = (rows[row]["1000 ms"]["mean"], rows[row]["1000 ms"]["half_width"])
    return found


def markdown(runs: dict[str, dict[str, Any]]) -> list[str]:
    """The table of all runs."""
    names = [title for title, _ in COLUMNS]
    lines = [f"| run | parameters | updates | {' | '.join(names)} |", f"|---|---|---|{'---|' * len(names)}"]
    for name, result in runs.items():
        found = figures(result)
        cells = []
        for _, key in COLUMNS:
            mean, half = found.get(key, (None, None))
            digits = 3 if mean is not None and abs(mean) < 10 else 0
            plus = "" if half is None else f" ± {half:.{digits}f}"
            cells.append("–" if mean is None else f"{mean:.{digits}f}{plus}")
        updates = int(result["log"].get("steps", 0))
        lines.append(f"| {name} | {result['parameters'] / 1e6:.2f} M | {updates} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Measure all runs, write, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("results/lmm-ablation.json"))
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()

    store, scorer = Store(options.store), TextMotionScorer()
    results: dict[str, dict[str, Any]] = {}
    for entry in options.runs:
        name, equals, folder = entry.partition("=")
        if not equals or not (Path(folder) / "model" / "config.json").is_file():
            parser.error(f"{entry!r} is not NAME=FOLDER of a finished training run")
        results[name] = measure(Path(folder), store, scorer, options.clips, options.repeats, options.seeds)
        print("\n".join(markdown(results)), flush=True)
    table = markdown(results)
    with atomic_path(options.out) as temporary:
        temporary.write_text(json.dumps({"store": store.digest, "runs": results, "table": table}, indent=1) + "\n")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()

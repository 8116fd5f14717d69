"""M3GPT's ablations at a small size: bridges, many tasks or one, joint optimisation.

    python runs/m3gpt_ablation.py --store STORE [--only bridges|tasks|joint ...]

Each group changes one thing from a common start; runs that are done are not repeated. Wanted before: what
``runs/m3gpt-starter.sh`` trains, in ``work/m3gpt``. Of each run: the last held-out figures of its log (validation
split, each token given those before it), and figures of what it makes for some test clips.
"""

import argparse
import json
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lmm_ablation import last_values

from motionloom.data.store import Store
from motionloom.engines.m3gpt.engine import M3GPT
from motionloom.engines.text_motion import TextMotionScorer
from motionloom.evaluation.harness import Subject, evaluate
from motionloom.evaluation.language import LanguageOptions, LanguageProtocol
from motionloom.motion.files import atomic_path
from motionloom.training.language import ALL_TASKS
from motionloom.training.loop import train
from motionloom.training.recipes import load_recipe
from motionloom.training.registry import follow

WORK = Path("work/m3gpt")
LANGUAGE = WORK / "language"
BRIDGES = ("text-to-dance", "music-to-text")


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        recipe: That it changes.
        steps: Updates.
        data: Values that it changes.
        without: Tasks that it leaves out.
    """

    recipe: str
    steps: int
    data: dict[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()


GROUPS: dict[str, dict[str, Run]] = {
    "bridges": {"with bridges": Run("pretrain", 300), "without bridges": Run("pretrain", 300, without=BRIDGES)},
    "tasks": {
        "all tasks": Run("instruct", 240),
        "text-to-motion alone": Run("instruct", 240, {"tasks": {"text-to-motion": 1.0}}),
        "motion-to-text alone": Run("instruct", 240, {"tasks": {"motion-to-text": 1.0}}),
    },
    "joint": {
        kind: Run("joint", 60, {"joint": kind, **({"search_every": 30} if kind in ("search", "both") else {})})
        for kind in ("none", "soft", "search", "both")
    },
}
TASKS = {
    "bridges": ("text-to-motion", "motion-to-text", "music-to-dance"),
    "tasks": ("text-to-motion", "motion-to-text"),
    "joint": ("text-to-motion", "motion-to-text", "prediction", "music-to-dance"),
}
"""What is measured of a group's runs."""
COLUMNS = (
    ("motion L1", "log", "val/motion_l1"),
    ("text to motion: accuracy", "log", "val/text-to-motion/accuracy"),
    ("motion to text: accuracy", "log", "val/motion-to-text/accuracy"),
    ("music to dance: accuracy", "log", "val/music-to-dance/accuracy"),
    ("Top 1", "text-to-motion", "R-precision top 1"),
    ("FID", "text-to-motion", "FID"),
    ("CIDEr", "motion-to-text", "CIDEr"),
    ("prediction ADE m", "prediction", "ADE m"),
    ("FIDk", "music-to-dance", "FIDk"),
)


def trained(group: str, name: str, store: Path) -> Path:
    """The engine of a run, trained if it is not yet."""
    run = GROUPS[group][name]
    folder = WORK / f"ablation-{group}-{name.replace(' ', '-')}"
    source, stage = ("m3gpt-joint", None) if run.recipe == "joint" else ("m3gpt-language", run.recipe)
    base = load_recipe(source, stage=stage, steps=run.steps, eval_every=run.steps)
    before = {"instruct": LANGUAGE / "1-pretrain" / "model", "joint": LANGUAGE / "model"}.get(run.recipe)
    base = base if before is None else follow(base, before)
    folders = {"motion": str(WORK / "motion" / "model"), "music": str(WORK / "music" / "model")}
    data = {**base.data, **folders, **run.data}
    if run.without:
        data["tasks"] = {task: weight for task, weight in ALL_TASKS.items() if task not in run.without}
    if not (folder / "model").is_dir():
        train(replace(base, name=folder.name, data=data), store, folder, accelerator="cpu")
    engine = folder / "engine"
    shutil.rmtree(engine, ignore_errors=True)
    motion = folder / "motion"
    for part, source in (
        ("language", folder / "model"),
        ("motion", motion if motion.is_dir() else WORK / "motion" / "model"),
        ("music", WORK / "music" / "model"),
    ):
        shutil.copytree(source, engine / part)
    return folder


def measure(folder: Path, group: str, scorer: TextMotionScorer, store: Store, clips: int) -> dict[str, Any]:
    """Figures of one run."""
    served = TASKS[group]
    if group == "tasks" and "alone" in folder.name:
        served = tuple(task for task in served if task in folder.name)
    options = LanguageOptions(clips=clips, only=served, examples=0)
    subject = Subject(M3GPT(folder / "engine"), store, scorer)
    found = evaluate(LanguageProtocol, subject, options=options, out=folder / "figures.json")
    rows = {task: table["rows"] for task, table in found["tasks"].items()}
    log = {key: value for key, value in last_values(folder / "log.csv").items()}
    return {"log": log, "options": {**asdict(options), "bert": None}, "rows": rows}


def table(results: dict[str, dict[str, Any]]) -> list[str]:
    """A group's table."""
    found = {name: [_value(result, where, key) for _, where, key in COLUMNS] for name, result in results.items()}
    used = [place for place in range(len(COLUMNS)) if any(row[place] is not None for row in found.values())]
    lines = [f"| run | updates | {' | '.join(COLUMNS[place][0] for place in used)} |", "|---|---|" + "---|" * len(used)]
    for name, row in found.items():
        cells = ["–" if row[place] is None else f"{row[place]:.3f}" for place in used]
        lines.append(f"| {name} | {int(results[name]['log']['steps'])} | {' | '.join(cells)} |")
    return lines


def _value(result: dict[str, Any], where: str, key: str) -> float | None:
    if where == "log":
        # A run without a task whose answer is motion logs an error of 0.
        return result["log"].get(key) or None
    return result["rows"].get(where, {}).get("engine", {}).get(key)


def main() -> None:
    """Train, measure, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--out", type=Path, default=Path("results/m3gpt-ablation.json"))
    options = parser.parse_args()

    store, scorer = Store(options.store), TextMotionScorer()
    groups = json.loads(options.out.read_text())["groups"] if options.out.is_file() else {}
    for group in options.only:
        found = {}
        for name in GROUPS[group]:
            found[name] = measure(trained(group, name, options.store), group, scorer, store, options.clips)
            print("\n".join(table(found)), flush=True)
        groups[group] = {"runs": found, "table": table(found)}
        with atomic_path(options.out) as temporary:
            temporary.write_text(json.dumps({"store": store.digest, "groups": groups}, indent=1) + "\n")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()

"""Make the table of captions that unknown sentences are told by, and measure it.

    python runs/novelty.py build --store STORE [--table motionloom/starter/mmm/novelty] [--out results/novelty.json]
    python runs/novelty.py restrict --store STORE --sources bandai cmu --to motionloom/starter/novelty
    python runs/novelty.py measure [--table motionloom/starter/mmm/novelty]

Whole families of actions are left out of the table in turn: their captions should be found unknown, captions of
families that stay (not those in the table) known. Freely worded sentences of known actions (metrics/prompts.toml and
action_prompts.toml) set the threshold by one half, at 5 % false alarms, and are counted by the other; so are thirty
actions that nobody learned (metrics/unknown_actions.toml), half of which help to choose what new words weigh.
A table belongs beside the weights that learned from its captions: in ``starter/mmm/novelty`` for those of all sets, in
``starter/novelty`` for the engines of two. ``restrict`` keeps the captions of some sources, for weights that learned
from these alone; sentences of the other actions are then unknown as well.
"""

import argparse
import hashlib
import json
import re
import tomllib
from collections import defaultdict
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from motionloom.conditions.text import minilm
from motionloom.conditions.wording import content_stems, predicate
from motionloom.data.store import Clip, Store
from motionloom.engines.novelty import NoveltyTable, load_table
from motionloom.motion.files import atomic_path

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
FALSE_ALARMS = 0.05
_SAMPLED, _KEPT, _ASKED = 420, 260, 20
"""Of each family: predicates that are encoded, captions that stand in the table, captions that are asked for."""
_MARGIN = 0.001
"""More than what is lost by writing vectors with eight bits: the sentence at the threshold is known."""
# Labels of one family: leaving one of two actions that look alike out leaves nothing out.
_FAMILIES = (
    (r"wave|bye|raise-up|respond|raises? ", "raise and wave"),
    (r"kick", "kick"), (r"punch|slash|swat|fight|guard|dodge|power", "fight"),
    (r"jump|hop|leap|cheer", "jump"), (r"walk|step|shift|circle|turn|sneak|stumble|march|stroll", "walk"),
    (r"run|dash|jog|sprint", "run"), (r"gesture|point|guide|call|shrug|talk|reject", "gesture"),
    (r"danc|salsa|ballet|breakdance", "dance"), (r"basketball|dribble|throw|catch", "ball"),
    (r"reach|grab|floor|scoop|pick", "reach"), (r"arm|stretch", "arms"), (r"leg-raise|hurdle|elbow|balance", "legs"),
    (r"squat|sit|crouch|lunge|kneel", "squat"), (r"idle|stand|lean|listen|think|nod|hands", "stand"),
    (r"lie|lying|push-ups|crawl", "floor"), (r"cartwheel|flip|handspring|acrobat", "acrobatics"),
    (r"bow|namaste", "bow"),
)  # fmt: skip


def family(clip: Clip) -> str:
    """The family of actions a clip belongs to."""
    label = next(clip.labels[name] for name in ("action", "content", "description") if name in clip.labels).lower()
    return next((name for pattern, name in _FAMILIES if re.search(pattern, label)), label)


def older_prompts() -> list[str]:
    """Sentences of the actions of Bandai-Namco and CMU, most of them freely worded."""
    old = tomllib.loads((resources.files("motionloom.metrics") / "prompts.toml").read_text("utf-8"))
    return [entry["text"] for group in ("grammar", "free", "fresh") for entry in old[group]]


def prompts() -> list[str]:
    """Freely worded sentences of actions that were learned."""
    folder = resources.files("motionloom.metrics")
    old = tomllib.loads((folder / "prompts.toml").read_text("utf-8"))
    new = tomllib.loads((folder / "action_prompts.toml").read_text("utf-8"))["prompts"]
    return [entry["text"] for entry in (*old["free"], *old["fresh"], *new)]


def unknown_actions() -> dict[str, list[str]]:
    """Thirty actions that were not learned, each in three wordings."""
    text = (resources.files("motionloom.metrics") / "unknown_actions.toml").read_text("utf-8")
    return {entry["verb"]: entry["texts"] for entry in tomllib.loads(text)["actions"]}


def encode(texts: list[str]) -> np.ndarray:
    """Unit vectors of the predicates of some sentences."""
    encoder, found = minilm(), []
    asked = [predicate(text) or text for text in texts]
    for start in tqdm(range(0, len(asked), 64), desc="predicates", unit="batch"):
        found.append(encoder.encode(asked[start : start + 64]).sentence.numpy())
    vectors = np.concatenate(found)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def covering(vectors: np.ndarray, most: int) -> np.ndarray:
    """Rows that cover all others: each next one is the farthest from those chosen."""
    chosen = [int((vectors @ vectors.mean(0)).argmax())]
    nearest = vectors @ vectors[chosen[0]]
    while len(chosen) < min(most, len(vectors)):
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    return np.array(chosen)


def build(store: Store) -> tuple[NoveltyTable, dict[str, Any]]:
    """The table of a store's captions, calibrated, and how it was found."""
    rng = np.random.default_rng(0)
    captions: dict[str, set[str]] = defaultdict(set)
    for clip in store.split("train"):
        captions[family(clip)].update((*clip.captions, *clip.mirrored))
    names = sorted(captions)
    stems = {name: {stem for text in captions[name] for stem in content_stems(text)} for name in names}
    texts, owners = [], []
    for name in names:
        # One caption for each predicate: who does it does not matter here.
        by_predicate = {predicate(text): text for text in sorted(captions[name], reverse=True)}
        several = sorted(by_predicate.values())
        for row in rng.permutation(len(several))[:_SAMPLED]:
            texts.append(several[row])
            owners.append(name)
    vectors, owner = encode(texts), np.array(owners)
    kept = np.concatenate(
        [np.flatnonzero(owner == name)[covering(vectors[owner == name], _KEPT)] for name in names]
    )  # fmt: skip
    table = NoveltyTable(
        tuple(texts[row] for row in kept), vectors[kept], frozenset().union(*stems.values()), 0.0, 1.0, minilm().name,
        tuple(sorted({clip.source for clip in store.split("train")})),
    )  # fmt: skip
    others = np.setdiff1d(np.arange(len(texts)), kept)
    asked = np.concatenate(
        [rng.permutation(rows)[:_ASKED] for name in names if len(rows := others[owner[others] == name])]
    )
    free = prompts()
    halves = np.array([hashlib.sha256(text.encode()).digest()[0] % 2 for text in free])
    unknown = unknown_actions()
    # One half of the thirty helps to choose the weight, the other is only counted.
    verbs = np.array([place % 2 for place, texts in enumerate(unknown.values()) for _ in texts])
    sets = {"free": (free, encode(free)), "unknown": ([t for texts in unknown.values() for t in texts], None)}
    sets["unknown"] = sets["unknown"][0], encode(sets["unknown"][0])
    best: tuple[tuple[float, float], NoveltyTable, dict[str, Any]] | None = None
    for weight in WEIGHTS:
        trial = replace(table, weight=weight)
        inside = np.array([trial.judge(texts[row], vectors[row]).distance for row in asked])
        outside = []
        for name in names:
            without = np.array([owners_ != name for owners_ in owner[kept]])
            left = replace(
                trial,
                captions=tuple(caption for caption, stays in zip(trial.captions, without, strict=True) if stays),
                vectors=trial.vectors[without],
                stems=frozenset().union(*(stems[other] for other in names if other != name)),
            )
            outside += [left.judge(texts[row], vectors[row]).distance for row in asked[owner[asked] == name]]
        known = np.array([trial.judge(*pair).distance for pair in zip(*sets["free"], strict=True)])
        threshold = float(np.quantile(known[halves == 0], 1 - FALSE_ALARMS, method="higher")) + _MARGIN
        far = np.array([trial.judge(*pair).distance for pair in zip(*sets["unknown"], strict=True)])
        figures = {
            "weight": weight,
            "threshold": threshold,
            "families left out in turn": {
                "families": len(names),
                "roc_auc": area(inside, np.array(outside)),
                "found unknown": float((np.array(outside) > threshold).mean()),
                "captions that stay, found unknown": float((inside > threshold).mean()),
                "roc": curve(inside, np.array(outside)),
            },
            "free sentences of known actions": {
                "sentences": len(known),
                "found unknown, half that set the threshold": float((known[halves == 0] > threshold).mean()),
                "found unknown, other half": float((known[halves == 1] > threshold).mean()),
            },
            "thirty unknown actions": {
                "sentences": len(far),
                "found unknown": float((far > threshold).mean()),
                "found unknown, half that helped to choose the weight": float((far[verbs == 0] > threshold).mean()),
                "found unknown, other half": float((far[verbs == 1] > threshold).mean()),
                "roc_auc against the free sentences": area(known, far),
            },
        }
        score = float((far[verbs == 0] > threshold).mean()), area(known[halves == 0], far[verbs == 0])
        print(f"weight {weight}: threshold {threshold:.3f}, {score}, {figures['thirty unknown actions']}")
        if best is None or score > best[0]:
            best = score, replace(trial, threshold=threshold), figures
    assert best is not None
    return best[1], best[2] | {"captions in the table": len(table.captions), "store": store.digest}


def restrict(store: Store, base: NoveltyTable, sources: list[str]) -> tuple[NoveltyTable, dict[str, Any]]:
    """The captions of a table that clips of some sources have, with a threshold of their own."""
    said = {
        text
        for clip in store.split("train")
        if clip.source in sources
        for text in (*clip.captions, *clip.mirrored)
    }  # fmt: skip
    rows = [row for row, caption in enumerate(base.captions) if caption in said]
    table = replace(
        base,
        captions=tuple(base.captions[row] for row in rows),
        vectors=base.vectors[rows],
        stems=frozenset(stem for text in said for stem in content_stems(text)),
        sources=tuple(sorted(sources)),
    )
    free, far = older_prompts(), [text for texts in unknown_actions().values() for text in texts]
    others = [text for text in prompts() if text not in set(free)]
    distances = [
        np.array([table.judge(*pair).distance for pair in zip(texts, encode(texts), strict=True)])
        for texts in (free, far, others)
    ]
    halves = np.array([hashlib.sha256(text.encode()).digest()[0] % 2 for text in free])
    threshold = float(np.quantile(distances[0][halves == 0], 1 - FALSE_ALARMS, method="higher")) + _MARGIN
    names = ("sentences of known actions", "thirty unknown actions", "sentences of actions of the other sources")
    figures = {name: float((found > threshold).mean()) for name, found in zip(names, distances, strict=True)}
    figures["sentences of known actions, other half"] = float((distances[0][halves == 1] > threshold).mean())
    facts = {"threshold": threshold, "found unknown": figures, "captions in the table": len(rows)}
    return replace(table, threshold=threshold), facts


def area(known: np.ndarray, unknown: np.ndarray) -> float:
    """Area under the ROC curve: how often an unknown sentence is farther than a known one."""
    return float((unknown[:, None] > known).mean() + 0.5 * (unknown[:, None] == known).mean())


def curve(known: np.ndarray, unknown: np.ndarray) -> list[list[float]]:
    """(false alarms, found) at eleven thresholds."""
    return [
        [round(rate, 3), round(float((unknown > np.quantile(known, 1 - rate)).mean()), 3)]
        for rate in (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
    ]


def measure(table: NoveltyTable) -> dict[str, Any]:
    """What a table says of the free sentences and of the thirty actions, by sentence."""
    grammar = tomllib.loads((resources.files("motionloom.metrics") / "prompts.toml").read_text("utf-8"))["grammar"]
    known = table([*prompts(), *(entry["text"] for entry in grammar)])
    unknown = {verb: table(texts) for verb, texts in unknown_actions().items()}
    rows = {
        verb: {found.text: [round(found.distance, 3), found.unknown, found.nearest] for found in several}
        for verb, several in unknown.items()
    }
    caught = [found.unknown for several in unknown.values() for found in several]
    return {
        "false alarms": sum(found.unknown for found in known), "of": len(known),
        "caught": sum(caught), "of_unknown": len(caught),
        "actions caught in two of three wordings": sum(
            sum(found.unknown for found in several) >= 2 for several in unknown.values()
        ),
        "false": [[found.text, round(found.distance, 3), found.nearest] for found in known if found.unknown],
        "unknown": rows,
    }  # fmt: skip


def main() -> None:
    """Build or measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("build", "restrict", "measure"))
    parser.add_argument("--store", type=Path)
    parser.add_argument("--sources", nargs="+", default=[])
    parser.add_argument("--table", type=Path, default=Path("motionloom/starter/mmm/novelty"))
    parser.add_argument("--to", type=Path, help="folder of a restricted table")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    with torch.inference_mode():
        if options.what == "build":
            if options.store is None:
                parser.error("build needs --store")
            table, results = build(Store(options.store))
            table.save(options.table)
        elif options.what == "restrict":
            if not (options.store and options.sources and options.to):
                parser.error("restrict needs --store, --sources and --to")
            table, results = restrict(Store(options.store), load_table(options.table), options.sources)
            table.save(options.to)
        if options.what != "restrict":
            results |= measure(load_table(options.table))
    shown = {key: value for key, value in results.items() if key != "unknown"}
    print(json.dumps(shown, indent=1))
    if options.out:
        with atomic_path(options.out) as temporary:
            temporary.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

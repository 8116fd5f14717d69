"""How often an engine does what a sentence says, by rules on the joints, against the same rules on real clips.

The sentences are in ``metrics/prompts.toml``: those the training captions contain, others worded freely, and some with
words that no training caption has.
"""

import tomllib
from collections import defaultdict
from dataclasses import dataclass
from importlib import resources
from statistics import fmean
from typing import Any

from tqdm import tqdm

from motionloom.data.captions import OTHER_SIDE
from motionloom.data.store import Clip, Store
from motionloom.engines.base import Engine
from motionloom.engines.request import Request, Segment
from motionloom.errors import RequestError
from motionloom.metrics.semantics import Measurements, action_of, judge_measured, measure
from motionloom.motion.edit import mirror
from motionloom.motion.motion import Motion

_BATCH = 36


@dataclass(frozen=True)
class Prompt:
    """A sentence and the rules it is judged by."""

    text: str
    content: str
    side: str
    style: str
    seconds: float


def prompts(group: str) -> list[Prompt]:
    """Sentences of the group "grammar", "free" or "fresh"."""
    text = (resources.files("motionloom.metrics") / "prompts.toml").read_text(encoding="utf-8")
    return [Prompt(**entry) for entry in tomllib.loads(text)[group]]


def quantities(motion: Motion, prompt: Prompt) -> tuple[Measurements, dict[str, float]]:
    """Measurements of a motion, and those that matter for its action, by name."""
    facts = measure(motion.positions, motion.fps)
    return facts, _named(facts, prompt.content, prompt.side)


def _named(facts: Measurements, content: str, side: str) -> dict[str, float]:
    found: dict[str, float] = {}
    hand = facts.right if side == "right" else facts.left
    if content == "walk-turn":
        found["turn angle deg"] = abs(facts.turn)
    if content == "wave":
        found["wave wrist speed m/s"] = hand.speed
    if content == "bow":
        found["bow head drop m"] = facts.bow_drop
    if content in ("walk", "walk-turn"):
        found["walking speed m/s"] = facts.speed
        found["foot slide, toes below 6 cm, m/s"] = facts.foot_slide
        found["foot slide, standing foot, m/s"] = facts.planted_slide
    if content == "run":
        found["running speed m/s"] = facts.speed
    if content == "raise":
        found["raised wrist above shoulder m"] = hand.peak
        found["wrist at start below shoulder m"] = -hand.start
        found["wrist at end below shoulder m"] = -hand.end
    return found


def judge_engine(
    engine: Engine, group: str, seeds: list[int], lengths: str = "given", **options: Any
) -> dict[str, Any]:
    """Make every sentence of a group with every seed and judge the results.

    Args:
        engine: The engine.
        group: "grammar", "free" or "fresh".
        seeds: Seeds of each sentence.
        lengths: "given" for the seconds listed with each sentence, "predicted" for the engine's own choice.
        **options: Of the request: steps, guidance, best_of, and those of the engine.

    Returns:
        Counts by sentence and in all, rules that failed, and means of the named quantities.
    """
    how = {name: options.pop(name) for name in ("steps", "guidance", "best_of") if name in options}
    items = [(prompt, seed) for prompt in prompts(group) for seed in seeds]
    passed: dict[str, list[bool]] = defaultdict(list)
    styled: dict[str, list[bool]] = defaultdict(list)
    failed: dict[str, list[str]] = defaultdict(list)
    named: dict[str, list[float]] = defaultdict(list)
    for start in tqdm(range(0, len(items), _BATCH), desc=group, unit="batch"):
        part = items[start : start + _BATCH]
        requests = [
            Request(
                (Segment(prompt.text, prompt.seconds if lengths == "given" else None),),
                seed=seed,
                options=options,
                **how,
            )
            for prompt, seed in part
        ]
        for (prompt, seed), (motion,) in zip(part, engine.serve(requests), strict=True):
            facts, found = quantities(motion, prompt)
            verdict = judge_measured(facts, prompt.content, prompt.side, prompt.style)
            passed[prompt.text].append(verdict.passed)
            if verdict.style_rules:
                styled[prompt.text].append(verdict.style_passed)
            if not verdict.passed:
                failed[prompt.text].append(f"seed {seed}: {', '.join(verdict.failed)}")
            for name, value in found.items():
                named[name].append(value)
    total = sum(len(results) for results in passed.values())
    return {
        "group": group,
        "lengths": lengths,
        "seeds": seeds,
        "passed": sum(sum(results) for results in passed.values()),
        "of": total,
        "style_passed": sum(sum(results) for results in styled.values()),
        "style_of": sum(len(results) for results in styled.values()),
        "by_sentence": {text: f"{sum(results)}/{len(results)}" for text, results in passed.items()},
        "failed": dict(failed),
        "means": {name: fmean(values) for name, values in sorted(named.items())},
    }


def judge_store(store: Store, split: str = "test", fps: float = 20.0) -> dict[str, Any]:
    """The same rules and quantities on real clips of the judged actions."""
    passed, named = [], defaultdict(list)
    for clip in store.split(split):
        try:
            content, side = action_of(clip.labels.get("content", ""))
        except RequestError:
            continue
        motion = store.motion(clip).at_fps(fps)
        facts = measure(motion.positions, motion.fps)
        passed.append(judge_measured(facts, content, side, clip.labels["style"]).passed)
        for name, value in _named(facts, content, side).items():
            named[name].append(value)
    return {
        "split": split,
        "passed": sum(passed),
        "of": len(passed),
        "means": {name: fmean(values) for name, values in sorted(named.items())},
    }


def real_quantities(store: Store, group: str, fps: float = 20.0, most: int = 30) -> dict[str, Any]:
    """The named quantities of real clips with the very labels of a group's sentences: action, side and style.

    A mean over all clips would compare an energetic wave that was asked for with the calm ones that most clips hold.
    Each sentence counts alike, as in ``judge_engine``; a clip of the other side is mirrored.

    Args:
        store: Its clips of all splits: some labels have one clip only.
        group: "grammar", "free" or "fresh".
        fps: Frame rate they are measured at.
        most: Clips of each sentence.
    """
    by_label: dict[tuple[str, str, str], list[Clip]] = defaultdict(list)
    for clip in store.clips:
        try:
            content, side = action_of(clip.labels.get("content", ""))
        except RequestError:
            continue
        by_label[content, side, clip.labels["style"]].append(clip)
    named: dict[str, list[float]] = defaultdict(list)
    count = 0
    for prompt in prompts(group):
        found: dict[str, list[float]] = defaultdict(list)
        for side in dict.fromkeys((prompt.side, OTHER_SIDE.get(prompt.side, prompt.side))):
            for clip in by_label[prompt.content, side, prompt.style][:most]:
                motion = store.motion(clip).at_fps(fps)
                shown = motion if side == prompt.side else mirror(motion)
                for name, value in quantities(shown, prompt)[1].items():
                    found[name].append(value)
                count += 1
        for name, values in found.items():
            named[name].append(fmean(values))
    return {"group": group, "clips": count, "means": {name: fmean(values) for name, values in sorted(named.items())}}

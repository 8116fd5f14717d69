"""How often an engine does what a sentence says, by rules on the joints, against the same rules on real clips.

The sentences are in ``metrics/prompts.toml``: those the training captions contain, others worded freely, and some with
words that no training caption has.
"""

import tomllib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from statistics import fmean
from typing import Any

from motionloom.data.captions import OTHER_SIDE
from motionloom.data.store import Clip, Store
from motionloom.engines.base import Engine
from motionloom.engines.request import Request, Segment
from motionloom.errors import RequestError
from motionloom.evaluation.harness import Protocol, Subject, Table, check_only, columns_of, lacking
from motionloom.metrics.action_rules import judge_action
from motionloom.metrics.body_facts import body_facts
from motionloom.metrics.semantics import Measurements, action_of, judge_measured, measure
from motionloom.motion.edit import mirror
from motionloom.motion.motion import Motion
from motionloom.progress import SILENT, Progress
from motionloom.schema import check, ranged

GROUPS = ("grammar", "free", "fresh")
"""Sentences that training captions contain, others worded freely, and some with words of no training caption."""
ACTIONS = "actions"
"""A group of 78 sentences on jumps, kicks, squats and other actions of the whole body, with rules of their own."""
LENGTHS = ("given", "predicted")
_BATCH = 36


@dataclass(frozen=True)
class RulesOptions:
    """What is judged."""

    only: tuple[str, ...] = ranged(GROUPS, help="Groups of sentences; actions too where it is named.")
    lengths: tuple[str, ...] = ranged(
        LENGTHS, help="The seconds given with each sentence, or those that the engine predicts."
    )
    seeds: int = ranged(12, low=1, high=10_000, help="Motions of each sentence.")
    seed: int = ranged(0, low=0, high=2**32 - 1, help="The first seed.")
    steps: int | None = ranged(None, low=1, help="InferenceCache through the network; the engine's own when left out.")
    guidance: float | None = ranged(None, low=0, help="How strongly the text is followed; the engine's own.")
    best_of: int = ranged(1, low=1, help="Candidates a motion, of which the one that fits the text best is judged.")
    options: Mapping[str, Any] = field(default_factory=dict)
    """Other options of the engine."""

    def __post_init__(self) -> None:
        check(self, RequestError)
        check_only(self.only, (*GROUPS, ACTIONS), "groups")
        check_only(self.lengths, LENGTHS, "lengths")

    @property
    def how(self) -> dict[str, Any]:
        """What is asked of the engine."""
        asked = {"steps": self.steps, "guidance": self.guidance, "best_of": self.best_of, **self.options}
        return {name: value for name, value in asked.items() if value is not None}


class RulesProtocol(Protocol):
    """Sentences whose motions rules on the joints judge, and real clips by the same rules where there is a store."""

    task = "rules"
    Options = RulesOptions
    stored = False

    def __init__(self, subject: Subject, options: RulesOptions) -> None:
        if missing := lacking(subject.engine, ["text"]):
            raise RequestError(f"{missing}; rules judge motions made for sentences")
        if subject.beside:
            raise RequestError("task 'rules' measures one engine at a time: leave --beside out")
        self.engine, self.store, self.options = subject.engine, subject.store, options
        self.engine.options(_request("a person walks", None, 0, options.how))

    def units(self) -> list[str]:
        """Groups with each kind of length, and groups of real clips."""
        made = [f"{group}, {lengths} lengths" for group in self.options.only for lengths in self.options.lengths]
        real = [
            "real test",
            "real train",
            *(f"real labels of {group}" for group in self.options.only if group != ACTIONS),
        ]
        return made + (real if self.store is not None else [])

    def measure(self, unit: str, progress: Progress) -> dict[str, Any]:
        """One group."""
        if self.store is not None and unit.startswith("real "):
            kind = unit.removeprefix("real ")
            if kind.startswith("labels of "):
                return real_quantities(self.store, kind.removeprefix("labels of "))
            return judge_store(self.store, kind)
        group, lengths = unit.removesuffix(" lengths").split(", ")
        seeds = list(range(self.options.seed, self.options.seed + self.options.seeds))
        return judge_engine(self.engine, group, seeds, lengths, progress=progress, **self.options.how)

    def collect(self, found: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """What was made, by group and lengths, and what is real."""
        real = {unit.removeprefix("real "): value for unit, value in found.items() if unit.startswith("real ")}
        made = {unit: value for unit, value in found.items() if not unit.startswith("real ")}
        return {**made, "real": real or None}

    @classmethod
    def tables(cls, result: Mapping[str, Any]) -> list[Table]:
        """How often sentences are met, which are not, and quantities beside those of real clips."""
        judged = {
            name: value for name, value in result.items() if isinstance(value, Mapping) and "by_sentence" in value
        }
        counts = {
            name: {"passed": _share(value, "passed", "of"), "style": _share(value, "style_passed", "style_of")}
            for name, value in judged.items()
        }
        misses = [
            f"* {name}: {value['by_sentence'][text]} {text}: {failures[0]}"
            for name, value in judged.items()
            for text, failures in sorted(value["failed"].items(), key=lambda entry: -len(entry[1]))[:6]
        ]
        counts |= {
            f"{name}: {group}": {"passed": _share({"passed": passed, "of": of}, "passed", "of")}
            for name, value in judged.items()
            for group, (passed, of) in value.get("by_group", {}).items()
        }
        means = {name: value["means"] for name, value in judged.items()}
        means |= {f"real, {name}": value["means"] for name, value in (result.get("real") or {}).items()}
        return [
            Table("Sentences", ("passed", "style"), counts, after=tuple(misses)),
            Table("Quantities", columns_of(means), means),
        ]


def _share(value: Mapping[str, Any], passed: str, of: str) -> str:
    return f"{value[passed]} of {value[of]} ({100 * value[passed] / max(1, value[of]):.0f} %)"


@dataclass(frozen=True)
class Prompt:
    """A sentence and the rules it is judged by."""

    text: str
    content: str
    side: str
    style: str
    seconds: float
    group: str = ""


def prompts(group: str) -> list[Prompt]:
    """Sentences of the group "grammar", "free", "fresh" or "actions"."""
    name = "action_prompts.toml" if group == ACTIONS else "prompts.toml"
    table = tomllib.loads((resources.files("motionloom.metrics") / name).read_text(encoding="utf-8"))
    if group == ACTIONS:
        return [
            Prompt(entry["text"], entry["action"], entry["side"], "", entry["seconds"], entry["group"])
            for entry in table["prompts"]
        ]
    return [Prompt(**entry) for entry in table[group]]


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
    engine: Engine, group: str, seeds: list[int], lengths: str = "given", *, progress: Progress = SILENT, **options: Any
) -> dict[str, Any]:
    """Make every sentence of a group with every seed and judge the results.

    Args:
        engine: The engine.
        group: "grammar", "free", "fresh" or "actions".
        seeds: Seeds of each sentence.
        lengths: "given" for the seconds listed with each sentence, "predicted" for the engine's own choice.
        progress: Told about every step of the engine.
        **options: Of the request: steps, guidance, best_of, and those of the engine.

    Returns:
        Counts by sentence and in all, rules that failed, and means of the named quantities.
    """
    items = [(prompt, seed) for prompt in prompts(group) for seed in seeds]
    passed: dict[str, list[bool]] = defaultdict(list)
    styled: dict[str, list[bool]] = defaultdict(list)
    failed: dict[str, list[str]] = defaultdict(list)
    named: dict[str, list[float]] = defaultdict(list)
    grouped: dict[str, list[bool]] = defaultdict(list)
    for start in range(0, len(items), _BATCH):
        part = items[start : start + _BATCH]
        requests = [
            _request(prompt.text, prompt.seconds if lengths == "given" else None, seed, options)
            for prompt, seed in part
        ]
        for (prompt, seed), (motion,) in zip(part, engine.serve(requests, progress), strict=True):
            missed, style, found = _judged(motion, prompt, group)
            passed[prompt.text].append(not missed)
            if prompt.group:
                grouped[prompt.group].append(not missed)
            if style is not None:
                styled[prompt.text].append(style)
            if missed:
                failed[prompt.text].append(f"seed {seed}: {', '.join(missed)}")
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
        **({"by_group": {name: [sum(results), len(results)] for name, results in grouped.items()}} if grouped else {}),
        "failed": dict(failed),
        "means": {name: fmean(values) for name, values in sorted(named.items())},
    }


def _judged(motion: Motion, prompt: Prompt, group: str) -> tuple[list[str], bool | None, dict[str, float]]:
    """Rules that a motion fails, whether it has the style (``None`` where none is asked for), and named quantities."""
    if group == ACTIONS:
        rules = judge_action(body_facts(motion.positions, motion.fps), prompt.content, prompt.side)
        return [f"{name} {rule.value:.2f}" for name, rule in rules.items() if not rule.passed], None, {}
    facts, found = quantities(motion, prompt)
    verdict = judge_measured(facts, prompt.content, prompt.side, prompt.style)
    # A style that is missed is counted by itself: it does not make the sentence a miss.
    missed = [] if verdict.passed else list(verdict.failed)
    return missed, verdict.style_passed if verdict.style_rules else None, found


def _request(text: str, seconds: float | None, seed: int, options: Mapping[str, Any]) -> Request:
    """What is asked for, with the options of a request apart from those of the engine."""
    how = {name: options[name] for name in ("steps", "guidance", "best_of") if name in options}
    rest = {name: value for name, value in options.items() if name not in how}
    return Request((Segment(text, seconds),), seed=seed, options=rest, **how)


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

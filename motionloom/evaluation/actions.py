"""How many actions an engine knows: sentences in wordings no caption has, judged by rules on the joints, by group."""

import tomllib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from motionloom.engines.base import Engine
from motionloom.engines.request import Request, Segment
from motionloom.metrics.action_rules import judge_action
from motionloom.metrics.body_facts import body_facts

_BATCH = 36


@dataclass(frozen=True)
class ActionPrompt:
    """A sentence and the rules it is judged by.

    Attributes:
        group: Group of actions it counts for.
        text: The sentence.
        action: Its action in ``metrics/action_rules.py``.
        side: "left", "right" or "".
        seconds: How long its motion is to be [s].
    """

    group: str
    text: str
    action: str
    side: str
    seconds: float


def action_prompts() -> list[ActionPrompt]:
    """The sentences of ``metrics/action_prompts.toml``."""
    text = (resources.files("motionloom.metrics") / "action_prompts.toml").read_text(encoding="utf-8")
    return [ActionPrompt(**entry) for entry in tomllib.loads(text)["prompts"]]


def judge_actions(
    engine: Engine, seeds: Sequence[int], lengths: str = "given", groups: Sequence[str] = (), **options: Any
) -> dict[str, Any]:
    """Make every sentence with every seed and judge the results.

    Args:
        engine: The engine.
        seeds: Seeds of each sentence.
        lengths: "given" for the seconds listed with each sentence, "predicted" for the engine's own choice.
        groups: Only these groups; all when left out.
        **options: Of the request: steps, guidance, best_of, and those of the engine.

    Returns:
        Counts in all, by group and by sentence, and which rules failed.
    """
    how = {name: options.pop(name) for name in ("steps", "guidance", "best_of") if name in options}
    asked = [prompt for prompt in action_prompts() if not groups or prompt.group in groups]
    items = [(prompt, seed) for prompt in asked for seed in seeds]
    passed: dict[str, list[bool]] = defaultdict(list)
    by_group: dict[str, list[bool]] = defaultdict(list)
    failed: dict[str, list[str]] = defaultdict(list)
    for start in range(0, len(items), _BATCH):
        part = items[start : start + _BATCH]
        requests = [
            Request(
                (Segment(prompt.text, prompt.seconds if lengths == "given" else None),),
                seed=seed, options=dict(options), **how,
            )
            for prompt, seed in part
        ]  # fmt: skip
        for (prompt, seed), (motion,) in zip(part, engine.serve(requests), strict=True):
            rules = judge_action(body_facts(motion.positions, motion.fps), prompt.action, prompt.side)
            wrong = [f"{name} {rule.value:.2f}" for name, rule in rules.items() if not rule.passed]
            passed[prompt.text].append(not wrong)
            by_group[prompt.group].append(not wrong)
            if wrong:
                failed[prompt.text].append(f"seed {seed}: {', '.join(wrong)}")
    return {
        "lengths": lengths,
        "seeds": list(seeds),
        "passed": sum(map(sum, passed.values())),
        "of": sum(map(len, passed.values())),
        "by_group": {group: f"{sum(results)}/{len(results)}" for group, results in by_group.items()},
        "by_sentence": {text: f"{sum(results)}/{len(results)}" for text, results in passed.items()},
        "failed": dict(failed),
    }

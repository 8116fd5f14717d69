"""Hold the judge (motionloom/metrics/semantics.py) against real clips and print what it makes of them.

    python runs/check_judge.py STORE [--split test] [--fps 20]

Prints Markdown tables: how many clips pass the rules of their own label (they should), of another side or
action (they should not), of their own style and of a style they do not have, and the mean measurements.
Results on all 3,065 judged clips of Bandai-Namco 1 and 2 at 20 fps: 99.0 % pass their own rules.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterable
from statistics import fmean

from motionloom.data.store import SPLITS, Store
from motionloom.errors import RequestError
from motionloom.metrics.semantics import ACTIONS, Measurements, action_of, judge_measured, measure

OTHER = {"left": "right", "right": "left"}
STYLES = (
    "old",
    "elderly",
    "active",
    "youthful",
    "feminine",
    "masculine",
    "exhausted",
    "tired",
    "sad",
    "proud",
)
Clips = dict[str, list[tuple[str, Measurements]]]


def main() -> None:
    """Read the store, measure every clip that has rules and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", help="folder that `motionloom data prepare` wrote")
    parser.add_argument("--split", choices=("all", *SPLITS), default="all")
    parser.add_argument("--fps", type=float, default=20.0)
    options = parser.parse_args()

    store = Store(options.store)
    clips: Clips = defaultdict(list)
    for clip in store.clips if options.split == "all" else store.split(options.split):
        label = clip.labels.get("content", "")
        try:
            action_of(label)
        except RequestError:
            continue
        joints = store.motion(clip).at_fps(options.fps).positions
        clips[label].append((clip.labels["style"], measure(joints, options.fps)))
    own_rules(clips)
    other_rules(clips)
    styles(clips)
    means(clips)


def own_rules(clips: Clips) -> None:
    """Pass rates of the clips on the rules of their own label, with the rules that failed."""
    table("Own rules", ("content", "clips", "passed", "failed rules"))
    passed_of_all, all_of_all = 0, 0
    for label, facts in sorted(clips.items()):
        verdicts = [judge_measured(fact, *action_of(label), style) for style, fact in facts]
        passed = sum(verdict.passed for verdict in verdicts)
        failed = Counter(name for v in verdicts for name, rule in v.rules.items() if not rule.passed)
        row(
            label,
            len(facts),
            share(passed, len(facts)),
            ", ".join(f"{n} {k}" for k, n in failed.most_common()),
        )
        passed_of_all, all_of_all = passed_of_all + passed, all_of_all + len(facts)
    row("all", all_of_all, share(passed_of_all, all_of_all), "")


def other_rules(clips: Clips) -> None:
    """Pass rates on the other side's rules, and on those of every other action that lets any clip through."""
    table("Rules of the other side and of other actions", ("content", "other side", "other actions that pass"))
    for label, facts in sorted(clips.items()):
        action, side = action_of(label)
        swapped = share(count(facts, action, OTHER[side]), len(facts)) if side in OTHER else ""
        through: list[str] = []
        for other, sides in ACTIONS.items():
            wanted = side if side in sides else next(iter(sides), "")
            passed = count(facts, other, wanted) if other != action else 0
            if passed:
                through.append(f"{other} {wanted} {share(passed, len(facts))}".replace("  ", " "))
        row(label, swapped, ", ".join(through))


def styles(clips: Clips) -> None:
    """Pass rates of the style rules: clips of the style, and clips of the normal style asked for it."""
    table("Style rules", ("style", "content", "clips", "own pass", "normal clips that pass"))
    for style in STYLES:
        for label, facts in sorted(clips.items()):
            verdicts = [
                (name, judge_measured(fact, *action_of(label), style))
                for name, fact in facts
                if name in (style, "normal")
            ]
            own = [verdict.style_passed for name, verdict in verdicts if name == style]
            plain = [verdict.style_passed for name, verdict in verdicts if name == "normal"]
            if own and verdicts[0][1].style_rules:
                row(style, label, len(own), share(sum(own), len(own)), share(sum(plain), len(plain)))


def means(clips: Clips) -> None:
    """Mean measurements by content."""
    names = (
        "seconds",
        "speed",
        "forward",
        "leftward",
        "turn",
        "lean",
        "bow_drop",
        "foot_slide",
        "planted_slide",
    )
    hands = ("start", "end", "peak", "speed", "swings")
    table("Means", ("content", *names, *(f"hand {name}" for name in hands)))
    for label, facts in sorted(clips.items()):
        side = "right" if action_of(label)[1] == "right" else "left"
        values = [fmean(getattr(fact, name) for _, fact in facts) for name in names]
        values += [fmean(getattr(getattr(fact, side), name) for _, fact in facts) for name in hands]
        row(label, *(f"{value:.2f}" for value in values))


def count(facts: Iterable[tuple[str, Measurements]], action: str, side: str) -> int:
    """How many clips pass the rules of an action and side."""
    return sum(judge_measured(fact, action, side, style).passed for style, fact in facts)


def share(part: int, whole: int) -> str:
    """Format a count of a total."""
    return f"{part}/{whole} ({part / whole:.1%})" if whole else "-"


def table(title: str, heads: Iterable[str]) -> None:
    """Begin a Markdown table."""
    heads = list(heads)
    print(f"\n## {title}\n")
    row(*heads)
    row(*("---" for _ in heads))


def row(*cells: object) -> None:
    """Print one row of it."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


if __name__ == "__main__":
    main()

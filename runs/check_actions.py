"""Hold the rules for actions (motionloom/metrics/action_rules.py) against captured clips of each action and of others.

    python runs/check_actions.py STORE [--out results/actions-rules.json]

Prints, for each action and side, how many clips whose sentence says so pass its rules, and how many of all other clips
do (a kick raises a leg, a jump that reaches is a jump: not all of these are mistakes).
"""

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from motionloom.data.captions import action_of as action_of_sentence
from motionloom.data.store import Clip, Store
from motionloom.errors import DataError, MotionError
from motionloom.metrics.action_rules import ACTIONS, judge_action
from motionloom.metrics.body_facts import body_facts
from motionloom.motion.files import atomic_path

# What a clip's sentence says -> the action and side it is judged by; the first pattern that is found counts.
_SAID = (
    (r"stands idle|with one hand on the hip", "idle", ""),
    (r"stands in a (fighting|boxing) stance", "guard", ""),
    (r"jumps straight up", "jump", ""),
    (r"jumps straight ahead", "jump-forward", ""),
    (r"jumps about \d+ degrees to the (left|right)", "jump-side", "1"),
    (r"jumps and turns", "jump-turn", ""),
    (r"jumps to reach", "jump-reach", ""),
    (r"jumping jacks", "jumping-jacks", ""),
    (r"hops forward", "hop", ""),
    (r"stance kicks forward", "kick", "right"),
    (r"kicks forward once with the (left|right) leg", "kick", "1"),
    (r"kicks to the (left|right) side", "kick-side", "1"),
    (r"kicks backward", "kick-back", ""),
    (r"run-up and kicks a ball", "kick-ball", "right"),
    (r"stance punches", "punch", "right"),
    (r"jabs with the (left|right)", "punch", "1"),
    (r"squat", "squat", ""),
    (r"in-line lunge, the (left|right) foot in front", "lunge", "1"),
    (r"side lunge to the (left|right)", "side-lunge", "1"),
    (r"sits down low", "sit", ""),
    (r"ducks down", "crouch", ""),
    (r"lies down", "lie-down", ""),
    (r"something on the floor with the (left|right) hand", "floor", "1"),
    (r"grabs something high with the (left|right)", "grab-high", "1"),
    (r"right arm in front (at chest height|a little above)", "reach", "right"),
    (r"right arm (?!behind).*down to the floor", "reach-low", "right"),
    (r"right arm about 30 degrees to the right at chest height(?! close)", "reach-out", "right"),
    (r"catches something", "catch", ""),
    (r"throws a", "throw", ""),
    (r"walks forward|starts to walk forward|walks and stops", "walk", ""),
    (r"(jogs|runs) forward", "run", ""),
    (r"sneaks", "sneak", ""),
    (r"(?:sidesteps|step sideways).* to the (left|right)", "sidestep", "1"),
    (r"turns on the spot 90 degrees to the (left|right)", "turn-quarter", "1"),
    (r"turns on the spot 180 degrees to the (left|right)", "turn-half", "1"),
    (r"circle to the (left|right)", "circle", "1"),
    (r"straight (left|right) arm sideways", "arm-side", "1"),
    (r"straight (left|right) arm diagonally", "arm-front", "1"),
    (r"straight (left|right) leg forward", "leg-raise", "1"),
    (r"hurdle with the (left|right) leg", "knee-raise", "1"),
    (r"both arms backward in a full circle", "arm-circles", ""),
    (r"brings the (left|right) elbow", "elbow-knee", "1"),
    (r"scratches the (head|temple)|drinks|at the chin|at the face", "at-face", ""),
    (r"thrusts both palms", "push", ""),
    (r"push-ups|crawls", "on-floor", ""),
)


def said(clip: Clip) -> tuple[str, str] | None:
    """The action and side that a clip is judged by; nothing where there are no rules for what it shows."""
    sentence = clip.labels.get("description", "")
    try:
        action_of_sentence(sentence)
    except DataError:
        return None
    for pattern, action, side in _SAID:
        if found := re.search(pattern, sentence):
            return action, found[1] if side == "1" else side
    return None


def main() -> None:
    """Measure every clip of the sets of single actions, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--fps", type=float, default=20.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    store = Store(options.store)
    measured = []
    for clip in tqdm(store.clips, unit="clip"):
        label = said(clip)
        if "action" not in clip.labels:
            continue
        try:
            measured.append((clip, label, body_facts(store.motion(clip).at_fps(options.fps).positions, options.fps)))
        except MotionError:
            continue
    rows: dict[str, Any] = {}
    labels = sorted({label for _, label, _ in measured if label is not None})
    for action, side in labels:
        own, other = [0, 0], [0, 0]
        failed: dict[str, int] = defaultdict(int)
        for _, label, facts in measured:
            rules = judge_action(facts, action, side)
            passed = all(rule.passed for rule in rules.values())
            tally = own if label == (action, side) else other
            tally[0] += passed
            tally[1] += 1
            if label == (action, side) and not passed:
                for name, rule in rules.items():
                    failed[name] += not rule.passed
        rows[f"{action} {side}".strip()] = {
            "passed": own[0],
            "of": own[1],
            "others_that_pass": other[0],
            "others": other[1],
            "failed_rules": dict(failed),
        }
    print("| action | clips of it that pass | others that pass | failed rules |\n|---|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row['passed']} of {row['of']} | {row['others_that_pass']} of {row['others']} |"
              f" {', '.join(f'{k} {v}' for k, v in row['failed_rules'].items())} |")  # fmt: skip
    total = [sum(int(row[key]) for row in rows.values()) for key in ("passed", "of")]
    print(f"{total[0]} of {total[1]} clips pass the rules of their own sentence ({total[0] / total[1]:.1%});"
          f" {len(set(ACTIONS) - {action for action, _ in labels})} actions have no clip here")  # fmt: skip
    if options.out:
        with atomic_path(options.out) as temporary:
            table = {"store": store.digest, "passed": total[0], "of": total[1], "actions": rows}
            temporary.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()

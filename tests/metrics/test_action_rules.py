"""Rules for actions on bodies that are posed by hand, and the sentences they judge."""

import csv
import math
import re
import tomllib
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from motionloom.data.captions import ACTION_SETS, captions_for, known_labels
from motionloom.errors import MotionError, RequestError
from motionloom.metrics.action_rules import ACTIONS, judge_action
from motionloom.metrics.body_facts import body_facts
from motionloom.motion.skeleton import CANONICAL

PROMPTS = tomllib.loads(files("motionloom.metrics").joinpath("action_prompts.toml").read_text("utf-8"))["prompts"]
SHARED = Path(__file__).parents[2].parent / "shared" / "data"
FPS, FRAMES = 20.0, 40
LEFT = {"hip": 1, "knee": 4, "ankle": 7, "foot": 10, "shoulder": 16, "elbow": 18, "wrist": 20}
RIGHT = {"hip": 2, "knee": 5, "ankle": 8, "foot": 11, "shoulder": 17, "elbow": 19, "wrist": 21}


def stand(frames: int = FRAMES) -> torch.Tensor:
    """A body at rest, arms hanging, facing +Z, its feet on the floor: [T, 22, 3]."""
    body = torch.zeros(22, 3)
    for joint, parent in enumerate(CANONICAL.parents):
        if parent >= 0:
            body[joint] = body[parent] + CANONICAL.offsets[joint]
    for side in (LEFT, RIGHT):
        for upper, lower in (("shoulder", "elbow"), ("elbow", "wrist")):
            length = (CANONICAL.offsets[side[lower]]).norm()
            body[side[lower]] = body[side[upper]] - torch.tensor([0.0, float(length), 0.0])
    body[:, 1] -= body[:, 1].min()
    return body.expand(frames, -1, -1).clone()


def bump(frames: int = FRAMES) -> torch.Tensor:
    """0 at both ends, 1 in the middle: [T]."""
    return torch.sin(math.pi * torch.arange(frames) / (frames - 1)) ** 2


def passes(joints: torch.Tensor, action: str, side: str = "") -> bool:
    return all(rule.passed for rule in judge_action(body_facts(joints, FPS), action, side).values())


def jumped(height: float = 0.35, **to: float) -> torch.Tensor:
    joints, share = stand(), torch.linspace(0, 1, FRAMES)
    joints[..., 1] += height * bump()[:, None]
    joints[..., 2] += to.get("ahead", 0.0) * share[:, None]
    joints[..., 0] += to.get("left", 0.0) * share[:, None]
    return joints


def raised_leg(side: dict[str, int], speed: float = 1.0) -> torch.Tensor:
    """A straight leg swings up to the front; ``speed`` times as fast as in two seconds."""
    joints = stand()
    share = bump()
    if speed > 1:
        share = torch.zeros(FRAMES)
        short = round(FRAMES / speed)
        share[10 : 10 + short] = bump(short)
    hip = joints[:, side["hip"]].clone()
    for name in ("knee", "ankle", "foot"):
        length = hip[:, 1] - joints[:, side[name], 1]
        angle = math.radians(70) * share
        joints[:, side[name], 1] = hip[:, 1] - length * torch.cos(angle)
        joints[:, side[name], 2] += length * torch.sin(angle)
    return joints


def squatted(times: int = 1) -> torch.Tensor:
    joints = stand(FRAMES * times)
    depth = 0.45 * bump().repeat(times)
    upper = [joint for joint in range(22) if joint not in (4, 5, 7, 8, 10, 11)]
    joints[:, upper, 1] -= depth[:, None]
    joints[:, [4, 5], 2] += 0.9 * depth[:, None]
    joints[:, [4, 5], 1] -= 0.4 * depth[:, None]
    return joints


def turned(degrees: float) -> torch.Tensor:
    joints = stand()
    angle = torch.linspace(0, math.radians(degrees), FRAMES)
    cos, sin = torch.cos(angle), torch.sin(angle)
    x, z = joints[..., 0].clone(), joints[..., 2].clone()
    joints[..., 0] = cos[:, None] * x + sin[:, None] * z
    joints[..., 2] = -sin[:, None] * x + cos[:, None] * z
    return joints


def lying() -> torch.Tensor:
    """From a stand to lying on the back."""
    joints = stand()
    angle = torch.linspace(0, math.pi / 2, FRAMES)
    y, z = joints[..., 1].clone(), joints[..., 2].clone()
    joints[..., 1] = torch.cos(angle)[:, None] * y + torch.sin(angle)[:, None] * (z - z.min()) + 0.05
    joints[..., 2] = torch.cos(angle)[:, None] * z - torch.sin(angle)[:, None] * y
    return joints


MADE = [
    (stand, "idle", ""),
    (jumped, "jump", ""),
    (lambda: jumped(0.3, ahead=1.2), "jump-forward", ""),
    (lambda: jumped(0.3, left=1.2), "jump-side", "left"),
    (lambda: jumped(0.3, left=-1.2), "jump-side", "right"),
    (lambda: raised_leg(LEFT), "leg-raise", "left"),
    (lambda: raised_leg(RIGHT), "leg-raise", "right"),
    (lambda: raised_leg(LEFT, 3), "kick", "left"),
    (squatted, "squat", ""),
    (lambda: squatted(2), "squat-twice", ""),
    (lambda: squatted(3), "squat-thrice", ""),
    (lambda: turned(90), "turn-quarter", "left"),
    (lambda: turned(-90), "turn-quarter", "right"),
    (lambda: turned(180), "turn-half", "left"),
    (lambda: turned(-250), "turn", "right"),
    (lying, "lie-down", ""),
]


@pytest.mark.parametrize("place", range(len(MADE)))
def test_a_body_posed_by_hand_passes_its_own_rules(place):
    make, action, side = MADE[place]
    assert passes(make(), action, side), judge_action(body_facts(make(), FPS), action, side)


@pytest.mark.parametrize("place", range(1, len(MADE)))
def test_it_does_not_pass_those_of_the_other_side_and_standing_passes_none(place):
    make, action, side = MADE[place]
    assert not passes(stand(), action, side)
    assert not passes(make(), "idle", "")
    if side:
        assert not passes(make(), action, {"left": "right", "right": "left"}[side])


def test_counts_are_exact():
    assert not passes(squatted(1), "squat-twice")
    assert not passes(squatted(3), "squat-twice")
    assert not passes(jumped(0.3, ahead=1.2), "jump")


def test_what_has_no_rules_is_refused():
    facts = body_facts(stand(), FPS)
    with pytest.raises(RequestError, match="no rules for the action 'swim'"):
        judge_action(facts, "swim")
    with pytest.raises(RequestError, match="'kick' was asked for side ''; it needs left or right"):
        judge_action(facts, "kick")
    with pytest.raises(RequestError, match="'jump' was asked for side 'left'; it needs none"):
        judge_action(facts, "jump", "left")
    with pytest.raises(MotionError, match="3 frames"):
        body_facts(stand(3), FPS)


def test_the_sentences_name_actions_with_rules_and_are_no_captions():
    assert len(PROMPTS) >= 60
    assert len({prompt["text"] for prompt in PROMPTS}) == len(PROMPTS)
    captions = {text for source, labels in known_labels() for text in captions_for(source, labels)}
    for prompt in PROMPTS:
        needs_side, _ = ACTIONS[prompt["action"]]
        assert bool(prompt["side"]) == needs_side, prompt
        assert 1.0 <= prompt["seconds"] <= 9.8
        assert prompt["text"] not in captions
        # A side that is said is the side that is judged, but for the way a kick or turn goes and the opposite knee.
        named = set(re.findall(r"\b(left|right)\b", prompt["text"]))
        assert not named or prompt["side"] in named or prompt["action"] in ("catch",), prompt
    assert min(Counter(prompt["group"] for prompt in PROMPTS).values()) >= 2


@pytest.mark.parametrize("source", ACTION_SETS)
def test_the_sentences_are_no_captions_of_the_sets_either(source):
    manifest = SHARED / source / "manifest.csv"
    if not manifest.exists():
        pytest.skip(f"the manifest is not here: {manifest}")
    with manifest.open(encoding="utf-8") as rows:
        sentences = {row["caption"] for row in csv.DictReader(rows)}
    said = {
        text
        for sentence in sentences
        for count in ("", "1", "2", "3")
        for mirrored in (False, True)
        for text in captions_for(source, {"description": sentence, "count": count}, mirrored)
    }
    assert [prompt["text"] for prompt in PROMPTS if prompt["text"] in said] == []

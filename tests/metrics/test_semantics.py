import dataclasses
import math
import tomllib
from importlib.resources import files

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motionloom.errors import MotionError, RequestError
from motionloom.metrics.semantics import ACTIONS, Rule, action_of, judge, measure
from motionloom.motion.skeleton import CANONICAL

FPS = 20.0
LEFT, RIGHT = (16, 18, 20), (17, 19, 21)
OTHER = {"left": "right", "right": "left", "both": "both", "": ""}
SWAP = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20]


def clock(seconds: float) -> Tensor:
    return torch.arange(round(seconds * FPS)) / FPS


def standing(seconds: float) -> Tensor:
    """Somebody stands over the origin, facing +Z, with hanging arms."""
    joints = CANONICAL.rest_positions.repeat(round(seconds * FPS), 1, 1)
    for shoulder, elbow, wrist in (LEFT, RIGHT):
        joints[:, elbow] = joints[:, shoulder] + torch.tensor([0.0, -0.25, 0.0])
        joints[:, wrist] = joints[:, shoulder] + torch.tensor([0.0, -0.48, 0.0])
    joints[..., 1] -= joints[..., 1].min()
    return joints


def travelling(seconds: float, speed: float, turn: float = 0.0, sideways: float = 0.0) -> Tensor:
    """The body moves ahead (m/s, and sideways to its left) and turns by ``turn`` degrees; legs alternate."""
    time = clock(seconds)
    joints = standing(seconds)
    swing = 0.3 * torch.sin(2 * math.pi * time)
    for joint, sign in ((4, 0.5), (7, 1.0), (10, 1.0), (5, -0.5), (8, -1.0), (11, -1.0)):
        joints[:, joint, 2] += sign * swing
    yaw = torch.deg2rad(turn * time / seconds)
    ahead = torch.stack((yaw.sin(), torch.zeros_like(yaw), yaw.cos()), dim=-1)
    left = torch.stack((yaw.cos(), torch.zeros_like(yaw), -yaw.sin()), dim=-1)
    body = joints[..., :1] * left[:, None] + joints[..., 2:] * ahead[:, None]
    body[..., 1] = joints[..., 1]
    steps = (speed * ahead + sideways * left) / FPS
    return body + torch.cat((torch.zeros(1, 3), steps[:-1].cumsum(0)))[:, None]


def gesturing(seconds: float, hands: tuple, height: float = 0.3, swing: float = 0.0, hertz: float = 1.0) -> Tensor:
    """Hands go up in the first fifth of the time and down in the last; in between they swing sideways."""
    time = clock(seconds)
    joints = standing(seconds)
    up = (5 * time / seconds).clamp(max=1.0) * (5 * (seconds - time) / seconds).clamp(max=1.0)
    for shoulder, _, wrist in hands:
        joints[:, wrist, 1] = joints[:, shoulder, 1] - 0.48 + (0.48 + height) * up
        joints[:, wrist, 0] += swing * up * torch.sin(2 * math.pi * hertz * time)
    return joints


def bowing(seconds: float, degrees: float) -> Tensor:
    """The upper body bends forward about the hips and comes up again."""
    joints = standing(seconds)
    angle = torch.deg2rad(degrees * torch.sin(math.pi * clock(seconds) / seconds))[:, None]
    upper = [3, 6, 9, 12, 13, 14, 15, *LEFT, *RIGHT]
    above = joints[:, upper] - joints[:, :1]
    joints[:, upper, 1] = joints[:, :1, 1] + above[..., 1] * angle.cos() - above[..., 2] * angle.sin()
    joints[:, upper, 2] = joints[:, :1, 2] + above[..., 1] * angle.sin() + above[..., 2] * angle.cos()
    return joints


def mirrored(joints: Tensor) -> Tensor:
    return joints[:, SWAP] * torch.tensor([-1.0, 1.0, 1.0])


EXAMPLES = {
    ("walk", ""): travelling(4, 1.2),
    ("run", ""): travelling(3, 2.2),
    ("dash", ""): travelling(3, 3.5),
    ("walk-back", ""): travelling(4, -0.8),
    ("walk-turn", "left"): travelling(5, 1.1, turn=90),
    ("walk-turn", "right"): travelling(5, 1.1, turn=-90),
    ("walk-drift", "left"): travelling(4, 0.9, sideways=0.5),
    ("walk-drift", "right"): travelling(4, 0.9, sideways=-0.5),
    ("wave", "left"): gesturing(5, (LEFT,), swing=0.2),
    ("wave", "right"): gesturing(5, (RIGHT,), swing=0.2),
    ("wave", "both"): gesturing(5, (LEFT, RIGHT), swing=0.2),
    ("raise", "left"): gesturing(2.5, (LEFT,)),
    ("raise", "right"): gesturing(2.5, (RIGHT,)),
    ("raise", "both"): gesturing(2.5, (LEFT, RIGHT)),
    ("bow", ""): bowing(4, 40),
}
NEAR = {("dash", ""): {("run", "")}}
"""Motions that rightly pass a second rule: who dashes runs, too."""
RULES = {pair for pair in EXAMPLES if pair[0] not in ("bye", "byebye", "guide")}


@pytest.mark.parametrize("asked", EXAMPLES, ids="-".join)
def test_each_example_passes_its_own_rule_and_no_other(asked):
    passed = {pair for pair in RULES if judge(EXAMPLES[asked], FPS, *pair).passed}
    assert passed == {asked} | NEAR.get(asked, set())


@pytest.mark.parametrize("asked", EXAMPLES, ids="-".join)
def test_the_mirror_image_gets_the_same_verdict_on_the_other_side(asked):
    action, side = asked
    other = OTHER[side]
    straight = judge(EXAMPLES[asked], FPS, action, side)
    swapped = judge(mirrored(EXAMPLES[asked]), FPS, action, other)
    assert straight.passed
    assert swapped.passed
    assert len(straight.rules) == len(swapped.rules)


def test_saying_goodbye_and_guiding_by_hand():
    right, both = gesturing(4, (RIGHT,), height=-0.1), gesturing(4, (LEFT, RIGHT), height=-0.05)
    for action in ("bye", "guide"):
        assert judge(right, FPS, action, "right").passed
        assert not judge(right, FPS, action, "left").passed
        assert not judge(standing(4), FPS, action, "right").passed
    assert judge(both, FPS, "byebye", "both").passed
    assert not judge(right, FPS, "byebye", "both").passed


@given(
    turn=st.floats(-400, 400),
    speed=st.floats(0.5, 3),
    heading=st.floats(-math.pi, math.pi),
    place=st.tuples(st.floats(-5, 5), st.floats(-5, 5)),
)
@settings(max_examples=25)
def test_turn_and_speed_are_measured_wherever_the_body_stands(turn, speed, heading, place):
    joints = travelling(4, speed, turn)
    cos, sin = math.cos(heading), math.sin(heading)
    moved = joints @ torch.tensor([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    facts = measure(moved + torch.tensor([place[0], 0.0, place[1]]), FPS)
    # The ends are means over 0.2 s, so 0.2 s of the 4 s of turning are not seen.
    assert facts.turn == pytest.approx(turn * 3.8 / 4, abs=0.2)
    assert facts.speed == pytest.approx(speed, rel=1e-3)
    assert facts.forward == pytest.approx(speed * (len(joints) - 1) / FPS, rel=1e-3)
    assert facts.leftward == pytest.approx(0.0, abs=0.01)


@given(height=st.floats(-0.2, 0.45), swing=st.floats(0.05, 0.3), hertz=st.sampled_from([0.5, 1.0, 2.0]))
@settings(max_examples=15)
def test_hands_by_hand(height, swing, hertz):
    facts = measure(gesturing(6, (LEFT,), height, swing, hertz), FPS)
    assert facts.left.peak == pytest.approx(height, abs=1e-3)
    assert facts.left.start < -0.35
    assert facts.left.end < -0.35
    assert facts.right.peak == pytest.approx(-0.48, abs=1e-3)
    assert facts.right.lifted_seconds == 0.0
    assert facts.right.speed == 0.0
    # Two turning points a period over the 3.6 s at full swing, and at most a few more on the way up and down.
    assert 2 * hertz * 3.6 - 2 <= facts.left.swings <= 2 * hertz * 6


def test_a_bow_by_hand():
    """The trunk leans 40 degrees more than at the start; the head sinks as on a circle about the hips."""
    joints = bowing(4, 40)
    facts = measure(joints, FPS)
    above = joints[0, 15] - joints[0, 0]
    sunk = above[1] * (1 - math.cos(math.radians(40))) + above[2] * math.sin(math.radians(40))
    assert facts.bow_lean == pytest.approx(40, abs=2.5)
    assert facts.bow_drop == pytest.approx(float(sunk), abs=0.02)
    assert facts.bow_return == pytest.approx(1.0, abs=0.05)
    half = judge(joints[: len(joints) // 2], FPS, "bow")
    assert half.failed == ("comes_up_share",)


def test_foot_slide_by_hand():
    """Feet that glide along with the body slide at its speed; a toe that stays behind does not slide."""
    gliding = standing(2) + torch.tensor([0.0, 0.0, 1.0]) * (clock(2) * 1.5)[:, None, None]
    facts = measure(gliding, FPS)
    assert facts.foot_slide == pytest.approx(1.5, rel=1e-3)
    assert facts.planted_slide == pytest.approx(1.5, rel=1e-3)
    lifted = gliding.clone()
    lifted[:, 11, 1] += 0.2
    lifted[:, 10] = gliding[:1, 10]
    still = measure(lifted, FPS)
    assert still.foot_slide == still.planted_slide == pytest.approx(0.0, abs=1e-6)
    assert facts.flight == 0.0


def test_frame_rate_does_not_matter():
    joints = travelling(5, 1.2, 90)
    fast, slow = measure(joints, FPS), measure(joints[::2], FPS / 2)
    assert fast.turn == pytest.approx(slow.turn, abs=3)
    assert fast.speed == pytest.approx(slow.speed, rel=0.02)
    assert fast.steps == slow.steps == 10
    assert fast.seconds == slow.seconds == 5.0


def test_a_frozen_raised_hand_is_neither_wave_nor_raise():
    frozen = standing(5)
    frozen[:, 20, 1] += 0.8
    wave, raising = judge(frozen, FPS, "wave", "left"), judge(frozen, FPS, "raise", "left")
    assert {"left_swings", "left_starts_down_m", "left_ends_down_m"} <= set(wave.failed)
    assert "left_starts_down_m" in raising.failed


def test_styles_by_hand():
    slow, quick = travelling(4, 0.7), travelling(4, 1.5)
    slow[:, 12, 2] += 0.1
    assert judge(slow, FPS, "walk", style="old").style_passed
    assert judge(quick, FPS, "walk", style="old").failed == ("old_speed", "old_lean")
    assert judge(quick, FPS, "walk", style="active").style_passed
    assert not judge(slow, FPS, "walk", style="active").style_passed
    assert judge(quick, FPS, "walk", style="giant").style_rules == {}
    shy = gesturing(2.5, (LEFT,), height=-0.1)
    assert not judge(shy, FPS, "raise", "left").passed
    assert judge(shy, FPS, "raise", "left", "feminine").passed
    assert judge(shy, FPS, "raise", "left", "feminine").style_passed


def test_verdicts_show_value_and_range():
    rule = judge(EXAMPLES["walk", ""], FPS, "walk").rules["speed_m_s"]
    assert rule.value == pytest.approx(1.2, rel=1e-3)
    assert (rule.low, rule.high) == (0.35, 1.8)
    assert not Rule(math.nan, 0.0, 1.0).passed
    assert all(isinstance(value, int | float) for value in dataclasses.astuple(measure(standing(1), FPS))[:15])


def test_labels_become_actions():
    assert action_of("wave-left-hand") == ("wave", "left")
    assert action_of("walk-left") == ("walk-drift", "left")
    assert action_of("raise-up-both-hands") == ("raise", "both")
    assert action_of("bye") == ("bye", "right")
    assert {action_of(name) for name in ("walk", "run", "bow")} <= {(name, "") for name in ACTIONS}


def test_every_prompt_for_judging_has_rules():
    prompts = tomllib.loads(files("motionloom.metrics").joinpath("prompts.toml").read_text("utf-8"))
    for prompt in prompts["grammar"] + prompts["free"]:
        assert judge(standing(1), FPS, prompt["content"], prompt["side"], prompt["style"]).rules
        assert 2.0 <= prompt["seconds"] <= 8.0


def test_what_has_no_rules_is_refused_by_name():
    with pytest.raises(RequestError, match="no rules for the label 'kick'"):
        action_of("kick")
    with pytest.raises(RequestError, match="no rules for the action 'fly'"):
        judge(standing(1), FPS, "fly")
    with pytest.raises(RequestError, match="'wave' was asked for side ''; it needs left or right or both"):
        judge(standing(1), FPS, "wave")
    with pytest.raises(RequestError, match="'walk' was asked for side 'left'; it needs none"):
        judge(standing(1), FPS, "walk", "left")
    with pytest.raises(MotionError, match="1 frame"):
        measure(standing(1)[:1], FPS)

"""A judge by geometry that says whether a motion does what its sentence asks for.

:func:`judge` measures a motion (``measurements.py``) and holds the quantities against the rules of an action,
a side and a style. No network is involved, so a verdict can be checked by hand; in exchange it knows only the
actions in :data:`ACTIONS`. Thresholds were set on the Bandai-Namco recordings; ``runs/check_judge.py`` prints
how many real clips pass the rules of their own label and of others'.
"""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from motionloom.errors import RequestError
from motionloom.metrics.measurements import LIFTED, Hand, Measurements, measure

__all__ = ["ACTIONS", "Measurements", "Rule", "Verdict", "action_of", "judge", "judge_measured", "measure"]

ACTIONS = {
    "walk": (),
    "run": (),
    "dash": (),
    "walk-back": (),
    "bow": (),
    "walk-turn": ("left", "right"),
    "walk-drift": ("left", "right"),
    "wave": ("left", "right", "both"),
    "raise": ("left", "right", "both"),
    "bye": ("left", "right"),
    "byebye": ("both",),
    "guide": ("left", "right"),
}
"""Actions with rules, each with the sides it can be asked for."""

_LABELS = {
    **{name: (name, "") for name, sides in ACTIONS.items() if not sides},
    **{f"walk-{side}": ("walk-drift", side) for side in ("left", "right")},
    **{f"walk-turn-{side}": ("walk-turn", side) for side in ("left", "right")},
    **{f"wave-{side}-hand": ("wave", side) for side in ("left", "right")},
    **{f"raise-up-{side}-hand": ("raise", side) for side in ("left", "right")},
    "wave-both-hands": ("wave", "both"),
    "raise-up-both-hands": ("raise", "both"),
    "bye": ("bye", "right"),
    "byebye": ("byebye", "both"),
    "guide": ("guide", "right"),
}


@dataclass(frozen=True)
class Rule:
    """A measured value and the range it must lie in."""

    value: float
    low: float
    high: float

    @property
    def passed(self) -> bool:
        """Whether the value lies in the range."""
        return self.low <= self.value <= self.high


@dataclass(frozen=True)
class Verdict:
    """What the rules say.

    Attributes:
        rules: Rules of the action and side, by name.
        style_rules: Rules of the style, by name; empty for styles that cannot be told by geometry.
    """

    rules: dict[str, Rule]
    style_rules: dict[str, Rule]

    @property
    def passed(self) -> bool:
        """Whether action and side are right, whatever the style."""
        return all(rule.passed for rule in self.rules.values())

    @property
    def style_passed(self) -> bool:
        """Whether the style is right, as far as there are rules for it."""
        return all(rule.passed for rule in self.style_rules.values())

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the rules that do not hold, those of the style among them."""
        return tuple(name for name, rule in (self.rules | self.style_rules).items() if not rule.passed)


def action_of(label: str) -> tuple[str, str]:
    """Translate a Bandai-Namco content label: ``"wave-left-hand"`` is ``("wave", "left")``.

    Raises:
        RequestError: There are no rules for it.
    """
    if label not in _LABELS:
        raise RequestError(f"no rules for the label {label!r}; there are rules for {', '.join(sorted(_LABELS))}")
    return _LABELS[label]


def judge(joints: Float[Tensor, "T 22 3"], fps: float, content: str, side: str = "", style: str = "normal") -> Verdict:
    """Hold a motion against the rules of what it was asked to be.

    Args:
        joints: World positions of the joints [m], Y up.
        fps: Frames a second.
        content: One of :data:`ACTIONS`.
        side: ``"left"``, ``"right"`` or ``"both"`` where the action needs one, else ``""``.
        style: Style word of the recordings; quiet and slow styles relax some rules, and some add their own.

    Raises:
        RequestError: There are no rules for that action or side.
    """
    return judge_measured(measure(joints, fps), content, side, style)


def judge_measured(facts: Measurements, content: str, side: str = "", style: str = "normal") -> Verdict:
    """:func:`judge` for a motion that is measured already."""
    if content not in ACTIONS:
        raise RequestError(f"no rules for the action {content!r}; there are rules for {', '.join(ACTIONS)}")
    if side not in (ACTIONS[content] or ("",)):
        wanted = " or ".join(ACTIONS[content]) or "none"
        raise RequestError(f"action {content!r} was asked for side {side!r}; it needs {wanted}")
    if content in _TRAVEL:
        rules = _travel_rules(facts, content, side, style)
    else:
        rules = {"stays_m": Rule(facts.net, 0.0, 0.6), "keeps_facing_deg": Rule(facts.turn, -45.0, 45.0)}
        rules |= _bow_rules(facts) if content == "bow" else _gesture_rules(facts, content, side, style)
    return Verdict(rules, _style_rules(facts, content, side, style))


# ---- the rules ----

_TRAVEL = {
    "walk": (0.35, 1.8),
    "walk-back": (0.35, 1.6),
    "walk-turn": (0.35, 1.9),
    "walk-drift": (0.35, 1.8),
    "run": (1.65, 6.0),
    "dash": (2.5, 8.0),
}
"""Speed [m/s] of the actions that travel."""
_SLOW_RUN = 1.2
_OLD = ("old", "elderly")
_QUIET = ("feminine",)
"""Styles whose recordings wave and raise the hand no higher than the shoulder, in small movements."""


def _travel_rules(facts: Measurements, content: str, side: str, style: str) -> dict[str, Rule]:
    slowest, fastest = _TRAVEL[content]
    if content == "run" and style in _OLD:
        slowest = _SLOW_RUN
    sign = -1.0 if side == "right" else 1.0
    rules = {
        "speed_m_s": Rule(facts.speed, slowest, fastest),
        "steps_a_second": Rule(facts.steps / facts.seconds, 1.0, 6.0),
    }
    if content == "walk-back":
        rules["backward_share"] = Rule(-facts.forward_share, 0.8, 1.1)
    else:
        rules["forward_share"] = Rule(facts.forward_share, 0.5 if content == "walk-drift" else 0.8, 1.1)
    if content == "walk-turn":
        rules[f"turn_{side}_deg"] = Rule(sign * facts.turn, 40.0, 160.0)
    else:
        rules["keeps_facing_deg"] = Rule(facts.turn, -40.0, 40.0)
    if content == "walk-drift":
        rules[f"drift_{side}_share"] = Rule(sign * facts.leftward_share, 0.2, 0.9)
    if content == "walk":
        rules["no_drift_share"] = Rule(facts.leftward_share, -0.25, 0.25)
    return rules


def _bow_rules(facts: Measurements) -> dict[str, Rule]:
    return {
        "head_drop_m": Rule(facts.bow_drop, 0.05, 0.9),
        "trunk_lean_deg": Rule(facts.bow_lean, 20.0, 120.0),
        "comes_up_share": Rule(facts.bow_return, 0.6, math.inf),
        "hands_peak_m": Rule(min(facts.left.peak, facts.right.peak), -1.0, 0.3),
    }


def _gesture_rules(facts: Measurements, content: str, side: str, style: str) -> dict[str, Rule]:
    hands = {"left": facts.left, "right": facts.right}
    active = {name: hand for name, hand in hands.items() if side in (name, "both")}
    idle_peak = {"wave": -0.2, "raise": -0.2, "bye": -0.12}.get(content, 0.0)
    rules = {}
    for name, hand in hands.items():
        if name in active:
            rules |= {f"{name}_{rule}": value for rule, value in _hand_rules(hand, content, style).items()}
        else:
            rules[f"{name}_stays_down_m"] = Rule(hand.peak, -1.0, idle_peak)
    if content in ("bye", "guide"):
        other = facts.right if side == "left" else facts.left
        rules[f"{side}_moves_more_m"] = Rule(hands[side].way - other.way, 0.0, math.inf)
    return rules


def _hand_rules(hand: Hand, content: str, style: str) -> dict[str, Rule]:
    if content in ("bye", "byebye", "guide"):
        # Some recordings hold the hand still and wave only the fingers, which the 22 joints lack.
        shortest = 0.5 if content == "guide" else 1.0
        return {
            "peak_m": Rule(hand.peak, LIFTED, 1.0),
            "lifted_s": Rule(hand.lifted_seconds, shortest, math.inf),
        }
    quiet = style in _QUIET
    rules = {
        "peak_m": Rule(hand.peak, -0.2 if quiet else -0.05, 0.1 if quiet and content == "raise" else 1.0),
        "starts_down_m": Rule(hand.start, -1.0, -0.15),
        "ends_down_m": Rule(hand.end, -1.0, -0.2),
    }
    if content == "raise":
        return rules | {
            "swings": Rule(float(hand.swings), 0.0, 3.0),
            "lifted_s": Rule(hand.lifted_seconds, 0.4, 5.5),
        }
    return rules | {
        "swings": Rule(float(hand.small_swings if quiet else hand.swings), 4.0, math.inf),
        "speed_m_s": Rule(hand.speed, 0.05 if quiet else 0.2, 6.0),
    }


_WALKS = ("walk", "walk-turn", "walk-drift")
_STYLE_RULES: tuple[tuple[tuple[str, ...], tuple[str, ...], str, float, float], ...] = (
    (_OLD, _WALKS, "speed", 0.0, 1.0),
    (_OLD, _WALKS, "lean", 2.5, 90.0),
    (_OLD, ("run",), "speed", 0.0, 2.2),
    (_OLD, ("wave", "raise"), "hand_peak", -1.0, 0.15),
    (("active",), _WALKS, "speed", 1.27, 9.0),
    (("active",), ("wave",), "hand_speed", 1.7, 9.0),
    (("active",), ("raise",), "hand_speed", 0.95, 9.0),
    (("youthful",), ("walk",), "speed", 1.3, 9.0),
    (("youthful",), ("walk-turn",), "speed", 1.2, 9.0),
    (("youthful",), ("wave",), "hand_peak", 0.435, 1.0),
    (("youthful",), ("raise",), "hand_peak", 0.33, 1.0),
    (("feminine",), ("wave", "raise"), "hand_peak", -1.0, 0.05),
    (("masculine",), ("walk", "walk-turn"), "lean", 0.8, 90.0),
    (("masculine",), ("run",), "lean", 11.2, 90.0),
    (("masculine",), ("raise",), "hand_peak", 0.31, 1.0),
    (("exhausted",), ("raise",), "hand_speed", 0.0, 0.58),
    (("tired",), _WALKS, "speed", 0.0, 1.25),
    (("tired",), _WALKS, "lean", 3.0, 90.0),
    (("sad",), _WALKS, "speed", 0.0, 0.75),
    (("proud",), _WALKS, "speed", 0.0, 0.9),
    (("proud",), _WALKS, "lean", -90.0, 0.0),
    (("not-confident",), _WALKS, "lean", 5.0, 90.0),
    (("angry",), _WALKS, "lean", 4.0, 90.0),
)
"""Styles, actions, quantity, range: what tells the recordings of a style from the normal ones. Styles that no
single quantity tells from normal (happy, giant, musical, exhausted walks, ...) have no rule."""


def _style_rules(facts: Measurements, content: str, side: str, style: str) -> dict[str, Rule]:
    hands = [hand for name, hand in (("left", facts.left), ("right", facts.right)) if side in (name, "both")]
    values = {"speed": facts.speed, "lean": facts.lean}
    if hands:
        values["hand_peak"] = sum(hand.peak for hand in hands) / len(hands)
        values["hand_speed"] = sum(hand.speed for hand in hands) / len(hands)
    return {
        f"{style}_{quantity}": Rule(values[quantity], low, high)
        for styles, actions, quantity, low, high in _STYLE_RULES
        if style in styles and content in actions
    }

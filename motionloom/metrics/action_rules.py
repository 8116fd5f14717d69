"""Rules that say whether a motion shows an action of the whole body: a jump, a kick to the left, a squat, lying down.

Beside ``semantics.py``, whose rules judge ways of walking, waving and bowing with their styles. No network is involved:
each rule is a measured quantity (``body_facts.py``) and the range it must lie in. ``runs/check_actions.py`` holds the
rules against the captured clips of each action and against those of the others.
"""

from collections.abc import Callable

from motionloom.errors import RequestError
from motionloom.metrics.body_facts import BodyFacts, Foot, Reach
from motionloom.metrics.semantics import Rule

_INF = float("inf")
Rules = dict[str, Rule]


def at_least(value: float, low: float) -> Rule:
    """A rule that a value is no smaller."""
    return Rule(value, low, _INF)


def at_most(value: float, high: float) -> Rule:
    """A rule that a value is no larger."""
    return Rule(value, -_INF, high)


def judge_action(facts: BodyFacts, action: str, side: str = "") -> Rules:
    """The rules of an action, each with the value that was measured.

    Args:
        facts: Measurements of the motion.
        action: One of :data:`ACTIONS`.
        side: ``"left"``, ``"right"`` or ``""``, as the action needs it.

    Raises:
        RequestError: There are no rules for that action or side.
    """
    if action not in ACTIONS:
        raise RequestError(f"no rules for the action {action!r}; there are rules for {', '.join(sorted(ACTIONS))}")
    sided, rules = ACTIONS[action]
    if bool(side) != sided or side not in ("", "left", "right"):
        wanted = "left or right" if sided else "none"
        raise RequestError(f"action {action!r} was asked for side {side!r}; it needs {wanted}")
    return rules(facts, side)


def _sign(side: str) -> float:
    return -1.0 if side == "right" else 1.0


def _feet(facts: BodyFacts, side: str) -> tuple[Foot, Foot]:
    left, right = facts.left_foot, facts.right_foot
    return (left, right) if side == "left" else (right, left)


def _hands(facts: BodyFacts, side: str) -> tuple[Reach, Reach]:
    left, right = facts.left_hand, facts.right_hand
    return (left, right) if side == "left" else (right, left)


def _stays(facts: BodyFacts, most: float = 0.5) -> Rules:
    return {"stays_m": at_most(facts.net, most)}


def _still(facts: BodyFacts, side: str) -> Rules:
    hands = max(facts.left_hand.high, facts.right_hand.high)
    return {
        "path_m": at_most(facts.path, 0.4),
        "limbs_m_s": at_most(facts.stirs, 0.15),
        "hands_stay_down_m": at_most(hands, 1.15),
        "stands_m": at_least(facts.pelvis_low, 0.85),
        "turn_deg": Rule(facts.turned, -30.0, 30.0),
    }


def _guard(facts: BodyFacts, side: str) -> Rules:
    return {
        "hands_up_m": at_least(min(facts.left_hand.end, facts.right_hand.end), 0.9),
        "path_m": at_most(facts.path, 0.8),
    }


def _jump(facts: BodyFacts, side: str) -> Rules:
    return {
        "air_s": at_least(facts.air, 0.15),
        "rises_m": at_least(facts.pelvis_high - 0.95, 0.05),
        **_stays(facts, 0.6),
    }


def _jump_forward(facts: BodyFacts, side: str) -> Rules:
    return {"air_s": at_least(facts.air, 0.15), "forward_m": at_least(facts.forward, 0.4)}


def _jump_side(facts: BodyFacts, side: str) -> Rules:
    return {"air_s": at_least(facts.air, 0.15), f"{side}_m": at_least(_sign(side) * facts.leftward, 0.35)}


def _jump_turn(facts: BodyFacts, side: str) -> Rules:
    return {"air_s": at_least(facts.air, 0.15), "turn_deg": at_least(abs(facts.turned), 60.0)}


def _hop(facts: BodyFacts, side: str) -> Rules:
    return {"air_s": at_least(facts.air, 0.15), "forward_m": at_least(facts.forward, 0.3)}


def _jump_reach(facts: BodyFacts, side: str) -> Rules:
    return {
        "air_s": at_least(facts.air, 0.15),
        "hand_m": at_least(max(facts.left_hand.high, facts.right_hand.high), 1.7),
    }


def _jumping_jacks(facts: BodyFacts, side: str) -> Rules:
    return {
        "hands_m": at_least(min(facts.left_hand.high, facts.right_hand.high), 1.45),
        "feet_apart_m": at_least(facts.wide, 0.5),
        **_stays(facts),
    }


def _kick(facts: BodyFacts, side: str) -> Rules:
    foot, other = _feet(facts, side)
    return {
        "foot_m": at_least(foot.high, 0.35),
        "ahead_m": at_least(foot.ahead, 0.3),
        "speed_m_s": at_least(foot.speed, 2.5),
        "other_stays_m": at_most(other.high, 0.3),
    }


def _kick_side(facts: BodyFacts, side: str) -> Rules:
    foot = max((facts.left_foot, facts.right_foot), key=lambda foot: foot.high)
    return {
        "foot_m": at_least(foot.high, 0.3),
        "speed_m_s": at_least(foot.speed, 2.5),
        f"{side}_m": at_least(_sign(side) * foot.left, 0.25),
    }


def _kick_back(facts: BodyFacts, side: str) -> Rules:
    foot = max((facts.left_foot, facts.right_foot), key=lambda foot: foot.high)
    return {
        "foot_m": at_least(foot.high, 0.3),
        "speed_m_s": at_least(foot.speed, 2.5),
        "behind_m": at_least(-foot.ahead, 0.3),
    }


def _kick_ball(facts: BodyFacts, side: str) -> Rules:
    foot, other = _feet(facts, side)
    return {
        "speed_m_s": at_least(foot.speed, 4.0),
        "faster_m_s": at_least(foot.speed - other.speed, 0.5),
        "run_up_m": at_least(facts.path, 0.5),
    }


def _punch(facts: BodyFacts, side: str) -> Rules:
    hand, other = _hands(facts, side)
    return {
        "speed_m_s": at_least(hand.speed, 2.0),
        "reach_m": at_least(hand.far, 0.4),
        "faster_m_s": at_least(hand.speed - other.speed, 0.0),
        "fist_up_m": at_least(max(hand.end, hand.start), 0.85),
    }


def _squat(facts: BodyFacts, side: str) -> Rules:
    return {
        "pelvis_m": at_most(facts.pelvis_low, 0.68),
        "comes_up_m": at_least(facts.pelvis_end, 0.82),
        "knees_rad": at_least(min(facts.knees), 1.4),
        "feet_level_m": at_most(facts.apart, 0.4),
        **_stays(facts),
    }


def _squat_twice(facts: BodyFacts, side: str) -> Rules:
    return _squat(facts, side) | {"dips": Rule(float(facts.dips), 2.0, 2.0)}


def _squat_thrice(facts: BodyFacts, side: str) -> Rules:
    return _squat(facts, side) | {"dips": Rule(float(facts.dips), 3.0, 3.0)}


def _lunge(facts: BodyFacts, side: str) -> Rules:
    return {
        "pelvis_m": at_most(facts.pelvis_low, 0.75),
        "feet_apart_m": at_least(facts.apart, 0.5),
        f"{side}_ahead_m": at_least(_sign(side) * facts.leading, 0.2),
        "comes_up_m": at_least(facts.pelvis_end, 0.78),
    }


def _side_lunge(facts: BodyFacts, side: str) -> Rules:
    bent, straight = facts.knees if side == "left" else facts.knees[::-1]
    return {
        "pelvis_m": at_most(facts.pelvis_low, 0.86),
        "feet_apart_m": at_least(facts.wide, 0.6),
        "knee_rad": at_least(bent, 0.8),
        "other_knee_rad": at_least(bent - straight, 0.2),
    }


def _sit(facts: BodyFacts, side: str) -> Rules:
    return {"pelvis_m": at_most(facts.pelvis_low, 0.7), "stands_up_m": at_least(facts.pelvis_end, 0.82)}


def _crouch(facts: BodyFacts, side: str) -> Rules:
    return {"pelvis_m": at_most(facts.pelvis_low, 0.78), "head_m": at_most(facts.head_low, 1.15)}


def _lie(facts: BodyFacts, side: str) -> Rules:
    return {
        "head_m": at_most(facts.head_end, 0.5),
        "pelvis_m": at_most(facts.pelvis_end, 0.4),
        "starts_up_m": at_least(facts.pelvis_start, 0.6),
    }


def _floor(facts: BodyFacts, side: str) -> Rules:
    hand, _ = _hands(facts, side)
    return {
        "hand_m": at_most(hand.low, 0.5),
        "head_m": at_most(facts.head_low, 1.15),
        "comes_up_m": at_least(facts.head_end, 1.15),
        **_stays(facts, 1.2),
    }


def _floor_any(facts: BodyFacts, side: str) -> Rules:
    return _floor(facts, min(("left", "right"), key=lambda one: _hands(facts, one)[0].low))


def _grab_high(facts: BodyFacts, side: str) -> Rules:
    hand, other = _hands(facts, side)
    return {
        "hand_m": at_least(hand.high, 1.32),
        "other_stays_m": at_least(hand.high - other.high, 0.15),
        **_stays(facts, 0.8),
    }


def _reach(facts: BodyFacts, side: str) -> Rules:
    hand, other = _hands(facts, side)
    return {
        "ahead_m": at_least(hand.ahead, 0.3),
        "moves_m": at_least(hand.way, 0.4),
        "more_than_other_m": at_least(hand.way - other.way, 0.0),
        **_stays(facts, 0.8),
    }


def _reach_low(facts: BodyFacts, side: str) -> Rules:
    hand, _ = _hands(facts, side)
    return {"hand_m": at_most(hand.low, 0.55), **_stays(facts, 0.8)}


def _reach_out(facts: BodyFacts, side: str) -> Rules:
    """To a hand's own side."""
    hand, other = _hands(facts, side)
    return {
        "out_m": at_least(hand.out, 0.25),
        "moves_m": at_least(hand.way, 0.4),
        "more_than_other_m": at_least(hand.way - other.way, 0.0),
        **_stays(facts, 0.8),
    }


def _catch(facts: BodyFacts, side: str) -> Rules:
    hand = max((facts.left_hand, facts.right_hand), key=lambda hand: hand.way)
    return {
        "moves_m": at_least(hand.way, 0.7),
        "speed_m_s": at_least(hand.speed, 1.0),
        "reach_m": at_least(max(hand.ahead, hand.out), 0.28),
        **_stays(facts),
    }


def _throw(facts: BodyFacts, side: str) -> Rules:
    hand = max((facts.left_hand, facts.right_hand), key=lambda hand: hand.speed)
    return {
        "speed_m_s": at_least(hand.speed, 1.8),
        "hand_m": at_least(hand.high, 1.2),
        "ahead_m": at_least(hand.ahead, 0.24),
    }


def _walk(facts: BodyFacts, side: str) -> Rules:
    return {
        "forward_m": at_least(facts.forward, 0.6),
        "speed_m_s": Rule(facts.path / facts.seconds, 0.3, 2.0),
        "straight_deg": Rule(facts.turn, -45.0, 45.0),
        "feet_on_floor_s": at_most(facts.air, 0.12),
    }


def _run(facts: BodyFacts, side: str) -> Rules:
    return {"speed_m_s": at_least(facts.path / facts.seconds, 1.5), "straight_deg": Rule(facts.turn, -45.0, 45.0)}


def _sneak(facts: BodyFacts, side: str) -> Rules:
    return {
        "forward_m": at_least(facts.forward, 0.5),
        "speed_m_s": at_most(facts.path / facts.seconds, 1.2),
        "knees_rad": at_least(min(facts.knees), 1.05),
        "lean_deg": at_least(facts.lean, 12.0),
    }


def _sidestep(facts: BodyFacts, side: str) -> Rules:
    return {
        f"{side}_m": at_least(_sign(side) * facts.leftward, 0.12),
        "turn_deg": Rule(facts.turn, -35.0, 35.0),
        "sideways_share": at_least(abs(facts.leftward) / max(facts.net, 1e-6), 0.7),
    }


def _turn(facts: BodyFacts, side: str) -> Rules:
    return {f"turn_{side}_deg": Rule(_sign(side) * facts.turn, 45.0, 400.0), **_stays(facts, 0.7)}


def _turn_quarter(facts: BodyFacts, side: str) -> Rules:
    return {f"turn_{side}_deg": Rule(_sign(side) * facts.turn, 55.0, 130.0), **_stays(facts, 0.7)}


def _turn_half(facts: BodyFacts, side: str) -> Rules:
    return {f"turn_{side}_deg": Rule(_sign(side) * facts.turn, 135.0, 225.0), **_stays(facts, 0.7)}


def _circle(facts: BodyFacts, side: str) -> Rules:
    return {f"turn_{side}_deg": at_least(_sign(side) * facts.turn, 45.0), "path_m": at_least(facts.path, 0.9)}


def _arm_side(facts: BodyFacts, side: str) -> Rules:
    hand, other = _hands(facts, side)
    return {
        "hand_m": at_least(hand.high, 1.35),
        "out_m": at_least(hand.out, 0.3),
        "other_stays_m": at_most(other.high, 1.1),
        "comes_down_m": at_most(hand.end, 1.15),
    }


def _arm_front(facts: BodyFacts, side: str) -> Rules:
    hand, other = _hands(facts, side)
    return {
        "hand_m": at_least(hand.high, 1.1),
        "ahead_m": at_least(hand.ahead, 0.2),
        "other_stays_m": at_most(other.high, 1.1),
        "comes_down_m": at_most(hand.end, 1.15),
    }


def _leg_raise(facts: BodyFacts, side: str) -> Rules:
    foot, other = _feet(facts, side)
    return {
        "foot_m": at_least(foot.high, 0.35),
        "ahead_m": at_least(foot.ahead, 0.35),
        "knee_rad": at_most(foot.straight, 0.9),
        "other_stays_m": at_most(other.high, 0.2),
        **_stays(facts),
    }


def _knee_raise(facts: BodyFacts, side: str) -> Rules:
    foot, other = _feet(facts, side)
    return {"knee_m": at_least(foot.knee, 0.25), "other_knee_m": at_most(other.knee, 0.2), **_stays(facts)}


def _arm_circles(facts: BodyFacts, side: str) -> Rules:
    return {
        "hands_m": at_least(min(facts.left_hand.high, facts.right_hand.high), 1.45),
        "way_m": at_least(min(facts.left_hand.way, facts.right_hand.way), 1.6),
        "back_m": at_least(min(facts.left_hand.back, facts.right_hand.back), 0.05),
        **_stays(facts),
    }


def _elbow_knee(facts: BodyFacts, side: str) -> Rules:
    """The elbow of that side to the other side's knee."""
    near, _ = facts.crossed if side == "left" else facts.crossed[::-1]
    _, foot = _feet(facts, side)
    return {"elbow_knee_m": at_most(near, 0.35), "knee_m": at_least(foot.knee, 0.35), **_stays(facts)}


def _at_face(facts: BodyFacts, side: str) -> Rules:
    hand = min((facts.left_hand, facts.right_hand), key=lambda hand: hand.face)
    return {"hand_face_m": at_most(hand.face, 0.33), **_stays(facts)}


def _push(facts: BodyFacts, side: str) -> Rules:
    return {"hands_m": at_least(min(facts.left_hand.ahead, facts.right_hand.ahead), 0.3)}


def _on_floor(facts: BodyFacts, side: str) -> Rules:
    """Push-ups, crawling: chest near the floor."""
    return {"pelvis_m": at_most(facts.pelvis_low, 0.45), "head_m": at_most(facts.head_low, 0.6)}


ACTIONS: dict[str, tuple[bool, Callable[[BodyFacts, str], Rules]]] = {
    "idle": (False, _still),
    "guard": (False, _guard),
    "jump": (False, _jump),
    "jump-forward": (False, _jump_forward),
    "jump-side": (True, _jump_side),
    "jump-turn": (False, _jump_turn),
    "jump-reach": (False, _jump_reach),
    "jumping-jacks": (False, _jumping_jacks),
    "hop": (False, _hop),
    "kick": (True, _kick),
    "kick-side": (True, _kick_side),
    "kick-back": (False, _kick_back),
    "kick-ball": (True, _kick_ball),
    "punch": (True, _punch),
    "squat": (False, _squat),
    "squat-twice": (False, _squat_twice),
    "squat-thrice": (False, _squat_thrice),
    "lunge": (True, _lunge),
    "side-lunge": (True, _side_lunge),
    "sit": (False, _sit),
    "crouch": (False, _crouch),
    "lie-down": (False, _lie),
    "floor": (True, _floor),
    "floor-any": (False, _floor_any),
    "grab-high": (True, _grab_high),
    "reach": (True, _reach),
    "reach-low": (True, _reach_low),
    "reach-out": (True, _reach_out),
    "catch": (False, _catch),
    "throw": (False, _throw),
    "walk": (False, _walk),
    "run": (False, _run),
    "sneak": (False, _sneak),
    "sidestep": (True, _sidestep),
    "turn": (True, _turn),
    "turn-quarter": (True, _turn_quarter),
    "turn-half": (True, _turn_half),
    "circle": (True, _circle),
    "arm-side": (True, _arm_side),
    "arm-front": (True, _arm_front),
    "leg-raise": (True, _leg_raise),
    "knee-raise": (True, _knee_raise),
    "arm-circles": (False, _arm_circles),
    "elbow-knee": (True, _elbow_knee),
    "at-face": (False, _at_face),
    "push": (False, _push),
    "on-floor": (False, _on_floor),
}
"""Actions with rules: whether one needs a side, and its rules."""

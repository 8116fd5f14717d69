"""Which node is which bone when names say nothing: by the shape of the tree in its rest pose.

A body standing along +Y has one joint where two like legs reach down and a trunk goes up, and above it one where two
like arms leave to the sides. Four legs, a tail or missing arms are no human, and are said to be so.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float

from motionloom.errors import RetargetError

_ALIKE = 0.15
"""Largest difference of two limbs that make a pair [share of the longer]."""
_TAIL = 0.6
"""A single limb from the hips of that share of a leg's length is a tail."""


def find_bones(positions: Float[np.ndarray, "N 3"], parents: Sequence[int], nodes: Sequence[int]) -> dict[str, int]:
    """Find a human in a tree of joints.

    Args:
        positions: Where every node is in rest, Y up, in any unit.
        parents: Parent of each node.
        nodes: The nodes that may be bones, parents before children.

    Returns:
        Anchor bones; ``left`` is at +X of a body that faces +Z, which the caller checks.

    Raises:
        RetargetError: It is no human: the message says what is missing.
    """
    inside = set(nodes)
    children: dict[int, list[int]] = {node: [] for node in nodes}
    for node in nodes:
        above = parents[node]
        while above >= 0 and above not in inside:
            above = parents[above]
        if above >= 0:
            children[above].append(node)
    chains = {node: _longest(node, children, positions) for node in nodes}
    height = float(np.ptp(positions[list(nodes), 1]))
    if height <= 0:
        raise RetargetError("not a humanoid: all joints lie at one height in rest")
    hips, legs = _legs(positions, children, chains, height, nodes)
    trunk, arms = _arms(positions, children, chains, hips, height)
    head = _head(positions, children, trunk, {chain[0] for chain in arms})
    _check_tail(positions, children, chains, hips, legs, set(trunk))
    found = {"hips": hips, "head": head}
    for name, pair, third in (("leg", legs, "foot"), ("arm", arms, "hand")):
        # The one further along +X is the left one.
        ordered = sorted(pair, key=lambda chain: -float(positions[chain[-1], 0]))
        for side, chain in zip(("left", "right"), ordered, strict=True):
            upper, lower, end = _limb(positions, children, chain, leg=name == "leg")
            found |= {f"{side}_upper_{name}": upper, f"{side}_lower_{name}": lower, f"{side}_{third}": end}
            if name == "leg" and (rest := chain[chain.index(end) + 1 :]):
                found[f"{side}_toe"] = rest[0]
            if name == "arm" and (before := chain[: chain.index(upper)]):
                found[f"{side}_collar"] = before[0]
    return found


def _longest(node: int, children: dict[int, list[int]], positions: np.ndarray) -> list[int]:
    """The path from a node to the leaf of its subtree that is furthest along the bones."""
    best: dict[int, tuple[float, list[int]]] = {}
    order, stack = [], [node]
    while stack:
        order.append(stack.pop())
        stack.extend(children[order[-1]])
    for joint in reversed(order):
        options = [
            (best[child][0] + float(np.linalg.norm(positions[child] - positions[joint])), [joint, *best[child][1]])
            for child in children[joint]
        ]
        best[joint] = max(options, key=lambda option: option[0], default=(0.0, [joint]))
    return best[node][1]


def _length(chain: Sequence[int], positions: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(positions[list(chain)], axis=0), axis=1).sum())


def _pair(a: Sequence[int], b: Sequence[int], positions: np.ndarray, height: float) -> bool:
    """Whether two chains are each other's mirror image in some vertical plane along Z."""
    la, lb = _length(a, positions), _length(b, positions)
    if max(la, lb) <= 0.1 * height or abs(la - lb) > _ALIKE * max(la, lb):
        return False
    ends = positions[a[-1]], positions[b[-1]]
    across = abs(float(ends[0][0] - ends[1][0]))
    return abs(float(ends[0][1] - ends[1][1])) < 0.08 * height and across > 0.04 * height


def _legs(
    positions: np.ndarray,
    children: dict[int, list[int]],
    chains: dict[int, list[int]],
    height: float,
    nodes: Sequence[int],
) -> tuple[int, list[list[int]]]:
    floor = float(positions[list(nodes), 1].min())
    options = []
    for node in nodes:
        for a, b in combinations(children[node], 2):
            low = max(float(positions[chains[x][-1], 1]) for x in (a, b)) - floor
            drop = float(positions[a, 1]) - float(positions[chains[a][-1], 1])
            if low < 0.15 * height and drop > 0.25 * height and _pair(chains[a], chains[b], positions, height):
                options.append((drop, node, [chains[a], chains[b]]))
    if not options:
        raise RetargetError("not a humanoid: no pair of like legs reaches down from one joint")
    if len({tuple(sorted(chain[-1] for chain in pair)) for _, _, pair in options}) > 1:
        raise RetargetError("not a humanoid: more than two legs reach the floor")
    _, hips, legs = max(options, key=lambda option: option[0])
    return hips, legs


def _arms(
    positions: np.ndarray,
    children: dict[int, list[int]],
    chains: dict[int, list[int]],
    hips: int,
    height: float,
) -> tuple[list[int], list[list[int]]]:
    """The trunk, from the joint above the hips to where the arms leave, and the arms."""
    options = []
    stack = [[child] for child in children[hips]]
    while stack:
        path = stack.pop()
        node = path[-1]
        for a, b in combinations(children[node], 2):
            rise = float(positions[node, 1] - positions[hips, 1])
            if rise > 0.08 * height and _pair(chains[a], chains[b], positions, height):
                length = _length(chains[a], positions)
                if length > 0.2 * height:
                    options.append((length, path, [chains[a], chains[b]]))
        stack.extend([*path, child] for child in children[node])
    if not options:
        raise RetargetError("not a humanoid: no pair of like arms leaves a trunk above the hips")
    _, path, arms = max(options, key=lambda option: option[0])
    bone = positions[path[-1]] - positions[hips]
    if float(bone[1]) < 0.7 * float(np.linalg.norm(bone)):
        raise RetargetError("not a humanoid: the trunk does not rise from the hips in rest")
    return path, arms


def _head(positions: np.ndarray, children: dict[int, list[int]], trunk: list[int], arms: set[int]) -> int:
    """The joint that carries the top: where the chain above the arms branches or ends."""
    top = trunk[-1]
    above = [child for child in children[top] if child not in arms]
    start = max(above, key=lambda node: float(positions[node, 1]), default=-1)
    if start < 0 or positions[start, 1] < positions[top, 1]:
        raise RetargetError("not a humanoid: no neck or head goes up from where the arms leave")
    path = [start]
    while len(children[path[-1]]) == 1:
        path.append(children[path[-1]][0])
    end, height = path[-1], float(np.ptp(positions[:, 1]))
    # The tip of a head lies a head above it; a joint that is nearer is the head itself.
    if len(path) > 1 and not children[end] and positions[end, 1] - positions[path[-2], 1] > 0.07 * height:
        return path[-2]
    return end


def _check_tail(
    positions: np.ndarray,
    children: dict[int, list[int]],
    chains: dict[int, list[int]],
    hips: int,
    legs: list[list[int]],
    trunk: set[int],
) -> None:
    used = {chain[0] for chain in legs} | trunk
    leg = _length(legs[0], positions)
    for child in children[hips]:
        if child not in used and len(chains[child]) > 2 and _length(chains[child], positions) > _TAIL * leg:
            raise RetargetError("not a humanoid: a tail, or a fifth limb, leaves the hips")


def _limb(
    positions: np.ndarray, children: dict[int, list[int]], chain: list[int], *, leg: bool
) -> tuple[int, int, int]:
    """Upper, lower and end joint of a limb's chain."""
    if len(chain) < 3:
        raise RetargetError(f"not a humanoid: {'a leg' if leg else 'an arm'} has {len(chain)} joints; three are needed")
    place = positions[list(chain)]
    steps = np.linalg.norm(np.diff(place, axis=0), axis=1)
    along = np.concatenate(([0.0], steps.cumsum()))
    whole = float(along[-1])
    best, score = (0, 1, 2), -1e9
    # A hand is where fingers part: after it little of the limb is left.
    branch = next(
        (at for at in range(2, len(chain)) if len(children[chain[at]]) >= 2 and whole - along[at] < 0.45 * whole), None
    )
    for a, b, c in combinations(range(len(chain)), 3):
        first, second = place[b] - place[a], place[c] - place[b]
        upper, lower = float(np.linalg.norm(first)), float(np.linalg.norm(second))
        if min(upper, lower) < 0.12 * whole:
            continue
        value = -abs(np.log(lower / upper / (0.95 if leg else 0.85)))
        # A bone in pieces is straight; a hip joint before the thigh, or a foot after the shin, is not.
        value += 4.0 * (upper / (along[b] - along[a]) + lower / (along[c] - along[b]) - 2.0)
        if leg:
            beside = second - (second @ first) / (upper * upper) * first
            value += 2.0 * float(place[a, 1] - place[c, 1]) / whole - 4.0 * float(np.linalg.norm(beside)) / whole
        else:
            value += (upper + lower) / whole + 2.0 * (branch == c)
            # Before a long upper arm a short first bone is a collar.
            value += 0.5 * (a == 1 and steps[0] < 0.75 * steps[1])
        value -= 0.02 * (c - b + b - a)
        if value > score:
            best, score = (a, b, c), value
    return chain[best[0]], chain[best[1]], chain[best[2]]


__all__ = ["find_bones"]

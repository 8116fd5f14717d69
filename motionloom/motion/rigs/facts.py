"""What a game needs to know of a clip beside its curves; ``clip.schema.json`` describes it.

The same words are in a glTF animation's ``extras`` and in the sidecar ``clip.json``.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from motionloom.motion import rotations as rot
from motionloom.motion.contacts import foot_contacts
from motionloom.motion.kinematics import facing
from motionloom.motion.motion import Motion

if TYPE_CHECKING:
    from motionloom.motion.rigs.certificate import Certificate

FEET = ("left_ankle", "left_foot", "right_ankle", "right_foot")
FORMAT = 1


def facts_of(
    motion: Motion,
    *,
    loop: bool = False,
    contacts: np.ndarray | None = None,
    certificate: "Certificate | None" = None,
) -> dict[str, Any]:
    """Facts of a clip of the canonical tree.

    Args:
        motion: The motion.
        loop: Whether it is meant to repeat.
        contacts: ``(T, 4)`` flags, where they are known better than the motion tells.
        certificate: How well it went onto a character.
    """
    source = motion.provenance
    found: dict[str, Any] = {
        "format": FORMAT,
        "fps": motion.fps,
        "frames": len(motion),
        "seconds": round(motion.seconds, 6),
        "loop": loop,
    }
    for key, value in (
        ("text", source.text),
        ("source", source.source),
        ("engine", source.engine),
        ("licence", source.licence),
    ):
        if value:
            found[key] = value
    if source.seed is not None:
        found["seed"] = source.seed
    human = motion.skeleton.names[:1] == ("pelvis",) and len(motion.skeleton) >= 22
    root = motion.root.detach().cpu().double().numpy()
    # A loop that repeats its first pose at the end has one frame less to a cycle.
    repeats = loop and len(motion) > 2 and _same_pose(motion)
    if loop:
        found["cycle_frames"] = len(motion) - 1 if repeats else len(motion)
    steps = found.get("cycle_frames", len(motion) - 1) / max(len(motion) - 1, 1)
    cycle = (root[-1] - root[0])[[0, 2]] * steps
    found["travel"] = {"x": round(float(cycle[0]), 4), "z": round(float(cycle[1]), 4)}
    if human:
        forward = facing(motion.positions.detach().cpu()[:, :22])
        yaw = np.unwrap(torch.atan2(forward[:, 0], forward[:, 2]).double().numpy())
        found["turn_degrees"] = round(float(np.degrees(yaw[-1] - yaw[0])) * steps, 2)
        if contacts is None:
            contacts = (
                motion.contacts.cpu().numpy()
                if motion.contacts is not None
                else foot_contacts(motion.positions.detach().cpu()[:, :22], motion.fps).numpy()
            )
        found["contacts"] = {foot: _spans(contacts[:, at]) for at, foot in enumerate(FEET)}
        found["events"] = events_of(contacts, motion.fps)
    if certificate is not None:
        found["certificate"] = certificate.as_json()
    return found


def _same_pose(motion: Motion) -> bool:
    """Whether the last pose is the first one again, but for the way and heading of the root."""
    first, last = motion.rotations[0, 1:].double(), motion.rotations[-1, 1:].double()
    return float(rot.angle_between(first, last).max()) < 1e-3 if len(first) else False


def events_of(contacts: np.ndarray, fps: float) -> list[dict[str, Any]]:
    """When each foot comes down and goes up; a foot stands while its ankle or toe does."""
    found = []
    for side, columns in (("left", (0, 1)), ("right", (2, 3))):
        stands = np.asarray(contacts[:, columns].any(axis=1))
        for first, stop in _spans(stands):
            if first > 0:
                found.append({"event": f"{side}_foot_down", "frame": first, "time": round(first / fps, 6)})
            if stop < len(stands):
                found.append({"event": f"{side}_foot_up", "frame": stop, "time": round(stop / fps, 6)})
    return sorted(found, key=lambda event: (event["frame"], event["event"]))


def _spans(flags: np.ndarray) -> list[list[int]]:
    """Turn booleans into ``[first, stop)`` pairs."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return [[int(first), int(stop)] for first, stop in edges.reshape(-1, 2)]

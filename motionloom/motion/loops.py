"""Loops: what a motion that goes on into its beginning says about itself, and how files close it.

How far a loop carries its body is a note of its provenance, which travels through every format that holds notes.
"""

import re
from dataclasses import dataclass

import torch

from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion

_NOTE = re.compile(
    r"a loop: with each turn the root moves by x (-?\d+\.\d+) m, z (-?\d+\.\d+) m and turns by (-?\d+\.\d+) rad"
)
SMALL_WAY, SMALL_TURN = 0.3, 0.2
"""Way [m] and turn [rad] of a loop that is meant to stay in place."""


@dataclass(frozen=True)
class Turn:
    """What one turn of a loop does to the root.

    Attributes:
        x: How far it comes to the left [m], seen from its first frame's place.
        z: How far it comes ahead [m].
        angle: How far it turns to its left [rad].
    """

    x: float
    z: float
    angle: float

    @property
    def small(self) -> bool:
        """Whether the body is meant to stay where it is."""
        return (self.x**2 + self.z**2) ** 0.5 <= SMALL_WAY and abs(self.angle) <= SMALL_TURN


def loop_note(turn: Turn) -> str:
    """The note by which a loop is known again."""
    return (
        f"a loop: with each turn the root moves by x {turn.x:.4f} m, z {turn.z:.4f} m and turns by {turn.angle:.4f} rad"
    )


def loop_of(motion: Motion) -> Turn | None:
    """What a turn of a loop does to its root; nothing where the motion is no loop."""
    for note in reversed(motion.provenance.notes):
        found = _NOTE.search(note)
        if found:
            return Turn(*(float(number) for number in found.groups()))
    return None


def closed(motion: Motion, turn: Turn | None, *, in_place: bool) -> Motion:
    """A loop with one frame more, at which it begins again.

    Args:
        motion: One turn; its last frame is the one before its first.
        turn: What it does to its root; ``None`` where nothing is known, and the closing frame is the first.
        in_place: Take the way and the turn out, evenly over the frames, so that the closing frame is the first.
    """
    turn = turn or Turn(0.0, 0.0, 0.0)
    frames = len(motion)
    share = torch.arange(frames + 1, dtype=torch.float32)[:, None] / frames
    step = torch.tensor([turn.x, 0.0, turn.z])
    rotations = torch.cat((motion.rotations, motion.rotations[:1]))
    root = torch.cat((motion.root, motion.root[:1]))
    if in_place:
        back = rot.about("Y", -turn.angle * share[:, 0])
        start = motion.root[:1] * torch.tensor([1.0, 0.0, 1.0])
        moved = rot.rotate(back[:-1], motion.root - start - share[:-1] * step)
        root = torch.cat((moved + start, motion.root[:1]))
        rotations = rotations.clone()
        rotations[:-1, 0] = rot.multiply(back[:-1], rotations[:-1, 0])
    else:
        root[-1] = motion.root[0] + step
        rotations = rotations.clone()
        rotations[-1, 0] = rot.multiply(rot.about("Y", torch.tensor(turn.angle)), rotations[0, 0])
    flags = {
        name: None if flag is None else torch.cat((flag, flag[:1]))
        for name, flag in (("valid", motion.valid), ("contacts", motion.contacts))
    }
    return motion.with_(rotations=rot.normalize(rotations), root=root, **flags)

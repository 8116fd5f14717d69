"""Motion whose end goes on into its beginning.

The tokens around the wrap are made again with the clip's end before and its beginning behind them; then several turns
are decoded at once and the middle one is kept, so that the decoder sees no ends.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from motionloom.engines.mmm.tokens import Job, MMMOptions, Tokens
from motionloom.engines.seeds import item_seed
from motionloom.errors import RequestError
from motionloom.metrics.seams import SeamJerk, seam_jerk
from motionloom.motion import rotations as rot
from motionloom.motion.blend import resample_smoothly
from motionloom.motion.edit import turn
from motionloom.motion.kinematics import facing, yaw
from motionloom.motion.loops import Turn, loop_note
from motionloom.motion.motion import Motion, take
from motionloom.progress import SILENT, Progress

HIDDEN = 3
"""Tokens made again on each side of the wrap."""
SHORTEST = 6
"""Tokens of the shortest loop."""
SIGHT = 24
"""Tokens of other turns that the decoder is given on each side: more than it reads."""


@dataclass(frozen=True, eq=False)
class Loop:
    """One turn of a loop, and how the root advances with it.

    Attributes:
        motion: The turn; its last frame is the one before its first.
        angle: How far the body turns to its left in a turn of the loop [rad].
        shift: Where the root is, seen from the first frame's place, when the loop begins again [m].
    """

    motion: Motion
    angle: float
    shift: Float[Tensor, "3"]

    def turns(self, count: int) -> Motion:
        """The loop played several times, one after the other."""
        pieces, piece = [], self.motion
        for _ in range(count):
            pieces.append(piece)
            start = piece.root[0]
            moved = turn(piece, self.angle)
            # The step is seen from where this turn began.
            heading = rot.yaw_of(piece.rotations[0, 0]) - rot.yaw_of(self.motion.rotations[0, 0])
            step = rot.rotate(rot.about("Y", heading), self.shift)
            piece = moved.with_(root=moved.root - moved.root[0] + start + step)
        contacts = [piece.contacts for piece in pieces if piece.contacts is not None]
        return self.motion.with_(
            rotations=torch.cat([piece.rotations for piece in pieces]),
            root=torch.cat([piece.root for piece in pieces]),
            contacts=torch.cat(contacts) if contacts else None,
            valid=None,
        )

    def at_fps(self, fps: float) -> Motion:
        """One turn at another frame rate; its length becomes the nearest whole number of frames."""
        if fps == self.motion.fps:
            return self.motion
        frames = max(2, round(self.motion.seconds * fps))
        times = self.motion.seconds * (1 + torch.arange(frames, dtype=torch.float64) / frames)
        one = resample_smoothly(self.turns(3), times.float(), fps)
        # The middle one of three turns, moved back to where the first one began.
        back = rot.yaw_of(self.motion.rotations[0, 0]) - rot.yaw_of(one.rotations[0, 0])
        one = turn(one, float(back))
        return one.with_(root=one.root - one.root[0] + self.motion.root[0])


def wrap_jerk(motion: Motion) -> SeamJerk:
    """Jerk where a loop closes, of the body in place: the root's way and heading are taken away.

    Args:
        motion: One turn, of the canonical tree.
    """
    ground = motion.root * torch.tensor([1.0, 0.0, 1.0])
    angle = yaw(facing(motion.positions))
    local = rot.rotate(rot.about("Y", -angle)[:, None], motion.positions - ground[:, None])
    return seam_jerk(torch.cat((local, local)), motion.fps, [len(local)])


def close(
    tokens: Tokens, jobs: list[Job], options: MMMOptions, progress: Progress = SILENT
) -> list[Int[Tensor, "N *parts"]]:
    """Make motions and the tokens around their wraps.

    Raises:
        RequestError: A loop is too short, or longer than one piece.
    """
    for job in jobs:
        if not SHORTEST <= len(job.ids) <= tokens.most:
            raise RequestError(
                f"a loop of {len(job.ids) / tokens.rate:.1f} s; loops take {SHORTEST / tokens.rate:.1f} to"
                f" {tokens.most / tokens.rate:.1f} s"
            )
    found = tokens.fill(jobs, options, progress)
    rolled = []
    for job, ids in zip(jobs, found, strict=True):
        half, hidden = len(ids) // 2, min(HIDDEN, len(ids) // 4)
        ids = ids.roll(half, dims=0)
        ids[half - hidden : half + hidden] = tokens.masked.config.mask_id
        rolled.append(Job(ids, job.text, item_seed(job.seed, 1)))
    filled = tokens.fill(rolled, options, progress)
    return [ids.roll(-(len(ids) // 2), dims=0) for ids in filled]


def decode_loop(tokens: Tokens, ids: Int[Tensor, "N *parts"]) -> Loop:
    """One turn of a loop of tokens, from over the origin, facing +Z."""
    around = -(-SIGHT // len(ids))
    frames = len(ids) * tokens.per_token
    long = tokens.decode(torch.cat([ids] * (2 * around + 1)), foot_locked=True)
    first = around * frames
    one, following = (take(long, torch.arange(at, at + frames)) for at in (first, first + frames))
    angle = float(rot.yaw_of(following.rotations[0, 0]) - rot.yaw_of(one.rotations[0, 0]))
    shift = following.root[0] - one.root[0]
    back = -float(yaw(facing(one.positions[0])))
    shift = rot.rotate(rot.about("Y", torch.tensor(back)), shift)
    one = turn(one, back)
    ground = one.root[0] * torch.tensor([1.0, 0.0, 1.0])
    one = one.with_(root=one.root - ground)
    angle = (angle + torch.pi) % (2 * torch.pi) - torch.pi
    note = loop_note(Turn(float(shift[0]), float(shift[2]), angle))
    return Loop(one.with_(provenance=one.provenance.noting(note)), angle, shift)

"""One take of a dataset to clips of the canonical body: read, cut, set on the floor, measured.

Every step is a function of the take alone, so takes can be converted anywhere and in any order.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.data.cuts import Piece, pieces_of
from motionloom.data.quality import REFUSED, flags
from motionloom.data.sources import Take, reader
from motionloom.errors import DataError, MotionloomError
from motionloom.motion import io
from motionloom.motion import rotations as rot
from motionloom.motion.contacts import foot_contacts
from motionloom.motion.edit import floor_height
from motionloom.motion.kinematics import facing, yaw
from motionloom.motion.motion import Motion
from motionloom.motion.motion import take as take_frames
from motionloom.motion.retarget import retarget
from motionloom.motion.skeleton import CANONICAL, PARTS

MAX_FPS = 60.0
"""Faster captures are strided down to at most this."""
MIN_SECONDS = 0.8
MAX_SPEED = 12.0
"""A root faster than this [m/s] is a tracking error: nobody runs so fast."""
_LEGS = ("left_leg", "right_leg")
_BODY = len(CANONICAL)


@dataclass(frozen=True, eq=False)
class Converted:
    """A clip as it goes into a store.

    Attributes:
        motion: On the floor, facing +Z over the origin in frame 0; 52 joints where its fingers are known.
        notes: What was done to it on the way.
        flags: What the quality gate measured and found odd.
    """

    motion: Motion
    notes: str
    flags: tuple[str, ...]


def convert_take(item: Take) -> Converted:
    """One take as one clip.

    Raises:
        DataError: The take is refused: by its source, or because too little of it is usable.
        MotionloomError: The file cannot be read or moved onto the canonical body.
    """
    return _finished(item, read_take(item))


def convert_pieces(item: Take) -> Iterator[tuple[Piece, Converted | MotionloomError]]:
    """Each clip of a take, or why it is refused."""
    try:
        motion = read_take(item)
        pieces = pieces_of(item, motion.seconds)
    except MotionloomError as error:
        yield Piece("", 0.0, 0.0, ()), error
        return
    for piece in pieces:
        try:
            yield piece, _finished(item, _cut(motion, piece.start, piece.stop) if piece.name else motion)
        except MotionloomError as error:
            yield piece, error


def read_take(item: Take) -> Motion:
    """A take as a canonical motion where its file has it: cut to its times, at 60 fps at most, its parts known."""
    if item.refuse:
        raise DataError(item.refuse)
    if item.read:
        motion = reader(item.read)(item)
    elif item.path.suffix.lower() == ".bvh":
        motion = io.load(item.path, unit=item.unit, fps=item.fps)
    else:
        motion = io.load(item.path)
    if item.fps is not None and motion.fps != item.fps:
        motion = motion.with_(fps=item.fps)
    if item.start is not None or item.stop is not None:
        motion = _cut(motion, item.start or 0.0, motion.seconds if item.stop is None else item.stop)
    stride = max(1, math.ceil(motion.fps / MAX_FPS - 0.01))  # 59.94 and 60.2 count as 60
    frames = torch.arange(item.skip, len(motion), stride)
    if len(frames) == 0:
        raise DataError(f"only {len(motion)} frames, {item.skip} of which are no motion")
    if stride > 1 or item.skip:
        motion = take_frames(motion, frames, motion.fps / stride)
    motion = retarget(motion, hands=True)
    if item.valid is None:
        return motion
    known = torch.tensor([part in item.valid for part in PARTS])
    if motion.valid is None and bool(known[:-3].all()) and (len(motion.skeleton) == _BODY or bool(known[-3:-1].all())):
        return motion
    return motion.with_(valid=known.expand(len(motion), -1) & (True if motion.valid is None else motion.valid))


def _cut(motion: Motion, start: float, stop: float) -> Motion:
    """The frames between two times [s]."""
    first, last = round(start * motion.fps), min(len(motion), round(stop * motion.fps))
    if first >= last:
        raise DataError(f"nothing is left between {start:g} s and {stop:g} s of {motion.seconds:.2f} s")
    return take_frames(motion, torch.arange(first, last))


def _finished(item: Take, motion: Motion) -> Converted:
    motion, note = _without_teleports(motion)
    if motion.seconds < MIN_SECONDS:
        raise DataError(f"{motion.seconds:.2f} s long; at least {MIN_SECONDS} s are needed")
    legs = all(bool(motion.part_valid(part).all()) for part in _LEGS)
    motion, positions = _settled(motion)
    if not legs:
        # Legs that nobody saw stand as at rest; that tells nothing about the floor.
        motion = motion.with_(contacts=None)
    body = motion.with_(skeleton=CANONICAL, rotations=motion.rotations[:, :_BODY])
    found = flags(body, legs, positions)
    worst = next((flag for flag in found if flag.name in REFUSED and not (item.still and flag.name == "frozen")), None)
    if worst is not None:
        raise DataError(f"{worst.name}: {worst.detail}")
    raw = [text for text in motion.provenance.notes if text.startswith("bone-drift:")]
    notes = [motion.provenance.notes[-1] if motion.provenance.notes else "", note]
    return Converted(motion, "; ".join(filter(None, notes)), (*raw, *(f"{flag.name}: {flag.detail}" for flag in found)))


def _settled(motion: Motion) -> tuple[Motion, Float[Tensor, "T 22 3"]]:
    """On the floor, facing +Z over the origin in frame 0, with contacts; and where its joints then are.

    Three edits for one forward kinematics.
    """
    positions = motion.positions[:, :_BODY]
    floor = floor_height(positions)
    by = rot.about("Y", -yaw(facing(positions[0])))
    rotations = motion.rotations.clone()
    rotations[:, 0] = rot.multiply(by, rotations[:, 0])
    down = torch.tensor([0.0, floor, 0.0])
    root = rot.rotate(by, motion.root - down)
    start = root[0] * torch.tensor([1.0, 0.0, 1.0])
    settled = motion.with_(rotations=rotations, root=root - start, contacts=foot_contacts(positions, motion.fps, floor))
    return settled, rot.rotate(by, positions - down) - start


def _without_teleports(motion: Motion) -> tuple[Motion, str]:
    """The longest span without a jump of the root."""
    speed = (motion.root[1:] - motion.root[:-1]).norm(dim=-1) * motion.fps
    jumps = (speed > MAX_SPEED).nonzero().flatten().tolist()
    if not jumps:
        return motion, ""
    edges = [0, *(jump + 1 for jump in jumps), len(motion)]
    first, last = max(pairwise(edges), key=lambda span: span[1] - span[0])
    return take_frames(motion, torch.arange(first, last)), (
        f"the root jumps at {float(speed.max()):.0f} m/s: only frames {first} to {last - 1} of {len(motion)} kept"
    )

"""Putting made motion between known motion so that known cells stay as they are and no seam is seen.

Made motion never meets the known one exactly. Known cells are copied; where they end, the difference between both,
its speed and its acceleration are taken at the border and decay to zero over the made side ("inertialisation"), joint
by joint; then the made frames next to the border are moved a little so that jerk is least. The root is first moved
rigidly so that heading and place agree at the border; what is left at a run's other end is spread over the run.

Sources: the quintic decay, D. Bollo, "Inertialization: high-performance animation transitions in Gears of War" (GDC
2018); least jerk with a pull to the data, P. Eilers, "A perfect smoother" (2003); the spline, M. Unser, "Splines: a
perfect fit for signal and image processing" (1999).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import JOINT_PARTS, PARTS

BLEND = 0.5
"""Longest time over which a difference at a border decays [s]."""
LOOK = 0.1
"""Time before a border over which speed and acceleration of the difference are estimated [s]."""
EASE = 0.4
"""How far from a border made frames are moved to lessen jerk [s]."""
STIFF = 0.08
"""Time scale below which that smooths [s]."""
_POLE = math.sqrt(3.0) - 2.0
_REACH = 14
"""Taps of the spline's prefilter on each side; what is left out is below 1e-8."""


def resample_smoothly(motion: Motion, times: Float[Tensor, " K"], fps: float) -> Motion:
    """The motion at the given times [s] by cubic splines: no jump in speed or acceleration where frames were.

    Made for motion of few frames a second that is to stand beside one of many. Contacts are those of the nearest
    frame. Times may leave the motion by one frame at most.
    """
    place = times.double() * motion.fps
    rotations = _spline(rot.continuous(motion.rotations).flatten(1), place).unflatten(1, motion.rotations.shape[1:])
    nearest = place.round().long().clamp(0, len(motion) - 1)
    return motion.with_(
        rotations=rot.normalize(rotations),
        root=_spline(motion.root, place),
        fps=fps,
        valid=None,
        contacts=None if motion.contacts is None else motion.contacts[nearest],
    )


def faster(motion: Motion, fps: float) -> Motion:
    """The motion at a higher frame rate by cubic splines, as long as it is to the nearest frame."""
    return resample_smoothly(motion, torch.arange(round(motion.seconds * fps)) / fps, fps)


def _spline(track: Float[Tensor, "T C"], place: Tensor) -> Float[Tensor, "K C"]:
    """Cubic B-spline through a track; at its ends it goes on point-symmetrically, so that speeds stay."""
    values = track.double()
    pad = _REACH + 2
    index = torch.arange(1, pad + 1).clamp(max=len(values) - 1)
    padded = torch.cat((2 * values[:1] - values[index].flip(0), values, 2 * values[-1:] - values[-1 - index]))
    taps = math.sqrt(3.0) * _POLE ** torch.arange(-_REACH, _REACH + 1).abs().double()
    weights = torch.nn.functional.conv1d(padded.T[:, None], taps[None, None])[:, 0].T
    low = place.floor().long().clamp(-1, len(values) - 1)
    u = (place - low)[:, None]
    base = low + pad - _REACH
    cubes = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3)
    total = torch.zeros(len(place), values.shape[1], dtype=torch.float64)
    for step, cube in enumerate(cubes, start=-1):
        total += cube / 6 * weights[base + step]
    return total.to(track)


@dataclass(frozen=True)
class Run:
    """Frames ``start`` to ``stop`` (not counted) of something that is to be made."""

    start: int
    stop: int


def runs(mask: Bool[Tensor, " T"]) -> list[Run]:
    """Unbroken stretches of True."""
    steps = torch.diff(torch.nn.functional.pad(mask.int(), (1, 1)))
    starts, stops = (steps == 1).nonzero()[:, 0].tolist(), (steps == -1).nonzero()[:, 0].tolist()
    return [Run(start, stop) for start, stop in zip(starts, stops, strict=True)]


def compose(
    source: Motion,
    known: Bool[Tensor, "T 10"],
    made: Motion,
    anchor: int = 0,
    blend: float = BLEND,
    overlaps: bool = True,
) -> Motion:
    """Known cells of one motion, all others of another, without seams.

    Args:
        source: Holds the known cells, which are copied to the bit; the others do not matter.
        known: Which cells of the canonical body are known.
        made: Of the same length, frame rate and skeleton; its root may stand and face anywhere.
        anchor: Frame in which ``made`` is put where ``source`` is, if the root is known nowhere.
        blend: Longest time over which a difference at a border decays [s].
        overlaps: Whether ``made`` says something of its own where cells are known. If it only repeats them there, the
            difference at a border is that to where its free frames come from, straight on.
    """
    rotations, root = source.rotations.clone(), source.root.clone()
    joints = {part: [i for i, n in enumerate(source.skeleton.names) if JOINT_PARTS[n] == part] for part in PARTS}
    for part, members in joints.items():
        mask = known[:, PARTS.index(part)]
        if not members:
            continue
        for run in runs(~mask):
            borders = _Borders(mask, run, source.fps, blend)
            if part == "root":
                turned, moved = _placed(source, made, run, anchor)
                moved = moved if overlaps else _straight_on(moved, run, source.fps)
                root[run.start : run.stop] = borders.shifted(source.root, moved)
                _ease(root, moved, run, source.fps)
            else:
                turned = made.rotations[:, members]
            turned = turned if overlaps else _turning_on(turned, run, source.fps)
            rotations[run.start : run.stop, members] = borders.turned(source.rotations[:, members], turned)
            eased = rot.continuous(rotations[:, members])
            _ease(eased, _same_signs(turned, eased), run, source.fps)
            # Signs may have changed: only what was made is written.
            rotations[run.start : run.stop, members] = rot.normalize(eased[run.start : run.stop])
    legs = known[:, PARTS.index("left_leg")] & known[:, PARTS.index("right_leg")]
    contacts = None
    if made.contacts is not None and source.contacts is not None:
        contacts = torch.where(legs[:, None], source.contacts, made.contacts)
    return source.with_(rotations=rotations, root=root, contacts=contacts, valid=None)


def _placed(source: Motion, made: Motion, run: Run, anchor: int) -> tuple[Float[Tensor, "T 1 4"], Float[Tensor, "T 3"]]:
    """Root rotation and place of the made motion, moved so that both borders of a run agree with the source."""
    frames = len(made)
    left = run.start - 1 if run.start > 0 else run.stop if run.stop < frames else anchor
    right = run.stop if run.stop < frames else left
    turns, moves = [], []
    for at in (left, right):
        angle = rot.yaw_of(source.rotations[at, 0]) - rot.yaw_of(made.rotations[at, 0])
        shift = source.root[at] - rot.rotate(rot.about("Y", angle), made.root[at])
        shift[1] = 0.0
        turns.append(angle)
        moves.append(rot.rotate(rot.about("Y", angle), made.root) + shift)
    share = _smooth_step((torch.arange(frames) - left) / max(1, right - left))
    between = torch.remainder(turns[1] - turns[0] + torch.pi, 2 * torch.pi) - torch.pi
    angle = turns[0] + share * between
    return (
        rot.multiply(rot.about("Y", angle), made.rotations[:, 0])[:, None],
        torch.lerp(moves[0], moves[1], share[:, None]),
    )


def _smooth_step(share: Tensor) -> Tensor:
    """From 0 to 1 without a jump in speed or acceleration."""
    share = share.clamp(0, 1)
    return share**3 * (10 - 15 * share + 6 * share**2)


def _same_signs(quaternions: Tensor, like: Tensor) -> Tensor:
    """The same rotations, each quaternion with the sign that is nearer to another one."""
    return torch.where((quaternions * like).sum(-1, keepdim=True) < 0, -quaternions, quaternions)


def _ease(track: Float[Tensor, "T *channels"], made: Float[Tensor, "T *channels"], run: Run, fps: float) -> None:
    """Move the made frames of a run next to its borders, in place, so that what is added to them jerks least.

    The nearer a frame is to a border, the less it is held where it was.
    """
    reach = max(3, round(EASE * fps))
    left = Run(run.start, min(run.start + reach, run.stop)) if run.start > 0 else None
    right = Run(max(run.start, run.stop - reach), run.stop) if run.stop < len(track) else None
    if left is not None and right is not None and left.stop >= right.start:
        pieces = [run]
    else:
        pieces = [piece for piece in (left, right) if piece is not None]
    for piece in pieces:
        frames = torch.arange(piece.start, piece.stop)
        distance = torch.full((len(frames),), float(reach), dtype=torch.float64)
        if run.start > 0:
            distance = torch.minimum(distance, (frames - run.start + 1).double())
        if run.stop < len(track):
            distance = torch.minimum(distance, (run.stop - frames).double())
        held = (distance / reach) ** 3
        first, last = max(0, piece.start - 3), min(len(track), piece.stop + 3)
        if last - first < 4:
            continue
        size = last - first
        third = torch.diff(torch.eye(size, dtype=torch.float64), n=3, dim=0) * (STIFF * fps) ** 3
        free = torch.zeros(size, dtype=torch.bool)
        free[piece.start - first : piece.stop - first] = True
        base = made[first:last].double().flatten(1)
        values = track[first:last].double().flatten(1) - base
        inner = third[:, free]
        right_side = held[:, None] * values[free] - inner.T @ (third[:, ~free] @ values[~free])
        solved = torch.linalg.solve(torch.diag(held) + inner.T @ inner, right_side)
        track[piece.start : piece.stop] = (solved + base[free]).unflatten(1, track.shape[1:]).to(track)


def _straight_on(track: Float[Tensor, "T C"], run: Run, fps: float) -> Float[Tensor, "T C"]:
    """A track whose frames beside a run go on as its first and last two frames go."""
    found = track.clone()
    for edge, step, at in _beside(run, len(track), fps):
        found[at] = track[edge] + (at - edge).abs()[:, None] * (track[edge] - track[step])
    return found


def _turning_on(track: Float[Tensor, "T J 4"], run: Run, fps: float) -> Float[Tensor, "T J 4"]:
    """The same for rotations."""
    found = track.clone()
    for edge, step, at in _beside(run, len(track), fps):
        turn = rot.to_axis_angle(rot.multiply(track[edge], rot.conjugate(track[step])))
        far = (at - edge).abs()[:, None, None]
        found[at] = _same_signs(rot.multiply(rot.from_axis_angle(far * turn), track[edge]), track[edge])
    return found


def _beside(run: Run, frames: int, fps: float) -> list[tuple[int, int, Int[Tensor, " n"]]]:
    """For each border of a run its nearest frame, the one behind that, and frames on the other side."""
    reach, first, last = _reach(fps), run.start, run.stop - 1
    sides = [
        (first, min(first + 1, last), torch.arange(max(0, first - reach), first)),
        (last, max(last - 1, first), torch.arange(run.stop, min(frames, run.stop + reach))),
    ]
    return [side for side in sides if len(side[2])]


def _reach(fps: float) -> int:
    """Known frames at a border that are looked at."""
    return max(3, round(LOOK * fps) + 1)


class _Borders:
    """The decaying differences at both ends of a run.

    Args:
        known: Where the source holds.
        run: What is made.
        fps: Frame rate.
        blend: Longest decay [s].
    """

    def __init__(self, known: Bool[Tensor, " T"], run: Run, fps: float, blend: float) -> None:
        self.run = run
        length = run.stop - run.start
        reach = _reach(fps)
        self.span = min(blend * fps, float(length + 1))
        self.sides: list[tuple[Int[Tensor, " n"], Float[Tensor, " L"]]] = []
        if run.start > 0:
            count = _count(known[: run.start].flip(0), reach)
            self.sides.append((run.start - 1 - torch.arange(count), torch.arange(1, length + 1)))
        if run.stop < len(known):
            count = _count(known[run.stop :], reach)
            self.sides.append((run.stop + torch.arange(count), torch.arange(length, 0, -1)))

    def shifted(self, source: Float[Tensor, "T C"], made: Float[Tensor, "T C"]) -> Float[Tensor, "L C"]:
        """Made places of the run, plus the decaying differences."""
        total = made[self.run.start : self.run.stop].clone()
        for at, steps in self.sides:
            total += self._decay(source[at] - made[at], steps)
        return total

    def turned(self, source: Float[Tensor, "T J 4"], made: Float[Tensor, "T J 4"]) -> Float[Tensor, "L J 4"]:
        """Made rotations of the run, with the decaying differences."""
        total = made[self.run.start : self.run.stop]
        for at, steps in self.sides:
            apart = _unwrapped(rot.to_axis_angle(rot.multiply(source[at], rot.conjugate(made[at]))))
            decay = self._decay(apart.flatten(1), steps).unflatten(1, apart.shape[1:])
            total = rot.multiply(rot.from_axis_angle(decay), total)
        return rot.normalize(total)

    def _decay(self, apart: Float[Tensor, "n C"], steps: Tensor) -> Float[Tensor, "L C"]:
        """Quintic from the difference at a border, with its speed and acceleration, to zero.

        Args:
            apart: Difference at the border and in the known frames behind it, going away from the run.
            steps: How many frames each frame of the run is away from the border.
        """
        value, speed, bend = _jet(apart)
        s = (steps / self.span).clamp(max=1).to(apart)[:, None]
        still = 1 - s**3 * (10 - 15 * s + 6 * s**2)
        moving = s * (1 - s) ** 3 * (1 + 3 * s)
        bending = 0.5 * s**2 * (1 - s) ** 3
        return value * still + speed * self.span * moving + bend * self.span**2 * bending


def _count(known: Bool[Tensor, " n"], most: int) -> int:
    """How many known frames follow one another from the border on, ``most`` at most."""
    return int(known[:most].int().cumprod(0).sum())


def _jet(apart: Float[Tensor, "n C"]) -> tuple[Tensor, Tensor, Tensor]:
    """Value, speed and acceleration (a frame) towards the run at the border, from the frames before it.

    The value is exact; the other two are the best fit of a parabola, which does not follow a single noisy frame.
    """
    count = len(apart)
    nothing = torch.zeros_like(apart[0])
    if count == 1:
        return apart[0], nothing, nothing
    back = -torch.arange(1, count).to(apart)
    basis = torch.stack((back, 0.5 * back**2), dim=1)[:, : 2 if count > 2 else 1]
    fit = torch.linalg.lstsq(basis.double(), (apart[1:] - apart[0]).double()).solution.to(apart)
    return apart[0], fit[0], fit[1] if count > 2 else nothing


def _unwrapped(vectors: Float[Tensor, "n J 3"]) -> Float[Tensor, "n J 3"]:
    """Rotation vectors without jumps by a full turn, starting at the first."""
    found = [vectors[0]]
    for vector in vectors[1:]:
        size = vector.norm(dim=-1, keepdim=True).clamp(min=1e-9)
        other = vector * (1 - 2 * torch.pi / size)
        nearer = (other - found[-1]).norm(dim=-1, keepdim=True) < (vector - found[-1]).norm(dim=-1, keepdim=True)
        found.append(torch.where(nearer, other, vector))
    return torch.stack(found)

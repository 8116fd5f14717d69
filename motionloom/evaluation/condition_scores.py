"""How well an engine does each kind of task that is not text to motion, on held-out motions, beside simple rivals.

Every measure gives, for each row (the engine, its rivals, real motion), one value a clip of each figure; rows of a
measure see the same clips, so that two rows can be compared clip by clip. An engine's value of a clip is the mean over
its seeds.

Music and speech are synthetic here (``data/sound/music.py``, ``data/sound/speech.py``): they follow the real motion, so
the real motion's alignment with its own is what can be reached, and its alignment with another's is chance.
"""

import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.conditions.audio import Sound
from motionloom.conditions.cameras import synthetic_keypoints
from motionloom.conditions.keypoints import Keypoints, keypoint_features
from motionloom.data.sound.music import accompany, kinematic_beats
from motionloom.data.sound.speech import speak, strokes
from motionloom.engines.base import Engine
from motionloom.engines.seeds import item_seed
from motionloom.errors import DataError, RequestError
from motionloom.metrics.dance import beat_alignment
from motionloom.metrics.physics import physics
from motionloom.metrics.pose import joint_error, procrustes_error, root_aligned_error
from motionloom.motion import rotations as rot
from motionloom.motion.edit import face_forward
from motionloom.motion.keep import frames as span
from motionloom.motion.motion import Motion, take
from motionloom.progress import SILENT, Progress

HORIZONS = (80, 160, 320, 400, 560, 720, 880, 1000)
"""How far ahead a prediction is measured [ms]."""
PREDICT_FPS = 25.0
CONTEXT, AHEAD = 1.0, 1.0
BETWEEN = 1.0
"""Seconds that are known on each side of a gap, and seconds of the gap."""
VIDEO_FPS = 20.0
ENGINE, UNWARPED, REAL = "engine", "engine, not warped to beats", "real"
_CAMERAS = 10
_FINE_FPS = 60.0


@dataclass
class Rows:
    """Values by row and figure, one a clip; and which pairs of rows are compared.

    Attributes:
        values: Row -> figure -> value of each clip.
        compared: Figure, row and the row it is compared with.
        notes: What a reader of the figures must know.
    """

    values: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    compared: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, row: str, figures: dict[str, float]) -> None:
        """One clip's figures."""
        for name, value in figures.items():
            self.values[row][name].append(value)


def mean_of(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each figure over an engine's seeds."""
    return {name: sum(each[name] for each in figures) / len(figures) for name in figures[0]}


def moving(motion: Motion) -> dict[str, float]:
    """Physical figures of a motion."""
    found = physics(motion.positions, motion.fps, rotations=motion.rotations)
    return {
        "foot slide m/s": found.slide,
        "penetration mm": 1000 * found.penetration,
        "jitter m/s3": found.jitter,
    }


def seeds_of(seed: int, clip: int, count: int) -> list[int]:
    """The seeds of a clip's motions; no two clips share one."""
    return [item_seed(seed, clip * count + index) for index in range(count)]


def predictions(
    engine: Engine, clips: Sequence[Motion], seed: int = 0, seeds: int = 1, progress: Progress = SILENT
) -> Rows:
    """Go on after one second of a motion, against standing still (zero velocity).

    Errors (MPJPE) in mm at each of ``HORIZONS``, in the world and with the roots moved together. A model that draws
    its motions is judged by each of them; "mean of its motions" is the mean of the seeds' joint positions, the best
    guess under this error.

    Args:
        engine: Serves "known frames" and "unconditioned".
        clips: Motions of ``CONTEXT`` + ``AHEAD`` seconds at ``PREDICT_FPS``.
        seed: Of all.
        seeds: Motions a clip.
        progress: Told about every step of the engine.
    """
    rows, known = Rows(), round(CONTEXT * PREDICT_FPS)
    at = [max(1, round(horizon / 1000 * PREDICT_FPS)) for horizon in HORIZONS]

    def errors(places: Float[Tensor, "T J 3"], true: Float[Tensor, "T J 3"]) -> dict[str, float]:
        world, aligned = 1000 * joint_error(places, true), 1000 * root_aligned_error(places, true)
        found = {f"{horizon} ms": float(world[step - 1]) for horizon, step in zip(HORIZONS, at, strict=True)}
        return found | {
            f"{horizon} ms, root-aligned": float(aligned[step - 1]) for horizon, step in zip(HORIZONS, at, strict=True)
        }

    for index, clip in enumerate(clips):
        start, rest = take(clip, torch.arange(known)), take(clip, torch.arange(known, len(clip)))
        made = [engine.predict(start, AHEAD, seed=each, progress=progress)[0] for each in seeds_of(seed, index, seeds)]
        ahead = [take(motion, torch.arange(known, len(clip))) for motion in made]
        true = rest.positions
        rows.add(ENGINE, mean_of([errors(motion.positions, true) | moving(motion) for motion in ahead]))
        if seeds > 1:
            middle = torch.stack([motion.positions for motion in ahead]).mean(0)
            rows.add("mean of its motions", errors(middle, true))
        rows.add("standing still", errors(start.positions[-1:].expand_as(true), true))
        rows.add(REAL, moving(rest))
    rows.compared = [(f"{horizon} ms", ENGINE, "standing still") for horizon in (80, 400, 1000)]
    if seeds > 1:
        rows.compared.append(("1000 ms", "mean of its motions", "standing still"))
    return rows


def in_betweens(
    engine: Engine, clips: Sequence[Motion], seed: int = 0, seeds: int = 1, progress: Progress = SILENT
) -> Rows:
    """Fill a gap of one second between two known ones, against a straight way between the poses at its ends.

    Errors (MPJPE) in mm over the gap, in the world and with the roots moved together.

    Args:
        engine: Serves "known frames" and "unconditioned".
        clips: Motions of three ``BETWEEN`` seconds at ``PREDICT_FPS``.
        seed: Of all.
        seeds: Motions a clip.
        progress: Told about every step of the engine.
    """
    rows = Rows()
    keep = span(0, BETWEEN) | span(2 * BETWEEN)
    for index, clip in enumerate(clips):
        gap = (~keep.mask(len(clip), clip.fps)[:, 0]).nonzero()[:, 0]
        true = take(clip, gap).positions

        def errors(motion: Motion, gap: Tensor = gap, true: Tensor = true) -> dict[str, float]:
            inside = take(motion, gap)
            return {
                "error mm": 1000 * float(joint_error(inside.positions, true).mean()),
                "error mm, root-aligned": 1000 * float(root_aligned_error(inside.positions, true).mean()),
                **moving(inside),
            }

        made = [engine.complete(clip, keep, seed=each, progress=progress)[0] for each in seeds_of(seed, index, seeds)]
        rows.add(ENGINE, mean_of([errors(motion) for motion in made]))
        rows.add("straight way", errors(straight(clip, gap)))
        rows.add(REAL, moving(take(clip, gap)))
    rows.compared = [(name, ENGINE, "straight way") for name in ("error mm", "error mm, root-aligned")]
    return rows


def straight(motion: Motion, gap: Tensor) -> Motion:
    """The motion with the frames of a gap on the straight way between those at its ends: slerp, and a line."""
    before, after = int(gap[0]) - 1, int(gap[-1]) + 1
    share = ((gap - before) / (after - before)).to(motion.root)
    rotations, root = motion.rotations.clone(), motion.root.clone()
    ends = motion.rotations[before].expand(len(gap), -1, -1), motion.rotations[after].expand(len(gap), -1, -1)
    rotations[gap] = rot.slerp(*ends, share[:, None])
    root[gap] = torch.lerp(motion.root[before].expand(len(gap), 3), motion.root[after], share[:, None])
    return motion.with_(rotations=rotations, root=root, contacts=None)


def videos(
    engine: Engine,
    clips: Sequence[Motion],
    pose: Float[Tensor, "J 3"],
    seed: int = 0,
    seeds: int = 1,
    progress: Progress = SILENT,
) -> Rows:
    """Follow the keypoints of a random camera, against the mean pose and against another video's motion.

    Both motions face +Z in their first frame. Errors in mm: MPJPE with the roots moved together, and each pose brought
    to the best turn, size and place (PA-MPJPE).

    Args:
        engine: Serves "video".
        clips: Motions at ``VIDEO_FPS``.
        pose: Mean pose of other motions, from the root, facing +Z.
        seed: Of all.
        seeds: Motions a clip.
        progress: Told about every step of the engine.
    """
    rows = Rows(notes=["keypoints are synthetic: mocap through random cameras with noise, hidden joints and swaps"])
    true = [face_forward(clip) for clip in clips]
    made = []
    for index, clip in enumerate(true):
        seen = filmed(clip, seed + index)
        made.append(
            [
                engine.generate(seconds=clip.seconds, fps=VIDEO_FPS, keypoints=seen, seed=each, progress=progress)[0]
                for each in seeds_of(seed, index, seeds)
            ]
        )

    def errors(places: Float[Tensor, "T J 3"], goal: Float[Tensor, "N J 3"]) -> dict[str, float]:
        count = min(len(places), len(goal))
        places, goal = places[:count], goal[:count]
        return {
            "MPJPE mm, root-aligned": 1000 * float(root_aligned_error(places, goal).mean()),
            "PA-MPJPE mm": 1000 * float(procrustes_error(places, goal).mean()),
        }

    for index, clip in enumerate(true):
        goal, other = clip.positions, made[(index + 1) % len(made)]
        own = [face_forward(motion) for motion in made[index]]
        rows.add(ENGINE, mean_of([errors(motion.positions, goal) | moving(motion) for motion in own]))
        rows.add("made for another video", mean_of([errors(face_forward(each).positions, goal) for each in other]))
        rows.add("mean pose", errors(pose.expand(len(goal), -1, -1), goal))
        rows.add(REAL, moving(clip))
    figures = ("PA-MPJPE mm", "MPJPE mm, root-aligned")
    rows.compared = [(name, ENGINE, row) for name in figures for row in ("mean pose", "made for another video")]
    return rows


def mean_pose(clips: Sequence[Motion]) -> Float[Tensor, "J 3"]:
    """The mean of all poses, from the root; every clip faces +Z in its first frame."""
    places = torch.cat([face_forward(clip).positions for clip in clips])
    return (places - places[:, :1]).mean(0)


def filmed(motion: Motion, seed: int) -> Keypoints:
    """Keypoints of a motion by the first random camera that shows enough of it.

    Raises:
        DataError: No camera does.
    """
    generator = torch.Generator().manual_seed(seed)
    for _ in range(_CAMERAS):
        seen = synthetic_keypoints(motion, generator)
        try:
            keypoint_features(seen, motion.fps)
        except RequestError:
            continue
        return seen
    raise DataError(f"none of {_CAMERAS} random cameras shows the trunk of a motion of {motion.seconds:.1f} s")


def dances(engine: Engine, clips: Sequence[Motion], seed: int = 0, seeds: int = 1, progress: Progress = SILENT) -> Rows:
    """Dance to music, scored by beat alignment with that music and with that of another clip.

    Args:
        engine: Serves "music" and "unconditioned".
        clips: At least two motions; each has its own music made.
        seed: Of all.
        seeds: Motions a clip.
        progress: Told about every step of the engine.

    Raises:
        RequestError: Fewer than two clips have music with beats.
    """
    pieces = [accompany(clip, seed + index) for index, clip in enumerate(clips)]
    rows = _in_time(
        engine, clips, [piece.sound for piece in pieces], [piece.beats for piece in pieces], "music", kinematic, seed,
        seeds, progress,
    )  # fmt: skip
    rows.notes.append("music is synthetic: made to the real motion's kinematic beats")
    return rows


def gestures(
    engine: Engine, clips: Sequence[Motion], seed: int = 0, seeds: int = 1, progress: Progress = SILENT
) -> Rows:
    """Gesture to speech, scored by how near strokes of the hands are to stresses; see ``dances``.

    Raises:
        RequestError: espeak-ng is not installed, or fewer than two clips have speech with stresses.
    """
    said = [speak(clip, seed + index) for index, clip in enumerate(clips)]
    stresses = [torch.tensor([phrase.stress for phrase in each.phrases], dtype=torch.float64) for each in said]
    rows = _in_time(engine, clips, [each.sound for each in said], stresses, "speech", strokes, seed, seeds, progress)
    rows.notes.append("speech is synthetic: espeak-ng's phrases with their stresses on the real motion's strokes")
    return rows


def kinematic(motion: Motion) -> Float[Tensor, " K"]:
    """When a motion comes to rest [s]."""
    return kinematic_beats(motion)[0]


def _in_time(
    engine: Engine,
    clips: Sequence[Motion],
    sounds: Sequence[Sound],
    beats: Sequence[Tensor],
    kind: Literal["music", "speech"],
    moments: Callable[[Motion], Float[Tensor, " K"]],
    seed: int,
    seeds: int,
    progress: Progress,
) -> Rows:
    """Motions made for sounds, scored against their own sound's beats and another's."""
    rows = Rows()

    def scores(motion: Motion, times: Float[Tensor, " B"]) -> dict[str, float]:
        inside = times[times < motion.seconds]
        if len(inside) == 0:
            inside = times[:1]
        heard, moved = (inside * _FINE_FPS).round().long(), (moments(motion) * _FINE_FPS).round().long()
        return {
            "alignment": beat_alignment(heard, moved, "bailando"),
            "alignment a beat of the motion": beat_alignment(heard, moved, "fact"),
            f"beats a second of the motion beside the {kind}'s": len(moved) / max(1, len(heard)),
        }

    # A sound without a beat can be kept time with neither well nor badly.
    heard = [index for index, times in enumerate(beats) if len(times)]
    if len(heard) < 2:
        raise RequestError(f"{len(heard)} of {len(clips)} clips have {kind} with beats; at least 2 are needed")
    if len(heard) < len(clips):
        rows.notes.append(f"{len(clips) - len(heard)} clips are left out: their {kind} has no beats")
    for place, index in enumerate(heard):
        clip, sound = clips[index], sounds[index]
        own, other = beats[index], beats[heard[(place + 1) % len(heard)]]
        asked = seeds_of(seed, index, seeds)
        music, speech = (sound, None) if kind == "music" else (None, sound)
        made = [
            engine.generate(seconds=clip.seconds, seed=each, music=music, speech=speech, progress=progress)[0]
            for each in asked
        ]
        if kind == "music":
            plain = [
                engine.generate(seconds=clip.seconds, seed=each, music=music, in_time=False, progress=progress)[0]
                for each in asked
            ]
            rows.add(UNWARPED, mean_of([scores(motion, own) | moving(motion) for motion in plain]))
            rows.add(f"{UNWARPED}, scored with another {kind}", mean_of([scores(motion, other) for motion in plain]))
        free = [engine.generate(seconds=clip.seconds, seed=each, progress=progress)[0] for each in asked]
        rows.add(ENGINE, mean_of([scores(motion, own) | moving(motion) for motion in made]))
        rows.add(f"engine, scored with another {kind}", mean_of([scores(motion, other) for motion in made]))
        rows.add(f"engine without {kind}", mean_of([scores(motion, own) | moving(motion) for motion in free]))
        rows.add(REAL, scores(clip, own) | moving(clip))
        rows.add(f"real, scored with another {kind}", scores(clip, other))
    rows.compared = [
        ("alignment", ENGINE, f"engine, scored with another {kind}"),
        *([("alignment", UNWARPED, f"{UNWARPED}, scored with another {kind}")] if kind == "music" else []),
        ("alignment", ENGINE, f"engine without {kind}"),
        ("alignment", REAL, f"real, scored with another {kind}"),
    ]
    return rows


def has_speech() -> bool:
    """Whether speech can be made on this machine."""
    return shutil.which("espeak-ng") is not None

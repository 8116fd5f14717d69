"""One request for every task: what is known of a motion, what it is to follow, and how the rest is to be made."""

import math
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from motionloom.conditions.audio import MAX_SECONDS as MAX_SOUND_SECONDS
from motionloom.conditions.audio import MIN_SECONDS, SILENCE, Sound
from motionloom.conditions.keypoints import Keypoints
from motionloom.conditions.text import check_text
from motionloom.errors import MotionError, RequestError
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import BODY, BODY_COLUMNS, CANONICAL
from motionloom.schema import check

MAX_COUNT = 256
MAX_BEST_OF = 64
MAX_SEED = (1 << 63) - 1
MAX_SECONDS = 600.0
"""Longest timeline."""


@dataclass(frozen=True)
class Segment:
    """A span of the timeline and what it follows.

    Attributes:
        text: What the person does; empty for no condition.
        seconds: Length [s]; ``None`` is that of sound or video, or lets the engine choose.
        music: What is danced to, from its first sample on.
        speech: What is said.
        keypoints: What a video shows of the person.
    """

    text: str = ""
    seconds: float | None = None
    music: Sound | None = field(default=None, compare=False)
    speech: Sound | None = field(default=None, compare=False)
    keypoints: Keypoints | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.seconds, int | float) and not 0 < self.seconds < float("inf"):
            raise RequestError(f"a segment of {self.seconds} s: give a positive number of seconds")
        check(self, RequestError)
        if self.text:
            object.__setattr__(self, "text", check_text(self.text))
        for kind, sound in (("music", self.music), ("speech", self.speech)):
            if sound is None:
                continue
            if not MIN_SECONDS <= sound.seconds <= MAX_SOUND_SECONDS:
                raise RequestError(
                    f"{sound.seconds:.3g} s of {kind}; {MIN_SECONDS:g} to {MAX_SOUND_SECONDS:g} s can be followed"
                )
            if not bool((sound.samples.abs() >= SILENCE).any()):
                raise RequestError(f"the {kind} is silent; give one with sound, or leave it out")
        if self.seconds is None and self.needs - {"text", "unconditioned"}:
            given = [sound.seconds for sound in (self.music, self.speech) if sound is not None]
            given += [] if self.keypoints is None else [len(self.keypoints) / self.keypoints.fps]
            object.__setattr__(self, "seconds", min(given))

    @property
    def needs(self) -> frozenset[str]:
        """Conditions that an engine must know to serve this, by name; "unconditioned" for none."""
        given = {"music": self.music, "speech": self.speech, "video": self.keypoints}
        found = {name for name, condition in given.items() if condition is not None}
        found |= {"text"} if self.text else set()
        return frozenset(found or {"unconditioned"})


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of the motion: some cells of the grid time x body parts.

    Attributes:
        motion: Holds the known cells; of the canonical tree.
        mask: Which cells of it are known.
        start: Where it begins on the timeline [s].

    Raises:
        MotionError: The motion is of another skeleton, the mask does not fit it, or a cell that it marks as not
            valid is to be known.
        RequestError: No cell is known, or the start is no number of seconds from 0 on.
    """

    motion: Motion
    mask: Bool[Tensor, "T 10"]
    start: float = 0.0

    def __post_init__(self) -> None:
        if not self.motion.skeleton.same_tree(CANONICAL):
            raise MotionError(
                f"the motion has {len(self.motion.skeleton)} joints that are not the canonical 22; retarget it first"
                " (motionloom convert IN OUT --retarget, or ml.retarget)"
            )
        if len(self.mask) != len(self.motion):
            raise MotionError(f"the mask of known cells has {len(self.mask)} frames, the motion {len(self.motion)}")
        if not bool(self.mask[:, BODY_COLUMNS].any()):
            raise RequestError("nothing of the motion is kept; to make one from nothing use generate")
        if self.motion.valid is not None:
            wrong = (self.mask & ~self.motion.valid)[:, BODY_COLUMNS].any(0)
            names = [part for part, bad in zip(BODY, wrong.tolist(), strict=True) if bad]
            if names:
                raise MotionError(f"kept frames of {', '.join(names)} are marked as not valid in this motion")
        if not 0 <= self.start <= MAX_SECONDS:
            raise RequestError(f"the known motion starts at {self.start} s; give 0 to {MAX_SECONDS:g} s")

    @property
    def by_time(self) -> bool:
        """Whether every frame is known whole or not at all."""
        cells = self.mask[:, BODY_COLUMNS]
        return bool((cells == cells[:, :1]).all())


@dataclass(frozen=True)
class Request:
    """What an engine is asked for; every verb makes one of these.

    Attributes:
        segments: The timeline, in order.
        fps: Frame rate of the answer; ``None`` for the engine's own.
        count: How many motions.
        seed: Item i uses the random stream (seed, i), whatever the count.
        steps: InferenceCache through the network; ``None`` for the engine's default.
        guidance: How strongly the text is followed; ``None`` for the engine's default.
        options: Engine-specific options by name; unknown ones are refused.
        known: What is known of the motion; ``None`` for nothing. The answer has its frame rate unless ``fps`` says
            otherwise, and the first segment's length is that of the whole timeline.
        path: Points x, z [m] that the root goes through in this order, from the start over the origin, facing +Z.
        loop: Whether the end goes on into the beginning.
        best_of: Candidates a motion; the one that fits its text best by our text-motion encoder is kept.
        strict: Whether texts that no training clip is like are refused.
        in_time: Whether a motion that is made whole for music is played faster and slower so that it rests on beats.
    """

    segments: tuple[Segment, ...]
    fps: float | None = None
    count: int = 1
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    known: Known | None = None
    path: tuple[tuple[float, float], ...] = ()
    loop: bool = False
    best_of: int = 1
    in_time: bool = True
    strict: bool = False

    def __post_init__(self) -> None:
        if any(isinstance(value, float) and not math.isfinite(value) for point in self.path for value in point):
            raise RequestError(f"the path is {self.path}; give finite numbers of metres")
        check(self, RequestError)
        if not self.segments:
            raise RequestError("the request has no segment; give at least a text or a length in seconds")
        if not 1 <= self.best_of <= MAX_BEST_OF:
            raise RequestError(f"best_of is {self.best_of}; give 1 to {MAX_BEST_OF} candidates")
        if self.best_of > 1 and not any(segment.text for segment in self.segments):
            raise RequestError("best_of needs a text that candidates can be held against; give one")
        if not 1 <= self.count <= MAX_COUNT:
            raise RequestError(f"count is {self.count}; 1 to {MAX_COUNT} motions can be made at once")
        if not 0 <= self.seed <= MAX_SEED:
            raise RequestError(f"seed is {self.seed}; give a whole number from 0 to 2**63 - 1")
        if self.fps is not None and not 1 <= self.fps <= 240:
            raise RequestError(f"fps is {self.fps}; give 1 to 240 frames a second")
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise RequestError(f"steps is {self.steps}; give 1 to 1000")
        if self.guidance is not None and not 0 <= self.guidance <= 20:
            raise RequestError(f"guidance is {self.guidance}; give 0 to 20")
        kinds = {"several segments": len(self.segments) > 1, "known cells": self.known is not None}
        kinds |= {"a path": bool(self.path), "a loop": self.loop}
        asked = [name for name, is_asked in kinds.items() if is_asked]
        if len(asked) > 1:
            raise RequestError(f"{' and '.join(asked)} cannot be asked for at once: ask for one of them")

    @property
    def follows_music(self) -> bool:
        """Whether it is music, and neither a video nor known frames, that says when something happens."""
        music = any(segment.music is not None for segment in self.segments)
        return music and self.known is None and all(segment.keypoints is None for segment in self.segments)

    @property
    def needs(self) -> frozenset[str]:
        """Features of an engine this request needs, by name."""
        found = {name for segment in self.segments for name in segment.needs}
        if len(self.segments) > 1:
            found.add("segments")
        if self.known is not None:
            found.add("known frames" if self.known.by_time else "known parts")
        if self.path:
            found.add("path")
        if self.loop:
            found.add("loop")
        return frozenset(found)

"""One request for every task: what is known of a motion, what it is to follow, and how the rest is to be made."""

from dataclasses import dataclass, field
from typing import Any

from motionloom.conditions.text import check_text
from motionloom.errors import RequestError

MAX_COUNT = 256
MAX_SEED = (1 << 63) - 1


@dataclass(frozen=True)
class Segment:
    """A span of the timeline and what it follows.

    Attributes:
        text: What the person does; empty for no condition.
        seconds: Length [s]; ``None`` lets the engine choose.
    """

    text: str = ""
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.text:
            object.__setattr__(self, "text", check_text(self.text))
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise RequestError(f"a segment of {self.seconds} s: give a positive number of seconds")


@dataclass(frozen=True)
class Request:
    """What an engine is asked for; every verb makes one of these.

    Attributes:
        segments: The timeline, in order.
        fps: Frame rate of the answer; ``None`` for the engine's own.
        count: How many motions.
        seed: Item i uses the random stream (seed, i), whatever the count.
        steps: Passes through the network; ``None`` for the engine's default.
        guidance: How strongly the text is followed; ``None`` for the engine's default.
        options: Engine-specific options by name; unknown ones are refused.
    """

    segments: tuple[Segment, ...]
    fps: float | None = None
    count: int = 1
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.segments:
            raise RequestError("the request has no segment; give at least a text or a length in seconds")
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

    @property
    def needs(self) -> frozenset[str]:
        """Features of an engine this request needs, by name."""
        found = {"text" if segment.text else "unconditioned" for segment in self.segments}
        if len(self.segments) > 1:
            found.add("segments")
        return frozenset(found)

"""One file per family of datasets; each lists its clips as ``Take`` rows.

A source is a function ``folder -> list[Take]``: cheap (it reads manifests and file names, not motions), and it
raises ``DataError`` naming what is missing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Take:
    """One motion file of a dataset, before it is read.

    Attributes:
        id: Unique name, "source/clip".
        source: Name of the dataset.
        licence: Its licence.
        path: The file.
        fps: True frame rate; ``None`` trusts the file.
        unit: Metres of one unit of the file; ``None`` lets the reader guess.
        split: "train", "val" or "test"; takes that belong together carry the same one.
        labels: The dataset's own labels.
        skip: Frames to drop at the start (a T-pose before the motion).
        refuse: Why the file is not taken at all; empty if it is.
    """

    id: str
    source: str
    licence: str
    path: Path
    fps: float | None
    unit: float | None
    split: str
    labels: dict[str, str]
    skip: int = 0
    refuse: str = ""


def sources() -> dict[str, Callable[[Path], list[Take]]]:
    """Every source by name."""
    from motionloom.data.sources import bandai, cmu

    return {"cmu": cmu.takes, "bandai": bandai.takes}

"""One file per family of datasets; each lists its clips as ``Take`` rows.

A source is a function ``folder -> list[Take]``: cheap (it reads manifests, texts and file names, not motions), and
it raises ``DataError`` naming what is missing. Where ``motionloom.motion.io`` does not read a dataset's files by
their suffix, its module also has readers ``Take -> Motion``; a take names the one it needs, so that takes can be
sent to other processes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from motionloom.errors import DataError
from motionloom.licences import Licence
from motionloom.motion.motion import Motion


@dataclass(frozen=True)
class Timed:
    """A text and when it holds.

    Attributes:
        text: A sentence that describes the motion, or a word that is spoken.
        start: When it begins [s from the first frame of the take]; ``None`` for the beginning.
        stop: When it ends [s]; ``None`` for the end.
    """

    text: str
    start: float | None = None
    stop: float | None = None


@dataclass(frozen=True)
class Media:
    """Sound or pictures that were recorded with a motion.

    Attributes:
        path: Its file, relative to the dataset's folder, with forward slashes.
        offset: Where in the medium the take begins [s].
        words: What is said, word by word.
        keypoints: Where the 2D keypoints of the same frames are: ``file#place in the file``; empty if there are none.
    """

    path: str
    offset: float = 0.0
    words: tuple[Timed, ...] = ()
    keypoints: str = ""


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
        read: Name of the reader in ``READERS``; empty for ``motionloom.motion.io.load``.
        item: Which motion of the file it is, where a file holds several; each reader has its own names for them.
        start: Where the take begins in the file [s]; ``None`` for the beginning.
        stop: Where it ends in the file [s]; ``None`` for the end.
        texts: Sentences that describe it, or parts of it.
        action: The name of what is done, where the dataset has classes rather than sentences.
        music: Music it was danced to.
        speech: Speech it was made with.
        video: Video it was seen in.
        valid: Body parts the source has (names of ``PARTS``); ``None`` when it says nothing.
        still: Nothing moves in it, and its label says so: it is no fault.
    """

    id: str
    source: str
    licence: Licence
    path: Path
    fps: float | None
    unit: float | None
    split: str
    labels: dict[str, str]
    skip: int = 0
    refuse: str = ""
    read: str = ""
    item: str = ""
    start: float | None = None
    stop: float | None = None
    texts: tuple[Timed, ...] = ()
    action: str = ""
    music: Media | None = None
    speech: Media | None = None
    video: Media | None = None
    valid: tuple[str, ...] | None = None
    still: bool = False


_HOME = "motionloom.data.sources"
SOURCES = {
    "100style": f"{_HOME}.bvh_sets:style100",
    "aist": f"{_HOME}.dance:aist",
    "amass": f"{_HOME}.amass:amass",
    "babel": f"{_HOME}.amass:babel",
    "bandai": f"{_HOME}.bandai:takes",
    "beat": f"{_HOME}.speech:beat",
    "cmu": f"{_HOME}.cmu:takes",
    "cmu-more": f"{_HOME}.action_sets:cmu_more",
    "finedance": f"{_HOME}.dance:finedance",
    "folder": f"{_HOME}.folder:takes",
    "h36m": f"{_HOME}.video:h36m",
    "hdm05": f"{_HOME}.action_sets:hdm05",
    "humanact12": f"{_HOME}.actions:humanact12",
    "humanml3d": f"{_HOME}.amass:humanml3d",
    "kit": f"{_HOME}.kit:takes",
    "lafan1": f"{_HOME}.bvh_sets:lafan1",
    "mesh2motion": f"{_HOME}.action_sets:mesh2motion",
    "motionx": f"{_HOME}.motionx:takes",
    "mpi": f"{_HOME}.video:mpi",
    "ntu": f"{_HOME}.actions:ntu",
    "pw3d": f"{_HOME}.video:pw3d",
    "s2g3d": f"{_HOME}.ted:s2g3d",
    "smartbody": f"{_HOME}.action_sets:smartbody",
    "tedex": f"{_HOME}.ted:tedex",
    "tedg": f"{_HOME}.ted:tedg",
    "synthetic": f"{_HOME}.synthetic:takes",
    "uestc": f"{_HOME}.actions:uestc",
    "ui-prmd": f"{_HOME}.action_sets:ui_prmd",
}
"""Every source by name."""
READERS = {
    "amass": f"{_HOME}.amass:read_amass_hands",
    "aist": f"{_HOME}.dance:read_aist",
    "finedance": f"{_HOME}.dance:read_finedance",
    "h36m": f"{_HOME}.video:read_h36m",
    "hdm05": f"{_HOME}.action_sets:read_hdm05",
    "humanact12": f"{_HOME}.actions:read_humanact12",
    "humanml3d": f"{_HOME}.amass:read_humanml3d",
    "motionx": f"{_HOME}.motionx:read_motionx",
    "mpi": f"{_HOME}.video:read_mpi",
    "ntu": f"{_HOME}.actions:read_ntu",
    "pw3d": f"{_HOME}.video:read_pw3d",
    "ted": f"{_HOME}.ted:read_ted",
    "synthetic": f"{_HOME}.synthetic:read_synthetic",
    "uestc": f"{_HOME}.actions:read_uestc",
    "ui-prmd": f"{_HOME}.action_sets:read_ui_prmd",
}
"""Every reader of files that ``motionloom.motion.io`` does not read by their suffix."""


def sources() -> dict[str, Callable[[Path], list[Take]]]:
    """Every source by name."""
    return {name: _resolve(target) for name, target in sorted(SOURCES.items())}


def reader(name: str) -> Callable[[Take], Motion]:
    """The reader of that name.

    Raises:
        DataError: There is none.
    """
    if name not in READERS:
        raise DataError(f"reader {name!r} is unknown; the readers are {', '.join(sorted(READERS))}")
    return _resolve(READERS[name])


def _resolve(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)

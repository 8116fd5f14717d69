"""A toy engine: whatever the text says, the body sways from side to side. It shows all that an engine must bring."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from motionloom.engines.base import Capability, Engine
from motionloom.engines.options import EngineOptions
from motionloom.engines.request import Request
from motionloom.engines.seeds import item_seed
from motionloom.licences import CC0_1, Licence
from motionloom.motion import rotations as rot
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL
from motionloom.progress import SILENT, Progress
from motionloom.schema import ranged

SECONDS = 3.0
"""Length of a motion that none is asked for [s]."""


@dataclass(frozen=True)
class ToyOptions(EngineOptions):
    """How the body sways."""

    swing: float = ranged(0.2, low=0, high=1, unit="rad", help="How far the spine bends to either side.")
    tempo: float = ranged(0.5, above=0, high=4, unit="Hz", help="How often it sways in a second.")


class Toy(Engine):
    """Sways. It has no weights, so its folder holds ``engine.json`` alone.

    Args:
        folder: Where that lies.
    """

    name = "toy"
    Options = ToyOptions

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, folder: Path, **options: Any) -> "Toy":
        """The engine of a folder."""
        return cls(folder, **options)

    @property
    def capabilities(self) -> frozenset[str]:
        """Texts are taken, and not followed: it is a toy."""
        return frozenset({Capability.TEXT, Capability.UNCONDITIONED})

    @property
    def max_seconds(self) -> float:
        """Longest motion [s]."""
        return 60.0

    @property
    def licences(self) -> Sequence[Licence]:
        """What it makes may be used for anything."""
        return (CC0_1,)

    def run(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[list[Motion]]:
        """Sway at the tempo of each request, from a phase that its seed chooses."""
        progress.expect(sum(request.count for request in requests))
        answers = []
        for request in requests:
            options = self.options(request)
            made = []
            for index in range(request.count):
                made.append(self._sway(request.segments[0].seconds or SECONDS, item_seed(request.seed, index), options))
                progress.step()
            answers.append(made)
        return answers

    def _sway(self, seconds: float, seed: int, options: ToyOptions) -> Motion:
        frames = max(2, round(seconds * self.fps))
        start = float(torch.rand(1, generator=torch.Generator().manual_seed(seed)))
        phase = 2 * math.pi * (start + options.tempo * torch.arange(frames) / self.fps)
        rotations = rot.identity(frames, len(CANONICAL))
        rotations[:, CANONICAL.names.index("spine1")] = rot.about("Z", options.swing * torch.sin(phase))
        root = (
            CANONICAL.offsets[0] + torch.tensor([0.0, 0.93, 0.0]) - CANONICAL.offsets[0] * torch.tensor([0.0, 1.0, 0.0])
        )
        return Motion(CANONICAL, rotations, root.expand(frames, 3).clone(), self.fps)

"""The motion diffusion model as an engine: text, music, speech, video, known frames and parts, at any frame rate.

Requests, seeds and answers are those of ``generate.py``; how frames are made stands in ``denoise.py``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from motionloom.conditions.text import TextEncoder
from motionloom.engines.base import Engine
from motionloom.engines.lmm.denoiser import Denoiser, Job, LMMOptions
from motionloom.engines.request import Known, Request, Segment
from motionloom.engines.seeds import item_seed
from motionloom.engines.timeline import Timeline, blended, leg_scale, timeline
from motionloom.errors import CheckpointError, RequestError
from motionloom.licences import Licence
from motionloom.models.checkpoint import Checkpoint, load_checkpoint
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import BODY_COLUMNS, CANONICAL, PARTS
from motionloom.progress import SILENT, Progress

FPS = 20.0
"""Frame rate of an answer that none is asked for."""
CONTEXT = 2.0
"""Seconds of known motion on each side of what is to be made that the model sees."""


class LMM(Engine):
    """The motion diffusion model as an engine.

    Args:
        folder: Directory with the checkpoint ``diffusion`` and, to choose lengths, ``length``; or that of a diffusion
            model itself. Without ``length``, that of the bundled engine ``mmm`` is used.

    Raises:
        CheckpointError: The model is missing or of another kind.
    """

    name = "lmm"
    Options = LMMOptions
    imports: ClassVar[Mapping[str, str]] = {"diffusion": "motionloom.engines.lmm.importing:import_diffusion"}

    def __init__(self, folder: Path) -> None:
        inside = folder / "diffusion" if (folder / "diffusion" / "config.json").is_file() else folder
        if not (inside / "config.json").is_file():
            raise CheckpointError(
                f"{folder} is no LMM engine: diffusion is missing; train one with `motionloom train lmm --store STORE`"
            )
        self.folder = folder
        self.checkpoint: Checkpoint = load_checkpoint(inside)
        self.denoiser = Denoiser(self.checkpoint, inside)

    @classmethod
    def open(cls, folder: Path, **options: Any) -> "LMM":
        """The engine with the weights of a folder.

        Raises:
            CheckpointError: See the class.
        """
        return cls(folder, **options)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether a folder without ``engine.json`` holds this engine."""
        if (folder / "diffusion" / "config.json").is_file():
            return True
        config = folder / "config.json"
        return config.is_file() and b'"kind": "diffusion"' in config.read_bytes()[: 1 << 16]

    @property
    def capabilities(self) -> frozenset[str]:
        """What a request may need; conditions are those that the model was trained with."""
        if self.denoiser.published:
            # Sound and video of the release are ImageBind's; known cells it reads with noise only.
            return frozenset({"unconditioned", *(("text",) if self.denoiser.model.config.text_dim else ())})
        return frozenset({"unconditioned", "known frames", "known parts", *self.denoiser.model.config.modalities})

    @property
    def text(self) -> TextEncoder:
        """The text encoder, loaded when first needed."""
        return self.denoiser.text

    @property
    def max_seconds(self) -> float:
        """Longest motion in one piece [s]."""
        return self.denoiser.max_seconds

    @property
    def min_seconds(self) -> float:
        """Shortest motion [s]."""
        return self.denoiser.min_seconds

    @property
    def licences(self) -> Sequence[Licence]:
        """Licences of the model and of its length predictor, and of what they were made from."""
        lengths = [self.lengths.checkpoint] if self._length_folder is not None else []
        return [licence for checkpoint in (self.checkpoint, *lengths) for licence in checkpoint.licences]

    @property
    def _length_folder(self) -> Path | None:
        bundled = Path(str(resources.files("motionloom") / "starter" / "mmm" / "length"))
        own = [] if self.folder is None else [self.folder / "length"]
        return next((folder for folder in (*own, bundled) if (folder / "config.json").is_file()), None)

    def run(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[list[Motion]]:
        """Make the motions of several requests, one by one; see ``Engine.run``.

        Raises:
            RequestError: A request lies outside the limits of the model.
        """
        plans = [(request, self.options(request)) for request in requests]
        progress.expect(sum(request.count * options.steps for request, options in plans))
        return [
            [self._made(request, item_seed(request.seed, index), options, progress) for index in range(request.count)]
            for request, options in plans
        ]

    def options(self, request: Request) -> LMMOptions:
        """Options of a request; see ``Engine.options``.

        Raises:
            RequestError: Also where a weight is of a condition that the model does not know.
        """
        options = super().options(request)
        wrong = sorted(set(options.weights) - set(self.denoiser.model.config.modalities))
        if wrong:
            known = ", ".join(self.denoiser.model.config.modalities)
            raise RequestError(f"weights are {dict(options.weights)}; give 0 to 20 for some of {known}")
        return options

    def _made(self, request: Request, seed: int, options: LMMOptions, progress: Progress) -> Motion:
        if request.known is not None:
            return self._completed(timeline(request), request.segments[0], seed, options, progress)
        segment = request.segments[0]
        seconds = segment.seconds
        if seconds is None:
            seconds = self.usual_seconds(segment.text, seed)
        fps = request.fps or FPS
        if seconds > self.max_seconds and (segment.music is not None or segment.speech is not None):
            return self._long(segment, seconds, fps, seed=seed, options=options, progress=progress)
        # A length that was asked for is judged as it was asked for.
        self.denoiser.rate(seconds, fps)
        return self.denoiser.make(Job(max(1, round(seconds * fps)), fps, segment, seed), options, progress)

    def _long(
        self, segment: Segment, seconds: float, fps: float, *, seed: int, options: LMMOptions, progress: Progress
    ) -> Motion:
        """Make a motion for sound that is longer than one piece: each piece goes on from the end of the one before."""
        piece = self.max_seconds - CONTEXT
        count = math.ceil(seconds / piece)
        progress.expect((count - 1) * options.steps)
        made = self.denoiser.make(Job(round(seconds / count * fps), fps, segment, seed), options, progress)
        for turn in range(1, count):
            whole = seconds * (turn + 1) / count
            known = Known(made.with_(valid=None), torch.ones(len(made), len(PARTS), dtype=torch.bool))
            line = timeline(Request((replace(segment, seconds=whole),), known=known))
            made = self._completed(line, segment, item_seed(seed, turn), options, progress)
        return made.with_(provenance=made.provenance.noting(f"made in {count} pieces, each going on from the last"))

    def _completed(
        self, line: Timeline, segment: Segment, seed: int, options: LMMOptions, progress: Progress
    ) -> Motion:
        """Make what is not known of a timeline; the answer has its frame rate and body."""
        source = line.motion
        start, stop = _span(line.known, source.fps, self.denoiser.max_seconds)
        body = source.skeleton
        scale = leg_scale(body)
        seen = source.with_(
            skeleton=CANONICAL,
            rotations=source.rotations[start:stop],
            root=source.root[start:stop] / scale,
            contacts=None,
        )
        job = Job(stop - start, source.fps, segment, seed, (seen, line.known[start:stop]), start / source.fps)
        found = self.denoiser.make(job, options, progress)
        rotations, root = source.rotations.clone(), source.root.clone()
        rotations[start:stop], root[start:stop] = found.rotations, found.root * scale
        contacts = None if source.contacts is None else source.contacts.clone()
        if contacts is not None and found.contacts is not None:
            contacts[start:stop] = found.contacts
        made = source.with_(rotations=rotations, root=root, contacts=contacts)
        return blended(line, made, min(max(line.first, start), stop - 1), overlaps=False)


def _span(known: Bool[Tensor, "T 10"], fps: float, most: float) -> tuple[int, int]:
    """Frames that the model looks at: those with unknown cells, and known ones on both sides.

    Raises:
        RequestError: There are more than ``most`` seconds between the first unknown cell and the last.
    """
    missing = (~known[:, BODY_COLUMNS].all(1)).nonzero()[:, 0]
    first, last = int(missing[0]), int(missing[-1]) + 1
    spare = most * fps - (last - first)
    if spare < 0:
        raise RequestError(
            f"{(last - first) / fps:.1f} s are to be made; this model makes at most {most:.1f} s in one piece: keep"
            " more, or go on in several steps"
        )
    context = min(round(CONTEXT * fps), int(spare / 2))
    return max(0, first - context), min(len(known), last + context)

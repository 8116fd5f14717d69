"""The motion diffusion model as an engine: text, music, speech, video, known frames and parts, at any frame rate.

Requests, seeds and answers are those of ``generate.py``; how frames are made stands in ``denoise.py``.
"""

from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import get_args

import torch
from jaxtyping import Bool
from torch import Tensor

from motionloom.conditions.text import TextEncoder, minilm
from motionloom.errors import CheckpointError, RequestError
from motionloom.models.checkpoint import Checkpoint, load_checkpoint
from motionloom.models.length import LengthPredictor
from motionloom.models.schedule import Method
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL, LEG_LENGTH
from motionloom.motion.smooth import MAX_WINDOW
from motionloom.tasks.best import choose
from motionloom.tasks.complete import Timeline, blended, timeline
from motionloom.tasks.denoise import DenoiseOptions, Denoiser, Job
from motionloom.tasks.match import Scorer
from motionloom.tasks.request import BODY_COLUMNS, Request, Segment
from motionloom.tasks.tokens import item_seed
from motionloom.tasks.verbs import Verbs

FPS = 20.0
"""Frame rate of an answer that none is asked for."""
CONTEXT = 2.0
"""Seconds of known motion on each side of what is to be made that the model sees."""
_LENGTH_RATE = 5.0
"""Tokens a second of the length predictor."""
_LENGTH_SPREAD = 0.6
"""Predicted lengths come from the middle 60 % of what the data has, as for the engine ``mmm``."""
_NUMBERS = {
    "guided_from": (1.0, "a share of the noise steps, 0 to 1"),
    "smoothing": (MAX_WINDOW, f"0 to {MAX_WINDOW:g} seconds"),
    "temperature": (2.0, "0 to 2"),
}
"""Options that are numbers: the largest, and what to give. All begin at 0."""
_OPTIONS = ("agreeing", "method", "weights", *_NUMBERS)


class LMM(Verbs):
    """The motion diffusion model as an engine.

    Args:
        folder: Directory with the checkpoint ``diffusion`` and, to choose lengths, ``length``; or that of a diffusion
            model itself. Without ``length``, that of the bundled engine ``mmm`` is used.

    Raises:
        CheckpointError: The model is missing or of another kind.
    """

    name = "lmm"

    def __init__(self, folder: Path) -> None:
        inside = folder / "diffusion" if (folder / "diffusion" / "config.json").is_file() else folder
        if not (inside / "config.json").is_file():
            raise CheckpointError(f"{folder} is no LMM engine: diffusion is missing; train one with configs/lmm-*.toml")
        self.folder = folder
        self.checkpoint: Checkpoint = load_checkpoint(inside)
        self.denoiser = Denoiser(self.checkpoint, inside)

    @property
    def serves(self) -> frozenset[str]:
        """What a request may need; conditions are those that the model was trained with."""
        return frozenset({"unconditioned", "known frames", "known parts", *self.denoiser.model.config.modalities})

    @property
    def text(self) -> TextEncoder:
        """The text encoder, loaded when first needed."""
        return self.denoiser.text

    @property
    def max_seconds(self) -> float:
        """Longest motion in one piece [s]."""
        return self.denoiser.max_seconds

    @cached_property
    def scorer(self) -> Scorer:
        """The bundled text-motion encoder, which ``best_of`` chooses by; loaded when first needed."""
        return Scorer()

    @cached_property
    def length(self) -> Checkpoint:
        """The length predictor, loaded when first needed.

        Raises:
            RequestError: There is none.
        """
        bundled = Path(str(resources.files("motionloom") / "starter" / "mmm"))
        for folder in (self.folder / "length", bundled / "length"):
            if (folder / "config.json").is_file():
                return load_checkpoint(folder)
        raise RequestError("how long the motion is was not said, and there is no length predictor: give seconds")

    def run_many(self, requests: list[Request]) -> list[list[Motion]]:
        """Serve several requests; each answer is to the bit what it would be alone.

        Raises:
            RequestError: As ``run``.
        """
        plans = [(request, self._options(request)) for request in requests]
        answers = []
        for request, options in plans:
            candidates = [
                self._made(request, item_seed(request.seed, index), options)
                for index in range(request.count * request.best_of)
            ]
            kept = [
                choose(self.scorer, request, candidates[first : first + request.best_of])
                if request.best_of > 1
                else candidates[first]
                for first in range(0, len(candidates), request.best_of)
            ]
            answers.append([self.signed(motion, request, self.checkpoint.licence) for motion in kept])
        return answers

    def _options(self, request: Request) -> DenoiseOptions:
        """Check what a request asks for, and read how it is to be made."""
        unknown = sorted(set(request.options) - set(_OPTIONS))
        if unknown:
            raise RequestError(f"unknown options {', '.join(unknown)}; known are {', '.join(sorted(_OPTIONS))}")
        method = request.options.get("method")
        if method is not None and method not in get_args(Method):
            raise RequestError(f"method is {method!r}; use {' or '.join(map(repr, get_args(Method)))}")
        self.refuse_unserved(request)
        weights = dict(request.options.get("weights") or {})
        wrong = sorted(set(weights) - set(self.denoiser.model.config.modalities))
        if wrong or not all(isinstance(value, int | float) and 0 <= value <= 20 for value in weights.values()):
            known = ", ".join(self.denoiser.model.config.modalities)
            raise RequestError(f"weights are {weights}; give 0 to 20 for some of {known}")
        numbers = {name: request.options.get(name) for name in _NUMBERS}
        for name, value in numbers.items():
            most, what = _NUMBERS[name]
            if value is not None and not (isinstance(value, int | float) and 0 <= value <= most):
                raise RequestError(f"{name} is {value!r}; give {what}")
        agreeing = request.options.get("agreeing")
        if agreeing is not None and not isinstance(agreeing, bool):
            raise RequestError(f"agreeing is {agreeing!r}; give True or False")
        given = {
            **numbers,
            "agreeing": agreeing,
            "steps": request.steps,
            "guidance": request.guidance,
            "method": method,
            "weights": weights,
        }
        return DenoiseOptions(**{name: value for name, value in given.items() if value is not None})

    def _made(self, request: Request, seed: int, options: DenoiseOptions) -> Motion:
        if request.known is not None:
            return self._completed(timeline(request), request.segments[0], seed, options)
        segment = request.segments[0]
        seconds = self._seconds(segment.text, seed) if segment.seconds is None else segment.seconds
        fps = request.fps or FPS
        # A length that was asked for is judged as it was asked for.
        self.denoiser.rate(seconds, fps)
        return self.denoiser.make(Job(max(1, round(seconds * fps)), fps, segment, seed), options)

    @torch.no_grad()
    def _seconds(self, text: str, seed: int) -> float:
        """A length that motions of a text have."""
        model, stats = self.length.model, self.length.stats
        assert isinstance(model, LengthPredictor)
        sentence = minilm()([text or "a person moves"]).sentence
        sentence = (sentence - stats["sentence_mean"]) / stats["sentence_std"]
        seconds = float(model.sample(sentence, [seed], _LENGTH_SPREAD)) / _LENGTH_RATE
        return min(max(seconds, self.denoiser.min_seconds), self.denoiser.max_seconds)

    def _completed(self, line: Timeline, segment: Segment, seed: int, options: DenoiseOptions) -> Motion:
        """Make what is not known of a timeline; the answer has its frame rate and body."""
        source = line.motion
        start, stop = _span(line.known, source.fps, self.denoiser.max_seconds)
        body = source.skeleton
        scale = float((body.offsets[4].norm() + body.offsets[7].norm()) / LEG_LENGTH)
        seen = source.with_(
            skeleton=CANONICAL,
            rotations=source.rotations[start:stop],
            root=source.root[start:stop] / scale,
            contacts=None,
        )
        job = Job(stop - start, source.fps, segment, seed, (seen, line.known[start:stop]), start / source.fps)
        found = self.denoiser.make(job, options)
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


def is_lmm(folder: Path) -> bool:
    """Whether a directory holds this engine, or a diffusion model itself."""
    if (folder / "diffusion" / "config.json").is_file():
        return True
    config = folder / "config.json"
    return config.is_file() and '"kind": "diffusion"' in config.read_text(encoding="utf-8")

"""The motion diffusion model as an engine: text, keypoints of a video, known frames and known parts, at any frame rate.

Requests, seeds and answers are those of ``generate.py``; how frames are made stands in ``denoise.py``.
"""

from collections.abc import Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import torch
from jaxtyping import Bool
from torch import Tensor

from motionloom.conditions.keypoints import Keypoints
from motionloom.conditions.text import MiniLM
from motionloom.errors import CheckpointError, RequestError
from motionloom.models.checkpoint import Checkpoint, load_checkpoint
from motionloom.models.length import LengthPredictor
from motionloom.models.schedule import Method
from motionloom.motion.blend import compose, faster
from motionloom.motion.keep import Keep, frames
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.skeleton import CANONICAL, LEG_LENGTH
from motionloom.tasks.best import choose
from motionloom.tasks.complete import Timeline, lay_out, timeline
from motionloom.tasks.denoise import DenoiseOptions, Denoiser, Job
from motionloom.tasks.generate import version
from motionloom.tasks.match import Scorer
from motionloom.tasks.request import BODY_COLUMNS, Request, Segment
from motionloom.tasks.tokens import item_seed

FPS = 20.0
"""Frame rate of an answer that none is asked for."""
CONTEXT = 2.0
"""Seconds of known motion on each side of what is to be made that the model sees."""
_LENGTH_RATE = 5.0
"""Tokens a second of the length predictor."""
_LENGTH_SPREAD = 0.6
"""Predicted lengths come from the middle 60 % of what the data has, as for the engine ``mmm``."""
_OPTIONS = ("keypoints", "method")


class LMM:
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
        """What a request may need; text and keypoints where the model was trained with them."""
        config = self.denoiser.model.config
        found = {"unconditioned", "known frames", "known parts"}
        return frozenset(found | {name for name in ("text", "video") if config.widths[name]})

    @property
    def text(self) -> MiniLM:
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

    def generate(
        self,
        text: str = "",
        seconds: float | None = None,
        seed: int = 0,
        count: int = 1,
        fps: float | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        path: Sequence[tuple[float, float]] = (),
        loop: bool = False,
        best_of: int = 1,
        keypoints: Keypoints | None = None,
        **options: Any,
    ) -> list[Motion]:
        """Make motions for a sentence, or for the keypoints of a video, or both.

        Args:
            text: What the person does; empty for any motion.
            seconds: Length [s]; left out, it is that of the video, or sampled from what such motions usually take.
            seed: Same seed, same motion, on the same machine.
            count: How many; the i-th depends on (seed, i) only.
            fps: Frame rate; 20 when left out. The model makes the frames themselves at the rates it knows.
            steps: Passes through the network.
            guidance: How strongly text and video are followed; 1 is plain.
            path: Not served by this engine.
            loop: Not served by this engine.
            best_of: Candidates a motion, of which the one that fits the text best is kept.
            keypoints: What a video shows of the person; see ``conditions.keypoints.load_keypoints``.
            **options: ``method``, see ``DenoiseOptions``.

        Raises:
            RequestError: The text is too long, the length beyond what the model makes, or something is asked for that
                the engine does not serve.
        """
        if keypoints is not None:
            options["keypoints"] = keypoints
            seconds = len(keypoints) / keypoints.fps if seconds is None else seconds
        points = tuple((float(x), float(z)) for x, z in path)
        segments = (Segment(text, seconds),)
        return self.run(Request(segments, fps, count, seed, steps, guidance, options, None, points, loop, best_of))

    def complete(
        self,
        motion: Motion,
        keep: Keep,
        text: str = "",
        seed: int = 0,
        count: int = 1,
        before: float = 0.0,
        after: float = 0.0,
        fps: float | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        best_of: int = 1,
        **options: Any,
    ) -> list[Motion]:
        """Keep some of a motion and make the rest anew.

        Args:
            motion: Of the canonical body, at any frame rate; what is kept of it comes back to the bit.
            keep: Which spans of time and which parts of the body, for example
                ``ml.frames(0, 1.0) | ml.parts("legs")``.
            text: What the person does; empty for any motion that fits.
            seed: Same seed, same motion, on the same machine.
            count: How many; the i-th depends on (seed, i) only.
            before: Seconds to make before the motion.
            after: Seconds to make after it.
            fps: Frame rate; the motion's own when left out.
            steps: Passes through the network.
            guidance: How strongly the text is followed; 1 is plain.
            best_of: See ``generate``.
            **options: See ``generate``.

        Raises:
            RequestError: There is nothing to keep or to make, or what is to be made is too long.
            MotionError: The motion is of another skeleton, or the choice leaves it.
        """
        known, seconds = lay_out(motion, keep.mask(len(motion), motion.fps), before, after)
        segments = (Segment(text, seconds),)
        return self.run(Request(segments, fps, count, seed, steps, guidance, options, known, best_of=best_of))

    def predict(self, motion: Motion, seconds: float, text: str = "", **more: Any) -> list[Motion]:
        """Go on where a motion ends.

        Args:
            motion: Comes back as it is, at the beginning of the answer.
            seconds: How much to make after it [s].
            text: What the person does next; empty for whatever fits.
            **more: As for ``complete``.
        """
        if not seconds > 0:
            raise RequestError(f"{seconds} s to predict; give a positive number of seconds")
        return self.complete(motion, frames(), text, after=seconds, **more)

    def story(self, lines: Sequence[Segment], seed: int = 0, count: int = 1, **more: Any) -> list[Motion]:
        """Several sentences one after the other; a single one for this engine.

        Raises:
            RequestError: There are several lines.
        """
        return self.run(Request(tuple(lines), seed=seed, count=count, **more))

    def run(self, request: Request) -> list[Motion]:
        """Serve a request.

        Raises:
            RequestError: The request needs what this engine does not serve, or lies outside its limits.
        """
        return self.run_many([request])[0]

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
            answers.append([self._signed(motion, request) for motion in kept])
        return answers

    def _options(self, request: Request) -> DenoiseOptions:
        """Check what a request asks for, and read how it is to be made."""
        unknown = sorted(set(request.options) - set(_OPTIONS))
        if unknown:
            raise RequestError(f"unknown options {', '.join(unknown)}; known are {', '.join(_OPTIONS)}")
        keypoints, method = request.options.get("keypoints"), request.options.get("method")
        if method is not None and method not in get_args(Method):
            raise RequestError(f"method is {method!r}; use {' or '.join(map(repr, get_args(Method)))}")
        lacking = sorted((request.needs | ({"video"} if keypoints is not None else set())) - self.serves)
        if lacking:
            raise RequestError(f"engine {self.name!r} does not serve {', '.join(lacking)}")
        if keypoints is not None and request.known is not None:
            raise RequestError("keypoints and known cells cannot be asked for at once: ask for one of them")
        given = {"steps": request.steps, "guidance": request.guidance, "method": method}
        return DenoiseOptions(**{name: value for name, value in given.items() if value is not None})

    def _made(self, request: Request, seed: int, options: DenoiseOptions) -> Motion:
        if request.known is not None:
            return self._completed(timeline(request), request.segments[0].text, seed, options)
        segment = request.segments[0]
        seconds = self._seconds(segment.text, seed) if segment.seconds is None else segment.seconds
        fps = request.fps or FPS
        # A length that was asked for is judged as it was asked for.
        self.denoiser.rate(seconds, fps)
        job = Job(max(1, round(seconds * fps)), fps, segment.text, seed, None, request.options.get("keypoints"))
        return self.denoiser.make(job, options)

    @torch.no_grad()
    def _seconds(self, text: str, seed: int) -> float:
        """A length that motions of a text have."""
        model, stats = self.length.model, self.length.stats
        assert isinstance(model, LengthPredictor)
        sentence = self.denoiser.text([text or "a person moves"]).sentence
        sentence = (sentence - stats["sentence_mean"]) / stats["sentence_std"]
        seconds = float(model.sample(sentence, [seed], _LENGTH_SPREAD)) / _LENGTH_RATE
        return min(max(seconds, self.denoiser.min_seconds), self.denoiser.max_seconds)

    def _completed(self, line: Timeline, text: str, seed: int, options: DenoiseOptions) -> Motion:
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
        job = Job(stop - start, source.fps, text, seed, (seen, line.known[start:stop]))
        found = self.denoiser.make(job, options)
        rotations, root = source.rotations.clone(), source.root.clone()
        rotations[start:stop], root[start:stop] = found.rotations, found.root * scale
        contacts = None if source.contacts is None else source.contacts.clone()
        if contacts is not None and found.contacts is not None:
            contacts[start:stop] = found.contacts
        made = source.with_(rotations=rotations, root=root, contacts=contacts)
        return compose(source, line.known, made, min(max(line.first, start), stop - 1))

    def _signed(self, motion: Motion, request: Request) -> Motion:
        """The motion at the frame rate asked for, saying how it was made."""
        licences, notes = [self.checkpoint.licence], motion.provenance.notes
        if request.known is not None:
            kept = request.known.motion.provenance
            licences += [kept.licence] if kept.licence and kept.licence not in licences else []
            notes = (*notes, f"kept parts of {kept.source or 'a motion'}")
        provenance = Provenance(
            source=f"motionloom {self.name}",
            licence="; ".join(licences),
            text=request.segments[0].text,
            seed=request.seed,
            engine=f"{self.name} {version()}",
            notes=notes,
        )
        motion = motion.with_(provenance=provenance)
        if request.fps is None or request.fps == motion.fps:
            return motion
        return faster(motion, request.fps) if request.fps > motion.fps else motion.at_fps(request.fps)


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

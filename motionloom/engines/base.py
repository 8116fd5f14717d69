"""What every engine is: the contract that callers use, and all that engines have in common.

An engine brings ``open`` (weights of a folder) and ``run`` (requests to motions), and says by ``capabilities`` what a
request may need. Everything else is written once, here: the verbs, checks of requests and options, best-of, dances in
time with their music, provenance, and the frame rate of the answer.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import cached_property
from importlib import metadata, resources
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from motionloom.conditions.audio import Sound
from motionloom.conditions.keypoints import Keypoints
from motionloom.conditions.text import TextEncoder, minilm
from motionloom.engines.beat_sync import beat_sync, heard
from motionloom.engines.best_of import choose
from motionloom.engines.lengths import LengthEstimator
from motionloom.engines.novelty import Novelty, NoveltyTable, load_table
from motionloom.engines.options import EngineOptions
from motionloom.engines.request import Request, Segment
from motionloom.engines.text_motion import TextMotionScorer
from motionloom.engines.threads import using_threads
from motionloom.engines.timeline import lay_out
from motionloom.engines.understanding import Answer, Caption
from motionloom.errors import RequestError
from motionloom.licences import Licence, strictest
from motionloom.motion.blend import faster
from motionloom.motion.keep import Keep, frames
from motionloom.motion.motion import Motion, Provenance
from motionloom.progress import SILENT, Progress
from motionloom.schema import build


class Capability(StrEnum):
    """What an engine can be asked for; those up to ``SEGMENTS`` are needs of a request, the others optional methods."""

    TEXT = "text"
    UNCONDITIONED = "unconditioned"
    MUSIC = "music"
    SPEECH = "speech"
    VIDEO = "video"
    KNOWN_FRAMES = "known frames"
    KNOWN_PARTS = "known parts"
    PATH = "path"
    LOOP = "loop"
    SEGMENTS = "segments"
    DESCRIBE = "describe"
    COMPOSE = "compose"
    ASK = "ask"
    DESCRIBE_MUSIC = "describe music"
    RECONSTRUCT = "reconstruct"


class Engine(ABC):
    """An engine, by what it can be asked for.

    Attributes:
        name: As it is announced under the entry-point group ``motionloom.engines``.
        Options: Its options.
        fps: Frame rate of an answer where none is asked for.
        threads: Threads that it computes with.
        folder: Where its weights lie; ``None`` where it has none.
        imports: Kinds of official checkpoints that ``motionloom import`` reads for it, and the function of each
            ("module:name"; see ``engines/importing.py``).
    """

    name: ClassVar[str]
    Options: ClassVar[type[EngineOptions]] = EngineOptions
    imports: ClassVar[Mapping[str, str]] = {}
    fps: float = 20.0
    threads: int = 1
    folder: Path | None = None

    @classmethod
    def starter(cls) -> Path:
        """Folder of the weights that come with the engine: ``starter/NAME`` in the package that defines it."""
        return Path(str(resources.files(cls.__module__.partition(".")[0]) / "starter" / cls.name))

    @classmethod
    @abstractmethod
    def open(cls, folder: Path, **options: Any) -> "Engine":
        """The engine with the weights of a folder.

        Raises:
            CheckpointError: The folder does not hold this engine, or its parts do not fit each other.
        """

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether a folder without ``engine.json`` holds this engine; only for engines that are older than that."""
        return False

    @property
    @abstractmethod
    def capabilities(self) -> frozenset[str]:
        """What a request may need (``Request.needs``), and what else can be asked for; see ``Capability``."""

    @property
    def min_seconds(self) -> float:
        """Shortest motion [s]."""
        return 1 / self.fps

    @property
    @abstractmethod
    def max_seconds(self) -> float:
        """Longest motion in one piece [s]."""

    @property
    def licences(self) -> Sequence[Licence]:
        """Licences of all weights that take part, and of what they were made from."""
        return ()

    @property
    def licence(self) -> str:
        """The strictest of ``licences``, which motions inherit; empty for none."""
        return str(strictest(self.licences)) if self.licences else ""

    @abstractmethod
    def run(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[list[Motion]]:
        """Make the motions of several requests, ``request.count`` each: the one method that an engine writes.

        Callers use ``serve``, which checks requests, chooses the best of several, and signs what comes back. The
        requests that arrive here have ``best_of`` 1, needs that are in ``capabilities``, and options that fit
        ``Options`` (``self.options(request)`` reads them). Item i of a request uses the random stream
        ``item_seed(request.seed, i)`` and depends neither on its batch nor on its place there.

        Args:
            requests: What is asked for.
            progress: Told about every step; may raise ``Cancelled``.

        Raises:
            RequestError: A request lies outside the engine's limits.
        """

    @property
    def text(self) -> TextEncoder:
        """The sentence encoder that texts are read by; loaded when first needed."""
        return minilm()

    @cached_property
    def scorer(self) -> TextMotionScorer:
        """The bundled text-motion encoder, which ``best_of`` chooses by; loaded when first needed."""
        return TextMotionScorer()

    @cached_property
    def captions_table(self) -> NoveltyTable | None:
        """Captions that the engine was trained on, by which it tells unknown sentences; ``None`` where it has none.

        A folder ``novelty`` beside the weights, or the bundled table for the weights that come with motionloom.

        Raises:
            CheckpointError: There is one that cannot be read.
        """
        if self.folder is None:
            return None
        for place in (self.folder / "novelty", self.folder.parent / "novelty"):
            if (place / "captions.json").is_file():
                return load_table(place)
        return None

    @cached_property
    def lengths(self) -> LengthEstimator:
        """The length predictor of the engine, or that of the bundled ``mmm``; loaded when first needed.

        Raises:
            RequestError: There is none.
        """
        bundled = Path(str(resources.files("motionloom") / "starter" / "mmm"))
        for folder in (*(() if self.folder is None else (self.folder,)), bundled):
            if (folder / "length" / "config.json").is_file():
                return LengthEstimator.open(folder / "length")
        raise RequestError("how long the motion is was not said, and there is no length predictor: give seconds")

    def usual_seconds(self, text: str, seed: int = 0) -> float:
        """A length that motions of a text have, within what the engine makes [s]."""
        return min(max(self.lengths.seconds(text, seed), self.min_seconds), self.max_seconds)

    def unknown(self, request: Request) -> list[Novelty]:
        """Sentences of a request that ask for what no training clip shows, as far as the engine can tell."""
        table = self.captions_table
        texts = list(dict.fromkeys(segment.text for segment in request.segments if segment.text))
        return [] if table is None or not texts else [found for found in table(texts) if found.unknown]

    def options(self, request: Request) -> Any:
        """Options of a request as an instance of ``Options``; what is left out has its default.

        Raises:
            RequestError: An option is unknown, of another type or out of range.
        """
        values = {name: value for name, value in request.options.items() if value is not None}
        for name in ("steps", "guidance"):
            if getattr(request, name) is not None:
                values[name] = getattr(request, name)
        return build(self.Options, values, error=RequestError, what="options")

    @torch.no_grad()
    def serve(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[list[Motion]]:
        """Serve several requests; each answer is what it would be alone.

        Args:
            requests: What is asked for.
            progress: Told about every step; may raise ``Cancelled``.

        Raises:
            RequestError: A request needs what this engine does not serve, or lies outside its limits.
            Cancelled: ``progress`` stopped the work.
        """
        for request in requests:
            self.refuse_unserved(request)
            self.options(request)
        doubts = [[found.note for found in self.unknown(request)] for request in requests]
        for request, notes in zip(requests, doubts, strict=True):
            if request.strict and notes:
                raise RequestError(f"{notes[0]}; leave out strict to make what is nearest")
        plain = [replace(request, count=request.count * request.best_of, best_of=1) for request in requests]
        with using_threads(self.threads):
            made = self.run(plain, progress) if plain else []
            answers = []
            for request, candidates, notes in zip(requests, made, doubts, strict=True):
                pieces = [candidates[at : at + request.best_of] for at in range(0, len(candidates), request.best_of)]
                kept = [choose(self.scorer, request, few) if request.best_of > 1 else few[0] for few in pieces]
                answers.append([self._signed(motion, request, notes) for motion in kept])
        progress.settle()
        return answers

    def generate(
        self,
        text: str = "",
        seconds: float | None = None,
        *,
        seed: int = 0,
        count: int = 1,
        fps: float | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        path: Sequence[tuple[float, float]] = (),
        loop: bool = False,
        best_of: int = 1,
        music: Sound | None = None,
        speech: Sound | None = None,
        keypoints: Keypoints | None = None,
        in_time: bool = True,
        strict: bool = False,
        progress: Progress = SILENT,
        **options: Any,
    ) -> list[Motion]:
        """Make motions for a sentence, for sound, for a video, or for several of them at once.

        Args:
            text: What the person does; empty for any motion.
            seconds: Length [s]; left out, it is that of the sound or video, or what such motions usually take.
            seed: Same seed, same motion, on the same machine.
            count: How many; the i-th depends on (seed, i) only.
            fps: Frame rate; the engine's own 20 when left out.
            steps: InferenceCache through the network.
            guidance: How strongly conditions are followed; 1 is plain.
            path: Points x, z [m] that the root goes through, the last one at the end; see ``Request``.
            loop: Whether the end goes on into the beginning.
            best_of: Candidates a motion, of which the one that fits the text best is kept.
            music: What is danced to, from its first sample on; see ``conditions.audio.load_audio``.
            speech: What is said.
            keypoints: What a video shows of the person; see ``conditions.keypoints.load_keypoints``.
            in_time: With music: whether the motion is played up to 1.4 times faster or slower between beats, twice at
                its ends, so that it rests on the music's beats (``engines/beat_sync.py``).
            strict: Whether a sentence that no training clip is like is refused, instead of noted.
            progress: Told about every step; may raise ``Cancelled``.
            **options: Those of the engine (``motionloom models --options NAME``).

        Raises:
            RequestError: The text is too long, the length beyond what the model makes, the path out of reach, an
                option unknown, or something is asked for that the engine does not serve.
        """
        segments = (Segment(text, seconds, music, speech, keypoints),)
        points = tuple((float(x), float(z)) for x, z in path)
        request = Request(
            segments, fps=fps, count=count, seed=seed, steps=steps, guidance=guidance, options=options, path=points,
            loop=loop, best_of=best_of, in_time=in_time, strict=strict,
        )  # fmt: skip
        return self.serve([request], progress)[0]

    def complete(
        self,
        motion: Motion,
        keep: Keep,
        *,
        text: str = "",
        seed: int = 0,
        count: int = 1,
        before: float = 0.0,
        after: float = 0.0,
        fps: float | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        best_of: int = 1,
        music: Sound | None = None,
        speech: Sound | None = None,
        keypoints: Keypoints | None = None,
        progress: Progress = SILENT,
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
            steps: InferenceCache through the network.
            guidance: How strongly conditions are followed; 1 is plain.
            best_of: See ``generate``.
            music: What is danced to; it begins where the answer begins.
            speech: What is said; it begins there too.
            keypoints: What a video shows; it begins there too.
            progress: Told about every step; may raise ``Cancelled``.
            **options: Those of the engine (``motionloom models --options NAME``).

        Raises:
            RequestError: The engine cannot keep body parts, there is nothing to keep or to make, or what is to be
                made is too long.
            MotionError: The motion is of another skeleton, or the choice leaves it.
        """
        known, seconds = lay_out(motion, keep.mask(len(motion), motion.fps), before, after)
        segments = (Segment(text, seconds, music, speech, keypoints),)
        request = Request(
            segments, fps=fps, count=count, seed=seed, steps=steps, guidance=guidance, options=options, known=known,
            best_of=best_of,
        )  # fmt: skip
        return self.serve([request], progress)[0]

    def predict(self, motion: Motion, seconds: float, *, text: str = "", **more: Any) -> list[Motion]:
        """Go on where a motion ends.

        Args:
            motion: Comes back as it is, at the beginning of the answer.
            seconds: How much to make after it [s].
            text: What the person does next; empty for whatever fits.
            **more: As for ``complete``.
        """
        if not seconds > 0:
            raise RequestError(f"{seconds} s to predict; give a positive number of seconds")
        return self.complete(motion, frames(), text=text, after=seconds, **more)

    def story(
        self,
        lines: Sequence[Segment],
        *,
        seed: int = 0,
        count: int = 1,
        fps: float | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        best_of: int = 1,
        strict: bool = False,
        progress: Progress = SILENT,
        **options: Any,
    ) -> list[Motion]:
        """One motion for several sentences, with transitions between them; up to ten minutes.

        Args:
            lines: What happens, one after the other, each with its seconds; ``story.read_script`` reads a file.
            seed: Same seed, same motion, on the same machine.
            count: How many; the i-th depends on (seed, i) only.
            fps: Frame rate; the engine's own 20 when left out.
            steps: InferenceCache through the network.
            guidance: How strongly conditions are followed; 1 is plain.
            best_of: See ``generate``.
            strict: See ``generate``.
            progress: Told about every step; may raise ``Cancelled``.
            **options: Those of the engine (``motionloom models --options NAME``).

        Raises:
            RequestError: There is no line, a line has no length or is too short, the story is too long, or the engine
                tells none.
        """
        request = Request(
            tuple(lines), fps=fps, count=count, seed=seed, steps=steps, guidance=guidance, options=options,
            best_of=best_of, strict=strict,
        )  # fmt: skip
        return self.serve([request], progress)[0]

    @torch.no_grad()
    def describe(self, motion: Motion, count: int = 3, *, seed: int = 0, progress: Progress = SILENT) -> list[Caption]:
        """Say in words what happens in a motion, the most confident sentence first.

        Args:
            motion: Of any humanoid.
            count: How many different sentences.
            seed: Of those that are drawn.
            progress: Told about every step; may raise ``Cancelled``.

        Raises:
            RequestError: The engine does not describe, or the motion is too short or too long.
        """
        self._need(Capability.DESCRIBE)
        with using_threads(self.threads):
            return self.captions(motion, count, seed, progress)

    @torch.no_grad()
    def compose(
        self, motion: Motion, *, seed: int = 0, candidates: int = 4, progress: Progress = SILENT, **options: Any
    ) -> Sound:
        """Write music for a motion, exactly as long.

        Args:
            motion: Of any humanoid.
            seed: Same seed, same music, on the same machine.
            candidates: Pieces that are written; the one that fits best is kept.
            progress: Told about every step; may raise ``Cancelled``.
            **options: Those of the engine.

        Raises:
            RequestError: The engine does not compose, or the motion is too short or too long.
        """
        self._need(Capability.COMPOSE)
        how = build(self.Options, options, error=RequestError, what="options")
        with using_threads(self.threads):
            return self.music(motion, seed, candidates, how, progress)

    @torch.no_grad()
    def ask(self, motion: Motion, question: str, *, seed: int = 0, progress: Progress = SILENT) -> Answer:
        """Answer a question about a motion.

        Args:
            motion: Of any humanoid.
            question: For example "What comes next?".
            seed: Same seed, same answer.
            progress: Told about every step; may raise ``Cancelled``.

        Raises:
            RequestError: The engine does not answer, or the motion is too short or too long.
        """
        self._need(Capability.ASK)
        with using_threads(self.threads):
            return self.answer(motion, question, seed, progress)

    def captions(self, motion: Motion, count: int, seed: int, progress: Progress) -> list[Caption]:
        """What ``describe`` answers; written by engines with that capability."""
        raise NotImplementedError

    def music(self, motion: Motion, seed: int, candidates: int, options: EngineOptions, progress: Progress) -> Sound:
        """What ``compose`` answers; written by engines with that capability."""
        raise NotImplementedError

    def answer(self, motion: Motion, question: str, seed: int, progress: Progress) -> Answer:
        """What ``ask`` answers; written by engines with that capability."""
        raise NotImplementedError

    def _need(self, capability: Capability) -> None:
        if capability not in self.capabilities:
            raise RequestError(
                f"engine {self.name!r} does not {capability}; it serves {', '.join(sorted(self.capabilities))}"
            )

    def music_to_text(self, sound: Sound, count: int = 3, *, seed: int = 0) -> Sequence[Any]:
        """Say in words how one dances to music, as ``Caption``, the best first; capability "describe music".

        Raises:
            RequestError: The engine does not serve it.
        """
        self._need(Capability.DESCRIBE_MUSIC)
        raise NotImplementedError

    def reconstruct(self, motion: Motion, hidden: Bool[Tensor, " T"] | None = None) -> Motion:
        """A motion through the engine's tokenizer, the best that it can make; capability "reconstruct".

        Args:
            motion: Of the canonical body at 20 fps.
            hidden: Frames that come from the codes, put together with the others as ``complete`` does; when left out,
                all do, and a last code that is begun only is left out.

        Raises:
            RequestError: The engine does not serve it.
        """
        self._need(Capability.RECONSTRUCT)
        raise NotImplementedError

    def seams(self, request: Request) -> list[float]:
        """Times [s] at which pieces of a long answer meet that are made one after the other; none by default."""
        return []

    def refuse_unserved(self, request: Request) -> None:
        """See that the engine serves what a request needs.

        Raises:
            RequestError: It does not.
        """
        lacking = sorted(request.needs - self.capabilities)
        if lacking:
            raise RequestError(
                f"engine {self.name!r} does not serve {', '.join(lacking)}; it serves"
                f" {', '.join(sorted(self.capabilities))}"
            )

    def _signed(self, motion: Motion, request: Request, doubts: Sequence[str] = ()) -> Motion:
        """The motion at the frame rate asked for, saying how it was made."""
        licences, notes = [self.licence] if self.licence else [], (*doubts, *motion.provenance.notes)
        if request.known is not None:
            kept = request.known.motion.provenance
            licences += [kept.licence] if kept.licence and kept.licence not in licences else []
            notes = (*notes, f"kept parts of {kept.source or 'a motion'}")
        if request.in_time and request.follows_music:
            motion, met = beat_sync(motion, heard(request))
            if met:
                notes = (*notes, f"played faster and slower so that it rests on {met} beats of the music")
        if request.fps is not None and request.fps > motion.fps:
            notes = (*notes, f"made at {motion.fps:g} fps and read by splines")
        provenance = Provenance(
            source=f"motionloom {self.name}",
            licence="; ".join(licences),
            text="; ".join(segment.text for segment in request.segments if segment.text),
            seed=request.seed,
            engine=f"{self.name} {version()}",
            notes=notes,
        )
        motion = motion.with_(provenance=provenance)
        if request.fps is None or request.fps == motion.fps:
            return motion
        # Straight lines between frames would show as a jerk at every one of the model's own.
        return faster(motion, request.fps) if request.fps > motion.fps else motion.at_fps(request.fps)


def version() -> str:
    """Version of the installed package."""
    return metadata.version("motionloom")

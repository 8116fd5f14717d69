"""M3GPT as an engine: text, music and motion as one language, in every direction.

Sentences, music, both, known frames, and what follows a motion all become prompts of one language model
(``instructions.py``), whose answers are codes of motion. What is longer than a prompt's music or motion is written
piece by piece, each one knowing the one before. What it says about motions, and the music that it writes, is in
``m3gpt_words.py``.

Source: M3GPT (arXiv 2405.16273), sections 3.2 and 3.5; long dance as in its section 4.3.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from motionloom.conditions.audio import Sound
from motionloom.engines.base import Engine
from motionloom.engines.m3gpt import words
from motionloom.engines.m3gpt.decoder import SHORTEST, M3GPTOptions, MotionLanguageModel, Prompt, prompt_parts
from motionloom.engines.options import EngineOptions
from motionloom.engines.request import MAX_SECONDS, Request, Segment
from motionloom.engines.seeds import item_seed
from motionloom.engines.threads import using_threads
from motionloom.engines.timeline import Timeline, timeline
from motionloom.engines.understanding import Answer, Caption
from motionloom.errors import RequestError
from motionloom.licences import Licence
from motionloom.models.language.vocabulary import MASKED, Part
from motionloom.motion.motion import Motion
from motionloom.progress import SILENT, Progress

PIECE = 10.0
"""Longest motion that is written in one piece, and the longest whose length is left to the model [s]."""
MUSIC_PIECE = 5.0
"""Music that a prompt holds at most [s]: the crops of the paper."""
CONTEXT = 2.0
"""Motion before a piece that the piece goes on from [s]."""
_SLACK = 1e-6


@dataclass(frozen=True, eq=False)
class Piece:
    """A stretch of motion that is written in one go.

    Attributes:
        text: What it follows; empty for nothing.
        music: Codes of its music; ``None`` for none.
        codes: How many codes it has; ``None`` lets the model end it.
        last: Whether what is to be followed ends with it.
    """

    text: str
    music: Int[Tensor, " M"] | None
    codes: int | None
    last: bool = True


class M3GPT(Engine):
    """The language model over text, music and motion as an engine.

    Args:
        folder: Directory with the checkpoints ``language``, ``motion`` (its tokenizer) and ``music``.

    Raises:
        CheckpointError: One of them is missing or does not fit the others.
    """

    name = "m3gpt"
    Options = M3GPTOptions
    imports: ClassVar[Mapping[str, str]] = {
        kind: f"motionloom.engines.m3gpt.importing:import_{kind}" for kind in ("language", "tokenizer", "music")
    }

    def __init__(self, folder: Path) -> None:
        self.folder, self.model = folder, MotionLanguageModel(folder)
        self.fps = self.model.fps

    @classmethod
    def open(cls, folder: Path, **options: Any) -> "M3GPT":
        """The engine with the weights of a folder.

        Raises:
            CheckpointError: See the class.
        """
        return cls(folder, **options)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether a folder without ``engine.json`` holds this engine."""
        return (folder / "language" / "config.json").is_file()

    @property
    def capabilities(self) -> frozenset[str]:
        """What a request may need."""
        requests = {"text", "unconditioned", "music", "known frames", "segments"}
        return frozenset(requests | {"describe", "describe music", "compose", "ask", "reconstruct"})

    @property
    def min_seconds(self) -> float:
        """Shortest motion that is written [s]."""
        return SHORTEST / self.model.rate

    @property
    def max_seconds(self) -> float:
        """Longest motion in one piece [s]."""
        return PIECE

    @property
    def licences(self) -> Sequence[Licence]:
        """Licences of the language model and its tokenizers, and of what they were made from."""
        return [licence for checkpoint in self.model.checkpoints.values() for licence in checkpoint.licences]

    def captions(self, motion: Motion, count: int, seed: int, progress: Progress) -> list[Caption]:
        """See ``words.describe``."""
        codes = self.model.encode(motion, self.model.max_seconds)
        return words.describe(self.model, codes, count, seed=seed, progress=progress)

    def music(self, motion: Motion, seed: int, candidates: int, options: EngineOptions, progress: Progress) -> Sound:
        """See ``words.compose``."""
        assert isinstance(options, M3GPTOptions)
        return words.compose(self.model, motion, seed=seed, options=options, candidates=candidates, progress=progress)

    def answer(self, motion: Motion, question: str, seed: int, progress: Progress) -> Answer:
        """See ``words.ask``."""
        return words.ask(self.model, self.text, motion, question, seed=seed, progress=progress)

    def music_to_text(self, sound: Sound, count: int = 3, *, seed: int = 0) -> list[Caption]:
        """Say in words how one dances to music; see ``words.music_to_text``."""
        with using_threads(self.threads):
            return words.music_to_text(self.model, sound, count, seed=seed)

    def reconstruct(self, motion: Motion, hidden: Bool[Tensor, " T"] | None = None) -> Motion:
        """A motion through the tokenizer; see ``Engine.reconstruct``."""
        if hidden is None:
            return self.model.decode(self.model.encode(motion, PIECE))
        return self.model.reconstruct(motion, hidden)

    def seams(self, request: Request) -> list[float]:
        """Times [s] at which pieces meet that a prompt can hold; see ``Engine.seams``."""
        plan, rate = self._plan(request), self.model.rate
        ends = np.cumsum([len(plan.codes), *(piece.codes or 0 for piece in plan.pieces)])[1:-1]
        return [float(end) / rate for end in ends] if plan.window is None else []

    @torch.no_grad()
    def run(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[list[Motion]]:
        """Make the motions of several requests, many at a time; see ``Engine.run``.

        Raises:
            RequestError: A request lies outside the limits of the model, or they differ in options.
        """
        chosen = {self.options(request) for request in requests}
        if len(chosen) > 1:
            raise RequestError("requests of one batch must agree in their options")
        (options,) = chosen
        # The same for all items of a request, so it is read once.
        plans = [self._plan(request) for request in requests]
        drafts = [
            _Draft(plan, item_seed(request.seed, index), plan.codes.clone())
            for request, plan in zip(requests, plans, strict=True)
            for index in range(request.count)
        ]
        while True:
            todo = [draft for draft in drafts if not draft.done]
            if not todo:
                break
            said = self.model.generate(
                [draft.ask(self.model, options.draws) for draft in todo],
                "motion",
                options.temperature,
                options.top_p,
                options.guidance,
                progress,
            )
            for draft, (codes, _) in zip(todo, said, strict=True):
                draft.take(codes)
        made = iter([self._motion(draft) for draft in drafts])
        return [[next(made) for _ in range(request.count)] for request in requests]

    def options(self, request: Request) -> M3GPTOptions:
        """Options of a request; see ``Engine.options``.

        Raises:
            RequestError: Also where steps are asked for.
        """
        if request.steps is not None:
            raise RequestError(f"engine {self.name!r} writes code by code: it has no steps")
        return super().options(request)

    def _plan(self, request: Request) -> "_Plan":
        if request.known is not None:
            return self._completion(request)
        pieces: list[Piece] = []
        at, heard = 0.0, {}
        for number, segment in enumerate(request.segments, start=1):
            seconds = _seconds(segment, number, len(request.segments))
            if at + (seconds or PIECE) > MAX_SECONDS:
                raise RequestError(f"the motion takes more than {MAX_SECONDS:g} s; ask for at most that")
            music = None
            if segment.music is not None:
                if id(segment.music) not in heard:
                    heard[id(segment.music)] = self.model.encode_audio(segment.music)
                music = heard[id(segment.music)]
            pieces += self._pieces(segment.text, music, at, seconds, number == len(request.segments))
            at += seconds or 0.0
        known = all(piece.codes is not None for piece in pieces)
        nothing = torch.zeros(0, dtype=torch.long)
        return _Plan(tuple(pieces), nothing, frames=round(at * self.model.fps) if known else None)

    def _pieces(self, text: str, music: Tensor | None, at: float, seconds: float | None, final: bool) -> list[Piece]:
        """Cut a segment that begins at a time [s] into stretches that a prompt can hold."""
        if seconds is None:
            return [Piece(text, music, None)]
        rate, longest = self.model.rate, PIECE if music is None else MUSIC_PIECE
        # The last segment has as many codes as cover all of it; what is too much is cut off again.
        first, end = round(at * rate), (at + seconds) * rate
        last = math.ceil(end - _SLACK) if final else round(end)
        if last - first < SHORTEST:
            raise RequestError(f"{seconds:g} s asked for; at least {SHORTEST / rate:g} s are made")
        speed = self.model.music.tokens_per_second / rate
        return [
            Piece(
                text,
                None if music is None else music[round((a - first) * speed) : max(1, round((b - first) * speed))],
                b - a,
                b == last,
            )
            for a, b in pairwise(marks(first, last, longest * rate))
        ]

    def _completion(self, request: Request) -> "_Plan":
        """What is to be written of a timeline: what follows the known frames, or what is hidden among them."""
        (segment,) = request.segments
        line = timeline(request)
        known = self.model.encode_timeline(line)
        hidden = (known == MASKED).nonzero()[:, 0]
        if len(hidden) == 0:
            return _Plan((), known, line)
        first = int(hidden[0])
        if bool((known[first:] == MASKED).all()):
            music = None if segment.music is None else self.model.encode_audio(segment.music)
            seconds = (len(known) - first) / self.model.rate
            if segment.music is not None and music is not None:
                _enough(segment.music.seconds, len(line.motion) / line.motion.fps, "the whole motion")
                music = music[round(first / self.model.rate * self.model.music.tokens_per_second) :]
            return _Plan(tuple(self._follow(segment.text, music, seconds)), known[:first], line)
        if segment.music is not None:
            raise RequestError(f"engine {self.name!r} dances on to music, but fills no gaps to it: leave one out")
        gap = int(hidden[-1]) + 1 - first
        if gap > PIECE * self.model.rate:
            raise RequestError(
                f"{gap / self.model.rate:.1f} s are to be made between known frames; at most {PIECE:g} s are: keep"
                " more, or go on in several steps"
            )
        # Half is hidden and a quarter known on each side, as it was learned.
        side = max(SHORTEST, gap // 2)
        return _Plan((Piece(segment.text, None, gap),), known, line, (max(0, first - side), first + gap + side))

    def _follow(self, text: str, music: Tensor | None, seconds: float) -> list[Piece]:
        """Pieces of any length, even a single code."""
        count = round(seconds * self.model.rate)
        if count < SHORTEST:
            return [Piece(text, music, count)]
        return self._pieces(text, music, 0.0, seconds, final=True)

    def _motion(self, draft: "_Draft") -> Motion:
        plan = draft.plan
        if plan.line is None:
            return self.model.decode(draft.codes, plan.frames, foot_locked=True)
        known = plan.codes
        if plan.window is None:
            known = torch.full((len(draft.codes),), MASKED)
            known[: len(plan.codes)] = plan.codes
        return self.model.decode_timeline(plan.line, draft.codes, known)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is to be written for each item of a request.

    Attributes:
        pieces: One after the other; a single one where there is a window.
        codes: What is known: those before the pieces, or all of a timeline with -1 where hidden.
        line: The timeline, where frames are known.
        window: The codes that are looked at to write hidden ones among them.
        frames: Of the answer at 20 fps; ``None`` for whole codes.
    """

    pieces: tuple[Piece, ...]
    codes: Int[Tensor, " N"]
    line: Timeline | None = None
    window: tuple[int, int] | None = None
    frames: int | None = None


@dataclass(eq=False)
class _Draft:
    """One motion on its way.

    Attributes:
        plan: Shared by the items of a request.
        seed: Of this motion.
        codes: What is written so far.
        turn: Pieces that are written.
    """

    plan: _Plan
    seed: int
    codes: Int[Tensor, " N"]
    turn: int = field(default=0)

    @property
    def done(self) -> bool:
        return self.turn == len(self.plan.pieces)

    def ask(self, model: MotionLanguageModel, draws: int) -> Prompt:
        """What to write next; see ``M3GPTOptions.draws``."""
        piece, seed = self.plan.pieces[self.turn], self.seed if self.turn == 0 else item_seed(self.seed, self.turn)
        if self.plan.window is not None:
            seen = self.codes[slice(*self.plan.window)].clone()
            begin = int((seen == MASKED).int().argmax())
            rest = len(seen) - begin
            also = prompt_parts("text-to-motion", text=piece.text) if piece.text else []
            bare = prompt_parts("in-between", motion=seen)
            return Prompt([*bare, *also], rest, rest, seed, seen[:begin], bare)
        context = self.codes[-round(CONTEXT * model.rate) :]
        least, most = piece.codes or SHORTEST, piece.codes or round(PIECE * model.rate)
        parts, after = _conditions(piece, context)
        # What its answer begins with, its answer without a condition begins with too.
        bare = _conditions(Piece("", None, piece.codes), context[: len(context) - len(after)])[0]
        ends = piece.codes and piece.last and piece.text and piece.music is None
        return Prompt(parts, most, least, seed, after, bare, draws if ends else 1)

    def take(self, codes: Int[Tensor, " K"]) -> None:
        """Take over what was written."""
        self.turn += 1
        if self.plan.window is None:
            self.codes = torch.cat((self.codes, codes))
            return
        seen = self.codes[slice(*self.plan.window)]
        begin = int((seen == MASKED).int().argmax())
        # A view: what was hidden is filled in where it stands.
        seen[begin:] = torch.where(seen[begin:] == MASKED, codes, seen[begin:])


def _conditions(piece: Piece, context: Int[Tensor, " P"]) -> tuple[list[Part], Int[Tensor, "_"]]:
    """The prompt of a piece, and codes that its answer begins with.

    A sentence's motion goes on from the context as if it had been written for that sentence; music and motion by
    themselves have tasks of their own for what follows.
    """
    nothing = context[:0]
    if piece.music is not None:
        # Two conditions at once were never taught: both are asked for in one breath.
        also = prompt_parts("text-to-motion", text=piece.text) if piece.text else []
        if len(context):
            return [*prompt_parts("dance-continuation", motion=context, music=piece.music), *also], nothing
        return [*prompt_parts("music-to-dance", music=piece.music), *also], nothing
    if piece.text:
        return prompt_parts("text-to-motion", text=piece.text), context
    return (prompt_parts("prediction", motion=context) if len(context) else prompt_parts("any-motion")), nothing


def marks(first: int, last: int, longest: float) -> list[int]:
    """Codes at which a stretch is cut into pieces of like length, its ends among them.

    Args:
        first: Its first code.
        last: The one behind its last.
        longest: Codes of a piece at most.
    """
    count = max(1, math.ceil((last - first) / longest - _SLACK))
    return [first + round((last - first) * step / count) for step in range(count + 1)]


def _seconds(segment: Segment, number: int, count: int) -> float | None:
    """Length of a segment [s]: as asked for, or that of its music."""
    if segment.music is not None:
        if segment.seconds is not None:
            _enough(segment.music.seconds, segment.seconds, "the segment")
        return segment.seconds or segment.music.seconds
    if segment.seconds is None and count > 1:
        raise RequestError(f"line {number} of the story has no length: give its seconds")
    return segment.seconds


def _enough(music: float, seconds: float, what: str) -> None:
    if music + 0.1 < seconds:
        raise RequestError(f"the music lasts {music:.3g} s, {what} {seconds:.3g} s: ask for less, or give more music")

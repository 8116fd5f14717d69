"""Engines: what is asked for, sorted by kind, to motions.

Sentences are served here; what is known of a motion, stories, loops and paths in ``complete.py``, ``story.py``,
``loop.py`` and ``steer.py``.
"""

from collections.abc import Callable
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from motionloom.conditions.text import MiniLM, minilm
from motionloom.data.loader import Stats
from motionloom.errors import CheckpointError, RequestError
from motionloom.models.body_tokenizer import PARTS, BodyTokenizer
from motionloom.models.checkpoint import Checkpoint, load_checkpoint
from motionloom.models.length import LengthPredictor
from motionloom.models.masked import MaskedTransformer
from motionloom.models.tokenizer import MotionTokenizer
from motionloom.motion.motion import Motion
from motionloom.tasks.best import choose
from motionloom.tasks.complete import complete
from motionloom.tasks.loop import close, decode_loop
from motionloom.tasks.match import Scorer
from motionloom.tasks.request import Request
from motionloom.tasks.steer import paces, steer
from motionloom.tasks.story import SHORTEST, tell
from motionloom.tasks.tokens import FPS, Item, Job, SampleOptions, Tokens, item_seed
from motionloom.tasks.verbs import Verbs

if TYPE_CHECKING:
    from motionloom.tasks.lmm import LMM
    from motionloom.tasks.m3gpt import M3GPT

_MODELS = ("tokenizer", "masked", "length")
LENGTH_SPREAD = 0.6
"""Predicted lengths come from the middle 60 % of what the data has: its extremes are odd clips."""


class MMM(Verbs):
    """The masked motion model as an engine: tokenizer, masked transformer, length predictor.

    Args:
        folder: Directory with the checkpoints ``tokenizer``, ``masked`` and ``length``.

    Raises:
        CheckpointError: One of them is missing or does not fit the others.
    """

    name = "mmm"

    def __init__(self, folder: Path) -> None:
        missing = [name for name in _MODELS if not (folder / name / "config.json").is_file()]
        if missing:
            raise CheckpointError(f"{folder} is no MMM engine: {', '.join(missing)} is missing")
        self.folder = folder
        self.checkpoints: dict[str, Checkpoint] = {name: load_checkpoint(folder / name) for name in _MODELS}
        tokenizer, masked, length = (self.checkpoints[name].model for name in _MODELS)
        if not (
            isinstance(tokenizer, MotionTokenizer | BodyTokenizer)
            and isinstance(masked, MaskedTransformer)
            and isinstance(length, LengthPredictor)
        ):
            raise CheckpointError(f"{folder}: tokenizer, masked and length must hold models of those kinds")
        parts = len(PARTS) if isinstance(tokenizer, BodyTokenizer) else 1
        if (tokenizer.config.codes, parts) != (masked.config.codes, masked.config.parts):
            raise CheckpointError(
                f"{folder}: the tokenizer has {parts} x {tokenizer.config.codes} codes, the transformer"
                f" {masked.config.parts} x {masked.config.codes}; they were not trained together"
            )
        self.tokenizer, self.masked, self.length = tokenizer, masked, length
        self.stats = Stats(self.checkpoints["tokenizer"].stats["mean"], self.checkpoints["tokenizer"].stats["std"])
        texts = self.checkpoints["masked"].stats
        self.tokens = Tokens(tokenizer, masked, self.stats, (texts["sentence_mean"], texts["sentence_std"]))

    @property
    def serves(self) -> frozenset[str]:
        """What a request may need; body parts can be known only where the tokenizer tells them apart."""
        whole = {"text", "unconditioned", "segments", "known frames", "path", "loop"}
        return frozenset(whole | {"known parts"} if isinstance(self.tokenizer, BodyTokenizer) else whole)

    @property
    def text(self) -> MiniLM:
        """The text encoder, loaded when first needed."""
        return minilm()

    @cached_property
    def scorer(self) -> Scorer:
        """The bundled text-motion encoder, which ``best_of`` chooses by; loaded when first needed."""
        return Scorer()

    @property
    def max_seconds(self) -> float:
        """Longest motion in one piece [s]."""
        return self.tokens.most / self.tokens.rate

    @torch.no_grad()
    def run_many(self, requests: list[Request]) -> list[list[Motion]]:
        """Serve several requests as one batch; each answer is what it would be alone.

        Raises:
            RequestError: As ``run``; and when the requests differ in steps, guidance or options.
        """
        if not requests:
            return []
        for request in requests:
            self.refuse_unserved(request)
        how = {_sampling(request) for request in requests}
        if len(how) > 1:
            raise RequestError("requests of one batch must agree in steps, guidance and options")
        (options,) = how
        items = [
            Item(request, item_seed(request.seed, index))
            for request in requests
            for index in range(request.count * request.best_of)
        ]
        made: dict[int, Motion] = {}
        for serve in (self._told, self._completed, self._steered, self._looped, self._made):
            own = [at for at, item in enumerate(items) if self._server(item.request) == serve]
            if own:
                made |= zip(own, serve([items[at] for at in own], options), strict=True)
        answers: list[list[Motion]] = []
        done = 0
        for request in requests:
            answer = []
            for _ in range(request.count):
                candidates = [made[at] for at in range(done, done + request.best_of)]
                kept = choose(self.scorer, request, candidates) if request.best_of > 1 else candidates[0]
                answer.append(self.signed(kept, request, self.checkpoints["masked"].licence))
                done += request.best_of
            answers.append(answer)
        return answers

    def _server(self, request: Request) -> Callable[[list[Item], SampleOptions], list[Motion]]:
        if len(request.segments) > 1:
            return self._told
        if request.known is not None:
            return self._completed
        if request.path:
            return self._steered
        return self._looped if request.loop else self._made

    def _made(self, items: list[Item], options: SampleOptions) -> list[Motion]:
        return [self.tokens.decode(ids, planted=True) for ids in self.tokens.fill(self._jobs(items), options)]

    def _looped(self, items: list[Item], options: SampleOptions) -> list[Motion]:
        found = close(self.tokens, self._jobs(items), options)
        loops = [decode_loop(self.tokens, ids) for ids in found]
        return [loop.at_fps(item.request.fps or FPS) for loop, item in zip(loops, items, strict=True)]

    def _completed(self, items: list[Item], options: SampleOptions) -> list[Motion]:
        return complete(self.tokens, items, options.chosen(whole=False))

    def _told(self, items: list[Item], options: SampleOptions) -> list[Motion]:
        return tell(self.tokens, items, options)

    def _steered(self, items: list[Item], options: SampleOptions) -> list[Motion]:
        lengths = [[length] for length in self._lengths(items).tolist()]
        for at, item in enumerate(items):
            if item.request.segments[0].seconds is None:
                lengths[at] += paces(item.request.path, self.tokens.rate, SHORTEST, self.tokens.most)
        return [steered.motion for steered in steer(self.tokens, items, lengths, options.chosen(whole=False))]

    def _jobs(self, items: list[Item]) -> list[Job]:
        return [
            Job(self.tokens.empty(length), item.request.segments[0].text, item.seed)
            for item, length in zip(items, self._lengths(items).tolist(), strict=True)
        ]

    def _lengths(self, items: list[Item]) -> Tensor:
        """Tokens of each item, from its seconds or predicted."""
        rate, shortest, most = self.tokens.rate, SHORTEST, self.tokens.most
        stats = self.checkpoints["length"].stats
        sentences = self.tokens.read([item.request.segments[0].text for item in items]).sentence
        sentences = (sentences - stats["sentence_mean"]) / stats["sentence_std"]
        # Each alone: the prediction must not depend, not even in the last bit, on the batch.
        found = torch.cat(
            [self.length.sample(sentences[i : i + 1], [item.seed], LENGTH_SPREAD) for i, item in enumerate(items)]
        )
        found = found.clamp(shortest, most)
        for index, item in enumerate(items):
            seconds = item.request.segments[0].seconds
            if seconds is not None:
                tokens = round(seconds * rate)
                if not shortest <= tokens <= most:
                    raise RequestError(
                        f"{seconds:g} s asked for; this model makes {shortest / rate:.1f} to {most / rate:.1f} s in"
                        " one piece"
                    )
                found[index] = tokens
        return found


def _sampling(request: Request) -> SampleOptions:
    """Options of a request over the defaults; frozen, so that equal ones are one."""
    known = {"temperature", "order_noise", "inward", "ends", "ends_temperature"}
    unknown = sorted(set(request.options) - known)
    if unknown:
        raise RequestError(f"unknown options {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    values = {name: value for name, value in request.options.items() if value is not None}
    if request.steps is not None:
        values["steps"] = request.steps
    if request.guidance is not None:
        values["guidance"] = request.guidance
    return SampleOptions(**values)


ENGINES = ("mmm", "lmm", "m3gpt")
"""Bundled engines; the starter of that name lies in ``motionloom/starter``."""


def load(name: str | Path) -> "MMM | LMM | M3GPT":
    """An engine: the bundled one of that name, or one from a directory.

    Raises:
        CheckpointError: There is neither such an engine nor such a directory.
    """
    from motionloom.tasks.lmm import LMM, is_lmm
    from motionloom.tasks.m3gpt import M3GPT, is_m3gpt

    bundled = str(name) in ENGINES
    folder = Path(str(resources.files("motionloom") / "starter" / str(name))) if bundled else Path(name)
    if not folder.is_dir():
        raise CheckpointError(
            f"there is no engine {str(name)!r}: bundled are {', '.join(ENGINES)}; or give a directory"
        )
    if is_lmm(folder):
        return LMM(folder)
    return M3GPT(folder) if is_m3gpt(folder) else MMM(folder)


def load_mmm(name: str | Path) -> MMM:
    """The engine ``mmm``, for what needs its tokens.

    Raises:
        CheckpointError: See ``load``; or it is another engine.
    """
    engine = load(name)
    if not isinstance(engine, MMM):
        raise CheckpointError(f"{name} holds the engine {engine.name!r}; this needs 'mmm', which has tokens")
    return engine

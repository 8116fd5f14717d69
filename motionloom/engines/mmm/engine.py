"""Engines: what is asked for, sorted by kind, to motions.

Sentences are served here; what is known of a motion, stories, loops and paths in ``complete.py``, ``story.py``,
``loop.py`` and ``steer.py``.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from motionloom.conditions.text import MiniLM, TextEncoder
from motionloom.data.loader import Stats
from motionloom.engines.base import Engine
from motionloom.engines.lengths import LengthEstimator
from motionloom.engines.mmm.inpaint import complete, reconstructed
from motionloom.engines.mmm.loop import close, decode_loop
from motionloom.engines.mmm.path import follow_path, paces
from motionloom.engines.mmm.story import SHORTEST, tell
from motionloom.engines.mmm.tokens import FPS, Form, Item, Job, MMMOptions, Tokens
from motionloom.engines.registry import facts_of
from motionloom.engines.request import Request
from motionloom.engines.seeds import item_seed
from motionloom.errors import CheckpointError, RequestError
from motionloom.licences import Licence
from motionloom.models.checkpoint import Checkpoint, load_checkpoint
from motionloom.models.length import LengthPredictor
from motionloom.models.masked.model import MaskedTransformer
from motionloom.models.tokenizers.body_parts import PARTS, BodyTokenizer
from motionloom.models.tokenizers.motion import MotionTokenizer
from motionloom.motion.features.layout import LAYOUTS
from motionloom.motion.motion import Motion
from motionloom.progress import SILENT, Progress

if TYPE_CHECKING:
    pass

_MODELS = ("tokenizer", "masked", "length")
LENGTH_SPREAD = 0.6
"""Predicted lengths come from the middle 60 % of what the data has: its extremes are odd clips."""


class MMM(Engine):
    """The masked motion model as an engine: tokenizer, masked transformer, length predictor.

    Args:
        folder: Directory with the checkpoints ``tokenizer``, ``masked`` and ``length``.

    Raises:
        CheckpointError: One of them is missing or does not fit the others.
    """

    name = "mmm"
    Options = MMMOptions
    imports: ClassVar[Mapping[str, str]] = {"masked": "motionloom.engines.mmm.importing:import_masked"}

    def __init__(self, folder: Path) -> None:
        told = facts_of(folder)
        published = told.get("features") == "published"
        places = {name: folder / name for name in _MODELS}
        if published and not (places["length"] / "config.json").is_file():
            # An imported model has no length predictor: the bundled one knows how long motions usually are.
            places["length"] = self.starter() / "length"
        missing = [name for name, place in places.items() if not (place / "config.json").is_file()]
        if missing:
            raise CheckpointError(f"{folder} is no MMM engine: {', '.join(missing)} is missing")
        self.folder = folder
        self.checkpoints: dict[str, Checkpoint] = {name: load_checkpoint(place) for name, place in places.items()}
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
        self.tokenizer, self.masked = tokenizer, masked
        size, sentence = tokenizer.config.features, masked.config.sentence_dim
        if size != LAYOUTS["humanml3d"].size:
            raise CheckpointError(f"{folder}: the tokenizer has {size} features; this engine makes HumanML3D's 263")
        self.stats = Stats(*self._statistics("tokenizer", ("mean", "std"), size))
        form = Form(str(told.get("text_encoder", MiniLM.name)), published)
        # The published transformer reads sentences as they come.
        texts = (
            (torch.zeros(sentence), torch.ones(sentence))
            if masked.config.end_token
            else self._statistics("masked", ("sentence_mean", "sentence_std"), sentence)
        )
        self.tokens = Tokens(tokenizer, masked, self.stats, texts, form)
        self.lengths = LengthEstimator(self.checkpoints["length"], rate=self.tokens.rate)

    def _statistics(self, part: str, names: tuple[str, str], size: int) -> tuple[Tensor, Tensor]:
        found = [self.checkpoints[part].stats.get(name) for name in names]
        first, second = found
        if first is None or second is None or {tuple(one.shape) for one in (first, second)} != {(size,)}:
            raise CheckpointError(
                f"{self.folder}: {part} has no statistics {', '.join(names)} of {size} numbers in stats.safetensors"
            )
        return first, second

    @property
    def text(self) -> TextEncoder:
        """The text encoder, loaded when first needed.

        Raises:
            CheckpointError: It is not bundled, and its weights are not where they are said to be.
        """
        return self.tokens.text

    @classmethod
    def open(cls, folder: Path, **options: Any) -> "MMM":
        """The engine with the weights of a folder.

        Raises:
            CheckpointError: See the class.
        """
        return cls(folder, **options)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether a folder without ``engine.json`` holds this engine."""
        return any((folder / name / "config.json").is_file() for name in ("tokenizer", "masked"))

    @property
    def capabilities(self) -> frozenset[str]:
        """What a request may need; body parts can be known only where the tokenizer tells them apart."""
        whole = {"text", "segments", "known frames", "path", "loop", "reconstruct"}
        whole |= {"unconditioned"} if self.masked.config.null_text else set()
        return frozenset(whole | {"known parts"} if isinstance(self.tokenizer, BodyTokenizer) else whole)

    @property
    def max_seconds(self) -> float:
        """Longest motion in one piece [s]."""
        return self.tokens.most / self.tokens.rate

    @property
    def min_seconds(self) -> float:
        """Shortest motion [s]."""
        return SHORTEST / self.tokens.rate

    @property
    def licences(self) -> Sequence[Licence]:
        """Licences of transformer, tokenizer and length predictor, and of what they were made from."""
        order = ("masked", "tokenizer", "length")
        return [licence for name in order for licence in self.checkpoints[name].licences]

    def reconstruct(self, motion: Motion, hidden: Bool[Tensor, " T"] | None = None) -> Motion:
        """A motion through the tokenizer; see ``Engine.reconstruct``."""
        return reconstructed(self.tokens, motion, hidden)

    @torch.no_grad()
    def run(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[list[Motion]]:
        """Make the motions of several requests as one batch; see ``Engine.run``.

        Raises:
            RequestError: A request lies outside the limits of the model, or they differ in steps, guidance or options.
        """
        how = {self.options(request) for request in requests}
        if len(how) > 1:
            raise RequestError("requests of one batch must agree in steps, guidance and options")
        (options,) = how
        items = [
            Item(request, item_seed(request.seed, index)) for request in requests for index in range(request.count)
        ]
        made: dict[int, Motion] = {}
        for serve in (self._told, self._completed, self._steered, self._looped, self._made):
            own = [at for at, item in enumerate(items) if self._server(item.request) == serve]
            if own:
                made |= zip(own, serve([items[at] for at in own], options, progress), strict=True)
        found = iter(made[at] for at in range(len(items)))
        return [[next(found) for _ in range(request.count)] for request in requests]

    def _server(self, request: Request) -> Callable[[list[Item], MMMOptions, Progress], list[Motion]]:
        if len(request.segments) > 1:
            return self._told
        if request.known is not None:
            return self._completed
        if request.path:
            return self._steered
        return self._looped if request.loop else self._made

    def _made(self, items: list[Item], options: MMMOptions, progress: Progress) -> list[Motion]:
        return [
            self.tokens.decode(ids, foot_locked=True) for ids in self.tokens.fill(self._jobs(items), options, progress)
        ]

    def _looped(self, items: list[Item], options: MMMOptions, progress: Progress) -> list[Motion]:
        found = close(self.tokens, self._jobs(items), options, progress)
        loops = [decode_loop(self.tokens, ids) for ids in found]
        return [loop.at_fps(item.request.fps or FPS) for loop, item in zip(loops, items, strict=True)]

    def _completed(self, items: list[Item], options: MMMOptions, progress: Progress) -> list[Motion]:
        return complete(self.tokens, items, options.chosen(whole=False), progress)

    def _told(self, items: list[Item], options: MMMOptions, progress: Progress) -> list[Motion]:
        return tell(self.tokens, items, options, progress)

    def _steered(self, items: list[Item], options: MMMOptions, progress: Progress) -> list[Motion]:
        lengths = [[length] for length in self._lengths(items)]
        for at, item in enumerate(items):
            if item.request.segments[0].seconds is None:
                lengths[at] += paces(item.request.path, self.tokens.rate, SHORTEST, self.tokens.most)
        return [
            followed.motion
            for followed in follow_path(self.tokens, items, lengths, options.chosen(whole=False), progress)
        ]

    def _jobs(self, items: list[Item]) -> list[Job]:
        return [
            Job(self.tokens.empty(length), item.request.segments[0].text, item.seed)
            for item, length in zip(items, self._lengths(items), strict=True)
        ]

    def _lengths(self, items: list[Item]) -> list[int]:
        """Tokens of each item, from its seconds or predicted."""
        rate, shortest, longest = self.tokens.rate, SHORTEST, self.tokens.most
        texts = [item.request.segments[0].text for item in items]
        found = [min(max(count, shortest), longest) for count in self.lengths.tokens(texts, [i.seed for i in items])]
        for index, item in enumerate(items):
            seconds = item.request.segments[0].seconds
            if seconds is not None:
                tokens = round(seconds * rate)
                if not shortest <= tokens <= longest:
                    raise RequestError(
                        f"{seconds:g} s asked for; this model makes {shortest / rate:.1f} to {longest / rate:.1f} s in"
                        " one piece"
                    )
                found[index] = tokens
        return found

"""Engines and the verb ``generate``: sentences to motions."""

import hashlib
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from motionloom.conditions.text import MiniLM, TextFeatures, minilm
from motionloom.data.loader import Stats
from motionloom.errors import CheckpointError, RequestError
from motionloom.models.body_tokenizer import PARTS, BodyTokenizer
from motionloom.models.checkpoint import Checkpoint, load_checkpoint
from motionloom.models.length import LengthPredictor
from motionloom.models.masked import MaskedTransformer
from motionloom.models.masked_sampling import sample
from motionloom.models.tokenizer import MotionTokenizer
from motionloom.motion.features import decode_features
from motionloom.motion.motion import Motion, Provenance
from motionloom.tasks.request import Request, Segment

_MODELS = ("tokenizer", "masked", "length")
FPS = 20.0
LENGTH_SPREAD = 0.6
"""Predicted lengths come from the middle 60 % of what the data has: its extremes are odd clips."""


@dataclass(frozen=True)
class SampleOptions:
    """How the masked transformer is sampled; measured on the starter (see ``results/``)."""

    steps: int = 10
    """Passes through the network."""
    guidance: float = 1.5
    """Classifier-free guidance."""
    temperature: float = 1.0
    """Of the token probabilities."""
    order_noise: float = 8.0
    """Gumbel noise on the order in which tokens are settled; small values make motions stand still."""


class MMM:
    """The masked motion model as an engine: tokenizer, masked transformer, length predictor.

    Args:
        folder: Directory with the checkpoints ``tokenizer``, ``masked`` and ``length``.

    Raises:
        CheckpointError: One of them is missing or does not fit the others.
    """

    name = "mmm"
    serves: ClassVar[frozenset[str]] = frozenset({"text", "unconditioned"})

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

    @property
    def text(self) -> MiniLM:
        """The text encoder, loaded when first needed."""
        return minilm()

    @property
    def max_seconds(self) -> float:
        """Longest motion in one piece [s]."""
        return self.masked.config.max_tokens * self.tokenizer.frames_per_token / FPS

    def generate(
        self,
        text: str = "",
        seconds: float | None = None,
        seed: int = 0,
        count: int = 1,
        fps: float | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        **options: Any,
    ) -> list[Motion]:
        """Make motions for a sentence.

        Args:
            text: What the person does; empty for any motion.
            seconds: Length [s]; left out, it is sampled from what such motions usually take.
            seed: Same seed, same motion, on the same machine.
            count: How many; the i-th depends on (seed, i) only.
            fps: Frame rate; the model's own 20 when left out.
            steps: Passes through the network.
            guidance: Classifier-free guidance; 1 is none.
            **options: ``temperature`` and ``order_noise``, see ``SampleOptions``.

        Raises:
            RequestError: The text is too long, the length beyond what the model makes, or an option unknown.
        """
        segment = Segment(text=text, seconds=seconds)
        return self.run(Request((segment,), fps, count, seed, steps, guidance, options))[0:count]

    def run(self, request: Request) -> list[Motion]:
        """Serve a request.

        Raises:
            RequestError: The request needs what this engine does not serve, or lies outside its limits.
        """
        return self.run_many([request])[0]

    @torch.no_grad()
    def run_many(self, requests: list[Request]) -> list[list[Motion]]:
        """Serve several requests as one batch; each answer is what it would be alone.

        Raises:
            RequestError: As ``run``; and when the requests differ in steps, guidance or options.
        """
        if not requests:
            return []
        for request in requests:
            lacking = sorted(request.needs - self.serves)
            if lacking:
                raise RequestError(f"engine {self.name!r} does not serve {', '.join(lacking)}")
        how = {_sampling(request) for request in requests}
        if len(how) > 1:
            raise RequestError("requests of one batch must agree in steps, guidance and options")
        (options,) = how
        items = [(request, index) for request in requests for index in range(request.count)]
        texts = [request.segments[0].text for request, _ in items]
        features = self._encode(texts)
        seeds = [item_seed(request.seed, index) for request, index in items]
        lengths = self._lengths([request for request, _ in items], features, seeds)
        sentence = self._whiten(features.sentence, "masked")
        ids = sample(
            self.masked, lengths, sentence, features.words, features.valid, seeds,
            steps=options.steps, temperature=options.temperature, guidance=options.guidance,
            order_noise=options.order_noise, no_text=torch.tensor([not text for text in texts]),
        )  # fmt: skip
        made = [
            self._motion(row[:length], request, seed)
            for row, length, (request, _), seed in zip(ids, lengths.tolist(), items, seeds, strict=True)
        ]
        answers: list[list[Motion]] = []
        for request in requests:
            answers.append(made[: request.count])
            made = made[request.count :]
        return answers

    def _encode(self, texts: list[str]) -> TextFeatures:
        # An empty text is replaced by the learned null text; the encoder only fills the shape.
        return self.text([text or "a person moves" for text in texts])

    def _whiten(self, sentence: Tensor, name: str) -> Tensor:
        stats = self.checkpoints[name].stats
        return (sentence - stats["sentence_mean"]) / stats["sentence_std"]

    def _lengths(self, requests: list[Request], features: TextFeatures, seeds: list[int]) -> Tensor:
        """Tokens of each item, from its seconds or predicted."""
        rate = FPS / self.tokenizer.frames_per_token
        shortest, most = 3, self.masked.config.max_tokens
        # Each alone: the prediction must not depend, not even in the last bit, on the batch.
        sentence = self._whiten(features.sentence, "length")
        found = torch.cat(
            [self.length.sample(sentence[i : i + 1], [seed], LENGTH_SPREAD) for i, seed in enumerate(seeds)]
        )
        found = found.clamp(shortest, most)
        for index, request in enumerate(requests):
            seconds = request.segments[0].seconds
            if seconds is not None:
                tokens = round(seconds * rate)
                if not shortest <= tokens <= most:
                    raise RequestError(
                        f"{seconds:g} s asked for; this model makes {shortest / rate:.1f} to {most / rate:.1f} s in"
                        " one piece"
                    )
                found[index] = tokens
        return found

    def _motion(self, ids: Tensor, request: Request, seed: int) -> Motion:
        features = self.stats.restore(self.tokenizer.decode(ids[None]))[0]
        motion = decode_features(features, "humanml3d", FPS)
        provenance = Provenance(
            source=f"motionloom {self.name}",
            licence=self.checkpoints["masked"].licence,
            text=request.segments[0].text,
            seed=request.seed,
            engine=f"{self.name} {version()}",
        )
        motion = motion.with_(provenance=provenance)
        return motion if request.fps is None else motion.at_fps(request.fps)


def _sampling(request: Request) -> SampleOptions:
    """Options of a request over the defaults; frozen, so that equal ones are one."""
    known = {"temperature", "order_noise"}
    unknown = sorted(set(request.options) - known)
    if unknown:
        raise RequestError(f"unknown options {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    values = {name: value for name, value in request.options.items() if value is not None}
    if request.steps is not None:
        values["steps"] = request.steps
    if request.guidance is not None:
        values["guidance"] = request.guidance
    return SampleOptions(**values)


def item_seed(seed: int, index: int) -> int:
    """The seed of item ``index`` of a request: far from its neighbours', and the same whatever the count."""
    digest = hashlib.sha256(f"{seed} {index}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def version() -> str:
    """Version of the installed package."""
    return metadata.version("motionloom")


ENGINES = {"mmm": MMM}
"""Engines by name; a bundled starter of that name lies in ``motionloom/starter``."""


def load(name: str | Path) -> MMM:
    """An engine: the bundled one of that name, or one from a directory.

    Raises:
        CheckpointError: There is neither such an engine nor such a directory.
    """
    if str(name) in ENGINES:
        return ENGINES[str(name)](Path(str(resources.files("motionloom") / "starter" / str(name))))
    folder = Path(name)
    if not folder.is_dir():
        raise CheckpointError(
            f"there is no engine {str(name)!r}: bundled are {', '.join(ENGINES)}; or give a directory"
        )
    return MMM(folder)

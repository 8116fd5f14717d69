"""Motion as tokens: known frames to tokens, missing tokens from the transformer, tokens to motion.

Every edit is one of these jobs: some tokens stand, the others are to be filled in.
Shapes: ``T`` frames, ``N`` tokens, ``P`` body parts (an axis that a tokenizer with one code a slot does not have).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motionloom.conditions.clip import named_encoder, word_slots
from motionloom.conditions.text import MiniLM, TextEncoder, TextFeatures
from motionloom.data.loader import Stats
from motionloom.engines.options import EngineOptions
from motionloom.engines.request import Request
from motionloom.engines.seeds import item_seed
from motionloom.errors import RequestError
from motionloom.models.masked.model import MaskedTransformer
from motionloom.models.masked.sampling import sample, sample_published
from motionloom.models.tokenizers.body_parts import BodyTokenizer
from motionloom.models.tokenizers.motion import MotionTokenizer
from motionloom.motion import rotations as rot
from motionloom.motion.blend import runs
from motionloom.motion.features.humanml3d import decode_features, encode_features
from motionloom.motion.features.humanml3d_published import published_of_motion, published_on_canonical
from motionloom.motion.features.layout import LAYOUTS
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import BODY, BODY_COLUMNS, JOINT_PARTS, PARTS
from motionloom.motion.stance import follow_feet
from motionloom.progress import SILENT, Progress
from motionloom.schema import ranged

FPS = LAYOUTS["humanml3d"].fps
CONTEXT = 12
"""Tokens before what is to be made that a window of a long motion sees."""
LOOSE = 8
"""Tokens at a window's end that are made again by the next one: a window ends as a clip does, coming to rest."""
BATCH = 32
"""Items in one pass through the transformer, so that memory stays flat."""
_GROUPS: tuple[tuple[str, ...], ...] = (
    ("root", "left_leg", "right_leg"),
    ("stem", "head"),
    ("left_arm",),
    ("right_arm",),
)
"""Parts of the grid in each of ``body_tokenizer.PARTS``."""


@dataclass(frozen=True)
class MMMOptions(EngineOptions):
    """How the masked transformer is sampled; defaults were chosen on the starter with seeds that no figure has."""

    steps: int = ranged(15, low=1, high=1000, help="InferenceCache through the network.")
    guidance: float = ranged(
        1.0, low=0, high=20, help="Classifier-free guidance; above 1 turns overshoot, for twice the work."
    )
    temperature: float | None = ranged(
        None, low=0, high=10,
        help="Of the token probabilities; left out, 0.6 for whole motions, 0.8 beside known motion and along a path.",
    )  # fmt: skip
    order_noise: float = ranged(
        4.0, low=0, high=1000,
        help="Gumbel noise on the order in which tokens are settled; small values make motions stand still.",
    )  # fmt: skip
    inward: float = ranged(
        1.0, low=0, high=1000, help="How much sooner the ends of a motion are settled than its middle, a slot."
    )
    # Hands hang when a wave begins. A path is found by variety, so there no slot has a temperature of its own.
    ends: int | None = ranged(
        None, low=0, high=1000,
        help="Slots at each end with a temperature of their own; left out, 4 for whole motions, 0 for others.",
    )  # fmt: skip
    ends_temperature: float = ranged(0.1, low=0, high=10, help="Of the token probabilities there.")

    def chosen(self, whole: bool) -> "MMMOptions":
        """The same with what was left out filled in."""
        return replace(
            self,
            temperature=(0.6 if whole else 0.8) if self.temperature is None else self.temperature,
            ends=(4 if whole else 0) if self.ends is None else self.ends,
        )


@dataclass(frozen=True, eq=False)
class Job:
    """Tokens of one motion, the mask id where they are to be made.

    Attributes:
        ids: Tokens.
        text: What they follow; empty for nothing.
        seed: Of this motion's random stream.
    """

    ids: Int[Tensor, "N *parts"]
    text: str
    seed: int


@dataclass(frozen=True)
class Form:
    """In what imported models differ from those trained here.

    Attributes:
        text_encoder: What sentences are read by; see ``conditions.clip.named_encoder``.
        published: Whether features are those of the datasets, whose rotations are fitted to positions.
    """

    text_encoder: str = MiniLM.name
    published: bool = False


class Tokens:
    """Tokenizer and masked transformer as one thing that makes and reads tokens.

    Args:
        tokenizer: Between features and tokens.
        masked: Makes tokens.
        stats: Of the features.
        sentence: Mean and spread of the sentence vectors.
        form: Of the models.
    """

    def __init__(
        self,
        tokenizer: MotionTokenizer | BodyTokenizer,
        masked: MaskedTransformer,
        stats: Stats,
        sentence: tuple[Tensor, Tensor],
        form: Form = Form(),
    ) -> None:
        self.form = form
        self.tokenizer, self.masked, self.stats, self.sentence = tokenizer, masked, stats, sentence
        self._texts: list[str] = []
        self._features: TextFeatures

    @property
    def text(self) -> TextEncoder:
        """The text encoder, loaded when first needed.

        Raises:
            CheckpointError: It is not bundled, and its weights are not where they are said to be.
        """
        sizes = {"sentence_dim": self.masked.config.sentence_dim, "word_dim": self.masked.config.word_dim}
        return named_encoder(self.form.text_encoder, **sizes)

    def read(self, texts: list[str]) -> TextFeatures:
        """Texts as the transformer wants them; the last ones are remembered, for lengths and tokens both need them."""
        if self._texts != texts:
            # An empty text is replaced by the learned null text; the encoder only fills the shape.
            told = [text or "a person moves" for text in texts]
            self._features = word_slots(self.text, told) if self.masked.config.end_token else self.text(told)
            self._texts = list(texts)
        return self._features

    @property
    def most(self) -> int:
        """Tokens that are made in one piece."""
        return self.masked.config.max_tokens

    @property
    def per_token(self) -> int:
        """Frames that a token stands for."""
        return self.tokenizer.frames_per_token

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return FPS / self.per_token

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Which parts of the grid each code of a slot stands for."""
        return _GROUPS if self.masked.config.parts > 1 else (BODY,)

    @cached_property
    def group_columns(self) -> list[list[int]]:
        """The same as columns of a mask."""
        return [[PARTS.index(part) for part in group] for group in self.groups]

    def empty(self, tokens: int) -> Int[Tensor, "N *parts"]:
        """Tokens that are all to be made."""
        config = self.masked.config
        return torch.full((tokens,) if config.parts == 1 else (tokens, config.parts), config.mask_id)

    @torch.no_grad()
    def decode(self, ids: Int[Tensor, "N *parts"], foot_locked: bool = False) -> Motion:
        """Motion of tokens at 20 fps, from over the origin, facing +Z; each alone, so that no batch matters.

        Args:
            ids: Tokens.
            foot_locked: Let the root's way follow from the feet that stand; not for motions that partly exist already.
        """
        features = self.stats.restore(self.tokenizer.decode(ids[None]))[0]
        if self.form.published:
            return published_on_canonical(features, LAYOUTS["humanml3d"])
        motion = decode_features(features, "humanml3d", FPS)
        return follow_feet(motion) if foot_locked else motion

    @torch.no_grad()
    def encode(self, motion: Motion, known: Bool[Tensor, "T 10"]) -> Int[Tensor, "N *parts"]:
        """Tokens of the known cells of a motion at 20 fps, the mask id elsewhere.

        A token is known if all its cells are. Every unbroken run of known tokens is encoded by itself, and with
        the parts that are not known through the whole run in rest pose: nothing of the unknown cells gets in.

        Args:
            motion: Of the canonical body, a whole number of tokens long.
            known: Which of its cells are known.
        """
        count = len(motion) // self.per_token
        ids = self.empty(count).view(count, -1)
        for group, columns in enumerate(self.group_columns):
            cells = known[: count * self.per_token, columns].view(count, -1).all(1)
            for run in runs(cells):
                start, stop = run.start, run.stop
                frames = slice(start * self.per_token, stop * self.per_token)
                seen = _visible(motion, frames, known[frames].all(0))
                features = self.stats.normalize(self._features_of(seen))
                ids[start:stop, group] = self.tokenizer.encode(features[None])[0].view(stop - start, -1)[:, group]
        return ids.view(self.empty(count).shape)

    def _features_of(self, motion: Motion) -> Float[Tensor, "T D"]:
        return published_of_motion(motion, LAYOUTS["humanml3d"]) if self.form.published else encode_features(motion)

    def fill(self, jobs: list[Job], options: MMMOptions, progress: Progress = SILENT) -> list[Int[Tensor, "N *parts"]]:
        """Make the missing tokens of every job; motions of any length.

        What is longer than the transformer's longest motion is made in windows from left to right, each of which
        sees tokens before it. A job's tokens depend on nothing but the job.
        """
        found = [job.ids.clone() for job in jobs]
        turn = 0
        while True:
            todo = [(at, self._window(ids)) for at, ids in enumerate(found) if bool((ids == self._mask).any())]
            if not todo:
                return found
            progress.expect(options.steps * -(-len(todo) // BATCH))
            for first in range(0, len(todo), BATCH):
                some = todo[first : first + BATCH]
                pieces = [found[at][window.start : window.stop] for at, window in some]
                texts = [jobs[at].text for at, _ in some]
                seeds = [jobs[at].seed if turn == 0 else item_seed(jobs[at].seed, turn) for at, _ in some]
                for (at, window), made in zip(some, self._sample(pieces, texts, seeds, options, progress), strict=True):
                    found[at][window.start : window.settle] = made[: window.settle - window.start]
            turn += 1

    @property
    def _mask(self) -> int:
        return self.masked.config.mask_id

    def _window(self, ids: Int[Tensor, "N *parts"]) -> "_Window":
        """The piece to be made next."""
        count = len(ids)
        if count <= self.most:
            return _Window(0, count, count)
        missing = (ids == self._mask).view(count, -1).any(1)
        first = int(missing.int().argmax())
        start = max(0, min(first - CONTEXT, count - self.most))
        stop = start + self.most
        return _Window(start, stop, stop if stop == count else stop - LOOSE)

    @torch.no_grad()
    def _sample(
        self, pieces: list[Tensor], texts: list[str], seeds: list[int], options: MMMOptions, progress: Progress
    ) -> list[Tensor]:
        if self.masked.config.end_token:
            return self._sample_published(pieces, texts, seeds, options, progress)
        lengths = torch.tensor([len(piece) for piece in pieces])
        known = torch.stack([_padded(piece, int(lengths.max()), self._mask) for piece in pieces])
        features = self.read(texts)
        mean, std = self.sentence
        options = options.chosen(whole=True)
        assert options.temperature is not None
        assert options.ends is not None
        ids = sample(
            self.masked, lengths, (features.sentence - mean) / std, features.words, features.valid, seeds,
            steps=options.steps, temperature=options.temperature, guidance=options.guidance,
            order_noise=options.order_noise, inward=options.inward,
            ends=(options.ends, options.ends_temperature), known=known,
            no_text=torch.tensor([not text for text in texts]), progress=progress,
        )  # fmt: skip
        return [row[:length] for row, length in zip(ids, lengths.tolist(), strict=True)]

    def _sample_published(
        self, pieces: list[Tensor], texts: list[str], seeds: list[int], options: MMMOptions, progress: Progress
    ) -> list[Tensor]:
        """Tokens of the published transformer, each motion as it is made in a batch, but alone.

        Raises:
            RequestError: An option was given that its sampler does not have.
        """
        config, plain = self.masked.config, MMMOptions()
        for name in ("guidance", "order_noise", "inward", "ends", "ends_temperature"):
            given = getattr(options, name)
            if given not in (None, 0, getattr(plain, name)):
                raise RequestError(f"{name} is {given}; the published sampler of this model has none: leave it out")
        features, found = self.read(texts), []
        for row, (piece, seed) in enumerate(zip(pieces, seeds, strict=True)):
            known = torch.full((1, config.slots), config.mask_id)
            known[0, : len(piece)] = piece
            # Its temperature is 1; 0 takes the most probable tokens.
            stream = None if options.temperature == 0 else torch.Generator().manual_seed(seed)
            ids = sample_published(
                self.masked, torch.tensor([len(piece)]), features.sentence[row : row + 1],
                features.words[row : row + 1], stream, options.steps, known, stops_early=False,
            )  # fmt: skip
            found.append(ids[0, : len(piece)])
            progress.step(options.steps)
        return found


@dataclass(frozen=True)
class _Window:
    """Tokens ``start`` to ``stop`` are looked at, those before ``settle`` are taken over."""

    start: int
    stop: int
    settle: int


def _padded(ids: Tensor, size: int, value: int) -> Tensor:
    return torch.cat((ids, ids.new_full((size - len(ids), *ids.shape[1:]), value)))


def _visible(motion: Motion, frames: slice, parts: Bool[Tensor, " 10"]) -> Motion:
    """A cut of a motion with some parts only, the others in rest pose."""
    rotations, root = motion.rotations[frames].clone(), motion.root[frames].clone()
    for part in (PARTS[column] for column in BODY_COLUMNS if not bool(parts[column])):
        joints = [joint for joint, name in enumerate(motion.skeleton.names) if JOINT_PARTS[name] == part]
        rotations[:, joints] = rot.identity(len(rotations), len(joints))
        if part == "root":
            root = motion.skeleton.offsets[0].expand(len(root), 3)
    return motion.with_(rotations=rotations, root=root, contacts=None, valid=None)


@dataclass(frozen=True)
class Item:
    """One motion to be made.

    Attributes:
        request: What was asked for.
        seed: Of this motion's random stream.
    """

    request: Request
    seed: int

"""Training the masked transformer on the token sequences of a store.

Clips are encoded whole wherever they fit, so a sequence starts and ends as the motion does. Gestures made in place
also come with a pause before and after; ways of walking also come in shorter pieces, so that lengths the data does
not have can be asked for.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from motionloom.conditions.text import MiniLM
from motionloom.data.loader import FeatureSet, Stats, held
from motionloom.data.mixture import draw_chances
from motionloom.data.store import Clip, Store
from motionloom.errors import TrainingError
from motionloom.models.checkpoint import load_checkpoint, save_checkpoint
from motionloom.models.masked.model import MaskedConfig, MaskedTransformer
from motionloom.models.masked.training import corrupt, masked_loss, training_loss
from motionloom.models.tokenizers.body_parts import PARTS, BodyTokenizer
from motionloom.models.tokenizers.motion import MotionTokenizer
from motionloom.motion.features.layout import root_path
from motionloom.motion.files import atomic_path
from motionloom.schema import ranged
from motionloom.training.caption_vectors import caption_table, started_whitening
from motionloom.training.cards import Origins, card
from motionloom.training.recipes import Recipe, no_loss
from motionloom.training.task import Step, need_clips

_TOKENS_VERSION = 1
_PARTS = 4
"""Pieces a batch is cut into by length."""


@dataclass(frozen=True)
class MaskedData:
    """What a masked transformer is trained on."""

    tokenizer: str = ""
    """Folder of the trained tokenizer."""
    power: float = ranged(0.5, low=0, high=1, help="A label group is drawn by its number of clips ** power.")
    shares: Mapping[str, float] = ranged(
        default_factory=dict, low=0, high=1, help="Largest share of the draws of a source."
    )
    offsets: int = ranged(
        4, low=1, high=64, help="Variants of each clip that start 0, 1, ... frames later; each is encoded."
    )
    pieces: float = ranged(0.25, low=0, high=1, help="Chance that a way of walking is cut to a shorter piece.")
    pauses: float = ranged(0.3, low=0, high=1, help="Chance that a gesture in place comes with a pause beside it.")
    drop_text: float = ranged(0.1, low=0, high=1, help="Chance that the text is hidden, for guidance.")
    label_smoothing: float = ranged(
        0.0, low=0, high=0.999, help="Of the cross entropy; it comes out as random codes when sampling."
    )


@dataclass(frozen=True)
class Sequence:
    """The tokens of one clip or window.

    Attributes:
        clip: Its row in the store.
        mirrored: Whether it is the mirror image.
        tokens: Variants that differ by their first frame.
        paused: Variants with a pause before or after; empty for motions that travel.
        travels: Whether the root goes more than a metre.
    """

    clip: Clip
    mirrored: bool
    tokens: tuple[np.ndarray, ...]
    paused: tuple[np.ndarray, ...]
    travels: bool


@torch.no_grad()
def encode_clips(
    model: MotionTokenizer | BodyTokenizer,
    stats: Stats,
    clips: FeatureSet,
    offsets: int,
    most: int,
    seed: int,
    mirrors: bool = True,
) -> list[Sequence]:
    """Every clip as tokens; clips longer than ``most`` tokens as overlapping windows.

    Args:
        model: The tokenizer, in eval mode.
        stats: Its statistics.
        clips: Features of a split.
        offsets: Variants of each clip that start 0, 1, ... frames later.
        most: Longest sequence [tokens].
        seed: For the lengths of the pauses.
        mirrors: Encode mirror images too.
    """
    per, window = model.frames_per_token, most * model.frames_per_token
    rng = np.random.default_rng(seed)
    found = []
    for index in tqdm(range(len(clips)), desc="tokens", unit="clip"):
        for mirrored in (False, True) if mirrors else (False,):
            whole = clips.clip(index, mirrored)
            for start in range(0, max(1, len(whole) - window + window // 2), window // 2):
                piece = whole[start : start + window + offsets - 1]
                if len(piece) < 3 * per:
                    continue
                _, path = root_path(piece)
                travels = bool((path[:, [0, 2]] - path[0, [0, 2]]).norm(dim=-1).max() > 1.0)
                count = min(offsets, max(1, len(piece) - 2 * per))
                variants = [piece[offset : offset + window] for offset in range(count)]
                if not travels and len(piece) < 0.7 * window and offsets > 1:
                    for _ in range(2):
                        before, after = rng.integers(0, 20, 2)
                        pause, rest = held(piece[0])[None], held(piece[-1])[None]
                        variants.append(torch.cat((pause.expand(before, -1), piece, rest.expand(after, -1)))[:window])
                tokens = _tokens(model, stats, variants)
                found.append(Sequence(clips.clips[index], mirrored, tokens[:count], tokens[count:], travels))
    return found


def _tokens(model: MotionTokenizer | BodyTokenizer, stats: Stats, pieces: list[Tensor]) -> tuple[np.ndarray, ...]:
    """Token ids of several pieces in one pass; each as if alone."""
    per = model.frames_per_token
    lengths = torch.tensor([len(piece) // per * per for piece in pieces])
    batch = torch.zeros(len(pieces), int(lengths.max()), pieces[0].shape[1])
    for row, (piece, length) in enumerate(zip(pieces, lengths.tolist(), strict=True)):
        batch[row, :length] = stats.normalize(piece[:length])
    ids = model.encode(batch, lengths).numpy().astype(np.int16)
    return tuple(row[: length // per] for row, length in zip(ids, lengths.tolist(), strict=True))


def write_sequences(file: Path, sequences: list[Sequence], clips: FeatureSet) -> None:
    """Keep token sequences in one file."""
    rows = {clip.id: row for row, clip in enumerate(clips.clips)}
    variants = [tokens for item in sequences for tokens in (*item.tokens, *item.paused)]
    facts = [
        (rows[item.clip.id], item.mirrored, len(item.tokens), len(item.paused), item.travels) for item in sequences
    ]
    with atomic_path(file) as temporary:
        np.savez(
            temporary,
            tokens=np.concatenate(variants),
            lengths=np.array([len(tokens) for tokens in variants]),
            facts=np.array(facts),
        )


def read_sequences(file: Path, clips: FeatureSet) -> list[Sequence]:
    """Read what ``write_sequences`` wrote for the same clips."""
    with np.load(file, allow_pickle=False) as kept:
        variants = iter(np.split(kept["tokens"], np.cumsum(kept["lengths"])[:-1]))
        facts = kept["facts"].tolist()
    return [
        Sequence(
            clips.clips[row],
            bool(mirrored),
            tuple(next(variants) for _ in range(plain)),
            tuple(next(variants) for _ in range(paused)),
            bool(travels),
        )
        for row, mirrored, plain, paused, travels in facts
    ]


INPUTS = {"data.tokenizer": "a trained motion tokenizer"}


def read(recipe: Recipe) -> tuple[MaskedConfig, MaskedData]:
    """The tables of a recipe.

    Raises:
        TrainingError: A value does not fit.
    """
    no_loss(recipe)
    return recipe.table("model", MaskedConfig), recipe.table("data", MaskedData)


class MaskedTask:
    """A masked transformer in the training loop."""

    def __init__(self, recipe: Recipe, store: Path) -> None:
        self.config, self.data = read(recipe)
        self.store = Store(store)
        self._see_that_the_tokenizer_fits(recipe.name)
        self.seed = recipe.train.seed
        self.captions = caption_table(self.store)
        self.center, self.scale = started_whitening(recipe.train.init, self.captions.features)
        self.model: nn.Module = MaskedTransformer(self.config)

    def _see_that_the_tokenizer_fits(self, name: str) -> None:
        """Before captions are encoded, which takes minutes.

        Raises:
            TrainingError: There is no tokenizer, or it has other codes than the model.
        """
        model = load_checkpoint(Path(self.data.tokenizer)).model
        if not isinstance(model, MotionTokenizer | BodyTokenizer):
            raise TrainingError(f"{name}: {self.data.tokenizer} holds no motion tokenizer")
        parts = len(PARTS) if isinstance(model, BodyTokenizer) else 1
        if (model.config.codes, parts) != (self.config.codes, self.config.parts):
            raise TrainingError(
                f"{name}: the tokenizer has {parts} x {model.config.codes} codes, the model {self.config.parts} x"
                f" {self.config.codes}: set [model] parts and codes to the tokenizer's"
            )

    def _encode(self, split: str, offsets: int) -> list[Sequence]:
        """Clips of a split as tokens of the recipe's tokenizer; kept beside the store, for it takes minutes."""
        folder = Path(self.data.tokenizer)
        weights = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
        what = f"{self.store.digest} {weights} {split} {offsets} {self.config.max_tokens} {self.seed} {_TOKENS_VERSION}"
        clips = FeatureSet(self.store, split)
        file = self.store.path / "features" / f"tokens-{hashlib.sha256(what.encode()).hexdigest()[:16]}.npz"
        if file.is_file():
            return read_sequences(file, clips)
        tokenizer = load_checkpoint(folder)
        assert isinstance(tokenizer.model, MotionTokenizer | BodyTokenizer)
        stats = Stats(tokenizer.stats["mean"], tokenizer.stats["std"])
        found = encode_clips(tokenizer.model, stats, clips, offsets, self.config.max_tokens, self.seed)
        write_sequences(file, found, clips)
        return found

    @cached_property
    def train(self) -> list[Sequence]:
        """The training sequences; encoded when first needed, for an export needs none."""
        return self._encode("train", self.data.offsets)

    @cached_property
    def chances(self) -> np.ndarray:
        """Chance of each training sequence."""
        return draw_chances([item.clip for item in self.train], self.data.power, self.data.shares)

    @cached_property
    def choices(self) -> list[np.ndarray]:
        """Rows of the captions of each training sequence."""
        return [self.captions.choices(item.clip, item.mirrored) for item in self.train]

    @cached_property
    def val(self) -> list[Sequence]:
        """The validation sequences."""
        return self._encode("val", 1)

    def prepare(self) -> None:
        """Encode the clips of all splits and lay out what is drawn."""
        _ = self.chances, self.choices
        for split, items in (("val", self.val), ("test", self.test)):
            need_clips(len(items), split, self.store.path)

    @cached_property
    def test(self) -> list[Sequence]:
        """The test sequences."""
        return self._encode("test", 1)

    def loss(self, model: nn.Module, step: Step) -> dict[str, Tensor]:
        """Loss of one batch of sequences with random captions."""
        rng = np.random.default_rng([step.seed, step.index, step.rank])
        rows = rng.choice(len(self.train), step.items, p=self.chances)
        sequences = [self._variant(self.train[row], rng) for row in rows]
        texts = self.captions.pick(torch.tensor([int(rng.choice(self.choices[row])) for row in rows]))
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        sentence = (texts.sentence - self.center) / self.scale
        # Sequences of like length together: most of a batch padded to its longest member would be padding.
        order = np.argsort([len(tokens) for tokens in sequences], kind="stable")
        losses, sizes = [], []
        for rows in np.array_split(order, min(_PARTS, len(order))):
            target, lengths = pad([sequences[row] for row in rows])
            chosen = torch.from_numpy(rows)
            part = model, self.config, target, lengths, sentence[chosen], texts.words[chosen], texts.valid[chosen]
            losses.append(training_loss(*part, generator, self.data.drop_text, self.data.label_smoothing))
            sizes.append(float(lengths.sum()))
        # Each part's loss is a mean over its tokens; the whole is the mean over all.
        share = torch.tensor(sizes) / sum(sizes)
        return {"loss": (torch.stack(losses) * share.to(losses[0])).sum()}

    def _variant(self, item: Sequence, rng: np.random.Generator) -> np.ndarray:
        if item.paused and rng.random() < self.data.pauses:
            return item.paused[rng.integers(len(item.paused))]
        tokens = item.tokens[rng.integers(len(item.tokens))]
        if item.travels and len(tokens) > 12 and rng.random() < self.data.pieces:
            length = int(rng.integers(10, len(tokens)))
            start = int(rng.integers(0, len(tokens) - length + 1))
            return tokens[start : start + length]
        return tokens

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Cross entropy and share of right tokens on the validation clips, always with the same masks."""
        return self._held_out(model, self.val)

    def _held_out(self, model: nn.Module, items: list[Sequence]) -> dict[str, float]:
        losses, right, count = [], 0, 0
        generator = torch.Generator().manual_seed(7)
        for start in range(0, len(items), 64):
            part = items[start : start + 64]
            target, lengths = pad([item.tokens[0] for item in part])
            rows = [int(self.captions.choices(item.clip, item.mirrored)[0]) for item in part]
            texts = self.captions.pick(torch.tensor(rows))
            seen = corrupt(target, lengths, self.config, generator)
            sentence = (texts.sentence - self.center) / self.scale
            logits = model(seen.ids, seen.valid, sentence, texts.words, texts.valid)
            losses.append(float(masked_loss(logits, target, seen.predict, 0.0)))
            right += int((logits.argmax(-1) == target)[seen.predict].sum())
            count += int(seen.predict.sum())
        return {"cross_entropy": sum(losses) / len(losses), "accuracy": right / count}

    def export(self, folder: Path, model: nn.Module, facts: Mapping[str, Any]) -> None:
        """Write the transformer with the whitening of its sentences."""
        with torch.no_grad():
            figures = self._held_out(model, self.test)
        data = {key: value for key, value in asdict(self.data).items() if key != "tokenizer"}
        origins = Origins.of(
            self.store, facts.get("init", ""), tokenizer=Path(self.data.tokenizer), text_encoder=MiniLM.licence
        )
        save_checkpoint(
            folder,
            model,
            stats={"sentence_mean": self.center, "sentence_std": self.scale},
            data=origins.data,
            licence=origins.licence,
            card=card("Masked transformer", data, facts, figures, origins),
            storage="float16",
        )


def pad(sequences: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Token sequences as one array, zeros behind the ends, and their lengths."""
    lengths = torch.tensor([len(tokens) for tokens in sequences])
    padded = torch.zeros(len(sequences), int(lengths.max()), *sequences[0].shape[1:], dtype=torch.long)
    for row, tokens in enumerate(sequences):
        padded[row, : len(tokens)] = torch.from_numpy(tokens.astype(np.int64))
    return padded, lengths


def task(recipe: Recipe, store: Path) -> MaskedTask:
    """Make the task of a recipe."""
    return MaskedTask(recipe, store)

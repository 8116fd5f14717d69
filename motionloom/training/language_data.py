"""What the language model learns from: clips and their music as codes, and examples of every task made of them.

Codes come from the trained tokenizers and are kept beside the store. A clip and its mirror image share their music,
for their beats are the same. An example is a window of an item, a wording, and what fills its places.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from motionloom.data.loader import FeatureSet, Stats
from motionloom.data.sound.features import is_dance
from motionloom.data.store import Clip, Store
from motionloom.errors import TrainingError
from motionloom.models.checkpoint import load_checkpoint
from motionloom.models.language.prompts import TASKS, Wording, source, wordings
from motionloom.models.language.vocabulary import (
    MASKED,
    Codes,
    Part,
    Pieces,
    Vocabulary,
    middle,
    prefix,
    sequence,
    train_pieces,
)
from motionloom.models.tokenizers.motion import MotionTokenizer
from motionloom.models.tokenizers.music import LEVEL, MusicTokenizer
from motionloom.motion.files import atomic_path
from motionloom.training.music_data import accompaniments

_VERSION = 1
_BATCH = 64


@dataclass(frozen=True, eq=False)
class Item:
    """A clip or its mirror image as codes.

    Attributes:
        clip: Row of the store's index.
        row: Its place in the split.
        mirrored: Whether this is the mirror image.
        codes: Codes of the whole clip.
        music: Codes of the pieces that were made for it; there may be none.
        first: Place of its first code among those of all items.
    """

    clip: Clip
    row: int
    mirrored: bool
    codes: Int[Tensor, " n"]
    music: tuple[Int[Tensor, "_"], ...]
    first: int

    @property
    def captions(self) -> tuple[str, ...]:
        """Sentences that describe it."""
        return self.clip.mirrored if self.mirrored else self.clip.captions


@dataclass(frozen=True, eq=False)
class Example:
    """A prompt and its answer.

    Attributes:
        task: Name of the task.
        source: Rows of the prompt.
        answer: Rows of the answer.
        item: Place of the item it was made of.
        start: First code of the item that is in the answer.
        count: Codes of the item in the answer; 0 where it is no motion.
    """

    task: str
    source: Int[Tensor, " S"]
    answer: Int[Tensor, " N"]
    item: int
    start: int = 0
    count: int = 0


@dataclass(frozen=True)
class Lengths:
    """How long the examples are, in motion codes.

    Attributes:
        most: Longest motion with text, or to be predicted or completed.
        music: Longest motion with music.
        least: Shortest motion with music.
        context: Longest dance before the one that is to be continued.
        varied: Share of predictions and in-betweens with another known part than the paper's.
    """

    most: int = 50
    music: int = 25
    least: int = 10
    context: int = 15
    varied: float = 0.3


class Corpus:
    """A split of a store as codes.

    Args:
        store: The store.
        split: Of the store.
        motion: Folder of the motion tokenizer.
        music: Folder of the music tokenizer.
        minutes: Of music; see ``accompaniments``.
        seed: Of the music.
        fps: Frame rate of the motion tokenizer's features.

    Raises:
        TrainingError: A folder holds no such tokenizer.
    """

    def __init__(
        self, store: Store, split: str, motion: Path, music: Path, minutes: float, seed: int, fps: float = 20.0
    ) -> None:
        self.store, self.minutes, self.seed, self.split = store, minutes, seed, split
        self.folders = {"motion": motion, "music": music}
        self.clips = FeatureSet(store, split, fps)
        loaded = {name: load_checkpoint(folder) for name, folder in self.folders.items()}
        moves, sounds = loaded["motion"].model, loaded["music"].model
        if not isinstance(moves, MotionTokenizer) or not isinstance(sounds, MusicTokenizer):
            raise TrainingError(
                f"{motion} holds a {loaded['motion'].kind}, {music} a {loaded['music'].kind}; a tokenizer and a"
                " music_tokenizer are needed"
            )
        self.motion, self.sound = moves, sounds
        self.stats = Stats(loaded["motion"].stats["mean"], loaded["motion"].stats["std"])
        self.frames = self.motion.frames_per_token
        # Music tokens that go with one motion code.
        self.rate = self.sound.tokens_per_second * self.frames / fps

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """Every clip and its mirror image."""
        found = self._kept("motion", "", self._motion)
        pieces = self._kept("music", f"{self.minutes} {self.seed}", self._music)
        made = accompaniments(self.store, self.split, self.minutes, self.seed).clips
        music: dict[str, tuple[Tensor, ...]] = {}
        for clip, piece in zip(made, pieces, strict=True):
            music[clip] = (*music.get(clip, ()), piece)
        items, first = [], 0
        for place, codes in enumerate(found):
            clip = self.clips.clips[place // 2]
            items.append(Item(clip, place // 2, place % 2 == 1, codes, music.get(clip.id, ()), first))
            first += len(codes)
        return tuple(items)

    def features(self, item: Item, start: int, count: int) -> Float[Tensor, "T D"]:
        """Normalised features under some codes of an item."""
        whole = self.clips.clip(item.row, item.mirrored)
        return self.stats.normalize(whole[start * self.frames : (start + count) * self.frames])

    def _kept(self, which: str, more: str, make: Callable[[], list[np.ndarray]]) -> list[Tensor]:
        """Codes that were made before, or now."""
        weights = hashlib.sha256((self.folders[which] / "weights.safetensors").read_bytes()).hexdigest()
        what = f"{self.store.digest} {weights} {self.split} {more} {self.clips.fps} {_VERSION}"
        name = hashlib.sha256(what.encode()).hexdigest()[:16]
        file = self.store.path / "features" / f"codes-{which}-{name}.npz"
        if not file.is_file():
            codes = make()
            with atomic_path(file) as temporary:
                np.savez(temporary, codes=np.concatenate(codes), lengths=np.array([len(row) for row in codes]))
        with np.load(file, allow_pickle=False) as kept:
            rows = np.split(kept["codes"].astype(np.int64), np.cumsum(kept["lengths"])[:-1])
        return [torch.from_numpy(row) for row in rows]

    @torch.no_grad()
    def _motion(self) -> list[np.ndarray]:
        """Codes of each clip and its mirror image, in turn."""
        per, found = self.frames, [np.zeros(0, np.int16)] * (2 * len(self.clips))
        # Clips of like length together: less padding to compute.
        order = np.argsort(self.clips.frames, kind="stable")
        for places in np.array_split(order, max(1, len(order) // _BATCH)):
            lengths = torch.from_numpy(self.clips.frames[places]) // per * per
            for mirrored in (False, True):
                batch = torch.zeros(len(places), int(lengths.max()), self.stats.mean.shape[0])
                for row, (place, length) in enumerate(zip(places.tolist(), lengths.tolist(), strict=True)):
                    batch[row, :length] = self.stats.normalize(self.clips.clip(place, mirrored)[:length])
                ids = self.motion.encode(batch, lengths).numpy().astype(np.int16)
                for row, (place, length) in enumerate(zip(places.tolist(), lengths.tolist(), strict=True)):
                    found[2 * place + mirrored] = ids[row, : length // per]
        return found

    @torch.no_grad()
    def _music(self) -> list[np.ndarray]:
        """Codes of each piece of music."""
        sounds = accompaniments(self.store, self.split, self.minutes, self.seed)
        found = []
        for place in range(len(sounds.clips)):
            samples = sounds.piece(place)
            samples = samples * (LEVEL / samples.abs().max().clamp(min=1e-4))
            found.append(self.sound.encode(samples[None])[0].numpy().astype(np.int16))
        return found


class Examples:
    """Makes examples of tasks.

    Args:
        corpus: Where the items are.
        vocabulary: Of the model.
        pieces: Its text tokenizer.
        longest: Tokens that the model reads.
        lengths: How long the examples are.
        wording: Which wordings they have.
    """

    def __init__(
        self, corpus: Corpus, vocabulary: Vocabulary, pieces: Pieces, longest: int, lengths: Lengths, wording: Wording
    ) -> None:
        self.corpus, self.vocabulary, self.pieces = corpus, vocabulary, pieces
        self.longest, self.lengths = longest, lengths
        self.wording: Wording = wording

    def usable(self, task: str) -> Int[np.ndarray, " n"]:
        """Places of the items of which examples of a task can be made."""
        least = {"prediction": 5, "in-between": 8, "dance-continuation": 5 + self.lengths.least}.get(task, 1)
        known = TASKS[task]
        about_music = "music" in (*known.inputs, known.target)
        if about_music:
            least = max(least, self.lengths.least)
        return np.array(
            [
                place
                for place, item in enumerate(self.corpus.items)
                if len(item.codes) >= least
                and (not about_music or item.music)
                and ("text" not in (*known.inputs, known.target) or item.captions)
                and (task not in ("text-to-dance", "music-to-text") or is_dance(item.clip))
            ],
            dtype=np.int64,
        )

    def make(self, task: str, place: int, rng: np.random.Generator, exact: bool = False) -> Example:
        """An example of a task from one item.

        Args:
            task: One of ``TASKS``.
            place: Of an item that is ``usable``.
            rng: Where the randomness comes from.
            exact: Known parts as in the paper, never others.
        """
        item, known = self.corpus.items[place], TASKS[task]
        music = "music" in (*known.inputs, known.target)
        most = self.lengths.music if music or task == "text-to-dance" else self.lengths.most
        size = min(len(item.codes), most)
        before = 0
        if task == "dance-continuation":
            before = int(rng.integers(5, min(self.lengths.context, len(item.codes) - self.lengths.least) + 1))
            size = min(size, len(item.codes) - before)
        if music and rng.random() < 0.3:
            size = int(rng.integers(min(self.lengths.least, size), size + 1))
        start = before + int(rng.integers(0, len(item.codes) - before - size + 1))
        codes = item.codes[start : start + size]
        given: dict[str, str | Tensor] = {}
        answer: Part = Codes("motion", codes)
        if "text" in (*known.inputs, known.target):
            given["text"] = str(rng.choice(item.captions))
        if music:
            given["music"] = self._music(item, start, size, rng)
        if task == "prediction":
            seen = prefix(size).last
            if not exact and rng.random() < self.lengths.varied:
                seen = int(rng.integers(1, max(2, 7 * size // 10)))
            given["motion"], answer, start, size = (
                codes[:seen],
                Codes("motion", codes[seen:]),
                start + seen,
                size - seen,
            )
        elif task == "in-between":
            hidden = middle(size)
            first, last = hidden.first, hidden.last
            if not exact and rng.random() < self.lengths.varied:
                first = int(rng.integers(1, size // 2 + 1))
                last = int(rng.integers(first + 1, size))
            given["motion"] = codes.clone()
            given["motion"][first:last] = MASKED
        elif task == "dance-continuation":
            given["motion"] = item.codes[start - before : start]
        elif "motion" in known.inputs:
            given["motion"] = codes
        if known.target == "text":
            answer = str(given["text"])
        elif known.target == "music":
            found = given["music"]
            assert isinstance(found, Tensor)
            answer = Codes("music", found)
        chosen = {name: value for name, value in given.items() if name in known.inputs}
        words = str(rng.choice(wordings(task, self.wording)))
        asked = source(task, words, **chosen)  # type: ignore[arg-type]
        prompt, told = (sequence(parts, self.vocabulary, self.pieces, self.longest) for parts in (asked, [answer]))
        motion = known.target == "motion"
        return Example(task, prompt, told, place, start if motion else 0, size if motion else 0)

    def _music(self, item: Item, start: int, size: int, rng: np.random.Generator) -> Tensor:
        """The music under some codes of an item."""
        piece, rate = item.music[int(rng.integers(len(item.music)))], self.corpus.rate
        return piece[round(start * rate) : max(round(start * rate) + 1, round((start + size) * rate))]


def caption_pieces(store: Store, count: int) -> str:
    """Byte-level BPE of the captions and the wordings; the same for every run on a store.

    Args:
        store: The store; the tokenizer is kept in its features folder.
        count: Pieces at most.
    """
    told = sorted({text for clip in store.clips for text in (*clip.captions, *clip.mirrored)})
    asked = [
        wording.replace("{", " ").replace("}", " ") for task in TASKS.values() for wording in (task.plain, *task.train)
    ]
    what = hashlib.sha256(json.dumps([told, asked, count]).encode()).hexdigest()[:16]
    file = store.path / "features" / f"pieces-{what}.json"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as temporary:
            # The wordings count as often as captions do, or rare words of theirs would fall into letters.
            temporary.write_text(train_pieces([*told, *asked * max(1, len(told) // (4 * len(asked)))], count))
    return file.read_text(encoding="utf-8")

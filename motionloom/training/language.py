"""Training the motion language model: many tasks in one batch, in three stages that differ by recipe values.

* alignment of the modalities: one plain imperative a task (``wording = "plain"``);
* instruction tuning: many wordings (``wording = "train"``), figures with wordings that were held out;
* joint optimisation with the motion tokenizer's decoder (``joint``): a gradient from the error in motion space
  (``soft``), targets that are searched again (``search``), or both.

Source: M3GPT (arXiv 2405.16273), sections 3.3 and 3.4.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from motionloom.data.mixture import draw_chances
from motionloom.data.store import Store
from motionloom.errors import TrainingError
from motionloom.models.checkpoint import load_checkpoint, save_checkpoint
from motionloom.models.language.joint import WEIGHT, motion_error, motion_logits, search_again
from motionloom.models.language.model import MotionLM, MotionLMConfig
from motionloom.models.language.prompts import TASKS
from motionloom.models.language.vocabulary import Vocabulary, pad_sequences
from motionloom.models.tokenizers.motion import MotionTokenizer
from motionloom.training.cards import Origins, card
from motionloom.training.language_data import Corpus, Example, Examples, Lengths, caption_pieces
from motionloom.training.recipes import Recipe, from_table
from motionloom.training.task import Step

Joint = Literal["none", "soft", "search", "both"]
_PARTS = 3
"""Groups of like length into which a batch is split: less padding to compute."""
_HELD_OUT = 32
"""Examples a task that held-out figures are made of."""
ALL_TASKS = (
    "text-to-motion=1", "motion-to-text=1", "prediction=1", "in-between=1", "music-to-dance=1", "dance-to-music=1",
    "dance-continuation=1", "text-to-dance=1", "music-to-text=1", "any-motion=0.1", "any-text=0.1", "any-music=0.1",
)  # fmt: skip
"""Every task that is trained, with its weight."""


@dataclass(frozen=True)
class LanguageData:
    """What a language model is trained on."""

    motion: str
    """Folder of the motion tokenizer."""
    music: str
    """Folder of the music tokenizer."""
    start: str = ""
    """Folder of a language model to go on with; its sizes and its text tokenizer are taken too."""
    pieces: int = 2500
    """Pieces of a text tokenizer learned from the captions; 0 for the one that the recipe's model names."""
    wording: str = "plain"
    """``plain`` (one imperative a task) or ``train`` (many wordings)."""
    tasks: tuple[str, ...] = ALL_TASKS
    """Tasks with their weights."""
    temperature: float = 2.0
    """A task is drawn in proportion to its weight and its items ** (1 / temperature)."""
    power: float = 0.5
    """Label groups are drawn by their size ** power."""
    most: int = 50
    """Longest motion with text, or to be predicted or completed [codes]."""
    most_music: int = 25
    """Longest motion with music [codes]."""
    least_music: int = 10
    """Shortest motion with music [codes]."""
    corrupted: float = 0.0
    """Share of the motion and music codes before the one to learn that are exchanged for any others (T2M-GPT, arXiv
    2301.06052, section 3.3): its own mistakes then take it less far, and prompts count more."""
    joint: str = "none"
    """``none``, ``soft``, ``search`` or ``both``."""
    search_every: int = 100
    """Updates after which a target is searched again."""
    search_most: int = 4
    """Targets that are searched in an update at most."""
    minutes: float = 70.0
    """Of music; as in the recipe of its tokenizer, it is made once."""
    held_out: float = 8.0
    """Minutes of music of the other splits."""
    music_seed: int = 1
    """Of the music."""

    def __post_init__(self) -> None:
        if self.wording not in ("plain", "train"):
            raise TrainingError(f"wording is {self.wording!r}; train with 'plain' or 'train'")
        if self.joint not in get_args(Joint):
            raise TrainingError(f"joint is {self.joint!r}; known: {', '.join(get_args(Joint))}")
        if not self.temperature > 0 or self.search_every < 1 or self.search_most < 1:
            raise TrainingError("temperature must be above 0, search_every and search_most at least 1")
        if not 0 <= self.corrupted < 1:
            raise TrainingError(f"corrupted is {self.corrupted}; it must be at least 0 and below 1")
        for name, weight in self.weights.items():
            if name not in TASKS or not TASKS[name].train or not weight > 0:
                raise TrainingError(f"tasks: {name}={weight:g} cannot be trained; name a task and a weight above 0")

    @property
    def lengths(self) -> Lengths:
        """How long the examples are."""
        return Lengths(self.most, self.most_music, self.least_music)

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each task."""
        try:
            return {name: float(weight) for name, weight in (entry.split("=") for entry in self.tasks)}
        except ValueError:
            raise TrainingError(f"tasks are {list(self.tasks)}; write them as 'text-to-motion=1'") from None


@dataclass(frozen=True)
class LanguageLoss:
    """Weights of the loss terms beside the likelihood."""

    motion: float = WEIGHT
    """Error in motion space, in joint optimisation."""
    hard: bool = False
    """Decode the most probable codes, with the gradient of the expected ones, instead of the expected ones."""


class Networks(nn.Module):
    """The language model, the motion tokenizer, and what the model is to say: what a training saves and goes on with.

    Args:
        language: The language model.
        motion: The motion tokenizer.
        codes: Codes of all items of the training split, one behind the other.
        items: How many items there are.
    """

    targets: Tensor
    searched: Tensor

    def __init__(self, language: MotionLM, motion: MotionTokenizer, codes: Int[Tensor, " n"], items: int) -> None:
        super().__init__()
        self.language, self.motion = language, motion
        self.register_buffer("targets", codes.clone())
        self.register_buffer("searched", torch.full((items,), -1, dtype=torch.long))


class LanguageTask:
    """A language model in the training loop."""

    def __init__(self, recipe: Recipe, store: Path) -> None:
        self.data = from_table(LanguageData, recipe.data, f"{recipe.name}: [data]")
        self.weights = from_table(LanguageLoss, recipe.loss, f"{recipe.name}: [loss]")
        self.store, self.splits = Store(store), dict[str, Corpus]()
        if recipe.train.init:
            raise TrainingError(f"{recipe.name}: a language model starts from [data] start, not from [train] init")
        language = self._language(recipe)
        motion = self.corpus.motion
        words = language.vocabulary
        sizes = motion.config.codes, self.corpus.sound.config.codes
        if (words.motion, words.music) != sizes:
            raise TrainingError(
                f"{recipe.name}: the vocabulary has {words.motion} motion and {words.music} music codes, the"
                f" tokenizers {sizes[0]} and {sizes[1]}"
            )
        for name, weight in motion.named_parameters():
            weight.requires_grad_(self.data.joint != "none" and name.startswith("decoder."))
        self.language = language
        self.model: nn.Module = Networks(
            language, motion, torch.cat([item.codes for item in self.corpus.items]), len(self.corpus.items)
        )

    def _language(self, recipe: Recipe) -> MotionLM:
        if self.data.start:
            trained = load_checkpoint(Path(self.data.start)).model
            if not isinstance(trained, MotionLM) or recipe.model:
                raise TrainingError(f"{recipe.name}: start needs a language model, and then no [model] of its own")
            return trained
        config = from_table(MotionLMConfig, recipe.model, f"{recipe.name}: [model]")
        if self.data.pieces:
            pieces = caption_pieces(self.store, self.data.pieces)
            config = replace(config, pieces=pieces, pad="<pad>", end="</s>")
        return MotionLM(config)

    def _corpus(self, split: str, minutes: float) -> Corpus:
        if split not in self.splits:
            motion, music = Path(self.data.motion), Path(self.data.music)
            self.splits[split] = Corpus(self.store, split, motion, music, minutes, self.data.music_seed)
        return self.splits[split]

    @property
    def corpus(self) -> Corpus:
        """The training split."""
        return self._corpus("train", self.data.minutes)

    @cached_property
    def examples(self) -> Examples:
        """Examples of the training split."""
        language = self.language
        wording = "plain" if self.data.wording == "plain" else "train"
        return Examples(
            self.corpus, language.vocabulary, language.pieces, language.config.max_tokens, self.data.lengths, wording
        )

    @cached_property
    def pools(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Of each task, places of its items and the chance of each."""
        pools = {}
        for name in self.data.weights:
            places = self.examples.usable(name)
            if len(places) == 0:
                raise TrainingError(f"{self.store.path}: no clip of the training split can serve {name}; leave it out")
            clips = [self.corpus.items[place].clip for place in places]
            pools[name] = places, draw_chances(clips, self.data.power, ())
        return pools

    @cached_property
    def shares(self) -> np.ndarray:
        """Chance of each task."""
        sizes = np.array([len(places) for places, _ in self.pools.values()], dtype=float)
        raw = np.array(list(self.data.weights.values())) * sizes ** (1 / self.data.temperature)
        return raw / raw.sum()

    def prepare(self) -> None:
        """Make the examples of the training split."""
        _ = self.shares

    def loss(self, model: nn.Module, step: Step) -> dict[str, Tensor]:
        """Loss of one batch of all tasks: every example counts the same, however long its answer."""
        assert isinstance(model, Networks)
        rng = np.random.default_rng([step.seed, step.index, step.rank])
        names = list(self.pools)
        batch = []
        for choice in rng.choice(len(names), step.items, p=self.shares):
            places, chances = self.pools[names[choice]]
            batch.append(self.examples.make(names[choice], int(rng.choice(places, p=chances)), rng))
        if self.data.joint in ("search", "both"):
            self._search(model, batch, step.index)
            batch = [self._renewed(model, example) for example in batch]
        order = np.argsort([len(one.source) + 2 * len(one.answer) for one in batch], kind="stable")
        likelihood, error, spoken = [], [], 0
        for rows in np.array_split(order, min(_PARTS, len(order))):
            part = [batch[row] for row in rows]
            losses, apart = self._part(model, part, rng)
            likelihood.append(losses.sum())
            if apart is not None:
                count = sum(example.count > 0 for example in part)
                error.append(apart * count)
                spoken += count
        terms = {"likelihood": torch.stack(likelihood).sum() / len(batch)}
        loss = terms["likelihood"]
        if self.data.joint != "none":
            # Every weight that learns is part of every loss, whatever tasks were drawn.
            nothing = sum(weight.sum() * 0.0 for weight in model.motion.parameters() if weight.requires_grad)
            terms["motion"] = (torch.stack(error).sum() / spoken if error else loss.new_zeros(())) + nothing
            loss = loss + self.weights.motion * terms["motion"]
        return {"loss": loss, **terms}

    def _part(
        self, model: Networks, part: list[Example], rng: np.random.Generator
    ) -> tuple[Float[Tensor, "B"], Tensor | None]:
        """Negative log-likelihood of each answer, a mean over its tokens, and the error of the motions among them."""
        logits, answer, valid = _read(model.language, part, self.data.corrupted, rng)
        device = logits.device
        apart = F.cross_entropy(logits.flatten(0, 1).float(), answer.flatten(), reduction="none").view(answer.shape)
        losses = apart.masked_fill(~valid, 0.0).sum(1) / valid.sum(1)
        spoken = [row for row, one in enumerate(part) if one.count]
        if self.data.joint == "none" or not spoken:
            return losses, None
        codes, lengths = motion_logits(logits[spoken], answer[spoken], model.language.vocabulary)
        motion = _motions(self.corpus, [part[row] for row in spoken], codes.shape[1]).to(device)
        if self.data.joint == "search":
            # The decoder learns from the targets alone; nothing but the likelihood reaches the language model.
            first = model.language.vocabulary.codes("motion").start
            said = answer[spoken][:, 1 : codes.shape[1] + 1] - first
            codes = F.one_hot(said.clamp(0, codes.shape[2] - 1), codes.shape[2]).float() * 1e4
        with torch.autocast(device.type, enabled=False):
            return losses, motion_error(codes.float(), lengths, model.motion, motion, hard=self.weights.hard)

    def _search(self, model: Networks, batch: list[Example], index: int) -> None:
        """Search targets of this batch again whose last search is long ago; they are kept with the networks."""
        items, due = self.corpus.items, {}
        for one in batch:
            last = int(model.searched[one.item])
            if one.count and (last < 0 or index - last >= self.data.search_every) and len(due) < self.data.search_most:
                due[one.item] = one
        if not due:
            return
        chosen = list(due.values())
        lengths = torch.tensor([one.count for one in chosen])
        ids = torch.zeros(len(chosen), int(lengths.max()), dtype=torch.long)
        for row, one in enumerate(chosen):
            first = items[one.item].first + one.start
            ids[row, : one.count] = model.targets[first : first + one.count]
        device = model.targets.device
        motion = _motions(self.corpus, chosen, ids.shape[1]).to(device)
        found = search_again(ids.to(device), lengths.to(device), model.motion, motion)
        for row, one in enumerate(chosen):
            first = items[one.item].first + one.start
            model.targets[first : first + one.count] = found[row, : one.count]
            model.searched[one.item] = index

    def _renewed(self, model: Networks, example: Example) -> Example:
        """An example whose answer are the targets of today."""
        if not example.count:
            return example
        first = self.corpus.items[example.item].first + example.start
        answer = example.answer.clone()
        codes = model.language.vocabulary.codes("motion")
        answer[1 : 1 + example.count] = model.targets[first : first + example.count].cpu() + codes.start
        return replace(example, answer=answer)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Held-out figures of the validation split."""
        assert isinstance(model, Networks)
        return self._held_out(model, "val")

    @torch.no_grad()
    def _held_out(self, model: Networks, split: str) -> dict[str, float]:
        """Of each task: likelihood and share of right tokens, each given those before; always the same examples.

        ``read`` is what somebody else's prompt costs: near 0, prompts are not read. ``motion_l1`` is the mean error in
        motion space of what the most probable codes decode to. Instructions are those that training does not see,
        except in the alignment stage, which has one a task.
        """
        corpus, language = self._corpus(split, self.data.held_out), model.language
        wording = "plain" if self.data.wording == "plain" else "test"
        examples = Examples(
            corpus, language.vocabulary, language.pieces, language.config.max_tokens, self.data.lengths, wording
        )
        figures: dict[str, float] = {}
        apart: list[float] = []
        for name in self.data.weights:
            rng = np.random.default_rng(7)
            places = examples.usable(name)
            if len(places) == 0:
                continue
            chosen = [examples.make(name, int(rng.choice(places)), rng, exact=True) for _ in range(_HELD_OUT)]
            logits, answer, valid = _read(language, chosen)
            logits = logits.float()
            figures[f"{name}/loss"] = float(F.cross_entropy(logits[valid], answer[valid]))
            figures[f"{name}/accuracy"] = float((logits.argmax(-1) == answer)[valid].float().mean())
            if TASKS[name].inputs:
                other = [replace(one, source=chosen[row - 1].source) for row, one in enumerate(chosen)]
                wrong = F.cross_entropy(_read(language, other)[0][valid].float(), answer[valid])
                figures[f"{name}/read"] = float(wrong) - figures[f"{name}/loss"]
            if TASKS[name].target == "motion":
                codes, lengths = motion_logits(logits, answer, language.vocabulary)
                motion = _motions(corpus, chosen, codes.shape[1])
                apart.append(float(motion_error(codes, lengths, model.motion, motion.to(codes.device), hard=True)))
        losses = [value for name, value in figures.items() if name.endswith("/loss")]
        return {"loss": sum(losses) / len(losses), "motion_l1": float(np.mean(apart)) if apart else 0.0, **figures}

    def export(self, folder: Path, model: nn.Module, facts: Mapping[str, Any]) -> None:
        """Write the language model; after joint optimisation the motion tokenizer too, beside it as ``motion``."""
        assert isinstance(model, Networks)
        figures = self._held_out(model, "test")
        told = {key: value for key, value in asdict(self.data).items() if key not in ("motion", "music", "start")}
        origins = Origins.of(
            self.store, self.data.start, motion_tokenizer=Path(self.data.motion), music_tokenizer=Path(self.data.music)
        )
        common: dict[str, Any] = {"data": origins.data, "licence": origins.licence}
        save_checkpoint(
            folder, model.language, {}, card=card("Motion language model", told, facts, figures, origins),
            storage="float16", **common,
        )  # fmt: skip
        if self.data.joint != "none":
            stats = {"mean": self.corpus.stats.mean, "std": self.corpus.stats.std}
            text = card("Motion tokenizer, tuned with a language model", told, facts, figures, origins)
            save_checkpoint(folder.parent / "motion", model.motion, stats, card=text, storage="float16", **common)


def _read(
    model: MotionLM, examples: list[Example], corrupted: float = 0.0, rng: np.random.Generator | None = None
) -> tuple[Float[Tensor, "B N V"], Int[Tensor, "B N"], Bool[Tensor, "B N"]]:
    """Logits of the answers of a batch, the answers, and which of their tokens exist."""
    device, pad = next(model.parameters()).device, model.vocabulary.pad
    source, source_valid = pad_sequences([one.source for one in examples], pad)
    answer, valid = pad_sequences([one.answer for one in examples], pad)
    seen = answer if rng is None else corrupt(answer, model.vocabulary, corrupted, rng)
    logits = model(*(rows.to(device) for rows in (source, source_valid, seen, valid)))
    return logits, answer.to(device), valid.to(device)


def corrupt(
    answer: Int[Tensor, "B N"], vocabulary: Vocabulary, share: float, rng: np.random.Generator
) -> Int[Tensor, "B N"]:
    """Answers with a share of their motion and music codes exchanged for any of the same kind; texts stay."""
    seen = answer.clone()
    for codes in (vocabulary.codes("motion"), vocabulary.codes("music")):
        hit = (answer >= codes.start) & (answer < codes.stop) & torch.from_numpy(rng.random(answer.shape) < share)
        seen[hit] = torch.from_numpy(rng.integers(codes.start, codes.stop, int(hit.sum())))
    return seen


def _motions(corpus: Corpus, examples: list[Example], longest: int) -> Float[Tensor, "B T D"]:
    """Normalised features that answers stand for."""
    batch = torch.zeros(len(examples), longest * corpus.frames, len(corpus.stats.mean))
    for row, one in enumerate(examples):
        batch[row, : one.count * corpus.frames] = corpus.features(corpus.items[one.item], one.start, one.count)
    return batch


def task(recipe: Recipe, store: Path) -> LanguageTask:
    """Make the task of a recipe."""
    return LanguageTask(recipe, store)

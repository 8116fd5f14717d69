"""The language model in the training loop: examples of every task, stages, joint optimisation."""

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from motionloom.errors import TrainingError
from motionloom.models.checkpoint import load_checkpoint, save_checkpoint
from motionloom.models.language.joint import search_again
from motionloom.models.language.model import MotionLM
from motionloom.models.language.prompts import TASKS
from motionloom.models.language.vocabulary import Vocabulary, middle, prefix
from motionloom.models.tokenizers.motion import MotionTokenizer, TokenizerConfig
from motionloom.models.tokenizers.music import MusicTokenizer, MusicTokenizerConfig
from motionloom.training.language import LanguageData, LanguageTask, Networks, corrupt
from motionloom.training.language_data import Corpus, Examples, Item, Lengths, caption_pieces
from motionloom.training.loop import train
from motionloom.training.recipes import Recipe, TrainConfig, load_recipe
from motionloom.training.registry import follow, trainer
from motionloom.training.task import Step

OPTIONS = TrainConfig(
    steps=8, batch=8, lr=3e-3, warmup=2, precision="fp32", log_every=1, eval_every=8, save_every=4, ema=0.5
)
MODEL = {
    "motion_codes": 16, "music_codes": 24, "max_tokens": 400, "width": 32, "mlp": 48, "layers": 1,
    "decoder_layers": 1, "heads": 2, "kv_heads": 2, "head_dim": 16,
}  # fmt: skip
NO_DANCE = [
    f"{name}=1" for name, task in TASKS.items() if task.train and name not in ("text-to-dance", "music-to-text")
]
LENGTHS = Lengths(least=6)
MINUTES = 0.3


@pytest.fixture(scope="module")
def tokenizers(store, tmp_path_factory):
    """Tokenizers with random weights, and statistics that make their features small."""
    folder = tmp_path_factory.mktemp("tokenizers")
    torch.manual_seed(0)
    motion = MotionTokenizer(TokenizerConfig(width=16, codes=16, code_dim=8))
    motion.quantizer.codebook.normal_()
    music = MusicTokenizer(MusicTokenizerConfig(strides=(16, 16, 8), widths=(8, 8, 8), depth=1, codes=24, code_dim=8))
    music.quantizer.codebook.normal_(std=0.1)
    stats = {"mean": torch.zeros(263), "std": torch.ones(263)}
    facts = {"sources": {}}, "CC0", "# a test\n"
    save_checkpoint(folder / "motion", motion.eval(), stats, *facts)
    save_checkpoint(folder / "music", music.eval(), {}, *facts)
    return folder


@pytest.fixture(scope="module")
def corpus(store, tokenizers):
    return Corpus(store, "train", tokenizers / "motion", tokenizers / "music", MINUTES, 1)


@pytest.fixture(scope="module")
def examples(corpus):
    model = MotionLM.tiny()
    words = dataclasses.replace(model.vocabulary, motion=16, music=24)
    return Examples(corpus, words, model.pieces, 600, LENGTHS, "test")


def recipe(tokenizers, changes=None, model=MODEL, **data):
    table = {
        "motion": str(tokenizers / "motion"), "music": str(tokenizers / "music"), "minutes": MINUTES, "held_out": 0.1,
        "pieces": 400, "tasks": NO_DANCE, "least_music": 4,
    }  # fmt: skip
    return Recipe("tiny", "llm", dataclasses.replace(OPTIONS, **(changes or {})), model, table | data)


def run(recipe, store, folder, **options):
    return train(recipe, store.path, folder, accelerator="cpu", **options)


def figures(folder):
    rows = [line.split(",") for line in (folder / "log.csv").read_text().split()[1:]]
    return {name: [float(value) for _, n, value in rows if n == name] for name in {name for _, name, _ in rows}}


def test_codes_are_those_of_the_tokenizers_and_kept(store, tokenizers, corpus):
    assert len(corpus.items) == 2 * len(corpus.clips)
    for item in corpus.items[:4]:
        whole = corpus.stats.normalize(corpus.clips.clip(item.row, item.mirrored))
        assert torch.equal(item.codes, corpus.motion.encode(whole[None, : len(item.codes) * corpus.frames])[0])
    assert [item.first for item in corpus.items] == [0, *np.cumsum([len(item.codes) for item in corpus.items])[:-1]]
    heard = [item for item in corpus.items if item.music]
    assert {item.mirrored for item in heard} == {False, True}
    again = Corpus(store, "train", tokenizers / "motion", tokenizers / "music", MINUTES, 1)
    for one, other in zip(corpus.items, again.items, strict=True):
        assert torch.equal(one.codes, other.codes)
        assert len(one.music) == len(other.music)
    with pytest.raises(TrainingError, match="a tokenizer and a music_tokenizer are needed"):
        Corpus(store, "train", tokenizers / "music", tokenizers / "music", MINUTES, 1)


@pytest.mark.parametrize("task", [entry.split("=")[0] for entry in NO_DANCE])
def test_examples_hold_what_their_task_asks_for(corpus, examples, task):
    words, known = examples.vocabulary, TASKS[task]
    for seed, place in enumerate(examples.usable(task)[:12].tolist()):
        item: Item = corpus.items[place]
        one = examples.make(task, place, np.random.default_rng(seed), exact=True)
        assert (one.task, one.item) == (task, place)
        for modality in ("motion", "music"):
            assert int((one.source == words.start(modality)).sum()) == (modality in known.inputs)
        assert int(one.source[-1]) == int(one.answer[-1]) == words.end
        if known.target == "text":
            assert examples.pieces.decode(one.answer[:-1].tolist()) in item.captions
        elif known.target == "motion":
            codes = item.codes[one.start : one.start + one.count]
            assert torch.equal(words.unwrap(one.answer[:-1], "motion"), codes)
        else:
            assert len(words.unwrap(one.answer[:-1], "music")) >= LENGTHS.least * corpus.rate - 1
        assert (one.count > 0) == (known.target == "motion")


def shown(examples, one):
    """Motion codes of a prompt."""
    words = examples.vocabulary
    first, last = (int((one.source == row).nonzero()) for row in (words.start("motion"), words.stop("motion")))
    return words.unwrap(one.source[first : last + 1], "motion")


def test_what_prediction_and_in_between_see(corpus, examples):
    for place in examples.usable("in-between")[:6].tolist():
        whole = corpus.items[place].codes
        one = examples.make("prediction", place, np.random.default_rng(0), exact=True)
        assert torch.equal(shown(examples, one), whole[: prefix(len(whole)).last])
        assert one.start + one.count == len(whole)
        one = examples.make("in-between", place, np.random.default_rng(0), exact=True)
        hidden, seen = middle(len(whole)), shown(examples, one)
        assert bool((seen[hidden.first : hidden.last] == -1).all())
        assert torch.equal(seen[: hidden.first], whole[: hidden.first])
        assert torch.equal(seen[hidden.last :], whole[hidden.last :])
        one = examples.make("in-between", place, np.random.default_rng(1))
        assert bool((shown(examples, one) == -1).any())


def test_music_lies_under_its_motion(corpus):
    long = Item(corpus.items[0].clip, 0, False, torch.arange(16), (torch.arange(24),), 0)
    words = MotionLM.tiny()
    maker = Examples(
        corpus, dataclasses.replace(words.vocabulary, motion=16, music=24), words.pieces, 600, LENGTHS, "plain"
    )
    rate = corpus.rate
    music = maker._music(long, 3, 4, np.random.default_rng(0))
    assert music.tolist() == list(range(round(3 * rate), round(7 * rate)))


def test_text_tokenizer_is_learned_once(store):
    pieces = caption_pieces(store, 400)
    assert caption_pieces(store, 400) == pieces
    assert caption_pieces(store, 300) != pieces


def test_stages_lower_the_loss_and_going_on_equals_no_interruption(store, tokenizers, tmp_path):
    first = recipe(tokenizers, {"lr": 6e-3})
    folder = run(first, store, tmp_path / "a")
    losses = figures(tmp_path / "a")["loss"]
    assert all(np.mean(losses[-2:]) < 0.95 * loss for loss in losses[:2])
    held_out = {name for name in figures(tmp_path / "a") if name.startswith("val/")}
    assert {"val/loss", "val/motion_l1", "val/text-to-motion/accuracy", "val/dance-to-music/loss"} <= held_out
    assert "val/motion-to-text/read" in held_out
    assert "val/any-motion/read" not in held_out
    for stop in (4, None):
        run(first, store, tmp_path / "b", stop_after=stop)
    model = load_checkpoint(folder).model
    for name, value in load_checkpoint(tmp_path / "b" / "model").model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    second = recipe(tokenizers, {"steps": 2}, {}, start=str(folder), wording="train")
    tuned = load_checkpoint(run(second, store, tmp_path / "c")).model
    assert tuned.config == model.config
    with pytest.raises(TrainingError, match="start needs a language model"):
        run(recipe(tokenizers, start=str(folder)), store, tmp_path / "d")


@pytest.mark.parametrize("joint", ["soft", "search", "both"])
def test_joint_optimisation_tunes_the_decoder_and_nothing_else_of_the_tokenizer(store, tokenizers, tmp_path, joint):
    tasks = ["text-to-motion=1", "motion-to-text=1"]
    options = recipe(tokenizers, {"steps": 4, "save_every": 2}, joint=joint, search_every=2, tasks=tasks)
    for stop in (2, None):
        run(options, store, tmp_path / "b", stop_after=stop)
    folder = run(options, store, tmp_path / "a")
    before, after = load_checkpoint(tokenizers / "motion").model, load_checkpoint(tmp_path / "a" / "motion")
    again = load_checkpoint(tmp_path / "b" / "motion").model.state_dict()
    assert set(after.stats) == {"mean", "std"}
    for name, value in after.model.state_dict().items():
        assert torch.equal(value, again[name]), name
        if name.startswith("decoder."):
            assert not torch.allclose(value, before.state_dict()[name], atol=1e-5), name
        else:
            torch.testing.assert_close(value, before.state_dict()[name], atol=1e-3, rtol=1e-3)
    assert isinstance(load_checkpoint(folder).model, MotionLM)


def test_searched_targets_are_nearer_and_become_the_answers(store, tokenizers):
    task = trainer("llm")(recipe(tokenizers, joint="search", tasks=["text-to-motion=1"]), store.path)
    model = task.model
    assert isinstance(task, LanguageTask)
    assert isinstance(model, Networks)
    before = model.targets.clone()
    task.loss(model, Step(5, 1, 0, 1, 8))
    assert sorted(set(model.searched.tolist())) == [-1, 5]
    changed = [item for item, last in zip(task.corpus.items, model.searched.tolist(), strict=True) if last == 5]
    assert len(changed) == 4
    assert not torch.equal(before, model.targets)
    for item in changed:
        now = model.targets[item.first : item.first + len(item.codes)]
        motion = task.corpus.features(item, 0, len(item.codes))[None]
        lengths = torch.tensor([len(item.codes)])
        wanted = search_again(item.codes[None], lengths, model.motion, motion)[0]
        assert torch.equal(now, wanted)
        with torch.no_grad():
            near, far = (float((model.motion.decode(ids[None]) - motion).abs().mean()) for ids in (now, item.codes))
        assert near <= far
    for one, other in pairwise(changed):
        assert one.first + len(one.codes) <= other.first


def test_corruption_exchanges_a_share_of_the_codes_and_nothing_else():
    words = Vocabulary(20, 16, 24)
    rows = torch.cat((words.wrap(torch.arange(16), "motion"), words.wrap(torch.arange(24), "music"), torch.arange(20)))
    rows = rows.repeat(200, 1)
    assert torch.equal(corrupt(rows, words, 0.0, np.random.default_rng(0)), rows)
    seen = corrupt(rows, words, 0.5, np.random.default_rng(0))
    changed = seen != rows
    elsewhere = torch.ones_like(changed)
    for codes in (words.codes("motion"), words.codes("music")):
        inside = (rows >= codes.start) & (rows < codes.stop)
        elsewhere &= ~inside
        # Some are exchanged for themselves.
        assert float(changed[inside].float().mean()) == pytest.approx(0.5 * (1 - 1 / len(codes)), abs=0.03)
        assert set(seen[inside].tolist()) == set(codes)
    assert not changed[elsewhere].any()


def test_corrupted_answers_are_still_what_is_learned(store, tokenizers, monkeypatch):
    """What is seen changes, the example does not; what is held out is seen as it is."""
    task = trainer("llm")(recipe(tokenizers, tasks=["text-to-motion=1"], corrupted=0.5), store.path)
    assert isinstance(task, LanguageTask)
    seen, targets = [], []
    forward = MotionLM.forward

    def noting(model, source, valid, answer, answer_valid):
        seen.append(answer)
        return forward(model, source, valid, answer, answer_valid)

    part = LanguageTask._part

    def also(self, model, examples, rng):
        targets.extend(examples)
        return part(self, model, examples, rng)

    monkeypatch.setattr(MotionLM, "forward", noting)
    monkeypatch.setattr(LanguageTask, "_part", also)
    task.loss(task.model, Step(0, 1, 0, 1, 6))
    shown = [row for rows in seen for row in rows]
    assert len(shown) == len(targets) == 6
    assert any(not torch.equal(row[: len(one.answer)], one.answer) for row, one in zip(shown, targets, strict=True))
    seen.clear()
    task.evaluate(task.model)
    first = [row.tolist() for rows in seen for row in rows]
    seen.clear()
    monkeypatch.setattr(task, "data", dataclasses.replace(task.data, corrupted=0.0))
    task.evaluate(task.model)
    assert first == [row.tolist() for rows in seen for row in rows]


def test_wrong_recipes_are_refused(store, tokenizers):
    wrongs: list[tuple[dict[str, Any], str]] = [
        ({"wording": "test"}, "train with 'plain' or 'train'"),
        ({"joint": "hard"}, "joint is 'hard'"),
        ({"tasks": {"music-text-to-dance": 1.0}}, "music-text-to-dance=1 cannot be trained"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"corrupted": 1.0}, r"corrupted is 1\.0; it must be at least 0 and below 1"),
    ]
    for wrong, message in wrongs:
        with pytest.raises(TrainingError, match=message):
            LanguageData("motion", "music", **wrong)
    task = trainer("llm")(recipe(tokenizers, tasks=["text-to-dance=1"]), store.path)
    with pytest.raises(TrainingError, match="can serve text-to-dance; leave it out"):
        task.loss(task.model, Step(0, 1, 0, 1, 2))
    with pytest.raises(TrainingError, match="12 motion and 24 music codes, the tokenizers 16 and 24"):
        trainer("llm")(recipe(tokenizers, model=MODEL | {"motion_codes": 12}), store.path)


@pytest.mark.parametrize(("name", "stage"), [("language", "pretrain"), ("language", "instruct"), ("joint", None)])
def test_the_recipes_of_the_stages_are_whole(name, stage, tmp_path):
    found = load_recipe(f"m3gpt-{name}", stage=stage)
    data = found.table("data", LanguageData)
    assert set(data.weights) == {task for task, known in TASKS.items() if known.train}
    later = follow(found, tmp_path)
    assert (later.model, later.data["start"]) == ({}, str(tmp_path))

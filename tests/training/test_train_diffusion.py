"""Training of the diffusion model: batches, resuming, stages, and parts that are not known."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from towers import WIDTH, write_clip

from motionloom.conditions.clip import FOLDER, text_encoder
from motionloom.engines.lmm.engine import LMM
from motionloom.errors import CheckpointError, TrainingError
from motionloom.models.checkpoint import load_checkpoint
from motionloom.models.diffusion.config import Clips
from motionloom.models.diffusion.model import DiffusionTransformer
from motionloom.models.diffusion.training import draw_steps
from motionloom.motion.features.motionverse_layout import part_columns, spread_mask
from motionloom.motion.skeleton import PARTS
from motionloom.training.diffusion import DiffusionTask
from motionloom.training.loop import train
from motionloom.training.recipes import Recipe, TrainConfig
from motionloom.training.task import Step

TINY = TrainConfig(
    steps=6, batch=6, lr=1e-3, warmup=2, ema=0.9, precision="fp32", log_every=1, eval_every=3, save_every=2
)
MODEL = {"part_dim": 8, "layers": 1, "time_dim": 16, "experts": 2, "max_frames": 20, "dataset_tokens": 2}
DATA = {"rates": [10.0, 20.0], "frames": 20, "shortest": 8}


def first_stage(**changes) -> Recipe:
    return Recipe("first", "diffusion", dataclasses.replace(TINY, **changes), {**MODEL, "text_dim": 0}, DATA)


def second_stage(**changes) -> Recipe:
    data = {**DATA, "tasks": ["text=0.8", "motion=0.2"], "video": 0.5}
    options = dataclasses.replace(TINY, **changes)
    return Recipe("second", "diffusion", options, {**MODEL, "video_dim": 53}, data, {"hide": False})


def run(recipe: Recipe, store, folder: Path, **more) -> Path:
    return train(recipe, store.path, folder, accelerator="cpu", **more)


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    return run(first_stage(), store, tmp_path_factory.mktemp("first"))


def test_stopping_and_going_on_equals_no_interruption(store, trained, tmp_path):
    for stop in (3, None):
        run(first_stage(), store, tmp_path, stop_after=stop)
    whole, parts = load_checkpoint(trained).model.state_dict(), load_checkpoint(tmp_path / "model").model.state_dict()
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


def test_held_out_errors_are_logged_and_always_the_same(store, trained):
    rows = [line.split(",") for line in (trained.parent / "log.csv").read_text().splitlines()[1:]]
    errors = {int(step): float(value) for step, name, value in rows if name == "val/error"}
    assert set(errors) == {3, 6}
    assert all(0 < error < 10 for error in errors.values())
    task = DiffusionTask(first_stage(), store.path)
    model = load_checkpoint(trained).model
    with torch.no_grad():
        assert task.evaluate(model) == task.evaluate(model)


def test_the_second_stage_goes_on_from_the_first_with_its_statistics(store, trained, tmp_path):
    folder = run(second_stage(init=str(trained), lr=1e-9), store, tmp_path)
    first, second = load_checkpoint(trained), load_checkpoint(folder)
    assert torch.equal(first.stats["mean"], second.stats["mean"])
    assert {"sentence_mean", "sentence_std"} <= set(second.stats)
    assert second.stats["rates"].tolist() == [10.0, 20.0]
    assert not second.stats["parts"][[PARTS.index(part) for part in ("left_hand", "right_hand", "face")]].any()
    state = second.model.state_dict()
    for name, value in first.model.state_dict().items():
        torch.testing.assert_close(state[name], value, atol=2e-3, rtol=1e-2)
    assert "val/error_alone" in (tmp_path / "log.csv").read_text()


def test_the_loss_falls(store, tmp_path):
    run(first_stage(steps=60, lr=5e-3, eval_every=60, save_every=60), store, tmp_path)
    rows = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()[1:]]
    losses = [float(value) for _, name, value in rows if name == "loss"]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def drawn(task: DiffusionTask, seed: int = 0):
    rng = np.random.default_rng(seed)
    windows = task.train.windows(6, 20, rng)
    return task.batch(task.train, windows, rng)


def test_a_batch_follows_from_seed_step_and_rank(store):
    task = DiffusionTask(second_stage(), store.path)

    def loss(index: int, rank: int) -> float:
        torch.manual_seed(0)
        return float(task.loss(task.model.eval(), Step(index, 1, rank, 1, 4))["loss"].detach())

    assert loss(3, 0) == loss(3, 0)
    assert len({loss(3, 0), loss(4, 0), loss(3, 1)}) == 3


def test_text_and_keypoints_go_to_some_windows_only(store):
    task = DiffusionTask(second_stage(), store.path)
    batches = [drawn(task, seed) for seed in range(6)]
    for name in ("text", "video"):
        given = torch.cat([batch.conditions[name].given for batch in batches])
        assert 0.2 < float(given.float().mean()) < 0.95
    batch = batches[0]
    part = batch.take(batch.clips.lengths.argsort()[:2])
    frames = int(part.clips.lengths.max())
    assert part.target.shape[1] == part.clips.parts.shape[1] == part.conditions["video"].features.shape[1] == frames


def hearing() -> Recipe:
    data = {**DATA, "tasks": ["text=0.8", "motion=0.2"], "video": 0.5, "music": 0.7, "joined": 0.5}
    return Recipe("third", "diffusion", TINY, {**MODEL, "video_dim": 53, "music_dim": 78}, data, {"hide": False})


def test_music_goes_to_the_frames_it_sounds_in(store):
    task = DiffusionTask(hearing(), store.path)
    rng = np.random.default_rng(0)
    windows = task.train.windows(12, 20, rng)
    batch = task.batch(task.train, windows, rng)
    music = batch.conditions["music"]
    assert 0 < int(music.given.sum()) < 12
    row = int(music.given.nonzero()[0, 0])
    clip, length = task.train.clips[int(windows.clips[row])], int(windows.lengths[row])
    fps = float(windows.fps[row])
    sounds = task.sounds["music"]
    versions = [
        sounds.window(clip, number, int(windows.starts[row]) / fps, fps, length)
        for number in range(sounds.versions(clip))
    ]
    assert any(torch.equal(music.features[row, :length], version) for version in versions)
    assert not music.features[row, length:].any()


def test_joined_clips_put_together_are_the_window_they_were_cut_from(store):
    task = DiffusionTask(hearing(), store.path)
    rng = np.random.default_rng(1)
    windows = task.train.windows(5, 40, rng)
    whole = task.batch(task.train, windows, rng)
    cut = whole.cut(20, 8, rng)
    assert cut.clips.timeline is not None
    assert sum(cut.clips.timeline) == len(cut.clips)
    assert max(cut.clips.timeline) > 1
    for row, group in enumerate(cut.groups()):
        pieces = [slice(0, int(cut.clips.lengths[index])) for index in group]
        length = int(whole.clips.lengths[row])
        for name in ("video", "music"):
            heard = [cut.conditions[name].features[index, piece] for index, piece in zip(group, pieces, strict=True)]
            assert torch.equal(torch.cat(heard), whole.conditions[name].features[row, :length])
        target = [cut.target[index, piece] for index, piece in zip(group, pieces, strict=True)]
        assert torch.equal(torch.cat(target), whole.target[row, :length])
        assert {bool(cut.conditions["text"].given[index]) for index in group} == {
            bool(whole.conditions["text"].given[row])
        }
    assert int(cut.clips.lengths.max()) <= 20
    pieces_ = cut.by_length(2)
    assert sum(len(part.clips) for part in pieces_) == len(cut.clips)
    assert sum(sum(part.clips.timeline or ()) for part in pieces_) == len(cut.clips)


def test_all_conditions_and_time_lines_train_together(store, tmp_path):
    folder = run(hearing(), store, tmp_path)
    found = load_checkpoint(folder)
    assert found.stats["frames"].tolist() == [8, 20, 4]
    assert isinstance(found.model, DiffusionTransformer)
    assert {"music", "video", "text"} == set(found.model.config.modalities)
    assert float(found.model.state_dict()["aligned.music.weight"].float().std()) > 0


def test_sentences_may_be_read_by_another_encoder(store, tmp_path, monkeypatch):
    """Trained with CLIP's vectors, a model asks for CLIP; the bundled encoder's are not put in their place."""
    tower = write_clip(tmp_path / "clip", pieces=80)
    recipe = second_stage()
    sizes = {**recipe.model, "text_dim": WIDTH}
    recipe = dataclasses.replace(recipe, model=sizes, data={**recipe.data, "text_encoder": str(tower)})
    folder = run(recipe, store, tmp_path / "run")
    checkpoint = load_checkpoint(folder)
    assert isinstance(checkpoint.model, DiffusionTransformer)
    assert checkpoint.model.config.text_encoder == text_encoder(tower).name
    assert len(checkpoint.stats["sentence_mean"]) == WIDTH
    monkeypatch.delenv(FOLDER, raising=False)
    engine = LMM(folder)
    with pytest.raises(CheckpointError, match=f"name the folder of its weights in the environment variable {FOLDER}"):
        engine.generate("a person walks", seconds=1.0, steps=2)
    monkeypatch.setenv(FOLDER, str(tower))
    walk, wave = (engine.generate(text, seconds=1.0, steps=2)[0] for text in ("a person walks", "someone waves"))
    assert not torch.equal(walk.rotations, wave.rotations)
    with pytest.raises(TrainingError, match="text_dim is 384; words of clip-"):
        DiffusionTask(dataclasses.replace(recipe, model={**sizes, "text_dim": 384}), store.path)


def test_clips_of_one_time_line_have_one_noise_level_and_all_levels_are_as_likely():
    parts = torch.ones(12, 4, 10, dtype=torch.bool)
    none = torch.zeros(12, dtype=torch.long)
    clips = Clips(parts, none + 4, torch.ones(12), none, none, None, (3, 1, 2, 2, 4))
    generator = torch.Generator().manual_seed(0)
    drawn_ = torch.stack([draw_steps(clips, 1000, generator) for _ in range(400)])
    for start, stop in ((0, 3), (4, 6), (6, 8), (8, 12)):
        assert bool((drawn_[:, start:stop] == drawn_[:, start : start + 1]).all())
    assert len(set(drawn_[0].tolist())) == 5
    spans = (drawn_[:, [0, 3, 4, 6, 8]] // 200).sort(dim=1).values
    assert bool((spans == torch.arange(5)).all())  # one of each fifth
    assert abs(float(drawn_.float().mean()) - 500) < 25


@pytest.mark.parametrize("part", ["root", "left_arm", "face"])
def test_what_stands_in_an_unknown_part_changes_no_gradient(store, part):
    task = DiffusionTask(first_stage(), store.path)
    column = PARTS.index(part)

    def gradients(rubbish: float) -> dict[str, torch.Tensor]:
        windows = task.train.windows(6, 20, np.random.default_rng(0), mirror=False)
        mask = windows.mask.clone()
        mask[:, 5:, column] = False
        hidden = spread_mask(windows.mask & ~mask)
        features = torch.where(hidden, rubbish, windows.features)
        windows = dataclasses.replace(windows, features=features, mask=mask)
        batch = task.batch(task.train, windows, np.random.default_rng(1))
        torch.manual_seed(0)
        task.model.zero_grad()
        terms = task._terms(task.model.train(), batch, torch.Generator().manual_seed(2), task.options)
        terms["loss"].backward()
        return {name: value.grad.clone() for name, value in task.model.named_parameters() if value.grad is not None}

    with torch.no_grad():
        # It starts at zero, and then nothing before it has a gradient.
        for name, value in task.model.named_parameters():
            if name.startswith("read_out.weights"):
                value.normal_()
    first, second = gradients(0.0), gradients(123.0)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    face = first[f"read_out.weights.{PARTS.index('face')}"]
    assert not face.any(), "no clip knows a face, so its read-out has nothing to learn"
    assert first["read_out.weights.5"].any()
    assert len(part_columns()["face"]) == face.shape[1]


def test_shorter_pieces_are_cut_out_of_their_windows(store):
    task = DiffusionTask(dataclasses.replace(first_stage(), data={**DATA, "pieces": 1.0}), store.path)
    windows = task.train.windows(8, 20, np.random.default_rng(3))
    shorter = task.shortened(windows, task.train, np.random.default_rng(4))
    assert bool((shorter.lengths < windows.lengths).all())
    assert bool((shorter.lengths >= 8).all())
    for row, length in enumerate(shorter.lengths.tolist()):
        first = int(shorter.starts[row] - windows.starts[row])
        assert torch.equal(shorter.features[row, :length], windows.features[row, first : first + length])
        assert not shorter.features[row, length:].any()
        assert not shorter.mask[row, length:].any()


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ({}, {"tasks": ["music=1"]}, "task 'music' is not trained here; tasks are motion, text"),
        ({}, {"tasks": ["text:1"]}, "'text:1' is no weight; write name=number"),
        ({"text_dim": 12}, {"tasks": ["text=1"]}, "text_dim is 12; words of minilm have size 384, its sentences 384"),
        ({}, {"video": 0.5}, "video_dim is 0; keypoints have size 53"),
        ({}, {"music": 0.5}, "music_dim is 0; sound has size 78"),
        ({"attention": "plain"}, {"joined": 0.5}, "only attention 'art' has time lines: make it 0"),
        ({}, {"frames": 21}, "windows of 8 to 21 frames; from 2 to the model's max_frames, 20"),
        ({}, {"colour": 1}, "unknown keys colour"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(store, model, data, message):
    recipe = Recipe("bad", "diffusion", TINY, {**MODEL, **model}, {**DATA, **data})
    with pytest.raises(TrainingError, match=message):
        DiffusionTask(recipe, store.path)

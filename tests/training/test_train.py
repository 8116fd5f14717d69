import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

from motionloom.data.loader import FeatureSet, Stats
from motionloom.errors import TrainingError
from motionloom.models.checkpoint import load_checkpoint
from motionloom.models.tokenizers.motion import MotionTokenizer
from motionloom.training.loop import _optimizer, learning_rate, train
from motionloom.training.masked import encode_clips, read_sequences, write_sequences
from motionloom.training.recipes import Recipe, TrainConfig, from_table, load_recipe

TINY = TrainConfig(
    steps=12, batch=8, lr=1e-3, warmup=2, ema=0.9, precision="fp32", log_every=4, eval_every=6, save_every=3
)


def tokenizer_recipe(**changes) -> Recipe:
    return Recipe(
        "tiny",
        "tokenizer",
        dataclasses.replace(TINY, **changes),
        {"width": 16, "codes": 16, "code_dim": 8},
        {"window": 24},
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(folder).model.state_dict())


def assert_same(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.fixture(scope="module")
def tokenizer(store, tmp_path_factory):
    return train(tokenizer_recipe(), store.path, tmp_path_factory.mktemp("tokenizer"), accelerator="cpu")


def test_stopping_and_going_on_equals_no_interruption(store, tokenizer, tmp_path):
    for stop in (5, 9, None):
        train(tokenizer_recipe(), store.path, tmp_path, accelerator="cpu", stop_after=stop)
    assert_same(tokenizer, tmp_path / "model")


def test_adafactor_learns_and_goes_on_to_the_same_bits(store, tmp_path):
    """Its steps are relative: the same rate moves a table of size 1 a hundred times as far as one of 0.01."""
    recipe = tokenizer_recipe(steps=8, optimizer="adafactor", lr=1e-2)
    for folder, stops in ((tmp_path / "whole", (None,)), (tmp_path / "pieces", (3, None))):
        for stop in stops:
            train(recipe, store.path, folder, accelerator="cpu", stop_after=stop)
    assert_same(tmp_path / "whole" / "model", tmp_path / "pieces" / "model")
    layer = torch.nn.Linear(4, 4, bias=False)
    moved = []
    for size in (1.0, 0.01):
        with torch.no_grad():
            layer.weight.copy_(size * torch.ones(4, 4))
        optimizer = _optimizer(layer, TrainConfig(optimizer="adafactor", lr=1e-2))
        layer(torch.ones(1, 4)).sum().backward()
        optimizer.step()
        moved.append(float((layer.weight.detach() - size).abs().mean()))
    assert moved[0] == pytest.approx(100 * moved[1], rel=0.05)
    with pytest.raises(TrainingError, match="optimizer 'sgd' is unknown; use 'adamw' or 'adafactor'"):
        TrainConfig(optimizer="sgd")


def test_a_killed_training_goes_on_to_the_same_bits(store, tokenizer, tmp_path):
    recipe = tokenizer_recipe(steps=400, eval_every=400, hold=1.0)
    code = (
        "import sys; sys.path.insert(0, 'tests/training'); sys.path.insert(0, 'tests')\n"
        "import torch; torch.set_num_threads(1)\n"
        "from pathlib import Path; from test_train import tokenizer_recipe\n"
        "from motionloom.training.loop import train\n"
        f"train(tokenizer_recipe(steps=400, eval_every=400, hold=1.0), Path({str(store.path)!r}),"
        f" Path({str(tmp_path / 'killed')!r}), accelerator='cpu')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").glob("step-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    first = int(sorted((tmp_path / "killed").glob("step-*"))[-1].name[5:])
    assert 0 < first < 400
    # Go on a little, and make the same way in one piece.
    for run in ("killed", "whole"):
        train(recipe, store.path, tmp_path / run, accelerator="cpu", stop_after=first + 4)
    killed, whole = (tmp_path / run / f"step-{first + 4:07d}" / "state.safetensors" for run in ("killed", "whole"))
    assert killed.read_bytes() == whole.read_bytes()


def test_two_processes_train_one_model(store, tmp_path):
    code = (
        "import sys; sys.path.insert(0, 'tests/training'); sys.path.insert(0, 'tests')\n"
        "if __name__ == '__main__':\n"
        "    from pathlib import Path; from test_train import tokenizer_recipe\n"
        "    from motionloom.training.loop import train\n"
        f"    train(tokenizer_recipe(steps=6), Path({str(store.path)!r}), Path({str(tmp_path)!r}), devices=2,"
        " accelerator='cpu')"
    )
    script = tmp_path / "two.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert load_checkpoint(tmp_path / "model").kind == "tokenizer"
    steps = [line for line in (tmp_path / "log.csv").read_text().splitlines() if line.startswith("6,loss")]
    assert len(steps) == 1


def test_masked_and_length_train_on_the_tokens(store, tokenizer, tmp_path):
    masked = Recipe(
        "tiny",
        "masked",
        TINY,
        {"codes": 16, "width": 16, "heads": 2, "layers": 1, "max_tokens": 12},
        {"tokenizer": str(tokenizer), "shares": {"cmu": 0.5}},
    )
    folder = train(masked, store.path, tmp_path / "masked", accelerator="cpu")
    assert "sentence_mean" in load_checkpoint(folder).stats
    length = Recipe("tiny", "length", TINY, {}, {})
    folder = train(length, store.path, tmp_path / "length", accelerator="cpu")
    assert load_checkpoint(folder).kind == "length"
    log = (tmp_path / "masked" / "log.csv").read_text()
    assert "val/cross_entropy" in log
    assert len(list((tmp_path / "masked").glob("step-*"))) == TINY.keep


def test_body_parts_train_end_to_end_and_a_model_can_grow(store, tmp_path):
    sizes = {"width": 16, "codes": 16, "code_dim": 8, "part_widths": [8, 8, 8, 8]}
    tokenizer = train(
        Recipe("tiny", "body_tokenizer", TINY, sizes, {"window": 24}),
        store.path, tmp_path / "tokenizer", accelerator="cpu",
    )  # fmt: skip
    decoder = Recipe(
        "tiny", "body_tokenizer", dataclasses.replace(TINY, init=str(tokenizer)), sizes,
        {"window": 24, "decoder_only": True},
    )  # fmt: skip
    later = weights(train(decoder, store.path, tmp_path / "decoder", accelerator="cpu"))
    for name, value in weights(tokenizer).items():
        assert torch.equal(later[name], value) == (not name.startswith("decoder.")), name
    model = {"codes": 16, "parts": 4, "width": 16, "heads": 2, "layers": 1, "max_tokens": 12}
    data = {"tokenizer": str(tokenizer)}
    first = train(Recipe("tiny", "masked", TINY, model, data), store.path, tmp_path / "masked", accelerator="cpu")
    grown = Recipe(
        "tiny", "masked", dataclasses.replace(TINY, init=str(first), lr=1e-9), {**model, "end_positions": True}, data
    )
    second = weights(train(grown, store.path, tmp_path / "grown", accelerator="cpu"))
    for name, value in weights(first).items():
        torch.testing.assert_close(second[name], value, atol=2e-3, rtol=1e-2)
    assert set(second) - set(weights(first)) == {"trunk.end_positions"}
    back = Recipe("tiny", "masked", dataclasses.replace(TINY, init=str(tmp_path / "grown" / "model")), model, data)
    with pytest.raises(TrainingError, match=r"tensors that do not fit this model: trunk\.end_positions"):
        train(back, store.path, tmp_path / "shrunk", accelerator="cpu")


def test_kept_tokens_are_the_encoded_ones(store, tokenizer, tmp_path):
    checkpoint = load_checkpoint(tokenizer)
    stats = Stats(checkpoint.stats["mean"], checkpoint.stats["std"])
    clips = FeatureSet(store, "train")
    assert isinstance(checkpoint.model, MotionTokenizer)
    made = encode_clips(checkpoint.model, stats, clips, 2, 12, seed=5)
    write_sequences(tmp_path / "tokens.npz", made, clips)
    kept = read_sequences(tmp_path / "tokens.npz", clips)
    assert len(kept) == len(made) > 0
    for a, b in zip(made, kept, strict=True):
        assert (a.clip.id, a.mirrored, a.travels) == (b.clip.id, b.mirrored, b.travels)
        for mine, theirs in ((a.tokens, b.tokens), (a.paused, b.paused)):
            assert len(mine) == len(theirs)
            assert all(np.array_equal(x, y) for x, y in zip(mine, theirs, strict=True))


def test_the_loss_falls(store, tmp_path):
    recipe = tokenizer_recipe(steps=60, lr=3e-3, log_every=1, eval_every=60, save_every=60)
    train(recipe, store.path, tmp_path, accelerator="cpu")
    rows = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()[1:]]
    losses = [float(value) for _, name, value in rows if name == "loss"]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_a_run_of_another_recipe_is_not_continued(store, tmp_path):
    train(tokenizer_recipe(), store.path, tmp_path, accelerator="cpu", stop_after=3)
    with pytest.raises(TrainingError, match="holds a run of another recipe"):
        train(tokenizer_recipe(lr=2e-3), store.path, tmp_path, accelerator="cpu")


def test_a_loss_that_is_not_finite_ends_the_run(store, tmp_path):
    with pytest.raises(TrainingError, match="the loss is nan in step"):
        train(tokenizer_recipe(lr=1e30, clip=1e30), store.path, tmp_path, accelerator="cpu")


def test_unknown_keys_and_kinds_are_refused(tmp_path, store):
    path = tmp_path / "bad.toml"
    path.write_text('kind = "tokenizer"\n[train]\nstep = 3\n')
    with pytest.raises(TrainingError, match="unknown keys step; known are"):
        load_recipe(path)
    with pytest.raises(TrainingError, match="unknown keys widht"):
        from_table(TrainConfig, {"widht": 3}, "here")
    with pytest.raises(TrainingError, match="kind 'nonsense' is unknown"):
        train(Recipe("x", "nonsense", TINY), store.path, tmp_path)
    with pytest.raises(TrainingError, match="cannot be read"):
        load_recipe(tmp_path / "none.toml")


def test_learning_rate_rises_holds_and_falls():
    config = TrainConfig(steps=100, warmup=9, hold=0.5, floor=0.1)
    assert learning_rate(config, 0) == pytest.approx(0.1)
    assert learning_rate(config, 30) == 1.0
    assert learning_rate(config, 75) == pytest.approx(0.55)
    assert learning_rate(config, 100) == pytest.approx(0.1)

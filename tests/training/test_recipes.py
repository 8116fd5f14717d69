"""Recipes: what is refused in a line, stages, engines, overrides, and what is checked before the first update."""

import json
import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
import torch
from conftest import ROOT
from typer.testing import CliRunner

from motionloom.app.cli.main import app
from motionloom.data.store import Store
from motionloom.engines.registry import load
from motionloom.errors import Cancelled, TrainingError
from motionloom.models.checkpoint import load_checkpoint
from motionloom.progress import Progress
from motionloom.training import curriculum, loop
from motionloom.training.curriculum import check_all, train_all
from motionloom.training.recipes import Curriculum, EngineRecipe, load_recipe, load_training, shipped
from motionloom.training.registry import TRAINERS, check_recipe

KIND = 'kind = "length"\n'
TRAIN = '[train]\nsteps = 4\nbatch = 8\nprecision = "fp32"\nwarmup = 1\neval_every = 4\nsave_every = 2\n'
CURRICULUM = (
    'kind = "tokenizer"\n' + TRAIN + "[model]\nwidth = 16\ncodes = 16\ncode_dim = 8\n[data]\nwindow = 24\n"
    '[[stage]]\nname = "codes"\ntrain = { seed = 1 }\n'
    '[[stage]]\nname = "decoder"\ntrain = { seed = 2, steps = 6 }\ndata = { decoder_only = true }\n'
)


def written(folder, text, name="r.toml"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (KIND + '[train]\nlr = "4e-4"\n', r"r\.toml:3: \[train\]: lr is '4e-4'; give a number, above 0"),
        (KIND + "[train]\nlr = -1\n", r"r\.toml:3: \[train\]: lr is -1; give a number, above 0"),
        (KIND + "[train]\nlr = nan\n", r"r\.toml:3: \[train\]: lr is nan"),
        (KIND + "[train]\n\nsteps = 10.5\n", r"r\.toml:4: \[train\]: steps is 10\.5; give a whole number"),
        (KIND + "[train]\nwarmup = -5\n", r"\[train\]: warmup is -5; give a whole number, 0 to"),
        (KIND + "[train]\nseed = -1\n", r"\[train\]: seed is -1"),
        (KIND + "[train]\nseed = 123456789012345678901234567890123\n", r"\[train\]: seed is an integer of 107 bits"),
        (KIND + "[train]\nbatch = 1000000000\n", r"batch is 1000000000; give a whole number, 1 to 65536"),
        (KIND + "[train]\nbatch = 2.5\n", "batch is 2.5; give a whole number"),
        (KIND + "[train]\nbatch = true\n", "batch is True; give a whole number"),
        (KIND + "[train]\nclip = 0\n", "clip is 0; give a number, above 0"),
        (KIND + "[train]\nhold = 1.5\n", "hold is 1.5; give a number, 0 to 1"),
        (KIND + "[train]\ninit = 3\n", "init is 3; give a text"),
        (KIND + "[train]\nstep = 3\n", r"r\.toml:3: \[train\]: unknown keys step; known are"),
        (KIND + "train = 5\n", r"\[train\]: a table is needed; got 5"),
        (KIND + "train = [1, 2]\n", r"\[train\]: a table is needed"),
        ('kind = ["length"]\n', "kind is \\['length'\\]"),
        ("kind = 1\n", "kind is 1"),
        ("[train]\nsteps = 3\n", "kind is None"),
        (KIND + "[mood]\nx = 1\n", "it has also mood"),
        (KIND + "x = " + "[" * 3000 + "]" * 3000 + "\n", "no recipe|no valid TOML"),
        (KIND + "x = " + "9" * 5000 + "\n", "no recipe|no valid TOML"),
        (KIND + "stage = 3\n", "stage is 3; write each as"),
        (KIND + "[[stage]]\ncolour = 1\n", r"\[\[stage\]\] 1: unknown keys colour"),
        (KIND + '[[stage]]\nname = "../x"\n', "name is '../x'; give letters"),
        (KIND + '[[stage]]\nname = "a"\n[[stage]]\nname = "a"\n', "two stages have the same name"),
        (KIND + "[[stage]]\n[[stage]]\ntrain = { lr = -1 }\n", r"\[\[stage\]\] 2: \[train\]: lr is -1"),
        ('kind = "length"\n[train\n', "no valid TOML .*line 2"),
        (b"\xff\xfek\x00i\x00n\x00d\x00", "no UTF-8 text"),
        (b'kind = "length"\n\xff', "no UTF-8 text"),
        ('engine = "mmm"\n', r"\[\[part\]\] tables must follow"),
        ('engine = "mmm"\n[[part]]\nname = "x"\nrecipe = "mmm"\n', "is a recipe of an engine"),
        ('engine = "mmm"\n[[part]]\nname = "x"\nrecipe = "mmm-length"\nuses = { "data.x" = "y" }\n', "before this one"),
        ('engine = "mmm"\n[[part]]\nname = "x"\nrecipe = "r.toml"\n', "name each other in a circle"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_place(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(TrainingError, match=message) as caught:
        load_training(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))


@pytest.mark.parametrize(
    ("kind", "tables", "message"),
    [
        ("nonsense", "", "kind 'nonsense' is unknown; kinds are body_tokenizer"),
        ("length", "[model]\nwidth = [1]\n", r":\d+: \[model\]: width is \[1\]; give a whole number"),
        ("length", '[model]\nwidth = "x"\n', r"\[model\]: width is 'x'"),
        ("length", "[data]\nfps = 0\n", r":\d+: \[data\]: fps is 0; give a number, 1 to 240"),
        ("length", "[loss]\nx = 1\n", r"\[loss\]: unknown keys x; length has none"),
        ("length", "[data]\nframes = [1]\n", r"\[data\]: unknown keys frames"),
        ("masked", "", r"tokenizer must be given: the folder of a trained motion tokenizer \(--set data\.tokenizer="),
        ("masked", '[data]\ntokenizer = "nowhere"\n', r":\d+: tokenizer is 'nowhere', which holds no model"),
        ("masked", "[data]\ntokenizer = 3\n", r":\d+: \[data\]: tokenizer is 3; give a text"),
        ("masked", '[data]\ntokenizer = "x"\nshares = ["cmu:1"]\n', "'cmu:1' is no weight; write name=number"),
        ("masked", '[data]\ntokenizer = "x"\nshares = { cmu = 2 }\n', r"shares is \{'cmu': 2\}; give a table of names"),
        ("diffusion", "[data]\ntasks = [1]\n", "1 is no weight"),
        ("diffusion", "[data]\ntasks = { text = -1 }\n", r"tasks is \{'text': -1\}"),
        ("diffusion", "[data]\ntasks = { text = 0 }\n", "no task has a weight above 0"),
        ("diffusion", "[data]\nrates = []\n", "rates is empty"),
        ("diffusion", "[data]\nrates = [0.0]\n", r"rates is \(0\.0,\); give a list of numbers, 1 to 240"),
        ("diffusion", '[train]\ninit = "nowhere"\n', r":\d+: init is 'nowhere', which holds no model"),
        ("llm", '[data]\nmotion = "x"\n', r"\[data\]: music must be given"),
        ("tokenizer", "[model]\nwidth = 0\n", r"\[model\]: .*width is 0; give a whole number, 1 to"),
    ],
)
def test_tables_are_checked_before_anything_is_built(tmp_path, kind, tables, message):
    path = written(tmp_path, f'kind = "{kind}"\n{tables}')
    with pytest.raises(TrainingError, match=message):
        check_recipe(load_recipe(path))


def test_the_recipes_of_the_package_are_whole():
    names = shipped()
    assert {
        "lmm", "lmm-small", "m3gpt", "m3gpt-joint", "m3gpt-language", "m3gpt-motion", "m3gpt-music", "matcher", "mmm",
        "mmm-length", "mmm-masked", "mmm-tokenizer",
    } <= set(names)  # fmt: skip
    kinds = set()
    for name in names:
        found = load_training(name)
        parts = found.parts if isinstance(found, EngineRecipe) else ()
        for whole in [part.curriculum for part in parts] or [found]:
            assert isinstance(whole, Curriculum)
            for stage in whole.stages:
                kinds.add(stage.kind)
                # Folders that other trainings write.
                later = {"train.init", *(f"data.{key}" for key in ("tokenizer", "motion", "music"))}
                check_recipe(stage, later)
    assert kinds == set(TRAINERS)
    with pytest.raises(TrainingError, match="recipes that come with the package: lmm, "):
        load_training("mmn")


def test_overrides_are_typed(tmp_path):
    found = load_recipe("lmm-small", sets=["model.linear_prior=false", "data.rates=[20.0]", "model.attention=plain"])
    assert (found.model["linear_prior"], found.data["rates"], found.model["attention"]) == (False, [20.0], "plain")
    assert load_recipe("lmm-small", sets=["data.tasks.text=0.5"]).data["tasks"] == {"text": 0.5, "motion": 0.15}
    assert load_recipe("lmm-small", steps=7).train.steps == 7
    engine = load_training("mmm", sets=["masked.train.lr=1e-3"])
    assert isinstance(engine, EngineRecipe)
    assert {stage.train.lr for stage in engine.parts[1].curriculum.stages} == {1e-3}
    assert {stage.train.lr for stage in engine.parts[0].curriculum.stages} == {6e-4}
    for wrong, message in (
        ("train.lr=fast", r"--set train\.lr: \[train\]: lr is 'fast'; give a number, above 0"),
        ("mood.x=1", "--set mood.x: name a key of a table of lmm-small"),
        ("train", "write TABLE.KEY=VALUE"),
        ("train.=3", "write TABLE.KEY=VALUE"),
    ):
        with pytest.raises(TrainingError, match=message):
            load_recipe("lmm-small", sets=[wrong])
    with pytest.raises(TrainingError, match=r"--set model\.linear_prior: \[model\]: linear_prior is 'no'; give True"):
        check_recipe(load_recipe("lmm-small", sets=["model.linear_prior=no"]))
    with pytest.raises(TrainingError, match=r"name a part of mmm first, as tokenizer\.train\.lr; parts are tokenizer"):
        load_training("mmm", sets=["train.lr=1"])


def test_older_strings_and_tables_of_weights_are_the_same(tmp_path):
    old = written(tmp_path, 'kind = "diffusion"\n[data]\ntasks = ["text=0.8", "motion=0.2"]\n')
    new = written(tmp_path, 'kind = "diffusion"\n[data.tasks]\ntext = 0.8\nmotion = 0.2\n', "n.toml")
    from motionloom.training.diffusion import read

    assert read(load_recipe(old))[1] == read(load_recipe(new))[1]
    assert read(load_recipe(new))[1].tasks == {"text": 0.8, "motion": 0.2}


def test_stages_start_from_the_one_before_and_go_on_after_a_kill(store, tmp_path, monkeypatch):
    recipe = load_training(written(tmp_path, CURRICULUM))
    whole = train_all(recipe, store.path, tmp_path / "whole", accelerator="cpu")
    assert whole == tmp_path / "whole" / "model"
    first, second = (load_checkpoint(tmp_path / "whole" / name / "model") for name in ("1-codes", "2-decoder"))
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]) == (not name.startswith("decoder.")), name
    # Stopped in the second stage by who watches: the first is not trained again, and the end is the same.
    seen = []

    def watch(done, total):
        seen.append((done, total))
        if done == 7:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        train_all(recipe, store.path, tmp_path / "parts", accelerator="cpu", progress=Progress(watch))
    assert (4, 4) in seen
    assert seen[-1] == (7, 10)
    assert not (tmp_path / "parts" / "model").exists()
    trained = []
    monkeypatch.setattr(curriculum, "train", lambda *a, **k: trained.append(a[0].name) or loop.train(*a, **k))
    train_all(recipe, store.path, tmp_path / "parts", accelerator="cpu")
    assert trained == ["r/decoder"]
    for name in ("weights.safetensors", "config.json"):
        assert (tmp_path / "parts" / "model" / name).read_bytes() == (whole / name).read_bytes()
    other = load_training(written(tmp_path, CURRICULUM), sets=["train.lr=1e-5"])
    with pytest.raises(TrainingError, match="holds a run of another recipe"):
        train_all(other, store.path, tmp_path / "parts", accelerator="cpu")


def test_a_curriculum_that_is_killed_goes_on_to_the_same_bytes(store, tmp_path):
    path = written(tmp_path, CURRICULUM.replace("steps = 6", "steps = 300"))
    code = (
        "from pathlib import Path; from motionloom.training.curriculum import train_all\n"
        "from motionloom.training.recipes import load_training\n"
        f"train_all(load_training({str(path)!r}), Path({str(store.path)!r}), Path({str(tmp_path / 'run')!r}),"
        " accelerator='cpu')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run" / "2-decoder").glob("step-*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "run" / "model").exists()
    for run in ("run", "whole"):
        train_all(load_training(path), store.path, tmp_path / run, accelerator="cpu")
    weights = [(tmp_path / run / "model" / "weights.safetensors").read_bytes() for run in ("run", "whole")]
    assert weights[0] == weights[1]


def test_an_engine_is_trained_and_loaded(store, tmp_path):
    """A whole engine from one recipe: tokenizer, transformer over its tokens, length predictor."""
    written(tmp_path, CURRICULUM, "tokenizer.toml")
    written(
        tmp_path,
        'kind = "masked"\n' + TRAIN + "[model]\ncodes = 16\nwidth = 16\nheads = 2\nlayers = 1\nmax_tokens = 12\n"
        '[[stage]]\nname = "a"\n[[stage]]\nname = "b"\nmodel = { end_positions = true }\n',
        "masked.toml",
    )
    written(tmp_path, KIND + TRAIN + "[model]\nmax_tokens = 12\n", "length.toml")
    path = written(
        tmp_path,
        'engine = "mmm"\n[[part]]\nname = "tokenizer"\nrecipe = "tokenizer.toml"\n'
        '[[part]]\nname = "masked"\nrecipe = "masked.toml"\nuses = { "data.tokenizer" = "tokenizer" }\n'
        '[[part]]\nname = "length"\nrecipe = "length.toml"\n',
        "engine.toml",
    )
    done = CliRunner().invoke(
        app, ["train", str(path), "--store", str(store.path), "--run", str(tmp_path / "run"), "--accelerator", "cpu"]
    )
    assert done.exit_code == 0, done.output + repr(done.exception)
    assert f"wrote {tmp_path / 'run' / 'model'}" in done.output.replace("\n", "")
    assert json.loads((tmp_path / "run" / "model" / "engine.json").read_text()) == {"engine": "mmm", "format": 1}
    motion = load(tmp_path / "run" / "model").generate("a person walks", 1.2, seed=1)[0]
    assert motion.seconds == pytest.approx(1.2)


def test_what_the_end_needs_is_checked_before_the_first_update(store, tmp_path, monkeypatch):
    import shutil

    poor = tmp_path / "store"
    shutil.copytree(store.path, poor, ignore=shutil.ignore_patterns("features"))
    table = pq.read_table(poor / "index.parquet")
    rows = table.to_pydict()
    rows["split"] = ["train" if split == "test" else split for split in rows["split"]]
    pq.write_table(type(table).from_pydict(rows, schema=table.schema), poor / "index.parquet")
    assert not Store(poor).split("test")
    recipe = load_recipe(written(tmp_path, KIND + TRAIN))
    with pytest.raises(TrainingError, match="split 'test' has no clip that can be used; a training ends with figures"):
        loop.train(recipe, poor, tmp_path / "run", accelerator="cpu")
    with pytest.raises(TrainingError, match="split 'test' has no clip"):
        check_all(load_training("lmm"), poor)
    assert not (tmp_path / "run").exists()
    assert not (poor / "features").exists()
    # A tokenizer that is missing is told before captions are encoded, also by the recipe of the README.
    with pytest.raises(TrainingError, match="tokenizer must be given"):
        train_all(load_training("mmm-masked"), store.path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(TrainingError, match=r"training needs lightning_fabric: pip install 'motionloom\[train\]'"):
        loop.train(recipe, store.path, tmp_path / "run")


def test_a_tokenizer_of_other_codes_is_told_at_once(store, tmp_path):
    tokenizer = written(tmp_path, CURRICULUM)
    folder = train_all(load_training(tokenizer), store.path, tmp_path / "tokenizer", accelerator="cpu", threads=1)
    recipe = load_recipe("mmm-masked", stage="blocks", sets=[f"data.tokenizer={folder}"])
    with pytest.raises(TrainingError, match="the tokenizer has 1 x 16 codes, the model 4 x 512"):
        loop.train(recipe, store.path, tmp_path / "run", accelerator="cpu")
    assert not (tmp_path / "run" / "log.csv").exists()


def test_threads_are_given_back(store, tmp_path):
    recipe = load_recipe(written(tmp_path, KIND + TRAIN))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = []
        watch = Progress(lambda *_: seen.append(torch.get_num_threads()))
        loop.train(recipe, store.path, tmp_path / "run", accelerator="cpu", progress=watch)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    with pytest.raises(TrainingError, match="0 threads; give 1 to 256"):
        loop.train(recipe, store.path, tmp_path / "other", accelerator="cpu", threads=0)


@pytest.mark.parametrize("kind", sorted(TRAINERS))
def test_training_one_model_imports_one_trainer(kind):
    code = (
        "import sys\nfrom motionloom.training import curriculum\nfrom motionloom.training.registry import trainer\n"
        f"trainer({kind!r})\n"
        "print(*sorted(n for n in sys.modules if n.startswith('motionloom.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    found = set(done.stdout.split())
    trainers = set(TRAINERS.values())
    assert found & trainers == {TRAINERS[kind]}
    assert not [name for name in found if name.startswith(("motionloom.engines", "motionloom.app"))]

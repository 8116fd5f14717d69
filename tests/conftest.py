import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

settings.register_profile("motionloom", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("motionloom")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cmu_folder(tmp_path_factory):
    """A small corpus of our own in CMU's layout."""
    from corpus import write_cmu

    return write_cmu(tmp_path_factory.mktemp("raw") / "cmu")


@pytest.fixture(scope="session")
def store(cmu_folder, tmp_path_factory):
    """A store prepared from that corpus, every split with clips."""
    from motionloom.data.prepare import prepare
    from motionloom.data.store import Store

    out = tmp_path_factory.mktemp("store")
    prepare({"cmu": cmu_folder}, out, workers=1, progress=False)
    return Store(out)


@pytest.fixture(scope="session")
def scorer(store, tmp_path_factory):
    """A text-motion encoder that was hardly trained, on that store."""
    from motionloom.engines.text_motion import TextMotionScorer
    from motionloom.training.loop import train
    from motionloom.training.recipes import Recipe, TrainConfig

    options = TrainConfig(steps=6, batch=8, warmup=2, ema=0.9, precision="fp32", eval_every=6, save_every=6)
    recipe = Recipe("tiny", "matcher", options, {"width": 16, "heads": 2, "layers": 1})
    return TextMotionScorer(train(recipe, store.path, tmp_path_factory.mktemp("matcher"), accelerator="cpu"))

"""The diffusion engine's benchmarks: what they return; and, where clones are given, that both networks agree."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from make_lmm import write_lmm
from make_mmm import write_engine

from benchmarks.lmm import bench_lmm, bench_samplers
from benchmarks.lmm_official import bench_official_lmm, official_modules
from motionloom.engines.lmm.engine import LMM
from motionloom.errors import CheckpointError, RequestError
from motionloom.evaluation.text import TextOptions
from motionloom.models.diffusion.config import DiffusionConfig
from motionloom.models.diffusion.schedule import Method

CLONE, TUTEL = "MOTIONLOOM_LMM_CLONE", "MOTIONLOOM_TUTEL_CLONE"


def write_clones(folder, drawing="import clip"):
    """Folders laid out as the official ones, with modules of our own that import what those import."""
    models = folder / "lmm/mogen/models"
    for name in ("attentions", "transformers", "utils"):
        (models / name).mkdir(parents=True)
        (models / name / "__init__.py").write_text("raise ImportError('packages are not to be run')\n")
    (models / "builder.py").write_text(
        "from mmcv.cnn import MODELS\nfrom mmcv.utils import Registry\nATTENTIONS = Registry('x', parent=MODELS)\n"
    )
    (models / "attentions/efficient_attention.py").write_text("")
    (models / "attentions/art_attention.py").write_text(
        "from tutel import moe\nfrom ..builder import ATTENTIONS\n\n\n"
        "@ATTENTIONS.register_module()\nclass Art:\n    def __init__(self, size):\n        self.size = size * moe.TWO\n"
    )
    (models / "transformers/motion_transformer.py").write_text(
        f"{drawing}\nfrom mmcv.runner import BaseModule\n\n\nclass Base(BaseModule):\n    pass\n"
    )
    (models / "transformers/large_motion_model.py").write_text(
        "from mogen.models.builder import ATTENTIONS\nfrom .motion_transformer import Base\n\n\n"
        "class Large(Base):\n    def __init__(self):\n        super().__init__(init_cfg=None)\n"
        "        self.inner = ATTENTIONS.build({'type': 'Art', 'size': 3})\n"
        "        self.none = ATTENTIONS.build(None)\n"
    )
    (folder / "tutel/tutel").mkdir(parents=True)
    (folder / "tutel/tutel/__init__.py").write_text("")
    (folder / "tutel/tutel/moe.py").write_text("TWO = 2\n")
    (folder / "tutel/tutel_custom_kernel.py").write_text("")
    return folder / "lmm", folder / "tutel"


def test_clones_are_imported_without_their_packages_and_leave_nothing_behind(tmp_path):
    before, path = set(sys.modules), list(sys.path)
    with official_modules(*write_clones(tmp_path)) as code:
        made = code.Large()
        assert made.inner.size == 6
        assert made.none is None
    left = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert not left & {"mogen", "mmcv", "tutel", "clip", "tutel_custom_kernel"}
    assert sys.path == path


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(RequestError, match=r"no clone of LMM's code, mogen/models/builder.py is missing: git clone"):
        bench_official_lmm(tmp_path, tmp_path)
    clone, tutel = write_clones(tmp_path / "a", "import a_module_that_nobody_has")
    with pytest.raises(RequestError, match="cannot be imported: No module named 'a_module_that_nobody_has'"):
        bench_official_lmm(clone, tutel)
    (tutel / "tutel_custom_kernel.py").unlink()
    with pytest.raises(RequestError, match="is not built, tutel_custom_kernel is missing; run there: NO_CUDA=1"):
        bench_official_lmm(clone, tutel)
    with pytest.raises(RequestError, match=r"is no clone of tutel, tutel/moe.py is missing"):
        bench_official_lmm(clone, tmp_path)
    with pytest.raises(RequestError, match="300 frames were asked for; give 2 to 200"):
        bench_official_lmm(clone, tutel, frames=300)


def test_both_networks_agree_and_are_timed():
    clone, tutel = os.environ.get(CLONE), os.environ.get(TUTEL)
    if not clone or not tutel:
        pytest.skip(f"the official code may not be shipped; set {CLONE} and {TUTEL} to clones of it and of tutel")
    config = replace(
        DiffusionConfig.published("tiny"), part_dim=16, layers=2, condition_layers=1, experts=4, top_k=2, time_dim=64,
        text_dim=48, music_dim=32, speech_dim=32, video_dim=40,
    )  # fmt: skip
    result = bench_official_lmm(Path(clone), Path(tutel), 40, 1, 1, False, config=config)
    found = result["pass"]
    # With the published bound on experts nothing may differ; without it only routes that the bound drops.
    assert found["ours, bounded experts"]["difference"] < 1e-3
    assert all(found[name]["faster"]["cpu_s"] > 0 for name in ("ours", "ours, bounded experts"))
    assert result["50 ddim steps"]["ours"]["faster"]["cpu_s"] > 0


def test_both_samplers_are_timed_and_judged(store, scorer, tmp_path):
    engine = LMM(write_lmm(tmp_path / "lmm"))
    options = TextOptions("train", 1, 3, 2, variety=False)
    samplers: dict[str, tuple[int, Method]] = {"2 ddim steps": (2, "ddim"), "1 dpm step": (1, "dpm")}
    found = bench_samplers(engine, 1.0, 1, 0, (store, scorer, options), samplers)
    assert set(found) == {*samplers, "faster", "real"}
    assert 0 <= found["1 dpm step"]["quality"]["R-precision top 1"] <= 1
    assert found["real"]["quality"]["FID"] == pytest.approx(0.0, abs=1e-4)
    assert "quality" not in bench_samplers(engine, 1.0, 1, 0, None, samplers)["2 ddim steps"]
    with pytest.raises(CheckpointError, match="is mmm; a diffusion engine"):
        bench_lmm(str(write_engine(tmp_path / "mmm")), 1.0)

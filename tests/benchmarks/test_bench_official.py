"""The benchmark beside the official code: how a clone is imported; and, where one is given, that both agree."""

import dataclasses
import os
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.mmm import Int8Linear, as_int8
from benchmarks.mmm_official import bench_official, humanml3d_like, official_modules
from motionloom.errors import RequestError
from motionloom.models.masked.model import MaskedConfig, MaskedTransformer
from motionloom.models.tokenizers.motion import TokenizerConfig

CLONE = "MOTIONLOOM_MMM_CLONE"


def write_clone(folder: Path, drawing: str = "import plotly.graph_objects") -> Path:
    """A folder laid out as the official one, with modules of our own that import what it imports."""
    for name in ("models", "exit"):
        (folder / name).mkdir(parents=True)
    (folder / "exit/utils.py").write_text(f"{drawing}\nNAME = 'utils'\n")
    (folder / "models/quantize_cnn.py").write_text("")
    (folder / "models/vqvae.py").write_text("from exit.utils import NAME\n")
    (folder / "models/t2m_trans.py").write_text(
        "from einops import rearrange, repeat\nfrom tqdm import tqdm\nimport models.vqvae as vqvae\n"
    )
    return folder


def test_a_clone_is_imported_and_leaves_nothing_behind(tmp_path):
    before, path = set(sys.modules), list(sys.path)
    with official_modules(write_clone(tmp_path)) as code:
        assert code.vqvae.NAME == "utils"
        assert code.t2m_trans.vqvae is code.vqvae
        assert torch.equal(code.t2m_trans.rearrange(torch.ones(2, 3, 1), "... 1 -> ..."), torch.ones(2, 3))
    left = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert not left & {"models", "exit", "utils", "plotly"}
    assert sys.path == path


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(RequestError, match=r"no clone of MMM's code, models/vqvae.py is missing: git clone https://"):
        bench_official(tmp_path)
    write_clone(tmp_path, "import a_module_that_nobody_has")
    with pytest.raises(RequestError, match="cannot be imported: No module named 'a_module_that_nobody_has'"):
        bench_official(tmp_path)
    with pytest.raises(RequestError, match="32 clips of 198 frames"):
        bench_official(tmp_path, frames=198)


def test_lengths_are_spread_as_the_dataset_s():
    lengths = humanml3d_like(32, 0)
    assert (lengths.min(), lengths.max()) == (40, 196)
    assert (lengths % 4 == 0).all()
    assert 7.0 < lengths.float().mean() / 20 < 7.3
    assert (lengths == 196).sum() == 11


def test_int8_is_close_and_leaves_the_original_alone():
    torch.manual_seed(0)
    linear, x = torch.nn.Linear(64, 48), torch.randn(5, 3, 64)
    want = linear(x)
    assert ((Int8Linear(linear)(x) - want).std() / want.std()).item() < 0.03
    network = MaskedTransformer.tiny_published()
    kinds = [type(module) for module in as_int8(network).modules()]
    assert torch.nn.Linear not in kinds
    assert Int8Linear in kinds
    assert Int8Linear not in [type(module) for module in network.modules()]


def test_both_agree_and_are_timed():
    clone = os.environ.get(CLONE)
    if not clone:
        pytest.skip(f"the official code may not be shipped; set {CLONE} to a clone of it")
    masked = dataclasses.replace(
        MaskedConfig.published(codes=64, code_dim=8), width=64, heads=4, layers=4, sentence_dim=16, word_dim=16
    )
    tokenizer = TokenizerConfig(width=32, codes=64, code_dim=8, reset="published")
    result = bench_official(Path(clone), clips=5, repeats=1, threads=1, bf16=True, masked=masked, tokenizer=tokenizer)
    for case in ("one clip", "batch, full length", "batch, lengths like HumanML3D's"):
        assert result[case]["fp32"]["equal_tokens"] == 1
        assert result[case]["fp32"]["largest_difference"] < 1e-5
        assert all(result[case][kind]["faster"]["cpu_s"] > 0 for kind in ("fp32", "bf16", "int8"))

"""LMM's official denoiser: imported, opened, made to move, exported."""

from pathlib import Path

import numpy as np
import pytest
import torch
from imported import official

import motionloom as ml
from motionloom.conditions.text import TextFeatures
from motionloom.engines.importing import ImportOptions, import_official
from motionloom.engines.lmm.engine import LMM
from motionloom.engines.registry import engine_of
from motionloom.errors import CheckpointError, RequestError
from motionloom.motion.features.motionverse import encode_motionverse
from motionloom.motion.features.motionverse_layout import MotionVerseOptions


class Words:
    """A text tower of the fixture's sizes: every word its own vector."""

    name, sentence_dim, word_dim, max_pieces = "imagebind-test", 48, 48, 75

    def __call__(self, texts: list[str]) -> TextFeatures:
        rows = [[torch.full((48,), float(len(word)) / 5).sin() for word in text.split()] for text in texts]
        words = torch.nn.utils.rnn.pad_sequence([torch.stack(row) for row in rows], batch_first=True)
        valid = torch.arange(words.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
        return TextFeatures(words.mean(1), words, valid)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import make

    base = tmp_path_factory.mktemp("lmm")
    torch.save({"state_dict": official("lmm_micro")}, base / "latest.pth")
    found = encode_motionverse(make.motion(frames=60, seed=3), options=MotionVerseOptions.published())
    np.save(base / "mean.npy", found.features.mean(0).numpy())
    np.save(base / "std.npy", np.full(669, 0.02, np.float32))
    options = ImportOptions("see its authors", mean=base / "mean.npy", std=base / "std.npy", top_k=2)
    got = import_official(base / "latest.pth", "diffusion", out=base / "out", options=options)
    assert (got.engine, engine_of(base / "out")) == ("lmm", "lmm")
    return base


def test_a_sentence_becomes_a_motion_and_a_bvh_file(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    engine = ml.load(folder / "out")
    assert isinstance(engine, LMM)
    with pytest.raises(CheckpointError, match="reads sentences by ImageBind: name the folder"):
        engine.generate("a person waves", 2.0)
    assert len(engine.generate("", 2.0, steps=3)[0]) == 40
    monkeypatch.setattr(type(engine.denoiser), "text", property(lambda self: Words()))
    (motion,) = engine.generate("a person waves", 2.0, seed=3, steps=4)
    assert (len(motion), motion.fps, len(motion.skeleton)) == (40, 20.0, 22)
    assert torch.isfinite(motion.positions).all()
    assert motion.provenance.licence == "see its authors"
    motion.save(tmp_path / "a.bvh")
    assert len(ml.load_motion(tmp_path / "a.bvh")) == 40
    assert torch.equal(engine.generate("a person waves", 2.0, seed=3, steps=4)[0].rotations, motion.rotations)
    assert not torch.equal(engine.generate("she jumped over", 2.0, seed=3, steps=4)[0].rotations, motion.rotations)
    assert 0.5 < engine.generate("a person waves", steps=2)[0].seconds < 10
    with pytest.raises(RequestError, match="does not serve known frames"):
        engine.predict(motion, 1.0, text="a person waves")


def test_statistics_must_be_given_and_fit(folder: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match="give --mean and --std"):
        import_official(folder / "latest.pth", "diffusion", out=tmp_path, options=ImportOptions("x"))
    np.save(tmp_path / "short.npy", np.ones(5))
    options = ImportOptions("x", mean=tmp_path / "short.npy", std=tmp_path / "short.npy", top_k=2)
    with pytest.raises(CheckpointError, match="statistics of another data set"):
        import_official(folder / "latest.pth", "diffusion", out=tmp_path, options=options)

"""MMM's official transformer: imported, opened, made to move, exported."""

from pathlib import Path

import make
import pytest
import torch
from imported import facts, official, write_statistics
from towers import write_clip

import motionloom as ml
from motionloom.conditions.clip import FOLDER
from motionloom.engines.importing import ImportOptions, import_official
from motionloom.engines.mmm.engine import MMM
from motionloom.engines.registry import engine_of
from motionloom.errors import CheckpointError, RequestError

WAVE = "a person waves"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("mmm")
    torch.save({"trans": official("mmm_tiny_trans")}, base / "net_last.pth")
    mean, std = write_statistics(base)
    clip = write_clip(base / "clip", pieces=77, sentence=512, words=512)
    heads = int(facts("mmm_tiny_trans")["n_head"])
    options = ImportOptions("CC BY-NC-ND 4.0", mean=mean, std=std, text_encoder=clip, heads=heads)
    found = import_official(base / "net_last.pth", "masked", out=base / "out", options=options)
    assert (found.engine, engine_of(base / "out")) == ("mmm", "mmm")
    return base


@pytest.fixture
def engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> MMM:
    monkeypatch.setenv(FOLDER, str(folder / "clip"))
    loaded = ml.load(folder / "out")
    assert isinstance(loaded, MMM)
    return loaded


def test_a_sentence_becomes_a_motion_and_a_bvh_file(engine: MMM, tmp_path: Path):
    (motion,) = engine.generate(WAVE, 2.0, seed=3)
    assert (len(motion), motion.fps, len(motion.skeleton)) == (40, 20.0, 22)
    assert torch.isfinite(motion.positions).all()
    # The weights forbid derivatives; the bundled length predictor and a text tower of unknown terms took part.
    assert motion.provenance.licence == "not given (CLIP text tower)"
    motion.save(tmp_path / "a.bvh")
    assert len(ml.load_motion(tmp_path / "a.bvh")) == 40
    again, other = engine.generate(WAVE, 2.0, seed=3, count=2)
    assert torch.equal(again.rotations, motion.rotations)
    assert not torch.equal(other.rotations, motion.rotations)
    told = engine.tokens.read([WAVE, "a person sits"])
    assert told.words.shape == (2, 77, 512)
    assert not torch.equal(told.sentence[0], told.sentence[1])


def test_a_length_comes_from_the_bundled_predictor(engine: MMM):
    assert 0.6 <= engine.generate(WAVE, seed=1)[0].seconds <= 9.8


def test_known_frames_stay_and_lines_become_a_story(engine: MMM):
    source = make.motion(frames=80, seed=5)
    keep = ml.frames(0, 1.2) | ml.frames(2.8, 4.0)
    (answer,) = engine.complete(source, keep, text=WAVE, seed=1)
    mask = keep.mask(80, 20.0)[:, 0]
    assert torch.equal(answer.rotations[mask], source.rotations[mask])
    assert not torch.equal(answer.rotations[~mask], source.rotations[~mask])
    from motionloom.engines.request import Segment

    (told,) = engine.story([Segment(WAVE, 2.0), Segment("a person walks", 2.0)])
    assert len(told) == 80


def test_what_the_published_model_lacks_is_refused(engine: MMM, folder: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(RequestError, match="does not serve unconditioned"):
        engine.generate("", 2.0)
    with pytest.raises(RequestError, match=r"guidance is 2\.0; the published sampler of this model has none"):
        engine.generate(WAVE, 2.0, guidance=2.0)
    monkeypatch.delenv(FOLDER)
    with pytest.raises(CheckpointError, match=f"environment variable {FOLDER}"):
        ml.load(folder / "out").generate("a person jumps", 2.0)


def test_an_import_without_statistics_or_with_another_tower_says_so(folder: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match="give --mean and --std"):
        import_official(folder / "net_last.pth", "masked", out=tmp_path / "out", options=ImportOptions("x"))
    options = ImportOptions(
        "x", mean=folder / "mean.npy", std=folder / "std.npy", text_encoder=write_clip(tmp_path / "clip"), heads=4
    )
    with pytest.raises(CheckpointError, match="give another --text-encoder"):
        import_official(folder / "net_last.pth", "masked", out=tmp_path / "out", options=options)
    # Without a tower any CLIP of the right sizes will do.
    plain = ImportOptions("x", mean=folder / "mean.npy", std=folder / "std.npy", heads=4)
    import_official(folder / "net_last.pth", "masked", out=tmp_path / "out", options=plain)
    assert '"text_encoder": "clip"' in (tmp_path / "out" / "engine.json").read_text()

"""MoMask from its official folder to motions: imported, generated, filled in between, exported."""

from pathlib import Path

import make
import pytest
import torch
from imported import official, write_statistics
from towers import write_clip

import motionloom as ml
from motionloom.conditions.clip import FOLDER
from motionloom.engines.importing import ImportOptions, import_official
from motionloom.engines.momask.engine import MoMask
from motionloom.errors import CheckpointError, RequestError
from motionloom.licences import MIT

WAVE = "a person waves"


def folder_of_the_release(folder: Path) -> Path:
    """The published folder layout with the weights of the fixture."""
    state = official("momask_tiny")
    parts = {
        prefix: {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        for prefix in ("vq.", "mask.", "res.", "length.")
    }
    places = {
        "rvq": ("net_best_fid.tar", {"vq_model": parts["vq."], "ep": 3}, "vq_act: relu\nvq_norm: None"),
        "mtrans": ("latest.tar", {"t2m_transformer": parts["mask."], "ep": 3}, "n_heads: 6\nvq_name: rvq"),
        "rtrans": (
            "net_best_fid.tar",
            {"res_transformer": parts["res."], "ep": 3},
            "n_heads: 6\nvq_name: rvq\nshare_weight: True",
        ),
        "length_estimator": ("finest.tar", {"estimator": parts["length."], "epoch": 3}, ""),
    }
    for name, (file, content, told) in places.items():
        (folder / name / "model").mkdir(parents=True)
        torch.save(content, folder / name / "model" / file)
        if told:
            (folder / name / "opt.txt").write_text(
                f"------------ Options -------------\nname: {name}\n{told}\n-------------- End ----------------\n"
            )
    write_statistics(folder / "rvq" / "meta")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("momask")
    source = folder_of_the_release(base / "t2m")
    clip = write_clip(base / "clip", sentence=512)
    found = import_official(source, "momask", out=base / "out", options=ImportOptions("MIT", text_encoder=clip))
    assert (found.engine, found.missing) == ("momask", ())
    assert [path.name for path in found.folders] == ["tokenizer", "base", "residual", "length"]
    return base


@pytest.fixture
def engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> MoMask:
    monkeypatch.setenv(FOLDER, str(folder / "clip"))
    loaded = ml.load(folder / "out")
    assert isinstance(loaded, MoMask)
    return loaded


def test_a_sentence_becomes_a_motion_and_files(engine: MoMask, tmp_path: Path):
    (motion,) = engine.generate(WAVE, 2.0, seed=3)
    assert (len(motion), motion.fps, len(motion.skeleton)) == (40, 20.0, 22)
    assert torch.isfinite(motion.positions).all()
    assert motion.provenance.engine.startswith("momask ")
    assert (motion.provenance.text, motion.provenance.seed) == (WAVE, 3)
    for suffix in (".bvh", ".glb", ".npz"):
        motion.save(tmp_path / f"a{suffix}")
        assert (tmp_path / f"a{suffix}").stat().st_size > 1000
    assert len(ml.load_motion(tmp_path / "a.bvh")) == 40
    # The licence of the weights is MIT, that of the text tower was not given: the stricter one counts.
    assert engine.checkpoints["base"].licence == "MIT"
    assert MIT in engine.licences
    assert motion.provenance.licence == "not given (CLIP text tower)"


def test_an_answer_depends_on_its_seed_and_sentence_and_on_nothing_else(engine: MoMask):
    pair = engine.generate(WAVE, 1.5, seed=3, count=2)
    again = engine.generate(WAVE, 1.5, seed=3)[0]
    assert torch.equal(pair[0].rotations, again.rotations)
    assert not torch.equal(pair[0].rotations, pair[1].rotations)
    assert not torch.equal(engine.generate("a person walks", 1.5, seed=3)[0].rotations, again.rotations)
    assert not torch.equal(engine.generate("", 1.5, seed=3)[0].rotations, again.rotations)
    plain = engine.generate(WAVE, 1.5, seed=3, guidance=1.0, residual_guidance=1.0)[0]
    assert not torch.equal(plain.rotations, again.rotations)
    cold = [engine.generate(WAVE, 1.5, seed=seed, temperature=0.0)[0] for seed in (1, 2)]
    assert torch.equal(cold[0].rotations, cold[1].rotations)


def test_a_length_is_drawn_when_none_is_given(engine: MoMask):
    lengths = {len(engine.generate(WAVE, seed=seed, steps=1)[0]) for seed in range(6)}
    assert len(lengths) > 1
    assert all(length % 4 == 0 and 12 <= length <= 196 for length in lengths)
    with pytest.raises(RequestError, match=r"makes 0\.6 to 9\.8 s in one piece"):
        engine.generate(WAVE, 11.0)
    assert len(engine.generate(WAVE, 0.65)[0]) == 13


@pytest.mark.parametrize("fps", [20.0, 30.0])
def test_frames_between_known_ones_are_made_and_known_ones_stay(engine: MoMask, fps: float):
    source = make.motion(frames=round(4 * fps), seed=5, fps=fps)
    keep = ml.frames(0, 1.2) | ml.frames(2.8, 4.0)
    (answer,) = engine.complete(source, keep, text=WAVE, seed=1)
    mask = keep.mask(len(source), fps)[:, 0]
    assert torch.equal(answer.rotations[mask], source.rotations[mask])
    assert torch.equal(answer.root[mask], source.root[mask])
    assert not torch.equal(answer.rotations[~mask], source.rotations[~mask])
    assert (len(answer), answer.fps) == (len(source), fps)
    other = source.with_(rotations=torch.where(mask[:, None, None], source.rotations, source.rotations.flip(0)))
    (same,) = engine.complete(other, keep, text=WAVE, seed=1)
    apart = (same.rotations - answer.rotations).abs().amax((1, 2))
    assert float(apart.max()) < 1e-5, f"what was to be replaced changed what was made: {apart.nonzero()[:, 0].tolist()}"


def test_a_motion_is_continued(engine: MoMask):
    source = make.motion(frames=50, seed=2)
    (answer,) = engine.predict(source, 2.0, text=WAVE)
    assert len(answer) == 90
    assert torch.equal(answer.rotations[:50], source.rotations)
    with pytest.raises(RequestError, match=r"at most 9\.8 s in one piece"):
        engine.predict(source, 12.0)
    with pytest.raises(RequestError, match="does not serve known parts"):
        engine.complete(source, ml.parts("legs"))


def test_progress_counts_every_pass(engine: MoMask):
    from motionloom.progress import Progress

    seen: list[tuple[int, int]] = []
    engine.generate(WAVE, 1.5, count=2, steps=4, progress=Progress(lambda done, total: seen.append((done, total))))
    assert seen[-1] == (2 * (4 + 2), 2 * (4 + 2))


def test_without_its_text_tower_one_line_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    engine = ml.load(folder / "out")
    monkeypatch.delenv(FOLDER, raising=False)
    with pytest.raises(CheckpointError, match=f"name the folder of its weights in the environment variable {FOLDER}"):
        engine.generate(WAVE, 1.5)
    # No sentence needs no tower.
    assert len(engine.generate("", 1.5)[0]) == 30
    monkeypatch.setenv(FOLDER, str(write_clip(tmp_path / "other")))
    with pytest.raises(CheckpointError, match="reads sentences by clip-"):
        engine.generate(WAVE, 1.5)


def test_what_is_not_the_official_folder_is_refused(tmp_path: Path):
    source, options = folder_of_the_release(tmp_path / "t2m"), ImportOptions("MIT")
    with pytest.raises(CheckpointError, match="is no folder"):
        import_official(source / "rvq" / "opt.txt", "momask", out=tmp_path / "out", options=options)
    (source / "rtrans" / "opt.txt").rename(source / "rtrans" / "opt.bak")
    with pytest.raises(CheckpointError, match="must hold one residual transformer"):
        import_official(source, "momask", out=tmp_path / "out", options=options)
    (source / "rtrans" / "opt.bak").rename(source / "rtrans" / "opt.txt")
    tokenizer = source / "rvq" / "model" / "net_best_fid.tar"
    state = torch.load(tokenizer, weights_only=True)["vq_model"]
    for change, words in (
        ({"quantizer.layers.0.codebook": torch.zeros(())}, "no MoMask tokenizer"),
        ({"quantizer.layers.1.codebook": torch.zeros(5, 16)}, "no MoMask tokenizer"),
        ({"odd": torch.zeros(1)}, "unknown keys"),
        ({"encoder.model.0.weight": torch.zeros(16, 200, 3)}, "263"),
    ):
        torch.save({"vq_model": state | change}, tokenizer)
        with pytest.raises(CheckpointError, match=words):
            import_official(source, "momask", out=tmp_path / "out", options=options)
    torch.save({"vq_model": state}, tokenizer)
    (source / "length_estimator" / "model" / "finest.tar").unlink()
    found = import_official(source, "momask", out=tmp_path / "out", options=options)
    assert "--seconds" in found.missing[0]
    with pytest.raises(RequestError, match="has no length estimator: give seconds"):
        ml.load(tmp_path / "out").generate("")
    with pytest.raises(CheckpointError, match="MoMask has no bundled weights: import"):
        ml.load("momask")

"""Laws of the text-to-motion evaluator and of what stands around it."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.data.loader import Stats
from motionloom.errors import CheckpointError, LayoutError, RequestError
from motionloom.models.checkpoint import load_checkpoint, save_checkpoint
from motionloom.models.importing import import_official
from motionloom.models.text_motion.glove import GloVe
from motionloom.models.text_motion.guo import Evaluator, EvaluatorConfig, PublishedEvaluator, renormalise

seeds = st.integers(0, 10**6)


def evaluator() -> Evaluator:
    torch.manual_seed(0)
    return Evaluator.tiny().eval()


def stats(seed: int, size: int = 263) -> Stats:
    generator = torch.Generator().manual_seed(seed)
    return Stats(torch.randn(size, generator=generator), 0.1 + torch.rand(size, generator=generator))


def vocabulary() -> GloVe:
    words = ["unk", "sos", "eos", "a", "person", "walk"]
    vectors = torch.randn(len(words), 300, generator=torch.Generator().manual_seed(1))
    return GloVe({word: row for row, word in enumerate(words)}, vectors)


def official_state(model: Evaluator) -> dict[str, dict[str, torch.Tensor]]:
    """Its weights as the official file holds them."""
    names = {
        "movement.first": ("movement_encoder", "main.0"),
        "movement.second": ("movement_encoder", "main.3"),
        "movement.out": ("movement_encoder", "out_net"),
        "tag": ("text_encoder", "pos_emb"),
    }
    for part in ("motion", "text"):
        names |= {f"{part}.embed": (f"{part}_encoder", "input_emb"), f"{part}.gru": (f"{part}_encoder", "gru")}
        names |= {f"{part}.head.{layer}": (f"{part}_encoder", f"output_net.{layer}") for layer in (0, 1, 3)}
    found: dict[str, dict[str, torch.Tensor]] = {"movement_encoder": {}, "text_encoder": {}, "motion_encoder": {}}
    for key, value in model.state_dict().items():
        module, _, leaf = key.rpartition(".")
        if leaf == "start":
            found[f"{module}_encoder"]["hidden"] = value
        else:
            part, official = names[module]
            found[part][f"{official}.{leaf}"] = value
    return found


def parameters(module: torch.nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


@pytest.mark.parametrize(("features", "movement"), [(263, 1_842_688), (251, 1_818_112)])
def test_the_published_sizes_have_the_published_counts(features: int, movement: int):
    with torch.device("meta"):
        model = Evaluator(EvaluatorConfig(features=features))
    assert parameters(model.movement) == movement
    assert parameters(model.motion) == 15_747_584
    assert parameters(model.text) + parameters(model.tag) == 4_100_288


@torch.no_grad()
@settings(max_examples=10)
@given(frames=st.lists(st.integers(4, 196), min_size=1, max_size=5), seed=seeds)
def test_an_embedding_depends_on_its_own_clip_only(frames: list[int], seed: int):
    model, lengths = evaluator(), torch.tensor(frames)
    clips = torch.randn(len(frames), max(frames), 263, generator=torch.Generator().manual_seed(seed))
    together = model.embed_motions(clips, lengths)
    other = clips.clone()
    for row, length in enumerate(frames):
        other[row, length:] = torch.nan
    torch.testing.assert_close(model.embed_motions(other, lengths), together)
    alone = model.embed_motions(clips[-1:, : frames[-1]], lengths[-1:])
    torch.testing.assert_close(alone[0], together[-1], atol=1e-5, rtol=1e-4)


def test_foot_contacts_are_not_looked_at():
    model, clip = evaluator(), torch.randn(1, 40, 263, generator=torch.Generator().manual_seed(0))
    changed = clip.clone()
    changed[..., -4:] += 1.0
    lengths = torch.tensor([40])
    assert torch.equal(model.embed_motions(clip, lengths), model.embed_motions(changed, lengths))
    changed[..., -5] += 1.0
    assert not torch.equal(model.embed_motions(clip, lengths), model.embed_motions(changed, lengths))


@given(seed=seeds)
def test_renormalising_leads_to_the_others_own_normalisation(seed: int):
    raw = torch.randn(7, 263, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    model, judge = stats(seed + 1), stats(seed + 2)
    got = renormalise(model.normalize(raw), model, judge)
    torch.testing.assert_close(got, judge.normalize(raw))
    torch.testing.assert_close(renormalise(got, judge, model), model.normalize(raw))


def test_renormalising_by_hand():
    a, b = Stats(torch.tensor([1.0]), torch.tensor([2.0])), Stats(torch.tensor([3.0]), torch.tensor([4.0]))
    assert float(renormalise(torch.tensor([5.0]), a, b)) == 2.0  # 5 * 2 + 1 = 11; (11 - 3) / 4 = 2


@torch.no_grad()
def test_raw_clips_and_captions_go_in_whole():
    model, own = evaluator(), stats(3)
    judge = PublishedEvaluator(model, own, vocabulary())
    clips = [torch.randn(length, 263, generator=torch.Generator().manual_seed(length)) for length in (60, 24)]
    got = judge.motions(clips)
    alone = model.embed_motions(own.normalize(clips[1])[None], torch.tensor([24]))
    torch.testing.assert_close(got[1], alone[0], atol=1e-5, rtol=1e-4)
    texts = judge.captions([["a/DET", "person/NOUN", "walk/VERB"], ["walk/NOUN"]])
    torch.testing.assert_close(judge.captions([["walk/VERB"]])[0], texts[1], atol=1e-5, rtol=1e-4)


def test_the_official_file_becomes_a_checkpoint(tmp_path: Path):
    model, own = evaluator(), stats(0)
    np.save(tmp_path / "mean.npy", own.mean.numpy())
    np.save(tmp_path / "std.npy", own.std.numpy())
    optimiser = {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    torch.save({**official_state(model), "epoch": 9, "opt_motion_encoder": optimiser}, tmp_path / "finest.tar")
    files = tmp_path / "mean.npy", tmp_path / "std.npy"
    found = import_official(tmp_path / "finest.tar", "evaluator", *files)
    save_checkpoint(tmp_path / "out", found.models["evaluator"], found.stats, {}, "see its authors", "")
    loaded = load_checkpoint(tmp_path / "out")
    assert loaded.kind == "evaluator"
    assert torch.equal(loaded.stats["std"], own.std)
    assert loaded.model.config == model.config  # type: ignore[union-attr]
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value), key


def test_wrong_official_files_are_refused(tmp_path: Path):
    state = official_state(evaluator())
    np.save(tmp_path / "mean.npy", np.zeros(263))
    np.save(tmp_path / "std.npy", np.ones(263))
    files = tmp_path / "mean.npy", tmp_path / "std.npy"
    torch.save({**state, "args": argparse.Namespace(width=1)}, tmp_path / "args.tar")
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        import_official(tmp_path / "args.tar", "evaluator", *files)
    torch.save({"net": {"a.weight": torch.zeros(1)}}, tmp_path / "other.tar")
    with pytest.raises(CheckpointError, match="this is no official text-to-motion evaluator: it has no 'movement_enc"):
        import_official(tmp_path / "other.tar", "evaluator", *files)
    state["text_encoder"]["odd.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "odd.tar")
    with pytest.raises(CheckpointError, match=r"unknown keys in the official evaluator: text_encoder\.odd\.weight"):
        import_official(tmp_path / "odd.tar", "evaluator", *files)
    np.save(tmp_path / "mean.npy", np.zeros(251))
    del state["text_encoder"]["odd.weight"]
    torch.save(state, tmp_path / "fine.tar")
    with pytest.raises(CheckpointError, match=r"\[251, 263\] numbers, the model 263 features"):
        import_official(tmp_path / "fine.tar", "evaluator", *files)


def test_errors_say_what_to_do():
    model, clips = evaluator(), torch.zeros(2, 196, 263)
    with pytest.raises(LayoutError, match="the clips have 251 features, the evaluator reads 263"):
        model.embed_motions(clips[..., :251], torch.tensor([40, 40]))
    with pytest.raises(RequestError, match=r"2 lengths from 3 to 196 frames were given for 2 clips; one of 4\.\.196"):
        model.embed_motions(clips, torch.tensor([3, 196]))
    with pytest.raises(RequestError, match=r"from 200 to 200 frames"):
        model.embed_motions(torch.zeros(1, 220, 263), torch.tensor([200]))
    with pytest.raises(RequestError, match=r"0 to 2 words; they must be in 1\.\.22"):
        model.embed_texts(torch.zeros(2, 22, 300), torch.zeros(2, 22, 15), torch.tensor([0, 2]))
    with pytest.raises(LayoutError, match=r"\(251, 251, 263\) numbers a frame: they are of different layouts"):
        renormalise(torch.zeros(3, 251), stats(0, 251), stats(0))
    with pytest.raises(CheckpointError, match=r"have \(251, 300\) numbers; this evaluator needs \(263, 300\)"):
        PublishedEvaluator(model, stats(0, 251), vocabulary())
    with pytest.raises(LayoutError, match="max_frames is 198"):
        EvaluatorConfig(max_frames=198)
    judge = PublishedEvaluator(model, stats(0), vocabulary())
    with pytest.raises(LayoutError, match="a clip has 251 features"):
        judge.motions([torch.zeros(40, 251)])
    with pytest.raises(RequestError, match="there are no clips"):
        judge.motions([])

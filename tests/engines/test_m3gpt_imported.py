"""An M3GPT engine from official files: a T5 directory, a T2M-GPT tokenizer, Jukebox's codes; generated and exported."""

from pathlib import Path

import pytest
import torch
from imported import official, write_statistics

import motionloom as ml
from motionloom.engines.importing import ImportOptions, import_official
from motionloom.engines.m3gpt.engine import M3GPT
from motionloom.errors import CheckpointError
from motionloom.models.language.model import MotionLM, MotionLMConfig
from motionloom.models.language.vocabulary import train_pieces
from motionloom.models.tokenizers.music import MusicTokenizer

TEXTS = ["a person walks forward and waves", "someone dances to the music", "what is it?"]


def write_t5(folder: Path, motion: int, music: int) -> MotionLM:
    """A directory as M3GPT's release would write it: added pieces for codes and brackets behind those of text."""
    from transformers import PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = MotionLMConfig(
        "t5", train_pieces(TEXTS, 300), "<pad>", "</s>", motion_codes=motion, music_codes=music, width=32, mlp=48,
        layers=1, decoder_layers=1, heads=2, kv_heads=2, head_dim=8, tied=False,
    )  # fmt: skip
    donor = MotionLM(config)
    donor.network.save_pretrained(folder)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=donor.pieces.tokenizer, eos_token="</s>", pad_token="<pad>", unk_token=None
    )
    fast.add_tokens([f"<motion_id_{code}>" for code in range(motion + 3)])
    fast.add_tokens([f"<audio_id_{code}>" for code in range(music + 3)])
    fast.save_pretrained(folder)
    return donor


def write_jukebox(path: Path) -> MusicTokenizer:
    """A top level in Jukebox's names."""
    torch.manual_seed(1)
    model = MusicTokenizer.tiny_published()
    torch.nn.init.normal_(model.quantizer.codebook)
    state, groups = {}, model.config.groups
    for key, value in model.state_dict().items():
        part, _, rest = key.partition(".")
        if part == "out":
            state[f"decoders.2.out.{rest}"] = value
        if part not in ("encoder", "decoder"):
            continue
        stage, place, *inner = rest.split(".")
        leaf, block = inner[-1], inner[:-1]
        if part == "encoder":
            last = int(place) == 2 * groups[int(stage)]
            where = f"encoders.2.level_blocks.{stage}.model."
            where += str(groups[int(stage)]) if last else f"{int(place) // 2}.{int(place) % 2}"
        else:
            theirs = len(groups) - 1 - int(stage)
            where = f"decoders.2.level_blocks.{theirs}.model."
            where += "0" if place == "0" else f"{(int(place) + 1) // 2}.{(int(place) + 1) % 2}"
        if block:
            where += f".model.{block[0]}.model.{1 if block[1] == 'conv1' else 3}"
        state[f"{where}.{leaf}"] = value
    state["bottleneck.level_blocks.2.k"] = model.quantizer.codebook
    torch.save({"model": state}, path)
    return model


@pytest.mark.parametrize("fps", [20.0, 30.0])
def test_three_imports_make_an_engine_that_writes_motions(tmp_path: Path, fps: float):
    state = official("mmm_tiny_vqvae")
    codes = len(state["vqvae.quantizer.codebook"])
    torch.save({"net": state}, tmp_path / "net_last.pth")
    music = write_jukebox(tmp_path / "prior_level_2.pth.tar")
    donor = write_t5(tmp_path / "t5", codes, music.config.codes)
    mean, std = write_statistics(tmp_path)
    options = ImportOptions("see its authors", mean=mean, std=std, fps=fps)
    out = tmp_path / "out"
    first = import_official(tmp_path / "net_last.pth", "tokenizer", out=out, options=options)
    assert (first.engine, len(first.missing)) == ("", 2)
    assert any("--kind language" in line for line in first.missing)
    second = import_official(tmp_path / "prior_level_2.pth.tar", "music", out=out, options=options)
    assert len(second.missing) == 1
    third = import_official(tmp_path / "t5", "language", out=out, options=options)
    assert (third.engine, third.missing) == ("m3gpt", ())
    engine = ml.load(out)
    assert isinstance(engine, M3GPT)
    # Every row is the official one, those of codes too.
    table = donor.network.get_input_embeddings().weight
    assert torch.equal(engine.model.language.network.get_input_embeddings().weight, table)
    assert engine.model.language.vocabulary.motion == codes
    (motion,) = engine.generate("a person waves", 2.0, seed=3)
    assert (motion.fps, len(motion)) == (fps, round(2 * fps))
    assert torch.isfinite(motion.positions).all()
    motion.save(tmp_path / "a.bvh")
    assert len(ml.load_motion(tmp_path / "a.bvh")) == len(motion)
    (longer,) = engine.predict(motion, 1.0)
    assert torch.equal(longer.rotations[: len(motion)], motion.rotations)
    assert len(longer) == round(3 * fps)


def test_parts_that_do_not_fit_are_refused(tmp_path: Path):
    state = official("mmm_tiny_vqvae")
    torch.save({"net": state}, tmp_path / "net_last.pth")
    music = write_jukebox(tmp_path / "music.pth")
    mean, std = write_statistics(tmp_path)
    options = ImportOptions("x", mean=mean, std=std)
    write_t5(tmp_path / "t5", 7, music.config.codes)
    for source, kind in (("net_last.pth", "tokenizer"), ("music.pth", "music")):
        import_official(tmp_path / source, kind, out=tmp_path / "out", options=options)
    with pytest.raises(CheckpointError, match="they were not trained together"):
        import_official(tmp_path / "t5", "language", out=tmp_path / "out", options=options)
    with pytest.raises(CheckpointError, match="has no state dict under 'model'"):
        import_official(tmp_path / "net_last.pth", "music", out=tmp_path / "out", options=options)
    with pytest.raises(CheckpointError, match="is no folder"):
        import_official(tmp_path / "net_last.pth", "language", out=tmp_path / "out", options=options)

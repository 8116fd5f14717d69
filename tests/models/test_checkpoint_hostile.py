"""Checkpoints that anybody may have written: one line of refusal, before anything large is built."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from motionloom.errors import CheckpointError
from motionloom.models import MODELS
from motionloom.models.checkpoint import load_checkpoint, save_checkpoint
from motionloom.models.diffusion.model import DiffusionTransformer
from motionloom.models.importing import import_official, read_official
from motionloom.models.language.model import MotionLM
from motionloom.models.length import LengthPredictor
from motionloom.models.masked.model import MaskedTransformer
from motionloom.models.tokenizers.motion import MotionTokenizer

BAD: list[tuple[type, dict[str, Any], str]] = [
    (LengthPredictor, {"width": 200000}, "2 to 16384"),
    (LengthPredictor, {"width": 10**12}, "2 to 16384"),
    (LengthPredictor, {"width": 32.0}, "a whole number"),
    (LengthPredictor, {"dropout": "0.1"}, "a number"),
    (LengthPredictor, {"dropout": float("nan")}, "a number, 0 to 1"),
    (MaskedTransformer, {"layers": 10**9}, "1 to 256"),
    (MaskedTransformer, {"layers": 200}, "does not fit a masked"),
    (MaskedTransformer, {"max_tokens": 10**9}, "1 to 65536"),
    (MaskedTransformer, {"max_tokens": 65536, "width": 16384, "heads": 4}, "does not fit a masked"),
    (MaskedTransformer, {"heads": 0}, "1 to 1024"),
    (MaskedTransformer, {"embedding": "x" * 10000}, "embedding is"),
    (MotionTokenizer, {"levels": 10**6}, "1 to 8"),
    (DiffusionTransformer, {"experts": 10**6}, "1 to 1024"),
    (MotionLM, {"motion_codes": 10**9}, "1 to 1.04858e"),
]


def saved(folder: Path, kind: type) -> dict[str, Any]:
    save_checkpoint(folder, kind.tiny(), {}, {}, "CC0", "# A card\n")
    return json.loads((folder / "config.json").read_text())


def refused(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


@pytest.mark.parametrize(("kind", "change", "words"), BAD, ids=lambda value: str(value)[:40])
def test_sizes_out_of_range_are_refused(tmp_path: Path, kind: type, change: dict[str, Any], words: str):
    head = saved(tmp_path / "c", kind)
    (tmp_path / "c" / "config.json").write_text(json.dumps(head | {"config": head["config"] | change}))
    assert words in refused(tmp_path / "c")


@pytest.mark.parametrize(
    "text",
    [b"\xff\xfe\x00", b"[1]", b"3", b"", b'{"kind": ', b"[" * 100000, b'{"kind": ["length"]}', b'{"kind": {}}'],
    ids=lambda text: text[:12].decode("latin1"),
)
def test_a_config_that_is_none_is_refused(tmp_path: Path, text: bytes):
    saved(tmp_path / "c", LengthPredictor)
    (tmp_path / "c" / "config.json").write_bytes(text)
    assert "config.json cannot be read" in refused(tmp_path / "c")


@pytest.mark.parametrize("field", ["kind", "format", "config", "data", "licence", "version"])
@pytest.mark.parametrize("value", [None, [], {}, 3.5, "x"], ids=str)
def test_a_head_of_other_types_is_refused(tmp_path: Path, field: str, value: object):
    head = saved(tmp_path / "c", LengthPredictor)
    if type(value) is type(head[field]) and field in ("data", "licence", "version"):
        pytest.skip("fits")
    if field == "data" and isinstance(value, list):
        pytest.skip("fits")
    (tmp_path / "c" / "config.json").write_text(json.dumps(head | {field: value}))
    assert refused(tmp_path / "c")


def test_a_card_and_headers_that_are_none_are_refused(tmp_path: Path):
    saved(tmp_path / "c", LengthPredictor)
    card, weights = tmp_path / "c" / "card.md", tmp_path / "c" / "weights.safetensors"
    card.write_bytes(b"\xff\xff\xff")
    assert "card.md cannot be read" in refused(tmp_path / "c")
    card.unlink()
    card.mkdir()
    assert "card.md cannot be read" in refused(tmp_path / "c")
    card.rmdir()
    good = weights.read_bytes()
    weights.write_bytes((60 << 20).to_bytes(8, "little") + good[8:])
    assert "its header has 62914560 bytes" in refused(tmp_path / "c")
    for cut in (0, 5, len(good) // 2):
        weights.write_bytes(good[:cut])
        assert "weights.safetensors" in refused(tmp_path / "c")


def test_every_config_has_a_range_on_every_number():
    from dataclasses import fields

    for name, model in MODELS.items():
        for entry in fields(model.config_class):  # type: ignore[attr-defined]
            if entry.type in ("int", "float", int, float) or "tuple[int" in str(entry.type):
                assert "low" in entry.metadata or "above" in entry.metadata, f"{name}: {entry.name} has no range"


@pytest.fixture
def stats(tmp_path: Path) -> tuple[Path, Path]:
    np.save(tmp_path / "mean.npy", np.zeros(263))
    np.save(tmp_path / "std.npy", np.ones(263))
    return tmp_path / "mean.npy", tmp_path / "std.npy"


def tokenizer_state() -> dict[str, torch.Tensor]:
    """Names of an official tokenizer with one level."""
    wide = {"encoder.model.0": (8, 263, 3), "encoder.model.2.0": (8, 8, 4), "encoder.model.3": (4, 8, 3)}
    state = {f"{name}.weight": torch.zeros(shape) for name, shape in wide.items()}
    return state | {"quantizer.codebook": torch.zeros(16, 4)}


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"encoder.model.0.weight": torch.zeros(()).expand(8, 263, 10**8)}, "tokenizer"),
        ({"quantizer.codebook": torch.zeros(1).expand(10**9, 5)}, "tokenizer"),
        ({"encoder.model.0.weight": torch.zeros(())}, "tokenizer"),
        ({"quantizer.codebook": torch.zeros(3)}, "tokenizer"),
        ({7: torch.zeros(1)}, "tokenizer"),
        ({"trans_base.vqvae.vqvae.quantizer.codebook": torch.zeros(16, 4)}, "masked"),
        (
            {
                "trans_base.vqvae.vqvae.quantizer.codebook": torch.zeros(16, 4),
                "trans_base.word_emb.weight": torch.zeros(4, 4),
                "trans_head.head.weight": torch.zeros(()),
            },
            "masked",
        ),
        ({"temporal_decoder_blocks.0.ca_block.key_dataset": torch.zeros(())}, "diffusion"),
        ({"encoder_upper.model.0.weight": torch.zeros(()), "quantizer_upper.codebook": torch.zeros(2, 2)}, "parts"),
    ],
    ids=range(9),
)
def test_official_tensors_of_other_shapes_are_refused(
    tmp_path: Path, stats: tuple[Path, Path], change: dict[Any, torch.Tensor], kind: str
):
    torch.save({"net": tokenizer_state() | change}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError) as caught:
        import_official(tmp_path / "a.pth", "parts_tokenizer" if kind == "parts" else kind, *stats)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_official_files_that_are_none_are_refused(tmp_path: Path):
    path = tmp_path / "a.pth"
    for content in (b"", b"not a file\n", b"\x80\x02.", b"PK\x03\x04" + bytes(40)):
        path.write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            read_official(path)
        assert "\n" not in str(caught.value)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")
        archive.writestr("archive/data/0", bytes(50 << 20))
    with pytest.raises(CheckpointError, match="would unpack to"):
        read_official(path)

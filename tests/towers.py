"""Small text towers of the CLIP family, written as the real ones are."""

import json
from pathlib import Path

import torch

WIDTH, LAYERS, PIECES = 64, 2, 16


def write_words(folder: Path) -> int:
    """CLIP's byte-pair tokenizer with four merges; how many pieces it has."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    merges = [("w", "a"), ("wa", "l"), ("wal", "k"), ("s", "</w>")][:3]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({piece: row for row, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    return len(pieces)


def write_clip(folder: Path, pieces: int = PIECES, sentence: int = WIDTH, words: int = WIDTH) -> Path:
    """A directory of ``transformers`` with random weights."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    rows = write_words(folder)
    config = CLIPTextConfig(
        vocab_size=rows, hidden_size=words, intermediate_size=96, num_hidden_layers=LAYERS, num_attention_heads=4,
        projection_dim=sentence, max_position_embeddings=pieces, bos_token_id=rows - 2, eos_token_id=rows - 1,
        pad_token_id=rows - 1,
    )  # fmt: skip
    torch.manual_seed(0)
    CLIPTextModelWithProjection(config).save_pretrained(folder)
    return folder

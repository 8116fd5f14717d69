"""Text towers from disk: CLIP's as ``transformers`` has it, ImageBind's by its published file."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from towers import LAYERS, PIECES, WIDTH, write_clip, write_words

from motionloom.conditions.clip import FOLDER, IMAGEBIND, Clip, named_encoder, text_encoder
from motionloom.conditions.text import TextEncoder, minilm
from motionloom.errors import CheckpointError, RequestError


def write_imagebind(folder: Path) -> dict[str, torch.Tensor]:
    """The names of the published file, with small random weights."""
    rows = write_words(folder)
    torch.manual_seed(1)

    def some(*shape: int) -> torch.Tensor:
        return 0.3 * torch.randn(*shape)

    state = {
        "modality_preprocessors.text.token_embedding.weight": some(rows, WIDTH),
        "modality_preprocessors.text.pos_embed": some(1, PIECES, WIDTH),
        "modality_preprocessors.text.mask": torch.zeros(PIECES, PIECES),
        "modality_heads.text.proj.0.weight": 1 + some(WIDTH), "modality_heads.text.proj.0.bias": some(WIDTH),
        "modality_heads.text.proj.1.weight": some(24, WIDTH),
        "modality_trunks.vision.blocks.7.norm_1.weight": some(3),
    }  # fmt: skip
    for block in range(LAYERS):
        of = f"modality_trunks.text.blocks.{block}"
        for name, shape in (
            ("norm_1", (WIDTH,)), ("norm_2", (WIDTH,)),
            ("mlp.fc1", (4 * WIDTH, WIDTH)), ("mlp.fc2", (WIDTH, 4 * WIDTH)),
            ("attn.out_proj", (WIDTH, WIDTH)), ("attn.in_proj", (3 * WIDTH, WIDTH)),
        ):  # fmt: skip
            joint = "_" if name == "attn.in_proj" else "."
            state |= {f"{of}.{name}{joint}weight": some(*shape), f"{of}.{name}{joint}bias": some(shape[0])}
    torch.save(state, folder / IMAGEBIND)
    return state


def imagebind_by_hand(state: dict[str, torch.Tensor], ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """ImageBind's text tower in other words (its paper and CLIP's): trunk states, and the projected end."""

    def of(name: str) -> torch.Tensor:
        return state[name]

    def normal(x: torch.Tensor, name: str) -> torch.Tensor:
        return nn.functional.layer_norm(x, (WIDTH,), of(f"{name}.weight"), of(f"{name}.bias"), 1e-6)

    x = of("modality_preprocessors.text.token_embedding.weight")[ids]
    x = x + of("modality_preprocessors.text.pos_embed")[:, : ids.shape[1]]
    later = torch.ones(ids.shape[1], ids.shape[1]).triu(1).bool()
    for block in range(LAYERS):
        name = f"modality_trunks.text.blocks.{block}"
        attention = nn.MultiheadAttention(WIDTH, max(1, WIDTH // 64), batch_first=True)
        attention.load_state_dict(
            {
                key.removeprefix(f"{name}.attn."): value
                for key, value in state.items()
                if key.startswith(f"{name}.attn.")
            }
        )
        y = normal(x, f"{name}.norm_1")
        x = x + attention(y, y, y, attn_mask=later, need_weights=False)[0]
        y = nn.functional.gelu(nn.functional.linear(normal(x, f"{name}.norm_2"), of(f"{name}.mlp.fc1.weight"),
                                                    of(f"{name}.mlp.fc1.bias")))  # fmt: skip
        x = x + nn.functional.linear(y, of(f"{name}.mlp.fc2.weight"), of(f"{name}.mlp.fc2.bias"))
    last = normal(x[:, -1], "modality_heads.text.proj.0")
    return x, nn.functional.linear(last, of("modality_heads.text.proj.1.weight"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Clip:
    return Clip(write_clip(tmp_path_factory.mktemp("clip")))


def test_clip_is_what_transformers_says(clip: Clip):
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

    assert isinstance(clip, TextEncoder)
    assert (clip.word_dim, clip.sentence_dim, clip.max_pieces) == (WIDTH, WIDTH, PIECES - 2)
    found = clip(["a walk"])
    ids = clip.tokenizer(["a walk"], return_tensors="pt")["input_ids"]
    assert isinstance(clip.tokenizer, CLIPTokenizer)
    assert isinstance(clip.model, CLIPTextModelWithProjection)
    with torch.no_grad():
        want = clip.model(input_ids=ids)
    torch.testing.assert_close(found.sentence, want.text_embeds)
    torch.testing.assert_close(found.words, want.last_hidden_state)


def test_a_sentence_does_not_depend_on_others(clip: Clip):
    alone, many = clip(["a walk"]), clip(["he runs back", "a walk", "a walk"])
    rows = alone.words.shape[1]
    assert torch.equal(many.sentence[1], alone.sentence[0])
    assert torch.equal(many.words[1, :rows], alone.words[0])
    assert many.valid[1].sum() == rows < many.valid[0].sum()
    assert not many.words[1, rows:].any()
    # Side by side it is the same but for the last bits.
    torch.testing.assert_close(clip.encode(["he runs back", "a walk"]).sentence[1], alone.sentence[0])


def test_imagebind_is_what_its_file_says(tmp_path):
    state = write_imagebind(tmp_path)
    encoder = Clip(tmp_path)
    assert encoder.name.startswith("imagebind-")
    assert (encoder.word_dim, encoder.sentence_dim) == (WIDTH, 24)
    ids = encoder.tokenizer(["she walks"], return_tensors="pt")["input_ids"]
    words, sentence = imagebind_by_hand(state, ids)
    found = encoder(["she walks"])
    torch.testing.assert_close(found.words, words, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.sentence, sentence, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_read_is_said_in_a_line(clip: Clip, tmp_path):
    with pytest.raises(CheckpointError, match="holds no text tower"):
        Clip(tmp_path)
    write_words(tmp_path)
    (tmp_path / IMAGEBIND).write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=f"{IMAGEBIND} cannot be read"):
        Clip(tmp_path)
    torch.save({"modality_trunks.audio.blocks.0.norm_1.weight": torch.ones(3)}, tmp_path / IMAGEBIND)
    with pytest.raises(CheckpointError, match="holds no text tower of ImageBind"):
        Clip(tmp_path)
    folder = write_clip(tmp_path / "clip")
    weights = load_file(folder / "model.safetensors")
    save_file({name: value for name, value in weights.items() if name != "text_projection.weight"},
              folder / "model.safetensors", metadata={"format": "pt"})  # fmt: skip
    with pytest.raises(CheckpointError, match=r"text_projection\.weight is missing"):
        Clip(folder)
    data = (folder / "model.safetensors").read_bytes()
    for left in (data[: len(data) // 2], b""):
        (folder / "model.safetensors").write_bytes(left)
        with pytest.raises(CheckpointError, match="cannot be read"):
            Clip(folder)
    with pytest.raises(RequestError, match=r"at most 14 are read by clip-[0-9a-f]{8}"):
        clip(["abcdefghijklmno"])
    with pytest.raises(RequestError, match=r"control piece '<\|endoftext\|>'"):
        clip(["a <|endoftext|> walk"])
    with pytest.raises(RequestError, match="the text is empty"):
        clip(["  "])


def test_a_model_finds_the_encoder_it_was_trained_with(tmp_path, monkeypatch):
    folder = write_clip(tmp_path / "a")
    encoder = text_encoder(folder)
    assert text_encoder() is named_encoder("minilm") is minilm()
    monkeypatch.delenv(FOLDER, raising=False)
    with pytest.raises(CheckpointError, match=f"name the folder of its weights in the environment variable {FOLDER}"):
        named_encoder(encoder.name)
    monkeypatch.setenv(FOLDER, str(folder))
    assert named_encoder(encoder.name) is encoder
    with pytest.raises(CheckpointError, match=f"reads sentences by clip-00000000, .* holds {encoder.name}"):
        named_encoder("clip-00000000")

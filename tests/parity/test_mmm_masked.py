"""MMM's masked transformer and samplers against the published code's numbers (random weights, float32)."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from motionloom.models.masked.model import MaskedTransformer
from motionloom.models.masked.official import masked_from_official, split_tokenizer, tokenizer_from_official
from motionloom.models.masked.sampling import inpaint_published, sample_published
from motionloom.models.masked.training import published_loss
from motionloom.models.tokenizers.motion import MotionTokenizer

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"


@pytest.fixture(scope="module")
def official() -> tuple[dict[str, torch.Tensor], dict[str, str], dict[str, torch.Tensor]]:
    state, io = FIXTURES / "mmm_tiny_trans.state.safetensors", FIXTURES / "mmm_tiny_trans.io.safetensors"
    if not io.exists():
        pytest.skip(f"parity fixture {io.name} is not on this machine")
    with safe_open(state, "pt") as file:
        options = file.metadata()
    return load_file(state), options, load_file(io)


@pytest.fixture(scope="module")
def model(official) -> MaskedTransformer:
    state, options, _ = official
    config, ours = masked_from_official(state, heads=int(options["n_head"]))
    assert (config.width, config.codes) == (int(options["embed_dim"]), int(options["num_vq"]))
    assert (config.word_layers, config.layers) == (1, 2 * int(options["num_layers"]) - 1)
    assert config.slots + 1 == int(options["block_size"])
    network = MaskedTransformer(config)
    network.load_state_dict(ours, strict=True)
    return network.eval()


@pytest.fixture(scope="module")
def want(official) -> dict[str, torch.Tensor]:
    return official[2]


def close(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_logits_agree_with_and_without_the_sentence(model, want):
    text = model.read_text(want["feat"], want["word"])
    vectors = model.embedding(want["ids"])
    close(model.trunk(vectors, want["src_mask"], text), want["logits"])
    close(model(want["ids"], want["src_mask"], want["feat"], want["word"]), want["logits"][:, 1:])
    close(model.trunk(vectors, want["src_mask"], text, see_sentence=False), want["logits_att_txt_false"])


@torch.no_grad()
def test_activations_after_the_base_agree(model, want):
    seen = []
    base = model.config.word_layers + 2  # the fixture's base has 3 blocks, one of them for words
    hook = model.trunk.blocks[base - 1].register_forward_hook(lambda *call: seen.append(call[2]))
    model(want["ids"], want["src_mask"], want["feat"], want["word"])
    hook.remove()
    close(seen[0], want["base_out"])


@torch.no_grad()
def test_training_loss_agrees(model, want):
    logits = model(want["ids"], want["src_mask"], want["feat"], want["word"])
    predict = torch.arange(model.config.slots) < want["token_len"][:, None]
    close(published_loss(logits, want["target"], predict), want["loss"])


@pytest.mark.parametrize("frames", [196, 120, 64, 40])
def test_a_single_item_takes_the_published_number_of_steps(model, want, frames: int):
    got = sample_published(model, torch.tensor([frames // 4]), want["feat"][:1], want["word"][:1])
    assert torch.equal(got, want[f"sample_argmax_B1_{frames}"])


def test_batches_agree(model, want):
    lengths = want["frames"] // 4
    got = sample_published(model, lengths, want["feat"], want["word"])
    assert torch.equal(got, want["sample_argmax_B3"])
    seeded = torch.Generator().manual_seed(7)
    got = sample_published(model, lengths, want["feat"], want["word"], seeded)
    assert torch.equal(got, want["sample_gumbel_seed7_B3"])


def test_in_betweening_agrees(model, want):
    lengths, known = want["frames"] // 4, want["inbetween_cond"]
    arguments = model, lengths, want["feat"], want["word"]
    assert torch.equal(sample_published(*arguments, known=known), want["inbetween_argmax"])
    assert torch.equal(sample_published(*arguments, steps=1, known=known), want["inbetween_1step_argmax"])
    got = sample_published(*arguments, torch.Generator().manual_seed(9), known=known)
    assert torch.equal(got, want["inbetween_gumbel_seed9"])


def test_inpainting_agrees(model, want):
    target = want["target"][0]
    got = inpaint_published(model, target[:20], 4, target[24:40], want["feat"][:1], want["word"][:1])
    assert torch.equal(got, want["inpaint_argmax_text"])


@torch.no_grad()
def test_the_decoded_motion_agrees(official, want):
    config, state = tokenizer_from_official(split_tokenizer(official[0]))
    tokenizer = MotionTokenizer(config).eval()
    tokenizer.load_state_dict(state, strict=True)
    close(tokenizer.decode(want["sample_argmax_B3"][:1, :49]), want["sample_decoded_motion0"])

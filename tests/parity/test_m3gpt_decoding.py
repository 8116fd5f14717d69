"""Our decoding against that of ``transformers``, and M3GPT's released prompt splits and motion tokenizer."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from motionloom.models.language.decoding import Decoder
from motionloom.models.language.model import MotionLM, MotionLMConfig
from motionloom.models.language.vocabulary import Codes, middle, pad_sequences, prefix, sequence
from motionloom.models.masked.official import tokenizer_from_official
from motionloom.models.tokenizers.motion import MotionTokenizer

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
FORMS = [("gated-gelu", False), ("gated-gelu", True), ("relu", True)]


def fixture(name: str) -> Path:
    path = FIXTURES / name
    if not path.exists():
        pytest.skip(f"parity fixture {name} is not on this machine")
    return path


def model(activation: str, tied: bool, decoder_layers: int = 2) -> MotionLM:
    torch.manual_seed(0)
    small = MotionLM.tiny().config
    config = MotionLMConfig(
        pieces=small.pieces, pad="<pad>", end="</s>", motion_codes=64, music_codes=24, max_tokens=200, width=32, mlp=48,
        layers=2, decoder_layers=decoder_layers, heads=4, kv_heads=4, head_dim=8, activation=activation, tied=tied,
    )  # fmt: skip
    made = MotionLM(config)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        made.network.shared.weight.mul_(3)
    return made.eval()


@pytest.mark.parametrize(("activation", "tied"), FORMS)
@torch.no_grad()
def test_greedy_tokens_are_those_of_transformers(activation: str, tied: bool):
    """150 motion tokens: beyond the 128 of T5's relative positions, a padded batch, T5 1.0 and flan-T5 forms."""
    lm = model(activation, tied)
    words, codes = lm.vocabulary, lm.vocabulary.codes("motion")
    asked = [
        sequence(["a person waves"], words, lm.pieces, 200),
        sequence(["Dance.", Codes("music", torch.arange(20))], words, lm.pieces, 200),
    ]
    said = Decoder(lm).write(asked, "motion", max_codes=150, min_codes=150)
    source, valid = pad_sequences(asked, words.pad)
    want = lm.network.generate(
        input_ids=source,
        attention_mask=valid.long(),
        decoder_input_ids=torch.tensor([[words.pad, words.start("motion")]] * 2),
        max_new_tokens=150,
        min_new_tokens=150,
        do_sample=False,
        num_beams=1,
        prefix_allowed_tokens_fn=lambda *_: list(codes),
    )
    got = torch.stack(said.ids) + codes.start
    assert torch.equal(got, want[:, 2:])
    # With random weights a tied table says the token it just read, again and again.
    assert tied or len(set(got[0].tolist())) > 3


@pytest.mark.parametrize(("activation", "tied"), FORMS)
@torch.no_grad()
def test_logits_are_those_of_transformers(activation: str, tied: bool):
    lm = model(activation, tied, decoder_layers=3)
    words = lm.vocabulary
    asked = [sequence([text], words, lm.pieces, 200) for text in ("what is it?", "dance")]
    source, valid = pad_sequences(asked, words.pad)
    answer = torch.stack([words.wrap(torch.arange(40) + i, "motion") for i in range(2)])
    want = lm(source, valid, answer, torch.ones_like(answer, dtype=torch.bool))
    writer = Decoder(lm)
    assert writer.decoder is not None
    state = writer.decoder.begin(lm.encode(source, valid), valid, 50, range(words.rows))
    before = torch.nn.functional.pad(answer[:, :-1], (1, 0), value=words.pad)
    got = torch.stack([writer.decoder.step(rows, state) for rows in before.T], dim=1)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_prompt_splits_of_the_release():
    cases = json.loads(fixture("metrics_prompt_splits_release.json").read_text(encoding="utf-8"))
    assert len(cases) > 5
    for case in cases:
        count = case["n_tokens"]
        seen, hidden = prefix(count, "release"), middle(count, "release")
        assert [512, *range(seen.last), 513] == case["s1"]
        assert [512, *range(seen.last, count), 513] == case["s2"]
        masked = [514 if hidden.first <= i < hidden.last else i for i in range(count)]
        assert [512, *masked, 513] == case["masked"]
        assert [512, *range(hidden.first, hidden.last)] == case["unmasked"]


@torch.no_grad()
def test_the_motion_tokenizer_of_the_release():
    with np.load(fixture("metrics_vqvae_tiny.npz")) as file:
        want = {name: torch.from_numpy(file[name]) for name in file.files}
    state = {name.removeprefix("w."): value for name, value in want.items() if name.startswith("w.")}
    config, ours = tokenizer_from_official(state)
    tokenizer = MotionTokenizer(config)
    tokenizer.load_state_dict(ours, strict=True)
    tokenizer.eval()
    assert torch.equal(tokenizer.encode(want["x"]), want["codes"])
    output = tokenizer(want["x"])
    for got, name in (
        (output.reconstruction, "recon"),
        (output.commitment, "commit"),
        (output.perplexity, "perplexity"),
    ):
        torch.testing.assert_close(got, want[name], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tokenizer.decode(want["codes"][:1]), want["decode0"], atol=1e-5, rtol=1e-5)

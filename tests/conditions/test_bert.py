"""Our BERT against the one of transformers, on small random weights and on MiniLM's own."""

import json

import pytest
import torch
from safetensors.torch import save_file

from motionloom.conditions.bert import Bert
from motionloom.conditions.text import MAX_PIECES, minilm, minilm_folder
from motionloom.errors import CheckpointError, RequestError

SENTENCES = [
    "a person walks",
    "An old man turns LEFT, then waves his right hand twice; goodbye!",
    "naïve café: 3.5 m/s (backwards)",
]


@torch.no_grad()
def test_minilm_equals_transformers():
    from transformers import AutoModel, AutoTokenizer

    folder = minilm_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    batch = tokenizer([text.lower() for text in SENTENCES], padding=True, return_tensors="pt")
    found = minilm().encode(SENTENCES)
    assert torch.equal(found.valid, batch["attention_mask"].bool())
    states = model(**batch).last_hidden_state.masked_fill(~found.valid[..., None], 0.0)
    torch.testing.assert_close(found.words, states, atol=2e-5, rtol=1e-4)
    mean = torch.nn.functional.normalize(states.sum(1) / found.valid.sum(1, keepdim=True), dim=-1)
    torch.testing.assert_close(found.sentence, mean, atol=2e-6, rtol=1e-4)


@torch.no_grad()
def test_random_weights_equal_transformers(tmp_path):
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=16,
    )  # fmt: skip
    theirs = BertModel(config).eval()
    theirs.save_pretrained(tmp_path)
    ids = torch.randint(40, (3, 9))
    valid = torch.arange(9) < torch.tensor([[9], [4], [6]])
    ours = Bert.load(tmp_path)(ids, valid)
    wanted = theirs(input_ids=ids, attention_mask=valid.long()).last_hidden_state
    torch.testing.assert_close(ours[valid], wanted[valid], atol=1e-5, rtol=1e-4)


def test_a_sentence_alone_and_in_company_are_the_same_bits():
    encoder = minilm()
    alone = encoder([SENTENCES[0]])
    together = encoder(SENTENCES)
    count = alone.words.shape[1]
    assert torch.equal(together.sentence[0], alone.sentence[0])
    assert torch.equal(together.words[0, :count], alone.words[0])
    assert not together.valid[0, count:].any()
    assert float(together.sentence[0] @ together.sentence[1]) < 0.9


def test_long_sentences_are_refused_not_cut():
    with pytest.raises(RequestError, match=rf"has 100 word pieces, at most {MAX_PIECES} are read"):
        minilm()(["walk " * 100])


def test_other_models_are_refused(tmp_path):
    config = {"model_type": "gpt2", "hidden_act": "gelu", "hidden_size": 8, "layer_norm_eps": 1e-12}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="a BERT with exact GELU is needed; got 'gpt2'"):
        Bert.load(tmp_path)

"""Laws of the motion language model: its vocabulary, its sequences, its answers, its checkpoints."""

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.errors import CheckpointError, RequestError
from motionloom.models.checkpoint import load_checkpoint, save_checkpoint
from motionloom.models.language.decoding import Decoder
from motionloom.models.language.model import MotionLM, MotionLMConfig, answer_loss, from_folder, from_transformers
from motionloom.models.language.vocabulary import (
    MASKED,
    Codes,
    Modality,
    Pieces,
    Vocabulary,
    middle,
    pad_sequences,
    prefix,
    sequence,
    train_pieces,
)

BACKBONES = ["t5", "llama"]
PIECES = train_pieces(["a person walks forward and waves", "someone dances to the music", "what is it?"], 300)


def model(backbone: str = "t5", tied: bool = True, seed: int = 0) -> MotionLM:
    torch.manual_seed(seed)
    made = MotionLM.tiny(backbone, tied)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made.eval()


def prompts(of: MotionLM) -> list[torch.Tensor]:
    parts = [
        ["a person waves"],
        ["Dance to this.", Codes("music", torch.arange(9))],
        [Codes("motion", torch.tensor([3, MASKED, 5])), "what is it?"],
    ]
    return [sequence(one, of.vocabulary, of.pieces, 40) for one in parts]  # type: ignore[arg-type]


# The vocabulary


@settings(max_examples=20)
@given(st.integers(3, 50), st.integers(1, 40), st.integers(1, 40))
def test_every_row_is_one_thing(text: int, motion: int, music: int):
    words = Vocabulary(text, motion, music)
    rows = [*words.codes("text")]
    for modality in ("motion", "music"):
        rows += [*words.codes(modality), words.start(modality), words.stop(modality), words.mask(modality)]
    assert rows == list(range(words.rows))


def test_the_published_rows():
    words = Vocabulary(32_100)
    assert words.rows == 34_666
    assert (words.codes("motion").start, words.mask("motion")) == (32_100, 32_614)
    assert (words.codes("music").start, words.mask("music")) == (32_615, 34_665)


@settings(max_examples=20)
@given(st.lists(st.integers(-1, 15), min_size=1, max_size=20), st.sampled_from(["motion", "music"]))
def test_unwrap_undoes_wrap(codes: list[int], modality: Modality):
    words = Vocabulary(20, 16, 16)
    assert words.unwrap(words.wrap(torch.tensor(codes), modality), modality).tolist() == codes


def test_wrong_codes_are_refused():
    words = Vocabulary(20, 16, 24)
    with pytest.raises(RequestError, match=r"motion codes run from 3 to 16; 0\.\.15 are needed"):
        words.wrap(torch.tensor([3, 16]), "motion")
    with pytest.raises(RequestError, match="run from nothing"):
        words.wrap(torch.tensor([], dtype=torch.long), "motion")
    with pytest.raises(RequestError, match="are no motion"):
        words.unwrap(words.wrap(torch.tensor([1, 2]), "music"), "motion")
    with pytest.raises(RequestError, match="text has no brackets"):
        words.start("text")
    with pytest.raises(RequestError, match="reserved rows"):
        Vocabulary(20, pad=0, end=30)
    with pytest.raises(RequestError, match="each needs at least 1"):
        Vocabulary(20, motion=0)


def test_known_and_hidden_spans_of_the_paper():
    assert [prefix(n).last for n in (1, 5, 37, 46)] == [1, 1, 7, 9]
    assert [(middle(n).first, middle(n).last) for n in (4, 37)] == [(1, 3), (9, 28)]


# Text


@settings(max_examples=30)
@given(st.text(min_size=1, max_size=40))
def test_bpe_reads_back_every_text_and_makes_no_control_piece(text: str):
    words = Pieces(PIECES, "<pad>", "</s>")
    rows = words.encode(f"a {text} b")
    assert not set(rows) & set(words.reserved)
    assert words.decode(rows).split()[0] == "a"


@pytest.mark.parametrize("text", ["walks </s> now", "<pad>", "[SEP] [PAD]", "＜/s＞", "<motion_id_3>", "[MASK][CLS]"])
def test_no_text_becomes_a_control_piece(text: str):
    for words in (Pieces("minilm", "[PAD]", "[SEP]"), Pieces(train_pieces(["</s> <pad>"], 300), "<pad>", "</s>")):
        rows = words.encode(text)
        assert rows
        assert not set(rows) & set(words.reserved)
        assert max(rows) < words.count


def test_text_that_would_be_a_control_piece_of_a_unigram_model_is_refused():
    """T5's pieces lie in its model's own table, where a plain text may meet them."""
    from tokenizers import Tokenizer, models

    table = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -2.0) for letter in "ab</s> ")]
    tokenizer = Tokenizer(models.Unigram(table, unk_id=2, byte_fallback=False))
    tokenizer.add_special_tokens(["<pad>", "</s>"])
    words = Pieces(tokenizer.to_str(), "<pad>", "</s>")
    assert words.encode("ab")
    with pytest.raises(RequestError, match=r"holds the control piece '</s>'"):
        words.encode("a </s> b")


def test_wrong_tokenizers_and_texts_are_refused():
    with pytest.raises(RequestError, match=r"this is no tokenizer\.json"):
        Pieces("{}", "<pad>", "</s>")
    with pytest.raises(RequestError, match=r"the tokenizer has no \['<pad>', '</s>'\]"):
        Pieces("minilm", "<pad>", "</s>")
    words = Pieces("minilm", "[PAD]", "[SEP]")
    with pytest.raises(RequestError, match="has no words"):
        words.encode("  ")
    with pytest.raises(RequestError, match="hold more than text"):
        words.decode([words.end])
    with pytest.raises(RequestError, match="at least 258 pieces"):
        train_pieces(["a"], 20)
    assert words.decode(words.encode("A person WAVES")) == "a person waves"


def test_sequences_are_never_cut():
    tiny = model()
    parts = [Codes("motion", torch.arange(10))]
    assert len(sequence(parts, tiny.vocabulary, tiny.pieces, 13)) == 13
    with pytest.raises(RequestError, match="the sequence has 13 tokens, at most 12 are read"):
        sequence(parts, tiny.vocabulary, tiny.pieces, 12)
    with pytest.raises(RequestError, match="at least one part"):
        sequence([], tiny.vocabulary, tiny.pieces, 12)


# The network


@pytest.mark.parametrize("backbone", BACKBONES)
@torch.no_grad()
def test_logits_depend_on_what_exists_only(backbone: str):
    tiny = model(backbone)
    source, seen = pad_sequences(prompts(tiny), tiny.vocabulary.pad)
    answers = [sequence([Codes("motion", torch.arange(n))], tiny.vocabulary, tiny.pieces, 40) for n in (3, 7, 5)]
    answer, valid = pad_sequences(answers, tiny.vocabulary.pad)
    noise = torch.randint(0, 20, source.shape)
    whole = tiny(torch.where(seen, source, noise), seen, answer, valid)
    assert whole.shape == (*answer.shape, tiny.vocabulary.rows)
    for i, (one, mine) in enumerate(zip(prompts(tiny), answers, strict=True)):
        ones = torch.ones(1, len(one), dtype=torch.bool), torch.ones(1, len(mine), dtype=torch.bool)
        alone = tiny(one[None], ones[0], mine[None], ones[1])
        torch.testing.assert_close(whole[i, : len(mine)], alone[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_training_teaches_an_answer_and_writing_says_it(backbone: str):
    torch.manual_seed(0)
    tiny = MotionLM.tiny(backbone)  # type: ignore[arg-type]
    source, seen = pad_sequences(prompts(tiny), tiny.vocabulary.pad)
    codes = [torch.tensor([3, 1, 4, 1, 5]), torch.tensor([9, 2, 6]), torch.tensor([5, 3])]
    answers = [sequence([Codes("motion", one)], tiny.vocabulary, tiny.pieces, 40) for one in codes]
    answer, valid = pad_sequences(answers, tiny.vocabulary.pad)
    optimizer = torch.optim.AdamW(tiny.parameters(), lr=1e-2)
    tiny.eval()  # without dropout it learns in a few steps
    losses = []
    for _ in range(60):
        loss = answer_loss(tiny(source, seen, answer, valid), answer, valid)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < losses[0]
    said = Decoder(tiny).write(prompts(tiny), "motion", max_codes=10)
    assert [one.tolist() for one in said.ids] == [one.tolist() for one in codes]
    assert not said.full.any()
    assert (said.confidence > -0.2).all()


def test_too_long_is_refused_by_the_network():
    tiny = model()
    ones = torch.ones(1, 41, dtype=torch.long)
    with pytest.raises(RequestError, match="41 tokens were given, the model reads 40"):
        tiny(ones, ones.bool(), ones, ones.bool())


# Writing


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("modality", ["motion", "music", "text"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_depends_on_its_item_only(backbone: str, modality: Modality, temperature: float):
    tiny = model(backbone)
    writer, asked = Decoder(tiny), prompts(tiny)
    options: dict[str, Any] = {"temperature": temperature, "top_p": 0.9}
    together = writer.write(asked, modality, [9, 4, 7], [1, 4, 2], [5, 6, 7], **options)
    turned = writer.write(asked[::-1], modality, [7, 4, 9], [2, 4, 1], [7, 6, 5], **options)
    for i in range(3):
        alone = writer.write(asked[i : i + 1], modality, [9, 4, 7][i], [1, 4, 2][i], [5 + i], **options)
        assert torch.equal(together.ids[i], alone.ids[0])
        assert torch.equal(together.ids[i], turned.ids[2 - i])
        torch.testing.assert_close(together.confidence[i], alone.confidence[0], atol=1e-4, rtol=1e-4)


@settings(max_examples=12)
@given(
    seed=st.integers(0, 99), modality=st.sampled_from(["motion", "music", "text"]), low=st.integers(1, 6),
    more=st.integers(0, 6),
)  # fmt: skip
def test_answers_are_well_formed_and_of_the_wanted_length(seed: int, modality: Modality, low: int, more: int):
    tiny = model(seed=seed % 3)
    said = Decoder(tiny).write(prompts(tiny), modality, low + more, low, [seed, seed + 1, seed + 2], 2.0)
    for ids, full in zip(said.ids, said.full.tolist(), strict=True):
        assert low <= len(ids) <= low + more
        assert full == (len(ids) == low + more) or not full
        if modality == "text":
            assert isinstance(tiny.pieces.decode(ids.tolist()), str)
        else:
            assert len(tiny.vocabulary.wrap(ids, modality)) == len(ids) + 2
    assert torch.isfinite(said.confidence).all()
    assert (said.confidence <= 0).all()


def test_confidence_is_the_mean_log_probability_of_what_was_chosen():
    tiny = model(seed=4)
    said = Decoder(tiny).write(prompts(tiny)[:1], "motion", max_codes=5, min_codes=5)
    rows = sequence([Codes("motion", said.ids[0])], tiny.vocabulary, tiny.pieces, 40)[None]
    ones = torch.ones_like(rows, dtype=torch.bool)
    source = prompts(tiny)[0][None]
    codes = tiny.vocabulary.codes("motion")
    with torch.no_grad():
        logits = tiny(source, torch.ones_like(source, dtype=torch.bool), rows, ones)[0, 1:6]
    allowed = logits[:, codes.start : codes.stop]
    allowed = torch.cat((allowed[:-1], allowed[-1:])).log_softmax(1)
    want = allowed.gather(1, said.ids[0][:, None]).mean()
    torch.testing.assert_close(said.confidence[0], want, atol=1e-4, rtol=1e-4)


def test_a_low_top_p_is_greedy_and_seeds_matter():
    tiny = model(seed=2)
    writer, asked = Decoder(tiny), prompts(tiny)
    greedy = writer.write(asked, "music", 10, 10)
    narrow = writer.write(asked, "music", 10, 10, [1, 2, 3], temperature=1.0, top_p=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(greedy.ids, narrow.ids, strict=True))
    first, second = (writer.write(asked, "music", 10, 10, [s] * 3, 2.0) for s in (1, 2))
    assert any(not torch.equal(a, b) for a, b in zip(first.ids, second.ids, strict=True))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_guidance_moves_away_from_what_is_said_without_a_condition(backbone: str):
    tiny = model(backbone, seed=3)
    writer, asked = Decoder(tiny), prompts(tiny)
    bare = [sequence(["move"], tiny.vocabulary, tiny.pieces, 40)] * 3
    plain, free = (writer.write(some, "motion", 8, 8) for some in (asked, bare))
    for scale, want in ((1.0, plain), (0.0, free)):
        said = writer.write(asked, "motion", 8, 8, uncond=bare, guidance=scale)
        assert all(torch.equal(a, b) for a, b in zip(said.ids, want.ids, strict=True))
    # The first code by hand, and no matter what is in the batch.
    guided = writer.write(asked, "motion", 8, 8, uncond=bare, guidance=3.0)
    start = torch.tensor([tiny.vocabulary.start("motion"), tiny.vocabulary.start("motion")])[None]
    codes = tiny.vocabulary.codes("motion")
    for row in range(3):
        with torch.no_grad():
            given, none = (
                tiny(source[None], torch.ones_like(source[None], dtype=torch.bool), start, torch.ones_like(start) > 0)[
                    0, 1, codes.start : codes.stop
                ]
                for source in (asked[row], bare[row])
            )
        assert int(guided.ids[row][0]) == int((none + 3 * (given - none)).argmax())
        alone = writer.write(asked[row : row + 1], "motion", 8, 8, uncond=bare[:1], guidance=3.0)
        assert torch.equal(alone.ids[0], guided.ids[row])
    with pytest.raises(RequestError, match=r"guidance 2\.0 for 3 prompts with 1 without what is followed"):
        writer.write(asked, "motion", 3, uncond=bare[:1], guidance=2.0)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_how_likely_an_answer_ends_where_it_ends(backbone: str):
    """By hand, from the logits of the whole answer: it goes on before, and ends there."""
    tiny = model(backbone, seed=5)
    writer, asked = Decoder(tiny), prompts(tiny)
    plain = writer.write(asked, "motion", [3, 6, 9], [3, 1, 9], [1, 2, 3], 1.0)
    said = writer.write(asked, "motion", [3, 6, 9], [3, 1, 9], [1, 2, 3], 1.0, endings=True)
    assert all(torch.equal(a, b) for a, b in zip(said.ids, plain.ids, strict=True))
    assert not plain.ending.any()
    codes, end = tiny.vocabulary.codes("motion"), tiny.vocabulary.stop("motion")
    for row, ids in enumerate(said.ids):
        rows = sequence([Codes("motion", ids)], tiny.vocabulary, tiny.pieces, 40)[None]
        source = asked[row][None]
        with torch.no_grad():
            logits = tiny(source, torch.ones_like(source) > 0, rows, torch.ones_like(rows) > 0)[0, 1 : len(ids) + 2]
        share = torch.cat((logits[:, codes.start : codes.stop], logits[:, [end]]), dim=1).softmax(1)[:, -1]
        want = (1 - share[:-1]).log().sum() + share[-1].log()
        torch.testing.assert_close(said.ending[row], want, atol=1e-4, rtol=1e-3)


def test_reduced_precision_writes_well_formed_answers_too():
    tiny = model(seed=1)
    want = Decoder(tiny).write(prompts(tiny), "motion", 8, 8)
    for precision in ("bf16", "int8"):
        writer = Decoder(tiny, precision)
        said = writer.write(prompts(tiny), "motion", 8, 8)
        assert [len(one) for one in said.ids] == [8, 8, 8]
        torch.testing.assert_close(said.confidence, want.confidence, atol=0.3, rtol=0.3)
        for i in range(3):
            assert torch.equal(writer.write(prompts(tiny)[i : i + 1], "motion", 8, 8).ids[0], said.ids[i])


def test_impossible_requests_are_refused():
    tiny = model()
    writer, asked = Decoder(tiny), prompts(tiny)
    with pytest.raises(RequestError, match="1 <= min_codes <= max_codes"):
        writer.write(asked, "motion", 3, 4)
    with pytest.raises(RequestError, match="has 41 tokens, at most 40"):
        writer.write(asked, "motion", 38)
    with pytest.raises(RequestError, match="2 lengths were given for 3 prompts"):
        writer.write(asked, "motion", [3, 4])
    with pytest.raises(RequestError, match="no seeds were given for 3 items"):
        writer.write(asked, "motion", 3, temperature=1.0)
    with pytest.raises(RequestError, match=r"top_p 0\.0 above 0"):
        writer.write(asked, "motion", 3, top_p=0.0)
    with pytest.raises(RequestError, match="a prompt is empty"):
        writer.write([torch.tensor([], dtype=torch.long)], "motion", 3)
    with pytest.raises(RequestError, match="precision int8 is for T5 only"):
        Decoder(model("llama"), "int8")


# Checkpoints and networks from elsewhere


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_model_is_the_same(backbone: str, tied: bool, tmp_path):
    tiny = model(backbone, tied)
    save_checkpoint(tmp_path / "lm", tiny, {}, [], "test", "a card")
    loaded = load_checkpoint(tmp_path / "lm").model
    assert isinstance(loaded, MotionLM)
    assert loaded.config == tiny.config
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), tiny.parameters(), strict=True))
    names = dict(loaded.network.named_parameters(remove_duplicate=False))
    for other, first in tiny.other_names().items():
        assert names[other.removeprefix("network.")] is names[first.removeprefix("network.")]
    said = [Decoder(one).write(prompts(one), "motion", 6, 6).ids for one in (tiny, loaded)]
    assert all(torch.equal(a, b) for a, b in zip(*said, strict=True))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("rows", ["moments", "published"])
def test_a_text_model_keeps_its_text(backbone: str, rows: str):
    """A network with more rows than its tokenizer has pieces, as flan-T5's, gets those of motion and music."""
    words = PIECES
    donor = model(backbone, tied=False).network
    donor.resize_token_embeddings(310, mean_resizing=False)
    made = from_transformers(donor, words, "<pad>", "</s>", 16, 24, 40, rows, seed=3)  # type: ignore[arg-type]
    assert not made.config.tied
    old, new = donor.get_input_embeddings().weight, made.network.get_input_embeddings().weight
    assert len(new) == made.vocabulary.rows == 300 + 16 + 24 + 6
    assert torch.equal(old[:300], new[:300])
    if rows == "moments":
        torch.testing.assert_close(new[300:].std(), old[:300].std(), atol=0.1, rtol=0.1)
    else:
        torch.testing.assert_close(new[300:].std(), torch.tensor(1.0), atol=0.1, rtol=0.1)
        assert made.network.lm_head.weight[300:].abs().max() <= 32**-0.5
    text = torch.tensor([made.pieces.encode("a person waves")])
    ones = torch.ones_like(text)
    with torch.no_grad():
        if backbone == "t5":
            want = donor(input_ids=text, attention_mask=ones, decoder_input_ids=text).logits
            got = made.network(input_ids=text, attention_mask=ones, decoder_input_ids=text).logits
        else:
            want, got = (one(input_ids=text, attention_mask=ones).logits for one in (donor, made.network))
    torch.testing.assert_close(got[..., :300], want[..., :300], atol=1e-4, rtol=1e-4)
    again = from_transformers(donor, words, "<pad>", "</s>", 16, 24, 40, rows, seed=3)  # type: ignore[arg-type]
    assert torch.equal(again.network.get_input_embeddings().weight, new)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_folder_of_transformers_is_read(backbone: str, tmp_path):
    from transformers import PreTrainedTokenizerFast

    donor = model(backbone, tied=True)
    donor.network.save_pretrained(tmp_path)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=donor.pieces.tokenizer, eos_token="</s>", pad_token="<pad>", unk_token=None
    )
    fast.save_pretrained(tmp_path)
    made = from_folder(tmp_path, motion_codes=16, music_codes=24, max_tokens=40)
    assert (made.config.backbone, made.config.tied, made.config.width) == (backbone, True, 32)
    assert made.vocabulary.text == donor.vocabulary.text
    old, new = donor.network.get_input_embeddings().weight, made.network.get_input_embeddings().weight
    assert torch.equal(old[:300], new[:300])
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        from_folder(tmp_path)


def test_the_published_size():
    """flan-T5-base with 34,666 rows and a head of its own; listed under all its names the table makes it 304.7 M."""
    from tokenizers import Tokenizer, models

    table = {"<pad>": 0, "</s>": 1} | {f"w{i}": i for i in range(2, 32_100)}
    words = Tokenizer(models.WordLevel(table, unk_token="w2"))
    with torch.device("meta"):
        big = MotionLM(MotionLMConfig.published(words.to_str()))
    assert big.vocabulary.rows == 34_666
    assert sum(parameter.numel() for parameter in big.parameters()) == 251_476_224
    assert sum(p.numel() for _, p in big.named_parameters(remove_duplicate=False)) == 304_723_200


def test_wrong_configs_are_refused():
    with pytest.raises(RequestError, match="width is 0"):
        MotionLMConfig(width=0)
    with pytest.raises(RequestError, match="4 heads do not go with 2"):
        MotionLMConfig(kv_heads=2)
    with pytest.raises(RequestError, match="max_tokens is 3"):
        MotionLMConfig(max_tokens=3)
    assert json.loads(PIECES)["model"]["type"] == "BPE"


def test_other_networks_are_refused():
    from transformers import GPT2Config, GPT2LMHeadModel

    small = GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=8, n_layer=1, n_head=1))
    with pytest.raises(CheckpointError, match="'gpt2'; t5 and llama can be used"):
        from_transformers(small, PIECES, "<pad>", "</s>")

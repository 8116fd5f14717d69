"""Laws of the read-out in motion space: gradients, limits, padding, and a search that never does harm."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.errors import RequestError
from motionloom.models.language.joint import motion_error, motion_logits, search_again, soft_vectors
from motionloom.models.language.vocabulary import Vocabulary, pad_sequences
from motionloom.models.tokenizers.motion import MotionTokenizer, TokenizerConfig


def tokenizer(seed: int = 0) -> MotionTokenizer:
    torch.manual_seed(seed)
    made = MotionTokenizer(TokenizerConfig(features=6, width=16, depth=1, codes=12, code_dim=4))
    made.quantizer.codebook.normal_()
    return made.eval()


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


LENGTHS = torch.tensor([5, 2, 4])


def test_sure_distributions_are_the_codes_themselves():
    made, ids = tokenizer(), torch.randint(0, 12, (3, 5))
    sure = 100.0 * torch.nn.functional.one_hot(ids, 12).float()
    torch.testing.assert_close(soft_vectors(sure, made.quantizer.codebook), made.quantizer.lookup(ids))
    motion = made.decode(ids, LENGTHS)
    assert motion_error(sure, LENGTHS, made, motion.detach()) < 1e-5


def test_the_gradient_reaches_logits_and_decoder_but_not_the_codebook():
    made, logits = tokenizer(), numbers(3, 5, 12).requires_grad_()
    for hard in (False, True):
        logits.grad = None
        made.zero_grad()
        motion_error(logits, LENGTHS, made, numbers(3, 20, 6, seed=1), hard=hard).backward()
        assert logits.grad is not None
        inside = torch.arange(5) < LENGTHS[:, None]
        assert (logits.grad[inside].abs().sum(1) > 0).all()
        assert (logits.grad[~inside] == 0).all()
        assert all(p.grad is not None for p in made.decoder.parameters())
        assert all(p.grad is None for p in made.encoder.parameters())
        assert not made.quantizer.codebook.requires_grad


def test_hard_vectors_are_codes():
    made, logits = tokenizer(), numbers(2, 5, 12)
    want = made.quantizer.codebook[logits.argmax(-1)]
    torch.testing.assert_close(soft_vectors(logits, made.quantizer.codebook, hard=True), want)
    soft = soft_vectors(logits, made.quantizer.codebook, temperature=1e-4)
    torch.testing.assert_close(soft, want, atol=1e-4, rtol=1e-4)


def test_learning_by_the_motion_alone_finds_the_motion():
    """Coming from nothing, logits learn through the de-tokenizer alone."""
    made = tokenizer()
    motion = made.decode(torch.tensor([[3, 7, 1, 1, 9]])).detach()
    logits = torch.zeros(1, 5, 12, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.2)
    errors = []
    for _ in range(80):
        error = motion_error(logits, torch.tensor([5]), made, motion)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.3 * errors[0]


@torch.no_grad()
def test_padding_does_not_matter():
    made, logits, motion = tokenizer(), numbers(3, 5, 12), numbers(3, 20, 6, seed=1)
    whole = motion_error(logits, LENGTHS, made, motion)
    alone = [
        motion_error(logits[i : i + 1, :n], LENGTHS[i : i + 1], made, motion[i : i + 1, : 4 * n])
        for i, n in enumerate(LENGTHS.tolist())
    ]
    torch.testing.assert_close(whole, torch.stack(alone).mean(), atol=1e-5, rtol=1e-5)


@settings(max_examples=8)
@given(seed=st.integers(0, 99), candidates=st.integers(1, 11), rounds=st.integers(1, 2))
@torch.no_grad()
def test_a_search_never_does_harm_and_is_each_clips_own(seed: int, candidates: int, rounds: int):
    made, motion = tokenizer(seed % 3), numbers(3, 20, 6, seed=seed)
    ids = made.encode(motion, LENGTHS * 4)
    found = search_again(ids, LENGTHS, made, motion, candidates, rounds)
    inside = torch.arange(5) < LENGTHS[:, None]
    assert torch.equal(found[~inside], ids[~inside])

    def errors(of: torch.Tensor) -> torch.Tensor:
        apart = (made.decode(of, LENGTHS) - motion).abs().mean(2)
        return torch.stack([row[: 4 * n].mean() for row, n in zip(apart, LENGTHS.tolist(), strict=True)])

    assert (errors(found) <= errors(ids) + 1e-6).all()
    for i, n in enumerate(LENGTHS.tolist()):
        alone = search_again(
            ids[i : i + 1, :n], LENGTHS[i : i + 1], made, motion[i : i + 1, : 4 * n], candidates, rounds
        )
        assert torch.equal(alone[0], found[i, :n])


@torch.no_grad()
def test_a_search_repairs_a_wrong_code():
    made, ids = tokenizer(), torch.tensor([[3, 7, 1, 1, 9]])
    motion, wrong = made.decode(ids), torch.tensor([[5, 7, 1, 1, 9]])
    assert torch.equal(search_again(wrong, torch.tensor([5]), made, motion, candidates=11), ids)


def test_codes_are_found_in_an_answer():
    words = Vocabulary(20, 12, 5)
    answers = [torch.cat((words.wrap(numbers(n).argsort(), "motion"), torch.tensor([1]))) for n in (3, 5)]
    answer, _ = pad_sequences(answers, 0)
    logits, lengths = motion_logits(numbers(2, 8, words.rows), answer, words)
    assert logits.shape == (2, 5, 12)
    assert lengths.tolist() == [3, 5]
    torch.testing.assert_close(logits, numbers(2, 8, words.rows)[:, 1:6, 20:32])
    with pytest.raises(RequestError, match="an answer is no motion"):
        motion_logits(numbers(1, 4, words.rows), torch.tensor([[5, 6, 7, 1]]), words)


def test_errors_say_what_to_do():
    made = tokenizer()
    with pytest.raises(RequestError, match="11 logits for 12 codes"):
        soft_vectors(numbers(1, 5, 11), made.quantizer.codebook)
    with pytest.raises(RequestError, match="the motion has 12 frames of 6 features; 5 tokens need 20 of 6"):
        motion_error(numbers(3, 5, 12), LENGTHS, made, numbers(3, 12, 6))
    with pytest.raises(RequestError, match=r"0 candidates in 1 rounds; 1\.\.11"):
        search_again(torch.zeros(3, 5).long(), LENGTHS, made, numbers(3, 20, 6), candidates=0)
    with pytest.raises(RequestError, match="lengths run from 2 to 5 tokens"):
        motion_error(numbers(3, 4, 12), LENGTHS, made, numbers(3, 16, 6))

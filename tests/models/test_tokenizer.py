"""Laws of the motion tokenizer: lengths, padding, sizes, training."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.errors import CheckpointError, RequestError
from motionloom.models.masked.official import tokenizer_from_official
from motionloom.models.tokenizers.motion import MotionTokenizer, Norm, TokenizerConfig, tokenizer_loss


def features(seed: int, clips: int, frames: int, size: int = 12) -> torch.Tensor:
    return torch.randn(clips, frames, size, generator=torch.Generator().manual_seed(seed))


def model(norm: Norm = "none", seed: int = 0) -> MotionTokenizer:
    torch.manual_seed(seed)
    tokenizer = MotionTokenizer(TokenizerConfig(features=12, width=64, codes=16, code_dim=4, norm=norm))
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        tokenizer.quantizer.codebook.normal_()
    return tokenizer.eval()


@settings(max_examples=8, deadline=None)
@given(frames=st.integers(4, 70), seed=st.integers(0, 9))
def test_a_token_is_four_whole_frames(frames: int, seed: int):
    tokenizer = model(seed=seed)
    ids = tokenizer.encode(features(seed, 2, frames))
    assert ids.shape == (2, frames // 4)
    assert tokenizer.decode(ids).shape == (2, frames // 4 * 4, 12)


@pytest.mark.parametrize("norm", ["none", "LN", "GN", "BN"])
@torch.no_grad()
def test_a_clip_alone_equals_the_clip_in_a_padded_batch(norm: Norm):
    tokenizer = model(norm)
    close = 1e-4 if norm == "GN" else 1e-5  # statistics of a single frame are ill-conditioned
    lengths = torch.tensor([61, 8, 4, 40, 23])
    x = features(1, 5, 61)  # what stands behind a clip's end must not matter: noise, not zeros
    ids = tokenizer.encode(x, lengths)
    latents = tokenizer.latents(x, lengths)
    frames = tokenizer.decode(ids, lengths // 4)
    for i, length in enumerate(lengths.tolist()):
        n = length // 4
        alone = x[i : i + 1, :length]
        torch.testing.assert_close(latents[i, :n], tokenizer.latents(alone)[0], atol=close, rtol=close)
        assert torch.equal(ids[i, :n], tokenizer.encode(alone)[0])
        assert (ids[i, n:] == -1).all()
        torch.testing.assert_close(frames[i, : 4 * n], tokenizer.decode(ids[i : i + 1, :n])[0], atol=close, rtol=close)
        assert (frames[i, 4 * n :] == 0).all()


def test_training_lowers_the_loss_and_is_repeatable():
    ends = []
    for _ in range(2):
        torch.manual_seed(0)
        tokenizer = MotionTokenizer.tiny(features=12).train()
        optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=2e-3)
        x = features(0, 8, 32).cumsum(1)
        losses = []
        for _ in range(25):
            loss = tokenizer_loss(tokenizer(x), x, slice(4, 10))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.9 * losses[0]
        ends.append(losses[-1])
    assert ends[0] == ends[1]


def test_bfloat16_autocast_runs_and_trains():
    tokenizer = MotionTokenizer.tiny(features=12).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = tokenizer_loss(tokenizer(features(0, 2, 16)), features(0, 2, 16), slice(4, 10))
    loss.backward()
    assert all(parameter.grad is not None for parameter in tokenizer.parameters())


def test_the_published_size():
    with torch.device("meta"):
        tokenizer = MotionTokenizer(TokenizerConfig.published())
    assert sum(parameter.numel() for parameter in tokenizer.parameters()) == 17_961_767
    assert sum(parameter.numel() for parameter in tokenizer.encoder.parameters()) == 8_849_440
    assert tokenizer.quantizer.codebook.shape == (8192, 32)


def test_errors_say_what_to_do():
    tokenizer = model()
    with pytest.raises(RequestError, match=r"3 frames; a token needs 4"):
        tokenizer.encode(features(0, 1, 3))
    with pytest.raises(RequestError, match=r"5 features, the tokenizer needs 12"):
        tokenizer.encode(features(0, 1, 8, 5))
    with pytest.raises(RequestError, match=r"lengths run from 2 to 9 tokens"):
        tokenizer.decode(torch.zeros(2, 8, dtype=torch.long), torch.tensor([2, 9]))
    with pytest.raises(RequestError, match=r"codes is 0"):
        TokenizerConfig(codes=0)


def test_official_keys_must_be_known():
    with pytest.raises(CheckpointError, match="no official motion tokenizer"):
        tokenizer_from_official({"a": torch.zeros(1)})
    state = {
        "encoder.model.0.weight": torch.zeros(8, 12, 3),
        "encoder.model.2.1.model.0.conv1.weight": torch.zeros(8, 8, 3),
        "quantizer.codebook": torch.zeros(4, 2),
    }
    with pytest.raises(CheckpointError, match=r"unknown keys.*: encoder\.extra, quantizer\.x"):
        tokenizer_from_official(state | {"encoder.extra": torch.zeros(1), "quantizer.x": torch.zeros(1)})

"""Laws of the tokenizers and the transformer of body halves."""

import pytest
import torch

from motionloom.errors import RequestError
from motionloom.models.masked.upper_body import PartsTokenizer, PartsTokenizerConfig, PartsTransformer, sample_upper
from motionloom.models.tokenizers.motion import tokenizer_loss


def features(clips: int = 3, frames: int = 16) -> torch.Tensor:
    return torch.randn(clips, frames, 263, generator=torch.Generator().manual_seed(0))


def tokenizer() -> PartsTokenizer:
    torch.manual_seed(0)
    model = PartsTokenizer.tiny()
    for half in (model.upper, model.lower):
        half.quantizer.codebook.normal_()
    for name in ("mean", "mean_upper"):
        model.get_buffer(name).normal_()
    return model.eval()


def test_every_feature_belongs_to_one_half():
    columns = PartsTokenizer.tiny().columns
    assert sorted(columns.upper + columns.lower) == list(range(263))
    assert (len(columns.upper), len(columns.lower), len(columns.upper_heights)) == (156, 107, 13)


def test_lifting_the_body_leaves_the_upper_half_alone():
    model, low = tokenizer(), features()
    high = low.clone()
    high[..., [*model.columns.upper_heights, model.columns.root_height]] += 0.5
    torch.testing.assert_close(
        model.relative(high)[..., model.columns.upper], model.relative(low)[..., model.columns.upper]
    )
    torch.testing.assert_close(model.absolute(model.relative(low)), low)


@torch.no_grad()
def test_a_clip_alone_equals_the_clip_in_a_padded_batch():
    model, x, lengths = tokenizer(), features(), torch.tensor([16, 8, 13])
    ids = model.encode(x, lengths)
    decoded = model.decode(ids, lengths // 4)
    for i, length in enumerate(lengths.tolist()):
        tokens = length // 4
        alone = model.encode(x[i : i + 1, :length])
        assert torch.equal(ids[i, :tokens], alone[0])
        torch.testing.assert_close(decoded[i, : 4 * tokens], model.decode(alone)[0], atol=1e-5, rtol=1e-5)
        assert (decoded[i, 4 * tokens :] == 0).all()


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    model, x, losses = PartsTokenizer.tiny().train(), features(4, 32).cumsum(1), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(25):
        loss = tokenizer_loss(model(x), x, slice(4, 67))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]


def test_the_upper_half_is_made_and_follows_the_lower_one():
    torch.manual_seed(0)
    model = PartsTransformer.tiny().eval()
    for name in ("embedding.upper", "embedding.lower"):
        model.get_buffer(name).normal_(std=20)
    lengths, sentence, words = torch.tensor([12, 4]), torch.randn(2, 16), torch.randn(2, 5, 12)
    lower = torch.randint(32, (2, 13))
    ids = sample_upper(model, lower, lengths, sentence, words)
    motion = torch.arange(13) < lengths[:, None]
    assert (ids[motion] < 32).all()
    assert ids[0, 12] == ids[1, 4] == model.config.end_id
    assert (ids[1, 5:] == model.config.pad_id).all()
    assert not torch.equal(ids, sample_upper(model, (lower + 7) % 32, lengths, sentence, words))
    with pytest.raises(RequestError, match=r"lower ids have shape \(2, 5\); \(2, 13\) is needed"):
        sample_upper(model, lower[:, :5], lengths, sentence, words)
    with pytest.raises(RequestError, match="need 263 features and an even code_dim; got 251 and 64"):
        PartsTokenizerConfig(features=251)

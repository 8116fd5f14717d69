"""Laws of the length predictor."""

import pytest
import torch

from motionloom.errors import RequestError
from motionloom.models.length import LengthConfig, LengthPredictor, length_loss


def sentences(count: int = 6) -> torch.Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(0))


def predictor() -> LengthPredictor:
    torch.manual_seed(0)
    return LengthPredictor.tiny().eval()


def test_a_draw_does_not_depend_on_the_batch_and_is_never_zero():
    model, x = predictor(), sentences(200)
    together = model.sample(x, list(range(200)))
    assert together.min() >= 1
    assert together.max() <= 12
    assert len(together.unique()) > 6
    turned = model.sample(x.flip(0), list(reversed(range(200))))
    assert torch.equal(turned.flip(0), together)
    assert model.sample(x[7:8], [7])[0] == together[7]


def test_draws_follow_the_distribution():
    model, x = predictor(), sentences(1).expand(4000, -1)
    counts = torch.bincount(model.sample(x, list(range(4000))) - 1, minlength=12) / 4000
    torch.testing.assert_close(counts, model(x[:1])[0].softmax(0).detach(), atol=0.03, rtol=0)


def test_training_finds_the_lengths():
    torch.manual_seed(0)
    model, x, lengths = LengthPredictor.tiny(), sentences(), torch.tensor([1, 12, 3, 4, 5, 12])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(30):
        loss = length_loss(model(x), lengths, 0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal(model.eval().mode(x), lengths)


def test_errors_say_what_to_do():
    with pytest.raises(RequestError, match=r"lengths run from 0 to 5 tokens; they must be in 1\.\.12"):
        length_loss(torch.zeros(2, 12), torch.tensor([0, 5]))
    with pytest.raises(RequestError, match="1 seeds were given for 6 sentences"):
        predictor().sample(sentences(), [1])
    with pytest.raises(RequestError, match="max_tokens is 0; give a whole number"):
        LengthConfig(max_tokens=0)

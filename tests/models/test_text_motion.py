"""Laws of the text-motion encoder."""

import math

import pytest
import torch

from motionloom.errors import RequestError
from motionloom.models.text_motion.encoder import TextMotionConfig, TextMotionEncoder, contrastive_loss


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model() -> TextMotionEncoder:
    torch.manual_seed(0)
    network = TextMotionEncoder.tiny()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


@torch.no_grad()
def test_vectors_have_unit_length_and_padding_does_not_matter():
    network = model()
    frames = torch.tensor([32, 4, 17, 9])
    features = torch.randn(4, 32, 12, generator=seeded(0))
    together = network.embed_motions(features, frames)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(4))
    for i, count in enumerate(frames.tolist()):
        alone = network.embed_motions(features[i : i + 1, :count], frames[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=1e-5)
    sentence, words = torch.randn(3, 16, generator=seeded(1)), torch.randn(3, 5, 12, generator=seeded(2))
    valid = torch.arange(5) < torch.tensor([[5], [2], [3]])
    texts = network.embed_texts(sentence, words, valid)
    words[~valid] = 50.0
    torch.testing.assert_close(network.embed_texts(sentence, words, valid), texts)
    torch.testing.assert_close(
        network.embed_texts(sentence[1:2], words[1:2, :2], valid[1:2, :2])[0], texts[1], atol=1e-5, rtol=1e-5
    )


def test_the_loss_by_hand():
    even = torch.zeros(2, 2)
    assert contrastive_loss(even, torch.eye(2, dtype=torch.bool)).item() == pytest.approx(math.log(2))
    sure = torch.tensor([[50.0, -50.0], [-50.0, 50.0]])
    assert contrastive_loss(sure, torch.eye(2, dtype=torch.bool)).item() == pytest.approx(0.0, abs=1e-6)
    # Where both motions fit both texts, sureness is wrong, and evenness as good as it gets.
    both = torch.ones(2, 2, dtype=torch.bool)
    assert contrastive_loss(sure, both) > contrastive_loss(even, both)


def test_training_brings_pairs_together():
    torch.manual_seed(0)
    network = TextMotionEncoder.tiny()
    features = torch.randn(6, 16, 12, generator=seeded(0))
    frames = torch.full((6,), 16)
    sentence, words = torch.randn(6, 16, generator=seeded(1)), torch.randn(6, 4, 12, generator=seeded(2))
    valid = torch.ones(6, 4, dtype=torch.bool)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(40):
        logits = network(features, frames, sentence, words, valid)
        loss = contrastive_loss(logits, torch.eye(6, dtype=torch.bool))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        logits = network.eval()(features, frames, sentence, words, valid)
    assert torch.equal(logits.argmax(1), torch.arange(6))
    assert torch.equal(logits.argmax(0), torch.arange(6))


def test_errors_say_what_to_do():
    network = model()
    with pytest.raises(RequestError, match=r"motions have 3 to 40 frames; this model reads 4 to 32: cut them"):
        network.embed_motions(torch.zeros(2, 40, 12), torch.tensor([3, 40]))
    with pytest.raises(RequestError, match="width 10 is not divisible by 4"):
        TextMotionConfig(width=10)

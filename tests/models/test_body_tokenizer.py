"""Laws of the tokenizer with a codebook for each part of the body."""

import pytest
import torch
from corpus import walk
from torch.nn import functional as F

from motionloom.errors import RequestError
from motionloom.models.tokenizers.body_parts import PARTS, BodyTokenizer, BodyTokenizerConfig, part_columns
from motionloom.models.tokenizers.quantize import EMAQuantizer
from motionloom.motion import rotations as rot
from motionloom.motion.features.humanml3d import encode_features
from motionloom.motion.features.layout import LAYOUTS
from motionloom.motion.skeleton import CANONICAL


def features(seed: int, clips: int, frames: int) -> torch.Tensor:
    return torch.randn(clips, frames, 263, generator=torch.Generator().manual_seed(seed))


def model(seed: int = 0) -> BodyTokenizer:
    torch.manual_seed(seed)
    tokenizer = BodyTokenizer.tiny()
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for quantizer in tokenizer.quantizers:
            assert isinstance(quantizer, EMAQuantizer)
            quantizer.codebook.normal_()
    return tokenizer.eval()


@torch.no_grad()
def test_a_clip_alone_equals_the_clip_in_a_padded_batch():
    tokenizer = model()
    lengths = torch.tensor([61, 8, 4, 40, 23])
    x = features(1, 5, 61)
    ids = tokenizer.encode(x, lengths)
    frames = tokenizer.decode(ids, lengths // 4)
    assert ids.shape == (5, 15, len(PARTS))
    for i, length in enumerate(lengths.tolist()):
        n = length // 4
        assert torch.equal(ids[i, :n], tokenizer.encode(x[i : i + 1, :length])[0])
        assert (ids[i, n:] == -1).all()
        alone = tokenizer.decode(ids[i : i + 1, :n])[0]
        torch.testing.assert_close(frames[i, : 4 * n], alone, atol=1e-5, rtol=1e-5)
        assert (frames[i, 4 * n :] == 0).all()


def test_every_joint_and_the_root_belong_to_one_part():
    joints = sorted(joint for part in PARTS.values() for joint in part)
    assert joints == list(range(1, len(CANONICAL)))
    columns = part_columns()
    assert list(columns) == list(PARTS)
    rotations = LAYOUTS["humanml3d"].slices["rotations"]
    read = sorted(column for part in columns.values() for column in part if rotations.start <= column < rotations.stop)
    assert read == list(range(rotations.start, rotations.stop))
    assert {0, 1, 2, 3, 259, 262} <= set(columns["lower"])


@pytest.mark.parametrize(
    ("joint", "changed"),
    [("spine2", {"torso"}), ("left_shoulder", {"left_arm"}), ("right_elbow", {"right_arm"}), ("head", {"torso"})],
)
def test_turning_a_joint_changes_the_latents_of_its_part_only(joint: str, changed: set[str]):
    tokenizer = model()
    motion = walk(80, 0, fps=20.0)
    rotations = motion.rotations.clone()
    index = CANONICAL.names.index(joint)
    turn = rot.about("X", torch.tensor(0.6))
    rotations[:, index] = rot.multiply(rotations[:, index], turn.expand(80, 4))
    with torch.no_grad():
        before = tokenizer.latents(encode_features(motion)[None])
        after = tokenizer.latents(encode_features(motion.with_(rotations=rotations))[None])
    moved = {part for part, a, b in zip(PARTS, before, after, strict=True) if not torch.allclose(a, b, atol=1e-4)}
    assert moved == changed


def test_the_trunk_does_not_see_how_high_the_body_is():
    tokenizer = model()
    tokenizer.std.uniform_(0.5, 2.0)
    slices = LAYOUTS["humanml3d"].slices
    low = features(0, 1, 16)
    metres = torch.zeros(263)
    metres[slices["height"]] = 0.3
    metres[slices["positions"]][1::3] = 0.3
    with torch.no_grad():
        before, after = tokenizer.latents(low), tokenizer.latents(low + metres / tokenizer.std)
    torch.testing.assert_close(before[1], after[1], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(before[0], after[0], atol=1e-3)


def test_training_lowers_the_loss_and_moves_every_codebook():
    torch.manual_seed(0)
    tokenizer = BodyTokenizer.tiny().train()
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=2e-3)
    x = features(0, 8, 32).cumsum(1) / 4
    losses = []
    for _ in range(40):
        output = tokenizer(x)
        loss = F.smooth_l1_loss(output.reconstruction, x) + 0.02 * output.commitment
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    assert all(bool(quantizer.get_buffer("initialised")) for quantizer in tokenizer.quantizers)
    assert tokenizer.encode(x).shape == (8, 8, 4)


def test_errors_say_what_to_do():
    tokenizer = model()
    with pytest.raises(RequestError, match=r"3 frames; a token needs 4"):
        tokenizer.encode(features(0, 1, 3))
    with pytest.raises(RequestError, match=r"5 features, the tokenizer needs 263"):
        tokenizer.encode(features(0, 1, 8)[..., :5])
    with pytest.raises(RequestError, match=r"token ids run from 40 to 40, the codebook has 0..31"):
        tokenizer.decode(torch.full((1, 2, 4), 40))
    with pytest.raises(RequestError, match=r"one for each of lower, torso, left_arm, right_arm"):
        BodyTokenizerConfig(part_widths=(8, 8))
    with pytest.raises(RequestError, match=r"body parts need 263 features; got 251"):
        BodyTokenizerConfig(features=251)

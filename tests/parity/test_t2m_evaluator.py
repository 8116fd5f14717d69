"""The text-to-motion evaluator against the published code's numbers (random weights, float32)."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from motionloom.models.masked.official import evaluator_from_official
from motionloom.models.text_motion.guo import Evaluator

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"


@pytest.fixture(scope="module")
def want() -> dict[str, torch.Tensor]:
    path = FIXTURES / "eval_tiny_t2m.io.safetensors"
    if not path.exists():
        pytest.skip(f"parity fixture {path.name} is not on this machine")
    return load_file(path)


@pytest.fixture(scope="module")
def model(want) -> Evaluator:
    config, state = evaluator_from_official(load_file(FIXTURES / "eval_tiny_t2m.state.safetensors"))
    network = Evaluator(config)
    network.load_state_dict(state, strict=True)
    return network.eval()


def close(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_movements_agree(model, want):
    close(model.movement(want["motions"]), want["movements"])


@torch.no_grad()
def test_motion_embeddings_agree_in_a_batch_and_alone(model, want):
    close(model.embed_motions(want["motions"], want["m_lens"]), want["motion_emb"])
    for row, frames in enumerate(want["m_lens"].tolist()):
        alone = model.embed_motions(want["motions"][row : row + 1, :frames], torch.tensor([frames]))
        close(alone[0], want["motion_emb"][row])


@torch.no_grad()
def test_text_embeddings_agree_in_any_order(model, want):
    close(model.embed_texts(want["word"], want["pos"], want["sent_len"]), want["text_emb"])
    order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
    close(model.embed_texts(want["word"][order], want["pos"][order], want["sent_len"][order]), want["text_emb"][order])

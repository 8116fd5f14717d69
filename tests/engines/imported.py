"""What tests of imported models share: the fixtures' official states, statistics of a body, a text tower."""

from pathlib import Path

import make
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from motionloom.motion.features.humanml3d_published import encode_published
from motionloom.motion.features.layout import LAYOUTS

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"


def official(name: str) -> dict[str, torch.Tensor]:
    """An official state dict; skips where the fixtures are not."""
    path = FIXTURES / f"{name}.state.safetensors"
    if not path.exists():
        pytest.skip(f"parity fixture {path.name} is not on this machine")
    return load_file(path)


def facts(name: str) -> dict[str, str]:
    """What a fixture says of itself."""
    with safe_open(FIXTURES / f"{name}.state.safetensors", "pt") as file:
        return file.metadata() or {}


def write_statistics(folder: Path) -> tuple[Path, Path]:
    """Mean and spread near a body that stands: random weights then move a person, not a cloud of points."""
    folder.mkdir(parents=True, exist_ok=True)
    features = encode_published(make.motion(frames=100, seed=3).positions, LAYOUTS["humanml3d"])
    np.save(folder / "mean.npy", features.mean(0).numpy())
    np.save(folder / "std.npy", np.full(263, 0.02, np.float32))
    return folder / "mean.npy", folder / "std.npy"

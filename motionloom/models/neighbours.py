"""What a frame of the diffusion model sees of the frames right beside it; no part of the published network."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from motionloom.models.diffusion_config import Clips, DiffusionConfig

_USUAL_FRAME = 1 / 20
"""Seconds of a frame at which the weights of neighbours are the first row of theirs."""


class Neighbours(nn.Module):
    """Frames nearby, added to each frame: a weight for each channel and distance, that changes with the frame rate.

    Templates are smooth over a second, so what tells noise from motion within a tenth of it must come from here.
    """

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.reach = config.local
        self.weights = nn.Parameter(torch.zeros(2, 2 * config.local + 1, config.width))

    def forward(self, x: Float[Tensor, "R T D"], clips: Clips) -> Float[Tensor, "R T D"]:
        """Add the neighbours; behind a clip's ends there are none."""
        pace = -torch.log(clips.seconds / _USUAL_FRAME)[:, None, None]
        weights = self.weights[0] + pace * self.weights[1]
        inside = F.pad(x * clips.frames[..., None], (0, 0, self.reach, self.reach))
        frames = x.shape[1]
        near = (inside[:, step : step + frames] * weights[:, None, step] for step in range(2 * self.reach + 1))
        return x + torch.stack(list(near)).sum(0)

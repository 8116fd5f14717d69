"""How smooth a motion is where pieces of it meet.

Jerk is the size of the third difference of a joint's place over time, of the joint where it is largest, as in
FlowMDM's peak jerk (Barquero et al., CVPR 2024); a seam is judged by the clip's own jerk, since a run has more of it
than a stroll.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import MotionError

LIMIT = 1.5
"""A seam is smooth if its jerk is at most this many times the clip's 95th percentile."""


@dataclass(frozen=True)
class SeamJerk:
    """Jerk at the seams of a motion and elsewhere.

    Attributes:
        seams: Largest jerk at each seam [m/s³], in order.
        usual: 95th percentile of the jerk of the frames that touch no seam [m/s³].
    """

    seams: tuple[float, ...]
    usual: float

    @property
    def ratio(self) -> float:
        """Jerk of the worst seam over the usual; 0 without seams."""
        return max(self.seams, default=0.0) / max(self.usual, 1e-9)

    @property
    def smooth(self) -> bool:
        """Whether every seam is smooth."""
        return self.ratio <= LIMIT


def seam_jerk(positions: Float[Tensor, "T J 3"], fps: float, seams: Sequence[int]) -> SeamJerk:
    """Measure the jerk at seams.

    A seam at frame i lies between frames i - 1 and i; every third difference that crosses it counts to it.

    Args:
        positions: World positions of the joints [m].
        fps: Frames a second.
        seams: Frames at which something new begins, each in 1..T-1.

    Raises:
        MotionError: A seam lies outside the motion, or there are fewer than four frames.
    """
    if len(positions) < 4:
        raise MotionError(f"{len(positions)} frames have no jerk; at least 4 are needed")
    outside = [seam for seam in seams if not 0 < seam < len(positions)]
    if outside:
        raise MotionError(f"seams {outside} lie outside the motion; they must be in 1..{len(positions) - 1}")
    jerk = torch.diff(positions, n=3, dim=0).norm(dim=-1).amax(dim=-1) * fps**3
    crossing = [jerk[max(0, seam - 3) : seam] for seam in seams]
    free = torch.ones(len(jerk), dtype=torch.bool)
    for seam in seams:
        free[max(0, seam - 3) : seam] = False
    usual = jerk[free] if bool(free.any()) else jerk
    return SeamJerk(tuple(float(part.max()) for part in crossing), float(torch.quantile(usual, 0.95)))

"""Feature layouts with named slices, and what all of them share: smoothing, and the root path from its steps."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import LayoutError
from motionloom.motion import rotations as rot

SMOOTHING = 0.15
"""Standard deviation [s] of the Gaussian that smooths the facing direction."""


@dataclass(frozen=True)
class Layout:
    """A feature vector with named slices.

    Attributes:
        name: "humanml3d" or "kit".
        joints: Number of joints J; the size is 12 J - 1.
        fps: Frame rate the layout is published for.
    """

    name: str
    joints: int
    fps: float

    @property
    def size(self) -> int:
        """Number of features D."""
        return 4 + 9 * (self.joints - 1) + 3 * self.joints + 4

    @property
    def slices(self) -> dict[str, slice]:
        """Name of each block -> where it stands.

        yaw: half the yaw step to the next frame [rad]; velocity: root step in x, z in the facing frame; height:
        root y; positions: joints 1.. relative to the root's x, z in the facing frame; rotations: 6D, joints 1..;
        velocities: all joints' steps in the facing frame; contacts: left ankle, left toe, right ankle, right toe.
        """
        sizes = {
            "yaw": 1,
            "velocity": 2,
            "height": 1,
            "positions": 3 * (self.joints - 1),
            "rotations": 6 * (self.joints - 1),
            "velocities": 3 * self.joints,
            "contacts": 4,
        }
        found, start = {}, 0
        for name, size in sizes.items():
            found[name] = slice(start, start + size)
            start += size
        return found


LAYOUTS = {"humanml3d": Layout("humanml3d", 22, 20.0), "kit": Layout("kit", 21, 12.5)}


def layout(name: str) -> Layout:
    """The layout of that name.

    Raises:
        LayoutError: There is none.
    """
    if name not in LAYOUTS:
        raise LayoutError(f"layout {name!r} is unknown; the layouts are {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def smooth(track: Float[Tensor, "T C"], sigma: float) -> Float[Tensor, "T C"]:
    """Gaussian filter along time, the first and last value repeated outside; ``sigma`` in frames."""
    radius = int(4 * sigma + 0.5)
    if radius == 0:
        return track
    steps = torch.arange(-radius, radius + 1, dtype=track.dtype)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    padded = torch.cat((track[:1].expand(radius, -1), track, track[-1:].expand(radius, -1)))
    return torch.nn.functional.conv1d(padded.T[:, None], (kernel / kernel.sum())[None, None])[:, 0].T


def root_path(
    features: Float[Tensor, "*batch T D"],
) -> tuple[Float[Tensor, "*batch T"], Float[Tensor, "*batch T 3"]]:
    """Heading about +Y [rad] and root position [m] of features; the first frame faces +Z over the origin.

    Same integration as the dataset's ``recover_from_ric``: feature 0 is half the yaw step, of the rotation that
    leads from the world to the facing frame.
    """
    slices = LAYOUTS["humanml3d"].slices
    start = torch.zeros_like(features[..., :1, 0])
    angle = -2.0 * torch.cat((start, features[..., :-1, 0].cumsum(-1)), dim=-1)
    step = torch.zeros_like(features[..., :3])
    step[..., 1:, 0] = features[..., :-1, slices["velocity"]][..., 0]
    step[..., 1:, 2] = features[..., :-1, slices["velocity"]][..., 1]
    path = rot.rotate(rot.about("Y", angle), step).cumsum(-2)
    height = features[..., slices["height"]]
    return angle, torch.cat((path[..., :1], height, path[..., 2:]), dim=-1)

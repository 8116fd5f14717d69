"""The unified layout of 669 features a frame: named slices, ten body parts, options, masks and statistics.

One row holds a frame of a body with hands and face (52 joints in the order of SMPL+H, 50 face coefficients). Each
number belongs to exactly one of the ten parts of ``skeleton.PARTS``, so a clip that lacks hands, face, legs or the
root has whole parts missing and nothing else. ``unified.py`` writes and reads rows; ``unified_published.py`` has the
release's way to them.

Source: Zhang et al., "Large Motion Model for Unified Multi-Modal Motion Generation" (ECCV 2024, arXiv 2404.01284),
section 3.2, and its release. Parity: ``tests/parity/test_lmm_convert.py``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motionloom.errors import LayoutError
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS, JOINT_PARTS, MIRROR_HANDS, PARTS

SIZE = 669
JOINTS = len(CANONICAL_HANDS)
EXPRESSION = 50
BODY = len(CANONICAL)

SLICES = {
    "yaw": slice(0, 1),
    "velocity": slice(1, 3),
    "height": slice(3, 4),
    "positions": slice(4, 157),
    "rotations": slice(157, 463),
    "velocities": slice(463, 619),
    "face": slice(619, 669),
}
"""Name of each block -> where it stands.

yaw: turning speed [rad/s], to the left; velocity: the root's along x, z of the facing frame [m/s]; height: root y [m];
positions: joints 1.. relative to the root's x, z in the facing frame [m]; rotations: 6D, joints 1..; velocities: of all
joints in the facing frame [m/s]; face: expression coefficients. With ``MotionVerseOptions.published`` velocities are
steps a frame and yaw is half an angle.
"""

LEAN = (463, 465)
"""Columns of the pelvis' lean about x and z [rad], with ``pelvis="lean"``: what the release keeps there follows from
``yaw`` and ``velocity``. Column 464, the root's vertical velocity, is the same in both."""

HANDS = [PARTS.index("left_hand"), PARTS.index("right_hand")]
FACE = PARTS.index("face")
SWAP = [0, 1, 2, 4, 3, 6, 5, 7, 8, 9]
"""The ten parts with arms and legs exchanged: our names as the release's, and back."""


@dataclass(frozen=True)
class MotionVerseOptions:
    """Choices of the codec. The defaults are right; ``published()`` is the release, slip for slip."""

    rotations: Literal["parent", "chains"] = "parent"
    """What the rotation block holds: "parent" are real rotations relative to the parent joint. "chains" are fitted to
    positions along chains that all start from the root's heading, so an arm knows nothing of its spine, and twist is
    lost; the release does this to every clip without SMPL rotations, BVH files with rotations of their own among
    them."""
    six: Literal["columns", "rows"] = "columns"
    """6D form of a rotation: two columns of its matrix (Zhou et al.) or two rows (PyTorch3D). The release writes
    columns for "chains" and rows for SMPL rotations into the same slots."""
    heading: Literal["pelvis", "trunk"] = "pelvis"
    """Which way a body faces: "pelvis" is the yaw of the root's rotation, so no other part has a say and a part that
    is missing changes nothing. "trunk" is measured on hips and shoulders, as in the release."""
    pelvis: Literal["lean", "velocity"] = "lean"
    """What columns 463 and 465 hold: "lean" is how the pelvis is tilted, without which its rotation is lost.
    "velocity" is the root's velocity, seen from one frame earlier than the one that columns 1 and 2 hold already."""
    per_frame: bool = False
    """Whether steps are per frame, not per second, so that the same motion has other features at another frame rate;
    yaw is then half the angle, to the right."""
    flipped_turns: bool = False
    """Whether the step over a heading of 180 degrees gets the wrong sign (a quaternion and its negative are one
    rotation), so that the rest of the clip is off by two steps."""
    smoothing: float = 0.0
    """Standard deviation [frames] of a Gaussian over the "trunk" heading. The release takes 20 frames at any frame
    rate: a second and more at the low ones, so the body turns without its heading."""
    forced_start: bool = False
    """Whether frame 0 is said to face +Z though its smoothed heading does not: the first yaw step is then too large."""
    reversed_hips: bool = False
    """Whether the hips enter the "trunk" heading with the wrong sign (left for right), as in HumanML3D."""
    swapped_sides: bool = False
    """Whether the parts named left arm and left leg are the right ones and the reverse; the hands are not swapped."""
    one_hand_flag: bool = False
    """Whether the left hand's flag decides about both hands: an absent right hand is then taken for a present one."""
    keeps_unknown: bool = False
    """Whether unknown parts (other than hands) keep the numbers that were found in their place; else they are 0."""
    permuted_fingers: bool = False
    """Whether mirroring pairs index with pinky, ring with index, thumb with ring and pinky with thumb."""
    asked_fps: bool = False
    """Whether a thinned clip is labelled with the rate that was asked for, not with the one it has (30 fps asked to
    be 20 stay 30 and are called 20), and the stride is cut, not rounded."""
    nan_to_zero: bool = False
    """Whether NaN becomes 0 without a word; else it is refused."""

    def __post_init__(self) -> None:
        if self.rotations == "chains" and (self.heading, self.pelvis) != ("trunk", "velocity"):
            raise LayoutError(
                "rotations='chains' knows no rotation of the pelvis: use heading='trunk' and pelvis='velocity'"
            )
        if self.pelvis == "lean" and self.heading != "pelvis":
            raise LayoutError("pelvis='lean' is relative to the pelvis' own heading: use heading='pelvis'")
        if self.smoothing and self.heading != "trunk":
            raise LayoutError(f"only the trunk's heading is smoothed; smoothing is {self.smoothing}: use 0")

    @classmethod
    def published(
        cls, rotations: Literal["parent", "chains"] = "chains", smoothing: float = 20.0
    ) -> "MotionVerseOptions":
        """The release's converter: "chains" for its ``h3d_rot`` (and ``bvh_rot``), "parent" for its ``smpl_rot``."""
        return cls(
            rotations=rotations,
            six="columns" if rotations == "chains" else "rows",
            heading="trunk",
            pelvis="velocity",
            per_frame=True,
            flipped_turns=True,
            smoothing=smoothing,
            forced_start=True,
            reversed_hips=True,
            swapped_sides=True,
            one_hand_flag=True,
            keeps_unknown=True,
            permuted_fingers=True,
            asked_fps=True,
            nan_to_zero=True,
        )


CORRECT = MotionVerseOptions()
"""The defaults."""


@lru_cache(maxsize=8)
def joint_parts(options: MotionVerseOptions = CORRECT) -> tuple[int, ...]:
    """For each of the 52 joints the index in ``PARTS`` of the part it belongs to."""
    names = [JOINT_PARTS[name] for name in CANONICAL.names] + ["left_hand"] * 15 + ["right_hand"] * 15
    if options.swapped_sides:
        names = [PARTS[SWAP[PARTS.index(name)]] for name in names]
    return tuple(PARTS.index(name) for name in names)


def joint_columns(joint: int) -> list[int]:
    """Columns of a joint: position, rotation, velocity; those of joint 0 are the root's."""
    if joint == 0:
        return [0, 1, 2, 3, 463, 464, 465]
    position, rotation, velocity = (SLICES[name].start for name in ("positions", "rotations", "velocities"))
    return [
        *range(position + 3 * (joint - 1), position + 3 * joint),
        *range(rotation + 6 * (joint - 1), rotation + 6 * joint),
        *range(velocity + 3 * joint, velocity + 3 * (joint + 1)),
    ]


@lru_cache(maxsize=8)
def part_columns(options: MotionVerseOptions = CORRECT) -> dict[str, tuple[int, ...]]:
    """Columns of each of the ten parts, joint by joint; every column stands in exactly one part."""
    found: dict[str, list[int]] = {part: [] for part in PARTS}
    for joint, part in enumerate(joint_parts(options)):
        found[PARTS[part]].extend(joint_columns(joint))
    found["face"].extend(range(SLICES["face"].start, SLICES["face"].stop))
    return {part: tuple(columns) for part, columns in found.items()}


@lru_cache(maxsize=8)
def _part_of_column(options: MotionVerseOptions) -> Int[Tensor, " D"]:
    found = torch.empty(SIZE, dtype=torch.long)
    for index, columns in enumerate(part_columns(options).values()):
        found[list(columns)] = index
    return found


def spread_mask(mask: Tensor, options: MotionVerseOptions = CORRECT) -> Tensor:
    """A mask over parts ``[..., 10]`` as a mask over features ``[..., 669]``; any dtype.

    Raises:
        LayoutError: The last axis is not ten parts.
    """
    if mask.shape[-1] != len(PARTS):
        raise LayoutError(f"a mask of shape {tuple(mask.shape)} has no ten parts on its last axis: {', '.join(PARTS)}")
    return mask[..., _part_of_column(options).to(mask.device)]


def known_joints(mask: Bool[Tensor, "*batch 10"], options: MotionVerseOptions = CORRECT) -> Bool[Tensor, "*batch 52"]:
    """Which joints the known parts hold."""
    return mask[..., list(joint_parts(options))]


@dataclass(frozen=True, eq=False)
class MotionVerseFeatures:
    """Features of a clip and which of their parts are known.

    Attributes:
        features: One row a frame, not normalised.
        mask: Which parts are known; with ``swapped_sides`` under the names of the release.
        fps: Frames a second.
        start: Where frame 0 stands: root x, root z [m] and heading [rad]; ``None`` is over the origin, facing +Z.

    Raises:
        LayoutError: Widths are not 669 and ten, lengths differ, there are no rows, a number is NaN or infinite, or
            the frame rate is not positive.
    """

    features: Float[Tensor, "N D"]
    mask: Bool[Tensor, "M P"]
    fps: float
    start: Float[Tensor, "3"] | None = None

    def __post_init__(self) -> None:
        rows, width = self.features.shape
        if width != SIZE:
            raise LayoutError(f"{width} features a frame do not fit the unified layout, which has {SIZE}")
        if rows == 0:
            raise LayoutError("there are no rows; at least one is needed")
        if self.mask.shape != (rows, len(PARTS)):
            raise LayoutError(f"the part mask is {tuple(self.mask.shape)}; {rows} rows need ({rows}, {len(PARTS)})")
        if not 0 < self.fps < float("inf"):
            raise LayoutError(f"fps is {self.fps}; it must be a positive number")
        if not torch.isfinite(self.features).all():
            raise LayoutError("the features hold NaN or infinite values; a model that makes them has diverged")

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True, eq=False)
class MotionVerseStats:
    """Mean and standard deviation of the features, over their known cells."""

    mean: Float[Tensor, "669"]
    std: Float[Tensor, "669"]

    def normalize(
        self, features: Float[Tensor, "*batch 669"], mask: Tensor, options: MotionVerseOptions = CORRECT
    ) -> Float[Tensor, "*batch 669"]:
        """Z-scores; those of unknown parts are exactly 0 (the mean of the known ones), unless ``keeps_unknown``.

        Raises:
            LayoutError: ``mask`` does not fit the features.
        """
        if mask.shape[:-1] != features.shape[:-1]:
            raise LayoutError(f"features {tuple(features.shape)} and part mask {tuple(mask.shape)} differ in frames")
        scores = (features - self.mean.to(features)) / self.std.to(features)
        known = spread_mask(mask, options).bool()
        return scores if options.keeps_unknown else torch.where(known, scores, 0.0)

    def denormalize(self, scores: Float[Tensor, "*batch 669"]) -> Float[Tensor, "*batch 669"]:
        """Features of z-scores; cells of unknown parts come back as the mean and are still unknown."""
        return scores * self.std.to(scores) + self.mean.to(scores)


def pad_rows(
    features: Float[Tensor, "N 669"], mask: Bool[Tensor, "N 10"], size: int
) -> tuple[Float[Tensor, "S 669"], Bool[Tensor, "S 10"]]:
    """Rows and part mask brought to ``size`` rows; the new ones are 0 and know no part.

    Raises:
        LayoutError: There are more rows than ``size``.
    """
    if len(features) > size:
        raise LayoutError(f"{len(features)} rows do not fit into {size}; cut the clip first")
    extra = size - len(features)
    return torch.nn.functional.pad(features, (0, 0, 0, extra)), torch.nn.functional.pad(mask, (0, 0, 0, extra))


def measure_stats(
    clips: Iterable[tuple[Float[Tensor, "N 669"], Bool[Tensor, "N 10"]]],
    by_block: bool = True,
    options: MotionVerseOptions = CORRECT,
    floor: float = 1e-3,
) -> MotionVerseStats:
    """Statistics of clips, each the features and the part mask that ``encode_motionverse`` gives.

    Args:
        clips: Read once.
        by_block: Whether all columns of a block share one standard deviation, as in the release: a column that
            hardly moves is then not blown up.
        options: Codec of the features.
        floor: Smallest standard deviation.

    Returns:
        Columns that no clip knows have mean 0 and standard deviation 1.

    Raises:
        LayoutError: No cell of any clip is known.
    """
    count, total, square = (torch.zeros(SIZE, dtype=torch.float64) for _ in range(3))
    for features, mask in clips:
        known = spread_mask(mask, options)
        values = torch.where(known, features.double(), 0.0)
        count += known.sum(0)
        total += values.sum(0)
        square += values.square().sum(0)
    if not count.any():
        raise LayoutError("no part of any clip is known; statistics need at least one known cell")
    seen = count > 0
    mean = total / count.clamp(min=1)
    variance = (square / count.clamp(min=1) - mean.square()).clamp(min=0.0)
    if by_block:
        blocks = [torch.arange(SIZE)[block] for block in SLICES.values()]
        if options.pelvis == "lean":
            blocks[list(SLICES).index("velocities")] = torch.tensor([464, *range(466, SLICES["velocities"].stop)])
            blocks.append(torch.tensor(LEAN))
        for block in blocks:
            here = block[seen[block]]
            variance[here] = (variance[here] * count[here]).sum() / count[here].sum().clamp(min=1)
    std = torch.where(seen, variance.sqrt().clamp(min=floor), 1.0)
    return MotionVerseStats(mean.float(), std.float())


@lru_cache(maxsize=1)
def mirror_columns() -> tuple[Int[Tensor, " D"], Float[Tensor, " D"]]:
    """Column order and signs that mirror features of the default options: ``features[..., order] * signs``.

    The mask is mirrored with ``MIRROR_PARTS``. Face coefficients have no left and right and stay.
    """
    order, signs = torch.arange(SIZE), torch.ones(SIZE)
    # Reflection S = diag(-1, 1, 1): v -> S v and R -> S R S; a lean about z changes sides, one about x does not.
    pattern = torch.tensor([-1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0])
    for joint in range(1, JOINTS):
        order[joint_columns(joint)] = torch.tensor(joint_columns(MIRROR_HANDS[joint]))
        signs[joint_columns(joint)] = pattern
    signs[joint_columns(0)] = torch.tensor([-1.0, -1.0, 1.0, 1.0, 1.0, 1.0, -1.0])
    return order, signs


MIRROR_PARTS = tuple(
    PARTS.index(part.replace("left_", "@").replace("right_", "left_").replace("@", "right_")) for part in PARTS
)
"""For each part the index of its mirror image: ``mask[..., MIRROR_PARTS]``."""

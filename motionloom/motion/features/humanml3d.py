"""Feature layouts with named slices, and the 263-layout with true parent-relative rotations.

Two forms of the HumanML3D layout exist. ``rotation="published"`` (``humanml3d.py``) is the dataset's own, whose
rotations are fitted to positions and have no twist. ``rotation="parent"``, here, is what our models train on: same
slices, but the 6D block holds the joints' real rotations. The layout has no slot for the pelvis' own rotation, so
the children of the pelvis are written relative to the facing frame, and the pelvis is read back from where those
three children sit; nothing is lost and nothing is fitted.

Source of the layout: Guo et al., "Generating diverse and natural 3D human motions from text" (CVPR 2022), section 3.
"""

from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from motionloom.errors import LayoutError
from motionloom.motion import rotations as rot
from motionloom.motion.contacts import foot_contacts
from motionloom.motion.features.layout import LAYOUTS, SMOOTHING, root_path, smooth
from motionloom.motion.kinematics import facing, yaw
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL, MIRROR, Skeleton


def encode_features(motion: Motion) -> Float[Tensor, "T 263"]:
    """A motion of the canonical body as 263 features a frame, ``rotation="parent"``.

    The motion's own frame rate is kept (a model's features come from ``motion.at_fps(20)``). The last frame's
    steps repeat those before it. World place and heading of the first frame are not encoded.

    Raises:
        LayoutError: The motion is not of the canonical tree, or has fewer than two frames.
    """
    if not motion.skeleton.same_tree(CANONICAL):
        raise LayoutError(
            f"the humanml3d layout needs the canonical 22 joints, this motion has {len(motion.skeleton)} others:"
            " call retarget first"
        )
    if len(motion) < 2:
        raise LayoutError("one frame has no velocities; at least two frames are needed")
    slices = LAYOUTS["humanml3d"].slices
    positions, world = motion.positions, motion.world_rotations
    heading = smooth(facing(positions), SMOOTHING * motion.fps)
    angle = yaw(heading)
    to_facing = rot.about("Y", -angle)
    step = torch.remainder(angle[1:] - angle[:-1] + torch.pi, 2 * torch.pi) - torch.pi
    moves = positions[1:] - positions[:-1]
    # As published: the root's step is seen from the later frame, the joints' steps from the earlier one.
    root_step = rot.rotate(to_facing[1:], moves[:, 0])
    steps = rot.rotate(to_facing[:-1, None], moves)
    ground = positions[:, :1] * torch.tensor([1.0, 0.0, 1.0])
    local = rot.rotate(to_facing[:, None], positions - ground)
    parents = list(CANONICAL.parents[1:])
    outer = torch.where(
        torch.tensor([parent == 0 for parent in parents])[:, None],
        rot.conjugate(to_facing)[:, None],
        world[:, parents],
    )
    relative = rot.multiply(rot.conjugate(outer), world[:, 1:])
    contacts = motion.contacts if motion.contacts is not None else foot_contacts(positions, motion.fps)
    features = positions.new_empty(len(motion), LAYOUTS["humanml3d"].size)
    features[:, slices["yaw"]] = _hold(-step / 2.0)[:, None]
    features[:, slices["velocity"]] = _hold(root_step[:, [0, 2]])
    features[:, slices["height"]] = positions[:, 0, 1:2]
    features[:, slices["positions"]] = local[:, 1:].flatten(1)
    features[:, slices["rotations"]] = rot.to_6d(rot.to_matrix(relative)).flatten(1)
    features[:, slices["velocities"]] = _hold(steps).flatten(1)
    features[:, slices["contacts"]] = contacts.to(features)
    return features


def _hold(track: Tensor) -> Tensor:
    return torch.cat((track, track[-1:]))


def decode_rotations(
    features: Float[Tensor, "*batch T 263"], skeleton: Skeleton = CANONICAL
) -> tuple[Float[Tensor, "*batch T 22 4"], Float[Tensor, "*batch T 3"]]:
    """Local rotations and root path of features in the ``rotation="parent"`` form. Differentiable."""
    slices = LAYOUTS["humanml3d"].slices
    angle, root = root_path(features)
    relative = rot.from_matrix(rot.from_6d(features[..., slices["rotations"]].unflatten(-1, (21, 6))))
    positions = features[..., slices["positions"]].unflatten(-1, (21, 3))
    height = torch.zeros_like(root)
    height[..., 1] = root[..., 1]
    pelvis = rot.multiply(_pelvis_frame(positions[..., :3, :] - height[..., None, :]), _pelvis_rest(skeleton))
    # Children of the pelvis are relative to the facing frame: bring them under the pelvis.
    first = rot.multiply(rot.conjugate(pelvis)[..., None, :], relative[..., :3, :])
    root_rotation = rot.multiply(rot.about("Y", angle), pelvis)
    rotations = torch.cat((root_rotation[..., None, :], first, relative[..., 3:, :]), dim=-2)
    return rot.normalize(rotations), root


def _pelvis_frame(children: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Frame spanned by left hip, right hip and spine: x along the hips, y towards the spine."""
    left, right, spine = children.unbind(-2)
    x = rot.normalize(left - right)
    y = spine - (left + right) / 2.0
    y = rot.normalize(y - (y * x).sum(-1, keepdim=True) * x)
    return rot.from_matrix(torch.stack((x, y, torch.linalg.cross(x, y)), dim=-1))


def _pelvis_rest(skeleton: Skeleton) -> Float[Tensor, "4"]:
    return rot.conjugate(_pelvis_frame(skeleton.offsets[1:4]))


def decode_features(
    features: Float[Tensor, "T D"], layout: str = "humanml3d", fps: float | None = None, rotation: str = "parent"
) -> Motion:
    """Features to a motion of the canonical body.

    Args:
        features: One row a frame, not normalised.
        layout: "humanml3d" or "kit".
        fps: Frame rate; that of the layout when left out.
        rotation: "parent" for our form (real rotations), "published" for the datasets' own files, whose
            positions are taken and rotations fitted to them (the error is in the provenance).

    Raises:
        LayoutError: The width does not fit the layout, or the form is unknown.
    """
    known = LAYOUTS.get(layout)
    if known is None or features.shape[-1] != known.size:
        sizes = ", ".join(f"{entry.name} {entry.size}" for entry in LAYOUTS.values())
        raise LayoutError(f"{features.shape[-1]} features a frame do not fit layout {layout!r}; sizes: {sizes}")
    fps = known.fps if fps is None else fps
    if rotation == "published":
        from motionloom.motion.features.humanml3d_published import published_motion

        return published_motion(features, known, fps)
    if rotation != "parent" or layout != "humanml3d":
        raise LayoutError(f"form {rotation!r} of layout {layout!r} is unknown; 'kit' exists as 'published' only")
    rotations, root = decode_rotations(features)
    contacts = features[:, known.slices["contacts"]] > 0.5
    return Motion(CANONICAL, rotations, root, fps, contacts=contacts)


@lru_cache(maxsize=1)
def mirror_columns() -> tuple[Int[Tensor, " D"], Float[Tensor, " D"]]:
    """Column order and signs that mirror ``rotation="parent"`` features: ``features[..., order] * signs``."""
    slices = LAYOUTS["humanml3d"].slices
    order, signs = torch.arange(263), torch.ones(263)
    signs[slices["yaw"]] = -1.0
    signs[slices["velocity"]] = torch.tensor([-1.0, 1.0])
    # Reflection S = diag(-1, 1, 1): v -> S v and R -> S R S, so the 6D columns change sign as S and -S do.
    for block, width, sign in (
        ("positions", 3, [-1.0, 1.0, 1.0]),
        ("rotations", 6, [1.0, -1.0, -1.0, -1.0, 1.0, 1.0]),
        ("velocities", 3, [-1.0, 1.0, 1.0]),
    ):
        start = slices[block].start
        skip = 0 if block == "velocities" else 1
        for joint in range(skip, 22):
            here, there = start + (joint - skip) * width, start + (MIRROR[joint] - skip) * width
            order[here : here + width] = torch.arange(there, there + width)
            signs[here : here + width] = torch.tensor(sign)
    first = slices["contacts"].start
    order[first : first + 4] = torch.tensor([first + 2, first + 3, first, first + 1])
    return order, signs

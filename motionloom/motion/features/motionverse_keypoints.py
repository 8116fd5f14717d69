"""Joint positions, parts of which may be missing, to motions with rotations: the door for keypoint data.

A pose estimator or a gesture data set gives joints without legs, hands or root. What is missing is told part by part;
it stands as at rest, and is marked as unknown.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motionloom.errors import LayoutError
from motionloom.motion import rotations as rot
from motionloom.motion.features.motionverse_layout import BODY, FACE, HANDS, JOINTS, known_joints
from motionloom.motion.kinematics import forward_kinematics
from motionloom.motion.motion import Motion, Provenance
from motionloom.motion.retarget import fit_rotations, measured_body
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS, PARTS, Skeleton


def parts_known(frames: int, joints: int, valid: Tensor | None, face: bool) -> Bool[Tensor, "T 10"]:
    """Which parts are known, given that those without joints or coefficients are not."""
    if valid is not None and valid.shape != (frames, len(PARTS)):
        raise LayoutError(f"the part mask is {tuple(valid.shape)}; {frames} frames need ({frames}, {len(PARTS)})")
    known = torch.ones(frames, len(PARTS), dtype=torch.bool) if valid is None else valid.clone()
    if joints == BODY:
        known[:, HANDS] = False
    if not face:
        known[:, FACE] = False
    return known


def check_known(values: Float[Tensor, "T J C"], known: Bool[Tensor, "T 10"]) -> None:
    """Refuse joints (their positions or rotations) that are NaN or infinite though their part is known."""
    seen = known_joints(known)[:, : values.shape[1]]
    broken = ~torch.isfinite(values).all(-1) & seen
    if broken.any():
        frame, joint = broken.nonzero()[0].tolist()
        raise LayoutError(
            f"joint {CANONICAL_HANDS.names[joint]!r} is NaN or infinite in frame {frame}, but its part is marked as"
            " known: mark it unknown in valid, or repair it"
        )


def motion_from_keypoints(
    positions: Float[Tensor, "T J 3"], fps: float, valid: Bool[Tensor, "T 10"] | None = None
) -> Motion:
    """A motion whose rotations are fitted to joint positions, parts of which may be missing; the error is noted.

    Unknown joints (their values are not read) stand as at rest from their parent, turned to where the body faces.

    Args:
        positions: World positions [m], Y up, of the canonical 22 joints or of 52 with hands.
        fps: Frames a second.
        valid: Which parts are known in which frame; all when left out.

    Raises:
        LayoutError: The number of joints is another, or a joint of a known part is NaN.
    """
    frames, joints = positions.shape[:2]
    if joints not in (BODY, JOINTS):
        raise LayoutError(
            f"{joints} joints; keypoints of the canonical {BODY} joints or {JOINTS} with hands are needed"
        )
    known = parts_known(frames, joints, valid, face=False)
    check_known(positions, known)
    seen = known_joints(known)[:, :joints]
    filled = _filled(positions, seen)
    offsets = CANONICAL_HANDS.offsets.to(filled).clone()
    offsets[:BODY] = measured_body(filled[:, :BODY]).offsets
    parents = list(CANONICAL_HANDS.parents[BODY:])
    if joints == JOINTS:
        lengths = (filled[:, BODY:] - filled[:, parents]).norm(dim=-1).median(0).values
        offsets[BODY:] = rot.normalize(offsets[BODY:]) * lengths[:, None]
    tree = CANONICAL if joints == BODY else CANONICAL_HANDS
    body = Skeleton(tree.names, tree.parents, offsets[:joints])
    # Joints that nothing known hangs on are at rest for good, not only about where the rest pose has them.
    carrying = seen.clone()
    for joint in range(joints - 1, 0, -1):
        carrying[:, tree.parents[joint]] |= carrying[:, joint]
    rotations = torch.where(carrying[..., None], fit_rotations(filled, body), rot.identity().to(filled))
    reached, _ = forward_kinematics(rotations, filled[:, 0], body)
    error = 1000.0 * (reached - filled).norm(dim=-1)[seen]
    note = (
        f"rotations fitted to positions: joints off by {float(error.sum()) / max(1, len(error)):.1f} mm on average;"
        " twist as in the rest pose"
    )
    return Motion(body, rotations, filled[:, 0], fps, known, provenance=Provenance(notes=(note,)))


def _filled(positions: Float[Tensor, "T J 3"], seen: Bool[Tensor, "T J"]) -> Float[Tensor, "T J 3"]:
    """Positions with unknown joints put where the rest pose has them."""
    known = torch.where(seen[..., None], positions, 0.0)
    hips, shoulders = (
        torch.where((seen[:, left] & seen[:, right])[:, None], known[:, left] - known[:, right], 0.0)
        for left, right in ((1, 2), (16, 17))
    )
    across = hips + shoulders
    heading = torch.where(across.norm(dim=-1) > 1e-6, torch.atan2(-across[:, 2], across[:, 0]), 0.0)
    turn = rot.about("Y", heading)[:, None]
    tree = CANONICAL_HANDS
    rest = rot.rotate(turn, tree.rest_positions[: positions.shape[1]].to(known).expand_as(known))
    # The root's place, when it is not known, follows from the first joint that is.
    first = seen.int().argmax(1)
    frame = torch.arange(len(known))
    shift = torch.where(seen.any(1)[:, None], known[frame, first] - rest[frame, first], 0.0)
    found = [torch.where(seen[:, :1], known[:, 0], rest[:, 0] + shift)]
    for joint in range(1, positions.shape[1]):
        parent = tree.parents[joint]
        guess = found[parent] + rest[:, joint] - rest[:, parent]
        found.append(torch.where(seen[:, joint, None], known[:, joint], guess))
    return torch.stack(found, dim=1)

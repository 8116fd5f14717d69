"""The release's way from joints to unified features, every stage of it, against the numbers of its converters."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from motionloom.motion import rotations as rot
from motionloom.motion.features.humanml3d_published import encode_published
from motionloom.motion.features.layout import LAYOUTS
from motionloom.motion.features.motionverse import decode_positions, encode_keypoints
from motionloom.motion.features.motionverse_layout import (
    SIZE,
    SLICES,
    MotionVerseFeatures,
    MotionVerseOptions,
    MotionVerseStats,
    pad_rows,
)
from motionloom.motion.features.motionverse_published import (
    face_z,
    load_joints,
    load_rotations,
    mirror_joints,
    move_to_body,
    move_to_origin,
    put_on_floor,
    released_offsets,
    thinning,
    z_up_to_y_up,
)
from motionloom.motion.kinematics import forward_kinematics
from motionloom.motion.skeleton import CANONICAL_HANDS, PARTS, Skeleton

FIXTURE = Path(__file__).parents[3] / "shared" / "fixtures" / "lmm_convert.npz"
CASES = ("h3d_hands", "h3d_nosmooth", "smpl156_expr", "h3d_22joints", "smpl72", "upper_body")
LEGS = [1, 2, 4, 5, 7, 8, 10, 11]
cases = pytest.mark.parametrize("case", CASES)

# The release's standard deviations: one number a block, for its per-frame steps.
RELEASED_STD = {
    "yaw": 0.00513,
    "velocity": 0.0067703,
    "height": 0.061524,
    "positions": 0.12222794,
    "rotations": 0.2996904,
    "velocities": 0.01946935,
    "face": 1.0,
}


@pytest.fixture(scope="module")
def want() -> dict[str, Tensor]:
    if not FIXTURE.exists():
        pytest.skip(f"parity fixture {FIXTURE.name} is not on this machine")
    with np.load(FIXTURE, allow_pickle=False) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def close(got: Tensor, wanted: Tensor, within: float) -> None:
    torch.testing.assert_close(got.to(wanted), wanted, atol=within, rtol=0.0)


def options_of(case: str) -> MotionVerseOptions:
    rotations = "parent" if case.startswith("smpl") else "chains"
    return MotionVerseOptions.published(rotations, smoothing=0.0 if case == "h3d_nosmooth" else 20.0)


def has(want: dict[str, Tensor], case: str) -> Tensor:
    return want[f"{case}.motion_mask"][0].bool()


def loaded(want: dict[str, Tensor], case: str) -> Tensor:
    """A case's joints as its file holds them."""
    joints = want["in_keypoints3d"]
    if has(want, case)[PARTS.index("left_hand")]:
        return load_joints(joints)
    joints = load_joints(joints[:, :22])
    if case == "upper_body":
        joints[:, LEGS] = joints[:, :1]
    return joints


def encoded(want: dict[str, Tensor], case: str, joints: Tensor) -> MotionVerseFeatures:
    """Features of a case's joints; ``joints`` are 20 frames of a second's 60."""
    stride, fps = thinning(float(want["in_fps"]), 20.0, options_of(case))
    rotations = {"smpl156_expr": "in_pose_aa", "smpl72": "in_pose72"}.get(case)
    return encode_keypoints(
        joints,
        fps,
        rotations=None if rotations is None else load_rotations(want[rotations])[::stride],
        valid=has(want, case).expand(len(joints), -1),
        expression=want["in_expression"][::stride] if case == "smpl156_expr" else None,
        options=options_of(case),
    )


@cases
def test_moving_onto_the_released_body(want, case):
    """The bones are known to five digits."""
    got = move_to_body(loaded(want, case), has(want, case), options=options_of(case))
    close(got, want[f"{case}.after_RetargetSkeleton"], 3e-5)


@cases
def test_thinning_floor_origin_and_facing(want, case):
    stride, fps = thinning(float(want["in_fps"]), 20.0, options_of(case))
    assert (stride, fps) == (3, 20.0)
    thin = want[f"{case}.after_RetargetSkeleton"][::stride]
    close(thin, want[f"{case}.after_MotionDownsample"], 0.0)
    close(put_on_floor(thin), want[f"{case}.after_PutOnFloor"], 1e-7)
    close(move_to_origin(want[f"{case}.after_PutOnFloor"]), want[f"{case}.after_MoveToOrigin"], 1e-7)
    close(face_z(want[f"{case}.after_MoveToOrigin"]), want[f"{case}.after_RotateToZ"], 1e-6)


@cases
def test_features(want, case):
    got = encoded(want, case, want[f"{case}.after_RotateToZ"])
    close(got.features, want[f"{case}.tomato"], 1e-5)


@cases
def test_all_stages_one_after_the_other(want, case):
    joints = move_to_body(loaded(want, case), has(want, case), options=options_of(case))
    stride, _ = thinning(float(want["in_fps"]), 20.0, options_of(case))
    placed = face_z(move_to_origin(put_on_floor(joints[::stride])))
    close(encoded(want, case, placed).features, want[f"{case}.tomato"], 1e-4)


@cases
def test_positions_come_back(want, case):
    got = decode_positions(want[f"{case}.tomato"], 20.0, options_of(case))
    close(got, want[f"{case}.recovered_joints"], 1e-6)
    if case == "upper_body":
        return
    # The joints of the clip itself, but for hands: absent ones stand at zero there.
    close(got[:, :22], want[f"{case}.after_RotateToZ"][:-1, :22], 1e-5)


@cases
def test_padding_and_part_mask(want, case):
    got = encoded(want, case, want[f"{case}.after_RotateToZ"])
    features, mask = pad_rows(got.features, got.mask, 200)
    assert int(mask.any(1).sum()) == int(want[f"{case}.padded_len"])
    assert torch.equal(mask.float(), want[f"{case}.motion_mask"])
    assert features.shape == (200, SIZE)


@cases
def test_normalisation_and_the_shipped_deviations(want, case):
    """Blocks begin and end where the shipped deviations do; the means are read off one row and hold for the others."""
    features, scores = want[f"{case}.tomato"], want[f"{case}.normalized"]
    std = torch.zeros(SIZE, dtype=torch.float64)
    for name, block in SLICES.items():
        std[block] = RELEASED_STD[name]
    mean = features[0] - scores[0] * (std + 1e-9)
    stats = MotionVerseStats(mean.float(), std.float())
    got = stats.normalize(features, torch.zeros(len(features), 10, dtype=torch.bool), options_of(case))
    close(got, scores, 2e-4)
    close(stats.denormalize(scores), features, 1e-5)
    close(mean[:4], torch.tensor([6.433e-5, 1.874e-5, 0.00151010, 0.76746924], dtype=torch.float64), 1e-5)


def test_amass_axes_and_the_mirror_image_that_permutes_fingers(want):
    joints = z_up_to_y_up(want["in_keypoints3d"])
    close(joints, want["amass_axes"], 0.0)
    close(mirror_joints(joints, MotionVerseOptions.published()), want["mirror"], 0.0)
    ours = mirror_joints(joints)
    close(ours[:, :22], want["mirror"][:, :22], 0.0)
    close(mirror_joints(ours), joints, 0.0)
    right = [index for index, name in enumerate(CANONICAL_HANDS.names) if name.startswith("right_index")]
    left = [CANONICAL_HANDS.index(CANONICAL_HANDS.names[joint].replace("right", "left")) for joint in right]
    close(ours[:, left], joints[:, right] * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64), 0.0)


def test_the_prediction_copy(want):
    """Every second of 60 frames, called 25 fps; the root rests at the origin. The body is read off the first frame."""
    stride, fps = thinning(float(want["in_fps"]), 25.0, MotionVerseOptions.published())
    assert (stride, fps) == (2, 25.0)
    assert thinning(60.0, 25.0) == (2, 30.0)
    rotations = load_rotations(want["in_pose_aa"].float())[::stride]
    rotations[:, 0] = rot.identity()
    joints = want["mp_joints52"]
    parents = list(CANONICAL_HANDS.parents[1:])
    _, world = forward_kinematics(rotations[:1], torch.zeros(1, 3), CANONICAL_HANDS)
    bones = rot.rotate(rot.conjugate(world[:, parents]), joints[:1, 1:] - joints[:1, parents])[0]
    body = Skeleton(CANONICAL_HANDS.names, CANONICAL_HANDS.parents, torch.cat((torch.zeros(1, 3), bones)))
    got, _ = forward_kinematics(rotations, torch.zeros(len(rotations), 3), body)
    close(got, joints, 1e-5)
    close(got[:, 4:22], want["mp_eval18"], 1e-5)


def test_the_evaluation_copy_is_humanml3ds(want):
    joints = want["in_keypoints3d"][::3, :22]
    got = encode_published(joints, LAYOUTS["humanml3d"], released_offsets()[:22])
    close(got, want["eval_h3d263"], 1e-4)

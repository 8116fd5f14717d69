"""HumanML3D's and KIT's feature codecs against the numbers of the published processing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from motionloom.motion import rotations as rot
from motionloom.motion.features.humanml3d_published import (
    bone_offsets,
    encode_published,
    inverse_kinematics,
    place,
    pose_chains,
    published_motion,
    recover_from_rotations,
    recover_positions,
)
from motionloom.motion.features.layout import LAYOUTS, root_path

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
HML, KIT = LAYOUTS["humanml3d"], LAYOUTS["kit"]


def fixture(name: str) -> dict[str, Tensor]:
    path = FIXTURES / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"parity fixture {path.name} is not on this machine")
    with np.load(path, allow_pickle=False) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


@pytest.fixture(scope="module")
def clip() -> dict[str, Tensor]:
    return fixture("humanml3d_012314")


def close(got: Tensor, want: Tensor, within: float) -> None:
    torch.testing.assert_close(got.to(want), want, atol=within, rtol=0.0)


def test_positions_come_back_from_published_features_exactly(clip):
    got = recover_positions(clip["vec"], HML)
    assert torch.equal(got, clip["recovered_from_ric"])
    assert torch.equal(got, clip["joints"])


def test_the_root_is_integrated_as_published(clip):
    angle, root = root_path(clip["vec"])
    close(rot.about("Y", -angle), clip["root_quat"], 1e-6)
    close(root, clip["root_pos"], 1e-6)


def test_positions_come_back_from_published_rotations(clip):
    close(bone_offsets(clip["joints"][0], HML), clip["offsets_frame0"], 1e-6)
    got = recover_from_rotations(clip["vec"], clip["offsets_frame0"], HML)
    close(got, clip["recovered_from_rot"], 2e-6)


def test_features_of_a_clip_on_its_own_body(clip):
    close(bone_offsets(clip["joints"][0], HML), clip["own_target_offsets"], 1e-6)
    features = encode_published(clip["joints"], HML, clip["own_target_offsets"])
    close(features, clip["own_features"], 2e-5)
    world = place(clip["joints"], HML, clip["own_target_offsets"])
    close(world, clip["own_global"], 5e-6)
    close(features[:, HML.slices["velocity"]], clip["own_lvel"], 2e-6)
    local = clip["own_local"]
    close(features[:, HML.slices["positions"]], local[:-1, 1:].flatten(1), 5e-6)
    close(features[:, HML.slices["height"]], local[:-1, 0, 1:2], 5e-6)


def test_features_of_a_turned_scaled_and_noisy_clip(clip):
    positions, target = clip["turned_positions"], clip["own_target_offsets"]
    features = encode_published(positions, HML, target)
    close(features, clip["turned_features"], 5e-5)
    close(place(positions, HML, target), clip["turned_global"], 5e-6)
    close(recover_positions(clip["turned_features"], HML), clip["turned_recovered"], 1e-6)


def test_features_without_retargeting(clip):
    close(encode_published(clip["turned_positions"], HML), clip["noretarget_features"], 1e-5)
    close(place(clip["turned_positions"], HML), clip["noretarget_global"], 1e-6)


def test_the_building_blocks(clip):
    close(inverse_kinematics(clip["joints"], HML), clip["ik_quat"], 5e-6)
    smoothed = inverse_kinematics(clip["joints"], HML, smoothed=True)
    close(smoothed, clip["ik_quat_smooth"], 5e-6)
    close(rot.to_6d(rot.to_matrix(smoothed)), clip["ik_cont6d_smooth"], 1e-5)
    root = clip["joints"][:, 0].double()
    close(pose_chains(clip["ik_quat"], root, clip["own_target_offsets"], HML), clip["fk_from_ik"], 1e-6)
    close(rot.between(clip["qb_v"].float(), clip["qb_w"].float()), clip["qb"], 1e-6)
    close(rot.to_6d(rot.to_matrix(clip["qb"])), clip["q_to_6d"], 1e-6)
    close(rot.from_6d(clip["q_to_6d"]), clip["six_to_mat"], 1e-6)


def test_the_shipped_statistics_are_those_of_this_layout(clip):
    """One standard deviation per block: the blocks start and end where the layout says."""
    for name, block in HML.slices.items():
        spread = clip["std"][block]
        assert float(spread.max() - spread.min()) < 1e-6, name
    assert clip["mean"].shape == (HML.size,)


def test_kit_features_and_back():
    """Values are millimetres up to a thousand: 5e-4 mm is a ten-millionth of the body."""
    want = fixture("kit_synthetic")
    close(place(want["positions"], KIT, want["target_offsets"]), want["global_positions"], 5e-4)
    close(encode_published(want["positions"], KIT, want["target_offsets"]), want["features"], 5e-4)
    close(recover_positions(want["features"], KIT), want["recovered"], 1e-4)
    # Rotations and contacts are no lengths: they agree far better.
    features = encode_published(want["positions"], KIT, want["target_offsets"])
    for name in ("yaw", "rotations", "contacts"):
        close(features[:, KIT.slices[name]], want["features"][:, KIT.slices[name]], 1e-5)


def test_a_published_clip_becomes_a_motion_to_the_tenth_of_a_millimetre(clip):
    motion = published_motion(clip["vec"], HML, 20.0)
    assert float((motion.positions - clip["joints"]).norm(dim=-1).max()) < 1e-4

import math

import make
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.errors import LayoutError
from motionloom.motion import rotations as rot
from motionloom.motion.edit import mirror, turn
from motionloom.motion.features.humanml3d import decode_features, decode_rotations, encode_features, mirror_columns
from motionloom.motion.features.layout import LAYOUTS, layout, root_path, smooth
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL

seeds = st.integers(0, 10_000)
SLICES = LAYOUTS["humanml3d"].slices


def at_start(motion: Motion, like: Motion) -> Motion:
    """The motion with the place and heading of another's first frame, which features do not hold."""
    change = rot.multiply(like.rotations[0, 0], rot.conjugate(motion.rotations[0, 0]))
    assert make.degrees_apart(change, rot.about("Y", rot.yaw_of(change))) < 0.05, "only the heading may differ"
    moved = turn(motion, float(rot.yaw_of(change)))
    return moved.with_(root=moved.root + (like.root[0] - moved.root[0]) * torch.tensor([1.0, 0.0, 1.0]))


def test_layouts_have_the_published_sizes_and_blocks():
    assert LAYOUTS["humanml3d"].size == 263
    assert LAYOUTS["kit"].size == 251
    published = {
        "yaw": (0, 1), "velocity": (1, 3), "height": (3, 4), "positions": (4, 67), "rotations": (67, 193),
        "velocities": (193, 259), "contacts": (259, 263),
    }  # fmt: skip
    assert {name: (block.start, block.stop) for name, block in SLICES.items()} == published
    kit = LAYOUTS["kit"].slices
    assert (kit["rotations"].start, kit["velocities"].start, kit["contacts"].stop) == (64, 184, 251)
    assert layout("kit").fps == 12.5
    with pytest.raises(LayoutError, match="layout 'smpl' is unknown; the layouts are humanml3d, kit"):
        layout("smpl")


@settings(max_examples=25)
@given(frames=st.integers(2, 80), seed=seeds, fps=st.sampled_from([12.5, 20.0, 30.0, 60.0]), size=st.floats(0.0, 0.6))
def test_rotations_and_positions_come_back(frames, seed, fps, size):
    motion = make.motion(frames, seed, fps, size)
    found = at_start(decode_features(encode_features(motion), fps=fps), motion)
    assert float(rot.angle_between(found.rotations, motion.rotations).max()) < 1e-3
    # Chordal distance: the angle itself loses half its digits near zero.
    chord = (found.rotations[..., None, :] * torch.tensor([[1.0], [-1.0]]) - motion.rotations[..., None, :]).norm(
        dim=-1
    )
    assert float(chord.amin(-1).max()) < 1e-4
    assert float((found.positions - motion.positions).abs().max()) < 1e-4
    assert found.fps == fps


@given(seed=seeds)
def test_upside_down_and_lying_bodies_come_back(seed):
    """The pelvis is read from its children, whatever way it is turned."""
    motion = make.motion(20, seed)
    rotations = motion.rotations.clone()
    rotations[:, 0] = rot.multiply(rotations[:, 0], make.rotations(1, seed=seed))
    wild = motion.with_(rotations=rotations)
    found = decode_features(encode_features(wild))
    # Upright parts agree: heights and distances hold without knowing the heading of a body that lies.
    torch.testing.assert_close(found.positions[..., 1], wild.positions[..., 1], atol=1e-4, rtol=0.0)
    local = rot.angle_between(found.rotations[:, 1:], wild.rotations[:, 1:])
    assert float(local.max()) < 2e-3


@settings(max_examples=15)
@given(frames=st.integers(2, 60), seed=seeds)
def test_mirrored_columns_are_the_features_of_the_mirror_image(frames, seed):
    motion = make.motion(frames, seed)
    order, signs = mirror_columns()
    flipped = encode_features(motion)[:, order] * signs
    torch.testing.assert_close(flipped, encode_features(mirror(motion)), atol=2e-5, rtol=0.0)
    assert torch.equal(order[order], torch.arange(263))


@given(seed=seeds, angle=st.floats(-3.0, 3.0))
def test_features_do_not_know_place_and_heading(seed, angle):
    motion = make.motion(20, seed)
    moved = turn(motion, angle)
    moved = moved.with_(root=moved.root + torch.tensor([3.0, 0.0, -2.0]))
    torch.testing.assert_close(encode_features(moved), encode_features(motion), atol=2e-5, rtol=0.0)


def test_walking_ahead_by_hand():
    """1 m/s straight ahead at 20 fps: no yaw, 0.05 m along z a frame for every joint, height 0.93 m."""
    root = torch.tensor([0.0, 0.93, 0.0]) + 0.05 * torch.arange(10)[:, None] * torch.tensor([0.0, 0.0, 1.0])
    features = encode_features(Motion(CANONICAL, rot.identity(10, 22), root, 20.0))
    torch.testing.assert_close(features[:, SLICES["yaw"]], torch.zeros(10, 1))
    torch.testing.assert_close(features[:, SLICES["velocity"]], torch.tensor([[0.0, 0.05]]).expand(10, -1))
    torch.testing.assert_close(features[:, SLICES["height"]], torch.full((10, 1), 0.93))
    steps = features[:, SLICES["velocities"]].view(10, 22, 3)
    torch.testing.assert_close(steps, torch.tensor([0.0, 0.0, 0.05]).expand(10, 22, 3), atol=1e-6, rtol=0.0)
    head = features[:, SLICES["positions"]].view(10, 21, 3)[:, 14]
    wanted = CANONICAL.rest_positions[15].expand(10, 3)
    torch.testing.assert_close(head, wanted)


def test_turning_left_by_hand():
    """The body turns left at 1 rad/s: feature 0 is minus half of the 0.05 rad a frame."""
    rotations = rot.identity(200, 22)
    rotations[:, 0] = rot.about("Y", 0.05 * torch.arange(200))
    motion = Motion(CANONICAL, rotations, torch.tensor([0.0, 0.93, 0.0]).expand(200, 3), 20.0)
    features = encode_features(motion)
    # The ends of the smoothed heading repeat the first and last direction; the middle turns evenly.
    torch.testing.assert_close(features[20:-20, 0], torch.full((160,), -0.025), atol=1e-5, rtol=0.0)
    angle, _ = root_path(features)
    assert float(angle[150] - angle[50]) == pytest.approx(5.0, abs=1e-3)


def test_the_last_frames_steps_repeat_those_before():
    features = encode_features(make.motion(12))
    for name in ("yaw", "velocity", "velocities"):
        assert torch.equal(features[-1, SLICES[name]], features[-2, SLICES[name]])


def test_known_contacts_are_kept():
    contacts = make.tensor(12, 4) > 0
    features = encode_features(make.motion(12).with_(contacts=contacts))
    found = decode_features(features).contacts
    assert found is not None
    assert torch.equal(found, contacts)


def test_decoding_has_gradients_and_takes_batches():
    features = torch.stack([encode_features(make.motion(8, seed)) for seed in (0, 1)])
    features = features.requires_grad_()
    rotations, root = decode_rotations(features)
    assert rotations.shape == (2, 8, 22, 4)
    alone, path = decode_rotations(features[1])
    torch.testing.assert_close(rotations[1], alone)
    torch.testing.assert_close(root[1], path)
    (rotations.sum() + root.sum()).backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
    # Velocities and contacts are hints for losses; decoding does not read them.
    assert not features.grad[..., SLICES["velocities"].start :].any()


def test_what_does_not_fit_is_refused():
    motion = make.motion(5)
    with pytest.raises(LayoutError, match="needs the canonical 22 joints, this motion has 22 others: call retarget"):
        encode_features(Motion(make.skeleton(22), motion.rotations, motion.root, 20.0))
    with pytest.raises(LayoutError, match="one frame has no velocities; at least two frames are needed"):
        encode_features(make.motion(1))
    with pytest.raises(LayoutError, match="100 features a frame do not fit layout 'humanml3d'; sizes: humanml3d 263"):
        decode_features(torch.zeros(3, 100))
    with pytest.raises(LayoutError, match="do not fit layout 'smplx'"):
        decode_features(torch.zeros(3, 263), "smplx")
    with pytest.raises(LayoutError, match="form 'parent' of layout 'kit' is unknown; 'kit' exists as 'published' only"):
        decode_features(torch.zeros(3, 251), "kit")
    with pytest.raises(LayoutError, match="form 'free' of layout 'humanml3d' is unknown"):
        decode_features(torch.zeros(3, 263), rotation="free")


@given(frames=st.integers(1, 60), sigma=st.floats(0.05, 8.0), seed=seeds)
def test_smoothing_is_scipys_and_keeps_constants(frames, sigma, seed):
    from scipy.ndimage import gaussian_filter1d

    track = make.tensor(frames, 3, seed=seed, dtype=torch.float64)
    wanted = gaussian_filter1d(track.numpy(), sigma, axis=0, mode="nearest")
    torch.testing.assert_close(smooth(track, sigma), torch.from_numpy(wanted), atol=1e-9, rtol=0.0)
    constant = torch.ones(frames, 2) * math.e
    torch.testing.assert_close(smooth(constant, sigma), constant)

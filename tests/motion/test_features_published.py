import make
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.errors import LayoutError
from motionloom.motion import rotations as rot
from motionloom.motion.edit import on_floor, turn
from motionloom.motion.features.humanml3d import decode_features
from motionloom.motion.features.humanml3d_published import (
    BODIES,
    bone_offsets,
    encode_published,
    inverse_kinematics,
    place,
    pose_chains,
    published_motion,
    recover_from_rotations,
    recover_positions,
)
from motionloom.motion.features.layout import LAYOUTS
from motionloom.motion.kinematics import facing
from motionloom.motion.skeleton import CANONICAL

HML, KIT = LAYOUTS["humanml3d"], LAYOUTS["kit"]
seeds, frames = st.integers(0, 1000), st.integers(2, 50)
layouts = pytest.mark.parametrize("layout", [HML, KIT], ids=["humanml3d", "kit"])

# The KIT joint (by number) each canonical joint's place can be taken from; None where KIT has no such joint.
KIT_FROM = [0, 1, 2, 9, 12, 17, 19, 21, 16, 18, 20, 2, 5, 8, 8, 11, 1, 4, 7, 7, 10]


def body_in(layout, motion) -> torch.Tensor:
    """Positions of a canonical motion as a clip of the layout: for KIT by joint numbers, in millimetres."""
    if layout is HML:
        return motion.positions
    positions = motion.positions[:, KIT_FROM].clone()
    # KIT's feet have a joint half-way to the toes.
    for middle, ankle, toe in ((14, 13, 15), (19, 18, 20)):
        positions[:, middle] = positions[:, [ankle, toe]].mean(1)
    positions[:, 1] = positions[:, [0, 2]].mean(1)
    return 1000.0 * positions


@layouts
def test_constants_cover_every_joint_once(layout):
    body = BODIES[layout.name]
    ends = [joint for chain in body.chains for joint in chain[1:]]
    assert sorted(ends) == list(range(1, layout.joints))
    assert body.raw_offsets.shape == (layout.joints, 3)
    assert body.raw_offsets[1:].norm(dim=-1).tolist() == [1.0] * (layout.joints - 1)
    assert not body.raw_offsets[0].any()
    assert len(body.canonical) == len(CANONICAL)


@layouts
@settings(max_examples=10)
@given(frames=frames, seed=seeds)
def test_positions_come_back(layout, frames, seed):
    positions = body_in(layout, make.motion(frames, seed, layout.fps))
    features = encode_published(positions, layout)
    assert features.shape == (frames - 1, layout.size)
    want = place(positions, layout)[:-1]
    # The facing direction of frame 0 is forced to be +Z there: exact for the first frame, integrated after it.
    scale = BODIES[layout.name].unit
    assert float((recover_positions(features, layout) - want).abs().max()) * scale < 1e-4


def test_rotations_and_bones_give_the_same_positions():
    positions = place(make.motion(40, 3, 20.0).positions, HML)
    features = encode_published(positions, HML)
    got = recover_from_rotations(features, bone_offsets(positions[0], HML), HML)
    torch.testing.assert_close(got, recover_positions(features, HML), atol=1e-4, rtol=0.0)


@layouts
@settings(max_examples=8)
@given(seed=seeds)
def test_inverse_and_forward_kinematics_agree_on_bodies_of_fixed_bones(layout, seed):
    g = make.rotations(12, layout.joints, seed=seed)
    lengths = 0.1 + torch.rand(layout.joints, generator=make.generator(seed))
    offsets = BODIES[layout.name].raw_offsets * lengths[:, None]
    root = make.tensor(12, 3, seed=seed)
    positions = pose_chains(g, root, offsets, layout)
    torch.testing.assert_close(bone_offsets(positions[5], layout), offsets, atol=1e-5, rtol=0.0)
    for smoothed in (False, True):
        rotations = inverse_kinematics(positions, layout, smoothed)
        again = pose_chains(rotations, root, offsets, layout)
        torch.testing.assert_close(again, positions, atol=2e-5, rtol=0.0)
        assert torch.equal(rotations[0, 0], rot.identity())


@layouts
@settings(max_examples=6)
@given(seed=seeds, angle=st.floats(-3.0, 3.0))
def test_features_do_not_know_place_and_heading(layout, seed, angle):
    motion = make.motion(20, seed, layout.fps)
    moved = turn(motion, angle)
    moved = moved.with_(root=moved.root + torch.tensor([2.0, 0.7, -1.0]))
    a, b = (encode_published(body_in(layout, each), layout) for each in (motion, moved))
    lengths = torch.ones(layout.size)
    for name in ("velocity", "height", "positions", "velocities"):
        lengths[layout.slices[name]] = BODIES[layout.name].unit
    apart = ((a - b) * lengths).abs()
    # A step at the contact threshold may fall on either side of it.
    apart[:, layout.slices["contacts"]] = 0.0
    assert float(apart.max()) < 1e-4


@layouts
def test_a_placed_clip_stands_on_the_floor_at_the_origin_and_faces_z(layout):
    motion = turn(make.motion(20, 5, layout.fps), 2.0)
    found = place(body_in(layout, motion), layout)
    assert float(found[..., 1].min()) == pytest.approx(0.0, abs=1e-3)
    assert found[0, 0, [0, 2]].tolist() == [0.0, 0.0]
    right, left, *_ = BODIES[layout.name].across
    assert found[0, right, 0] < 0 < found[0, left, 0]


@layouts
def test_moving_onto_another_body_gives_it_that_bodys_bones(layout):
    positions = body_in(layout, make.motion(20, 1, layout.fps))
    target = 1.3 * bone_offsets(positions[7], layout)
    target[3:6] *= 0.8
    found = place(positions, layout, target)
    for frame in (0, 19):
        got = bone_offsets(found[frame], layout)
        torch.testing.assert_close(got, target, atol=1e-5 / BODIES[layout.name].unit, rtol=0.0)


def test_contacts_are_slow_squared_steps_by_hand():
    """0.002 m² a frame is a step of 44.7 mm: 44 mm stand, 45 mm do not."""
    positions = CANONICAL.rest_positions.repeat(4, 1, 1)
    steps = torch.tensor([0.0, 0.044, 0.044 + 0.045, 0.044 + 0.045])
    positions[:, [7, 10], 2] += steps[:, None]
    contacts = encode_published(positions, HML)[:, HML.slices["contacts"]]
    assert contacts.tolist() == [[1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]]


def test_the_hips_enter_the_facing_direction_with_the_wrong_sign():
    """Hips 0.4 rad to the left under shoulders that face ahead: published faces right of ahead, the body does not."""
    rotations = rot.identity(3, 22)
    rotations[1:, 0] = rot.about("Y", torch.tensor(0.4))
    rotations[1:, 3] = rot.about("Y", torch.tensor(-0.4))
    positions = make.motion(3).with_(rotations=rotations).positions
    to_facing = inverse_kinematics(positions, HML)[1, 0]
    ahead = rot.rotate(rot.conjugate(to_facing), torch.tensor([0.0, 0.0, 1.0]))
    assert float(facing(positions[1])[0]) > 0.1
    assert float(ahead[0]) < -0.3
    across = positions[1, 17] - positions[1, 16] - (positions[1, 2] - positions[1, 1])
    wanted = rot.normalize(torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]), across))
    torch.testing.assert_close(ahead, wanted, atol=1e-5, rtol=0.0)


def test_a_bone_against_its_reference_direction_gets_half_a_turn():
    """Legs that point straight up: published is 0/0, which would be NaN in every feature after it."""
    positions = CANONICAL.rest_positions.repeat(3, 1, 1)
    positions[1, 4] = positions[1, 1] + torch.tensor([0.0, 0.4, 0.0])
    features = encode_published(positions, HML)
    assert torch.isfinite(features).all()


def test_a_motion_from_features_has_their_positions_and_says_so():
    motion = on_floor(make.motion(30, 2), quantile=0.0)
    features = encode_published(motion.positions, HML)
    found = published_motion(features, HML, 20.0)
    assert found.skeleton.same_tree(CANONICAL)
    assert len(found) == 29
    assert float((found.positions - recover_positions(features, HML)).abs().max()) < 1e-4
    first, second = found.provenance.notes
    assert first == "positions of published 'humanml3d' features, 22 joints onto 22"
    assert second.startswith("rotations fitted to positions: joints off by 0.0 mm on average")
    assert found.contacts is not None
    assert torch.equal(found.contacts, features[:, HML.slices["contacts"]] > 0.5)
    again = decode_features(features, "humanml3d", rotation="published")
    assert torch.equal(again.rotations, found.rotations)


def test_kit_features_become_a_canonical_motion_in_metres():
    motion = make.motion(30, 4, 12.5)
    features = encode_published(body_in(KIT, motion), KIT)
    found = decode_features(features, "kit", rotation="published")
    assert found.fps == 12.5
    assert found.skeleton.same_tree(CANONICAL)
    want = recover_positions(features, KIT) / 1000.0
    for canonical, kit in ((0, 0), (1, 16), (2, 11), (7, 18), (11, 15), (16, 8), (21, 7), (15, 4)):
        gap = (found.positions[:, canonical] - want[:, kit]).norm(dim=-1)
        # The test's body has a chest that bends between neck and shoulders, which one chest joint cannot.
        assert float(gap.max()) < 0.06, CANONICAL.names[canonical]
    # Left is left: the body that faces +Z has its left hip at +x.
    assert found.positions[0, 1, 0] > found.positions[0, 2, 0]
    assert float(facing(found.positions[0])[2]) > 0.9


def test_what_does_not_fit_is_refused():
    with pytest.raises(LayoutError, match="layout 'kit' has 21 joints; got 22"):
        encode_published(torch.zeros(5, 22, 3), KIT)
    with pytest.raises(LayoutError, match="one frame has no velocities"):
        encode_published(torch.zeros(1, 22, 3), HML)
    with pytest.raises(LayoutError, match=r"251 features a frame do not fit layout 'humanml3d' \(263\)"):
        published_motion(torch.zeros(5, 251), HML, 20.0)

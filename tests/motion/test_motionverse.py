import math

import make
import pytest
import torch
from hands import apart, face, with_hands, without
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.errors import LayoutError
from motionloom.motion import rotations as rot
from motionloom.motion.edit import mirror, on_floor, turn
from motionloom.motion.features.motionverse import (
    decode_motionverse,
    decode_path,
    decode_positions,
    decode_rotations,
    encode_keypoints,
    encode_motionverse,
)
from motionloom.motion.features.motionverse_keypoints import motion_from_keypoints
from motionloom.motion.features.motionverse_layout import (
    LEAN,
    MIRROR_PARTS,
    SIZE,
    SLICES,
    MotionVerseFeatures,
    MotionVerseOptions,
    MotionVerseStats,
    joint_parts,
    measure_stats,
    mirror_columns,
    pad_rows,
    part_columns,
    spread_mask,
)
from motionloom.motion.features.motionverse_published import (
    CHAINS,
    chain_rotations,
    directions,
    load_joints,
    load_rotations,
    mirror_joints,
    move_to_body,
    pose_chains,
    released_offsets,
    thinning,
    trunk_heading,
)
from motionloom.motion.kinematics import facing
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS, MIRROR_HANDS, PARTS, Skeleton

seeds = st.integers(0, 1000)
PUBLISHED = MotionVerseOptions.published()
ALL = torch.ones(10, dtype=torch.bool)


def test_the_slices_and_the_parts_cover_the_layout():
    stops = [0, *(block.stop for block in SLICES.values())]
    assert [block.start for block in SLICES.values()] == stops[:-1]
    assert stops[-1] == SIZE == 669
    for options in (MotionVerseOptions(), PUBLISHED):
        columns = part_columns(options)
        assert tuple(columns) == PARTS
        assert [len(found) for found in columns.values()] == [7, 24, 36, 48, 48, 48, 48, 180, 180, 50]
        assert sorted(column for found in columns.values() for column in found) == list(range(669))


def test_left_is_left_and_in_the_release_arms_and_legs_are_swapped_but_hands_are_not():
    ours, theirs = (joint_parts(options) for options in (MotionVerseOptions(), PUBLISHED))
    for joint, name in enumerate(CANONICAL_HANDS.names):
        part = PARTS[ours[joint]]
        for side in ("left", "right"):
            assert (side in part) == (side in name)
    assert [joint for joint in range(52) if PARTS[theirs[joint]] == "left_arm"] == [14, 17, 19, 21]
    assert [joint for joint in range(52) if PARTS[theirs[joint]] == "right_leg"] == [1, 4, 7, 10]
    assert [joint for joint in range(52) if PARTS[theirs[joint]] == "left_hand"] == list(range(22, 37))


def test_the_body_with_hands_is_the_canonical_one_and_symmetric():
    assert CANONICAL_HANDS.names[:22] == CANONICAL.names
    assert torch.equal(CANONICAL_HANDS.offsets[:22], CANONICAL.offsets)
    assert CANONICAL_HANDS.names[22:28] == (
        *(f"left_index{number}" for number in (1, 2, 3)),
        *(f"left_middle{number}" for number in (1, 2, 3)),
    )
    flipped = CANONICAL_HANDS.rest_positions[list(MIRROR_HANDS)] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(flipped, CANONICAL_HANDS.rest_positions)
    # Fingers are about as long as those of the body that the release moves clips onto.
    ours, theirs = (offsets[22:].norm(dim=-1) for offsets in (CANONICAL_HANDS.offsets, released_offsets()))
    assert float((ours - theirs).abs().max()) < 0.002


@settings(max_examples=40)
@given(frames=st.integers(2, 120), seed=seeds, fps=st.floats(10.0, 120.0), size=st.floats(0.0, 0.6))
def test_rotations_positions_and_place_come_back_at_any_rate(frames, seed, fps, size):
    motion = make.motion(frames, seed, fps, size)
    motion = turn(motion.with_(root=motion.root + torch.tensor([2.0, 0.1, -3.0])), 0.01 * seed)
    unified = encode_motionverse(motion)
    assert unified.features.shape == (frames - 1, 669)
    found = decode_motionverse(unified)
    assert apart(found.motion.rotations, motion.rotations[:-1]) < 1e-4
    assert float((found.motion.positions - motion.positions[:-1]).abs().max()) < 1e-4
    assert float((found.positions - motion.positions[:-1]).abs().max()) < 1e-4
    assert found.motion.fps == fps
    assert found.motion.skeleton is CANONICAL
    assert found.expression is None
    assert found.motion.valid is not None
    assert found.motion.valid.all(0).tolist() == [True] * 7 + [False] * 3
    assert torch.equal(found.motion.valid.any(0), found.motion.valid.all(0))


@settings(max_examples=15)
@given(frames=st.integers(2, 40), seed=seeds, fps=st.floats(10.0, 120.0))
def test_hands_and_face_come_back(frames, seed, fps):
    motion, expression = with_hands(frames, seed, fps), face(frames, seed)
    unified = encode_motionverse(motion, expression=expression)
    assert unified.mask.all()
    found = decode_motionverse(unified)
    assert found.motion.skeleton is CANONICAL_HANDS
    assert apart(found.motion.rotations, motion.rotations[:-1]) < 1e-4
    assert float((found.positions - motion.positions[:-1]).abs().max()) < 1e-4
    assert found.expression is not None
    assert torch.equal(found.expression, expression[:-1])
    # The body alone can be had from it, too.
    body = decode_motionverse(unified, CANONICAL).motion
    assert apart(body.rotations, motion.rotations[:-1, :22]) < 1e-4
    assert body.valid is not None
    assert not body.valid[:, 7:9].any()


@given(seed=seeds)
def test_bodies_in_any_attitude_come_back(seed):
    """Lying, rolling and upside down: the lean holds what the heading does not."""
    motion = make.motion(20, seed)
    rotations = motion.rotations.clone()
    rotations[:, 0] = make.rotations(20, seed=seed)
    wild = motion.with_(rotations=rotations)
    found = decode_motionverse(encode_motionverse(wild))
    assert apart(found.motion.rotations, wild.rotations[:-1]) < 1e-4
    assert float((found.positions - wild.positions[:-1]).abs().max()) < 1e-4


def test_a_long_clip_does_not_drift():
    motion = make.motion(10_000, 3, 100.0)
    found = decode_motionverse(encode_motionverse(motion))
    assert float((found.motion.root - motion.root[:-1]).abs().max()) < 1e-3


@given(seed=seeds, angle=st.floats(-3.0, 3.0), x=st.floats(-3.0, 3.0))
def test_features_do_not_know_place_and_heading(seed, angle, x):
    motion = make.motion(20, seed)
    moved = turn(motion, angle)
    moved = moved.with_(root=moved.root + torch.tensor([x, 0.0, -2.0]))
    here, there = encode_motionverse(motion), encode_motionverse(moved)
    torch.testing.assert_close(here.features, there.features, atol=1e-4, rtol=0.0)
    assert here.start is not None
    assert there.start is not None
    gap = float(there.start[2] - here.start[2]) - angle
    assert math.remainder(gap, 2 * math.pi) == pytest.approx(0.0, abs=1e-5)


@settings(max_examples=15)
@given(frames=st.integers(2, 60), seed=seeds)
def test_mirrored_columns_are_the_features_of_the_mirror_image(frames, seed):
    motion = without(make.motion(frames, seed), "left_arm")
    order, signs = mirror_columns()
    assert torch.equal(order[order], torch.arange(669))
    here, there = encode_motionverse(motion), encode_motionverse(mirror(motion))
    torch.testing.assert_close(here.features[:, order] * signs, there.features, atol=2e-4, rtol=0.0)
    assert torch.equal(here.mask[:, list(MIRROR_PARTS)], there.mask)
    assert not there.mask[:, PARTS.index("right_arm")].any()


def test_mirrored_columns_mirror_the_hands():
    motion = with_hands(20, 4)
    rotations = motion.rotations[:, list(MIRROR_HANDS)] * torch.tensor([1.0, 1.0, -1.0, -1.0])
    image = motion.with_(rotations=rotations, root=motion.root * torch.tensor([-1.0, 1.0, 1.0]))
    order, signs = mirror_columns()
    got = encode_motionverse(motion).features[:, order] * signs
    torch.testing.assert_close(got, encode_motionverse(image).features, atol=2e-4, rtol=0.0)
    torch.testing.assert_close(mirror_joints(motion.positions), image.positions, atol=1e-5, rtol=0.0)


def test_walking_and_leaning_by_hand():
    """1 m/s ahead, leaning 0.2 rad forward: the same numbers at 20 and at 60 fps."""
    for fps in (20.0, 60.0):
        root = torch.tensor([0.0, 0.9, 0.0]) + torch.arange(10)[:, None] / fps * torch.tensor([0.0, 0.0, 1.0])
        rotations = rot.identity(10, 22)
        rotations[:, 0] = rot.about("X", torch.tensor(0.2))
        features = encode_motionverse(Motion(CANONICAL, rotations, root, fps)).features
        wanted = torch.tensor([0.0, 0.0, 1.0, 0.9]).expand(9, 4)
        torch.testing.assert_close(features[:, :4], wanted, atol=1e-5, rtol=0.0)
        torch.testing.assert_close(features[:, list(LEAN)], torch.tensor([0.2, 0.0]).expand(9, 2))
        speed = features[:, SLICES["velocities"]].view(9, 52, 3)[:, 1:22]
        torch.testing.assert_close(speed, torch.tensor([0.0, 0.0, 1.0]).expand(9, 21, 3), atol=2e-5, rtol=0.0)
        six = features[:, SLICES["rotations"]].view(9, 51, 6)
        assert torch.equal(six[:, :21], torch.tensor([1.0, 0, 0, 0, 1, 0]).expand(9, 21, 6))
        assert not six[:, 21:].any()


def test_turning_left_by_hand():
    """1 rad/s to the left is 1; the release writes half the step, to the right."""
    rotations = rot.identity(100, 22)
    rotations[:, 0] = rot.about("Y", 0.05 * torch.arange(100))
    motion = Motion(CANONICAL, rotations, torch.tensor([0.0, 0.93, 0.0]).expand(100, 3), 20.0)
    features = encode_motionverse(motion).features
    torch.testing.assert_close(features[:, 0], torch.ones(99), atol=1e-4, rtol=0.0)
    angle, _ = decode_path(features, 20.0)
    assert float(angle[-1]) == pytest.approx(0.05 * 98, abs=1e-4)
    steps = encode_motionverse(motion, options=MotionVerseOptions(per_frame=True)).features[:, 0]
    torch.testing.assert_close(steps, torch.full((99,), -0.025), atol=1e-5, rtol=0.0)
    # Step 62 leads from 3.10 to 3.15 rad, over pi: there the release turns the other way.
    theirs = encode_motionverse(motion, options=MotionVerseOptions.published(smoothing=0.0)).features[:, 0]
    signs = torch.ones(99)
    signs[62] = -1.0
    torch.testing.assert_close(theirs, -0.025 * signs, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("rotations", ["parent", "chains"])
@settings(max_examples=6)
@given(frames=st.integers(4, 40), seed=seeds)
def test_the_released_form_gives_positions_back(rotations, frames, seed):
    motion = on_floor(make.motion(frames, seed), quantile=0.0)
    options = MotionVerseOptions.published(rotations)
    unified = encode_motionverse(motion, options=options)
    found = decode_motionverse(unified, options=options)
    wanted = motion.positions[:-1]
    assert float((found.positions - wanted).abs().max()) < 1e-4
    assert found.motion.valid is not None
    assert found.motion.valid.all(0).tolist() == [True] * 7 + [False] * 3
    if rotations == "parent":
        # Real rotations in rows; the pelvis' is read from where hips and spine are.
        assert apart(found.motion.rotations, motion.rotations[:-1]) < 2e-4
    else:
        assert found.motion.provenance.notes[0].startswith("rotations fitted to positions: joints off by")
        assert apart(found.motion.rotations[:, 0], motion.rotations[:-1, 0]) < 1e-2


def test_each_slip_of_the_release_can_be_had_on_its_own():
    motion = make.motion(30, 2)
    positions = load_joints(motion.positions)
    trunk = MotionVerseOptions(heading="trunk", pelvis="velocity")
    ahead = torch.tensor([0.0, 0.0, 1.0])
    right = rot.rotate(rot.conjugate(trunk_heading(positions, trunk)), ahead)
    torch.testing.assert_close(right, facing(motion.positions), atol=1e-5, rtol=0.0)
    slips = {
        "reversed_hips": MotionVerseOptions(heading="trunk", pelvis="velocity", reversed_hips=True),
        "forced_start": MotionVerseOptions(heading="trunk", pelvis="velocity", forced_start=True),
        "smoothing": MotionVerseOptions(heading="trunk", pelvis="velocity", smoothing=20.0),
    }
    for name, options in slips.items():
        assert float((trunk_heading(positions, options) - trunk_heading(positions, trunk)).abs().max()) > 0.01, name
    assert trunk_heading(positions, slips["forced_start"])[0].tolist() == [1.0, 0.0, 0.0, 0.0]
    columns, rows = (
        encode_motionverse(motion, options=MotionVerseOptions(six=six)).features for six in ("columns", "rows")
    )
    block = SLICES["rotations"]
    matrix = rot.from_6d(columns[:, block].view(29, 51, 6)[:, :21])
    torch.testing.assert_close(rot.to_6d(matrix, "rows"), rows[:, block].view(29, 51, 6)[:, :21])
    lean, velocity = (
        encode_motionverse(motion, options=MotionVerseOptions(pelvis=pelvis)).features
        for pelvis in ("lean", "velocity")
    )
    differ = (lean != velocity).any(0).nonzero().flatten().tolist()
    assert differ == list(LEAN)
    # One flag for both hands: the right one is said to be absent, and its numbers stay.
    valid = torch.tensor([part != "right_hand" for part in PARTS]).expand(20, 10)
    hands = with_hands(20).with_(valid=valid)
    for options, kept in ((MotionVerseOptions(), False), (MotionVerseOptions(one_hand_flag=True), True)):
        unified = encode_motionverse(hands, options=options)
        assert bool(unified.features[:, list(part_columns()["right_hand"])].any()) is kept
        assert not unified.mask[:, PARTS.index("right_hand")].any()


def test_the_rate_a_thinned_clip_is_labelled_with():
    assert thinning(60.0, 20.0) == thinning(60.0, 20.0, PUBLISHED) == (3, 20.0)
    assert thinning(30.0, 20.0, PUBLISHED) == (1, 20.0)
    assert thinning(30.0, 20.0) == (2, 15.0)
    assert thinning(120.0, 25.0, PUBLISHED) == (4, 25.0)
    assert thinning(120.0, 25.0) == (5, 24.0)
    assert thinning(29.97, 60.0) == (1, 29.97)


@settings(max_examples=8)
@given(seed=seeds)
def test_chains_there_and_back(seed):
    offsets = released_offsets()
    assert sorted(joint for chain in CHAINS for joint in chain[1:]) == list(range(1, 52))
    torch.testing.assert_close(directions()[1:].norm(dim=-1), torch.ones(51))
    root = make.tensor(9, 3, seed=seed)
    positions = pose_chains(make.rotations(9, 52, seed=seed), root, offsets)
    options = MotionVerseOptions(heading="trunk", pelvis="velocity")
    rotations = chain_rotations(positions, trunk_heading(positions, options))
    torch.testing.assert_close(pose_chains(rotations, root, offsets), positions, atol=2e-5, rtol=0.0)
    # Another body of the same proportions is moved onto this one exactly.
    moved = move_to_body(1.25 * positions, ALL, offsets)
    torch.testing.assert_close(moved, positions, atol=3e-5, rtol=0.0)


def test_decoding_has_gradients_and_takes_batches():
    features = torch.stack([encode_motionverse(make.motion(8, seed)).features for seed in (0, 1)])
    features = features.requires_grad_()
    rotations, positions = decode_rotations(features, 20.0), decode_positions(features, 20.0)
    assert rotations.shape == (2, 7, 52, 4)
    assert positions.shape == (2, 7, 52, 3)
    torch.testing.assert_close(rotations[1], decode_rotations(features[1], 20.0))
    torch.testing.assert_close(positions[1], decode_positions(features[1], 20.0))
    (rotations.sum() + positions.sum()).backward()
    assert features.grad is not None
    # Hands are absent: rotations of all zeros have no direction to fall in.
    body = [column for part in PARTS[:7] for column in part_columns()[part]]
    assert torch.isfinite(features.grad[..., body]).all()


def test_what_does_not_fit_is_refused():
    motion = make.motion(5)
    ok = encode_motionverse(motion)
    with pytest.raises(LayoutError, match="22 joints or 52 with hands, this motion has 22 others: call retarget first"):
        encode_motionverse(Motion(make.skeleton(22), motion.rotations, motion.root, 20.0))
    with pytest.raises(LayoutError, match="1 frame has no step to the next; at least two frames are needed"):
        encode_motionverse(make.motion(1))
    with pytest.raises(LayoutError, match=r"21 joints; the unified layout reads 22, 24 or 52"):
        encode_keypoints(motion.positions[:, :21], 20.0)
    with pytest.raises(LayoutError, match=r"positions are \(4, 22, 3\); this motion needs \(5, 22, 3\)"):
        encode_motionverse(motion, motion.positions[:4])
    broken = motion.positions.clone()
    broken[3, 18] = torch.nan
    with pytest.raises(LayoutError, match="joint 'left_elbow' is NaN or infinite in frame 3, but its part is marked"):
        encode_keypoints(broken, 20.0)
    with pytest.raises(LayoutError, match=r"the part mask is \(5, 9\); 5 frames need \(5, 10\)"):
        encode_keypoints(motion.positions, 20.0, valid=torch.ones(5, 9, dtype=torch.bool))
    with pytest.raises(LayoutError, match=r"expression is \(5, 10\); 5 frames need \(5, 50\)"):
        encode_motionverse(motion, expression=torch.zeros(5, 10))
    with pytest.raises(LayoutError, match="the expression holds NaN"):
        encode_motionverse(motion, expression=torch.full((5, 50), torch.nan))
    with pytest.raises(LayoutError, match=r"rotations are \(5, 21, 4\); 5 frames need \(5, 22 or 52, 4\)"):
        encode_keypoints(motion.positions, 20.0, motion.rotations[:, :21])
    with pytest.raises(LayoutError, match="263 features a frame do not fit the unified layout, which has 669"):
        MotionVerseFeatures(torch.zeros(4, 263), ok.mask, 20.0)
    with pytest.raises(LayoutError, match=r"the part mask is \(3, 10\); 4 rows need \(4, 10\)"):
        MotionVerseFeatures(ok.features, ok.mask[:3], 20.0)
    with pytest.raises(LayoutError, match="there are no rows"):
        MotionVerseFeatures(ok.features[:0], ok.mask[:0], 20.0)
    with pytest.raises(LayoutError, match=r"fps is 0.0; it must be a positive number"):
        MotionVerseFeatures(ok.features, ok.mask, 0.0)
    with pytest.raises(LayoutError, match="the features hold NaN or infinite values"):
        MotionVerseFeatures(ok.features * torch.nan, ok.mask, 20.0)
    with pytest.raises(LayoutError, match="features can move the canonical tree of 22 or 52 joints; got another of 3"):
        decode_motionverse(ok, Skeleton(("a", "b", "c"), (-1, 0, 1), torch.zeros(3, 3)))
    with pytest.raises(
        LayoutError, match="rotations along chains are not the joints' own; decode_motionverse fits some"
    ):
        decode_rotations(ok.features, 20.0, PUBLISHED)


def test_options_that_contradict_each_other_and_other_misuse_are_refused():
    with pytest.raises(LayoutError, match="rotations='chains' knows no rotation of the pelvis"):
        MotionVerseOptions(rotations="chains")
    with pytest.raises(LayoutError, match="pelvis='lean' is relative to the pelvis' own heading"):
        MotionVerseOptions(heading="trunk")
    with pytest.raises(LayoutError, match=r"only the trunk's heading is smoothed; smoothing is 3.0: use 0"):
        MotionVerseOptions(smoothing=3.0)
    with pytest.raises(LayoutError, match=r"a mask of shape \(4, 9\) has no ten parts on its last axis"):
        spread_mask(torch.ones(4, 9))
    stats = MotionVerseStats(torch.zeros(669), torch.ones(669))
    with pytest.raises(LayoutError, match=r"features \(4, 669\) and part mask \(3, 10\) differ in frames"):
        stats.normalize(torch.zeros(4, 669), torch.ones(3, 10, dtype=torch.bool))
    with pytest.raises(LayoutError, match="no part of any clip is known"):
        measure_stats([])
    with pytest.raises(LayoutError, match="5 rows do not fit into 4; cut the clip first"):
        pad_rows(torch.zeros(5, 669), torch.ones(5, 10, dtype=torch.bool), 4)
    with pytest.raises(LayoutError, match="75 numbers a frame; SMPL rotations are 72, those of SMPL"):
        load_rotations(torch.zeros(3, 75))
    with pytest.raises(LayoutError, match=r"frame rates are 0.0 and 20.0; both must be positive"):
        thinning(0.0, 20.0)
    with pytest.raises(
        LayoutError, match="21 joints; keypoints of the canonical 22 joints or 52 with hands are needed"
    ):
        motion_from_keypoints(torch.zeros(3, 21, 3), 20.0)

import make
import pytest
import torch
from hands import apart, face, with_hands, without
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motionloom.motion import rotations as rot
from motionloom.motion.edit import turn
from motionloom.motion.features.motionverse import (
    decode_motionverse,
    decode_positions,
    encode_keypoints,
    encode_motionverse,
)
from motionloom.motion.features.motionverse_keypoints import motion_from_keypoints
from motionloom.motion.features.motionverse_layout import (
    LEAN,
    SLICES,
    MotionVerseFeatures,
    joint_columns,
    joint_parts,
    known_joints,
    measure_stats,
    pad_rows,
    part_columns,
    spread_mask,
)
from motionloom.motion.skeleton import CANONICAL_HANDS, PARTS

seeds = st.integers(0, 1000)
ALL = torch.ones(10, dtype=torch.bool)


@pytest.mark.parametrize("part", PARTS)
@settings(max_examples=5)
@given(frames=st.integers(2, 30), seed=seeds)
def test_a_part_that_is_dropped_takes_nothing_else_with_it(part, frames, seed):
    """Its features are 0, it comes back as unknown and at rest; features and joints of the others are as they were."""
    motion, index = with_hands(frames, seed), PARTS.index(part)
    expression = face(frames, seed)
    whole = encode_motionverse(motion, expression=expression)
    lacking = encode_motionverse(without(motion, part), expression=expression)
    own = list(part_columns()[part])
    others = [column for column in range(669) if column not in set(own)]
    assert torch.equal(lacking.features[:, others], whole.features[:, others])
    assert not lacking.features[:, own].any()
    assert torch.equal(lacking.mask, (torch.arange(10) != index).expand(frames - 1, 10))

    a, b = (decode_motionverse(each, CANONICAL_HANDS) for each in (whole, lacking))
    assert b.motion.valid is not None
    assert torch.equal(b.motion.valid, lacking.mask)
    known = known_joints(lacking.mask)[0]
    inner = known.clone()
    inner[0] = False
    assert torch.equal(a.motion.rotations[:, inner], b.motion.rotations[:, inner])
    for joint in (~known).nonzero().flatten().tolist():
        assert apart(b.motion.rotations[:, joint], rot.identity(frames - 1) if joint else heading_of(whole, 0)) < 1e-5
    if part == "root":
        # Where the body is, is what is not known: the other joints are those of a body that stays where it began.
        still = whole.features.clone()
        still[:, [0, 1, 2]] = 0.0
        wanted = decode_positions(still, motion.fps, start=whole.start)
        torch.testing.assert_close(b.positions[:, 1:], wanted[:, 1:], atol=1e-6, rtol=0.0)
        assert b.motion.root[:, 1].tolist() == pytest.approx([0.93] * (frames - 1))
    else:
        assert torch.equal(a.positions[:, known], b.positions[:, known])
    assert (b.expression is None) == (part == "face")


def heading_of(unified: MotionVerseFeatures, frame: int) -> Tensor:
    assert unified.start is not None
    return rot.about("Y", unified.start[2] * torch.ones(1))


@pytest.mark.parametrize("part", [part for part in PARTS if part not in ("root", "stem", "face")])
@given(seed=seeds)
@settings(max_examples=5)
def test_what_stands_in_an_unknown_part_is_not_read(part, seed):
    """Nothing hangs on arms, legs, head and hands but themselves: nonsense there changes no number."""
    motion, index = with_hands(12, seed), PARTS.index(part)
    joints = [joint for joint, own in enumerate(joint_parts()) if own == index]
    rotations = motion.rotations.clone()
    rotations[:, joints] = make.rotations(12, len(joints), seed=seed)
    nonsense = without(motion.with_(rotations=rotations), part)
    got, wanted = encode_motionverse(nonsense).features, encode_motionverse(without(motion, part)).features
    # A wrist carries its hand: the hand's place follows from the arm's, its rotations do not.
    if part.endswith("_arm"):
        hand = known_joints(torch.tensor([name == part.replace("arm", "hand") for name in PARTS]))
        for joint in hand.nonzero().flatten().tolist():
            columns = joint_columns(joint)
            got[:, columns[:3] + columns[9:]] = wanted[:, columns[:3] + columns[9:]]
    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=0.0)
    # The same on the way back.
    unified = encode_motionverse(without(motion, part))
    columns = list(part_columns()[part])
    noisy = unified.features.clone()
    noisy[:, columns] = make.tensor(11, len(columns), seed=seed)
    a, b = (decode_motionverse(MotionVerseFeatures(each, unified.mask, 20.0)) for each in (unified.features, noisy))
    assert torch.equal(a.motion.rotations, b.motion.rotations)
    assert torch.equal(a.positions, b.positions)


@given(frames=st.integers(3, 40), seed=seeds)
def test_parts_may_be_known_for_a_while(frames, seed):
    motion = make.motion(frames, seed)
    valid = make.tensor(frames, 10, seed=seed) > 0
    valid[:, 0] = True
    unified = encode_motionverse(motion.with_(valid=valid))
    found = decode_motionverse(unified)
    wanted = valid[:-1].clone()
    wanted[:, 7:] = False
    assert torch.equal(unified.mask, wanted)
    assert found.motion.valid is not None
    assert torch.equal(found.motion.valid, wanted)
    known = known_joints(wanted)[:, :22]
    assert float((found.positions - motion.positions[:-1])[known].abs().max()) < 1e-4
    assert apart(found.motion.rotations[known], motion.rotations[:-1][known]) < 1e-4
    assert not unified.features[~spread_mask(wanted)].any()


def test_steps_into_the_unknown_go_on_as_before():
    motion = make.motion(6, 1)
    valid = ALL.expand(6, 10).clone()
    head = PARTS.index("head")
    valid[:, head] = torch.tensor([True, True, True, False, False, True])
    whole, lacking = encode_motionverse(motion).features, encode_motionverse(motion.with_(valid=valid)).features
    speed = joint_columns(15)[9:]
    assert torch.equal(lacking[:2, speed], whole[:2, speed])
    assert torch.equal(lacking[2, speed], whole[1, speed])
    assert not lacking[3:, speed].any()


def test_known_stretches_of_keypoints_come_back_as_they_were():
    """An upper body without legs, root and hands; what is not there is NaN."""
    motion = make.motion(30, 5)
    valid = torch.tensor([part in ("head", "stem", "left_arm", "right_arm") for part in PARTS]).expand(30, 10)
    points = motion.positions.clone()
    points[:, ~known_joints(valid[0])[:22]] = torch.nan
    unified = encode_keypoints(points, 20.0, valid=valid)
    assert torch.equal(unified.mask, valid[:-1])
    assert not unified.features[:, [*part_columns()["root"], *part_columns()["left_leg"]]].any()
    found = decode_motionverse(unified)
    seen = known_joints(valid[0])[:22]
    # Seen from the body: the place is what is not known.
    shape = found.positions[:, seen] - found.positions[:, seen].mean(1, keepdim=True)
    wanted = (motion.positions[:-1, seen] - motion.positions[:-1, seen].mean(1, keepdim=True)).norm(dim=-1)
    torch.testing.assert_close(shape.norm(dim=-1), wanted, atol=1e-4, rtol=0.0)
    height = found.positions[:, seen][..., 1] - motion.positions[:-1, seen][..., 1]
    assert float(height.abs().max()) < 1e-4
    assert found.motion.valid is not None
    assert torch.equal(found.motion.valid, valid[:-1])
    # The body turned: its shape is the same, whichever way it faces.
    again = encode_keypoints(rot.rotate(rot.about("Y", torch.tensor(2.0)), points), 20.0, valid=valid)
    torch.testing.assert_close(again.features, unified.features, atol=2e-3, rtol=0.0)


def test_whole_keypoints_are_written_as_they_are():
    motion = with_hands(20, 7)
    for joints in (22, 52):
        unified = encode_keypoints(motion.positions[:, :joints], 20.0)
        assert unified.mask[:, 7].any() == (joints == 52)
        found = decode_motionverse(unified)
        assert float((found.positions - motion.positions[:-1, :joints]).abs().max()) < 1e-4
    padded = torch.cat((motion.positions[:, :22], torch.zeros(20, 2, 3)), dim=1)
    assert torch.equal(
        encode_keypoints(padded, 20.0).features, encode_keypoints(motion.positions[:, :22], 20.0).features
    )
    # With rotations at hand nothing is fitted.
    given_rotations = encode_keypoints(motion.positions, 20.0, motion.rotations)
    torch.testing.assert_close(given_rotations.features, encode_motionverse(motion).features)


@settings(max_examples=8)
@given(seed=seeds)
def test_a_fitted_body_stands_where_its_keypoints_are_and_rests_where_there_are_none(seed):
    motion = turn(with_hands(20, seed), 0.1 * seed)
    lacking = [13, 16, 18, 20, *range(22, 37)]
    valid = torch.tensor([part not in ("left_arm", "left_hand", "face") for part in PARTS]).expand(20, 10)
    points = motion.positions.clone()
    points[:, lacking] = torch.nan
    found = motion_from_keypoints(points, 20.0, valid)
    assert found.valid is not None
    assert torch.equal(found.valid, valid)
    seen = [joint for joint in range(52) if joint not in lacking]
    gap = (found.positions[:, seen] - motion.positions[:, seen]).norm(dim=-1)
    assert float(gap.mean()) < 0.02
    assert found.provenance.notes[0].startswith("rotations fitted to positions: joints off by")
    assert torch.equal(found.rotations[:, lacking], rot.identity(20, len(lacking)))


def test_statistics_are_of_known_cells_and_unknown_ones_are_zero_scores():
    clips = [encode_motionverse(make.motion(40, seed)) for seed in range(3)]
    clips.append(encode_motionverse(without(make.motion(40, 9), "head")))
    stats = measure_stats((clip.features, clip.mask) for clip in clips)
    head = list(part_columns()["head"])
    known = torch.cat([clip.features for clip in clips[:3]])
    torch.testing.assert_close(stats.mean[head], known[:, head].mean(0), atol=1e-5, rtol=0.0)
    hand = list(part_columns()["left_hand"])
    assert stats.mean[hand].tolist() == [0.0] * 180
    assert stats.std[hand].tolist() == [1.0] * 180
    body = slice(SLICES["positions"].start, SLICES["positions"].start + 63)
    assert float(stats.std[body].max() - stats.std[body].min()) == 0.0
    assert float(stats.std[LEAN[0]]) == float(stats.std[LEAN[1]]) != float(stats.std[464])
    own = measure_stats(((clip.features, clip.mask) for clip in clips), by_block=False)
    torch.testing.assert_close(own.std[head[:3]], known[:, head[:3]].std(0, correction=0), atol=1e-5, rtol=1e-4)
    scores = stats.normalize(clips[3].features, clips[3].mask)
    assert not scores[:, head].any()
    seen = spread_mask(clips[3].mask)
    torch.testing.assert_close(stats.denormalize(scores)[seen], clips[3].features[seen], atol=1e-5, rtol=0.0)
    padded, mask = pad_rows(scores, clips[3].mask, 50)
    assert padded.shape == (50, 669)
    assert not padded[39:].any()
    assert not mask[39:].any()

import make
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import motionloom as ml
from motionloom.metrics.seams import LIMIT, seam_jerk
from motionloom.motion import rotations as rot
from motionloom.motion.blend import Run, compose, faster, resample_smoothly, runs
from motionloom.motion.edit import turn
from motionloom.motion.skeleton import CANONICAL, JOINT_PARTS, PARTS

seeds = st.integers(0, 999)
rates = st.sampled_from([20.0, 30.0, 60.0])


def joints_of(part: str) -> list[int]:
    return [joint for joint, name in enumerate(CANONICAL.names) if JOINT_PARTS[name] == part]


def cells(kind: str, frames: int, fps: float) -> torch.Tensor:
    keep = {
        "between": ml.frames(0, 1.0) | ml.frames(-1.0),
        "predict": ml.frames(0, 1.5),
        "before": ml.frames(1.5),
        "outside": ml.frames(1.0, 2.5),
        "legs": ml.parts("legs"),
        "arm": ml.parts("root", "left_leg", "right_leg", "stem", "head", "left_arm") | ml.frames(0, 1.0),
        "legs for a while": ml.parts("legs") & ml.frames(0.5, 2.0) | ml.frames(-0.5),
    }[kind]
    return keep.mask(frames, fps)


kinds = st.sampled_from(["between", "predict", "before", "outside", "legs", "arm", "legs for a while"])


@settings(max_examples=10)
@given(kind=kinds, fps=rates, seed=seeds)
def test_known_cells_come_back_to_the_bit(kind, fps, seed):
    frames = round(3.5 * fps)
    source, made = make.motion(frames, seed, fps), make.motion(frames, seed + 1, fps)
    known = cells(kind, frames, fps)
    found = compose(source, known, made)
    for part in PARTS:
        mask, members = known[:, PARTS.index(part)], joints_of(part)
        assert torch.equal(found.rotations[mask][:, members], source.rotations[mask][:, members])
    mask = known[:, PARTS.index("root")]
    assert torch.equal(found.root[mask], source.root[mask])
    whole = known.all(1)
    assert torch.equal(found.positions[whole], source.positions[whole])


def as_a_decoder_would(source: ml.Motion, seed: int) -> ml.Motion:
    """The same motion with smooth errors of some degrees and centimetres, another heading and another place."""
    frames = len(source)
    errors = 0.08 * make.waves(frames, 66, source.fps, seed).view(frames, 22, 3)
    made = source.with_(
        rotations=rot.normalize(rot.multiply(rot.from_axis_angle(errors), source.rotations)),
        root=source.root + 0.03 * make.waves(frames, 3, source.fps, seed + 1),
    )
    return turn(made, 2.0)


def seam_ratio(motion: ml.Motion, known: torch.Tensor) -> float:
    places = (1 + (known[1:] != known[:-1]).any(1).nonzero()[:, 0]).tolist()
    return seam_jerk(motion.positions, motion.fps, places).ratio


@settings(max_examples=14)
@given(kind=kinds, fps=rates, seed=seeds)
def test_seams_are_smooth(kind, fps, seed):
    source = make.motion(round(3.5 * fps), seed, fps)
    known = cells(kind, len(source), fps)
    found = compose(source, known, as_a_decoder_would(source, seed + 1))
    assert seam_ratio(found, known) <= LIMIT


@settings(max_examples=6)
@given(kind=kinds, fps=rates, seed=seeds)
def test_seams_between_motions_that_have_nothing_in_common_do_not_jump(kind, fps, seed):
    """Joints up to 1 m apart must meet within half a second: some jerk there is, but no step."""
    frames = round(3.5 * fps)
    source, made = make.motion(frames, seed, fps), make.motion(frames, seed + 1, fps)
    known = cells(kind, frames, fps)
    assert seam_ratio(compose(source, known, made), known) <= 2.5


@settings(max_examples=20)
@given(kind=st.sampled_from(["between", "predict", "before", "outside"]), fps=rates, seed=seeds)
def test_seams_of_what_repeats_the_known_frames_are_smooth_too(kind, fps, seed):
    """As a diffusion model would: what it was given comes back as it was, and the free frames begin elsewhere."""
    source = make.motion(round(4 * fps), seed, fps)
    known, whole = cells(kind, len(source), fps), cells(kind, len(source), fps).all(1)
    made = turn(as_a_decoder_would(source, seed + 1), -2.0)
    made = made.with_(
        rotations=torch.where(whole[:, None, None], source.rotations, made.rotations),
        root=torch.where(whole[:, None], source.root, made.root),
    )
    repeated, found = (seam_ratio(compose(source, known, made, overlaps=overlaps), known) for overlaps in (True, False))
    assert found <= min(3.5, max(LIMIT, repeated))


@settings(max_examples=5)
@given(kind=kinds, seed=seeds, angle=st.floats(-3.1, 3.1), x=st.floats(-5, 5), z=st.floats(-5, 5))
def test_where_the_made_motion_stands_and_faces_does_not_matter(kind, seed, angle, x, z):
    source, made = make.motion(70, seed), make.motion(70, seed + 1)
    known = cells(kind, 70, 20.0)
    moved = turn(made, angle)
    moved = moved.with_(root=moved.root + torch.tensor([x, 0.0, z]))
    first, second = compose(source, known, made), compose(source, known, moved)
    torch.testing.assert_close(first.positions, second.positions, atol=2e-3, rtol=0)


@settings(max_examples=6)
@given(seed=seeds, kind=kinds)
def test_what_was_made_exactly_as_it_is_known_stays_so(seed, kind):
    """Nothing is added where there is nothing to blend."""
    source = make.motion(70, seed)
    found = compose(source, cells(kind, 70, 20.0), source)
    assert float((found.positions - source.positions).norm(dim=-1).max()) < 1e-4


@settings(max_examples=6)
@given(seed=seeds)
def test_far_from_its_borders_what_was_made_keeps_its_pose(seed):
    source, made = make.motion(100, seed), make.motion(100, seed + 1)
    found = compose(source, ml.frames(0, 1.0).mask(100, 20.0), made)
    # Half a second of blending after the border at frame 20.
    assert make.degrees_apart(found.rotations[32:, 1:], made.rotations[32:, 1:]) < 0.2
    apart = rot.yaw_of(found.rotations[32:, 0]) - rot.yaw_of(made.rotations[32:, 0])
    assert float((torch.remainder(apart - apart[0] + torch.pi, 2 * torch.pi) - torch.pi).abs().max()) < 1e-3


def test_heights_are_not_moved_by_where_the_source_stands():
    """The root is put where the source is along the floor only, and the height goes back to the made one."""
    source, made = make.motion(60, 0), make.motion(60, 1)
    found = compose(source, ml.frames(0, 1.0).mask(60, 20.0), made)
    torch.testing.assert_close(found.root[40:, 1], made.root[40:, 1], atol=1e-4, rtol=0)


def test_a_root_known_nowhere_stands_where_the_source_is_at_the_anchor():
    source, made = make.motion(60, 0), make.motion(60, 1)
    found = compose(source, ml.parts("upper").mask(60, 20.0), made, anchor=12)
    torch.testing.assert_close(found.root[12, [0, 2]], source.root[12, [0, 2]], atol=1e-5, rtol=0)
    assert float(rot.yaw_of(found.rotations[12, 0]) - rot.yaw_of(source.rotations[12, 0])) == pytest.approx(0, abs=1e-5)


def test_contacts_are_those_of_the_known_legs():
    source = make.motion(40, 0).with_(contacts=torch.ones(40, 4, dtype=torch.bool))
    made = make.motion(40, 1).with_(contacts=torch.zeros(40, 4, dtype=torch.bool))
    found = compose(source, ml.frames(0, 1.0).mask(40, 20.0), made)
    assert found.contacts is not None
    assert found.contacts.all(1).tolist() == [True] * 20 + [False] * 20
    assert compose(source.with_(contacts=None), ml.frames(0, 1.0).mask(40, 20.0), made).contacts is None


def test_runs_by_hand():
    assert runs(torch.tensor([True, True, False, True, False, False, True])) == [Run(0, 2), Run(3, 4), Run(6, 7)]
    assert runs(torch.zeros(3, dtype=torch.bool)) == []
    assert runs(torch.ones(3, dtype=torch.bool)) == [Run(0, 3)]


@given(seed=seeds, frames=st.integers(5, 60))
def test_the_spline_goes_through_every_frame(seed, frames):
    motion = make.motion(frames, seed)
    found = resample_smoothly(motion, torch.arange(frames) / 20.0, 20.0)
    torch.testing.assert_close(found.root, motion.root, atol=1e-5, rtol=0)
    assert make.degrees_apart(found.rotations, motion.rotations) < 0.1


@settings(max_examples=10)
@given(seed=seeds)
def test_the_spline_of_a_slow_motion_is_the_same_motion_at_a_faster_rate(seed):
    """Against the motion itself, drawn at 60 fps: sines of at most 2 Hz."""
    slow, fast = make.motion(80, seed, 20.0), make.motion(240, seed, 60.0)
    found = faster(slow, 60.0)
    assert len(found) == 240
    inner = slice(12, 226)
    # The path of the synthetic root is a sum of steps, which depends on the rate: rotations are compared.
    assert make.degrees_apart(found.rotations[inner, 1:], fast.rotations[inner, 1:]) < 0.5
    jerk = torch.diff(found.root, n=3, dim=0).norm(dim=-1).max() * 60**3
    linear = slow.at_fps(60.0)
    assert jerk < 0.2 * torch.diff(linear.root, n=3, dim=0).norm(dim=-1).max() * 60**3


@pytest.mark.parametrize(("frames", "fps", "count"), [(40, 60.0, 120), (42, 30.0, 63), (7, 240.0, 84), (1, 60.0, 3)])
def test_a_faster_rate_keeps_the_length(frames, fps, count):
    found = faster(make.motion(frames, 0), fps)
    assert (len(found), found.fps) == (count, fps)
    torch.testing.assert_close(found.root[0], make.motion(frames, 0).root[0], atol=1e-5, rtol=0)


def test_the_spline_goes_straight_on_beyond_its_ends():
    """A steady walk stays steady to one frame beyond both ends."""
    motion = make.motion(20, 0).with_(rotations=rot.identity(20, 22))
    motion = motion.with_(root=torch.arange(20)[:, None] * torch.tensor([0.0, 0.0, 0.05]))
    found = resample_smoothly(motion, torch.tensor([-0.05, 0.0, 0.95, 1.0]), 20.0)
    torch.testing.assert_close(found.root[:, 2], torch.tensor([-0.05, 0.0, 0.95, 1.0]), atol=1e-6, rtol=0)

import make
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motionloom.errors import MotionError
from motionloom.metrics.seams import LIMIT, SeamJerk, seam_jerk


def still(frames: int, joints: int = 2) -> torch.Tensor:
    return torch.zeros(frames, joints, 3)


def test_a_step_by_hand():
    """A jump by 1 m at frame 5 has third differences 1, -2, 1; at 10 fps that is 1,000 to 2,000 m/s³."""
    positions = still(12)
    positions[5:, 1, 0] = 1.0
    found = seam_jerk(positions, 10.0, [5])
    assert found.seams == (2000.0,)
    assert found.usual == 0.0
    assert not found.smooth
    # Beside the seam, the same jump is the clip's own: differences that end before it or begin behind it.
    found = seam_jerk(positions, 10.0, [9])
    assert found.seams == (0.0,)
    assert found.usual > 1000.0
    assert found.ratio == 0.0
    assert found.smooth


@pytest.mark.parametrize(("seam", "jerk"), [(1, 0.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0), (6, 1.0), (7, 0.0)])
def test_every_third_difference_that_crosses_a_seam_counts_to_it(seam, jerk):
    """The step at frame 4.. is in the differences that begin at frames 1, 2 and 3: sizes 1, 2, 1."""
    positions = still(12, joints=1)
    positions[4:, 0, 1] = 1.0
    assert seam_jerk(positions, 1.0, [seam]).seams == (jerk,)


def test_a_cubic_by_hand():
    """x = t³ has jerk 6 m/s³ everywhere, whatever the frame rate; the joint that jerks most is the one that counts."""
    for fps in (10.0, 25.0):
        time = torch.arange(30, dtype=torch.float64) / fps
        positions = torch.zeros(30, 3, 3, dtype=torch.float64)
        positions[:, 2, 2] = time**3
        positions[:, 1, 0] = 0.5 * time**3
        found = seam_jerk(positions.float().double(), fps, [10, 20])
        assert found.seams == pytest.approx((6.0, 6.0), rel=0.02)
        assert found.usual == pytest.approx(6.0, rel=0.02)
        assert found.ratio == pytest.approx(1.0, abs=0.03)


def test_ratio_and_limit_by_hand():
    assert SeamJerk((1.0, 3.0), 2.0).ratio == 1.5
    assert SeamJerk((1.0, 3.0), 2.0).smooth
    assert not SeamJerk((1.0, 3.1), 2.0).smooth
    assert SeamJerk((), 2.0).ratio == 0.0
    assert LIMIT == 1.5


def test_where_seams_are_everywhere_the_whole_clip_is_the_measure():
    positions = make.tensor(6, 2, 3, seed=1)
    found = seam_jerk(positions, 20.0, [1, 2, 3, 4, 5])
    jerk = torch.diff(positions, n=3, dim=0).norm(dim=-1).amax(-1) * 8000
    assert found.usual == pytest.approx(float(torch.quantile(jerk, 0.95)))


@given(frames=st.integers(8, 60), seed=st.integers(0, 99), size=st.sampled_from([0.01, 3.0]))
def test_the_ratio_does_not_depend_on_place_heading_or_size(frames, seed, size):
    positions = make.tensor(frames, 4, 3, seed=seed, dtype=torch.float64)
    seam = 1 + seed % (frames - 1)
    one = seam_jerk(positions, 20.0, [seam])
    moved = size * positions[..., [2, 1, 0]] + torch.tensor([5.0, 0.0, -3.0])
    assert seam_jerk(moved, 20.0, [seam]).ratio == pytest.approx(one.ratio, rel=1e-6)
    assert seam_jerk(positions, 40.0, [seam]).seams[0] == pytest.approx(8 * one.seams[0], rel=1e-9)


@pytest.mark.parametrize(
    ("frames", "seams", "message"),
    [
        (3, [], "3 frames have no jerk; at least 4 are needed"),
        (10, [0], r"seams \[0\] lie outside the motion; they must be in 1..9"),
        (10, [4, 10, -1], r"seams \[10, -1\] lie outside"),
    ],
)
def test_bad_seams_get_one_clear_line(frames, seams, message):
    with pytest.raises(MotionError, match=message) as caught:
        seam_jerk(still(frames), 20.0, seams)
    assert "\n" not in str(caught.value)

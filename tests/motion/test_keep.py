import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import motionloom as ml
from motionloom.errors import MotionError
from motionloom.motion.keep import GROUPS, parse_keep
from motionloom.motion.skeleton import PARTS

times = st.integers(0, 40).map(lambda tenth: tenth / 10)
names = st.sampled_from([*PARTS, *GROUPS])


@given(a=times, b=times, part=names, fps=st.sampled_from([20.0, 30.0, 120.0]))
def test_or_and_and_are_those_of_sets(a, b, part, fps):
    start, end = min(a, b), max(a, b) + 0.5
    count = round(5 * fps)
    time, some = ml.frames(start, end), ml.parts(part)
    one, other = time.mask(count, fps), some.mask(count, fps)
    torch.testing.assert_close((time | some).mask(count, fps), one | other)
    torch.testing.assert_close((time & some).mask(count, fps), one & other)
    assert int(one[:, 0].sum()) == round(end * fps) - round(start * fps)
    assert bool((one == one[:, :1]).all())
    assert bool((other == other[:1]).all())


def test_spans_by_hand():
    mask = ml.frames(-1.0).mask(40, 20.0)[:, 0]
    assert mask.tolist() == [False] * 20 + [True] * 20
    mask = ml.frames(0.5, -0.5).mask(40, 20.0)[:, 0]
    assert mask.tolist() == [False] * 10 + [True] * 20 + [False] * 10


def test_groups_by_hand():
    kept = [part for part, on in zip(PARTS, ml.parts("legs").mask(1, 20.0)[0].tolist(), strict=True) if on]
    assert kept == ["root", "left_leg", "right_leg"]
    assert bool((ml.parts("upper") | ml.parts("lower")).mask(3, 20.0).all())
    assert not bool((ml.parts("upper") & ml.parts("lower")).mask(3, 20.0).any())


def test_what_the_command_line_writes():
    wanted = ml.frames(0, 1) | ml.frames(3, 4) | ml.parts("legs", "head")
    found = parse_keep(" 0:1, 3:4", "legs,head")
    torch.testing.assert_close(found.mask(100, 20.0), wanted.mask(100, 20.0))
    torch.testing.assert_close(parse_keep("-1:").mask(60, 20.0), ml.frames(-1.0).mask(60, 20.0))
    torch.testing.assert_close(parse_keep(":1").mask(60, 20.0), ml.frames(0, 1.0).mask(60, 20.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ml.parts("tail"), "there is no body part 'tail'; the parts are root, head"),
        (lambda: ml.parts(), "no body part was named"),
        (lambda: ml.frames(float("nan"), 1.0), "give finite numbers"),
        (lambda: ml.frames(0, 9.0).mask(40, 20.0), r"from 0 to 9 s does not lie within the 2\.00 s"),
        (lambda: ml.frames(1.0, 1.0).mask(40, 20.0), "does not lie within"),
        (lambda: ml.frames(-5.0).mask(40, 20.0), "from -5 to the end does not lie"),
        (lambda: parse_keep("0-1"), "'0-1' is no span of time; write start:end"),
        (lambda: parse_keep("a:b"), "is no span of time"),
        (lambda: parse_keep("", " , "), "nothing is kept"),
    ],
)
def test_bad_choices_get_one_clear_line(call, message):
    with pytest.raises(MotionError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)

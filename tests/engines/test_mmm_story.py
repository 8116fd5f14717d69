import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from make_mmm import write_body_engine, write_engine

import motionloom as ml
from motionloom.engines.mmm.story import borders, read_script, seams
from motionloom.engines.request import Request, Segment
from motionloom.errors import RequestError
from motionloom.metrics.seams import LIMIT, seam_jerk

FAST = {"steps": 2, "guidance": 1.0}
LINES = (Segment("a person walks", 2.0), Segment("", 1.3), Segment("she bows", 3.15))


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return ml.load(write_body_engine(tmp_path_factory.mktemp("engine") / "body"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An engine with one code for the whole body."""
    return ml.load(write_engine(tmp_path_factory.mktemp("engine") / "whole"))


class TestScript:
    def test_lines_comments_and_empty_lines_by_hand(self, tmp_path):
        script = tmp_path / "story.txt"
        script.write_text("# a day\n\n4.0  a person   walks forward\n 2\the bows # deeply\n1.5\n", encoding="utf-8")
        assert read_script(script) == (
            Segment("a person walks forward", 4.0),
            Segment("he bows", 2.0),
            Segment("", 1.5),
        )

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "holds no line; write lines such as: 4.0  a person walks forward"),
            ("# nothing\n\n", "holds no line"),
            ("2 he bows\na person walks\n", "story.txt, line 2: 'a' is no number of seconds"),
            ("2 he bows\n\n0 he bows\n", "line 3: a segment of 0.0 s: give a positive number"),
            ("-1 he bows\n", "line 1: a segment of -1.0 s"),
            ("nan he bows\n", "line 1: a segment of nan s"),
            ("inf he bows\n", "line 1: a segment of inf s"),
            ("2 " + "word " * 10_000, "line 1: the text has 49999 characters; at most 1000 are read"),
        ],
    )
    def test_bad_scripts_name_the_line(self, tmp_path, text, message):
        script = tmp_path / "story.txt"
        script.write_text(text, encoding="utf-8")
        with pytest.raises(RequestError, match=message) as caught:
            read_script(script)
        assert "\n" not in str(caught.value)

    def test_what_is_no_text_file(self, tmp_path):
        (tmp_path / "story.bin").write_bytes(b"\xff\xfe\x00\x80")
        for name in ("story.bin", "none.txt", "."):
            with pytest.raises(RequestError, match="cannot be read as a text file"):
                read_script(tmp_path / name)


def test_borders_and_seams_by_hand():
    assert borders(LINES, 20.0) == [0, 40, 66, 129]
    assert seams(LINES, 20.0, 129) == [40, 66]
    assert seams(LINES, 60.0, 387) == [120, 198]
    assert seams(LINES[:1], 20.0, 40) == []


@settings(max_examples=5)
@given(
    twentieths=st.lists(st.integers(14, 40), min_size=1, max_size=3),
    odd=st.integers(0, 19),
    fps=st.sampled_from([None, 40.0, 60.0]),
)
def test_the_whole_is_as_long_as_its_lines_to_the_frame(engine, twentieths, odd, fps):
    lines = [Segment("a person walks" if index % 2 else "", count / 20) for index, count in enumerate(twentieths)]
    lines.append(Segment("he bows", 1.0 + odd / 20))
    seconds = sum(twentieths) / 20 + 1.0 + odd / 20
    (motion,) = engine.story(lines, fps=fps, **FAST)
    assert motion.fps == (fps or 20.0)
    assert len(motion) == round(seconds * motion.fps)


def test_a_line_may_be_longer_than_one_piece(whole):
    (motion,) = whole.story([Segment("a person walks", 25.0), Segment("he bows", 1.0)], **FAST)
    assert len(motion) == 520


@pytest.mark.parametrize("kind", ["engine", "whole"])
def test_a_story_alone_and_anywhere_in_a_batch_of_eight(kind, request):
    engine = request.getfixturevalue(kind)
    story = Request(LINES, seed=4, **FAST)
    others = [
        Request((Segment("he runs", 1.0 + index), Segment("", 2.0)), seed=index, **FAST)
        if index % 2
        else Request((Segment("she waves", 1.0 + index),), seed=index, **FAST)
        for index in range(7)
    ]
    alone = engine.serve([story])[0][0]
    for place in (0, 3, 7):
        answer = engine.serve([*others[:place], story, *others[place:]])[place][0]
        assert len(answer) == len(alone)
        assert float((answer.positions - alone.positions).norm(dim=-1).max()) < 1e-4


def test_the_count_and_the_seed(engine):
    first, second = engine.story(LINES, seed=1, count=2, **FAST)
    again, other = (engine.story(LINES, seed=seed, **FAST)[0] for seed in (1, 2))
    assert torch.equal(first.rotations, again.rotations)
    assert not torch.equal(first.rotations, second.rotations)
    assert not torch.equal(first.rotations, other.rotations)
    assert first.provenance.text == "a person walks; she bows"
    assert first.provenance.seed == 1


def test_only_what_is_near_a_line_changes_with_it(engine):
    """Lines are made by themselves: another last line leaves the first one's tokens as they were."""
    lines = [Segment("a person walks", 8.0), Segment("he bows", 8.0), Segment("she runs", 4.0)]
    first = engine.story(lines, seed=3, **FAST)[0]
    second = engine.story([*lines[:2], Segment("", 4.0)], seed=3, **FAST)[0]
    # Up to the first transition, which may be made again in one of them only, less what the decoder looks ahead.
    assert torch.equal(first.rotations[:50, 1:], second.rotations[:50, 1:])
    assert not torch.equal(first.rotations[-60:], second.rotations[-60:])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([Segment("he bows", 2.0), Segment("he bows")], "line 2 of the story has no length"),
        ([Segment("he bows", 2.0), Segment("he bows", 0.3)], r"line 2 of the story takes 0\.\d s; a line takes at"),
        ([Segment("he bows", 300.0), Segment("he bows", 300.5)], r"the story takes 600\.5 s; at most 600 s are made"),
        ([], "the request has no segment"),
    ],
)  # fmt: skip
def test_bad_stories_get_one_clear_line(engine, lines, message):
    with pytest.raises(RequestError, match=message) as caught:
        engine.story(lines, **FAST)
    assert "\n" not in str(caught.value)


def test_a_story_cannot_be_a_loop_as_well(engine):
    with pytest.raises(RequestError, match="several segments and a loop cannot be asked for at once"):
        engine.serve([Request(LINES, loop=True)])


class TestStarter:
    def test_seams_are_smooth(self):
        lines = [
            Segment("a person walks forward", 4.0),
            Segment("a person waves the right hand", 3.0),
            Segment("a person runs forward", 3.0),
            Segment("a person bows", 3.0),
        ]
        for motion in ml.load("mmm").story(lines, seed=2, count=2):
            assert seam_jerk(motion.positions, motion.fps, seams(lines, motion.fps, len(motion))).ratio < LIMIT

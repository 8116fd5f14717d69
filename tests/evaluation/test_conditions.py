"""Measures of tasks with conditions, on engines whose answers are known and on one with random weights."""

import dataclasses
import json
import math

import pytest
import torch
from corpus import walk
from make_lmm import write_lmm

from motionloom.data.sound.features import is_dance
from motionloom.data.sound.music import accompany
from motionloom.engines.base import Engine
from motionloom.engines.registry import load
from motionloom.errors import DataError, RequestError
from motionloom.evaluation import condition_scores as measures
from motionloom.evaluation.conditions import ConditionOptions, ConditionProtocol, Pieces, measure, stays
from motionloom.evaluation.harness import Subject, evaluate
from motionloom.evaluation.registry import markdown
from motionloom.motion import rotations as rot
from motionloom.motion.edit import cut, face_forward
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL
from motionloom.progress import SILENT


class Truth(Engine):
    """An engine that knows the motions it is asked about; what is not given comes back shifted."""

    name = "truth"

    @property
    def capabilities(self):
        return frozenset({"known frames", "unconditioned", "video", "music", "speech"})

    def __init__(self, motions, shift=0.0):
        self.motions, self.shift, self.asked = list(motions), torch.tensor([shift, 0.0, 0.0]), 0

    @property
    def max_seconds(self):
        return 60.0

    @classmethod
    def open(cls, folder, **options):
        raise NotImplementedError

    def run(self, requests, progress=SILENT):
        raise NotImplementedError

    def serve(self, requests, progress=SILENT):
        # As they are: neither warped to beats nor resampled.
        return [[self.found(request)] for request in requests]

    def found(self, request):
        if request.known is not None:
            known = request.known
            count = len(known.motion)
            found = next(each for each in self.motions if torch.equal(each.rotations[:count], known.motion.rotations))
            made = torch.ones(len(found), 1, dtype=torch.bool)
            made[:count] = ~known.mask[:, :1]
            return found.with_(root=found.root + made * self.shift)
        if request.needs == {"unconditioned"}:
            # What follows nothing stands still.
            frames = round(request.segments[0].seconds * 20)
            return Motion(CANONICAL, self.motions[0].rotations[:1].expand(frames, -1, -1), torch.zeros(frames, 3), 20.0)
        # What is not to be warped was asked for before as it is.
        self.asked += request.in_time
        return self.motions[self.asked - 1]


def swinging(frames, period, fps=60.0, phase=0.0):
    """Arms that swing and rest twice a period; the feet stand."""
    time = torch.arange(frames) / fps
    bend = torch.sin(2 * math.pi * (time / period + phase))
    rotations = rot.identity(frames, 22)
    for side in ("left", "right"):
        rotations[:, CANONICAL.index(f"{side}_shoulder")] = rot.about("Y", 1.2 * bend)
    root = torch.zeros(frames, 3)
    root[:, 1] = CANONICAL.offsets[0, 1]
    return Motion(CANONICAL, rotations, root, fps)


def test_a_prediction_that_is_right_has_no_error_and_one_that_is_off_has_that():
    clips = [walk(50, seed, fps=25.0) for seed in range(3)]
    right = measures.predictions(Truth(clips), clips, seeds=2)
    off = measures.predictions(Truth(clips, 0.1), clips)
    still = right.values["standing still"]
    assert right.values["mean of its motions"]["1000 ms"] == pytest.approx([0.0] * 3, abs=1e-3)
    for horizon in measures.HORIZONS:
        assert right.values["engine"][f"{horizon} ms"] == pytest.approx([0.0] * 3, abs=1e-3)
        assert off.values["engine"][f"{horizon} ms"] == pytest.approx([100.0] * 3, rel=1e-4)
        assert off.values["engine"][f"{horizon} ms, root-aligned"] == pytest.approx([0.0] * 3, abs=1e-3)
        assert all(value > 0 for value in still[f"{horizon} ms"])
    # The walk goes on at a constant speed: after 1 s standing still is off by about as many metres.
    step = clips[0].root[49, 2] - clips[0].root[24, 2]
    assert still["1000 ms"][0] == pytest.approx(1000 * float(step), rel=0.2)
    assert right.values["real"]["foot slide m/s"] == pytest.approx(right.values["engine"]["foot slide m/s"])
    assert ("1000 ms", "engine", "standing still") in right.compared


def test_the_straight_way_goes_from_one_end_of_the_gap_to_the_other():
    motion = walk(75, 0, fps=25.0)
    gap = torch.arange(25, 50)
    found = measures.straight(motion, gap)
    keep = torch.ones(75, dtype=torch.bool)
    keep[gap] = False
    assert torch.equal(found.rotations[keep], motion.rotations[keep])
    torch.testing.assert_close(found.root[37], torch.lerp(motion.root[24], motion.root[50], 0.5))
    rows = measures.in_betweens(Truth([motion], 0.05), [motion])
    assert rows.values["engine"]["error mm"] == pytest.approx([50.0], rel=1e-4)
    assert rows.values["engine"]["error mm, root-aligned"] == pytest.approx([0.0], abs=1e-3)
    assert rows.values["straight way"]["error mm"][0] > 1


def test_following_a_video_is_judged_without_heading_and_place():
    clips = [cut(walk(80, seed, fps=20.0), 0, 3.0) for seed in range(3)]
    moved = [face_forward(clip, 5) for clip in clips]
    rows = measures.videos(Truth(moved), clips, measures.mean_pose(clips))
    assert rows.values["engine"]["PA-MPJPE mm"] == pytest.approx([0.0] * 3, abs=0.05)
    assert rows.values["engine"]["MPJPE mm, root-aligned"] == pytest.approx([0.0] * 3, abs=0.05)
    for row in ("mean pose", "made for another video"):
        assert all(value > 5 for value in rows.values[row]["PA-MPJPE mm"]), row


def test_real_dances_fit_their_own_music_and_the_engine_that_repeats_them_as_well():
    clips = [swinging(360, period, phase=phase) for period, phase in ((1.1, 0.0), (0.8, 0.3), (1.5, 0.1))]
    rows = measures.dances(Truth(clips), clips)
    own, other = (rows.values[row]["alignment"] for row in ("real", "real, scored with another music"))
    assert sum(own) > sum(other) + 0.3
    assert rows.values["engine"]["alignment"] == own
    assert rows.values["engine, scored with another music"]["alignment"] == other
    assert rows.values["engine, not warped to beats"]["alignment"] == own
    assert rows.values["engine without music"]["alignment"] == [0.0] * 3
    assert "synthetic" in rows.notes[-1]
    # The same seeds make the same music.
    assert torch.equal(accompany(clips[0], 0).beats, accompany(clips[0], 0).beats)


def test_clips_whose_music_has_no_beat_are_left_out_and_said_so(monkeypatch):
    clips = [walk(120, seed, fps=20.0) for seed in range(3)]
    whole = measures.dances(Truth(clips), clips)
    made = measures.accompany

    def without(clip, seed):
        music = made(clip, seed)
        return dataclasses.replace(music, beats=music.beats[:0]) if clip is clips[1] else music

    monkeypatch.setattr(measures, "accompany", without)
    rows = measures.dances(Truth(clips), clips)
    assert len(rows.values["real"]["alignment"]) == len(whole.values["real"]["alignment"]) - 1 == 2
    assert any("1 clips are left out: their music has no beats" in note for note in rows.notes)
    with pytest.raises(RequestError, match="1 of 2 clips have music with beats; at least 2 are needed"):
        measures.dances(Truth(clips[:2]), clips[:2])


def test_an_engine_dances_to_music_it_is_given(tmp_path):
    engine = load(write_lmm(tmp_path / "lmm", music_dim=78))
    clips = [swinging(180, period) for period in (1.1, 0.8)]
    rows = measures.dances(engine, clips)
    assert {name: len(rows.values["engine"][name]) for name in ("alignment", "jitter m/s3")} == {
        "alignment": 2,
        "jitter m/s3": 2,
    }
    assert rows.values["engine"]["alignment"] != rows.values["engine without music"]["alignment"]
    assert all(rows.values[row]["alignment"] for _, *pair in rows.compared for row in pair)


def test_gestures_are_scored_by_their_strokes():
    if not measures.has_speech():
        pytest.skip("espeak-ng is not installed")
    clips = [swinging(360, period) for period in (2.0, 2.6)]
    rows = measures.gestures(Truth(clips), clips)
    assert rows.values["real"]["alignment"][0] > 0.9
    assert rows.values["engine"] == rows.values["real"]


def test_an_engine_is_measured_on_what_it_serves_and_a_run_goes_on(store, tmp_path):
    engine = load(write_lmm(tmp_path / "lmm"))
    options = ConditionOptions(("train",), ("prediction", "video", "music"), clips=2, seeds=1)
    out = tmp_path / "tasks.json"
    result = evaluate(ConditionProtocol, Subject(engine, store), options=options, out=out)
    assert json.loads(out.read_text()) == result
    assert not (tmp_path / ".tasks.json.parts").exists()
    assert result["tasks"]["music"] == {"left out": "engine 'lmm' does not serve music"}
    assert set(result["tasks"]["prediction"]["rows"]) == {"engine", "standing still", "real"}
    assert result["tasks"]["video"]["rows"]["engine"]["PA-MPJPE mm"]["repeats"] == 2
    lines = markdown(result)
    assert "Left out: engine 'lmm' does not serve music." in lines
    assert any(line.startswith("| standing still | ") for line in lines)
    parts = tmp_path / ".tasks.json.parts"
    parts.mkdir()
    (parts / "head.json").write_text("{}")
    with pytest.raises(RequestError, match="unfinished run of other settings"):
        evaluate(ConditionProtocol, Subject(engine, store), options=options, out=out)


def test_pieces_are_the_same_each_time_and_of_the_length_asked_for(store):
    options = ConditionOptions(("train",), clips=3)
    first, again = (Pieces(store, options, 10.0).of("prediction")[0] for _ in range(2))
    assert len(first) == 3
    assert all(len(motion) == 50 and motion.fps == 25.0 for motion in first)
    assert all(torch.equal(a.rotations, b.rotations) for a, b in zip(first, again, strict=True))
    with pytest.raises(DataError, match="fewer than two held-out clips last 3 s"):
        Pieces(store, options, 10.0).of("in-between")
    assert stays(swinging(120, 1.0))
    assert not stays(walk(120, 0, fps=60.0))
    assert not is_dance(store.clips[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"splits": ("all",)}, "split 'all' is unknown; splits are train, val, test"),
        ({"only": ("singing",)}, "tasks singing are unknown; tasks are prediction"),
        ({"clips": 1}, "clips is 1; give a whole number, from 2"),
    ],
)
def test_wrong_options_get_one_line(options, message):
    with pytest.raises(RequestError, match=message):
        ConditionOptions(**options)


def test_speech_without_its_program_is_left_out(store, monkeypatch):
    monkeypatch.setenv("PATH", "")
    options = ConditionOptions(("train",), ("speech",))
    found = measure(Truth([]), "speech", Pieces(store, options, 5.0), options)
    assert found == {"left out": "espeak-ng is not installed"}

"""The diffusion engine: seeds, batches, frame rates, and known cells to the bit."""

import dataclasses

import pytest
import torch
from corpus import walk
from make_lmm import write_lmm

import motionloom as ml
from motionloom.conditions.audio import Sound
from motionloom.conditions.cameras import Errors, synthetic_keypoints
from motionloom.engines.lmm.denoiser import Denoiser, Job, LMMOptions
from motionloom.engines.lmm.engine import LMM
from motionloom.engines.mmm.engine import MMM
from motionloom.engines.registry import load
from motionloom.engines.request import Request, Segment
from motionloom.errors import CheckpointError, RequestError
from motionloom.motion.features.motionverse import decode_motionverse
from motionloom.motion.features.motionverse_layout import SLICES
from motionloom.motion.skeleton import CANONICAL, JOINT_PARTS, PARTS

WALK = "a person walks forward"
CLICKS = Sound((torch.arange(44100) % 8820 < 200).float(), 22050)
"""Two seconds of music, a click every 0.4 s."""


def write_engine(folder, pieces=1, **changes):
    """An engine that follows music and video too, and makes clips of 0.2 to 3 s."""
    sizes = {"music_dim": 78, "max_frames": 30, "max_tokens": 30, "aligned": ("music", "video")}
    return write_lmm(folder, pieces, **{**sizes, **changes})


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return ml.load(write_engine(tmp_path_factory.mktemp("lmm")))


def same(a, b) -> bool:
    return torch.equal(a.rotations, b.rotations) and torch.equal(a.root, b.root)


def test_the_same_seed_gives_the_same_bytes_and_another_one_another(engine):
    first, again, other = (engine.generate(WALK, seconds=1.0, seed=seed)[0] for seed in (3, 3, 4))
    assert same(first, again)
    assert not same(first, other)


def test_alone_and_among_others_it_is_the_same_to_the_bit(engine):
    alone = engine.generate(WALK, seconds=1.0, seed=5)[0]
    many = engine.generate(WALK, seconds=1.0, seed=5, count=3)
    assert same(alone, many[0])
    assert not same(many[0], many[1])
    requests = [Request((Segment(text, seconds),), seed=5) for text, seconds in ((WALK, 1.0), ("", 1.4))]
    assert same(alone, engine.serve(requests[::-1])[1][0])


@pytest.mark.parametrize(
    ("seconds", "fps", "frames", "made"),
    [
        (2.0, 12.5, 25, 12.5),  # trained
        (1.0, 25.0, 25, 25.0),  # between two that were
        (1.0, 60.0, 60, 30.0),  # above all
        (1.5, None, 30, 20.0),
        (2.0, 20.0, 40, 12.5),  # too long at its own
        (3.0, 60.0, 180, 10.0),
        (0.4, 5.0, 2, 20.0),  # too few frames at the slowest
    ],
)
def test_frames_are_made_at_the_rate_asked_for_or_at_the_nearest_possible(engine, seconds, fps, frames, made):
    motion = engine.generate(WALK, seconds=seconds, fps=fps)[0]
    assert len(motion) == frames
    assert motion.fps == (fps or 20.0)
    assert engine.denoiser.rate(seconds, fps or 20.0) == made


def test_text_and_keypoints_steer_and_an_empty_text_does_not(engine):
    free, told = (engine.generate(text, seconds=1.0, seed=1)[0] for text in ("", WALK))
    assert not same(free, told)
    assert same(free, engine.generate("", seconds=1.0, seed=1, guidance=7.0)[0])
    assert not same(told, engine.generate(WALK, seconds=1.0, seed=1, guidance=7.0)[0])
    seen = synthetic_keypoints(walk(25, 0, fps=25.0), torch.Generator().manual_seed(0), Errors(0, 0, 0, 0, 0))
    followed = engine.generate(seed=1, keypoints=seen)[0]
    assert len(followed) == 20
    assert not same(followed, free)
    # Beyond the end of the video nobody is seen, but there is motion still.
    assert len(engine.generate(seed=1, keypoints=seen, seconds=1.3)[0]) == 26


def test_music_is_heard_where_it_sounds(engine):
    free = engine.generate(seconds=1.0, seed=1)[0]
    heard = engine.generate(seed=1, music=CLICKS)[0]
    assert len(heard) == 40  # as long as the music
    late = Sound(torch.cat((torch.zeros(22050), CLICKS.samples)), 22050)
    first, other = (engine.generate(seconds=1.0, seed=1, music=sound)[0] for sound in (CLICKS, late))
    assert not same(first, free)
    assert not same(first, other)
    without = {"weights": {"music": 0.0}, "in_time": False}
    assert same(free, engine.generate(seconds=1.0, seed=1, music=CLICKS, **without)[0])
    assert same(free, engine.generate(seconds=1.0, seed=1, music=CLICKS, guidance=0.0, in_time=False)[0])


def test_sound_begins_where_the_answer_begins_also_when_the_start_is_kept(engine):
    source = walk(100, 2, fps=20.0)
    silence = torch.zeros(4 * 22050)
    early, late = (Sound(torch.cat(parts), 22050) for parts in ((CLICKS.samples, silence), (silence, CLICKS.samples)))
    plain, first, other = (
        engine.predict(source, 0.5, seed=1, **more)[0] for more in ({}, {"music": early}, {"music": late})
    )
    assert not same(first, plain)
    assert not same(other, first)


def test_longer_motions_are_several_clips_on_one_time_line(tmp_path):
    engine = LMM(write_engine(tmp_path / "engine", pieces=3))
    assert engine.denoiser.max_seconds == 6.0  # as far as time lines were trained
    assert engine.denoiser.rate(4.5, 20.0) == 20.0
    motion = engine.generate(WALK, seconds=4.5, seed=1, music=CLICKS)[0]
    assert (len(motion), motion.fps) == (90, 20.0)
    assert same(motion, engine.generate(WALK, seconds=4.5, seed=1, music=CLICKS)[0])
    assert engine.denoiser.rate(4.6, 20.0) == 12.5
    source = walk(80, 1, fps=20.0)
    answer = engine.complete(source, ml.parts("legs"), text=WALK, seed=2)[0]
    mask = ml.parts("legs").mask(80, 20.0)
    for mine, theirs in zip(kept(answer, mask), kept(source, mask), strict=True):
        assert torch.equal(mine, theirs)


def kept(motion, mask):
    """Rotations and root of known cells."""
    column = torch.tensor([PARTS.index(JOINT_PARTS[name]) for name in CANONICAL.names])
    return motion.rotations[mask[:, column]], motion.root[mask[:, 0]]


@pytest.mark.parametrize("fps", [20.0, 24.0, 120.0])
@pytest.mark.parametrize(
    "keep", [ml.frames(0, 0.4) | ml.frames(0.9, 1.25), ml.parts("legs"), ml.frames(0, 0.5) & ml.parts("upper")]
)
def test_kept_cells_come_back_to_the_bit(engine, fps, keep):
    source = walk(round(1.25 * fps), 1, fps=fps)
    answer = engine.complete(source, keep, text=WALK, seed=2)[0]
    mask = keep.mask(len(source), fps)
    assert (answer.fps, len(answer)) == (fps, len(source))
    for mine, theirs in zip(kept(answer, mask), kept(source, mask), strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(kept(answer, ~mask), kept(source, ~mask), strict=True):
        assert not len(mine) or not torch.equal(mine, theirs)


def test_the_model_itself_holds_known_cells_and_does_not_see_the_others(engine):
    source = walk(25, 1, fps=20.0)
    mask = ml.parts("legs").mask(25, 20.0)
    upper = [index for index, name in enumerate(CANONICAL.names) if JOINT_PARTS[name] not in ("root", "left_leg")]
    upper = [index for index in upper if JOINT_PARTS[CANONICAL.names[index]] != "right_leg"]
    rotations = source.rotations.clone()
    rotations[:, upper] = rotations[:, upper].roll(7, 0)
    made = [
        engine.denoiser.make(Job(25, 20.0, Segment(WALK), 3, (motion, mask)), LMMOptions())
        for motion in (source, source.with_(rotations=rotations))
    ]
    assert same(*made)
    legs = [index for index in range(22) if index not in upper]
    torch.testing.assert_close(made[0].positions[:, legs], source.positions[:, legs], atol=1e-3, rtol=0)


def test_prediction_goes_on_after_a_motion_of_any_length(engine):
    source = walk(400, 2, fps=20.0)
    answer = engine.predict(source, 0.8, text=WALK, seed=1)[0]
    assert len(answer) == 416
    assert torch.equal(answer.rotations[:400], source.rotations)
    assert float((answer.root[400] - answer.root[399]).norm()) < 0.2
    slower = engine.predict(source, 0.8, seed=1, fps=10.0)[0]
    assert (slower.fps, len(slower)) == (10.0, 208)


def test_what_is_made_agrees_with_itself_unless_it_is_not_to(engine, monkeypatch):
    """Each joint's velocity feature is that of the joint; with random weights nothing else makes it so."""
    seen = []

    def spied(unified, body):
        seen.append(unified)
        return decode_motionverse(unified, body)

    monkeypatch.setattr("motionloom.engines.lmm.denoiser.decode_motionverse", spied)
    apart = []
    for enforce_consistency in (True, False):
        made = engine.generate(WALK, seconds=1.4, seed=3, enforce_consistency=enforce_consistency, smoothing=0.0)[0]
        told = seen[-1].features[:-1, SLICES["velocities"]].unflatten(1, (52, 3))[:, 1:22].norm(dim=2)
        speed = (20 * made.positions[:, 1:].diff(dim=0)).norm(dim=2)
        apart.append(float((told - speed).abs().mean()))
    assert apart[0] < 0.05 < apart[1]


def test_length_is_predicted_when_left_out(engine, tmp_path, monkeypatch):
    lengths = {len(engine.generate(WALK, seed=seed, steps=2)[0]) for seed in range(4)}
    assert len(lengths) > 1
    assert all(4 <= length <= 60 for length in lengths)
    folder = write_engine(tmp_path / "engine")
    single = ml.load(folder / "diffusion")
    assert isinstance(single, LMM)
    assert len(single.generate(WALK, seed=0, steps=1)[0]) > 4  # by the predictor of the bundled engine
    monkeypatch.setattr("motionloom.engines.lmm.engine.resources.files", lambda _: tmp_path)
    with pytest.raises(RequestError, match="there is no length predictor: give seconds"):
        ml.load(folder / "diffusion").generate(WALK)


def test_provenance_says_how_it_was_made(engine):
    motion = engine.generate("  she   waves ", seconds=1.0, seed=9)[0]
    found = motion.provenance
    assert (found.text, found.seed, found.licence) == ("she waves", 9, "CC0")
    assert found.engine.startswith("lmm ")
    assert motion.contacts is not None
    assert motion.valid is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"text": "   "}, "the text is empty"),
        ({"seconds": 3.5}, r"3\.5 s asked for; this model makes 0\.2 to 3\.0 s in one piece"),
        ({"seconds": 0.1}, r"0\.1 s asked for"),
        ({"path": [(0.0, 2.0)]}, "engine 'lmm' does not serve path"),
        ({"loop": True}, "engine 'lmm' does not serve loop"),
        (
            {"colour": "red"},
            "unknown options colour; known are enforce_consistency, guidance, guided_from, method, smoothing, steps",
        ),
        ({"method": "euler"}, "method is 'euler'; give 'ddim' or 'dpm'"),
        ({"steps": 0}, "steps is 0"),
        ({"weights": {"smell": 1.0}}, "weights are .*; give 0 to 20 for some of text, music, video"),
        ({"weights": {"text": -1.0}}, "weights is .*-1.0.*; give .*0 to 20"),
        ({"temperature": -1.0}, "temperature is -1.0; give a number, 0 to 2"),
        ({"smoothing": 2.5}, "smoothing is 2.5; give a number, 0 to 2 s"),
        ({"temperature": "hot"}, "temperature is 'hot'; give a number, 0 to 2"),
        ({"enforce_consistency": 1}, "enforce_consistency is 1; give True or False"),
        ({"guided_from": 2.0}, "guided_from is 2.0; give a number, 0 to 1"),
        ({"music": Sound(torch.zeros(44100), 22050)}, "the music is silent; give one with sound, or leave it out"),
        ({"music": Sound(torch.ones(2205), 22050)}, r"0\.1 s of music; 0\.5 to 600 s can be followed"),
        ({"music": Sound(torch.ones(601 * 4000), 4000)}, "601 s of music; 0.5 to 600 s"),
        ({"speech": CLICKS}, "engine 'lmm' does not serve speech; it serves known frames, known parts, music"),
    ],
)
def test_bad_requests_get_one_clear_line(engine, call, message):
    with pytest.raises(RequestError, match=message) as caught:
        engine.generate(**{"seconds": 1.0, **call})
    assert "\n" not in str(caught.value)


def test_what_an_engine_does_not_serve_is_refused_by_name(engine, tmp_path):
    with pytest.raises(RequestError, match="engine 'lmm' does not serve segments"):
        engine.story([Segment(WALK, 1.0), Segment(WALK, 1.0)])
    with pytest.raises(RequestError, match=r"8\.8 s are to be made; this model makes at most 3\.0 s in one piece"):
        engine.complete(walk(200, 0, fps=20.0), ml.frames(0, 1.2), text=WALK)


def test_folders_that_hold_no_engine_are_refused(tmp_path):
    folder = write_engine(tmp_path / "engine")
    with pytest.raises(CheckpointError, match="holds a length; a diffusion model is needed"):
        LMM(folder / "length")
    with pytest.raises(CheckpointError, match="is no LMM engine: diffusion is missing"):
        LMM(tmp_path)
    with pytest.raises(CheckpointError, match="is no MMM engine: tokenizer, masked is missing"):
        MMM.open(folder)
    assert isinstance(load(folder), LMM)
    engine = LMM(folder)
    bare = dataclasses.replace(engine.checkpoint, stats={"mean": torch.zeros(669)})
    with pytest.raises(CheckpointError, match="has no frames, parts, rates, sentence_mean, sentence_std, std"):
        Denoiser(bare, folder)


def test_music_longer_than_a_piece_is_danced_in_pieces(engine):
    most = engine.max_seconds
    song = Sound((torch.arange(round(22050 * (most + 2.0))) % 8820 < 200).float(), 22050)
    dance = engine.generate(music=song, seed=1, in_time=False)[0]
    assert dance.seconds == pytest.approx(most + 2.0, abs=0.06)
    assert any("pieces" in note for note in dance.provenance.notes)
    again = engine.generate(music=song, seed=1, in_time=False)[0]
    torch.testing.assert_close(again.positions, dance.positions, atol=1e-4, rtol=0)

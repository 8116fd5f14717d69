import hands
import make
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motionloom.data.mixture import MixOptions, Mixture
from motionloom.data.motionverse_loader import MotionVerseSet, known_columns
from motionloom.data.prepare import prepare
from motionloom.data.rows import RowWriter, open_rows
from motionloom.data.store import BODY_PARTS, Clip, Store, pack_parts, unpack_parts
from motionloom.errors import DataError
from motionloom.motion.edit import mirror
from motionloom.motion.features.motionverse import decode_motionverse, encode_motionverse
from motionloom.motion.features.motionverse_layout import MotionVerseFeatures, part_columns
from motionloom.motion.io import save
from motionloom.motion.skeleton import PARTS

BODIES = [part for part in PARTS if part != "face"]


@pytest.fixture(scope="module")
def partial(tmp_path_factory):
    """A store of bodies with hands, each lacking one part in its second half, and one that lacks nothing."""
    raw = tmp_path_factory.mktemp("partial")
    for index, part in enumerate(["none", *BODIES]):
        motion = hands.with_hands(60, index)
        if part != "none":
            valid = torch.ones(60, 10, dtype=torch.bool)
            valid[30:, PARTS.index(part)] = False
            motion = motion.with_(valid=valid)
        save(motion, raw / f"{part}.npz")
    (raw / "captions.csv").write_text(
        "file,text,split\n" + "".join(f"{p}.npz,moves,train\n" for p in ["none", *BODIES])
    )
    out = tmp_path_factory.mktemp("store")
    prepare({"folder": raw}, out, workers=1, progress=False)
    return Store(out)


@pytest.mark.parametrize("part", BODIES)
def test_a_part_that_is_missing_stays_missing_the_whole_way(partial, part):
    clip, column = partial.clip(f"folder/{part}.npz"), PARTS.index(part)
    wanted = torch.ones(60, 10, dtype=torch.bool)
    wanted[:, PARTS.index("face")] = False
    wanted[30:, column] = False
    assert part in clip.parts  # known in the first half
    stored = partial.motion(clip, hands=True)
    assert stored.valid is not None
    assert torch.equal(stored.valid, wanted)
    # ... into features and masks, through windows,
    clips = MotionVerseSet(partial, "train")
    row = clips.clips.index(clip)
    features, mask = clips.clip(row)
    assert torch.equal(mask, wanted[:-1])
    columns = list(part_columns()[part])
    assert not features[30:, columns].any()
    assert features[:29, columns].any(dim=0).float().mean() > 0.5
    batch = clips.windows(40, 16, np.random.default_rng(0), mirror=False)
    for at in (batch.clips == row).nonzero().flatten().tolist():
        start = int(batch.starts[at])
        assert torch.equal(batch.mask[at], mask[start : start + 16])
        assert torch.equal(batch.features[at], features[start : start + 16])
    # ... and back out.
    back = decode_motionverse(MotionVerseFeatures(features, mask, 20.0))
    assert back.motion.valid is not None
    assert torch.equal(back.motion.part_valid(part), wanted[:-1, column])


def test_a_clip_that_knows_everything_has_no_mask_and_keeps_its_fingers(partial):
    clip = partial.clip("folder/none.npz")
    assert clip.parts == (*BODY_PARTS, "left_hand", "right_hand")
    stored = partial.motion(clip, hands=True)
    assert stored.valid is None
    assert len(stored.skeleton) == 52
    assert hands.apart(stored.rotations[:, 22:], hands.with_hands(60, 0).rotations[:, 22:]) < 1e-3
    assert len(partial.motion(clip).skeleton) == 22


def test_mirrored_windows_have_mirrored_features_and_masks(partial):
    clips = MotionVerseSet(partial, "train")
    batch = clips.windows(60, 24, np.random.default_rng(3))
    assert 10 < int(batch.mirrored.sum()) < 50
    for at in range(60):
        row, start = int(batch.clips[at]), int(batch.starts[at])
        motion = partial.motion(clips.clips[row], hands=True).with_(contacts=None)
        wanted = encode_motionverse(mirror(motion) if batch.mirrored[at] else motion)
        assert torch.equal(batch.mask[at], wanted.mask[start : start + 24])
        # Half floats: 1 part in 2,000.
        torch.testing.assert_close(batch.features[at], wanted.features[start : start + 24], atol=3e-3, rtol=1e-3)


def test_unknown_cells_do_not_count_in_the_statistics(partial):
    stats = MotionVerseSet(partial, "train").stats()
    face = list(part_columns()["face"])
    assert torch.equal(stats.mean[face], torch.zeros(50))
    assert torch.equal(stats.std[face], torch.ones(50))
    assert set(face).isdisjoint(known_columns(partial).tolist())


def test_every_window_is_of_one_of_the_rates_but_of_none_above_its_clips(store):
    clips = MotionVerseSet(store, "train", rates=(12.5, 30.0, 120.0))
    batch = clips.windows(64, 40, np.random.default_rng(1), mirror=False)
    assert set(batch.fps.tolist()) == {12.5, 30.0}  # the corpus has 60 fps
    for at in range(64):
        motion = store.motion(clips.clips[int(batch.clips[at])]).with_(contacts=None)
        wanted = encode_motionverse(motion.at_fps(float(batch.fps[at]))).features
        first, length = int(batch.starts[at]), int(batch.lengths[at])
        torch.testing.assert_close(batch.features[at, :length], wanted[first : first + length], atol=3e-3, rtol=1e-3)
        assert not batch.features[at, length:].any()
        assert not batch.mask[at, length:].any()


def clip(name, source="a", **labels):
    return Clip(name, source, "", "train", 30.0, 0, 100, labels, ("it moves",) if "text" in labels else (), (), "")


CLIPS = [clip("1", "a", text="x", content="walk"), clip("2", "a", music="{}", content="walk"), clip("3", "b", text="x"),
         clip("4", "b", action="run", text="x")]  # fmt: skip


def test_tasks_and_datasets_are_drawn_by_their_weights():
    frames = [100, 900, 100, 100]
    mix = Mixture(CLIPS, frames, MixOptions({"a": 3.0}, {"text": 1.0, "music": 1.0}))
    rows, tasks = mix.draw(4000, np.random.default_rng(0))
    assert mix.tasks == ("text", "music")
    share = [float((rows[tasks == 0] == row).mean()) for row in range(4)]
    assert share == pytest.approx([0.75, 0.0, 0.125, 0.125], abs=0.03)
    assert set(rows[tasks == 1].tolist()) == {1}
    assert float((tasks == 0).mean()) == pytest.approx(0.5, abs=0.03)


@given(st.integers(0, 10_000))
def test_a_batch_of_one_task_serves_that_task(seed):
    mix = Mixture(CLIPS, [100] * 4, MixOptions(tasks={"text": 1.0, "music": 1.0, "action": 1.0}, single=True))
    rows, tasks = mix.draw(16, np.random.default_rng(seed))
    assert len(set(tasks.tolist())) == 1
    assert all(mix.tasks[int(tasks[0])] in CLIPS[int(row)].tasks for row in rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (MixOptions(tasks={"dance": 1.0}), "'dance' is no task"),
        (MixOptions({"c": 1.0}), "'c' is no task .* and no dataset of this split"),
        (MixOptions({"a": -1.0}), "negative"),
        (MixOptions(tasks={"text": 0.0}), "no task has a positive weight"),
        (MixOptions(tasks={"speech": 1.0}), "no clip of this split serves the task 'speech'"),
    ],
)
def test_mixtures_that_cannot_be_drawn_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        Mixture(CLIPS, [100] * 4, options)


@given(st.lists(st.integers(0, 7), max_size=5), st.integers(0, 9))
def test_rows_written_in_any_pieces_are_one_array(tmp_path_factory, sizes, seed):
    path = tmp_path_factory.mktemp("rows") / "a.npy"
    parts = [make.tensor(size, 3, seed=seed + at).numpy() for at, size in enumerate(sizes)]
    with RowWriter(path, np.float32, (3,)) as writer:
        for part in parts:
            writer.append(part)
    np.testing.assert_array_equal(open_rows(path), np.concatenate([np.zeros((0, 3), np.float32), *parts]))


def test_rows_of_another_shape_are_refused(tmp_path):
    with RowWriter(tmp_path / "a.npy", np.float32, (3,)) as writer, pytest.raises(ValueError, match="do not fit"):
        writer.append(np.zeros((2, 4)))


@given(st.integers(0, 2**10 - 1))
def test_packed_parts_come_back(bits):
    valid = torch.tensor([[bool(bits >> part & 1) for part in range(10)]])
    packed = pack_parts(valid, 1, hands=True)
    valid[:, PARTS.index("face")] = False
    assert torch.equal(unpack_parts(packed), valid)


def test_the_index_says_what_a_clip_serves(partial):
    assert partial.clip("folder/none.npz").tasks == ("motion", "text")

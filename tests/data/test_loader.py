import numpy as np
import pytest
import torch

from motionloom.data.loader import FeatureSet, held
from motionloom.errors import DataError
from motionloom.motion.edit import mirror
from motionloom.motion.features.humanml3d import encode_features
from motionloom.motion.features.layout import LAYOUTS


def test_windows_are_pieces_of_the_clips(store):
    clips = FeatureSet(store, "train")
    batch = clips.windows(16, 24, np.random.default_rng(0), mirror=False)
    for row in range(16):
        whole = clips.clip(int(batch.clips[row]))
        starts = range(len(whole) - 24 + 1)
        assert any(torch.equal(whole[start : start + 24], batch.features[row]) for start in starts)


def test_a_batch_follows_from_its_seed_alone(store):
    clips = FeatureSet(store, "train")
    first, second = (clips.windows(8, 20, np.random.default_rng([3, 5])) for _ in range(2))
    assert torch.equal(first.features, second.features)
    assert not torch.equal(first.features, clips.windows(8, 20, np.random.default_rng([3, 6])).features)


def test_mirrored_windows_are_features_of_the_mirrored_motion(store):
    clips = FeatureSet(store, "train")
    motion = store.motion(clips.clips[0]).with_(contacts=None).at_fps(20.0)
    torch.testing.assert_close(clips.clip(0, mirrored=True), encode_features(mirror(motion)), atol=1e-5, rtol=0)


def test_short_clips_are_held_at_their_last_frame(store):
    clips = FeatureSet(store, "train")
    frames = int(clips.frames.max()) + 30
    batch = clips.windows(4, frames, np.random.default_rng(1), mirror=False)
    for row in range(4):
        length = int(batch.lengths[row])
        assert torch.equal(batch.features[row, length], held(batch.features[row, length - 1]))
        assert torch.equal(batch.features[row, length], batch.features[row, -1])
    velocities = LAYOUTS["humanml3d"].slices["velocities"]
    assert float(batch.features[:, -1, velocities].abs().max()) == 0.0


@pytest.mark.parametrize("fps", [12.5, 20.0, 60.0])
def test_any_frame_rate(store, fps):
    clips = FeatureSet(store, "train", fps)
    seconds = clips.frames / fps
    assert np.allclose(seconds, [clip.seconds for clip in clips.clips], atol=1.5 / fps)


def test_statistics_normalise_and_are_symmetric(store):
    clips = FeatureSet(store, "train")
    stats = clips.stats()
    rows = torch.cat([clips.clip(index, mirrored) for index in range(len(clips)) for mirrored in (False, True)])
    normal = stats.normalize(rows)
    torch.testing.assert_close(stats.restore(normal), rows, atol=1e-5, rtol=1e-4)
    assert float(normal.mean(0).abs().max()) < 1e-2
    assert bool((stats.std > 0).all())


def test_weights_even_out_groups(store):
    clips = FeatureSet(store, "train")
    assert np.isclose(clips.weights(0.0).sum(), 1.0)
    groups = np.array([clip.labels["description"] for clip in clips.clips])
    shares = clips.weights(1.0)
    assert np.isclose(shares[groups == "walk"].sum(), shares[groups == "run/jog"].sum())


def test_too_long_a_wish_is_refused(store):
    with pytest.raises(DataError, match="no clip of split 'train' has 9999 frames"):
        FeatureSet(store, "train", min_frames=9999)


def test_statistics_are_those_of_the_clips_and_their_mirror_images(store):
    clips = FeatureSet(store, "train")
    rows = torch.cat([clips.clip(index, flip) for index in range(len(clips)) for flip in (False, True)]).double()
    stats = clips.stats()
    torch.testing.assert_close(stats.mean, rows.mean(0).float())
    for name, block in LAYOUTS["humanml3d"].slices.items():
        spread = rows[:, block].var(0, unbiased=False).mean().sqrt().clamp(min=1e-4).float()
        wanted = torch.full_like(stats.std[block], 0.5 if name == "contacts" else float(spread))
        torch.testing.assert_close(stats.std[block], wanted, rtol=1e-4, atol=1e-7)

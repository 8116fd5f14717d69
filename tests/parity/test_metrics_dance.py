"""Dance features, FIDk, FIDg, beat alignment and music beats against the published code's numbers.

Of these, beat alignment over the dance's beats and D2M-GAN's F1, CSD and HSD are formulas typed again; all else is
output of the published code.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from motionloom.metrics.dance import (
    beat_alignment,
    dance_scores,
    geometric_features,
    kinetic_features,
    motion_beats,
    rooted,
)
from motionloom.metrics.distribution import fid
from motionloom.metrics.music import beat_scores, beats_per_second, coverage_and_hit

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"


def fixture(name: str) -> dict[str, Tensor]:
    path = FIXTURES / name
    if not path.exists():
        pytest.skip(f"parity fixture {name} is not on this machine")
    with np.load(path, allow_pickle=False) as arrays:
        return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays.files if arrays[key].dtype.kind != "U"}


def test_kinetic_features_with_their_slip():
    want = fixture("metrics_dance_features.npz")
    got = torch.stack([kinetic_features(rooted(clip)) for clip in want["positions"]]).float()
    torch.testing.assert_close(got, want["kinetic_bailando"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(got, want["kinetic_aistapi"], rtol=1e-5, atol=1e-6)
    body = torch.stack([kinetic_features(clip[:, :22]) for clip in want["positions"][:8]]).float()
    torch.testing.assert_close(body, want["kinetic_bailando_22joints"], rtol=1e-5, atol=1e-6)
    slow = torch.stack([kinetic_features(clip, 1 / 30) for clip in want["positions"][:8]]).float()
    torch.testing.assert_close(slow, want["kinetic_bailando_frametime30"], rtol=1e-5, atol=1e-6)


def test_geometric_features():
    want = fixture("metrics_dance_features.npz")
    got = torch.stack([geometric_features(clip) for clip in want["positions"]]).float()
    torch.testing.assert_close(got, want["manual_new_bailando"], rtol=0.0, atol=1e-6)
    torch.testing.assert_close(got, want["manual_aistapi"], rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("kind", ["k", "g"])
def test_fid_and_diversity_of_dances(kind):
    """48 and 24 dances of 72 or 32 features: the published root of a singular matrix is good to 1e-3 at best."""
    want = fixture("metrics_dance_fid.npz")
    real, made = want[f"gt_{kind}"], want[f"pred_{kind}"]
    got = dance_scores(real, made)
    assert got.fid == pytest.approx(float(want[f"fid_{kind}_bailando"]), rel=1e-3)
    assert got.fid == pytest.approx(float(want[f"fid_{kind}_fact"]), rel=1e-3)
    assert got.diversity == pytest.approx(float(want[f"div_{kind}_pred_bailando"]), rel=1e-5)
    assert got.real_diversity == pytest.approx(float(want[f"div_{kind}_gt_bailando"]), rel=1e-5)
    assert fid(real, made) == pytest.approx(float(want[f"fid_{kind}_unnormalised"]), rel=1e-3)


def test_fid_where_the_covariance_is_regular():
    want = fixture("metrics_dance_fid.npz")
    got = fid(want["well_conditioned_a"], want["well_conditioned_b"])
    assert got == pytest.approx(float(want["well_conditioned_fid"]), rel=1e-9)


def test_beat_alignment_in_both_conventions():
    want = fixture("metrics_beat_align.npz")
    over_music, over_dance = [], []
    for clip, music, dance in zip(want["positions"], want["music_beats"], want["motion_beats_bailando"], strict=True):
        beats = motion_beats(clip)
        assert beats.tolist() == dance[dance >= 0].tolist()
        over_music.append(beat_alignment(music[music >= 0], beats, "bailando"))
        over_dance.append(beat_alignment(music[music >= 0], beats, "fact"))
    assert over_music == pytest.approx(want["ba_over_music_beats_bailando"].tolist(), rel=1e-9)
    assert over_dance == pytest.approx(want["ba_over_motion_beats_fact_formula"].tolist(), rel=1e-9)
    assert np.mean(over_music) == pytest.approx(float(want["mean_bailando"]), rel=1e-9)
    assert np.mean(over_dance) == pytest.approx(float(want["mean_fact_formula"]), rel=1e-9)


@pytest.mark.parametrize("convention", ["d2mgan", "loris"])
def test_music_beats_in_both_conventions(convention):
    want = fixture("metrics_music_beats_scores.npz")
    real, made = want[f"{convention}_ref_beats_per_second"], want[f"{convention}_syn_beats_per_second"]
    for onsets, marks in zip(want[f"{convention}_ref_onset_times"], real, strict=True):
        assert torch.equal(beats_per_second(onsets, 5), marks)
    pairs = [coverage_and_hit(*piece, convention) for piece in zip(real, made, strict=True)]
    assert [pair[0] for pair in pairs] == pytest.approx(want[f"{convention}_cover"].tolist())
    assert [pair[1] for pair in pairs] == pytest.approx(want[f"{convention}_hit"].tolist())
    got = beat_scores(list(real), list(made), convention)
    for name in ("BCS", "CSD", "BHS", "HSD", "F1"):
        figure = {"BCS": got.bcs, "CSD": got.csd, "BHS": got.bhs, "HSD": got.hsd, "F1": got.f1}[name]
        assert figure == pytest.approx(float(want[f"{convention}_{name}"]), rel=1e-12), name


def test_coverage_and_hit_of_sixty_pieces():
    path = FIXTURES / "metrics_beat_vectors.json"
    if not path.exists():
        pytest.skip(f"parity fixture {path.name} is not on this machine")
    pieces = json.loads(path.read_text())
    assert len(pieces) == 60
    for piece in pieces:
        real, made = torch.tensor(piece["gt"]), torch.tensor(piece["syn"])
        assert coverage_and_hit(real, made, "d2mgan") == pytest.approx(piece["d2mgan"])
        assert coverage_and_hit(real, made, "loris") == pytest.approx(piece["loris"])

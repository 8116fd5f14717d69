import make
import pytest
import torch
from corpus import walk
from hands import with_hands

from motionloom.errors import LayoutError
from motionloom.motion.contacts import FEET
from motionloom.motion.edit import on_floor
from motionloom.motion.features.motionverse import decode_motionverse, decode_positions, encode_motionverse
from motionloom.motion.features.motionverse_consistency import enforce_consistency
from motionloom.motion.features.motionverse_layout import (
    BODY,
    LEAN,
    SLICES,
    MotionVerseFeatures,
    MotionVerseStats,
    spread_mask,
)
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import PARTS

FLYING = walk(120, 0, fps=20.0)
"""High above the ground: the feet of a made walk slide, which is what ``agree`` would not let them."""
WALK = encode_motionverse(FLYING.with_(root=FLYING.root + torch.tensor([0.0, 2.0, 0.0])))
SPREADS = {"yaw": 0.9, "velocity": 0.6, "height": 0.04, "positions": 0.1, "rotations": 0.18, "velocities": 0.6}
_std = torch.ones(669)
for _name, _size in SPREADS.items():
    _std[SLICES[_name]] = _size
_std[list(LEAN)] = 0.1
STATS = MotionVerseStats(torch.zeros(669), _std)
"""About those of captured motion."""
PARTS_OF_BODY = WALK.mask[0]
WIDTHS = {"positions": 63, "rotations": 126, "velocities": 66, "velocity": 2}


def guessed(clean: MotionVerseFeatures, size: float, seed: int = 0):
    """A guess with an error of its own in every number of known parts."""
    noise = STATS.std * make.tensor(*clean.features.shape, seed=seed)
    return clean.features + size * noise * spread_mask(clean.mask)


def errors(made, clean: MotionVerseFeatures):
    gap = (made - clean.features) / STATS.std
    return {name: float(gap[:, SLICES[name]][:, :width].square().mean()) for name, width in WIDTHS.items()}


def test_what_agrees_already_stays():
    made = enforce_consistency(WALK.features, STATS, PARTS_OF_BODY, 20.0)
    assert float((made - WALK.features).abs().max()) < 1e-3


@pytest.mark.parametrize("size", [0.1, 0.3])
def test_every_block_comes_nearer_to_the_truth(size):
    guess = guessed(WALK, size)
    before, after = errors(guess, WALK), errors(enforce_consistency(guess, STATS, PARTS_OF_BODY, 20.0), WALK)
    assert all(after[name] < 0.75 * before[name] for name in WIDTHS), (before, after)
    assert after["velocity"] < 0.4 * before["velocity"]


def test_velocities_are_those_of_the_positions_and_positions_those_of_the_bones():
    made = enforce_consistency(guessed(WALK, 0.3), STATS, PARTS_OF_BODY, 20.0)
    placed = decode_positions(made, 20.0)[:, :BODY]
    assert (
        float((placed - decode_motionverse(MotionVerseFeatures(made, WALK.mask, 20.0)).motion.positions).abs().max())
        < 5e-3
    )
    speed = (20 * placed.diff(dim=0)).norm(dim=-1)
    told = made[:-1, SLICES["velocities"]].unflatten(1, (52, 3))[:, 1:BODY].norm(dim=-1)
    assert float((speed[:, 1:] - told).abs().max()) < 0.02


def test_known_cells_stay_and_what_is_beside_them_comes_nearer():
    known = torch.zeros(len(WALK), 10, dtype=torch.bool)
    known[:40, :7] = known[80:, :7] = True
    guess = torch.where(spread_mask(known), WALK.features, guessed(WALK, 0.3))
    free, held = (enforce_consistency(guess, STATS, PARTS_OF_BODY, 20.0, cells) for cells in (None, known))
    gap = ((held - WALK.features) / STATS.std).abs()[:, :463]
    assert float(gap[:39].max()) < 0.02 < float(gap[41:79].max())
    assert float(((free - WALK.features) / STATS.std).abs()[:39, :463].max()) > 0.05


def test_feet_that_nearly_stand_do_and_none_is_in_the_floor():
    rest = on_floor(walk(60, 0, fps=20.0))
    still = encode_motionverse(
        rest.with_(rotations=rest.rotations[:1].repeat(60, 1, 1), root=rest.root[:1].repeat(60, 1))
    )
    guess = guessed(still, 0.25)
    guess[:, 3] -= 0.04
    made = enforce_consistency(guess, STATS, PARTS_OF_BODY, 20.0)
    feet = list(FEET)
    before, after = (decode_positions(features, 20.0)[:, feet] for features in (guess, made))
    assert float(after.diff(dim=0).norm(dim=-1).mean()) < 0.2 * float(before.diff(dim=0).norm(dim=-1).mean())
    assert float(after[..., 1].min()) > float(before[..., 1].min()) + 0.02


def test_a_body_that_is_not_whole_comes_back_as_it_is():
    parts = PARTS_OF_BODY.clone()
    parts[PARTS.index("left_leg")] = False
    guess = guessed(WALK, 0.3)
    assert enforce_consistency(guess, STATS, parts, 20.0) is guess
    assert enforce_consistency(guess[:1], STATS, PARTS_OF_BODY, 20.0).shape == (1, 669)


def test_a_guess_that_is_no_number_comes_back_for_its_reader_to_refuse():
    guess = guessed(WALK, 0.3)
    guess[3, 7] = float("nan")
    assert enforce_consistency(guess, STATS, PARTS_OF_BODY, 20.0) is guess
    with pytest.raises(LayoutError, match="finite"):
        MotionVerseFeatures(guess, WALK.mask, 20.0)


def test_fingers_hang_on_their_wrists():
    clean = encode_motionverse(with_hands(50))
    guess = guessed(clean, 0.2)
    made = enforce_consistency(guess, STATS, clean.mask[0], 20.0)
    placed = decode_positions(made, 20.0)
    motion: Motion = decode_motionverse(MotionVerseFeatures(made, clean.mask, 20.0)).motion
    assert len(motion.skeleton) == 52
    assert float((placed - motion.positions).abs().max()) < 5e-3
    fingers = slice(SLICES["positions"].start + 63, SLICES["positions"].stop)
    before, after = (float((found - clean.features)[:, fingers].square().mean()) for found in (guess, made))
    assert after < before

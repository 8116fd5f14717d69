"""Laws of the motion diffusion model, its sampler and its training."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionloom.errors import RequestError, TrainingError
from motionloom.models.checkpoint import load_checkpoint, save_checkpoint
from motionloom.models.diffusion.blocks import TimeReadout
from motionloom.models.diffusion.config import Clips, Condition, DiffusionConfig
from motionloom.models.diffusion.model import DiffusionTransformer
from motionloom.models.diffusion.sampling import Guidance, sample
from motionloom.models.diffusion.schedule import NoiseSchedule
from motionloom.models.diffusion.training import LossOptions, draw_known, spread_loss, training_loss, way_loss
from motionloom.motion.features.motionverse_layout import part_columns, spread_mask
from motionloom.motion.skeleton import PARTS

LENGTHS = torch.tensor([24, 7, 15])
SECONDS = torch.tensor([1 / 20, 1 / 30, 1 / 12.5])
SCHEDULE = NoiseSchedule.linear()
STEPS = SCHEDULE.spaced(4)
seeds = st.integers(0, 2**31)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(seed: int = 0, **changes: object) -> DiffusionTransformer:
    """A tiny model whose weights are large enough that everything it is given has a say."""
    torch.manual_seed(seed)
    config = replace(DiffusionTransformer.tiny().config, **changes)
    network = DiffusionTransformer(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def clips(**changes: object) -> Clips:
    parts = torch.ones(3, 24, len(PARTS), dtype=torch.bool)
    parts[1, :, 7:] = False
    none = torch.zeros(3, dtype=torch.long)
    return replace(Clips(parts, LENGTHS, SECONDS, none, none), **changes)


def conditions(seed: int = 0) -> dict[str, Condition]:
    """Text for the first two clips, music for the first, keypoints for the last."""
    g = seeded(seed)
    return {
        "text": Condition(
            torch.randn(3, 9, 12, generator=g),
            torch.tensor([True, True, False]),
            torch.arange(9) < torch.tensor([[9], [4], [0]]),
        ),
        "music": Condition(torch.randn(3, 30, 6, generator=g), torch.tensor([True, False, False])),
        "video": Condition(torch.randn(3, 24, 5, generator=g), torch.tensor([False, False, True])),
    }


def noise(seed: int = 0, frames: int = 24) -> torch.Tensor:
    return torch.randn(3, frames, 669, generator=seeded(seed))


def one(given: dict[str, Condition], item: int, frames: int, tokens: int | None = None) -> dict[str, Condition]:
    """The conditions of one clip, cut to what it has."""
    row = torch.tensor([item])
    found = {name: condition.take(row) for name, condition in given.items() if condition.given[item]}
    for name, size in (("video", frames), ("text", tokens)):
        if name in found:
            valid = found[name].valid
            found[name] = Condition(
                found[name].features[:, :size], found[name].given, None if valid is None else valid[:, :size]
            )
    return found


def alone(batch: Clips, item: int) -> Clips:
    single, frames = batch.take(torch.tensor([item]), None), int(batch.lengths[item])
    known = None if single.known is None else single.known[:, :frames]
    return replace(single, parts=single.parts[:, :frames], known=known)


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("attention", ["art", "plain"])
@torch.no_grad()
def test_a_clip_alone_and_in_a_batch_are_the_same_and_padding_does_not_matter(attention: str):
    network = model(attention=attention)
    t = torch.tensor([900, 30, 500])
    x, given = noise(), conditions()
    made = network(x, t, clips(), given).features
    x[~clips().frames] = 1e3
    given["text"].features[1, 4:] = 1e3
    given["video"].features[2, 15:] = 1e3
    close(network(x, t, clips(), given).features[clips().frames], made[clips().frames])
    for item, length in enumerate(LENGTHS.tolist()):
        got = network(
            x[item : item + 1, :length],
            t[item : item + 1],
            alone(clips(), item),
            one(given, item, length, 4 if item == 1 else 9),
        )
        close(got.features[0], made[item, :length])


@pytest.mark.parametrize("attention", ["art", "plain"])
@torch.no_grad()
def test_everything_that_is_given_has_a_say_and_what_is_not_given_has_none(attention: str):
    network = model(attention=attention, datasets=("all", "one"), rotations=("parent", "rows"))
    t = torch.tensor([500, 500, 500])
    x, given = noise(), conditions()
    made = network(x, t, clips(), given).features

    def changed(other: torch.Tensor) -> list[bool]:
        return [not torch.allclose(a[:n], b[:n], atol=1e-4) for a, b, n in zip(other, made, LENGTHS, strict=True)]

    for name, condition in given.items():
        other = given | {name: replace(condition, features=condition.features + 1)}
        assert changed(network(x, t, clips(), other).features) == condition.given.tolist(), name
    one_id = torch.ones(3, dtype=torch.long)
    assert all(changed(network(x, t, clips(dataset=one_id), given).features))
    assert all(changed(network(x, t, clips(rotation=one_id), given).features))
    assert all(changed(network(x, t + 100, clips(), given).features))
    assert all(changed(network(x, t, clips(seconds=2 * SECONDS), given).features))


@given(seed=seeds)
@settings(max_examples=5)
@torch.no_grad()
def test_cells_that_are_missing_do_not_influence(seed: int):
    network = model()
    parts = torch.rand(3, 24, len(PARTS), generator=seeded(seed)) < 0.6
    t = torch.tensor([500, 3, 999])
    x = noise(seed)
    made = network(x, t, clips(parts=parts), conditions()).features
    other = torch.where(spread_mask(parts), x, noise(seed + 1))
    close(network(other, t, clips(parts=parts), conditions()).features[clips().frames], made[clips().frames])


@torch.no_grad()
def test_each_part_is_read_from_and_written_to_its_own_columns():
    network = model(linear_prior=False)
    for index, columns in enumerate(part_columns().values()):
        network.read_in.weights[index].zero_()
        network.read_in.biases[index].fill_(float(index))
        network.read_out.weights[index].zero_()
        network.read_out.biases[index].fill_(float(index))
        assert network.read_in.weights[index].shape[2] == len(columns)
    made = network(noise(), torch.tensor([5, 5, 5]), clips(), {}).features
    for index, columns in enumerate(part_columns().values()):
        assert bool((made[..., list(columns)] == index).all())
    assert DiffusionConfig.published().columns["left_arm"] == part_columns()["right_arm"]


@torch.no_grad()
def test_clips_on_one_time_line_see_each_other_and_no_other_group():
    network = model()
    t = torch.tensor([400, 400, 400])
    x = noise()
    apart = network(x, t, clips(), {}).features
    close(network(x, t, clips(timeline=(1, 1, 1)), {}).features, apart)
    made = network(x, t, clips(timeline=(2, 1)), {}).features
    close(made[2, :15], apart[2, :15])
    assert not torch.allclose(made[0], apart[0], atol=1e-4)
    pair = torch.tensor([0, 1])
    close(network(x[:2], t[:2], clips().take(pair, (2,)), {}).features[0], made[0])
    starts = clips(timeline=(2, 1)).starts
    torch.testing.assert_close(starts, torch.tensor([0.0, 24 / 20, 0.0]))


@torch.no_grad()
def test_read_out_times_are_seconds_so_half_the_rate_reads_every_second_frame():
    """The templates of a clip, read at 10 fps, give every second frame of what they give at 20 fps."""
    torch.manual_seed(0)
    readout = TimeReadout(8)
    templates = torch.randn(1, len(PARTS), 8, 8, generator=seeded(3))
    none = torch.zeros(1, dtype=torch.long)
    fast = Clips(torch.ones(1, 24, 10, dtype=torch.bool), torch.tensor([24]), torch.tensor([0.05]), none, none)
    slow = Clips(torch.ones(1, 12, 10, dtype=torch.bool), torch.tensor([12]), torch.tensor([0.1]), none, none)
    close(readout(templates, slow)[0], readout(templates, fast)[0][:, ::2])


def made(network: DiffusionTransformer, batch: Clips, given: dict[str, Condition], **options: object) -> torch.Tensor:
    arguments: dict = {"seeds": [5, 6, 7], "steps": STEPS} | options
    return sample(network, SCHEDULE, batch, given, **arguments)


@pytest.mark.parametrize("method", ["ddim", "dpm"])
def test_a_sample_depends_neither_on_the_batch_nor_on_its_place(method: str):
    network = model()
    guidance = Guidance({"text": 3.0, "music": 1.5, "video": 2.0})
    eta = 0.5 if method == "ddim" else 0.0
    options = {"guidance": guidance, "method": method, "eta": eta}
    both = made(network, clips(), conditions(), **options)
    assert not both[~clips().frames].any()
    order = torch.tensor([2, 0, 1])
    turned = {name: condition.take(order) for name, condition in conditions().items()}
    moved = made(network, clips().take(order, None), turned, seeds=[7, 5, 6], **options)
    close(moved, both[order])
    for item, length in enumerate(LENGTHS.tolist()):
        given = one(conditions(), item, length, 9)
        single = made(network, alone(clips(), item), given, seeds=[5 + item], **options)
        close(single[0], both[item, :length])
    assert not torch.allclose(made(network, clips(), conditions(), seeds=[8, 6, 7], **options)[0], both[0], atol=1e-3)


def test_guidance_of_one_is_the_conditional_model_and_of_none_the_unconditional_one():
    network = model()
    plain = made(network, clips(), conditions())
    close(made(network, clips(), conditions(), guidance=Guidance.even(1.0)), plain)
    close(made(network, clips(), conditions(), guidance=Guidance({})), plain)
    free = made(network, clips(), {})
    close(made(network, clips(), conditions(), guidance=Guidance.even(0.0)), free)
    assert not torch.allclose(plain, free, atol=1e-3)
    outside = Guidance({"text": 5.0}, span=(0.0, 0.0))
    close(made(network, clips(), conditions(), guidance=outside), plain)


def test_guidance_is_what_the_formula_says():
    """One step, so the outcome is the guided guess itself: each modality in a row, by its own weight."""
    network, steps = model(), (700,)
    given = conditions()
    text_only = {"text": given["text"]}
    guess = [made(network, clips(), some, steps=steps) for some in ({}, text_only, given)]
    guided = made(network, clips(), given, steps=steps, guidance=Guidance({"text": 4.0, "music": 2.0, "video": 0.5}))
    close(guided[0], (guess[0] + 4 * (guess[1] - guess[0]) + 2 * (guess[2] - guess[1]))[0])
    close(guided[1], (guess[0] + 4 * (guess[2] - guess[0]))[1])
    close(guided[2], (guess[0] + 0.5 * (guess[2] - guess[0]))[2])
    grown = made(network, clips(), given, steps=steps, guidance=Guidance.published(5.5))
    weight = 1 + 5.5 * 0.7
    close(grown, guess[0] + weight * (guess[2] - guess[0]))


def test_guided_clips_on_one_time_line_stay_together():
    network = model()
    line = clips(timeline=(2, 1))
    guidance = Guidance({"text": 3.0})
    both = made(network, line, conditions(), guidance=guidance)
    pair = torch.tensor([0, 1])
    given = {name: condition.take(pair) for name, condition in conditions().items()}
    close(made(network, line.take(pair, (2,)), given, seeds=[5, 6], guidance=guidance), both[:2])


@pytest.mark.parametrize("clean_cells", [True, False])
@pytest.mark.parametrize("method", ["ddim", "dpm"])
def test_known_cells_come_back_bit_for_bit_and_have_a_say(clean_cells: bool, method: str):
    network = model(clean_cells=clean_cells)
    mask = torch.rand(3, 24, len(PARTS), generator=seeded(1)) < 0.4
    values = noise(9)
    mask &= clips().frames[..., None]
    held = clips(known=mask)
    options = {"method": method, "guidance": Guidance({"text": 2.0})}
    got = made(network, held, conditions(), known=values, **options)
    cells = spread_mask(mask)
    assert torch.equal(got[cells], values[cells])
    free = made(network, clips(), conditions(), **options)
    rest = ~cells & clips().frames[..., None]
    assert not torch.allclose(got[rest], free[rest], atol=1e-3)
    again = made(network, held, conditions(), known=torch.where(cells, values, 7.0), **options)
    close(again, got)


def test_half_precision_is_near():
    network = model()
    full = made(network, clips(), conditions(), guidance=Guidance.even(2.0))
    half = made(network, clips(), conditions(), guidance=Guidance.even(2.0), precision="bfloat16")
    assert half.dtype == torch.float32
    # A router may choose otherwise for a token or two; most of the motion is the same.
    apart = (half - full).abs() / full.std()
    assert float(apart.median()) < 0.05


def test_bounded_experts_go_the_same_way_where_nothing_is_dropped():
    options = {"guidance": Guidance({"text": 3.0, "music": 0.5})}
    free = made(model(capacity=100.0), clips(), conditions(), **options)
    close(made(model(capacity=100.0, drops=True), clips(), conditions(), **options), free)


def test_what_does_not_fit_is_refused():
    network, given = model(), conditions()
    with pytest.raises(RequestError, match="25 frames were asked for, the model has 24"):
        made(network, Clips.whole(torch.tensor([25]), 20.0), {}, seeds=[1])
    with pytest.raises(RequestError, match="this model cannot follow 'speech'; it knows text, music, video"):
        made(network, clips(), {"speech": given["music"]})
    with pytest.raises(RequestError, match="text has 3 clips with tokens of size 6; 3 clips with tokens of size 12"):
        made(network, clips(), {"text": given["music"]})
    with pytest.raises(RequestError, match="video has 9 tokens; one for each of 24 frames is needed"):
        made(network, clips(), {"video": Condition(torch.zeros(3, 9, 5), torch.ones(3, dtype=torch.bool))})
    with pytest.raises(RequestError, match="music has 31 tokens; the model reads at most 30"):
        made(network, clips(), {"music": Condition(torch.zeros(3, 31, 6), torch.ones(3, dtype=torch.bool))})
    with pytest.raises(RequestError, match=r"ids \[1, 0, 0\] were given; this model knows 1: all"):
        made(network, clips(dataset=torch.tensor([1, 0, 0])), {})
    with pytest.raises(RequestError, match="2 seeds were given for 3 clips"):
        made(network, clips(), given, seeds=[1, 2])
    with pytest.raises(RequestError, match=r"known features and the mask clips\.known go together"):
        made(network, clips(), given, known=noise())
    with pytest.raises(RequestError, match="a condition without a token was given"):
        Condition(torch.zeros(1, 2, 3), torch.tensor([True]), torch.zeros(1, 2, dtype=torch.bool))
    with pytest.raises(RequestError, match=r"groups of \(2, 2\) clips were given for 3 clips"):
        clips(timeline=(2, 2))
    with pytest.raises(RequestError, match=r"lengths are \[25, 7, 15\]; they must be from 1 to 24 frames"):
        clips(lengths=torch.tensor([25, 7, 15]))
    with pytest.raises(RequestError, match="guidance of dance was asked for; known: text, music, speech, video"):
        Guidance({"dance": 2.0})
    with pytest.raises(RequestError, match="clips on one time line need attention='art'"):
        made(model(attention="plain"), clips(timeline=(2, 1)), {})
    with pytest.raises(RequestError, match="top_k is 5; it must be from 1 to the number of experts, 4"):
        DiffusionConfig(top_k=5)
    with pytest.raises(RequestError, match=r"capacity is 0\.5; it must be at least 1, or 0 for no bound"):
        DiffusionConfig(capacity=0.5)


def loss(network: DiffusionTransformer, target: torch.Tensor, seed: int = 0, batch: Clips | None = None):
    return training_loss(network, network.config, SCHEDULE, target, batch or clips(), conditions(), seeded(seed))


@torch.no_grad()
def test_the_loss_follows_from_the_generator_and_knows_nothing_of_absent_cells():
    network = model()
    target = noise()
    first = loss(network, target)
    assert torch.equal(loss(network, target).total, first.total)
    assert not torch.equal(loss(network, target, seed=1).total, first.total)
    there = spread_mask(clips().parts & clips().frames[..., None])
    torch.testing.assert_close(loss(network, torch.where(there, target, 50.0)).total, first.total)
    with pytest.raises(TrainingError, match="training clips came with known cells"):
        loss(network, target, batch=clips(known=clips().parts))


def test_known_cells_of_training_are_spans_and_parts():
    many = Clips.whole(torch.full((2000,), 20), 20.0)
    known = draw_known(many, 0.8, seeded(0))
    by_frame, by_part = known.all(dim=2).any(dim=1), known.all(dim=1).any(dim=1)
    some = known.flatten(1).any(dim=1)
    assert 0.6 < float(some.float().mean()) < 0.8
    assert 0.25 < float((by_frame & ~by_part).float().mean()) < 0.45
    assert 0.15 < float((by_part & ~by_frame).float().mean()) < 0.25
    frames = known.all(dim=2)
    assert bool((frames[:, 0] & ~frames[:, -1]).any())
    assert bool((~frames[:, 0] & frames[:, -1]).any())
    assert not draw_known(many, 0.0, seeded(0)).any()


@torch.no_grad()
def test_a_turn_that_drifts_costs_more_than_one_that_shakes():
    nothing, there = torch.zeros(1, 40, 669), torch.ones(1, 40, 669)
    drift, shake, arm = nothing.clone(), nothing.clone(), nothing.clone()
    drift[..., 0] = 0.5
    shake[:, ::2, 0], shake[:, 1::2, 0] = 0.5, -0.5
    arm[..., 300] = 0.5
    costs = [float(way_loss(made, nothing, there)) for made in (drift, shake, arm)]
    assert costs[0] > 20 * costs[1] > 20 * costs[2] == 0
    # Beyond its unit an error counts by its size.
    assert float(way_loss(40 * drift, nothing, there)) == pytest.approx(
        20 * float(way_loss(2 * drift, nothing, there)), rel=0.3
    )
    there[..., :3] = 0
    assert float(way_loss(drift, nothing, there)) == 0
    losses = [
        training_loss(
            model(), model().config, SCHEDULE, noise(), clips(), conditions(), seeded(0), LossOptions(way=way)
        )
        for way in (0.0, 1.0)
    ]
    assert float(losses[1].total) > float(losses[0].total)


def test_templates_times_of_unit_spread_have_no_loss():
    times = torch.tensor([1.0, -1.0]).repeat(1, 3, 500)
    assert float(spread_loss([times, times])) == pytest.approx(0.0, abs=1e-2)
    assert float(spread_loss([times + 2])) == pytest.approx(3 * 0.5 * 4, rel=1e-2)
    assert float(spread_loss([0.1 * times])) > 1


@pytest.mark.parametrize("attention", ["art", "plain"])
def test_every_weight_learns(attention: str):
    network = model(attention=attention).train()
    all_of_it = LossOptions(drop_condition=0.0, known=1.0)
    given = {name: replace(c, given=torch.ones(3, dtype=torch.bool), valid=None) for name, c in conditions().items()}
    for seed in range(2):
        found = training_loss(network, network.config, SCHEDULE, noise(), clips(), given, seeded(seed), all_of_it)
        found.total.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.abs().sum() > 0), name


@pytest.mark.parametrize("attention", ["art", "plain"])
def test_a_tiny_model_learns_one_pose(attention: str):
    torch.manual_seed(0)
    network = DiffusionTransformer(replace(DiffusionTransformer.tiny().config, attention=attention, dropout=0.0))
    batch = Clips.whole(torch.tensor([8, 6]), fps=20.0)
    target = noise()[:1, :1].expand(2, 8, 669)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-2)
    losses = []
    for step in range(12):
        found = training_loss(network, network.config, SCHEDULE, target, batch, {}, seeded(step))
        optimiser.zero_grad()
        found.total.backward()
        optimiser.step()
        losses.append(float(found.features.detach()))
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])


def test_a_saved_model_makes_the_same_motion(tmp_path):
    network = model()
    stats = {"mean": torch.zeros(669), "std": torch.ones(669)}
    save_checkpoint(tmp_path / "a", network, stats, {"sources": ["made up"]}, "CC0-1.0", "# A card\n")
    loaded = load_checkpoint(tmp_path / "a")
    assert loaded.kind == "diffusion"
    assert isinstance(loaded.model, DiffusionTransformer)
    assert loaded.model.config == network.config
    assert torch.equal(made(loaded.model, clips(), conditions()), made(network, clips(), conditions()))

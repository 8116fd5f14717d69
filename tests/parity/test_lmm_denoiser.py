"""LMM's denoiser against the published code's numbers (random weights, float32): text alone, four modalities on
different rows, two clips on one time line; and its released sizes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from motionloom.errors import CheckpointError
from motionloom.models.checkpoint import load_checkpoint, save_checkpoint
from motionloom.models.diffusion.blocks import ArtMixer, DiffusionBlock
from motionloom.models.diffusion.config import MODALITIES, Clips, Condition, DiffusionConfig
from motionloom.models.diffusion.model import DiffusionTransformer, embed_steps
from motionloom.models.diffusion.official import diffusion_from_official
from motionloom.models.diffusion.sampling import Guidance, GuidedModel
from motionloom.models.importing import import_official

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"


def fixture(name: str) -> Path:
    path = FIXTURES / name
    if not path.exists():
        pytest.skip(f"parity fixture {path.name} is not on this machine")
    return path


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return load_file(fixture("lmm_micro.state.safetensors"))


@pytest.fixture(scope="module", params=[True, False], ids=["bounded experts", "free experts"])
def model(request, state) -> DiffusionTransformer:
    # Nothing is dropped in these fixtures, so both forms must agree, and take different ways through the code.
    config, ours = diffusion_from_official(state, top_k=2)
    network = DiffusionTransformer(replace(config, drops=request.param))
    network.load_state_dict(ours, strict=True)
    return network.eval()


@pytest.fixture(scope="module", params=["A", "B", "C"])
def want(request) -> dict[str, torch.Tensor]:
    return load_file(fixture(f"lmm_micro_denoise_{request.param}.safetensors"))


def inputs(want: dict[str, torch.Tensor]) -> tuple[Clips, dict[str, Condition]]:
    together = int(want["in.num_intervals"])
    count = len(want["in.motion"])
    clips = Clips(
        parts=want["in.motion_mask"].bool(),
        lengths=want["in.motion_length"][:, 0],
        seconds=1 / want["in.framerate"],
        dataset=want["in.dataset_idx"],
        rotation=want["in.rotation_idx"],
        timeline=None if together == 1 else (together,) * (count // together),
    )
    conditions = {
        name: Condition(want[f"in.{name}_word_feat"], want[f"in.{name}_cond"][:, 0] > 0)
        for name in MODALITIES
        if f"in.{name}_cond" in want
    }
    return clips, conditions


@torch.no_grad()
def test_blocks_and_head_agree_with_and_without_conditions(model, want):
    clips, conditions = inputs(want)
    count = len(clips)
    twice = torch.arange(count).repeat(2)
    both = clips.take(twice, None if clips.timeline is None else clips.timeline * 2)
    seen = torch.arange(2 * count) < count
    given = {name: condition.take(twice) for name, condition in conditions.items()}
    given = {name: replace(condition, given=condition.given & seen) for name, condition in given.items()}
    outputs: dict[str, torch.Tensor] = {}
    hooks = []
    for layer, block in enumerate(model.blocks):

        def keep(_, args, out, layer=layer):
            outputs[f"act.block{layer}.out"] = out.x

        def keep_mixed(_, args, out, layer=layer):
            outputs[f"act.block{layer}.attn"] = out

        hooks += [block.register_forward_hook(keep), block.mixed.register_forward_hook(keep_mixed)]
    head = model(want["in.motion"][twice], want["in.timesteps"][twice], both, given).features
    for hook in hooks:
        hook.remove()
    # The fixture has the read-in before hidden cells are replaced.
    read = want["act.joint_embed"].unflatten(2, (10, -1)).repeat(2, 1, 1, 1)
    first = torch.where(both.parts[..., None], read, model.mask_token).flatten(2)
    for layer in range(2):
        # The fixture has the attention's sum with what came in.
        attended = (first if layer == 0 else outputs["act.block0.out"]) + outputs[f"act.block{layer}.attn"]
        torch.testing.assert_close(attended, want[f"act.block{layer}.attn"], atol=1e-5, rtol=1e-4)
        out = outputs[f"act.block{layer}.out"]
        torch.testing.assert_close(out, want[f"act.block{layer}.out"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(head, want["act.head"], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_step_s_embedding_agrees(model, want):
    step = model.step(embed_steps(want["in.timesteps"], model.config.width))
    torch.testing.assert_close(step, want["act.time_embed"], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_guided_outputs_agree(model, want):
    clips, conditions = inputs(want)
    guidance = Guidance.published(float(want["in.guidance_scale"]))
    passes = GuidedModel(model, clips, conditions, [int(want["in.timesteps"][0])], 1000, guidance)
    got = passes(want["in.motion"], 0)
    torch.testing.assert_close(got, want["out"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", ["tiny", "small", "base", "large"])
def test_released_sizes_have_the_released_numbers_of_parameters(size):
    counts = json.loads(fixture("lmm_param_counts.json").read_text())[size]
    with torch.device("meta"):
        network = DiffusionTransformer(DiffusionConfig.published(size))

    def of(*modules: torch.nn.Module) -> int:
        return sum(parameter.numel() for module in modules for parameter in module.parameters())

    # The release keeps a "sigma" in each block that nothing reads.
    unread = network.config.layers
    assert of(network) + unread == counts["total"]
    top, block = counts["top"], network.blocks[0]
    assert isinstance(block, DiffusionBlock)
    mixer = block.mixer
    assert isinstance(mixer, ArtMixer)
    assert (of(network.read_in), of(network.read_out)) == (top["joint_embed"], top["out"])
    assert of(network.step) == top["time_embed"]
    assert of(network.blocks) + unread == top["temporal_decoder_blocks"]
    for name, encoder in network.encoders.items():
        assert of(encoder) == top[f"{name}_transformer"]
    first = counts["block0"]
    assert of(mixer.experts) + mixer.positions.numel() == first["ca_block.motion_moe"]
    assert of(mixer.condition_experts) == first["ca_block.cond_moe"]
    assert of(block.mixed) == first["ca_block.proj_out"]
    assert of(block.mlp, block.refined) == first["ffn"]
    templates = sum(count for name, count in first.items() if "template_" in name)
    assert of(mixer.readout) == templates + first["ca_block.t_sigma"]


def test_an_official_file_becomes_our_checkpoint(state, tmp_path):
    torch.save({"state_dict": {f"model.{key}": value for key, value in state.items()}}, tmp_path / "latest.pth")
    np.save(tmp_path / "mean.npy", np.zeros(669))
    np.save(tmp_path / "std.npy", np.ones(669))
    found = import_official(tmp_path / "latest.pth", "diffusion", tmp_path / "mean.npy", tmp_path / "std.npy")
    assert list(found.models) == ["diffusion"]
    folder = tmp_path / "diffusion"
    save_checkpoint(folder, found.models["diffusion"], found.stats, {"sources": ["official"]}, "see the authors", "")
    loaded = load_checkpoint(folder).model
    for name, value in found.models["diffusion"].state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    np.save(tmp_path / "std.npy", np.ones(263))
    with pytest.raises(CheckpointError, match=r"numbers, the model 669 features: these are the statistics of another"):
        import_official(tmp_path / "latest.pth", "diffusion", tmp_path / "mean.npy", tmp_path / "std.npy")


def test_wrong_official_files_are_refused_by_name(state):
    with pytest.raises(CheckpointError, match=r"unknown keys in the official denoiser: blocks\.odd"):
        diffusion_from_official(state | {"blocks.odd": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"this is no LMM denoiser: it has no 'time_embed\.2\.bias'"):
        diffusion_from_official({key: value for key, value in state.items() if key != "time_embed.2.bias"})
    with pytest.raises(CheckpointError, match="this is no LMM denoiser"):
        diffusion_from_official({})
    config, ours = diffusion_from_official({f"model.{key}": value for key, value in state.items()}, top_k=2)
    assert (config.experts, config.top_k) == (4, 2)
    assert ours.keys() == DiffusionTransformer(config).state_dict().keys()

"""Official LMM checkpoints: the names and sizes of the published network, turned into ours.

An official state dict goes in, our config and our state dict come out. Unknown keys are refused by name, so that
nothing of a file is dropped unseen.

Source: LMM (arXiv 2404.01284), its release. Parity: ``tests/parity/test_lmm_denoiser.py``.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from motionloom.errors import CheckpointError
from motionloom.models.diffusion.config import PUBLISHED_DATASETS, PUBLISHED_ROTATIONS, DiffusionConfig

_PARTS = ("root", "head", "stem", "larm", "rarm", "lleg", "rleg", "lhnd", "rhnd", "face")
_BLOCK = "temporal_decoder_blocks"
_GATE = "model.gates.0."
_EXPERTS = {
    f"{_GATE}cosine_projector.weight": "router.weight",
    f"{_GATE}cosine_projector.bias": "router.bias",
    f"{_GATE}sim_matrix": "similarity",
    f"{_GATE}temperature": "temperature",
    "model.experts.batched_fc1_w": "first",
    "model.experts.batched_fc1_bias": "first_bias",
    "model.experts.batched_fc2_w": "second",
    "model.experts.batched_fc2_bias": "second_bias",
    "proj.weight": "proj.weight",
    "proj.bias": "proj.bias",
}
_STYLED = {"norm": "norm", "emb_layers.1": "modulate", "out_layers.2": "out"}
_DERIVATIVES = ("s", "v", "a", "j")


def diffusion_from_official(
    state: Mapping[str, Tensor], top_k: int | None = None
) -> tuple[DiffusionConfig, dict[str, Tensor]]:
    """Turn LMM's official denoiser into ours.

    Parameters that the published network never reads (a "sigma" in each block) are dropped.

    Args:
        state: The official state dict, of the denoiser or of the whole architecture around it.
        top_k: Choices a token; not visible in the weights. By default a quarter of the experts, as released.

    Raises:
        CheckpointError: Keys are missing or unknown.
    """
    left = {key.removeprefix("model."): value for key, value in state.items()} if _wrapped(state) else dict(state)
    try:
        config = _config(left, top_k)
        ours = _whole(left, config)
    except KeyError as missing:
        raise CheckpointError(f"this is no LMM denoiser: it has no {missing}") from None
    if left:
        raise CheckpointError(f"unknown keys in the official denoiser: {', '.join(sorted(left)[:10])}")
    return config, ours


def _wrapped(state: Mapping[str, Tensor]) -> bool:
    return any(key.startswith(f"model.{_BLOCK}.") for key in state)


def _config(state: Mapping[str, Tensor], top_k: int | None) -> DiffusionConfig:
    """Read the sizes off the weights."""
    block = f"{_BLOCK}.0.ca_block."
    datasets, dataset_tokens, _, part_dim = state[f"{block}key_dataset"].shape
    rotations, rotation_tokens = state[f"{block}key_rotation"].shape[:2]
    experts = state[f"{block}motion_moe.{_GATE}sim_matrix"].shape[1]
    widths = {
        name: state[key].shape[1] if (key := f"{name}_transformer.proj_in.weight") in state else 0
        for name in ("text", "music", "speech", "video")
    }
    released = datasets == len(PUBLISHED_DATASETS)
    encoder = next((f"{name}_transformer." for name, width in widths.items() if width), "text_transformer.")
    return DiffusionConfig(
        part_dim=part_dim,
        layers=_count(state, _BLOCK),
        condition_layers=_count(state, f"{encoder}blocks"),
        experts=experts,
        top_k=top_k or max(1, experts // 4),
        capacity=1.5,
        linear_prior=False,
        local=0,
        time_dim=state["time_embed.2.weight"].shape[0],
        max_frames=state[f"{block}motion_moe.embedding"].shape[1],
        max_tokens=state[f"{encoder}embedding"].shape[1],
        text_dim=widths["text"],
        music_dim=widths["music"],
        speech_dim=widths["speech"],
        video_dim=widths["video"],
        audio_stride=3,
        aligned=(),
        sees_padding=True,
        datasets=PUBLISHED_DATASETS if released else tuple(f"dataset{index}" for index in range(datasets)),
        rotations=PUBLISHED_ROTATIONS[:rotations],
        dataset_tokens=dataset_tokens,
        rotation_tokens=rotation_tokens,
        swapped_sides=True,
        clean_cells=False,
    )


def _count(state: Mapping[str, Tensor], module: str) -> int:
    found = (re.match(rf"{re.escape(module)}\.(\d+)\.", key) for key in state)
    return len({match[1] for match in found if match})


def _whole(left: dict[str, Tensor], config: DiffusionConfig) -> dict[str, Tensor]:
    """Take everything our model needs out of ``left``, under our names."""
    ours = {name: left.pop(name) for name in ("mask_token", "clean_token")}
    for layer in (0, 2):
        ours |= _linear(left, f"time_embed.{layer}", f"step.{layer}")
    for index, part in enumerate(_PARTS):
        for official, name in (("joint_embed", "read_in"), ("out", "read_out")):
            suffix = official.removeprefix("joint_")
            keys = [f"{official}.models.{dataset}.{part}_{suffix}" for dataset in range(len(config.datasets))]
            ours[f"{name}.weights.{index}"] = torch.stack([left.pop(f"{key}.weight") for key in keys])
            ours[f"{name}.biases.{index}"] = torch.stack([left.pop(f"{key}.bias") for key in keys])
    for modality in config.modalities:
        ours |= _encoder(left, f"{modality}_transformer.", f"encoders.{modality}.", config.condition_layers)
    for layer in range(config.layers):
        ours |= _block(left, f"{_BLOCK}.{layer}.", f"blocks.{layer}.", config)
    return ours


def _linear(left: dict[str, Tensor], official: str, name: str) -> dict[str, Tensor]:
    return {f"{name}.{leaf}": left.pop(f"{official}.{leaf}") for leaf in ("weight", "bias")}


def _encoder(left: dict[str, Tensor], official: str, name: str, layers: int) -> dict[str, Tensor]:
    ours = {f"{name}positions": left.pop(f"{official}embedding")[0]} | _linear(left, f"{official}proj_in", f"{name}inp")
    for layer in range(layers):
        source, target = f"{official}blocks.{layer}.", f"{name}layers.{layer}."
        for module in ("norm", "query", "key", "value"):
            ours |= _linear(left, f"{source}sa_block.{module}", target + module)
        ours |= _linear(left, f"{source}ffn.linear1", f"{target}mlp.0")
        ours |= _linear(left, f"{source}ffn.linear2", f"{target}mlp.3")
    return ours


def _block(left: dict[str, Tensor], official: str, name: str, config: DiffusionConfig) -> dict[str, Tensor]:
    source, target = f"{official}ca_block.", f"{name}mixer."
    left.pop(f"{source}sigma")
    ours = _linear(left, f"{source}norm", f"{target}norm")
    ours[f"{target}positions"] = left.pop(f"{source}motion_moe.embedding")[0]
    for theirs, experts in (("motion_moe", "experts"), ("cond_moe", "condition_experts")):
        left.pop(f"{source}{theirs}.model._num_global_experts")
        for key, leaf in _EXPERTS.items():
            ours[f"{target}{experts}.{leaf}"] = left.pop(f"{source}{theirs}.{key}")
    for modality in config.modalities:
        ours |= _linear(left, f"{source}norm_{modality}", f"{target}condition_norms.{modality}")
    for kind in ("dataset", "rotation"):
        for side in ("key", "value"):
            ours[f"{target}{side}s.{kind}"] = left.pop(f"{source}{side}_{kind}")
    for kind in ("motion", "dataset", "rotation", *config.modalities):
        ours[f"{target}heat.{kind}"] = left.pop(f"{source}key_{kind}_scale")
    ours |= _readout(left, source, f"{target}readout.")
    for theirs, styled in (("ca_block", "mixed"), ("ffn", "refined")):
        for key, leaf in _STYLED.items():
            ours |= _linear(left, f"{official}{theirs}.proj_out.{key}", f"{name}{styled}.{leaf}")
    return (
        ours
        | _linear(left, f"{official}ffn.linear1", f"{name}mlp.0")
        | _linear(left, f"{official}ffn.linear2", f"{name}mlp.3")
    )


def _readout(left: dict[str, Tensor], official: str, name: str) -> dict[str, Tensor]:
    """Five small networks in one."""
    first, last = (
        {kind: _linear(left, f"{official}template_{kind}.{layer}", kind) for kind in ("t", *_DERIVATIVES)}
        for layer in (0, 2)
    )
    return {
        f"{name}sharpness": left.pop(f"{official}t_sigma"),
        f"{name}hidden.weight": torch.cat([maps[f"{kind}.weight"] for kind, maps in first.items()]),
        f"{name}hidden.bias": torch.cat([maps[f"{kind}.bias"] for kind, maps in first.items()]),
        f"{name}time.weight": last["t"]["t.weight"],
        f"{name}time.bias": last["t"]["t.bias"],
        f"{name}states": torch.stack([last[kind][f"{kind}.weight"].mT for kind in _DERIVATIVES]),
        f"{name}states_bias": torch.stack([last[kind][f"{kind}.bias"] for kind in _DERIVATIVES]),
    }

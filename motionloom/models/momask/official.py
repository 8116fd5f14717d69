"""MoMask's official checkpoints: names and sizes of its networks, turned into ours.

Every function is pure: an official state dict goes in, our config and state dict come out. Unknown keys are refused
by name.
"""

import re

import torch
from torch import Tensor

from motionloom.errors import CheckpointError
from motionloom.models.masked.official import tokenizer_from_official
from motionloom.models.momask.tokenizer import ResidualTokenizerConfig
from motionloom.models.momask.transformers import MoMaskConfig, MoMaskLengthConfig

State = dict[str, Tensor]
_BLOCK = {
    "self_attn.in_proj_weight": "attention_in.weight",
    "self_attn.in_proj_bias": "attention_in.bias",
    "self_attn.out_proj.weight": "attention_out.weight",
    "self_attn.out_proj.bias": "attention_out.bias",
    "linear1.weight": "mlp_in.weight",
    "linear1.bias": "mlp_in.bias",
    "linear2.weight": "mlp_out.weight",
    "linear2.bias": "mlp_out.bias",
    "norm1.weight": "norm_attention.weight",
    "norm1.bias": "norm_attention.bias",
    "norm2.weight": "norm_mlp.weight",
    "norm2.bias": "norm_mlp.bias",
}
_TRUNK = {
    "input_process.poseEmbedding": "inputs",
    "cond_emb": "sentence",
    "output_process.dense": "dense",
    "output_process.LayerNorm": "norm",
    "output_process.poseFinal": "head",
}


def residual_tokenizer_from_official(
    state: State, **options: str | int | None
) -> tuple[ResidualTokenizerConfig, State]:
    """Turn MoMask's official tokenizer into ours.

    Args:
        state: The official state dict.
        **options: What is not visible in the weights; see ``tokenizer_from_official``.

    Raises:
        CheckpointError: Keys are missing or unknown.
    """
    found = sorted(int(key.split(".")[2]) for key in state if re.fullmatch(r"quantizer\.layers\.\d+\.codebook", key))
    if not found or found != list(range(len(found))):
        raise CheckpointError("this is no MoMask tokenizer: it has no quantizer.layers.0.codebook")
    codebooks = [state[f"quantizer.layers.{layer}.codebook"] for layer in found]
    plain = {key: value for key, value in state.items() if not key.startswith("quantizer.")}
    # Running means of the codes, which only training needs, are in some files.
    unknown = [
        key
        for key in state
        if key.startswith("quantizer.")
        and not re.fullmatch(r"quantizer\.layers\.\d+\.(codebook|code_sum|code_count)", key)
    ]
    if unknown:
        raise CheckpointError(f"unknown keys in the MoMask tokenizer: {', '.join(sorted(unknown))}")
    shared, renamed = tokenizer_from_official(plain | {"quantizer.codebook": codebooks[0]}, **options)  # type: ignore[arg-type]
    config = ResidualTokenizerConfig(
        features=shared.features, width=shared.width, levels=shared.levels, depth=shared.depth,
        dilation_growth=shared.dilation_growth, activation=shared.activation, norm=shared.norm,
        quantizers=len(codebooks), codes=shared.codes, code_dim=shared.code_dim,
    )  # fmt: skip
    ours = {key: value for key, value in renamed.items() if not key.startswith("quantizer.")}
    return config, ours | {"codebooks": torch.stack(codebooks)}


def base_from_official(state: State, *, quantizers: int, heads: int = 6) -> tuple[MoMaskConfig, State]:
    """Turn MoMask's official masked transformer into ours.

    Args:
        state: The official state dict, with or without CLIP's weights, which are left out.
        quantizers: Codebooks of its tokenizer.
        heads: Not visible in the weights.

    Raises:
        CheckpointError: Keys are missing or unknown.
    """
    left = _without_clip(state)
    table = _take(left, "token_emb.weight")
    config = MoMaskConfig(
        codes=table.shape[0] - 2, code_dim=table.shape[1], quantizers=quantizers, heads=heads, **_sizes(left)
    )
    ours = {"table.weight": table} | _trunk(left, config.layers)
    _refuse_left(left, "masked transformer")
    return config, ours


def residual_from_official(state: State, *, heads: int = 6) -> tuple[MoMaskConfig, State]:
    """Turn MoMask's official residual transformer into ours, in the released form, whose tables are shared.

    Args:
        state: The official state dict, with or without CLIP's weights, which are left out.
        heads: Not visible in the weights.

    Raises:
        CheckpointError: Keys are missing or unknown, or its tables are not shared.
    """
    left = _without_clip(state)
    if "output_proj_weight_" not in left:
        raise CheckpointError(
            "this residual transformer has no output_proj_weight_: only the released form, trained with"
            " --share_weight, is read"
        )
    tables = [_take(left, key) for key in ("token_embed_weight_", "embed_proj_shared_weight", "output_proj_weight_")]
    ours = {"tables": torch.cat(tables)}
    ours |= {f"layer.{leaf}": _take(left, f"quant_emb.{leaf}") for leaf in ("weight", "bias")}
    quantizers, codes, code_dim = ours["tables"].shape
    config = MoMaskConfig(codes=codes - 1, code_dim=code_dim, quantizers=quantizers, heads=heads, **_sizes(left))
    ours |= _trunk(left, config.layers)
    _refuse_left(left, "residual transformer")
    return config, ours


def length_from_official(state: State) -> tuple[MoMaskLengthConfig, State]:
    """Turn MoMask's official length estimator into ours.

    Raises:
        CheckpointError: Keys are missing or unknown.
    """
    left = dict(state)
    ours = {}
    for place, (linear, norm) in enumerate(((0, 1), (4, 5), (8, 9))):
        for leaf in ("weight", "bias"):
            ours[f"hidden.{place}.{leaf}"] = _take(left, f"output.{linear}.{leaf}")
            ours[f"norms.{place}.{leaf}"] = _take(left, f"output.{norm}.{leaf}")
    ours |= {f"head.{leaf}": _take(left, f"output.11.{leaf}") for leaf in ("weight", "bias")}
    _refuse_left(left, "length estimator")
    width, sentence = ours["hidden.0.weight"].shape
    return MoMaskLengthConfig(sentence_dim=sentence, width=width, classes=len(ours["head.bias"])), ours


def _without_clip(state: State) -> State:
    drop = ("clip_model.", "position_enc.")
    return {key: value for key, value in state.items() if not key.startswith(drop)}


def _take(left: State, key: str) -> Tensor:
    if key not in left:
        raise CheckpointError(f"this is no such network of MoMask: it has no {key}")
    return left.pop(key)


def _sizes(left: State) -> dict[str, int]:
    inputs, mlp = left["input_process.poseEmbedding.weight"], left["seqTransEncoder.layers.0.linear1.weight"]
    layers = {int(key.split(".")[2]) for key in left if re.match(r"seqTransEncoder\.layers\.\d+\.", key)}
    return {
        "width": inputs.shape[0],
        "layers": max(layers) + 1,
        "mlp": mlp.shape[0],
        "sentence_dim": left["cond_emb.weight"].shape[1],
    }


def _trunk(left: State, layers: int) -> State:
    ours = {
        f"trunk.{name}.{leaf}": _take(left, f"{official}.{leaf}")
        for official, name in _TRUNK.items()
        for leaf in ("weight", "bias")
    }
    for layer in range(layers):
        for official, name in _BLOCK.items():
            ours[f"trunk.blocks.{layer}.{name}"] = _take(left, f"seqTransEncoder.layers.{layer}.{official}")
    return ours


def _refuse_left(left: State, what: str) -> None:
    if left:
        raise CheckpointError(f"unknown keys in MoMask's {what}: {', '.join(sorted(left)[:5])}")

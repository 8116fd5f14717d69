"""Official checkpoints: the names and sizes of the published networks, turned into ours.

Every function here is pure: an official state dict goes in, our config and our state dict come out. Unknown
keys are refused by name, so that nothing of a file is dropped unseen.
"""

import re
from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import CheckpointError
from motionloom.models.masked.model import MaskedConfig
from motionloom.models.masked.upper_body import PartsTokenizerConfig
from motionloom.models.text_motion.guo import EvaluatorConfig
from motionloom.models.tokenizers.motion import Activation, Norm, TokenizerConfig


def tokenizer_from_official(
    state: dict[str, Tensor],
    activation: Activation = "relu",
    norm: Norm | None = None,
    dilation_growth: int = 3,
) -> tuple[TokenizerConfig, dict[str, Tensor]]:
    """Turn an official motion tokenizer (MMM, T2M-GPT, MotionGPT: the same network) into ours.

    Sizes are read from the weights. Running statistics of the codebook are not in official files; they start
    anew from the codes, each with a count of 1.

    Args:
        state: The official state dict, with or without the prefix ``vqvae.``.
        activation: Not visible in the weights: the official option, by default the released one.
        norm: Not visible in the weights when there are norms: LN, GN or BN.
        dilation_growth: Not visible in the weights.

    Raises:
        CheckpointError: Keys are missing or unknown, or the norm must be named.
    """
    state = {key.removeprefix("vqvae."): value for key, value in state.items()}
    try:
        stem, codebook = state["encoder.model.0.weight"], state["quantizer.codebook"]
    except KeyError as missing:
        raise CheckpointError(f"this is no official motion tokenizer: it has no {missing}") from None
    levels = len({key.split(".")[2] for key in state if re.match(r"encoder\.model\.\d+\.1\.", key)})
    depth = len({key.split(".")[5] for key in state if key.startswith("encoder.model.2.1.model.")})
    has_norm = any(".norm1." in key for key in state)
    if has_norm and norm is None:
        norm = "BN" if any("running_mean" in key for key in state) else None
    if has_norm and norm is None:
        raise CheckpointError("the tokenizer has norms but its file does not say which: give norm='LN' or norm='GN'")
    config = TokenizerConfig(
        features=stem.shape[1],
        width=stem.shape[0],
        levels=levels,
        depth=depth,
        dilation_growth=dilation_growth,
        activation=activation,
        norm=norm or "none",
        codes=codebook.shape[0],
        code_dim=codebook.shape[1],
        reset="published",
    )
    renamed, unknown = {}, []
    for key, value in state.items():
        name = _tokenizer_name(key, levels)
        if name is None:
            unknown.append(key)
        else:
            renamed[name] = value
    if unknown:
        raise CheckpointError(f"unknown keys in the official tokenizer: {', '.join(sorted(unknown))}")
    renamed |= _quantizer_state("quantizer.", codebook)
    return config, renamed


def _tokenizer_name(key: str, levels: int) -> str | None:
    """Return our name of an official parameter; None when it has no place in our model."""
    if key == "quantizer.codebook":
        return key
    fixed = {
        "encoder.model.0": "encoder.stem",
        f"encoder.model.{levels + 2}": "encoder.head",
        "decoder.model.0": "decoder.stem",
        f"decoder.model.{levels + 2}": "decoder.last",
        f"decoder.model.{levels + 4}": "decoder.head",
    }
    module, _, leaf = key.rpartition(".")
    if module in fixed:
        return f"{fixed[module]}.{leaf}"
    part, _, rest = key.partition(".model.")
    blocks, conv = {"encoder": (1, 0), "decoder": (0, 2)}.get(part, (None, None))
    if found := re.fullmatch(rf"(\d+)\.{conv}\.(weight|bias)", rest):
        return f"{part}.levels.{int(found[1]) - 2}.conv.{found[2]}"
    if found := re.fullmatch(rf"(\d+)\.{blocks}\.model\.(\d+)\.(conv[12]\.|norm[12]\.)(\w+)", rest):
        inner = "layer." if found[3].startswith("norm") else ""
        return f"{part}.levels.{int(found[1]) - 2}.blocks.{found[2]}.{found[3]}{inner}{found[4]}"
    return None


def _quantizer_state(prefix: str, codebook: Float[Tensor, "K C"]) -> dict[str, Tensor]:
    """Make the state of a quantiser whose codes are known and whose statistics start from them."""
    codes = len(codebook)
    return {
        prefix + "codebook": codebook,
        prefix + "sums": codebook.clone(),
        prefix + "counts": torch.ones(codes),
        prefix + "usage": torch.zeros(codes),
        prefix + "initialised": torch.ones((), dtype=torch.bool),
        prefix + "step": torch.zeros((), dtype=torch.long),
        prefix + "since_reset": torch.zeros((), dtype=torch.long),
    }


def masked_from_official(state: dict[str, Tensor], heads: int | None = None) -> tuple[MaskedConfig, dict[str, Tensor]]:
    """Turn MMM's official transformer into ours.

    Its tokenizer, which the file holds too, is left to ``tokenizer_from_official``; of it, only the codebook
    is taken. Weights that the published network never uses (a second position table, masks of ones) are
    dropped.

    Args:
        state: The official state dict.
        heads: Not visible in the weights; by default one per 64 channels, as released.

    Raises:
        CheckpointError: Keys are missing or unknown.
    """
    try:
        codebook = state["trans_base.vqvae.vqvae.quantizer.codebook"]
    except KeyError as missing:
        raise CheckpointError(f"this is no MMM transformer: it has no {missing}") from None
    config, renamed = _trunk_from_official(state, heads, code_dim=codebook.shape[1])
    renamed |= {f"embedding.{key}": value for key, value in _embedding_from_official(state).items()}
    return config, renamed | {"embedding.codebook": codebook}


def parts_tokenizer_from_official(
    state: dict[str, Tensor],
    mean: Float[Tensor, "D"],
    std: Float[Tensor, "D"],
    activation: Activation = "relu",
    norm: Norm | None = None,
    dilation_growth: int = 3,
) -> tuple[PartsTokenizerConfig, dict[str, Tensor]]:
    """Turn MMM's official tokenizer of body halves into ours.

    Args:
        state: The official state dict.
        mean: Of the features it was trained with; not in the file.
        std: Of the features it was trained with.
        activation: See ``tokenizer_from_official``.
        norm: See ``tokenizer_from_official``.
        dilation_growth: See ``tokenizer_from_official``.

    Raises:
        CheckpointError: Keys are missing or unknown, or the norm must be named.
    """
    state = {key.removeprefix("vqvae."): value for key, value in state.items()}
    renamed, configs = {"mean": mean, "std": std}, []
    for half in ("upper", "lower"):
        marks = {f"{part}_{half}.": f"{part}." for part in ("encoder", "decoder", "quantizer")}
        own = {
            key.replace(mark, plain, 1): value
            for key, value in state.items()
            for mark, plain in marks.items()
            if key.startswith(mark)
        }
        config, ours = tokenizer_from_official(own, activation, norm, dilation_growth)
        configs.append(config)
        renamed |= {f"{half}.{key}": value for key, value in ours.items()}
    known = ("encoder_", "decoder_", "quantizer_", "mean_upper", "std_upper")
    if unknown := [key for key in state if not key.startswith(known)]:
        raise CheckpointError(f"unknown keys in the official tokenizer: {', '.join(sorted(unknown))}")
    if missing := [key for key in ("mean_upper", "std_upper") if key not in state]:
        raise CheckpointError(f"this is no official tokenizer of body halves: it has no {', '.join(missing)}")
    renamed |= {key: state[key] for key in ("mean_upper", "std_upper")}
    values: dict[str, Any] = asdict(configs[0]) | {
        "features": sum(config.features for config in configs),
        "code_dim": sum(config.code_dim for config in configs),
    }
    return PartsTokenizerConfig(**values), renamed


def parts_masked_from_official(
    state: dict[str, Tensor], heads: int | None = None
) -> tuple[MaskedConfig, dict[str, Tensor]]:
    """Turn MMM's official upper-body transformer into ours; see ``masked_from_official``.

    Raises:
        CheckpointError: Keys are missing or unknown.
    """
    try:
        codes = {half: state[f"trans_base.vqvae.vqvae.quantizer_{half}.codebook"] for half in ("upper", "lower")}
    except KeyError as missing:
        raise CheckpointError(f"this is no MMM upper-body transformer: it has no {missing}") from None
    config, renamed = _trunk_from_official(state, heads, code_dim=2 * codes["upper"].shape[1])
    renamed |= {f"embedding.{key}": value for key, value in _embedding_from_official(state).items()}
    return config, renamed | {f"embedding.{half}": value for half, value in codes.items()}


def evaluator_from_official(state: dict[str, Tensor]) -> tuple[EvaluatorConfig, dict[str, Tensor]]:
    """Turn the official text-to-motion evaluator into ours.

    Args:
        state: The three official state dicts in one, each with its name in front (``movement_encoder.`` ...).

    Raises:
        CheckpointError: Keys are missing or unknown.
    """
    try:
        config = EvaluatorConfig(
            features=state["movement_encoder.main.0.weight"].shape[1] + 4,
            movement_width=state["movement_encoder.main.0.weight"].shape[0],
            movement_dim=state["movement_encoder.main.3.weight"].shape[0],
            motion_width=state["motion_encoder.input_emb.weight"].shape[0],
            text_width=state["text_encoder.input_emb.weight"].shape[0],
            embedding=state["motion_encoder.output_net.3.weight"].shape[0],
            word_dim=state["text_encoder.input_emb.weight"].shape[1],
            tags=state["text_encoder.pos_emb.weight"].shape[1],
        )
    except KeyError as missing:
        raise CheckpointError(f"this is no official text-to-motion evaluator: it has no {missing}") from None
    modules = {
        "movement_encoder.main.0": "movement.first",
        "movement_encoder.main.3": "movement.second",
        "movement_encoder.out_net": "movement.out",
        "text_encoder.pos_emb": "tag",
    }
    for part in ("motion", "text"):
        modules |= {f"{part}_encoder.gru": f"{part}.gru", f"{part}_encoder.input_emb": f"{part}.embed"}
        modules |= {f"{part}_encoder.output_net.{layer}": f"{part}.head.{layer}" for layer in (0, 1, 3)}
    starts = {f"{part}_encoder.hidden": f"{part}.start" for part in ("motion", "text")}
    renamed, unknown = {}, []
    for key, value in state.items():
        module, _, leaf = key.rpartition(".")
        if key in starts:
            renamed[starts[key]] = value
        elif module in modules:
            renamed[f"{modules[module]}.{leaf}"] = value
        else:
            unknown.append(key)
    if unknown:
        raise CheckpointError(f"unknown keys in the official evaluator: {', '.join(sorted(unknown))}")
    return config, renamed


def split_tokenizer(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of the tokenizer that an official transformer file holds."""
    prefix = "trans_base.vqvae."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _embedding_from_official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the learned part of the official token vectors under our names."""
    return {
        "special.weight": state["trans_base.learn_tok_emb.weight"],
        "project.weight": state["trans_base.to_emb.weight"],
        "project.bias": state["trans_base.to_emb.bias"],
    }


def _trunk_from_official(
    state: dict[str, Tensor], heads: int | None, code_dim: int
) -> tuple[MaskedConfig, dict[str, Tensor]]:
    """Turn everything but the token vectors of an official transformer into ours."""
    if "trans_base.word_emb.weight" not in state:
        raise CheckpointError(
            "this transformer has no attention to words: it is older than MMM's release; get the released one"
        )
    blocks = {
        part: len({key.split(".")[2] for key in state if key.startswith(part + ".")})
        for part in ("trans_base.cross_att", "trans_base.blocks", "trans_head.blocks")
    }
    words, base, head = blocks.values()
    codes, width = state["trans_head.head.weight"].shape
    config = MaskedConfig(
        codes=codes,
        max_tokens=len(state["trans_base.pos_embed.embed"]) - 2,
        width=width,
        heads=heads or max(width // 64, 1),
        layers=base + head,
        word_layers=words,
        mlp_ratio=state["trans_base.blocks.0.mlp.0.weight"].shape[0] // width,
        sentence_dim=state["trans_base.cond_emb.weight"].shape[1],
        word_dim=state["trans_base.word_emb.weight"].shape[1],
        embedding="codebook",
        code_dim=code_dim,
        positions="sine_twice",
        end_token=True,
        null_text=False,
        length_embedding=False,
    )
    first = {"trans_base.cross_att": 0, "trans_base.blocks": words, "trans_head.blocks": words + base}
    renamed, unknown = {}, []
    for key, value in state.items():
        if key.startswith(("trans_base.vqvae.", "trans_base.learn_tok_emb.", "trans_base.to_emb.")):
            continue
        if key == "trans_base.pos_embedding.weight" or re.fullmatch(r"trans_base\.cross_att\.\d+\.attn\.mask", key):
            continue
        name = _trunk_name(key, first)
        if name is None:
            unknown.append(key)
        else:
            renamed[f"trunk.{name}"] = value[:, 0] if name == "positions" else value
    if unknown:
        raise CheckpointError(f"unknown keys in the official transformer: {', '.join(sorted(unknown))}")
    return config, renamed


def _trunk_name(key: str, first: dict[str, int]) -> str | None:
    """Return our name of an official transformer parameter; None when it has no place in our model."""
    module, _, leaf = key.rpartition(".")
    fixed = {
        "trans_base.cond_emb": "sentence",
        "trans_base.word_emb": "words",
        "trans_head.ln_f": "norm",
        "trans_head.head": "head",
    }
    if key == "trans_base.pos_embed.embed":
        return "positions"
    if module in fixed:
        return f"{fixed[module]}.{leaf}"
    found = re.fullmatch(r"(trans_\w+\.\w+)\.(\d+)\.(ln1|ln2|ln3|mlp\.[02]|attn\.(?:key|query|value|proj))\.(\w+)", key)
    if found is None or found[1] not in first:
        return None
    block, inner = first[found[1]] + int(found[2]), found[3]
    to_words = found[1] == "trans_base.cross_att"
    names = {"ln1": "norm_cross" if to_words else "norm_self", "ln2": "norm_mlp", "ln3": "norm_words"}
    attention = "cross_attention." if to_words else "self_attention."
    inner = names.get(inner, inner.replace("attn.", attention))
    return f"blocks.{block}.{inner}.{found[4]}"

"""Training loss of the music tokenizer, and Jukebox's official weights under our names.

Shapes: ``B`` clips, ``S`` samples.

Sources: Jukebox (arXiv 2005.00341), section 3.2, for spectral losses at several scales; Parallel WaveGAN (arXiv
1910.11480), section 2.2, for the terms: spectral convergence and log magnitude.
"""

import re
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from motionloom.errors import CheckpointError, RequestError
from motionloom.models.tokenizers.music import MusicOutput, MusicTokenizerConfig

SCALES = ((2048, 240, 1200), (1024, 120, 600), (512, 50, 240))
"""Size of the transform, hop and window [samples]: those of Jukebox."""
_QUIET = 1e-5


@dataclass(frozen=True)
class MusicLosses:
    """Terms of the loss.

    Attributes:
        total: What is minimised.
        samples: Mean squared error of the samples.
        spectral: Mean over the scales of the error of the spectra.
        commitment: Mean squared distance between latents and codes.
    """

    total: Float[Tensor, ""]
    samples: Float[Tensor, ""]
    spectral: Float[Tensor, ""]
    commitment: Float[Tensor, ""]


def music_loss(
    output: MusicOutput, target: Float[Tensor, "B S2"], spectral: float = 1.0, commitment: float = 0.02
) -> MusicLosses:
    """Training loss: samples, spectra at three scales, commitment.

    Args:
        output: Of the tokenizer on ``target``.
        target: The sound; what has no token is left out.
        spectral: Weight of the spectra.
        commitment: Weight of the commitment.
    """
    target = target[:, : output.reconstruction.shape[1]]
    samples = F.mse_loss(output.reconstruction, target)
    spectra = spectral_loss(output.reconstruction, target)
    total = samples + spectral * spectra + commitment * output.commitment
    return MusicLosses(total, samples, spectra, output.commitment)


def spectral_loss(
    made: Float[Tensor, "B S"], target: Float[Tensor, "B S"], scales: tuple[tuple[int, int, int], ...] = SCALES
) -> Float[Tensor, ""]:
    """How far magnitude spectra differ: spectral convergence plus log magnitude, the mean over clips and scales.

    Raises:
        RequestError: The clips are shorter than the largest transform.
    """
    largest = max(size for size, _, _ in scales)
    if made.shape[1] < largest:
        raise RequestError(f"clips have {made.shape[1]} samples; spectra need {largest}: train on longer clips")
    terms = []
    for size, hop, window in scales:
        shape = torch.hann_window(window, device=made.device)
        ours, want = (
            torch.stft(x.float(), size, hop, window, shape, return_complex=True).abs().clamp(min=_QUIET)
            for x in (made, target)
        )
        convergence = (want - ours).norm(dim=(1, 2)) / want.norm(dim=(1, 2))
        terms.append(convergence.mean() + F.l1_loss(ours.log(), want.log()))
    return torch.stack(terms).mean()


def music_from_official(state: dict[str, Tensor], level: int = 2) -> tuple[MusicTokenizerConfig, dict[str, Tensor]]:
    """Turn one level of Jukebox's VQ-VAE (D2M-GAN's copy is the same network) into ours.

    Sizes are read from the weights. The other levels are left out; every key of this one must be known.

    Args:
        state: The official state dict, with or without a prefix such as ``module.``.
        level: 2 is the top level (hop 128), the one that M3GPT uses.

    Raises:
        CheckpointError: The level is missing, or holds keys that are unknown.
    """
    found = next((re.match(r"(.*?)encoders\.", key) for key in state if "encoders." in key), None)
    start = found[1] if found else ""
    state = {key.removeprefix(start): value for key, value in state.items()}
    wanted = re.compile(rf"(encoders|decoders|bottleneck\.level_blocks)\.{level}\.")
    mine = {key: value for key, value in state.items() if wanted.match(key)}
    try:
        codebook = mine[f"bottleneck.level_blocks.{level}.k"]
    except KeyError as missing:
        raise CheckpointError(f"this is no official music tokenizer: it has no {missing}") from None
    strided = re.compile(rf"encoders\.{level}\.level_blocks\.(\d+)\.model\.(\d+)\.0\.weight")
    places = sorted((int(m[1]), int(m[2])) for m in map(strided.fullmatch, mine) if m)
    groups = tuple(sum(stage == i for stage, _ in places) for i in range(len({stage for stage, _ in places})))
    convs = [mine[f"encoders.{level}.level_blocks.{stage}.model.{i}.0.weight"] for stage, i in places]
    depth = len(
        {
            m[1]
            for m in map(
                re.compile(rf"encoders\.{level}\.level_blocks\.0\.model\.0\.1\.model\.(\d+)\..*").fullmatch, mine
            )
            if m
        }
    )
    config = MusicTokenizerConfig(
        strides=tuple(conv.shape[2] // 2 for conv in convs),
        widths=tuple(len(conv) for conv in convs),
        groups=groups,
        depth=depth,
        codes=codebook.shape[0],
        code_dim=codebook.shape[1],
        reset="every_step",
    )
    renamed, unknown = {}, []
    for key, value in mine.items():
        name = _ours(key, level, groups)
        if name is None:
            unknown.append(key)
        elif name:
            renamed[name] = value
    if unknown:
        raise CheckpointError(f"unknown keys in the official music tokenizer: {', '.join(sorted(unknown))}")
    sums, counts = (state.get(f"bottleneck.level_blocks.{level}.{name}") for name in ("k_sum", "k_elem"))
    renamed |= {
        "quantizer.codebook": codebook,
        "quantizer.sums": codebook if sums is None else sums,
        "quantizer.counts": torch.ones(len(codebook)) if counts is None else counts,
        "quantizer.usage": torch.zeros(len(codebook)),
        "quantizer.initialised": torch.tensor(True),
        "quantizer.step": torch.tensor(0),
        "quantizer.since_reset": torch.tensor(0),
    }
    return config, renamed


def _ours(key: str, level: int, groups: tuple[int, ...]) -> str | None:
    """Our name of an official parameter; empty for the codebook's, None when it has no place in our model."""
    if re.fullmatch(rf"bottleneck\.level_blocks\.{level}\.(k|k_sum|k_elem)", key):
        return ""
    out = re.fullmatch(rf"decoders\.{level}\.out\.(weight|bias)", key)
    if out:
        return f"out.{out[1]}"
    found = re.fullmatch(
        rf"(encoders|decoders)\.{level}\.level_blocks\.(\d+)\.model\.(\d+)(?:\.([01]))?(.*)\.(weight|bias)", key
    )
    if found is None or int(found[2]) >= len(groups):
        return None
    stage, place, leaf = int(found[2]), int(found[3]), found[6]
    block = re.fullmatch(r"\.model\.(\d+)\.model\.([13])", found[5])
    if found[5] and block is None:
        return None
    inner = "" if block is None else f".{block[1]}.conv{1 if block[2] == '1' else 2}"
    if found[1] == "encoders":
        # Theirs nests (convolution, residuals) by stride and ends with a convolution; ours is one row.
        if found[4] is None:
            return f"encoder.{stage}.{2 * groups[stage]}.{leaf}" if place == groups[stage] else None
        return f"encoder.{stage}.{2 * place + int(found[4])}{inner}.{leaf}"
    ours = len(groups) - 1 - stage
    if found[4] is None:
        return f"decoder.{ours}.0.{leaf}" if place == 0 else None
    return f"decoder.{ours}.{2 * place - 1 + int(found[4])}{inner}.{leaf}"

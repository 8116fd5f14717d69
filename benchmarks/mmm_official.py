"""MMM's official code and ours side by side: same weights, same clips, same threads, taking turns.

Nothing of the official code is here (its licence, CC BY-NC-ND 4.0, does not allow it): it is imported from a folder
into which its user has cloned it.
"""

import importlib
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from benchmarks.mmm import WORDS, share, variants
from motionloom.app.clock import machine, size, time_jobs
from motionloom.engines.threads import using_threads
from motionloom.errors import RequestError
from motionloom.models.masked.model import MaskedConfig, MaskedTransformer
from motionloom.models.masked.official import masked_from_official, split_tokenizer, tokenizer_from_official
from motionloom.models.masked.sampling import sample_published
from motionloom.models.tokenizers.motion import MotionTokenizer, TokenizerConfig

ADDRESS = "https://github.com/exitudio/MMM"
_FILES = ("models/vqvae.py", "models/t2m_trans.py", "models/quantize_cnn.py", "exit/utils.py")
_TOP = {"models", "exit", "utils", "options", "dataset"}
"""Top-level packages of the clone; names that others use too."""


def bench_official(
    clone: Path,
    frames: int = 196,
    clips: int = 32,
    repeats: int = 3,
    threads: int = 2,
    bf16: bool | None = None,
    seed: int = 0,
    masked: MaskedConfig | None = None,
    tokenizer: TokenizerConfig | None = None,
) -> dict[str, Any]:
    """Time MMM's official code and ours on the same random weights, sentences and words, most probable tokens.

    Three cases: one clip; a batch of clips of that length; and a batch whose lengths are spread as HumanML3D's
    (2 s to 9.8 s, 7.2 s in the mean, a third of them the longest; its paper says 7.1 s). Both run the ten steps of
    the published schedule, in float32, and decode the tokens; the text encoder is not part of it.

    Args:
        clone: Folder with the official code.
        frames: Length of the clips.
        clips: Clips of a batch; 1 leaves the batches out.
        repeats: Runs of the single clip, after one that is not counted; batches take minutes and run once each.
        threads: Threads of torch.
        bf16: Time bfloat16 as well: where the processor has instructions for it (None), always, or never.
        seed: Of the random weights and vectors.
        masked: Sizes of the transformer; the published ones when left out.
        tokenizer: Sizes of the tokenizer; the published ones when left out.

    Returns:
        For each case the times of ``official`` and of ours in ``fp32``, ``bf16`` and ``int8``; with ours, ``faster``
        (official over ours, CPU and wall) and ``equal_tokens``, the share that is the official code's; with fp32
        also the largest difference of the decoded features.

    Raises:
        RequestError: The folder is no such clone or cannot be imported, or the sizes are out of range.
    """
    masked, tokenizer = masked or MaskedConfig.published(), tokenizer or TokenizerConfig.published()
    longest = 4 * masked.max_tokens
    if not 40 <= frames <= longest or frames % 4 or clips < 1:
        raise RequestError(
            f"{clips} clips of {frames} frames; give at least one, of 40 to {longest} frames, a multiple of 4"
        )
    torch.manual_seed(seed)
    official = _official(clone, masked, tokenizer)
    state = official.state_dict()
    config, weights = masked_from_official(state, masked.heads)
    model = MaskedTransformer(config).eval()
    model.load_state_dict(weights, assign=True)
    config, weights = tokenizer_from_official(split_tokenizer(state))
    decoder = MotionTokenizer(config).eval()
    decoder.load_state_dict(weights)
    cases = {"one clip": torch.full((1,), frames)}
    if clips > 1:
        cases["batch, full length"] = torch.full((clips,), frames)
        cases["batch, lengths like HumanML3D's"] = humanml3d_like(clips, seed).clamp(max=frames)
    with using_threads(threads):
        result: dict[str, Any] = {
            "benchmark": "mmm beside its official code",
            "machine": machine(),
            "seed": seed,
            "steps": 10,
            "repeats": {"one clip": repeats, "batches": 1},
            "parameters": {"masked": size(model), "tokenizer": size(decoder)},
        }
        ours = variants(model, bf16)
        for name, lengths in cases.items():
            result[name] = _compare(official, ours, decoder, masked, lengths, repeats if len(lengths) == 1 else 0)
    return result


def _compare(
    official: Any,
    ours: dict[str, MaskedTransformer | str],
    decoder: MotionTokenizer,
    config: MaskedConfig,
    lengths: Tensor,
    repeats: int,
) -> dict[str, Any]:
    """Times and agreement on clips of some lengths [frames]."""
    tokens = lengths // 4
    sentence = torch.randn(len(lengths), config.sentence_dim)
    words = torch.randn(len(lengths), WORDS, config.word_dim)
    found: dict[str, Tensor] = {}
    motions: dict[str, list[Tensor]] = {}

    @torch.no_grad()
    def theirs() -> None:
        ids = found["official"] = official.sample(sentence, words, lengths, rand_pos=False)
        # One by one, as the official scripts decode.
        decode = official.trans_base.vqvae
        motions["official"] = [
            decode(row[None, :count], type="decode")[0] for row, count in zip(ids, tokens.tolist(), strict=True)
        ]

    @torch.no_grad()
    def our(name: str, network: MaskedTransformer) -> None:
        kind = torch.bfloat16 if name == "bf16" else torch.float32
        ids = found[name] = sample_published(network, tokens, sentence.to(kind), words.to(kind))
        decoded = decoder.decode(ids[:, : int(tokens.max())], tokens)
        motions[name] = [row[:count] for row, count in zip(decoded, lengths.tolist(), strict=True)]

    networks = {name: network for name, network in ours.items() if isinstance(network, MaskedTransformer)}
    jobs = {"official": theirs}
    jobs |= {name: (lambda name=name, network=network: our(name, network)) for name, network in networks.items()}
    spent = time_jobs(jobs, repeats or 1, warm_up=repeats > 0)
    motion = torch.arange(found["official"].shape[1]) < tokens[:, None]
    result: dict[str, Any] = {
        "clips": len(lengths),
        "mean_frames": round(float(lengths.float().mean()), 1),
        "official": spent["official"],
    }
    for name, network in ours.items():
        if isinstance(network, str):
            result[name] = network
            continue
        faster = {kind: round(spent["official"][kind]["min"] / spent[name][kind]["min"], 2) for kind in spent[name]}
        equal = share(found[name][motion] == found["official"][motion])
        result[name] = {**spent[name], "faster": faster, "equal_tokens": equal}
        if name == "fp32":
            pairs = zip(motions[name], motions["official"], strict=True)
            result[name]["largest_difference"] = max(float((a - b).abs().max()) for a, b in pairs)
    return result


def humanml3d_like(clips: int, seed: int) -> Tensor:
    """Lengths in frames, multiples of 4: a third 196, the others evenly from 40 to 196, in random order."""
    spread = torch.linspace(40, 196, clips - clips // 3) // 4 * 4
    lengths = torch.cat((spread, torch.full((clips // 3,), 196.0))).long()
    return lengths[torch.randperm(clips, generator=torch.Generator().manual_seed(seed))]


@contextmanager
def official_modules(clone: Path) -> Iterator[SimpleNamespace]:
    """The official modules ``vqvae`` and ``t2m_trans``, imported from a clone; nothing of it stays imported.

    What it imports for drawing and does not need here is stood in for where it is not installed.

    Raises:
        RequestError: The folder is no clone of the official code, or its code cannot be imported.
    """
    missing = [name for name in _FILES if not (clone / name).is_file()]
    if missing:
        raise RequestError(f"{clone} is no clone of MMM's code, {missing[0]} is missing: git clone {ADDRESS}")
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in _TOP}
    stand_ins = {
        name: module
        for name, module in _stand_ins().items()
        if name not in sys.modules and find_spec(name.partition(".")[0]) is None
    }
    sys.modules.update(stand_ins)
    sys.path.insert(0, str(clone.resolve()))
    try:
        yield SimpleNamespace(
            vqvae=importlib.import_module("models.vqvae"), t2m_trans=importlib.import_module("models.t2m_trans")
        )
    except ImportError as error:
        raise RequestError(f"the official code in {clone} cannot be imported: {error}") from None
    finally:
        sys.path.remove(str(clone.resolve()))
        for name in [name for name in sys.modules if name in stand_ins or name.partition(".")[0] in _TOP]:
            del sys.modules[name]
        sys.modules.update(kept)


def _stand_ins() -> dict[str, ModuleType]:
    """Modules that the official code imports; of them, sampling uses one function, to drop a last axis of one."""

    def rearrange(x: Tensor, pattern: str) -> Tensor:
        if pattern != "... 1 -> ...":
            raise RequestError(f"the official code rearranges {pattern!r}: pip install einops")
        return x.squeeze(-1)

    modules = {name: ModuleType(name) for name in ("einops", "plotly", "plotly.graph_objects", "tqdm")}
    vars(modules["einops"]).update(rearrange=rearrange, repeat=None)
    vars(modules["plotly"]).update(graph_objects=modules["plotly.graph_objects"])
    vars(modules["tqdm"]).update(tqdm=None)
    return modules


def _official(clone: Path, masked: MaskedConfig, tokenizer: TokenizerConfig) -> nn.Module:
    """The official transformer with its tokenizer inside, random weights, on the CPU."""
    # Its constructors ask for a GPU.
    with official_modules(clone) as code, patch.object(torch.Tensor, "cuda", lambda tensor, *_, **__: tensor):
        options = Namespace(quantizer="ema_reset", dataname="t2m", mu=tokenizer.decay)
        coder = code.vqvae.HumanVQVAE(
            options, tokenizer.codes, tokenizer.code_dim, tokenizer.width, tokenizer.levels, 2, tokenizer.width,
            tokenizer.depth, tokenizer.dilation_growth,
        )  # fmt: skip
        network = code.t2m_trans.Text2Motion_Transformer(
            coder, num_vq=masked.codes, embed_dim=masked.width, clip_dim=masked.sentence_dim,
            block_size=masked.slots + 1, num_layers=(masked.layers + masked.word_layers) // 2,
            num_local_layer=masked.word_layers, n_head=masked.heads, drop_out_rate=masked.dropout,
            fc_rate=masked.mlp_ratio,
        )  # fmt: skip
    coder.vqvae.quantizer.codebook.normal_()
    return network.eval()

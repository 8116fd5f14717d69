"""LMM's official code and ours side by side: same weights, same clip, same threads, taking turns.

Nothing of the official code is here (its release has no licence): it is imported from a folder into which its user has
cloned it, and the library of its experts, tutel, from another one, built for the CPU. Of what both import and a pass
through the network does not need, stand-ins take the place.
"""

import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.mmm import NO_BF16, NOT_ASKED
from motionloom.app.clock import has_bf16, machine, size, time_jobs
from motionloom.engines.lmm.denoiser import LMMOptions
from motionloom.engines.threads import using_threads
from motionloom.errors import RequestError
from motionloom.models.diffusion.config import Clips, Condition, DiffusionConfig
from motionloom.models.diffusion.model import DiffusionTransformer
from motionloom.models.diffusion.official import diffusion_from_official
from motionloom.models.diffusion.sampling import Guidance, GuidedModel, sample
from motionloom.models.diffusion.schedule import Method, NoiseSchedule
from motionloom.motion.skeleton import PARTS

ADDRESS = "https://github.com/mingyuan-zhang/LMM"
TUTEL = "https://github.com/microsoft/tutel"
BUILD = "NO_CUDA=1 python setup.py build_ext --inplace"
_FILES = tuple(
    f"mogen/models/{name}.py"
    for name in ("builder", "attentions/art_attention", "attentions/efficient_attention",
                 "transformers/large_motion_model", "transformers/motion_transformer")
)  # fmt: skip
_PACKAGES = ("mogen", "mogen.models", "mogen.models.attentions", "mogen.models.transformers", "mogen.models.utils")
_TOP = {"mogen", "mmcv", "clip", "tutel", "tutel_custom_kernel"}
_WORDS = 77
"""Tokens of a text of ImageBind's encoder."""
_FPS = 20.0
_SCALE = 10.5
"""Guidance of the released tiny model."""
_STEP = 500
"""The noise step at which passes are compared."""


def bench_official_lmm(
    clone: Path,
    tutel: Path,
    frames: int = 200,
    repeats: int = 3,
    threads: int = 2,
    bf16: bool | None = None,
    seed: int = 0,
    config: DiffusionConfig | None = None,
) -> dict[str, Any]:
    """Time LMM's official network and ours on the same random weights, one clip with a text and its guidance twin.

    A pass is timed on both, taking turns. The official 50 steps are not run: they are said as its reading of the text
    once and 50 times its least pass, without the arithmetic of its sampler; ours are run whole.

    Args:
        clone: Folder with the official code.
        tutel: Folder with tutel's code, built for the CPU.
        frames: Length of the clip.
        repeats: InferenceCache of each, after one that is not counted; our 50 steps are run once.
        threads: Threads of torch.
        bf16: Time bfloat16 as well: where the processor has instructions for it (None), always, or never.
        seed: Of the random weights, the noise and the text's vectors.
        config: Sizes; those of the released tiny model when left out.

    Returns:
        ``pass`` with the times of ``official``, ``ours``, ``ours, bounded experts`` (the published bound on experts,
        under which a result depends on its batch) and ``bf16``, ours with ``faster`` (official over ours, CPU and
        wall) and ``difference`` (largest difference from the official output over its spread); ``50 ddim steps``,
        ``10 dpm steps`` and those with guidance above a share of the noise alone, with times and ``faster``.

    Raises:
        RequestError: A folder is no such clone or cannot be imported, or the sizes are out of range.
    """
    config = config or DiffusionConfig.published("tiny")
    if not 2 <= frames <= config.max_frames:
        raise RequestError(f"{frames} frames were asked for; give 2 to {config.max_frames}")
    torch.manual_seed(seed)
    official = build_official(clone, tutel, config)
    found, state = diffusion_from_official(official.state_dict(), config.top_k)
    bounded = _ours(replace(found, drops=True), state)
    free = _ours(replace(found, drops=False), state)
    noise, text = torch.randn(1, frames, found.features), torch.randn(1, _WORDS, config.text_dim)
    schedule, which = NoiseSchedule.linear(), config.datasets.index(_dataset(config))
    clips = replace(Clips.whole(torch.tensor([frames]), _FPS), dataset=torch.tensor([which]))
    conditions = {"text": Condition(text, torch.tensor([True]))}
    guidance = Guidance.published(_SCALE)
    outputs: dict[str, Tensor] = {}
    theirs = official_pass(official, noise, text, _dataset(config))

    def read() -> None:
        outputs["text"] = theirs.read()

    def run_official() -> None:
        outputs["official"] = theirs.run(_STEP)

    def our_pass(name: str, network: DiffusionTransformer) -> Callable[[], None]:
        with torch.no_grad(), _precision(name):
            passes = GuidedModel(network, clips, conditions, [_STEP], len(schedule), guidance)

        @torch.no_grad()
        def run() -> None:
            with _precision(name):
                outputs[name] = passes(noise, 0)

        return run

    def make(steps: tuple[int, ...], method: Method, guided: Guidance = guidance) -> None:
        sample(free, schedule, clips, conditions, [seed], steps, method, guided)

    reduced = bf16 or (bf16 is None and has_bf16())
    networks = {"ours": free, "ours, bounded experts": bounded} | ({"bf16": free} if reduced else {})
    with using_threads(threads):
        reading = time_jobs({"read": read}, repeats)["read"]
        jobs = {"official": run_official, **{name: our_pass(name, network) for name, network in networks.items()}}
        spent = time_jobs(jobs, repeats)
        spent.pop("all")
        passes: dict[str, Any] = {"official": spent.pop("official"), "official, text once": reading}
        for name, times in spent.items():
            passes[name] = {
                **times,
                "faster": _ratio(passes["official"], times),
                "difference": difference(outputs[name], outputs["official"]),
            }
        if not reduced:
            passes["bf16"] = NO_BF16 if bf16 is None else NOT_ASKED
        fifty = schedule.sections()
        told = {kind: reading[kind]["min"] + len(fifty) * passes["official"][kind]["min"] for kind in reading}
        official_steps = {kind: {"min": round(value, 3), "median": round(value, 3)} for kind, value in told.items()}
        own = time_jobs({"run": lambda: make(fifty, "ddim")}, 1, warm_up=False)["run"]
        whole = {
            "official": official_steps,
            "official is": f"its text once and {len(fifty)} of its least passes; not run",
            "ours": {**own, "faster": _ratio(official_steps, own)},
        }
        few, share = schedule.spaced(10, "noise"), LMMOptions().guided_from
        partly = replace(guidance, span=(share, 1.0))
        fast = time_jobs({"whole": lambda: make(few, "dpm"), "partly": lambda: make(few, "dpm", partly)}, repeats)
        return {
            "benchmark": "lmm beside its official code",
            "machine": machine(),
            "seed": seed,
            "frames": frames,
            "repeats": repeats,
            "parameters": size(free),
            "pass": passes,
            "50 ddim steps": whole,
            **{
                name: {"ours": {**fast[kind], "faster than 50 official steps": _ratio(official_steps, fast[kind])}}
                for name, kind in (("10 dpm steps", "whole"), (f"10 dpm steps, guided above {share:g}", "partly"))
            },
        }


def difference(ours: Float[Tensor, "B T 669"], theirs: Float[Tensor, "B T 669"]) -> float:
    """Largest difference of two outputs over the spread of the second."""
    return float((ours.float() - theirs).abs().max() / theirs.std())


def _ratio(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, float]:
    return {kind: round(theirs[kind]["min"] / ours[kind]["min"], 2) for kind in ("cpu_s", "wall_s")}


@contextmanager
def _precision(name: str) -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16, enabled=name == "bf16"):
        yield


def _ours(config: DiffusionConfig, state: Mapping[str, Tensor]) -> DiffusionTransformer:
    network = DiffusionTransformer(config).eval()
    network.load_state_dict(state, assign=True)
    return network


def _dataset(config: DiffusionConfig) -> str:
    """A dataset with texts, where there are the released ones."""
    return "humanml3d_t2m" if "humanml3d_t2m" in config.datasets else config.datasets[0]


def official_pass(official: Any, noise: Float[Tensor, "1 T 669"], text: Tensor, dataset: str) -> SimpleNamespace:
    """The official network as two calls without arguments but the step: ``read`` the text, and ``run`` a pass."""
    frames = noise.shape[1]
    given = torch.ones(1, 1)
    meta = {"meta_data": {"framerate": _FPS, "dataset_name": dataset, "rotation_type": "h3d_rot"}}
    kept: dict[str, Tensor] = {}

    @torch.no_grad()
    def read() -> Tensor:
        kept.update(official.get_precompute_condition(text_word_feat=text, text_cond=given))
        return kept["text_word_out"]

    @torch.no_grad()
    def run(step: int) -> Tensor:
        return official(
            motion=noise, timesteps=torch.tensor([step]), motion_mask=torch.ones(1, frames, len(PARTS)),
            motion_length=torch.tensor([[frames]]), motion_metas=[meta], text_word_feat=text, text_cond=given, **kept,
        )  # fmt: skip

    read()
    return SimpleNamespace(read=read, run=run)


def build_official(clone: Path, tutel: Path, config: DiffusionConfig) -> nn.Module:
    """The official network on the CPU, in eval mode, random weights everywhere.

    Raises:
        RequestError: See ``official_modules``.
    """
    attention = {
        "type": "ArtAttention", "num_experts": config.experts, "topk": config.top_k, "gate_type": "cosine_top",
        "gate_noise": 1.0, "num_datasets": len(config.datasets), "has_text": True, "has_music": True,
        "has_speech": True, "has_video": True,
    }  # fmt: skip
    with official_modules(clone, tutel) as code:
        network = code.LargeMotionModel(
            input_feats=config.features, max_seq_len=config.max_frames, num_parts=len(PARTS),
            latent_part_dim=config.part_dim, time_embed_dim=config.time_dim, dataset_names=list(config.datasets),
            num_layers=config.layers, num_cond_layers=config.condition_layers, num_datasets=len(config.datasets),
            dropout=0, ca_block_cfg=attention, text_input_dim=config.text_dim, music_input_dim=config.music_dim,
            speech_input_dim=config.speech_dim, video_input_dim=config.video_dim, use_pos_embedding=False,
            guidance_cfg={_dataset(config): {"type": "linear", "scale": _SCALE}},
        )  # fmt: skip
    with torch.no_grad():
        for parameter in network.parameters():
            # Some start as zeros, so that an untrained network gives nothing that could be compared.
            if not bool(parameter.any()):
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
    return network.eval()


@contextmanager
def official_modules(clone: Path, tutel: Path) -> Iterator[Any]:
    """The official module of the network, imported from a clone; its packages' other modules are not run.

    What it has imported stays usable; nothing of it stays importable.

    Raises:
        RequestError: A folder is no clone of the code, or its code cannot be imported.
    """
    missing = [name for name in _FILES if not (clone / name).is_file()]
    if missing:
        raise RequestError(f"{clone} is no clone of LMM's code, {missing[0]} is missing: git clone {ADDRESS}")
    if not (tutel / "tutel/moe.py").is_file():
        raise RequestError(f"{tutel} is no clone of tutel, tutel/moe.py is missing: git clone {TUTEL}")
    if not list(tutel.glob("tutel_custom_kernel*")):
        raise RequestError(f"{tutel} is not built, tutel_custom_kernel is missing; run there: {BUILD}")
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in _TOP}
    for name in before:
        del sys.modules[name]
    sys.modules.update(_stand_ins(clone))
    sys.path.insert(0, str(tutel.resolve()))
    level = logging.root.level
    # tutel tells its capacity at each pass, and may bind the process to some cores.
    logging.root.setLevel(logging.ERROR)
    try:
        with patch.dict(os.environ, {"NUMA_TYPE": "0"}):
            for name in ("efficient_attention", "art_attention"):
                importlib.import_module(f"mogen.models.attentions.{name}")
            yield importlib.import_module("mogen.models.transformers.large_motion_model")
    except ImportError as error:
        raise RequestError(f"the official code in {clone} cannot be imported: {error}") from None
    finally:
        logging.root.setLevel(level)
        sys.path.remove(str(tutel.resolve()))
        for name in [name for name in sys.modules if name.partition(".")[0] in _TOP]:
            del sys.modules[name]
        sys.modules.update(before)


class _Registry:
    """What registers the official modules by name and builds them from their settings."""

    def __init__(self, name: str = "", **_: Any) -> None:
        self.name = name
        self.known: dict[str, type] = {}

    def register_module(self, **_: Any) -> Callable[[type], type]:
        """Register a class under its own name."""

        def add(kind: type) -> type:
            self.known[kind.__name__] = kind
            return kind

        return add

    def build(self, settings: Mapping[str, Any] | None) -> Any:
        """Build what ``type`` names; None from None."""
        if settings is None:
            return None
        given = dict(settings)
        return self.known[given.pop("type")](**given)


class _Module(nn.Module):
    """A module that may be given how it is to be initialised, and is not."""

    def __init__(self, init_cfg: object = None) -> None:
        super().__init__()


def _stand_ins(clone: Path) -> dict[str, ModuleType]:
    """Packages without their own code, so that only what is asked for is imported; and what it imports in turn."""
    modules = {name: ModuleType(name) for name in (*_PACKAGES, "mmcv", "mmcv.cnn", "mmcv.utils", "mmcv.runner")}
    for name in _PACKAGES:
        modules[name].__path__ = [str(clone.resolve() / name.replace(".", "/"))]
    vars(modules["mmcv.cnn"]).update(MODELS=_Registry())
    vars(modules["mmcv.utils"]).update(Registry=_Registry)
    vars(modules["mmcv.runner"]).update(BaseModule=_Module)
    if find_spec("clip") is None:
        modules["clip"] = ModuleType("clip")
    return modules

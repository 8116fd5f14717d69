"""M3GPT: how fast answers are written, beside ``transformers`` with the same weights, and how fast the engine is.

The network has the shape of the release (flan-T5-base with 34,666 rows, 305 million parameters) and random weights;
how long it takes does not depend on them.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmarks.mmm import share
from motionloom.app.clock import has_bf16, machine, size, time_jobs
from motionloom.engines.m3gpt.engine import M3GPT
from motionloom.engines.threads import using_threads
from motionloom.errors import RequestError
from motionloom.models.language.decoding import Decoder
from motionloom.models.language.model import MotionLM, MotionLMConfig
from motionloom.models.language.t5 import Precision

PIECES = 32_100
"""Text pieces of flan-T5."""
REFERENCE = (
    "transformers 5.23, same shape, 256 tokens, two quiet threads: 10.2 s wall in fp32, 4.9 s in bf16; measured"
    " elsewhere, not in this run"
)
NOT_ASKED = "not measured: not asked for"
NO_BF16 = "not measured: this processor has no bf16 instructions"
_SENTENCES = ("a person walks forward", "someone waves with the left hand", "an old man bows", "a woman turns around")


@dataclass(frozen=True)
class BenchM3GPTOptions:
    """What is timed, and how often."""

    tokens: int = 256
    """Motion tokens of an answer."""
    source: int = 20
    """Tokens of a prompt."""
    batch: int = 16
    """Prompts that are answered at once, beside one alone."""
    repeats: int = 2
    """Runs that count."""
    threads: int = 2
    """Threads of torch."""
    seed: int = 0
    """Of weights and prompts."""
    precisions: tuple[Precision, ...] = ("fp32", "bf16", "int8")
    """Which of ours are timed; bf16 only where the processor has instructions for it, or ``always_bf16``."""
    always_bf16: bool = False
    """Time bf16 without such instructions too."""
    transformers: bool = True
    """Whether ``transformers`` is timed too; half of the time that all takes."""
    engine: Path | None = None
    """Directory of an engine; the bundled one when left out."""
    seconds: float = 6.0
    """Length of the engine's motion [s]."""
    config: MotionLMConfig | None = field(default=None, repr=False)
    """Shape of the network; the release's when left out."""

    def __post_init__(self) -> None:
        if min(self.tokens, self.source - 1, self.batch, self.repeats, self.threads) < 1:
            raise RequestError(
                f"{self.tokens} tokens for prompts of {self.source}, batch {self.batch}, {self.repeats} repeats,"
                f" {self.threads} threads; each must be at least 1, a prompt at least 2"
            )
        unknown = sorted(set(self.precisions) - set(get_args(Precision)))
        if unknown or not self.precisions or self.precisions[0] != "fp32":
            raise RequestError(f"precisions are {self.precisions}; give fp32 first, then any of bf16 and int8")


def bench_m3gpt(options: BenchM3GPTOptions) -> dict[str, Any]:
    """Time greedy motion answers of an exact length, ours and those of ``transformers``, and the bundled engine.

    Both write only motion codes behind a forced start. Making a ``Decoder`` (once a process) is not counted.

    Args:
        options: What is timed.

    Returns:
        ``transformers`` and ``ours`` by precision, each with CPU and wall seconds for one prompt (``one``) and for the
        batch (``batch``), ``gain`` (tokens a second of the batch over those of one), the share of tokens equal to
        those of ``transformers`` and how many times faster it is; ``engine`` with a motion and a caption, warm. What
        was not measured is a sentence that says why.

    Raises:
        RequestError: The model reads fewer tokens than asked for, or torch has no int8 operators here.
        CheckpointError: The engine is none.
    """
    torch.manual_seed(options.seed)
    model = MotionLM(options.config or replace(published_shape(), max_tokens=options.tokens + 8)).eval()
    prompts = torch.randint(2, PIECES if options.config is None else 99, (options.batch, options.source))
    prompts[:, -1] = model.vocabulary.end
    with using_threads(options.threads):
        result: dict[str, Any] = {
            "benchmark": "m3gpt",
            "machine": machine(),
            **{name: value for name, value in asdict(options).items() if name not in ("engine", "config")},
            "precisions": list(options.precisions),
            "parameters": size(model),
            "reference": REFERENCE,
            "transformers": NOT_ASKED,
        }
        theirs: Int[Tensor, "B N"] | None = None
        if options.transformers:
            result["transformers"], theirs = _theirs(model, prompts, options)
        result["ours"] = {
            precision: _ours(model, precision, prompts, options, result["transformers"], theirs)
            if precision != "bf16" or options.always_bf16 or has_bf16()
            else NO_BF16
            for precision in options.precisions
        }
        del model
        result["engine"] = _engine(options)
    return result


def published_shape() -> MotionLMConfig:
    """Sizes of the release, with a text tokenizer of as many made-up words."""
    words = {"<pad>": 0, "</s>": 1, **{f"w{row}": row for row in range(2, PIECES)}}
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w2"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<pad>", "</s>"])
    return MotionLMConfig.published(tokenizer.to_str())


class _Only:
    """Lets ``transformers`` choose among motion codes; as little work a step as it can be."""

    def __init__(self, rows: int, codes: range) -> None:
        self.bias = torch.full((rows,), -torch.inf)
        self.bias[codes.start : codes.stop] = 0.0

    def __call__(self, ids: Int[Tensor, "B N"], logits: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        return logits + self.bias


def _theirs(
    model: MotionLM, prompts: Int[Tensor, "B S"], options: BenchM3GPTOptions
) -> tuple[dict[str, Any], Int[Tensor, "B N"]]:
    from transformers import LogitsProcessorList

    words = model.vocabulary
    only: Any = _Only(words.rows, words.codes("motion"))
    found: dict[int, Tensor] = {}

    def write(items: int) -> None:
        begin = torch.tensor([[words.pad, words.start("motion")]]).expand(items, -1)
        answer = model.network.generate(
            input_ids=prompts[:items],
            attention_mask=torch.ones_like(prompts[:items]),
            decoder_input_ids=begin,
            max_new_tokens=options.tokens,
            min_new_tokens=options.tokens,
            do_sample=False,
            num_beams=1,
            logits_processor=LogitsProcessorList([only]),
        )
        found[items] = answer[:, 2:] - words.codes("motion").start

    figures = _times(write, options)
    return figures, found[options.batch]


def _ours(
    model: MotionLM, precision: Precision, prompts: Int[Tensor, "B S"], options: BenchM3GPTOptions,
    theirs: dict[str, Any] | str, wanted: Int[Tensor, "B N"] | None,
) -> dict[str, Any]:  # fmt: skip
    writer = Decoder(model, precision)
    found: dict[int, Tensor] = {}

    def write(items: int) -> None:
        said = writer.write(list(prompts[:items]), "motion", max_codes=options.tokens, min_codes=options.tokens)
        found[items] = torch.stack(said.ids)

    figures = _times(write, options)
    figures["different_codes"] = len(set(found[options.batch].flatten().tolist()))
    if wanted is not None and not isinstance(theirs, str):
        figures["equal_tokens"] = share(found[options.batch] == wanted)
        for kind in ("one", "batch"):
            figures[f"times_faster_{kind}"] = {
                clock: round(theirs[kind][clock]["min"] / figures[kind][clock]["min"], 2)
                for clock in ("cpu_s", "wall_s")
            }
    return figures


def _times(write: Any, options: BenchM3GPTOptions) -> dict[str, Any]:
    one = time_jobs({"one": lambda: write(1)}, options.repeats)["all"]
    batch = time_jobs({"batch": lambda: write(options.batch)}, options.repeats)["all"]
    gain = {
        clock: round(options.batch * one[clock]["min"] / batch[clock]["min"], 2) for clock in ("cpu_s", "wall_s")
    }  # fmt: skip
    return {
        "one": one,
        "batch": batch,
        "tokens_per_s": round(options.tokens / one["wall_s"]["min"], 1),
        "gain": gain,
    }


def _engine(options: BenchM3GPTOptions) -> dict[str, Any]:
    folder = options.engine or Path(str(resources.files("motionloom") / "starter" / "m3gpt"))
    engine, sentences = M3GPT(folder), (f"{_SENTENCES[n % len(_SENTENCES)]}, take {n}" for n in count(1))
    motion = engine.generate(next(sentences), options.seconds, seed=options.seed)[0]
    jobs = {
        "motion": lambda: engine.generate(next(sentences), options.seconds, seed=options.seed),
        "caption": lambda: engine.describe(motion, count=1),
        "three_captions": lambda: engine.describe(motion, count=3),
    }
    times = {name: time_jobs({name: job}, options.repeats)["all"] for name, job in jobs.items()}
    sizes = {path.parent.name: json.loads(path.read_text())["kind"] for path in sorted(folder.glob("*/config.json"))}
    return {"seconds": options.seconds, "models": sizes, **times}

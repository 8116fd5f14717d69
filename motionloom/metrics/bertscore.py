"""BERTScore (Zhang et al., ICLR 2020): captions against references by the word states of a language model on disk.

Motion-to-text reports the F1 of RoBERTa-large, layer 17, with idf weights, rescaled (MotionGPT, M3GPT):
:data:`ROBERTA_LARGE`. Its weights are not part of this package and nothing is downloaded. Figures of another model or
layer mean something else; every result names both. Captions go in as they are written, not as PTB tokens.
"""

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import RequestError


@dataclass(frozen=True)
class BertModel:
    """Which word states are compared, and what counts as 0 afterwards.

    Attributes:
        name: Name in results.
        layer: Number of transformer layers that are run.
        baseline: F1 of unrelated sentences; results are (F1 - baseline) / (1 - baseline). 0 leaves them as they are.
    """

    name: str
    layer: int
    baseline: float = 0.0


ROBERTA_LARGE = BertModel("roberta-large", 17, 0.83122575)
"""The published choice for English; the baseline is that of the package ``bert-score`` 0.3.13."""


@dataclass(frozen=True)
class BertScore:
    """BERTScore of a set of captions.

    Attributes:
        f1: Mean over captions, each against its best reference, rescaled.
        each: The same for each caption.
        name: Model, layer, idf and baseline.
    """

    f1: float
    each: tuple[float, ...]
    name: str


def bert_score(
    captions: Sequence[str], references: Sequence[Sequence[str]], folder: Path, model: BertModel = ROBERTA_LARGE
) -> BertScore:
    """BERTScore F1 with idf weights counted over the references of this very set.

    Args:
        captions: One caption a motion.
        references: The true captions of each motion.
        folder: Directory with the model's ``config.json``, tokeniser and ``model.safetensors``.
        model: Layer and baseline that belong to it.

    Raises:
        RequestError: The weights are missing, the model has too few layers, or captions and references don't fit.
    """
    if len(captions) != len(references) or not captions or not all(references):
        raise RequestError(
            f"{len(captions)} captions, references for {len(references)} motions; give one caption and at least one"
            " reference for each motion"
        )
    if not (folder / "model.safetensors").is_file() or not (folder / "config.json").is_file():
        raise RequestError(
            f"BERTScore needs the weights of {model.name}; {folder} has no config.json and model.safetensors: put them"
            " there, or leave BERTScore out"
        )
    tokenizer, network = _load(folder)
    layers = network.config.num_hidden_layers
    if not 1 <= model.layer <= layers:
        raise RequestError(f"layer {model.layer} is asked for, the model in {folder} has {layers}")

    encoded = [[_ids(tokenizer, text) for text in (caption, *group)] for caption, group in _pairs(captions, references)]
    found_in: Counter[int] = Counter()
    for _, *group in encoded:
        for ids in group:
            found_in.update(set(ids))
    texts = sum(len(group) - 1 for group in encoded)
    each = []
    for caption, *group in encoded:
        mine = _states(network, caption, model.layer)
        best = max(
            _f1(mine, _states(network, ids, model.layer), *(_weights(part, found_in, texts) for part in (caption, ids)))
            for ids in group
        )
        each.append((best - model.baseline) / (1 - model.baseline))
    name = f"{model.name} layer {model.layer}, idf over references, baseline {model.baseline}"
    return BertScore(sum(each) / len(each), tuple(each), name)


def _pairs(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
    return list(zip(captions, references, strict=True))


def _load(folder: Path) -> tuple[Any, Any]:
    # Nothing is fetched: without this, transformers asks the hub about files it has.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    network = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
    return tokenizer, network.eval()


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text.strip(), truncation=True, max_length=512)["input_ids"]


def _states(network: Any, ids: list[int], layer: int) -> Float[Tensor, "N E"]:
    """Unit vectors of the word pieces, each sentence by itself so that none depends on its batch."""
    with torch.no_grad():
        states = network(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0]
    return states / states.norm(dim=-1, keepdim=True)


def _weights(ids: list[int], found_in: Counter[int], texts: int) -> Float[Tensor, " N"]:
    """Log of the inverse share of references a piece is in; the marks of start and end are in all and weigh 0."""
    return torch.tensor([math.log((texts + 1) / (found_in[piece] + 1)) for piece in ids])


def _f1(
    mine: Float[Tensor, "N E"], wanted: Float[Tensor, "M E"], weights: Float[Tensor, " N"], others: Float[Tensor, " M"]
) -> float:
    """F1 of greedy matching; 0 where all pieces of one side weigh nothing."""
    alike = mine @ wanted.T
    if float(weights.sum()) == 0 or float(others.sum()) == 0:
        return 0.0
    precision = float((alike.amax(1) * weights).sum() / weights.sum())
    recall = float((alike.amax(0) * others).sum() / others.sum())
    return 2 * precision * recall / (precision + recall) if precision + recall != 0 else 0.0

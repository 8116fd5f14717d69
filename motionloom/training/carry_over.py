"""Trained weights of a masked transformer for another tokenizer and another set of captions.

A tokenizer that was trained on names the same poses by other codes, and sentences are whitened by the mean and spread
of the captions of the store. A transformer trained with the earlier ones starts far behind where its weights could be.
Here the vector of each new code becomes the mean of those of the earlier codes that stood for the same frames, and the
layer that reads the sentence takes the new whitening into account, exactly.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motionloom.data.loader import FeatureSet, Stats
from motionloom.data.store import Store
from motionloom.errors import TrainingError
from motionloom.models.checkpoint import load_checkpoint, save_checkpoint
from motionloom.models.masked.model import MaskedTransformer
from motionloom.models.tokenizers.body_parts import BodyTokenizer
from motionloom.models.tokenizers.motion import MotionTokenizer
from motionloom.training.caption_vectors import caption_table, whitening
from motionloom.training.masked import encode_clips

SEQUENCES = 1500
"""Clips whose frames are encoded by both tokenizers."""
_LONGEST = 49


def same_frames(store: Store, earlier: Path, later: Path, *, sequences: int = SEQUENCES) -> Float[np.ndarray, "P K K"]:
    """How often code j of the later tokenizer and code i of the earlier one stand for the same frames: [P, j, i].

    Args:
        store: Its training clips are encoded.
        earlier: Folder of the earlier tokenizer.
        later: Folder of the later one, with the same number of codes and parts.
        sequences: How many clips.

    Raises:
        TrainingError: The tokenizers have different codes or parts.
    """
    clips = FeatureSet(store, "train")
    picked = np.random.default_rng(0).permutation(len(clips))[:sequences]
    found = [_tokens(folder, clips, picked) for folder in (later, earlier)]
    if found[0].shape[1:] != found[1].shape[1:]:
        raise TrainingError(f"{earlier} and {later}: tokenizers with the same body parts are needed")
    sizes = [_codes(folder) for folder in (later, earlier)]
    if sizes[0] != sizes[1]:
        raise TrainingError(f"{earlier} has {sizes[1]} codes, {later} has {sizes[0]}: the same number is needed")
    counts = np.zeros((found[0].shape[1], sizes[0], sizes[0]))
    for part in range(len(counts)):
        np.add.at(counts[part], (found[0][:, part], found[1][:, part]), 1)
    return counts


def _codes(folder: Path) -> int:
    model = load_checkpoint(folder).model
    assert isinstance(model, MotionTokenizer | BodyTokenizer)
    return model.config.codes


def _tokens(folder: Path, clips: FeatureSet, picked: np.ndarray) -> np.ndarray:
    """Codes of some clips, one row a token: [M, P]."""
    checkpoint = load_checkpoint(folder)
    assert isinstance(checkpoint.model, MotionTokenizer | BodyTokenizer)
    stats = Stats(checkpoint.stats["mean"], checkpoint.stats["std"])
    some = clips.picked(picked)
    found = encode_clips(checkpoint.model.eval(), stats, some, 1, _LONGEST, 0, mirrors=False)
    return np.concatenate([item.tokens[0].reshape(len(item.tokens[0]), -1) for item in found]).astype(np.int64)


def carried_over(weights: dict[str, Tensor], counts: Float[np.ndarray, "P K K"], *, specials: int) -> dict[str, Tensor]:
    """Weights whose tables of codes are those of another tokenizer.

    Args:
        weights: State of a masked transformer with learned embeddings.
        counts: From :func:`same_frames`.
        specials: Ids of a part behind its codes.
    """
    found = dict(weights)
    table, head = weights["embedding.table.weight"].clone(), weights["trunk.head.weight"].clone()
    codes = counts.shape[1]
    for part, seen in enumerate(counts):
        known = torch.from_numpy(seen.sum(1) > 0)[:, None]
        share = torch.from_numpy(seen / np.maximum(seen.sum(1, keepdims=True), 1)).to(table)
        rows = slice(part * (codes + specials), part * (codes + specials) + codes)
        vectors = share @ table[rows]
        # A mean of different vectors is short; it keeps their mean length.
        lengths = share @ table[rows].norm(dim=1, keepdim=True) / vectors.norm(dim=1, keepdim=True).clamp(min=1e-6)
        table[rows] = torch.where(known, vectors * lengths, table[rows])
        places = slice(part * codes, (part + 1) * codes)
        head[places] = torch.where(known, share @ head[places], head[places])
    return found | {"embedding.table.weight": table, "trunk.head.weight": head}


def whitened_anew(weights: dict[str, Tensor], earlier: tuple[Tensor, Tensor], later: tuple[Tensor, Tensor]) -> None:
    """Make the layer that reads sentences read those whitened by other figures; the network computes the same.

    Args:
        weights: State of a masked transformer; changed in place.
        earlier: Mean and spread that it was trained with.
        later: Mean and spread of the captions it will read.
    """
    (mean, spread), (new_mean, new_spread) = earlier, later
    weight = weights["trunk.sentence.weight"]
    weights["trunk.sentence.bias"] = weights["trunk.sentence.bias"] + weight @ ((new_mean - mean) / spread)
    weights["trunk.sentence.weight"] = weight * (new_spread / spread)


def carry_over(store: Store, masked: Path, earlier: Path, later: Path, out: Path) -> None:
    """Write a masked transformer that a training with another tokenizer and another store can start from.

    Args:
        store: The store that training goes on with.
        masked: Folder of the trained transformer.
        earlier: Folder of the tokenizer it was trained with.
        later: Folder of the tokenizer that training goes on with.
        out: Folder to write.

    Raises:
        TrainingError: The transformer has no learned table of codes, or the tokenizers do not fit each other.
    """
    checkpoint = load_checkpoint(masked)
    model = checkpoint.model
    if not isinstance(model, MaskedTransformer) or model.config.embedding != "learned":
        raise TrainingError(f"{masked}: a masked transformer with embedding 'learned' is needed")
    counts = same_frames(store, earlier, later)
    specials = model.state_dict()["embedding.table.weight"].shape[0] // model.config.parts - model.config.codes
    weights = carried_over(dict(model.state_dict()), counts, specials=specials)
    later_figures = whitening(caption_table(store).features)
    stats = {name: value.float() for name, value in checkpoint.stats.items()}
    whitened_anew(weights, (stats["sentence_mean"], stats["sentence_std"]), later_figures)
    model.load_state_dict(weights)
    save_checkpoint(
        out,
        model,
        stats=stats | {"sentence_mean": later_figures[0], "sentence_std": later_figures[1]},
        data=checkpoint.data,
        licence=checkpoint.licence,
        card=checkpoint.card,
        storage="float16",
    )

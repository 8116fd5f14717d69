"""Captions of a store as vectors, encoded once and kept beside the store."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from motionloom.conditions.text import TextEncoder, TextFeatures, minilm
from motionloom.data.store import Clip, Store
from motionloom.errors import DataError
from motionloom.models.checkpoint import load_checkpoint

_BATCH = 64


@dataclass(frozen=True)
class CaptionTable:
    """All captions of a store with their vectors.

    Attributes:
        texts: The captions, sorted.
        rows: Caption -> its row.
        features: Sentence vectors (float32) and word states (float16).
    """

    texts: tuple[str, ...]
    rows: dict[str, int]
    features: TextFeatures

    def pick(self, rows: Int[Tensor, " B"]) -> TextFeatures:
        """Vectors of some rows, word states as float32 and no longer than the longest of them."""
        valid = self.features.valid[rows]
        longest = int(valid.sum(1).max())
        return TextFeatures(
            self.features.sentence[rows], self.features.words[rows, :longest].float(), valid[:, :longest]
        )

    def choices(self, clip: Clip, mirrored: bool) -> np.ndarray:
        """Rows of the sentences that describe a clip or its mirror image.

        Raises:
            DataError: Nothing describes it.
        """
        texts = clip.mirrored if mirrored else clip.captions
        if not texts:
            raise DataError(
                f"clip {clip.id} has no captions; training with text needs them: prepare a store without source"
                f" {clip.source!r} (or through source 'folder', with a captions.csv)"
            )
        return np.array([self.rows[text] for text in texts])


def caption_table(store: Store, encoder: TextEncoder | None = None) -> CaptionTable:
    """Encode every caption of a store, or read the vectors of an earlier time.

    Args:
        store: The store; the vectors are kept in its features folder.
        encoder: MiniLM when left out.
    """
    encoder = encoder or minilm()
    texts = tuple(sorted({text for clip in store.clips for text in (*clip.captions, *clip.mirrored)}))
    folder = store.path / "features" / f"captions-{encoder.name}"
    listing = folder / "texts.json"
    if not (listing.is_file() and json.loads(listing.read_text()) == list(texts)):
        _encode(texts, encoder, folder)
    load = {name: np.load(folder / f"{name}.npy") for name in ("sentence", "words", "valid")}
    features = TextFeatures(*(torch.from_numpy(load[name]) for name in ("sentence", "words", "valid")))
    return CaptionTable(texts, {text: row for row, text in enumerate(texts)}, features)


def _encode(texts: tuple[str, ...], encoder: TextEncoder, folder: Path) -> None:
    """Encode the texts; the vectors of texts that were there before are taken over."""
    folder.mkdir(parents=True, exist_ok=True)
    earlier = _earlier(folder)
    sentence = np.zeros((len(texts), encoder.sentence_dim), np.float32)
    words = np.zeros((len(texts), encoder.max_pieces + 2, encoder.word_dim), np.float16)
    valid = np.zeros((len(texts), encoder.max_pieces + 2), bool)
    longest = 0
    # Sentences of like length together: less padding to compute.
    order = []
    for row in sorted(range(len(texts)), key=lambda row: len(texts[row])):
        if texts[row] not in earlier:
            order.append(row)
            continue
        vector, states = earlier[texts[row]]
        sentence[row], words[row, : len(states)], valid[row, : len(states)] = vector, states, True
        longest = max(longest, len(states))
    for start in tqdm(range(0, len(order), _BATCH), desc="captions", unit="batch"):
        rows = order[start : start + _BATCH]
        found = encoder.encode([texts[row] for row in rows])
        width = found.words.shape[1]
        longest = max(longest, width)
        sentence[rows] = found.sentence.numpy()
        words[rows, :width], valid[rows, :width] = found.words.numpy(), found.valid.numpy()
    (folder / "texts.json").unlink(missing_ok=True)
    for name, array in (("sentence", sentence), ("words", words[:, :longest]), ("valid", valid[:, :longest])):
        np.save(folder / f"{name}.npy", array)
    (folder / "texts.json").write_text(json.dumps(list(texts)))


def _earlier(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Text -> sentence vector and word states of the texts that were encoded at an earlier time."""
    if not (folder / "texts.json").is_file():
        return {}
    texts = json.loads((folder / "texts.json").read_text())
    sentence, words, valid = (np.load(folder / f"{name}.npy") for name in ("sentence", "words", "valid"))
    if not len(texts) == len(sentence) == len(words) == len(valid):
        return {}
    return {text: (sentence[row], words[row, : valid[row].sum()]) for row, text in enumerate(texts)}


def started_whitening(init: str, features: TextFeatures) -> tuple[Float[Tensor, " E"], Float[Tensor, " E"]]:
    """Mean and spread that a model which goes on from trained weights keeps; those of the captions where it does not.

    Args:
        init: Folder of the trained model, empty for none: its weights mean sentences whitened by its figures.
        features: The captions of the store.
    """
    if init:
        trained = load_checkpoint(Path(init)).stats
        if "sentence_mean" in trained and "sentence_std" in trained:
            return trained["sentence_mean"].float(), trained["sentence_std"].float()
    return whitening(features)


def whitening(features: TextFeatures) -> tuple[Float[Tensor, " E"], Float[Tensor, " E"]]:
    """Mean and spread of sentence vectors over a caption set.

    Sentences of one small world differ little (cosine 0.97 between left and right); centred and scaled they differ
    much. One dimension of MiniLM is constant, so 0.01 is added to the spread.
    """
    return features.sentence.mean(0), features.sentence.std(0) + 0.01

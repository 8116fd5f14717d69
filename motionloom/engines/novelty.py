"""Does a sentence ask for an action that no training clip shows? By distance to the nearest training caption.

Compared are predicates (``conditions/wording.py``) in MiniLM's sentence space; to the distance (1 - cosine) comes a
share for words that no caption has. Both thresholds and weights were calibrated by leaving whole actions out
(``runs/novelty.py``); the table of captions lies beside the starters.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.numpy import load_file, save_file

from motionloom.conditions.text import TextEncoder, check_text, minilm
from motionloom.conditions.wording import content_stems, predicate
from motionloom.errors import CheckpointError

_FORMAT = 1
_SCALE = 127.0


@dataclass(frozen=True)
class Novelty:
    """How far a sentence is from what was learned.

    Attributes:
        text: The sentence.
        distance: To the nearest caption: 1 - cosine of the predicates, and a share for words no caption has.
        nearest: The training caption that is nearest.
        unknown: Whether that is farther than the threshold: no clip like it was learned.
        words: Words of the sentence, as stems, that no caption has.
    """

    text: str
    distance: float
    nearest: str
    unknown: bool
    words: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """One line for a reader; empty for what is known."""
        if not self.unknown:
            return ""
        return f"no clip like {self.text!r} was learned; nearest is {self.nearest!r}"


@dataclass(frozen=True, eq=False)
class NoveltyTable:
    """Captions of the training clips as vectors, and from which distance on a sentence is unknown.

    Attributes:
        captions: Training captions, a sample that covers all of them.
        vectors: Unit vectors of their predicates.
        stems: Stems of every word that a caption has.
        weight: What the share of words that no caption has counts.
        threshold: Distance from which on a sentence is unknown.
        encoder: Name of the text encoder that made the vectors.
        sources: Datasets whose captions they are.
    """

    captions: tuple[str, ...]
    vectors: Float[np.ndarray, "N E"]
    stems: frozenset[str]
    weight: float
    threshold: float
    encoder: str
    sources: tuple[str, ...] = ()

    def __call__(self, texts: Sequence[str], encoder: TextEncoder | None = None) -> list[Novelty]:
        """Look sentences up.

        Args:
            texts: The sentences.
            encoder: MiniLM when left out.

        Raises:
            CheckpointError: The table was made by another encoder.
            RequestError: A text is empty or too long.
        """
        encoder = encoder or minilm()
        if encoder.name != self.encoder:
            raise CheckpointError(f"the table of captions was made with {self.encoder!r}, not with {encoder.name!r}")
        clean = [check_text(text) for text in texts]
        if not clean:
            return []
        sentences = encoder([predicate(text) or text for text in clean]).sentence.numpy()
        return [self.judge(text, vector) for text, vector in zip(clean, sentences, strict=True)]

    def judge(self, text: str, vector: Float[np.ndarray, " E"]) -> Novelty:
        """The novelty of a sentence whose predicate has a vector."""
        cosines = self.vectors @ (vector / np.linalg.norm(vector))
        nearest = int(cosines.argmax())
        stems = content_stems(text)
        new = tuple(dict.fromkeys(stem for stem in stems if stem not in self.stems))
        share = sum(stem in new for stem in stems) / max(1, len(stems))
        distance = float(1.0 - cosines[nearest] + self.weight * share)
        return Novelty(text, distance, self.captions[nearest], distance > self.threshold, new)

    def save(self, folder: Path) -> None:
        """Write the table; vectors as 8-bit integers.

        Args:
            folder: Where to; it is made.
        """
        folder.mkdir(parents=True, exist_ok=True)
        packed = np.round(self.vectors * _SCALE).astype(np.int8)
        save_file({"vectors": packed}, folder / "vectors.safetensors")
        facts = {
            "format": _FORMAT, "encoder": self.encoder, "weight": self.weight, "threshold": self.threshold,
            "sources": list(self.sources),
            "captions": list(self.captions), "stems": sorted(self.stems),
        }  # fmt: skip
        (folder / "captions.json").write_text(json.dumps(facts, indent=0) + "\n", encoding="utf-8")


def load_table(folder: Path) -> NoveltyTable:
    """Read a table of captions.

    Raises:
        CheckpointError: It is missing, of another format, or its parts do not belong together.
    """
    try:
        facts = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
        packed = load_file(folder / "vectors.safetensors")["vectors"]
        if facts["format"] != _FORMAT or len(facts["captions"]) != len(packed):
            raise ValueError("captions.json and vectors.safetensors do not belong together")
        vectors = packed.astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return NoveltyTable(
            tuple(facts["captions"]), vectors, frozenset(facts["stems"]), float(facts["weight"]),
            float(facts["threshold"]), str(facts["encoder"]), tuple(facts.get("sources", ())),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}: is no table of captions ({error}); make one with runs/novelty.py") from None


@lru_cache(maxsize=8)
def bundled_table(engine: str = "mmm") -> NoveltyTable:
    """The table of the captions that the bundled weights of an engine were trained on.

    Args:
        engine: Name of a bundled engine. Its own table lies in its folder; those without share one.

    Raises:
        CheckpointError: There is none that can be read.
    """
    starters = Path(str(files("motionloom"))) / "starter"
    own = starters / engine / "novelty"
    return load_table(own if own.is_dir() else starters / "novelty")


def novelty(text: str, engine: str = "mmm") -> Novelty:
    """How far a sentence is from what the bundled weights of an engine have learned.

    Args:
        text: The sentence.
        engine: Name of a bundled engine.

    Raises:
        RequestError: The text is empty or has more than 1,000 characters.
    """
    with torch.inference_mode():
        return bundled_table(engine)([text])[0]

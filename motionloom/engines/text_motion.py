"""How well motions fit sentences, by our text-motion encoder: any motion, any layout, any frame rate."""

from bisect import bisect_left
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from motionloom.conditions.text import minilm
from motionloom.data.loader import Stats
from motionloom.errors import CheckpointError, RequestError
from motionloom.models.checkpoint import load_checkpoint
from motionloom.models.text_motion.encoder import TextMotionEncoder
from motionloom.motion.features.humanml3d import encode_features
from motionloom.motion.motion import Motion
from motionloom.motion.retarget import retarget

FPS = 20.0
"""Frame rate the encoder reads; motions are resampled to it."""
POOR = 0.05
"""A fit is called poor when so few of the real clips fit their own sentence as badly."""
_BATCH = 64


@dataclass(frozen=True)
class Fit:
    """How well a motion fits a sentence.

    Attributes:
        score: Cosine of the two vectors, -1..1.
        better_than_right: Share of the real test clips that fit their own sentence worse.
        better_than_wrong: Share of the real test clips that fit another clip's sentence worse.
    """

    score: float
    better_than_right: float
    better_than_wrong: float

    @property
    def poor(self) -> bool:
        """Whether nearly all real clips fit their own sentence better."""
        return self.better_than_right < POOR

    @property
    def verdict(self) -> str:
        """The same in words."""
        share = f"{100 * self.better_than_right:.0f} % of real clips fit their own sentence worse"
        wrong = f"{100 * self.better_than_wrong:.0f} % of real clips fit a wrong sentence worse"
        quality = "POOR: the motion hardly fits the text" if self.poor else "as a real clip may fit its sentence"
        return f"{quality} (cosine {self.score:.2f}; {share}, {wrong})"


class TextMotionScorer:
    """Sentences and motions to unit vectors of one space.

    Args:
        folder: Checkpoint of a ``TextMotionEncoder``; the bundled one when left out.

    Raises:
        CheckpointError: There is no such checkpoint, or it holds another kind of model.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = Path(str(resources.files("motionloom") / "starter" / "matcher")) if folder is None else folder
        checkpoint = load_checkpoint(self.folder)
        if not isinstance(checkpoint.model, TextMotionEncoder):
            raise CheckpointError(
                f"{self.folder} holds a {checkpoint.kind}; scoring sentences of any data needs a 'matcher' (the"
                " published evaluator reads tagged HumanML3D captions only)"
            )
        self.model, self.saved = checkpoint.model, checkpoint.stats
        self.stats = Stats(checkpoint.stats["mean"], checkpoint.stats["std"])

    @torch.no_grad()
    def texts(self, texts: list[str]) -> Float[Tensor, "B C"]:
        """Unit vectors of sentences, each independent of the others.

        Raises:
            RequestError: A sentence is empty or too long.
        """
        found = minilm()(texts)
        sentence = (found.sentence - self.saved["sentence_mean"]) / self.saved["sentence_std"]
        return torch.cat(
            [
                self.model.embed_texts(sentence[i : i + 1], *_trimmed(found.words, found.valid, i))
                for i in range(len(texts))
            ]
        )

    @torch.no_grad()
    def motions(self, motions: list[Motion]) -> Float[Tensor, "B C"]:
        """Unit vectors of motions; of a motion longer than the model reads, the mean over even pieces.

        Raises:
            RequestError: A motion is shorter than the model reads.
            RetargetError: A skeleton is no humanoid.
        """
        config = self.model.config
        most = config.max_patches * config.patch
        pieces: list[Tensor] = []
        owners: list[int] = []
        for index, motion in enumerate(motions):
            features = self.stats.normalize(_features(motion, config.patch))
            count = -(-len(features) // most)
            pieces += list(features.tensor_split(count))
            owners += [index] * count
        vectors = []
        for start in range(0, len(pieces), _BATCH):
            part = pieces[start : start + _BATCH]
            padded = torch.nn.utils.rnn.pad_sequence(part, batch_first=True)
            vectors.append(self.model.embed_motions(padded, torch.tensor([len(piece) for piece in part])))
        sums = torch.zeros(len(motions), config.size).index_add_(0, torch.tensor(owners), torch.cat(vectors))
        return F.normalize(sums, dim=1)

    def score(self, text: str, motions: list[Motion]) -> list[float]:
        """Cosines of a sentence with each motion."""
        return (self.motions(motions) @ self.texts([text])[0]).tolist()

    def fit(self, text: str, motion: Motion) -> Fit:
        """How well a motion fits a sentence, held against the test set's right and wrong pairs."""
        (score,) = self.score(text, [motion])
        shares = [_share_below(self.saved[name].tolist(), score) for name in ("right", "wrong")]
        return Fit(score, *shares)


def _features(motion: Motion, patch: int) -> Float[Tensor, "T 263"]:
    body = retarget(motion)
    body = body if body.fps == FPS else body.at_fps(FPS)
    if len(body) < patch:
        raise RequestError(f"the motion has {motion.seconds:.2f} s; scoring needs at least {patch / FPS:g} s")
    return encode_features(body)


def _trimmed(words: Tensor, valid: Tensor, row: int) -> tuple[Tensor, Tensor]:
    """Words of one sentence without the padding of its batch."""
    count = int(valid[row].sum())
    return words[row : row + 1, :count], valid[row : row + 1, :count]


def _share_below(quantiles: list[float], value: float) -> float:
    """Where a value stands in a distribution given by its sorted quantiles."""
    return bisect_left(quantiles, value) / len(quantiles)

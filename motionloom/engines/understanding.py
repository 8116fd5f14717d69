"""What engines say about motions."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Caption:
    """A sentence about a motion or a piece of music.

    Attributes:
        text: The sentence.
        confidence: Geometric mean of the probabilities of its tokens, 0..1.
    """

    text: str
    confidence: float


@dataclass(frozen=True)
class Answer:
    """An answer about a motion.

    Attributes:
        text: The answer.
        confidence: Of the sentence in it, 0..1; 1 where the answer is none of the model's.
        task: The task that the question was taken for.
        wording: The known question that it is most like.
        alike: How much, as the cosine of their sentence vectors.
    """

    text: str
    confidence: float
    task: str
    wording: str
    alike: float

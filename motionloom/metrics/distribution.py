"""Distances between sets of embeddings: FID, R-precision, MM-Dist, Diversity, MultiModality.

The protocol of text-to-motion (Guo et al., CVPR 2022, section 5), which T2M-GPT, MMM, MoMask and M3GPT follow. Two
of its habits that every published table contains are kept, because without them nobody's numbers could be compared:

* :data:`SELF_PAIRS`: Diversity and MultiModality draw the two ends of their pairs independently of each other, so that
  a motion may be paired with itself at distance 0. It lowers the result by about 1/(number to draw from).
* :data:`POPULATION_STD`: the 95 % interval uses the standard deviation with denominator n, not n - 1.

All sums are in float64; the official code's float32 agrees to about 1e-6.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from motionloom.errors import RequestError

POOL = 32
"""Motions a sentence is compared with, its own among them. Another size gives incomparable figures."""
SELF_PAIRS = "pairs drawn independently, a motion may meet itself (Guo et al. 2022)"
POPULATION_STD = "1.96 * population standard deviation / sqrt(repeats) (Guo et al. 2022)"


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and unbiased covariance of a set of embeddings.

    Attributes:
        mean: Mean vector.
        covariance: Covariance with denominator samples - 1.
        samples: How many embeddings there were; FID grows as this falls, so report it.
    """

    mean: Float[Tensor, " D"]
    covariance: Float[Tensor, "D D"]
    samples: int


@dataclass(frozen=True)
class Retrieval:
    """How well sentences find their own motions among the others of their pool.

    Attributes:
        r_precision: Share of sentences whose own motion is among the nearest 1, 2, ... k.
        mm_dist: Mean distance between a sentence and its own motion.
        samples: How many sentences were counted.
        pool: Size of the pools.
    """

    r_precision: tuple[float, ...]
    mm_dist: float
    samples: int
    pool: int


@dataclass(frozen=True)
class Interval:
    """A mean over repeated measurements and half the width of its 95 % interval (:data:`POPULATION_STD`)."""

    mean: float
    half_width: float
    repeats: int


def moments(embeddings: Float[Tensor, "N D"]) -> Moments:
    """Mean and covariance of a set of embeddings.

    Raises:
        RequestError: There are fewer than two embeddings, or a value is NaN or infinite.
    """
    if len(embeddings) < 2:
        raise RequestError(f"{len(embeddings)} embedding(s); a covariance needs at least 2: measure more motions")
    _check_finite(embeddings)
    values = embeddings.detach().cpu().double()
    mean = values.mean(0)
    centred = values - mean
    return Moments(mean, centred.T @ centred / (len(values) - 1), len(values))


def frechet(a: Moments, b: Moments) -> float:
    """Fréchet distance between two Gaussians: |m1 - m2|² + tr(C1 + C2 - 2 sqrt(C1 C2)).

    The trace of the root is the sum of the singular values of sqrt(C1) sqrt(C2), which is real and exact also where
    a covariance is singular. The published code takes a matrix root of C1 C2 and drops its imaginary part, which for
    fewer samples than dimensions differs by round-off (about 1e-7 of the result).

    Raises:
        RequestError: The two have different dimensions.
    """
    if len(a.mean) != len(b.mean):
        raise RequestError(
            f"embeddings of {len(a.mean)} and {len(b.mean)} dimensions; FID needs both from the same evaluator"
        )
    root = torch.linalg.svdvals(_square_root(a.covariance) @ _square_root(b.covariance)).sum()
    shift = (a.mean - b.mean).square().sum()
    return float(shift + a.covariance.trace() + b.covariance.trace() - 2 * root)


def fid(real: Float[Tensor, "N D"], made: Float[Tensor, "M E"]) -> float:
    """Fréchet distance between two sets of embeddings (Heusel et al. 2017).

    Raises:
        RequestError: A set has fewer than two embeddings or a NaN, or the dimensions differ.
    """
    return frechet(moments(real), moments(made))


def consecutive_pools(samples: int, pool: int = POOL) -> Int[Tensor, "P M"]:
    """Pools as published: batches in the order given, the incomplete last one left out.

    Raises:
        RequestError: There are not enough samples for one pool.
    """
    if not 2 <= pool <= samples:
        raise RequestError(f"{samples} samples do not fill a pool of {pool}; give more samples or a smaller pool")
    return torch.arange(samples // pool * pool).view(-1, pool)


def distinct_pools(captions: Sequence[str], pool: int = POOL, *, seed: int) -> Int[Tensor, "P M"]:
    """Pools in random order in which no caption comes twice, so that every wrong answer is really wrong.

    Captions are the same if they differ only in case, spaces or the dot at the end. What does not fill a last pool
    is left out, as in the published protocol.

    Raises:
        RequestError: Not even one such pool can be filled.
    """
    keys = [" ".join(caption.lower().split()).rstrip(" .") for caption in captions]
    waiting = [int(index) for index in np.random.RandomState(seed).permutation(len(keys))]
    pools: list[list[int]] = []
    while len(waiting) >= pool:
        chosen: list[int] = []
        seen: set[str] = set()
        for index in waiting:
            if keys[index] not in seen:
                seen.add(keys[index])
                chosen.append(index)
                if len(chosen) == pool:
                    break
        if len(chosen) < pool:
            break
        pools.append(chosen)
        taken = set(chosen)
        waiting = [index for index in waiting if index not in taken]
    if not pools or pool < 2:
        raise RequestError(
            f"{len(set(keys))} distinct captions do not fill a pool of {pool}; give more captions or a smaller pool"
        )
    return torch.tensor(pools)


def retrieval(
    text: Float[Tensor, "N D"], motion: Float[Tensor, "N D"], pools: Int[Tensor, "P M"], top: int = 3
) -> Retrieval:
    """R-precision and MM-Dist: Euclidean distances from sentences to motions, inside pools.

    Swap ``text`` and ``motion`` for the other direction. Among equally near motions each order counts as equally
    likely, so that embeddings which are all the same score as chance, not as perfect.

    Args:
        text: Embedding of each sentence.
        motion: Embedding of the motion of the same index.
        pools: Indices of the members of each pool (:func:`consecutive_pools`, :func:`distinct_pools`).
        top: Greatest rank that is counted.

    Raises:
        RequestError: An embedding is NaN or infinite, or ``top`` is not between 1 and the size of the pool.
    """
    if not 1 <= top <= pools.shape[1]:
        raise RequestError(f"top {top} of a pool of {pools.shape[1]}; it must lie between 1 and the pool's size")
    _check_finite(text)
    _check_finite(motion)
    queries, gallery = text.detach().cpu().double()[pools], motion.detach().cpu().double()[pools]
    # The difference, not the expanded squares of the official code: those lose half the digits of a small distance.
    distances = torch.stack(
        [(query[:, None] - found[None]).norm(dim=-1) for query, found in zip(queries, gallery, strict=True)]
    )
    own = distances.diagonal(dim1=1, dim2=2)
    nearer = (distances < own[..., None]).sum(-1)
    equal = (distances == own[..., None]).sum(-1)
    precision = tuple(float(((k - nearer) / equal).clamp(0.0, 1.0).mean()) for k in range(1, top + 1))
    return Retrieval(precision, float(own.mean()), pools.numel(), pools.shape[1])


def draw_pairs(samples: int, pairs: int, seed: int) -> tuple[Int[Tensor, " P"], Int[Tensor, " P"]]:
    """The published drawing of index pairs (:data:`SELF_PAIRS`).

    Each list is drawn without replacement, first the first ends, then the second, from numpy's legacy generator; with
    the official code's seed it gives the official indices.

    Raises:
        RequestError: There are fewer samples than pairs.
    """
    if not 1 <= pairs <= samples:
        raise RequestError(f"{samples} samples are too few for {pairs} pairs; give more samples or ask for fewer pairs")
    random = np.random.RandomState(seed)
    first, second = (torch.from_numpy(random.choice(samples, pairs, replace=False)) for _ in range(2))
    return first, second


def pair_distance(embeddings: Float[Tensor, "N D"], first: Int[Tensor, " P"], second: Int[Tensor, " P"]) -> float:
    """Mean Euclidean distance between the embeddings of given index pairs."""
    values = embeddings.detach().cpu().double()
    return float((values[first] - values[second]).norm(dim=-1).mean())


def diversity(embeddings: Float[Tensor, "N D"], *, seed: int, pairs: int | None = None) -> float:
    """Mean distance between randomly paired motions of a set; :data:`SELF_PAIRS`.

    Args:
        embeddings: Embeddings of the motions.
        seed: Seed of the drawing.
        pairs: Number of pairs; by default as published 300, or 100 for a set of 300 or fewer.

    Raises:
        RequestError: There are fewer embeddings than pairs, or a value is NaN or infinite.
    """
    _check_finite(embeddings)
    published = 300 if len(embeddings) > 300 else 100
    return pair_distance(embeddings, *draw_pairs(len(embeddings), published if pairs is None else pairs, seed))


def multimodality(embeddings: Float[Tensor, "S R D"], *, seed: int, pairs: int = 10) -> float:
    """Mean distance between motions made for the same sentence; :data:`SELF_PAIRS`, the same pairs for all sentences.

    Papers differ in the sets, not in the formula: Guo et al. take 100 sentences with 30 motions each, T2M-GPT all
    sentences with 30, MoMask 96 with 30, MMM all sentences with 11. Report S and R beside the figure.

    Args:
        embeddings: Embeddings of R motions for each of S sentences.
        seed: Seed of the drawing.
        pairs: Pairs a sentence.

    Raises:
        RequestError: There are fewer motions a sentence than pairs, or a value is NaN or infinite.
    """
    _check_finite(embeddings)
    first, second = draw_pairs(embeddings.shape[1], pairs, seed)
    values = embeddings.detach().cpu().double()
    return float((values[:, first] - values[:, second]).norm(dim=-1).mean())


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % interval over repeats, as published (:data:`POPULATION_STD`).

    Raises:
        RequestError: There are no values.
    """
    if not values:
        raise RequestError("no repeats; an interval needs at least one measured value")
    found = torch.tensor(list(values), dtype=torch.float64)
    return Interval(float(found.mean()), 1.96 * float(found.std(correction=0)) / len(found) ** 0.5, len(found))


def _square_root(covariance: Float[Tensor, "D D"]) -> Float[Tensor, "D D"]:
    """The symmetric root of a covariance; eigenvalues that round-off made negative count as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0.0).sqrt() @ vectors.T


def _check_finite(embeddings: Tensor) -> None:
    if not torch.isfinite(embeddings).all():
        raise RequestError(
            "an embedding holds NaN or infinite values; find out which motion it is from, and leave it out"
        )

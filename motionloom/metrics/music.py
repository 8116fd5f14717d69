"""Dance-to-music: do the beats of the music made fall on those of the real one?

Both published protocols reduce each piece to one 0 or 1 a second: was there an onset? They look for onsets a little
differently, and mean different things by the same word "coverage":

=============== =========================== ==========================
convention      coverage                    hit
=============== =========================== ==========================
``"d2mgan"``    made / real, may exceed 1   both / real
``"loris"``     both / made (precision)     both / real (recall)
=============== =========================== ==========================

D2M-GAN (Zhu et al. 2022), LORIS (Yu et al. 2023); M3GPT reports LORIS's. A piece of five seconds has five places, so
all these figures are coarse.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from motionloom.errors import RequestError

BeatConvention = Literal["d2mgan", "loris"]
"""Which coverage is meant; see the table at the top."""


@dataclass(frozen=True)
class BeatScores:
    """Agreement of beats over a set of pieces; all are shares, not percentages.

    Attributes:
        convention: "d2mgan" or "loris".
        bcs: Mean coverage.
        csd: Standard deviation (n - 1) of coverage over pieces.
        bhs: Mean hit rate.
        hsd: Standard deviation (n - 1) of the hit rate.
        f1: Harmonic mean of the two *means*, as LORIS prints it; not a mean of each piece's F1. With D2M-GAN's
            coverage it is no F1 in the usual sense.
        pieces: How many pieces were measured.
    """

    convention: BeatConvention
    bcs: float
    csd: float
    bhs: float
    hsd: float
    f1: float
    pieces: int


def beats_per_second(onsets: Float[Tensor, " K"], seconds: int) -> Int[Tensor, " S"]:
    """One entry a second: 1 if an onset falls into it.

    Args:
        onsets: Times of the onsets [s]; times outside of the piece do not count.
        seconds: Duration of the piece [s].
    """
    marks = torch.zeros(seconds, dtype=torch.int64)
    inside = onsets[(onsets >= 0) & (onsets < seconds)]
    marks[inside.long()] = 1
    return marks


def coverage_and_hit(
    real: Int[Tensor, " S"], made: Int[Tensor, " S"], convention: BeatConvention
) -> tuple[float, float]:
    """Coverage and hit rate of one piece.

    A piece made without any beat has coverage 0 in both conventions.

    Args:
        real: 0 or 1 for each second of the real music.
        made: The same of the music made.
        convention: Which coverage is meant.

    Raises:
        RequestError: The real music has no beat, an entry is neither 0 nor 1, or the convention is unknown.
    """
    if convention not in ("d2mgan", "loris"):
        raise RequestError(f"convention {convention!r} is unknown; conventions are d2mgan, loris")
    if not (((real == 0) | (real == 1)).all() and ((made == 0) | (made == 1)).all()):
        raise RequestError("beats a second are 0 or 1; turn onset times into them with beats_per_second")
    beats, found, hits = int(real.sum()), int(made.sum()), int((real * made).sum())
    if beats == 0:
        raise RequestError("the real music has no beat in any second; leave this piece out")
    if convention == "d2mgan":
        return found / beats, hits / beats
    return hits / max(found, 1), hits / beats


def beat_scores(
    real: Sequence[Int[Tensor, " _"]], made: Sequence[Int[Tensor, " _"]], convention: BeatConvention
) -> BeatScores:
    """BCS, CSD, BHS, HSD and F1 of a set of pieces.

    Args:
        real: For each piece the beats a second of the real music.
        made: The same of the music made, piece by piece as long.
        convention: Which coverage is meant.

    Raises:
        RequestError: There are fewer than two pieces, lengths differ, or a piece cannot be measured.
    """
    if len(real) != len(made) or len(real) < 2:
        raise RequestError(f"{len(real)} real and {len(made)} made pieces; scores need the same number, at least 2")
    figures = []
    for index, (wanted, got) in enumerate(zip(real, made, strict=True)):
        if len(wanted) != len(got):
            raise RequestError(f"piece {index}: {len(wanted)} s real, {len(got)} s made; cut both to the same length")
        try:
            figures.append(coverage_and_hit(wanted, got, convention))
        except RequestError as error:
            raise RequestError(f"piece {index}: {error}") from error
    table = torch.tensor(figures, dtype=torch.float64)
    bcs, bhs = table.mean(0).tolist()
    csd, hsd = table.std(0, correction=1).tolist()
    f1 = 2 * bcs * bhs / (bcs + bhs) if bcs + bhs > 0 else 0.0
    return BeatScores(convention, bcs, csd, bhs, hsd, f1, len(figures))

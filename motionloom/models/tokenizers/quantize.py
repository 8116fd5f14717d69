"""Vector quantisation with codes that follow their vectors by moving averages.

Shapes: ``*batch`` any leading axes, usually (clips, tokens); ``C`` size of a code, ``K`` number of codes.

Sources: VQ-VAE (van den Oord et al., 2017), appendix A.1, for the moving averages; MMM (arXiv 2312.03596) and
T2M-GPT (arXiv 2301.06052) for the replacement of dead codes. Parity: ``tests/parity/test_mmm_tokenizer.py``.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn

from motionloom.errors import RequestError

Reset = Literal["steady", "published", "every_step", "none"]

_COUNT_FLOOR = 1e-3
_KMEANS_ROUNDS = 5
_TILE_NOISE = 0.01


@dataclass(frozen=True)
class Quantized:
    """What a quantiser returns.

    Attributes:
        vectors: The chosen codes; the gradient passes straight through to the quantiser's input.
        ids: Which code each vector became.
        commitment: Mean squared distance between vectors and codes; its gradient reaches the vectors only.
        perplexity: exp(entropy) of the codes used in this batch; K when all are used alike.
    """

    vectors: Float[Tensor, "*batch C"]
    ids: Int[Tensor, "*batch"]
    commitment: Float[Tensor, ""]
    perplexity: Float[Tensor, ""]


class EMAQuantizer(nn.Module):
    """A codebook of ``K`` vectors, each the running mean of the vectors that chose it.

    All state is in buffers, so a training that is stopped and resumed goes on bit for bit; all maths is
    float32, also under autocast. With torch.distributed the statistics are summed over the ranks, and first
    codes and replacements come from rank 0, so that every rank keeps the same codebook.

    Args:
        codes: Number of codes, K.
        code_dim: Size of a code, C.
        decay: Weight of the past in the running means.
        reset: What happens to codes that nobody chooses.
            ``steady`` (ours): every ``reset_every`` steps, codes without a single hit since the last time
            become vectors of the batch, statistics included. First codes: k-means on the first batch.
            ``published``: MMM's released code. A code counts as used when its running count is at least 1 and
            stays used for ever; a replaced code keeps its old statistics, so it comes back at the next step
            unless it was hit. First codes: the first rows of the first batch.
            ``every_step``: T2M-GPT and MoMask. At every step, codes with a running count below 1 show a row
            of the batch.
            ``none``: no replacement.
        reset_every: Steps between two replacements (``steady`` and ``published``).
        seed: Start of the random streams; the stream of a step depends on seed and step number only.
    """

    codebook: Tensor
    sums: Tensor
    counts: Tensor
    usage: Tensor
    initialised: Tensor
    step: Tensor
    since_reset: Tensor

    def __init__(
        self,
        codes: int,
        code_dim: int,
        decay: float = 0.99,
        reset: Reset = "steady",
        reset_every: int = 20,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.decay, self.reset, self.reset_every, self.seed = decay, reset, reset_every, seed
        self.register_buffer("codebook", torch.zeros(codes, code_dim))
        self.register_buffer("sums", torch.zeros(codes, code_dim))
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("usage", torch.zeros(codes))
        self.register_buffer("initialised", torch.zeros((), dtype=torch.bool))
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.register_buffer("since_reset", torch.zeros((), dtype=torch.long))

    def forward(self, x: Float[Tensor, "*batch C"], generator: torch.Generator | None = None) -> Quantized:
        """Quantise, and in training mode update the codes afterwards.

        Args:
            x: Vectors to quantise; any float dtype.
            generator: CPU stream for first codes and replacements; by default one seeded by (seed, step).
        """
        with torch.autocast(x.device.type, enabled=False):
            flat = x.float().reshape(-1, x.shape[-1])
            stream = self._stream() if generator is None else generator
            if self.training and not self.initialised:
                self._initialise(flat.detach(), stream)
            ids = self.nearest(flat)
            codes = self.codebook[ids]
            hits = torch.bincount(ids, minlength=len(self.codebook)).float()
            if self.training:
                hits = self._update(flat.detach(), ids, hits, stream)
            share = hits / hits.sum()
            perplexity = torch.exp(-(share * torch.log(share + 1e-7)).sum())
            commitment = nn.functional.mse_loss(flat, codes)
            vectors = flat + (codes - flat).detach()
        return Quantized(vectors.view(x.shape), ids.view(x.shape[:-1]), commitment, perplexity)

    def nearest(self, flat: Float[Tensor, "M C"]) -> Int[Tensor, "M"]:
        """Find the code nearest to each vector; the lowest id where several are equally near."""
        return _nearest(flat, self.codebook)

    def lookup(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch C"]:
        """Return the codes behind ids.

        Raises:
            RequestError: An id is no code of this codebook.
        """
        last = len(self.codebook) - 1
        if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) > last):
            raise RequestError(
                f"token ids run from {int(ids.min())} to {int(ids.max())}, the codebook has 0..{last}:"
                " give the lengths when a batch is padded, and drop special tokens"
            )
        return self.codebook[ids]

    def _stream(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.step))

    @torch.no_grad()
    def _initialise(self, flat: Float[Tensor, "M C"], generator: torch.Generator) -> None:
        rows = self._tile(flat, generator)
        if self.reset == "steady":
            order = torch.randperm(len(rows), generator=generator).to(rows.device)
            self.codebook.copy_(_kmeans(flat, rows[order[: len(self.codebook)]]))
        else:
            self.codebook.copy_(rows[: len(self.codebook)])
        _from_rank_0(self.codebook)
        self.sums.copy_(self.codebook)
        self.counts.fill_(1.0)
        self.initialised.fill_(True)

    def _tile(self, flat: Float[Tensor, "M C"], generator: torch.Generator) -> Float[Tensor, "R C"]:
        """Repeat the batch, with a little noise, when it has fewer rows than there are codes."""
        codes, size = self.codebook.shape
        if len(flat) >= codes:
            return flat
        rows = flat.repeat((codes + len(flat) - 1) // len(flat), 1)
        return rows + torch.randn(rows.shape, generator=generator).to(rows) * (_TILE_NOISE / size**0.5)

    @torch.no_grad()
    def _update(
        self,
        flat: Float[Tensor, "M C"],
        ids: Int[Tensor, "M"],
        hits: Float[Tensor, "K"],
        generator: torch.Generator,
    ) -> Float[Tensor, "K"]:
        """Move the codes; returns the hits of all ranks together."""
        totals = torch.zeros_like(self.sums).index_add_(0, ids, flat)
        _sum_over_ranks(hits)
        _sum_over_ranks(totals)
        self.sums.mul_(self.decay).add_(totals, alpha=1 - self.decay)
        self.counts.mul_(self.decay).add_(hits, alpha=1 - self.decay)
        self.step.add_(1)
        means = self.sums / self.counts[:, None]
        if self.reset == "none":
            self._hold_decayed()
        elif self.reset == "steady":
            self._hold_decayed()
            self.usage.add_(hits)
            self.since_reset.add_(1)
            if int(self.since_reset) >= self.reset_every:
                self._replace_unused(flat, generator)
        else:
            self._replace_as_published(means, flat, generator)
        return hits

    def _hold_decayed(self) -> None:
        """Set codes from statistics; below the floor, where those would lose their bits, hold all three."""
        low = self.counts < _COUNT_FLOOR
        self.codebook.copy_(torch.where(low[:, None], self.codebook, self.sums / self.counts[:, None]))
        self.sums.copy_(torch.where(low[:, None], self.codebook * _COUNT_FLOOR, self.sums))
        self.counts.clamp_(min=_COUNT_FLOOR)

    def _replace_unused(self, flat: Float[Tensor, "M C"], generator: torch.Generator) -> None:
        rows = self._tile(flat, generator)
        rows = rows[torch.randperm(len(rows), generator=generator).to(rows.device)[: len(self.codebook)]]
        _from_rank_0(rows)
        dead = self.usage == 0
        self.codebook[dead] = rows[dead]
        self.sums[dead] = rows[dead]
        self.counts[dead] = 1.0
        self.usage.zero_()
        self.since_reset.zero_()

    def _replace_as_published(
        self, means: Float[Tensor, "K C"], flat: Float[Tensor, "M C"], generator: torch.Generator
    ) -> None:
        rows = self._tile(flat, generator)
        used = (self.counts >= 1.0).float()
        if self.reset == "every_step":
            keep = used
        else:
            # The permutation is drawn at every step, used or not: it moves the random stream on.
            rows = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
            self.usage.copy_(torch.maximum(self.usage, used))
            if int(self.since_reset) < self.reset_every:
                self.since_reset.add_(1)
                self.codebook.copy_(means)
                return
            self.since_reset.zero_()
            keep = self.usage
        rows = rows[: len(self.codebook)].contiguous()
        _from_rank_0(rows)
        self.codebook.copy_(torch.where(keep[:, None] > 0, means, rows))


def _nearest(flat: Float[Tensor, "M C"], codes: Float[Tensor, "K C"]) -> Int[Tensor, "M"]:
    distances = (flat**2).sum(1, keepdim=True) - 2 * flat @ codes.T + (codes**2).sum(1)
    return distances.argmin(1)


def _kmeans(flat: Float[Tensor, "M C"], codes: Float[Tensor, "K C"]) -> Float[Tensor, "K C"]:
    """Run a few rounds of Lloyd's algorithm; a code without vectors stays where it is."""
    for _ in range(_KMEANS_ROUNDS):
        ids = _nearest(flat, codes)
        counts = torch.bincount(ids, minlength=len(codes)).to(flat)
        totals = torch.zeros_like(codes).index_add_(0, ids, flat)
        codes = torch.where(counts[:, None] > 0, totals / counts.clamp(min=1)[:, None], codes)
    return codes


def _sum_over_ranks(tensor: Tensor) -> None:
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(tensor)


def _from_rank_0(tensor: Tensor) -> None:
    if dist.is_available() and dist.is_initialized():
        dist.broadcast(tensor, src=0)

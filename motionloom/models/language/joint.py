"""The language model and the motion de-tokenizer trained together: M3GPT's read-out in motion space, in two readings.

The paper leaves open how the error in motion space reaches the language model, and names two things: a gradient, and
targets that are searched again as the decoder changes. Both are here, each on its own:

* ``motion_error``: the answer's distributions over motion codes become expected code vectors, those a motion, and its
  L1 to the real motion has a gradient to both networks;
* ``search_again``: codes are exchanged for near ones wherever that brings the decoded motion nearer to the real one;
  they then serve as the answer to learn.

The encoder and the codebook stay as they are. Shapes: ``B`` clips, ``N`` tokens, ``T`` frames, ``D`` features, ``K``
codes, ``C`` size of a code.

Source: M3GPT (arXiv 2405.16273), section 3.3, with lambda 0.2 of its Table 18. "Raw motion space" is that of the
normalised features; the L1 is a mean over frames and features.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from motionloom.errors import RequestError
from motionloom.models.language.vocabulary import Vocabulary
from motionloom.models.tokenizers.motion import MotionTokenizer, check_lengths, length_mask

WEIGHT = 0.2
"""Weight of the error in motion space beside the likelihood (the paper's lambda)."""


def motion_logits(
    logits: Float[Tensor, "B M V"], answer: Int[Tensor, "B M"], vocabulary: Vocabulary
) -> tuple[Float[Tensor, "B N K"], Int[Tensor, "B"]]:
    """Logits of the codes of an answer that is a motion, over motion codes only, and how many each clip has.

    Args:
        logits: Of the language model, teacher-forced.
        answer: What it was asked to say: a start, codes, an end, the end of the sequence, padding.
        vocabulary: Of the model.

    Raises:
        RequestError: An answer is no motion.
    """
    codes = vocabulary.codes("motion")
    inside = (answer >= codes.start) & (answer < codes.stop)
    lengths = inside.sum(1)
    expected = length_mask(lengths + 1, answer.shape[1])
    expected[:, 0] = False
    if (
        int(lengths.min()) < 1
        or not torch.equal(expected, inside)
        or bool((answer[:, 0] != vocabulary.start("motion")).any())
    ):
        raise RequestError("an answer is no motion: a start and codes behind it are needed; leave other tasks out")
    longest = int(lengths.max())
    return logits[:, 1 : longest + 1, codes.start : codes.stop], lengths


def soft_vectors(
    logits: Float[Tensor, "B N K"], codebook: Float[Tensor, "K2 C"], temperature: float = 1.0, hard: bool = False
) -> Float[Tensor, "B N C"]:
    """Expected code vectors of distributions over codes; the codebook gets no gradient.

    Args:
        logits: Over the codes.
        codebook: The codes.
        temperature: Of the softmax.
        hard: Return the most probable codes themselves, with the gradient of the expected ones (straight-through).

    Raises:
        RequestError: The temperature is not above 0, or the sizes differ.
    """
    if temperature <= 0 or logits.shape[-1] != len(codebook):
        raise RequestError(
            f"{logits.shape[-1]} logits for {len(codebook)} codes at temperature {temperature}; as many logits as"
            " codes, and a temperature above 0, are needed"
        )
    codebook = codebook.detach()
    soft = (logits.float() / temperature).softmax(-1) @ codebook
    return soft + (codebook[logits.argmax(-1)] - soft).detach() if hard else soft


def motion_error(
    logits: Float[Tensor, "B N K"],
    lengths: Int[Tensor, "B"],
    tokenizer: MotionTokenizer,
    motion: Float[Tensor, "B T D"],
    temperature: float = 1.0,
    hard: bool = False,
) -> Float[Tensor, ""]:
    """Mean L1 between a motion and the one decoded from distributions over its tokens.

    Its gradient reaches the logits, and the tokenizer's decoder unless that is frozen.

    Args:
        logits: Of each token over the codes.
        lengths: Tokens of each clip; what stands behind does not matter.
        tokenizer: Its decoder and codebook are used.
        motion: Normalised features, T = N * frames_per_token; what stands behind a clip's tokens does not matter.
        temperature: See ``soft_vectors``.
        hard: See ``soft_vectors``.

    Raises:
        RequestError: Sizes differ; see ``soft_vectors`` as well.
    """
    check_lengths(lengths, logits.shape[1], "tokens")
    _check_motion(motion, logits.shape[1], tokenizer)
    decoded = tokenizer.decode_vectors(soft_vectors(logits, tokenizer.quantizer.codebook, temperature, hard), lengths)
    return _mean_l1(decoded, motion, lengths * tokenizer.frames_per_token).mean()


@torch.no_grad()
def search_again(
    ids: Int[Tensor, "B N"],
    lengths: Int[Tensor, "B"],
    tokenizer: MotionTokenizer,
    motion: Float[Tensor, "B T D"],
    candidates: int = 4,
    rounds: int = 1,
) -> Int[Tensor, "B N"]:
    """Exchange codes for near ones wherever the decoded motion comes nearer to the real one: coordinate descent.

    The error of a clip never grows. Each clip's search is its own, whatever batch it is in.

    Args:
        ids: Codes to start from: the encoder's, or those of the last search; anything behind a clip's length.
        lengths: Tokens of each clip.
        tokenizer: In eval mode or not; it is not changed.
        motion: As in ``motion_error``.
        candidates: Nearest codes that are tried at each place, besides the one that stands there.
        rounds: InferenceCache over all places.

    Returns:
        Codes; behind a clip's length those that were given.

    Raises:
        RequestError: Sizes differ, or nothing is to be tried.
    """
    codebook = tokenizer.quantizer.codebook
    if not 1 <= candidates < len(codebook) or rounds < 1:
        raise RequestError(
            f"{candidates} candidates in {rounds} rounds; 1..{len(codebook) - 1} and at least one round are needed"
        )
    check_lengths(lengths, ids.shape[1], "tokens")
    _check_motion(motion, ids.shape[1], tokenizer)
    frames = lengths * tokenizer.frames_per_token
    # A code is its own nearest; it stays in first, so that a tie changes nothing.
    near = torch.cdist(codebook, codebook).fill_diagonal_(-1.0).topk(candidates + 1, largest=False).indices
    best = ids.clone()
    for _ in range(rounds):
        for place in range(int(lengths.max())):
            live = (lengths > place).nonzero()[:, 0]
            tried = best[live, None].repeat(1, candidates + 1, 1)
            tried[:, :, place] = near[best[live, place]]
            repeat = candidates + 1
            decoded = tokenizer.decode(tried.flatten(0, 1), lengths[live].repeat_interleave(repeat))
            errors = _mean_l1(
                decoded, motion[live].repeat_interleave(repeat, 0), frames[live].repeat_interleave(repeat)
            ).view(-1, repeat)
            best[live, place] = tried[torch.arange(len(live)), errors.argmin(1), place]
    return best


def _check_motion(motion: Tensor, tokens: int, tokenizer: MotionTokenizer) -> None:
    wanted = tokens * tokenizer.frames_per_token
    if motion.shape[1:] != (wanted, tokenizer.config.features):
        raise RequestError(
            f"the motion has {motion.shape[1]} frames of {motion.shape[2]} features; {tokens} tokens need {wanted} of"
            f" {tokenizer.config.features}"
        )


def _mean_l1(
    decoded: Float[Tensor, "B T D"], motion: Float[Tensor, "B T D"], frames: Int[Tensor, "B"]
) -> Float[Tensor, "B"]:
    """Of each clip, over the frames that exist and all features."""
    valid: Bool[Tensor, "B T"] = length_mask(frames, motion.shape[1])
    apart = F.l1_loss(decoded, motion, reduction="none").mean(2).masked_fill(~valid, 0.0)
    return apart.sum(1) / frames

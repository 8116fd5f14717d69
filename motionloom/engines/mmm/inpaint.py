"""Fill in what is not known of a motion: in-between, prediction, outpainting, and any part of the body.

Known cells become tokens and stand; the transformer makes the others; all are decoded at once. Then the known cells
are put back as they came, at the source's own frame rate, and the seams are blended (``motion/blend.py``).
"""

import math

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from motionloom.engines.mmm.tokens import FPS, Item, Job, MMMOptions, Tokens
from motionloom.engines.timeline import Timeline, blended, leg_scale, timeline
from motionloom.motion import rotations as rot
from motionloom.motion.blend import resample_smoothly
from motionloom.motion.features.humanml3d import encode_features
from motionloom.motion.motion import Motion
from motionloom.motion.skeleton import CANONICAL, PARTS
from motionloom.progress import SILENT, Progress

_SLACK = 1e-6


def complete(tokens: Tokens, items: list[Item], options: MMMOptions, progress: Progress = SILENT) -> list[Motion]:
    """Make what is missing of every item's known motion; the answers have its frame rate and body.

    Raises:
        RequestError: See ``timeline``.
    """
    lines = [timeline(item.request) for item in items]
    jobs = [
        Job(known_tokens(tokens, line), item.request.segments[0].text, item.seed)
        for line, item in zip(lines, items, strict=True)
    ]
    filled = tokens.fill(jobs, options, progress)
    return [_composed(tokens, line, job.ids, ids) for line, job, ids in zip(lines, jobs, filled, strict=True)]


@torch.no_grad()
def reconstructed(tokens: Tokens, motion: Motion, hidden: Bool[Tensor, " T"] | None) -> Motion:
    """A motion at 20 fps through the tokenizer, all of it or its hidden frames; see ``Engine.reconstruct``."""
    stats, tokenizer = tokens.stats, tokens.tokenizer
    if hidden is None:
        return tokens.decode(tokenizer.encode(stats.normalize(encode_features(motion))[None])[0])
    line = Timeline(motion.with_(valid=None), ~hidden[:, None].expand(-1, len(PARTS)), 0)
    known = known_tokens(tokens, line)
    # The last token may be begun only: the frames that it lacks are held.
    frames = torch.arange(len(known) * tokens.per_token).clamp(max=len(motion) - 1)
    return _composed(tokens, line, known, tokenizer.encode(stats.normalize(encode_features(motion)[frames])[None])[0])


def known_tokens(tokens: Tokens, line: Timeline) -> Int[Tensor, "N *parts"]:
    """Tokens of a timeline, the mask id where they are to be made.

    A frame at 20 fps is known if the frames around its moment are, at the source's own rate.
    """
    fps, frames = line.motion.fps, len(line.motion)
    moments = math.ceil((frames - 1) / fps * FPS - _SLACK) + 1
    count = -(-moments // tokens.per_token) * tokens.per_token
    place = torch.arange(count, dtype=torch.float64) * (fps / FPS)
    low, high = (place + _SLACK).floor().long(), (place - _SLACK).ceil().long()
    inside = high < frames
    low, high = low.clamp(max=frames - 1), high.clamp(max=frames - 1)
    known = line.known[low] & line.known[high] & inside[:, None]
    weight = (place - low).to(line.motion.root).clamp(0, 1)
    body = line.motion.skeleton
    motion = line.motion.with_(
        skeleton=CANONICAL,
        rotations=rot.slerp(line.motion.rotations[low], line.motion.rotations[high], weight[:, None]),
        root=torch.lerp(line.motion.root[low], line.motion.root[high], weight[:, None]) / leg_scale(body),
        fps=FPS,
        contacts=None,
    )
    return tokens.encode(motion, known)


def _composed(tokens: Tokens, line: Timeline, known: Tensor, ids: Tensor) -> Motion:
    made = tokens.decode(ids)
    source = line.motion
    made = made.with_(root=made.root * leg_scale(source.skeleton))
    if source.fps == FPS:
        made = made.with_(
            rotations=made.rotations[: len(source)],
            root=made.root[: len(source)],
            contacts=None if made.contacts is None else made.contacts[: len(source)],
        )
    else:
        made = resample_smoothly(made, torch.arange(len(source)) / source.fps, source.fps)
    made = made.with_(skeleton=source.skeleton)
    answer = blended(line, made, line.first)
    # Kept cells that no token could hold still come back, but what was made did not see them.
    hidden = (known == tokens.masked.config.mask_id).view(len(known), -1).all(0).tolist()
    unseen = [
        " and ".join(group)
        for group, columns, is_hidden in zip(tokens.groups, tokens.group_columns, hidden, strict=True)
        if is_hidden and bool(line.known[:, columns].any())
    ]
    notes = f"the model did not see what was kept of {', '.join(unseen)}" if unseen else ""
    return answer.with_(provenance=source.provenance.noting(notes)) if notes else answer

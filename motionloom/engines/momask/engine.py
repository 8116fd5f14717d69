"""MoMask as an engine: sentences and known frames to motions, with imported weights.

Base tokens are filled in a few per step, then every finer layer is predicted in one pass; the tokenizer decodes their
sum to published features, whose positions become a motion of the canonical body. Known frames become tokens that
stand; all of it is decoded at once and the known frames are put back as they came.

Source: MoMask (arXiv 2312.00063).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from motionloom.conditions.clip import named_encoder
from motionloom.conditions.text import TextEncoder
from motionloom.data.loader import Stats
from motionloom.engines.base import Engine
from motionloom.engines.options import EngineOptions
from motionloom.engines.registry import facts_of
from motionloom.engines.request import Request
from motionloom.engines.seeds import item_seed
from motionloom.engines.timeline import Timeline, blended, leg_scale, timeline
from motionloom.errors import CheckpointError, RequestError
from motionloom.licences import Licence
from motionloom.models.checkpoint import Checkpoint, load_checkpoint
from motionloom.models.momask import KINDS
from motionloom.models.momask.sampling import sample_base, sample_residual
from motionloom.models.momask.tokenizer import ABSENT, ResidualTokenizer
from motionloom.models.momask.transformers import MoMaskLength, MoMaskTransformer, ResidualTransformer
from motionloom.motion import rotations as rot
from motionloom.motion.blend import resample_smoothly, runs
from motionloom.motion.features.humanml3d_published import published_of_motion, published_on_canonical
from motionloom.motion.features.layout import LAYOUTS
from motionloom.motion.motion import Motion, take
from motionloom.motion.skeleton import BODY_COLUMNS, CANONICAL
from motionloom.progress import SILENT, Progress
from motionloom.schema import ranged

SHORTEST = 3
"""Slots of the shortest motion that is made."""
_MODELS = {"tokenizer": ResidualTokenizer, "base": MoMaskTransformer, "residual": ResidualTransformer}
_SLACK = 1e-6


@dataclass(frozen=True)
class MoMaskOptions(EngineOptions):
    """How MoMask is sampled; the defaults are those of its evaluation."""

    steps: int = ranged(10, low=1, high=1000, help="InferenceCache through the masked transformer.")
    guidance: float = ranged(4.0, low=0, high=20, help="Classifier-free guidance of the base tokens; 1 is without.")
    residual_guidance: float = ranged(5.0, low=0, high=20, help="The same of the finer layers.")
    temperature: float = ranged(1.0, low=0, high=10, help="Of the token probabilities; 0 takes the most probable ones.")
    top: float = ranged(0.1, above=0, high=1, help="Share of the codes that are drawn from, the most probable ones.")


class MoMask(Engine):
    """MoMask's four networks as an engine.

    Args:
        folder: Directory with the checkpoints ``tokenizer``, ``base``, ``residual`` and, to choose lengths, ``length``,
            as ``motionloom import --kind momask`` writes it.

    Raises:
        CheckpointError: One of them is missing or does not fit the others.
    """

    name = "momask"
    Options = MoMaskOptions
    imports: ClassVar[Mapping[str, str]] = {"momask": "motionloom.engines.momask.importing:import_momask"}

    def __init__(self, folder: Path) -> None:
        names = [*_MODELS, *(["length"] if (folder / "length").is_dir() else [])]
        missing = [name for name in _MODELS if not (folder / name / "config.json").is_file()]
        if missing:
            raise CheckpointError(
                f"{folder} is no MoMask engine: {', '.join(missing)} is missing; MoMask has no bundled weights: import"
                " them with `motionloom import CHECKPOINTS/t2m --kind momask`"
            )
        self.folder = folder
        self.checkpoints: dict[str, Checkpoint] = {name: load_checkpoint(folder / name, kinds=KINDS) for name in names}
        tokenizer, base, residual = (self.checkpoints[name].model for name in _MODELS)
        length = self.checkpoints["length"].model if "length" in names else None
        if not (
            isinstance(tokenizer, ResidualTokenizer)
            and isinstance(base, MoMaskTransformer)
            and isinstance(residual, ResidualTransformer)
            and isinstance(length, MoMaskLength | None)
        ):
            raise CheckpointError(f"{folder}: tokenizer, base, residual and length must hold models of those kinds")
        sizes = {(part.codes, part.quantizers) for part in (tokenizer.config, base.config, residual.config)}
        if len(sizes) > 1:
            raise CheckpointError(f"{folder}: its networks have {sorted(sizes)} (codes, layers); they must be equal")
        self.tokenizer, self.base, self.residual, self.length = tokenizer, base, residual, length
        layout = {entry.size: entry for entry in LAYOUTS.values()}.get(tokenizer.config.features)
        stats = self.checkpoints["tokenizer"].stats
        if layout is None or {len(stats.get(name, ())) for name in ("mean", "std")} != {layout.size}:
            raise CheckpointError(
                f"{folder / 'tokenizer'} has no statistics (mean, std) of {tokenizer.config.features} features"
            )
        self.layout, self.fps, self.stats = layout, layout.fps, Stats(stats["mean"], stats["std"])
        self._encoder = str(facts_of(folder).get("text_encoder", "clip"))

    @classmethod
    def open(cls, folder: Path, **options: Any) -> "MoMask":
        """The engine with the weights of a folder.

        Raises:
            CheckpointError: See the class.
        """
        return cls(folder, **options)

    @property
    def capabilities(self) -> frozenset[str]:
        """What a request may need; frames can be known in the layout of HumanML3D only."""
        return frozenset({"text", "unconditioned", *(("known frames",) if self.layout.name == "humanml3d" else ())})

    @property
    def licences(self) -> Sequence[Licence]:
        """Licences of the networks and of what they were made from."""
        return [licence for checkpoint in self.checkpoints.values() for licence in checkpoint.licences]

    @property
    def rate(self) -> float:
        """Token slots a second."""
        return self.fps / self.tokenizer.frames_per_token

    @property
    def min_seconds(self) -> float:
        """Shortest motion [s]."""
        return SHORTEST / self.rate

    @property
    def max_seconds(self) -> float:
        """Longest motion in one piece [s]."""
        return self.base.config.max_tokens / self.rate

    @property
    def text(self) -> TextEncoder:
        """The text encoder, loaded when first needed.

        Raises:
            CheckpointError: Its weights are not on disk, or are those of another one.
        """
        return named_encoder(self._encoder, sentence_dim=self.base.config.sentence_dim)

    @torch.no_grad()
    def run(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[list[Motion]]:
        """Make the motions of several requests, one by one; see ``Engine.run``.

        Raises:
            RequestError: A request lies outside the limits of the model.
        """
        plans = [(request, self.options(request)) for request in requests]
        layers = self.residual.config.quantizers - 1
        progress.expect(sum(request.count * (options.steps + layers) for request, options in plans))
        return [
            [self._made(request, item_seed(request.seed, index), options, progress) for index in range(request.count)]
            for request, options in plans
        ]

    def _made(self, request: Request, seed: int, options: MoMaskOptions, progress: Progress) -> Motion:
        segment = request.segments[0]
        sentence = self._sentence(segment.text)
        stream = torch.Generator().manual_seed(seed)
        if request.known is not None:
            return self._completed(timeline(request), segment.text, sentence, stream, options, progress)
        if segment.seconds is None:
            slots = self._length(sentence, stream)
            frames = slots * self.tokenizer.frames_per_token
        else:
            frames = round(segment.seconds * self.fps)
            slots = math.ceil(frames / self.tokenizer.frames_per_token)
            if not SHORTEST <= slots <= self.base.config.max_tokens:
                raise RequestError(
                    f"{segment.seconds:g} s asked for; this model makes {self.min_seconds:.1f} to"
                    f" {self.max_seconds:.1f} s in one piece"
                )
        known = torch.full((slots, self.residual.config.quantizers), ABSENT)
        made = self._decode(self._fill(known, segment.text, sentence, stream, options, progress))
        return take(made, torch.arange(frames))

    def _sentence(self, text: str) -> Tensor:
        """Vector of a sentence; of none zeros, as it was trained."""
        return self.text([text]).sentence if text else torch.zeros(1, self.base.config.sentence_dim)

    def _length(self, sentence: Tensor, stream: torch.Generator) -> int:
        """Slots that motions of a sentence have, drawn from what the estimator expects."""
        if self.length is None:
            raise RequestError(f"{self.folder} has no length estimator: give seconds (--seconds)")
        shares = self.length(sentence)[0].softmax(0)
        # Class n is n slots; class 0 would be no motion at all.
        most = min(len(shares) - 1, self.base.config.max_tokens)
        allowed = shares[SHORTEST : most + 1]
        return SHORTEST + int(torch.multinomial(allowed, 1, generator=stream))

    def _fill(
        self, known: Int[Tensor, "N Q"], text: str, sentence: Tensor, stream: torch.Generator,
        options: MoMaskOptions, progress: Progress,
    ) -> Int[Tensor, "N Q"]:  # fmt: skip
        """Ids of all layers; those that are known stay."""
        lengths, bare = torch.tensor([len(known)]), torch.tensor([not text])
        base = known[None, :, 0]
        base = sample_base(
            self.base, lengths, sentence, steps=options.steps, guidance=options.guidance,
            temperature=options.temperature, top=options.top, generator=stream, no_text=bare,
            known=torch.where(base < 0, self.base.config.mask_id, base), progress=progress,
        )  # fmt: skip
        ids = sample_residual(
            self.residual, base, lengths, sentence, guidance=options.residual_guidance,
            temperature=options.temperature, top=options.top, generator=stream, no_text=bare, known=known[None],
            progress=progress,
        )  # fmt: skip
        return ids[0]

    def _decode(self, ids: Int[Tensor, "N Q"]) -> Motion:
        """A motion of the canonical body from over the origin."""
        features = self.stats.restore(self.tokenizer.decode(ids[None]))[0]
        return published_on_canonical(features, self.layout)

    def _completed(
        self, line: Timeline, text: str, sentence: Tensor, stream: torch.Generator, options: MoMaskOptions,
        progress: Progress,
    ) -> Motion:  # fmt: skip
        """Make what is not known of a timeline; the answer has its frame rate and body."""
        source = line.motion
        start, stop = self._window(line)
        known = self._known(line, start, stop)
        made = self._decode(self._fill(known, text, sentence, stream, options, progress))
        made = made.with_(root=made.root * leg_scale(source.skeleton), skeleton=source.skeleton)
        made = resample_smoothly(made, torch.arange(stop - start) / source.fps, source.fps)
        rotations, root = source.rotations.clone(), source.root.clone()
        rotations[start:stop], root[start:stop] = made.rotations, made.root
        contacts = None if source.contacts is None else source.contacts.clone()
        if contacts is not None and made.contacts is not None:
            contacts[start:stop] = made.contacts
        whole = source.with_(rotations=rotations, root=root, contacts=contacts)
        answer = blended(line, whole, min(max(line.first, start), stop - 1))
        if bool((known >= 0).any()):
            return answer
        return answer.with_(provenance=source.provenance.noting("the model did not see what was kept: it is too short"))

    def _window(self, line: Timeline) -> tuple[int, int]:
        """Frames that the model looks at: those that are to be made, and known ones on both sides.

        Raises:
            RequestError: More is to be made than the model makes in one piece.
        """
        missing = (~line.known[:, BODY_COLUMNS].all(1)).nonzero()[:, 0]
        first, last = int(missing[0]), int(missing[-1]) + 1
        spare = math.floor(self.max_seconds * line.motion.fps) - (last - first)
        if spare < 0:
            raise RequestError(
                f"{(last - first) / line.motion.fps:.1f} s are to be made; this model makes at most"
                f" {self.max_seconds:.1f} s in one piece: keep more, or go on in several steps"
            )
        start = max(0, first - spare // 2)
        stop = min(len(line.known), start + (last - first) + spare)
        return max(0, stop - (last - first) - spare), stop

    def _known(self, line: Timeline, start: int, stop: int) -> Int[Tensor, "N Q"]:
        """Ids of the known frames of a window; a slot is known if all its frames are.

        Every unbroken run is encoded by itself: nothing of the unknown frames gets in.
        """
        fps, size = line.motion.fps, self.tokenizer.frames_per_token
        slots = max(SHORTEST, math.ceil((stop - start) / fps * self.rate - _SLACK))
        place = start + torch.arange(slots * size, dtype=torch.float64) * (fps / self.fps)
        low, high = (place + _SLACK).floor().long(), (place - _SLACK).ceil().long()
        inside = high < stop
        low, high = low.clamp(max=stop - 1), high.clamp(max=stop - 1)
        whole: Bool[Tensor, " T"] = line.known[:, BODY_COLUMNS].all(1)
        cells = (whole[low] & whole[high] & inside).view(-1, size).all(1)
        weight = (place - low).to(line.motion.root).clamp(0, 1)[:, None]
        source = line.motion
        motion = source.with_(
            skeleton=CANONICAL,
            rotations=rot.slerp(source.rotations[low], source.rotations[high], weight),
            root=torch.lerp(source.root[low], source.root[high], weight) / leg_scale(source.skeleton),
            fps=self.fps,
            contacts=None,
        )
        ids = torch.full((slots, self.residual.config.quantizers), ABSENT)
        for run in runs(cells):
            piece = take(motion, torch.arange(run.start * size, run.stop * size))
            features = published_of_motion(piece, self.layout)
            ids[run.start : run.stop] = self.tokenizer.encode(self.stats.normalize(features)[None])[0]
        return ids

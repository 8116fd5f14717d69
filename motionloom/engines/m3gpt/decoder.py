"""M3GPT's three models as one thing that reads prompts and writes: motion and music to codes and back, answers to both.

Shapes: ``N`` codes of motion, ``M`` codes of music, ``P`` codes of an answer that stand before it is written.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motionloom.conditions.audio import MIN_SECONDS, RATE, SILENCE, Sound, resample
from motionloom.data.loader import Stats
from motionloom.engines.options import EngineOptions
from motionloom.engines.seeds import item_seed
from motionloom.engines.timeline import Timeline, blended, leg_scale
from motionloom.errors import CheckpointError, RequestError
from motionloom.models.checkpoint import Checkpoint, load_checkpoint
from motionloom.models.language.decoding import Answers, Decoder, Reader
from motionloom.models.language.model import MotionLM
from motionloom.models.language.prompts import source, wordings
from motionloom.models.language.vocabulary import MASKED, Modality, Part, sequence
from motionloom.models.tokenizers.motion import MotionTokenizer
from motionloom.models.tokenizers.music import LEVEL, MusicTokenizer
from motionloom.motion import rotations as rot
from motionloom.motion.blend import resample_smoothly, runs
from motionloom.motion.features.humanml3d import decode_features, encode_features
from motionloom.motion.features.humanml3d_published import published_of_motion, published_on_canonical
from motionloom.motion.features.layout import LAYOUTS
from motionloom.motion.motion import Motion, take
from motionloom.motion.retarget import retarget
from motionloom.motion.skeleton import BODY_COLUMNS, CANONICAL, PARTS
from motionloom.motion.stance import follow_feet
from motionloom.progress import SILENT, Progress
from motionloom.schema import ranged

FPS = LAYOUTS["humanml3d"].fps
PUBLISHED_FPS = "published_fps"
"""Frame rate of an imported tokenizer's features, among its statistics."""
MODELS = {"language": MotionLM, "motion": MotionTokenizer, "music": MusicTokenizer}
"""Sub-folders of an engine, and what they hold."""
SHORTEST = 3
"""Codes of the shortest motion that is read or written."""
WORDS = 64
"""Tokens of a prompt that are kept for its words."""
BATCH = 16
"""Answers written at once."""
_SLACK = 1e-6


MAX_DRAWS = 64
"""Motions of which one is kept, at most."""


@dataclass(frozen=True)
class M3GPTOptions(EngineOptions):
    """How codes of motion and music are drawn."""

    temperature: float = ranged(
        0.8, low=0, high=10, help="Of the token probabilities; 0 takes the most probable one each time."
    )
    top_p: float = ranged(
        0.95, above=0, high=1, help="Draw among the most probable tokens that together have this probability."
    )
    guidance: float = ranged(
        2.0, low=0, high=20,
        help="How strongly motions follow sentences and music (arXiv 2207.12598); 1 is plain, and half the work.",
    )  # fmt: skip
    draws: int = ranged(
        8, low=1, high=MAX_DRAWS,
        help="Motions drawn for a sentence and a length, of which the one is kept that ends most naturally there.",
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Prompt:
    """One answer that is wanted.

    Attributes:
        parts: The prompt.
        max_codes: Codes, or pieces of text, at most, without those of ``prefix``.
        min_codes: At least.
        seed: Of its random stream.
        prefix: Codes that the answer begins with already.
        uncond: The prompt without what is to be followed; where it is left out, guidance does nothing.
        draws: Answers that are drawn, of which the one is kept that the model would most likely end where it ends: the
            length that is asked for stands in no prompt, and an answer that is merely cut there waves on.
    """

    parts: list[Part]
    max_codes: int
    min_codes: int
    seed: int
    prefix: Int[Tensor, " P"]
    uncond: list[Part] | None = None
    draws: int = 1


class MotionLanguageModel:
    """The language model with its two tokenizers.

    Args:
        folder: Directory with the checkpoints ``language``, ``motion`` and ``music``.

    Raises:
        CheckpointError: One of them is missing, of another kind, or does not fit the others.
    """

    def __init__(self, folder: Path) -> None:
        missing = [name for name in MODELS if not (folder / name / "config.json").is_file()]
        if missing:
            raise CheckpointError(f"{folder} is no M3GPT engine: {', '.join(missing)} is missing")
        self.checkpoints: dict[str, Checkpoint] = {name: load_checkpoint(folder / name) for name in MODELS}
        for name, wanted in MODELS.items():
            if not isinstance(self.checkpoints[name].model, wanted):
                raise CheckpointError(
                    f"{folder / name} holds a {self.checkpoints[name].kind}; a {wanted.__name__} is needed"
                )
        language, motion, music = (self.checkpoints[name].model for name in MODELS)
        assert isinstance(language, MotionLM)
        assert isinstance(motion, MotionTokenizer)
        assert isinstance(music, MusicTokenizer)
        self.language, self.motion, self.music = language, motion, music
        words, codes = language.vocabulary, (motion.config.codes, music.config.codes)
        if (words.motion, words.music) != codes:
            raise CheckpointError(
                f"{folder}: the vocabulary has {words.motion} motion and {words.music} music codes, the tokenizers have"
                f" {codes[0]} and {codes[1]}; they were not trained together"
            )
        stats = self.checkpoints["motion"].stats
        if {len(stats.get(name, ())) for name in ("mean", "std")} != {LAYOUTS["humanml3d"].size}:
            raise CheckpointError(f"{folder / 'motion'} has no statistics of {LAYOUTS['humanml3d'].size} features")
        # Imported tokenizers read the datasets' own features, each at its own frame rate.
        self.published = PUBLISHED_FPS in stats
        self.fps = float(stats[PUBLISHED_FPS]) if self.published else FPS
        self.stats, self.writer = Stats(stats["mean"], stats["std"]), Decoder(language)

    def _features(self, motion: Motion) -> Float[Tensor, "T D"]:
        return published_of_motion(motion, LAYOUTS["humanml3d"]) if self.published else encode_features(motion)

    @property
    def rate(self) -> float:
        """Motion codes a second."""
        return self.fps / self.motion.frames_per_token

    @property
    def max_codes(self) -> int:
        """Codes of the longest motion that a prompt can hold beside its words."""
        return max(SHORTEST, self.language.config.max_tokens - WORDS)

    @property
    def max_seconds(self) -> float:
        """The same in seconds."""
        return self.max_codes / self.rate

    def generate(
        self,
        prompts: Sequence[Prompt],
        modality: Modality,
        temperature: float = 0.0,
        top_p: float = 1.0,
        guidance: float = 1.0,
        progress: Progress = SILENT,
    ) -> list[tuple[Int[Tensor, "_"], float]]:
        """Answer prompts; each answer depends on its own ``Prompt`` only.

        Returns:
            For each its codes (of text: rows), without those of ``prefix``, and the mean log-probability of a token.

        Raises:
            RequestError: A prompt or an answer is longer than the model reads.
        """
        words, limit = self.language.vocabulary, self.language.config.max_tokens
        longest = max(len(prompt.prefix) + prompt.max_codes + 3 for prompt in prompts)
        if longest > limit:
            raise RequestError(f"an answer of {longest} tokens is wanted, at most {limit} are written: ask for less")
        drawn = [
            replace(prompt, seed=item_seed(prompt.seed, number) if number else prompt.seed)
            for prompt in prompts
            for number in range(prompt.draws)
        ]
        sources, uncond = (
            [sequence(parts, words, self.language.pieces, limit) for parts in some]
            for some in ([prompt.parts for prompt in drawn], [prompt.uncond or prompt.parts for prompt in drawn])
        )
        found: dict[int, tuple[Tensor, float, float]] = {}
        # Those that begin with equally many codes are written side by side.
        # Draws of one answer are a batch of their own: their choice must not hang on last bits, nor those on others.
        own = [at if prompt.draws > 1 else -1 for at, prompt in enumerate(prompts) for _ in range(prompt.draws)]
        kinds = [(len(prompt.prefix), at) for prompt, at in zip(drawn, own, strict=True)]
        for size, of in sorted(set(kinds)):
            alike, many = [at for at, kind in enumerate(kinds) if kind == (size, of)], of >= 0
            for first in range(0, len(alike), BATCH):
                some = alike[first : first + BATCH]
                writer = _Resumed(self.writer, torch.stack([drawn[at].prefix for at in some]), modality)
                said: Answers = writer.write(
                    [sources[at] for at in some], modality, [drawn[at].max_codes for at in some],
                    [drawn[at].min_codes for at in some], [drawn[at].seed for at in some], temperature, top_p,
                    [uncond[at] for at in some], guidance, many, progress,
                )  # fmt: skip
                each = zip(said.ids, said.confidence.tolist(), said.ending.tolist(), strict=True)
                found |= zip(some, each, strict=True)
        answers, at = [], 0
        for prompt in prompts:
            codes, confidence, _ = max((found[at + number] for number in range(prompt.draws)), key=lambda one: one[2])
            answers.append((codes, confidence))
            at += prompt.draws
        return answers

    @torch.no_grad()
    def encode_audio(self, sound: Sound) -> Int[Tensor, " M"]:
        """Codes of music.

        Raises:
            RequestError: It is silent, shorter than half a second, or holds NaN.
        """
        samples = sound.samples if sound.rate == RATE else resample(sound.samples, sound.rate, RATE)
        if sound.seconds < MIN_SECONDS:
            raise RequestError(f"the music lasts {sound.seconds:.2g} s; at least {MIN_SECONDS:g} s are needed")
        loudest = float(samples.abs().max())
        if not math.isfinite(loudest):
            raise RequestError("the music holds NaN or infinite samples; write it again from its source")
        if loudest < SILENCE:
            raise RequestError(
                f"the music is silent (loudest sample {loudest:.2g} of 1); give music with sound, or leave it out"
            )
        # As loud as all the music it learned from.
        return torch.cat(list(self.music.encode_stream([samples * (LEVEL / loudest)])))

    @torch.no_grad()
    def decode_audio(self, codes: Int[Tensor, " M"], samples: int) -> Sound:
        """Music of codes, cut to a number of samples; what goes beyond full scale is clipped."""
        sound = torch.cat(list(self.music.decode_stream([codes])))[:samples]
        return Sound(sound.clamp(-1.0, 1.0), RATE)

    @torch.no_grad()
    def encode(self, motion: Motion, max_seconds: float) -> Int[Tensor, " N"]:
        """Codes of a motion of any humanoid at any frame rate; frames behind the last whole code are left out.

        Args:
            motion: The motion.
            max_seconds: Seconds that are read.

        Raises:
            RequestError: It is too short or too long.
            RetargetError: Its skeleton is no humanoid.
        """
        if motion.seconds > max_seconds:
            raise RequestError(
                f"the motion lasts {motion.seconds:.4g} s; at most {max_seconds:.4g} s are read: cut it first"
            )
        body = retarget(motion).at_fps(self.fps)
        if len(body) < SHORTEST * self.motion.frames_per_token:
            least = SHORTEST / self.rate
            raise RequestError(f"the motion lasts {motion.seconds:.3g} s; at least {least:g} s are read")
        return self.motion.encode(self.stats.normalize(self._features(body))[None])[0]

    @torch.no_grad()
    def decode(self, codes: Int[Tensor, " N"], frames: int | None = None, foot_locked: bool = False) -> Motion:
        """Motion of codes at 20 fps, from over the origin, facing +Z; each alone, so that no batch matters.

        Args:
            codes: Codes.
            frames: How many of them; all when left out.
            foot_locked: Let the root's way follow from the feet that stand; not for motions that partly exist already.
        """
        features = self.stats.restore(self.motion.decode(codes[None]))[0]
        if self.published:
            motion = published_on_canonical(features, LAYOUTS["humanml3d"], fps=self.fps)
        else:
            motion = decode_features(features, "humanml3d", self.fps)
            motion = follow_feet(motion) if foot_locked else motion
        return motion if frames is None else take(motion, torch.arange(frames))

    @torch.no_grad()
    def encode_timeline(self, line: Timeline) -> Int[Tensor, " N"]:
        """Codes of the known frames of a timeline, -1 where they are to be made.

        A code is known if all its frames are, and a frame at 20 fps if those around its moment are, at the source's
        own rate. Every unbroken run is encoded by itself: nothing of the unknown frames gets in.
        """
        fps, count, size = line.motion.fps, len(line.motion), self.motion.frames_per_token
        moments = math.ceil((count - 1) / fps * self.fps - _SLACK) + 1
        frames = -(-moments // size) * size
        place = torch.arange(frames, dtype=torch.float64) * (fps / self.fps)
        low, high = (place + _SLACK).floor().long(), (place - _SLACK).ceil().long()
        inside = high < count
        low, high = low.clamp(max=count - 1), high.clamp(max=count - 1)
        whole = line.known[:, BODY_COLUMNS].all(1)
        cells = (whole[low] & whole[high] & inside).view(-1, size).all(1)
        weight = (place - low).to(line.motion.root).clamp(0, 1)
        motion = line.motion.with_(
            skeleton=CANONICAL,
            rotations=rot.slerp(line.motion.rotations[low], line.motion.rotations[high], weight[:, None]),
            root=torch.lerp(line.motion.root[low], line.motion.root[high], weight[:, None])
            / leg_scale(line.motion.skeleton),
            fps=self.fps,
            contacts=None,
        )
        codes = torch.full((len(cells),), MASKED)
        for run in runs(cells):
            piece = take(motion, torch.arange(run.start * size, run.stop * size))
            codes[run.start : run.stop] = self.motion.encode(self.stats.normalize(self._features(piece))[None])[0]
        return codes

    @torch.no_grad()
    def reconstruct(self, motion: Motion, hidden: Bool[Tensor, " T"]) -> Motion:
        """A motion at 20 fps whose hidden frames come from its own codes; see ``Engine.reconstruct``."""
        line = Timeline(motion.with_(valid=None), ~hidden[:, None].expand(-1, len(PARTS)), 0)
        known = self.encode_timeline(line)
        # The last code may be begun only: the frames that it lacks are held.
        frames = torch.arange(len(known) * self.motion.frames_per_token).clamp(max=len(motion) - 1)
        whole = self.stats.normalize(self._features(motion)[frames])
        return self.decode_timeline(line, self.motion.encode(whole[None])[0], known)

    def decode_timeline(self, line: Timeline, codes: Int[Tensor, " N"], known: Int[Tensor, " N"]) -> Motion:
        """Put the known frames of a timeline, to the bit, together with what was written for the others.

        Args:
            line: The timeline.
            codes: Of all of it.
            known: What the model saw: codes, -1 elsewhere.
        """
        made, source = self.decode(codes), line.motion
        made = made.with_(root=made.root * leg_scale(source.skeleton))
        if source.fps == self.fps:
            made = take(made, torch.arange(len(source)))
        else:
            made = resample_smoothly(made, torch.arange(len(source)) / source.fps, source.fps)
        made = made.with_(skeleton=source.skeleton)
        answer = blended(line, made, line.first)
        if bool((known != MASKED).any()):
            return answer
        return answer.with_(provenance=source.provenance.noting("the model did not see what was kept: it is too short"))


def prompt_parts(
    task: str,
    text: str | None = None,
    motion: Int[Tensor, " N"] | None = None,
    music: Int[Tensor, " M"] | None = None,
) -> list[Part]:
    """A task in the first of the wordings that instructions were learned with; see ``instructions.source``."""
    return source(task, wordings(task, "train")[0], text=text, motion=motion, music=music)


class _Resumed(Decoder):
    """A writer whose answers begin with codes that are given; it shares the other's weights."""

    def __init__(self, writer: Decoder, after: Int[Tensor, "B P"], modality: Modality) -> None:
        self.model, self.decoder = writer.model, writer.decoder
        self.after = after + self.model.vocabulary.codes(modality).start

    def _reader(self, sources: Sequence[Tensor], begin: list[int], rows: range, most: int) -> Reader:
        reader = super()._reader(sources, begin, rows, most + self.after.shape[1])
        for column in self.after.T:
            reader.first = reader.read(column.repeat(len(sources) // len(column)))
        return reader

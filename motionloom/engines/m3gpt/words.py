"""What M3GPT says about motion and music, and the music that it writes for a motion."""

import math
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from motionloom.conditions.audio import RATE, Sound
from motionloom.conditions.beats import beats
from motionloom.conditions.text import TextEncoder, check_text
from motionloom.data.sound.music import BEAT_FPS, kinematic_beats
from motionloom.engines.m3gpt.decoder import SHORTEST, M3GPTOptions, MotionLanguageModel, Prompt, prompt_parts
from motionloom.engines.request import MAX_SECONDS
from motionloom.engines.seeds import item_seed
from motionloom.engines.understanding import Answer, Caption
from motionloom.errors import RequestError
from motionloom.metrics.dance import beat_alignment
from motionloom.models.language.prompts import TASKS
from motionloom.models.language.vocabulary import Part
from motionloom.motion.motion import Motion
from motionloom.progress import SILENT, Progress

CAPTION = 48
"""Pieces of text of the longest caption."""
MAX_CAPTIONS = 16
CANDIDATES = 4
"""Pieces of music that are written, of which one is kept."""
MAX_CANDIDATES = 16
SPAN = 5.0
"""Motion that a prompt for music holds [s]: the crops of the paper."""
OVERLAP = 1.5
"""Music before a span that its music goes on from [s]; the motion under it is seen too."""
NEXT = 2.0
"""How much of what comes next is imagined to describe it [s]."""
ALIKE = 0.42
"""Cosine from which a question counts as one that an instruction asks."""
_TEMPERATURES = (0.6, 0.9, 1.2)
_CAN = "what is done, what comes next, and which music would fit"
_QUESTIONS = {
    "motion-to-text": (
        "What is the person doing?", "Describe the motion.", "What action is this?", "What happens?",
        "Is the person walking?", "Does somebody wave?", "Is it a dance?",
    ),
    "prediction": ("What comes next?", "What will the person do next?", "How does it go on?", "And then?"),
    "dance-to-music": ("Which music would fit?", "What song goes with this?", "What could one hear with it?"),
    "in-between": ("What is missing here?", "Fill in the gap."),
}  # fmt: skip
"""How people ask, beside the wordings of the instruction set."""


def describe(
    model: MotionLanguageModel, codes: Int[Tensor, " N"], count: int = 3, *, seed: int = 0, progress: Progress = SILENT
) -> list[Caption]:
    """Several different captions of a motion, the most confident first.

    The first that is written takes the most probable token each time, the others are drawn.

    Args:
        model: The model.
        codes: Of the motion.
        count: How many; fewer come back where the model has hardly anything else to say.
        seed: Of those that are drawn.
        progress: Told about every token.

    Raises:
        RequestError: ``count`` is not from 1 to 16, or the motion is longer than the model reads.
    """
    return _say(model, prompt_parts("motion-to-text", motion=codes), count, seed, progress)


def music_to_text(
    model: MotionLanguageModel, sound: Sound, count: int = 3, *, seed: int = 0, progress: Progress = SILENT
) -> list[Caption]:
    """Several different sentences on how one dances to music, the most confident first; see ``describe``.

    Raises:
        RequestError: The music is silent, too short, or longer than the model reads.
    """
    most = model.max_codes / model.music.tokens_per_second
    if sound.seconds > most:
        raise RequestError(f"the music lasts {sound.seconds:.4g} s; at most {most:.3g} s are read: give a piece of it")
    return _say(model, prompt_parts("music-to-text", music=model.encode_audio(sound)), count, seed, progress)


def compose(
    model: MotionLanguageModel,
    motion: Motion,
    *,
    seed: int = 0,
    options: M3GPTOptions | None = None,
    candidates: int = CANDIDATES,
    progress: Progress = SILENT,
) -> Sound:
    """Music for a motion, exactly as long, at 22,050 Hz.

    Longer motions are taken in spans; the music of each begins with the end of that of the one before, so that it
    goes on. Of several pieces the one is kept whose beats fall best on the moments in which the motion rests.

    Args:
        model: The model.
        motion: Of any humanoid.
        seed: Same seed, same music, on the same machine.
        options: How codes are drawn.
        candidates: How many pieces are written; the first is what a single one would be.
        progress: Told about every token.

    Raises:
        RequestError: The motion is shorter or longer than what music is made for.
        RetargetError: Its skeleton is no humanoid.
    """
    if not 1 <= candidates <= MAX_CANDIDATES:
        raise RequestError(f"candidates is {candidates}; give 1 to {MAX_CANDIDATES} pieces of music to choose from")
    options = options or M3GPTOptions()
    codes, samples = model.encode(motion, MAX_SECONDS), round(motion.seconds * RATE)
    speed = model.music.tokens_per_second / model.rate
    total = math.ceil(samples / model.music.samples_per_token)
    span, overlap = round(SPAN * model.rate), round(OVERLAP * model.rate)
    # Spans at even distances, so that the last one is no shorter than the others.
    count = max(1, math.ceil((len(codes) - overlap) / (span - overlap)))
    seeds = [seed, *(item_seed(seed, count + number) for number in range(candidates - 1))]
    music: list[Int[Tensor, " M"]] = [codes[:0]] * candidates
    for turn in range(count):
        first = round(turn * (len(codes) - span) / (count - 1)) if turn else 0
        stop = total if turn == count - 1 else round((first + span) * speed)
        # The motion under what is there already is seen again, so that its music can go on from it.
        fresh, seen = stop - len(music[0]), codes[first : first + span]
        asks = [
            Prompt(
                prompt_parts("dance-to-music", motion=seen),
                fresh,
                fresh,
                item_seed(own, turn),
                piece[round(first * speed) :],
            )
            for own, piece in zip(seeds, music, strict=True)
        ]
        said = model.generate(asks, "music", options.temperature, options.top_p, progress=progress)
        music = [torch.cat((piece, made)) for piece, (made, _) in zip(music, said, strict=True)]
    sounds = [model.decode_audio(piece, samples) for piece in music]
    if candidates == 1:
        return sounds[0]
    rests = kinematic_beats(motion)[0]
    return max(sounds, key=lambda sound: fit(sound, rests))


def fit(sound: Sound, rests: Float[Tensor, " K"]) -> float:
    """How near the beats of music are to a motion's moments of rest [s], 0..1; 0 where one of them has none."""
    heard, still = ((times * BEAT_FPS).round().long() for times in (beats(sound.samples, sound.rate), rests))
    return 0.0 if len(heard) == 0 else beat_alignment(heard, still, "bailando")


def ask(
    model: MotionLanguageModel,
    encoder: TextEncoder,
    motion: Motion,
    question: str,
    *,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Answer:
    """Answer a question about a motion: the one task whose wordings it is most like is done.

    Args:
        model: The model.
        encoder: Makes sentence vectors.
        motion: Of any humanoid.
        question: In English.
        seed: Of what is drawn.
        progress: Told about every token.

    Raises:
        RequestError: The question is like none that can be answered, or the motion cannot be read.
    """
    question = check_text(question)
    task, wording, alike = nearest(encoder, question)
    if alike < ALIKE:
        raise RequestError(f"{question[:60]!r} is no question that can be answered here: ask {_CAN}")
    codes = model.encode(motion, model.max_seconds)

    def answer(text: str, confidence: float) -> Answer:
        return Answer(text, confidence, task, wording, alike)

    if task == "motion-to-text":
        (caption,) = describe(model, codes, 1, seed=seed, progress=progress)
        return answer(caption.text, caption.confidence)
    if task == "prediction":
        count, seen = max(SHORTEST, round(NEXT * model.rate)), codes[-round(NEXT * model.rate) :]
        options = M3GPTOptions()
        ((made, _),) = model.generate(
            [Prompt(prompt_parts("prediction", motion=seen), count, count, seed, seen[:0])], "motion",
            options.temperature, options.top_p, progress=progress,
        )  # fmt: skip
        (caption,) = describe(model, made, 1, seed=seed, progress=progress)
        return answer(caption.text, caption.confidence)
    if task == "dance-to-music":
        options, seen = M3GPTOptions(), codes[: round(SPAN * model.rate)]
        count = max(1, round(len(seen) / model.rate * model.music.tokens_per_second))
        ((made, _),) = model.generate(
            [Prompt(prompt_parts("dance-to-music", motion=seen), count, count, seed, seen[:0])], "music",
            options.temperature, options.top_p, progress=progress,
        )  # fmt: skip
        (caption,) = _say(model, prompt_parts("music-to-text", music=made), 1, seed, progress)
        return answer(
            f"music to which one would say: {caption.text} (motionloom compose writes it)", caption.confidence
        )
    return answer("nothing of this motion is hidden; motionloom complete makes some of it anew", 1.0)


def nearest(encoder: TextEncoder, question: str) -> tuple[str, str, float]:
    """Task, wording and cosine of the known question that a question is most like."""
    tasks, texts = _known()
    likeness = _vectors(encoder) @ encoder([question]).sentence[0]
    best = int(likeness.argmax())
    return tasks[best], texts[best], float(likeness[best])


@cache
def _vectors(encoder: TextEncoder) -> Float[Tensor, "Q E"]:
    return encoder.encode(list(_known()[1])).sentence


@cache
def _known() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Questions about a motion alone, with their tasks; each text once."""
    found: dict[str, str] = {}
    for name, known in TASKS.items():
        if known.inputs != ("motion",):
            continue
        for wording in (*_QUESTIONS.get(name, ()), *known.train, *known.test):
            bare = " ".join(wording.replace("{motion}", " ").split()).rstrip(" :")
            found.setdefault(bare, name)
    return tuple(found.values()), tuple(found)


def _say(model: MotionLanguageModel, parts: list[Part], count: int, seed: int, progress: Progress) -> list[Caption]:
    if not 1 <= count <= MAX_CAPTIONS:
        raise RequestError(f"{count} captions are wanted; 1 to {MAX_CAPTIONS} can be")
    nothing = torch.zeros(0, dtype=torch.long)
    asks = [Prompt(parts, CAPTION, 1, seed, nothing)]
    found: dict[str, float] = {}
    for temperature in (0.0, *_TEMPERATURES):
        for rows, score in model.generate(asks, "text", temperature, progress=progress):
            text = " ".join(model.language.pieces.decode(rows.tolist()).split())
            if text:
                found[text] = max(found.get(text, 0.0), math.exp(score))
        if len(found) >= count:
            break
        asks = [
            Prompt(parts, CAPTION, 1, item_seed(seed, round(100 * temperature) + index), nothing)
            for index in range(3 * count)
        ]
    if not found:
        raise RequestError("the model has no words for this; it may not be trained")
    ranked = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    return [Caption(text, confidence) for text, confidence in ranked[:count]]

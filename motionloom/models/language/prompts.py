"""Instructions: what a language model over text, motion and music can be asked, in many wordings.

The wordings are data, one file a task in ``data/instructions``: one ``plain`` imperative for the alignment of the
modalities, ``train`` wordings for instruction tuning, and ``test`` wordings that no training sees. A wording names its
inputs in braces; neither inputs nor answers stand in quotes.

Source: M3GPT (arXiv 2405.16273), section 3.4 and appendix B, for the tasks; the wordings are our own.
"""

import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Literal, get_args

from jaxtyping import Int
from torch import Tensor

from motionloom.errors import RequestError
from motionloom.models.language.vocabulary import MASKED, Codes, Modality, Part

Wording = Literal["plain", "train", "test"]
_SLOT = re.compile(r"\{(text|motion|music)\}")


@dataclass(frozen=True)
class Instruction:
    """A task of the language model and the wordings that ask for it.

    Attributes:
        name: As ``TASKS`` knows it.
        inputs: What a request brings, each once.
        target: What the answer is. Prediction and dance continuation answer with what follows their input;
            in-between answers with the whole motion.
        masked: Whether the motion of the input has hidden codes (-1).
        plain: The one wording of the pre-training.
        train: Wordings of the instruction tuning; a task without any is only ever asked, never taught.
        test: Wordings that are held out.
    """

    name: str
    inputs: tuple[Modality, ...]
    target: Modality
    masked: bool
    plain: str
    train: tuple[str, ...]
    test: tuple[str, ...]


def _read(name: str) -> Instruction:
    table = tomllib.loads(files("motionloom.data").joinpath("instructions", f"{name}.toml").read_text("utf-8"))
    return Instruction(
        name, tuple(table["inputs"]), table["target"], table.get("masked", False), table["plain"],
        tuple(table["train"]), tuple(table["test"]),
    )  # fmt: skip


_NAMES = (
    "text-to-motion", "motion-to-text", "music-to-dance", "dance-to-music", "prediction", "in-between",
    "text-to-dance", "music-to-text", "music-text-to-dance", "dance-continuation", "any-motion", "any-text",
    "any-music",
)  # fmt: skip
TASKS = MappingProxyType({name: _read(name) for name in _NAMES})
"""Every task by its name."""


def instruction(task: str) -> Instruction:
    """The task of that name.

    Raises:
        RequestError: There is none.
    """
    if task not in TASKS:
        raise RequestError(f"there is no task {task!r}; tasks are {', '.join(TASKS)}")
    return TASKS[task]


def wordings(task: str, kind: Wording) -> tuple[str, ...]:
    """Ways of asking for a task.

    Args:
        task: One of ``TASKS``.
        kind: ``plain`` (one), ``train`` or ``test``.

    Raises:
        RequestError: There is no such task or kind, or the task has no wordings of it.
    """
    known = instruction(task)
    if kind not in get_args(Wording):
        raise RequestError(f"wordings are {', '.join(get_args(Wording))}; there are no {kind!r} ones")
    found = (known.plain,) if kind == "plain" else known.train if kind == "train" else known.test
    if not found:
        raise RequestError(f"{task} has no {kind} wordings: it is only asked, never taught")
    return found


def source(
    task: str,
    wording: str,
    text: str | None = None,
    motion: Int[Tensor, " n"] | None = None,
    music: Int[Tensor, " m"] | None = None,
) -> list[Part]:
    """The parts of a request, as ``motion_vocabulary.sequence`` takes them.

    Args:
        task: One of ``TASKS``.
        wording: With the task's inputs in braces: one of ``wordings``, or anybody's own.
        text: What stands for ``{text}``; braces in it are only letters.
        motion: Codes for ``{motion}``: the prefix for prediction, the motion with hidden codes (-1) for in-between.
        music: Codes for ``{music}``.

    Raises:
        RequestError: The wording lacks an input of the task or has another one, what was given does not fit the task,
            a text is empty, or codes are hidden where the task hides none.
    """
    known = instruction(task)
    given = {"text": text, "motion": motion, "music": music}
    pieces = _SLOT.split(wording)
    asked, brought = sorted(pieces[1::2]), sorted(name for name, value in given.items() if value is not None)
    if asked != sorted(known.inputs) or brought != asked:
        raise RequestError(
            f"{task} takes {_listed(known.inputs)}: the wording asks for {_listed(asked)}, {_listed(brought)} was given"
        )
    if text is not None and not text.strip():
        raise RequestError("the text is empty; say in words what is wanted")
    if motion is not None and known.masked != bool((motion == MASKED).any()):
        needs = "some hidden codes (-1) in its motion" if known.masked else "a motion without hidden codes (-1)"
        raise RequestError(f"{task} needs {needs}")
    parts: list[Part] = []
    words = ""
    for place, piece in enumerate(pieces):
        if place % 2 == 0:
            words += piece
        elif piece == "text":
            words += (text or "").strip()
        else:
            codes = motion if piece == "motion" else music
            assert codes is not None
            parts += [words.strip()] if words.strip() else []
            parts.append(Codes("motion" if piece == "motion" else "music", codes))
            words = ""
    return [*parts, words.strip()] if words.strip() else parts


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return " and ".join(names) if names else "nothing"

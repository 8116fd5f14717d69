"""Words to vectors as the published text-to-motion evaluator reads them: GloVe beside a one-hot part of speech.

A caption is a list of ``word/TAG`` tokens, as HumanML3D and KIT-ML distribute them. Tags are the universal ones; words
of five lists that matter for motion (directions, body parts, objects, actions, manners) get a tag of their own.

Source: Guo et al., "Generating diverse and natural 3D human motions from text" (CVPR 2022), section 4. Files, tag order
and the five lists are those of its release (text-to-motion, MIT licence): trained weights depend on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from motionloom.data.formats.pickle import read_pickle
from motionloom.errors import CheckpointError, DataError, MotionFileError, RequestError
from motionloom.motion.files import check_numbers, parse_npy, read_bytes

MAX_WORDS = 20
"""Words of a caption that are read; the published code cuts longer ones, and so does this module."""
SLOTS = MAX_WORDS + 2
"""A caption stands between a start and an end token."""
TAGS = (
    "VERB", "NOUN", "DET", "ADP", "NUM", "AUX", "PRON", "ADJ", "ADV",
    "Loc_VIP", "Body_VIP", "Obj_VIP", "Act_VIP", "Desc_VIP", "OTHER",
)  # fmt: skip
"""Parts of speech in the order of the one-hot vector; any other tag counts as OTHER."""
_SPECIAL = {
    "Loc_VIP": "left right clockwise counterclockwise anticlockwise forward back backward up down straight curve",
    "Body_VIP": "arm chin foot feet face hand mouth leg waist eye knee shoulder thigh",
    "Obj_VIP": "stair dumbbell chair window floor car ball handrail baseball basketball",
    "Act_VIP": "walk run swing pick bring kick put squat throw hop dance jump turn stumble stop sit lift lower raise"
    " wash stand kneel stroll rub bend balance flap jog shuffle lean rotate spin spread climb",
    "Desc_VIP": "slowly carefully fast careful slow quickly happy angry sad happily angrily sadly",
}
SPECIAL_TAGS = {word: tag for tag, words in _SPECIAL.items() for word in words.split()}
"""Word -> the tag it has whatever its own is."""


@dataclass(frozen=True)
class TaggedWords:
    """Captions ready for the evaluator.

    Attributes:
        words: GloVe vectors, the places behind a caption's end filled with the unknown word.
        tags: One-hot parts of speech.
        lengths: Places in use: the words, the start and the end.
    """

    words: Float[Tensor, "B 22 E"]
    tags: Float[Tensor, "B 22 15"]
    lengths: Int[Tensor, "B"]


@dataclass(frozen=True, eq=False)
class GloVe:
    """The published vocabulary.

    Attributes:
        index: Word -> its row.
        vectors: One row a word.

    Raises:
        CheckpointError: A row does not exist, or there are no vectors for "unk", "sos" and "eos".
    """

    index: dict[str, int]
    vectors: Float[Tensor, "V E"]

    def __post_init__(self) -> None:
        lacking = [word for word in ("unk", "sos", "eos") if word not in self.index]
        if lacking:
            raise CheckpointError(f"the vocabulary has no {', '.join(lacking)}: is it the evaluator's own?")
        rows = self.index.values()
        if min(rows) < 0 or max(rows) >= len(self.vectors):
            raise CheckpointError(
                f"the vocabulary points at rows {min(rows)} to {max(rows)}, there are {len(self.vectors)} vectors:"
                " take all three files from one release"
            )

    def __call__(self, captions: Sequence[Sequence[str]]) -> TaggedWords:
        """Look captions up, each independently of the others.

        Args:
            captions: Tokens ``word/TAG`` of each; words beyond the 20th are cut, as published.

        Raises:
            RequestError: There is no caption, one has no tokens, or a token has no tag.
        """
        if not captions:
            raise RequestError("there are no captions; give at least one")
        rows, tags, lengths = [], [], []
        for tokens in captions:
            if not tokens:
                raise RequestError("a caption has no tokens; give at least one such as 'walk/VERB'")
            used = ["sos/OTHER", *list(tokens)[:MAX_WORDS], "eos/OTHER"]
            found = [self._look_up(token) for token in used + ["unk/OTHER"] * (SLOTS - len(used))]
            rows.append([row for row, _ in found])
            tags.append([tag for _, tag in found])
            lengths.append(len(used))
        one_hot = torch.nn.functional.one_hot(torch.tensor(tags), len(TAGS)).to(self.vectors)
        return TaggedWords(self.vectors[torch.tensor(rows)], one_hot, torch.tensor(lengths))

    def _look_up(self, token: str) -> tuple[int, int]:
        """Row of a token's word and place of its tag; an unknown word loses its tag, as published."""
        word, slash, tag = token.rpartition("/")
        if not slash or not word:
            raise RequestError(f"token {token!r} has no tag; tokens are 'word/TAG', for example 'walk/VERB'")
        if word not in self.index:
            return self.index["unk"], TAGS.index("OTHER")
        tag = SPECIAL_TAGS.get(word, tag)
        return self.index[word], TAGS.index(tag if tag in TAGS else "OTHER")


def read_glove(folder: Path, prefix: str = "our_vab") -> GloVe:
    """Read the published vocabulary: ``<prefix>_data.npy``, ``<prefix>_words.pkl`` and ``<prefix>_idx.pkl``.

    The two pickles are read only if they are plain lists, dicts, texts and numbers; nothing in them is ever run.

    Raises:
        CheckpointError: A file is missing, holds something else, or the three do not belong together.
    """
    paths = [Path(folder) / f"{prefix}_{name}" for name in ("data.npy", "words.pkl", "idx.pkl")]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise CheckpointError(f"{folder} holds no GloVe vocabulary: {', '.join(missing)} missing")
    data, words_path, index_path = paths
    try:
        vectors = check_numbers(parse_npy(read_bytes(data), str(data)), (None, None), str(data))
    except MotionFileError as error:
        raise CheckpointError(str(error)) from None
    words, index = _plain_pickle(words_path), _plain_pickle(index_path)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise CheckpointError(f"{words_path} holds a {type(words).__name__}; a list of words is needed")
    if not isinstance(index, dict) or not all(isinstance(row, int) for row in index.values()):
        raise CheckpointError(f"{index_path} holds a {type(index).__name__}; a table word -> row is needed")
    if absent := [word for word in words if word not in index]:
        raise CheckpointError(
            f"{index_path} has no row for {absent[0]!r} of {words_path.name}: take both from one release"
        )
    return GloVe({word: index[word] for word in words}, torch.from_numpy(vectors).float())


def _plain_pickle(path: Path) -> Any:
    """Lists, dicts, texts and integers of a pickle, read by a parser that calls nothing."""
    try:
        return read_pickle(path)
    except DataError as error:
        raise CheckpointError(str(error)) from None


@dataclass(frozen=True)
class TaggedCaption:
    """One line of a text file of HumanML3D or KIT-ML.

    Attributes:
        text: The sentence.
        tokens: Its ``word/TAG`` tokens.
        start: Where the described part begins [s].
        end: Where it ends [s]; 0 for both means the whole clip.
    """

    text: str
    tokens: tuple[str, ...]
    start: float
    end: float


def parse_caption(line: str) -> TaggedCaption:
    """Read a line ``sentence#word/TAG word/TAG#start#end``; times of ``nan`` count as 0, as published.

    Raises:
        RequestError: The line has another form.
    """
    parts = line.strip().split("#")
    try:
        start, end = (float(part) for part in parts[2:])
    except ValueError:
        raise RequestError(
            f"caption line {line.strip()[:60]!r} is not 'sentence#word/TAG word/TAG#start#end'"
        ) from None
    tokens = tuple(parts[1].split(" "))
    return TaggedCaption(parts[0], tokens, 0.0 if start != start else start, 0.0 if end != end else end)

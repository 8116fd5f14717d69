"""Captions to GloVe vectors and tags: the published rules, and files that cannot do harm."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motionloom.errors import CheckpointError, RequestError
from motionloom.models.text_motion.glove import SLOTS, SPECIAL_TAGS, TAGS, GloVe, parse_caption, read_glove

WORDS = ["eos", "unk", "walk", "sos", "person", "a", "left"]


def write(folder: Path, words: object = WORDS, index: object = None) -> Path:
    np.save(folder / "our_vab_data.npy", np.arange(len(WORDS) * 3, dtype=np.float64).reshape(-1, 3))
    (folder / "our_vab_words.pkl").write_bytes(pickle.dumps(words, protocol=3))
    table = {word: row for row, word in enumerate(WORDS)} if index is None else index
    (folder / "our_vab_idx.pkl").write_bytes(pickle.dumps(table, protocol=3))
    return folder


@pytest.fixture
def glove(tmp_path: Path) -> GloVe:
    return read_glove(write(tmp_path))


def test_a_caption_by_hand(glove: GloVe):
    found = glove([["a/DET", "person/NOUN", "walk/NOUN", "left/ADV", "zigzag/ADV", "a/X"]])
    rows = (found.words[0, :, 0] / 3).int().tolist()
    assert rows == [3, 5, 4, 2, 6, 1, 5, 0] + [1] * 14  # sos a person walk left unk a eos, then unk
    tags = [TAGS[tag] for tag in found.tags[0].argmax(1).tolist()]
    assert tags == ["OTHER", "DET", "NOUN", "Act_VIP", "Loc_VIP", "OTHER", "OTHER", "OTHER"] + ["OTHER"] * 14
    assert found.lengths.tolist() == [8]
    assert torch.equal(found.tags.sum(-1), torch.ones(1, SLOTS))


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_captions_are_independent_and_cut_at_twenty_words(lengths: list[int]):
    glove = GloVe({word: row for row, word in enumerate(WORDS)}, torch.eye(len(WORDS)))
    captions = [["walk/VERB"] * length for length in lengths]
    found = glove(captions)
    assert found.lengths.tolist() == [min(length, 20) + 2 for length in lengths]
    assert torch.equal(found.words[-1:], glove(captions[-1:]).words)
    ends = found.words[torch.arange(len(lengths)), found.lengths - 1]
    assert torch.equal(ends, glove.vectors[:1].expand(len(lengths), -1))


def test_the_special_words_are_those_of_the_release():
    counts = [list(SPECIAL_TAGS.values()).count(tag) for tag in TAGS[9:14]]
    assert counts == [12, 13, 10, 34, 12]  # one of the 35 published actions stands there twice


class Harm:
    """What a pickle can do when it is trusted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_pickles_that_are_more_than_words_are_refused_unread(tmp_path: Path):
    with pytest.raises(CheckpointError, match="pickles with code are never run"):
        read_glove(write(tmp_path, [Harm(tmp_path / "made")]))
    assert not (tmp_path / "made").exists()
    with pytest.raises(CheckpointError, match="holds a set; a list of words is needed"):
        read_glove(write(tmp_path, {"a", "b"}))
    (write(tmp_path) / "our_vab_idx.pkl").write_bytes(b"\x80\x03]r\xff\xff\xff\x7f.")
    with pytest.raises(CheckpointError, match="holds a list; a table word -> row is needed"):
        read_glove(tmp_path)


@pytest.mark.parametrize("damaged", [b"", b"\x80\x03]q", b"words", pickle.dumps(WORDS, protocol=3)[:-9] + b"."])
def test_damaged_pickles_are_refused(tmp_path: Path, damaged: bytes):
    (write(tmp_path) / "our_vab_words.pkl").write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"our_vab_words\.pkl"):
        read_glove(tmp_path)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"our_vab_data\.npy, our_vab_words\.pkl, our_vab_idx\.pkl missing"):
        read_glove(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds a dict; a list of words is needed"):
        read_glove(write(tmp_path, {"a": 1}))
    with pytest.raises(CheckpointError, match=r"holds a list; a table word -> row is needed"):
        read_glove(write(tmp_path, index=[1, 2]))
    with pytest.raises(CheckpointError, match=r"has no row for 'unk' of our_vab_words\.pkl"):
        read_glove(write(tmp_path, index={"eos": 0}))
    with pytest.raises(CheckpointError, match="points at rows 0 to 99, there are 7 vectors"):
        read_glove(write(tmp_path, index={word: row for row, word in enumerate(WORDS)} | {"left": 99}))
    with pytest.raises(CheckpointError, match="has no sos, eos"):
        read_glove(write(tmp_path, ["unk", "walk"]))
    (write(tmp_path) / "our_vab_data.npy").write_bytes(b"not numpy")
    with pytest.raises(CheckpointError, match="is no npy array"):
        read_glove(tmp_path)


def test_a_line_of_the_datasets(glove: GloVe):
    found = parse_caption("a man walks left.#a/DET man/NOUN walk/VERB left/ADV#nan#2.5\n")
    assert (found.text, found.start, found.end) == ("a man walks left.", 0.0, 2.5)
    assert found.tokens == ("a/DET", "man/NOUN", "walk/VERB", "left/ADV")
    assert glove([found.tokens]).lengths.tolist() == [6]
    for line in ("a man walks", "a man walks#a/DET#x#1.0", "a#a/DET#1.0"):
        with pytest.raises(RequestError, match="is not 'sentence#word/TAG word/TAG#start#end'"):
            parse_caption(line)


def test_bad_captions_are_refused(glove: GloVe):
    with pytest.raises(RequestError, match="there are no captions"):
        glove([])
    with pytest.raises(RequestError, match="a caption has no tokens"):
        glove([["walk/VERB"], []])
    with pytest.raises(RequestError, match="token 'walk' has no tag"):
        glove([["walk"]])

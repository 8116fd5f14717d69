"""Captions of a store as vectors: every clip finds its own, and one without says so."""

import dataclasses

import numpy as np
import pytest
import torch

from motionloom.errors import DataError
from motionloom.training.caption_vectors import caption_table


def test_every_clip_finds_its_own_sentences_and_no_caption_is_one_clear_line(store):
    table = caption_table(store)
    for clip in store.clips:
        for mirrored, texts in ((False, clip.captions), (True, clip.mirrored)):
            assert [table.texts[row] for row in table.choices(clip, mirrored)] == list(texts)
    picked = table.pick(torch.tensor([0, len(table.texts) - 1]))
    assert picked.words.shape[:2] == picked.valid.shape
    assert np.isfinite(picked.sentence.numpy()).all()
    bare = dataclasses.replace(store.clips[0], captions=())
    with pytest.raises(DataError, match=f"clip {bare.id} has no captions; training with text needs them"):
        table.choices(bare, False)

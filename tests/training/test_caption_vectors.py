"""Captions of a store as vectors: every clip finds its own, and one without says so."""

import dataclasses
import json
import shutil
from typing import Any, cast

import numpy as np
import pytest
import torch

from motionloom.conditions.text import minilm
from motionloom.data.store import Store
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


def test_vectors_of_texts_that_were_encoded_before_are_taken_over(store, tmp_path):
    shutil.copytree(store.path, tmp_path / "store", ignore=shutil.ignore_patterns("features"))
    fresh, asked = Store(tmp_path / "store"), []

    class Counting:
        """MiniLM that notes what it is asked for."""

        def __init__(self):
            self.whole = minilm()
            self.name, self.max_pieces, self.licence = self.whole.name, self.whole.max_pieces, self.whole.licence
            self.sentence_dim, self.word_dim = self.whole.sentence_dim, self.whole.word_dim

        def __call__(self, texts):
            return self.whole(texts)

        def encode(self, texts):
            asked.extend(texts)
            return self.whole.encode(texts)

    first = caption_table(fresh, cast(Any, Counting()))
    assert sorted(asked) == list(first.texts)
    folder = fresh.path / "features" / f"captions-{minilm().name}"
    kept = json.loads((folder / "texts.json").read_text())
    rows = list(range(0, len(kept), 2))
    for name in ("sentence", "words", "valid"):
        np.save(folder / f"{name}.npy", np.load(folder / f"{name}.npy")[rows])
    (folder / "texts.json").write_text(json.dumps([kept[row] for row in rows]))
    asked.clear()
    second = caption_table(fresh, cast(Any, Counting()))
    assert sorted(asked) == kept[1::2]
    torch.testing.assert_close(second.features.sentence, first.features.sentence, atol=1e-5, rtol=0)
    torch.testing.assert_close(second.features.words.float(), first.features.words.float(), atol=2e-2, rtol=0)
    assert torch.equal(second.features.valid, first.features.valid)

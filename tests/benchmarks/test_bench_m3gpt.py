"""The benchmark of M3GPT at a tiny size: figures have the promised form; how fast it is, is no test."""

import json

import pytest
from make_m3gpt import small_language, write_m3gpt

from benchmarks import m3gpt as benchmark
from benchmarks.m3gpt import BenchM3GPTOptions, bench_m3gpt, published_shape
from motionloom.errors import RequestError

SMALL = small_language(motion=64, most=60).config


def are_times(value: dict) -> bool:
    return all(0 < value[kind]["min"] <= value[kind]["median"] for kind in ("cpu_s", "wall_s"))


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    engine = write_m3gpt(tmp_path_factory.mktemp("m3gpt"))
    options = BenchM3GPTOptions(
        tokens=40, source=6, batch=3, repeats=1, threads=1, always_bf16=True, engine=engine, seconds=1.0, config=SMALL
    )
    return bench_m3gpt(options)


def test_fp32_writes_the_tokens_of_transformers(result):
    assert result["ours"]["fp32"]["equal_tokens"] == 1.0
    assert result["ours"]["fp32"]["different_codes"] > 1


def test_every_figure_has_its_form(result):
    for figures in (result["transformers"], *result["ours"].values()):
        assert are_times(figures["one"])
        assert are_times(figures["batch"])
        assert figures["tokens_per_s"] > 0
        assert set(figures["gain"]) == {"cpu_s", "wall_s"}
    assert list(result["ours"]) == ["fp32", "bf16", "int8"]
    assert all(0 <= figures["equal_tokens"] <= 1 for figures in result["ours"].values())
    assert all(are_times(result["engine"][name]) for name in ("motion", "caption", "three_captions"))
    assert result["engine"]["models"] == {"language": "motion_llm", "motion": "tokenizer", "music": "music_tokenizer"}
    assert "10.2 s" in result["reference"]
    assert json.loads(json.dumps(result)) == result


def test_what_is_not_measured_says_why(monkeypatch):
    monkeypatch.setattr(benchmark, "has_bf16", lambda: False)
    monkeypatch.setattr(benchmark, "_engine", lambda options: {})
    options = BenchM3GPTOptions(
        tokens=4, source=4, batch=1, repeats=1, threads=1, transformers=False, precisions=("fp32", "bf16"), config=SMALL
    )
    found = bench_m3gpt(options)
    assert found["transformers"] == benchmark.NOT_ASKED
    assert found["ours"]["bf16"] == benchmark.NO_BF16
    assert "equal_tokens" not in found["ours"]["fp32"]


def test_the_shape_is_that_of_the_release():
    """34,666 rows; the network itself is not built here."""
    from motionloom.models.language.vocabulary import Pieces

    config = published_shape()
    words = Pieces(config.pieces, config.pad, config.end).vocabulary(config.motion_codes, config.music_codes)
    assert words.rows == 34_666
    assert words.codes("motion").start == 32_100
    assert (config.width, config.layers, config.decoder_layers, config.heads, config.tied) == (768, 12, 12, 12, False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"tokens": 0}, "0 tokens"), ({"batch": 0}, "batch 0"), ({"precisions": ("int8",)}, "give fp32 first")],
)
def test_options_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(RequestError, match=message):
        BenchM3GPTOptions(**wrong)

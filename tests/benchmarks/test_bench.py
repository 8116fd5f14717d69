"""Each benchmark runs at a tiny size and its figures have the promised form; how fast it is, is not a test."""

import json
import sys
from pathlib import Path

import pytest
from make_mmm import write_engine
from typer.testing import CliRunner

from benchmarks import __main__ as cli_bench
from benchmarks import data as bench
from benchmarks import mmm as bench_mmm
from motionloom.app import bench as app_bench
from motionloom.app import clock as bench_clock
from motionloom.app.cli import main as cli
from motionloom.errors import CheckpointError, DataError, RequestError
from motionloom.models.masked.model import MaskedTransformer
from motionloom.models.tokenizers.motion import TokenizerConfig

RUNNER = CliRunner()
MASKED = MaskedTransformer.tiny_published().config
TOKENIZER = TokenizerConfig(width=32, codes=32, code_dim=8)


def are_times(value: dict) -> bool:
    """Whether an entry holds least and middle CPU and wall seconds, in that order."""
    return all(0 < value[kind]["min"] <= value[kind]["median"] for kind in ("cpu_s", "wall_s"))


def test_mmm_times_sampling_and_decoding():
    result = bench_mmm.bench_mmm(30, repeats=2, threads=1, clips=2, bf16=True, masked=MASKED, tokenizer=TOKENIZER)
    assert (result["benchmark"], result["tokens"], result["clips"]) == ("mmm", 8, 2)
    assert result["machine"]["threads"] == 1
    assert "4.3 CPU-seconds" in result["reference"]
    for kind in ("fp32", "bf16", "int8"):
        assert all(are_times(result[kind][part]) for part in ("total", "sample", "decode"))
    assert all(0 <= result[kind]["equal_tokens"] <= 1 for kind in ("bf16", "int8"))
    assert json.loads(json.dumps(result)) == result


@pytest.mark.parametrize(
    ("flags", "has"), [("flags : fpu avx2", False), ("flags : fpu avx512_bf16", True), ("Features : fp bf16", True)]
)
def test_bf16_is_timed_where_the_processor_has_it(flags, has, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(f"model name : Abacus 9\n{flags}\n")
    monkeypatch.setattr(bench_clock, "_CPU_INFO", tmp_path / "cpuinfo")
    assert bench_clock.has_bf16() is has
    result = bench_mmm.bench_mmm(8, repeats=1, threads=1, masked=MASKED, tokenizer=TOKENIZER)
    assert result["machine"]["cpu"] == "Abacus 9"
    assert (result["bf16"] == bench_mmm.NO_BF16) is not has
    never = bench_mmm.bench_mmm(8, repeats=1, threads=1, bf16=False, masked=MASKED, tokenizer=TOKENIZER)
    assert never["bf16"] == "not measured: not asked for"


def test_starter_is_timed_cold_warm_and_in_a_batch(tmp_path):
    engine = str(write_engine(tmp_path / "small"))
    result = app_bench.bench_starter(engine, seconds=1.0, clips=2, repeats=1, threads=1)
    assert all(are_times(result[name]) for name in ("cold", "warm", "batch"))
    assert are_times(result["warm"]["text"])
    assert result["load"]["wall_s"] > 0
    assert json.loads(json.dumps(result)) == result


def test_data_counts_windows_and_prepared_frames(store, cmu_folder):
    result = bench.bench_data(store.path, frames=16, batch=4, windows=8, source=("cmu", cmu_folder), takes=3, repeats=1)
    loader, preparation = result["loader"], result["preparation"]
    assert loader["windows"] == 8
    for name in ("mirrored", "plain"):
        assert are_times(loader[name])
        assert loader[name]["windows_per_cpu_s"] == pytest.approx(8 / loader[name]["cpu_s"]["min"], rel=1e-2, abs=1)
    assert preparation["takes"] == 3
    assert 0 < preparation["taken"] <= 3
    assert preparation["frames"] > 0
    assert are_times(preparation)


def test_render_writes_video_and_sheet():
    result = app_bench.bench_render(seconds=0.2, fps=10.0, repeats=1)
    assert result["frames"] == 2
    assert all(are_times(result[kind]) and result[kind]["bytes"] > 100 for kind in ("mp4", "gif", "png"))


def test_wrong_requests_are_refused(store, tmp_path):
    with pytest.raises(RequestError, match="0 repeats; at least 1"):
        bench_mmm.bench_mmm(8, repeats=0, threads=1, masked=MASKED, tokenizer=TOKENIZER)
    with pytest.raises(RequestError, match="0 threads; give 1 to"):
        bench_mmm.bench_mmm(8, threads=0, masked=MASKED, tokenizer=TOKENIZER)
    with pytest.raises(RequestError, match="0 clips of 196 frames"):
        bench_mmm.bench_mmm(clips=0)
    with pytest.raises(CheckpointError, match="holds no engine that is known"):
        app_bench.bench_starter(str(tmp_path))
    with pytest.raises(DataError, match="source 'none' is unknown"):
        bench.bench_data(store.path, batch=1, windows=1, source=("none", tmp_path), repeats=1)


def test_the_verb_prints_and_writes_whole_files(store, tmp_path):
    out = tmp_path / "data.json"
    call = ["data", "--store", str(store.path), "--batch", "2", "--windows", "2", "--repeats", "1"]
    shown = RUNNER.invoke(cli_bench.bench, [*call, "--out", str(out)])
    assert shown.exit_code == 0
    assert "windows_per_cpu_s: " in shown.output
    assert json.loads(out.read_text())["benchmark"] == "data"
    spoken = RUNNER.invoke(cli_bench.bench, [*call, "--json"])
    assert json.loads(spoken.output)["loader"]["windows"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["data.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "--store", "s", "--source", "cmu"], "'cmu' is not NAME=FOLDER"),
        (["render", "--out", "no/such/folder/a.json"], "lies in none that exists"),
        (["render", "--repeats", "0"], "--repeats"),
    ],
)
def test_wrong_usage_is_one_line(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["motionloom", "bench", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_every_benchmark_is_a_verb():
    shown = RUNNER.invoke(cli_bench.bench, ["--help"]).output
    assert all(f" {name} " in shown for name in ("bvh", "mmm", "lmm", "m3gpt", "starter", "data", "store", "render"))
    package = RUNNER.invoke(cli.app, ["bench", "--help"]).output
    # Those that need the repository are not offered without it.
    assert all(f" {name} " in package for name in ("bvh", "starter", "render"))
    assert Path(cli_bench.__file__).read_text().count("\nfrom motionloom") == 1

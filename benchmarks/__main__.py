"""Benchmarks: ``python -m benchmarks NAME``; those of ``motionloom bench`` are among them."""

from pathlib import Path
from typing import Annotated

import typer

from motionloom.app.cli.bench import Json, Out, Threads, bench, check_out, report


@bench.command()
def mmm(
    frames: Annotated[int, typer.Option(min=1, help="Frames of each clip.")] = 196,
    clips: Annotated[
        int | None, typer.Option(min=1, help="Clips in one batch; when left out, 1, beside the official code 32.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Runs.")] = 3,
    threads: Threads = 2,
    seed: Annotated[int, typer.Option(help="Of the random weights and texts.")] = 0,
    official: Annotated[
        Path | None, typer.Option(help="Folder with a clone of MMM's code, to be timed on the same weights.")
    ] = None,
    bf16: Annotated[
        bool | None, typer.Option(help="Time bfloat16 too; when left out, where the processor has it.")
    ] = None,
    out: Out = None,
    json_: Json = False,
) -> None:
    """Generate at MMM's published size with random weights, without the text encoder."""
    check_out(out)
    if official is not None:
        from benchmarks.mmm_official import bench_official

        report(bench_official(official, frames, clips or 32, repeats, threads, bf16, seed), out, json_)
        return
    from benchmarks.mmm import bench_mmm

    report(bench_mmm(frames, repeats, threads, clips or 1, bf16, seed), out, json_)


@bench.command()
def lmm(
    engine: Annotated[str, typer.Option(help="Diffusion engine: a bundled one or a directory.")] = "lmm",
    seconds: Annotated[float, typer.Option(help="Length of each clip.")] = 6.0,
    clips: Annotated[int, typer.Option(min=1, help="Clips in the batch.")] = 10,
    repeats: Annotated[int, typer.Option(min=1, help="Runs.")] = 3,
    threads: Threads = 2,
    seed: Annotated[int, typer.Option(help="Of the clips, or of the random weights.")] = 0,
    quality: Annotated[
        Path | None, typer.Option(help="Store with captions: measure both samplers' quality on its test split too.")
    ] = None,
    held_out: Annotated[int | None, typer.Option(help="Clips of that split; all when left out.")] = None,
    official: Annotated[
        Path | None, typer.Option(help="Folder with a clone of LMM's code: time its Tiny network and ours instead.")
    ] = None,
    tutel: Annotated[Path | None, typer.Option(help="Folder with a clone of tutel, built for the CPU.")] = None,
    frames: Annotated[int, typer.Option(min=2, help="Frames of the clip beside the official code.")] = 200,
    bf16: Annotated[
        bool | None, typer.Option(help="Time bfloat16 too; when left out, where the processor has it.")
    ] = None,
    out: Out = None,
    json_: Json = False,
) -> None:
    """Make clips by diffusion, 50 published steps beside 10 of ours; or a network beside LMM's official code."""
    check_out(out)
    if (official is None) != (tutel is None):
        raise typer.BadParameter("the official code needs tutel too: give both --official and --tutel")
    if official is not None and tutel is not None:
        from benchmarks.lmm_official import bench_official_lmm

        report(bench_official_lmm(official, tutel, frames, repeats, threads, bf16, seed), out, json_)
        return
    from benchmarks.lmm import bench_lmm

    report(bench_lmm(engine, seconds, clips, repeats, threads, seed, quality, held_out), out, json_)


@bench.command()
def m3gpt(
    engine: Annotated[Path | None, typer.Option(help="Folder of an engine; the bundled one.")] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer.")] = 256,
    batch: Annotated[int, typer.Option(min=2, help="Answers at once, beside one.")] = 16,
    repeats: Annotated[int, typer.Option(min=1, help="Runs.")] = 2,
    threads: Threads = 2,
    out: Out = None,
    json_: Json = False,
) -> None:
    """Write motion tokens with a language model of flan-T5's size, beside transformers; and time an engine."""
    check_out(out)
    from benchmarks.m3gpt import BenchM3GPTOptions, bench_m3gpt

    options = BenchM3GPTOptions(tokens=tokens, batch=batch, repeats=repeats, threads=threads, engine=engine)
    report(bench_m3gpt(options), out, json_)


@bench.command()
def bounds(out: Out = None, json_: Json = False) -> None:
    """Read hostile files, each in a process of its own: processor seconds, memory, and what came of them."""
    check_out(out)
    from benchmarks.bounds import bench_bounds

    report(bench_bounds(), out, json_)


@bench.command("data")
def data_(
    store: Annotated[Path, typer.Option(help="Folder of a store.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "train",
    frames: Annotated[int, typer.Option(min=1, help="Frames of a window.")] = 64,
    batch: Annotated[int, typer.Option(min=1, help="Windows in a batch.")] = 64,
    windows: Annotated[int, typer.Option(min=1, help="Windows in a run.")] = 6400,
    source: Annotated[
        str | None, typer.Option(help="NAME=FOLDER: time the preparation of some of its takes too.")
    ] = None,
    takes: Annotated[int, typer.Option(min=1, help="How many takes.")] = 30,
    repeats: Annotated[int, typer.Option(min=1, help="Runs.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the windows.")] = 0,
    out: Out = None,
    json_: Json = False,
) -> None:
    """Cut training windows from a store, and prepare takes of a raw dataset, on one thread."""
    check_out(out)
    pair = _pair(source) if source is not None else None
    from benchmarks.data import bench_data

    report(bench_data(store, split, frames, batch, windows, pair, takes, repeats, seed), out, json_)


@bench.command()
def store(
    frames: Annotated[int, typer.Option(min=2000, help="Frames of the made-up corpus.")] = 5_000_000,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    source: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER: a real corpus instead; repeat for more.")
    ] = None,
    work: Annotated[Path | None, typer.Option(help="Folder with room for the store.")] = None,
    out: Out = None,
    json_: Json = False,
) -> None:
    """Prepare a large corpus: frames a second, bytes a frame, memory, and what 100 million frames would take."""
    check_out(out)
    folders = dict(_pair(entry) for entry in source) if source else None
    from benchmarks.store import bench_store

    report(bench_store(frames, workers, folders, work), out, json_)


@bench.command()
def structure(out: Out = None, json_: Json = False) -> None:
    """The package's shape: import circles, lines, repeated code, files from a sentence to a BVH."""
    check_out(out)
    import tempfile

    from benchmarks.structure import bench_structure

    with tempfile.TemporaryDirectory() as folder:
        report(bench_structure(Path(folder)), out, json_)


def _pair(source: str) -> tuple[str, Path]:
    name, equals, folder = source.partition("=")
    if not equals or not folder:
        raise typer.BadParameter(f"{source!r} is not NAME=FOLDER", param_hint="--source")
    return name, Path(folder)


if __name__ == "__main__":
    bench(prog_name="python -m benchmarks")

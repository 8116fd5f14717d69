"""``motionloom bench``: how fast it is on this machine; more in a checkout by ``python -m benchmarks``."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

bench = typer.Typer(
    help="Measure speed: least CPU and wall seconds of several runs, after one that is not counted. More benchmarks,"
    " beside the official code too, are in a checkout: python -m benchmarks.",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="Print machine-readable results.")]
Out = Annotated[Path | None, typer.Option(help="Write the results as JSON to this file as well.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of torch.")]


@bench.command()
def bvh(
    file: Annotated[Path | None, typer.Argument(help="BVH file; a made-up one of 2 MB when left out.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Runs.")] = 5,
    out: Out = None,
    json_: Json = False,
) -> None:
    """Read a BVH file, beside numpy and upc-pymotion (if installed), on one thread."""
    check_out(out)
    from motionloom.app.bench import bench_bvh
    from motionloom.app.clock import machine

    report({"benchmark": "bvh", "machine": {**machine(), "threads": 1}, **bench_bvh(file, repeats)}, out, json_)


@bench.command()
def starter(
    engine: Annotated[str, typer.Option(help="Engine: a bundled one or a directory.")] = "mmm",
    seconds: Annotated[float, typer.Option(help="Length of each clip.")] = 6.0,
    clips: Annotated[int, typer.Option(min=1, help="Clips in the batch.")] = 30,
    repeats: Annotated[int, typer.Option(min=1, help="Runs.")] = 5,
    threads: Threads = 2,
    seed: Annotated[int, typer.Option(help="Of the first clip.")] = 0,
    out: Out = None,
    json_: Json = False,
) -> None:
    """Make a clip from a cold process and from a warm one, and many clips in one batch."""
    check_out(out)
    from motionloom.app.bench import bench_starter

    report(bench_starter(engine, seconds, clips, repeats, threads, seed), out, json_)


@bench.command()
def render(
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of the motion.")] = 10.0,
    fps: Annotated[float, typer.Option(min=1.0, max=240.0, help="Its frame rate.")] = 30.0,
    repeats: Annotated[int, typer.Option(min=1, help="Runs.")] = 3,
    out: Out = None,
    json_: Json = False,
) -> None:
    """Draw a motion as MP4, GIF and contact sheet."""
    check_out(out)
    from motionloom.app.bench import bench_render

    report(bench_render(seconds, fps, repeats), out, json_)


def check_out(out: Path | None) -> None:
    """Refuse a file that cannot be written before minutes are spent."""
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise typer.BadParameter(f"{out}: is a directory, or lies in none that exists", param_hint="--out")


def report(result: dict[str, Any], out: Path | None, json_: bool) -> None:
    """Print figures, and write them to a file where one is named."""
    text = json.dumps(result, indent=2, ensure_ascii=False)
    if out is not None:
        from motionloom.motion.files import atomic_path

        with atomic_path(out) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    typer.echo(text if json_ else "\n".join(_lines(result)))
    if out is not None and not json_:
        typer.echo(f"wrote {out}")


def _lines(result: dict[str, Any], indent: str = "") -> list[str]:
    """Results for people: a line a figure, groups indented."""
    lines = []
    for name, value in result.items():
        if not isinstance(value, dict):
            lines.append(f"{indent}{name}: {value}")
        elif value.keys() == {"min", "median"}:
            lines.append(f"{indent}{name}: {value['min']:.4g} (median {value['median']:.4g})")
        else:
            lines += [f"{indent}{name}", *_lines(value, indent + "  ")]
    return lines

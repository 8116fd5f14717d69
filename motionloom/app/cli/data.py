"""``motionloom data``: raw datasets to a store, and what a store holds."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

data = typer.Typer(help="Prepare datasets and look at what they hold.", no_args_is_help=True)


@data.command("prepare")
def prepare_(
    source: Annotated[list[str], typer.Option(help="NAME=FOLDER, for example cmu=raw/cmu; repeat for more.")],
    out: Annotated[Path, typer.Option(help="Folder of the store.")],
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    ray: Annotated[
        str | None,
        typer.Option(help="Run on Ray: 'local', or the address of a cluster that sees the same folders."),
    ] = None,
) -> None:
    """Build a store from raw dataset folders; an interrupted run goes on where it stopped."""
    from motionloom.data.prepare import prepare

    folders = {}
    for entry in source:
        name, equals, folder = entry.partition("=")
        if not equals or not folder:
            raise typer.BadParameter(f"{entry!r} is not NAME=FOLDER", param_hint="--source")
        folders[name] = Path(folder)
    started = time.perf_counter()
    report = prepare(folders, out, workers, ray=ray)
    typer.echo(
        f"{report.clips} clips, {report.frames} frames, {report.hours:.2f} h in {time.perf_counter() - started:.0f} s;"
        f" {report.refused} refused (see {out / 'refused.csv'}), {report.flagged} flagged"
    )


@data.command("info")
def info(
    store: Annotated[Path, typer.Argument(help="Folder of a store.")],
    out: Annotated[Path | None, typer.Option(help="Draw random clips into this .png.")] = None,
    clips: Annotated[int, typer.Option(min=1, help="How many clips to draw.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Which clips.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print machine-readable results.")] = False,
) -> None:
    """Print what a store holds, by source, licence, task, frame rate and body part; draw clips of it."""
    from motionloom.data.report import corpus_report

    found = corpus_report(store)
    drawn: list[str] = []
    if out is not None:
        from motionloom.app.gallery import write_gallery
        from motionloom.data.store import Store

        drawn = write_gallery(Store(store), out, clips, seed)
    if json_:
        typer.echo(json.dumps({**found, "drawn": drawn} if drawn else found, indent=2, ensure_ascii=False))
        return
    typer.echo("\n".join(_lines(found)))
    if out is not None:
        typer.echo(f"wrote {out}: {', '.join(drawn)}")


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [
        f"{found['clips']} clips, {found['frames']} frames, {found['hours']:.2f} h;"
        f" {found['bytes'] / 1e6:.0f} MB, {found['bytes_per_frame']} bytes a frame"
    ]
    for group in ("sources", "licences", "splits", "tasks", "fps", "parts"):
        lines.append(f"{group}:")
        width = max(len(name) for name in found[group])
        for name, entry in found[group].items():
            more = [f"{entry[key]} {key}" for key in ("refused", "flagged") if entry.get(key)]
            more += [entry[key] for key in ("licence", "terms") if entry.get(key)]
            tail = "".join(f"; {word}" for word in more)
            lines.append(f"  {name:<{width}}  {entry['clips']:>7} clips {entry['hours']:>9.2f} h{tail}")
    captions, lengths = found["captions"], found["lengths"]
    lines.append(
        f"captions: {captions['different']} different, {captions['a clip']} a clip,"
        f" {captions['clips without']} clips without"
    )
    lines.append(f"lengths: {lengths['shortest']} s to {lengths['longest']} s, median {lengths['median']} s")
    for group in ("flags", "refused"):
        if found[group]:
            lines.append(f"{group}: " + "; ".join(f"{count} x {name}" for name, count in found[group].items()))
    lines.append(f"digest {found['digest']}")
    return lines

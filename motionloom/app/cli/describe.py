"""``motionloom describe``, ``compose`` and ``ask``: what a motion shows, and music for it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from motionloom.app.cli.progress import bar
from motionloom.app.cli.reading import Asf, Clip, Reading, Source, TrueFps, Unit, Up

if TYPE_CHECKING:
    from motionloom.engines.base import Engine as AnyEngine

Seed = Annotated[int, typer.Option(help="Same seed, same answer.")]
Engine = Annotated[str, typer.Option(help="Engine that has words: a bundled one or a directory.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable results.")]


def describe(
    source: Source,
    count: Annotated[int, typer.Option(help="How many different sentences.")] = 3,
    seed: Seed = 0,
    engine: Engine = "m3gpt",
    unit: Unit = None,
    true_fps: TrueFps = None,
    up: Up = None,
    asf: Asf = None,
    clip: Clip = None,
    json_: Json = False,
) -> None:
    """Say in words what happens in a motion, with how sure the model is."""
    motion = Reading(unit, true_fps, up, asf, clip).body(source)
    with bar("describe", "token") as progress:
        captions = load(engine).describe(motion, count, seed=seed, progress=progress)
    if json_:
        _print_json({"captions": [asdict(caption) for caption in captions]})
        return
    for caption in captions:
        typer.echo(f"{caption.confidence:.2f}  {caption.text}")


def compose(
    source: Source,
    out: Annotated[Path, typer.Option(help="Sound file to write: .wav .flac .ogg .mp3")],
    seed: Seed = 0,
    candidates: Annotated[int, typer.Option(help="Pieces that are written; the one that fits best is kept.")] = 4,
    engine: Engine = "m3gpt",
    unit: Unit = None,
    true_fps: TrueFps = None,
    up: Up = None,
    asf: Asf = None,
    clip: Clip = None,
    json_: Json = False,
) -> None:
    """Write music for a motion, exactly as long."""
    if out.suffix.lower() not in (".wav", ".flac", ".ogg", ".mp3"):
        raise typer.BadParameter(f"{out}: sound is written as .wav, .flac, .ogg or .mp3", param_hint="--out")
    if not out.parent.is_dir():
        raise typer.BadParameter(f"{out}: there is no folder {out.parent}", param_hint="--out")
    motion = Reading(unit, true_fps, up, asf, clip).body(source)
    with bar("compose", "token") as progress:
        sound = load(engine).compose(motion, seed=seed, candidates=candidates, progress=progress)
    from motionloom.conditions.audio import save_audio

    save_audio(sound, out)
    if json_:
        _print_json({"file": str(out), "seconds": sound.seconds, "rate": sound.rate})
        return
    typer.echo(f"wrote {out}: {sound.seconds:.2f} s at {sound.rate} Hz")


def ask(
    source: Source,
    question: Annotated[str, typer.Argument(help="For example 'what is done?' or 'which music would fit?'")],
    seed: Seed = 0,
    engine: Engine = "m3gpt",
    unit: Unit = None,
    true_fps: TrueFps = None,
    up: Up = None,
    asf: Asf = None,
    clip: Clip = None,
    json_: Json = False,
) -> None:
    """Answer a question about a motion: what is done, what comes next, which music would fit."""
    motion = Reading(unit, true_fps, up, asf, clip).body(source)
    with bar("ask", "token") as progress:
        answer = load(engine).ask(motion, question, seed=seed, progress=progress)
    if json_:
        _print_json(asdict(answer))
        return
    typer.echo(answer.text)


def load(name: str) -> "AnyEngine":
    """An engine by name or folder; imported when a command runs."""
    from motionloom.engines.registry import load as load_engine

    return load_engine(name)


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))

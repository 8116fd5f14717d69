"""The command line: one verb a task.

Nothing heavy is imported at the top: ``motionloom --help`` must answer at once.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from motionloom.app.cli.bench import bench
from motionloom.app.cli.clean import clean
from motionloom.app.cli.data import data
from motionloom.app.cli.describe import ask, compose, describe
from motionloom.app.cli.edit import complete, predict, story
from motionloom.app.cli.evaluate import evaluate, evaluate_m3gpt, evaluate_tasks
from motionloom.app.cli.files import check_outs
from motionloom.app.cli.generate import generate
from motionloom.app.cli.pack import pack
from motionloom.app.cli.reading import Asf, Clip, Reading, Source, TrueFps, Unit, Up
from motionloom.app.cli.rig import For, InPlace, LoopIt, MapFile, Names, On, ReduceKeys, RootBone, deliver, rig, wanted
from motionloom.app.cli.train import train
from motionloom.errors import MotionloomError

app = typer.Typer(
    name="motionloom",
    help="Generate, edit and understand human motion, and take it to Blender, game engines and the web.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data, name="data")
app.add_typer(bench, name="bench")
app.add_typer(rig, name="rig")
app.command()(pack)
app.command()(generate)
app.command()(clean)
app.command()(complete)
app.command()(predict)
app.command()(story)
app.command()(evaluate)
app.command()(train)
app.command("evaluate-tasks", hidden=True)(evaluate_tasks)
app.command("evaluate-m3gpt", hidden=True)(evaluate_m3gpt)
app.command()(describe)
app.command()(compose)
app.command()(ask)

Json = Annotated[bool, typer.Option("--json", help="Print machine-readable results.")]
_state = {"debug": False}


def _print_version(asked: bool) -> bool:
    if asked:
        from importlib import metadata

        typer.echo(f"motionloom {metadata.version('motionloom')}")
        raise typer.Exit
    return asked


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    _state["debug"] = debug


@app.command()
def convert(
    source: Source,
    target: Annotated[Path, typer.Argument(help="File to write: .bvh .glb .npz .npy .csv .png .gif .mp4")],
    fps: Annotated[float | None, typer.Option(help="Resample to this frame rate.")] = None,
    unit: Unit = None,
    true_fps: TrueFps = None,
    up: Up = None,
    asf: Asf = None,
    clip: Clip = None,
    to_body: Annotated[bool, typer.Option("--retarget", help="Move it onto the canonical body.")] = False,
    on: On = None,
    map_file: MapFile = None,
    root_bone: RootBone = None,
    in_place: InPlace = False,
    loop: LoopIt = False,
    reduce_keys: ReduceKeys = None,
    names: Names = None,
    tool: For = None,
    json_: Json = False,
) -> None:
    """Turn a motion file into another format, or put it on a character."""
    from motionloom.motion.io.bvh_parse import END

    delivery = wanted(
        [target],
        on=on,
        map_file=map_file,
        root_bone=root_bone,
        in_place=in_place,
        loop=loop,
        reduce=reduce_keys,
        names=names,
        tool=tool,
    )
    if delivery.plain:
        check_outs([target])
    motion = Reading(unit, true_fps, up, asf, clip).load(source)
    if to_body:
        from motionloom.motion.retarget import retarget

        motion = retarget(motion)
    if fps is not None:
        motion = motion.at_fps(fps)
    if not delivery.plain:
        facts = deliver(motion, target, delivery, quiet=json_)
        if json_:
            _print_json({**facts, "notes": list(motion.provenance.notes)})
            return
        for note in motion.provenance.notes:
            typer.echo(f"note: {note}")
        return
    motion.save(target)
    if json_:
        _print_json(
            {"file": str(target), "frames": len(motion), "fps": motion.fps, "notes": list(motion.provenance.notes)}
        )
        return
    ends = sum(name.endswith(END) for name in motion.skeleton.names)
    shown = f"{len(motion.skeleton) - ends} joints" + (f" and {ends} ends" if ends else "")
    typer.echo(f"wrote {target}: {len(motion)} frames at {motion.fps:g} fps, {shown}")
    for note in motion.provenance.notes:
        typer.echo(f"note: {note}")


@app.command()
def inspect(
    source: Source,
    unit: Unit = None,
    true_fps: TrueFps = None,
    up: Up = None,
    asf: Asf = None,
    clip: Clip = None,
    text: Annotated[str, typer.Option(help="A sentence; says how well the motion fits it.")] = "",
    json_: Json = False,
) -> None:
    """Print what a motion is, its physical quality and how well it fits a text."""
    from motionloom.app.inspect import facts

    motion = Reading(unit, true_fps, up, asf, clip).load(source)
    found = facts(motion)
    if text:
        from motionloom.engines.text_motion import TextMotionScorer

        fit = TextMotionScorer().fit(text, motion)
        found |= {"fit": fit.verdict, "cosine": fit.score, "poor": fit.poor}
    if json_:
        _print_json(found)
        return
    width = max(len(name) for name in found)
    for name, value in found.items():
        shown = f"{value:.3f}" if isinstance(value, float) else "; ".join(value) if isinstance(value, list) else value
        typer.echo(f"{name:<{width}}  {shown}")


@app.command()
def render(
    source: Source,
    out: Annotated[Path, typer.Option(help="Picture or video: .png .gif .mp4")],
    title: Annotated[str | None, typer.Option(help="Headline of the sheet.")] = None,
    poses: Annotated[int, typer.Option(help="Moments on the sheet.")] = 9,
    size: Annotated[int, typer.Option(help="Side of the video in pixels.")] = 400,
    unit: Unit = None,
    true_fps: TrueFps = None,
    up: Up = None,
    asf: Asf = None,
    clip: Clip = None,
) -> None:
    """Draw a contact sheet or a video."""
    from motionloom.app import render as drawing

    if out.suffix.lower() not in (".png", ".gif", ".mp4"):
        raise typer.BadParameter(f"{out}: pictures are .png, .gif or .mp4", param_hint="--out")
    motion = Reading(unit, true_fps, up, asf, clip).load(source)
    if out.suffix.lower() == ".png":
        drawing.write_sheet(motion, out, title, poses)
    else:
        drawing.write_video(motion, out, size)
    typer.echo(f"wrote {out}")


@app.command()
def models(
    options: Annotated[str | None, typer.Option("--options", help="Print the options of an engine instead.")] = None,
    json_: Json = False,
) -> None:
    """List the engines and bundled models with their size, licence and data; or an engine's options."""
    if options is not None:
        _print_options(options, json_)
        return
    from motionloom.app.inspect import bundled
    from motionloom.engines.registry import engine_names

    found, names = bundled(), engine_names()
    if json_:
        _print_json(found)
        return
    typer.echo(f"engines: {', '.join(names)} (motionloom models --options NAME)")
    for entry in found:
        typer.echo(
            f"{entry['model']}: {entry['parameters'] / 1e6:.2f} M parameters,"
            f" {entry['bytes'] / 1e6:.1f} MB, {entry['licence']}, data {', '.join(entry['sources'])}"
        )


def _print_options(name: str, json_: bool) -> None:
    from motionloom.engines.registry import engine_class
    from motionloom.schema import describe as fields_of

    found = fields_of(engine_class(name).Options)
    if json_:
        _print_json(found)
        return
    for entry in found:
        spread = f", {entry['range']}" if entry["range"] else ""
        typer.echo(f"{entry['name']} = {entry['default']!r}  ({entry['type']}{spread})  {entry['help']}")
    if not found:
        typer.echo(f"engine {name!r} has no options")


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="Official checkpoint: a .pth, .tar or .safetensors file, or a folder")],
    kind: Annotated[str, typer.Option(help="What it is; `--kind list` names the kinds.")],
    out: Annotated[Path, typer.Option(help="Folder to write; `--engine FOLDER` then uses it.")],
    licence: Annotated[str, typer.Option(help="Licence of the weights, as their authors state it.")] = "not given",
    mean: Annotated[Path | None, typer.Option(help="Mean.npy the checkpoint was trained with.")] = None,
    std: Annotated[Path | None, typer.Option(help="Std.npy the checkpoint was trained with.")] = None,
    text_encoder: Annotated[
        Path | None, typer.Option(help="Folder of the text tower (CLIP, ImageBind) that the model reads by.")
    ] = None,
    length: Annotated[Path | None, typer.Option(help="Official length estimator, where it lies elsewhere.")] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="Attention heads, if not in the weights.")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Experts a token, if not in the weights.")] = None,
    fps: Annotated[float, typer.Option(help="Frame rate that a tokenizer was trained at.")] = 20.0,
    norm: Annotated[str | None, typer.Option(help="Norm of a tokenizer, where weights do not tell: LN, GN.")] = None,
    activation: Annotated[str, typer.Option(help="Activation of a tokenizer: relu, silu, gelu.")] = "relu",
) -> None:
    """Turn official weights into a folder that generates, edits and exports."""
    from motionloom.engines.importing import ImportOptions, import_kinds, import_official

    if kind == "list":
        typer.echo("\n".join(import_kinds()))
        return
    options = ImportOptions(licence, mean, std, text_encoder, length, heads, top_k, fps, norm, activation)
    found = import_official(source, kind, out=out, options=options)
    for folder in found.folders:
        typer.echo(f"wrote {folder}")
    for what in found.missing:
        typer.echo(f"missing: {what}")
    if found.engine:
        typer.echo(f"{out} is an engine {found.engine!r}: motionloom generate --engine {out} --text ...")


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def main() -> None:
    """Entry point: errors are one line on stderr; exit status 1, or 2 for wrong usage."""
    # Threads that wait must sleep: on a busy machine torch's would spin, and a clip take minutes, not seconds.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A usage error; typer re-exports only this class of the family it carries.
    wrong_usage: type[Exception] = cast(type[Exception], typer.BadParameter.__mro__[1])
    try:
        status = typer.main.get_command(app).main(prog_name="motionloom", standalone_mode=False)
    except wrong_usage as error:
        message = " ".join(str(getattr(error, "format_message", lambda: error)()).split())
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "motionloom"
        if message:
            print(f"{path}: {message} (see `{path} --help`)", file=sys.stderr)
        sys.exit(2)
    except MotionloomError as error:
        if _state["debug"]:
            raise
        print(f"motionloom: {error}", file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        print("motionloom: stopped", file=sys.stderr)
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)

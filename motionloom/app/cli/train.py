"""``motionloom train``: a model or a whole engine from a recipe."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[
        str, typer.Argument(help="Recipe: a .toml file, or the name of one that comes with motionloom, as mmm.")
    ],
    store: Annotated[Path, typer.Option(help="Store to train on (motionloom data prepare).")],
    run: Annotated[
        Path | None,
        typer.Option(help="Folder for logs, checkpoints and the result; an unfinished run goes on. trained/NAME."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="TABLE.KEY=VALUE instead of the recipe's; repeat for more.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Updates (of each stage), instead of the recipe's.")] = None,
    devices: Annotated[int, typer.Option(help="Processes or GPUs.")] = 1,
    accelerator: Annotated[str, typer.Option(help="cpu, gpu or auto.")] = "auto",
    threads: Annotated[int, typer.Option(help="Threads of each process; more than one rarely pays.")] = 1,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard events beside the CSV log.")] = False,
) -> None:
    """Train a model, or all models of an engine, from a recipe."""
    from motionloom.app.cli.progress import bar
    from motionloom.training.curriculum import train_all
    from motionloom.training.recipes import load_training

    found = load_training(recipe, sets=set_ or (), steps=steps)
    folder = Path("trained") / found.name if run is None else run
    with bar(f"train {found.name}", "update") as progress:
        made = train_all(
            found, store, folder, progress=progress, devices=devices, accelerator=accelerator, tensorboard=tensorboard,
            threads=threads,
        )  # fmt: skip
    typer.echo(f"wrote {made}")

"""``motionloom evaluate`` and ``evaluate-tasks``: an engine against real clips."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    engine: Annotated[str, typer.Argument(help="Engine: a bundled one or a directory.")],
    data: Annotated[Path, typer.Option(help="Store with captions.")],
    out: Annotated[Path, typer.Option(help="Result file (.json); an interrupted run goes on.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    repeats: Annotated[int, typer.Option(help="Repeats with other captions, pools and seeds.")] = 20,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    evaluator: Annotated[Path | None, typer.Option(help="Text-motion encoder; the bundled one when left out.")] = None,
    clips: Annotated[int | None, typer.Option(help="Clips of the split; all when left out.")] = None,
    steps: Annotated[int | None, typer.Option(help="Passes through the network; the engine's when left out.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How strongly texts are followed; the engine's.")] = None,
    method: Annotated[str | None, typer.Option(help="Solver of a diffusion model: dpm or ddim.")] = None,
) -> None:
    """Measure an engine: retrieval, FID, diversity and physics, beside real clips and simple rivals."""
    if out.suffix != ".json":
        raise typer.BadParameter(f"{out}: results are written as .json", param_hint="--out")
    from motionloom.data.store import Store
    from motionloom.tasks.evaluate import EvaluateOptions, markdown
    from motionloom.tasks.evaluate import evaluate as run
    from motionloom.tasks.generate import load
    from motionloom.tasks.match import Scorer

    options = EvaluateOptions(split, repeats, seed, clips=clips, steps=steps, guidance=guidance, method=method)
    result = run(load(engine), Scorer(evaluator), Store(data), options, out)
    typer.echo("\n".join(markdown(result)))
    typer.echo(f"wrote {out}: {result['clips']} clips, {repeats} repeats, 95 % intervals")


def evaluate_tasks(
    engine: Annotated[str, typer.Argument(help="Engine: a bundled one or a directory.")],
    data: Annotated[Path, typer.Option(help="Store with held-out clips.")],
    out: Annotated[Path, typer.Option(help="Result file (.json); an interrupted run goes on.")],
    split: Annotated[
        list[str] | None, typer.Option(help="train, val or test; repeat for more; test if left out.")
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(help="prediction, in-between, video, music or speech; repeat for more; all if left out."),
    ] = None,
    clips: Annotated[int, typer.Option(help="Pieces of clips for each task.")] = 48,
    seeds: Annotated[int, typer.Option(help="Motions that the engine makes for each.")] = 2,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
) -> None:
    """Measure prediction, in-betweening and motion from video, music and speech, each beside simple rivals."""
    if out.suffix != ".json":
        raise typer.BadParameter(f"{out}: results are written as .json", param_hint="--out")
    from motionloom.data.store import Store
    from motionloom.tasks.evaluate_conditions import TASKS, TaskOptions, markdown
    from motionloom.tasks.evaluate_conditions import evaluate_tasks as run
    from motionloom.tasks.generate import load

    options = TaskOptions(tuple(split or ("test",)), tuple(task or TASKS), clips, seeds, seed)
    result = run(load(engine), Store(data), options, out)
    typer.echo("\n".join(markdown(result)))
    typer.echo(f"wrote {out}: 95 % intervals over clips")

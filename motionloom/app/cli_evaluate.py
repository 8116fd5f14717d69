"""``motionloom evaluate``: an engine against real clips."""

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
) -> None:
    """Measure an engine: retrieval, FID, diversity and physics, beside real clips and simple rivals."""
    if out.suffix != ".json":
        raise typer.BadParameter(f"{out}: results are written as .json", param_hint="--out")
    from motionloom.data.store import Store
    from motionloom.tasks.evaluate import EvaluateOptions, markdown
    from motionloom.tasks.evaluate import evaluate as run
    from motionloom.tasks.generate import load_mmm
    from motionloom.tasks.match import Scorer

    options = EvaluateOptions(split, repeats, seed)
    result = run(load_mmm(engine), Scorer(evaluator), Store(data), options, out)
    typer.echo("\n".join(markdown(result)))
    typer.echo(f"wrote {out}: {result['clips']} clips, {repeats} repeats, 95 % intervals")

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
    variety: Annotated[bool, typer.Option(help="Measure multimodality too: 160 more motions a repeat.")] = True,
) -> None:
    """Measure an engine: retrieval, FID, diversity and physics, beside real clips and simple rivals."""
    if out.suffix != ".json":
        raise typer.BadParameter(f"{out}: results are written as .json", param_hint="--out")
    from motionloom.data.store import Store
    from motionloom.engines.registry import load
    from motionloom.engines.text_motion import Scorer
    from motionloom.evaluation.text_to_motion import EvaluateOptions, markdown
    from motionloom.evaluation.text_to_motion import evaluate as run

    options = EvaluateOptions(
        split, repeats, seed, clips=clips, variety=variety, steps=steps, guidance=guidance, method=method
    )
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
    from motionloom.engines.registry import load
    from motionloom.evaluation.conditions import TASKS, TaskOptions, markdown
    from motionloom.evaluation.conditions import evaluate_tasks as run

    options = TaskOptions(tuple(split or ("test",)), tuple(task or TASKS), clips, seeds, seed)
    result = run(load(engine), Store(data), options, out)
    typer.echo("\n".join(markdown(result)))
    typer.echo(f"wrote {out}: 95 % intervals over clips")


def evaluate_m3gpt(
    engine: Annotated[str, typer.Argument(help="Engine of text, music and motion: a bundled one or a directory.")],
    data: Annotated[Path, typer.Option(help="Store with captions.")],
    out: Annotated[Path, typer.Option(help="Result file (.json).")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    task: Annotated[list[str] | None, typer.Option(help="A task; repeat for more; all if left out.")] = None,
    clips: Annotated[int, typer.Option(help="Clips for each task at most.")] = 300,
    beside: Annotated[
        list[str] | None, typer.Option(help="Another engine, measured where it serves the task; repeat for more.")
    ] = None,
    evaluator: Annotated[Path | None, typer.Option(help="Text-motion encoder; the bundled one when left out.")] = None,
    bert: Annotated[Path | None, typer.Option(help="Folder of RoBERTa-large, for BERTScore.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
) -> None:
    """Measure every task of a language model of motion beside the truth and simple rivals, and print captions."""
    if out.suffix != ".json":
        raise typer.BadParameter(f"{out}: results are written as .json", param_hint="--out")
    # Before the work, not after it.
    if out.is_dir() or not out.parent.is_dir():
        raise typer.BadParameter(f"{out}: no file can be written there; name one in a folder", param_hint="--out")
    import json

    from motionloom.app.cli.describe import load_m3gpt
    from motionloom.data.store import Store
    from motionloom.engines.registry import load
    from motionloom.engines.text_motion import Scorer
    from motionloom.evaluation import language as measures
    from motionloom.motion.files import atomic_path

    asked = tuple(task or measures.TASKS)
    options = measures.EvaluateM3GPTOptions(split, clips, tasks=asked, bert=bert, seed=seed)
    others = [load(name) for name in beside or ()]
    result = measures.evaluate_m3gpt(load_m3gpt(engine), Scorer(evaluator), Store(data), options, others)
    with atomic_path(out) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")
    typer.echo("\n".join(measures.markdown(result)))
    typer.echo(f"wrote {out}: one draw a clip, so no intervals")

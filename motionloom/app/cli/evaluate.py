"""``motionloom evaluate``: an engine against real clips, by one of several protocols."""

from pathlib import Path
from typing import Annotated, Any

import typer

from motionloom.app.cli.options import Option, parse_options

Engine = Annotated[str, typer.Argument(help="Engine: an installed one or a directory.")]
Data = Annotated[Path | None, typer.Option(help="Store of real clips; only --task rules can do without.")]
Out = Annotated[Path, typer.Option(help="Result file (.json); an interrupted run goes on.")]
Split = Annotated[list[str] | None, typer.Option(help="train, val or test; --task conditions takes several.")]
Only = Annotated[
    list[str] | None, typer.Option(help="A row of text, a task of conditions or language, a group of rules; repeat.")
]
Seed = Annotated[int | None, typer.Option(help="Of everything that is drawn.")]
Seeds = Annotated[int | None, typer.Option(help="Motions of each piece or sentence (conditions, rules).")]
Clips = Annotated[int | None, typer.Option(help="Clips of the split, or of each task.")]
Evaluator = Annotated[Path | None, typer.Option(help="Text-motion encoder; the bundled one when left out.")]
Beside = Annotated[
    list[str] | None, typer.Option(help="Another engine, measured where it serves the task (language); repeat.")
]
Bert = Annotated[Path | None, typer.Option(help="Folder of RoBERTa-large, for BERTScore (language).")]


def evaluate(
    engine: Engine,
    out: Out,
    task: Annotated[str, typer.Option(help="What is measured: text, conditions, language or rules.")] = "text",
    data: Data = None,
    only: Only = None,
    split: Split = None,
    repeats: Annotated[int | None, typer.Option(help="Repeats with other captions, pools and seeds.")] = None,
    seed: Seed = None,
    seeds: Seeds = None,
    clips: Clips = None,
    pool: Annotated[int | None, typer.Option(help="Clips a caption is searched among; 32 as published.")] = None,
    lengths: Annotated[list[str] | None, typer.Option(help="given or predicted (rules); both if left out.")] = None,
    evaluator: Evaluator = None,
    beside: Beside = None,
    bert: Bert = None,
    steps: Annotated[
        int | None, typer.Option(help="InferenceCache through the network; the engine's when left out.")
    ] = None,
    guidance: Annotated[float | None, typer.Option(help="How strongly texts are followed; the engine's.")] = None,
    best_of: Annotated[int | None, typer.Option(help="Candidates a motion (rules).")] = None,
    method: Annotated[str | None, typer.Option(help="Solver of a diffusion model: dpm or ddim.")] = None,
    option: Option = None,
    variety: Annotated[
        bool | None, typer.Option("--variety/--no-variety", help="Multimodality too: 160 more motions a repeat (text).")
    ] = None,
) -> None:
    """Measure an engine: text to motion, other conditions, language tasks, or rules on what sentences say."""
    options = [*(option or ()), *([] if method is None else [f"method={method}"])]
    given = {
        "only": only, "split": split, "repeats": repeats, "seed": seed, "seeds": seeds, "clips": clips, "pool": pool,
        "lengths": lengths, "bert": bert, "steps": steps, "guidance": guidance, "best_of": best_of,
        "options": options or None, "variety": variety,
    }  # fmt: skip
    _run(task, engine, out, data=data, evaluator=evaluator, beside=beside, given=given)


def evaluate_tasks(
    engine: Engine,
    data: Data,
    out: Out,
    split: Split = None,
    task: Only = None,
    clips: Clips = None,
    seeds: Seeds = None,
    seed: Seed = None,
) -> None:
    """The older name of ``evaluate --task conditions``."""
    typer.echo("note: evaluate-tasks is now `evaluate ENGINE --task conditions`, its --task is --only", err=True)
    given = {"only": task, "split": split, "clips": clips, "seeds": seeds, "seed": seed}
    _run("conditions", engine, out, data=data, given=given)


def evaluate_m3gpt(
    engine: Engine,
    data: Data,
    out: Out,
    split: Split = None,
    task: Only = None,
    clips: Clips = None,
    beside: Beside = None,
    evaluator: Evaluator = None,
    bert: Bert = None,
    seed: Seed = None,
) -> None:
    """The older name of ``evaluate --task language``."""
    typer.echo("note: evaluate-m3gpt is now `evaluate ENGINE --task language`, its --task is --only", err=True)
    given = {"only": task, "split": split, "clips": clips, "bert": bert, "seed": seed}
    _run("language", engine, out, data=data, evaluator=evaluator, beside=beside, given=given)


def _run(
    task: str,
    engine: str,
    out: Path,
    *,
    data: Path | None,
    given: dict[str, Any],
    evaluator: Path | None = None,
    beside: list[str] | None = None,
) -> None:
    # What can be refused at once is refused before anything heavy is imported.
    if out.suffix != ".json":
        raise typer.BadParameter(f"{out}: results are written as .json", param_hint="--out")
    if out.is_dir() or not out.parent.is_dir():
        raise typer.BadParameter(f"{out}: no file can be written there; name one in a folder", param_hint="--out")
    from motionloom.app.cli.progress import bar
    from motionloom.engines.registry import load
    from motionloom.evaluation.harness import Subject
    from motionloom.evaluation.harness import evaluate as run
    from motionloom.evaluation.registry import markdown, protocol

    kind = protocol(task)
    options = _options(kind.Options, task, given | {"options": None})
    if data is None and kind.stored:
        raise typer.BadParameter(f"--task {task} is measured on clips: name a store", param_hint="--data")
    from motionloom.data.store import Store
    from motionloom.engines.text_motion import TextMotionScorer

    store = None if data is None else Store(data)
    others = tuple(load(name) for name in beside or ())
    scorer = TextMotionScorer(evaluator) if kind.scored else None
    subject = Subject(load(engine), store, scorer, others)
    if given.get("options"):
        values = parse_options(given["options"], subject.engine.Options)
        options = _options(kind.Options, task, given | {"options": values})
    with bar(f"evaluate {task}", "unit") as progress:
        result = run(kind, subject, options=options, out=out, progress=progress)
    typer.echo("\n".join(markdown(result)))
    typer.echo(f"wrote {out}")


def _options(kind: type, task: str, given: dict[str, Any]) -> Any:
    """Options of a protocol from those of the command line that were given.

    Raises:
        RequestError: A value does not fit.
    """
    from dataclasses import fields

    from motionloom.errors import RequestError
    from motionloom.schema import build

    known = {entry.name for entry in fields(kind)}
    values = {name: value for name, value in given.items() if value is not None}
    if "split" in values:
        # Some protocols take clips of several splits, others of one.
        splits = values.pop("split")
        if "splits" not in known and len(splits) > 1:
            raise typer.BadParameter(f"--task {task} takes one split, {len(splits)} are given", param_hint="--split")
        values |= {"splits": splits} if "splits" in known else {"split": splits[0]}
    for name in values:
        if name not in known:
            flags = ["--" + each.replace("_", "-") for each in sorted(known)]
            flags = [{"--options": "--option", "--splits": "--split"}.get(flag, flag) for flag in flags]
            hint = {"options": "--option", "variety": "--variety"}.get(name, "--" + name.replace("_", "-"))
            raise typer.BadParameter(
                f"it does nothing for --task {task}, which takes {', '.join(flags)}", param_hint=hint
            )
    return build(kind, values, error=RequestError, where=f"--task {task}", what="options")

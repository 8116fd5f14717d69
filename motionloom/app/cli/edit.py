"""``motionloom complete``, ``predict`` and ``story``: edits of motions, with how smooth their seams are."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from motionloom.app.cli.conditions import (
    Engine,
    Followed,
    From,
    ImageSize,
    KeypointFile,
    KeypointFps,
    Music,
    Speech,
    Video,
)
from motionloom.app.cli.files import check_outs, write
from motionloom.app.cli.options import Option, parse_options
from motionloom.app.cli.progress import bar
from motionloom.app.cli.reading import Asf, Clip, Reading, Source, TrueFps, Unit, Up

Text = Annotated[str, typer.Option(help="What the person does; left out, whatever fits.")]
Out = Annotated[
    list[Path] | None,
    typer.Option(help="File to write; repeat for more. Suffix: .bvh .glb .npz .npy .csv .png .gif .mp4"),
]
Seed = Annotated[int, typer.Option(help="Same seed, same motion.")]
Count = Annotated[int, typer.Option(help="How many; with more than one, files are numbered.")]
Steps = Annotated[int | None, typer.Option(help="InferenceCache through the network.")]
Guidance = Annotated[float | None, typer.Option(help="How strongly the text is followed; 1 is plain.")]
BestOf = Annotated[int, typer.Option(help="Make so many for each and keep the one that fits the text best.")]
Fps = Annotated[float | None, typer.Option(help="Frame rate of the result; the motion's own when left out.")]
Retarget = Annotated[
    bool, typer.Option("--retarget", help="Move it onto the canonical body; done by itself where needed.")
]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable results.")]


def complete(
    source: Source,
    out: Out = None,
    keep: Annotated[str, typer.Option(help="Spans to keep in seconds: '0:1,3:4', '-1:' for the last second.")] = "",
    keep_parts: Annotated[
        str, typer.Option(help="Parts to keep: legs, arms, upper, lower, head, left_arm, ...; with --keep, either.")
    ] = "",
    text: Text = "",
    before: Annotated[float, typer.Option(help="Seconds to make before the motion.")] = 0.0,
    after: Annotated[float, typer.Option(help="Seconds to make after it.")] = 0.0,
    seed: Seed = 0,
    count: Count = 1,
    fps: Fps = None,
    engine: Engine = None,
    steps: Steps = None,
    guidance: Guidance = None,
    best_of: BestOf = 1,
    music: Music = None,
    speech: Speech = None,
    from_: From = 0.0,
    keypoints: KeypointFile = None,
    keypoints_fps: KeypointFps = None,
    image_size: ImageSize = None,
    video: Video = None,
    retarget: Retarget = False,
    unit: Unit = None,
    true_fps: TrueFps = None,
    up: Up = None,
    asf: Asf = None,
    clip: Clip = None,
    option: Option = None,
    json_: Json = False,
) -> None:
    """Keep some seconds or body parts of a motion and make the rest anew; what is kept comes back as it was."""
    outs = _checked(out, count, source)
    from motionloom.motion.keep import parse_keep

    choice = parse_keep(keep, keep_parts)
    made = Made(text, before, after, seed, count, fps, engine, steps, guidance, best_of, option)
    _fill(
        source, Reading(unit, true_fps, up, asf, clip), choice, made,
        Followed(music, speech, from_, keypoints, keypoints_fps, video, image_size), outs=outs, json_=json_,
    )  # fmt: skip


def predict(
    source: Source,
    seconds: Annotated[float, typer.Option(help="How much to make after the motion.")],
    out: Out = None,
    text: Text = "",
    seed: Seed = 0,
    count: Count = 1,
    fps: Fps = None,
    engine: Engine = None,
    steps: Steps = None,
    guidance: Guidance = None,
    best_of: BestOf = 1,
    music: Music = None,
    speech: Speech = None,
    from_: From = 0.0,
    keypoints: KeypointFile = None,
    keypoints_fps: KeypointFps = None,
    image_size: ImageSize = None,
    video: Video = None,
    retarget: Retarget = False,
    unit: Unit = None,
    true_fps: TrueFps = None,
    up: Up = None,
    asf: Asf = None,
    clip: Clip = None,
    option: Option = None,
    json_: Json = False,
) -> None:
    """Go on where a motion ends."""
    outs = _checked(out, count, source)
    from motionloom.errors import RequestError
    from motionloom.motion.keep import frames

    if not seconds > 0:
        raise RequestError(f"{seconds} s to predict; give a positive number of seconds")
    made = Made(text, 0.0, seconds, seed, count, fps, engine, steps, guidance, best_of, option)
    _fill(
        source, Reading(unit, true_fps, up, asf, clip), frames(), made,
        Followed(music, speech, from_, keypoints, keypoints_fps, video, image_size), outs=outs, json_=json_,
    )  # fmt: skip


def story(
    script: Annotated[Path, typer.Argument(help="Text file; a line is 'seconds  sentence', # begins a comment.")],
    out: Out = None,
    seed: Seed = 0,
    count: Count = 1,
    fps: Annotated[float | None, typer.Option(help="Frame rate of the result; the model's 20 when left out.")] = None,
    engine: Engine = None,
    steps: Steps = None,
    guidance: Guidance = None,
    best_of: BestOf = 1,
    option: Option = None,
    json_: Json = False,
) -> None:
    """One motion for several sentences, one after the other, with transitions between them."""
    outs = _checked(out, count)
    started = time.perf_counter()
    from motionloom.engines.mmm.story import read_script, seams
    from motionloom.engines.registry import load

    lines = read_script(script)
    maker = load(engine or "mmm")
    with bar("story") as progress:
        motions = maker.story(
            lines, seed=seed, count=count, fps=fps, steps=steps, guidance=guidance, best_of=best_of,
            progress=progress, **parse_options(option, maker.Options),
        )  # fmt: skip
    places = [seams(lines, motion.fps, len(motion)) for motion in motions]
    _report(motions, places, outs, started, json_)


@dataclass(frozen=True)
class Made:
    """What is to be made, and how."""

    text: str
    before: float
    after: float
    seed: int
    count: int
    fps: float | None
    engine: str | None
    steps: int | None
    guidance: float | None
    best_of: int
    option: list[str] | None


def _fill(
    source: Path, reading: Reading, keep: Any, made: Made, followed: Followed, *, outs: list[Path], json_: bool
) -> None:
    started = time.perf_counter()
    from motionloom.engines.registry import load
    from motionloom.engines.request import Request, Segment
    from motionloom.engines.timeline import lay_out, seams

    motion = reading.body(source)
    known, seconds = lay_out(motion, keep.mask(len(motion), motion.fps), made.before, made.after)
    maker = load(followed.engine(made.engine))
    request = Request(
        (Segment(made.text, seconds, **followed.read(seconds)),),
        fps=made.fps,
        count=made.count,
        seed=made.seed,
        steps=made.steps,
        guidance=made.guidance,
        options=parse_options(made.option, maker.Options),
        known=known,
        best_of=made.best_of,
    )
    with bar("complete") as progress:
        motions = maker.serve([request], progress)[0]
    found = seams(request)
    places = [
        [min(len(answer) - 1, max(1, round(at * answer.fps / motion.fps))) for at in found] for answer in motions
    ]  # fmt: skip
    _report(motions, places, outs, started, json_)


def _checked(outs: list[Path] | None, count: int, source: Path | None = None) -> list[Path]:
    """Refuse what cannot be written before any work is done."""
    if not outs:
        raise typer.BadParameter("give at least one file to write, for example --out new.bvh", param_hint="--out")
    check_outs(outs, count, source)
    return outs


def _report(motions: list[Any], places: list[list[int]], outs: list[Path], started: float, json_: bool) -> None:
    """Write the motions and say how smooth their seams are."""
    from motionloom.metrics.seams import LIMIT, seam_jerk

    measured = [
        seam_jerk(motion.positions, motion.fps, seams) for motion, seams in zip(motions, places, strict=True)
    ]  # fmt: skip
    files = write(motions, outs)
    taken = time.perf_counter() - started
    if json_:
        facts = [
            {
                "seconds": motion.seconds,
                "fps": motion.fps,
                "frames": len(motion),
                "seams_s": [round(at / motion.fps, 3) for at in seams],
                "seam_jerk": [round(value, 1) for value in jerk.seams],
                "usual_jerk": round(jerk.usual, 1),
                "seam_ratio": round(jerk.ratio, 3),
            }
            for motion, seams, jerk in zip(motions, places, measured, strict=True)
        ]
        found = {"motions": facts, "files": [str(file) for file in files], "seconds_taken": round(taken, 3)}
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for file in files:
        typer.echo(f"wrote {file}")
    for motion, seams, jerk in zip(motions, places, measured, strict=True):
        shown = ", ".join(f"{at / motion.fps:.1f} s" for at in seams[:8]) + (", ..." if len(seams) > 8 else "")
        judged = "smooth" if jerk.smooth else f"not smooth: above {LIMIT:g}"
        typer.echo(
            f"{motion.seconds:.1f} s at {motion.fps:g} fps; "
            + (
                f"seams at {shown}: jerk {jerk.ratio:.2f} of the clip's own 95th percentile ({judged})"
                if seams
                else "no seams"
            )
        )
        for note in motion.provenance.notes:
            typer.echo(f"note: {note}")
    typer.echo(f"all done after {taken:.1f} s")

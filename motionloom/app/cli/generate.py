"""``motionloom generate``: motions for sentences, sound and video."""

import json
import time
from dataclasses import replace
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
from motionloom.app.cli.files import check_outs, targets, write
from motionloom.app.cli.options import Option, parse_options
from motionloom.app.cli.progress import bar
from motionloom.app.cli.rig import For, InPlace, MapFile, Names, On, ReduceKeys, RootBone, deliver, wanted

POOR = 0.6
"""A fit is called poor when so few of the real clips fit a wrong sentence worse. The encoder knows captured clips: held
against their own sentences instead, 14 of 57 generated motions that do what they should were called poor (LOG.md)."""
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable results.")]


def generate(
    text: Annotated[str, typer.Option(help="What the person does, for example 'a person waves'.")] = "",
    seconds: Annotated[float | None, typer.Option(help="Length; left out, it is predicted.")] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(help="File to write; repeat for more. Suffix: .bvh .glb .npz .npy .csv .png .gif .mp4"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same motion.")] = 0,
    count: Annotated[int, typer.Option(help="How many; with more than one, files are numbered.")] = 1,
    fps: Annotated[float | None, typer.Option(help="Frame rate of the result; the model's 20 when left out.")] = None,
    engine: Engine = None,
    steps: Annotated[int | None, typer.Option(help="InferenceCache through the network.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How strongly the text is followed; 1 is plain.")] = None,
    to: Annotated[
        list[str] | None,
        typer.Option(help="Point x,z in metres that the person comes to, +Z forward, +X left; repeat for a path."),
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Let the end go on into the beginning.")] = False,
    best_of: Annotated[int, typer.Option(help="Make so many for each and keep the one that fits the text best.")] = 1,
    music: Music = None,
    speech: Speech = None,
    from_: From = 0.0,
    keypoints: KeypointFile = None,
    keypoints_fps: KeypointFps = None,
    image_size: ImageSize = None,
    video: Video = None,
    in_time: Annotated[bool, typer.Option(help="With music: play the motion so that it rests on beats.")] = True,
    on: On = None,
    map_file: MapFile = None,
    root_bone: RootBone = None,
    in_place: InPlace = False,
    reduce_keys: ReduceKeys = None,
    names: Names = None,
    tool: For = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a text that no training clip is like.")] = False,
    split: Annotated[bool, typer.Option(help="Read a sentence of several actions as a story.")] = True,
    fit: Annotated[bool, typer.Option(help="Say how well the motion fits its text.")] = True,
    option: Option = None,
    json_: Json = False,
) -> None:
    """Make motions for a sentence, for music or speech, for a video, or for several of them at once."""
    outs = out or []
    if not outs:
        raise typer.BadParameter("give at least one file to write, for example --out wave.bvh", param_hint="--out")
    delivery = wanted(
        outs,
        on=on,
        map_file=map_file,
        root_bone=root_bone,
        in_place=in_place,
        loop=loop,
        reduce=reduce_keys,
        names=names,
        tool=tool,
    )
    # A loop that goes to no tool is written as it is made.
    plain = replace(delivery, loop=False).plain
    if plain:
        check_outs(outs)
    path = [_point(text_) for text_ in to or []]
    started = time.perf_counter()
    from motionloom.engines.registry import load

    followed = Followed(music, speech, from_, keypoints, keypoints_fps, video, image_size)
    follows = followed.read(seconds)
    maker = load(followed.engine(engine))
    options = parse_options(option, maker.Options)
    lines, remarks = _lines(text, seconds, seed, maker, split and not (path or loop or follows))
    with bar("generate") as progress:
        if len(lines) > 1:
            motions = maker.story(
                lines, seed=seed, count=count, fps=fps, steps=steps, guidance=guidance, best_of=best_of, strict=strict,
                progress=progress, **options,
            )  # fmt: skip
        else:
            motions = maker.generate(
                lines[0].text, seconds, seed=seed, count=count, fps=fps, steps=steps, guidance=guidance, path=path,
                loop=loop, best_of=best_of, in_time=in_time, strict=strict, progress=progress, **follows, **options,
            )  # fmt: skip
    motions = [_noting(motion, remarks) for motion in motions]
    fits = _fits(lines, motions) if fit else []
    made = time.perf_counter() - started
    clips: list[dict[str, Any]] = []
    if plain:
        files = write(motions, outs)
    else:
        pairs = [(motion, targets(out, count)[at]) for at, motion in enumerate(motions) for out in outs]
        clips = [deliver(motion, file, delivery, quiet=json_) for motion, file in pairs]
        files = [file for _, file in pairs]
    closing: list[float] = []
    if loop:
        from motionloom.engines.mmm.loop import wrap_jerk

        closing = [wrap_jerk(motion).ratio for motion in motions]
    if json_:
        facts = [
            {
                "seconds": motion.seconds,
                "fps": motion.fps,
                "frames": len(motion),
                "notes": list(motion.provenance.notes),
                **({"fit": fits[at]} if fits else {}),
                **({"loop_jerk": round(closing[at], 3)} if loop else {}),
            }
            for at, motion in enumerate(motions)
        ]
        _print_json(
            {
                "motions": facts,
                "files": [str(file) for file in files],
                "seconds_taken": round(made, 3),
                **({"clips": clips} if clips else {}),
            }
        )
        return
    for file in files if plain else ():
        typer.echo(f"wrote {file}")
    lengths = ", ".join(f"{motion.seconds:.1f} s" for motion in motions)
    for motion in motions:
        for note in motion.provenance.notes:
            typer.echo(f"note: {note}")
    for found in fits:
        if found["poor"]:
            typer.echo(
                f"fit: POOR: the motion fits its text (cosine {found['cosine']:.2f}) like a wrong one; try --best-of 4,"
                " another --seed, or other words"
            )
    for ratio in closing:
        typer.echo(f"where the loop closes: jerk {ratio:.2f} of the clip's own 95th percentile")
    typer.echo(f"made {lengths} of motion in {made:.1f} s, all done after {time.perf_counter() - started:.1f} s")


def _lines(text: str, seconds: float | None, seed: int, maker: Any, split: bool) -> tuple[list[Any], tuple[str, ...]]:
    """A text as the lines of a story, one an action, with notes on how it was read; one line where it is one action."""
    from motionloom.engines.request import Segment
    from motionloom.engines.split import read_actions

    whole = [Segment(text, seconds)]
    if not (split and text.strip()) or "segments" not in maker.capabilities:
        return whole, ()
    read = read_actions(text)
    if len(read.parts) == 1:
        return [Segment(read.parts[0], seconds)], read.notes
    shares = [maker.usual_seconds(part, seed) for part in read.parts]
    if seconds is not None:
        shares = [share * seconds / sum(shares) for share in shares]
    if min(shares) < maker.min_seconds:
        return whole, ()
    return [Segment(part, share) for part, share in zip(read.parts, shares, strict=True)], read.notes


def _noting(motion: Any, notes: tuple[str, ...]) -> Any:
    for note in notes:
        motion = motion.with_(provenance=motion.provenance.noting(note))
    return motion


def _fits(lines: list[Any], motions: list[Any]) -> list[dict[str, Any]]:
    """How well each motion fits its text, by our text-motion encoder; of a story the line that fits worst."""
    from motionloom.engines.text_motion import TextMotionScorer
    from motionloom.errors import RequestError

    if not any(line.text for line in lines):
        return []
    scorer, found = TextMotionScorer(), []
    for motion in motions:
        at, worst = 0.0, None
        for line in lines:
            stop = motion.seconds if len(lines) == 1 or line.seconds is None else min(at + line.seconds, motion.seconds)
            try:
                fit = scorer.fit(line.text, motion[at:stop]) if line.text else None
            except RequestError:  # too short to be scored
                fit = None
            if fit is not None and (worst is None or fit.better_than_right < worst.better_than_right):
                worst = fit
            at = stop
        if worst is not None:
            found.append(
                {
                    "cosine": round(worst.score, 3),
                    "better_than_wrong": round(worst.better_than_wrong, 3),
                    "poor": worst.better_than_wrong < POOR,
                }
            )
    return found if len(found) == len(motions) else []


def _point(text: str) -> tuple[float, float]:
    """Two numbers with a comma between them."""
    try:
        x, z = (float(word) for word in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no point; write x,z in metres, for example 0,2", param_hint="--to"
        ) from None
    return x, z


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))

"""Do every task with one engine: a contact sheet of each, and the page that shows how it is asked for.

python runs/ten_tasks.py [--engine lmm] [--pictures docs/images/tasks] [--out docs/tasks.md] [--inputs FOLDER]

What is followed is made here as well: a dance, a wave and a walk by the same engine, music and speech to them, and
keypoints of the walk seen by a random camera; ``--inputs`` keeps these as the files that the commands name. Tasks that
the engine does not serve are named on the page and left out. Seeds are fixed.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from edits import strip
from PIL import Image, ImageDraw

import motionloom as ml
from motionloom.app.render import INK, LEFT, LINES, PAPER, contact_sheet
from motionloom.conditions.audio import save_audio
from motionloom.conditions.keypoints import SEEN, Keypoints
from motionloom.data.sound.music import Accompaniment, accompany
from motionloom.data.sound.speech import Spoken, speak, strokes
from motionloom.engines.base import Engine
from motionloom.engines.registry import load
from motionloom.errors import MotionloomError
from motionloom.evaluation.condition_scores import filmed, has_speech, kinematic
from motionloom.motion.edit import cut
from motionloom.motion.files import atomic_path
from motionloom.motion.keep import Keep
from motionloom.motion.motion import Motion

POSES, CELL = 9, 104
LIMBS = ((5, 7), (7, 9), (6, 8), (8, 10), (5, 6), (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
         (0, 5), (0, 6))  # fmt: skip
"""Pairs of COCO's points that are joined in the picture of a video."""


@dataclass(frozen=True, eq=False)
class Shown:
    """What a task gave.

    Attributes:
        motions: One sheet each.
        titles: Of the sheets.
        above: Pictures of what was followed.
        below: Pictures of how it was followed.
    """

    motions: Sequence[Motion]
    titles: Sequence[str]
    above: Sequence[Image.Image] = ()
    below: Sequence[Image.Image] = ()


@dataclass(frozen=True)
class Task:
    """A task of the page.

    Attributes:
        name: Of the picture's file.
        title: Headline.
        about: What is asked for.
        python: How it is asked for in Python.
        command: The same as a command.
        needs: What the engine must serve.
        make: Do it.
    """

    name: str
    title: str
    about: str
    python: str
    command: str
    needs: frozenset[str]
    make: "Callable[[Inputs], Shown]" = field(repr=False)


class Inputs:
    """What the tasks follow; made when first needed, always the same.

    Args:
        engine: Makes the motions.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @cached_property
    def walk(self) -> Motion:
        """A walk, which is filmed and gone on with."""
        return self.engine.generate("a person walks forward", seconds=4.0, seed=3)[0]

    @cached_property
    def song(self) -> Accompaniment:
        """Music, made to a dance."""
        dance = self.engine.generate("a person dances", seconds=6.0, seed=1)[0]
        return accompany(dance, seed=4)

    @cached_property
    def talk(self) -> Spoken:
        """Speech, made to waving hands."""
        return speak(self.engine.generate("a person waves both hands", seconds=5.0, seed=2)[0], seed=1)

    @cached_property
    def video(self) -> Keypoints:
        """Keypoints of the walk."""
        return filmed(self.walk, seed=5)

    def write(self, folder: Path) -> list[Path]:
        """The inputs as files."""
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / "walk.bvh", folder / "song.wav", folder / "video.json"]
        self.walk.save(files[0])
        save_audio(self.song.sound, files[1])
        rows = torch.cat((self.video.points, self.video.confidence[..., None]), dim=-1)
        with atomic_path(files[2]) as temporary:
            temporary.write_text(json.dumps({"fps": self.video.fps, "frames": rows.round(decimals=2).tolist()}))
        if has_speech():
            files.append(folder / "talk.wav")
            save_audio(self.talk.sound, files[-1])
        return files


def text(given: Inputs) -> Shown:
    """A sentence."""
    said = "an old person walks and turns left"
    return Shown(given.engine.generate(said, seconds=4.0, seed=1), [said])


def action(given: Inputs) -> Shown:
    """An action's name."""
    names = ("bow", "run", "raise both hands")
    return Shown([given.engine.generate(name, seconds=3.0, seed=1)[0] for name in names], names)


def music(given: Inputs) -> Shown:
    """A dance to music."""
    made = given.engine.generate(music=given.song.sound, seed=1)[0]
    below = [marks(made, given.song.beats, kinematic(made), "beats of the music", "rests of the dance")]
    return Shown([made], [f"music: {given.song.style}, {given.song.bpm:.0f} beats a minute"], below=below)


def speech(given: Inputs) -> Shown:
    """Gestures to speech."""
    made = given.engine.generate(speech=given.talk.sound, seed=1)[0]
    stresses = torch.tensor([phrase.stress for phrase in given.talk.phrases], dtype=torch.float64)
    below = [marks(made, stresses, strokes(made), "stresses", "strokes of the hands")]
    return Shown([made], [f"speech: {given.talk.text}"], below=below)


def video(given: Inputs) -> Shown:
    """The motion that a video shows."""
    made = given.engine.generate(keypoints=given.video, seed=1)[0]
    return Shown([made, given.walk], ["made from the keypoints", "what was filmed"], [film(given.video)])


def prediction(given: Inputs) -> Shown:
    """A walk goes on."""
    return _filled(given, "2 s are known", ml.frames(0, 2.0), seconds=2.0)


def in_between(given: Inputs) -> Shown:
    """The middle of a walk."""
    return _filled(given, "first and last second are known", ml.frames(0, 1.0) | ml.frames(-1.0))


def conditional_prediction(given: Inputs) -> Shown:
    """A walk goes on as a text says."""
    return _filled(given, "2 s are known", ml.frames(0, 2.0), "a person runs forward", 2.0)


def conditional_in_between(given: Inputs) -> Shown:
    """The middle of a walk, as a text says."""
    keep = ml.frames(0, 1.0) | ml.frames(-1.0)
    return _filled(given, "first and last second are known", keep, "a person raises both hands")


def several(given: Inputs) -> Shown:
    """Text and music at once."""
    said = "a person walks forward"
    made = given.engine.generate(said, music=given.song.sound, seed=2)[0]
    below = [marks(made, given.song.beats, kinematic(made), "beats of the music", "rests of the motion")]
    return Shown([made], [f"'{said}', and music"], below=below)


def rates(given: Inputs) -> Shown:
    """The same sentence and seed at three frame rates."""
    made = [given.engine.generate("a person runs forward", seconds=3.0, fps=fps, seed=1)[0] for fps in (12.5, 20, 60)]
    return Shown(made, [f"{motion.fps:g} frames a second" for motion in made])


def _filled(given: Inputs, what: str, keep: Keep, said: str = "", seconds: float = 0.0) -> Shown:
    """Some of the walk is kept and the rest made; ``seconds`` of it are cut off and predicted."""
    source = given.walk
    known = keep.mask(len(source), source.fps)
    if seconds:
        made = given.engine.predict(cut(source, 0.0, 2.0), seconds, text=said, seed=1)[0]
    else:
        made = given.engine.complete(source, keep, text=said, seed=1)[0]
    title = what + (f"; '{said}'" if said else "")
    return Shown([made], [title], below=[strip(known, CELL * POSES + int(1.35 * CELL))])


KNOWN = 'clip = ml.load_motion("walk.bvh")'
TASKS = (
    Task("text", "Text to motion", "A sentence.", 'engine.generate("an old person walks and turns left", seconds=4)',
         'generate --text "an old person walks and turns left" --seconds 4 --out new.bvh', frozenset({"text"}), text),
    Task("action", "Action to motion", "The name of an action is a short sentence.",
         'engine.generate("bow", seconds=3)', "generate --text bow --seconds 3 --out new.bvh", frozenset({"text"}),
         action),
    Task("music", "Music to dance", "As long as the music. The model itself does not keep time; its motion is played a"
         " little faster and slower, so that it rests on beats (`in_time=False` leaves that out).",
         'from motionloom.conditions.audio import load_audio\n\nengine.generate(music=load_audio("song.wav"))',
         "generate --music song.wav --out dance.bvh", frozenset({"music"}), music),
    Task("speech", "Speech to gestures", "Somebody stands and gestures. When the hands move does not follow the speech"
         " yet.",
         'from motionloom.conditions.audio import load_audio\n\nengine.generate(speech=load_audio("talk.wav"))',
         "generate --speech talk.wav --out gestures.bvh", frozenset({"speech"}), speech),
    Task("video", "Video to motion", "From keypoints of a video; see [conditions](conditions.md) for their files.",
         "from motionloom.conditions.keypoints import load_keypoints\n\n"
         'engine.generate(keypoints=load_keypoints("video.json", fps=20.0))',
         "generate --keypoints video.json --out motion.bvh", frozenset({"video"}), video),
    Task("prediction", "Prediction", "A motion goes on.", f"{KNOWN}\nengine.predict(clip, 2.0)",
         "predict walk.bvh --seconds 2 --out longer.bvh", frozenset({"known frames", "unconditioned"}), prediction),
    Task("in-between", "In-between", "The ends are kept, the middle is made.",
         f"{KNOWN}\nengine.complete(clip, ml.frames(0, 1.0) | ml.frames(-1.0))",
         "complete walk.bvh --keep 0:1,-1: --out new.bvh", frozenset({"known frames", "unconditioned"}), in_between),
    Task("conditional-prediction", "Prediction with a condition", "A motion goes on as a text (or sound) says.",
         f'{KNOWN}\nengine.predict(clip, 2.0, text="a person runs forward")',
         'predict walk.bvh --seconds 2 --text "a person runs forward" --out longer.bvh',
         frozenset({"known frames", "text"}), conditional_prediction),
    Task("conditional-in-between", "In-between with a condition", "The middle is made as a text (or sound) says.",
         f'{KNOWN}\nengine.complete(clip, ml.frames(0, 1.0) | ml.frames(-1.0), text="a person raises both hands")',
         'complete walk.bvh --keep 0:1,-1: --text "a person raises both hands" --out new.bvh',
         frozenset({"known frames", "text"}), conditional_in_between),
    Task("several", "Several conditions at once", "A text says what is done; for the music it is played so that it"
         " rests on beats.",
         "from motionloom.conditions.audio import load_audio\n\n"
         'engine.generate("a person walks forward", music=load_audio("song.wav"))',
         'generate --text "a person walks forward" --music song.wav --out new.bvh', frozenset({"text", "music"}),
         several),
    Task("rates", "Any frame rate", "The same sentence and seed at 12.5, 20 and 60 frames a second; noise is drawn a"
         " frame, so these are three motions of one kind, not one motion three times.",
         'engine.generate("a person runs forward", seconds=3, fps=60)',
         'generate --text "a person runs forward" --seconds 3 --fps 60 --out new.bvh', frozenset({"text"}), rates),
)  # fmt: skip


def marks(motion: Motion, given: torch.Tensor, moved: torch.Tensor, what: str, which: str) -> Image.Image:
    """Two rows of marks under the poses: moments of what was followed (dark) and of the motion (orange)."""
    width, tall = CELL * POSES + int(1.35 * CELL), 14
    image = Image.new("RGB", (width, 2 * tall + 6), PAPER)
    draw = ImageDraw.Draw(image)
    scale = CELL * (POSES - 1) / motion.seconds
    for row, (times, colour, label) in enumerate(((given, INK, what), (moved, LEFT, which))):
        for time in times[times <= motion.seconds].tolist():
            x = CELL / 2 + time * scale
            draw.rectangle((x - 1, row * tall + 1, x + 1, (row + 1) * tall - 2), fill=colour)
        draw.text((CELL * POSES + 8, row * tall), label, fill=colour)
    draw.line((0, image.height - 1, width, image.height - 1), fill=LINES)
    return image


def film(seen: Keypoints) -> Image.Image:
    """Frames of a video of keypoints, one above each pose."""
    tall = int(1.1 * CELL)
    image = Image.new("RGB", (CELL * POSES + int(1.35 * CELL), tall + 4), PAPER)
    draw = ImageDraw.Draw(image)
    sure = seen.confidence > SEEN
    # As large as the person is at the most, wherever in the image.
    people = [points[known] for points, known in zip(seen.points, sure, strict=True) if bool(known.any())]
    scale = (tall - 16) / max(1.0, *(float((points.amax(0) - points.amin(0)).max()) for points in people))
    middle = torch.cat(people).mean(0)
    for column, frame in enumerate(torch.linspace(0, len(seen) - 1, POSES).round().long().tolist()):
        centre = (seen.points[frame][sure[frame]].mean(0) if bool(sure[frame].any()) else middle).tolist()
        place = [
            (column * CELL + CELL / 2 + (x - centre[0]) * scale, tall / 2 + (y - centre[1]) * scale)
            for x, y in seen.points[frame].tolist()
        ]
        for a, b in LIMBS:
            if bool(sure[frame, a] & sure[frame, b]):
                draw.line((place[a], place[b]), fill=INK, width=2)
    draw.text((CELL * POSES + 8, tall / 2), "keypoints, as seen", fill=INK)
    return image


def picture(shown: Shown) -> Image.Image:
    """All of it, one below the other."""
    sheets = [
        contact_sheet(motion, title, POSES, CELL) for motion, title in zip(shown.motions, shown.titles, strict=True)
    ]
    rows = [*shown.above, *sheets, *shown.below]
    image = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), PAPER)
    top = 0
    for row in rows:
        image.paste(row, (0, top))
        top += row.height
    return image


def page(engine: str, pictures: str, left_out: dict[str, str]) -> list[str]:
    """The page: of each task the picture, Python and the command."""
    lines = [
        "# Ten tasks, one model", "",
        f"All of these are done by the engine `{engine}` through the same verbs; pictures and this page are made by"
        " `python runs/ten_tasks.py`. What is followed here is made as well: a walk by the engine itself, music and"
        " speech synthesised to motions of it, keypoints of a random camera. The model's pairs of music, speech and"
        " video with motion are synthetic too: see [conditions](conditions.md).", "",
        "```python", "import motionloom as ml", "", f'engine = ml.load("{engine}")', "```", "",
    ]  # fmt: skip
    for task in TASKS:
        lines += [f"## {task.title}", "", task.about, ""]
        if task.name in left_out:
            lines += [f"Not shown: {left_out[task.name]}.", ""]
            continue
        lines += [f"![{task.title}]({pictures}/{task.name}.png)", "", "```python", task.python, "```", "```"]
        lines += [f"motionloom {task.command} --engine {engine}", "```", ""]
    return lines


def main() -> None:
    """Make, draw, write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", default="lmm")
    parser.add_argument("--pictures", type=Path, default=Path("docs/images/tasks"))
    parser.add_argument("--out", type=Path, default=Path("docs/tasks.md"))
    parser.add_argument("--inputs", type=Path, help="keep the files that the commands name in this folder")
    parser.add_argument("--only", nargs="+", choices=[task.name for task in TASKS])
    options = parser.parse_args()

    engine = load(options.engine)
    given, left_out = Inputs(engine), {}
    if options.inputs is not None:
        print("\n".join(f"wrote {file}" for file in given.write(options.inputs)))
    options.pictures.mkdir(parents=True, exist_ok=True)
    for task in TASKS:
        lacking = sorted(task.needs - engine.capabilities)
        if lacking:
            left_out[task.name] = f"this engine does not serve {', '.join(lacking)}"
        elif task.name == "speech" and not has_speech():
            left_out[task.name] = "espeak-ng is not installed"
        if task.name in left_out or task.name not in (options.only or [task.name]):
            continue
        try:
            shown = task.make(given)
        except MotionloomError as error:
            left_out[task.name] = str(error)
            print(f"{task.name}: {error}")
            continue
        with atomic_path(options.pictures / f"{task.name}.png") as temporary:
            picture(shown).quantize(96).save(temporary, format="PNG", optimize=True)
        print(f"{task.name}: {', '.join(f'{motion.seconds:.1f} s' for motion in shown.motions)}")
    if options.only is None:
        folder = options.pictures.relative_to(options.out.parent).as_posix()
        with atomic_path(options.out) as temporary:
            temporary.write_text("\n".join(page(options.engine, folder, left_out)).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

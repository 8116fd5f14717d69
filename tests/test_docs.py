"""Every Python snippet of README and docs runs, every command names options that exist, every example runs."""

import re
import shlex
import subprocess
import sys

import click
import pytest
import typer
from conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "engine_plugin" / "README.md"]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def blocks(page, kind):
    """Fenced blocks of a kind ("" for those without one), each with its line."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        if found[1] == kind:
            yield text[: found.start()].count("\n") + 1, found[2]


def commands():
    for page in PAGES:
        for line, block in blocks(page, ""):
            for row in block.replace("\\\n", " ").splitlines():
                words = row.split("  #")[0].split(" # ")[0].strip()
                if words.startswith("motionloom "):
                    yield pytest.param(words, id=f"{page.name}:{line} {words[11:60]}")


SNIPPETS = [
    pytest.param(page, [code for _, code in blocks(page, "python")], id=page.name)
    for page in PAGES
    if any(True for _ in blocks(page, "python"))
]


def leaf(words):
    """The click command that words name, and its arguments."""
    from motionloom.app.cli.main import app

    command, rest = typer.main.get_command(app), list(words)
    while isinstance(command, click.Group) or hasattr(command, "commands"):
        name = rest.pop(0)
        command = command.commands[name]  # type: ignore[attr-defined]
    return command, rest


@pytest.mark.parametrize("words", list(commands()))
def test_a_documented_command_has_these_options(words):
    if words.split()[1].startswith("-"):
        return
    command, rest = leaf(shlex.split(words)[1:])
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word.split("=")[0] for word in rest if re.match(r"--\w", word) and word.split("=")[0] not in known]
    assert not unknown, f"motionloom {command.name} has no {', '.join(unknown)}"


def test_the_check_sees_an_option_that_does_not_exist():
    with pytest.raises(AssertionError, match="has no --colour"):
        test_a_documented_command_has_these_options("motionloom generate --text x --colour red --out x.bvh")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the files that snippets read."""
    import make

    from motionloom.conditions.audio import save_audio
    from motionloom.data.sound.music import accompany
    from motionloom.data.sound.speech import speak  # noqa: F401 - says early if it is gone
    from motionloom.motion.motion import Motion

    folder = tmp_path_factory.mktemp("docs")
    clip: Motion = make.motion(80, 0, 20.0)
    for name in ("my_capture.bvh", "walk.bvh", "capture.bvh", "clip.bvh", "dance.bvh"):
        clip.save(folder / name)
    sound = accompany(make.motion(440, 0, 20.0), 0).sound
    for name in ("song.mp3", "song.wav", "talk.wav"):
        save_audio(sound, folder / name)
    (folder / "runs").mkdir()
    (folder / "runs" / "story.txt").write_text("2.0  a person walks forward\n2.0  a person bows\n")
    points = [[100.0 + 3 * joint, 100.0 + 5 * joint + frame, 0.9] for frame in range(40) for joint in range(17)]
    rows = [{"image_id": f"{frame:04d}.jpg", "category_id": 1, "score": 1.0,
             "keypoints": [value for point in points[17 * frame : 17 * frame + 17] for value in point]}
            for frame in range(40)]  # fmt: skip
    import json

    for name in ("video.json", "walk.json"):
        (folder / name).write_text(json.dumps(rows))
    return folder


PRELUDE = """
import motionloom as ml
engine = ml.load({engine!r})
clip = ml.load("mmm").generate("a person walks forward", seconds=4, seed=1)[0]
"""


@pytest.mark.parametrize(("page", "snippets"), SNIPPETS)
def test_snippets_run(page, snippets, place):
    engine = "lmm" if page.name in ("tasks.md", "lmm.md") else "mmm"
    code = PRELUDE.format(engine=engine) + "\n".join(snippets)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=place)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_run(path, tmp_path):
    arguments = [str(tmp_path)] if "FOLDER" in path.read_text() else []
    done = subprocess.run(
        [sys.executable, str(path), *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()

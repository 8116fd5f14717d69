"""Errors and notes name options that exist on the command line, in one line that any terminal prints."""

import re

import pytest
from conftest import ROOT

from motionloom.errors import DataError, MotionFileError, MotionloomError

FOLDERS = ("motion", "conditions", "data")
FOREIGN = {"--force-reinstall", "--stdout"}
"""Options of other programs that a message may name."""


def command_line_options() -> set[str]:
    """Every option of every command."""
    import typer

    from motionloom.app.cli.main import app

    found: set[str] = set()

    def walk(command: object) -> None:
        for parameter in getattr(command, "params", []):
            found.update(parameter.opts, parameter.secondary_opts)
        for inner in getattr(command, "commands", {}).values():
            walk(inner)

    walk(typer.main.get_command(app))
    return found


def test_every_option_that_a_message_names_exists() -> None:
    known = command_line_options()
    assert {"--unit", "--up", "--true-fps", "--asf", "--image-size", "--keypoints-fps", "--from"} <= known
    named = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / "motionloom" / folder).rglob("*.py")):
            for option in re.findall(r"(?<![-\w])--[a-z][a-z-]+", path.read_text(encoding="utf-8")):
                named[option] = path.name
    lacking = {option: where for option, where in named.items() if option not in known | FOREIGN}
    assert not lacking
    assert len(named) >= 8


@pytest.mark.parametrize(
    "verb", ["convert", "inspect", "render", "clean", "complete", "predict", "describe", "compose"]
)
def test_every_verb_reads_files_with_the_same_options(verb: str) -> None:
    import typer

    from motionloom.app.cli.main import app

    command = getattr(typer.main.get_command(app), "commands")[verb]  # noqa: B009
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--unit", "--up", "--true-fps", "--asf"} <= options


def test_messages_are_one_line_of_at_most_300_characters() -> None:
    long = str(MotionFileError("clip.bvh:3: " + "x" * 10_000 + "\n\x1b[31m; name it with --unit"))
    assert len(long) <= 300
    assert long.startswith("clip.bvh:3: xxx")
    assert long.endswith("name it with --unit")
    assert long.isprintable()
    # A file name that is no text, as other systems write them, must not break the printing of the message.
    assert str(DataError("folder/\udcff.bvh: is missing")).encode("utf-8") == b"folder/\\udcff.bvh: is missing"
    assert str(MotionloomError()) == ""

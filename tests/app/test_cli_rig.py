"""Characters and tools on the command line."""

import json
import sys
from pathlib import Path

import make
import pytest
import rig_files
from make_mmm import write_engine

from motionloom.app.cli import main as cli
from motionloom.app.packs import read_prompts
from motionloom.errors import RequestError
from motionloom.motion.io import load, save


@pytest.fixture
def motionloom(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["motionloom", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def hero(tmp_path: Path) -> Path:
    rig_files.write(rig_files.twelve()["manny"], tmp_path / "hero.glb")
    return tmp_path / "hero.glb"


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    save(make.motion(40, fps=30.0, size=0.1), tmp_path / "walk.npz")
    return tmp_path / "walk.npz"


def test_convert_puts_a_motion_on_a_character(motionloom, hero: Path, walk: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.glb"
    status, printed, _ = motionloom("convert", walk, out, "--on", hero)
    assert status == 0
    assert "certificate: " in printed
    assert "foot skate" in printed
    assert load(out).fps == 30.0
    status, printed, _ = motionloom(
        "convert", walk, out, "--on", hero, "--for", "blender", "--root-bone", "root", "--json"
    )
    found = json.loads(printed)
    assert status == 0
    assert found["certificate"]["mapped"]["hips"] == {"node": "pelvis", "rule": "names: unreal"}
    assert json.loads((tmp_path / "out.clip.json").read_text())["file"] == "out.glb"


def test_rig_inspect_and_init(motionloom, hero: Path, walk: Path, tmp_path: Path) -> None:
    status, printed, _ = motionloom("rig", "inspect", hero)
    assert status == 0
    assert "pelvis  (names: unreal)" in printed
    status, printed, _ = motionloom("rig", "inspect", hero, "--json")
    assert json.loads(printed)["root_bone"] == "root"
    status, _, _ = motionloom("rig", "init", hero, tmp_path / "map.toml")
    assert status == 0
    status, printed, _ = motionloom("convert", walk, tmp_path / "out.glb", "--on", hero, "--map", tmp_path / "map.toml")
    assert status == 0
    assert "by map file" in printed


def test_bad_input_gets_one_line_and_leaves_nothing(motionloom, hero: Path, walk: Path, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n")
    (tmp_path / "cut.fbx").write_bytes(b"Kaydara FBX Binary  \0\x1a\0" + (7400).to_bytes(4, "little") + b"\1\2")
    rig_files.write(rig_files.Made(rig_files.names_of("unity"), skin=False), tmp_path / "bare.glb")
    tree, data = rig_files.load_tree(hero)
    rig_files.save({**tree, "extensions": {"VRM": {}}}, data, tmp_path / "avatar.vrm")
    before = sorted(tmp_path.iterdir())
    for on, message in (
        ("picture.png", "is no character; characters are"),
        ("cut.fbx", "the file is cut off"),
        ("bare.glb", "has no skin and no humanoid map"),
        ("avatar.vrm", "the VRM extension has no humanoid map"),
        ("gone.glb", "cannot be read (No such file"),
    ):
        status, printed, error = motionloom("convert", walk, tmp_path / "out.glb", "--on", tmp_path / on)
        assert (status, printed) == (1, "")
        assert message in error
        assert error.count("\n") == 1
        assert "Traceback" not in error
    for arguments, message in (
        (["--on", hero, "--names", "mixamo"], "a character keeps its own names"),
        (["--map", "x.toml"], "give the character with --on"),
        (["--on", hero, "--root-bone", "left"], "use root or none"),
        (["--on", hero, "--reduce-keys", "-1"], "use 0 to 30"),
        (["--for", "maya"], "no such tool"),
    ):
        status, _, error = motionloom("convert", walk, tmp_path / "out.glb", *arguments)
        assert status in (1, 2)
        assert message in error
    assert sorted(tmp_path.iterdir()) == before


def test_a_pack_is_made_of_a_table(motionloom, hero: Path, tmp_path: Path) -> None:
    engine = write_engine(tmp_path / "engine" / "small")
    table = tmp_path / "prompts.csv"
    table.write_text('text,name,seconds,loop\n"a person walks, slowly",Walk,2,yes\na person waves,,1.2,\n')
    out = tmp_path / "Clips"
    status, _, error = motionloom(
        "pack", table, "--on", hero, "--for", "unity", "--out-dir", out, "--engine", engine, "--json"
    )
    assert status == 0, error
    names = sorted(path.name for path in out.iterdir())
    assert names == [
        "Walk.clip.json", "Walk.fbx", "Walk.png", "a_person_waves.clip.json", "a_person_waves.fbx",
        "a_person_waves.png", "contact_sheet.png", "index.json",
    ]  # fmt: skip
    index = json.loads((out / "index.json").read_text())
    assert [clip["loop"] for clip in index["clips"]] == [True, False]
    assert index["for"] == "unity"


def test_tables_that_cannot_be_packed(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text("a person walks\na person waves\n")
    assert [row.name for row in read_prompts(path)] == ["a_person_walks", "a_person_waves"]
    for text, message in (
        ("text,speed\na,1\n", "column 'speed' is unknown"),
        ("text,seconds\na,-1\n", "prompts.csv:2: seconds and seed must be numbers"),
        ("text,loop\na,maybe\n", "loop is 'maybe'; use yes or no"),
        ("text,name\n,x\n", "the text is empty"),
        ("walk,1\nrun,2\n", "no column 'text'"),
    ):
        path.write_text(text)
        with pytest.raises(RequestError, match=message):
            read_prompts(path)

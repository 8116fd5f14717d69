import json
import subprocess
import sys

import pytest
from corpus import as_cmu, walk, write_cmu
from make_mmm import write_engine
from typer.testing import CliRunner

from motionloom.app.cli import main as cli
from motionloom.motion.io import load, save


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return str(write_engine(tmp_path_factory.mktemp("engine") / "small"))


@pytest.fixture
def bvh(tmp_path):
    save(as_cmu(walk(60, 0, fps=30.0)), tmp_path / "walk.bvh")
    return tmp_path / "walk.bvh"


def run(
    *arguments: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """Run the command line in this process as a user would: exit status, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["motionloom", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out, captured.err


@pytest.fixture
def motionloom(monkeypatch, capsys):
    return lambda *arguments: run(*arguments, monkeypatch=monkeypatch, capsys=capsys)


def test_generate_writes_every_file_and_the_same_seed_the_same_bytes(motionloom, engine, tmp_path):
    for name in ("a", "b"):
        outs = [
            part
            for suffix in ("bvh", "glb", "npz", "npy", "csv", "png")
            for part in ("--out", tmp_path / f"{name}.{suffix}")
        ]
        status, out, _ = motionloom(
            "generate", "--text", "a person waves", "--seconds", 2, "--seed", 1, "--engine", engine, *outs
        )
        assert status == 0
        assert out.count("wrote") == 6
    for suffix in ("bvh", "glb", "npz", "npy", "csv", "png"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes(), suffix


def test_generate_numbers_several_motions_and_speaks_json(motionloom, engine, tmp_path):
    status, out, _ = motionloom(
        "generate",
        "--text",
        "walk",
        "--seconds",
        1,
        "--count",
        2,
        "--engine",
        engine,
        "--out",
        tmp_path / "w.npz",
        "--json",
    )
    assert status == 0
    found = json.loads(out)
    assert [motion["frames"] for motion in found["motions"]] == [20, 20]
    assert (tmp_path / "w-1.npz").is_file()
    assert (tmp_path / "w-2.npz").is_file()


def test_convert_resamples_and_retargets(motionloom, bvh, tmp_path):
    status, out, _ = motionloom("convert", bvh, tmp_path / "walk.npz", "--retarget", "--fps", 20)
    assert status == 0
    assert "unit guessed" in out
    motion = load(tmp_path / "walk.npz")
    assert (len(motion), motion.fps, len(motion.skeleton)) == (40, 20.0, 22)


def test_inspect_prints_facts(motionloom, bvh):
    status, out, _ = motionloom("inspect", bvh, "--json")
    facts = json.loads(out)
    assert status == 0
    assert facts["frames"] == 60
    assert facts["mean speed m/s"] == pytest.approx(1.1, abs=0.5)
    assert "foot slide m/s" in facts
    status, out, _ = motionloom("inspect", bvh)
    assert "fps" in out


def test_inspect_says_how_well_a_motion_fits_a_text(motionloom, bvh):
    found = {}
    for text in ("a person walks forward", "a person takes a deep bow"):
        status, out, _ = motionloom("inspect", str(bvh), "--text", text, "--json")
        assert status == 0
        found[text] = json.loads(out)
        assert -1 <= found[text]["cosine"] <= 1
        assert found[text]["poor"] == found[text]["fit"].startswith("POOR")
    walks, bows = found.values()
    assert walks["cosine"] > bows["cosine"]
    assert bows["poor"]
    assert motionloom("inspect", str(bvh), "--text", " ".join(["walk"] * 10_000))[0] == 1


def test_render_draws(motionloom, bvh, tmp_path):
    status, _, _ = motionloom("render", bvh, "--out", tmp_path / "walk.png", "--poses", 3)
    assert status == 0
    assert (tmp_path / "walk.png").stat().st_size > 1000
    status, _, err = motionloom("render", bvh, "--out", tmp_path / "walk.bmp")
    assert status == 2
    assert ".png, .gif or .mp4" in err


def test_data_prepare_and_info(motionloom, tmp_path):
    raw = write_cmu(tmp_path / "raw", clips=3)
    status, out, _ = motionloom(
        "data", "prepare", "--source", f"cmu={raw}", "--out", tmp_path / "store", "--workers", 1
    )
    assert status == 0
    assert "3 clips" in out
    status, out, _ = motionloom("data", "info", tmp_path / "store")
    assert status == 0
    assert "cmu        3 clips" in out
    assert "left_arm" in out
    status, out, _ = motionloom("data", "info", tmp_path / "store", "--out", tmp_path / "clips.png", "--json")
    assert status == 0
    assert len(json.loads(out)["drawn"]) == 3
    assert (tmp_path / "clips.png").is_file()
    assert json.loads(motionloom("data", "info", tmp_path / "store", "--json")[1])["clips"] == 3


def test_models_lists_what_is_bundled(motionloom):
    status, out, _ = motionloom("models", "--json")
    assert status == 0
    found = {entry["model"]: entry for entry in json.loads(out)}
    starters = {
        "lmm/diffusion", "mmm/tokenizer", "mmm/masked", "mmm/length", "m3gpt/language", "m3gpt/motion", "m3gpt/music"
    }  # fmt: skip
    assert set(found) == {"matcher", *starters}
    assert all(entry["licence"] and entry["sources"] for entry in found.values())


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["generate", "--text", "walk"], 2, "give at least one file to write"),
        (["generate", "--text", "walk", "--out", "x.abc"], 1, "motions of this kind are not written"),
        (["generate", "--text", "walk", "--out", "nowhere/x.bvh"], 1, "the directory nowhere does not exist"),
        (["generate", "--text", "", "--engine", "nonsense", "--out", "x.bvh"], 1, "there is no engine 'nonsense'"),
        (["generate", "--seconds", "many", "--out", "x.bvh"], 2, "--seconds"),
        (["convert", "none.bvh", "x.glb"], 1, "none.bvh: cannot be read"),
        (["inspect", "none.xyz"], 1, "motions of this kind are not read"),
        (["data", "prepare", "--source", "cmu", "--out", "x"], 2, "is not NAME=FOLDER"),
        (["data", "info", "nowhere"], 1, "nowhere is no store"),
        (["train", "none.toml", "--store", "x", "--run", "y"], 1, "none.toml: cannot be read"),
        (
            ["import", "x.pth", "--kind", "nonsense", "--mean", "m", "--std", "s", "--out", "o", "--licence", "l"],
            1,
            "kind",
        ),
    ],
)
def test_errors_are_one_line_and_leave_nothing(motionloom, tmp_path, monkeypatch, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    found, out, err = motionloom(*arguments)
    assert found == status
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    if status == 1:
        assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["motionloom", "--debug", "inspect", "none.bvh"])
    with pytest.raises(Exception, match="cannot be read"):
        cli.main()
    monkeypatch.setitem(cli._state, "debug", False)


def test_every_verb_has_help():
    runner = CliRunner()
    for verb in ("generate", "convert", "inspect", "render", "data", "train", "models", "import"):
        result = runner.invoke(cli.app, [verb, "--help"])
        assert result.exit_code == 0
        assert "Usage" in result.output


def test_help_needs_none_of_the_heavy_packages():
    code = (
        "import sys\nfrom motionloom.app.cli import main as cli\nfrom typer.testing import CliRunner\n"
        "assert CliRunner().invoke(cli.app, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'numpy', 'transformers', 'PIL', 'pyarrow', 'lightning_fabric'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

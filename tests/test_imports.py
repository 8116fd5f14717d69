"""What a call imports: nothing of other engines, nothing of training, no heavy package for the help."""

import subprocess
import sys

import pytest


def modules_after(code):
    """Modules of ours that are loaded after some code, in a process of its own."""
    tail = "\nimport sys\nprint('\\n'.join(sorted(name for name in sys.modules if name.startswith('motionloom'))))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("engine", "foreign"),
    [
        ("mmm", ("engines.lmm", "engines.m3gpt", "engines.momask", "models.diffusion", "models.language")),
        ("lmm", ("engines.mmm", "engines.m3gpt", "engines.momask", "models.masked", "models.language")),
        ("m3gpt", ("engines.mmm", "engines.lmm", "engines.momask", "models.masked", "models.diffusion")),
    ],
)
def test_loading_an_engine_imports_no_other_and_no_training(engine, foreign):
    loaded = modules_after(f"import motionloom as ml\nml.load({engine!r})")
    assert f"motionloom.engines.{engine}.engine" in loaded
    unwanted = [f"motionloom.{name}" for name in (*foreign, "training", "evaluation", "app")]
    assert not [name for name in loaded if name.startswith(tuple(unwanted))]


def test_the_package_alone_imports_nothing():
    assert modules_after("import motionloom") == {"motionloom"}

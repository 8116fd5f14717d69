"""The package's shape: imports point one way, files stay short, every module imports, no stray paths."""

import ast
import importlib
import re

import pytest
from conftest import ROOT

from benchmarks.structure import circles, import_graph

PACKAGE = ROOT / "motionloom"
# errors <- motion <- conditions, metrics <- data <- models <- engines | training <- evaluation <- app; equals do not
# know each other.
LEVELS = {
    "errors": 0, "extras": 0, "licences": 0, "progress": 0, "schema": 0, "motion": 1, "conditions": 2, "metrics": 2,
    "data": 3, "models": 4, "engines": 5, "training": 5, "evaluation": 6, "app": 7,
}  # fmt: skip
SOURCES = sorted(PACKAGE.rglob("*.py"))
WRITTEN = [
    path
    for folder in ("motionloom", "benchmarks", "tests", "runs", "configs", "docs", "examples")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".md", ".toml", ".cjs", ".json")
]
LONGEST = 600


def layer_of(module: str) -> str | None:
    """The layer a dotted name belongs to; none for the package itself and for other packages."""
    parts = module.split(".")
    return parts[1] if parts[0] == "motionloom" and len(parts) > 1 else None


def imports(path, tree):
    """Dotted names a file imports, anywhere in it, with their lines."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*start, *([node.module] if node.module else [])])
            # `from motionloom import data` imports a layer too.
            yield from ((f"{base}.{alias.name}" if base == "motionloom" else base, node.lineno) for alias in node.names)


def named(path, tree):
    """Modules a file names in words, as tables that import when first used do ("motionloom.motion.io.bvh:read")."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = re.fullmatch(r"(motionloom(?:\.\w+)+)(?::\w+)?", node.value)
            if found:
                yield found[1], node.lineno


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_package_needs_nothing_beside_it(path):
    beside = {"benchmarks", "tests", "runs", "examples"}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [f"{line} imports {name}" for name, line in imports(path, tree) if name.split(".")[0] in beside]


def test_no_import_goes_in_a_circle():
    assert circles(import_graph()) == []


def test_the_check_sees_a_circle():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_private_name_is_taken_across_modules(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} takes {alias.name} of {node.module}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("motionloom")
        for alias in node.names
        if alias.name.startswith("_")
    ]
    assert not wrong, "\n".join(wrong)


def test_there_is_something_to_look_at():
    assert len(SOURCES) > 30
    assert {
        layer_of(f"motionloom.{path.relative_to(PACKAGE).parts[0].removesuffix('.py')}") for path in SOURCES
    } >= set(LEVELS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_points_to_a_higher_layer(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in LEVELS, f"{own} is no layer: put the file into one of {', '.join(LEVELS)}"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wrong = []
    for module, line in [*imports(path, tree), *named(path, tree)]:
        layer = layer_of(module)
        if layer in LEVELS and layer != own and LEVELS[layer] >= LEVELS[own]:
            wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_the_check_sees_a_wrong_import_in_every_form():
    text = (
        "import motionloom.training.loop\nfrom motionloom import app\nfrom motionloom.models.masked.model import X\n"
        "from ..data import store\nTABLE = {'.png': 'motionloom.app.render:write'}\n"
    )
    path = PACKAGE / "motion" / "invented.py"
    tree = ast.parse(text)
    found = {layer_of(module) for module, _ in [*imports(path, tree), *named(path, tree)]}
    assert found == {"training", "app", "models", "data"}


def test_no_file_is_longer_than_a_person_reads():
    files = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))]
    long = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: lines for name, lines in long.items() if lines > LONGEST} == {}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_imports(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    assert importlib.import_module(name).__name__ == name


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_path_of_one_machine_is_written_down(path):
    machine = re.compile(r"(?<![\w.])/(?:work|root|home|Users|mnt|tmp)/\w")
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [f"{number}: {line.strip()[:100]}" for number, line in enumerate(lines, 1) if machine.search(line)]
    assert not found, "\n".join(found)

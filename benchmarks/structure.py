"""The shape of the package in figures: import circles, lines, repeated code, and how far a newcomer has to walk."""

import ast
import hashlib
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "motionloom"
RUN = 6
"""Lines in a row that count as repeated."""
ENGINES = ("mmm", "lmm", "m3gpt")


def module_name(path: Path) -> str:
    """Dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph() -> dict[str, set[str]]:
    """Imports between the files of the package, those inside functions too; those for type checkers alone left out."""
    names = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typing_only = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        targets: set[str] = set()
        for node in ast.walk(tree):
            if id(node) in typing_only:
                continue
            if isinstance(node, ast.ImportFrom) and node.module:
                targets |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
        found[name] = {target for target in targets if target in names and target != name}
    return found


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other (Tarjan, "Depth-first search and linear graph algorithms", 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group: list[str] = []
            while not group or group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def repeated() -> list[tuple[str, str, int]]:
    """Pairs of modules with at least six equal lines of code in a row, and how many windows of six they share."""
    places: dict[str, set[str]] = defaultdict(set)
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for path in sorted(PACKAGE.rglob("*.py")):
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        code = [line for line in lines if len(line) > 3 and not line.startswith(("#", "from ", "import ", '"""', "@"))]
        for start in range(len(code) - RUN + 1):
            key = hashlib.sha256("\n".join(code[start : start + RUN]).encode()).hexdigest()
            places[key].add(module_name(path))
    for modules in places.values():
        ordered = sorted(modules)
        for at, first in enumerate(ordered):
            for second in ordered[at + 1 :]:
                counts[first, second] += 1
    return sorted(((a, b, count) for (a, b), count in counts.items()), key=lambda row: -row[2])


_WALK = """
import sys
entered = set()
def note(frame, event, argument):
    # Functions, not the bodies of modules and classes that an import runs.
    if event == "call" and frame.f_code.co_flags & 2:
        entered.add(frame.f_code.co_filename)
import motionloom as ml
engine = ml.load({engine!r})
sys.setprofile(note)
engine.generate("a person walks", 2.0, seed=1)[0].save({out!r})
sys.setprofile(None)
print("\\n".join(sorted(name for name in entered if "motionloom" in name and "<" not in name)))
"""


def walk(engine: str, out: Path) -> list[str]:
    """Files of the package whose functions run from a sentence to a BVH file, in a process of its own."""
    code = _WALK.format(engine=engine, out=str(out))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    inside = [Path(line) for line in done.stdout.splitlines()]
    return [path.relative_to(PACKAGE).as_posix() for path in inside if path.is_relative_to(PACKAGE)]


def bench_structure(work: Path) -> dict[str, Any]:
    """All figures.

    Args:
        work: Folder for the BVH files of the walks.
    """
    files = sorted(PACKAGE.rglob("*.py"))
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    rooms: dict[str, int] = defaultdict(int)
    for path in files:
        rooms[path.parent.relative_to(ROOT).as_posix()] += 1
    pairs = repeated()
    walks = {}
    for engine in ENGINES:
        entered = walk(engine, work / f"{engine}.bvh")
        others = [f"engines/{other}/" for other in ENGINES if other != engine]
        foreign = [path for path in entered if any(path.startswith(other) for other in others)]
        walks[engine] = {"files": len(entered), "of other engines": foreign}
    return {
        "benchmark": "structure",
        "import circles": len(circles(import_graph())),
        "files in tasks/": sum(1 for path in files if path.relative_to(PACKAGE).parts[0] == "tasks"),
        "files": len(files),
        "lines": sum(lines.values()),
        "longest file": {"lines": max(lines.values()), "file": max(lines, key=lambda path: lines[path]).name},
        "fullest room": {"files": max(rooms.values()), "room": max(rooms, key=lambda room: rooms[room])},
        "pairs of modules that repeat six lines": len(pairs),
        "most repeated": "; ".join(f"{a} ~ {b} ({count})" for a, b, count in pairs[:5]),
        "from sentence to BVH": walks,
    }

"""Damage files at random and read them: ``make fuzz MINUTES=60``, or ``python tests/fuzz/fuzz_campaign.py --help``.

Each reader runs in a process of its own. A table says how many inputs there were, how many were read and refused, which
ended in anything but one of our errors or took more than a second or 512 MiB, the slowest and the largest. What went
wrong is kept in a folder, named by what happened.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent), str(ROOT / "tests" / "data")]

from fuzz_mutators import mutate  # noqa: E402
from fuzz_seeds import write_seeds  # noqa: E402

from benchmarks.bounds import warmed  # noqa: E402
from benchmarks.measure import Outcome, run_apart  # noqa: E402

BATCH = 200


@dataclass
class Tally:
    """What came of the inputs of a reader.

    Attributes:
        inputs: How many there were.
        read: How many were read.
        refused: How many were refused in one line.
        bad: What was neither, or beyond the bounds: message and file.
        slowest: Most processor seconds of one.
        largest: Most memory of one [MiB].
    """

    inputs: int = 0
    read: int = 0
    refused: int = 0
    bad: list[tuple[str, Path]] = field(default_factory=list)
    slowest: float = 0.0
    largest: float = 0.0

    def add(self, outcome: Outcome, path: Path, kept: Path) -> None:
        """Count one, and keep the file where it went wrong."""
        self.inputs += 1
        self.read += outcome.kind == "ok"
        self.refused += outcome.kind == "refused"
        self.slowest, self.largest = max(self.slowest, outcome.seconds), max(self.largest, outcome.mib)
        if not outcome.good:
            kept.mkdir(parents=True, exist_ok=True)
            copy = kept / f"{len(self.bad):05}-{outcome.kind.replace(' ', '-')}-{path.name}"
            shutil.copy(path, copy)
            said = f"{outcome.kind} {outcome.seconds:.2f} s {outcome.mib:.0f} MiB {outcome.message}"
            self.bad.append((said[:300], copy))


def run(
    *, seed: int, kept: Path, inputs: int | None = None, minutes: float | None = None, only: str = ""
) -> dict[str, Tally]:
    """Run a campaign.

    Args:
        seed: Of the damage; the same seed damages the same files in the same way.
        kept: Folder for files that went wrong.
        inputs: How many for each seed file; or
        minutes: How long.
        only: One reader, instead of all.
    """
    tallies: dict[str, Tally] = defaultdict(Tally)
    stop = time.monotonic() + 60 * (minutes if minutes is not None else 1e9)
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as name:
        folder = Path(name)
        (folder / "seeds").mkdir()
        seeds = [entry for entry in write_seeds(folder / "seeds") if only in ("", entry[0])]
        raws = {path: path.read_bytes() for _, path in seeds}
        done = 0
        while time.monotonic() < stop and (inputs is None or done < inputs):
            count = min(BATCH, inputs - done) if inputs is not None else BATCH
            for reader, path in seeds:
                others = [raws[other] for kind, other in seeds if kind == reader]
                work = folder / "work"
                work.mkdir()
                if path.suffix == ".amc":
                    shutil.copy(path.with_suffix(".asf"), work / "leg.asf")
                paths = []
                for number in range(done, done + count):
                    rng = Random(f"{seed} {path.name} {number}")
                    paths.append(work / f"{number}-{path.name}")
                    paths[-1].write_bytes(mutate(raws[path], path.suffix, rng, rng.choice(others)))
                for number, outcome in run_apart(warmed(reader), iter(paths)):
                    tallies[reader].add(outcome, paths[number], kept / reader)
                shutil.rmtree(work)
            done += count
    return dict(tallies)


def show(tallies: dict[str, Tally]) -> str:
    """The tallies as a table."""
    rows = [f"{'reader':<10} {'inputs':>9} {'read':>9} {'refused':>9} {'bad':>5} {'slowest s':>10} {'largest MiB':>12}"]
    for name, tally in sorted(tallies.items()):
        rows.append(
            f"{name:<10} {tally.inputs:>9} {tally.read:>9} {tally.refused:>9} {len(tally.bad):>5}"
            f" {tally.slowest:>10.2f} {tally.largest:>12.0f}"
        )
    total = sum(tally.inputs for tally in tallies.values())
    rows.append(f"{total} inputs, {sum(len(tally.bad) for tally in tallies.values())} bad")
    for tally in tallies.values():
        rows += [f"{said}  [{path}]" for said, path in tally.bad[:20]]
    return "\n".join(rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=None, help="how long")
    parser.add_argument("--inputs", type=int, default=None, help="how many for each seed file")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    parser.add_argument("--reader", default="", help="one reader, instead of all")
    parser.add_argument("--kept", type=Path, default=Path("fuzz-kept"), help="folder for files that went wrong")
    options = parser.parse_args()
    if options.minutes is None and options.inputs is None:
        options.minutes = 1.0
    tallies = run(
        seed=options.seed, kept=options.kept, inputs=options.inputs, minutes=options.minutes, only=options.reader
    )
    print(show(tallies))
    sys.exit(any(tally.bad for tally in tallies.values()))


if __name__ == "__main__":
    main()

"""The bar of long work: it appears on the terminal when something takes longer than a second."""

from collections.abc import Iterator
from contextlib import contextmanager

from motionloom.progress import Progress

AFTER = 1.0
"""Seconds of work before a bar appears."""


@contextmanager
def bar(what: str, unit: str = "step") -> Iterator[Progress]:
    """Progress that is drawn on stderr, where that is a terminal, and cleared when the work is done.

    Args:
        what: Stands before the bar.
        unit: What is counted.
    """
    from tqdm import tqdm

    with tqdm(total=0, desc=what, unit=unit, delay=AFTER, leave=False, disable=None) as shown:

        def report(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield Progress(report)

"""Real steps, and a stop button: python examples/progress_and_cancel.py."""

import motionloom as ml
from motionloom.errors import Cancelled
from motionloom.progress import Progress


def report(done: int, total: int) -> None:
    """Print the share that is done; stop the second motion half-way."""
    print(f"{done} of {total}")
    if cancelling and total and 2 * done >= total:
        raise Cancelled("half is enough")


engine = ml.load("mmm")
cancelling = False
engine.generate("a person walks", seconds=2.0, progress=Progress(report))
cancelling = True
try:
    engine.generate("a person walks", seconds=2.0, progress=Progress(report))
except Cancelled as stopped:
    print(f"stopped: {stopped}")

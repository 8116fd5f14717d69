"""How many threads an engine computes with.

One, unless asked otherwise: its passes are small, so more threads gain nothing on a quiet machine, and on a busy one
they spin while they wait (a clip of 6 s took 13 s instead of 0.2). One thread also makes the same bytes on every
machine of a kind, however many cores it has.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from motionloom.errors import RequestError

MAX_THREADS = 256


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """Compute with so many threads within, and give the host program its own number back.

    Raises:
        RequestError: The number is not from 1 to 256.
    """
    if not (isinstance(count, int) and 1 <= count <= MAX_THREADS):
        raise RequestError(f"{count} threads; give 1 to {MAX_THREADS}")
    before = torch.get_num_threads()
    if before == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""Progress of long work: steps done of all, and the way to stop it.

Who works calls ``expect`` as soon as it knows how many steps there will be, and ``step`` after each. Who watches gives
a function of (done, total), which may raise ``errors.Cancelled``; the work then ends there, with nothing half-written.
"""

from collections.abc import Callable


class Progress:
    """Steps done of all.

    Args:
        report: Called with (done, total) whenever one of them changes; it may raise ``Cancelled``.
    """

    def __init__(self, report: Callable[[int, int], None] | None = None) -> None:
        self.done, self.total = 0, 0
        self._report = report

    def expect(self, steps: int) -> None:
        """Say that so many more steps will follow."""
        self.total += steps
        self._tell()

    def step(self, steps: int = 1) -> None:
        """Say that so many steps are done; the total grows where more are done than were expected."""
        self.done += steps
        self.total = max(self.total, self.done)
        self._tell()

    def settle(self) -> None:
        """Say that the steps that were expected and did not come, as when an answer ends early, will not come."""
        self.total = self.done
        self._tell()

    def _tell(self) -> None:
        if self._report is not None:
            self._report(self.done, self.total)


SILENT = Progress()
"""For work that nobody watches."""

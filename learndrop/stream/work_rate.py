"""How many samples a worker takes in a second of work, however long it idled in between."""

from __future__ import annotations

import time
from collections.abc import Callable


class WorkRate:
    """Counts the time from a claim that gave something to the next claim.

    Args:
        clock: seconds.

    >>> at = iter([0.0, 2.0, 2.0, 100.0])
    >>> work = WorkRate(lambda: next(at))
    >>> work.begin(); work.end()  # two seconds
    >>> work.rate(20)
    10.0
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._seconds = 0.0  # of work since the last rate was asked for
        self._pace = (0.0, 0.0)  # samples and the seconds that they took; old ones fade

    def begin(self) -> None:
        """A claim gave something."""
        self._since = self._clock()

    def end(self) -> None:
        """The next claim comes."""
        if self._since is not None:
            self._seconds += self._clock() - self._since
            self._since = None

    def stop(self) -> None:
        """What is in hand counts for nothing: nobody knows what became of it."""
        self._since = None

    def rate(self, taken: int) -> float:
        """Samples a second, now that so many more were acknowledged."""
        self.end()
        samples, seconds = self._pace
        self._pace = (samples / 2 + taken, seconds / 2 + self._seconds)
        self._seconds, self._since = 0.0, self._clock()
        return self._pace[0] / max(self._pace[1], 0.001)

"""Real time: samples come at a fixed rate, and who is too slow must skip."""

from __future__ import annotations

from typing import Any


class Arrivals:
    """The clock of a stream that does not wait for the learner.

    What the learner computes is timed and moves the clock on; a learner that is ahead waits for
    the next batch to be complete (the wait is counted, not slept). Every arrival is answered by
    the network as it is then, also those that are skipped, and the answers are paid from the same
    time: a learner is late when more than `backlog` samples came while it was busy.

    Args:
        rate: samples a second.
        backlog: samples that may wait before the next batch is answered and not learned.

    >>> arrivals = Arrivals(rate=100, backlog=50)
    >>> [arrivals.late(32), arrivals.took(1.0), arrivals.late(32), arrivals.waiting]
    [False, None, True, 68]
    """

    def __init__(self, rate: float, backlog: int) -> None:
        self.rate, self.backlog = rate, backlog
        self.waiting = self.longest = self.skipped = 0
        self.wait_s = 0.0
        self._now = 0.0
        self._handed = 0

    def late(self, n: int) -> bool:
        """Hand out the next `n` samples; whether there is no time to learn them."""
        self._handed += n
        complete = self._handed / self.rate
        self.wait_s += max(0.0, complete - self._now)
        self._now = max(self._now, complete)
        self.waiting = int(self._now * self.rate) - self._handed
        self.longest = max(self.longest, self.waiting)
        late = self.waiting > self.backlog
        self.skipped += n * late
        return late

    def took(self, seconds: float) -> None:
        """The batch was worked on for so long."""
        self._now += seconds

    def to_json(self) -> dict[str, Any]:
        """What became of the samples, for the run."""
        return {
            "rate": self.rate,
            "backlog": self.backlog,
            "skipped": self.skipped,
            "longest_queue": self.longest,
        }

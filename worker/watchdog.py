"""Ends a worker whose loop does not come round any more, so that its supervisor starts it again.

A step that hangs (a driver, a deadlock in native code) raises nothing, and Docker does not restart
a process that lives: liveness is progress. What was in hand counts as a death, so that an entry
which makes steps hang is buried like one that kills.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from worker.metrics import WorkerMetrics

STALLED = 70
"""Exit code of a worker that ended itself."""
LOOKS = 20
"""How often the loop is looked at in the time that it has."""

log = structlog.get_logger()


class Patience:
    """Counts the looks since the loop last came round.

    Looks, not seconds: a process that was paused and is woken has made no progress for long, and is
    well all the same.

    >>> patience = Patience(every_s=1.0, most=2)
    >>> [patience.over(age_s) for age_s in (None, 0.3, 1.2, 0.1, 1.1, 90.0, 91.0)]
    [False, False, False, False, False, False, True]
    """

    def __init__(self, every_s: float, most: int) -> None:
        self._every_s, self._most, self._looks = every_s, most, 0

    def over(self, age_s: float | None) -> bool:
        """Whether it has ended.

        Args:
            age_s: seconds since the last progress; None before the first.
        """
        came_round = age_s is None or age_s < self._every_s
        self._looks = 0 if came_round else self._looks + 1
        return self._looks > self._most


@contextmanager
def watched(
    metrics: WorkerMetrics, within_s: float, end: Callable[[int], object] = os._exit
) -> Iterator[None]:
    """End the process when the loop has not come round for about `within_s` seconds.

    Not as an exception: the thread that hangs would not see it.
    """
    every_s = within_s / LOOKS
    patience, done = Patience(every_s, LOOKS), threading.Event()

    def look() -> None:
        while not done.wait(every_s):
            age_s = metrics.idle_s()
            if patience.over(age_s):
                log.critical("worker_stalled", progress_age_s=age_s, exit_code=STALLED)
                end(STALLED)
                return

    thread = threading.Thread(target=look, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()

"""Samples learned a second, as seen from outside."""

from __future__ import annotations

from collections import deque

WINDOW_S = 10.0


class Pace:
    """A rate over the last ten seconds of readings of a counter.

    >>> pace = Pace()
    >>> pace.read(100, now_s=0.0), pace.read(300, now_s=4.0), pace.read(300, now_s=20.0)
    (None, 50.0, 0.0)
    """

    def __init__(self) -> None:
        self._readings: deque[tuple[float, int]] = deque()

    def read(self, count: int, now_s: float) -> float | None:
        """Take a reading; the rate, or None before there are two at different times."""
        readings = self._readings
        if readings and count < readings[-1][1]:
            readings.clear()  # a fresh learner counts from the start again
        readings.append((now_s, count))
        while len(readings) > 2 and readings[1][0] <= now_s - WINDOW_S:
            readings.popleft()
        then_s, before = readings[0]
        return (count - before) / (now_s - then_s) if now_s > then_s else None

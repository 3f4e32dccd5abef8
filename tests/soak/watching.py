"""Memory of the three processes, read every second in a thread."""

from __future__ import annotations

import statistics
import time
from typing import Self

from deploy.local import LocalStack
from tests.background import Background
from tests.soak.paced import rss

MIB = 2**20


class Memory(Background):
    """Resident bytes by name of the process: [(seconds since the start, bytes), ...]."""

    def __init__(self, stack: LocalStack, every_s: float = 1.0) -> None:
        self._pids = {
            "service": stack.service.pid,
            "worker": stack.worker.pid,
            "redis": stack.redis.pid,
        }
        self._every_s = every_s
        self.read: dict[str, list[tuple[float, int]]] = {name: [] for name in self._pids}
        super().__init__(self._run)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._look()
        return super().__enter__()

    def most(self, part: str) -> int:
        """Most bytes of a process at any moment."""
        return max(held for _, held in self.read[part])

    def growth_mib(self) -> dict[str, float]:
        """Most at any moment above the first reading, in MiB."""
        return {
            name: (max(n for _, n in told) - told[0][1]) / MIB for name, told in self.read.items()
        }

    def slope_mib_a_minute(self, after_s: float) -> dict[str, float]:
        """Growth after `after_s`, by `slope`."""
        return {
            name: 60 * slope([(t, n / MIB) for t, n in told if t >= after_s])
            for name, told in self.read.items()
        }

    def _run(self) -> None:
        while not self.stop.wait(self._every_s):
            self._look()

    def _look(self) -> None:
        for name, pid in self._pids.items():
            if held := rss(pid):
                self.read[name].append((time.monotonic() - self._began, held))


def slope(points: list[tuple[float, float]]) -> float:
    """Theil-Sen: the median slope between points half of the time apart; steps do not move it.

    >>> slope([(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0)])
    1.0
    """
    half = len(points) // 2
    pairs = zip(points[: len(points) - half], points[half:], strict=False)
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs if b[0] > a[0]]
    return statistics.median(slopes) if slopes else 0.0

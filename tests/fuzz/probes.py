"""How long others wait meanwhile: one question again and again, and the slowest of a hundred."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx2


def p99_s(waits_s: Sequence[float]) -> float:
    """The 99th percentile.

    >>> p99_s([0.1] * 98 + [0.5, 0.9])
    0.5
    """
    return sorted(waits_s)[max(0, -(-99 * len(waits_s) // 100) - 1)]


@contextmanager
def asking(url: str, path: str, every_s: float = 0.01) -> Iterator[list[float]]:
    """Ask GET `path` over one connection until the block ends; the waits, in seconds.

    An answer that is no 200 counts as an hour.
    """
    waits: list[float] = []
    ended = threading.Event()

    def ask() -> None:
        with httpx2.Client(base_url=url, timeout=60) as http:
            while not ended.wait(every_s):
                began = time.perf_counter()
                good = http.get(path).status_code == 200
                waits.append(time.perf_counter() - began if good else 3600.0)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield waits
    finally:
        ended.set()
        thread.join()

"""Threads that run beside a block of code, and end with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self


class Background:
    """Runs each of `jobs` in a thread of its own; they look at `stop`, the block waits for them.

    Attributes:
        stop: set when the block ends.
    """

    def __init__(self, *jobs: Callable[[], None]) -> None:
        self.stop = threading.Event()
        self._threads = [threading.Thread(target=job) for job in jobs]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()

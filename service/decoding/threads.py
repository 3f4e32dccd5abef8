"""A thread for what would hold the event loop up: large bodies, pixels that are fitted, digests.

Nothing in it decodes picture files: that is done in processes of their own, which can be ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from learndrop.errors import Busy
from service.decoding.allowance import Allowance

T = TypeVar("T")


class Threads:
    """Runs the pieces of many requests, first come first served; one at a time.

    More would gain nothing: what runs here holds Python's lock nearly all the time.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="bodies")
        self.running = 0

    async def run(self, piece: Callable[[], T], allowance: Allowance) -> T:
        """Run one piece, and take what it took off the allowance.

        Raises:
            TooLong: if nothing is left of it.
            Busy: if the service stops.
        """

        def counted() -> T:
            began = time.perf_counter()
            self.running += 1
            try:
                return piece()
            finally:
                self.running -= 1
                allowance.left_s -= time.perf_counter() - began

        allowance.insist()
        try:
            running = asyncio.get_running_loop().run_in_executor(self._pool, counted)
        except RuntimeError as exc:
            raise Busy("the service is stopping") from exc
        return await running

    def close(self) -> None:
        """End the thread; what waits is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

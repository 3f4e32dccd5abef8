"""Threads that turn bodies into pictures: in turns, and nobody's pictures can keep one for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from learndrop.errors import Busy, TooLong

T = TypeVar("T")

MOST_LOST = 8
"""Threads that may still be busy with pictures whose time was up, beside `decode_threads`."""
GRACE_S = 0.1


class Allowance:
    """What is left of the seconds that one request's pictures may take; waiting costs nothing."""

    def __init__(self, most_s: float) -> None:
        self.most_s = self.left_s = most_s


class Threads:
    """Runs the pieces of many requests, first come first served.

    A piece that does not end in time is given up: its request is refused at once, and another
    thread takes the next piece. A decoder in native code cannot be ended; it runs on, unheard. Of
    such threads there are at most MOST_LOST, beyond that a piece waits for a thread to come back.
    """

    def __init__(self, threads: int) -> None:
        self._turn = asyncio.Semaphore(threads)
        self._pool = ThreadPoolExecutor(threads + MOST_LOST, thread_name_prefix="decode")
        self.running = self.lost = 0

    async def run(self, piece: Callable[[], T], allowance: Allowance) -> T:
        """Run one piece within what is left of the allowance, and take what it took off that.

        Raises:
            TooLong: if it did not end in time.
            Busy: if the service stops.
        """
        await self._turn.acquire()
        began = time.perf_counter()
        self.running += 1
        try:
            running = asyncio.get_running_loop().run_in_executor(self._pool, piece)
        except RuntimeError as exc:
            self._turn.release()
            self.running -= 1
            raise Busy("the service is stopping") from exc
        kept = True
        try:
            done, _ = await asyncio.wait({running}, timeout=allowance.left_s + GRACE_S)
            if not done:
                kept = False
                raise TooLong(
                    f"the pictures were still being decoded after {allowance.most_s:g} s",
                    item="images",
                    limit=allowance.most_s,
                )
            return running.result()
        except asyncio.CancelledError:
            kept = running.done()
            raise
        finally:
            self.running -= 1
            allowance.left_s -= time.perf_counter() - began
            if kept:
                self._turn.release()
            else:
                self._give_up(running)

    def _give_up(self, running: asyncio.Future[T]) -> None:
        in_place = self.lost < MOST_LOST
        if in_place:
            self.lost += 1
            self._turn.release()
        running.add_done_callback(lambda ended: self._come_back(ended, in_place))

    def _come_back(self, ended: asyncio.Future[T], was_replaced: bool) -> None:
        if not ended.cancelled():
            ended.exception()  # seen, so that asyncio does not report it
        if was_replaced:
            self.lost -= 1
        else:
            self._turn.release()

    def close(self) -> None:
        """End the threads; what waits is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

"""Something that is done in the background every so many seconds, while Redis answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from learndrop.errors import StreamAway

AGAIN_S = 0.5

log = structlog.get_logger()


class Background:
    """Does it until it is stopped.

    Args:
        look: what is done; where it raises StreamAway, it is done later.
        every_s: seconds between two times.
        waits: the event that is logged where Redis does not answer.
    """

    def __init__(self, look: Callable[[], Awaitable[None]], every_s: float, waits: str) -> None:
        self._look, self._every_s, self._waits = look, every_s, waits
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Begin; the first time is at once."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End."""
        self._stopping = True
        while self._task is not None and not self._task.done():
            # Once is not always enough: a read of Redis that times out may swallow it.
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=AGAIN_S)

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._look()
            except StreamAway as exc:  # later, then
                log.info(self._waits, error=str(exc))
            await asyncio.sleep(self._every_s)

"""Takes away in the background what is over its age: predictions with their pictures, dead letters.

A page of answers leaves out what is over its age at once; this frees the bytes. With several
services each does it, which does no harm. The stream has no age: what waits to be learned is never
taken away unlearned. The worker looks after its own replay buffer and checkpoints.
"""

from __future__ import annotations

import asyncio

import structlog

from learndrop.answers import Answers
from learndrop.dead_letters import DeadLetters
from learndrop.errors import StreamAway
from learndrop.settings import Settings
from service.metrics import ServiceMetrics

LONGEST_S = 60.0
AGAIN_S = 0.5

log = structlog.get_logger()


class Retention:
    """Looks at least every minute, and ten times within the shortest age."""

    def __init__(
        self, settings: Settings, answers: Answers, letters: DeadLetters, metrics: ServiceMetrics
    ) -> None:
        shortest_s = min(settings.predictions_ttl_s, settings.dead_letters_ttl_s)
        self._every_s = min(LONGEST_S, shortest_s / 10)
        self._answers, self._letters, self._metrics = answers, letters, metrics
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Begin; the first look is at once."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End."""
        self._stopping = True
        while self._task is not None and not self._task.done():
            # Once is not always enough: a read of Redis that times out may swallow it.
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=AGAIN_S)

    async def look(self) -> None:
        """Take away what is over its age now.

        Raises:
            StreamAway: when Redis does not answer.
        """
        self._metrics.expired.labels("prediction").inc(await self._answers.expire())
        self._metrics.expired.labels("dead_letter").inc(await self._letters.expire())

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self.look()
            except StreamAway as exc:  # later, then
                log.info("retention_waits", error=str(exc))
            await asyncio.sleep(self._every_s)

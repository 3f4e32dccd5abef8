"""Whether a 202 is true: what the Redis server is set up to lose, asked for again and again."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from learndrop.errors import NotDurable, StreamAway
from learndrop.stream.contract import Publisher

AGAIN_S = 5.0
"""What was found counts this long; a server that is set up anew is noticed within it."""

log = structlog.get_logger()


class Durability:
    """Remembers what `Publisher.check` found.

    Attributes:
        reasons: by which accepted samples could be lost, as found last; None before the first time.
    """

    def __init__(self, publisher: Publisher, clock: Callable[[], float] = time.monotonic) -> None:
        self._publisher, self._clock = publisher, clock
        self._looked_s = float("-inf")
        self.reasons: list[str] | None = None

    async def start(self) -> None:
        """Look, and log what is found, also what a setting allows to be lost and memory without a
        limit; a server that is away is no reason not to start.
        """
        try:
            await self.look()
            if warnings := await self._publisher.warnings():
                log.warning("stream_warnings", warnings=warnings)
        except StreamAway as exc:
            log.warning("stream_not_checked", error=str(exc))

    async def look(self) -> list[str]:
        """Ask the server, and log what is new.

        Raises:
            StreamAway: when Redis does not answer.
        """
        began_s, before = self._clock(), self.reasons
        try:
            self.reasons = await self._publisher.check()
        except StreamAway:
            self._looked_s = float("-inf")  # what comes back may be another server
            raise
        self._looked_s = began_s
        if self.reasons and self.reasons != before:
            log.warning("stream_not_durable", reasons=self.reasons)
        return self.reasons

    async def insist(self) -> None:
        """Refuse where a sample that is answered with 202 could be lost.

        Raises:
            NotDurable: naming what is set up wrong.
            StreamAway: when Redis does not answer.
        """
        if self.reasons is None or self._clock() - self._looked_s > AGAIN_S:
            await self.look()
        if self.reasons:
            raise NotDurable("; ".join(self.reasons), retry_after_s=AGAIN_S)

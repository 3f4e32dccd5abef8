"""What is known of a full stream for a moment, so that most refusals need not ask Redis.

A stream that has refused a batch is looked at again and again in the background, for as long as
batches come that it cannot hold. A batch that is larger than the room seen there is refused before
its pictures are decoded; whatever would fit is taken to Redis, which alone decides. So what is
refused from memory is what Redis would have refused at most `full_memory_s` ago.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from learndrop.errors import ShareFull, StreamAway, StreamFull
from learndrop.settings import Settings
from learndrop.stream.account import Waiting
from learndrop.stream.contract import Publisher
from learndrop.stream.messages import Sample
from learndrop.stream.taking import Once, Taken, full

QUIET_S = 2.0
"""After this long without a refusal nobody looks any more."""


@dataclass(frozen=True, slots=True)
class _Seen:
    at_s: float
    waiting: Waiting


class Backlog:
    """Before the stream; `take` goes to it, `refuse` answers from memory."""

    def __init__(
        self,
        settings: Settings,
        publisher: Publisher,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._publisher, self._clock = settings, publisher, clock
        self._seen: _Seen | None = None
        self._refused_s = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    async def take(self, samples: Sequence[Sample], once: Once | None) -> Taken:
        """See Publisher.take; a refusal is remembered."""
        try:
            return await self._publisher.take(samples, once)
        except ShareFull:
            raise  # others may have room
        except StreamFull:
            self._refused_s = self._clock()
            if self._settings.full_memory_s and (self._looking is None or self._looking.done()):
                self._looking = asyncio.create_task(self._look())
            raise

    def refuse(self, samples: int, pixel_bytes: int) -> None:
        """Refuse a batch that is larger than the room seen a moment ago. May be called in threads.

        Not for batches that may have been taken before: these are answered as they were then.

        Raises:
            StreamFull: there was no room for it.
        """
        seen, now_s = self._seen, self._clock()
        if seen is None or now_s - seen.at_s > self._settings.full_memory_s:
            return
        waiting, known = seen.waiting, self._settings
        if (
            waiting.samples + samples > known.max_pending
            or waiting.bytes + pixel_bytes > known.max_pending_bytes
        ):
            self._refused_s = now_s
            raise full(known, samples, waiting.samples, waiting.bytes, waiting.rate)

    async def stop(self) -> None:
        """End the looking."""
        while self._looking is not None and not self._looking.done():
            self._looking.cancel()
            await asyncio.wait({self._looking}, timeout=0.5)

    async def _look(self) -> None:
        try:
            while self._clock() - self._refused_s < QUIET_S:
                began_s = self._clock()
                self._seen = _Seen(began_s, await self._publisher.waiting())
                await asyncio.sleep(self._settings.full_memory_s / 2)
        except StreamAway:
            pass  # the next batch asks itself, and is told so
        finally:
            self._seen = None

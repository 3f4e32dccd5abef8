"""Writes changes of the keys file into the audit trail, whoever asks for what, or nobody.

What the trail was told last is in Redis. So a change that was made while the service was down is
seen at its next start, and of several services one writes it.
"""

from __future__ import annotations

import asyncio

import structlog

from learndrop.audit import AuditTrail
from learndrop.errors import StreamAway
from learndrop.keyring import prints
from service.auth import Gate

EVERY_S = 5.0
AGAIN_S = 0.5

log = structlog.get_logger()


class KeyWatch:
    """Looks at the keys every few seconds, and before each action of an admin."""

    def __init__(self, gate: Gate, audit: AuditTrail) -> None:
        self._gate, self._audit = gate, audit
        self._told: dict[str, str] | None = None
        self._one = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Begin; the first look is at once."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End."""
        self._stopping = True
        while self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=AGAIN_S)

    async def tell(self) -> None:
        """Write down what has changed since the trail was told last.

        Raises:
            StreamAway: when Redis does not answer; nothing is forgotten.
        """
        news = self._gate.news
        async with self._one:
            self._gate.look()
            while news:
                told = await self._audit.keys_told()
                # Looked at after that: what is newer than the file now, another service has told.
                self._gate.look()
                noticed_s, ring = news[0]
                now, before = prints(ring), told.prints
                # Of several states that wait, one that another service is past is not told again.
                passed = len(news) > 1 and self._told is not None and before != self._told
                if now != before and not passed:
                    if not await self._audit.tell_keys(told, now, noticed_s):
                        continue  # another service was first: look again
                self._told = now
                news.popleft()

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self.tell()
            except StreamAway as exc:  # later, then
                log.info("audit_waits", error=str(exc))
            await asyncio.sleep(EVERY_S)

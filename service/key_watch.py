"""Writes changes of the keys file into the audit trail, whoever asks for what, or nobody.

What the trail was told last is in Redis. So a change that was made while the service was down is
seen at its next start, and of several services one writes it.
"""

from __future__ import annotations

import asyncio

from learndrop.disk.keyring import prints
from learndrop.upkeep.audit import AuditTrail
from service.auth import Gate
from service.background import Background

EVERY_S = 5.0


class KeyWatch(Background):
    """Looks at the keys every few seconds, and before each action of an admin."""

    def __init__(self, gate: Gate, audit: AuditTrail) -> None:
        super().__init__(self.tell, EVERY_S, "audit_waits")
        self._gate, self._audit = gate, audit
        self._told: dict[str, str] | None = None
        self._one = asyncio.Lock()

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

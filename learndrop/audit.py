"""Who did what as an admin: the newest of it, in a stream of Redis, and each in the log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson
import structlog

from learndrop.connections import connect_async
from learndrop.errors import BadInput
from learndrop.ids import is_cursor
from learndrop.keys import Keys
from learndrop.logs import without_keys
from learndrop.mending import mending_async
from learndrop.settings import Settings

MOST_A_PAGE = 500

log = structlog.get_logger()


class AuditTrail:
    """The newest `audit_kept` admin actions; the oldest go first."""

    def __init__(self, settings: Settings) -> None:
        self._redis: Any = connect_async(settings)
        self._keys = Keys(settings.name)
        self._kept = settings.audit_kept

    async def add(self, what: str, **told: Any) -> None:
        """Write one action down, at this time if none is told; the log has it in any case.

        Raises:
            StreamAway: if Redis does not answer.
        """
        log.info("audit", what=what, **told)
        entry = without_keys(orjson.dumps({"time": time.time(), "what": what} | told).decode())
        async with mending_async(self._redis, self._keys):
            await self._redis.xadd(
                self._keys.audit, {"entry": entry}, maxlen=self._kept, approximate=True
            )

    async def page(self, cursor: str | None, limit: int) -> tuple[list[dict[str, Any]], str | None]:
        """Up to `limit` actions older than `cursor`, newest first, and the next cursor or None.

        Raises:
            BadInput: if the cursor is none of ours.
            StreamAway: if Redis does not answer.
        """
        if cursor is not None and not is_cursor(cursor):
            raise BadInput("the cursor is none that a page gave", item="cursor", value=cursor[:80])
        newest = f"({cursor}" if cursor else "+"
        async with mending_async(self._redis, self._keys):
            found = await self._redis.xrevrange(self._keys.audit, newest, "-", count=limit + 1)
        entries = [_read(entry) for entry in found[:limit]]
        return entries, entries[-1]["id"] if len(found) > limit else None

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()


def _read(entry: tuple[bytes, Mapping[bytes, bytes]]) -> dict[str, Any]:
    told: dict[str, Any] = orjson.loads(entry[1][b"entry"])
    return {"id": entry[0].decode(), **told}

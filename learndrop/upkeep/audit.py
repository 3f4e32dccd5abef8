"""Who did what as an admin: the newest of it, in a stream of Redis, and each in the log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from learndrop.logs import without_keys
from learndrop.server.connections import connect_async
from learndrop.server.ids import older_than
from learndrop.server.keys import Keys
from learndrop.server.mending import mending_async
from learndrop.settings import Settings

MOST_A_PAGE = 500

TELL = """
-- KEYS audit, audit keys; ARGV what the trail was told last, what it is told now, entry, most kept.
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then return 0 end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*', 'entry', ARGV[3])
redis.call('SET', KEYS[2], ARGV[2])
return 1
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class KeysTold:
    """The keys as the trail was told last; nothing where it never was."""

    raw: bytes
    prints: Mapping[str, str]


class AuditTrail:
    """The newest `audit_kept` admin actions, and as many refused tries; the oldest go first."""

    def __init__(self, settings: Settings) -> None:
        self._redis: Any = connect_async(settings)
        self._keys = Keys(settings.name)
        self._kept = settings.audit_kept
        self._tell = self._redis.register_script(TELL)

    async def add(self, what: str, *, allowed: bool = True, **told: Any) -> None:
        """Write one action down, at this time if none is told; the log has it in any case.

        What was not allowed is kept apart, so that trying much pushes nothing out that was done.

        Raises:
            StreamAway: if Redis does not answer.
        """
        log.info("audit", what=what, allowed=allowed, **told)
        entry = _entry(what, allowed=allowed, **told)
        where = self._keys.audit if allowed else self._keys.audit_refused
        async with mending_async(self._redis, self._keys):
            await self._redis.xadd(where, {"entry": entry}, maxlen=self._kept, approximate=True)

    async def keys_told(self) -> KeysTold:
        """The keys as the trail was told last.

        Raises:
            StreamAway: if Redis does not answer.
        """
        async with mending_async(self._redis, self._keys):
            raw = await self._redis.get(self._keys.audit_keys) or b""
        return KeysTold(raw, orjson.loads(raw or b"{}"))

    async def tell_keys(self, told: KeysTold, now: Mapping[str, str], time_s: float) -> bool:
        """Write down how keys changed since `told`; False if the trail was told others meanwhile.

        Raises:
            StreamAway: if Redis does not answer.
        """
        change = changes(told.prints, now)
        entry = _entry("keys_changed", time=time_s, **change)
        keys = [self._keys.audit, self._keys.audit_keys]
        async with mending_async(self._redis, self._keys):
            args: list[Any] = [told.raw, orjson.dumps(now), entry, self._kept]
            if not await self._tell(keys, args):
                return False
        log.info("audit", what="keys_changed", **change)
        return True

    async def page(self, cursor: str | None, limit: int) -> tuple[list[dict[str, Any]], str | None]:
        """Up to `limit` actions older than `cursor`, newest first, and the next cursor or None.

        Raises:
            BadInput: if the cursor is none of ours.
            StreamAway: if Redis does not answer.
        """
        newest = older_than(cursor)
        async with mending_async(self._redis, self._keys):
            async with self._redis.pipeline(transaction=True) as both:
                for stream in (self._keys.audit, self._keys.audit_refused):
                    both.xrevrange(stream, newest, "-", count=limit + 1)
                found = [entry for some in await both.execute() for entry in some]
        found.sort(key=lambda entry: _order(entry[0]), reverse=True)
        # Two of one id, one in each stream, stay on one page: the next begins after that id.
        end = limit
        while 0 < end < len(found) and found[end][0] == found[end - 1][0]:
            end += 1
        entries = [_read(entry) for entry in found[:end]]
        return entries, entries[-1]["id"] if len(found) > end else None

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, list[str]]:
    """Names of keys that are new, gone, or have other secrets, roles or rates.

    >>> changes({"a": "1", "b": "1"}, {"b": "2", "c": "1"})
    {'created': ['c'], 'revoked': ['a'], 'changed': ['b']}
    """
    return {
        "created": sorted(now.keys() - before.keys()),
        "revoked": sorted(before.keys() - now.keys()),
        "changed": sorted(name for name in before.keys() & now.keys() if before[name] != now[name]),
    }


def _entry(what: str, **told: Any) -> str:
    return without_keys(orjson.dumps({"time": time.time(), "what": what} | told).decode())


def _order(entry_id: bytes) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split(b"-")))


def _read(entry: tuple[bytes, Mapping[bytes, bytes]]) -> dict[str, Any]:
    told: dict[str, Any] = orjson.loads(entry[1][b"entry"])
    return {"id": entry[0].decode(), **told}

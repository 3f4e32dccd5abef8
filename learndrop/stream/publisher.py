"""The service's side of the stream on a Redis server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import redis

from learndrop.server.connections import connect_async
from learndrop.server.durability import DURABLE, Memory
from learndrop.server.ids import checked_id, is_id
from learndrop.server.keys import GROUP, Keys
from learndrop.server.mending import mending_async
from learndrop.settings import Settings
from learndrop.stream.account import COUNTED, Counts, Waiting, counts_from
from learndrop.stream.contract import Discarded
from learndrop.stream.fate_scripts import FATE
from learndrop.stream.fates import Fate, fate_from, unknown
from learndrop.stream.messages import Sample
from learndrop.stream.publish_script import PUBLISH
from learndrop.stream.settle_scripts import DISCARD
from learndrop.stream.taking import Once, Taken, script_arguments, script_keys, taken_from


class RedisPublisher:
    """A Publisher on a Redis server; a 202 rests on its `appendfsync always`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys = Keys(settings.name)
        self._redis: Any = connect_async(settings)
        self._publish = self._redis.register_script(PUBLISH)
        self._fate = self._redis.register_script(FATE)
        self._discard = self._redis.register_script(DISCARD)

    async def publish(self, samples: Sequence[Sample]) -> list[str]:
        """See Publisher."""
        return (await self.take(samples)).ids

    async def take(self, samples: Sequence[Sample], once: Once | None = None) -> Taken:
        """See Publisher."""
        if not samples:
            return Taken([])
        arguments = script_arguments(samples, once, self._settings)
        async with mending_async(self._redis, self._keys):
            answer = await self._publish(script_keys(self._keys), arguments)
        return taken_from(answer, samples, self._settings)

    async def counts(self) -> Counts:
        """See Publisher."""
        async with mending_async(self._redis, self._keys):
            async with self._redis.pipeline(transaction=True) as both:
                both.hmget(self._keys.counters, COUNTED)
                both.xlen(self._keys.stream)
                return counts_from(await both.execute())

    async def waiting(self) -> Waiting:
        """See Publisher."""
        async with mending_async(self._redis, self._keys):
            async with self._redis.pipeline(transaction=True) as both:
                both.xlen(self._keys.stream)
                both.hmget(self._keys.counters, "bytes", "rate")
                samples, (held, rate) = await both.execute()
        return Waiting(int(samples), int(held or 0), float(rate or 0))

    async def discard(self, ids: Sequence[str]) -> list[Discarded]:
        """See Publisher."""
        if not ids:
            return []
        named = [checked_id(i) for i in ids]
        async with mending_async(self._redis, self._keys):
            said = await self._discard(self._keys.settled, [GROUP, *named])
        return [cast(Discarded, what.decode()) for what in said]

    async def fate(self, sample_id: str) -> Fate:
        """See Publisher."""
        if not is_id(sample_id):
            raise unknown(sample_id, self._settings)
        keys = self._keys
        known = [keys.stream, keys.aside, keys.fates, keys.published, keys.moved]
        async with mending_async(self._redis, self._keys):
            told = await self._fate(known, [sample_id])
        if not told:
            raise unknown(sample_id, self._settings)
        name, what, *version = told
        fate = fate_from(sample_id, what.decode("utf-8", "replace"), *map(int, version))
        now = name.decode()
        return fate if now == sample_id else replace(fate, replayed_as=now)

    async def check(self) -> list[str]:
        """See Publisher."""
        return [] if self._settings.fsync == "no" else await self._risks()

    async def _risks(self) -> list[str]:
        problems = []
        async with mending_async(self._redis, self._keys):
            await self._redis.set(self._keys.probe, "", xx=True)  # changes nothing where it may
        allowed = {"everysec": "always"} if self._settings.fsync == "everysec" else {}
        for option, (safe, risk) in DURABLE.items():
            async with mending_async(self._redis, self._keys):
                try:
                    found = (await self._redis.config_get(option)).get(option)
                except redis.ResponseError as exc:  # renamed or forbidden, as managed servers do
                    problems.append(f"{option} cannot be checked: {exc}")
                    continue
            if allowed.get(found, found) != safe:
                problems.append(f"{option} is {found!r}, not {safe!r}: {risk}")
        return problems

    async def warnings(self) -> list[str]:
        """See Publisher."""
        async with mending_async(self._redis, self._keys):
            gap = await self._redis.hget(self._keys.counters, "gap")
        told = (await self.memory()).warnings(self._settings.memory_near)
        if gap:
            told.append(f"the worker waits (LEARNDROP_ON_GAP): {gap.decode()}")
        if self._settings.fsync == "no":
            told += [f"LEARNDROP_FSYNC=no: {risk}" for risk in await self._risks()]
        if self._settings.fsync == "everysec":
            told.append(
                "LEARNDROP_FSYNC=everysec: a killed server or machine may lose a second of accepted"
                " samples, more on a slow disk"
            )
        return told

    async def memory(self) -> Memory:
        """See Publisher."""
        async with mending_async(self._redis, self._keys):
            told = await self._redis.info("memory")
        return Memory(int(told["used_memory"]), int(told.get("maxmemory", 0)))

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

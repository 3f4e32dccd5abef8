"""The stream between service and worker: `publish` here; `claim`, `ack`, `bury` there.

One entry is one sample. `Publisher` and `Consumer` say what each side may do; the Redis ones are
here and in `consumer.py`, the one for tests in `memory_stream.py`; all pass tests/test_stream.py.

The account, at every moment: accepted = learned + buried + deleted + pending.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, cast

import redis

from learndrop.account import COUNTED, Counts, Waiting, counts_from
from learndrop.connections import connect_async
from learndrop.fates import Fate, fate_from, unknown
from learndrop.gap import Gap
from learndrop.ids import checked_id, is_id
from learndrop.keys import GROUP, Keys
from learndrop.mending import mending_async
from learndrop.messages import Sample
from learndrop.publish_script import PUBLISH
from learndrop.scripts import DISCARD, FATE
from learndrop.server import DURABLE, Memory
from learndrop.settings import Settings
from learndrop.taking import Once, Taken, script_arguments, script_keys, taken_from

Reason = Literal["unreadable", "wrong_size", "too_many_classes", "killed_worker", "vanished"]
"""Why an entry was buried: a closed set, because it labels a metric."""

Discarded = Literal["waiting", "seen", "gone"]
"""What a deleted sample was: not yet learned; learned or in hand; not on the stream."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the stream as it lies there; what it means is for messages.py."""

    id: str
    fields: Mapping[bytes, bytes]


class Publisher(Protocol):
    """What the service may do."""

    async def publish(self, samples: Sequence[Sample]) -> list[str]:
        """`take` without a key; the ids alone."""
        ...

    async def take(self, samples: Sequence[Sample], once: Once | None = None) -> Taken:
        """Put all samples of one sender on the stream, or none; once, if that says what once means.

        Raises:
            StreamFull: when they would pass `max_pending` or `max_pending_bytes`.
            ShareFull: when their sender's key would pass its share.
            TooLarge: when they alone would.
            OtherContent: when `once.key` was used for other content.
            StreamAway: when Redis does not answer; nothing is known about the samples then.
        """
        ...

    async def counts(self) -> Counts:
        """Read the account.

        Raises:
            StreamAway: when Redis does not answer.
        """
        ...

    async def waiting(self) -> Waiting:
        """Read what waits.

        Raises:
            StreamAway: when Redis does not answer.
        """
        ...

    async def discard(self, ids: Sequence[str]) -> list[Discarded]:
        """Take samples that still wait off the stream, counted as deleted; says what each was.

        One that was `seen` is in the weights, or in those of the step that is being made.

        Raises:
            BadInput: when an id is none.
            StreamAway: when Redis does not answer.
        """
        ...

    async def fate(self, sample_id: str) -> Fate:
        """Tell what became of one sample.

        Raises:
            NotFound: when it is unknown, or not among the newest `fates_kept` that ended.
            StreamAway: when Redis does not answer.
        """
        ...

    async def check(self) -> list[str]:
        """Name every setting of the server by which accepted samples could be lost.

        None where `fsync` is `no`; they are among the warnings then.

        Raises:
            StreamAway: when Redis does not answer.
        """
        ...

    async def warnings(self) -> list[str]:
        """Name what is not well yet loses nothing: memory that runs short, a worker that waits."""
        ...

    async def memory(self) -> Memory:
        """How much memory the server uses, and may use.

        Raises:
            StreamAway: when Redis does not answer.
        """
        ...

    async def close(self) -> None: ...


class Consumer(Protocol):
    """What the worker may do. Every method but `open` and `release` may raise StreamAway, and
    NotLeading once another worker has taken over: nothing is changed then.

    After StreamAway whatever was claimed and not released is claimed again, in the same order.
    """

    @property
    def position(self) -> str:
        """Id up to which everything claimed is finished: what a checkpoint must remember."""
        ...

    @property
    def buried(self) -> Mapping[Reason, int]:
        """How many entries this consumer buried, by reason."""
        ...

    @property
    def gap(self) -> Gap | None:
        """What the stream and the position that it was opened at miss of each other."""
        ...

    def open(self, position: str, *, learned: int = 0, older: bool = False) -> None:
        """Start after `position`: everything up to it is learned, everything after it is not.

        Args:
            position: of the checkpoint.
            learned: samples that it has learned.
            older: whether it is known that a newer one is damaged.
        """
        ...

    def claim(
        self, most: int, wait_s: float, stopping: Callable[[], bool] = lambda: False
    ) -> list[Entry]:
        """Take the next entries in order, waiting up to `wait_s` for the list to fill.

        An entry that is suspected of killing the worker comes alone.
        """
        ...

    def hold(self, ids: Sequence[str]) -> set[str]:
        """Say that these are being learned now; whoever dies now had them in hand.

        Returns those that were deleted since they were claimed: they must not be learned.
        """
        ...

    def release(self) -> None:
        """Say that everything claimed so far is finished (learned or buried)."""
        ...

    def ack(self, through: str) -> int:
        """Take what is learned up to the position off the stream; returns how many that were."""
        ...

    def bury(self, entry: Entry, reason: Reason, why: str) -> None:
        """Put an entry aside as a dead letter."""
        ...

    def published(self, version: int, position: str) -> None:
        """Say that a model version is out that has learned everything up to the position."""
        ...

    def counts(self) -> Counts:
        """Read the account."""
        ...

    def close(self) -> None: ...


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
            told.append("LEARNDROP_FSYNC=everysec: a power cut may lose a second of samples")
        return told

    async def memory(self) -> Memory:
        """See Publisher."""
        async with mending_async(self._redis, self._keys):
            told = await self._redis.info("memory")
        return Memory(int(told["used_memory"]), int(told.get("maxmemory", 0)))

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

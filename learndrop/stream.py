"""The stream between service and worker: `publish` here; `claim`, `ack`, `bury` there.

One entry is one sample. `Publisher` and `Consumer` say what each side may do; the Redis ones are
here and in `consumer.py`, the one for tests in `memory_stream.py`; all pass tests/test_stream.py.

The account, at every moment: accepted = learned + buried + deleted + pending.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, cast

import redis

from learndrop.connections import connect_async, translated
from learndrop.errors import BadInput, NotFound
from learndrop.fates import Fate, fate_from
from learndrop.gap import Gap
from learndrop.keys import GROUP, Keys
from learndrop.messages import Sample
from learndrop.publish_script import PUBLISH
from learndrop.scripts import DISCARD, FATE
from learndrop.settings import Settings
from learndrop.taking import Once, Taken, script_arguments, script_keys, taken_from

START = "0-0"
"""The position before the first entry."""

Reason = Literal["unreadable", "wrong_size", "too_many_classes", "killed_worker", "vanished"]
"""Why an entry was buried: a closed set, because it labels a metric."""

Discarded = Literal["waiting", "seen", "gone"]
"""What a deleted sample was: not yet learned; learned or in hand; not on the stream."""

_ID = re.compile(r"(0|[1-9]\d{0,19})-(0|[1-9]\d{0,19})")

COUNTED = ("accepted", "learned", "buried", "deleted")
DURABLE = {
    "appendonly": ("yes", "a restart of the server loses every sample"),
    "appendfsync": ("always", "a killed server or machine loses the last accepted samples"),
    "maxmemory-policy": ("noeviction", "a full server may evict the whole stream"),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the stream as it lies there; what it means is for messages.py."""

    id: str
    fields: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Counts:
    """The account of the stream, read at one moment.

    Attributes:
        accepted: samples the stream was given, ever; those written by hand too.
        learned: those that are in a checkpoint.
        buried: those that were put aside with a reason.
        pending: those that lie in the stream, learned since the last checkpoint or not at all.
        deleted: those that were taken off at somebody's request.
    """

    accepted: int
    learned: int
    buried: int
    pending: int
    deleted: int = 0

    @property
    def missing(self) -> int:
        """Accepted and none of the others: taken by another hand, and not counted as buried yet."""
        return self.accepted - self.learned - self.buried - self.deleted - self.pending


@dataclass(frozen=True, slots=True)
class Memory:
    """The server's memory in bytes; a limit of 0 is none."""

    used_bytes: int
    limit_bytes: int

    def warnings(self, near: float) -> list[str]:
        """What to say of it, when `near` is the share of the limit that counts as nearly full.

        >>> Memory(90, 100).warnings(0.85)
        ['Redis uses 90 of its 100 bytes (maxmemory): at the limit nothing more is accepted']
        >>> Memory(80, 100).warnings(0.85), len(Memory(80, 0).warnings(0.85))
        ([], 1)
        """
        if not self.limit_bytes:
            return ["Redis has no maxmemory: it may grow until the machine ends it"]
        if self.used_bytes < near * self.limit_bytes:
            return []
        return [
            f"Redis uses {self.used_bytes} of its {self.limit_bytes} bytes (maxmemory):"
            " at the limit nothing more is accepted"
        ]


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
        """Name every setting of the server by which accepted samples could be lost."""
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
        with translated():
            answer = await self._publish(script_keys(self._keys), arguments)
        return taken_from(answer, samples, self._settings)

    async def counts(self) -> Counts:
        """See Publisher."""
        with translated():
            async with self._redis.pipeline(transaction=True) as both:
                both.hmget(self._keys.counters, COUNTED)
                both.xlen(self._keys.stream)
                return counts_from(await both.execute())

    async def discard(self, ids: Sequence[str]) -> list[Discarded]:
        """See Publisher."""
        if not ids:
            return []
        named = [checked_id(i) for i in ids]
        with translated():
            said = await self._discard(self._keys.settled, [GROUP, *named])
        return [cast(Discarded, what.decode()) for what in said]

    async def fate(self, sample_id: str) -> Fate:
        """See Publisher."""
        if not is_id(sample_id):
            raise unknown(sample_id, self._settings)
        keys = self._keys
        known = [keys.stream, keys.aside, keys.fates, keys.published, keys.moved]
        with translated():
            told = await self._fate(known, [sample_id])
        if not told:
            raise unknown(sample_id, self._settings)
        name, what, *version = told
        fate = fate_from(sample_id, what.decode("utf-8", "replace"), *map(int, version))
        now = name.decode()
        return fate if now == sample_id else replace(fate, replayed_as=now)

    async def check(self) -> list[str]:
        """See Publisher."""
        problems = []
        allowed = {"everysec": "always"} if self._settings.fsync == "everysec" else {}
        for option, (safe, risk) in DURABLE.items():
            with translated():
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
        with translated():
            gap = await self._redis.hget(self._keys.counters, "gap")
        told = (await self.memory()).warnings(self._settings.memory_near)
        if gap:
            told.append(f"the worker waits (LEARNDROP_ON_GAP): {gap.decode()}")
        if self._settings.fsync == "everysec":
            told.append("LEARNDROP_FSYNC=everysec: a power cut may lose a second of samples")
        return told

    async def memory(self) -> Memory:
        """See Publisher."""
        with translated():
            told = await self._redis.info("memory")
        return Memory(int(told["used_memory"]), int(told.get("maxmemory", 0)))

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def counts_from(answer: Sequence[Any]) -> Counts:
    """Read the answers to HMGET of COUNTED and XLEN."""
    accepted, learned, buried, deleted = (int(n or 0) for n in answer[0])
    return account(accepted, learned, buried, deleted, pending=int(answer[1]))


def account(accepted: int, learned: int, buried: int, deleted: int, *, pending: int) -> Counts:
    """The account, with entries that were written by hand and that no worker has seen yet.

    They lie in the stream, so they are accepted; only that the counter learns of them at their
    first claim. Nothing else can make the right side the larger one.
    """
    least = learned + buried + deleted + pending
    return Counts(max(accepted, least), learned, buried, pending, deleted)


def oldest_id(age_s: float) -> str:
    """The least id of a Redis stream that is not older than so many seconds."""
    return str(max(1, int(1000 * (time.time() - age_s))))


def is_id(text: str) -> bool:
    """Whether it is an id as the server writes it.

    >>> is_id("1764046800000-0"), is_id("1764046800000"), is_id("+")
    (True, False, False)
    """
    return bool(_ID.fullmatch(text))


def unknown(sample_id: str, settings: Settings) -> NotFound:
    """Say that nothing is known of a sample."""
    kept = settings.fates_kept
    return NotFound(f"no sample {sample_id[:80]!r} is known (the newest {kept} that ended are)")


def checked_id(entry_id: str) -> str:
    """The id of an entry as the server writes it.

    Raises:
        BadInput: if it is none.

    >>> checked_id("1764046800000-0")
    '1764046800000-0'
    """
    if not is_id(entry_id):
        raise BadInput("a sample's id looks like 1764046800000-0", item="id", value=entry_id[:80])
    return entry_id

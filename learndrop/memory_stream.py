"""The stream without a server, for tests and for playing arrays through the real loop.

It keeps the promises of the Redis one (tests/test_stream.py asks both the same), but not on disk.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from learndrop.account import Counts, account
from learndrop.errors import NotLeading
from learndrop.fates import Fate, fate_from, unknown
from learndrop.gap import Gap
from learndrop.ids import START, checked_id
from learndrop.memory_taking import MemoryTaking
from learndrop.messages import Sample
from learndrop.server import Memory
from learndrop.settings import Settings, load_settings
from learndrop.stream import Discarded, Entry, Reason
from learndrop.taking import MARK, Once, Taken, size_of


class MemoryStream:
    """A Publisher; each `consumer()` is a Consumer of the same entries, as a new worker would be.

    Attributes:
        entries: what lies in the stream, by id, in order.
        dead: the newest buried entries: id, reason, why, fields.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or load_settings()
        self.entries: dict[str, Mapping[bytes, bytes]] = {}
        self.dead: deque[tuple[str, Reason, str, Mapping[bytes, bytes]]] = deque(
            maxlen=self.settings.dead_letters_kept
        )
        self.changed = threading.Condition(threading.RLock())
        self.accepted = self.learned = self.buried = self.deleted = 0
        self.token = 0  # of the consumer made last: it leads
        self.fates: dict[str, str] = {}
        self.versions: dict[int, int] = {}
        self.seen = START
        self.foreign: set[str] = set()
        self.in_hand: list[str] = []
        self.deaths: Counter[str] = Counter()
        self.died_alone: set[str] = set()
        self._last = 0
        self._taking = MemoryTaking(self.settings, self.write_by_hand)

    async def publish(self, samples: Sequence[Sample]) -> list[str]:
        """See Publisher."""
        return (await self.take(samples)).ids

    async def take(self, samples: Sequence[Sample], once: Once | None = None) -> Taken:
        """See Publisher."""
        if not samples:
            return Taken([])
        with self.changed:
            taken = self._taking.take(samples, once, list(self.entries.values()))
            self.accepted += taken.fresh
            return taken

    def write_by_hand(self, fields: Mapping[bytes, bytes]) -> str:
        """Put one entry on the stream past the account, as redis-cli would; returns its id."""
        with self.changed:
            self._last += 1
            entry_id = f"{self._last}-0"
            self.entries[entry_id] = fields
            self.changed.notify_all()
            return entry_id

    def consumer(self) -> MemoryConsumer:
        """Make the worker's side; a further one stands for a worker that was started again."""
        return MemoryConsumer(self)

    def account(self) -> Counts:
        """The account, for whoever may not await."""
        with self.changed:
            pending = len(self.entries)
            return account(self.accepted, self.learned, self.buried, self.deleted, pending=pending)

    async def counts(self) -> Counts:
        """See Publisher."""
        return self.account()

    async def discard(self, ids: Sequence[str]) -> list[Discarded]:
        """See Publisher."""
        said: list[Discarded] = []
        with self.changed:
            for entry_id in map(checked_id, ids):
                if not self.settle(entry_id):
                    said.append("gone")
                    continue
                self.deleted += 1
                self.end(entry_id, "deleted")
                said.append("seen" if _number(entry_id) <= _number(self.seen) else "waiting")
        return said

    async def fate(self, sample_id: str) -> Fate:
        """See Publisher."""
        with self.changed:
            if sample_id in self.entries:
                return fate_from(sample_id, "pending")
            if sample_id not in self.fates:
                raise unknown(sample_id, self.settings)
            number = _number(sample_id)
            having = [v for at, v in sorted(self.versions.items()) if at >= number]
            return fate_from(sample_id, self.fates[sample_id], *having[:1])

    def end(self, sample_id: str, fate: str) -> None:
        """Write down how a sample ended; the oldest go first."""
        self.fates[sample_id] = fate
        while len(self.fates) > self.settings.fates_kept:
            del self.fates[next(iter(self.fates))]

    async def check(self) -> list[str]:
        """See Publisher."""
        return ["the stream is in memory: a restart loses every sample"]

    async def warnings(self) -> list[str]:
        """See Publisher."""
        return []

    async def memory(self) -> Memory:
        """See Publisher: the pixels that wait, and no limit."""
        with self.changed:
            return Memory(sum(map(size_of, self.entries.values())), 0)

    async def close(self) -> None:
        """Nothing to close."""

    def settle(self, entry_id: str) -> bool:
        """Take one entry off; False when it is gone."""
        fields = self.entries.pop(entry_id, None)
        if fields is None:
            return False
        if fields.get(MARK[0]) != MARK[1] and entry_id not in self.foreign:
            self.accepted += 1
        self.foreign.discard(entry_id)
        self.deaths.pop(entry_id, None)
        self.died_alone.discard(entry_id)
        return True


class MemoryConsumer:
    """A Consumer of a MemoryStream."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream
        self._buried: Counter[Reason] = Counter()
        stream.token += 1
        self._token = stream.token
        self.open(START)

    @property
    def position(self) -> str:
        """See Consumer."""
        return self._position

    @property
    def buried(self) -> Mapping[Reason, int]:
        """See Consumer."""
        return self._buried

    @property
    def gap(self) -> Gap | None:
        """See Consumer: entries in memory cannot be older than a checkpoint of them."""
        return None

    def open(self, position: str, *, learned: int = 0, older: bool = False) -> None:
        """See Consumer."""
        self._position = self._handed = position
        self._opened = False
        self._attempts: dict[str, int] = {}

    def claim(
        self, most: int, wait_s: float, stopping: Callable[[], bool] = lambda: False
    ) -> list[Entry]:
        """See Consumer."""
        until = time.monotonic() + wait_s
        with self._leading():
            if not self._opened:
                self._judge()
            while len(self._after()) < most and not stopping():
                left_s = until - time.monotonic()
                if left_s <= 0 or not self._stream.changed.wait(min(left_s, 1.0)):
                    break
            taken = self._after()[:most]
            suspects = [n for n, e in enumerate(taken) if self._alone(e.id)]
            if suspects:
                taken = taken[: max(1, suspects[0])]
            for entry in taken:
                if entry.fields.get(MARK[0]) != MARK[1] and entry.id not in self._stream.foreign:
                    self._stream.foreign.add(entry.id)
                    self._stream.accepted += 1
        if taken:
            self._handed = taken[-1].id
        return taken

    def hold(self, ids: Sequence[str]) -> set[str]:
        """See Consumer."""
        with self._leading():
            gone = self._stream.fates.keys() & set(ids)
            held = [i for i in ids if i not in gone]
            if held:
                self._stream.in_hand, self._stream.seen = held, held[-1]
            return gone

    def release(self) -> None:
        """See Consumer."""
        for entry_id in self._stream.in_hand:
            if self._attempts.pop(entry_id, 0):
                self._stream.deaths.pop(entry_id, None)
                self._stream.died_alone.discard(entry_id)
        self._stream.in_hand = []
        self._position = self._handed

    def ack(self, through: str) -> int:
        """See Consumer."""
        stream = self._stream
        with self._leading():
            done = [i for i in stream.entries if _number(i) <= _number(through)]
            learned = [i for i in done if stream.settle(i)]
            stream.learned += len(learned)
            for entry_id in learned:
                stream.end(entry_id, "learned")
            gone = stream.account().missing
            if gone > 0:
                why = f"{gone} entries were deleted by another hand"
                stream.dead.append(("", "vanished", why, {}))
                stream.buried += gone
                self._buried["vanished"] += gone
            return len(learned)

    def bury(self, entry: Entry, reason: Reason, why: str) -> None:
        """See Consumer."""
        with self._leading():
            if self._stream.settle(entry.id):
                self._stream.dead.append((entry.id, reason, why, entry.fields))
                self._stream.end(entry.id, f"buried {reason} {why}")
                self._stream.buried += 1
                self._buried[reason] += 1

    def published(self, version: int, position: str) -> None:
        """See Consumer."""
        with self._leading():
            if _number(position) > max(self._stream.versions, default=0):
                self._stream.versions[_number(position)] = version

    def counts(self) -> Counts:
        """See Consumer."""
        return self._stream.account()

    def close(self) -> None:
        """Nothing to close."""

    @contextmanager
    def _leading(self) -> Iterator[None]:
        with self._stream.changed:
            if self._token != self._stream.token:
                raise NotLeading("another consumer was made")
            yield

    def _judge(self) -> None:
        stream = self._stream
        self.ack(self._position)
        stream.seen = self._position
        stream.deaths.update(stream.in_hand)
        if len(stream.in_hand) == 1:
            stream.died_alone.update(stream.in_hand)
        stream.in_hand = []
        for entry_id, times in list(stream.deaths.items()):
            if times >= stream.settings.max_deliveries and entry_id in stream.died_alone:
                entry = Entry(entry_id, stream.entries.get(entry_id, {}))
                self.bury(entry, "killed_worker", f"killed the worker {times} times")
            else:
                self._attempts[entry_id] = times
        self._opened = True

    def _alone(self, entry_id: str) -> bool:
        limit = max(1, self._stream.settings.max_deliveries - 1)
        return self._attempts.get(entry_id, 0) >= limit

    def _after(self) -> list[Entry]:
        entries = self._stream.entries.items()
        return [Entry(i, f) for i, f in entries if _number(i) > _number(self._handed)]


def _number(entry_id: str) -> int:
    return int(entry_id.split("-")[0])

"""The stream without a server, for tests and for playing arrays through the real loop.

It keeps the promises of the Redis one (tests/test_stream.py asks both the same), but not on disk.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence

from learndrop.server.durability import Memory
from learndrop.server.ids import START, checked_id, milliseconds
from learndrop.settings import Settings, load_settings
from learndrop.stream.account import Counts, Waiting, account
from learndrop.stream.contract import Discarded, Reason
from learndrop.stream.fates import Fate, fate_from, unknown
from learndrop.stream.memory_taking import MemoryTaking
from learndrop.stream.messages import Sample
from learndrop.stream.taking import MARK, Once, Taken, size_of


class MemoryStream:
    """A Publisher; a `MemoryConsumer` of it is the worker's side.

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

    def account(self) -> Counts:
        """The account, for whoever may not await."""
        with self.changed:
            pending = len(self.entries)
            return account(self.accepted, self.learned, self.buried, self.deleted, pending=pending)

    async def counts(self) -> Counts:
        """See Publisher."""
        return self.account()

    async def waiting(self) -> Waiting:
        """See Publisher."""
        with self.changed:
            held = sum(map(size_of, self.entries.values()))
            return Waiting(len(self.entries), held, 0.0)

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
                said.append(
                    "seen" if milliseconds(entry_id) <= milliseconds(self.seen) else "waiting"
                )
        return said

    async def fate(self, sample_id: str) -> Fate:
        """See Publisher."""
        with self.changed:
            if sample_id in self.entries:
                return fate_from(sample_id, "pending")
            if sample_id not in self.fates:
                raise unknown(sample_id, self.settings)
            number = milliseconds(sample_id)
            having = [v for at, v in sorted(self.versions.items()) if at >= number]
            return fate_from(sample_id, self.fates[sample_id], *having[:1])

    def end(self, sample_id: str, fate: str) -> None:
        """Write down how a sample ended; the oldest go first."""
        self.fates[sample_id] = fate
        while len(self.fates) > self.settings.fates_kept:
            del self.fates[next(iter(self.fates))]

    async def check(self) -> list[str]:
        """See Publisher."""
        if self.settings.fsync == "no":
            return []
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

"""The worker's side of the stream that has no server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from learndrop.errors import NotLeading
from learndrop.server.ids import START, milliseconds
from learndrop.stream.account import Counts
from learndrop.stream.contract import Entry, Reason
from learndrop.stream.gap import Gap
from learndrop.stream.memory_stream import MemoryStream
from learndrop.stream.suspects import Suspects
from learndrop.stream.taking import MARK


class MemoryConsumer:
    """A Consumer of a MemoryStream; a further one stands for a worker that was started again."""

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
        self._suspects = Suspects(self._stream.settings.max_deliveries)

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
            suspects = [n for n, e in enumerate(taken) if self._suspects.alone(e.id)]
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
        for entry_id in self._suspects.cleared(self._stream.in_hand):
            self._stream.deaths.pop(entry_id, None)
            self._stream.died_alone.discard(entry_id)
        self._stream.in_hand = []
        self._position = self._handed

    def ack(self, through: str) -> int:
        """See Consumer."""
        stream = self._stream
        with self._leading():
            done = [i for i in stream.entries if milliseconds(i) <= milliseconds(through)]
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
            if milliseconds(position) > max(self._stream.versions, default=0):
                self._stream.versions[milliseconds(position)] = version

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
        for entry_id, times in self._suspects.judged(dict(stream.deaths), set(stream.died_alone)):
            entry = Entry(entry_id, stream.entries.get(entry_id, {}))
            self.bury(entry, "killed_worker", f"killed the worker {times} times")
        self._opened = True

    def _after(self) -> list[Entry]:
        entries = self._stream.entries.items()
        return [Entry(i, f) for i, f in entries if milliseconds(i) > milliseconds(self._handed)]

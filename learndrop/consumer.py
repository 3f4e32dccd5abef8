"""The worker's side of the stream on a Redis server.

The consumer group's pending list is not asked what is left to do: the position in the checkpoint
is. At the start, and after every lost connection, the group is set back to what this process has
finished, and Redis delivers everything after it again, in order. So entries that were pending for
this worker or for another name, whose delivery got lost on the way, or whose group was destroyed,
all come back by the same road. It needs one worker a model; `worker/lock.py` sees to that.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from learndrop.connections import connect, translated
from learndrop.errors import StreamAway
from learndrop.keys import GROUP, Keys
from learndrop.scripts import ACK, ADOPT, BLAME, BURY, HOLD, JOIN, PUBLISHED, RECONCILE
from learndrop.settings import Settings
from learndrop.stream import COUNTED, START, Counts, Entry, Reason, counts_from
from learndrop.taking import MARK, size_of

ACK_CHUNK = 64  # entries a script takes off at once: Redis serves nobody else meanwhile
READ_AHEAD = 4  # batches; they are in memory, and undelivered as far as the position goes
LONGEST_BLOCK_S = 1.0  # so that SIGTERM is seen


class RedisConsumer:
    """A Consumer on a Redis server; not for several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys = keys = Keys(settings.name)
        self._redis: Any = connect(settings)
        self._scripts = {
            text: self._redis.register_script(text)
            for text in (JOIN, BLAME, ACK, BURY, ADOPT, RECONCILE, HOLD, PUBLISHED)
        }
        self._settled = keys.settled
        self._block_s = min(LONGEST_BLOCK_S, settings.redis_timeout_s / 2)
        self._buried: Counter[Reason] = Counter()
        self._acked_at = time.monotonic()
        self._rate = 0.0
        self.open(START)

    @property
    def position(self) -> str:
        """See Consumer."""
        return self._position

    @property
    def buried(self) -> Mapping[Reason, int]:
        """See Consumer."""
        return self._buried

    def open(self, position: str) -> None:
        """See Consumer. Redis is asked at the first claim only, so this cannot fail."""
        self._position = self._handed = position
        self._ahead: deque[Entry] = deque()
        self._attempts: dict[str, int] = {}
        self._opened = False  # whether what was in hand at the last death has been judged
        self._joined = False  # whether the group stands where this object believes
        self._cleared: list[str] = []  # suspects that were learned and killed nobody
        self._held: list[str] = []
        self._marked = False

    def claim(
        self, most: int, wait_s: float, stopping: Callable[[], bool] = lambda: False
    ) -> list[Entry]:
        """See Consumer."""
        with self._asking():
            if not self._joined:
                self._join()
            if self._cleared:
                fields = [f for i in self._cleared for f in (i, f"{i}:alone")]
                self._redis.hdel(self._keys.suspects, *fields)
                self._cleared = []
            self._read_ahead(most, wait_s, stopping)
        taken: list[Entry] = []
        while self._ahead and len(taken) < most and not (taken and self._alone(self._ahead[0])):
            taken.append(self._ahead.popleft())
            if self._alone(taken[0]):
                break
        if taken:
            self._handed = taken[-1].id
        return taken

    def hold(self, ids: Sequence[str]) -> set[str]:
        """See Consumer."""
        self._marked = True  # also when the answer is lost: Redis may have it
        keys = [self._keys.in_hand, self._keys.counters, self._keys.aside]
        with self._asking():
            gone = {i.decode() for i in self._run(HOLD, keys, list(ids))}
        self._held = [i for i in ids if i not in gone]
        return gone

    def release(self) -> None:
        """See Consumer. Redis is told by the next `hold`, or by a claim that has to wait."""
        self._position = self._handed
        # Whoever kills the worker kills it each time: one batch lived through clears all in it.
        self._cleared += [i for i in self._held if self._attempts.pop(i, 0)]
        self._held = []

    def ack(self, through: str) -> int:
        """See Consumer. Also counts what another hand deleted meanwhile."""
        with self._asking():
            taken = self._ack(through)
            now = time.monotonic()
            rate = taken / max(now - self._acked_at, 0.001)
            self._rate = rate if not self._rate else (self._rate + rate) / 2
            self._acked_at = now
            self._reconcile(f"{self._rate:.3f}" if taken else "")
        return taken

    def bury(self, entry: Entry, reason: Reason, why: str) -> None:
        """See Consumer."""
        with self._asking():
            self._bury(entry.id, reason, why)

    def published(self, version: int, position: str) -> None:
        """See Consumer."""
        args = [position, version, self._settings.fates_kept]
        with self._asking():
            self._run(PUBLISHED, [self._keys.published], args)

    def counts(self) -> Counts:
        """See Consumer."""
        with self._asking(), self._redis.pipeline(transaction=True) as both:
            both.hmget(self._keys.counters, COUNTED)
            both.xlen(self._keys.stream)
            return counts_from(both.execute())

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    # -- what must be known before anything is claimed ---------------------------------------

    def _join(self) -> None:
        self._ahead.clear()
        self._handed = self._position
        self._run(JOIN, [self._keys.stream, self._keys.counters], [GROUP, self._position])
        if not self._opened:
            self._ack(self._position)
            self._judge()
            self._reconcile("")
            self._opened = True
        self._held = []
        self._joined = True

    def _judge(self) -> None:
        told = self._run(BLAME, [self._keys.in_hand, self._keys.suspects], [])
        suspects = dict(zip(told[::2], told[1::2], strict=True))
        deaths = {k.decode(): int(n) for k, n in suspects.items() if not k.endswith(b":alone")}
        for entry_id, times in deaths.items():
            died_alone = f"{entry_id}:alone".encode() in suspects
            if times >= self._settings.max_deliveries and died_alone:
                self._bury(entry_id, "killed_worker", f"killed the worker {times} times")
            else:
                self._attempts[entry_id] = times

    def _alone(self, entry: Entry) -> bool:
        limit = max(1, self._settings.max_deliveries - 1)
        return self._attempts.get(entry.id, 0) >= limit

    # -- reading -----------------------------------------------------------------------------

    def _read_ahead(self, most: int, wait_s: float, stopping: Callable[[], bool]) -> None:
        until = time.monotonic() + wait_s
        if len(self._ahead) < most:
            # Every answer of the server costs an fsync: take the next batches along.
            self._read(READ_AHEAD * most, None)
        if len(self._ahead) < most:
            self._unmark()
        while len(self._ahead) < most and not (self._ahead and self._alone(self._ahead[0])):
            left_s = until - time.monotonic()
            if left_s <= 0 or stopping():
                break
            self._read(most, max(1, int(1000 * min(left_s, self._block_s))))

    def _read(self, most: int, block_ms: int | None) -> None:
        room = most - len(self._ahead)
        if room <= 0:
            return
        answer = self._redis.xreadgroup(
            GROUP, self._settings.consumer, {self._keys.stream: ">"}, count=room, block=block_ms
        )
        fresh = [Entry(i.decode(), fields or {}) for _, part in answer for i, fields in part]
        foreign = [e for e in fresh if e.fields.get(MARK[0]) != MARK[1]]
        if foreign:
            args = [a for e in foreign for a in (e.id, size_of(e.fields))]
            self._run(ADOPT, [self._keys.counters, self._keys.foreign], args)
        self._ahead.extend(fresh)

    def _unmark(self) -> None:
        if self._marked:
            self._redis.delete(self._keys.in_hand)
            self._marked = False

    # -- scripts -----------------------------------------------------------------------------

    def _ack(self, through: str) -> int:
        total = 0
        while True:
            args = [GROUP, through, ACK_CHUNK, self._settings.fates_kept]
            taken = int(self._run(ACK, [*self._settled, self._keys.fates], args))
            total += taken
            if taken < ACK_CHUNK:
                return total

    def _bury(self, entry_id: str, reason: Reason, why: str) -> None:
        kept = self._settings.dead_letters_kept
        args = [GROUP, entry_id, reason, why[:500], f"{time.time():.3f}", kept]
        self._buried[reason] += int(self._run(BURY, [*self._settled, self._keys.dead], args))

    def _reconcile(self, rate: str) -> None:
        keys = [self._keys.stream, self._keys.counters, self._keys.dead]
        args = [rate, f"{time.time():.3f}", self._settings.dead_letters_kept]
        if gone := int(self._run(RECONCILE, keys, args)):
            self._buried["vanished"] += gone

    def _run(self, script: str, keys: list[str], args: list[Any]) -> Any:
        return self._scripts[script](keys, args)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            with translated():
                yield
        except StreamAway:
            # What Redis has done of it is unknown: begin again from what is finished here.
            self._joined = False
            raise

"""The worker's side of the stream on a Redis server.

The consumer group's pending list is not asked what is left to do: the position in the checkpoint
is. At the start, and after every lost connection, the group is set back to what this process has
finished, and Redis delivers everything after it again, in order. So entries that were pending for
this worker or for another name, whose delivery got lost on the way, or whose group was destroyed,
all come back by the same road. It needs one worker a model: every script here is refused to one
that does not hold the lease (see lease.py), reading included.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from learndrop.errors import StreamAway
from learndrop.server.connections import connect
from learndrop.server.ids import START
from learndrop.server.keys import GROUP, Keys
from learndrop.server.mending import mending
from learndrop.server.script_parts import FENCE
from learndrop.settings import Settings
from learndrop.stream.account import COUNTED, Counts, counts_from
from learndrop.stream.claim_scripts import ADOPT, BLAME, CLEAR, HOLD, READ
from learndrop.stream.contract import Entry, Reason
from learndrop.stream.fate_scripts import PUBLISHED
from learndrop.stream.gap import Gap
from learndrop.stream.joining import OF_JOINING, Joining, Stand
from learndrop.stream.settle_scripts import ACK, BURY, RECONCILE
from learndrop.stream.suspects import Suspects, deaths_from
from learndrop.stream.taking import MARK, size_of
from learndrop.stream.work_rate import WorkRate

_SCRIPTS = (*OF_JOINING, READ, BLAME, HOLD, CLEAR, ACK, BURY, ADOPT, RECONCILE, PUBLISHED)
ACK_CHUNK = 64  # entries a script takes off at once: Redis serves nobody else meanwhile
READ_AHEAD = 4  # batches; they are in memory, and undelivered as far as the position goes
LONGEST_BLOCK_S = 1.0  # so that SIGTERM is seen


class RedisConsumer:
    """A Consumer on a Redis server; not for several threads.

    Args:
        settings: where the server is, and every bound.
        token: of the lease under which this worker leads; see lease.py.
        folder: which data folder the checkpoints are in; empty: that is not compared.
    """

    def __init__(self, settings: Settings, token: int, folder: str = "") -> None:
        self._settings, self._token, self._folder = settings, token, folder
        self._keys = keys = Keys(settings.name)
        self._redis: Any = connect(settings)
        self._scripts = {text: self._redis.register_script(FENCE + text) for text in _SCRIPTS}
        self._settled = keys.settled
        self._dead = [keys.dead, keys.dead_reasons]
        self._block_s = min(LONGEST_BLOCK_S, settings.redis_timeout_s / 2)
        self._buried: Counter[Reason] = Counter()
        self._work = WorkRate()
        self._joining = Joining(settings, self._run, folder)
        self._account: Counts | None = None  # as it was known last, to be put back if it is lost
        self._accepted = 0  # that it ever told
        self.open(START)

    @property
    def position(self) -> str:
        """See Consumer."""
        return self._position

    @property
    def buried(self) -> Mapping[Reason, int]:
        """See Consumer."""
        return self._buried

    def open(self, position: str, *, learned: int = 0, older: bool = False) -> None:
        """See Consumer. Redis is asked at the first claim only, so this cannot fail."""
        self._position = self._handed = position
        self._learned, self._older = learned, older
        self._gap: Gap | None = None
        self._strange = ""  # a position that says nothing here: the checkpoint's of another stream
        self._ahead: deque[Entry] = deque()
        self._suspects = Suspects(self._settings.max_deliveries)
        self._opened = False  # whether what was in hand at the last death has been judged
        self._joined = False  # whether the group stands where this object believes
        self._cleared: list[str] = []  # suspects that were learned and killed nobody
        self._held: list[str] = []
        self._marked = False

    def claim(
        self, most: int, wait_s: float, stopping: Callable[[], bool] = lambda: False
    ) -> list[Entry]:
        """See Consumer."""
        self._work.end()
        with self._asking():
            if not self._joined:
                self._join()
            if self._waits():
                _wait(wait_s, stopping)
                return []
            if self._cleared:
                self._clear()
            self._read_ahead(most, wait_s, stopping)
        taken: list[Entry] = []
        while self._ahead and len(taken) < most and not (taken and self._stops()):
            taken.append(self._ahead.popleft())
            if self._suspects.alone(taken[0].id):
                break
        if taken:
            self._handed = taken[-1].id
            self._work.begin()
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
        self._learned += len(self._held)
        self._cleared += self._suspects.cleared(self._held)
        self._held = []

    def ack(self, through: str) -> int:
        """See Consumer. Also counts what another hand deleted meanwhile.

        A position that this stream never gave takes nothing off, nor does any while it waits.
        """
        with self._asking():
            if not self._joined:
                self._join()
            strange = self._waits() or through == self._strange
            taken = 0 if strange else self._ack(through)
            self._reconcile(f"{self._work.rate(taken):.3f}" if taken else "")
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
            both.hmget(self._keys.counters, *COUNTED, "epoch")
            both.xlen(self._keys.stream)
            (*counted, epoch), waiting = both.execute()
        counts = counts_from((counted, waiting))
        if epoch and self._joined:  # without: it was deleted, and what is known is worth more
            self._note(counts)
        return counts

    @property
    def gap(self) -> Gap | None:
        """See Consumer."""
        return self._gap

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    # -- what must be known before anything is claimed ---------------------------------------

    def _join(self) -> None:
        self._ahead.clear()
        self._handed, known = self._position, self._accepted
        found = self._joining.join(self._position, self._account)
        account = self._reconcile("")
        self._joining.recount()
        if not self._waits():
            stand = Stand(self._position, self._learned, self._older)
            gap, gone = self._joining.weigh(found, stand, account, known)
            self._gap = gap or self._gap  # one that was gone over stays to be seen
            if gone:
                self._buried["vanished"] += gone
        if found.strange and not self._waits():
            self._strange, self._position, self._handed = self._position, START, START
        if not self._opened and not self._waits():
            if self._position != START:
                self._ack(self._position)
                self._reconcile("")
            told = self._run(BLAME, [self._keys.in_hand, self._keys.suspects], [])
            for entry_id, times in self._suspects.judged(*deaths_from(told)):
                self._bury(entry_id, "killed_worker", f"killed the worker {times} times")
            self._opened = True
        self._held = []
        self._joined = True

    def _waits(self) -> bool:
        return self._gap is not None and self._gap.waiting

    # -- reading -----------------------------------------------------------------------------

    def _read_ahead(self, most: int, wait_s: float, stopping: Callable[[], bool]) -> None:
        until = time.monotonic() + wait_s
        if len(self._ahead) < most:
            # Every answer of the server costs an fsync: take the next batches along.
            self._read(READ_AHEAD * most)
        if len(self._ahead) < most and self._marked:
            self._clear()
        while len(self._ahead) < most and not self._stops():
            left_s = until - time.monotonic()
            if left_s <= 0 or stopping():
                break
            # No script can wait. This only looks, so a worker that does not lead takes nothing.
            block_ms = max(1, int(1000 * min(left_s, self._block_s)))
            if self._redis.xread({self._keys.stream: self._last()}, count=1, block=block_ms):
                self._read(most)

    def _read(self, most: int) -> None:
        room = most - len(self._ahead)
        if room <= 0:
            return
        args = [GROUP, self._settings.consumer, room, self._last()]
        answer = self._run(READ, [self._keys.stream], args)
        fresh = [
            Entry(i.decode(), dict(zip(fields[::2], fields[1::2], strict=True)))
            for _, part in answer or []
            for i, fields in part
        ]
        foreign = [e for e in fresh if e.fields.get(MARK[0]) != MARK[1]]
        if foreign:
            args = [a for e in foreign for a in (e.id, size_of(e.fields))]
            self._run(ADOPT, [self._keys.counters, self._keys.foreign], args)
        self._ahead.extend(fresh)

    def _stops(self) -> bool:
        """Whether the next entry is one that comes alone."""
        return bool(self._ahead) and self._suspects.alone(self._ahead[0].id)

    def _last(self) -> str:
        """Id of the entry that was read last: the group stands there."""
        return self._ahead[-1].id if self._ahead else self._handed

    def _clear(self) -> None:
        keys = [self._keys.in_hand, self._keys.suspects]
        self._run(CLEAR, keys, [int(not self._held), *self._cleared])
        self._marked, self._cleared = False, []

    def _ack(self, through: str) -> int:
        total = 0
        while True:
            args = [GROUP, through, ACK_CHUNK, self._settings.fates_kept, self._folder]
            taken, more = self._run(ACK, [*self._settled, self._keys.fates], args)
            self._account = self._account and self._account.after(learned=int(taken))
            total += int(taken)
            if not more:
                return total

    def _bury(self, entry_id: str, reason: Reason, why: str) -> None:
        kept = self._settings.dead_letters_kept
        args = [GROUP, entry_id, reason, why[:500], f"{time.time():.3f}", kept]
        buried = int(self._run(BURY, [*self._settled, *self._dead], args))
        self._account = self._account and self._account.after(buried=buried)
        self._buried[reason] += buried

    def _reconcile(self, rate: str) -> Counts:
        keys = [self._keys.stream, self._keys.counters, *self._dead]
        args = [rate, f"{time.time():.3f}", self._settings.dead_letters_kept]
        gone, counted, waiting = self._run(RECONCILE, keys, args)
        if gone:
            self._buried["vanished"] += gone
        return self._note(counts_from((counted, waiting)))

    def _note(self, account: Counts) -> Counts:
        """Remember the account. One that went back is another server's, which lacks some."""
        if account.accepted < self._accepted and not self._waits():
            self._joined = False  # a client may have come there unnoticed: weigh it
        self._account, self._accepted = account, max(self._accepted, account.accepted)
        return account

    def _run(self, script: str, keys: list[str], args: list[Any]) -> Any:
        return self._scripts[script]([*keys, self._keys.lease], [*args, self._token])

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            with mending(self._redis, self._keys):
                yield
        except StreamAway:
            # What Redis has done of it is unknown: begin again from what is finished here.
            self._joined = False
            self._work.stop()
            raise


def _wait(wait_s: float, stopping: Callable[[], bool]) -> None:
    until = time.monotonic() + wait_s
    while not stopping() and (left_s := until - time.monotonic()) > 0:
        time.sleep(min(left_s, 0.1))

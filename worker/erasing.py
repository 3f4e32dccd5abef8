"""Takes out of the learner what must not be kept, and sees to it that no checkpoint keeps it.

Checkpoints made before still hold the images. While the worker learns they go by themselves, as
newer ones take their place; where that takes too long a checkpoint is made for it, and the older
ones are removed once that one has been read back whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from learndrop.disk.old_checkpoints import numbers, remove_through
from learndrop.errors import LearndropError, NotLeading
from learndrop.settings import Settings
from learndrop.upkeep.forget_requests import Request
from worker.metrics import WorkerMetrics

LOOK_S = 60.0
"""How often samples are looked for that are over their age."""
SHARE = 0.5
"""Of the promised time, which old checkpoints are given to go by themselves."""
AGAIN_S = 5.0
"""After a removal that failed, or a checkpoint that could not be written."""

log = structlog.get_logger()


class Forgets(Protocol):
    """What is asked of a learner's samples: see learndrop.learning.forgetting.Forgetting."""

    def forget(self, stream_ids: Sequence[str]) -> set[str]: ...
    def forget_before(self, unix_s: float) -> int: ...


class Keeps(Protocol):
    """What is asked of the archive: see learndrop.disk.archive.Archive."""

    def erase(self, ids: Sequence[str]) -> int: ...
    def expire(self, before_s: float) -> int: ...


class Asks(Protocol):
    """Where requests come from and are answered: see learndrop.upkeep.forget_requests."""

    def after(self, last: str) -> list[Request]: ...
    def forgotten(self, requests: Sequence[Request], replayed: Set[str]) -> None: ...
    def erased(self, requests: Sequence[Request]) -> None: ...


@dataclass(slots=True)
class _Open:
    """Forgotten, and in the checkpoints up to `through` perhaps still."""

    requests: list[Request]
    through: int
    due_s: float


class Erasing:
    """One worker's deletions; asked in every turn.

    Args:
        settings: ages and times.
        held: the samples that the learner holds.
        archive: what keeps learned samples for replays of the past.
        asks: requests; they are read from the start, because the learner may come from a
            checkpoint that is older than they are.
        metrics: counts.
        wall: unix time.
        sealing: around each removal of a checkpoint; see worker.leading.
    """

    def __init__(
        self,
        settings: Settings,
        held: Forgets,
        archive: Keeps,
        asks: Asks,
        metrics: WorkerMetrics,
        wall: Callable[[], float],
        sealing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._settings, self._held, self._archive = settings, held, archive
        self._asks = asks
        self._metrics, self._wall, self._sealing = metrics, wall, sealing
        self._root: Path = settings.checkpoints_dir
        self._last = "0-0"
        self._found: set[str] = set()
        self._open: list[_Open] = []
        self._look_at_s = self._not_before_s = self._archive_at_s = float("-inf")

    def forget(self) -> None:
        """Take out what was asked for since the last turn, and what is over its age.

        Raises:
            StreamAway: when Redis does not answer; it is all done again then.
        """
        requests = self._asks.after(self._last)
        if requests and self._wall() >= self._archive_at_s:
            ids = [r.sample_id for r in requests]
            self._found |= self._held.forget(ids)  # also where the archive has to wait
            if self._out_of_archive(ids):
                self._answer(requests)
        now_s, age_s = self._wall(), self._settings.replay_max_age_s
        if age_s and now_s >= self._look_at_s:
            self._look_at_s = now_s + min(LOOK_S, age_s)
            if gone := self._held.forget_before(now_s - age_s):
                self._metrics.erased("age", gone)
                self._must_go([], now_s)
            with self._counting_failures():
                self._archive.expire(now_s - age_s)

    def wants_checkpoint(self) -> bool:
        """Whether a checkpoint must be made so that older ones can go."""
        now_s = self._wall()
        if now_s < self._not_before_s or not any(o.due_s <= now_s for o in self._open):
            return False
        newest = max(numbers(self._root), default=0)
        wanted = any(o.due_s <= now_s and newest <= o.through and newest for o in self._open)
        if wanted:
            self._not_before_s = now_s + AGAIN_S
        return wanted

    def erase(self) -> None:
        """Close what no checkpoint has any more, and remove checkpoints that are due.

        Raises:
            StreamAway: when Redis does not answer.
        """
        if not self._open:
            return
        oldest, now_s = min(numbers(self._root), default=None), self._wall()
        for one in list(self._open):
            gone = oldest is None or oldest > one.through
            if not gone and one.due_s <= now_s:
                gone = self._removed(one.through)
            if gone:
                self._asks.erased(one.requests)
                self._open.remove(one)
        self._metrics.erasing(sum(len(o.requests) for o in self._open))

    def _answer(self, requests: list[Request]) -> None:
        self._asks.forgotten(requests, self._found)  # may fail, and is then tried again
        self._metrics.erased("request", len(self._found))
        self._found = set()
        soonest_s = min(r.asked_s for r in requests)
        self._must_go(requests, soonest_s)
        self._last = requests[-1].id

    def _out_of_archive(self, ids: Sequence[str]) -> bool:
        """False when the disk refused: it is tried again in a while, and nothing is told before."""
        now_s = self._wall()
        self._archive_at_s = now_s + AGAIN_S
        with self._counting_failures():
            self._archive.erase(ids)
            self._archive_at_s = float("-inf")
        return self._archive_at_s < now_s

    @contextmanager
    def _counting_failures(self) -> Iterator[None]:
        try:
            yield
        except NotLeading:
            raise
        except (OSError, LearndropError) as exc:
            log.error("not_taken_out_of_the_archive", error=str(exc))
            self._metrics.failed("erase")

    def _must_go(self, requests: list[Request], asked_s: float) -> None:
        newest = max(numbers(self._root), default=0)
        due_s = asked_s + SHARE * self._settings.erase_within_s
        self._open.append(_Open(requests, newest, due_s))

    def _removed(self, through: int) -> bool:
        try:
            return remove_through(self._root, through, self._sealing)
        except OSError as exc:
            log.error("old_checkpoints_not_removed", error=str(exc))
            self._metrics.failed("erase")
            return False

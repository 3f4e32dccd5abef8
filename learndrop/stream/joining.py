"""How a worker comes to the stream: the group is set to its position, and the two are compared."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from learndrop.server.ids import START
from learndrop.server.keys import GROUP, Keys
from learndrop.settings import Settings
from learndrop.stream.account import COUNTED, Counts
from learndrop.stream.gap import Gap, gap_between
from learndrop.stream.join_scripts import GAP, JOIN, RECOUNT, UNTAKEN

OF_JOINING = (JOIN, RECOUNT, UNTAKEN, GAP)
"""The scripts that `Run` is asked for."""
CHUNK = 64  # entries a script looks at: Redis serves nobody else meanwhile

Run = Callable[[str, list[str], list[Any]], Any]
"""Runs a script under the lease: its text, keys and arguments."""


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a worker stands.

    Attributes:
        position: id up to which everything is finished.
        learned: samples that its checkpoint has learned.
        older: whether it is known that a newer one is damaged.
    """

    position: str
    learned: int
    older: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What JOIN found; see there."""

    what: str
    last: str
    acked: str
    left: int
    restored: bool

    @property
    def strange(self) -> bool:
        """Whether the position says nothing on this stream."""
        return self.what in ("emptied", "foreign")


class Joining:
    """Comes to the stream of one model.

    Args:
        settings: of the model.
        run: runs a script.
        folder: which data folder the checkpoints are in; empty: that is not compared.
    """

    def __init__(self, settings: Settings, run: Run, folder: str) -> None:
        self._settings, self._run, self._folder = settings, run, folder
        self._keys = Keys(settings.name)
        self._epoch = uuid.uuid4().hex

    def join(self, position: str, account: Counts | None) -> Found:
        """Set the group to the position; an account that is lost is put back as it was known."""
        keys, known = [self._keys.stream, self._keys.counters], []
        if account:
            for name in COUNTED:
                known += [name, getattr(account, name)]
        args = [GROUP, position, self._epoch, self._folder, *known]
        what, last, acked, left, restored = (p.decode() for p in self._run(JOIN, keys, args))
        return Found(what, last, acked, int(left), restored == "1")

    def recount(self) -> None:
        """Count anew what waits, where the account of it was lost."""
        keys = [self._keys.stream, self._keys.counters, self._keys.foreign]
        since, until = "-", ""
        while since:
            since, until = (p.decode() for p in self._run(RECOUNT, keys, [since, until, CHUNK]))

    def weigh(
        self, found: Found, stand: Stand, account: Counts, known: int
    ) -> tuple[Gap | None, int]:
        """Whether stream and checkpoint belong together, and if not, whether to wait.

        Args:
            found: what `join` found.
            stand: where the worker stands.
            account: as it is now.
            known: samples that this worker knows to have been accepted; 0 if it has just started.

        Returns:
            The gap, and how many samples were counted as vanished.
        """
        waiting = self._settings.on_gap == "wait" and not (found.what == "ahead" and stand.older)
        lost = self._never_given(found, stand, account)
        gap = gap_between(
            found.what,
            stand.position,
            found.last,
            found.acked,
            ours=stand.learned,
            theirs=account.learned + found.left,
            lost=lost,
            waiting=waiting,
        )
        if gap and found.what in ("well", "emptied") and found.restored:
            gap = None  # it went under a worker that knows of it all: only the numbers are amiss
        if gap and gap.kind == "stream_behind":
            lost = gap.samples
        waits = gap is not None and gap.waiting
        gone = 0
        if not waits and not found.restored:
            gone = self._vanished(stand, account, known, lost)
        self._tell(gap.why if gap and waits else "", lost, gone)
        return gap, gone

    def _tell(self, why: str, lost: int, gone: int) -> None:
        keys = [self._keys.counters, self._keys.dead, self._keys.dead_reasons]
        args = [why, lost, gone, f"{time.time():.3f}", self._settings.dead_letters_kept]
        self._run(GAP, keys, args)

    def _never_given(self, found: Found, stand: Stand, account: Counts) -> int:
        """How many of the samples that were learned here the stream never had.

        Each that it had was counted when it left, or lies there up to the position.
        """
        if stand.position == START or found.what in ("ahead", "behind"):
            return 0
        ended = account.learned + account.buried + account.deleted
        if found.what == "well" and ended < stand.learned:
            ended += self._lying("-", stand.position, stand.learned - ended)
        return max(0, stand.learned - ended)

    def _vanished(self, stand: Stand, account: Counts, known: int, lost: int) -> int:
        """How many samples were accepted that are neither in the weights nor known to the server.

        At least so many: what was accepted after the worker looked last, it does not know of.
        Where the stream lost its end, what lies after the position was accepted since.
        """
        if known == 0:
            return 0
        since = self._lying(f"({stand.position}", "+", account.pending) if lost else 0
        return max(0, known + since - account.accepted - lost)

    def _lying(self, since: str, until: str, most: int) -> int:
        """How many entries lie there; no further than `most` is counted."""
        total = 0
        while total < most:
            args = [since, until, CHUNK]
            number, last = self._run(UNTAKEN, [self._keys.stream], args)
            total += int(number)
            if number < CHUNK:
                break
            since = f"({last.decode()}"
        return total

"""The account of the stream: accepted = learned + buried + deleted + pending, at every moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

COUNTED = ("accepted", "learned", "buried", "deleted")


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

    def after(self, *, learned: int = 0, buried: int = 0) -> Counts:
        """The account when so many more are, as it is known before it is read again.

        >>> Counts(accepted=9, learned=2, buried=0, pending=7).after(learned=8)
        Counts(accepted=10, learned=10, buried=0, pending=0, deleted=0)
        """
        left = max(0, self.pending - learned - buried)
        learned, buried = self.learned + learned, self.buried + buried
        return account(self.accepted, learned, buried, self.deleted, pending=left)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits to be learned: samples, their bytes of pixels, and how many are learned a second
    (0 while that is not known)."""

    samples: int
    bytes: int
    rate: float


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

"""Work that may have to wait for its turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Doing(Protocol):
    """Does a piece of work, now or when its turn comes, and gives what it gave."""

    def __call__(self, work: Callable[[], T], /) -> T: ...


def at_once(work: Callable[[], T], /) -> T:
    """Where there is nobody to wait for."""
    return work()

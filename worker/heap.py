"""Gives the system back what the C library keeps of freed memory.

A step frees maps of many sizes, and what outlives it (weights of a world, stored maps) comes to lie
between them: of 180 MiB that were free, a step after a reset could use too few, and took 90 more.
What is given back is taken page by page again, wherever it lies.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Give back all that is free: 15 to 90 ms for 200 MiB. Without glibc nothing is done."""
    if trim := _trim():
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library; TypeError on Windows
        return None

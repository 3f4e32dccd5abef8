"""The learning rate that nobody has to tune: high after a drift, lower as the world gets known."""

from __future__ import annotations


def rate_at(samples: int, *, top: float, floor: float, halving: int) -> float:
    """The rate `samples` after the start or the last drift.

    It falls as 1 / (1 + samples / halving): half of `top` after `halving` samples, never under
    `floor` x `top`. A stream has no end, so no schedule here knows one.

    >>> rate_at(0, top=0.01, floor=0.1, halving=1000)
    0.01
    >>> rate_at(1000, top=0.01, floor=0.1, halving=1000)
    0.005
    >>> rate_at(1_000_000, top=0.01, floor=0.1, halving=1000)
    0.001
    """
    return top * max(floor, 1.0 / (1.0 + samples / halving))

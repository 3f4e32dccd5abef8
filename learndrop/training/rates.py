"""The learning rate that nobody has to tune: high after a drift, lower as the world gets known."""

from __future__ import annotations

import math

GRAVE = 0.25  # share of the right answers that is lost from which on the rate is the highest
WARM_UP = 0.1  # share of a schedule in which the rate rises


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


def begun(age: int, lost: float, halving: int) -> int:
    """Samples by which the schedule of a new world has begun already.

    Where a quarter of what was right is lost, or more, it begins with the highest rate. A mild
    drift is learned with a lower one, down to that of before it: the highest would cost what still
    holds.

    Args:
        age: samples of the schedule so far.
        lost: share of the right answers that are wrong now.
        halving: as of `rate_at`.

    >>> begun(10_000, 0.3, 2000), begun(10_000, 0.125, 2000), begun(10_000, 0.0, 2000)
    (0, 2000, 10000)
    """
    if lost <= 0.0:
        return age
    return min(age, round(halving * max(0.0, GRAVE / lost - 1.0)))


def rate_of(step: int, steps: int, top: float) -> float:
    """The rate of a step of a schedule whose end is known: up in a line, down as a cosine.

    >>> [round(rate_of(s, 100, 1.0), 2) for s in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return top * (step + 1) / rise
    return top * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

"""How far a share of a few samples may lie from the share of all."""

from __future__ import annotations

import math


def standard_error(share: float, n: int) -> float:
    """Of the share of n samples; of at least that of a share of about 1 %.

    >>> standard_error(0.5, 100)
    0.05
    """
    return math.sqrt(max(share * (1.0 - share), 0.01) / max(1, n))


def error_of_difference(share: float, n: int, of: int = 0) -> float:
    """Of the difference of two shares, both about `share`: of n samples, and of `of` (0: n too).

    >>> round(error_of_difference(0.5, 100), 4), round(error_of_difference(0.5, 100, 400), 4)
    (0.0707, 0.0559)
    """
    return math.hypot(standard_error(share, n), standard_error(share, of or n))


def tolerance(share: float, n: int, of: int = 0) -> float:
    """How much worse than `share`, that of `of` samples (0: n too), another n samples may do by
    chance: two standard errors of the difference, and a hundredth.

    >>> round(tolerance(0.9, 128), 3)
    0.085
    """
    return 0.01 + 2.0 * error_of_difference(share, n, of)

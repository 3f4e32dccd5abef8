"""How far a share of a few samples may lie from the share of all."""

from __future__ import annotations

import math


def standard_error(share: float, n: int) -> float:
    """Of the share of n samples; of at least that of a share of about 1 %.

    >>> standard_error(0.5, 100)
    0.05
    """
    return math.sqrt(max(share * (1.0 - share), 0.01) / max(1, n))


def error_of_difference(share: float, n: int) -> float:
    """Of the difference of two shares of n samples each, both about `share`.

    >>> round(error_of_difference(0.5, 100), 4)
    0.0707
    """
    return math.sqrt(2.0) * standard_error(share, n)


def tolerance(share: float, n: int) -> float:
    """How much worse than `share` another n samples may do by chance: two standard errors of the
    difference, and a hundredth.

    >>> round(tolerance(0.9, 128), 3)
    0.085
    """
    return 0.01 + 2.0 * error_of_difference(share, n)

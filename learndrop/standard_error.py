"""How far a share of a few samples may lie from the share of all."""

from __future__ import annotations

import math


def standard_error(share: float, n: int) -> float:
    """Of the share of n samples; of at least that of a share of about 1 %.

    >>> standard_error(0.5, 100)
    0.05
    """
    return math.sqrt(max(share * (1.0 - share), 0.01) / max(1, n))

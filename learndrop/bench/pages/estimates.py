"""Means over seeds with 95 % intervals (Student's t)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

# 97.5 % point of Student's t by degrees of freedom, from 1 on; the last one serves for more
T_POINTS = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.2, 2.18, 2.16)


@dataclass(frozen=True)
class Estimate:
    """A mean and half of its interval; one value has no interval."""

    mean: float
    half: float | None

    def text(self, digits: int = 1, scale: float = 1.0, sign: bool = False) -> str:
        """
        >>> Estimate(0.5, 0.01).text(scale=100), Estimate(0.5, None).text(2, sign=True)
        ('50.0 ± 1.0', '+0.50')
        """
        told = f"{scale * self.mean:{'+' * sign}.{digits}f}"
        return told if self.half is None else f"{told} ± {scale * self.half:.{digits}f}"


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of the values, one a seed.

    >>> estimate([1.0]).half is None, round(estimate([1.0, 2.0, 3.0]).half or 0, 3)
    (True, 2.484)
    """
    n = len(values)
    if n < 2:
        return Estimate(fmean(values), None)
    t = T_POINTS[min(n - 2, len(T_POINTS) - 1)]
    return Estimate(fmean(values), t * stdev(values) / math.sqrt(n))

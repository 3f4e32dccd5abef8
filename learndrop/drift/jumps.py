"""Tells whether the pictures of a batch are plainly others than those of the batches before.

Another camera, contrast, an inversion: such a change stands in the pixels' means and variances of
one batch, ten times as far out as any batch lately. The mean error takes longer to rise for sure,
and no second alarm is raised for a while after one. What is less plain is left to the error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

LATELY = 64  # batches that a batch is compared with
LEAST = 16  # ... and from how many on
REACH = 32  # batches that the mean reaches back
TIMES = 10.0  # further out than the furthest of them
FLOOR = 0.05  # divergence: pictures that are all alike are not compared to the last bit
STAYS = 32  # plainly other batches in a row are what is usual now


class Jumps:
    """Compares each batch's channel statistics with the mean of those before."""

    def __init__(self) -> None:
        self._mean = np.zeros((2, 0))
        self._seen = self._others = 0
        self._usual: deque[float] = deque(maxlen=LATELY)

    def look(self, now: NDArray[np.float64]) -> bool:
        """Take the mean and mean square [2, C] of a batch; whether it is plainly another."""
        if self._mean.shape != now.shape:
            self.start_over()
            self._mean = now.copy()
        away = gaussian_divergence(now, self._mean)
        if len(self._usual) >= LEAST and away > max(FLOOR, TIMES * max(self._usual)):
            self._others += 1
            if self._others >= STAYS:
                self.start_over()
            return True
        self._others = 0
        if self._seen:
            self._usual.append(away)
        self._seen += 1
        self._mean = self._mean + (now - self._mean) / min(self._seen, REACH)
        return False

    def start_over(self) -> None:
        """What comes from now on is usual."""
        self._mean = np.zeros((2, 0))
        self._seen = self._others = 0
        self._usual.clear()

    def to_json(self) -> dict[str, Any]:
        """The state, for a checkpoint."""
        return {
            "mean": self._mean.tolist(),
            "seen": self._seen,
            "others": self._others,
            "usual": list(self._usual),
        }

    def load_json(self, data: Mapping[str, Any]) -> None:
        """Take back what `to_json` gave."""
        self._mean = np.array(data["mean"], np.float64).reshape(2, -1)
        self._seen, self._others = data["seen"], data["others"]
        self._usual = deque(data["usual"], maxlen=LATELY)


def gaussian_divergence(now: NDArray[np.float64], before: NDArray[np.float64]) -> float:
    """Symmetric divergence of two Gaussians a channel, given as mean and mean square [2, C]; its
    mean over channels.

    >>> one = np.array([[0.0], [1.0]])
    >>> gaussian_divergence(one, one), gaussian_divergence(np.array([[1.0], [2.0]]), one)
    (0.0, 1.0)
    """
    mean_a, mean_b = now[0], before[0]
    var_a = np.maximum(now[1] - mean_a**2, 1e-8)
    var_b = np.maximum(before[1] - mean_b**2, 1e-8)
    gap = (mean_a - mean_b) ** 2
    kl = 0.5 * ((var_a + gap) / var_b + (var_b + gap) / var_a) - 1.0
    return float(np.mean(np.minimum(kl, 100.0)))

"""A fixed set, and whether a network still gets better on it: verdicts on the same pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learndrop.training.progress import Progress

Places = NDArray[np.int64]  # of pictures in their set


@dataclass(frozen=True, slots=True)
class Pictures:
    """A labelled set: images uint8 [N, S, S, 3], class indices int64 [N] (-1: of no class)."""

    images: NDArray[np.uint8]
    targets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)


class Passes(Progress):
    """Accuracy over a fixed set of `size` pictures, each answered once a pass.

    In a stream the newest answers are compared with those before them, which are about other
    pictures. Here each picture's newest verdict is compared with its own of the pass before (as in
    McNemar's test), so that what is hard about a picture cancels; and over a whole pass, since a
    few steps show only large gains.
    """

    def __init__(self, size: int, held: int) -> None:
        super().__init__(size, held)
        self._newest_by_picture = np.full(size, -1, np.int8)  # 1 right, 0 wrong, -1 unknown
        self._before = np.full(size, -1, np.int8)

    def answered(self, places: Places, right: Sequence[bool]) -> None:
        """Take the verdicts on the pictures at `places` [N]."""
        self.add(right)
        self._before[places] = self._newest_by_picture[places]
        self._newest_by_picture[places] = np.asarray(right, np.int8)

    def improves(self, n: int) -> bool:
        """Whether more pictures were gained than lost since the pass before, by more than a
        standard error; unknown counts as yes. (`n` is for streams.)

        >>> passes = Passes(4, 8)
        >>> pictures = np.arange(4)
        >>> passes.answered(pictures, [False, False, False, True])
        >>> passes.improves(4)  # seen once
        True
        >>> passes.answered(pictures, [True, True, False, True])
        >>> passes.improves(4)  # two gained, none lost
        True
        >>> passes.answered(pictures, [True, False, True, True])
        >>> passes.improves(4)  # one gained, one lost
        False
        """
        if (self._before < 0).any():
            return True
        gained = int((self._newest_by_picture > self._before).sum())
        lost = int((self._newest_by_picture < self._before).sum())
        return gained - lost > math.sqrt(gained + lost)

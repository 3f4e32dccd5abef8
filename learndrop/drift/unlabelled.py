"""Tells without labels whether answers have become less sure than those on what was learned.

Pictures from elsewhere, or of a class that nobody has labelled, are mostly answered less surely. A
version carries how unsure the newest answers were before their samples were learned; whoever
answers with it compares. It is a hint, no more: a network may be sure and wrong.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

LEAST = 64  # answers, before anything is said of them
MOST = 256  # answers held; of older ones nothing is said
ERRORS = 4.0  # standard errors above what was learned, and
HIGHER = 0.05  # ... so much more unsure: then the answers have shifted
OVER = 0.5  # of both: below, they have no longer
SPREAD = 0.1  # least standard deviation assumed, as in standard_error.py


@dataclass(frozen=True, slots=True)
class Sureness:
    """How unsure answers were (1 - their highest probability).

    Attributes:
        mean: over all of them.
        spread: standard deviation.
        count: how many; at least LEAST.
    """

    mean: float
    spread: float
    count: int

    def to_json(self) -> dict[str, Any]:
        """For a version's manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self | None:
        """What `to_json` wrote; None where nothing did, or another thing stands there.

        >>> Sureness.from_json({"mean": 0.1, "spread": 0.2, "count": 64})
        Sureness(mean=0.1, spread=0.2, count=64)
        >>> Sureness.from_json(None), Sureness.from_json({"mean": "high"})
        (None, None)
        """
        if not isinstance(data, Mapping):
            return None
        try:
            found = cls(float(data["mean"]), float(data["spread"]), int(data["count"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        known = math.isfinite(found.mean) and math.isfinite(found.spread)
        return found if known and found.count >= LEAST else None


class Newest:
    """The newest MOST numbers; those that are not finite are passed over."""

    def __init__(self) -> None:
        self._held: deque[float] = deque(maxlen=MOST)

    def __len__(self) -> int:
        return len(self._held)

    def take(self, numbers: Iterable[float]) -> None:
        """Numbers in the order in which they came."""
        # rounded, so that a checkpoint holds all of them
        self._held.extend(round(float(n), 6) for n in numbers if math.isfinite(n))

    def keep(self, count: int) -> None:
        """Forget all but the newest `count`."""
        self._held = deque(list(self._held)[-count:] if count else (), maxlen=MOST)

    def told(self) -> Sureness | None:
        """Their mean and spread; None while there are fewer than LEAST."""
        if len(self._held) < LEAST:
            return None
        held = np.array(self._held)
        return Sureness(float(held.mean()), float(held.std(ddof=1)), len(held))

    def to_json(self) -> list[float]:
        """The state, for a checkpoint."""
        return list(self._held)

    def load_json(self, data: Iterable[float]) -> None:
        """Take back what `to_json` gave."""
        self._held = deque(data, maxlen=MOST)


class Shift:
    """Compares answers with those on what was learned; says nothing without either.

    Of each answer is kept how much more unsure it is than the version that gave it was on what it
    had learned. So the newest LEAST stay when another version answers: where one is published every
    few seconds and little is asked, there would never be enough.

    >>> learned = Sureness(mean=0.1, spread=0.1, count=256)
    >>> shift = Shift()
    >>> shift.take([0.1, 0.12] * 100, learned)
    >>> shift.shifted
    False
    >>> shift.take([0.5, 0.4] * 50, learned)
    >>> shift.shifted, round(shift.higher, 2)
    (True, 0.14)

    Attributes:
        shifted: the answers are less sure, plainly and beyond chance.
        learned: of the version that answered last; None if it does not tell.
        higher: how much more unsure the answers are, in the mean; NaN while that is unknown.
        errors: the same in standard errors.
    """

    def __init__(self) -> None:
        self.shifted = False
        self.learned: Sureness | None = None
        self.higher = self.errors = math.nan
        self._unsure, self._more = Newest(), Newest()

    @property
    def count(self) -> int:
        """Answers that are compared."""
        return len(self._unsure)

    @property
    def unsure(self) -> float:
        """Mean of the answers; NaN while they are too few."""
        told = self._unsure.told()
        return told.mean if told else math.nan

    def take(self, unsure: Iterable[float], learned: Sureness | None) -> None:
        """Take how unsure the next answers were, and what the version that gave them tells."""
        if learned != self.learned:
            comparable = learned is not None and self.learned is not None
            for held in (self._unsure, self._more):
                held.keep(LEAST if comparable else 0)
            self.learned = learned
        given = list(unsure)
        self._unsure.take(given)
        self._more.take(u - (learned.mean if learned else 0.0) for u in given)
        self._judge()

    def _judge(self) -> None:
        now = self._more.told()
        if self.learned is None or now is None:
            self.higher = self.errors = math.nan
            self.shifted = False
            return
        self.higher = now.mean
        self.errors = now.mean / error_of(now, self.learned)
        factor = OVER if self.shifted else 1.0  # does not come and go at the border
        self.shifted = self.higher >= factor * HIGHER and self.errors >= factor * ERRORS


def error_of(one: Sureness, other: Sureness) -> float:
    """Standard error of the difference of two means, of spreads of their own (Welch).

    >>> round(error_of(Sureness(0.1, 0.0, 100), Sureness(0.1, 0.3, 900)), 5)
    0.01414
    """
    parts = (max(s.spread, SPREAD) ** 2 / s.count for s in (one, other))
    return math.sqrt(sum(parts))


def unsure_of(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 - the highest of each row of probabilities [N, classes]; of no class, nothing.

    >>> unsure_of(np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)).tolist()
    [0.25, 0.5]
    """
    if probabilities.shape[1] == 0:
        return np.zeros(0, np.float32)
    return np.asarray(1.0 - probabilities.max(axis=1), np.float32)

"""What a client knows of the samples that it sent: the account that the service is held to.

Every picture carries its number in its first pixel, so that what was learned, and in which order,
can be read from the pixels that the learner keeps.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SIDE = 8
CLASSES = tuple("abcd")

Pixels = NDArray[np.uint8]


def picture(number: int) -> Pixels:
    """The picture with that number: uint8 [SIDE, SIDE, 3], of a class that can be learned."""
    image = np.random.default_rng(number).integers(0, 120, (SIDE, SIDE, 3), dtype=np.uint8)
    image[2 * (number % 4) : 2 * (number % 4) + 2, 1:] += 120
    image[0, 0] = [number >> 16, number >> 8 & 255, number & 255]
    return image


def label(number: int) -> str:
    """Its class."""
    return CLASSES[number % 4]


def number_of(image: Pixels) -> int:
    """Which picture this is.

    >>> number_of(picture(70_000))
    70000
    """
    high, middle, low = (int(n) for n in image[0, 0])
    return high << 16 | middle << 8 | low


@dataclass
class Ledger:
    """Numbers by what the client was told of them; for several threads.

    Attributes:
        acked: stream id by number: answered with 202.
        unknown: the answer was lost, or Redis went away meanwhile: taken whole or not at all.
    """

    acked: dict[int, str] = field(default_factory=dict)
    unknown: list[tuple[int, ...]] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    _next: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, count: int) -> tuple[int, ...]:
        """Numbers that nobody has sent yet."""
        with self._lock:
            first, self._next = self._next, self._next + count
        return tuple(range(first, first + count))

    def accepted(self, numbers: Sequence[int], ids: Sequence[str]) -> None:
        """A 202 with these ids."""
        with self._lock:
            self.acked.update(zip(numbers, ids, strict=True))

    def lost_sight(self, numbers: Sequence[int]) -> None:
        """Nobody can say whether these were taken."""
        with self._lock:
            self.unknown.append(tuple(numbers))

    def told(self, what: str) -> None:
        """Count a kind of answer."""
        with self._lock:
            self.answers[what] += 1


@dataclass(frozen=True)
class Verdict:
    """The ledger beside what was learned.

    Attributes:
        lost: acknowledged and not learned.
        twice: learned more than once.
        torn: batches without an answer of which only a part was taken.
        strangers: learned, and never sent.
        misplaced: acknowledged neighbours that were learned in another order than their ids'.
    """

    lost: list[int]
    twice: list[int]
    torn: list[tuple[int, ...]]
    strangers: list[int]
    misplaced: int

    @property
    def good(self) -> bool:
        return not (self.lost or self.twice or self.torn or self.strangers or self.misplaced)


def judge(ledger: Ledger, learned: Sequence[int], buried: Iterable[int] = ()) -> Verdict:
    """Compare what the client was told with the numbers that were learned, in their order.

    >>> ledger = Ledger(acked={0: "1-0", 1: "2-0", 2: "3-0"}, unknown=[(3, 4)])
    >>> judge(ledger, [0, 2, 2, 3]).lost, judge(ledger, [0, 2, 2, 3]).twice
    ([1], [2])
    >>> judge(ledger, [0, 1, 2, 3]).torn, judge(ledger, [1, 0, 2]).misplaced
    ([(3, 4)], 1)
    """
    times = Counter(learned)
    kept = set(learned) | set(buried)
    maybe = {n for batch in ledger.unknown for n in batch}
    places = [_place(ledger.acked[n]) for n in learned if n in ledger.acked]
    return Verdict(
        lost=sorted(n for n in ledger.acked if n not in kept),
        twice=sorted(n for n, count in times.items() if count > 1),
        torn=[b for b in ledger.unknown if 0 < sum(n in kept for n in b) < len(b)],
        strangers=sorted(kept - ledger.acked.keys() - maybe),
        misplaced=sum(a >= b for a, b in zip(places, places[1:], strict=False)),
    )


def _place(entry_id: str) -> tuple[int, int]:
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence)

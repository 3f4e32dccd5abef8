"""What is known of one key, and when its answers have fallen; torch-free."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

RECENT = 64  # verdicts that a key is judged by
LEAST = 16
LEAST_FALL = 0.2
Doubt = Literal["", "suspected", "quarantined"]


@dataclass
class Sender:
    """What is known of one key."""

    name: str
    usual: float = 0.0
    count: int = 0
    last: int = -1
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=RECENT))
    doubt: Doubt = ""
    since: int = 0
    expected: float = 0.0
    witnesses: list[bool] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        """Share of right answers to its newest samples."""
        return sum(self.recent) / max(1, len(self.recent))

    def start_over(self) -> None:
        """Believe it, and learn anew what is usual."""
        self.doubt, self.count, self.witnesses = "", 0, []
        self.recent.clear()


@dataclass(frozen=True, slots=True)
class Ruling:
    """A key is quarantined, or believed again.

    Attributes:
        key: its name.
        code: its number, as in `Trust.code`.
        believed: which of both.
        since: samples learned when the doubt began.
        cause: one sentence with the figures.
    """

    key: str
    code: int
    believed: bool
    since: int
    cause: str


def fell(accuracy: float, expected: float, n: int) -> bool:
    """Whether `n` verdicts lie further below what was expected than chance and habit explain.

    >>> fell(0.2, 0.9, 32), fell(0.75, 0.9, 64), fell(0.0, 0.9, 8), fell(0.0, 0.15, 64)
    (True, False, False, False)
    """
    if n < LEAST:
        return False
    spread = math.sqrt(max(0.0, expected * (1 - expected)) / n)
    return accuracy < expected - max(LEAST_FALL, 4 * spread)

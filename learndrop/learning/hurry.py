"""How much of the network one step trains while samples wait: the budget `arrivals`.

A step on the last units starts from maps that the answer has made anyway, so it costs a fraction of
a whole one. A learner that falls behind steps so until it has caught up: every arrival is learned,
by as much of the network as there is time for, where otherwise some would not be learned in time.
"""

from __future__ import annotations

from collections.abc import Sequence

from learndrop.settings import Settings
from learndrop.training.ledger import Ledger

SHARE = 0.125  # of a whole step's FLOPs: at most what a hurried one costs
WHOLE_EVERY = 16  # steps: one of them is whole, however many wait


class Hurry:
    """Says where the next step starts.

    Args:
        settings: the budget, and from how many waiting samples on there is hurry.
        ledger: knows what a step costs, by cut.

    Attributes:
        now: whether the last step was a hurried one.
    """

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._most = settings.hurry_waiting if settings.budget == "arrivals" else None
        self._ledger = ledger
        self.now = False
        self._in_a_row = 0

    def start(self, waiting: int, cut: int) -> int:
        """The first unit of the next step: the cut, or one behind it where too many wait.

        Args:
            waiting: samples that have come and are not learned yet.
            cut: units out of training.
        """
        many = self._most is not None and waiting >= self._most
        hurried = many and self._in_a_row < WHOLE_EVERY - 1
        self._in_a_row = self._in_a_row + 1 if hurried else 0
        start = max(cut, cheap_start(self._ledger.step_costs())) if hurried else cut
        self.now = start > cut
        return start


def cheap_start(costs: Sequence[int], share: float = SHARE) -> int:
    """The first unit from which on a step costs at most that share of a whole one; else the last.

    Args:
        costs: of one training step a sample, by its first unit, and 0 behind the last.
        share: of the whole step's cost.

    >>> cheap_start([100, 60, 12, 3, 0]), cheap_start([100, 90, 80, 0]), cheap_start([100, 0])
    (2, 2, 0)
    """
    last = len(costs) - 2
    return next((k for k in range(last) if costs[k] <= share * costs[0]), last)

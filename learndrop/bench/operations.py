"""A clock that counted operations move on, and nothing else: the same on every machine."""

from __future__ import annotations

from learndrop.training.ledger import Ledger

PACE = 1e11  # operations a second


class Operations:
    """Seconds of an ideal machine, on which only matrix products and convolutions take time.

    What it leaves out, bookkeeping and memory, a real clock counts. In exchange two runs of one job
    are alike to the last bit, in real time too, whatever else the machine does.
    """

    def __init__(self) -> None:
        self._ledger: Ledger | None = None

    def follow(self, ledger: Ledger) -> None:
        """Count what is spent there."""
        self._ledger = ledger

    def __call__(self) -> float:
        """Seconds since it was spent on nothing."""
        return 0.0 if self._ledger is None else self._ledger.done / PACE

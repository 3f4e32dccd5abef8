"""Prequential accuracy: each sample is answered before it is learned, and that answer counts."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from learndrop.standard_error import tolerance


class Progress:
    """Accuracy over the newest `window` samples and over the whole life.

    Args:
        window: samples.
        held: verdicts kept for questions about the newest samples; at least `window`.

    Attributes:
        telling: answers that counted for the window.
    """

    def __init__(self, window: int, held: int = 0) -> None:
        self.window = window
        self.samples = 0
        self.right = self.telling = 0
        self.loss = math.nan
        self._newest: deque[bool] = deque(maxlen=max(window, held))

    def add(self, right: Sequence[bool], telling: Sequence[bool] | None = None) -> None:
        """Take the verdicts on one batch, in order; those that are not `telling` (their labels are
        not believed) count for the whole life, yet not for the window."""
        self.samples += len(right)
        self.right += sum(right)
        told = telling if telling is not None else [True] * len(right)
        self.telling += sum(told)
        self._newest.extend(r for r, t in zip(right, told, strict=True) if t)

    @property
    def accuracy(self) -> float | None:
        """Share of right answers over the window; None before the first sample."""
        return self.newest_accuracy(self.window) if self._newest else None

    @property
    def lifetime_accuracy(self) -> float | None:
        """Share of right answers over the whole life; None before the first sample."""
        return self.right / self.samples if self.samples else None

    def newest_accuracy(self, n: int) -> float:
        """Share of right answers among the newest `n` (fewer if fewer are held)."""
        newest = list(self._newest)[-n:]
        return sum(newest) / max(1, len(newest))

    def since(self, telling: int) -> tuple[float, int]:
        """Share of right answers since so many had counted, and of how many that is: of those held
        at most."""
        n = min(max(1, self.telling - telling), max(1, len(self._newest)))
        return self.newest_accuracy(n), n

    def improves(self, n: int) -> bool:
        """Whether the newest `n` answers are better than the `n` before, by more than a standard
        error of that difference; unknown counts as yes."""
        shares = self._before_and_now(n)
        if shares is None:
            return True
        before, now = shares
        middle = (before + now) / 2
        return bool(now - before > math.sqrt(2 * middle * (1 - middle) / n))

    def worsens(self, n: int) -> bool:
        """Whether the newest `n` answers are worse than the `n` before, by more than chance
        explains; unknown counts as no."""
        shares = self._before_and_now(n)
        if shares is None:
            return False
        before, now = shares
        return now < before - tolerance(before, n)

    def _before_and_now(self, n: int) -> tuple[float, float] | None:
        """Shares of right answers among the `n` before the newest `n`, and among these; None while
        fewer are held."""
        newest = list(self._newest)[-2 * n :]
        if len(newest) < 2 * n:
            return None
        return sum(newest[:n]) / n, sum(newest[n:]) / n

    def to_json(self) -> dict[str, Any]:
        """The state, for a checkpoint."""
        return {
            "samples": self.samples,
            "right": self.right,
            "telling": self.telling,
            "loss": None if math.isnan(self.loss) else self.loss,
            "newest": "".join("1" if r else "0" for r in self._newest),
        }

    def load_json(self, data: Mapping[str, Any]) -> None:
        """Take back what `to_json` gave."""
        self.samples, self.right = data["samples"], data["right"]
        self.telling = data.get("telling", self.samples)  # younger than the format
        self.loss = math.nan if data["loss"] is None else data["loss"]
        self._newest.clear()
        self._newest.extend(c == "1" for c in data["newest"])

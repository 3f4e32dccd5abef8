"""Notices when the answers that this process gives become less sure, and tells it once."""

from __future__ import annotations

import math
from typing import Any

import structlog

from learndrop.drift.unlabelled import Shift, unsure_of
from service.answering.passes import Probabilities, Served
from service.metrics import ServiceMetrics

log = structlog.get_logger()


class ShiftWatch:
    """Looks at every answer; needs no label, and changes none."""

    def __init__(self, metrics: ServiceMetrics) -> None:
        self._metrics, self._shift = metrics, Shift()
        self._show()

    def look(self, model: Served, probabilities: Probabilities) -> None:
        """Take the answers [N, classes] that a version has just given."""
        before = self._shift.shifted
        self._shift.take(unsure_of(probabilities).tolist(), model.learned)
        self._show()
        if self._shift.shifted == before:
            return
        if before:
            log.info("predictions_shift_over", version=model.number, **self.told())
        else:
            log.warning("predictions_shifted", version=model.number, **self.told())

    def told(self) -> dict[str, Any]:
        """As JSON values; null is what is not known."""
        shift = self._shift
        return {
            "shifted": shift.shifted,
            "compared": shift.count,
            "uncertainty": _known(shift.unsure),
            "uncertainty_learned": shift.learned and shift.learned.mean,
            "higher": _known(shift.higher),
            "standard_errors": _known(shift.errors),
        }

    def _show(self) -> None:
        shift, metrics = self._shift, self._metrics
        metrics.unsure.set(shift.unsure)
        metrics.unsure_learned.set(shift.learned.mean if shift.learned else math.nan)
        metrics.shifted.set(shift.shifted)


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number

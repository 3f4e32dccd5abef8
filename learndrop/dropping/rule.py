"""Decides how many leading units leave training: numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


def prefix(learned: Sequence[bool], keep: int) -> int:
    """Count the leading learned units; the last `keep` units never count.

    >>> prefix([True, True, False, True], keep=1)
    2
    >>> prefix([True, True, True], keep=1)
    2
    """
    depth = 0
    for unit in learned[: max(0, len(learned) - keep)]:
        if not unit:
            break
        depth += 1
    return depth


LEAST_SKILL = 0.25  # below that a network that stands still has not begun to learn


def skill(right: float, commonest: float) -> float:
    """The share answered right of what saying the commonest label always would get wrong.

    It is 0 for a network that has learned nothing, whatever the classes and their mix, and 1 for
    one that is always right (a skill score, as weather forecasts are judged by).

    Args:
        right: share of right answers.
        commonest: share of the commonest label.

    >>> round(skill(0.55, 0.1), 2), skill(0.1, 0.1), skill(0.9, 1.0)
    (0.5, 0.0, 0.0)
    """
    return (right - commonest) / (1 - commonest) if commonest < 1 else 0.0


def best_cut(
    ceiling: int,
    depth: int,
    *,
    seconds: Sequence[float],
    row_bytes: Sequence[int],
    budget: int,
    batch: int,
) -> int:
    """The cut in (depth, ceiling] that saves most seconds a step and whose maps fit.

    Args:
        ceiling: deepest cut whose units are all learned.
        depth: present cut.
        seconds: of one training step, by depth.
        row_bytes: of one stored map, by depth.
        budget: bytes of the feature store; a cut that cannot hold one batch is not taken.
        batch: samples in a step.

    >>> best_cut(3, 0, seconds=[4, 3, 2, 2.5, 0], row_bytes=[9, 8, 4, 2, 1], budget=100, batch=8)
    2
    >>> best_cut(3, 0, seconds=[4, 3, 2, 2.5, 0], row_bytes=[9, 8, 4, 2, 1], budget=20, batch=8)
    3
    >>> best_cut(3, 2, seconds=[4, 3, 2, 2.5, 0], row_bytes=[9, 8, 4, 2, 1], budget=20, batch=8)
    2
    """
    best = depth
    for cut in range(depth + 1, ceiling + 1):
        if row_bytes[cut] * batch <= budget and seconds[cut] < seconds[best]:
            best = cut
    return best


@dataclass
class UnitRecord:
    """What the rule remembers of one unit.

    Attributes:
        low: windows in a row with a low score.
        why: one sentence for people.
    """

    low: int = 0
    why: str = "no window read yet"


@dataclass
class DropRule:
    """Prefix rule with warm-up and hysteresis.

    A unit is learned when its score (see scores/) has stayed at most `low` for
    `settled_windows` readings in a row; a reading above 1.25 x `low` clears the count, one between
    leaves it as it is.

    Args:
        units: number of units.
        low: bound of the score.
        settled_windows: readings in a row.
        warmup_windows: readings after a start or a return that do not count.
        keep_units: last units that are never dropped.
        name: of the score, for people.
    """

    units: int
    low: float
    settled_windows: int
    warmup_windows: int
    keep_units: int
    windows: int = 0
    records: list[UnitRecord] = field(default_factory=list)
    name: str = "persistence"

    def __post_init__(self) -> None:
        if not self.records:
            self.records = [UnitRecord() for _ in range(self.units)]

    def read(self, scores: Mapping[int, float | None]) -> int:
        """Take one window's scores of the units in training; return how deep one may cut."""
        self.windows += 1
        for unit, score in scores.items():
            self._judge(self.records[unit], score)
        return self.ceiling(min(scores, default=self.units))

    def ceiling(self, depth: int) -> int:
        """How deep one may cut, given that `depth` units have left training already."""
        learned = [
            unit < depth or record.low >= self.settled_windows
            for unit, record in enumerate(self.records)
        ]
        return prefix(learned, self.keep_units)

    def _judge(self, record: UnitRecord, score: float | None) -> None:
        if score is None or self.windows <= self.warmup_windows:
            record.low = 0
            record.why = f"warming up: window {self.windows}"
        elif score <= self.low:
            record.low += 1
            record.why = (
                f"{self.name} {score:.2f} is at most {self.low:.2f},"
                f" {record.low} of {self.settled_windows} windows in a row"
            )
        elif score > 1.25 * self.low:
            record.low = 0
            record.why = f"still learning: {self.name} {score:.2f} is above {self.low:.2f}"
        else:
            record.why = f"{self.name} {score:.2f} is near its bound {self.low:.2f}: count stays"

    def start_over(self, depth: int) -> None:
        """Units from `depth` on must earn it anew; those before keep what they have."""
        self.windows = 0
        for record in self.records[depth:]:
            record.low, record.why = 0, "returned to training: must settle anew"

    def to_json(self) -> dict[str, Any]:
        """What the rule remembers, for a checkpoint."""
        return {"windows": self.windows, "records": [asdict(r) for r in self.records]}

    def load_json(self, data: Mapping[str, Any]) -> None:
        """Take back what `to_json` gave."""
        self.windows = data["windows"]
        self.records = [UnitRecord(**r) for r in data["records"]]

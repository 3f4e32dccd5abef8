"""The rivals: each gets the same network, the same detector and the same help with its rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from learndrop.learner import Learner


@dataclass(frozen=True)
class Strategy:
    """One way to spend seconds on a stream.

    Attributes:
        name: for tables and plots.
        settings: what differs from the settings of the run.
        begin: done to the learner before the first sample.
        trains: asked before each batch, with the learner and the batch's number.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    begin: Callable[[Learner], None] = lambda learner: None
    trains: Callable[[Learner, int], bool] = lambda learner, batch: True


def learndrop() -> Strategy:
    """The product, nobody telling it of drifts."""
    return Strategy("learndrop")


def plain() -> Strategy:
    """Full fine-tuning: every unit on every sample."""
    return Strategy("full fine-tuning", {"drop": False})


def head_only() -> Strategy:
    """Only the last unit ever trains."""

    def begin(learner: Learner) -> None:
        learner.drop_to(len(learner.chain.units) - 1, "only the head ever trains")

    return Strategy("head only", {"drop": False}, begin)


def thinned(share: float, name: str | None = None) -> Strategy:
    """Full fine-tuning on a share of the batches, evenly spread."""

    def trains(learner: Learner, batch: int) -> bool:
        return int((batch + 1) * share) > int(batch * share)

    return Strategy(name or f"full on {share:.0%} of samples", {"drop": False}, trains=trains)


def drift_aware(share: float, after_drift: int = 1024, name: str | None = None) -> Strategy:
    """Full fine-tuning on everything after a drift, on a share of the batches later."""

    def trains(learner: Learner, batch: int) -> bool:
        if learner.progress.samples - learner.life.world_start < after_drift:
            return True
        return int((batch + 1) * share) > int(batch * share)

    label = name or f"full after drifts, then {share:.0%}"
    return Strategy(label, {"drop": False}, trains=trains)


def held_to(seconds: float) -> Strategy:
    """Full fine-tuning that stops taking steps when it is ahead of an even spending of `seconds`
    over the stream: the same budget spent plainly.

    Args:
        seconds: training seconds a sample.
    """

    def trains(learner: Learner, batch: int) -> bool:
        spent = learner.life.seconds["train"] + learner.life.seconds["build"]
        return spent <= seconds * learner.progress.samples

    return Strategy("full, same seconds", {"drop": False}, trains=trains)

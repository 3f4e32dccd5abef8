"""Full fine-tuning, and the ways to make it cheaper without dropping anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from learndrop.bench.strategies.strategy import Strategy
from learndrop.learning.learner import Learner

WHOLE: Mapping[str, Any] = {"drop": False}


@dataclass(frozen=True)
class Plain(Strategy):
    """Every unit on every sample, or on every n-th batch only."""

    family: ClassVar[str] = "full fine-tuning"
    differs: ClassVar[Mapping[str, Any]] = WHOLE
    every: int = 1

    @property
    def label(self) -> str:
        """
        >>> Plain().label, Plain(every=3).label
        ('full fine-tuning', 'every 3rd batch')
        """
        ending = {2: "nd", 3: "rd"}.get(self.every, "th")
        return self.family if self.every == 1 else f"every {self.every}{ending} batch"

    @property
    def mark(self) -> str:
        return f"1/{self.every}" if self.every > 1 else "all"

    def trains(self, learner: Learner, batch: int) -> bool:
        return batch % self.every == 0


@dataclass(frozen=True)
class Replays(Strategy):
    """Every unit on every sample and on a fixed number of replayed ones beside each."""

    family: ClassVar[str] = "full with replays"
    replays: int = 1

    @property
    def settings(self) -> Mapping[str, Any]:
        return {**WHOLE, "replays": str(self.replays)}

    @property
    def label(self) -> str:
        """
        >>> Replays(3).label
        'full, 3 replays'
        """
        return f"full, {self.replays} replay{'s' * (self.replays > 1)}"

    @property
    def mark(self) -> str:
        return f"+{self.replays}"


@dataclass(frozen=True)
class Share(Strategy):
    """Full fine-tuning on a share of the batches, evenly spread: learndrop's share of seconds."""

    family: ClassVar[str] = "full, same share of samples"
    differs: ClassVar[Mapping[str, Any]] = WHOLE
    share: float = 0.5

    def trains(self, learner: Learner, batch: int) -> bool:
        return int((batch + 1) * self.share) > int(batch * self.share)


@dataclass(frozen=True)
class Held(Strategy):
    """Full fine-tuning that stops taking steps when it is ahead of an even spending of `seconds`
    a sample over the stream: learndrop's budget spent plainly."""

    family: ClassVar[str] = "full, same seconds"
    differs: ClassVar[Mapping[str, Any]] = WHOLE
    seconds: float = 0.0

    def trains(self, learner: Learner, batch: int) -> bool:
        spent = sum(learner.life.seconds.values()) - learner.life.seconds["test"]
        return spent <= self.seconds * learner.progress.samples


@dataclass(frozen=True)
class DriftAware(Strategy):
    """Full fine-tuning on everything after a drift, on a share of the batches later: thinning
    that knows when it matters, the strongest plain control."""

    family: ClassVar[str] = "drift-aware thinning"
    differs: ClassVar[Mapping[str, Any]] = WHOLE
    share: float = 1 / 3
    after: int = 1024

    @property
    def label(self) -> str:
        """
        >>> DriftAware(0.2).label
        'all after drifts, later 20 %'
        """
        return f"all after drifts, later {self.share:.0%}".replace("%", " %")

    @property
    def mark(self) -> str:
        return f"{100 * self.share:.0f} %"

    def trains(self, learner: Learner, batch: int) -> bool:
        if learner.progress.samples - learner.life.world_start < self.after:
            return True
        return int((batch + 1) * self.share) > int(batch * self.share)

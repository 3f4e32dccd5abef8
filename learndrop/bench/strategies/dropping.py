"""Learndrop, and rivals that take units out of training by a simpler rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from learndrop.bench.strategies.strategy import NEVER, Scheduled, Strategy
from learndrop.bench.streams import Stream
from learndrop.errors import BadInput
from learndrop.learning.learner import Learner


class Learndrop(Strategy):
    """The product, nobody telling it of drifts."""

    family: ClassVar[str] = "learndrop"


class KeepingUp(Learndrop):
    """The same, but where it falls behind it trains the last units alone until it has caught up."""

    family: ClassVar[str] = "learndrop, keeping up"
    differs: ClassVar[Mapping[str, Any]] = {"budget": "arrivals"}


class HeadOnly(Strategy):
    """Only the last unit ever trains."""

    family: ClassVar[str] = "head only"
    differs: ClassVar[Mapping[str, Any]] = {"drop": False}

    def begin(self, learner: Learner, stream: Stream) -> None:
        learner.drop_to(len(learner.chain.units) - 1, "only the head ever trains")


@dataclass(frozen=True)
class LatentReplay(Strategy):
    """One cut for ever: below it the network stays as it was, above it arriving and stored maps
    are learned (Pellegrini et al. 2020)."""

    family: ClassVar[str] = "latent replay"
    differs: ClassVar[Mapping[str, Any]] = {"drop": False, "replays": "1"}
    cut: float = 0.7

    @property
    def label(self) -> str:
        """
        >>> LatentReplay(0.5).label
        'latent replay from 50 %'
        """
        return f"latent replay from {100 * self.cut:.0f} %"

    @property
    def mark(self) -> str:
        return f"{100 * self.cut:.0f} %"

    def begin(self, learner: Learner, stream: Stream) -> None:
        learner.drop_to(units_of(self.cut, learner), "one cut for ever")


@dataclass
class RandomPrefix(Scheduled):
    """In each world a random number of leading units leaves at a random time.

    It is told how long a world is, not when one begins.
    """

    family: ClassVar[str] = "random prefix"
    seed: int = 0

    def new_world(self, learner: Learner, stream: Stream | None) -> None:
        if stream is not None:
            self._rng = np.random.default_rng([self.seed, learner.settings.seed])
            self._longest = max(
                end - begin for begin, end in zip(stream.begins, stream.ends, strict=True)
            )
        self._cut = int(self._rng.integers(1, len(learner.chain.units)))
        self._when = int(self._rng.integers(0, self._longest))

    def cut_at(self, learner: Learner, since: int) -> int:
        return self._cut if since >= self._when else 0


@dataclass
class Schedule(Scheduled):
    """An oracle's rule: told when a world begins, it drops at fixed times after that.

    Args:
        cuts: `0.5@512+0.9@1024`: half of the units out after 512 samples, nine tenths after 1,024.
    """

    family: ClassVar[str] = "oracle's schedules"
    told: ClassVar[bool] = True
    # told: the learner's own detector would begin a world a second time
    differs: ClassVar[Mapping[str, Any]] = {"drop": False, "drift_cooldown": NEVER}
    cuts: str = "0.5@1024"

    def __post_init__(self) -> None:
        try:
            pairs = [part.split("@") for part in self.cuts.split("+")]
            self._plan = [(float(share), int(when)) for share, when in pairs]
        except ValueError:
            raise BadInput(
                f"schedule: cuts are SHARE@SAMPLES+..., not {self.cuts!r}", item="cuts"
            ) from None

    @property
    def label(self) -> str:
        """
        >>> Schedule("0.5@512+0.9@1024").label
        'told, drops 0.5@512+0.9@1024'
        """
        return f"told, drops {self.cuts}"

    def cut_at(self, learner: Learner, since: int) -> int:
        if since == ESTIMATED_AFTER and learner.replay.world:
            with learner.life.timed("build", self.clock):
                learner.rehearsal.adapt_statistics(learner.floats)
        return max((units_of(share, learner) for share, at in self._plan if since >= at), default=0)


ESTIMATED_AFTER = 128  # samples of a new world; the learner takes BatchNorm's statistics anew so


def units_of(share: float, learner: Learner) -> int:
    """So many leading units are that share of all; the head stays in training."""
    units = len(learner.chain.units)
    return max(0, min(units - 1, round(share * units)))

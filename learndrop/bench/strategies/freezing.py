"""Rivals that freeze and do not drop: no gradient below the cut, but its forward is paid for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from learndrop.bench.strategies.strategy import Clock, Scheduled, Strategy
from learndrop.bench.streams import Stream
from learndrop.learning.batch import Batch
from learndrop.learning.learner import Learner
from learndrop.learning.rehearsal import Rehearsal
from learndrop.networks.floats import Floats
from learndrop.settings import Settings


class Unstored(Rehearsal):
    """Replays from raw pixels only: the units below the cut are passed each time."""

    def places(self, n: int) -> NDArray[np.int64]:
        return self.replay.draw(n)

    def maps(self, places: NDArray[np.int64], floats: Floats) -> Tensor:
        x = floats(self.replay.images[places])
        if self._trainer.cut == 0:
            return x
        self._ledger.build(0, self._trainer.cut, len(places))
        return self._trainer.prefix(x)

    def open_store(self) -> None:
        """There is none."""


class FreezingLearner(Learner):
    """A Learner whose units below the cut are frozen, not dropped: a step begins at the pixels."""

    rehearses_by = Unstored

    def entering(self, batch: Batch, *, same: bool) -> Tensor:
        if self.trainer.cut == 0:
            return batch.x
        with self.timed("train"):
            maps = self.trainer.prefix(batch.x)
        self.ledger.build(0, self.trainer.cut, len(batch.x))
        return maps


class FreezeOnly(Strategy):
    """Learndrop's own rule, but what it would drop is only frozen and nothing is stored."""

    family: ClassVar[str] = "freeze only"

    def learner(self, settings: Settings, clock: Clock) -> Learner:
        return FreezingLearner(settings, clock=clock)


@dataclass
class FreezeOut(Scheduled):
    """FreezeOut's times (Brock et al. 2017): unit i of L freezes after (t0 + (1 - t0) i / L)^3 of
    the training, t0 = 0.8 before cubing. It has to be told how long a world is, which no stream
    says; the rate is the engine's, as for every rival, not its own cosine.
    """

    family: ClassVar[str] = "FreezeOut's schedule"
    differs: ClassVar[Mapping[str, Any]] = {"drop": False}
    t0: float = 0.8

    def learner(self, settings: Settings, clock: Clock) -> Learner:
        return FreezingLearner(settings, clock=clock)

    def new_world(self, learner: Learner, stream: Stream | None) -> None:
        if stream is not None:
            self._length = max(
                end - begin for begin, end in zip(stream.begins, stream.ends, strict=True)
            )

    def cut_at(self, learner: Learner, since: int) -> int:
        units = len(learner.chain.units)
        times = [freezes_at(i / units, self.t0) * self._length for i in range(units - 1)]
        return sum(since >= t for t in times)


def freezes_at(place: float, t0: float) -> float:
    """Share of the training after which the unit at that share of the depth freezes.

    >>> round(freezes_at(0.0, 0.8), 3), freezes_at(1.0, 0.8)
    (0.512, 1.0)
    """
    return float((t0 + (1 - t0) * place) ** 3)

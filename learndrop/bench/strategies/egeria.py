"""A rule like Egeria's (Wang et al., EuroSys 2023): freeze the front unit when it stops changing
what a slightly older copy of it would say."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from learndrop.bench.strategies.strategy import Scheduled
from learndrop.bench.streams import Stream
from learndrop.learning.learner import Learner

PROBE = 32  # images that both copies are asked about


@dataclass
class Egeria(Scheduled):
    """Plasticity of the front unit in training: how differently it and a copy of `refresh`
    readings ago see which images are alike. Its slope over `window` readings is held against the
    first one; after `patience` slopes below `bound` of that, the unit is frozen, its maps stored.
    A drift brings all back, as a change of the rate does there. The reading is paid for.
    """

    family: ClassVar[str] = "Egeria-like rule"
    differs: ClassVar[Mapping[str, Any]] = {"drop": False}
    every: int = 8
    window: int = 4
    patience: int = 2
    bound: float = 0.2
    refresh: int = 8

    def new_world(self, learner: Learner, stream: Stream | None) -> None:
        self._steps = 0
        self._watch_unit(learner)

    def _watch_unit(self, learner: Learner) -> None:
        """Begin to look at the front unit in training: a copy of all that leads to its output."""
        self._front = learner.trainer.cut
        self._reference = [copy.deepcopy(u.module).eval() for u in self._leading(learner)]
        self._readings: list[float] = []
        self._slopes: list[float] = []

    def cut_at(self, learner: Learner, since: int) -> int:
        self._steps += 1
        cut, last = learner.trainer.cut, len(learner.chain.units) - 1
        if cut >= last or self._steps % self.every:
            return cut
        if cut != self._front:
            self._watch_unit(learner)
        with learner.life.timed("build", self.clock):
            self._readings.append(self._plasticity(learner))
        if len(self._readings) >= self.window:
            self._slopes.append(abs(slope(self._readings[-self.window :])))
        if len(self._readings) % self.refresh == 0:
            self._reference = [copy.deepcopy(u.module).eval() for u in self._leading(learner)]
        low = self.bound * self._slopes[0] if self._slopes else 0.0
        newest = self._slopes[1:][-self.patience :]
        settled = len(newest) == self.patience and all(s <= low for s in newest)
        return cut + 1 if settled else cut

    def _leading(self, learner: Learner) -> list[Any]:
        return learner.chain.units[: self._front + 1]

    def _plasticity(self, learner: Learner) -> float:
        newest = learner.replay.newest(PROBE)
        if len(newest) < 2:
            return 0.0
        x = learner.floats(learner.replay.images[newest])
        learner.ledger.build(0, self._front + 1, 2 * len(newest))
        learner.chain.eval()
        now = [u.module for u in self._leading(learner)]
        return similarity_loss(_through(now, x), _through(self._reference, x))


@torch.no_grad()
def _through(modules: list[nn.Module], x: Tensor) -> Tensor:
    for module in modules:
        x = module(x)
    return x.flatten(1).float()


def similarity_loss(a: Tensor, b: Tensor) -> float:
    """How differently two sets of maps [N, D] see which of the N images are alike: squared
    distance of their row-normalised Gram matrices (Tung and Mori 2019).

    >>> x = torch.eye(3)
    >>> similarity_loss(x, 2 * x), similarity_loss(x, torch.ones(3, 3)) > 0.1
    (0.0, True)
    """
    first, second = (nn.functional.normalize(m @ m.T, dim=1) for m in (a, b))
    return float(((first - second) ** 2).sum() / len(a) ** 2)


def slope(values: list[float]) -> float:
    """Of the straight line through evenly spaced values.

    >>> round(slope([1.0, 3.0, 5.0]), 6)
    2.0
    """
    return float(np.polyfit(np.arange(len(values)), values, 1)[0])

"""Directedness: how much of its way a unit's weights went in one direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from learndrop.scores.scorer import Scores, norm

EVERY = 4  # steps between two looks: the path is measured along its corners


class DirectednessScorer:
    """directedness: displacement over path length in the window, from 0 to 1.

    1 is a straight way; a random walk of n looks gives about 1 / sqrt(n). Momentum flies straight
    for some ten steps whatever there is to learn, so the path is looked at every fourth step only.
    """

    def __init__(self) -> None:
        self._parameters: dict[int, list[Tensor]] = {}
        self._first: dict[int, list[Tensor]] = {}
        self._last: dict[int, list[Tensor]] = {}
        self._path: dict[int, float] = {}
        self._steps = 0

    def start(self, parameters: Mapping[int, Sequence[Tensor]]) -> None:
        """See `Scorer`."""
        self._parameters = {u: [p.detach() for p in ps] for u, ps in parameters.items() if ps}
        self._first = {u: [p.clone() for p in ps] for u, ps in self._parameters.items()}
        self._last = {u: [p.clone() for p in ps] for u, ps in self._parameters.items()}
        self._path = dict.fromkeys(self._parameters, 0.0)
        self._steps = 0

    def forget(self) -> None:
        """Nothing reaches back behind the window."""

    def after_step(self, rate: float) -> None:
        """See `Scorer`."""
        self._steps += 1
        if self._steps % EVERY == 0:
            self._look()

    def _look(self) -> None:
        for unit, now in self._parameters.items():
            self._path[unit] += float(norm(torch._foreach_sub(now, self._last[unit])))
            torch._foreach_copy_(self._last[unit], now)

    def read(self) -> dict[int, Scores]:
        """See `Scorer`."""
        if self._steps % EVERY:
            self._look()
        scores = {}
        for unit, now in self._parameters.items():
            moved = float(norm(torch._foreach_sub(now, self._first[unit])))
            scores[unit] = {"directedness": moved / (self._path[unit] + 1e-12)}
        return scores

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Scorer`."""
        tensors = {f"first.{u}.{i}": t for u, ts in self._first.items() for i, t in enumerate(ts)}
        tensors |= {f"last.{u}.{i}": t for u, ts in self._last.items() for i, t in enumerate(ts)}
        return tensors, {"steps": self._steps, "path": {str(u): p for u, p in self._path.items()}}

    def load(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """See `Scorer`."""
        for name, held in (("first", self._first), ("last", self._last)):
            for unit, ts in held.items():
                for i, t in enumerate(ts):
                    t.copy_(tensors[f"{name}.{unit}.{i}"])
        self._path = {u: data["path"][str(u)] for u in self._parameters}
        self._steps = data["steps"]

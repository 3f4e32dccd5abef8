"""Measures how much each unit still moves, and whether it is going anywhere.

Learn&Drop (arXiv 2604.23403) scores a layer by how much its parameters change and by whether it
will go on learning. Its formulae were not to be had; what stands here is our own reading, and any
class with the three methods of `Scorer` takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

Scores = dict[str, float]


class Scorer(Protocol):
    """One reading a window, for the units in training."""

    def start(self, parameters: Mapping[int, Sequence[Tensor]]) -> None:
        """Begin a window; `parameters` by unit position."""

    def after_step(self, rate: float) -> None:
        """Told after each optimizer step, with the learning rate it used."""

    def read(self) -> dict[int, Scores]:
        """End the window: scores by unit position."""


class MotionScorer:
    """Motion and directedness of the weights.

    motion: ||w(end) - w(start)|| / (||w(start)|| x sum of learning rates). Divided by the rates,
    so that a falling rate alone cannot make a unit look learned.
    directedness: displacement over path length, in [0, 1]: near 1 for a unit that still travels,
    about 1 / sqrt(segments) for one that wanders around a point.
    """

    def __init__(self, segment: int = 4) -> None:
        self.segment = segment  # steps between two points of the path: a quarter of the cost
        self._parameters: dict[int, list[Tensor]] = {}
        self._first: dict[int, list[Tensor]] = {}
        self._last: dict[int, list[Tensor]] = {}
        self._path: dict[int, Tensor] = {}
        self._rates = 0.0
        self._steps = 0

    def start(self, parameters: Mapping[int, Sequence[Tensor]]) -> None:
        self._parameters = {u: [p.detach() for p in ps] for u, ps in parameters.items() if ps}
        self._first = {u: [p.clone() for p in ps] for u, ps in self._parameters.items()}
        self._last = {u: [p.clone() for p in ps] for u, ps in self._parameters.items()}
        self._path = {u: ps[0].new_zeros(()) for u, ps in self._parameters.items()}
        self._rates, self._steps = 0.0, 0

    def after_step(self, rate: float) -> None:
        self._rates += rate
        self._steps += 1
        if self._steps % self.segment:
            return
        for unit, now in self._parameters.items():
            self._path[unit] += _distance(now, self._last[unit])
            torch._foreach_copy_(self._last[unit], now)

    def read(self) -> dict[int, Scores]:
        scores = {}
        for unit, now in self._parameters.items():
            moved = float(_distance(now, self._first[unit]))
            path = float(self._path[unit])
            size = float(_norm(self._first[unit]))
            scores[unit] = {
                "motion": moved / max(size * self._rates, 1e-12),
                "directedness": min(1.0, moved / path) if path > 0 else 0.0,
            }
        return scores

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The half-read window, for a checkpoint: tensors by name, and JSON values."""
        tensors = {
            f"{kind}.{unit}.{i}": t
            for kind, held in (("first", self._first), ("last", self._last))
            for unit, ts in held.items()
            for i, t in enumerate(ts)
        }
        tensors |= {f"path.{unit}": t for unit, t in self._path.items()}
        return tensors, {"rates": self._rates, "steps": self._steps}

    def load(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """Take back what `state` gave, after `start` with the same units."""
        for kind, held in (("first", self._first), ("last", self._last)):
            for unit, ts in held.items():
                for i, t in enumerate(ts):
                    t.copy_(tensors[f"{kind}.{unit}.{i}"])
        for unit, path in self._path.items():
            path.copy_(tensors[f"path.{unit}"])
        self._rates, self._steps = data["rates"], data["steps"]


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([t * t for t in torch._foreach_norm(list(tensors))]).sum().sqrt()


def _distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    return _norm(torch._foreach_sub(list(a), list(b)))

"""What a score is: one reading a window of how much each unit still moves, or where to.

Learn&Drop (arXiv 2604.23403) scores a layer by how much its parameters change and by whether it
will go on learning. Its formulae were not to be had; what stands here is our own reading, and any
class with the methods of `Scorer` takes its place (by name: catalogue.py).
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

    def forget(self) -> None:
        """A drift was taken in: what was before says nothing about what comes."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The half-read window, for a checkpoint: tensors by name, and JSON values."""

    def load(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """Take back what `state` gave, after `start` with the same units."""


class Peaks:
    """The highest value of each unit so far, for scores that have a scale of their own."""

    def __init__(self) -> None:
        self._highest: dict[int, float] = {}

    def share(self, unit: int, value: float) -> float:
        """The value as a share of the unit's highest, itself included.

        >>> peaks = Peaks()
        >>> [round(peaks.share(0, value), 6) for value in (2.0, 1.0, 4.0)]
        [1.0, 0.5, 1.0]
        """
        self._highest[unit] = max(value, self._highest.get(unit, 0.0))
        return value / (self._highest[unit] + 1e-12)

    def forget(self) -> None:
        """A drift was taken in: they are found anew."""
        self._highest = {}

    def to_json(self) -> dict[str, float]:
        """The state, for a checkpoint."""
        return {str(u): p for u, p in self._highest.items()}

    def load_json(self, data: Mapping[str, float]) -> None:
        """Take back what `to_json` gave."""
        self._highest = {int(u): p for u, p in data.items()}


def cosine(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Cosine [] of the angle between all elements of `a` and all of `b` together."""
    product = torch.stack([t.sum() for t in torch._foreach_mul(list(a), list(b))]).sum()
    return product / (norm(a) * norm(b) + 1e-12)


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """Norm [] of all elements of the tensors together."""
    return torch.stack([t * t for t in torch._foreach_norm(list(tensors))]).sum().sqrt()

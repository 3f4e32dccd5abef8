"""Gradient: how hard the loss still pulls at a unit's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from learndrop.scores.scorer import Peaks, Scores, norm

EVERY = 4  # steps between two looks at the gradients


class GradientScorer:
    """gradient: mean of ||gradient|| / ||weights|| over the window, against its highest so far.

    The relative gradient norm of surgical fine-tuning (arXiv 2210.11466), as clipped for the step;
    divided by its peak, since units of one network differ by orders of magnitude.
    """

    def __init__(self) -> None:
        self._parameters: dict[int, list[Tensor]] = {}
        self._sums: dict[int, float] = {}
        self._peaks = Peaks()
        self._steps = self._looks = 0

    def start(self, parameters: Mapping[int, Sequence[Tensor]]) -> None:
        """See `Scorer`; the tensors must be the parameters that hold the gradients."""
        self._parameters = {u: list(ps) for u, ps in parameters.items() if ps}
        self._sums = dict.fromkeys(self._parameters, 0.0)
        self._steps = self._looks = 0

    def forget(self) -> None:
        """A drift was taken in: peaks are found anew."""
        self._peaks.forget()

    def after_step(self, rate: float) -> None:
        """See `Scorer`."""
        self._steps += 1
        if self._steps % EVERY:
            return
        self._looks += 1
        for unit, parameters in self._parameters.items():
            gradients = [p.grad for p in parameters if p.grad is not None]
            if gradients:
                pull = float(norm(gradients))
                size = float(norm([p.detach() for p in parameters]))
                self._sums[unit] += pull / (size + 1e-12)

    def read(self) -> dict[int, Scores]:
        """See `Scorer`; nothing for a window shorter than a look."""
        scores: dict[int, Scores] = {}
        for unit, total in self._sums.items():
            if not self._looks:
                scores[unit] = {}
                continue
            scores[unit] = {"gradient": self._peaks.share(unit, total / self._looks)}
        return scores

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Scorer`."""
        return {}, {
            "steps": self._steps,
            "looks": self._looks,
            "sums": {str(u): s for u, s in self._sums.items()},
            "peaks": self._peaks.to_json(),
        }

    def load(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """See `Scorer`."""
        self._steps, self._looks = data["steps"], data["looks"]
        self._sums = {u: data["sums"][str(u)] for u in self._parameters}
        self._peaks.load_json(data["peaks"])

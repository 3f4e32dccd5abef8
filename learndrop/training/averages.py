"""The mean of each trained weight over its latest steps, for units that leave training.

A unit that has settled still jitters around the place where it settled, by the learning rate's
noise. Whoever drops it as it stands keeps that jitter for good; its recent mean lies nearer to the
place (averaged SGD: Polyak and Juditsky 1992; tails of training: arXiv 1803.05407).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

EVERY = 4  # steps; a look at every step costs 2 % of it and tells little more
DECAY = 0.9  # a look: the mean reaches back about 40 steps


class Averages:
    """Exponential means by parameter name; until they reach back far enough, the plain mean."""

    def __init__(self) -> None:
        self._steps = self._looks = 0
        self._means: dict[str, Tensor] = {}
        self._now: list[Tensor] = []

    def follow(self, named: Sequence[tuple[str, nn.Parameter]]) -> None:
        """From now on these are in training; those known go on, the others begin as they stand."""
        known, self._means = self._means, {}
        for name, p in named:
            mean = known.get(name)
            fits = mean is not None and mean.shape == p.shape
            self._means[name] = mean if mean is not None and fits else p.detach().clone()
        self._now = [p.detach() for _, p in named]

    def start_over(self) -> None:
        """Forget: what the weights were before a drift says nothing about what comes."""
        self._steps = self._looks = 0
        for mean, now in zip(self._means.values(), self._now, strict=True):
            mean.copy_(now)

    def after_step(self) -> None:
        """A step was taken."""
        self._steps += 1
        if self._steps % EVERY == 0 and self._now:
            self._looks += 1
            weight = max(1.0 - DECAY, 1.0 / (self._looks + 1))
            torch._foreach_lerp_(list(self._means.values()), self._now, weight)

    def take(self, module: nn.Module) -> None:
        """Give the parameters of one unit their means."""
        with torch.no_grad():
            for name, p in module.named_parameters():
                if name in self._means:
                    p.copy_(self._means[name])

    def tensors(self) -> dict[str, Tensor]:
        """The means, for a checkpoint."""
        return dict(self._means)

    def to_json(self) -> dict[str, Any]:
        """The rest of the state, for a checkpoint."""
        return {"steps": self._steps, "looks": self._looks}

    def load(self, means: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """Take back what `tensors` and `to_json` gave, after `follow` with the same parameters."""
        self._steps, self._looks = data["steps"], data["looks"]
        for name, mean in self._means.items():
            mean.copy_(means[name])

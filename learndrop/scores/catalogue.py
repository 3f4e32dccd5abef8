"""The scores by name: what measures each, where its value stands, and the bound of a settled unit.

Motion and persistence are always read, and shown in the state; the rule listens to one score. All
bounds but that of persistence are guesses; which score orders drops by their harm is measured
(docs/figures/scores.md), no bound is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from learndrop.networks.chain import Chain
from learndrop.scores.directedness import DirectednessScorer
from learndrop.scores.function_change import FunctionScorer
from learndrop.scores.gradients import GradientScorer
from learndrop.scores.motion import MotionScorer, ShareScorer
from learndrop.scores.scorer import Scorer, Scores

PROBED = 32  # images in the probe of a score that looks at outputs

KEYS = {  # of a score's value among those that are read
    "persistence": "persistence",
    "motion": "motion_share",
    "directedness": "directedness",
    "function": "function",
    "gradient": "gradient",
}
BOUNDS = {
    "persistence": 0.4,
    "motion": 0.6,
    "directedness": 0.8,
    "function": 0.01,
    "gradient": 0.5,
}


class Together:
    """Several scorers as one: their scores side by side."""

    def __init__(self, *scorers: Scorer) -> None:
        self._scorers = scorers

    def start(self, parameters: Mapping[int, Sequence[Tensor]]) -> None:
        """See `Scorer`."""
        for scorer in self._scorers:
            scorer.start(parameters)

    def after_step(self, rate: float) -> None:
        """See `Scorer`."""
        for scorer in self._scorers:
            scorer.after_step(rate)

    def read(self) -> dict[int, Scores]:
        """See `Scorer`."""
        scores: dict[int, Scores] = {}
        for scorer in self._scorers:
            for unit, told in scorer.read().items():
                scores.setdefault(unit, {}).update(told)
        return scores

    def forget(self) -> None:
        """See `Scorer`."""
        for scorer in self._scorers:
            scorer.forget()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Scorer`."""
        tensors: dict[str, Tensor] = {}
        data: dict[str, Any] = {}
        for i, scorer in enumerate(self._scorers):
            own, data[str(i)] = scorer.state()
            tensors |= {f"{i}.{name}": t for name, t in own.items()}
        return tensors, data

    def load(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """See `Scorer`."""
        for i, scorer in enumerate(self._scorers):
            own = {
                name.removeprefix(f"{i}."): t
                for name, t in tensors.items()
                if name.startswith(f"{i}.")
            }
            scorer.load(own, data[str(i)])


def make_scorer(
    name: str,
    chain: Chain,
    probe: Callable[[], Tensor | None],
    pay: Callable[[int, int], None],
) -> Scorer:
    """What reads motion, persistence and the score of that name.

    Args:
        name: a key of `KEYS`.
        chain: the whole network.
        probe: gives `PROBED` images as the network's input, or None while there are too few.
        pay: told of images that passed the whole network for it, and of FLOPs beside.
    """
    if name == "persistence":
        return MotionScorer()
    if name == "motion":
        return ShareScorer()
    if name == "directedness":
        return Together(MotionScorer(), DirectednessScorer())
    if name == "gradient":
        return Together(MotionScorer(), GradientScorer())
    return Together(MotionScorer(), FunctionScorer(chain, probe, pay))

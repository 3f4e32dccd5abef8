"""The scores, a row each: name, where its value stands, bound of a settled unit, what measures it.

Motion and persistence are always read, and shown in the state; the rule listens to one score. All
bounds but that of persistence are guesses; which score orders drops by their harm is measured
(docs/figures/scores.md), no bound is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from learndrop.networks.chain import Chain
from learndrop.scores.directedness import DirectednessScorer
from learndrop.scores.function_change import FunctionScorer
from learndrop.scores.gradients import GradientScorer
from learndrop.scores.motion import MotionScorer, ShareScorer
from learndrop.scores.scorer import Scorer, Scores

PROBED = 32  # images in the probe of a score that looks at outputs

Probe = Callable[[], Tensor | None]
"""Gives `PROBED` images as the network's input, or None while there are too few."""
Pay = Callable[[int, int], None]
"""Told of images that passed the whole network for a score, and of FLOPs beside."""
Make = Callable[[Chain, Probe, Pay], Scorer]


@dataclass(frozen=True, slots=True)
class Score:
    """One row.

    Attributes:
        name: as the setting `score` has it.
        key: of its value among those that are read.
        bound: at most this is a settled unit's.
        make: a new scorer that reads it, for the whole network.
    """

    name: str
    key: str
    bound: float
    make: Make


def _of_weights(make: Callable[[], Scorer]) -> Make:
    """The maker of a score that looks at weights or gradients and asks for nothing else."""
    return lambda chain, probe, pay: make()


SCORES = (
    Score("persistence", "persistence", 0.4, _of_weights(MotionScorer)),
    Score("motion", "motion_share", 0.6, _of_weights(ShareScorer)),
    Score("directedness", "directedness", 0.8, _of_weights(DirectednessScorer)),
    Score("function", "function", 0.01, FunctionScorer),
    Score("gradient", "gradient", 0.5, _of_weights(GradientScorer)),
)
KEYS = {score.name: score.key for score in SCORES}
BOUNDS = {score.name: score.bound for score in SCORES}
_MAKERS = {score.name: score.make for score in SCORES}


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


def make_scorer(name: str, chain: Chain, probe: Probe, pay: Pay) -> Scorer:
    """What reads motion, persistence and the score of that name.

    Args:
        name: of a row.
        chain: the whole network.
        probe: see `Probe`.
        pay: see `Pay`.
    """
    scorer = _MAKERS[name](chain, probe, pay)
    return scorer if isinstance(scorer, MotionScorer) else Together(MotionScorer(), scorer)


def make_all(chain: Chain, probe: Probe, pay: Pay) -> Together:
    """What reads every score, to compare them; arguments as of `make_scorer`."""
    return Together(*(score.make(chain, probe, pay) for score in SCORES))
